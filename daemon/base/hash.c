/* hash: see hash.h. */
#include "daemon/base/hash.h"

uint64_t hash_seed;
