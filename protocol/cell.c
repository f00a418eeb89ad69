/* cell: the values at the leaves of a tree, and the memory that all of a tree is made of.
 *
 * Allocation is counted here, by what the allocator really gave.
 */
#include "protocol/cell.h"

#include "protocol/cursor.h"
#include "protocol/tree.h"
#include "protocol/work.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One count a thread: the client library may be used by many, each with trees of its own. */
static _Thread_local size_t memory_used;

size_t tree_memory(void)
{
    return memory_used;
}

static void *counted(void *p)
{
    memory_used += malloc_usable_size(p);
    return p;
}

void *tree_alloc_at(size_t n, const char *file, int line)
{
    return counted(alloc_zeroed_at(1, n ? n : 1, file, line));
}

void *tree_realloc_at(void *p, size_t n, const char *file, int line)
{
    size_t before = p ? malloc_usable_size(p) : 0;
    p = alloc_resized_at(p, 1, n ? n : 1, file, line);
    memory_used -= before;
    return counted(p);
}

void tree_free(void *p)
{
    if (!p)
        return;
    memory_used -= malloc_usable_size(p);
    free(p);
}

/* ---- long values ---- */

/* Whoever sends one need not copy it: it lives as long as somebody holds it. Nobody changes it. */
struct held {
    size_t holders; /* its cell, and others */
    uint8_t bytes[];
};

static uint8_t *held_new(size_t len)
{
    struct held *h = counted(alloc_bytes(sizeof *h + len));

    h->holders = 1;
    work_add(len / 1024, WORK_KIB);
    return h->bytes;
}

static struct held *held_of(uint8_t *bytes)
{
    return (struct held *)(bytes - offsetof(struct held, bytes));
}

struct held *cell_hold(const struct cell *c)
{
    if (c->kind != CELL_HEAP || c->heap_len < WORK_LONG)
        return NULL;
    struct held *h = held_of(c->heap);
    h->holders++;
    return h;
}

void held_let_go(struct held *h)
{
    if (--h->holders == 0)
        tree_free(h);
}

/* ---- values ---- */

/* A value of len bytes; *room is where they go. */
static void cell_room(size_t len, uint8_t **room, struct cell *c)
{
    memset(c, 0, sizeof *c);
    if (len <= CELL_INLINE_MAX) {
        c->small_len = (uint8_t)len;
        c->kind = CELL_INLINE;
        *room = c->small;
    } else {
        c->heap = len < WORK_LONG ? counted(alloc_bytes(len)) : held_new(len);
        c->heap_len = (uint32_t)len;
        c->kind = CELL_HEAP;
        *room = c->heap;
    }
}

struct cell cell_value(const void *bytes, size_t len)
{
    struct cell c;
    uint8_t *room;

    cell_room(len, &room, &c);
    work_copy(room, bytes, len);
    return c;
}

static size_t put_be(uint8_t *out, uint8_t tag, uint64_t v, unsigned bytes)
{
    out[0] = tag;
    for (unsigned i = 0; i < bytes; i++)
        out[1 + i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    return 1 + bytes;
}

static size_t put_int(uint8_t *out, int64_t v)
{
    if (v >= 0) {
        if (v < 0x80) {
            out[0] = (uint8_t)v;
            return 1;
        }
        if (v <= UINT8_MAX)
            return put_be(out, 0xcc, (uint64_t)v, 1);
        if (v <= UINT16_MAX)
            return put_be(out, 0xcd, (uint64_t)v, 2);
        if (v <= UINT32_MAX)
            return put_be(out, 0xce, (uint64_t)v, 4);
        return put_be(out, 0xcf, (uint64_t)v, 8);
    }
    if (v >= -32) {
        out[0] = (uint8_t)v;
        return 1;
    }
    if (v >= INT8_MIN)
        return put_be(out, 0xd0, (uint64_t)v, 1);
    if (v >= INT16_MIN)
        return put_be(out, 0xd1, (uint64_t)v, 2);
    if (v >= INT32_MIN)
        return put_be(out, 0xd2, (uint64_t)v, 4);
    return put_be(out, 0xd3, (uint64_t)v, 8);
}

struct cell cell_int(int64_t v)
{
    uint8_t b[9];

    return cell_value(b, put_int(b, v));
}

struct cell cell_float(double v)
{
    uint8_t b[9];
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return cell_value(b, put_be(b, 0xcb, bits, 8));
}

/* By the head that says its length: of a str below 32 bytes the first, else a number behind. */
static size_t head_of(bool text, size_t len, uint8_t head[5])
{
    if (text && len < 32) {
        head[0] = (uint8_t)(0xa0 | len);
        return 1;
    }
    if (len <= UINT8_MAX)
        return put_be(head, text ? 0xd9 : 0xc4, len, 1);
    if (len <= UINT16_MAX)
        return put_be(head, text ? 0xda : 0xc5, len, 2);
    return put_be(head, text ? 0xdb : 0xc6, len, 4);
}

struct cell cell_joined(bool text, const void *a, size_t a_len, const void *b, size_t b_len)
{
    uint8_t head[5], *room;
    size_t n = head_of(text, a_len + b_len, head);
    struct cell c;

    cell_room(n + a_len + b_len, &room, &c);
    memcpy(room, head, n);
    if (a_len)
        work_copy(room + n, a, a_len);
    if (b_len)
        work_copy(room + n + a_len, b, b_len);
    return c;
}

struct cell cell_str(const char *s, size_t len)
{
    return cell_joined(true, s, len, NULL, 0);
}

struct cell cell_nil(void)
{
    return cell_value("\xc0", 1);
}

struct cell cell_spoilt(const char *why)
{
    struct cell c = {.heap_len = (uint32_t)strlen(why)};

    c.heap = tree_alloc(c.heap_len + 1);
    memcpy(c.heap, why, c.heap_len);
    c.kind = CELL_SPOILT;
    return c;
}

struct cell cell_copy(const struct cell *c)
{
    struct cell copy = *c;

    switch (c->kind) {
    case CELL_HEAP: return cell_value(c->heap, c->heap_len);
    case CELL_RECORD: copy.record = record_copy(c->record); break;
    case CELL_CONTAINER: copy.container = container_copy(c->container); break;
    case CELL_SPOILT: return cell_spoilt((const char *)c->heap);
    case CELL_UNSET:
    case CELL_INLINE: break;
    }
    return copy;
}

void cell_free(struct cell *c)
{
    switch (c->kind) {
    case CELL_HEAP:
        if (c->heap_len >= WORK_LONG)
            held_let_go(held_of(c->heap));
        else
            tree_free(c->heap);
        break;
    case CELL_SPOILT: tree_free(c->heap); break;
    case CELL_RECORD: record_free(c->record); break;
    case CELL_CONTAINER: container_free(c->container); break;
    case CELL_UNSET:
    case CELL_INLINE: break;
    }
    memset(c, 0, sizeof *c);
}

bool cell_equal(const struct cell *a, const struct cell *b)
{
    size_t na, nb;
    const uint8_t *pa, *pb;

    if (!cell_is_value(a) || !cell_is_value(b))
        return a->kind == CELL_UNSET && b->kind == CELL_UNSET;
    pa = cell_bytes(a, &na);
    pb = cell_bytes(b, &nb);
    return na == nb && memcmp(pa, pb, na) == 0;
}

bool cell_is_nil(const struct cell *c)
{
    return c->kind == CELL_INLINE && c->small_len == 1 && c->small[0] == 0xc0;
}

int cell_get_str(const struct cell *c, const char **s, size_t *len)
{
    const uint8_t *p;
    size_t n, head, said;

    if (!cell_is_value(c))
        return -1;
    p = cell_bytes(c, &n);
    if (n && (p[0] & 0xe0) == 0xa0) {
        head = 1;
        said = p[0] & 0x1f;
    } else if (n >= 2 && p[0] == 0xd9) {
        head = 2;
        said = p[1];
    } else if (n >= 3 && p[0] == 0xda) {
        head = 3;
        said = (size_t)p[1] << 8 | p[2];
    } else if (n >= 5 && p[0] == 0xdb) {
        head = 5;
        said = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    } else {
        return -1;
    }
    if (n - head != said)
        return -1;
    *s = (const char *)p + head;
    *len = said;
    return 0;
}

int cell_get_int(const struct cell *c, int64_t *v)
{
    struct cursor in;
    size_t n;

    if (!cell_is_value(c))
        return -1;
    in.at = cell_bytes(c, &n);
    in.end = in.at + n;
    return cursor_int(&in, v);
}

int cell_get_float(const struct cell *c, double *v)
{
    struct cursor in;
    size_t n;

    if (!cell_is_value(c))
        return -1;
    in.at = cell_bytes(c, &n);
    in.end = in.at + n;
    return cursor_number(&in, v);
}
