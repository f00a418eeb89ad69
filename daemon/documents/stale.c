/* stale: see stale.h. */
#include "daemon/documents/stale.h"
#include "daemon/shared/shelf.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <string.h>

#define MARKS_MAX 32 /* of one document; more are one mark on all of it */
/* What is longer is not read again on a suspicion: containers, by their elements, and documents of
 * which the values without them have so many bytes. */
#define SUSPECTS_MAX 1000
#define SUSPECT_BYTES (1u << 20)

struct mark {
    size_t len;
    char *suffix;
};

struct stale {
    bool all;
    bool suspect;
    struct mark *marks;
    unsigned n, cap;
};

void stale_free(struct stale *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->n; i++)
        free(s->marks[i].suffix);
    free(s->marks);
    free(s);
}

static bool known(const struct doc *d)
{
    return d->state != DOC_UNKNOWN || d->loading;
}

static struct stale *stale_of(struct doc *d)
{
    shelf_take(&d->shown);
    if (d->stale == NULL)
        d->stale = alloc_zeroed(1, sizeof(*d->stale));
    return d->stale;
}

void stale_mark_all(struct doc *d)
{
    if (known(d))
        stale_of(d)->all = true;
}

void stale_mark(struct doc *d, const char *suffix, size_t len)
{
    if (!known(d))
        return;
    struct stale *s = stale_of(d);
    for (unsigned i = 0; i < s->n; i++) {
        if (s->marks[i].len == len && memcmp(s->marks[i].suffix, suffix, len) == 0)
            return;
    }
    if (s->n == MARKS_MAX)
        s->all = true;
    else
        vec_push(s->marks, s->n, s->cap, (struct mark){len, alloc_copy(suffix, len)});
}

static bool is_long(const struct doc *d)
{
    size_t bytes = 0;
    for (uint32_t i = 0; d->root != NULL && i < d->root->nslots; i++)
        bytes += d->root->slots[i].kind == CELL_HEAP ? d->root->slots[i].heap_len : 0;
    return bytes > SUSPECT_BYTES;
}

void stale_suspect(struct doc *d, int64_t now)
{
    if (known(d) && d->suspect == 0 && !is_long(d))
        d->suspect = now;
}

struct stale *stale_take(struct doc *d)
{
    if (d->suspect != 0)
        stale_of(d)->suspect = true;
    struct stale *s = d->stale;
    d->stale = NULL;
    d->suspect = 0;
    d->suspect_listed = false;
    return s;
}

/* The mark is about it, or about something within it. */
static bool is_in(const struct mark *m, const char *suffix, size_t len)
{
    return m->len >= len && memcmp(m->suffix, suffix, len) == 0 &&
           (m->len == len || m->suffix[len] == '/');
}

bool stale_covers(const struct stale *s, const char *suffix, size_t suffix_len, size_t len)
{
    if (s == NULL)
        return false;
    for (unsigned i = 0; i < s->n; i++) {
        if (is_in(&s->marks[i], suffix, suffix_len))
            return true;
    }
    return s->all || (s->suspect && len <= SUSPECTS_MAX);
}

bool stale_all(const struct stale *s)
{
    return s != NULL && s->all;
}
