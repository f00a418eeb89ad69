/* history: see history.h. */
#include "daemon/metrics/history.h"
#include "protocol/alloc.h"
#include <stdlib.h>

struct history {
    const char *const *names;
    unsigned n;
    size_t next, kept;
    int64_t at[HISTORY_SAMPLES];
    double values[]; /* HISTORY_SAMPLES rows of n */
};

struct history *history_new(const char *const *names, unsigned n)
{
    struct history *h = alloc_zeroed(1, sizeof *h + HISTORY_SAMPLES * n * sizeof *h->values);

    h->names = names;
    h->n = n;
    return h;
}

void history_free(struct history *h)
{
    free(h);
}

void history_add(struct history *h, int64_t at, const double *values)
{
    h->at[h->next] = at;
    memcpy(&h->values[h->next * h->n], values, h->n * sizeof *values);
    h->next = (h->next + 1) % HISTORY_SAMPLES;
    h->kept += h->kept < HISTORY_SAMPLES;
}

/* The i-th of those that are kept, the oldest first. */
static size_t row_of(const struct history *h, size_t i)
{
    return (h->next + HISTORY_SAMPLES - h->kept + i) % HISTORY_SAMPLES;
}

void history_pack(const struct history *h, int64_t since, struct buf *out)
{
    size_t from = 0;

    while (from < h->kept && h->at[row_of(h, from)] <= since)
        from++;
    pack_map(out, h->n + 1);
    pack_cstr(out, "at");
    pack_array(out, (uint32_t)(h->kept - from));
    for (size_t i = from; i < h->kept; i++)
        pack_int(out, h->at[row_of(h, i)]);
    for (unsigned name = 0; name < h->n; name++) {
        pack_cstr(out, h->names[name]);
        pack_array(out, (uint32_t)(h->kept - from));
        for (size_t i = from; i < h->kept; i++)
            pack_float(out, h->values[row_of(h, i) * h->n + name]);
    }
}
