/* probe: see probe.h.
 *
 * A message is ["probe", origin's daemon, number of its wait, round, youngest wait seen so far
 * (unix µs, daemon, number), hops, key, path, action, text]: the lock that somebody on the way to
 * here waits for, and the way in words. Whoever gets it follows it here from each holder of that
 * lock over their waits, in all branches, and sends it on where the lease is elsewhere.
 *
 * The youngest wait is looked for among those that are probed for themselves: a wait for a lock of
 * its own host is not, so it could wait for its own probe for ever.
 *
 * A circle is found some PUBLISHes after the next probe of its youngest wait: `delays` says when
 * those are. Usually that is the first one, 10 ms after the wait began. It takes longer, as long
 * again as the wait has lasted but no more than a second, where the circle was closed by another of
 * its waits, a message was lost, or a lease had just moved. Waits that end by themselves while a
 * probe is on its way can make it see a circle that has just been broken. */
#include "daemon/leases/probe.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/locks/lock_text.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <inttypes.h>
#include <stdio.h>
#include <utlist.h>

#define HOPS_MAX 64
#define STEPS_MAX 20000     /* holds and waits looked at for one message, */
#define STEPS_SECOND 500000 /* and for all of a second */
#define SENT_MAX 2000       /* messages in a second */
#define PAYLOAD_MAX 16384   /* bytes */
#define WAY_MAX 512         /* bytes of the way in words */
#define FOLLOWED_MAX 1024   /* power of two */
#define ID_MAX 40
#define LINES 7

/* ms from one probe of a wait to the next; the last one again and again. */
static const int64_t delays[LINES] = {10, 20, 50, 100, 200, 500, 1000};

/* A wait as all daemons know it; the younger one is greater. */
struct stamp {
    int64_t us; /* unix, of its daemon's clock: taken once, so that all compare the same */
    char daemon[ID_MAX];
    uint64_t number;
};

struct probe { /* of a wait: its `probe` */
    struct probe *prev, *next;
    struct wait *wait;
    struct stamp stamp;
    int64_t due;
    uint64_t round;
    unsigned line;
};

/* Those that wait equally long for their next probe: due in the line's order. */
struct line {
    struct probes *all;
    struct probe *first;
    struct event *timer;
};

struct probes {
    char id[ID_MAX];
    struct bus *bus;
    struct locks *locks;
    struct line lines[LINES];
    int64_t second; /* which is counted: */
    unsigned sent, steps;
    uint64_t followed[FOLLOWED_MAX]; /* what was followed already, by hash */
};

/* One message, or one beginning, as it is followed. */
struct search {
    struct probes *p;
    char origin[ID_MAX];
    uint64_t number, round;
    struct stamp youngest;
    int64_t hops;
    size_t way_len;
    char way[WAY_MAX];
    uint64_t search; /* marks the owners that were followed */
    unsigned steps;
    bool over; /* the circle is found, or it takes too long */
};

static void follow_wait(struct search *s, const struct wait *w, unsigned depth);

/* ---- stamps ---- */

static int compare(const struct stamp *a, const struct stamp *b)
{
    if (a->us != b->us)
        return a->us < b->us ? -1 : 1;
    int order = strcmp(a->daemon, b->daemon);
    if (order != 0)
        return order;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* ---- the way in words ---- */

static void add_way(struct search *s, const struct wait *w)
{
    size_t room = sizeof(s->way) - s->way_len;
    int n = snprintf(s->way + s->way_len, room, "; %s of daemon %.8s for %s",
                     LOCK_WHO_TEXT(w->owner), s->p->id, LOCK_TEXT(w->lock));
    s->way_len += (size_t)n < room ? (size_t)n : room - 1;
}

/* ---- messages ---- */

static void count_second(struct probes *p)
{
    int64_t second = clock_boot_ms() / 1000;
    if (second == p->second)
        return;
    p->second = second;
    p->sent = p->steps = 0;
}

static bool may_send(struct probes *p)
{
    count_second(p);
    return p->sent < SENT_MAX && ++p->sent;
}

/* Probes come from whoever may PUBLISH; one that is not followed is sent again, if it is true. */
static bool step(struct search *s)
{
    if (++s->steps > STEPS_MAX || ++s->p->steps > STEPS_SECOND)
        s->over = true;
    return !s->over;
}

static void send_on(struct search *s, const struct lock *l, const char *to)
{
    struct buf b = BUF_INIT;
    if (s->hops >= HOPS_MAX || strcmp(to, s->p->id) == 0 || !may_send(s->p))
        return;
    pack_array(&b, 12);
    pack_cstr(&b, "probe");
    pack_cstr(&b, s->origin);
    pack_uint(&b, s->number);
    pack_uint(&b, s->round);
    pack_int(&b, s->youngest.us);
    pack_cstr(&b, s->youngest.daemon);
    pack_uint(&b, s->youngest.number);
    pack_int(&b, s->hops + 1);
    pack_str(&b, lock_key(l), l->key_len);
    pack_str(&b, lock_path(l), l->path_len);
    pack_str(&b, lock_action(l), l->action_len);
    pack_str(&b, s->way, s->way_len);
    if (b.len <= PAYLOAD_MAX)
        (void)bus_send(s->p->bus, lease_link(l), to, b.data, b.len);
    buf_free(&b);
}

static int read_id(struct cursor *c, char *out)
{
    const char *id;
    size_t len;
    if (cursor_str(c, &id, &len) < 0 || len >= ID_MAX)
        return -1;
    memcpy(out, id, len);
    out[len] = '\0';
    return 0;
}

static int read_count(struct cursor *c, uint64_t *out)
{
    int64_t n;
    if (cursor_int(c, &n) < 0 || n < 0)
        return -1;
    *out = (uint64_t)n;
    return 0;
}

static int read_probe(struct cursor *c, struct search *s, struct lock_name *name)
{
    const char *way;
    if (read_id(c, s->origin) < 0 || read_count(c, &s->number) < 0 ||
        read_count(c, &s->round) < 0 || cursor_int(c, &s->youngest.us) < 0 ||
        read_id(c, s->youngest.daemon) < 0 || read_count(c, &s->youngest.number) < 0 ||
        cursor_int(c, &s->hops) < 0 || s->hops < 0 || s->hops > HOPS_MAX ||
        cursor_str(c, &name->key, &name->key_len) < 0 ||
        cursor_str(c, &name->path, &name->path_len) < 0 ||
        cursor_str(c, &name->action, &name->action_len) < 0 ||
        cursor_str(c, &way, &s->way_len) < 0 || s->way_len >= sizeof(s->way))
        return -1;
    memcpy(s->way, way, s->way_len);
    return 0;
}

/* ---- following ---- */

static void refuse(struct search *s, struct wait *w)
{
    struct fault f;
    s->over = true;
    fault_set(&f, FAULT_DEADLOCK,
              "waiting would close a cycle over several hosts, where each waits for what the next "
              "one has: %s for %s%.*s",
              LOCK_WHO_TEXT(w->owner), LOCK_TEXT(w->lock), (int)s->way_len, s->way);
    lock_refuse(w, &f);
}

/* The origin's wait, if this is its owner. */
static struct wait *origin_of(struct search *s, const struct lock_owner *o)
{
    if (strcmp(s->origin, s->p->id) != 0)
        return NULL;
    for (struct wait *w = o->waits; w != NULL && step(s); w = w->next_of_owner)
        if (w->number == s->number)
            return w;
    return NULL;
}

static void follow_owner(struct search *s, struct lock_owner *o, unsigned depth)
{
    struct wait *origin = origin_of(s, o);
    if (origin != NULL) {
        const struct probe *own = origin->probe;
        if (own != NULL && compare(&s->youngest, &own->stamp) == 0)
            refuse(s, origin);
        return; /* else a younger one is in the circle, and finds it itself */
    }
    if (depth == HOPS_MAX || !lock_owner_first_seen(o, s->search))
        return;
    for (const struct wait *w = o->waits; w != NULL && step(s); w = w->next_of_owner) {
        const struct probe *own = w->probe;
        struct stamp before = s->youngest;
        size_t way_len = s->way_len;
        if (own != NULL && compare(&own->stamp, &s->youngest) > 0)
            s->youngest = own->stamp;
        add_way(s, w);
        follow_wait(s, w, depth + 1);
        s->youngest = before;
        s->way_len = way_len;
    }
}

static void follow_holders(struct search *s, const struct lock *l, unsigned depth)
{
    for (const struct hold *h = l->holds; h != NULL && step(s); h = h->next)
        follow_owner(s, h->owner, depth);
}

static void follow_wait(struct search *s, const struct wait *w, unsigned depth)
{
    const struct lock *l = w->lock;
    const char *id;
    follow_holders(s, l, depth);
    if (s->over || l->covers >= w->mode)
        return;
    for (size_t i = 0; (id = lease_elsewhere_at(l, i)) != NULL; i++)
        send_on(s, l, id);
}

/* The same round of the same wait may come to a lock by several ways, or run in a circle that its
 * origin is no part of. */
static bool followed_before(struct probes *p, const struct search *s, const struct lock *l)
{
    uint64_t parts[4] = {XXH3_64bits(s->origin, strlen(s->origin)), s->number, s->round,
                         (uintptr_t)l};
    uint64_t hash = XXH3_64bits_withSeed(parts, sizeof(parts), hash_seed) | 1;
    uint64_t *slot = &p->followed[hash >> 1 & (FOLLOWED_MAX - 1)];
    if (*slot == hash)
        return true;
    *slot = hash;
    return false;
}

bool probes_message(struct probes *p, const void *payload, size_t len)
{
    struct cursor c = cursor_of(payload, len);
    uint32_t n;
    const char *what;
    size_t what_len;
    struct lock_name name;
    struct search s = {.p = p};
    if (cursor_array(&c, &n) < 0 || cursor_str(&c, &what, &what_len) < 0 || what_len != 5 ||
        memcmp(what, "probe", 5) != 0)
        return false;
    if (read_probe(&c, &s, &name) < 0) {
        log_debug("a probe that is none of ours is ignored");
        return true;
    }
    const struct lock *l = locks_find(p->locks, &name);
    if (l == NULL || followed_before(p, &s, l))
        return true;
    count_second(p);
    s.search = locks_new_search(p->locks);
    follow_holders(&s, l, 0);
    return true;
}

/* ---- beginning ---- */

static void begin(struct probes *p, struct probe *own)
{
    const struct wait *w = own->wait;
    if (w->owner->holds == NULL)
        return; /* nobody can wait for it */
    struct search s = {.p = p,
                       .number = w->number,
                       .round = ++own->round,
                       .youngest = own->stamp,
                       .search = locks_new_search(p->locks)};
    count_second(p);
    memcpy(s.origin, p->id, sizeof(s.origin));
    follow_wait(&s, w, 0);
}

static void plan(struct line *line)
{
    if (line->first == NULL) {
        event_del(line->timer);
        return;
    }
    int64_t ms = line->first->due - clock_boot_ms();
    ms = ms < 0 ? 0 : ms;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(line->timer, &tv);
}

static void join(struct probes *p, struct probe *own, unsigned number)
{
    struct line *line = &p->lines[number];
    own->line = number;
    own->due = clock_boot_ms() + delays[number];
    DL_APPEND(line->first, own);
    if (line->first == own)
        plan(line);
}

static void on_line(evutil_socket_t fd, short what, void *arg)
{
    struct line *line = arg;
    struct probes *p = line->all;
    int64_t now = clock_boot_ms();
    (void)fd;
    (void)what;
    for (struct probe *own; (own = line->first) != NULL && own->due <= now;) {
        DL_DELETE(line->first, own);
        join(p, own, own->line + 1 < LINES ? own->line + 1 : own->line);
        begin(p, own); /* may end it */
    }
    plan(line);
}

void probes_waiting(struct probes *p, struct wait *w)
{
    if (w->probe != NULL)
        return;
    struct probe *own = alloc_zeroed(1, sizeof(*own));
    own->wait = w;
    int64_t age = clock_boot_ms() - w->since;
    own->stamp.us = clock_wall_us() - (age > 1 ? age * 1000 : 0); /* most begin now, within a ms */
    own->stamp.number = w->number;
    memcpy(own->stamp.daemon, p->id, sizeof(own->stamp.daemon));
    w->probe = own;
    join(p, own, 0);
}

void probes_ended(struct probes *p, struct wait *w)
{
    struct probe *own = w->probe;
    if (own == NULL)
        return;
    w->probe = NULL;
    DL_DELETE(p->lines[own->line].first, own);
    free(own);
}

struct probes *probes_new(struct event_base *base, const struct config *config, const char *id,
                          struct bus *bus, struct locks *locks)
{
    struct probes *p = alloc_zeroed(1, sizeof(*p));
    (void)config;
    snprintf(p->id, sizeof(p->id), "%s", id);
    p->bus = bus;
    p->locks = locks;
    for (size_t i = 0; i < LINES; i++) {
        p->lines[i].all = p;
        p->lines[i].timer = evtimer_new(base, on_line, &p->lines[i]);
    }
    return p;
}

void probes_free(struct probes *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < LINES; i++) {
        for (struct probe *own; (own = p->lines[i].first) != NULL;) {
            DL_DELETE(p->lines[i].first, own);
            free(own);
        }
        event_free(p->lines[i].timer);
    }
    free(p);
}
