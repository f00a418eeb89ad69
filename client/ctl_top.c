/* ctl_top: what the daemon does now: rates and times of the last interval, who causes them. */
#include "client/ctl.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHOWN 10 /* methods, clients and documents */

/* What was asked at one moment. */
struct look {
    rapyer_value *stats, *latency, *clients, *cache, *locks; /* locks: for a screen */
    double at;
};

static volatile sig_atomic_t over;

static void on_signal(int sig)
{
    (void)sig;
    over = 1;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void look_free(struct look *l)
{
    rapyer_value_free(l->stats);
    rapyer_value_free(l->latency);
    rapyer_value_free(l->clients);
    rapyer_value_free(l->cache);
    rapyer_value_free(l->locks);
    *l = (struct look){0};
}

static int look(struct ctl *c, struct look *l)
{
    struct buf none = BUF_INIT, top = BUF_INIT;

    l->at = now();
    pack_int(&top, SHOWN);
    l->stats = ctl_ask(c, "admin.stats", 0, &none);
    l->latency = l->stats ? ctl_ask(c, "admin.latency", 0, &none) : NULL;
    l->clients = l->latency ? ctl_ask(c, "admin.clients", 0, &none) : NULL;
    l->cache = l->clients ? ctl_ask(c, "admin.cache", 1, &top) : NULL;
    buf_free(&top);
    if (l->cache && c->terminal && !c->json && rapyer_int(l->stats, "locks_waiting", 0) > 0)
        l->locks = ctl_ask(c, "admin.locks", 0, &none);
    return l->cache ? 0 : -1;
}

/* --- rates ------------------------------------------------------------------------------- */

static const char *const stages[] = {"queue", "gather", "redis", "answer"};
#define NSTAGES 4

struct rate {
    const char *name;
    double rate, mean;     /* a second; us in this interval */
    double stage[NSTAGES]; /* us of the mean, in this interval */
    double p99;            /* us, since the start */
};

static double change(const rapyer_value *a, const rapyer_value *b, const char *path)
{
    return (double)(rapyer_int(b, path, 0) - rapyer_int(a, path, 0));
}

/* The item of this key; NULL: there is none. */
static const rapyer_value *item_of(const rapyer_value *dict, const char *key)
{
    for (size_t i = 0; i < rapyer_len(dict); i++)
        if (strcmp(rapyer_item_key(dict, i), key) == 0)
            return rapyer_item(dict, i);
    return NULL;
}

/* Of what was added to a count between two looks. */
static double mean_between(const rapyer_value *a, const rapyer_value *b)
{
    double n0 = (double)rapyer_int(a, "count", 0), n1 = (double)rapyer_int(b, "count", 0);
    double sum = rapyer_float(b, "mean", 0) * n1 - rapyer_float(a, "mean", 0) * n0;

    return n1 > n0 ? sum / (n1 - n0) : 0;
}

/* How much of the mean of all requests of a method was in each stage. */
static void take_stages(const rapyer_value *was, const rapyer_value *is, struct rate *r)
{
    double n = change(was, is, "count");

    for (int i = 0; i < NSTAGES; i++) {
        const rapyer_value *a = item_of(rapyer_get(was, "stages"), stages[i]);
        const rapyer_value *b = item_of(rapyer_get(is, "stages"), stages[i]);
        if (b && n > 0)
            r->stage[i] = mean_between(a, b) * change(a, b, "count") / n;
    }
}

static int by_rate(const void *x, const void *y)
{
    const struct rate *a = x, *b = y;

    return (a->rate < b->rate) - (a->rate > b->rate);
}

/* *all is what was asked altogether; give back to free(). */
static struct rate *method_rates(const struct look *a, const struct look *b, size_t *n, double *all)
{
    const rapyer_value *before = rapyer_get(a->latency, "methods");
    const rapyer_value *methods = rapyer_get(b->latency, "methods");
    struct rate *rates = calloc(rapyer_len(methods) + 1, sizeof *rates);

    *n = *all = 0;
    for (size_t i = 0; rates && i < rapyer_len(methods); i++) {
        const rapyer_value *m = rapyer_item(methods, i);
        const rapyer_value *was = item_of(before, rapyer_item_key(methods, i));
        double asked = change(was, m, "calls");
        *all += asked / (b->at - a->at);
        if (asked <= 0)
            continue;
        struct rate *r = &rates[(*n)++];
        *r = (struct rate){.name = rapyer_item_key(methods, i),
                           .rate = asked / (b->at - a->at),
                           .mean = mean_between(was, m),
                           .p99 = rapyer_float(m, "p99", 0)};
        take_stages(was, m, r);
    }
    if (rates)
        qsort(rates, *n, sizeof *rates, by_rate);
    return rates;
}

static double hit_rate(const struct look *a, const struct look *b)
{
    double hits = change(a->cache, b->cache, "hits") + change(a->cache, b->cache, "shared_hits");
    double all = hits + change(a->cache, b->cache, "misses");

    return all > 0 ? 100 * hits / all : 100;
}

/* --- one line, one object ---------------------------------------------------------------- */

struct sums {
    double requests, commits, hits, redis_us;
};

static void print_json(const struct look *b, const struct sums *s, const struct rate *rates,
                       size_t n)
{
    printf(
        "{\"requests\":%.1f,\"commits\":%.1f,\"hit_rate\":%.1f,\"redis_us\":%.1f,\"redis\":\"%s\","
        "\"clients\":%lld,\"waiting\":%lld,\"memory\":%lld,\"locks_held\":%lld,"
        "\"locks_waiting\":%lld,\"methods\":{",
        s->requests, s->commits, s->hits, s->redis_us, rapyer_str(b->stats, "redis", ""),
        (long long)rapyer_int(b->stats, "clients", 0),
        (long long)rapyer_int(b->stats, "waiting", 0), (long long)rapyer_int(b->stats, "memory", 0),
        (long long)rapyer_int(b->stats, "locks_held", 0),
        (long long)rapyer_int(b->stats, "locks_waiting", 0));
    for (size_t i = 0; i < n; i++) {
        const struct rate *r = &rates[i];
        printf("%s\"%s\":{\"rate\":%.1f,\"mean_us\":%.1f,\"p99_us\":%.1f", i ? "," : "", r->name,
               r->rate, r->mean, r->p99);
        for (int k = 0; k < NSTAGES; k++)
            printf(",\"%s_us\":%.1f", stages[k], r->stage[k]);
        putchar('}');
    }
    puts("}}");
}

/* Whether it is up, or all nodes of a cluster that have slots are. */
static bool describe_redis(const rapyer_value *stats, char *out, size_t size)
{
    const rapyer_value *nodes = rapyer_get(stats, "nodes");
    const char *redis = rapyer_str(stats, "redis", "");
    size_t masters = 0, up = 0;

    for (size_t i = 0; i < rapyer_len(nodes); i++) {
        const rapyer_value *node = rapyer_item(nodes, i);
        bool has = rapyer_int(node, "slots", 0) > 0;
        masters += has;
        up += has && rapyer_bool(node, "up", false);
    }
    bool all = masters > 0 ? up == masters : strcmp(redis, "up") == 0;
    if (masters > 0)
        snprintf(out, size, "%zu of %zu masters up", up, masters);
    else if (all)
        snprintf(out, size, "Redis up");
    else
        snprintf(out, size, "Redis away (%s)", redis);
    return all;
}

static void print_line(const struct ctl *c, const struct look *b, const struct sums *s)
{
    char redis[64];
    bool up = describe_redis(b->stats, redis, sizeof redis);
    time_t t = time(NULL);
    struct tm tm;
    char when[16];

    localtime_r(&t, &tm);
    strftime(when, sizeof when, "%H:%M:%S", &tm);
    printf("%s  %.0f requests/s  %.1f %% found  %.0f commits/s of %.0f us  %s%s%s  %lld "
           "clients  %lld waiting  %lld locks, %lld waited for  %.1f MB held\n",
           when, s->requests, s->hits, s->commits, s->redis_us, up ? "" : ctl_paint(c, CTL_RED),
           redis, up ? "" : ctl_paint(c, CTL_NORMAL), (long long)rapyer_int(b->stats, "clients", 0),
           (long long)rapyer_int(b->stats, "waiting", 0),
           (long long)rapyer_int(b->stats, "locks_held", 0),
           (long long)rapyer_int(b->stats, "locks_waiting", 0),
           (double)rapyer_int(b->stats, "memory", 0) / 1048576);
}

/* --- a screen ---------------------------------------------------------------------------- */

static void print_methods(const struct rate *rates, size_t n)
{
    printf("\n\033[1m%-20s %9s %8s %8s %8s %8s %8s %8s\033[0m\n", "METHOD", "/S", "P99 us",
           "MEAN us", "QUEUE", "GATHER", "REDIS", "ANSWER");
    for (size_t i = 0; i < n && i < SHOWN; i++) {
        printf("%-20s %9.1f %8.0f %8.0f", rates[i].name, rates[i].rate, rates[i].p99,
               rates[i].mean);
        for (int k = 0; k < NSTAGES; k++)
            printf(" %8.0f", rates[i].stage[k]);
        putchar('\n');
    }
}

static const rapyer_value *client_of(const struct look *l, int64_t number)
{
    for (size_t i = 0; i < rapyer_len(l->clients); i++)
        if (rapyer_int(rapyer_item(l->clients, i), "number", 0) == number)
            return rapyer_item(l->clients, i);
    return NULL;
}

struct busy {
    const rapyer_value *client;
    double rate, share;
};

static int by_share(const void *x, const void *y)
{
    const struct busy *a = x, *b = y;

    return (a->rate < b->rate) - (a->rate > b->rate);
}

static void print_clients(const struct look *a, const struct look *b)
{
    size_t n = rapyer_len(b->clients);
    struct busy *all = calloc(n + 1, sizeof *all);

    for (size_t i = 0; all && i < n; i++) {
        const rapyer_value *client = rapyer_item(b->clients, i);
        const rapyer_value *was = client_of(a, rapyer_int(client, "number", 0));
        all[i] = (struct busy){.client = client,
                               .rate = change(was, client, "requests") / (b->at - a->at),
                               .share = change(was, client, "busy_us") / (b->at - a->at) / 1e4};
    }
    if (all)
        qsort(all, n, sizeof *all, by_share);
    printf("\n\033[1m%-8s %8s %-20s %10s %8s %10s %8s\033[0m\n", "CLIENT", "PID", "PROGRAM",
           "REQ/S", "BUSY %", "MEMORY K", "WAITING");
    for (size_t i = 0; all && i < n && i < SHOWN; i++) {
        const rapyer_value *v = all[i].client;
        printf("%-8lld %8lld %-20s %10.1f %8.1f %10lld %8lld\n",
               (long long)rapyer_int(v, "number", 0), (long long)rapyer_int(v, "pid", 0),
               rapyer_str(v, "program", ""), all[i].rate, all[i].share,
               (long long)rapyer_int(v, "memory", 0) / 1024,
               (long long)rapyer_int(v, "waiting", 0));
    }
    free(all);
}

static void print_documents(const rapyer_value *hottest)
{
    printf("\n\033[1m%-40s %12s %12s\033[0m\n", "DOCUMENT", "REQUESTS", "BYTES");
    for (size_t i = 0; i < rapyer_len(hottest) && i < SHOWN; i++) {
        const rapyer_value *d = rapyer_item(hottest, i);
        char *key = ctl_plain(strdup(rapyer_str(d, "key", "")));
        printf("%-40.40s %12lld %12lld\n", key ? key : "", (long long)rapyer_int(d, "requests", 0),
               (long long)rapyer_int(d, "bytes", 0));
        free(key);
    }
}

static size_t waiting_for(const rapyer_value *lock)
{
    return rapyer_len(rapyer_get(lock, "waiters"));
}

static int by_waiters(const void *x, const void *y)
{
    size_t a = waiting_for(*(const rapyer_value *const *)x);
    size_t b = waiting_for(*(const rapyer_value *const *)y);

    return (a < b) - (a > b);
}

/* Those that somebody waits for. */
static void print_locks(const rapyer_value *locks)
{
    const rapyer_value **waited = calloc(rapyer_len(locks) + 1, sizeof *waited);
    size_t n = 0;

    for (size_t i = 0; waited && i < rapyer_len(locks); i++)
        if (waiting_for(rapyer_item(locks, i)) > 0)
            waited[n++] = rapyer_item(locks, i);
    if (n > 0) {
        qsort(waited, n, sizeof *waited, by_waiters);
        printf("\n\033[1m%-40s %-20s %8s %8s\033[0m\n", "LOCK", "HELD BY", "PID", "WAITING");
    }
    for (size_t i = 0; i < n && i < SHOWN / 2; i++) {
        const rapyer_value *holder = rapyer_item(rapyer_get(waited[i], "holders"), 0);
        char *key = ctl_plain(strdup(rapyer_str(waited[i], "key", "")));
        printf("%-40.40s %-20s %8lld %8zu\n", key ? key : "", rapyer_str(holder, "program", "-"),
               (long long)rapyer_int(holder, "pid", 0), waiting_for(waited[i]));
        free(key);
    }
    free(waited);
}

/* Of a cluster. */
static void print_nodes(const struct look *a, const struct look *b)
{
    const rapyer_value *was = rapyer_get(a->stats, "nodes"), *all = rapyer_get(b->stats, "nodes");

    if (rapyer_len(all) > 0)
        printf("\n\033[1m%-30s %8s %10s\033[0m\n", "NODE", "SLOTS", "REQ/S");
    for (size_t i = 0; i < rapyer_len(all) && i < SHOWN; i++) {
        const rapyer_value *node = rapyer_item(all, i); /* none ever leaves its place */
        printf("%-30s %8lld %10.1f  %s\n", rapyer_str(node, "address", ""),
               (long long)rapyer_int(node, "slots", 0),
               change(rapyer_item(was, i), node, "requests") / (b->at - a->at),
               rapyer_bool(node, "up", false) ? "" : rapyer_str(node, "why", "away"));
    }
}

static void print_screen(const struct ctl *c, const struct look *a, const struct look *b,
                         const struct sums *s, const struct rate *rates, size_t n)
{
    printf("\033[H\033[2J\033[1mrapyerd %s\033[0m  up %lld s\n",
           rapyer_str(b->stats, "version", ""),
           (long long)rapyer_int(b->stats, "uptime_ms", 0) / 1000);
    print_line(c, b, s);
    print_nodes(a, b);
    print_methods(rates, n);
    print_clients(a, b);
    print_documents(rapyer_get(b->cache, "hottest"));
    print_locks(b->locks);
}

/* --- */

static void print(const struct ctl *c, const struct look *a, const struct look *b)
{
    size_t n;
    struct sums s = {.commits = change(a->stats, b->stats, "commits") / (b->at - a->at),
                     .hits = hit_rate(a, b),
                     .redis_us = mean_between(rapyer_get(a->latency, "commits"),
                                              rapyer_get(b->latency, "commits"))};
    struct rate *rates = method_rates(a, b, &n, &s.requests);

    if (c->json)
        print_json(b, &s, rates, n);
    else if (c->terminal)
        print_screen(c, a, b, &s, rates, n);
    else
        print_line(c, b, &s);
    fflush(stdout);
    free(rates);
}

static void pause_for(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds,
                         .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

    nanosleep(&t, NULL); /* a signal ends it */
}

/* [SECONDS [TIMES]] */
int ctl_top(struct ctl *c, int argc, char **argv)
{
    char *end = "";
    double seconds = argc > 0 ? strtod(argv[0], &end) : 1;
    char *end_times = "";
    long times = argc > 1 ? strtol(argv[1], &end_times, 10) : -1;
    struct look a = {0}, b = {0};
    int rc = 0;

    if (*end || *end_times || !(seconds >= 0.1 && seconds < 86400) || times == 0)
        return ctl_usage_error("top takes seconds between two looks, and how many there are to be",
                               NULL);
    signal(SIGINT, on_signal);
    if (look(c, &a) < 0)
        rc = ctl_answer_error(c);
    while (rc == 0 && !over && times != 0) {
        pause_for(seconds);
        if (over)
            break;
        if (look(c, &b) < 0) {
            rc = ctl_answer_error(c);
            break;
        }
        print(c, &a, &b);
        look_free(&a);
        a = b;
        b = (struct look){0};
        times -= times > 0;
        if (ferror(stdout))
            break;
    }
    look_free(&a);
    look_free(&b);
    return rc;
}
