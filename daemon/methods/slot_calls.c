/* slot_calls: see slot_calls.h. */
#include "daemon/methods/slot_calls.h"
#include "daemon/commit/batch_index.h"
#include "daemon/commit/lanes.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include <stdlib.h>

struct document {
    uint16_t slot;
    uint32_t len;
    size_t at; /* in `pks` */
};

struct slot_calls {
    struct exec *exec;
    struct scatter *scatter;
    const struct indexes *of;
    struct buf pks;
    struct document *all;
    unsigned n, cap;
    uint16_t *slots; /* of these, each once, in their order */
    unsigned nslots;
    struct scatter_asks asks;
    struct slot_script script;
    void (*take)(void *arg, const redisReply *reply);
    void (*done)(void *arg, const char *why);
    void *arg;
    char why[200]; /* the first error */
};

struct slot_calls *slot_calls_new(struct exec *e, struct scatter *s, const struct indexes *of)
{
    struct slot_calls *c = alloc_zeroed(1, sizeof(*c));
    *c = (struct slot_calls){.exec = e, .scatter = s, .of = of};
    return c;
}

void slot_calls_free(struct slot_calls *c)
{
    if (c == NULL)
        return;
    buf_free(&c->pks);
    free(c->all);
    free(c->slots);
    free(c);
}

void slot_calls_add(struct slot_calls *c, const char *pk, size_t len)
{
    struct buf key = BUF_INIT, root = BUF_INIT;
    struct document d = {.at = c->pks.len, .len = (uint32_t)len};
    buf_printf(&key, "%s:", c->of->model->name);
    buf_append(&key, pk, len);
    layout_key(&root, exec_names(c->exec), (char *)key.data, key.len, "", 0);
    d.slot = slot_of((char *)root.data, root.len);
    buf_append(&c->pks, pk, len);
    vec_push(c->all, c->n, c->cap, d);
    buf_free(&key);
    buf_free(&root);
}

void slot_calls_add_names(struct slot_calls *c, const struct buf *names)
{
    struct cursor in = cursor_of(names->data, names->len);
    size_t len, suffix_len, head = strlen(c->of->model->name) + 1;
    const char *name, *suffix;
    while (in.at < in.end && cursor_str(&in, &name, &len) == 0) {
        struct buf key = BUF_INIT;
        if (layout_split(exec_names(c->exec), name, len, &key, &suffix, &suffix_len) &&
            suffix_len == 0 && key.len > head && key.data[head - 1] == ':' &&
            memcmp(key.data, c->of->model->name, head - 1) == 0)
            slot_calls_add(c, (char *)key.data + head, key.len - head);
        buf_free(&key);
    }
}

void slot_calls_each(const struct slot_calls *c, void (*fn)(void *arg, const char *pk, size_t len),
                     void *arg)
{
    for (unsigned i = 0; i < c->n; i++)
        fn(arg, (char *)c->pks.data + c->all[i].at, c->all[i].len);
}

unsigned slot_calls_n(const struct slot_calls *c)
{
    return c->n;
}

static int by_slot(const void *a, const void *b)
{
    const struct document *x = a, *y = b;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

static void write_call(void *arg, uint16_t slot, bool first, struct buf *out)
{
    const struct slot_calls *c = arg;
    struct document key = {.slot = slot};
    const struct document *d = bsearch(&key, c->all, c->n, sizeof(*c->all), by_slot);
    struct index_call call = {0};
    (void)first;
    while (d > c->all && d[-1].slot == slot)
        d--;
    for (; d < c->all + c->n && d->slot == slot; d++)
        index_call_add(&call, exec_names(c->exec), c->of, (char *)c->pks.data + d->at, d->len);
    if (c->script.text == NULL)
        index_call_flush(&call, INDEX_SETTLE, exec_config(c->exec)->key_prefix, slot_tag(slot),
                         out);
    else
        index_call_format(&call, c->script.text, c->script.len, c->script.todo,
                          exec_config(c->exec)->key_prefix, slot_tag(slot), out);
    index_call_free(&call);
}

static void take_answer(void *arg, unsigned i, unsigned which, redisReply *reply,
                        const struct upstream *up)
{
    struct slot_calls *c = arg;
    (void)i;
    (void)which;
    (void)up;
    if (reply->type != REDIS_REPLY_ERROR)
        c->take(c->arg, reply);
    else if (c->why[0] == '\0')
        snprintf(c->why, sizeof(c->why), "%s", reply->str);
}

static void on_done(void *arg, const char *why)
{
    struct slot_calls *c = arg;
    c->done(c->arg, why != NULL ? why : c->why[0] != '\0' ? c->why : NULL);
}

void slot_calls_ask(struct slot_calls *c, struct slot_script script,
                    void (*take)(void *arg, const redisReply *reply),
                    void (*done)(void *arg, const char *why), void *arg)
{
    qsort(c->all, c->n, sizeof(*c->all), by_slot);
    free(c->slots);
    c->slots = alloc_zeroed(c->n, sizeof(*c->slots));
    c->nslots = 0;
    for (unsigned i = 0; i < c->n; i++) {
        if (i == 0 || c->all[i].slot != c->all[i - 1].slot)
            c->slots[c->nslots++] = c->all[i].slot;
    }
    c->asks = (struct scatter_asks){1, write_call, take_answer, on_done};
    c->script = script;
    c->take = take;
    c->done = done;
    c->arg = arg;
    c->why[0] = '\0';
    scatter_ask(c->scatter, c->slots, c->nslots, &c->asks, c);
}
