/* fake_server: a daemon for tests of the connection: it answers by the method's name.
 *
 *   echo      the first parameter         error     "NOT_FOUND: no such thing"
 *   drop      closes the connection (as does any other, once, after drop_next)
 *   silent    nothing                     garbage   the byte 0xc1
 *   huge      100000 nils                 number    which connection this is, from 1
 *   hold      answers with the next request, after it
 *   find      the next of the texts of pages, as templates
 *   lock.*    as a daemon would, with tokens from 1; action "late": like hold, "never": like silent
 *
 * fake_log is what came in on locks, pipelines and finds, and fail_next the error that the next of
 * those is answered with.
 */
#ifndef TESTS_CLIENT_FAKE_SERVER_H
#define TESTS_CLIENT_FAKE_SERVER_H

#include "client/template.h"
#include "client/value.h"
#include "protocol/rpc.h"
#include "protocol/scan.h"
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fake_server {
    char dir[64], path[96];
    int listening;
    pthread_t thread;
    atomic_int connections, defines, writes, reads;
    atomic_bool drop_next; /* the next request but hello and define closes the connection */
    _Atomic(const char *) fail_next; /* "CODE: text" */
    atomic_int tokens;               /* given so far */
    const char *const *pages;        /* set before the first find */
    pthread_mutex_t log_mutex;
    char log[8192]; /* a line for each: method and parameters */
};

struct fake_peer {
    struct fake_server *server;
    int fd, number;
    uint64_t held; /* an id, 0: none */
    bool held_lock;
};

static void fake_send(int fd, const struct buf *b)
{
    size_t at = 0;
    while (at < b->len) {
        ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

/* {token, fence, version, depth, document} */
static void fake_grant(struct fake_peer *p, struct buf *out)
{
    int token = ++p->server->tokens;
    pack_map(out, 5);
    pack_cstr(out, "token");
    pack_int(out, token);
    pack_cstr(out, "fence");
    pack_int(out, 100 + token);
    pack_cstr(out, "version");
    pack_int(out, 3);
    pack_cstr(out, "depth");
    pack_int(out, 1);
    pack_cstr(out, "document");
    pack_map(out, 1);
    pack_cstr(out, "n");
    pack_int(out, 5);
}

/* acquire, acquire_many, release, renew */
static void fake_lock(struct fake_peer *p, const char *method, struct cursor params,
                      struct buf *out)
{
    uint32_t n = 0;
    const uint8_t *ops;
    size_t len;
    if (strcmp(method, "lock.acquire") == 0) {
        fake_grant(p, out);
    } else if (strcmp(method, "lock.acquire_many") == 0) {
        cursor_array(&params, &n);
        pack_array(out, n);
        for (; n > 0; n--)
            fake_grant(p, out);
    } else if (cursor_skip(&params) == 0 && cursor_value(&params, &ops, &len) == 0) {
        buf_append(out, ops, len); /* the operations, as a pipeline has them */
    } else {
        pack_array(out, 0);
    }
}

/* Whether it is noted, and may fail. */
static bool fake_notes(const char *method)
{
    return strncmp(method, "lock.", 5) == 0 || strncmp(method, "find", 4) == 0 ||
           strcmp(method, "pipeline") == 0;
}

static void fake_note(struct fake_server *s, const char *method, const struct rpc *m)
{
    struct fault f;
    struct cursor params = m->params;
    pthread_mutex_lock(&s->log_mutex);
    size_t used = strlen(s->log);
    used += (size_t)snprintf(s->log + used, sizeof s->log - used, "%s", method);
    for (uint32_t i = 0; i < m->nparams && used < sizeof s->log; i++) {
        const uint8_t *p = NULL;
        size_t len = 0;
        cursor_value(&params, &p, &len);
        rapyer_value *v = value_parse(cursor_of(p, len), 0, 1 << 20, &f);
        char *json = rapyer_to_json(v);
        used += (size_t)snprintf(s->log + used, sizeof s->log - used, " %s", json);
        free(json);
        rapyer_value_free(v);
    }
    if (used < sizeof s->log)
        snprintf(s->log + used, sizeof s->log - used, "\n");
    pthread_mutex_unlock(&s->log_mutex);
}

static void fake_answer(struct fake_peer *p, const struct rpc *m, const char *method)
{
    struct buf out = BUF_INIT;
    struct fault f;
    const uint8_t *value;
    size_t len;
    struct cursor params = m->params;
    bool locks = strncmp(method, "lock.", 5) == 0;
    const char *error = NULL, *text;
    if (fake_notes(method))
        error = atomic_exchange(&p->server->fail_next, NULL);
    if (error) {
        enum fault_code code = fault_parse(error, strlen(error), &text, &len);
        fault_set(&f, code, "%s", text);
        rpc_pack_error(&out, &m->id, &f);
    } else if (strcmp(method, "error") == 0) {
        fault_set(&f, FAULT_NOT_FOUND, "no such thing");
        rpc_pack_error(&out, &m->id, &f);
    } else if (strcmp(method, "garbage") == 0) {
        buf_append(&out, "\xc1", 1);
    } else {
        rpc_open_result(&out, m->id);
        if (strcmp(method, "huge") == 0) {
            pack_array(&out, 100000);
            for (int i = 0; i < 100000; i++)
                pack_nil(&out);
        } else if (locks) {
            fake_lock(p, method, params, &out);
        } else if (strncmp(method, "find", 4) == 0) {
            template_value(*p->server->pages++, NULL, NULL, NULL, &out, &f);
        } else if (strcmp(method, "number") == 0) {
            pack_int(&out, p->number);
        } else if (strcmp(method, "hello") != 0 && m->nparams &&
                   cursor_value(&params, &value, &len) == 0) {
            buf_append(&out, value, len);
        } else {
            pack_nil(&out);
        }
    }
    if (p->held) {
        rpc_open_result(&out, p->held);
        if (p->held_lock)
            fake_grant(p, &out);
        else
            pack_cstr(&out, "held");
        p->held = 0;
    }
    fake_send(p->fd, &out);
    buf_free(&out);
}

/* Whether it is a lock.acquire of this action. */
static bool fake_wants(const struct rpc *m, const char *which)
{
    struct cursor params = m->params;
    const char *action;
    size_t len;
    return m->nparams == 3 && cursor_skip(&params) == 0 &&
           cursor_str(&params, &action, &len) == 0 && len == strlen(which) &&
           memcmp(action, which, len) == 0;
}

/* false: the connection is to be closed. */
static bool fake_act(struct fake_peer *p, const struct rpc *m)
{
    char method[32];
    struct fake_server *s = p->server;
    snprintf(method, sizeof method, "%.*s", (int)m->method_len, m->method);
    bool first = strcmp(method, "hello") == 0 || strcmp(method, "define") == 0;
    s->defines += strcmp(method, "define") == 0;
    s->reads += strcmp(method, "doc.get") == 0;
    s->writes += strcmp(method, "doc.save") == 0;
    if (fake_notes(method))
        fake_note(s, method, m);
    if (strcmp(method, "drop") == 0 || (!first && atomic_exchange(&s->drop_next, false)))
        return false;
    p->held_lock = p->held ? p->held_lock : fake_wants(m, "late");
    if (strcmp(method, "hold") == 0 || (!p->held && p->held_lock))
        p->held = m->id;
    else if (strcmp(method, "silent") != 0 && !fake_wants(m, "never"))
        fake_answer(p, m, method);
    return true;
}

static void *fake_serve(void *arg)
{
    struct fake_peer *p = arg;
    struct buf in = BUF_INIT;
    struct fault f;
    struct rpc m;
    bool open = true;
    while (open) {
        buf_grow(&in, 65536);
        ssize_t n = recv(p->fd, in.data + in.len, in.cap - in.len, 0);
        if (n <= 0)
            break;
        in.len += (size_t)n;
        for (;;) {
            struct scan scan;
            scan_init(&scan, 1 << 26);
            if (!in.len || scan_run(&scan, in.data, in.len, &f) != SCAN_DONE)
                break;
            open = open && rpc_parse(&m, in.data, scan.at, &f) == 0 && fake_act(p, &m);
            memmove(in.data, in.data + scan.at, in.len - scan.at);
            in.len -= scan.at;
        }
    }
    buf_free(&in);
    close(p->fd);
    free(p);
    return NULL;
}

static void *fake_listen(void *arg)
{
    struct fake_server *s = arg;
    int fd;
    while ((fd = accept(s->listening, NULL, NULL)) >= 0) {
        struct fake_peer *p = calloc(1, sizeof *p);
        pthread_t thread;
        *p = (struct fake_peer){.server = s, .fd = fd, .number = ++s->connections};
        pthread_create(&thread, NULL, fake_serve, p);
        pthread_detach(thread);
    }
    return NULL;
}

static void fake_open(struct fake_server *s)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, s->path, strlen(s->path) + 1);
    s->listening = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(s->path);
    cr_assert_eq(bind(s->listening, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(s->listening, 16), 0);
    pthread_create(&s->thread, NULL, fake_listen, s);
}

static struct fake_server *fake_start(void)
{
    struct fake_server *s = calloc(1, sizeof *s);
    pthread_mutex_init(&s->log_mutex, NULL);
    strcpy(s->dir, "/tmp/rapyer-test-XXXXXX");
    cr_assert_not_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof s->path, "%s/sock", s->dir);
    fake_open(s);
    return s;
}

static void fake_close(struct fake_server *s)
{
    shutdown(s->listening, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listening);
}

static void fake_stop(struct fake_server *s)
{
    fake_close(s);
    unlink(s->path);
    rmdir(s->dir);
    free(s);
}

/* What was noted since the last call; call a method that waits first. */
static inline const char *fake_log(struct fake_server *s)
{
    static char copy[sizeof s->log];
    pthread_mutex_lock(&s->log_mutex);
    memcpy(copy, s->log, sizeof copy);
    s->log[0] = '\0';
    pthread_mutex_unlock(&s->log_mutex);
    return copy;
}

#endif
