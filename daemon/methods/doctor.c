/* doctor: see doctor.h. A probe collects the answers as texts; the checks only look at those. */
#include "daemon/methods/doctor.h"
#include "daemon/base/log.h"
#include "daemon/documents/audit.h"
#include "daemon/redis/dial.h"
#include "daemon/redis/rights.h"
#include "daemon/redis/sentinels.h"
#include "protocol/alloc.h"
#include "protocol/cursor.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FOUND_MAX 768
#define TLS_WARN_DAYS 14

enum config_value {
    APPENDONLY,
    APPENDFSYNC,
    TRUNCATED,
    SAVE,
    MAXMEMORY,
    POLICY,
    MIN_REPLICAS,
    CONFIG_COUNT
};

static const char *const config_names[CONFIG_COUNT] = {
    "appendonly", "appendfsync",      "aof-load-truncated",   "save",
    "maxmemory",  "maxmemory-policy", "min-replicas-to-write"};

#define QUESTIONS (1 + CONFIG_COUNT + RIGHTS_MAY_REHEARSE)

/* What Redis said; NULL where it would not tell. */
struct probe {
    struct doctor *doctor;
    struct session *session; /* NULL: for the log */
    uint64_t id;
    char *info, *config[CONFIG_COUNT];
    char refusal[128]; /* why CONFIG GET was not answered */
    struct rights rights;
    unsigned rehearsed;  /* commands */
    char no_rights[128]; /* why they could not be rehearsed */
};

enum state { OK, WARN, BAD };

struct finding {
    enum state state;
    char found[FOUND_MAX];
    const char *advice; /* NULL: none */
};

struct doctor {
    struct upstream *up;
    const struct config *config;
    const struct audit *audit;
    const struct sentinels *sentinels; /* NULL: none are asked */
    char said[4][FOUND_MAX];           /* what was logged last of each check that is */
    struct buf advice;                 /* of the last finding that made up its own */
};

/* ---- the answers ---- */

static struct finding finding(enum state state, const char *advice, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static struct finding finding(enum state state, const char *advice, const char *fmt, ...)
{
    struct finding f = {.state = state, .advice = advice};
    va_list args;
    va_start(args, fmt);
    vsnprintf(f.found, sizeof(f.found), fmt, args);
    va_end(args);
    text_clean(f.found, true);
    return f;
}

/* The value of a line "name:value" of INFO, "" when it is not there. */
static const char *info(const struct probe *p, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    out[0] = '\0';
    for (const char *at = p->info; at != NULL && *at != '\0'; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, len) == 0 && at[len] == ':') {
            at += len + 1;
            snprintf(out, size, "%.*s", (int)strcspn(at, "\r\n"), at);
            break;
        }
    }
    return out;
}

static uint64_t info_number(const struct probe *p, const char *name)
{
    char text[64];
    return strtoull(info(p, name, text, sizeof(text)), NULL, 10);
}

static struct finding unseen(const struct probe *p)
{
    return finding(WARN, "Let the user of redis.redis_user run CONFIG GET, or look there yourself.",
                   "cannot be checked: %s", p->refusal);
}

/* ---- the checks ---- */

static struct finding check_version(const struct probe *p)
{
    /* Too old, a cluster, a Sentinel: such a one is not connected to. */
    return finding(OK, NULL, "%s", upstream_info(p->doctor->up)->server);
}

/* Whether somebody on the way to Redis could listen. */
static struct finding check_tls(const struct probe *p)
{
    const struct upstream_info *link = upstream_info(p->doctor->up);
    int64_t left = link->tls_ends - (int64_t)time(NULL);
    time_t ends = (time_t)link->tls_ends;
    char date[32] = "?";
    struct tm tm;
    if (link->tls[0] == '\0' && !dial_is_local(upstream_address(p->doctor->up)))
        return finding(
            WARN,
            "Whoever is on the way can read and change what passes, the password too. Set "
            "redis.tls = 1, if Redis has a port for it.",
            "none, to another host");
    if (link->tls[0] == '\0')
        return finding(OK, NULL, "none, within this host");
    if (!p->doctor->config->tls_verify)
        return finding(
            WARN, "Whoever is on the way can take the place of Redis. Set redis.tls_verify = 1.",
            "%s, and nobody looks whose certificate it is", link->tls);
    if (gmtime_r(&ends, &tm) != NULL)
        strftime(date, sizeof(date), "%Y-%m-%d", &tm);
    return finding(left < TLS_WARN_DAYS * 86400 ? WARN : OK,
                   left < TLS_WARN_DAYS * 86400
                       ? "Redis cannot be connected to when it is over. Give it a new certificate."
                       : NULL,
                   "%s, Redis' certificate ends on %s", link->tls, date);
}

static struct finding check_sentinels(const struct probe *p)
{
    if (p->doctor->sentinels == NULL)
        return finding(OK, NULL, "none are asked");
    struct sentinels_state s = sentinels_state(p->doctor->sentinels);
    if (s.answering < s.known)
        return finding(WARN,
                       "When too few of them are there nobody is promoted, or nobody tells us. See "
                       "after those that do not answer.",
                       "%u of %u answer: %s", s.answering, s.known, s.why);
    return finding(s.known < 3 ? WARN : OK,
                   s.known < 3 ? "Fewer than three cannot agree when one is gone." : NULL,
                   "%u answer, the master %s is at %s (epoch %" PRIu64 ")", s.answering, s.name,
                   s.master, s.epoch);
}

/* What the user may not do, and the line that changes it. */
static struct finding check_rights(const struct probe *p)
{
    const struct rights *r = &p->rights;
    struct buf *advice = &p->doctor->advice;
    buf_clear(advice);
    if (p->no_rights[0] != '\0') {
        buf_printf(advice, "They are looked at in a transaction that is thrown away. ");
        rights_line(p->doctor->config, "+multi +discard +exec", advice);
        return finding(WARN, (char *)advice->data, "cannot be checked: %s", p->no_rights);
    }
    if (r->missing[0] == '\0')
        return finding(OK, NULL, "all that is needed");
    buf_printf(advice, "%s ", r->lacking);
    rights_line(p->doctor->config, r->missing, advice);
    return finding(r->grave ? BAD : WARN, (char *)advice->data, "missing: %s%s", r->missing,
                   r->cut ? " and more" : "");
}

static struct finding check_role(const struct probe *p)
{
    char role[32];
    info(p, "role", role, sizeof(role));
    if (strcmp(role, "slave") == 0)
        return finding(BAD, "Point redis.redis to the master: a replica refuses all writes.",
                       "a replica");
    return finding(OK, NULL, "%s", role[0] != '\0' ? role : "unknown");
}

/* A write that was acknowledged is there after a crash of Redis. */
static struct finding check_persistence(const struct probe *p)
{
    const char *aof = p->config[APPENDONLY], *save = p->config[SAVE];
    if ((aof != NULL && strcmp(aof, "yes") == 0) || info_number(p, "aof_enabled") == 1)
        return finding(OK, NULL, "append-only file");
    if (save == NULL)
        return unseen(p);
    if (save[0] != '\0')
        return finding(WARN,
                       "Acknowledged writes since the last snapshot are lost when Redis or its "
                       "host crashes. Set appendonly yes.",
                       "snapshots only (save %s)", save);
    return finding(BAD, "All documents are lost when Redis ends. Set appendonly yes.",
                   "none: appendonly no, and no snapshots");
}

static struct finding check_fsync(const struct probe *p)
{
    const char *fsync = p->config[APPENDFSYNC];
    if (info_number(p, "aof_enabled") == 0)
        return finding(OK, NULL, "there is no append-only file");
    if (fsync == NULL)
        return unseen(p);
    if (strcmp(fsync, "always") == 0)
        return finding(OK, NULL, "always");
    return finding(WARN,
                   strcmp(fsync, "everysec") == 0
                       ? "Up to a second or two of acknowledged writes is lost when the host "
                         "crashes (not when Redis does). appendfsync always loses none."
                       : "Half a minute of acknowledged writes may be lost when the host crashes "
                         "(not when Redis does). appendfsync always loses none.",
                   "%s", fsync);
}

/* A Redis that was killed while it wrote a transaction cuts off the last command of it, and
 * leaves the others. The next transaction is written behind them, and the next start applies both
 * as one. */
static struct finding check_aof_tail(const struct probe *p)
{
    const char *truncated = p->config[TRUNCATED];
    if (info_number(p, "aof_enabled") == 0)
        return finding(OK, NULL, "there is no append-only file");
    if (truncated == NULL)
        return unseen(p);
    if (strcmp(truncated, "no") == 0)
        return finding(OK, NULL, "aof-load-truncated no");
    return finding(WARN,
                   "When Redis is killed while it writes, a later start may apply a part of a "
                   "commit, or apply it twice. Set aof-load-truncated no, and let "
                   "redis-check-aof --fix run before Redis starts.",
                   "aof-load-truncated %s", truncated);
}

static struct finding check_disk(const struct probe *p)
{
    static const char *const names[] = {"aof_last_write_status", "aof_last_bgrewrite_status",
                                        "rdb_last_bgsave_status"};
    char status[64];
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        info(p, names[i], status, sizeof(status));
        if (status[0] != '\0' && strcmp(status, "ok") != 0)
            return finding(BAD,
                           "Redis could not write to its disk, and may refuse writes because of "
                           "that: see its log.",
                           "%s: %s", names[i], status);
    }
    return finding(OK, NULL, "the last writes succeeded");
}

static struct finding check_eviction(const struct probe *p)
{
    char policy[64];
    uint64_t max = info_number(p, "maxmemory");
    snprintf(policy, sizeof(policy), "%s", p->config[POLICY] != NULL ? p->config[POLICY] : "");
    if (policy[0] == '\0')
        info(p, "maxmemory_policy", policy, sizeof(policy));
    if (p->config[MAXMEMORY] != NULL)
        max = strtoull(p->config[MAXMEMORY], NULL, 10);
    if (policy[0] == '\0')
        return unseen(p);
    if (max == 0 || strcmp(policy, "noeviction") == 0)
        return finding(OK, NULL, "%s", max == 0 ? "no maxmemory" : "noeviction");
    if (strncmp(policy, "volatile-", 9) == 0)
        return finding(WARN,
                       "Documents with a time to live, or parts of them, may go before that is "
                       "over, and locks may be lost. Set maxmemory-policy noeviction.",
                       "%s with maxmemory %" PRIu64, policy, max);
    return finding(BAD,
                   "Redis may drop documents, parts of them, commit markers and locks at any "
                   "time. Set maxmemory-policy noeviction.",
                   "%s with maxmemory %" PRIu64, policy, max);
}

static struct finding check_memory(const struct probe *p)
{
    uint64_t used = info_number(p, "used_memory"), max = info_number(p, "maxmemory");
    if (max == 0)
        return finding(OK, NULL, "%" PRIu64 " MB used", used >> 20);
    return used < max / 10 * 9
               ? finding(OK, NULL, "%" PRIu64 " of %" PRIu64 " MB used", used >> 20, max >> 20)
               : finding(WARN, "When it is full Redis refuses writes or drops keys.",
                         "%" PRIu64 " of %" PRIu64 " MB used", used >> 20, max >> 20);
}

static struct finding check_replicas(const struct probe *p)
{
    uint64_t n = info_number(p, "connected_slaves"), bad = 0;
    for (uint64_t i = 0; i < n && i < 64; i++) {
        char name[32], line[256];
        snprintf(name, sizeof(name), "slave%" PRIu64, i);
        info(p, name, line, sizeof(line));
        const char *lag = strstr(line, "lag=");
        bad += strstr(line, "state=online") == NULL || (lag != NULL && atoi(lag + 4) > 10);
    }
    if (n == 0)
        return finding(OK, NULL, "none");
    if (bad > 0)
        return finding(WARN,
                       "A failover to a replica that lags loses acknowledged writes: see the "
                       "log of that replica.",
                       "%" PRIu64 " of %" PRIu64 " not online or more than 10 s behind", bad, n);
    return finding(OK, NULL, "%" PRIu64 " online", n);
}

/* What an acknowledged write has survived by then. */
static struct finding check_commit(const struct probe *p)
{
    const struct config *c = p->doctor->config;
    uint64_t n = info_number(p, "connected_slaves");
    unsigned major = 0, minor = 0;
    sscanf(upstream_info(p->doctor->up)->version, "%u.%u", &major, &minor);
    if (c->commit_replicas > n)
        return finding(BAD, "Writes are applied, and answered NOT_DURABLE, until enough are there.",
                       "commit.replicas is %u, and %" PRIu64 " are connected", c->commit_replicas,
                       n);
    if (c->commit_fsync && (major < 7 || (major == 7 && minor < 2)))
        return finding(
            BAD, "It takes Redis 7.2 or newer, or Valkey. All writes are answered NOT_DURABLE.",
            "commit.fsync is 1, and this Redis has no WAITAOF");
    if (c->commit_fsync && info_number(p, "aof_enabled") == 0)
        return finding(BAD, "Set appendonly yes. All writes are answered NOT_DURABLE.",
                       "commit.fsync is 1, and there is no append-only file");
    if (c->commit_fsync)
        return finding(OK, NULL,
                       "written to the disks of Redis and %u replicas before it is acknowledged",
                       c->commit_replicas);
    if (c->commit_replicas > 0)
        return finding(OK, NULL, "with %u of %" PRIu64 " replicas before it is acknowledged",
                       c->commit_replicas, n);
    return finding(OK, NULL, "acknowledged when Redis has it (commit.replicas = 0)");
}

static struct finding check_min_replicas(const struct probe *p)
{
    uint64_t n = info_number(p, "connected_slaves");
    const char *value = p->config[MIN_REPLICAS];
    if (value == NULL)
        return n > 0 ? unseen(p) : finding(OK, NULL, "there are no replicas");
    uint64_t min = strtoull(value, NULL, 10);
    if (min > n)
        return finding(BAD, "Redis refuses all writes until enough replicas are there.",
                       "%" PRIu64 ", and %" PRIu64 " are connected", min, n);
    if (n > 0 && min == 0)
        return finding(WARN,
                       "A master that is cut off goes on acknowledging writes that a failover "
                       "loses. Set min-replicas-to-write 1.",
                       "0, with %" PRIu64 " connected", n);
    return finding(OK, NULL, "%s", n > 0 ? value : "there are no replicas");
}

/* Not of Redis, but of what lies between: whether its changes are heard of. */
static struct finding check_memory_coherent(const struct probe *p)
{
    const struct config *config = p->doctor->config;
    struct audit_stats s;
    audit_stats(p->doctor->audit, &s);
    if (s.wrong[0] > 0)
        return finding(BAD,
                       "Reads were older than coherence.bound allows. The log names the documents; "
                       "please tell who wrote them, and how. {fresh: true} is not concerned.",
                       "%" PRIu64 " of %" PRIu64 " documents in memory were not what Redis held",
                       s.wrong[0], s.looks);
    if (!config->coherence)
        return finding(
            WARN,
            "What other hosts and programs without rapyerd change is not heard: reads may "
            "be old for ever. Set coherence.enabled = 1, unless nobody else writes.",
            "nobody else is listened to, nor is anything compared (coherence.enabled = 0)");
    if (config->coherence_audit == 0)
        return finding(OK, NULL, "not compared with Redis (coherence.audit)");
    return finding(OK, NULL, "%" PRIu64 " documents in memory compared with Redis, none was wrong",
                   s.looks);
}

static const struct check {
    const char *name;
    struct finding (*look)(const struct probe *p);
} checks[] = {
    {"version", check_version},
    {"tls", check_tls},
    {"rights", check_rights},
    {"role", check_role},
    {"sentinels", check_sentinels},
    {"persistence", check_persistence},
    {"fsync", check_fsync},
    {"aof-tail", check_aof_tail},
    {"disk", check_disk},
    {"eviction", check_eviction},
    {"memory", check_memory},
    {"replicas", check_replicas},
    {"min-replicas", check_min_replicas},
    {"commit", check_commit},
    {"coherence", check_memory_coherent},
};

#define CHECKS (sizeof(checks) / sizeof(*checks))

/* ---- telling ---- */

static void pack_finding(struct buf *out, const char *check, const struct finding *f)
{
    static const char *const states[] = {"ok", "warn", "bad"};
    pack_map(out, 4);
    pack_cstr(out, "check");
    pack_cstr(out, check);
    pack_cstr(out, "state");
    pack_cstr(out, states[f->state]);
    pack_cstr(out, "found");
    pack_cstr(out, f->found);
    pack_cstr(out, "advice");
    pack_cstr(out, f->advice != NULL ? f->advice : "");
}

static void answer(const struct probe *p)
{
    struct buf *out = session_result(p->session, p->id);
    struct finding link = finding(OK, NULL, "up");
    pack_array(out, 1 + CHECKS);
    pack_finding(out, "link", &link);
    for (size_t i = 0; i < CHECKS; i++) {
        struct finding f = checks[i].look(p);
        pack_finding(out, checks[i].name, &f);
    }
    session_done(p->session);
}

static void answer_down(struct session *s, uint64_t id, const char *why)
{
    struct finding f =
        finding(BAD, "Nothing can be written, nor read that is not in memory, until Redis answers.",
                "%s", why);
    struct buf *out = session_result(s, id);
    pack_array(out, 1);
    pack_finding(out, "link", &f);
    session_done(s);
}

static void warn(const char *what, const struct finding *f, char said[FOUND_MAX])
{
    if (f->state == OK || strncmp(f->found, "cannot be", 9) == 0) {
        said[0] = '\0';
    } else if (strcmp(said, f->found) != 0) {
        memcpy(said, f->found, sizeof(f->found));
        log_warning("%s of Redis: %s. %s", what, f->found, f->advice);
    }
}

static void log_findings(struct doctor *d, const struct probe *p)
{
    struct finding eviction = check_eviction(p), persistence = check_persistence(p);
    struct finding role = check_role(p), rights = check_rights(p);
    warn("eviction", &eviction, d->said[0]);
    /* Snapshots are a choice; nothing at all is mostly a mistake. */
    if (persistence.state != BAD)
        persistence.state = OK;
    warn("persistence", &persistence, d->said[1]);
    warn("role", &role, d->said[2]);
    warn("rights", &rights, d->said[3]);
}

/* ---- asking ---- */

static void probe_free(struct probe *p)
{
    if (p->session != NULL) {
        session_settle(p->session);
        session_unref(p->session);
    }
    for (unsigned i = 0; i < CONFIG_COUNT; i++)
        free(p->config[i]);
    free(p->info);
    free(p);
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
    }
}

static void lost(struct probe *p)
{
    /* The doctor may be gone by now. */
    if (p->session != NULL)
        answer_down(p->session, p->id, "the connection was lost");
    probe_free(p);
}

static void conclude(struct probe *p)
{
    if (p->session != NULL)
        answer(p);
    else
        log_findings(p->doctor, p);
    probe_free(p);
}

static void on_rehearsed(void *arg, unsigned index, redisReply *reply)
{
    struct probe *p = arg;
    if (reply == NULL) {
        lost(p);
        return;
    }
    rights_take(&p->rights, index, p->doctor->config->key_prefix, reply);
    if (index + 1 == p->rehearsed)
        conclude(p);
}

static void on_reply(void *arg, unsigned index, redisReply *reply)
{
    struct probe *p = arg;
    if (reply == NULL) {
        lost(p);
        return;
    }
    take(p, index, reply);
    if (index + 1 < QUESTIONS)
        return;
    struct buf out = BUF_INIT;
    if (p->no_rights[0] == '\0')
        p->rehearsed = rights_rehearse(p->doctor->config->key_prefix, &out);
    if (p->rehearsed == 0)
        conclude(p);
    else if (!upstream_send(p->doctor->up, out.data, out.len, p->rehearsed, on_rehearsed, p))
        lost(p);
    buf_free(&out);
}

static bool start_probe(struct doctor *d, struct session *s, uint64_t id)
{
    struct buf out = BUF_INIT;
    struct probe *p = alloc_zeroed(1, sizeof(*p));
    p->doctor = d;
    resp_words(&out, "INFO", NULL);
    for (unsigned i = 0; i < CONFIG_COUNT; i++)
        resp_words(&out, "CONFIG", "GET", config_names[i], NULL);
    rights_ask_discard(&out);
    if (s != NULL) {
        p->session = session_ref(s);
        p->id = id;
        session_defer(s);
    }
    bool sent = upstream_send(d->up, out.data, out.len, QUESTIONS, on_reply, p);
    if (!sent)
        probe_free(p);
    buf_free(&out);
    return sent;
}

void doctor_request(struct doctor *d, struct session *s, const struct rpc *msg)
{
    struct fault f;
    if (msg->nparams != 0) {
        fault_set(&f, FAULT_BAD_REQUEST, "admin.doctor takes no parameters");
        session_fault(s, msg->id, &f);
    } else if (!start_probe(d, s, msg->id)) {
        answer_down(s, msg->id, upstream_why(d->up));
    }
}

void doctor_link_up(struct doctor *d)
{
    (void)start_probe(d, NULL, 0);
}

struct doctor *doctor_new(struct upstream *up, const struct config *config,
                          const struct audit *audit)
{
    struct doctor *d = alloc_zeroed(1, sizeof(*d));
    d->up = up;
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
    if (d == NULL)
        return;
    buf_free(&d->advice);
    free(d);
}
