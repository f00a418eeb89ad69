/* scan: see scan.h.
 *
 * One loop over the heads of items. Each head says how many bytes of body follow, which are
 * stepped over without looking (at may so run ahead of what has arrived), or how many items are
 * then due. Every item that is due takes one byte at least, so `at + open <= limit` must hold
 * throughout: that is what refuses an array of 2^32-1 elements after its five bytes.
 */
#include "protocol/scan.h"
#include "protocol/cursor.h"

void scan_init(struct scan *s, size_t limit)
{
    /* left[] above the depth is written before it is read */
    s->at = 0;
    s->items = 0;
    s->limit = limit;
    s->open = 1;
    s->depth = 0;
    s->left[0] = 1;
}

struct head {
    size_t len;     /* bytes of the head itself */
    uint64_t body;  /* bytes that follow and are no items */
    uint64_t items; /* items that follow */
    bool container;
};

static inline uint64_t big_endian(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n-- > 0)
        v = v << 8 | *p++;
    return v;
}

/* What follows the first bytes c0 to df: that many bytes of a length or count, or a body of a
 * fixed length (a fixext has its type byte before the data). */
/* clang-format off */
static const struct {
    uint8_t length, body;
} shapes[0x20] = {
    /* c0: nil, none, false, true */ {0, 0}, {0, 0}, {0, 0}, {0, 0},
    /* c4: bin, ext              */ {1, 0}, {2, 0}, {4, 0}, {1, 0}, {2, 0}, {4, 0},
    /* ca: float, uint           */ {0, 4}, {0, 8}, {0, 1}, {0, 2}, {0, 4}, {0, 8},
    /* d0: int                   */ {0, 1}, {0, 2}, {0, 4}, {0, 8},
    /* d4: fixext                */ {0, 2}, {0, 3}, {0, 5}, {0, 9}, {0, 17},
    /* d9: str, array, map       */ {1, 0}, {2, 0}, {4, 0}, {2, 0}, {4, 0}, {2, 0}, {4, 0},
};
/* clang-format on */

/* The head at p with `have` > 0 bytes there; false when it needs more, with h->len how many. */
static inline bool read_head(const uint8_t *p, size_t have, struct head *h)
{
    uint8_t c = p[0];

    *h = (struct head){.len = 1};
    if (c < 0x80 || c >= 0xe0)
        return true;
    if (c < 0x90) {
        h->items = (c & 0x0fu) * 2u;
        h->container = true;
        return true;
    }
    if (c < 0xa0) {
        h->items = c & 0x0fu;
        h->container = true;
        return true;
    }
    if (c < 0xc0) {
        h->body = c & 0x1fu;
        return true;
    }
    unsigned n = shapes[c - 0xc0].length;
    h->len += n;
    if (n == 0) {
        h->body = shapes[c - 0xc0].body;
        return true;
    }
    if (have < h->len)
        return false;
    uint64_t count = big_endian(p + 1, n);
    if (c >= 0xdc) {
        h->items = c >= 0xde ? count * 2 : count;
        h->container = true;
    } else {
        h->body = count + (c >= 0xc7 && c <= 0xc9); /* ext: the type byte */
    }
    return true;
}

static enum scan_status too_large(const struct scan *s, struct fault *f)
{
    fault_set(f, FAULT_TOO_LARGE, "the message is longer than the limit of %zu bytes", s->limit);
    return SCAN_BAD;
}

/* Whether head, body and everything that is due after this item can still fit. */
static inline bool fits(const struct scan *s, const struct head *h)
{
    uint64_t room = s->limit - s->at;
    uint64_t due = s->open - 1 + h->items; /* each at least one byte; below 2^33 * depth */

    return h->len <= room && h->body <= room - h->len && due <= room - h->len - h->body;
}

/* Books the item whose head was read: over its bytes, and down into or up out of containers. */
static inline void take(struct scan *s, const struct head *h)
{
    s->at += h->len + (size_t)h->body;
    s->items++;
    s->open += h->items;
    s->open--;
    s->left[s->depth]--;
    if (h->items > 0)
        s->left[++s->depth] = h->items;
    else
        while (s->depth > 0 && s->left[s->depth] == 0)
            s->depth--;
}

/* Over short items, which are most of a message, up to the last one of their container. What does
 * not fit is left for others to say. */
static void take_short(struct scan *s, const uint8_t *data, size_t len)
{
    uint64_t first = s->left[s->depth], left = first;
    size_t spare = s->limit - s->at - (size_t)s->open; /* bytes, if all that is due takes one */
    size_t at = s->at, size;

    while (left > 1 && at < len && (size = item_short(data + at, len - at)) > 0 &&
           size - 1 <= spare) {
        spare -= size - 1;
        at += size;
        left--;
    }
    s->at = at;
    s->items += first - left;
    s->open -= first - left;
    s->left[s->depth] = left;
}

enum scan_status scan_run(struct scan *s, const uint8_t *data, size_t len, struct fault *f)
{
    struct head h;

    while (s->open > 0 && s->at < len) {
        take_short(s, data, len);
        if (s->at >= len)
            break;
        const uint8_t *p = data + s->at;
        if (*p == 0xc1) {
            fault_set(f, FAULT_BAD_FRAME,
                      "byte 0xc1 at offset %zu of the message; MessagePack never uses it", s->at);
            return SCAN_BAD;
        }
        bool whole = read_head(p, len - s->at, &h);
        if (!fits(s, &h))
            return too_large(s, f);
        if (!whole)
            return SCAN_MORE;
        if (h.container && s->depth == SCAN_MAX_DEPTH) {
            fault_set(f, FAULT_BAD_FRAME,
                      "containers nested deeper than %d levels at offset %zu of the message",
                      SCAN_MAX_DEPTH, s->at);
            return SCAN_BAD;
        }
        take(s, &h);
    }
    if (s->open > 0 || s->at > len)
        return SCAN_MORE;
    return SCAN_DONE;
}
