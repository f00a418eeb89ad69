/* looks: see looks.h. */
#include "daemon/watches/looks.h"
#include "daemon/base/hash.h"
#include "daemon/documents/layout.h"
#include <stdlib.h>
#include <utlist.h>

struct look {
    UT_hash_handle hh; /* while it is due */
    struct touched touched;
    size_t key_len;
    char key[];
};

struct looks {
    const struct router *router;
    const struct names *names;
    looks_fn *seen;
    void *arg;
    struct look *due;
    size_t bytes;
};

/* Those of one turn. */
struct asked {
    struct looks *looks;
    unsigned n, done;
    struct look *of[];
};

struct looks *looks_new(const struct router *router, const struct names *names, looks_fn *seen,
                        void *arg)
{
    struct looks *l = alloc_zeroed(1, sizeof(*l));
    *l = (struct looks){.router = router, .names = names, .seen = seen, .arg = arg};
    return l;
}

static size_t cost(const struct look *k)
{
    return sizeof(*k) + k->key_len + k->touched.places.cap;
}

static void look_free(struct looks *l, struct look *k)
{
    l->bytes -= cost(k);
    touched_free(&k->touched);
    free(k);
}

void looks_drop(struct looks *l)
{
    struct look *k, *next;
    HASH_ITER (hh, l->due, k, next) {
        HASH_DELETE(hh, l->due, k);
        look_free(l, k);
    }
}

void looks_free(struct looks *l)
{
    looks_drop(l);
    free(l);
}

size_t looks_bytes(const struct looks *l)
{
    return l->bytes;
}

static struct look *look_at(struct looks *l, const char *key, size_t len)
{
    struct look *k;
    HASH_FIND(hh, l->due, key, len, k);
    if (k != NULL)
        return k;
    k = alloc_zeroed(1, sizeof(*k) + len + 1);
    k->key_len = len;
    memcpy(k->key, key, len);
    HASH_ADD(hh, l->due, key, len, k);
    l->bytes += cost(k);
    return k;
}

void looks_add(struct looks *l, const char *key, size_t len, const char *suffix, size_t suffix_len,
               const char *field, size_t field_len)
{
    struct look *k = look_at(l, key, len);
    size_t before = cost(k);
    touched_add(&k->touched, suffix, suffix_len, field, field_len);
    l->bytes += cost(k) - before;
}

void looks_all(struct looks *l, const char *key, size_t len)
{
    struct look *k = look_at(l, key, len);
    size_t before = cost(k);
    touched_all(&k->touched);
    l->bytes += cost(k) - before;
}

static void answered(struct asked *a, int64_t version)
{
    struct looks *l = a->looks;
    struct look *k = a->of[a->done++];
    if (version == VERSION_UNKNOWN) {
        l->bytes -= k->touched.places.cap;
        touched_all(&k->touched);
    }
    l->seen(l->arg, k->key, k->key_len, version, &k->touched);
    look_free(l, k);
}

/* [@v, @s]. Without the second there is no document, whatever is left of one (layout.h). */
static int64_t version_of(const redisReply *r)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2)
        return VERSION_UNKNOWN; /* something else stands there */
    const redisReply *v = r->element[0];
    if (r->element[1]->type == REDIS_REPLY_NIL)
        return 0;
    int64_t version = v->type == REDIS_REPLY_STRING ? strtoll(v->str, NULL, 10) : 0;
    return version > 0 ? version : VERSION_UNKNOWN;
}

static void on_version(void *arg, unsigned index, redisReply *reply)
{
    struct asked *a = arg;
    (void)index;
    if (reply != NULL)
        answered(a, version_of(reply));
    while (reply == NULL && a->done < a->n)
        answered(a, VERSION_UNKNOWN);
    if (a->done == a->n)
        free(a);
}

/* Those of one link, of which there is one at least. */
static void send_over(struct looks *l, struct upstream *up, unsigned most)
{
    struct look *k, *next;
    struct buf out = BUF_INIT, key = BUF_INIT;
    struct asked *a = alloc_zeroed(1, sizeof(*a) + most * sizeof(*a->of));
    a->looks = l;
    HASH_ITER (hh, l->due, k, next) {
        buf_clear(&key);
        layout_key(&key, l->names, k->key, k->key_len, "", 0);
        if (router_link(l->router, router_slot(l->router, (char *)key.data, key.len)) != up)
            continue;
        HASH_DELETE(hh, l->due, k);
        a->of[a->n++] = k;
        const char *words[] = {"HMGET", (char *)key.data, LAYOUT_VERSION_FIELD,
                               LAYOUT_SCHEMA_FIELD};
        resp_command(
            &out, 4, words,
            (size_t[]){5, key.len, strlen(LAYOUT_VERSION_FIELD), strlen(LAYOUT_SCHEMA_FIELD)});
    }
    if (!upstream_send(up, out.data, out.len, a->n, on_version, a))
        on_version(a, 0, NULL);
    buf_free(&out);
    buf_free(&key);
}

void looks_send(struct looks *l)
{
    struct buf key = BUF_INIT;
    while (l->due != NULL) {
        buf_clear(&key);
        layout_key(&key, l->names, l->due->key, l->due->key_len, "", 0);
        send_over(l, router_link(l->router, router_slot(l->router, (char *)key.data, key.len)),
                  HASH_COUNT(l->due));
    }
    buf_free(&key);
}
