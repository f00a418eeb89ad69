/* stale: see stale.h. */
#include "daemon/documents/stale.h"
#include "daemon/shared/shelf.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <string.h>

#define MARKS_MAX 32 /* of one document; more are one mark on all of it */
/* Elements of a container that is read again with what is suspect, and of one that is so itself.
 * What is longer would keep others waiting twice in each bound; models are read one by one. */
#define SHORT_MAX 1000
#define SUSPECT_MAX 20000
#define SUSPECT_MODELS_MAX 2000

struct mark {
    size_t len;
    char *suffix;
    bool suspect; /* no more than that */
};

struct stale {
    bool all;
    bool suspect, suspect_all; /* some of it is; so much that it is not told what */
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

static void add(struct stale *s, const char *suffix, size_t len, bool suspect)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct mark *m = &s->marks[i];
        if (m->len == len && memcmp(m->suffix, suffix, len) == 0) {
            m->suspect = m->suspect && suspect;
            return;
        }
    }
    if (s->n < MARKS_MAX)
        vec_push(s->marks, s->n, s->cap, (struct mark){len, alloc_copy(suffix, len), suspect});
    else if (suspect)
        s->suspect_all = true;
    else
        s->all = true;
}

void stale_mark(struct doc *d, const char *suffix, size_t len)
{
    if (known(d))
        add(stale_of(d), suffix, len, false);
}

void stale_suspect(struct doc *d, int64_t now, const char *suffix, size_t len)
{
    if (!known(d))
        return;
    if (d->suspect == 0)
        d->suspect = now;
    if (len == 0)
        return; /* the root is read again in any case */
    if (d->suspects == NULL)
        d->suspects = alloc_zeroed(1, sizeof(*d->suspects));
    add(d->suspects, suffix, len, true);
}

/* What was suspected goes to the marks. */
static void join(struct stale *s, struct stale *suspects)
{
    s->suspect = true;
    for (unsigned i = 0; suspects != NULL && i < suspects->n; i++)
        add(s, suspects->marks[i].suffix, suspects->marks[i].len, true);
    s->suspect_all = s->suspect_all || (suspects != NULL && suspects->suspect_all);
    stale_free(suspects);
}

struct stale *stale_take(struct doc *d)
{
    if (d->suspect != 0)
        join(stale_of(d), d->suspects);
    struct stale *s = d->stale;
    d->stale = d->suspects = NULL;
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

bool stale_covers(const struct stale *s, const char *suffix, size_t suffix_len, size_t len,
                  bool deep)
{
    if (s == NULL)
        return false;
    bool suspect = s->suspect_all;
    for (unsigned i = 0; i < s->n; i++) {
        bool in = is_in(&s->marks[i], suffix, suffix_len);
        if (in && !s->marks[i].suspect)
            return true;
        suspect = suspect || in;
    }
    size_t most = !suspect ? SHORT_MAX : deep ? SUSPECT_MODELS_MAX : SUSPECT_MAX;
    return s->all || (s->suspect && len <= most);
}

bool stale_all(const struct stale *s)
{
    return s != NULL && s->all;
}
