/* config: the settings, one table (config.c) from which the sample file, --help-settings, the
 * man page and the parser come. Sizes in bytes, times in milliseconds, unless named otherwise. */
#ifndef RAPYERD_CONFIG_H
#define RAPYERD_CONFIG_H

#include "daemon/base/log.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the page for a browser shows; each what those before show, too. */
enum viewer_level { VIEWER_OFF, VIEWER_FIGURES, VIEWER_NAMES, VIEWER_CONTENTS };
enum leave { LEAVE_ASK, LEAVE_ALWAYS, LEAVE_NEVER };

struct config {
    /* [listen] */
    char *socket;       /* path; default /run/rapyerd/rapyerd.sock */
    char *socket_owner; /* user name, "" leaves it */
    char *socket_group;
    unsigned socket_mode; /* octal, 0660 */
    /* [limits] */
    unsigned max_clients;       /* 10000 */
    size_t max_frame;           /* 32M: one request */
    size_t max_value;           /* 16M: one str, bytes or composite value */
    unsigned max_work;          /* 20 ms: what one request may take of everybody's time */
    size_t client_output;       /* 64M: answers a client has not read; past it it is closed */
    size_t client_output_pause; /* 1M: past it no more requests are read from it */
    unsigned client_requests;   /* 10000: requests in flight per client; past it reading pauses */
    size_t total_input;         /* 512M: unfinished frames of all clients */
    unsigned max_resolve;       /* 1000: documents that doc.get gives with one */
    unsigned max_rings;         /* 1000: clients that talk through memory */
    size_t ring_size;           /* 64K each way, a power of two */
    unsigned ring_watch;        /* 50 microseconds */
    unsigned find_documents;    /* 100000: that one find looks at */
    unsigned find_sorted;       /* 10000: that one find sorts */
    unsigned client_watches;    /* 1000: places that one client watches; past it BUSY */
    unsigned max_watches;       /* 100000: of all clients */
    unsigned max_monitors;      /* 16 */
    size_t watch_memory;        /* 256K: what a client was not told yet of them */
    /* [redis] */
    /* "embedded" | "unix:/path" | "host:port" | "[::1]:6379" | "sentinel:name@host:port,host:port"
     * | "cluster:host:port,host:port" */
    char *redis;
    char *redis_user;
    char *redis_password;
    char *redis_password_file;
    unsigned redis_db;
    char *sentinel_user; /* of the Sentinels */
    char *sentinel_password;
    char *sentinel_password_file;
    unsigned sentinel_tls;    /* 1: they are spoken to over TLS */
    unsigned tls;             /* 1: Redis is spoken to over TLS */
    char *tls_ca_file;        /* "": those that the system trusts */
    char *tls_ca_path;        /* "" */
    char *tls_cert_file;      /* "": none of ours */
    char *tls_key_file;       /* "": in tls_cert_file */
    char *tls_server_name;    /* "": the host of the address */
    unsigned tls_verify;      /* 1 */
    unsigned connect_timeout; /* 2000 */
    unsigned command_timeout; /* 5000 */
    unsigned reconnect_min;   /* 50 */
    unsigned reconnect_max;   /* 2000 */
    char *redis_server;       /* program of the embedded one; "redis-server" */
    char *state_dir;          /* its data; default /var/lib/rapyerd, or below $XDG_STATE_HOME */
    char *key_prefix;         /* "rapyer" */
    /* [cache] */
    size_t cache_memory;  /* 256M */
    unsigned absent;      /* 10000: documents that are known not to be there */
    unsigned stale_reads; /* 0: for how long cached documents are read without a link */
    size_t shared_memory; /* 16M: of cache_memory, where clients read without asking; 0: none */
    char *shared_except;  /* models that never go there, "User, Account" */
    /* [coherence] */
    unsigned coherence;       /* 1: others are listened to */
    unsigned coherence_bound; /* 1000 */
    unsigned coherence_audit; /* 2: documents in memory that are compared with Redis, a second */
    /* [commit] */
    size_t queue_bytes;       /* 64M: requests waiting for Redis; past it UNAVAILABLE at once */
    unsigned queue_time;      /* 5000: a request waits this long for Redis at most */
    unsigned commit_replicas; /* 0: that have a commit before it is acknowledged */
    unsigned commit_fsync;    /* 0; 1: disks have it, that of Redis and those of the replicas */
    unsigned commit_wait;     /* 1000: how long that may take */
    unsigned forget_after;    /* 604800000: a daemon that is not heard of is taken for dead */
    /* [locks] */
    unsigned lock_ttl;     /* 30000: of a hold whose client does not say */
    unsigned lock_max_ttl; /* 3600000 */
    unsigned lock_lease;   /* 10000: in Redis; after a crash of rapyerd its locks are free then */
    unsigned lock_turns;   /* 16: grants in a row while another host waits */
    unsigned client_locks; /* 20000: held and waited for by one client */
    /* [rights] */
    char *rights_file;                               /* "": whoever connects may everything */
    unsigned user_clients, user_requests, user_rate; /* of one user; 0: no limit */
    size_t user_bytes, user_memory;
    /* [metrics] */
    char *metrics_listen;  /* "off" | "unix:/path" | "127.0.0.1:port" | "[::1]:port" */
    unsigned metrics_mode; /* 0660: of that socket */
    enum viewer_level metrics_viewer;
    char *traces; /* "off" | "http://127.0.0.1:4318/v1/traces" */
    /* [upgrade] */
    char *upgrade_program;           /* "": the one that runs, as it is on the disk */
    unsigned upgrade_start;          /* 10000 */
    unsigned upgrade_still;          /* 2000 */
    enum leave upgrade_over_restart; /* ask */
    /* [log] */
    enum log_level log_level;
    enum log_format log_format;
    unsigned slow_time;    /* 100: requests that took longer are kept; 0: none */
    unsigned slow_entries; /* 128 */
    /* No setting, but what the files of tls_* held when credentials_load read them; whoever called
     * that frees it. */
    struct tls_files *tls_files;
};

/* Defaults, then the file (NULL: /etc/rapyerd/rapyerd.conf if there), then -o section.name=value
 * overrides. 0, or -1 with a message for a person ("rapyerd.conf:12: limits.max_frame: ..."). */
int config_load(struct config *c, const char *file, const char *const *overrides, size_t noverrides,
                char *error, size_t error_size);
void config_free(struct config *c);
/* Takes over from `fresh` the settings that can change while running; says which others differ
 * (comma-separated names into ignored). */
void config_reload(struct config *c, struct config *fresh, char *ignored, size_t ignored_size);
/* What config_reload is going to take over, as names like `ignored`. */
void config_changes(struct config *c, struct config *fresh, char *taken, size_t taken_size);
/* Changes one reloadable setting, "section.name". -1: it cannot be that, with a message. */
int config_set(struct config *c, const char *name, const char *value, char *error,
               size_t error_size);
/* host:port,host:port, the nodes of the cluster that redis names; NULL: it names none. */
const char *config_cluster(const struct config *c);
/* Reads redis_password_file again, or sentinel_password_file, after its password was refused. 1: it
 * has another by now, which is taken over. 0: the same, or there is no such file. -1: it cannot be
 * read, with the reason. */
int config_reread_password(struct config *c, bool sentinel, char *error, size_t error_size);
/* The table as a commented sample file on stdout (conf/rapyerd.conf is this, a test says so). */
void config_print_sample(void);

#endif
