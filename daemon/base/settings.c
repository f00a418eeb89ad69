/* settings: see settings.h. */
#include "daemon/base/settings.h"
#include "protocol/ring.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define HOUR (3600u * 1000u)
#define AT(field) offsetof(struct config, field)

const struct setting settings[] = {
    {"listen", "socket", TEXT, AT(socket), SOCKET_DEFAULT, 1,
     sizeof(((struct sockaddr_un *)0)->sun_path) - 1, false,
     "Where clients connect. Below $RUNTIME_DIRECTORY when systemd gives one; for users other\n"
     "than root the default is $XDG_RUNTIME_DIR/rapyerd/rapyerd.sock, or ~/.rapyerd.sock where "
     "that\n"
     "is not set. Not used when systemd hands the socket over."},
    {"listen", "socket_owner", TEXT, AT(socket_owner), "", 0, 255, false,
     "User (name or number) the socket is given to. Empty: the one rapyerd runs as."},
    {"listen", "socket_group", TEXT, AT(socket_group), "", 0, 255, false,
     "Group (name or number) the socket is given to. Empty: the one rapyerd runs as."},
    {"listen", "socket_mode", MODE, AT(socket_mode), "0660", 0, 0777, false,
     "Who may connect, as octal permissions: write permission is what counts."},

    {"limits", "max_clients", COUNT, AT(max_clients), "10000", 1, 1000000, true,
     "Connections at a time; one more is answered BUSY and closed."},
    {"limits", "max_frame", SIZE, AT(max_frame), "32M", KIB, 2 * GIB, true,
     "The longest request. A longer one is answered TOO_LARGE and its connection closed."},
    {"limits", "max_value", SIZE, AT(max_value), "16M", 64, 512 * MIB, true,
     "The longest single str, bytes or composite value. At most max_frame."},
    {"limits", "max_work", TIME, AT(max_work), "20ms", 1, HOUR, true,
     "The longest that one request may keep rapyerd and Redis from all others, by an estimate of\n"
     "what it builds, changes or removes: about 4,000 elements that are atomic models, 50,000\n"
     "entries of dicts or 130,000 values in lists. More is refused with TOO_LARGE, and nothing\n"
     "is changed."},
    {"limits", "max_resolve", COUNT, AT(max_resolve), "1000", 1, 100000, true,
     "Documents that one doc.get with resolve may give, beside the one that was asked for, and\n"
     "those that one doc.ttl with cascade may reach."},
    {"limits", "client_output", SIZE, AT(client_output), "64M", 64 * KIB, 64 * GIB, true,
     "Answers that a client has not read; one that lets more pile up is disconnected. A single\n"
     "answer that is longer is refused with TOO_LARGE, before anything is changed."},
    {"limits", "client_output_pause", SIZE, AT(client_output_pause), "1M", KIB, 64 * GIB, true,
     "From this many unread bytes on no more requests are taken from a client, until half of\n"
     "them are read. Less than client_output."},
    {"limits", "client_requests", COUNT, AT(client_requests), "10000", 1, 10000000, true,
     "Requests of one client waiting for Redis; past it no more are read from it."},
    {"limits", "total_input", SIZE, AT(total_input), "512M", MIB, 1024 * GIB, true,
     "Requests of all clients together that have arrived in part. Past it the client that\n"
     "sends on is answered BUSY and disconnected. At least max_frame."},
    {"limits", "max_rings", COUNT, AT(max_rings), "1000", 0, 1000000, true,
     "Clients that talk through shared memory instead of their socket, each with twice ring_size\n"
     "of it. One more is answered BUSY and stays with its socket, as all do with 0."},
    {"limits", "ring_size", SIZE, AT(ring_size), "64K", RING_MIN, RING_MAX, true,
     "The shared memory of a client, for each direction: a power of two. Longer messages pass in\n"
     "pieces."},
    {"limits", "ring_watch", COUNT, AT(ring_watch), "50", 0, 1000, true,
     "For how many microseconds rapyerd goes on looking at its rings before it sleeps; it gives "
     "way\n"
     "to all others that want the processor. 0: it sleeps at once, and is woken more often."},

    {"limits", "find_documents", COUNT, AT(find_documents), "100000", 1, 1000000000, true,
     "Documents that one find looks at; then it answers with what it has found so far, and where\n"
     "to go on. What counts all that it finds, or sorts it, is TOO_LARGE past it."},
    {"limits", "find_sorted", COUNT, AT(find_sorted), "10000", 1, 10000000, true,
     "Documents that one find sorts without an index that has them in order; past it TOO_LARGE."},
    {"limits", "client_watches", COUNT, AT(client_watches), "1000", 0, 1000000, true,
     "Documents and places in them that one connection watches; past it BUSY."},
    {"limits", "max_watches", COUNT, AT(max_watches), "100000", 0, 100000000, true,
     "The same of all connections together."},
    {"limits", "watch_memory", SIZE, AT(watch_memory), "256K", 4 * KIB, GIB, true,
     "What one client has not been told yet of what it watches, as it does not read. Past it that\n"
     "is dropped, and it is told to look itself at all that it watches. The same for changes by\n"
     "others that are being looked at in Redis, of all clients: then all are told so."},

    {"limits", "max_monitors", COUNT, AT(max_monitors), "16", 0, 1000, true,
     "Connections that are told what others ask for (rapyerctl monitor); past it BUSY. What one "
     "of\n"
     "them does not read in time, past watch_memory, it loses, and is told how much that was."},

    {"redis", "redis", TEXT, AT(redis), "embedded", 1, 1024, false,
     "The Redis to use: embedded (rapyerd runs one itself, data in state_dir), unix:/path,\n"
     "host:port or [::1]:6379; or sentinel:NAME@host:port,host:port, the master that these "
     "Sentinels\n"
     "name so, and after a failover the one that they name then; or cluster:host:port,host:port, "
     "the\n"
     "cluster that these nodes are of."},
    {"redis", "redis_user", TEXT, AT(redis_user), "", 0, 255, true,
     "User for AUTH. Empty: Redis' default user. This and the password are taken over with the "
     "next\n"
     "connection; those of the embedded Redis by a restart."},
    {"redis", "redis_password", TEXT, AT(redis_password), "", 0, PASSWORD_BYTES, true,
     "Password for AUTH. Better kept in redis_password_file."},
    {"redis", "redis_password_file", TEXT, AT(redis_password_file), "", 0, PATH_MAX - 1, true,
     "File whose first line is the password. Refused when all users of the host can read it. It "
     "is\n"
     "read again by a reload, and when Redis refuses the password that was in it."},
    {"redis", "redis_db", COUNT, AT(redis_db), "0", 0, 65535, false, "Number for SELECT."},
    {"redis", "sentinel_user", TEXT, AT(sentinel_user), "", 0, 255, true,
     "User for AUTH at the Sentinels. Empty: their default user."},
    {"redis", "sentinel_password", TEXT, AT(sentinel_password), "", 0, PASSWORD_BYTES, true,
     "Password for AUTH at the Sentinels; they are not told that of Redis. Better kept in\n"
     "sentinel_password_file."},
    {"redis", "sentinel_password_file", TEXT, AT(sentinel_password_file), "", 0, PATH_MAX - 1, true,
     "As redis_password_file."},
    {"redis", "sentinel_tls", COUNT, AT(sentinel_tls), "0", 0, 1, false,
     "1: TLS on the connections to the Sentinels, with the same certificates as redis.tls."},
    {"redis", "tls", COUNT, AT(tls), "0", 0, 1, false,
     "1: TLS 1.2 or 1.3 on all connections to Redis, at host:port or what Sentinels name. Not "
     "with\n"
     "embedded or unix:/path."},
    {"redis", "tls_ca_file", TEXT, AT(tls_ca_file), "", 0, PATH_MAX - 1, true,
     "Certificates (PEM) of which one has to have signed that of Redis. This and all that tls_* "
     "names\n"
     "is read at the start and by each reload, and used from the next connection on."},
    {"redis", "tls_ca_path", TEXT, AT(tls_ca_path), "", 0, PATH_MAX - 1, true,
     "The same as a directory, as openssl rehash makes it. With neither those that the system "
     "trusts."},
    {"redis", "tls_cert_file", TEXT, AT(tls_cert_file), "", 0, PATH_MAX - 1, true,
     "Our own certificate (PEM, with those between it and the CA behind it), where Redis asks for "
     "one."},
    {"redis", "tls_key_file", TEXT, AT(tls_key_file), "", 0, PATH_MAX - 1, true,
     "Its key (PEM, without a passphrase). Empty: it is in tls_cert_file. Refused when all users "
     "of\n"
     "the host can read it."},
    {"redis", "tls_server_name", TEXT, AT(tls_server_name), "", 0, 255, true,
     "The name or IP address that Redis' certificate has to be for, and which it is asked for "
     "(SNI).\n"
     "Empty: the host in the address."},
    {"redis", "tls_verify", COUNT, AT(tls_verify), "1", 0, 1, true,
     "0: any certificate will do. Whoever is on the way can then read and change everything."},
    {"redis", "connect_timeout", TIME, AT(connect_timeout), "2s", 10, HOUR, true,
     "How long connecting and greeting may take before another try begins."},
    {"redis", "command_timeout", TIME, AT(command_timeout), "5s", 10, HOUR, true,
     "How long Redis may leave a command unanswered before the connection counts as lost."},
    {"redis", "reconnect_min", TIME, AT(reconnect_min), "50ms", 1, HOUR, true,
     "The pause before the first new try; it doubles with each further one."},
    {"redis", "reconnect_max", TIME, AT(reconnect_max), "2s", 1, HOUR, true,
     "The longest pause between tries. At least reconnect_min."},
    {"redis", "redis_server", TEXT, AT(redis_server), "redis-server", 1, PATH_MAX - 1, false,
     "The program run when redis = embedded; looked up in PATH when it has no slash."},
    {"redis", "state_dir", TEXT, AT(state_dir), STATE_DEFAULT, 1, PATH_MAX - 1, false,
     "Where the embedded Redis keeps its data. $STATE_DIRECTORY when systemd gives one; for\n"
     "users other than root the default is $XDG_STATE_HOME/rapyerd or ~/.local/state/rapyerd."},
    {"redis", "key_prefix", TEXT, AT(key_prefix), "rapyer", 1, 64, false,
     "How all keys in Redis begin. Daemons that share documents need the same one."},

    {"cache", "cache_memory", SIZE, AT(cache_memory), "256M", 64 * KIB, 1024 * GIB, true,
     "Memory for documents; past it those that are used least are dropped (S3-FIFO). One that "
     "takes\n"
     "more than half of it is the first to go."},
    {"cache", "absent", COUNT, AT(absent), "10000", 0, 10000000, true,
     "Documents of which it is remembered that they are not there, so that who asks again needs "
     "no\n"
     "answer of Redis. They take a tenth of cache_memory at most, and push out no documents."},
    {"cache", "stale_reads", TIME, AT(stale_reads), "0", 0, 24 * HOUR, true,
     "For how long documents in memory are still read while Redis (in a cluster: their master) "
     "cannot\n"
     "be reached. They say so: doc.get with the option version has \"@stale\" then. 0: such reads "
     "are\n"
     "UNAVAILABLE."},

    {"cache", "shared_memory", SIZE, AT(shared_memory), "16M", 0, 64 * GIB, true,
     "Memory in which documents that are read often are shown to all clients, who read them there\n"
     "without asking. A part of cache_memory, at most half of it, taken when a client first asks "
     "for\n"
     "it. Every client can see all that is in it. 0, or less than 1M: none."},
    {"cache", "shared_except", TEXT, AT(shared_except), "", 0, 65535, true,
     "Models whose documents are never shown there: names, with commas or spaces between them."},

    {"coherence", "enabled", COUNT, AT(coherence), "1", 0, 1, false,
     "Whether others, daemons on other hosts and programs without one, are listened to. 0: nobody "
     "but\n"
     "this daemon writes into the documents; otherwise what is in memory may be wrong."},
    {"coherence", "bound", TIME, AT(coherence_bound), "1s", 20, HOUR, true,
     "What another has changed is seen by every read that begins so much later; or the read asks\n"
     "Redis. Writes, refusals and reads with {fresh: true} are exact in any case."},
    {"coherence", "audit", COUNT, AT(coherence_audit), "2", 0, 1000, true,
     "How many documents in memory are compared with Redis in a second, while some are used, to "
     "see\n"
     "that the bound is kept: what is not so is counted (audit_wrong of admin.stats, "
     "admin.doctor)\n"
     "and logged. 0, or enabled = 0: none."},

    {"commit", "queue_bytes", SIZE, AT(queue_bytes), "64M", 64 * KIB, 64 * GIB, true,
     "Writes waiting for Redis; past it new ones are answered UNAVAILABLE at once."},
    {"commit", "queue_time", TIME, AT(queue_time), "5s", 1, HOUR, true,
     "How long a write waits for Redis to come back before it is answered UNAVAILABLE; and is "
     "tried\n"
     "again while other hosts change the same document, before it is answered BUSY."},

    {"commit", "replicas", COUNT, AT(commit_replicas), "0", 0, 100, true,
     "So many replicas have to have a write before it is acknowledged (WAIT). When they do not "
     "within\n"
     "wait, it is answered NOT_DURABLE: it is applied, and may be lost by a failover. 0: none; "
     "costs\n"
     "nothing then, else a round trip to the replicas for each commit, and reads wait behind it."},
    {"commit", "fsync", COUNT, AT(commit_fsync), "0", 0, 1, true,
     "1: the same for disks: Redis, and so many replicas as above, have it in their append-only "
     "files\n"
     "(WAITAOF of Redis 7.2 or Valkey; with appendfsync everysec a write takes up to a second "
     "more)."},
    {"commit", "wait", TIME, AT(commit_wait), "1s", 1, HOUR, true,
     "How long replicas and disks may take. Less than redis.command_timeout."},
    {"commit", "forget_after", TIME, AT(forget_after), "168h", 1000, 1000 * HOUR, false,
     "This daemon is taken for dead when it was not heard of for so long (it gives a sign 24 times "
     "in\n"
     "that time): others remove the markers then by which it would have known which of its "
     "commits\n"
     "are in Redis. If it comes back after all, those that were on their way are UNKNOWN_OUTCOME."},

    {"locks", "lock_ttl", TIME, AT(lock_ttl), "30s", 100, 24 * HOUR, true,
     "How long a client holds a lock, unless it says otherwise or renews it: a client that hangs\n"
     "loses its locks then. At most lock_max_ttl."},
    {"locks", "lock_max_ttl", TIME, AT(lock_max_ttl), "1h", 100, 24 * HOUR, true,
     "The longest ttl that a client may ask for."},
    {"locks", "lock_lease", TIME, AT(lock_lease), "10s", 500, HOUR, true,
     "How long Redis keeps the locks of a rapyerd that it does not hear of. They are renewed "
     "three\n"
     "times as often. When rapyerd dies other hosts wait so long; when Redis cannot be reached "
     "for\n"
     "so long, locks are lost."},
    {"locks", "lock_turns", COUNT, AT(lock_turns), "16", 1, 1000000, true,
     "How often in a row a lock may change hands on this host while another host waits for it."},
    {"locks", "client_locks", COUNT, AT(client_locks), "20000", 1, 10000000, true,
     "Locks that one connection holds and waits for; past it BUSY."},

    {"rights", "file", TEXT, AT(rights_file), "", 0, PATH_MAX - 1, true,
     "Who may do what: a file of lines WHO WHAT MODELS, as user:www-data read,write,lock User, "
     "Post\n"
     "or group:analysts read,stats *, !Account. WHAT: read, write (with read), lock, break, "
     "define,\n"
     "stats, admin; and methods: doc.get, list.*, !doc.delete. Whom no line speaks of may "
     "nothing.\n"
     "Empty: whoever may connect may everything.\n"
     "The file is read again by a reload; who may do something else then is disconnected."},
    {"rights", "user_clients", COUNT, AT(user_clients), "0", 0, 1000000, true,
     "Connections of one user (uid) at a time; one more is answered BUSY and closed. 0: no limit."},
    {"rights", "user_requests", COUNT, AT(user_requests), "0", 0, 10000000, true,
     "Requests of one user that wait for something; one more is answered BUSY. 0: no limit."},
    {"rights", "user_rate", COUNT, AT(user_rate), "0", 0, 100000000, true,
     "Requests of one user in a second, as many again at once after a pause; more are BUSY. 0: no "
     "limit."},
    {"rights", "user_bytes", SIZE, AT(user_bytes), "0", 0, 1024 * GIB, true,
     "The same for the bytes of requests. 0: no limit."},
    {"rights", "user_memory", SIZE, AT(user_memory), "0", 0, 1024 * GIB, true,
     "What rapyerd has for all connections of one user: answers not read, requests that arrived "
     "in\n"
     "part, rings. Past it the one that wants more is disconnected, or gets no ring. 0: no limit."},

    {"metrics", "listen", TEXT, AT(metrics_listen), "off", 1, 255, false,
     "Where figures are told over HTTP, to Prometheus for one: unix:/path, 127.0.0.1:9680 or\n"
     "[::1]:9680; at no other addresses, as nobody is asked who he is. off: nowhere."},
    {"metrics", "socket_mode", MODE, AT(metrics_mode), "0660", 0, 0777, false,
     "Who may connect there when it is a unix socket."},
    {"metrics", "viewer", VIEWER, AT(metrics_viewer), "figures", 0, 0, false,
     "The page for a browser at the same place, which changes nothing: figures, with plots of the\n"
     "last hour and what doctor says; names: also clients, locks and the keys of documents;\n"
     "contents: also what is in them, of all models. off: none. Who may connect there sees it,\n"
     "whatever rights.file says."},
    {"metrics", "traces", TEXT, AT(traces), "off", 1, 255, false,
     "Where requests are told of whose clients say that they belong to a trace, and that it is\n"
     "recorded: a collector of OpenTelemetry, http://127.0.0.1:4318/v1/traces, by its address in\n"
     "numbers or localhost. off: nowhere."},

    {"upgrade", "program", TEXT, AT(upgrade_program), "", 0, PATH_MAX - 1, false,
     "The program that rapyerctl upgrade puts in the place of the running one. Empty: that which "
     "was\n"
     "started, as it is by then. An upgrade takes it from the file as it is then."},
    {"upgrade", "start_time", TIME, AT(upgrade_start), "10s", 10, HOUR, true,
     "How long it may take to say that it could go on from here. Requests are answered meanwhile."},
    {"upgrade", "still_time", TIME, AT(upgrade_still), "2s", 10, HOUR, true,
     "How long requests may wait for what is under way to end, and for the new program to look at\n"
     "what it gets. Past it all goes on as before, and rapyerctl upgrade says why."},
    {"upgrade", "over_restart", LEAVE, AT(upgrade_over_restart), "ask", 0, 0, true,
     "Whether clients stay over a restart by systemd, which keeps them meanwhile\n"
     "(FileDescriptorStoreMax=): ask systemd, over the bus, whether it is a restart or a stop; "
     "always:\n"
     "with each SIGTERM of a service manager that cannot be asked, and restarts at once; never."},

    {"log", "log_level", LEVEL, AT(log_level), "notice", 0, 0, true,
     "What is logged: error, warning, notice, info or debug."},
    {"log", "format", FORMAT, AT(log_format), "text", 0, 0, true,
     "How a line looks: text, logfmt (time=... level=... msg=...) or json. The journal of systemd\n"
     "is given fields in any case."},
    {"log", "slow_time", TIME, AT(slow_time), "100ms", 0, HOUR, true,
     "Requests that took longer from being looked at to their answer are kept for rapyerctl "
     "slowlog.\n"
     "0: none."},
    {"log", "slow_entries", COUNT, AT(slow_entries), "128", 0, 10000, true,
     "How many of them; the oldest gives way."},
};

const size_t nsettings = sizeof settings / sizeof *settings;

/* --- values ---------------------------------------------------------------------------- */

struct unit {
    const char *word;
    uint64_t factor;
};

static const struct unit size_units[] = {{"", 1}, {"K", KIB}, {"M", MIB}, {"G", GIB}, {0}};
static const struct unit time_units[] = {{"", 1},        {"ms", 1},   {"s", 1000},
                                         {"min", 60000}, {"h", HOUR}, {0}};
static const struct unit no_units[] = {{"", 1}, {0}};

static const struct unit *units_of(enum setting_kind kind)
{
    return kind == SIZE ? size_units : kind == TIME ? time_units : no_units;
}

const char *setting_shape(enum setting_kind kind)
{
    switch (kind) {
    case SIZE: return "a number of bytes like 4096, 64K, 16M or 1G";
    case TIME: return "a time like 200ms, 5s or 2min";
    case MODE: return "octal permissions like 0660";
    default: return "a whole number";
    }
}

void setting_show(char *out, size_t size, enum setting_kind kind, uint64_t v)
{
    const struct unit *best = &units_of(kind)[0];

    if (kind == MODE) {
        snprintf(out, size, "%04o", (unsigned)v);
        return;
    }
    for (const struct unit *u = units_of(kind); u->word; u++)
        if (v && u->factor >= best->factor && v % u->factor == 0)
            best = u;
    snprintf(out, size, "%llu%s", (unsigned long long)(v / best->factor), best->word);
}

const char *const *setting_words(enum setting_kind kind)
{
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug", NULL};
    static const char *const formats[] = {"text", "logfmt", "json", NULL};
    static const char *const viewers[] = {"off", "figures", "names", "contents", NULL};
    static const char *const leaves[] = {"ask", "always", "never", NULL};

    switch (kind) {
    case LEVEL: return levels;
    case FORMAT: return formats;
    case VIEWER: return viewers;
    case LEAVE: return leaves;
    default: return NULL;
    }
}

void setting_text(char *out, size_t size, struct config *c, const struct setting *s)
{
    const void *field = setting_field(c, s);

    if (s->kind == TEXT && (s->offset == AT(redis_password) || s->offset == AT(sentinel_password)))
        snprintf(out, size, "%s", **(char *const *)field ? "(set)" : "");
    else if (s->kind == TEXT)
        snprintf(out, size, "%s", *(char *const *)field);
    else if (setting_words(s->kind))
        snprintf(out, size, "%s", setting_words(s->kind)[*(const unsigned *)field]);
    else
        setting_show(out, size, s->kind,
                     s->kind == SIZE ? *(const size_t *)field : *(const unsigned *)field);
}

const struct setting *setting_named(const char *name)
{
    for (size_t i = 0; i < nsettings; i++) {
        size_t len = strlen(settings[i].section);
        if (strncmp(name, settings[i].section, len) == 0 && name[len] == '.' &&
            strcmp(name + len + 1, settings[i].name) == 0)
            return &settings[i];
    }
    return NULL;
}

int setting_read(enum setting_kind kind, const char *text, uint64_t *out)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return -1;
    errno = 0;
    unsigned long long v = strtoull(text, &end, kind == MODE ? 8 : 10);
    if (errno == ERANGE)
        v = UINT64_MAX;
    while (*end == ' ')
        end++;
    for (const struct unit *u = units_of(kind); u->word; u++) {
        if (strcasecmp(end, u->word) != 0)
            continue;
        *out = v > UINT64_MAX / u->factor ? UINT64_MAX : v * u->factor;
        return 0;
    }
    return -1;
}

/* --- the sample file --------------------------------------------------------------------- */

static void print_help(const char *help)
{
    for (const char *line = help; *line;) {
        size_t len = strcspn(line, "\n");
        printf("# %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

void config_print_sample(void)
{
    char min[32], max[32];

    puts(
        "# Settings of rapyerd. Every line that begins with a # is a comment, and what stands\n"
        "# in it as a setting is the default: change a setting by removing its # and the value\n"
        "# behind the =. Sizes: bytes, or with K, M or G behind the number. Times: 200ms, 5s,\n"
        "# 2min, 1h; a bare number is one of milliseconds.\n"
        "# A setting marked \"reload\" is taken over by systemctl reload (SIGHUP), the\n"
        "# others by a restart. On the command line: -o section.name=value. Where a setting names\n"
        "# a file, credential:NAME is what LoadCredential=NAME:... of the unit gives the service.");
    for (size_t i = 0; i < nsettings; i++) {
        const struct setting *s = &settings[i];
        if (i == 0 || strcmp(s->section, settings[i - 1].section) != 0)
            printf("\n[%s]\n", s->section);
        putchar('\n');
        print_help(s->help);
        if (s->kind == COUNT || s->kind == SIZE || s->kind == TIME) {
            setting_show(min, sizeof min, s->kind, s->min);
            setting_show(max, sizeof max, s->kind, s->max);
            printf("# %s to %s%s\n", min, max, s->reloadable ? "; reload" : "");
        } else if (s->reloadable) {
            puts("# reload");
        }
        printf("#%s =%s%s\n", s->name, s->value[0] ? " " : "", s->value);
    }
}
