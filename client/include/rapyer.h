/* rapyer: nested models in Redis, through the local daemon rapyerd.
 *
 *   static const rapyer_model UserSettings = RAPYER_ATOMIC("UserSettings",
 *       RAPYER_FIELD("theme", "str", "'light'"),
 *       RAPYER_FIELD("notifications", "dict<bool>"));
 *   static const rapyer_model User = RAPYER_ATOMIC("User",
 *       RAPYER_FIELD("username", "str"),
 *       RAPYER_FIELD("settings", "UserSettings"),
 *       RAPYER_FIELD("tags", "list<str>"));
 *
 *   rapyer *db = rapyer_connect(NULL);
 *   rapyer_define(db, &UserSettings, &User);
 *   rapyer_doc *user = rapyer_new(db, "User", "{username: %s}", name);
 *   rapyer_save(user);
 *   rapyer_update(user, "settings.notifications", "{email: true, sms: false}");
 *   rapyer_append(user, "tags", "%s", tag);
 *   if (rapyer_errcode(db))
 *       fprintf(stderr, "%s\n", rapyer_errmsg(db));
 *
 * Templates. Where a value goes in, it is written as relaxed JSON with printf placeholders,
 * which the compiler checks. A placeholder is a value of its own, never text that is parsed:
 * whatever a string holds, it stays that string.
 *   null true false  12 -3 1.5  'text' "text"  bare_word (a str)   [a, b]   {key: value, 'a b': c}
 *   %s %.*s        str (NULL is null)          %d %u %ld %lu %lld %llu %zd %zu   int
 *   %f %g          float                       %hhd   bool
 *   b%.*s b'text'  bytes                       @%lld @'2024-01-31T12:00:00Z' @%s   datetime
 *   {%s: %d}       a key may be a placeholder  %p     a draft (rapyer_doc *), which moves in,
 *                                                     or a rapyer_value *, which is copied
 * There are no conversions: 1 is not true, and '1' is not a number; the daemon checks types. Only
 * an int is taken where a float belongs.
 *
 * Errors. A call that fails returns -1 or NULL and leaves its reason with the connection, where
 * it stays until the next failure or rapyer_clear_error: one may check every call, or run a few
 * and check once. Calls on a NULL handle fail and change no reason: that of the call which
 * returned the NULL remains.
 *
 * Threads. A connection, and every handle made from it, belongs to one thread at a time; use
 * one connection per thread. After fork() the child gets a connection of its own at its next
 * call; the parent's locks are not the child's. No call raises SIGPIPE.
 */
#ifndef RAPYER_H
#define RAPYER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RAPYER_API __attribute__((visibility("default")))
#define RAPYER_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define RAPYER_SCANF(fmt, args) __attribute__((format(scanf, fmt, args)))
#else
#define RAPYER_API
#define RAPYER_PRINTF(fmt, args)
#define RAPYER_SCANF(fmt, args)
#endif

typedef struct rapyer rapyer;             /* a connection */
typedef struct rapyer_doc rapyer_doc;     /* a document, a draft, or a place inside one */
typedef struct rapyer_value rapyer_value; /* something read; see "Values" */

/* ---- Errors ------------------------------------------------------------------------------ */

typedef enum rapyer_error {
    RAPYER_OK = 0,
    RAPYER_BAD_FRAME = 1,
    RAPYER_TOO_LARGE = 2,
    RAPYER_BAD_REQUEST = 3, /* also a template that is not well-formed */
    RAPYER_UNKNOWN_METHOD = 4,
    RAPYER_BAD_KEY = 5,
    RAPYER_BAD_PATH = 6,
    RAPYER_BAD_TYPE = 7,
    RAPYER_BAD_VALUE = 8,
    RAPYER_OUT_OF_RANGE = 9,
    RAPYER_UNKNOWN_FIELD = 10,
    RAPYER_UNKNOWN_MODEL = 11,
    RAPYER_BAD_SCHEMA = 12,
    RAPYER_SCHEMA_CONFLICT = 13,
    RAPYER_NOT_FOUND = 14,
    RAPYER_CORRUPT = 15,         /* another program wrote to the document's keys in Redis */
    RAPYER_CONFLICT = 16,        /* another version, a unique value taken, or it is there already */
    RAPYER_UNAVAILABLE = 17,     /* not done: rapyerd or its Redis cannot be reached; try later */
    RAPYER_UNKNOWN_OUTCOME = 18, /* a write whose answer was lost: done or not done; read again */
    RAPYER_BUSY = 19,            /* not done: a limit is reached; try later */
    RAPYER_LOCK_LOST = 20,
    RAPYER_LOCK_TIMEOUT = 21,
    RAPYER_DEADLOCK = 22,
    RAPYER_INTERNAL = 23,    /* also a code this library does not know yet */
    RAPYER_NO_INDEX = 24,    /* no index answers a find, and a scan was not asked for */
    RAPYER_FORBIDDEN = 25,   /* the daemon's rules do not let this user do that */
    RAPYER_NOT_DURABLE = 26, /* done, but a failover may lose it (commit.replicas, commit.fsync) */
    RAPYER_CROSS_SLOT = 27,  /* what has to be changed together is not in one slot of the cluster */
    RAPYER_NO_MEMORY = 64,
} rapyer_error;

RAPYER_API rapyer_error rapyer_errcode(const rapyer *db); /* the latest, RAPYER_OK: none */
RAPYER_API const char *rapyer_errmsg(const rapyer *db);   /* "CODE: text", "" when none */
RAPYER_API void rapyer_clear_error(rapyer *db);
RAPYER_API const char *rapyer_strerror(rapyer_error code); /* what a code means, in general */

/* ---- Connections ------------------------------------------------------------------------- */

/* socket NULL: $RAPYER_SOCKET, else /run/rapyerd/rapyerd.sock if that is there, else where a
 * rapyerd of this user listens: $XDG_RUNTIME_DIR/rapyerd/rapyerd.sock or $HOME/.rapyerd.sock, the
 * first that is there. NULL only without memory. When rapyerd cannot be reached, rapyer_errcode
 * says so; every later call tries again, and so does a call after a restart of the daemon. What was
 * defined is declared again by itself. */
RAPYER_API rapyer *rapyer_connect(const char *socket);
/* Handles may outlive it, and are freed as ever: their calls then fail with UNAVAILABLE. Callbacks
 * that still wait are called from here: with UNKNOWN_OUTCOME for writes that were sent, else with
 * UNAVAILABLE. */
RAPYER_API void rapyer_close(rapyer *db);
/* How long a call may take; 30000 at first, and for 0. A read that is not answered in that time
 * fails with UNAVAILABLE, a write with UNKNOWN_OUTCOME. Waiting for a lock is not counted. */
RAPYER_API void rapyer_set_timeout(rapyer *db, int milliseconds);
/* A namespace for models, "shop", where several programs on one Redis have models of the same name:
 * what this connection declares and calls "User" is the model "shop.User" for all others. Before
 * rapyer_define. What is answered has whole names, rapyer_key and changes that are watched too, and
 * a name with a dot is taken as it is; so are the params of rapyer_call and rapyer_send, and
 * references in documents. NULL: none. -1: BAD_VALUE, it is no name or comes too late. */
RAPYER_API int rapyer_set_namespace(rapyer *db, const char *name);
/* Where what is asked for from here on belongs, as W3C Trace Context has it in "traceparent":
 * rapyerd tells it with what it says of these requests (slow log, monitor, log, spans). NULL:
 * nowhere any more. -1: BAD_VALUE, it is no such text. */
RAPYER_API int rapyer_set_trace(rapyer *db, const char *traceparent);
/* The longest answer taken, in bytes; 64 MiB at first. */
RAPYER_API void rapyer_set_max_answer(rapyer *db, size_t bytes);
RAPYER_API const char *rapyer_version(void);

/* ---- Models ------------------------------------------------------------------------------ */

typedef struct rapyer_field {
    const char *name;
    const char *type;     /* int float bool str bytes datetime any optional<T> list<T> dict<T>
                             set<T> sorted<T> ref<Model>, ... or the name of a model */
    const char *fallback; /* the default, as a template without placeholders; "" or NULL: none */
    bool lazy;            /* left out of rapyer_fetch: read it with rapyer_load */
    const char *index;    /* by what documents are found: "exact", "range", "prefix" or "tags",
                             or several, "exact range"; NULL or "": nothing */
    size_t offset, size;  /* of the member of a C struct; size 0: none */
} rapyer_field;

typedef struct rapyer_model {
    const char *name;
    const rapyer_field *fields; /* up to one without a name */
    bool plain;                 /* a value, kept in one piece; else every place in it has a name */
    const char *key;            /* the field that holds the pk; NULL: a generated UUID */
    int64_t ttl;                /* seconds a document lives, 0: for ever */
    bool refresh_ttl;           /* writes start the ttl anew */
    size_t size;                /* of the C struct it is bound to; 0: none */
} rapyer_model;

/* In RAPYER_FIELD and RAPYER_MEMBER a default may follow: RAPYER_FIELD("level", "int", "1"). */
#define RAPYER_FIELD(name_, type_, ...)                              \
    {                                                                \
        .name = (name_), .type = (type_), .fallback = "" __VA_ARGS__ \
    }
#define RAPYER_LAZY(name_, type_, ...)                                             \
    {                                                                              \
        .name = (name_), .type = (type_), .fallback = "" __VA_ARGS__, .lazy = true \
    }
/* A field with an index: RAPYER_INDEX("age", "int", "range", "0"). */
#define RAPYER_INDEX(name_, type_, index_, ...)                                         \
    {                                                                                   \
        .name = (name_), .type = (type_), .fallback = "" __VA_ARGS__, .index = (index_) \
    }
/* A field bound to the member of the same name: RAPYER_MEMBER(struct user, level, "int"); with
 * lazy or index: RAPYER_MEMBER(struct user, level, "int", "1", .index = "range"). */
#define RAPYER_MEMBER(struct_, member_, type_, ...)                                   \
    {                                                                                 \
        .name = #member_, .type = (type_), .fallback = "" __VA_ARGS__,                \
        .offset = offsetof(struct_, member_), .size = sizeof(((struct_ *)0)->member_) \
    }
/* A char * member that takes the document's pk; not a field. */
#define RAPYER_PK(struct_, member_)                                         \
    {                                                                       \
        .name = "@pk", .type = "str", .offset = offsetof(struct_, member_), \
        .size = sizeof(((struct_ *)0)->member_)                             \
    }
#define RAPYER_FIELDS(...) \
    (const rapyer_field[]) \
    {                      \
        __VA_ARGS__,       \
        {                  \
            .name = NULL   \
        }                  \
    }
#define RAPYER_ATOMIC(name_, ...)                             \
    {                                                         \
        .name = (name_), .fields = RAPYER_FIELDS(__VA_ARGS__) \
    }
#define RAPYER_PLAIN(name_, ...)                                             \
    {                                                                        \
        .name = (name_), .fields = RAPYER_FIELDS(__VA_ARGS__), .plain = true \
    }
/* More than that is written out: { .name = "User", .key = "email", .ttl = 3600,
 * .size = sizeof(struct user), .fields = RAPYER_FIELDS(...) }. The ttl, or none, declared last
 * holds for all programs. For unique fields see librapyer(3). */

/* Declares models, all or none, in whatever order: they may hold each other. The tables are not
 * copied: they must stay where they are while the connection lives, as static ones outside of
 * functions do. -1: BAD_SCHEMA or UNKNOWN_MODEL (nothing was sent), SCHEMA_CONFLICT, or UNAVAILABLE
 * (they are declared again by the next call that reaches the daemon). */
#define rapyer_define(db, ...) \
    rapyer_define_models((db), (const rapyer_model *const[]){__VA_ARGS__, NULL})
RAPYER_API int rapyer_define_models(rapyer *db, const rapyer_model *const *models);

/* ---- Documents --------------------------------------------------------------------------- */

/* A draft: lives here until it is saved or put into another document; operations on it cost no
 * round trip. model: "User" (a pk is generated, or taken from the key field), or "User:pk". */
RAPYER_API rapyer_doc *rapyer_new(rapyer *db, const char *model, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);
/* A saved document by its key, "User:42". The daemon is not asked: that the document is not there
 * is said by the first call that needs it. */
RAPYER_API rapyer_doc *rapyer_open(rapyer *db, const char *key);
/* A place inside, as a handle: rapyer_at(project, "sections[%d].tasks[0]", i). Each handle is
 * freed by itself, in any order. */
RAPYER_API rapyer_doc *rapyer_at(rapyer_doc *at, const char *path_fmt, ...) RAPYER_PRINTF(2, 3);
RAPYER_API void rapyer_free(rapyer_doc *at);

/* The pk of a document, a draft, or an element that was put somewhere (NULL for a mere place);
 * its key "User:42" (NULL for a draft that is not saved); where in that document it is (""
 * for the document). Each valid until the handle's next call. */
RAPYER_API const char *rapyer_pk(rapyer_doc *at);
RAPYER_API const char *rapyer_key(rapyer_doc *at);
RAPYER_API const char *rapyer_path(rapyer_doc *at);
RAPYER_API bool rapyer_is_draft(rapyer_doc *at);

/* The draft becomes a document, and its handles go on working there. A document of the same key
 * is replaced. */
RAPYER_API int rapyer_save(rapyer_doc *draft);
/* Several drafts as new documents, all or none; CONFLICT when one of them is there already. */
RAPYER_API int rapyer_insert_many(rapyer *db, rapyer_doc *const *drafts, size_t n);
/* The same with a Redis Cluster, where they need not be in one slot: all or none of each slot.
 * {saved: [{key, version}, ...], refused: [[key, "CODE: text"], ...]}; the drafts that were saved
 * are documents by then. NULL: nothing was done. */
RAPYER_API rapyer_value *rapyer_insert_parts(rapyer *db, rapyer_doc *const *drafts, size_t n);

/* Reading: the caller frees what it gets. NULL: NOT_FOUND, or another error. */
/* The handle's own place; a document without its lazy fields, which "@lazy" names: a map with that
 * is saved back without loss (rapyer_call of doc.save, rapyer_set). */
RAPYER_API rapyer_value *rapyer_fetch(rapyer_doc *at);
/* What is at a path from there, lazy or not; "": the handle's own place with all there is. */
RAPYER_API rapyer_value *rapyer_load(rapyer_doc *at, const char *path);
/* The elements [from, to) of a list, counted from its end where negative and cut to what is there;
 * to RAPYER_TO_END: to the end. Of a long list only these are read, where they are few of it. */
#define RAPYER_TO_END INT64_MAX
RAPYER_API rapyer_value *rapyer_load_range(rapyer_doc *at, const char *path, int64_t from,
                                           int64_t to);
/* A document as by rapyer_fetch, with its version as "@v": for rapyer_if_version. */
RAPYER_API rapyer_value *rapyer_fetch_version(rapyer_doc *doc);
/* A document with what it refers to in fields of type ref<Model>, up to so many references away (1
 * to 32): "@refs" in it has all of those by their keys, null for one that is not there. fields:
 * where the references are, "boss", "posts.author", without indexes and keys; n 0: all of them. */
RAPYER_API rapyer_value *rapyer_fetch_refs(rapyer_doc *doc, int depth, const char *const *fields,
                                           size_t n);
/* The document that the ref<Model> at a path names, as by rapyer_fetch, asked for in one request; a
 * null value if it names none. Of a draft it is the reference that the draft has. NULL: NOT_FOUND,
 * also of what is named; BAD_TYPE: there is no reference. */
RAPYER_API rapyer_value *rapyer_fetch_ref(rapyer_doc *at, const char *path);
/* A document as by rapyer_fetch, which lives on by that: its model's ttl begins anew, if it ends
 * before that; it has no new version. */
RAPYER_API rapyer_value *rapyer_fetch_touch(rapyer_doc *doc);
/* A list of documents in the order of the keys, null for each that is not there. */
RAPYER_API rapyer_value *rapyer_get_many(rapyer *db, const char *const *keys, size_t n);
RAPYER_API rapyer_value *rapyer_keys(rapyer *db, const char *model); /* a list of keys */

RAPYER_API int rapyer_delete(rapyer_doc *doc); /* 1: it was there, 0: it was not, -1 */
/* Documents by their keys, as rapyer_insert_parts: {deleted: how many, refused: [...]}. */
RAPYER_API rapyer_value *rapyer_delete_parts(rapyer *db, const char *const *keys, size_t n);
RAPYER_API int rapyer_exists(rapyer_doc *doc);  /* 1, 0, -1 */
RAPYER_API int64_t rapyer_ttl(rapyer_doc *doc); /* seconds left, 0: lives for ever, -1 */
RAPYER_API int rapyer_set_ttl(rapyer_doc *doc, int64_t seconds); /* 0: for ever */
/* It lives for ever; 1: it did not before, 0: it did, -1. */
RAPYER_API int rapyer_persist(rapyer_doc *doc);
/* A copy of a saved document under another pk, NULL: a random one. In a pipeline: a handle, in no
 * pipeline, on what there is after the commit. In a cluster both have to be in one slot, else
 * CROSS_SLOT: a random pk has the same {tag}; of a User:42 without one "{User:42}b" would do. */
RAPYER_API rapyer_doc *rapyer_duplicate(rapyer_doc *doc, const char *pk);

/* ---- Finding ----------------------------------------------------------------------------- */
/*   rapyer_auto_cursor *found = rapyer_find(db, "User", &(rapyer_find_options){.sort = "-age"},
 *                                           "age > %d and city = %s", 30, city);
 *   for (const char *key; (key = rapyer_next(found)) != NULL;)
 *       printf("%s: %s\n", key, rapyer_str(rapyer_found(found), "name", ""));
 *
 * An expression is made of comparisons with and, or, not and parentheses: age > 30 and (city =
 * Boston or not tags has red). A comparison is a path (settings.theme; posts[].title: of one of the
 * elements), then = != < <= > >= and a value, in and a list of values, prefix and a text, or has
 * and what a list or set has as an element, a dict as a key. Values are as in templates, with their
 * placeholders; dates and times need no quotes: 2024-01-31 and 12:00 are texts, as of the types
 * date and time, 2024-01-31T12:00:00Z is a datetime. A decimal is a text: '9.99'. NULL and "" are
 * for all documents. What there is for which types, and which indexes help, is in PROTOCOL.md,
 * under find. */

typedef struct rapyer_cursor rapyer_cursor; /* documents that were found, one after the other */

typedef struct rapyer_find_options {
    const char *sort;         /* a path, with "-" before it from the highest down; NULL: no order */
    int64_t limit;            /* documents at most, 0: all */
    const char *const *paths; /* npaths of them: what is read of each, by its path, lazy or not; */
    size_t npaths;            /* 0: the whole document, as by rapyer_fetch */
    bool keys;                /* only keys: rapyer_found gives NULL */
    bool version;             /* "@v" in each document is its version */
    bool scan;                /* where no index helps all documents are looked at */
    bool fresh;               /* what others have written up to now is seen in any case */
    int page;                 /* documents that one question is for, 1 to 10000; 0: as it is best */
    const char *cursor; /* of rapyer_cursor_at, with the same expression and sort; NULL: from the
                           beginning */
} rapyer_find_options;

/* The documents of a model for which an expression holds; it asks for the first page. how NULL: all
 * zero. NULL: BAD_REQUEST (with where in the expression it is), UNKNOWN_MODEL, UNKNOWN_FIELD,
 * BAD_PATH, BAD_TYPE, NO_INDEX (see scan), or another error. */
RAPYER_API rapyer_cursor *rapyer_find(rapyer *db, const char *model, const rapyer_find_options *how,
                                      const char *fmt, ...) RAPYER_PRINTF(4, 5);
/* How many there are; of how only scan and fresh count. -1: an error, as above. */
RAPYER_API int64_t rapyer_find_count(rapyer *db, const char *model, const rapyer_find_options *how,
                                     const char *fmt, ...) RAPYER_PRINTF(4, 5);
/* Carries out operations, as of a pipeline but without keys, on each of them: "[[num.incr, runs,
 * 1], [set, state, %s]]"; the placeholders of operations come before those of fmt. A document is
 * changed by all of them or not at all, and if the expression holds for it in the moment in which
 * it is changed; how many were. Of how sort (by a range index), limit, scan, fresh and cursor
 * count. -1: an error; documents may have been changed before it, and of one that was refused, as
 * by a unique field, all others were: the message has its key. Who goes on after an error, or does
 * it twice, changes none twice if the expression asks for something that the operations set. */
RAPYER_API int64_t rapyer_find_update(rapyer *db, const char *model, const rapyer_find_options *how,
                                      const char *operations, const char *fmt, ...);
/* The same, and deletes them. */
RAPYER_API int64_t rapyer_find_delete(rapyer *db, const char *model, const rapyer_find_options *how,
                                      const char *fmt, ...) RAPYER_PRINTF(4, 5);
/* The key of the next document, good until the next call. NULL: there is none, or its page could
 * not be fetched: then rapyer_errcode says so, and the next call tries again. */
RAPYER_API const char *rapyer_next(rapyer_cursor *found);
/* What was read of the document whose key rapyer_next gave last; good as long as that. */
RAPYER_API const rapyer_value *rapyer_found(const rapyer_cursor *found);
/* When rapyer_next has given limit documents: a text with which another find goes on behind them,
 * also in another process. NULL: there are no more. Good until the next call. */
RAPYER_API const char *rapyer_cursor_at(const rapyer_cursor *found);
RAPYER_API void rapyer_cursor_free(rapyer_cursor *found);

/* ---- Operations -------------------------------------------------------------------------- */
/* Each takes a handle and a path from there: "" or NULL for the handle's own place. They return
 * 0, where nothing else is said, and -1 or NULL for an error. On a draft they change the draft
 * alone. What each may refuse is in PROTOCOL.md. */

RAPYER_API int rapyer_set(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);

/* The new number goes to *now, unless now is NULL. The ...f functions are for float fields. div of
 * an int must come out even; floordiv and mod round as in Python. */
RAPYER_API int rapyer_incr(rapyer_doc *at, const char *path, int64_t by, int64_t *now);
RAPYER_API int rapyer_mul(rapyer_doc *at, const char *path, int64_t by, int64_t *now);
RAPYER_API int rapyer_div(rapyer_doc *at, const char *path, int64_t by, int64_t *now);
RAPYER_API int rapyer_floordiv(rapyer_doc *at, const char *path, int64_t by, int64_t *now);
RAPYER_API int rapyer_mod(rapyer_doc *at, const char *path, int64_t by, int64_t *now);
RAPYER_API int rapyer_pow(rapyer_doc *at, const char *path, int64_t by, int64_t *now);
RAPYER_API int rapyer_incrf(rapyer_doc *at, const char *path, double by, double *now);
RAPYER_API int rapyer_mulf(rapyer_doc *at, const char *path, double by, double *now);
RAPYER_API int rapyer_divf(rapyer_doc *at, const char *path, double by, double *now);
RAPYER_API int rapyer_floordivf(rapyer_doc *at, const char *path, double by, double *now);
RAPYER_API int rapyer_modf(rapyer_doc *at, const char *path, double by, double *now);
RAPYER_API int rapyer_powf(rapyer_doc *at, const char *path, double by, double *now);

RAPYER_API int rapyer_str_append(rapyer_doc *at, const char *path, const char *text);
RAPYER_API int rapyer_str_repeat(rapyer_doc *at, const char *path, int64_t times);
RAPYER_API int rapyer_bytes_append(rapyer_doc *at, const char *path, const void *p, size_t len);
RAPYER_API int rapyer_time_add(rapyer_doc *at, const char *path, double seconds);

/* Lists. append, extend, insert and extend_strs return the new length. Negative indexes count from
 * the end. */
RAPYER_API int64_t rapyer_append(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);
RAPYER_API int64_t rapyer_extend(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4); /* "[a, b]" */
RAPYER_API int64_t rapyer_insert(rapyer_doc *at, const char *path, int64_t index, const char *fmt,
                                 ...) RAPYER_PRINTF(4, 5);
RAPYER_API int64_t rapyer_extend_strs(rapyer_doc *at, const char *path, const char *const *strs,
                                      size_t n);
RAPYER_API int rapyer_list_set(rapyer_doc *at, const char *path, int64_t index, const char *fmt,
                               ...) RAPYER_PRINTF(4, 5);
RAPYER_API rapyer_value *rapyer_pop(rapyer_doc *at, const char *path, int64_t index); /* -1: last */
RAPYER_API int rapyer_list_remove(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4); /* the first that is equal; 1: there was one */
RAPYER_API int rapyer_list_index(rapyer_doc *at, const char *path, int64_t *index, const char *fmt,
                                 ...) RAPYER_PRINTF(4, 5); /* 1: it is there; 0: it is not */
RAPYER_API int rapyer_list_move(rapyer_doc *at, const char *path, int64_t from, int64_t to);
/* The last n, or the first -n; as many as there are. */
RAPYER_API rapyer_value *rapyer_pop_many(rapyer_doc *at, const char *path, int64_t n);
RAPYER_API int64_t rapyer_remove_range(rapyer_doc *at, const char *path, int64_t from,
                                       int64_t to); /* [from, to); how many went */
RAPYER_API int rapyer_list_clear(rapyer_doc *at, const char *path);

/* Sets: a member is there once. Elsewhere a set is the list of its members, in no order. */
RAPYER_API int rapyer_set_add(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4); /* 1: was not there, 0: was */
RAPYER_API int64_t rapyer_set_add_many(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4); /* "[a, b]"; how many were not there */
RAPYER_API int rapyer_set_remove(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);                                                   /* 1: was there */
RAPYER_API rapyer_value *rapyer_set_pop(rapyer_doc *at, const char *path); /* any one */
RAPYER_API int rapyer_set_clear(rapyer_doc *at, const char *path);
RAPYER_API int rapyer_set_has(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);
RAPYER_API int64_t rapyer_set_size(rapyer_doc *at, const char *path);
/* fmt: the other side, "[a, b]", or another set of the document, "{path: 'friends'}", or one of
 * another document, "{key: %s, path: 'friends'}" with its whole key. */
RAPYER_API rapyer_value *rapyer_set_union(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);
RAPYER_API rapyer_value *rapyer_set_intersection(rapyer_doc *at, const char *path, const char *fmt,
                                                 ...) RAPYER_PRINTF(3, 4);
RAPYER_API rapyer_value *rapyer_set_difference(rapyer_doc *at, const char *path, const char *fmt,
                                               ...) RAPYER_PRINTF(3, 4);
/* The same in place; how many members there are then. */
RAPYER_API int64_t rapyer_set_unite(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);
RAPYER_API int64_t rapyer_set_intersect(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);
RAPYER_API int64_t rapyer_set_subtract(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);

/* Sorted: each member once, with a score; the lowest first. Pairs are told as [member, score]. */
RAPYER_API int rapyer_sorted_push(rapyer_doc *at, const char *path, double score, const char *fmt,
                                  ...) RAPYER_PRINTF(4, 5); /* 1: was not there, 0: was */
RAPYER_API int64_t rapyer_sorted_push_many(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4); /* "[[a, 1], [b, 2.5]]"; how many were not there */
RAPYER_API int rapyer_sorted_incr(rapyer_doc *at, const char *path, double by, double *now,
                                  const char *fmt, ...) RAPYER_PRINTF(5, 6); /* now may be NULL */
/* n >= 0: a list of up to n pairs; -1: one pair, an error when there is none. */
RAPYER_API rapyer_value *rapyer_pop_min(rapyer_doc *at, const char *path, int64_t n);
RAPYER_API rapyer_value *rapyer_pop_max(rapyer_doc *at, const char *path, int64_t n);
RAPYER_API rapyer_value *rapyer_peek(rapyer_doc *at, const char *path, int64_t n); /* the lowest */
/* 1: it is there; 0: it is not. */
RAPYER_API int rapyer_sorted_score(rapyer_doc *at, const char *path, double *score, const char *fmt,
                                   ...) RAPYER_PRINTF(4, 5);
RAPYER_API int rapyer_sorted_rank(rapyer_doc *at, const char *path, int64_t *rank, const char *fmt,
                                  ...) RAPYER_PRINTF(4, 5);
/* By rank, [from, to), from the end where negative; by score, both included, INFINITY for none. */
RAPYER_API rapyer_value *rapyer_sorted_range(rapyer_doc *at, const char *path, int64_t from,
                                             int64_t to);
RAPYER_API rapyer_value *rapyer_sorted_range_by_score(rapyer_doc *at, const char *path,
                                                      double lowest, double highest);
RAPYER_API int rapyer_sorted_remove(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4); /* 1: was there */
RAPYER_API int64_t rapyer_sorted_remove_range(rapyer_doc *at, const char *path, int64_t from,
                                              int64_t to); /* how many went */
RAPYER_API int64_t rapyer_sorted_remove_by_score(rapyer_doc *at, const char *path, double lowest,
                                                 double highest);
RAPYER_API int64_t rapyer_sorted_size(rapyer_doc *at, const char *path);
RAPYER_API int rapyer_sorted_clear(rapyer_doc *at, const char *path);

/* Dicts. */
RAPYER_API int rapyer_update(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4); /* "{a: 1, b: 2}" */
RAPYER_API int rapyer_dict_set(rapyer_doc *at, const char *path, const char *key, const char *fmt,
                               ...) RAPYER_PRINTF(4, 5);
RAPYER_API int rapyer_dict_del(rapyer_doc *at, const char *path,
                               const char *key); /* 1: was there */
/* fmt: what is given when the key is not there; NULL: NOT_FOUND then. */
RAPYER_API rapyer_value *rapyer_dict_pop(rapyer_doc *at, const char *path, const char *key,
                                         const char *fmt, ...) RAPYER_PRINTF(4, 5);
RAPYER_API rapyer_value *rapyer_dict_popitem(rapyer_doc *at, const char *path); /* [key, value] */
RAPYER_API int rapyer_dict_clear(rapyer_doc *at, const char *path);

/* Any method of PROTOCOL.md; fmt: its parameters one after the other, "%s, {wait: 5}", or NULL. So
 * what a document refers to lives on with it: rapyer_call(db, "doc.ttl", "%s, null, {cascade:
 * true}", key). */
RAPYER_API rapyer_value *rapyer_call(rapyer *db, const char *method, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);

/* ---- Pipelines --------------------------------------------------------------------------- */
/*   rapyer_auto_doc *p = rapyer_begin(order);
 *   rapyer_append(p, "items", "%p", item);
 *   rapyer_set(p, "status", "confirmed");
 *   if (rapyer_commit(p) < 0) ...
 *
 * What changes something through such a handle, or through one that rapyer_at or rapyer_join makes
 * of it, is gathered here, at the cost of no round trip. It has no result yet: it returns 0, or a
 * null value, and leaves *now alone; see rapyer_results. The commit is one request: all of it is
 * done, or nothing. A draft in it is held until then, and free again when it fails. Reading is not
 * gathered: it shows what is saved. Neither are operations on drafts: they change the draft. */

/* A handle to gather with, on the same place. Of a handle that gathers already: an inner block,
 * which joins. Its commit leaves what it gathered, and will gather, to the outer one's; freed
 * without a commit, all is forgotten that was gathered since it began. (Begun on the plain
 * handle, a pipeline stands alone.) A pipeline that is freed without a commit is aborted. */
RAPYER_API rapyer_doc *rapyer_begin(rapyer_doc *at);
/* Another document, or a draft to be saved, as part of the pipeline. In a cluster all pks
 * begin with one {tag}, else the commit is CROSS_SLOT. */
RAPYER_API rapyer_doc *rapyer_join(rapyer_doc *pipeline, rapyer_doc *other);
/* The commit is done only if the handle's document still has this version (see
 * rapyer_fetch_version), or for 0 if there is none; else it fails with CONFLICT. */
RAPYER_API int rapyer_if_version(rapyer_doc *pipeline, int64_t version);
/* Whether what is at the path is as fmt says, "{'>=': 18, '<': 65}", "{'==': %s}", "{exists:
 * true}": 1, 0, or -1. In a pipeline nothing of it is done where it is not so: the commit fails
 * with CONFLICT. It may be a handle on a document that the pipeline does not change. */
RAPYER_API int rapyer_if(rapyer_doc *at, const char *path, const char *fmt, ...)
    RAPYER_PRINTF(3, 4);
/* In a pipeline only: where it is not so the next `decides` operations are left out, and null in
 * the results. */
RAPYER_API int rapyer_if_next(rapyer_doc *pipeline, const char *path, unsigned decides,
                              const char *fmt, ...) RAPYER_PRINTF(4, 5);
/* Sends, and waits. When an operation was refused, here or by the daemon, nothing was done, and
 * the error names it and its position, counted from 0. Either way the pipeline is empty then, for
 * further use. */
RAPYER_API int rapyer_commit(rapyer_doc *pipeline);
/* A list of what the operations of the latest commit answered, in their order; it belongs to the
 * pipeline, until the next commit. NULL: that one failed, or there was none. */
RAPYER_API const rapyer_value *rapyer_results(rapyer_doc *pipeline);
RAPYER_API void rapyer_abort(rapyer_doc *pipeline); /* forgets what was gathered since the begin */

/* ---- Locks ------------------------------------------------------------------------------- */
/*   rapyer_auto_doc *user = rapyer_lock_from_key(db, "User:1", "shopping", NULL);
 *   if (rapyer_int(rapyer_locked(user), "balance", 0) < price)
 *       return false;                           (freed, and so released)
 *   rapyer_auto_doc *p = rapyer_begin(user);
 *   rapyer_incr(p, "balance", -price, NULL);
 *   rapyer_append(p, "cart", "%s", item);
 *   return rapyer_unlock(p) == 0;               (saved and released, in one commit)
 *
 * A lock is named by a place and an action: a word of the programs that agree on it. It keeps out
 * those who ask for the same place and action, in any process on any host, and nobody else: other
 * actions, places inside, and those who write without asking. Who waits longest is next.
 *
 * rapyer_lock gives a handle for the same place under the lock. What is written through it, or
 * through handles that rapyer_at, rapyer_begin and rapyer_join make of it, is written only while
 * the lock is held, which is checked where the write is, in Redis. Otherwise, be it too late by a
 * moment, it fails with LOCK_LOST and changes nothing. (Outside of a pipeline rapyer_set_ttl,
 * rapyer_persist and rapyer_duplicate, which change nothing inside the document, and reads ask only
 * what this library knows of the lock.)
 *
 * A lock ends with rapyer_unlock; when the last handle under it is freed (nobody waits for that, or
 * hears whether it was held to the end); with the process or its connection, so also when rapyerd
 * restarts; when its ttl is over; when an administrator breaks it; when Redis is away for longer
 * than a lease. Once a call has found out, all that follow fail with LOCK_LOST by themselves. Free
 * the handle then, and lock anew.
 *
 * A lock belongs to the connection and the owner that took it. The same owner may take it again (a
 * function that locks, called under the lock): each taking is released for itself, the last one
 * lets others in. Threads have connections of their own, so they exclude each other; tasks that
 * share a connection in an event loop do so only under different owners. A fork()ed child has none
 * of its parent's locks. */

typedef struct rapyer_lock_options {
    double wait;       /* seconds to wait for it at most, then LOCK_TIMEOUT; 0: for ever */
    bool nowait;       /* LOCK_TIMEOUT at once when it is not free; also when wait is negative */
    double ttl;        /* seconds that it is held at most, unless renewed; 0: the daemon's, 30 */
    bool shared;       /* others may have it at the same time, if they share it too */
    const char *owner; /* who it is within this connection; NULL: "" */
    bool no_document;  /* what is there is not read along: rapyer_locked gives NULL */
} rapyer_lock_options; /* rapyer_lock(user, "transfer", &(rapyer_lock_options){.wait = 2.5}) */

/* how NULL: exclusive, waits for ever. The document need not exist; another place must. An element
 * of a list stays locked wherever it moves in the list. The new handle is under this lock alone,
 * and in no pipeline. NULL: LOCK_TIMEOUT (the text says who holds it), DEADLOCK (who waits for
 * whom; free what you hold and begin again, after a moment of random length), or another error. */
RAPYER_API rapyer_doc *rapyer_lock(rapyer_doc *at, const char *action,
                                   const rapyer_lock_options *how);
RAPYER_API rapyer_doc *rapyer_lock_from_key(rapyer *db, const char *key, const char *action,
                                            const rapyer_lock_options *how);

/* Several, all or none, into locks[0 .. n): they are taken in an order of the daemon's, so that
 * two such calls never wait for each other in a circle. how->wait is for all of them together. */
typedef struct rapyer_lock_item {
    rapyer_doc *at;
    const char *action;
    bool shared;
} rapyer_lock_item;
RAPYER_API int rapyer_lock_all(rapyer *db, const rapyer_lock_item *items, size_t n,
                               const rapyer_lock_options *how, rapyer_doc **locks);

/* Releases. Of a handle that rapyer_begin made of a handle under the lock: commits what was
 * gathered, and with that commit releases the lock and those of the handles that were joined and
 * wrote. If the commit is refused nothing was changed and all of them stay held. rapyer_results
 * has the answers. LOCK_LOST: it was not held to the end. CROSS_SLOT: as of rapyer_join. */
RAPYER_API int rapyer_unlock(rapyer_doc *lock);
/* The ttl begins anew, with so many seconds; 0: as many as before. */
RAPYER_API int rapyer_renew(rapyer_doc *lock, double ttl);

/* Of the moment when the lock was taken, for each handle under it: */
/* What was at the locked place, as by rapyer_fetch, all that others wrote under the lock included;
 * NULL if there was nothing. It belongs to the lock, and does not follow what is written later. */
RAPYER_API const rapyer_value *rapyer_locked(rapyer_doc *lock);
/* The version of the document, 0 if there was none; a number that is higher than that of all whom
 * the lock has kept apart from this one before, on any host. -1: the handle is under no lock. */
RAPYER_API int64_t rapyer_lock_version(rapyer_doc *lock);
RAPYER_API int64_t rapyer_fence(rapyer_doc *lock);

/* ---- Watching ---------------------------------------------------------------------------- */
/*   rapyer_watch(db, "User:42", NULL, NULL, NULL);
 *   const rapyer_change *change;
 *   while (rapyer_wait_change(db, -1, &change) > 0)
 *       printf("%s is %lld now\n", change->key, (long long)change->version);
 *
 * Changes are told whoever makes them: this program, others, on other hosts, or in Redis. What is
 * told may be several changes; nothing is left out without being told: then version is -1 and paths
 * NULL, and the program has to look itself. Who reads after a change was told sees it.
 *
 * A connection that is lost is opened again, by rapyer_process and by all calls that wait, and what
 * is watched is watched again; as it may have changed meanwhile it is then told with paths NULL. */

typedef struct rapyer_change {
    const char *key; /* of the document; "User:*" when it may be any of these */
    int64_t version; /* that it has now, 0: it is not there (any more), -1: look yourself */
    const char *const *paths; /* places at which, or within which, it has changed; NULL: anywhere */
    size_t npaths;
} rapyer_change;

/* change belongs to the library, and is NULL when what was watched cannot be watched again after
 * the connection was lost: rapyer_errcode(db) says why, and it is not watched any more. Called from
 * rapyer_process, and from every call that waits for the daemon. It may call anything but
 * rapyer_close. */
typedef void rapyer_watch_callback(rapyer *db, const rapyer_change *change, void *user);

/* key: a document, which need not be there, or "User:*": all of a model. path NULL or "": all of
 * it. cb NULL: changes are kept for rapyer_wait_change, one for each document. The version that the
 * document has now, 0: there is none, or it is a model; -1: BUSY (too many), or another error. What
 * is watched already gets the new callback. */
RAPYER_API int64_t rapyer_watch(rapyer *db, const char *key, const char *path,
                                rapyer_watch_callback *cb, void *user);
/* 1: it was watched, and its callback is not called any more; 0: it was not; -1. */
RAPYER_API int rapyer_unwatch(rapyer *db, const char *key, const char *path);
/* Waits for the next change of what is watched without a callback; milliseconds negative: for ever,
 * 0: what is there. 1: *change is good until the next call of this function; 0: none came in time;
 * -1: nothing is watched so, or it cannot be watched again (as for callbacks). A daemon that is
 * gone is waited for. Not from a callback. */
RAPYER_API int rapyer_wait_change(rapyer *db, int milliseconds, const rapyer_change **change);

/* ---- Values ------------------------------------------------------------------------------ */

typedef enum rapyer_kind {
    RAPYER_NULL,
    RAPYER_BOOL,
    RAPYER_INT,
    RAPYER_FLOAT,
    RAPYER_STR,
    RAPYER_BYTES,
    RAPYER_TIME,
    RAPYER_LIST,
    RAPYER_DICT,
} rapyer_kind;

/* Frees what a call returned; not what is inside of one. NULL is fine. */
RAPYER_API void rapyer_value_free(rapyer_value *v);

/* What is at a path inside, "posts[%d].title" (indexes may be negative, keys ["in brackets"]);
 * NULL when there is nothing. Belongs to v. */
RAPYER_API const rapyer_value *rapyer_get(const rapyer_value *v, const char *path_fmt, ...)
    RAPYER_PRINTF(2, 3);

/* The same, as a C value; `otherwise` when there is nothing of that kind. path "" or NULL: v
 * itself. An int is taken for a float, nothing else converts. A str ends with a NUL that is
 * not part of it; it belongs to v. */
RAPYER_API int64_t rapyer_int(const rapyer_value *v, const char *path, int64_t otherwise);
RAPYER_API double rapyer_float(const rapyer_value *v, const char *path, double otherwise);
RAPYER_API bool rapyer_bool(const rapyer_value *v, const char *path, bool otherwise);
RAPYER_API const char *rapyer_str(const rapyer_value *v, const char *path, const char *otherwise);

RAPYER_API rapyer_kind rapyer_kind_of(const rapyer_value *v);            /* RAPYER_NULL for NULL */
RAPYER_API const char *rapyer_data(const rapyer_value *v, size_t *len);  /* of a str or bytes */
RAPYER_API int rapyer_time(const rapyer_value *v, struct timespec *out); /* -1: no datetime */
RAPYER_API size_t rapyer_len(const rapyer_value *v);                     /* items, pairs, bytes */
/* The i-th element of a list, or value of a dict; NULL past the end. */
RAPYER_API const rapyer_value *rapyer_item(const rapyer_value *v, size_t i);
RAPYER_API const char *rapyer_item_key(const rapyer_value *v, size_t i); /* of a dict */

/* Reads several at once: rapyer_unpack(v, "{name: %ms, balance: %lld, tags: [%ms]}", ...).
 *   %d %ld %lld int    %lf float    %ms a str to free()    %p a const rapyer_value * inside v
 * Returns how many were stored: reading stops at the first that is missing or of another kind. */
RAPYER_API int rapyer_unpack(const rapyer_value *v, const char *fmt, ...) RAPYER_SCANF(2, 3);

/* JSON text, to free(). bytes are {"$bytes": base64}, datetimes {"$time": ISO 8601}. */
RAPYER_API char *rapyer_to_json(const rapyer_value *v);
/* The time now as ISO 8601 text; valid until the thread's next call. */
RAPYER_API const char *rapyer_now(void);

/* ---- C structs --------------------------------------------------------------------------- */
/* Of models whose fields are RAPYER_MEMBERs. The C type of a member:
 *   int int64_t   float double   bool bool   str char *   bytes rapyer_bytes
 *   datetime struct timespec   a model: its struct, inline   any: rapyer_value *
 *   decimal, date, time, uuid, ref<Model> and all that are texts on the wire char *
 *   list<T>, set<T> rapyer_list, items are T's C type   dict<T> rapyer_dict   sorted<T>
 *   rapyer_sorted   optional<T> pointer to T's C type (char * itself where that is one; of a model
 *   to its struct), NULL for null
 * Sizes are checked by rapyer_define. */

typedef struct rapyer_bytes {
    void *data;
    size_t len;
} rapyer_bytes;
typedef struct rapyer_list {
    void *items;
    size_t len;
} rapyer_list;
typedef struct rapyer_dict {
    char **keys;
    void *values;
    size_t len;
} rapyer_dict;
typedef struct rapyer_sorted {
    void *items;
    double *scores;
    size_t len;
} rapyer_sorted;

/* A draft that holds what the struct holds; the struct stays the caller's. */
RAPYER_API rapyer_doc *rapyer_new_struct(rapyer *db, const rapyer_model *model, const void *s);
/* Saves it under pk (NULL: the RAPYER_PK member, the key field, or a generated one). */
RAPYER_API int rapyer_save_struct(rapyer *db, const rapyer_model *model, const char *pk,
                                  const void *s);
/* Fills *s from a document, lazy members too, or from a value that was read; free what is inside of
 * *s with rapyer_struct_free. On -1 there is nothing to free. */
RAPYER_API int rapyer_get_struct(rapyer *db, const rapyer_model *model, const char *key, void *s);
RAPYER_API int rapyer_to_struct(rapyer *db, const rapyer_model *model, const rapyer_value *v,
                                void *s);
RAPYER_API void rapyer_struct_free(rapyer *db, const rapyer_model *model, void *s);

/* ---- Event loops ------------------------------------------------------------------------- */
/* Requests that do not wait: they are queued, and rapyer_process sends them. The loop polls
 * rapyer_fd for rapyer_events, at most rapyer_timeout_ms milliseconds, and calls rapyer_process,
 * which never blocks. All three can change with each call, also the descriptor of a connection that
 * goes on: ask for them anew. */

/* result belongs to the library, and is NULL for an error: rapyer_errcode(db) says which. A
 * callback may call anything but rapyer_close. */
typedef void rapyer_callback(rapyer *db, const rapyer_value *result, void *user);

/* cb is called exactly once when 0 is returned, and never for -1. cb may be NULL. */
RAPYER_API int rapyer_send(rapyer *db, rapyer_callback *cb, void *user, const char *method,
                           const char *fmt, ...) RAPYER_PRINTF(5, 6);
/* An operation by its wire name, fmt its arguments behind the path: rapyer_send_op(doc, cb, user,
 * "list.insert", "tags", "0, %s", tag). On a draft cb is called before this returns. */
RAPYER_API int rapyer_send_op(rapyer_doc *at, rapyer_callback *cb, void *user, const char *op,
                              const char *path, const char *fmt, ...) RAPYER_PRINTF(6, 7);

/* A rapyer_fetch_ref that does not wait. */
RAPYER_API int rapyer_send_fetch_ref(rapyer_doc *at, rapyer_callback *cb, void *user,
                                     const char *path);

/* A rapyer_commit that does not wait: cb gets the results. */
RAPYER_API int rapyer_send_commit(rapyer_doc *pipeline, rapyer_callback *cb, void *user);

/* A rapyer_lock that does not wait. lock is for the callback to keep or free; NULL for an error. */
typedef void rapyer_lock_callback(rapyer *db, rapyer_doc *lock, void *user);
RAPYER_API int rapyer_send_lock(rapyer_doc *at, const char *action, const rapyer_lock_options *how,
                                rapyer_lock_callback *cb, void *user);
/* A rapyer_unlock that does not wait: cb gets the results of what was gathered, in a list.
 * This and rapyer_unlock fail with BUSY while what was sent under the lock is without an answer.
 * (Who frees the last handle need not wait: the lock goes when the answers are there.) */
RAPYER_API int rapyer_send_unlock(rapyer_doc *lock, rapyer_callback *cb, void *user);

RAPYER_API int rapyer_fd(const rapyer *db);         /* -1: not connected now */
RAPYER_API short rapyer_events(const rapyer *db);   /* POLLIN, POLLOUT */
RAPYER_API int rapyer_timeout_ms(const rapyer *db); /* to what is due by itself, -1: nothing */
RAPYER_API size_t rapyer_pending(const rapyer *db); /* requests without an answer */
/* revents as poll() gave them, 0 for a timeout. Reads, writes, calls callbacks. Returns how many
 * requests were settled, or -1 when the connection was lost: all were settled then, with an
 * error. */
RAPYER_API int rapyer_process(rapyer *db, short revents);

/* ---- Cleanup ----------------------------------------------------------------------------- */
/* rapyer_auto_doc *user = rapyer_open(...); is freed at the end of its block. */

#if defined(__GNUC__)
static inline void rapyer_cleanup_db(rapyer **p)
{
    rapyer_close(*p);
}
static inline void rapyer_cleanup_doc(rapyer_doc **p)
{
    rapyer_free(*p);
}
static inline void rapyer_cleanup_value(rapyer_value **p)
{
    rapyer_value_free(*p);
}
#define rapyer_auto __attribute__((cleanup(rapyer_cleanup_db))) rapyer
/* unused: a lock may be held for its own sake. */
#define rapyer_auto_doc __attribute__((cleanup(rapyer_cleanup_doc), unused)) rapyer_doc
static inline void rapyer_cleanup_cursor(rapyer_cursor **p)
{
    rapyer_cursor_free(*p);
}
#define rapyer_auto_cursor __attribute__((cleanup(rapyer_cleanup_cursor))) rapyer_cursor
#define rapyer_auto_value __attribute__((cleanup(rapyer_cleanup_value))) rapyer_value
#endif

#ifdef __cplusplus
}
#endif

#endif
