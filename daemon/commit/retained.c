/* retained: see retained.h. */
#include "daemon/commit/retained.h"
#include "protocol/alloc.h"
#include <stdlib.h>
#include <utlist.h>

#define TEXT_KEPT 4096 /* bytes; what is longer is soon too long, or too big for what comes */

void text_free(struct buf *resp, struct blob **lent)
{
    if (*lent == NULL)
        buf_free(resp);
    blob_unref(*lent);
    *resp = BUF_INIT;
    *lent = NULL;
}

#define TEXTS (sizeof(((struct retained *)NULL)->texts) / sizeof(struct buf))

static size_t kept_bytes(const struct kept *k)
{
    return k->resp.len + k->leases.len;
}

static void drop(struct retained *r, struct kept *k)
{
    r->bytes -= kept_bytes(k);
    r->n--;
    DL_DELETE(r->all, k);
    DL_DELETE2(*k->lane, k, prev_of_lane, next_of_lane);
    if (k->lent == NULL && k->resp.cap <= TEXT_KEPT && r->ntexts < TEXTS) {
        buf_clear(&k->resp);
        r->texts[r->ntexts++] = k->resp;
    } else {
        text_free(&k->resp, &k->lent);
    }
    buf_free(&k->leases);
    free(r->spare);
    r->spare = k;
}

struct kept *retained_add(struct retained *r, struct kept **lane, size_t bytes)
{
    while (r->n > 0 && (r->n == r->max || r->bytes + bytes > r->max_bytes))
        drop(r, r->all);
    if (bytes > r->max_bytes)
        return NULL;
    struct kept *k = r->spare != NULL ? r->spare : alloc_zeroed(1, sizeof(*k));
    r->spare = NULL;
    *k = (struct kept){.lane = lane};
    DL_APPEND(r->all, k);
    DL_APPEND2(*lane, k, prev_of_lane, next_of_lane);
    r->n++;
    r->bytes += bytes;
    return k;
}

void retained_fill(struct kept *k, const struct kept *from)
{
    struct kept filled = *from;
    filled.prev = k->prev;
    filled.next = k->next;
    filled.prev_of_lane = k->prev_of_lane;
    filled.next_of_lane = k->next_of_lane;
    filled.lane = k->lane;
    *k = filled;
}

void retained_grew(struct retained *r, size_t bytes)
{
    r->bytes += bytes;
}

void retained_clear(struct retained *r, struct kept **lane)
{
    while (*lane != NULL)
        drop(r, *lane);
}

void retained_free(struct retained *r)
{
    free(r->spare);
    r->spare = NULL;
    while (r->ntexts > 0)
        buf_free(&r->texts[--r->ntexts]);
}

struct buf retained_text(struct retained *r)
{
    return r->ntexts > 0 ? r->texts[--r->ntexts] : BUF_INIT;
}
