/* watch: see watch.h. */
#include "client/watch.h"
#include "client/request.h"
#include "client/slots.h"
#include "client/value.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define KEPT_MAX 1024 /* documents that nobody has taken, and those heard of inside a callback */
#define AGAIN_MS 500  /* before a watch that the daemon could not take is asked for again */
#define PAUSE_MS 100  /* between tries to connect */
#define UNKNOWN (-1)

/* A change that was told, in one piece of memory with all that it points to. */
struct heard {
    struct heard *prev, *next;
    rapyer_change change;
    const char *paths[];
};

struct watch {
    struct watch *prev, *next;
    uint64_t number; /* in the order in which they began */
    char *key, *path;
    char *inside; /* what of the path the daemon watches; NULL: it has not answered yet */
    rapyer_watch_callback *cb;
    void *user;
    bool asking;          /* by a call that waits for the answer itself */
    bool again;           /* is to be asked for */
    bool lost;            /* is to be told so */
    bool over;            /* freed when no callback runs */
    struct fault refused; /* by the daemon, for good: to be told */
};

struct watching {
    struct watch *watches;
    struct heard *heard, *kept; /* in order, one of each document */
    unsigned nheard, nkept;
    struct heard *taken; /* what rapyer_wait_change gave out last */
    rapyer_change look;  /* the same, when it was a watch that is lost */
    char *look_key;
    int64_t again_at; /* clock_ms(); 0: nothing is to be asked for */
    uint64_t numbers;
    bool telling;
};

/* ---- what was told ---- */

/* version and paths as in the change; paths NULL: anything. NULL: no memory. */
static struct heard *heard_new(const char *key, size_t key_len, int64_t version,
                               const struct cursor *paths, uint32_t n)
{
    size_t bytes = key_len + 1, len;
    const char *s;
    struct cursor in;
    if (paths) {
        in = *paths;
        for (uint32_t i = 0; i < n && cursor_str(&in, &s, &len) == 0; i++)
            bytes += len + 1;
    }
    struct heard *h = malloc(sizeof *h + n * sizeof *h->paths + bytes);
    if (!h)
        return NULL;
    *h = (struct heard){.change.version = version};
    char *at = (char *)&h->paths[n];
    h->change.key = at;
    at = (char *)mempcpy(at, key, key_len);
    *at++ = '\0';
    if (!paths)
        return h;
    in = *paths;
    h->change.paths = h->paths;
    while (h->change.npaths < n && cursor_str(&in, &s, &len) == 0) {
        h->paths[h->change.npaths++] = at;
        at = (char *)mempcpy(at, s, len);
        *at++ = '\0';
    }
    return h;
}

static void forget_paths(struct heard *h)
{
    h->change.paths = NULL;
    h->change.npaths = 0;
}

/* What both say of one document, the second one later. Takes them; NULL: no memory. */
static struct heard *heard_join(struct heard *a, struct heard *b)
{
    struct buf all = BUF_INIT;
    struct heard *joined = b;
    if (!a->change.paths || !b->change.paths) {
        forget_paths(b);
        free(a);
        return b;
    }
    for (size_t i = 0; i < a->change.npaths; i++)
        pack_cstr(&all, a->change.paths[i]);
    uint32_t n = (uint32_t)a->change.npaths;
    for (size_t i = 0; i < b->change.npaths; i++) {
        size_t same = 0;
        while (same < a->change.npaths && strcmp(a->change.paths[same], b->change.paths[i]) != 0)
            same++;
        if (same < a->change.npaths)
            continue;
        pack_cstr(&all, b->change.paths[i]);
        n++;
    }
    struct cursor in = cursor_of(all.data, all.len);
    joined = all.failed
                 ? NULL
                 : heard_new(b->change.key, strlen(b->change.key), b->change.version, &in, n);
    buf_free(&all);
    free(a);
    free(b);
    return joined;
}

static void free_all(struct heard **list, unsigned *n)
{
    struct heard *h, *next;
    DL_FOREACH_SAFE (*list, h, next)
        free(h);
    *list = NULL;
    *n = 0;
}

/* Takes h, NULL: there was no memory for it. False: what was in the list is lost, too. */
static bool put(struct heard **list, unsigned *n, struct heard *h)
{
    struct heard *same = NULL;
    if (h)
        DL_FOREACH (*list, same) {
            if (strcmp(same->change.key, h->change.key) == 0)
                break;
        }
    if (same) {
        DL_DELETE(*list, same);
        --*n;
        h = heard_join(same, h);
    }
    if (h && *n < KEPT_MAX) {
        DL_APPEND(*list, h);
        ++*n;
        return true;
    }
    free(h);
    free_all(list, n);
    return false;
}

static void lose(struct watching *w, bool callbacks)
{
    struct watch *at;
    DL_FOREACH (w->watches, at)
        at->lost = at->lost || callbacks || !at->cb;
}

static void hear(struct watching *w, struct heard *h)
{
    if (!put(&w->heard, &w->nheard, h))
        lose(w, true);
}

void watch_notified(rapyer *db, const struct rpc *m)
{
    struct cursor in = m->params;
    const char *key;
    size_t len;
    int64_t version = UNKNOWN;
    uint32_t n = 0;
    if (!db->watching || m->method_len != 7 || memcmp(m->method, "changed", 7) != 0 ||
        m->nparams < 3 || cursor_str(&in, &key, &len) < 0 ||
        (!cursor_nil(&in) && cursor_int(&in, &version) < 0))
        return;
    bool anything = cursor_nil(&in) || cursor_array(&in, &n) < 0;
    hear(db->watching, heard_new(key, len, version, anything ? NULL : &in, anything ? 0 : n));
}

/* ---- which watches it is for ---- */

/* One of the paths is the other, or within it. */
static bool touch(const char *a, const char *b)
{
    size_t i = 0;
    while (a[i] && a[i] == b[i])
        i++;
    const char *longer = a[i] ? a + i : b + i;
    return i == 0 ? !a[0] || !b[0] : (!a[i] || !b[i]) && strchr(".[", *longer) != NULL;
}

static bool same_key(const struct watch *at, const char *key)
{
    size_t n = strlen(at->key);
    return strcmp(at->key, key) == 0 ||
           (n > 2 && strcmp(at->key + n - 2, ":*") == 0 && strncmp(at->key, key, n - 1) == 0);
}

static bool concerns(const struct watch *at, const rapyer_change *c)
{
    if (at->over || !same_key(at, c->key))
        return false;
    for (size_t i = 0; i < c->npaths; i++) {
        if (touch(at->inside ? at->inside : "", c->paths[i]))
            return true;
    }
    return c->paths == NULL;
}

/* ---- telling ---- */

static void watch_drop(struct watching *w, struct watch *at)
{
    at->over = true;
    if (w->telling)
        return;
    DL_DELETE(w->watches, at);
    free(at->key);
    free(at->path);
    free(at->inside);
    free(at);
}

static void call(rapyer *db, struct watch *at, const rapyer_change *change)
{
    db->depth++;
    at->cb(db, change, at->user);
    db->depth--;
}

static void tell(rapyer *db, struct heard *h)
{
    struct watching *w = db->watching;
    bool wanted = false;
    uint64_t last = w->numbers; /* what begins in a callback is behind this change */
    struct watch *at;
    DL_FOREACH (w->watches, at) {
        if (at->number > last || !concerns(at, &h->change))
            continue;
        wanted = wanted || !at->cb;
        if (at->cb)
            call(db, at, &h->change);
    }
    if (!wanted)
        free(h);
    else if (!put(&w->kept, &w->nkept, h))
        lose(w, false);
}

static void tell_alone(rapyer *db, struct watch *at)
{
    rapyer_change look = {.key = at->key, .version = UNKNOWN};
    if (at->over || !at->cb)
        return;
    if (at->refused.code != FAULT_NONE) {
        db_fail(db, &at->refused);
        at->over = true;
        call(db, at, NULL);
    } else if (at->lost) {
        at->lost = false;
        call(db, at, &look);
    }
}

static void tell_all(rapyer *db)
{
    struct watching *w = db->watching;
    struct watch *at, *next;
    w->telling = true;
    DL_FOREACH (w->watches, at)
        tell_alone(db, at);
    while (w->heard) {
        struct heard *h = w->heard;
        DL_DELETE(w->heard, h);
        w->nheard--;
        tell(db, h);
    }
    w->telling = false;
    DL_FOREACH_SAFE (w->watches, at, next) {
        if (at->over)
            watch_drop(w, at);
    }
}

/* ---- asking ---- */

static void pack_asked(const struct watch *at, struct buf *params)
{
    pack_cstr(params, at->key);
    pack_cstr(params, at->path);
}

/* Of the answer; NULL stays what it was. */
static void take_inside(struct watch *at, const rapyer_value *answer)
{
    char *inside = strdup(rapyer_str(answer, "path", at->path));
    if (!inside)
        return;
    free(at->inside);
    at->inside = inside;
}

static struct watch *find(const rapyer *db, const char *key, const char *path)
{
    struct watch *at = NULL;
    if (db->watching)
        DL_FOREACH (db->watching->watches, at) {
            if (!at->over && strcmp(at->key, key) == 0 && strcmp(at->path, path) == 0)
                break;
        }
    return at;
}

static void try_later(struct watching *w, struct watch *at)
{
    at->again = true;
    if (w->again_at == 0)
        w->again_at = clock_ms() + AGAIN_MS;
}

static void on_again(rapyer *db, struct request *rq, enum outcome how, rapyer_value **result,
                     const struct fault *f)
{
    char *asked = rq->arg, *path = asked + strlen(asked) + 1;
    struct watch *at = find(db, asked, path);
    if (at && how == OUTCOME_ANSWER && *result) {
        take_inside(at, *result);
        hear(db->watching,
             heard_new(at->key, strlen(at->key), rapyer_int(*result, "version", UNKNOWN), NULL, 0));
    } else if (at && how == OUTCOME_ANSWER &&
               (f->code == FAULT_UNAVAILABLE || f->code == FAULT_BUSY)) {
        try_later(db->watching, at);
    } else if (at && how == OUTCOME_ANSWER) {
        at->refused = *f;
    } else if (at && db->fd >= 0) { /* no answer in time */
        try_later(db->watching, at);
    } /* else with the next connection */
    free(asked);
}

static int ask_again(rapyer *db, struct watch *at)
{
    struct buf params = BUF_INIT;
    size_t key = strlen(at->key) + 1, path = strlen(at->path) + 1;
    char *asked = malloc(key + path);
    struct request *rq = calloc(1, sizeof *rq);
    if (!asked || !rq) {
        free(asked);
        free(rq);
        return db_no_memory(db);
    }
    memcpy(asked, at->key, key);
    memcpy(asked + key, at->path, path);
    *rq = (struct request){.done = on_again, .arg = asked, .urgent = true};
    pack_asked(at, &params);
    at->again = false;
    int rc = slots_queue(db, rq, "watch", 2, &params);
    buf_free(&params);
    if (rc < 0)
        free(asked);
    return rc;
}

int watch_reconnected(rapyer *db)
{
    struct watching *w = db->watching;
    struct watch *at = NULL;
    int rc = 0;
    if (!w)
        return 0;
    w->again_at = 0;
    DL_FOREACH (w->watches, at) {
        if (!at->over && !at->asking && at->refused.code == FAULT_NONE && rc == 0)
            rc = ask_again(db, at);
    }
    return rc;
}

bool watch_any(const rapyer *db)
{
    return db->watching && db->watching->watches;
}

int watch_due_ms(const rapyer *db)
{
    if (!watch_any(db))
        return -1;
    if (db->fd < 0)
        return PAUSE_MS;
    int64_t left = db->watching->again_at - clock_ms();
    return db->watching->again_at == 0 ? -1 : left < 0 ? 0 : (int)left;
}

void watch_work(rapyer *db)
{
    struct watching *w = db->watching;
    struct watch *at;
    if (!w || db->depth > 0 || w->telling)
        return;
    if (w->again_at != 0 && w->again_at <= clock_ms() && db->fd >= 0) {
        w->again_at = 0;
        DL_FOREACH (w->watches, at) {
            if (at->again && !at->over && ask_again(db, at) < 0)
                try_later(w, at);
        }
    }
    tell_all(db);
    slots_deliver(db);
}

void watch_free(rapyer *db)
{
    struct watching *w = db->watching;
    struct watch *at, *next;
    if (!w)
        return;
    DL_FOREACH_SAFE (w->watches, at, next)
        watch_drop(w, at);
    free_all(&w->heard, &w->nheard);
    free_all(&w->kept, &w->nkept);
    free(w->taken);
    free(w->look_key);
    free(w);
    db->watching = NULL;
}

/* ---- for the caller ---- */

static struct watch *watch_new(rapyer *db, const char *key, const char *path)
{
    struct watch *at = calloc(1, sizeof *at);
    if (!db->watching)
        db->watching = calloc(1, sizeof *db->watching);
    if (at)
        *at = (struct watch){.key = strdup(key), .path = strdup(path)};
    if (at && at->key && at->path && db->watching) {
        at->number = ++db->watching->numbers;
        DL_APPEND(db->watching->watches, at);
        return at;
    }
    if (at) {
        free(at->key);
        free(at->path);
    }
    free(at);
    db_no_memory(db);
    return NULL;
}

static int64_t watch(rapyer *db, const char *key, const char *path, rapyer_watch_callback *cb,
                     void *user)
{
    struct buf params = BUF_INIT;
    int64_t version = -1;
    path = path ? path : "";
    struct watch *at = find(db, key, path);
    bool fresh = !at;
    if (!at && !(at = watch_new(db, key, path)))
        return -1;
    at->cb = cb;
    at->user = user;
    at->asking = true;
    pack_asked(at, &params);
    rapyer_value *answer = request_wait(db, "watch", 2, &params);
    buf_free(&params);
    at = find(db, key, path); /* a callback may have ended it meanwhile */
    if (at)
        at->asking = false;
    if (answer && at) {
        take_inside(at, answer);
        version = rapyer_int(answer, "version", 0);
    } else if (at && fresh) {
        watch_drop(db->watching, at);
    } else if (answer) {
        version = rapyer_int(answer, "version", 0);
    }
    rapyer_value_free(answer);
    return version;
}

int64_t rapyer_watch(rapyer *db, const char *key, const char *path, rapyer_watch_callback *cb,
                     void *user)
{
    if (!db)
        return -1;
    if (!key)
        return db_failf(db, FAULT_BAD_VALUE, "what is to be watched is NULL");
    char *whole = db_whole_name(db, key);
    int64_t version = whole ? watch(db, whole, path, cb, user) : -1;
    free(whole);
    return version;
}

int rapyer_unwatch(rapyer *db, const char *key, const char *path)
{
    struct buf params = BUF_INIT;
    if (!db)
        return -1;
    if (!key)
        return db_failf(db, FAULT_BAD_VALUE, "what is to be watched no more is NULL");
    char *whole = db_whole_name(db, key);
    if (!whole)
        return -1;
    struct watch *at = find(db, whole, path ? path : "");
    free(whole);
    if (!at)
        return 0;
    pack_asked(at, &params);
    watch_drop(db->watching, at);
    /* A connection that is gone has none. */
    rapyer_value *answer = db->fd >= 0 ? request_wait(db, "unwatch", 2, &params) : NULL;
    bool failed = !answer && db->fd >= 0;
    buf_free(&params);
    rapyer_value_free(answer);
    return failed ? -1 : 1;
}

/* Of the watches without a callback: what there is to be told. 1, 0: nothing, -1. */
static int take(rapyer *db, const rapyer_change **change)
{
    struct watching *w = db->watching;
    struct watch *at, *next;
    DL_FOREACH_SAFE (w->watches, at, next) {
        if (at->cb || (!at->lost && at->refused.code == FAULT_NONE))
            continue;
        if (at->refused.code != FAULT_NONE) {
            db_fail(db, &at->refused);
            watch_drop(w, at);
            return -1;
        }
        free(w->look_key);
        w->look_key = strdup(at->key);
        if (!w->look_key)
            return db_no_memory(db);
        at->lost = false;
        w->look = (rapyer_change){.key = w->look_key, .version = UNKNOWN};
        *change = &w->look;
        return 1;
    }
    if (!w->kept)
        return 0;
    free(w->taken);
    w->taken = w->kept;
    DL_DELETE(w->kept, w->taken);
    w->nkept--;
    *change = &w->taken->change;
    return 1;
}

static bool waits_for_any(const rapyer *db)
{
    struct watch *at = NULL;
    if (db->watching)
        DL_FOREACH (db->watching->watches, at) {
            if (!at->cb && !at->over)
                break;
        }
    return at != NULL;
}

int rapyer_wait_change(rapyer *db, int milliseconds, const rapyer_change **change)
{
    int64_t until = milliseconds < 0 ? INT64_MAX : clock_ms() + milliseconds;
    *change = NULL;
    if (!db)
        return -1;
    if (db->depth > 0)
        return db_failf(db, FAULT_BAD_REQUEST, "a callback cannot wait for changes");
    rapyer_process(db, 0);
    for (;;) {
        if (!waits_for_any(db))
            return db_failf(db, FAULT_BAD_REQUEST, "nothing is watched without a callback");
        int got = take(db, change);
        int64_t left = until == INT64_MAX ? INT32_MAX : until - clock_ms();
        if (got != 0 || left <= 0)
            return got;
        connection_wait_for(db, left > INT32_MAX ? INT32_MAX : (int)left);
    }
}
