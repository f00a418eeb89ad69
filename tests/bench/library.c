/* library: the same round trips as roundtrip.c, as a program that uses librapyer makes them. */
#include "bench.h"
#include <rapyer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* library read|increment <socket> <key> <int field> <rounds>: median ns */
int library_main(int argc, char **argv)
{
    if (argc != 6)
        die("library read|increment <socket> <key> <int field> <rounds>");
    bool reading = strcmp(argv[1], "read") == 0;
    size_t rounds = strtoul(argv[5], NULL, 10);
    pin(0);
    rapyer *db = rapyer_connect(argv[2]);
    rapyer_doc *doc = rapyer_open(db, argv[3]);
    uint64_t *samples = calloc(rounds, sizeof(*samples));
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = now_ns();
        if (reading)
            rapyer_value_free(rapyer_fetch(doc));
        else
            rapyer_incr(doc, argv[4], 1, NULL);
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
