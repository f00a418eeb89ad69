/* coherence: see coherence.h. */
#include "daemon/documents/coherence.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/stale.h"
#include "daemon/redis/changes.h"
#include "daemon/shared/shelf.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <string.h>

/* A turn is over with the other's change, else after this: what it takes to read and to write once
 * over a slow link or on a busy machine. For as long after it nobody is waited for again. */
#define TURN_MS 100

/* What one Redis says. */
struct source {
    struct coherence *coherence;
    struct changes *changes;
    /* Its last gap, as the number that it has among all, and the one before. What was read since
     * then is not older than what is heard. */
    uint32_t gap, gap_before;
    uint64_t asked; /* coherence_prove: the number of the last proof */
};

struct coherence {
    struct event_base *base;
    struct config *config;
    const char *id;
    const struct names *names;
    struct router *router;
    struct source *only;     /* without a cluster */
    struct source **sources; /* by the number of the node (router.h); NULL: it was never there */
    unsigned nsources, sources_cap;
    struct cache *cache;
    struct coherence_callbacks cb;
    void *arg;
    const struct coherence_listener *listener; /* NULL: nobody */
    void *listener_arg;
    struct shown_suspect *shown, *last_shown; /* oldest first */
    uint32_t gaps;                            /* in what was heard, of all sources */
    void (*on_use)(void *arg);                /* NULL: nobody waits for one */
    void *on_use_arg;
    struct coherence_stats stats;
};

/* Half of the bound: the other half is for those who are behind. */
static int64_t half_bound(const struct coherence *c)
{
    return (int64_t)c->config->coherence_bound / 2;
}

/* NULL: nobody is known to have its slot, or he was never there. */
static inline struct source *source_of(const struct coherence *c, const struct doc *d)
{
    if (c->only != NULL)
        return c->only;
    unsigned number = router_number(c->router, d->slot);
    return number < c->nsources ? c->sources[number] : NULL;
}

/* ---- what is heard ---- */

/* Whether it is in one of his slots, as far as is known. What he says of others' is not so any
 * more, or not yet. d: in memory, or NULL. */
static bool tells_of(const struct source *s, const char *key, size_t len, const struct doc *d)
{
    const struct coherence *c = s->coherence;
    struct buf root = BUF_INIT;
    if (c->only != NULL || d != NULL)
        return c->only != NULL || source_of(c, d) == s;
    layout_key(&root, c->names, key, len, "", 0);
    unsigned number = router_number(c->router, router_slot(c->router, (char *)root.data, root.len));
    buf_free(&root);
    return number < c->nsources && c->sources[number] == s;
}

/* It only ever lives longer by that. Who missed it has an earlier deadline in mind, and looks in
 * Redis before the document is over for him. */
static void touch(struct doc *d, const struct change *change)
{
    if (d != NULL && d->state == DOC_PRESENT && d->version == change->version && d->expires != 0 &&
        d->expires < change->expires)
        d->expires = change->expires;
}

static void on_committed(void *arg, const struct change *change)
{
    struct coherence *c = ((struct source *)arg)->coherence;
    struct doc *d = cache_find(c->cache, change->key, change->key_len);
    struct change at = *change;
    struct change_place place = {.suffix = NULL};
    if (!tells_of(arg, change->key, change->key_len, d))
        return;
    if (change->expires != 0) {
        touch(d, change);
        return;
    }
    if (c->listener != NULL)
        c->listener->committed(c->listener_arg, change);
    if (d == NULL)
        return;
    c->stats.commits++;
    bool waited_for = d->yields != 0;
    d->yields = 0;
    /* Heard late, it is in the version already. To count too little is no harm: then a version is
     * not the one that was expected, and all is read. */
    if (change->version > d->others_from)
        d->others += change->bump;
    if (change->deleted)
        stale_mark_all(d);
    while (change_next(&at, &place)) {
        if (!place.rewritten)
            stale_mark(d, place.suffix, place.suffix_len);
    }
    if (change->nplaces == 0)
        stale_mark(d, "", 0); /* its version, at least */
    if (waited_for)
        c->cb.taken(c->arg, d);
}

/* ---- taking turns ---- */

static void on_wanted(void *arg, const char *key, size_t key_len)
{
    struct coherence *c = ((struct source *)arg)->coherence;
    struct doc *d = cache_find(c->cache, key, key_len);
    int64_t now = clock_mono_ms();
    if (d != NULL && (d->yields == 0 || now >= d->yields + TURN_MS))
        d->yields = now + TURN_MS;
}

void coherence_want_turn(struct coherence *c, struct doc *d)
{
    const struct source *s = source_of(c, d);
    int64_t now = clock_mono_ms();
    if (d->wanted == now || s == NULL)
        return; /* said */
    d->wanted = now;
    changes_want(s->changes, d->slot, d->key, d->key_len);
}

int64_t coherence_yields(const struct doc *d)
{
    int64_t left = d->yields != 0 ? d->yields - clock_mono_ms() : 0;
    return left > 0 ? left : 0;
}

/* Readers that do not ask do not look how old a suspicion is; somebody has to. */
struct shown_suspect {
    struct shown_suspect *next;
    int64_t since, listed;
    size_t key_len;
    char key[];
};

void coherence_shown(struct coherence *c, struct doc *d)
{
    if (d->shown == NULL || d->suspect == 0 || d->suspect_listed)
        return;
    int64_t now = clock_boot_ms();
    if (now - d->suspect > half_bound(c)) {
        shelf_take(&d->shown);
        return;
    }
    struct shown_suspect *s = alloc_zeroed(1, sizeof(*s) + d->key_len);
    s->since = d->suspect;
    s->listed = now;
    s->key_len = d->key_len;
    d->suspect_listed = true;
    memcpy(s->key, d->key, d->key_len);
    if (c->last_shown != NULL)
        c->last_shown->next = s;
    else
        c->shown = s;
    c->last_shown = s;
}

static void suspect(struct coherence *c, struct doc *d, int64_t since, const char *suffix,
                    size_t len)
{
    stale_suspect(d, since, suffix, len);
    coherence_shown(c, d);
}

/* A foreign write to the same key in the turn before ours is not named at all. */
void coherence_wrote(struct coherence *c, struct doc *d, int64_t sent, const char *suffix,
                     size_t len)
{
    if (coherence_names_writers(c, d))
        suspect(c, d, sent, suffix, len);
}

static void take_oldest(struct coherence *c)
{
    struct shown_suspect *s = c->shown;
    struct doc *d = cache_find(c->cache, s->key, s->key_len);
    if (d != NULL && d->suspect == s->since) {
        shelf_take(&d->shown);
        d->suspect_listed = false;
    }
    c->shown = s->next;
    if (c->shown == NULL)
        c->last_shown = NULL;
    free(s);
}

static void on_written(void *arg, const char *key, size_t key_len, const char *suffix,
                       size_t suffix_len, bool explained)
{
    struct coherence *c = ((struct source *)arg)->coherence;
    struct doc *d = cache_find(c->cache, key, key_len);
    bool listened = c->listener != NULL && !explained, told = false;
    if ((d == NULL && !listened) || !tells_of(arg, key, key_len, d))
        return;
    if (listened)
        told = c->listener->written(c->listener_arg, key, key_len, suffix, suffix_len);
    if (d == NULL)
        return;
    /* In a cluster our scripts do not say what they write, which is told ahead of EXEC's answer. */
    if (explained || (c->only == NULL && doc_dirty(d) && !told)) {
        suspect(c, d, clock_boot_ms(), suffix, suffix_len);
        return;
    }
    /* Where there is no document, what is left of a long one goes, page by page. */
    c->stats.foreign += d->state == DOC_PRESENT;
    stale_mark(d, suffix, suffix_len);
}

/* All that was read before is to be read again before it is used. */
static void on_everything(void *arg)
{
    struct source *s = arg;
    struct coherence *c = s->coherence;
    s->gap_before = s->gap;
    s->gap = ++c->gaps;
    c->stats.gaps++;
    if (c->listener != NULL)
        c->listener->gap(c->listener_arg);
    c->cb.changed(c->arg);
}

static void on_others(void *arg)
{
    struct coherence *c = ((struct source *)arg)->coherence;
    c->cb.changed(c->arg);
}

static void on_proved(void *arg)
{
    struct coherence *c = ((struct source *)arg)->coherence;
    c->stats.proofs++;
    c->cb.proved(c->arg);
}

void coherence_seen(struct coherence *c, const char *key, size_t len, int64_t version)
{
    struct doc *d = cache_find(c->cache, key, len);
    bool known = d != NULL && d->state != DOC_UNKNOWN;
    if (known && version != (d->state == DOC_PRESENT ? d->version : 0))
        stale_mark(d, "", 0);
}

void coherence_listen(struct coherence *c, const struct coherence_listener *listener, void *arg)
{
    c->listener = listener;
    c->listener_arg = arg;
}

/* ---- what may be used ---- */

static bool hears(const struct source *s)
{
    return s != NULL && changes_hearing(s->changes);
}

bool coherence_hearing(const struct coherence *c, const struct doc *d)
{
    return hears(source_of(c, d));
}

bool coherence_hears_all(const struct coherence *c)
{
    struct router_node n;
    unsigned heard = 0;
    if (c->only != NULL)
        return hears(c->only);
    for (unsigned i = 0; router_node(c->router, i, &n); i++) {
        if (n.slots == 0)
            continue;
        if (i >= c->nsources || !hears(c->sources[i]))
            return false;
        heard++;
    }
    return heard > 0;
}

bool coherence_alone(const struct coherence *c)
{
    if (c->only != NULL)
        return changes_alone(c->only->changes);
    bool alone = coherence_hears_all(c);
    for (unsigned i = 0; alone && i < c->nsources; i++)
        alone = !hears(c->sources[i]) || changes_alone(c->sources[i]->changes);
    return alone;
}

void coherence_follow(struct coherence *c, uint16_t slot)
{
    unsigned number = c->only != NULL ? 0 : router_number(c->router, slot);
    if (number < c->nsources && c->sources[number] != NULL)
        changes_follow(c->sources[number]->changes, slot);
}

bool coherence_current(const struct coherence *c, const struct doc *d, int64_t now)
{
    const struct source *s = source_of(c, d);
    bool unmarked = d->stale == NULL && (d->suspect == 0 || now - d->suspect <= half_bound(c));
    return !c->config->coherence || ((s == NULL || d->hearing >= s->gap) && unmarked);
}

bool coherence_was_current(const struct coherence *c, const struct doc *d, int64_t now)
{
    const struct source *s = source_of(c, d);
    return coherence_current(c, d, now) ||
           (s != NULL && !hears(s) && d->hearing >= s->gap_before && d->stale == NULL);
}

struct stale *coherence_read(struct coherence *c, struct doc *d)
{
    const struct source *s = source_of(c, d);
    if (s != NULL && d->hearing < s->gap)
        stale_mark_all(d);
    if (s != NULL)
        changes_follow(s->changes, d->slot);
    d->hearing = c->gaps;
    d->others = 0;
    d->others_from = INT64_MAX;
    return stale_take(d);
}

void coherence_on_next_use(struct coherence *c, void (*fn)(void *arg), void *arg)
{
    c->on_use = fn;
    c->on_use_arg = arg;
}

static void used(struct coherence *c)
{
    void (*fn)(void *arg) = c->on_use;
    c->on_use = NULL;
    if (fn != NULL)
        fn(c->on_use_arg);
}

/* As of when it has told all; 0: nothing is sure. */
static int64_t proved_at(const struct source *s)
{
    return s != NULL ? changes_proved_at(s->changes) : 0;
}

/* The same, and asks for a newer proof in good time. */
static int64_t prove_in_time(const struct coherence *c, struct source *s, int64_t now)
{
    int64_t at = proved_at(s);
    if (s != NULL && (at == 0 || now - at > half_bound(c)))
        (void)changes_prove(s->changes);
    return at;
}

bool coherence_proved(struct coherence *c, const struct doc *d, int64_t now)
{
    if (!c->config->coherence)
        return true;
    used(c);
    int64_t at = prove_in_time(c, source_of(c, d), now), age = now - at;
    return at != 0 && age <= (int64_t)c->config->coherence_bound;
}

/* As of when all masters that have slots have told all; 0: of one nothing is sure. */
static int64_t prove_all(struct coherence *c, int64_t now)
{
    struct router_node n;
    int64_t oldest = 0;
    bool any = false;
    for (unsigned i = 0; router_node(c->router, i, &n); i++) {
        if (n.slots == 0)
            continue;
        int64_t at = i < c->nsources ? prove_in_time(c, c->sources[i], now) : 0;
        if (!any || at < oldest)
            oldest = at;
        any = true;
    }
    return oldest;
}

int64_t coherence_trust(struct coherence *c)
{
    if (!c->config->coherence)
        return INT64_MAX / 2;
    int64_t now = clock_boot_ms();
    used(c);
    int64_t at = c->only != NULL ? prove_in_time(c, c->only, now) : prove_all(c, now);
    while (c->shown != NULL && now - c->shown->listed > half_bound(c))
        take_oldest(c);
    return at != 0 ? at + (int64_t)c->config->coherence_bound : 0;
}

/* Of several the lowest number stands for all (proofs.h). */
uint64_t coherence_prove(struct coherence *c, struct doc *const *docs, unsigned n)
{
    uint64_t lowest = 0;
    for (unsigned i = 0; i < n; i++) {
        struct source *s = source_of(c, docs[i]);
        if (s == NULL)
            return 0;
        if (lowest != 0 && s->asked >= lowest)
            continue;
        s->asked = changes_prove(s->changes);
        if (s->asked == 0)
            return 0;
        if (lowest == 0)
            lowest = s->asked;
    }
    return lowest;
}

bool coherence_awaits(const struct coherence *c, struct doc *const *docs, unsigned n,
                      uint64_t number)
{
    for (unsigned i = 0; i < n; i++) {
        const struct source *s = source_of(c, docs[i]);
        if (hears(s) && !changes_has_proved(s->changes, number))
            return true;
    }
    return false;
}

bool coherence_names_writers(const struct coherence *c, const struct doc *d)
{
    const struct source *s = source_of(c, d);
    return s != NULL && changes_tracking(s->changes);
}

bool coherence_untouched(const struct coherence *c, const struct doc *d)
{
    const struct source *s = source_of(c, d);
    return s != NULL && d->hearing >= s->gap && d->stale == NULL && d->suspect == 0;
}

int64_t coherence_proved_at(const struct coherence *c, const struct doc *d)
{
    return proved_at(source_of(c, d));
}

/* ---- interface ---- */

static struct source *open_source(struct coherence *c, struct upstream *link)
{
    static const struct changes_callbacks cb = {.committed = on_committed,
                                                .written = on_written,
                                                .wanted = on_wanted,
                                                .others = on_others,
                                                .everything = on_everything,
                                                .proved = on_proved,
                                                .hearing = on_everything,
                                                .deaf = on_everything};
    struct source *s = alloc_zeroed(1, sizeof(*s));
    s->coherence = c;
    s->changes = changes_new(c->base, c->config, c->id, c->names, c->router, link, &cb, s);
    return s;
}

struct coherence *coherence_new(struct event_base *base, struct config *config, const char *id,
                                const struct names *names, struct router *router,
                                struct cache *cache, const struct coherence_callbacks *cb,
                                void *arg)
{
    struct coherence *c = alloc_zeroed(1, sizeof(*c));
    c->base = base;
    c->config = config;
    c->id = id;
    c->names = names;
    c->router = router;
    c->cache = cache;
    c->cb = *cb;
    c->arg = arg;
    if (!router_is_cluster(router)) {
        c->only = open_source(c, router_link(router, 0));
        vec_push(c->sources, c->nsources, c->sources_cap, c->only);
    }
    return c;
}

void coherence_free(struct coherence *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->nsources; i++) {
        if (c->sources[i] != NULL)
            changes_free(c->sources[i]->changes);
        free(c->sources[i]);
    }
    free(c->sources);
    while (c->shown != NULL)
        take_oldest(c);
    free(c);
}

void coherence_start(struct coherence *c)
{
    if (c->config->coherence && c->only != NULL)
        changes_start(c->only->changes);
}

void coherence_stop(struct coherence *c)
{
    for (unsigned i = 0; i < c->nsources; i++) {
        if (c->sources[i] != NULL)
            changes_stop(c->sources[i]->changes);
    }
}

/* Of a node of the cluster; it has its address from when it is first there. */
static struct source *source_at(struct coherence *c, struct upstream *link)
{
    struct router_node n;
    unsigned i = 0;
    while (router_node(c->router, i, &n) && n.up != link)
        i++;
    while (c->nsources <= i)
        vec_push(c->sources, c->nsources, c->sources_cap, NULL);
    if (c->sources[i] == NULL) {
        c->sources[i] = open_source(c, link);
        changes_set_address(c->sources[i]->changes, upstream_address(link));
        changes_start(c->sources[i]->changes);
    }
    return c->sources[i];
}

void coherence_link(struct coherence *c, struct upstream *link, bool up)
{
    struct source *s = c->only;
    if (s == NULL && c->config->coherence)
        s = source_at(c, link);
    if (s != NULL)
        changes_link(s->changes, up);
}

void coherence_set_address(struct coherence *c, const char *address)
{
    if (c->only != NULL)
        changes_set_address(c->only->changes, address);
}

void coherence_stats(const struct coherence *c, struct coherence_stats *out)
{
    *out = c->stats;
}
