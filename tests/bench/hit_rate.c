/* hit_rate: what part of reads finds its document in memory: with the cache of rapyerd itself
 * (daemon/documents/cache.c, documents of a kilobyte, a bound in bytes), with LRU, and with the
 * ideal, which knows what is to come (Belady: of those in memory the one that is read again last
 * goes). All three hold as many documents. */
#include "daemon/documents/cache.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENTS 20000u
#define READS 1000000u
#define SHARE 0.11 /* of the documents fit */
#define VALUE 1000 /* bytes */
#define NEVER UINT32_MAX

static uint64_t state = 88172645463325252u;

static double fraction(void) /* 0 <= x < 1; xorshift64 */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

/* ---- traces ---- */

static double weights[DOCUMENTS]; /* summed up */

static void zipf_begin(double s)
{
    double sum = 0;
    for (unsigned i = 0; i < DOCUMENTS; i++)
        weights[i] = sum += pow(i + 1, -s);
}

static unsigned zipf(void)
{
    double at = fraction() * weights[DOCUMENTS - 1];
    unsigned low = 0, high = DOCUMENTS - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (weights[middle] <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void make_zipf(uint32_t *trace)
{
    zipf_begin(0.9);
    for (unsigned i = 0; i < READS; i++)
        trace[i] = zipf();
}

/* Now and then somebody reads a stretch of documents, each once. */
static void make_scans(uint32_t *trace)
{
    unsigned at = 0, left = 0;
    zipf_begin(0.9);
    for (unsigned i = 0; i < READS; i++) {
        if (left == 0 && fraction() < 1.0 / 400) {
            left = DOCUMENTS / 5;
            at = (unsigned)(fraction() * DOCUMENTS);
        }
        bool scan = left > 0 && fraction() < 0.5;
        left -= scan;
        trace[i] = scan ? at++ % DOCUMENTS : zipf();
    }
}

/* What is read much is others after a while; and half of all is read in a loop that does not fit.
 */
static void make_shifting(uint32_t *trace)
{
    zipf_begin(0.9);
    for (unsigned i = 0; i < READS; i++) {
        unsigned moved = i / 50000 * 1237;
        trace[i] = fraction() < 0.8 ? (zipf() + moved) % DOCUMENTS : i / 4 % (DOCUMENTS / 4);
    }
}

/* ---- rapyerd's ---- */

static const struct field field = {.name = "v", .name_len = 1, .type = &type_str};
static struct model model = {.name = "M", .atomic = true, .nfields = 1};

static bool ask(struct cache *c, uint32_t number)
{
    char key[16], value[VALUE] = {0};
    int len = snprintf(key, sizeof(key), "M:%u", number);
    struct doc *d = cache_doc(c, &model, key, (size_t)len);
    bool hit = d->state == DOC_PRESENT;
    cache_use(d);
    if (!hit) {
        struct weighing before = cache_weigh(c);
        d->root = record_new(&model);
        d->root->slots[0] = cell_str(value, sizeof(value));
        d->state = DOC_PRESENT;
        cache_weighed(c, before, &d, 1);
    }
    cache_release(c, d);
    if (!hit)
        cache_trim(c);
    return hit;
}

static double ours(const uint32_t *trace, unsigned *held)
{
    struct cache_stats s;
    size_t one = VALUE + 8 + sizeof(struct doc) + 16 + sizeof(struct record) + 16 + 40;
    struct cache *c = cache_new((size_t)(DOCUMENTS * SHARE * (double)one), 0);
    unsigned hits = 0;
    for (unsigned i = 0; i < READS; i++)
        hits += ask(c, trace[i]);
    cache_stats(c, &s);
    *held = (unsigned)s.documents;
    cache_free(c);
    return (double)hits / READS;
}

/* ---- LRU: of a list of documents, the one read last in front ---- */

static double lru(const uint32_t *trace, unsigned size)
{
    enum { END = DOCUMENTS };
    static uint32_t next[DOCUMENTS + 1], prev[DOCUMENTS + 1];
    static bool in[DOCUMENTS];
    unsigned held = 0, hits = 0;
    memset(in, 0, sizeof(in));
    next[END] = prev[END] = END;
    for (unsigned i = 0; i < READS; i++) {
        uint32_t d = trace[i], out = prev[END];
        hits += in[d];
        if (!in[d] && held == size) {
            in[out] = false;
            next[prev[out]] = END;
            prev[END] = prev[out];
        } else if (in[d]) {
            next[prev[d]] = next[d];
            prev[next[d]] = prev[d];
        } else {
            held++;
        }
        in[d] = true;
        prev[d] = END;
        next[d] = next[END];
        prev[next[END]] = d;
        next[END] = d;
    }
    return (double)hits / READS;
}

/* ---- the ideal ---- */

/* A heap of the documents in memory, the one that is read again last on top. What was read since is
 * there twice: only the later one counts. */
struct later {
    uint32_t when, document;
};

static void sift(struct later *heap, unsigned n, unsigned i)
{
    for (unsigned child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1].when > heap[child].when)
            child++;
        if (heap[i].when >= heap[child].when)
            return;
        struct later swapped = heap[i];
        heap[i] = heap[child];
        heap[child] = swapped;
    }
}

static void raise_up(struct later *heap, unsigned i)
{
    for (; i > 0 && heap[i].when > heap[(i - 1) / 2].when; i = (i - 1) / 2) {
        struct later swapped = heap[i];
        heap[i] = heap[(i - 1) / 2];
        heap[(i - 1) / 2] = swapped;
    }
}

static double ideal(const uint32_t *trace, unsigned size)
{
    static uint32_t after[DOCUMENTS], next[READS];
    static bool in[DOCUMENTS];
    struct later *heap = calloc(READS, sizeof(*heap));
    unsigned n = 0, held = 0, hits = 0;
    if (heap == NULL)
        abort();
    memset(in, 0, sizeof(in));
    for (unsigned i = 0; i < DOCUMENTS; i++)
        after[i] = NEVER;
    for (unsigned i = READS; i-- > 0;) {
        next[i] = after[trace[i]];
        after[trace[i]] = i;
    }
    for (unsigned i = 0; i < READS; i++) {
        uint32_t d = trace[i];
        hits += in[d];
        held += !in[d];
        in[d] = true;
        after[d] = next[i]; /* its next read, from here on */
        heap[n++] = (struct later){.when = next[i], .document = d};
        raise_up(heap, n - 1);
        while (held > size) {
            struct later top = heap[0];
            heap[0] = heap[--n];
            sift(heap, n, 0);
            if (in[top.document] && after[top.document] == top.when) {
                in[top.document] = false;
                held--;
            }
        }
    }
    free(heap);
    return (double)hits / READS;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*make)(uint32_t *trace);
    } traces[] = {{"Zipf 0.9", make_zipf},
                  {"Zipf 0.9 with scans", make_scans},
                  {"Zipf 0.9 that shifts, and a loop", make_shifting}};
    static uint32_t trace[READS];
    model.fields = (struct field *)(uintptr_t)&field;
    printf("%u reads of %u documents, of which %.0f %% fit\n%-34s %8s %8s %8s\n", READS, DOCUMENTS,
           SHARE * 100, "", "LRU", "rapyerd", "ideal");
    for (size_t i = 0; i < sizeof(traces) / sizeof(*traces); i++) {
        unsigned held;
        traces[i].make(trace);
        double here = ours(trace, &held);
        printf("%-34s %8.3f %8.3f %8.3f   (%u in memory)\n", traces[i].name, lru(trace, held), here,
               ideal(trace, held), held);
    }
    return 0;
}
