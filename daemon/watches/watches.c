/* watches: see watches.h. */
#include "daemon/watches/watches.h"
#include "daemon/base/clock.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/changes.h"
#include "daemon/watches/watcher.h"
#include "protocol/alloc.h"
#include "protocol/path.h"
#include <stdlib.h>
#include <utlist.h>

#define TURN 1000 /* notifications, before others have their turn */

struct watches {
    const struct config *config;
    const struct schema *schema;
    const struct names *names;
    struct lanes *lanes;
    struct coherence *coherence;
    struct looks *looks;
    struct watched *watched;
    struct watcher *watchers, *due;
    struct commit_listener commits;
    struct event *kick; /* active: at the end of this turn */
    struct event *beat; /* while somebody watches */
    struct watches_stats stats;
};

/* ---- finding ---- */

static struct watched *find(const struct watches *w, const char *key, size_t len)
{
    struct watched *of;
    HASH_FIND(hh, w->watched, key, len, of);
    return of;
}

/* "User:42" -> that of "User:*". */
static struct watched *find_all(const struct watches *w, const char *key, size_t len)
{
    char all[NAME_MAX_LEN + 2];
    const char *colon = memchr(key, ':', len);
    size_t n = colon != NULL ? (size_t)(colon - key) : sizeof(all);
    if (n > NAME_MAX_LEN)
        return NULL;
    memcpy(all, key, n);
    memcpy(all + n, ":*", 2);
    return find(w, all, n + 2);
}

static bool somebody_watches(const struct watches *w, const char *key, size_t len)
{
    return find(w, key, len) != NULL || find_all(w, key, len) != NULL;
}

static struct watcher *watcher_of(const struct watches *w, const struct session *s)
{
    struct watcher *who;
    uint64_t number = session_number(s);
    HASH_FIND(hh, w->watchers, &number, sizeof(number), who);
    return who;
}

/* ---- telling ---- */

static void kick(struct watches *w)
{
    event_active(w->kick, 0, 0);
}

static void make_due(struct watches *w, struct watcher *who)
{
    if (who->due)
        return;
    who->due = true;
    DL_APPEND(w->due, who);
    kick(w);
}

static void tell_of(struct watches *w, struct watched *of, const char *key, size_t len,
                    int64_t version, const struct touched *t)
{
    for (struct watch *at = of != NULL ? of->watches : NULL; at != NULL; at = at->of_next) {
        if (!at->open) {
            at->missed = true; /* also when it is another part: once is no harm */
            at->missed_version = version;
        } else if (watcher_add(at->who, key, len, version, t, &at->region)) {
            if (at->who->bytes > w->config->watch_memory)
                watcher_lose(at->who);
            make_due(w, at->who);
        }
    }
}

/* A document that has come, or gone, is another in all its parts. */
static void tell(struct watches *w, const char *key, size_t len, int64_t version,
                 const struct touched *t)
{
    static const struct touched anything = {.all = true};
    struct watched *of = find(w, key, len);
    if (version == 0)
        t = &anything;
    tell_of(w, of, key, len, version, of != NULL && of->version == 0 ? &anything : t);
    tell_of(w, find_all(w, key, len), key, len, version, t);
    if (of != NULL)
        of->version = version;
}

/* It is told to look at all it watches. */
static void miss(struct watches *w, struct watcher *who)
{
    watcher_lose(who);
    for (struct watch *at = who->watches; at != NULL; at = at->next) {
        at->missed = at->missed || !at->open;
        at->missed_version = VERSION_UNKNOWN;
    }
    make_due(w, who);
}

/* All documents of a model. */
static bool is_model(const struct watched *of)
{
    return of->key[of->key_len - 1] == '*' && of->key[of->key_len - 2] == ':';
}

/* Who watches is told of single fields where other daemons are heard; else of all that may have
 * changed. */
static void follow(struct watches *w, const struct watched *of)
{
    if (!is_model(of))
        coherence_follow(w->coherence, of->slot);
}

void watches_gap(struct watches *w)
{
    struct watcher *who, *next;
    struct watched *of, *next_of;
    looks_drop(w->looks);
    HASH_ITER (hh, w->watchers, who, next)
        miss(w, who);
    HASH_ITER (hh, w->watched, of, next_of)
        follow(w, of);
}

void watches_links(struct watches *w)
{
    const struct router *router = lanes_router(w->lanes);
    struct watched *of, *next;
    HASH_ITER (hh, w->watched, of, next) {
        uint32_t epoch = router_epoch(router, of->slot);
        bool all = is_model(of) || of->epoch != epoch;
        for (struct watch *at = all ? of->watches : NULL; at != NULL; at = at->of_next)
            miss(w, at->who);
        if (of->epoch != epoch)
            follow(w, of);
        of->epoch = epoch;
    }
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    struct watches *w = arg;
    struct watcher_told count = {.told = 0};
    (void)fd;
    (void)what;
    looks_send(w->looks);
    while (w->due != NULL && count.told + count.lost < TURN) {
        struct watcher *who = w->due;
        DL_DELETE(w->due, who);
        who->due = false;
        watcher_tell(who, w->schema, &count);
    }
    w->stats.told += count.told;
    w->stats.lost += count.lost;
    if (w->due != NULL) /* others want to be served in between */
        event_add(w->kick, &(struct timeval){0});
}

/* ---- what is heard ---- */

static void on_commit(void *arg, const struct committed *c)
{
    struct watches *w = arg;
    struct committed at = *c;
    struct touched t = {.all = c->rewritten};
    const char *suffix, *field;
    size_t len, field_len;
    if (!somebody_watches(w, c->doc->key, c->doc->key_len))
        return;
    while ((suffix = committed_suffix(&at, &len)) != NULL) {
        field = committed_field(&at, &field_len);
        do
            touched_add(&t, suffix, len, field, field_len);
        while (field != NULL && (field = committed_field(&at, &field_len)) != NULL);
    }
    tell(w, c->doc->key, c->doc->key_len, c->version, &t);
    touched_free(&t);
}

/* A version that others have made: of what is in memory another one is not given out any more. */
static void on_seen(void *arg, const char *key, size_t len, int64_t version,
                    const struct touched *t)
{
    struct watches *w = arg;
    if (version != VERSION_UNKNOWN)
        coherence_seen(w->coherence, key, len, version);
    tell(w, key, len, version, t);
}

/* Whether it is to be looked at in Redis. */
static bool wanted(struct watches *w, const char *key, size_t len)
{
    if (!somebody_watches(w, key, len))
        return false;
    if (looks_bytes(w->looks) > w->config->watch_memory) {
        watches_gap(w);
        return false;
    }
    w->stats.looks++;
    kick(w);
    return true;
}

static void on_others_commit(void *arg, const struct change *change)
{
    struct watches *w = arg;
    struct change at = *change;
    struct change_place place = {.suffix = NULL};
    if (!wanted(w, change->key, change->key_len))
        return;
    while (change_next(&at, &place)) {
        if (place.rewritten)
            looks_all(w->looks, change->key, change->key_len);
        else
            looks_add(w->looks, change->key, change->key_len, place.suffix, place.suffix_len,
                      place.field, place.field_len);
    }
    if (change->deleted || change->nplaces == 0)
        looks_add(w->looks, change->key, change->key_len, "", 0, NULL, 0);
}

static bool on_written(void *arg, const char *key, size_t key_len, const char *suffix,
                       size_t suffix_len)
{
    struct watches *w = arg;
    if (wanted(w, key, key_len))
        looks_add(w->looks, key, key_len, suffix, suffix_len, NULL, 0);
    return somebody_watches(w, key, key_len);
}

static void on_gap(void *arg)
{
    watches_gap(arg);
}

/* ---- while somebody watches ---- */

static void plan_beat(struct watches *w)
{
    unsigned ms = w->config->coherence_bound / 2;
    event_add(w->beat, &(struct timeval){ms / 1000, (suseconds_t)(ms % 1000 * 1000)});
}

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    struct watches *w = arg;
    (void)fd;
    (void)what;
    (void)coherence_trust(w->coherence);
    plan_beat(w);
}

static void begin(struct watches *w)
{
    static const struct coherence_listener others = {
        .committed = on_others_commit, .written = on_written, .gap = on_gap};
    lanes_listen(w->lanes, &w->commits);
    coherence_listen(w->coherence, &others, w);
    plan_beat(w);
}

static void end(struct watches *w)
{
    lanes_unlisten(w->lanes, &w->commits);
    coherence_listen(w->coherence, NULL, NULL);
    event_del(w->beat);
    looks_drop(w->looks);
}

/* ---- watches ---- */

static void unref(struct watch *at)
{
    if (--at->refs > 0)
        return;
    region_free(&at->region);
    free(at);
}

/* Takes it out of everything; its watcher goes with the last one. */
static void detach(struct watches *w, struct watch *at)
{
    struct watched *of = at->of;
    struct watcher *who = at->who;
    DL_DELETE2(of->watches, at, of_prev, of_next);
    DL_DELETE(who->watches, at);
    at->of = NULL;
    at->who = NULL;
    if (of->watches == NULL) {
        HASH_DELETE(hh, w->watched, of);
        free(of);
    }
    if (--who->n == 0) {
        watcher_lose(who);
        if (who->due)
            DL_DELETE(w->due, who);
        HASH_DELETE(hh, w->watchers, who);
        free(who);
    }
    if (--w->stats.watches == 0)
        end(w);
    unref(at);
}

static struct watch *find_watch(const struct watcher *who, const char *key, size_t len,
                                const struct region *region)
{
    for (struct watch *at = who != NULL ? who->watches : NULL; at != NULL; at = at->next) {
        const struct buf *path = &at->region.path;
        if (at->of->key_len == len && memcmp(at->of->key, key, len) == 0 &&
            path->len == region->path.len &&
            (path->len == 0 || memcmp(path->data, region->path.data, path->len) == 0))
            return at;
    }
    return NULL;
}

static struct watcher *new_watcher(struct watches *w, struct session *s)
{
    struct watcher *who = alloc_zeroed(1, sizeof(*who));
    who->number = session_number(s);
    who->session = s;
    HASH_ADD(hh, w->watchers, number, sizeof(who->number), who);
    return who;
}

static struct watched *new_watched(struct watches *w, const char *key, size_t len)
{
    struct watched *of = alloc_zeroed(1, sizeof(*of) + len + 1);
    of->version = VERSION_UNKNOWN;
    of->key_len = len;
    memcpy(of->key, key, len);
    struct buf root = BUF_INIT;
    layout_key(&root, w->names, key, len, "", 0);
    of->slot = router_slot(lanes_router(w->lanes), (char *)root.data, root.len);
    of->epoch = router_epoch(lanes_router(w->lanes), of->slot);
    buf_free(&root);
    HASH_ADD(hh, w->watched, key, len, of);
    follow(w, of);
    return of;
}

static int check_room(const struct watches *w, unsigned own, struct fault *f)
{
    const struct config *c = w->config;
    if (own >= c->client_watches)
        return fault_set(f, FAULT_BUSY,
                         "this connection watches %u places, limits.client_watches is %u", own,
                         c->client_watches);
    if (w->stats.watches >= c->max_watches)
        return fault_set(f, FAULT_BUSY, "all connections watch %u places, limits.max_watches is %u",
                         w->stats.watches, c->max_watches);
    return 0;
}

static struct watch *new_watch(struct watches *w, struct session *s, const char *key, size_t len,
                               const struct region *region)
{
    struct watch *at = alloc_zeroed(1, sizeof(*at));
    at->refs = 1;
    at->region = *region;
    at->who = watcher_of(w, s);
    if (at->who == NULL)
        at->who = new_watcher(w, s);
    at->of = find(w, key, len);
    if (at->of == NULL)
        at->of = new_watched(w, key, len);
    at->who->n++;
    DL_APPEND(at->who->watches, at);
    DL_APPEND2(at->of->watches, at, of_prev, of_next);
    if (w->stats.watches++ == 0)
        begin(w);
    return at;
}

struct watch *watches_add(struct watches *w, struct session *s, const char *key, size_t len,
                          struct region *region, struct fault *f)
{
    struct watcher *who = watcher_of(w, s);
    struct watch *at = find_watch(who, key, len, region);
    if (at == NULL && check_room(w, who != NULL ? who->n : 0, f) < 0) {
        region_free(region);
        return NULL;
    }
    if (at != NULL)
        region_free(region);
    else
        at = new_watch(w, s, key, len, region);
    at->refs++;
    at->opening++;
    return at;
}

const struct region *watch_region(const struct watch *at)
{
    return &at->region;
}

/* What was noted before it was answered, or what the answer says: which was later is not known. */
static int64_t later_version(int64_t missed, int64_t answered)
{
    if (missed > 0 && answered > 0)
        return missed > answered ? missed : answered;
    return missed == answered ? answered : VERSION_UNKNOWN;
}

void watch_answered(struct watches *w, struct watch *at, int64_t version)
{
    static const struct touched anything = {.all = true};
    at->opening--;
    if (at->of != NULL) {
        at->open = true;
        if (!at->missed)
            at->of->version = version;
        else if (watcher_add(at->who, at->of->key, at->of->key_len,
                             later_version(at->missed_version, version), &anything, &at->region))
            make_due(w, at->who);
        at->missed = false;
    }
    unref(at);
}

void watch_refused(struct watches *w, struct watch *at)
{
    if (--at->opening == 0 && !at->open && at->of != NULL)
        detach(w, at);
    unref(at);
}

bool watches_remove(struct watches *w, struct session *s, const char *key, size_t len,
                    const struct region *region)
{
    struct watch *at = find_watch(watcher_of(w, s), key, len, region);
    if (at != NULL)
        detach(w, at);
    return at != NULL;
}

void watches_client_gone(struct watches *w, struct session *s)
{
    for (struct watcher *who = watcher_of(w, s); who != NULL; who = watcher_of(w, s))
        detach(w, who->watches);
}

void watches_client_drained(struct watches *w, struct session *s)
{
    struct watcher *who = w->stats.watches > 0 ? watcher_of(w, s) : NULL;
    if (who != NULL && (who->lost || who->news != NULL))
        make_due(w, who);
}

/* ---- over to another process ---- */

static void save_watch(const struct watch *at, struct buf *out)
{
    const struct region *in = &at->region;
    pack_array(out, 4);
    pack_str(out, at->of->key, at->of->key_len);
    pack_bin(out, in->path.data, in->path.len);
    pack_bin(out, in->name.data, in->name.len);
    pack_bool(out, in->container);
}

/* Only those that were answered: the others' requests are not, and nothing is to be told yet. */
void watches_save(const struct watches *w, struct state_writer *out)
{
    pack_array(&out->out, HASH_COUNT(w->watchers));
    for (const struct watcher *who = w->watchers; who != NULL; who = who->hh.next) {
        uint32_t n = 0;
        pack_array(&out->out, 2);
        pack_uint(&out->out, who->number);
        size_t at = pack_array_open(&out->out);
        for (const struct watch *one = who->watches; one != NULL; one = one->next) {
            if (!one->open)
                continue;
            save_watch(one, &out->out);
            n++;
        }
        pack_array_close(&out->out, at, n);
    }
}

static void read_watch(struct watches *w, struct session *s, struct state_reader *r)
{
    struct state_tuple tuple = state_enter(r, 4);
    struct region in = {.container = false};
    size_t len;
    const char *key = state_str(r, &len);
    state_bytes(r, &in.path);
    state_bytes(r, &in.name);
    in.container = state_bool(r);
    state_leave(r, &tuple);
    if (r->bad)
        region_free(&in);
    else
        new_watch(w, s, key, len, &in)->open = true;
}

int watches_resume(struct watches *w, struct sessions *all, struct state_reader *r)
{
    for (uint32_t n = state_count(r); n > 0 && !r->bad; n--) {
        struct state_tuple tuple = state_enter(r, 2);
        struct session *s = sessions_find(all, state_uint(r));
        if (s == NULL)
            return -1;
        for (uint32_t i = state_count(r); i > 0 && !r->bad; i--)
            read_watch(w, s, r);
        state_leave(r, &tuple);
    }
    watches_gap(w);
    return r->bad ? -1 : 0;
}

struct watches *watches_new(struct event_base *base, const struct config *config,
                            const struct names *names, const struct schema *schema,
                            struct lanes *lanes, struct coherence *coherence)
{
    struct watches *w = alloc_zeroed(1, sizeof(*w));
    w->config = config;
    w->schema = schema;
    w->names = names;
    w->lanes = lanes;
    w->coherence = coherence;
    w->looks = looks_new(lanes_router(lanes), names, on_seen, w);
    w->commits = (struct commit_listener){.on_committed = on_commit, .arg = w};
    w->kick = event_new(base, -1, 0, on_kick, w);
    w->beat = evtimer_new(base, on_beat, w);
    return w;
}

void watches_free(struct watches *w)
{
    looks_free(w->looks);
    event_free(w->kick);
    event_free(w->beat);
    free(w);
}

void watches_stats(const struct watches *w, struct watches_stats *out)
{
    *out = w->stats;
}
