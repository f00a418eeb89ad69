/* buf: a growable run of bytes, and the MessagePack writer on top of it.
 *
 *   data          data+len        data+cap
 *    |---- written ----|---- free ----|
 *
 * An allocation that fails ends the daemon (alloc.h), so nothing there looks at `failed`. In the
 * library it sets that, and later appends do nothing: look once, at the end.
 */
#ifndef RAPYER_PROTOCOL_BUF_H
#define RAPYER_PROTOCOL_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
    uint8_t *data;
    size_t len, cap;
    bool failed;
};

#define BUF_INIT ((struct buf){0})

void buf_free(struct buf *b);              /* frees the memory; *b is BUF_INIT afterwards */
bool buf_move(struct buf *b, size_t more); /* of buf_grow, where there is no room yet */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_shrink(struct buf *b, size_t keep); /* gives memory back when cap > keep and len <= keep */
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Makes room for `more` bytes past len. False: it has failed, now or before. Here, as it is what
 * everything that is written passes through, and nearly always there is room. */
static inline bool buf_grow(struct buf *b, size_t more)
{
    return (more <= b->cap - b->len && !b->failed) || buf_move(b, more);
}

static inline void buf_append(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || !buf_grow(b, n))
        return;
    memcpy(b->data + b->len, p, n);
    b->len += n;
}

/* One MessagePack item each, in its shortest form (floats always as float64). */
void pack_nil(struct buf *b);
void pack_bool(struct buf *b, bool v);
void pack_int(struct buf *b, int64_t v);
void pack_uint(struct buf *b, uint64_t v);
void pack_float(struct buf *b, double v);
void pack_str(struct buf *b, const char *s, size_t n);
void pack_cstr(struct buf *b, const char *s);
void pack_bin(struct buf *b, const void *p, size_t n);
void pack_time(struct buf *b, int64_t sec, uint32_t nsec); /* ext -1, shortest form */
void pack_array(struct buf *b, uint32_t n);                /* n items must follow */
void pack_map(struct buf *b, uint32_t n);                  /* n pairs must follow */

/* A map or array whose count is not known in advance: always written as map32/array32. */
size_t pack_map_open(struct buf *b);
void pack_map_close(struct buf *b, size_t at, uint32_t n);
size_t pack_array_open(struct buf *b);
void pack_array_close(struct buf *b, size_t at, uint32_t n);

#endif
