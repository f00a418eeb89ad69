/* listing: see listing.h. Its text is "c<run>.<epoch>.<scan>.<slots>", as
 * "c0123456789abcdef.7.96.d0-5460n5461-10921n10923": d for what is done, n for what is now. */
#include "daemon/redis/listing.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DECIMAL "0123456789"

void listing_begin(struct listing *l)
{
    *l = (struct listing){0};
}

/* ---- as a text ---- */

/* Copies what begins there up to a byte that is not of `of`; NULL: it is empty, or too long. */
static const char *word(const char *at, const char *of, char *out, size_t size)
{
    size_t len = strspn(at, of);
    if (len == 0 || len >= size)
        return NULL;
    memcpy(out, at, len);
    out[len] = '\0';
    return at + len;
}

static const char *number(const char *at, uint64_t max, uint64_t *out)
{
    char digits[21];
    at = word(at, DECIMAL, digits, sizeof(digits));
    if (at != NULL)
        *out = strtoull(digits, NULL, 10);
    return at != NULL && *out <= max ? at : NULL;
}

/* "5-17" or "5"; of what stands behind them nothing is read. */
static const char *range(const char *at, uint64_t *first, uint64_t *last)
{
    if ((at = number(at, SLOTS - 1, first)) == NULL)
        return NULL;
    *last = *first;
    if (*at == '-')
        at = number(at + 1, SLOTS - 1, last);
    return at != NULL && *last >= *first ? at : NULL;
}

static const char *read_slots(struct listing *l, const char *at)
{
    uint64_t first, last;
    while (*at == 'd' || *at == 'n') {
        uint8_t state = *at == 'd' ? LISTED_DONE : LISTED_NOW;
        if ((at = range(at + 1, &first, &last)) == NULL)
            return NULL;
        memset(l->slots + first, state, last - first + 1);
    }
    return at;
}

int listing_read(struct listing *l, const char *text, size_t len)
{
    struct buf copy = BUF_INIT;
    listing_begin(l);
    buf_append(&copy, text, len);
    buf_append(&copy, "", 1);
    const char *at = (char *)copy.data, *end = at + len;
    at = *at == 'c' ? at + 1 : NULL;
    if (at != NULL && *at != '.')
        at = word(at, "0123456789abcdef", l->run, sizeof(l->run));
    if (at != NULL)
        at = *at == '.' ? number(at + 1, UINT64_MAX, &l->epoch) : NULL;
    if (at != NULL)
        at = *at == '.' ? number(at + 1, UINT64_MAX, &l->scan) : NULL;
    if (at != NULL)
        at = *at == '.' ? read_slots(l, at + 1) : NULL;
    buf_free(&copy);
    return at == end ? 0 : -1;
}

void listing_text(const struct listing *l, struct buf *out)
{
    buf_printf(out, "c%s.%" PRIu64 ".%" PRIu64 ".", l->run, l->epoch, l->scan);
    for (unsigned first = 0, last; first < SLOTS; first = last + 1) {
        for (last = first; last + 1 < SLOTS && l->slots[last + 1] == l->slots[first];)
            last++;
        if (l->slots[first] == LISTED_LEFT)
            continue;
        buf_printf(out, "%c%u", l->slots[first] == LISTED_DONE ? 'd' : 'n', first);
        if (last > first)
            buf_printf(out, "-%u", last);
    }
}

/* ---- what happens ---- */

int listing_slot(const struct listing *l, unsigned from)
{
    const uint8_t *now = memchr(l->slots, LISTED_NOW, SLOTS);
    if (now != NULL)
        return (int)(now - l->slots);
    for (unsigned i = 0; i < SLOTS; i++) {
        unsigned slot = (from + i) % SLOTS;
        if (l->slots[slot] == LISTED_LEFT)
            return (int)slot;
    }
    return -1;
}

/* What was listed in part is left. */
static void give_up(struct listing *l)
{
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (l->slots[slot] == LISTED_NOW)
            l->slots[slot] = LISTED_LEFT;
    }
    l->scan = 0;
}

void listing_ask(struct listing *l, const char *run_id)
{
    if (strncmp(l->run, run_id, UPSTREAM_RUN) == 0 && l->scan != 0)
        return;
    give_up(l);
    size_t len = strnlen(run_id, UPSTREAM_RUN);
    memcpy(l->run, run_id, len);
    l->run[len] = '\0';
}

/* "id address myself,master - ping pong epoch link slot slot-slot [slot->-id] ...": the epoch, and
 * the slots that it has and are not on the move. */
static int read_own(const char *line, size_t len, uint64_t *epoch, uint8_t *own)
{
    struct buf copy = BUF_INIT;
    buf_append(&copy, line, len);
    buf_append(&copy, "", 1);
    char *save = NULL, *word = strtok_r((char *)copy.data, " ", &save);
    uint64_t first, last;
    int rc = -1;
    for (unsigned i = 0; word != NULL; i++, word = strtok_r(NULL, " ", &save)) {
        if (i == 6)
            rc = number(word, UINT64_MAX, epoch) != NULL ? 0 : -1;
        if (i >= 8 && *word == '[' && number(word + 1, SLOTS - 1, &first) != NULL)
            own[first] = false;
        else if (i >= 8 && range(word, &first, &last) != NULL)
            memset(own + first, true, last - first + 1);
    }
    buf_free(&copy);
    return rc;
}

static const char *own_line(const char *nodes, size_t len, size_t *line_len)
{
    for (const char *at = nodes, *end = nodes + len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        *line_len = (size_t)((newline != NULL ? newline : end) - at);
        if (memmem(at, *line_len, " myself,", 8) != NULL)
            return at;
        at += *line_len + 1;
    }
    return NULL;
}

int listing_look(struct listing *l, const char *nodes, size_t len)
{
    uint8_t own[SLOTS] = {false};
    uint64_t epoch;
    size_t line_len;
    const char *line = own_line(nodes, len, &line_len);
    if (line == NULL || read_own(line, line_len, &epoch, own) < 0)
        return -1;
    bool begins = l->scan == 0;
    if (!begins && epoch != l->epoch)
        give_up(l);
    l->epoch = epoch;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (begins && l->slots[slot] == LISTED_LEFT && own[slot])
            l->slots[slot] = LISTED_NOW;
        else if (l->slots[slot] == LISTED_NOW && !own[slot])
            l->slots[slot] = LISTED_LEFT;
    }
    return 0;
}

void listing_scanned(struct listing *l, uint64_t scan)
{
    for (unsigned slot = 0; slot < SLOTS && scan == 0; slot++) {
        if (l->slots[slot] == LISTED_NOW)
            l->slots[slot] = LISTED_DONE;
    }
    l->scan = memchr(l->slots, LISTED_NOW, SLOTS) != NULL ? scan : 0;
}
