/* audit: see audit.h. */
#include "daemon/documents/audit.h"
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/documents/cache.h"
#include "daemon/documents/compare.h"
#include "daemon/documents/stale.h"
#include "protocol/alloc.h"
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define OPEN_MAX 8        /* looks at a time; most are over in a round trip */
#define ROUNDS_MAX 32     /* of one reading */
#define ELEMENTS_MAX 1000 /* of a document that are compared */
#define PROOF_WAIT 20     /* ms, before it is looked whether a proof has come */
#define BYTES_PER_MS 1024 /* of trees that are read; bigger ones make the next look wait */

/* When something wrong is looked at again: ms after the bound. */
static const unsigned times[AUDIT_TIMES] = {0, 1000, 10000};

/* At one document. */
struct look {
    struct look *prev, *next;
    struct audit *audit;
    struct doc *copy; /* what is read; in no cache */
    unsigned rounds;
    /* The document as it was when the look began; when it is another one the look is over. */
    uint64_t reading;
    int64_t version;
    uint8_t state;
    int64_t differed; /* when it was first seen that they do, clock_boot_ms(); 0: they did not */
    unsigned found;   /* how often, since then */
    struct event *again;
};

struct audit {
    const struct config *config;
    const struct router *router;
    struct coherence *coherence;
    struct cache *cache;
    const struct schema *schema;
    struct loader *loader;
    struct look *looks; /* utlist */
    unsigned nlooks;
    struct event *next;
    uint64_t rest; /* ms, after what was big */
    struct audit_stats stats;
};

static struct timeval ms_of(int64_t ms)
{
    return (struct timeval){ms / 1000, (suseconds_t)(ms % 1000 * 1000)};
}

/* ---- the document ---- */

/* A plain read would be answered from what is in memory. */
static bool is_given_out(const struct audit *a, const struct doc *d)
{
    bool known =
        d->state != DOC_UNKNOWN && !d->loading && !doc_dirty(d) && !d->spoilt && d->wrong == NULL;
    bool outgrown = d->root != NULL && d->growths != schema_growths(a->schema);
    bool over = d->expires != 0 && d->expires <= clock_wall_ms();
    return known && !outgrown && !over && !d->corrupt && d->written <= schema_known(a->schema) &&
           upstream_state(router_link(a->router, d->slot)) == UPSTREAM_UP &&
           d->epoch == router_epoch(a->router, d->slot) && coherence_hearing(a->coherence, d) &&
           coherence_current(a->coherence, d, clock_boot_ms());
}

static bool is_looked_at(const struct audit *a, const struct doc *d)
{
    const struct look *l = a->looks;
    while (l != NULL &&
           (l->copy->key_len != d->key_len || memcmp(l->copy->key, d->key, d->key_len)))
        l = l->next;
    return l != NULL;
}

/* The document, if it is still what the look began with; else NULL. */
static struct doc *looked_at(const struct look *l)
{
    struct doc *d = cache_find(l->audit->cache, l->copy->key, l->copy->key_len);
    bool same = d != NULL && d->state == l->state && d->reading == l->reading &&
                d->version == l->version && is_given_out(l->audit, d);
    return same ? d : NULL;
}

/* ---- a look ---- */

static void end_look(struct look *l)
{
    struct audit *a = l->audit;
    size_t memory = tree_memory();
    DL_DELETE(a->looks, l);
    a->nlooks--;
    a->stats.looks++;
    event_free(l->again);
    doc_alone_free(l->copy);
    if (memory > tree_memory())
        a->rest += (memory - tree_memory()) / BYTES_PER_MS;
    free(l);
}

static void read_copy(struct look *l)
{
    doc_forget(l->copy);
    l->rounds = 0;
    if (!loader_load(l->audit->loader, l->copy, LOAD_ALL, NULL, 0))
        end_look(l);
}

static void look_again(struct look *l, int64_t ms)
{
    struct timeval wait = ms_of(ms);
    event_add(l->again, &wait);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    struct look *l = arg;
    struct audit *a = l->audit;
    struct doc *d = looked_at(l);
    (void)fd;
    (void)what;
    if (d == NULL)
        end_look(l);
    else if (coherence_proved_at(a->coherence, d) > l->differed)
        read_copy(l);
    else if (coherence_prove(a->coherence, &d, 1))
        look_again(l, PROOF_WAIT);
    else
        end_look(l);
}

/* It has been wrong for longer than it may. */
static void count(struct look *l, struct doc *d, const char *where)
{
    struct audit *a = l->audit;
    if (l->found == 0)
        log_warning("%s: in memory it is not what Redis holds (%s), although that was changed more "
                    "than coherence.bound ago: the change was not heard of",
                    d->key, where);
    a->stats.wrong[l->found++]++;
    if (l->found < AUDIT_TIMES) {
        look_again(l, times[l->found] - times[l->found - 1]);
        return;
    }
    stale_mark_all(d);
    end_look(l);
}

static void take_difference(struct look *l, struct doc *d, const char *where)
{
    if (l->differed != 0) {
        count(l, d, where);
        return;
    }
    l->differed = clock_boot_ms();
    look_again(l, l->audit->config->coherence_bound);
}

/* Both are there. What the copy lacks is read first, unless that is no matter any more. */
static void compare(struct look *l, struct doc *d)
{
    struct comparison c = {.budget = ELEMENTS_MAX};
    bool same = compare_documents(&c, d, l->copy);
    if (!same)
        take_difference(l, d, (char *)c.at.data);
    else if (c.nmissing == 0 || ++l->rounds > ROUNDS_MAX ||
             !loader_load(l->audit->loader, l->copy, LOAD_MISSING, c.missing, c.nmissing))
        end_look(l);
    comparison_clear(&c);
}

static struct look *look_of(const struct audit *a, const struct doc *copy)
{
    struct look *l = a->looks;
    while (l->copy != copy)
        l = l->next;
    return l;
}

static void on_read(void *arg, struct doc *copy, const struct fault *fault)
{
    struct audit *a = arg;
    struct look *l = look_of(a, copy);
    struct doc *d = fault == NULL ? looked_at(l) : NULL;
    if (d == NULL || copy->corrupt || copy->wrong != NULL)
        end_look(l);
    else if (copy->state != d->state)
        take_difference(l, d, copy->state == DOC_ABSENT ? "it is not there" : "it is there");
    else if (d->state == DOC_PRESENT)
        compare(l, d);
    else
        end_look(l);
}

/* ---- when ---- */

static void on_use(void *arg)
{
    struct audit *a = arg;
    if (a->config->coherence_audit == 0) { /* until the settings say otherwise */
        coherence_on_next_use(a->coherence, on_use, a);
        return;
    }
    struct timeval wait = ms_of(1000 / a->config->coherence_audit + (int64_t)a->rest);
    a->rest = 0;
    event_add(a->next, &wait);
}

static void begin_look(struct audit *a, const struct doc *d)
{
    struct look *l = alloc_zeroed(1, sizeof(*l));
    l->audit = a;
    l->copy = doc_alone(d->model, d->key, d->key_len);
    l->copy->slot = d->slot;
    l->reading = d->reading;
    l->version = d->version;
    l->state = d->state;
    l->again = evtimer_new(event_get_base(a->next), on_again, l);
    DL_APPEND(a->looks, l);
    a->nlooks++;
    read_copy(l);
}

static void on_next(evutil_socket_t fd, short what, void *arg)
{
    struct audit *a = arg;
    uint64_t number;
    (void)fd;
    (void)what;
    evutil_secure_rng_get_bytes(&number, sizeof(number));
    const struct doc *d = a->nlooks < OPEN_MAX ? cache_any(a->cache, number) : NULL;
    if (d != NULL && is_given_out(a, d) && !is_looked_at(a, d))
        begin_look(a, d);
    coherence_on_next_use(a->coherence, on_use, a);
}

/* ---- interface ---- */

struct audit *audit_new(struct event_base *base, const struct config *config,
                        const struct router *router, const struct names *names,
                        struct coherence *coherence, struct cache *cache,
                        const struct schema *schema)
{
    struct audit *a = alloc_zeroed(1, sizeof(*a));
    a->config = config;
    a->router = router;
    a->coherence = coherence;
    a->cache = cache;
    a->schema = schema;
    a->loader = loader_new(router, cache, coherence, names, on_read, a);
    a->next = evtimer_new(base, on_next, a);
    coherence_on_next_use(coherence, on_use, a);
    return a;
}

void audit_free(struct audit *a)
{
    while (a->looks != NULL)
        end_look(a->looks);
    coherence_on_next_use(a->coherence, NULL, NULL);
    event_free(a->next);
    loader_free(a->loader);
    free(a);
}

void audit_stats(const struct audit *a, struct audit_stats *out)
{
    *out = a->stats;
}
