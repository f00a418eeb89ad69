/* slots: the 16384 parts into which a cluster divides its keys. A leaf. */
#ifndef RAPYERD_SLOTS_H
#define RAPYERD_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#define SLOTS 16384
#define SLOT_TAG_MAX 4

/* Of a Redis key: by what is between its first "{" and the next "}", if anything is; else by all
 * of it. */
uint16_t slot_of(const char *key, size_t len);
/* A text of at most SLOT_TAG_MAX lower-case letters that leads there, always the same. */
const char *slot_tag(uint16_t slot);

#endif
