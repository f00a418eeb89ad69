/* ctl_monitor: what others ask of the daemon, as it is answered or as it was kept.
 *
 * The daemon tells it by notifications, which the library takes for its own; so this talks to the
 * socket itself.
 */
#include "client/ctl.h"
#include "client/value.h"
#include "protocol/rpc.h"
#include "protocol/scan.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MOST ((size_t)64 << 20) /* bytes of a message, as a value */

/* --- lines ------------------------------------------------------------------------------- */

/* A line has one unit: microseconds, or from 10 ms on milliseconds. */
static void print_times(const rapyer_value *us)
{
    static const char *const stages[] = {"queue", "gather", "redis", "answer"};
    int64_t all = rapyer_int(us, "all", 0);
    bool in_ms = all >= 10000;

    printf(in_ms ? "  %.1f ms" : "  %.0f us", (double)all / (in_ms ? 1e3 : 1));
    for (int i = 0; i < 4; i++) {
        int64_t took = rapyer_int(us, stages[i], -1);
        if (took >= 0)
            printf(in_ms ? "  %s %.1f" : "  %s %.0f", stages[i], (double)took / (in_ms ? 1e3 : 1));
    }
}

static void print_line(const struct ctl *c, const rapyer_value *v)
{
    double at = rapyer_float(v, "at", 0);
    const rapyer_value *us = rapyer_get(v, "us");
    time_t seconds = (time_t)at;
    struct tm tm;
    char when[32];

    if (c->json) {
        char *json = rapyer_to_json(v);
        puts(json ? json : "");
        free(json);
        return;
    }
    if (rapyer_int(v, "lost", 0) > 0)
        printf("... %lld lines were lost, as they were not read in time\n",
               (long long)rapyer_int(v, "lost", 0));
    localtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%H:%M:%S", &tm);
    char *key = ctl_plain(strdup(rapyer_str(v, "key", "")));
    printf("%s.%03d  %s[%lld] uid %lld  client %lld request %lld  %s %s", when,
           (int)((at - (double)seconds) * 1000), rapyer_str(v, "program", ""),
           (long long)rapyer_int(v, "pid", 0), (long long)rapyer_int(v, "uid", 0),
           (long long)rapyer_int(v, "client", 0), (long long)rapyer_int(v, "request", 0),
           rapyer_str(v, "method", ""), key ? key : "");
    free(key);
    if (rapyer_str(v, "fault", NULL))
        printf("  %s%s%s", ctl_paint(c, CTL_RED), rapyer_str(v, "fault", ""),
               ctl_paint(c, CTL_NORMAL));
    if (rapyer_str(v, "trace", NULL))
        printf("  trace %s", rapyer_str(v, "trace", ""));
    if (rapyer_kind_of(us) == RAPYER_DICT)
        print_times(us);
    putchar('\n');
}

int ctl_slowlog(struct ctl *c, int argc, char **argv)
{
    struct buf params = BUF_INIT;

    if (argc == 1 && strcmp(argv[0], "clear") != 0)
        return ctl_usage_error("slowlog takes clear", argv[0]);
    if (argc == 1)
        pack_cstr(&params, "clear");
    rapyer_value *v = ctl_ask(c, "admin.slowlog", (uint32_t)argc, &params);
    if (!v)
        return ctl_answer_error(c);
    for (size_t i = 0; i < rapyer_len(v) && argc == 0; i++)
        print_line(c, rapyer_item(v, i));
    rapyer_value_free(v);
    return 0;
}

/* --- following --------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* One message: an answer or a line. -1: nothing more is to be printed. */
static int take(const struct ctl *c, const uint8_t *frame, size_t len, int *status)
{
    struct rpc m;
    struct fault f;

    if (rpc_parse(&m, frame, len, &f) < 0)
        return -1;
    if (m.kind == RPC_RESPONSE) {
        const char *text;
        size_t n;
        if (cursor_str(&m.error, &text, &n) < 0)
            return 0;
        fprintf(stderr, "rapyerctl: %.*s\n", (int)n, text);
        *status = n >= 9 && memcmp(text, "FORBIDDEN", 9) == 0 ? EXIT_DENIED
                  : n >= 4 && memcmp(text, "BUSY", 4) == 0    ? EXIT_NOT_NOW
                                                              : EXIT_ANSWER;
        return -1;
    }
    rapyer_value *v = value_parse(m.params, 0, MOST, &f);
    if (v) {
        print_line(c, v);
        fflush(stdout);
    }
    rapyer_value_free(v);
    return ferror(stdout) ? -1 : 0;
}

/* Until the daemon is gone or nobody reads any more. */
static int follow(const struct ctl *c, int fd)
{
    struct buf in = BUF_INIT;
    struct scan scan;
    struct fault f;
    int status = EXIT_CONNECT;

    scan_init(&scan, MOST);
    for (;;) {
        enum scan_status s = scan_run(&scan, in.data, in.len, &f);
        if (s == SCAN_DONE) {
            size_t len = scan.at;
            if (take(c, in.data, len, &status) < 0)
                break;
            memmove(in.data, in.data + len, in.len - len);
            in.len -= len;
            scan_init(&scan, MOST);
            continue;
        }
        if (s == SCAN_BAD || !buf_grow(&in, 65536))
            break;
        ssize_t n = read(fd, in.data + in.len, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        in.len += (size_t)n;
    }
    buf_free(&in);
    return status;
}

static int monitor(struct ctl *c, const struct buf *filter)
{
    struct buf out = BUF_INIT;
    int fd = connect_to(c->db->socket);

    if (fd < 0) {
        fprintf(stderr, "rapyerctl: %s: %s\n", c->db->socket, strerror(errno));
        return EXIT_CONNECT;
    }
    rpc_open_request(&out, 1, "admin.monitor");
    pack_array(&out, 1);
    buf_append(&out, filter->data, filter->len);
    int status = EXIT_CONNECT;
    if (write(fd, out.data, out.len) == (ssize_t)out.len)
        status = follow(c, fd);
    buf_free(&out);
    close(fd);
    return status;
}

/* "key=User:*", "method=set", "client=5", "slower=2ms", "faults" */
static int add_filter(struct buf *out, const char *word)
{
    static const char *const texts[] = {"key", "method"};
    char *end;

    for (int i = 0; i < 2; i++) {
        size_t len = strlen(texts[i]);
        if (strncmp(word, texts[i], len) != 0 || word[len] != '=')
            continue;
        pack_cstr(out, texts[i]);
        pack_cstr(out, word + len + 1);
        return 0;
    }
    if (strcmp(word, "faults") == 0) {
        pack_cstr(out, "faults");
        pack_bool(out, true);
        return 0;
    }
    bool slower = strncmp(word, "slower=", 7) == 0;
    if (!slower && strncmp(word, "client=", 7) != 0)
        return -1;
    double n = strtod(word + 7, &end);
    if (end == word + 7 || n < 0 || n > 1e9 || (slower ? strcmp(end, "ms") != 0 : *end != '\0'))
        return -1;
    pack_cstr(out, slower ? "slower" : "client");
    pack_int(out, (int64_t)(slower ? n * 1000 : n));
    return 0;
}

int ctl_monitor(struct ctl *c, int argc, char **argv)
{
    struct buf filter = BUF_INIT;

    pack_map(&filter, (uint32_t)argc);
    for (int i = 0; i < argc; i++)
        if (add_filter(&filter, argv[i]) < 0) {
            buf_free(&filter);
            return ctl_usage_error("monitor takes key=KEY, key=Model:*, method=NAME, "
                                   "client=NUMBER, slower=Nms, faults",
                                   argv[i]);
        }
    int status = monitor(c, &filter);
    buf_free(&filter);
    return status;
}

int ctl_trace(struct ctl *c, int argc, char **argv)
{
    struct buf filter = BUF_INIT;

    (void)argc;
    if (!strchr(argv[0], ':'))
        return ctl_usage_error("trace takes the key of a document, as Model:pk", argv[0]);
    pack_map(&filter, 1);
    pack_cstr(&filter, "key");
    pack_cstr(&filter, argv[0]);
    int status = monitor(c, &filter);
    buf_free(&filter);
    return status;
}
