/* batch_news: what other daemons are told of a batch (batch.h): the message that it publishes. */
#include "daemon/commit/batch_inside.h"

/* More fields, or longer names, are told as the hash that they are in. */
#define FIELDS_TOLD 8
#define FIELD_TOLD 256

/* It is there in Redis, and others are told. */
static bool tells_others(const struct batch_doc *bd)
{
    return part_changes(bd) && !batch_doc_refused(bd);
}

/* The fields of a model's hash that have changed, each behind a '.', where they are few: for who is
 * to be told. Returns their number. */
static uint32_t pack_fields(const struct pend *p, struct buf *out)
{
    uint32_t n = 0;
    char name[FIELD_TOLD] = ".";
    for (const struct pend_field *f = pend_fields(p); f != NULL; f = f->next) {
        n += !field_own(f);
        if (n > FIELDS_TOLD || f->name_len >= sizeof(name))
            return 0;
    }
    for (const struct pend_field *f = pend_fields(p); f != NULL; f = f->next) {
        if (field_own(f))
            continue;
        memcpy(name + 1, f->name, f->name_len);
        pack_str(out, name, f->name_len + 1);
    }
    return n;
}

/* [key, version or nil when deleted, by how much it went up, its unit or nil, [suffix or .field or
 * ".", ...], and where it went up by nothing its deadline]. Then the keys are told so that nobody
 * takes them for written by a program without a daemon. */
static void pack_change(const struct batch_doc *bd, struct buf *out)
{
    uint32_t nkeys = 0;
    pack_array(out, part_touches(bd) ? 6 : 5);
    pack_str(out, bd->doc->key, bd->doc->key_len);
    if (bd->deleted)
        pack_nil(out);
    else
        pack_int(out, bd->version.expected);
    pack_int(out, bd->bump);
    if (bd->unit != NULL)
        pack_uint(out, bd->unit->number);
    else
        pack_nil(out);
    size_t keys = pack_array_open(out);
    for (const struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (only_version(p))
            continue;
        pack_str(out, p->key + p->suffix_at, p->key_len - p->suffix_at);
        nkeys += 1 + pack_fields(p, out);
    }
    if (bd->rewritten) {
        pack_cstr(out, ".");
        nkeys++;
    }
    pack_array_close(out, keys, nkeys);
    if (part_touches(bd))
        pack_int(out, bd->expires);
}

void batch_news_channel(const struct batch *b, struct buf *name)
{
    const struct buf *marker = &b->words->marker;
    const char *end = (const char *)marker->data + marker->len;
    const char *tag = b->words->still.len > 0 ? memrchr(marker->data, '{', marker->len) : end;
    buf_clear(name);
    buf_append(name, b->pool->channel.data, b->pool->channel.len);
    buf_append(name, tag, (size_t)(end - tag));
}

/* [daemon, number of the batch, [change, ...]], as redis/changes.c reads it. Of the units those
 * that were refused have said so (unit.lua). */
void batch_pack_news(struct batch *b, struct buf *payload)
{
    uint32_t ndocs = 0;
    buf_clear(payload);
    pack_array(payload, 3);
    pack_cstr(payload, b->pool->daemon);
    pack_uint(payload, b->number);
    for (const struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next)
        ndocs += tells_others(bd);
    pack_array(payload, ndocs);
    for (const struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        if (tells_others(bd))
            pack_change(bd, payload);
    }
}
