/* batch_pop: the member at one end of a sorted set, taken out by Redis itself (batch.h).
 *
 *   MULTI  ZRANGESTORE saved queue 0 0  ZPOPMIN queue  HINCRBY document @v 1  SET marker n  EXEC
 *
 * Who pops is told what the tree has, and that holds only if it is so in Redis: so it is a unit.
 * But a script takes Redis twice as long as this, and a batch of one such call can do without:
 * ZPOPMIN takes out what is lowest then, whoever was first, and says what it was. Where its answer
 * is lost what it took is in `saved`, a key of this daemon that each such batch writes anew; the
 * marker tells whether it was this one. What is kept for a Redis that comes back without it names
 * the member instead, as that is what a client was given.
 *
 * Of an empty set nothing is taken out, and its call is done again, as if its unit had been
 * refused.
 */
#include "daemon/commit/batch_inside.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/resp.h"

#define POPPED_MAX 4096 /* bytes of a member or key: the copy stays until the next pop */

const struct popped *batch_pop(struct batch *b, struct batch_doc *bd, bool highest, double score)
{
    if (b->pop != NULL) {
        b->pop->n++;
        return NULL;
    }
    b->pop = arena_zero(&b->arena, sizeof(*b->pop));
    *b->pop = (struct pop){.score = score, .highest = highest, .n = 1, .bd = bd};
    return &b->pop->told;
}

/* ---- what is asked ---- */

static bool takes_one(const struct pend *p)
{
    const struct pend_field *f = p->fields;
    return f != NULL && f->next == NULL && f->kind == FIELD_DEL && f->name_len <= POPPED_MAX &&
           p->key_len <= POPPED_MAX && p->cmds == NULL && !p->drop && !p->expire && !p->behind;
}

/* The key, where the part does nothing else; or NULL. */
static struct pend *only_pend(const struct batch_doc *bd)
{
    struct pend *only = NULL;
    for (struct pend *p = bd->pends; p != NULL; p = p->next) {
        if (only_version(p))
            continue;
        if (only != NULL || !takes_one(p))
            return NULL;
        only = p;
    }
    return only;
}

static bool is_alone(const struct batch *b, const struct batch_doc *bd)
{
    const struct unit *u = bd->unit;
    return b->docs == bd && bd->next == NULL && u != NULL && b->units == u && u->next == NULL &&
           u->guard == NULL && bd->relies == RELIES_ON_STATE && bd->bump == 1 && !bd->deleted &&
           !bd->touched && !bd->deadline && !bd->rewritten;
}

bool batch_pop_plainly(struct batch *b)
{
    struct pop *pop = b->pop;
    if (pop == NULL || pop->unit != NULL)
        return pop != NULL;
    struct batch_doc *bd = pop->bd;
    pop->pend = pop->n == 1 && is_alone(b, bd) ? only_pend(bd) : NULL;
    if (pop->pend == NULL)
        return false;
    pop->unit = bd->unit;
    pop->unit->docs = pop->unit->last_doc = NULL;
    bd->unit = NULL;
    bd->relies = RELIES_ON_NOTHING;
    return true;
}

void batch_pop_as_unit(struct batch *b)
{
    struct pop *pop = b->pop;
    pop->unit->docs = pop->unit->last_doc = pop->bd;
    pop->bd->unit = pop->unit;
    pop->bd->relies = RELIES_ON_STATE;
    pop->unit = NULL;
    pop->n++; /* it does not become one of these again */
}

static bool is_plain(const struct batch *b)
{
    return b->pop != NULL && b->pop->unit != NULL;
}

static void note_reply(struct batch *b, struct batch_doc *bd, struct pend *p)
{
    vec_push(b->expect, b->nexpect, b->expect_cap, (struct expectation){bd, p, NULL});
    vec_push(b->parts, b->nparts, b->parts_cap,
             (struct part){NULL, b->nexpect - 1, 1, b->nreplies++, 0});
}

bool batch_pop_format(struct batch *b, struct pend *p, struct buf *out)
{
    const struct buf *saved = &b->pool->popped;
    struct pop *pop = b->pop;
    if (!is_plain(b) || pop->pend != p)
        return false;
    pop->at = out->len;
    resp_command(out, pop->highest ? 6 : 5,
                 (const char *[]){"ZRANGESTORE", (char *)saved->data, p->key, "0", "0", "REV"},
                 (size_t[]){11, saved->len, p->key_len, 1, 1, 3});
    note_reply(b, NULL, NULL);
    resp_command(out, 2, (const char *[]){pop->highest ? "ZPOPMAX" : "ZPOPMIN", p->key},
                 (size_t[]){7, p->key_len});
    pop->reply = b->nreplies;
    note_reply(b, pop->bd, p);
    pop->len = out->len - pop->at;
    return true;
}

/* ---- what was taken out ---- */

static void drifted(struct batch *b, const struct pop *pop)
{
    const struct pend *p = pop->pend;
    part_drifted(b, pop->bd, p->key + p->suffix_at, p->key_len - p->suffix_at);
}

/* [member, score], or nothing. False: it is neither. */
static bool read_pair(struct batch *b, struct pop *pop, const redisReply *r)
{
    if (r->type != REDIS_REPLY_ARRAY || (r->elements != 0 && r->elements != 2))
        return false;
    pop->none = r->elements == 0;
    if (pop->none)
        return true;
    const redisReply *member = r->element[0], *score = r->element[1];
    struct popped *told = &pop->told;
    if (member->type != REDIS_REPLY_STRING || score->type != REDIS_REPLY_STRING ||
        !layout_read_score(score->str, &told->score))
        return false;
    const struct pend_field *f = pop->pend->fields;
    told->other = member->len != f->name_len || memcmp(member->str, f->name, f->name_len) != 0 ||
                  told->score != pop->score;
    char *text = arena_take(&b->arena, member->len + 1);
    memcpy(text, member->str, member->len);
    told->text = text;
    told->len = member->len;
    return true;
}

/* Its call is done again, as if a check of the unit had not held. */
static void take_none(struct batch *b, struct pop *pop)
{
    pop->unit->nrelied = pop->unit->refused_by = 1;
    drifted(b, pop);
}

void batch_pop_take(struct batch *b, const redisReply *exec)
{
    struct pop *pop = b->pop;
    if (!is_plain(b))
        return;
    pop->none = true;
    if (pop->bd->failed || !read_pair(b, pop, exec->element[pop->reply]))
        pop->bd->failed = true;
    else if (pop->none)
        take_none(b, pop);
    else if (pop->told.other)
        drifted(b, pop);
}

unsigned batch_pop_ask(const struct batch *b, struct buf *out)
{
    const struct buf *saved = &b->pool->popped;
    if (!is_plain(b))
        return 0;
    resp_command(out, 5, (const char *[]){"ZRANGE", (char *)saved->data, "0", "0", "WITHSCORES"},
                 (size_t[]){6, saved->len, 1, 1, 10});
    return 1;
}

void batch_pop_found(struct batch *b, const redisReply *reply)
{
    if (is_plain(b))
        b->pop->found = read_pair(b, b->pop, reply);
}

/* What is saved is what was taken out, so nothing of it is unsure. */
void batch_pop_unanswered(struct batch *b)
{
    struct pop *pop = b->pop;
    if (!is_plain(b))
        return;
    pop->bd->unsure = pop->bd->unsure && !pop->found;
    if (!pop->found)
        pop->bd->failed = pop->none = true;
    else if (pop->none)
        take_none(b, pop);
    else if (pop->told.other)
        drifted(b, pop);
}

unsigned batch_pop_name(const struct batch *b, struct batch_news *news, struct buf *resp)
{
    const struct pop *pop = b->pop;
    struct buf *named = &b->pool->writer.scratch;
    buf_clear(named);
    if (!pop->none)
        resp_command(named, 3, (const char *[]){"ZREM", pop->pend->key, pop->told.text},
                     (size_t[]){4, pop->pend->key_len, pop->told.len});
    size_t behind = pop->at + pop->len, rest = resp->len - behind;
    if (news->n > 0)
        news->at = news->at + named->len - pop->len;
    if (named->len > pop->len)
        buf_grow(resp, named->len - pop->len);
    memmove(resp->data + pop->at + named->len, resp->data + behind, rest);
    if (named->len > 0)
        memcpy(resp->data + pop->at, named->data, named->len);
    resp->len = pop->at + named->len + rest;
    return pop->none ? 2 : 1;
}
