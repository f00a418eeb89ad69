/* buf: see buf.h. The MessagePack bytes themselves are written by msgpack-c's packer; with the
 * write callback known at compile time its template melts into the functions below. */
#include "protocol/buf.h"

#include "protocol/alloc.h"

#include <msgpack/pack.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_MIN 64

void buf_free(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT;
}

/* There is no room for so much more; never comes back in the daemon. */
static bool fail(struct buf *b, size_t more)
{
    alloc_missing(more, ALLOC_HERE);
    b->failed = true;
    return false;
}

bool buf_move(struct buf *b, size_t more)
{
    if (b->failed)
        return false;
    if (more > PTRDIFF_MAX - b->len)
        return fail(b, more);
    size_t cap = alloc_capacity(b->cap, b->len + more, 1);
    uint8_t *data = alloc_try_resized(b->data, cap, 1);
    if (!data)
        return fail(b, more);
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    if (!buf_grow(b, BUF_MIN))
        return;
    va_start(ap, fmt);
    int n = vsnprintf((char *)b->data + b->len, b->cap - b->len, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n >= b->cap - b->len) {
        /* One more byte than the text: vsnprintf ends it with a NUL that is not kept. */
        if (!buf_grow(b, (size_t)n + 1))
            return;
        va_start(ap, fmt);
        n = vsnprintf((char *)b->data + b->len, b->cap - b->len, fmt, ap);
        va_end(ap);
    }
    if (n < 0) {
        fail(b, BUF_MIN);
        return;
    }
    b->len += (size_t)n;
}

void buf_shrink(struct buf *b, size_t keep)
{
    if (b->cap <= keep || b->len > keep)
        return;
    if (keep == 0) {
        free(b->data);
        b->data = NULL;
        b->cap = 0;
        return;
    }
    uint8_t *data = realloc(b->data, keep);
    if (data) { /* when it cannot even be made smaller the old one is still good */
        b->data = data;
        b->cap = keep;
    }
}

static int write_to_buf(void *arg, const char *p, size_t n)
{
    buf_append(arg, p, n);
    return 0;
}

static inline msgpack_packer packer(struct buf *b)
{
    return (msgpack_packer){.data = b, .callback = write_to_buf};
}

void pack_nil(struct buf *b)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_nil(&pk);
}

void pack_bool(struct buf *b, bool v)
{
    msgpack_packer pk = packer(b);
    if (v)
        msgpack_pack_true(&pk);
    else
        msgpack_pack_false(&pk);
}

void pack_int(struct buf *b, int64_t v)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_int64(&pk, v);
}

void pack_uint(struct buf *b, uint64_t v)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_uint64(&pk, v);
}

void pack_float(struct buf *b, double v)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_double(&pk, v);
}

void pack_str(struct buf *b, const char *s, size_t n)
{
    msgpack_packer pk = packer(b);
    if (n > UINT32_MAX) {
        fail(b, n);
        return;
    }
    msgpack_pack_str(&pk, n);
    buf_append(b, s, n);
}

void pack_cstr(struct buf *b, const char *s)
{
    pack_str(b, s, strlen(s));
}

void pack_bin(struct buf *b, const void *p, size_t n)
{
    msgpack_packer pk = packer(b);
    if (n > UINT32_MAX) {
        fail(b, n);
        return;
    }
    msgpack_pack_bin(&pk, n);
    buf_append(b, p, n);
}

void pack_time(struct buf *b, int64_t sec, uint32_t nsec)
{
    msgpack_packer pk = packer(b);
    msgpack_timestamp t = {.tv_sec = sec, .tv_nsec = nsec};
    msgpack_pack_timestamp(&pk, &t);
}

void pack_array(struct buf *b, uint32_t n)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_array(&pk, n);
}

void pack_map(struct buf *b, uint32_t n)
{
    msgpack_packer pk = packer(b);
    msgpack_pack_map(&pk, n);
}

static size_t open_container(struct buf *b, uint8_t head)
{
    size_t at = b->len;
    buf_append(b, (uint8_t[]){head, 0, 0, 0, 0}, 5);
    return at;
}

static void close_container(struct buf *b, size_t at, uint32_t n)
{
    if (b->failed)
        return;
    uint8_t *p = b->data + at + 1;
    p[0] = (uint8_t)(n >> 24);
    p[1] = (uint8_t)(n >> 16);
    p[2] = (uint8_t)(n >> 8);
    p[3] = (uint8_t)n;
}

size_t pack_map_open(struct buf *b)
{
    return open_container(b, 0xdf);
}

void pack_map_close(struct buf *b, size_t at, uint32_t n)
{
    close_container(b, at, n);
}

size_t pack_array_open(struct buf *b)
{
    return open_container(b, 0xdd);
}

void pack_array_close(struct buf *b, size_t at, uint32_t n)
{
    close_container(b, at, n);
}
