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

static size_t column_of(const struct history *h, const char *name, size_t len)
{
    unsigned i = 0;

    while (i < h->n && (strlen(h->names[i]) != len || memcmp(h->names[i], name, len) != 0))
        i++;
    return i;
}

/* One row of the packed map, of which the last samples are kept. */
static void read_row(struct history *h, struct state_reader *r)
{
    size_t len;
    const char *name = state_str(r, &len);
    bool is_time = len == 2 && memcmp(name, "at", 2) == 0;
    size_t column = column_of(h, name, len);
    uint32_t n = state_count(r), skipped = n > HISTORY_SAMPLES ? n - HISTORY_SAMPLES : 0;

    for (uint32_t i = 0; i < n && !r->bad; i++) {
        double value = 0;
        int64_t at = is_time ? state_int(r) : 0;
        if (!is_time)
            r->bad = cursor_number(&r->in, &value) < 0;
        if (i < skipped)
            continue;
        if (is_time)
            h->at[i - skipped] = at;
        else if (column < h->n)
            h->values[(i - skipped) * h->n + column] = value;
    }
    h->kept = n - skipped;
}

int history_resume(struct history *h, struct state_reader *r)
{
    uint32_t rows = 0;

    r->bad = r->bad || cursor_map(&r->in, &rows) < 0;
    for (; rows > 0 && !r->bad; rows--)
        read_row(h, r);
    h->kept = r->bad ? 0 : h->kept;
    h->next = h->kept % HISTORY_SAMPLES;
    return r->bad ? -1 : 0;
}
