/* doctor_checks: what is judged of what a Redis has said. See doctor_inside.h. */
#include "daemon/base/log.h"
#include "daemon/documents/audit.h"
#include "daemon/methods/doctor_inside.h"
#include "daemon/redis/dial.h"
#include "daemon/redis/sentinels.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TLS_WARN_DAYS 14
#define PROMOTION_MS 2000    /* mostly, from when a master is found to be gone to its successor */
#define FIRST_ANSWER_MS 1000 /* of the successor, at most, when it is told of */

/* ---- the answers ---- */

struct finding finding(enum state state, const char *advice, const char *fmt, ...)
{
    struct finding f = {.state = state, .advice = advice};
    va_list args;
    va_start(args, fmt);
    vsnprintf(f.found, sizeof(f.found), fmt, args);
    va_end(args);
    text_clean(f.found, true);
    return f;
}

/* The value of a line "name:value", "" when it is not there. */
static const char *probe_field(const char *text, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    out[0] = '\0';
    for (const char *at = text; at != NULL && *at != '\0'; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, len) == 0 && at[len] == ':') {
            at += len + 1;
            snprintf(out, size, "%.*s", (int)strcspn(at, "\r\n"), at);
            break;
        }
    }
    return out;
}

static const char *info(const struct probe *p, const char *name, char *out, size_t size)
{
    return probe_field(p->info, name, out, size);
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
    return finding(OK, NULL, "%s", upstream_info(p->up)->server);
}

/* Whether somebody on the way to Redis could listen. */
static struct finding check_tls(const struct probe *p)
{
    const struct upstream_info *link = upstream_info(p->up);
    int64_t left = link->tls_ends - (int64_t)time(NULL);
    time_t ends = (time_t)link->tls_ends;
    char date[32] = "?";
    struct tm tm;
    if (link->tls[0] == '\0' && !dial_is_local(upstream_address(p->up)))
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
    static const char none[] = "This Redis has no such commands, or calls them otherwise.";
    const struct rights *r = &p->rights;
    struct buf *advice = &p->doctor->advice;
    buf_clear(advice);
    if (p->no_slot)
        return finding(WARN, "Ask again when it carries out requests.", "cannot be checked: %s",
                       p->no_rights);
    if (p->no_rights[0] != '\0') {
        buf_printf(advice, "They are looked at in a transaction that is thrown away. ");
        rights_line(p->doctor->config, "+multi +discard +exec", advice);
        return finding(WARN, (char *)advice->data, "cannot be checked: %s", p->no_rights);
    }
    if (r->missing[0] == '\0' && r->absent[0] == '\0')
        return finding(OK, NULL, "all that is needed");
    buf_printf(advice, "%s ", r->lacking);
    if (r->missing[0] != '\0')
        rights_line(p->doctor->config, r->missing, advice);
    else
        buf_append(advice, none, sizeof(none));
    return finding(r->grave ? BAD : WARN, (char *)advice->data, "missing: %s%s%s%s", r->missing,
                   r->absent[0] != '\0' && r->missing[0] != '\0' ? "; not there at all: " : "",
                   r->absent, r->cut ? " and more" : "");
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

/* Snapshots are a choice; nothing at all is mostly a mistake. */
static struct finding check_none_at_all(const struct probe *p)
{
    struct finding f = check_persistence(p);
    if (f.state != BAD)
        f.state = OK;
    return f;
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
    if (n == 0 && p->node[0] != '\0')
        return finding(WARN,
                       "When it is gone its slots are, until it comes back. Give each master a "
                       "replica.",
                       "none");
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
    sscanf(upstream_info(p->up)->version, "%u.%u", &major, &minor);
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
struct finding doctor_coherence(const struct doctor *d)
{
    const struct config *config = d->config;
    struct audit_stats s;
    audit_stats(d->audit, &s);
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

/* ---- of a cluster ---- */

static struct finding check_cluster(const struct probe *p)
{
    char state[32];
    probe_field(p->cluster, "cluster_state", state, sizeof(state));
    if (p->cluster == NULL)
        return finding(WARN, "Let the user of redis.redis_user run CLUSTER INFO.",
                       "cannot be checked");
    if (strcmp(state, "ok") == 0)
        return finding(OK, NULL, "ok");
    return finding(BAD,
                   "It refuses requests: it is cut off from most of the other masters, or slots "
                   "have no master that answers.",
                   "%s", state[0] != '\0' ? state : "unknown");
}

static struct finding check_coverage(const struct probe *p)
{
    const char *value = p->config[FULL_COVERAGE];
    if (value == NULL)
        return unseen(p);
    if (strcmp(value, "no") == 0)
        return finding(OK, NULL, "cluster-require-full-coverage no");
    return finding(WARN,
                   "When the slots of one master are lost all others refuse requests, too. Set "
                   "cluster-require-full-coverage no.",
                   "cluster-require-full-coverage %s", value);
}

/* Whether requests and locks outlast the time that its slots have no master. */
static struct finding check_failover(const struct probe *p)
{
    const struct config *c = p->doctor->config;
    const char *value = p->config[NODE_TIMEOUT];
    if (info_number(p, "connected_slaves") == 0)
        return finding(OK, NULL, "none, without a replica");
    if (value == NULL)
        return unseen(p);
    uint64_t takes = strtoull(value, NULL, 10) + PROMOTION_MS;
    double seconds = (double)takes / 1000, timeout = (double)(takes - PROMOTION_MS) / 1000;
    if (takes + FIRST_ANSWER_MS > c->queue_time)
        return finding(WARN,
                       "Requests on its slots may be refused before a replica answers them. Let "
                       "commit.queue_time be a second longer, or cluster-node-timeout lower.",
                       "about %.1f s (cluster-node-timeout %.1f s), and requests wait for %.1f s",
                       seconds, timeout, c->queue_time / 1e3);
    if (takes > c->lock_lease)
        return finding(WARN,
                       "Locks in its slots are lost meanwhile. Set locks.lock_lease higher, or "
                       "cluster-node-timeout lower.",
                       "about %.1f s (cluster-node-timeout %.1f s), and leases last %.1f s",
                       seconds, timeout, c->lock_lease / 1e3);
    return finding(OK, NULL, "about %.1f s (cluster-node-timeout %.1f s)", seconds, timeout);
}

const struct check doctor_checks[] = {
    {"version", OF_EACH, check_version},         {"tls", OF_EACH, check_tls},
    {"rights", OF_EACH, check_rights},           {"role", OF_EACH, check_role},
    {"cluster", OF_NODE, check_cluster},         {"coverage", OF_NODE, check_coverage},
    {"failover", OF_NODE, check_failover},       {"sentinels", OF_ONE, check_sentinels},
    {"persistence", OF_EACH, check_persistence}, {"fsync", OF_EACH, check_fsync},
    {"aof-tail", OF_EACH, check_aof_tail},       {"disk", OF_EACH, check_disk},
    {"eviction", OF_EACH, check_eviction},       {"memory", OF_EACH, check_memory},
    {"replicas", OF_EACH, check_replicas},       {"min-replicas", OF_EACH, check_min_replicas},
    {"commit", OF_EACH, check_commit},           {NULL, OF_EACH, NULL},
};

const struct check doctor_logged[] = {
    {"eviction", OF_EACH, check_eviction},
    {"persistence", OF_EACH, check_none_at_all},
    {"role", OF_EACH, check_role},
    {"rights", OF_EACH, check_rights},
    {NULL, OF_EACH, NULL},
};
