/* doctor: see doctor.h. A round asks one Redis, or all nodes of a cluster at the same time; a probe
 * collects the answers of one of them as texts. What is judged of these stands in doctor_checks. */
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/methods/doctor_inside.h"
#include "daemon/redis/shards.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static const char *const config_names[CONFIG_COUNT] = {"appendonly",
                                                       "appendfsync",
                                                       "aof-load-truncated",
                                                       "save",
                                                       "maxmemory",
                                                       "maxmemory-policy",
                                                       "min-replicas-to-write",
                                                       "cluster-node-timeout",
                                                       "cluster-require-full-coverage"};

#define QUESTIONS (1 + CONFIG_COUNT + RIGHTS_MAY_REHEARSE) /* and of a node CLUSTER INFO, NODES */

struct round {
    struct doctor *doctor;   /* NULL: it is gone */
    struct session *session; /* NULL: for the log */
    uint64_t id;
    unsigned open; /* probes whose answers are awaited */
    unsigned n;
    struct round *prev, *next;
    struct probe probes[];
};

/* Of a node; of each thing that is logged a hash of its last text, 0 where all was well. */
struct warned {
    struct warned *next;
    uint32_t epoch; /* of the link over which it was asked last; 0: none */
    uint32_t said[8];
    char node[];
};

/* ---- telling ---- */

static void pack_finding(struct buf *out, const char *node, const char *check,
                         const struct finding *f)
{
    static const char *const states[] = {"ok", "warn", "bad"};
    pack_map(out, node[0] != '\0' ? 5 : 4);
    if (node[0] != '\0') {
        pack_cstr(out, "node");
        pack_cstr(out, node);
    }
    pack_cstr(out, "check");
    pack_cstr(out, check);
    pack_cstr(out, "state");
    pack_cstr(out, states[f->state]);
    pack_cstr(out, "found");
    pack_cstr(out, f->found);
    pack_cstr(out, "advice");
    pack_cstr(out, f->advice != NULL ? f->advice : "");
}

static struct finding look_at_link(const struct probe *p)
{
    if (p->node[0] == '\0')
        return p->lost[0] == '\0' ? finding(OK, NULL, "up")
                                  : finding(BAD,
                                            "Nothing can be written, nor read that is not in "
                                            "memory, until Redis answers.",
                                            "%s", p->lost);
    if (p->lost[0] == '\0')
        return finding(OK, NULL, "up, %u slots: %s", p->slots, p->ranges);
    if (p->slots == 0)
        return finding(WARN, "It is no master now. See after it, or take it out of redis.redis.",
                       "no slots, and it does not answer: %s", p->lost);
    return finding(BAD,
                   "Documents in its slots can neither be read nor written until it answers, or "
                   "another one takes its place.",
                   "%u slots (%s) are away: %s", p->slots, p->ranges, p->lost);
}

static uint32_t pack_probe(struct buf *out, const struct probe *p)
{
    struct finding link = look_at_link(p);
    bool node = p->node[0] != '\0', asked = p->lost[0] == '\0' && (!node || p->slots > 0);
    uint32_t n = 1;
    if (node && p->slots == 0 && p->lost[0] == '\0')
        link = finding(OK, NULL, "up, no slots");
    pack_finding(out, p->node, "link", &link);
    for (const struct check *c = doctor_checks; asked && c->name != NULL; c++) {
        if (c->of == (node ? OF_ONE : OF_NODE))
            continue;
        struct finding f = c->look(p);
        pack_finding(out, p->node, c->name, &f);
        n++;
    }
    return n;
}

static struct finding look_at_slots(const struct round *r)
{
    char ranges[RANGES_MAX], more[32] = "";
    unsigned n = router_ranges(r->doctor->router, NULL, NULL, ranges, sizeof(ranges)), moving = 0;
    const char *first = "";
    if (n > 0)
        return finding(BAD, "Documents in them can neither be read nor written.",
                       "%u have no master that is known: %s", n, ranges);
    for (unsigned i = 0; i < r->n; i++) {
        first = moving == 0 ? r->probes[i].moving : first;
        moving += r->probes[i].nmoving;
    }
    if (moving == 0)
        return finding(OK, NULL, "each has a master");
    if (moving > 1)
        snprintf(more, sizeof(more), ", and %u more", moving - 1);
    return finding(WARN,
                   "Their documents wait until they have arrived. If nobody moves them any more: "
                   "redis-cli --cluster fix.",
                   "%s%s", first, more);
}

static void answer(const struct round *r)
{
    struct buf *out = session_result(r->session, r->id);
    bool cluster = router_is_cluster(r->doctor->router);
    uint32_t n = 0;
    size_t at = pack_array_open(out);
    if (cluster) {
        struct finding slots = look_at_slots(r);
        pack_finding(out, "", "slots", &slots);
        n++;
    }
    for (unsigned i = 0; i < r->n; i++)
        n += pack_probe(out, &r->probes[i]);
    if (cluster || r->probes[0].lost[0] == '\0') {
        struct finding coherence = doctor_coherence(r->doctor);
        pack_finding(out, "", "coherence", &coherence);
        n++;
    }
    pack_array_close(out, at, n);
    session_done(r->session);
}

/* ---- the log ---- */

static struct warned *warned_of(struct doctor *d, const char *node)
{
    struct warned *w;
    LL_FOREACH (d->warned, w) {
        if (strcmp(w->node, node) == 0)
            return w;
    }
    w = alloc_zeroed(1, sizeof(*w) + strlen(node) + 1);
    strcpy(w->node, node);
    LL_PREPEND(d->warned, w);
    return w;
}

static void log_probe(struct doctor *d, const struct probe *p)
{
    struct warned *w = warned_of(d, p->node);
    bool node = p->node[0] != '\0';
    for (unsigned i = 0; doctor_logged[i].name != NULL; i++) {
        struct finding f = doctor_logged[i].look(p);
        bool well = f.state == OK || strncmp(f.found, "cannot be", 9) == 0;
        uint32_t said = well ? 0 : (uint32_t)hash_of(f.found, strlen(f.found)) | 1;
        if (said != 0 && said != w->said[i])
            log_warning("%s of Redis%s%s: %s. %s", doctor_logged[i].name, node ? " at " : "",
                        p->node, f.found, f.advice);
        w->said[i] = said;
    }
}

/* ---- asking ---- */

static void probe_clear(struct probe *p)
{
    for (unsigned i = 0; i < CONFIG_COUNT; i++)
        free(p->config[i]);
    free(p->info);
    free(p->cluster);
}

static void round_over(struct round *r)
{
    struct doctor *d = r->doctor;
    if (d != NULL && r->session != NULL)
        answer(r);
    for (unsigned i = 0; i < r->n; i++) {
        const struct probe *p = &r->probes[i];
        if (d != NULL && r->session == NULL && p->lost[0] == '\0' && p->info != NULL)
            log_probe(d, p);
        probe_clear(&r->probes[i]);
    }
    if (r->session != NULL) {
        session_settle(r->session);
        session_unref(r->session);
    }
    if (d != NULL)
        DL_DELETE(d->rounds, r);
    free(r);
}

static void probe_over(struct probe *p)
{
    if (--p->round->open == 0)
        round_over(p->round);
}

/* Of a line of CLUSTER NODES, "id host:port@bus ..."; of none "another node". */
static void name_node(const char *nodes, const char *id, char *out, size_t size)
{
    size_t len = strspn(id, "0123456789abcdef");
    snprintf(out, size, "another node");
    for (const char *line = nodes; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (len > 0 && strncmp(line, id, len) == 0 && line[len] == ' ')
            snprintf(out, size, "%.*s", (int)strcspn(line + len + 1, "@, "), line + len + 1);
    }
}

/* Each node says so of its own: "... myself,master ... 0-5460 [93->-id] [77-<-id]". */
static void note_moving(struct probe *p, const char *nodes)
{
    char to[NODE_MAX];
    const char *own = strstr(nodes, "myself"), *end = own != NULL ? strchr(own, '\n') : NULL;
    while (own != NULL && (own = strstr(own, "->-")) != NULL && (end == NULL || own < end)) {
        const char *slot = own;
        while (slot > nodes && slot[-1] != '[')
            slot--;
        own += strlen("->-");
        if (p->nmoving++ > 0)
            continue;
        name_node(nodes, own, to, sizeof(to));
        snprintf(p->moving, sizeof(p->moving), "%d is being moved from %s to %s", atoi(slot),
                 p->node, to);
    }
}

static void take(struct probe *p, unsigned index, const redisReply *r)
{
    if (index == 0) {
        if (r->type == REDIS_REPLY_STRING)
            p->info = alloc_copy(r->str, r->len);
    } else if (index <= CONFIG_COUNT) {
        if (r->type == REDIS_REPLY_ARRAY && r->elements == 2)
            p->config[index - 1] = alloc_copy(r->element[1]->str, r->element[1]->len);
        else if (p->refusal[0] == '\0')
            snprintf(p->refusal, sizeof(p->refusal), "%s",
                     r->type == REDIS_REPLY_ERROR ? r->str : "CONFIG GET does not know it");
    } else if (index < QUESTIONS - 1 && r->type == REDIS_REPLY_ERROR) {
        snprintf(p->no_rights, sizeof(p->no_rights), "%s", r->str);
    } else if (index == QUESTIONS && r->type == REDIS_REPLY_STRING) {
        p->cluster = alloc_copy(r->str, r->len);
    } else if (index == QUESTIONS + 1 && r->type == REDIS_REPLY_STRING) {
        note_moving(p, r->str);
    }
}

static void on_rehearsed(void *arg, unsigned index, redisReply *reply)
{
    struct probe *p = arg;
    struct doctor *d = p->round->doctor; /* NULL: it is gone, and so is the link */
    if (reply == NULL && d != NULL && upstream_state(p->up) == UPSTREAM_UP) {
        snprintf(p->no_rights, sizeof(p->no_rights), "%s", router_why(d->router, p->slot));
        p->no_slot = true;
        probe_over(p);
    } else if (reply == NULL) {
        snprintf(p->lost, sizeof(p->lost), "%s", "the connection was lost");
        probe_over(p);
    } else {
        rights_take(&p->rights, index, &p->terms, reply);
        if (index + 1 == p->rehearsed)
            probe_over(p);
    }
}

static void on_reply(void *arg, unsigned index, redisReply *reply)
{
    struct probe *p = arg;
    struct buf out = BUF_INIT;
    if (reply == NULL) {
        snprintf(p->lost, sizeof(p->lost), "%s", "the connection was lost");
        probe_over(p);
        return;
    }
    take(p, index, reply);
    if (index + 1 < p->asked)
        return;
    if (p->no_rights[0] == '\0')
        p->rehearsed = rights_rehearse(&p->terms, &out);
    if (p->rehearsed > 0 &&
        !upstream_send(p->up, out.data, out.len, p->rehearsed, on_rehearsed, p)) {
        snprintf(p->lost, sizeof(p->lost), "%s", "the connection was lost");
        p->rehearsed = 0;
    }
    if (p->rehearsed == 0)
        probe_over(p);
    buf_free(&out);
}

static void ask(struct probe *p)
{
    const char *why = upstream_why(p->up);
    bool node = p->node[0] != '\0';
    struct buf out = BUF_INIT;
    if (node && p->slots == 0 && upstream_state(p->up) == UPSTREAM_UP) {
        probe_over(p);
        return;
    }
    resp_words(&out, "INFO", NULL);
    for (unsigned i = 0; i < CONFIG_COUNT; i++)
        resp_words(&out, "CONFIG", "GET", config_names[i], NULL);
    rights_ask_discard(&out);
    if (node) {
        resp_words(&out, "CLUSTER", "INFO", NULL);
        resp_words(&out, "CLUSTER", "NODES", NULL);
    }
    p->asked = QUESTIONS + (node ? 2 : 0);
    if (!upstream_send(p->up, out.data, out.len, p->asked, on_reply, p)) {
        snprintf(p->lost, sizeof(p->lost), "%s", *why != '\0' ? why : "it is not connected");
        probe_over(p);
    }
    buf_free(&out);
}

static void prepare(struct round *r, struct upstream *up, const char *node)
{
    struct probe *p = &r->probes[r->n++];
    uint16_t slot = 0;
    *p = (struct probe){.round = r, .doctor = r->doctor, .up = up};
    p->terms.prefix = r->doctor->config->key_prefix;
    if (node == NULL)
        return;
    snprintf(p->node, sizeof(p->node), "%s", node);
    p->slots = router_ranges(r->doctor->router, up, &slot, p->ranges, sizeof(p->ranges));
    p->slot = slot;
    p->terms.tag = slot_tag(slot);
    p->terms.shards = shards_known(p->up);
}

/* Whether it has a link that was not asked yet for the log. */
static bool is_new(struct doctor *d, const struct upstream *up, const char *node)
{
    struct warned *w = warned_of(d, node);
    if (upstream_state(up) != UPSTREAM_UP || w->epoch == upstream_epoch(up))
        return false;
    w->epoch = upstream_epoch(up);
    return true;
}

/* One that has no slots is only asked whether it is there. */
static void start_round(struct doctor *d, struct session *s, uint64_t id)
{
    struct router_node node;
    struct upstream *one = router_is_cluster(d->router) ? NULL : router_link(d->router, 0);
    unsigned most = 1, n;
    while (router_node(d->router, most, &node))
        most++;
    struct round *r = alloc_zeroed(1, sizeof(*r) + most * sizeof(struct probe));
    r->doctor = d;
    DL_APPEND(d->rounds, r);
    if (s != NULL) {
        r->session = session_ref(s);
        r->id = id;
        session_defer(s);
    }
    if (one != NULL && (s != NULL || is_new(d, one, "")))
        prepare(r, one, NULL);
    for (unsigned i = 0; router_node(d->router, i, &node); i++) {
        if (s != NULL || (node.slots > 0 && is_new(d, node.up, node.address)))
            prepare(r, node.up, node.address);
    }
    n = r->n;
    r->open = n + 1; /* ours: it is not over before all were asked */
    for (unsigned i = 0; i < n; i++)
        ask(&r->probes[i]);
    if (--r->open == 0)
        round_over(r);
}

void doctor_request(struct doctor *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    if (msg->nparams != 0) {
        fault_set(&f, FAULT_BAD_REQUEST, "admin.doctor takes no parameters");
        session_fault(s, msg->id, &f);
    } else {
        start_round(d, s, msg->id);
    }
}

void doctor_links(struct doctor *d)
{
    start_round(d, NULL, 0);
}

struct doctor *doctor_new(struct router *router, const struct config *config,
                          const struct audit *audit)
{
    struct doctor *d = alloc_zeroed(1, sizeof(*d));
    d->router = router;
    d->config = config;
    d->audit = audit;
    return d;
}

void doctor_sentinels(struct doctor *d, const struct sentinels *s)
{
    d->sentinels = s;
}

void doctor_free(struct doctor *d)
{
    struct round *r;
    struct warned *w, *next;
    if (d == NULL)
        return;
    DL_FOREACH (d->rounds, r)
        r->doctor = NULL;
    LL_FOREACH_SAFE (d->warned, w, next)
        free(w);
    buf_free(&d->advice);
    free(d);
}
