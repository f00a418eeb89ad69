/* unit: see unit.h. */
#include "daemon/commit/unit.h"
#include "daemon/commit/batch.h"
#include "daemon/commit/batch_unique.h"
#include "daemon/commit/follow_one_script.h"
#include "daemon/commit/retake_script.h"
#include "daemon/commit/splice_one_script.h"
#include "daemon/commit/unit_plain_script.h"
#include "daemon/commit/unit_script.h"
#include "daemon/commit/whole_one_script.h"
#include "daemon/commit/whole_plain_script.h"
#include "daemon/commit/whole_script.h"
#include "daemon/documents/layout.h"
#include "daemon/redis/changes.h"
#include "daemon/redis/resp.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *unit_splice_script(void)
{
    return splice_one_script;
}

const char *unit_follow_script(void)
{
    return follow_one_script;
}

const char *unit_whole_script(enum whole_script which)
{
    return which == WHOLE_ONE     ? whole_one_script
           : which == WHOLE_PLAIN ? whole_plain_script
                                  : whole_script;
}

void unit_marker_key(const char *prefix, const char *daemon, const char *tag, struct buf *out)
{
    buf_append(out, prefix, strlen(prefix));
    buf_append(out, ":" COMMIT_MARKER, strlen(":" COMMIT_MARKER));
    buf_append(out, daemon, strlen(daemon));
    if (tag != NULL)
        buf_printf(out, "{%s}", tag);
}

void unit_popped_key(const char *prefix, const char *daemon, struct buf *out)
{
    buf_printf(out, "%s:~pop:%s", prefix, daemon);
}

void unit_swept_key(const char *prefix, const char *tag, struct buf *out)
{
    buf_printf(out, "%s:~swept{%s}", prefix, tag);
}

/* ---- a call ---- */

static void word(struct buf *out, unsigned *n, const void *s, size_t len)
{
    resp_bulk(out, s, len);
    (*n)++;
}

static void text(struct buf *out, unsigned *n, const char *s)
{
    word(out, n, s, strlen(s));
}

static void number_word(struct buf *out, unsigned *n, int64_t number)
{
    char s[RESP_DECIMAL_MAX];
    word(out, n, s, resp_decimal(s, number));
}

#define SHOWN_MAX 100 /* bytes of a value that a message shows */
#define LONG_BYTES (256u << 10)

void unit_call_begin(struct unit_call *c)
{
    c->before = 0;
    c->plain = c->plain || c->nunits == 0;
    c->simple = c->nunits == 0;
}

static void begin_check(struct unit_call *c, const char *kind, const void *key, size_t key_len,
                        const char *field)
{
    unsigned n = 0;
    c->plain = c->plain && (strcmp(kind, "version") == 0 || strcmp(kind, "present") == 0);
    c->simple = c->simple && c->nchecks == 0 && strcmp(kind, "version") == 0;
    word(&c->keys, &n, key, key_len);
    text(&c->checks, &n, kind);
    text(&c->checks, &n, field);
    c->nchecks++;
}

static void add_check(struct unit_call *c, const char *kind, const char *key, size_t key_len,
                      const char *field, int64_t number)
{
    unsigned n = 0;
    if (!RAPYER_FENCE)
        return;
    begin_check(c, kind, key, key_len, field);
    number_word(&c->checks, &n, number);
}

void unit_call_guard(struct unit_call *c, const struct guard *g, const char *daemon)
{
    for (unsigned i = 0; i < g->n; i++) {
        const struct guard_check *check = &g->checks[i];
        if (check->kind == GUARD_VERSION)
            add_check(c, "version", check->key, check->key_len, LAYOUT_VERSION_FIELD,
                      check->number);
        else
            add_check(c, "lease", check->key, check->key_len, daemon, check->number);
    }
}

void unit_call_reliance(struct unit_call *c, enum reliance on, const char *key, size_t key_len,
                        int64_t version)
{
    add_check(c, on == RELIES_ON_STATE ? "version" : "present", key, key_len, LAYOUT_VERSION_FIELD,
              version);
}

void unit_call_unique(struct unit_call *c, const struct buf *key, const struct unique_value *v,
                      const struct buf *head, const char *pk, size_t pk_len)
{
    unsigned n = 0;
    struct buf want = BUF_INIT;
    pack_array(&want, 4);
    pack_str(&want, (char *)head->data, head->len);
    pack_str(&want, pk, pk_len);
    pack_str(&want, v->text, v->len);
    size_t other_len;
    const char *other = unique_other(v->index, v->text, v->len, &other_len);
    pack_str(&want, other, other_len);
    begin_check(c, "unique", key->data, key->len, v->index->name);
    word(&c->checks, &n, want.data, want.len);
    buf_free(&want);
}

void unit_call_command(struct unit_call *c, int argc, const char *const *argv, const size_t *len)
{
    number_word(&c->commands, &c->ncommands, argc);
    c->plain = c->plain && (len[0] != 6 || memcmp(argv[0], "splice", 6) != 0);
    c->simple = c->simple && c->plain && (len[0] != 6 || memcmp(argv[0], "follow", 6) != 0);
    for (int i = 0; i < argc; i++)
        word(&c->commands, &c->ncommands, argv[i], len[i]);
}

/* Moves what is in `more` behind `to`. New memory is what takes time: so what is long stays in its
 * own, and what is before it goes there. */
static void append(struct buf *to, struct buf *more)
{
    if (more->len < LONG_BYTES || to->len >= LONG_BYTES || !buf_grow(more, to->len)) {
        buf_append(to, more->data, more->len);
        buf_clear(more);
        return;
    }
    memmove(more->data + to->len, more->data, more->len);
    memcpy(more->data, to->data, to->len);
    more->len += to->len;
    struct buf rest = *to;
    *to = *more;
    *more = rest;
    buf_clear(more);
}

void unit_call_end(struct unit_call *c, unsigned number)
{
    number_word(&c->words, &c->nwords, number);
    number_word(&c->words, &c->nwords, c->before);
    number_word(&c->words, &c->nwords, c->nchecks);
    number_word(&c->words, &c->nwords, c->ncommands);
    buf_append(&c->words, c->checks.data, c->checks.len);
    append(&c->words, &c->commands);
    c->nwords += 3 * c->nchecks + c->ncommands;
    c->nkeys += c->nchecks;
    c->before += c->nchecks;
    c->nunits++;
    buf_clear(&c->checks);
    c->nchecks = c->ncommands = 0;
}

/* script: two words, EVAL or EVALSHA and what to carry out. */
static void flush(struct unit_call *c, const struct buf *script, const struct buf *marker,
                  const struct buf *more, unsigned nmore, struct buf *out)
{
    unsigned n = 2;
    struct buf head = BUF_INIT;
    buf_append(&head, script->data, script->len);
    number_word(&head, &n, 1 + (int64_t)c->nkeys);
    word(&head, &n, marker->data, marker->len);
    char words[RESP_DECIMAL_MAX];
    buf_append(out, "*", 1);
    buf_append(out, words, resp_decimal(words, n + c->nkeys + nmore + c->nwords));
    buf_append(out, "\r\n", 2);
    buf_append(out, head.data, head.len);
    buf_append(out, c->keys.data, c->keys.len);
    buf_append(out, more->data, more->len);
    append(out, &c->words);
    buf_free(&head);
    buf_clear(&c->keys);
    c->nkeys = c->nwords = c->nunits = 0;
    c->plain = true;
}

void unit_call_flush(struct unit_call *c, const struct buf *marker, struct buf *out)
{
    unsigned n = 0;
    struct buf script = BUF_INIT, none = BUF_INIT;
    text(&script, &n, "EVAL");
    if (c->plain)
        word(&script, &n, unit_plain_script, sizeof(unit_plain_script) - 1);
    else
        word(&script, &n, unit_script, sizeof(unit_script) - 1);
    flush(c, &script, marker, &none, 0, out);
    buf_free(&script);
}

#define BY_HASH "$7\r\nEVALSHA\r\n$40\r\n"

void unit_call_flush_whole(struct unit_call *c, const struct whole_scripts *known,
                           const struct buf *marker, const struct buf *head, unsigned nhead,
                           struct buf *out)
{
    bool one = c->simple && c->nunits == 1 && c->nkeys == 1;
    const char *sha = known->sha[one ? WHOLE_ONE : c->plain ? WHOLE_PLAIN : WHOLE_ANY];
    char named[sizeof(BY_HASH) + 42];
    struct buf script = {.data = (uint8_t *)named};
    script.len = (size_t)snprintf(named, sizeof(named), BY_HASH "%.40s\r\n", sha);
    flush(c, &script, marker, head, nhead, out);
}

void unit_spell_whole(const struct buf *call, struct buf *out)
{
    const uint8_t *words = memchr(call->data, '\n', call->len);
    size_t at = (size_t)(words + 1 - call->data), named = at + strlen(BY_HASH) + 42;
    buf_append(out, call->data, at);
    resp_bulk(out, "EVAL", 4);
    resp_bulk(out, whole_script, sizeof(whole_script) - 1);
    buf_append(out, call->data + named, call->len - named);
}

void unit_call_free(struct unit_call *c)
{
    buf_free(&c->keys);
    buf_free(&c->words);
    buf_free(&c->checks);
    buf_free(&c->commands);
}

/* ---- what became of it ---- */

struct unit *unit_joined(struct unit *u)
{
    while (u->into != NULL)
        u = u->into;
    return u;
}

static unsigned guarding(const struct unit *u)
{
    return u->guard != NULL ? u->guard->n : 0;
}

bool unit_outdated(const struct unit *u)
{
    return u->refused_by > guarding(u) && u->refused_by <= guarding(u) + u->nrelied;
}

void unit_put_off(struct unit *u, bool unreached)
{
    if (u->refused_by != 0)
        return;
    u->nrelied += u->nrelied == 0;
    u->refused_by = guarding(u) + 1;
    u->unreached = unreached;
}

void unit_refuse_value(struct unit *u, unsigned nth, const char *pk, size_t len)
{
    if (u->refused_by != 0)
        return;
    u->refused_by = 1 + guarding(u) + u->nrelied + nth;
    buf_clear(&u->holder);
    if (pk != NULL)
        buf_append(&u->holder, pk, len);
}

bool unit_other_epoch(const struct unit *u)
{
    return u->refused_by != 0 && u->refused_by == u->epoch_check;
}

const struct guard_check *unit_refusing(const struct unit *u)
{
    return u->refused_by > 0 && u->refused_by <= guarding(u) ? &u->guard->checks[u->refused_by - 1]
                                                             : NULL;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "=6164" */
static void take_holder(struct unit *u, const char *s)
{
    buf_clear(&u->holder);
    for (s += *s == '=' ? 1 : strlen(s); digit(s[0]) >= 0 && digit(s[1]) >= 0; s += 2)
        buf_append(&u->holder, &(uint8_t){(uint8_t)(digit(s[0]) << 4 | digit(s[1]))}, 1);
}

/* What stands behind the word in a unit's reply when it was refused; NULL: it was not. */
static const char *refusal_of(const redisReply *reply)
{
    static const char refused[] = "REFUSED";
    const size_t len = sizeof(refused) - 1;
    bool is = reply->type == REDIS_REPLY_STATUS && strncmp(reply->str, refused, len) == 0;
    return is ? reply->str + len : NULL;
}

bool unit_refused(const redisReply *reply, struct unit *u)
{
    const char *by = refusal_of(reply);
    if (by != NULL && u != NULL && u->refused_by == 0) {
        char *end;
        u->refused_by = (unsigned)strtoul(by, &end, 10);
        u->found = strtoll(end, NULL, 10);
        take_holder(u, end + (*end == ' '));
    }
    return by != NULL;
}

static bool has_check(const struct unit *u, unsigned long check)
{
    return check > 0 && check <= guarding(u) + u->nrelied + u->nuniques;
}

bool unit_answered(const redisReply *reply, const struct unit *u)
{
    const char *by = refusal_of(reply);
    return by == NULL || *by == '\0' || has_check(u, strtoul(by, NULL, 10));
}

unsigned unit_refusals(const redisReply *reply)
{
    unsigned n = 0;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        n += unit_refused(reply->element[i], NULL);
    return n;
}

void unit_take_marker(struct unit *u, const char *marker)
{
    while ((marker = strchr(marker, ' ')) != NULL) {
        char *end;
        unsigned long number = strtoul(++marker, &end, 10);
        if (number != u->number || *end != '/')
            continue;
        u->refused_by = (unsigned)strtoul(end + 1, &end, 10);
        u->found = -1;
        take_holder(u, end);
    }
}

static int refuse_unique(const struct unit *u, const struct unique_value *v, struct fault *f)
{
    const struct model *m = v->of->doc->model;
    const char *path = v->index->path;
    if (u->holder.len == 0)
        return fault_set(
            f, FAULT_CORRUPT,
            "%s.%s is unique, and another program has spoilt the key of this value in "
            "its index, so that nobody can say who has it (in a cluster its claim, or the "
            "epoch of a slot); remove the key; nothing was applied",
            m->name, path);
    return fault_set(
        f, FAULT_CONFLICT, "%s.%s is unique, and '%.*s%s' is that of %s:%.*s; nothing was applied",
        m->name, path, (int)(v->len < SHOWN_MAX ? v->len : SHOWN_MAX), v->text,
        v->len > SHOWN_MAX ? "..." : "", m->name, (int)u->holder.len, (char *)u->holder.data);
}

int unit_refusal(const struct unit *u, struct fault *f)
{
    if (!has_check(u, u->refused_by)) /* says the marker */
        return fault_set(f, FAULT_CORRUPT,
                         "Redis says that check %u of this change did not hold, and it has none of "
                         "that number; nothing was applied",
                         u->refused_by);
    if (unit_refusing(u) == NULL)
        return refuse_unique(u, &u->uniques[u->refused_by - 1 - guarding(u) - u->nrelied], f);
    return guard_refusal(u->guard, u->refused_by - 1, u->found, f);
}

unsigned unit_format_leases(const struct guard *g, const char *daemon, int64_t ms, struct buf *out)
{
    unsigned count = 0;
    char length[24];
    if (g == NULL)
        return 0;
    snprintf(length, sizeof(length), "%" PRId64, ms);
    for (unsigned i = 0; i < g->n; i++) {
        const struct guard_check *c = &g->checks[i];
        char fence[24];
        if (c->kind != GUARD_LEASE)
            continue;
        snprintf(fence, sizeof(fence), "%" PRId64, c->number);
        const char *argv[] = {"EVAL", retake_script, "1", c->key, daemon, fence, length};
        const size_t len[] = {4,
                              sizeof(retake_script) - 1,
                              1,
                              c->key_len,
                              strlen(daemon),
                              strlen(fence),
                              strlen(length)};
        resp_command(out, 7, argv, len);
        count++;
    }
    return count;
}
