/* db: what lives as long as the connection object: its life, its errors, its models' names. */
#include "client/db.h"
#include "client/request.h"
#include "client/watch.h"
#include "protocol/tree.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* The public codes are those of the wire, number by number. */
#define SAME_CODE(name, text) \
    _Static_assert((int)RAPYER_##name == (int)FAULT_##name, "rapyer.h and fault.h agree");
FAULT_CODES(SAME_CODE)
#undef SAME_CODE

static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned forks; /* between this process and the first that loaded the library */

unsigned db_forks(void)
{
    return forks;
}

static void after_fork(void)
{
    forks++;
}

static void set_up(void)
{
    pthread_atfork(NULL, NULL, after_fork);
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits)
        bits = (uint64_t)clock_ms() * 0x9e3779b97f4a7c15u ^ (uint64_t)getpid();
    dict_seed(bits);
}

static char *socket_path(const char *socket, bool *looks)
{
    if (!socket)
        socket = getenv("RAPYER_SOCKET");
    *looks = !socket || !*socket;
    return *looks ? address_find() : strdup(socket);
}

/* Most connections of short programs end before that, and never share memory. */
static uint64_t after(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

rapyer *db_new(const char *socket)
{
    pthread_once(&once, set_up);
    rapyer *db = calloc(1, sizeof *db);
    if (!db)
        return NULL;
    db->refs = 1;
    db->fd = -1;
    db->timeout_ms = DEFAULT_TIMEOUT_MS;
    db->max_answer = DEFAULT_MAX_ANSWER;
    db->ring_after = after("RAPYER_RING", DEFAULT_RING_AFTER);
    db->shared_after = after("RAPYER_SHARED", DEFAULT_SHARED_AFTER);
    for (int i = 0; i < 3; i++)
        db->ring_fds[i] = -1;
    db->socket = socket_path(socket, &db->looks);
    db->schema = schema_new();
    if (!db->socket || !db->schema) {
        db_unref(db);
        return NULL;
    }
    return db;
}

rapyer *db_ref(rapyer *db)
{
    db->refs++;
    return db;
}

void db_unref(rapyer *db)
{
    if (!db || --db->refs)
        return;
    for (size_t i = 0; i < db->ndeclarations; i++) {
        free(db->declarations[i].name);
        buf_free(&db->declarations[i].packed);
    }
    free(db->declarations);
    free(db->namespace);
    schema_free(db->schema);
    buf_free(&db->in);
    buf_free(&db->out);
    free(db->slots);
    free(db->socket);
    free(db);
}

void rapyer_close(rapyer *db)
{
    if (!db || db->closed)
        return;
    struct fault f;
    fault_set(&f, FAULT_UNAVAILABLE, "the connection was closed by rapyer_close");
    db->closed = true;
    connection_lose(db, &f);
    watch_free(db);
    db_unref(db);
}

void rapyer_set_timeout(rapyer *db, int milliseconds)
{
    if (db)
        db->timeout_ms = milliseconds > 0 ? milliseconds : DEFAULT_TIMEOUT_MS;
}

static bool is_traceparent(const char *text)
{
    if (strlen(text) != TRACEPARENT)
        return false;
    for (int i = 0; i < TRACEPARENT; i++) {
        bool dash = i == 2 || i == 35 || i == 52;
        if (dash ? text[i] != '-' : !strchr("0123456789abcdef", text[i]))
            return false;
    }
    return true;
}

int rapyer_set_trace(rapyer *db, const char *traceparent)
{
    if (!db)
        return -1;
    if (traceparent && !is_traceparent(traceparent))
        return db_failf(db, FAULT_BAD_VALUE, "\"%.100s\" is no traceparent", traceparent);
    snprintf(db->trace, sizeof db->trace, "%s", traceparent ? traceparent : "");
    return 0;
}

void rapyer_set_max_answer(rapyer *db, size_t bytes)
{
    if (db)
        db->max_answer = bytes < 4096 ? 4096 : bytes > UINT32_MAX ? UINT32_MAX : bytes;
}

const char *rapyer_version(void)
{
    return RAPYER_VERSION;
}

/* ---- errors ---- */

int db_fail(rapyer *db, const struct fault *f)
{
    if (!f || f->code == FAULT_NO_MEMORY)
        return db_no_memory(db);
    if (!db || (f->code == FAULT_NONE && db->code))
        return -1;
    if (f->code == FAULT_NONE)
        return db_failf(db, FAULT_BAD_VALUE, "a handle is NULL");
    db->code = (rapyer_error)f->code;
    snprintf(db->message, sizeof db->message, "%s: %s", fault_name(f->code), f->text);
    return -1;
}

int db_failf(rapyer *db, enum fault_code code, const char *fmt, ...)
{
    struct fault f;
    char text[FAULT_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fault_set(&f, code, "%s", text);
    return db_fail(db, &f);
}

int db_no_memory(rapyer *db)
{
    if (db) {
        db->code = RAPYER_NO_MEMORY;
        snprintf(db->message, sizeof db->message, "NO_MEMORY: out of memory");
    }
    return -1;
}

void db_fault(const rapyer *db, struct fault *f)
{
    const char *text = strchr(db->message, ':');
    f->code = (enum fault_code)db->code;
    snprintf(f->text, sizeof f->text, "%s", text ? text + 2 : "");
}

rapyer_error rapyer_errcode(const rapyer *db)
{
    return db ? db->code : RAPYER_NO_MEMORY;
}

const char *rapyer_errmsg(const rapyer *db)
{
    return db ? db->message : "NO_MEMORY: out of memory";
}

void rapyer_clear_error(rapyer *db)
{
    if (!db)
        return;
    db->code = RAPYER_OK;
    db->message[0] = '\0';
}

const char *rapyer_strerror(rapyer_error code)
{
    switch ((int)code) {
    case RAPYER_OK: return "no error";
    case RAPYER_NO_MEMORY: return "out of memory";
#define TEXT(name, text) \
    case FAULT_##name: return text;
        FAULT_CODES(TEXT)
#undef TEXT
    default: return "an error this library does not know";
    }
}
