/* stored: see stored.h. */
#include "daemon/documents/stored.h"

static const struct stored list = {.type = "list",
                                   .length = "LLEN",
                                   .range = "LRANGE",
                                   .stride = 1,
                                   .value = 0,
                                   .key = -1,
                                   .score = -1};

const struct stored stored_hash = {.type = "hash",
                                   .length = "HLEN",
                                   .all = "HGETALL",
                                   .scan = "HSCAN",
                                   .stride = 2,
                                   .value = 1,
                                   .key = 0,
                                   .score = -1,
                                   .set = "HSET",
                                   .del = "HDEL",
                                   .words = NAME_AND_TEXT};

static const struct stored set = {.type = "set",
                                  .length = "SCARD",
                                  .all = "SMEMBERS",
                                  .scan = "SSCAN",
                                  .stride = 1,
                                  .value = 0,
                                  .key = -1,
                                  .score = -1,
                                  .set = "SADD",
                                  .del = "SREM",
                                  .words = NAME_ALONE,
                                  .by_value = true};

static const struct stored sorted = {.type = "zset",
                                     .length = "ZCARD",
                                     .range = "ZRANGE",
                                     .range_end = "WITHSCORES",
                                     .stride = 2,
                                     .value = 0,
                                     .key = -1,
                                     .score = 1,
                                     .set = "ZADD",
                                     .del = "ZREM",
                                     .words = TEXT_AND_NAME,
                                     .by_value = true};

const struct stored *const stored_kinds[TYPE_COUNT] = {
    [TYPE_LIST] = &list,     [TYPE_DICT] = &stored_hash, [TYPE_SET] = &set,
    [TYPE_SORTED] = &sorted, [TYPE_MAYBE] = &list,
};
