/* watcher: see watcher.h. */
#include "daemon/watches/watcher.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <utlist.h>

static size_t cost(const struct news *n)
{
    return sizeof(*n) + n->key_len + n->touched.places.cap;
}

static void news_free(struct watcher *w, struct news *n)
{
    HASH_DELETE(hh, w->news, n);
    w->bytes -= cost(n);
    touched_free(&n->touched);
    free(n);
}

static struct news *news_of(struct watcher *w, const char *key, size_t len)
{
    struct news *n;
    HASH_FIND(hh, w->news, key, len, n);
    if (n != NULL)
        return n;
    n = alloc_zeroed(1, sizeof(*n) + len + 1);
    n->version = VERSION_UNKNOWN;
    n->key_len = len;
    memcpy(n->key, key, len);
    HASH_ADD(hh, w->news, key, len, n);
    w->bytes += cost(n);
    return n;
}

bool watcher_add(struct watcher *w, const char *key, size_t len, int64_t version,
                 const struct touched *t, const struct region *in)
{
    struct touched part = {.all = false};
    static const struct region whole;
    if (!touched_join(&part, t, in))
        return false;
    if (!w->lost) { /* else it is told to look in any case */
        struct news *n = news_of(w, key, len);
        size_t before = cost(n);
        n->version = version;
        (void)touched_join(&n->touched, &part, &whole);
        w->bytes += cost(n) - before;
    }
    touched_free(&part);
    return true;
}

void watcher_lose(struct watcher *w)
{
    struct news *n, *next;
    HASH_ITER (hh, w->news, n, next)
        news_free(w, n);
    w->lost = true;
}

/* [key, version or nil, [path, ...] or nil] */
static void tell(struct watcher *w, const char *key, size_t len, int64_t version,
                 const struct touched *t, const struct model *m)
{
    struct buf params = BUF_INIT;
    pack_array(&params, 3);
    pack_str(&params, key, len);
    if (version == VERSION_UNKNOWN)
        pack_nil(&params);
    else
        pack_int(&params, version);
    touched_pack(t, m, &params);
    session_notify(w->session, "changed", params.data, params.len);
    buf_free(&params);
}

/* In one piece: there are no more of them than one client may watch. */
static void tell_lost(struct watcher *w, struct watcher_told *count)
{
    static const struct touched anything = {.all = true};
    struct session *s = w->session;
    w->lost = false;
    for (struct watch *at = w->watches; at != NULL; at = at->next) {
        if (!at->open || at->of->told == w->number)
            continue;
        at->of->told = w->number;
        count->lost++;
        tell(w, at->of->key, at->of->key_len, VERSION_UNKNOWN, &anything, NULL);
        if (!session_open(s))
            return;
    }
    for (struct watch *at = w->watches; at != NULL; at = at->next)
        at->of->told = 0;
}

void watcher_tell(struct watcher *w, const struct schema *schema, struct watcher_told *count)
{
    struct session *s = session_ref(w->session);
    if (w->lost && !session_congested(s))
        tell_lost(w, count);
    while (session_open(s) && !session_congested(s) && w->news != NULL) {
        struct news *n = w->news;
        count->told++;
        struct news copy = *n;
        char *key = alloc_copy(n->key, n->key_len);
        n->touched = (struct touched){.all = true};
        news_free(w, n);
        tell(w, key, copy.key_len, copy.version, &copy.touched,
             schema_model_of(schema, key, copy.key_len));
        touched_free(&copy.touched);
        free(key);
    }
    session_unref(s);
}
