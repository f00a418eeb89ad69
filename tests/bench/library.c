/* library: the same round trips as roundtrip.c, as a program that uses librapyer makes them. */
#include "bench.h"
#include <rapyer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_once(rapyer_doc *doc, const char *field)
{
    (void)field;
    rapyer_value_free(rapyer_fetch(doc));
}

static void increment_once(rapyer_doc *doc, const char *field)
{
    rapyer_incr(doc, field, 1, NULL);
}

static void lock_once(rapyer_doc *doc, const char *action)
{
    rapyer_doc *lock = rapyer_lock(doc, action, &(rapyer_lock_options){.no_document = true});

    rapyer_unlock(lock);
    rapyer_free(lock);
}

/* library read|increment|lock <socket> <key> <int field|action> <rounds>: median ns */
int library_main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*once)(rapyer_doc *doc, const char *arg);
    } trips[] = {{"read", read_once}, {"increment", increment_once}, {"lock", lock_once}};
    unsigned trip = 0;

    while (argc == 6 && trip < 3 && strcmp(argv[1], trips[trip].name) != 0)
        trip++;
    if (argc != 6 || trip == 3)
        die("library read|increment|lock <socket> <key> <int field|action> <rounds>");
    size_t rounds = strtoul(argv[5], NULL, 10);
    pin(0);
    rapyer *db = rapyer_connect(argv[2]);
    rapyer_doc *doc = rapyer_open(db, argv[3]);
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_ns();
        trips[trip].once(doc, argv[4]);
        samples[i] = now_ns() - start;
    }
    if (rapyer_errcode(db))
        die("%s", rapyer_errmsg(db));
    printf("%llu\n", (unsigned long long)median(samples, rounds));
    free(samples);
    rapyer_free(doc);
    rapyer_close(db);
    return 0;
}
