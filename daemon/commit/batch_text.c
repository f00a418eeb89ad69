/* batch_text: what a batch says to Redis (batch.h): the structures that batch.c has gathered as
 * RESP, those of units as calls of their script. For each reply that EXEC will give it notes what
 * the reply is about (struct part), for batch_answer.c. */
#include "daemon/base/hash.h"
#include "daemon/commit/batch_index.h"
#include "daemon/commit/batch_inside.h"
#include "daemon/commit/batch_unique.h"
#include "daemon/commit/strays_script.h"
#include "daemon/commit/sweep_script.h"
#include "daemon/documents/layout.h"
#include "daemon/documents/target.h"
#include "daemon/redis/resp.h"
#include "protocol/alloc.h"
#include "protocol/tree.h"
#include <event2/util.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Words of one script call, roughly: what there is more of goes as several calls. */
#define FOLLOW_MAX 1000 /* keys of one call of "follow" */
#define CALL_WORDS_MAX 262144
#define CALL_KEPT (1u << 20)

static void more_words(struct writer *w)
{
    w->cap = w->cap ? w->cap * 2 : 64; /* of both */
    w->argv = alloc_resized(w->argv, (size_t)w->cap, sizeof(*w->argv));
    w->len = alloc_resized(w->len, (size_t)w->cap, sizeof(*w->len));
}

static inline void word(struct writer *w, const void *s, size_t len)
{
    if (w->n == w->cap)
        more_words(w);
    w->argv[w->n] = s;
    w->len[w->n++] = len;
}

static void begin(struct writer *w, const char *name, const struct pend *p)
{
    w->n = 0;
    word(w, name, strlen(name));
    word(w, p->key, p->key_len);
}

static void expect(struct batch *b, struct batch_doc *bd, struct pend *p, struct drift *number)
{
    vec_push(b->expect, b->nexpect, b->expect_cap, (struct expectation){bd, p, number});
}

static void add_part(struct batch *b, struct unit *u, unsigned first, unsigned sub)
{
    vec_push(b->parts, b->nparts, b->parts_cap,
             (struct part){u, first, b->nexpect - first, b->nreplies, sub});
}

/* A reply of which nothing is wanted but that it is no error. */
static void any_reply(struct batch *b)
{
    expect(b, NULL, NULL, NULL);
    add_part(b, NULL, b->nexpect - 1, 0);
    b->nreplies++;
}

static void any_replies(struct batch *b, unsigned n)
{
    for (; n > 0; n--)
        any_reply(b);
}

static void flush_call(struct batch *b, struct writer *w)
{
    if (w->call.nunits == 0)
        return;
    unit_call_flush(&w->call, &b->words->marker, w->out);
    w->scripts = true;
    b->nreplies++;
}

static void end_unit(struct batch *b, struct writer *w, struct unit *u)
{
    add_part(b, u, w->call_first, w->call.nunits);
    unit_call_end(&w->call, u->number);
    w->call_first = b->nexpect;
    if (w->call.nwords >= CALL_WORDS_MAX || w->call.nkeys >= UNIT_CHECKS_MAX)
        flush_call(b, w);
}

/* A command of this part, NULL: of none; what is expected of it is noted. */
static void end_of(struct batch *b, struct writer *w, struct batch_doc *bd)
{
    if (bd != NULL && bd->unit != NULL) {
        unit_call_command(&w->call, w->n, w->argv, w->len);
        if (w->call.ncommands >= CALL_WORDS_MAX)
            end_unit(b, w, bd->unit);
        return;
    }
    resp_command(w->out, w->n, w->argv, w->len);
    add_part(b, NULL, b->nexpect - 1, 0);
    b->nreplies++;
}

static void end(struct batch *b, struct writer *w, struct batch_doc *bd, struct pend *p,
                struct drift *number)
{
    expect(b, bd, p, number);
    end_of(b, w, bd);
}

/* All changes of this kind, as few commands as take them. */
static void format_named(struct batch *b, struct writer *w, struct pend *p, enum field_kind kind)
{
    const char *command = kind == FIELD_SET ? p->as->set : p->as->del;
    enum stored_words words = kind == FIELD_SET ? p->as->words : NAME_ALONE;
    begin(w, command, p);
    for (struct pend_field *f = p->fields; f != NULL; f = f->next) {
        if (f->kind != kind)
            continue;
        if (words == TEXT_AND_NAME)
            word(w, f->raw, f->raw_len);
        word(w, f->name, f->name_len);
        if (words == NAME_AND_TEXT)
            word(w, f->raw, f->raw_len);
        if (w->n >= (int)words_max(p->bd) - 1) {
            end(b, w, p->bd, p, NULL);
            begin(w, command, p);
        }
    }
    if (w->n > 2)
        end(b, w, p->bd, p, NULL);
}

/* There is at least one in each batch, so where it is no part of a script it is written at once. */
static void format_incr(struct batch *b, struct writer *w, struct pend *p, const char *name,
                        size_t name_len, int64_t n, struct drift *number)
{
    static const char incr[] = "*4\r\n$7\r\nHINCRBY\r\n";
    char by[RESP_DECIMAL_MAX];
    size_t len = resp_decimal(by, n);
    if (p->bd->unit != NULL) {
        begin(w, "HINCRBY", p);
        word(w, name, name_len);
        word(w, by, len);
        end(b, w, p->bd, p, number);
        return;
    }
    buf_append(w->out, incr, sizeof(incr) - 1);
    resp_bulk(w->out, p->key, p->key_len);
    resp_bulk(w->out, name, name_len);
    resp_bulk(w->out, by, len);
    expect(b, p->bd, p, number);
    add_part(b, NULL, b->nexpect - 1, 0);
    b->nreplies++;
}

static void format_fields(struct batch *b, struct writer *w, struct pend *p)
{
    bool some[FIELD_DEL + 1] = {false};
    for (struct pend_field *f = p->fields; f != NULL; f = f->next) {
        some[f->kind] = true;
        if (f->counted)
            format_incr(b, w, p, f->name, f->name_len, f->by, &f->drift);
    }
    if (some[FIELD_SET])
        format_named(b, w, p, FIELD_SET);
    if (some[FIELD_DEL] && !p->drop && !batch_pop_format(b, p, w->out))
        format_named(b, w, p, FIELD_DEL);
}

/* A long random word: what no client can have put into a list. */
static void draw_marker(char marker[SPLICE_MARKER])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t random[SPLICE_MARKER / 2];
    evutil_secure_rng_get_bytes(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++) {
        marker[2 * i] = digits[random[i] >> 4];
        marker[2 * i + 1] = digits[random[i] & 15];
    }
}

/* The words up to the marker; a unit's script has the function, and no script calls another. */
static void begin_splice(struct writer *w, const struct pend *p, const char *from,
                         const char *count)
{
    w->n = 0;
    if (p->bd->unit == NULL) {
        word(w, "EVAL", 4);
        word(w, unit_splice_script(), strlen(unit_splice_script()));
        word(w, "1", 1);
        w->scripts = true;
    } else {
        word(w, "splice", 6);
    }
    word(w, p->key, p->key_len);
    word(w, from, strlen(from));
    word(w, count, strlen(count));
    draw_marker(w->marker);
    word(w, w->marker, sizeof(w->marker));
}

static void format_remove(struct batch *b, struct writer *w, struct pend *p, struct list_cmd *c)
{
    char from[24], count[24];
    if (c->count == c->len_before) {
        begin(w, "UNLINK", p);
    } else if (c->index == 0 && c->count == 1) {
        begin(w, "LPOP", p);
    } else if (c->index == 0) {
        begin(w, "LTRIM", p);
        word(w, from, (size_t)snprintf(from, sizeof(from), "%zu", c->count));
        word(w, "-1", 2);
    } else if (c->index + c->count == c->len_before && c->count == 1) {
        begin(w, "RPOP", p);
    } else if (c->index + c->count == c->len_before) {
        begin(w, "LTRIM", p);
        word(w, "0", 1);
        word(w, from, (size_t)snprintf(from, sizeof(from), "%zu", c->index - 1));
    } else {
        snprintf(from, sizeof(from), "%zu", c->index);
        snprintf(count, sizeof(count), "%zu", c->count);
        begin_splice(w, p, from, count);
    }
    end(b, w, p->bd, p, NULL);
}

static void format_list_cmd(struct batch *b, struct writer *w, struct pend *p, struct list_cmd *c)
{
    char index[24];
    struct drift *number = NULL;
    switch (c->kind) {
    case LIST_RPUSH:
        begin(w, "RPUSH", p);
        number = &c->drift;
        break;
    case LIST_LPUSH:
        begin(w, "LPUSH", p);
        number = &c->drift;
        break;
    case LIST_SET:
        begin(w, "LSET", p);
        word(w, index, (size_t)snprintf(index, sizeof(index), "%zu", c->index));
        break;
    case LIST_INSERT:
        if (c->index == 0) {
            begin(w, "LPUSH", p);
        } else {
            snprintf(index, sizeof(index), "%zu", c->index);
            begin_splice(w, p, index, "0");
        }
        break;
    case LIST_REMOVE: format_remove(b, w, p, c); return;
    case MEMBERS_IN:
    case MEMBERS_OUT:
        begin(w, c->kind == MEMBERS_IN ? p->as->set : p->as->del, p);
        number = &c->drift;
        break;
    }
    for (size_t at = 0; at < c->raws.len;) {
        uint32_t n;
        memcpy(&n, c->raws.data + at, sizeof(n));
        word(w, c->raws.data + at + sizeof(n), n);
        at += sizeof(n) + n;
    }
    end(b, w, p->bd, p, number);
}

/* What an operation asked for. */
static void format_deadline(struct batch *b, struct writer *w, struct batch_doc *bd)
{
    for (struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (!p->expire)
            continue;
        char at[RESP_DECIMAL_MAX];
        if (bd->expires == 0) {
            begin(w, "PERSIST", p);
        } else {
            begin(w, "PEXPIREAT", p);
            word(w, at, resp_decimal(at, bd->expires));
        }
        end(b, w, bd, p, NULL);
    }
}

/* Whether the key may come into being by it. */
static bool may_make(const struct pend *p)
{
    bool puts = false;
    for (const struct pend_field *f = p->fields; f != NULL && !puts; f = f->next)
        puts = f->kind != FIELD_DEL;
    for (const struct list_cmd *c = p->cmds; c != NULL && !puts; c = c->next)
        puts = c->kind == LIST_RPUSH || c->kind == LIST_LPUSH || c->kind == LIST_INSERT ||
               c->kind == MEMBERS_IN;
    return puts && !p->behind && p->key_len > p->suffix_at;
}

/* The root and the first keys from p on that may be new; the next of them, or NULL. A unit's script
 * has the function, and no script calls another. */
static struct pend *follow_some(struct batch *b, struct writer *w, struct batch_doc *bd,
                                struct pend *p)
{
    struct pend *root = batch_root(b, bd);
    char nkeys[RESP_DECIMAL_MAX];
    unsigned n = 1;
    w->n = 0;
    if (bd->unit == NULL) {
        word(w, "EVAL", 4);
        word(w, unit_follow_script(), strlen(unit_follow_script()));
        word(w, nkeys, 0); /* put in below */
    } else {
        word(w, "follow", 6);
    }
    word(w, root->key, root->key_len);
    for (; p != NULL && n < FOLLOW_MAX; p = p->next) {
        if (!may_make(p) || p->expire)
            continue;
        word(w, p->key, p->key_len);
        n++;
    }
    if (bd->unit == NULL)
        w->len[2] = resp_decimal(nkeys, n);
    if (n > 1)
        end(b, w, bd, root, NULL);
    /* Without a deadline it writes nothing. One that is not known of is news in any case. */
    w->scripts = w->scripts || (n > 1 && bd->doc->expires != 0);
    return p;
}

/* Where none is known there is hardly one, and a script costs as much as all the rest: Redis is
 * asked, and keys without the deadline that there is get it behind the batch (sweep_deadline). */
static void format_left(struct batch *b, struct writer *w, struct batch_doc *bd)
{
    struct pend *root = batch_root(b, bd);
    bd->left = (struct drift){.expected = -1};
    begin(w, "PTTL", root);
    end(b, w, bd, root, &bd->left);
}

/* Nobody but Redis knows what deadline the document has in this moment. */
static void format_follow(struct batch *b, struct writer *w, struct batch_doc *bd)
{
    bool any = false;
    for (struct pend *p = bd->pends; p != NULL && !any; p = p->next)
        any = may_make(p) && !bd->deadline;
    if (any && bd->unit == NULL && bd->doc->expires == 0 && !bd->undated) {
        format_left(b, w, bd);
        return;
    }
    for (struct pend *p = any ? bd->pends : NULL; p != NULL;)
        p = follow_some(b, w, bd, p);
}

static void flush_merge(struct batch *b, struct writer *w, struct merge *m)
{
    if (m->n == 0)
        return;
    buf_printf(w->out, "*%u\r\n", 2 + m->n);
    buf_append(w->out, m->head.data, m->head.len);
    buf_append(w->out, m->members.data, m->members.len);
    any_reply(b);
    if (m->members.cap > CALL_KEPT / MERGES)
        buf_free(&m->members);
    buf_clear(&m->members);
    m->n = 0;
    w->merging--;
}

static void flush_merges(struct batch *b, struct writer *w)
{
    for (unsigned i = 0; i < MERGES && w->merging > 0; i++)
        flush_merge(b, w, &w->merges[i]);
}

/* With those of other documents on the same key. In which order does not matter: no two of those
 * that are gathered name the same document in the same key. */
static void merge_command(struct batch *b, struct writer *w, unsigned argc, const struct buf *argv)
{
    struct buf *head = &w->scratch;
    buf_clear(head);
    for (unsigned i = 0; i < 2; i++)
        resp_bulk(head, argv[i].data, argv[i].len);
    struct merge *m = &w->merges[hash_of(head->data, head->len) & (MERGES - 1)];
    bool same =
        m->n > 0 && m->head.len == head->len && memcmp(m->head.data, head->data, head->len) == 0;
    if (!same || m->n + argc > WORDS_MAX) {
        flush_merge(b, w, m);
        buf_clear(&m->head);
        buf_append(&m->head, head->data, head->len);
    }
    w->merging += m->n == 0;
    for (unsigned i = 2; i < argc; i++)
        resp_bulk(&m->members, argv[i].data, argv[i].len);
    m->n += argc - 2;
}

struct index_words {
    struct batch *b;
    struct writer *w;
    struct batch_doc *bd;
};

/* A spoilt index is no harm to the document. What belongs to a unit stays there, and is refused
 * with it. */
static void index_command(void *arg, unsigned argc, const struct buf *argv)
{
    struct index_words *x = arg;
    bool several = argv[0].len != 7 || memcmp(argv[0].data, "ZINCRBY", 7) != 0;
    if (x->bd->unit == NULL && several) {
        merge_command(x->b, x->w, argc, argv);
        return;
    }
    x->w->n = 0;
    for (unsigned i = 0; i < argc; i++)
        word(x->w, argv[i].data, argv[i].len);
    expect(x->b, NULL, NULL, NULL);
    end_of(x->b, x->w, x->bd);
}

static void format_doc(struct batch *b, struct writer *w, struct batch_doc *bd)
{
    for (struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (p->drop) {
            begin(w, "UNLINK", p);
            end(b, w, bd, p, NULL);
        }
        format_fields(b, w, p);
        for (struct list_cmd *c = p->cmds; c != NULL; c = c->next)
            format_list_cmd(b, w, p, c);
    }
    batch_index_commands(b, bd, index_command, &(struct index_words){.b = b, .w = w, .bd = bd});
    if (!bd->deleted && bd->bump != 0) {
        format_incr(b, w, batch_root(b, bd), "@v", 2, bd->bump, &bd->version);
    }
    if (bd->deleted)
        return;
    format_deadline(b, w, bd);
    format_follow(b, w, bd);
}

static void format_marker(struct batch *b, struct writer *w)
{
    char number[RESP_DECIMAL_MAX];
    buf_append(w->out, b->words->set.data, b->words->set.len);
    resp_bulk(w->out, number, resp_decimal(number, (int64_t)b->number));
    any_reply(b);
}

/* In front of all: what is refused here is refused as a whole, which a script in the middle of
 * its commands would not be. */
static void format_still(struct batch *b, struct writer *w)
{
    buf_append(w->out, b->words->still.data, b->words->still.len);
    any_reply(b);
}

/* Behind all that names keys: Redis does not look at these in a slot on the move once a transaction
 * was seen to have SPUBLISH. */
static void format_publish(struct batch *b, struct writer *w)
{
    const char *publish = b->words->still.len > 0 ? "SPUBLISH" : "PUBLISH";
    batch_news_channel(b, &w->channel);
    w->n = 0;
    word(w, publish, strlen(publish));
    word(w, w->channel.data, w->channel.len);
    word(w, w->scratch.data, w->scratch.len);
    end(b, w, NULL, NULL, NULL);
}

/* What scripts write is named to who called them. Where nothing else of it is, as it was refused or
 * is of plain commands, the turn key is: what was said ends with the turn (changes.h). */
static void format_publish_own(struct batch *b, struct writer *w)
{
    static const char script[] = "redis.pcall('PUBLISH',ARGV[1],ARGV[2])"
                                 "redis.pcall('SET',KEYS[1],'')"
                                 "redis.pcall('UNLINK',KEYS[1])";
    w->n = 0;
    word(w, "EVAL", 4);
    word(w, script, sizeof(script) - 1);
    word(w, "1", 1);
    word(w, b->pool->turn.data, b->pool->turn.len);
    word(w, b->pool->own.data, b->pool->own.len);
    word(w, w->scratch.data, w->scratch.len);
    end(b, w, NULL, NULL, NULL);
}

static void format_news(struct batch *b, struct writer *w, struct batch_news *news)
{
    bool own = w->scripts && b->pool->tells_own, others = b->pool->tells_others;
    *news = (struct batch_news){.at = w->out->len, .n = (unsigned)own + others};
    if (!own && !others)
        return;
    batch_pack_news(b, &w->scratch);
    if (own)
        format_publish_own(b, w);
    if (others)
        format_publish(b, w);
}

static void format_checks(struct batch *b, struct writer *w, struct unit *u)
{
    u->nrelied = 0;
    if (u->guard != NULL)
        unit_call_guard(&w->call, u->guard, b->pool->daemon);
    for (struct batch_doc *bd = u->docs; bd != NULL; bd = bd->next_of_unit) {
        if (bd->relies == RELIES_ON_NOTHING)
            continue;
        if (w->call.nchecks >= UNIT_CHECKS_MAX)
            end_unit(b, w, u);
        const struct pend *root = batch_root(b, bd);
        unit_call_reliance(&w->call, bd->relies, root->key, root->key_len, bd->base);
        u->nrelied++;
    }
    u->epoch_check = 0;
    if (u->nuniques > 0 && b->words->still.len > 0) {
        batch_epoch_check(b, u, &w->call);
        return;
    }
    for (unsigned i = 0; i < u->nuniques; i++) {
        if (w->call.nchecks >= UNIT_CHECKS_MAX)
            end_unit(b, w, u);
        batch_unique_check(b, &u->uniques[i], &w->call);
    }
}

static void format_unit(struct batch *b, struct writer *w, struct unit *u)
{
    unit_call_begin(&w->call);
    w->call_first = b->nexpect;
    format_checks(b, w, u);
    for (struct batch_doc *bd = u->docs; bd != NULL; bd = bd->next_of_unit)
        format_doc(b, w, bd);
    end_unit(b, w, u);
}

/* It has come to nothing else when another unit has taken it in. */
static bool changes_something(const struct unit *u)
{
    const struct batch_doc *bd = u->docs;
    while (bd != NULL && !part_changes(bd))
        bd = bd->next_of_unit;
    return bd != NULL;
}

static void format_indexes(struct batch *b, struct writer *w, enum index_todo todo)
{
    any_replies(b, b->scripted ? batch_format_indexes(b, todo, w->out) : 0);
}

static struct writer *begin_text(struct batch *b, struct buf *out)
{
    struct writer *w = &b->pool->writer;
    b->nexpect = b->nparts = b->nreplies = 0;
    w->out = out;
    w->scripts = false;
    batch_plan_indexes(b);
    batch_plan_uniques(b);
    return w;
}

static void format_units(struct batch *b, struct writer *w)
{
    for (struct unit *u = b->units; u != NULL; u = u->next) {
        if (u->refused_by == 0 && changes_something(u))
            format_unit(b, w, u);
    }
}

unsigned batch_format(struct batch *b, struct batch_news *news, struct buf *out)
{
    static const char multi[] = "*1\r\n$5\r\nMULTI\r\n", exec[] = "*1\r\n$4\r\nEXEC\r\n";
    struct writer *w = begin_text(b, out);
    buf_append(out, multi, sizeof(multi) - 1);
    if (b->words->still.len > 0)
        format_still(b, w);
    any_replies(b, batch_format_was(b, out));
    format_indexes(b, w, INDEX_LEAVE);
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        if (bd->unit == NULL)
            format_doc(b, w, bd);
    }
    flush_merges(b, w);
    if (RAPYER_EXACTLY_ONCE)
        format_marker(b, w);
    format_units(b, w);
    flush_call(b, w);
    if (w->call.words.cap > CALL_KEPT)
        unit_call_free(&w->call);
    format_indexes(b, w, INDEX_ENTER);
    any_replies(b, batch_format_epoch(b, out));
    if (news != NULL)
        format_news(b, w, news);
    buf_append(out, exec, sizeof(exec) - 1);
    return b->nreplies + 2;
}

/* ---- as one script ---- */

#define WHOLE_BYTES (64u << 10) /* to hash the script is little beside more than that */

/* Units that can be applied, and nothing that stands around them. */
static bool only_units(const struct batch *b)
{
    const struct batch_doc *bd = b->docs;
    while (bd != NULL && bd->unit != NULL && bd->indexed != INDEXED_BY_SCRIPT)
        bd = bd->next;
    return bd == NULL && !batch_any_refused(b);
}

/* What the script is to PUBLISH, in front of its units; returns the number of words. */
static unsigned format_messages(struct batch *b, struct writer *w, bool news, struct buf *head)
{
    const struct batch_pool *pool = b->pool;
    const struct buf *channels[] = {pool->tells_own ? &pool->own : NULL,
                                    pool->tells_others ? &pool->channel : NULL};
    unsigned n = !news ? 0 : (unsigned)pool->tells_own + pool->tells_others;
    char number[RESP_DECIMAL_MAX];
    resp_bulk(head, number, resp_decimal(number, (int64_t)b->number));
    resp_bulk(head, number, resp_decimal(number, n));
    if (n > 0)
        batch_pack_news(b, &w->scratch);
    for (unsigned i = 0; n > 0 && i < 2; i++) {
        const struct buf *channel = channels[i];
        if (channel == NULL)
            continue;
        resp_bulk(head, channel->data, channel->len);
        resp_bulk(head, w->scratch.data, w->scratch.len);
        any_reply(b);
    }
    return 2 + 2 * n;
}

bool batch_format_whole(struct batch *b, const struct whole_scripts *known, bool news,
                        struct buf *out)
{
    struct buf head = BUF_INIT;
    size_t at = out->len;
    if (!RAPYER_EXACTLY_ONCE || b->bytes > WHOLE_BYTES || !only_units(b))
        return false;
    struct writer *w = begin_text(b, out);
    if (!only_units(b)) /* as it is known by now */
        return false;
    any_reply(b); /* to the marker */
    format_units(b, w);
    if (b->nreplies++ > 1 || w->call.nunits == 0) { /* several calls, or none */
        flush_call(b, w);
        out->len = at;
        return false;
    }
    unsigned n = format_messages(b, w, news, &head);
    unit_call_flush_whole(&w->call, known, &b->words->marker, &head, n, out);
    buf_free(&head);
    return true;
}

unsigned batch_format_leases(struct batch *b, int64_t ms, struct buf *out)
{
    unsigned n = 0;
    for (struct unit *u = b->units; u != NULL; u = u->next)
        n += u->refused_by == 0 ? unit_format_leases(u->guard, b->pool->daemon, ms, out) : 0;
    return n;
}

/* A script for the root and the next keys of a part. Returns where to go on. */
static struct pend *begin_sweep(struct writer *w, const char *script, const struct pend *root,
                                struct pend *p, bool (*wanted)(const struct pend *p),
                                char nkeys[static RESP_DECIMAL_MAX])
{
    int64_t n = 1;
    w->n = 0;
    word(w, "EVAL", 4);
    word(w, script, strlen(script));
    word(w, nkeys, 0); /* put in below */
    word(w, root->key, root->key_len);
    for (; p != NULL && n < UNIT_WORDS_MAX; p = p->next) {
        if (!wanted(p))
            continue;
        word(w, p->key, p->key_len);
        n++;
    }
    w->len[2] = resp_decimal(nkeys, n);
    return p;
}

static bool below_root(const struct pend *p)
{
    return p->key_len > p->suffix_at;
}

struct beside {
    struct batch *batch;
    struct batch_doc *bd;
};

static void add_beside(void *arg, struct cell *c, const struct type *t, const char *suffix,
                       size_t len)
{
    const struct beside *b = arg;
    (void)c;
    (void)t;
    (void)batch_key(b->batch, b->bd, suffix, len);
}

/* Another program may have taken it for the document, and put something into a container that this
 * batch does not know of. */
static void name_all_containers(struct batch *b, struct batch_doc *bd)
{
    struct record *blank = record_new(bd->doc->model);
    each_container(blank, "", add_beside, &(struct beside){b, bd});
    record_free(blank);
}

/* What this batch put where no document was any more. */
static unsigned sweep_document(struct batch *b, struct batch_doc *bd, struct buf *out)
{
    struct writer *w = &b->pool->writer;
    char nkeys[RESP_DECIMAL_MAX];
    unsigned n = 0;
    name_all_containers(b, bd);
    struct pend *root = batch_root(b, bd), *p = bd->pends;
    do {
        p = begin_sweep(w, sweep_script, root, p, below_root, nkeys);
        if (p == NULL)
            word(w, "root", 4);
        resp_command(out, w->n, w->argv, w->len);
        n++;
    } while (p != NULL);
    return n;
}

/* In an element that others may have removed, and perhaps not there before. */
static bool may_stray(const struct pend *p)
{
    return (p->fresh || p->bd->unanswered) && may_make(p);
}

/* What it put into elements that others had removed. */
static unsigned sweep_elements(struct batch *b, struct batch_doc *bd, struct buf *out)
{
    struct writer *w = &b->pool->writer;
    char nkeys[RESP_DECIMAL_MAX];
    unsigned n = 0;
    struct pend *root = batch_root(b, bd), *p = bd->pends;
    while (p != NULL) {
        p = begin_sweep(w, strays_script, root, p, may_stray, nkeys);
        if (w->n == 4) /* the root alone */
            break;
        resp_command(out, w->n, w->argv, w->len);
        n++;
    }
    return n;
}

/* Its deadline for the keys that it may have made; they go where it is over by now. */
static unsigned sweep_deadline(struct batch *b, struct batch_doc *bd, struct buf *out)
{
    struct writer *w = &b->pool->writer;
    char nkeys[RESP_DECIMAL_MAX];
    unsigned n = 0;
    struct pend *root = batch_root(b, bd);
    for (struct pend *p = bd->pends, *next; p != NULL; p = next) {
        next = begin_sweep(w, unit_follow_script(), root, p, may_make, nkeys);
        if (w->n == 4) /* the root alone */
            break;
        resp_command(out, w->n, w->argv, w->len);
        (void)begin_sweep(w, sweep_script, root, p, may_make, nkeys);
        resp_command(out, w->n, w->argv, w->len);
        n += 2;
    }
    return n;
}

unsigned batch_format_sweep(struct batch *b, struct buf *out)
{
    unsigned n = 0;
    for (struct batch_doc *bd = b->docs; bd != NULL; bd = bd->next) {
        if (bd->gone)
            n += sweep_document(b, bd, out);
        else if (part_overtaken(bd))
            n += sweep_elements(b, bd, out);
        if (bd->undated && !bd->gone)
            n += sweep_deadline(b, bd, out);
    }
    return n;
}

void writer_free(struct writer *w)
{
    free(w->argv);
    free(w->len);
    buf_free(&w->scratch);
    buf_free(&w->channel);
    for (unsigned i = 0; i < MERGES; i++) {
        buf_free(&w->merges[i].head);
        buf_free(&w->merges[i].members);
    }
    unit_call_free(&w->call);
}
