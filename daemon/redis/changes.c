/* changes: see changes.h. */
#include "daemon/redis/changes.h"
#include "daemon/base/clock.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/redis/peers.h"
#include "daemon/redis/proofs.h"
#include "daemon/redis/resp.h"
#include "daemon/redis/shards.h"
#include "daemon/redis/slots.h"
#include "protocol/alloc.h"
#include "protocol/buf.h"
#include "protocol/path.h"
#include <event2/util.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define INVALIDATE "__redis__:invalidate"
#define CHANNELS 4               /* that are listened to for ever; in a cluster the first two */
#define EXPLAINED_MAX (1u << 16) /* keys, in one turn of Redis */

struct changes {
    struct config *config;
    const char *id;
    const struct names *names;
    bool cluster;
    struct upstream *up;   /* for proofs, and it tracks; not ours */
    struct upstream *link; /* listens */
    struct proofs *proofs;
    struct peers *peers;
    struct shards *shards; /* in a cluster, in the place of `channel` */
    struct changes_callbacks cb;
    void *arg;
    struct buf channel, own; /* of what all daemons do, what scripts of ours did; NUL-terminated */
    struct buf documents, markers;            /* how their keys begin; NUL-terminated, too */
    bool alone;                               /* nobody else was counted since we hear */
    bool subscribed;                          /* to all but what other daemons do */
    bool listening;                           /* to that, too, or it is asked for */
    enum { UNMARKED, MARKING, MARKED } marks; /* whether markers are tracked */
    unsigned tracks;                          /* answers to track() that are to come */
    bool hearing, tracking, warned;
    bool untracked; /* tracking was refused: what daemons say is all there is to hear */
    /* The marker of the last batch of which a part was refused; it names those (unit.lua). */
    struct buf refused;
    uint64_t refused_by; /* the hash of that daemon; 0: none, or its batch was heard of */
    uint64_t *explained; /* hashes of keys, in this turn of Redis */
    size_t nexplained, explained_cap;
    uint64_t
        unheard; /* RAPYER_UNHEARD: changes so far; the document whose key is passed over next */
    uint64_t unheard_key;
};

static void set_deaf(struct changes *c)
{
    bool was = c->hearing;
    c->hearing = c->tracking = c->untracked = c->alone = false;
    proofs_void(c->proofs);
    c->nexplained = 0;
    c->refused_by = 0;
    if (was)
        c->cb.deaf(c->arg);
}

static void warn(struct changes *c, const char *what, const char *why)
{
    if (!c->warned)
        log_warning("%s: %s", what, why);
    c->warned = true;
}

static void cannot_hear(struct changes *c, const char *why)
{
    warn(c, "changes by other daemons are not heard; each read asks Redis", why);
    upstream_reset(c->link, why);
}

/* ---- what daemons say ---- */

static uint64_t hash_in(uint64_t seed, const char *name, size_t len)
{
    return XXH3_64bits_withSeed(name, len, seed);
}

/* Of a document's key as Redis names it. */
static uint64_t key_hash(const char *key, size_t key_len, const char *suffix, size_t suffix_len)
{
    return hash_in(hash_in(hash_seed, key, key_len), suffix, suffix_len);
}

static bool is_field(const char *s, size_t len)
{
    return len > 0 && s[0] == '.';
}

/* Behind a suffix stand the fields of it that have changed, if they are told. */
static bool next_field(struct cursor *in, const char **field, size_t *len)
{
    struct cursor at = *in;
    if (cursor_str(&at, field, len) < 0 || !is_field(*field, *len) || *len == 1)
        return false;
    ++*field;
    --*len;
    *in = at;
    return true;
}

bool change_next(struct change *c, struct change_place *place)
{
    const char *s;
    size_t len;
    if (c->nplaces == 0)
        return false;
    c->nplaces--;
    if (place->suffix != NULL && next_field(&c->places, &place->field, &place->field_len))
        return true;
    if (cursor_str(&c->places, &s, &len) < 0)
        return false;
    *place = (struct change_place){.rewritten = is_field(s, len)};
    if (place->rewritten)
        return true;
    place->suffix = s;
    place->suffix_len = len;
    if (c->nplaces > 0 && next_field(&c->places, &place->field, &place->field_len))
        c->nplaces--;
    return true;
}

/* [key, version or nil, bump, unit or nil, [suffix or .field or ".", ...], deadline?] */
static int read_change(struct cursor *in, struct change *out, int64_t *unit)
{
    uint32_t n;
    *out = (struct change){0};
    *unit = -1;
    if (cursor_array(in, &n) < 0 || n < 5 || n > 6 || cursor_str(in, &out->key, &out->key_len) < 0)
        return -1;
    out->deleted = cursor_nil(in);
    if (!out->deleted && cursor_int(in, &out->version) < 0)
        return -1;
    if (cursor_int(in, &out->bump) < 0)
        return -1;
    if (!cursor_nil(in) && cursor_int(in, unit) < 0)
        return -1;
    if (cursor_array(in, &out->nplaces) < 0)
        return -1;
    out->places = *in;
    for (uint32_t i = 0; i < out->nplaces; i++) {
        const char *suffix;
        size_t len;
        if (cursor_str(in, &suffix, &len) < 0)
            return -1;
    }
    return n == 6 && (cursor_int(in, &out->expires) < 0 || out->expires <= 0) ? -1 : 0;
}

/* What is not explained is read again: that costs, and is right. */
static void explain(struct changes *c, uint64_t doc, const char *suffix, size_t len)
{
    if (!c->tracking || c->nexplained >= EXPLAINED_MAX)
        return;
    vec_push(c->explained, c->nexplained, c->explained_cap, hash_in(doc, suffix, len));
}

/* We have written it since another daemon did: if that was in this turn the key is not named, and
 * whoever writes it later is not explained. */
static void forget(struct changes *c, uint64_t doc, const char *suffix, size_t len)
{
    uint64_t hash = hash_in(doc, suffix, len);
    for (size_t i = c->nexplained; i-- > 0;) {
        if (c->explained[i] == hash)
            c->explained[i] = c->explained[--c->nexplained];
    }
}

static void explain_change(struct changes *c, const struct change *change, bool ours)
{
    struct cursor in = change->places;
    uint64_t doc = hash_in(hash_seed, change->key, change->key_len);
    void (*take)(struct changes *, uint64_t, const char *, size_t) =
        ours && c->cluster ? forget : explain;
    take(c, doc, "", 0); /* the version is there */
    for (uint32_t i = 0; i < change->nplaces && (c->nexplained > 0 || take == explain); i++) {
        const char *s;
        size_t len;
        if (cursor_str(&in, &s, &len) == 0 && len > 0 && !is_field(s, len))
            take(c, doc, s, len);
    }
}

/* In builds that are to be found out: nobody is told of some changes, by whatever message. */
static bool goes_unheard(struct changes *c, const char *key, size_t len)
{
    if (RAPYER_UNHEARD == 0 || ++c->unheard % (RAPYER_UNHEARD + 0u) != 0)
        return false;
    c->unheard_key = key_hash(key, len, "", 0);
    return true;
}

static bool went_unheard(struct changes *c, const char *key, size_t len)
{
    return RAPYER_UNHEARD != 0 && c->unheard_key == key_hash(key, len, "", 0);
}

/* The same channel as the commits: in front of this daemon's next one. It is a courtesy: without it
 * turns are left to chance. */
void changes_want(struct changes *c, uint16_t slot, const char *key, size_t key_len)
{
    struct buf out = BUF_INIT, message = BUF_INIT, channel = BUF_INIT;
    if (!c->hearing || (c->cluster && !shards_known(c->up)))
        return;
    pack_array(&message, 2);
    pack_cstr(&message, c->id);
    pack_str(&message, key, key_len);
    if (c->cluster)
        shards_channel(c->config->key_prefix, slot_tag(slot), &channel);
    const char *words[] = {c->cluster ? "SPUBLISH" : "PUBLISH",
                           (char *)(c->cluster ? &channel : &c->channel)->data,
                           (char *)message.data};
    size_t lens[] = {strlen(words[0]), strlen(words[1]), message.len};
    resp_command(&out, 3, words, lens);
    upstream_send(c->up, out.data, out.len, 1, upstream_ignore, NULL);
    buf_free(&channel);
    buf_free(&message);
    buf_free(&out);
}

void changes_follow(struct changes *c, uint16_t slot)
{
    if (c->cluster && c->hearing && !c->alone)
        shards_listen(c->shards, slot);
}

/* Of a daemon: its changes; or the key that it wants a turn with (changes_want); or the marker of
 * the batch that comes next, of which a part was refused (unit.lua). */
struct message {
    bool ours;
    uint64_t by;        /* the hash of its name, not 0 */
    const char *wanted; /* or NULL */
    size_t wanted_len;
    const char *refused; /* or NULL */
    size_t refused_len;
    int64_t number; /* of the batch, as its marker has it */
    struct cursor changes;
    uint32_t nchanges;
};

/* "17 0/1 3/2": of batch 17 the units 0 and 3. */
static bool was_refused(const struct changes *c, const struct message *m, int64_t unit)
{
    char name[RESP_DECIMAL_MAX + 3];
    if (c->refused_by != m->by || unit < 0 ||
        strtoll((char *)c->refused.data, NULL, 10) != m->number)
        return false;
    snprintf(name, sizeof(name), " %" PRId64 "/", unit);
    return strstr((char *)c->refused.data, name) != NULL;
}

/* [daemon, number, [change, ...]]. The keys that were written are explained. */
static int read_commit(struct changes *c, struct cursor in, struct message *m)
{
    struct change change;
    int64_t unit;
    if (cursor_int(&in, &m->number) < 0 || cursor_array(&in, &m->nchanges) < 0)
        return -1;
    m->changes = in;
    for (uint32_t i = 0; i < m->nchanges; i++) {
        if (read_change(&in, &change, &unit) < 0)
            return -1;
        if (!was_refused(c, m, unit))
            explain_change(c, &change, m->ours);
    }
    return cursor_done(&in) ? 0 : -1;
}

/* [daemon, key] or [daemon, [marker]], or a commit. What is ours is not read on the channel of all,
 * but in a cluster, where there is no other. */
static int read_message(struct changes *c, struct cursor in, bool own, struct message *m)
{
    const char *daemon;
    size_t len;
    uint32_t n, one;
    *m = (struct message){.wanted = NULL};
    if (cursor_array(&in, &n) < 0 || n < 2 || n > 3 || cursor_str(&in, &daemon, &len) < 0)
        return -1;
    m->by = hash_in(hash_seed, daemon, len) | 1;
    m->ours = len == strlen(c->id) && memcmp(daemon, c->id, len) == 0;
    if (m->ours != own && !(m->ours && c->cluster))
        return own ? -1 : 0;
    if (n == 3)
        return read_commit(c, in, m);
    if (cursor_str(&in, &m->wanted, &m->wanted_len) == 0)
        return cursor_done(&in) ? 0 : -1;
    if (cursor_array(&in, &one) < 0 || one != 1 ||
        cursor_str(&in, &m->refused, &m->refused_len) < 0)
        return -1;
    return cursor_done(&in) ? 0 : -1;
}

/* What is said of the batch itself comes at once, in the same transaction; but for one that is
 * applied again to a Redis that had lost it. */
static void take_refusal(struct changes *c, const struct message *m)
{
    if (c->refused_by != 0 && c->refused_by != m->by)
        c->cb.everything(c->arg); /* of two at once one goes unheard */
    c->refused_by = m->by;
    buf_clear(&c->refused);
    buf_append(&c->refused, m->refused, m->refused_len);
    buf_append(&c->refused, "", 1);
}

static void take_commit(struct changes *c, const struct message *m)
{
    struct cursor in = m->changes;
    struct change change;
    int64_t unit;
    for (uint32_t i = 0; i < m->nchanges && !m->ours; i++) {
        if (read_change(&in, &change, &unit) == 0 && !was_refused(c, m, unit) &&
            !goes_unheard(c, change.key, change.key_len))
            c->cb.committed(c->arg, &change);
    }
    if (c->refused_by == m->by)
        c->refused_by = 0;
}

/* All of it is looked at before any of it is believed. `own`: it came on the channel of this
 * daemon. */
static void take_message(struct changes *c, const redisReply *payload, bool own)
{
    struct message m;
    size_t explained = c->nexplained;
    if (read_message(c, cursor_of(payload->str, payload->len), own, &m) < 0) {
        log_debug("a message that no rapyerd has sent is ignored");
        if (c->nexplained > explained)
            c->nexplained = explained;
    } else if (m.ours && !own) {
        peers_look_again(c->peers); /* perhaps nobody else is told any more */
    } else if (m.refused != NULL) {
        take_refusal(c, &m);
    } else if (m.wanted == NULL) {
        take_commit(c, &m);
    } else if (!m.ours) {
        c->cb.wanted(c->arg, m.wanted, m.wanted_len);
    }
}

/* ---- what Redis says ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void take_document(struct changes *c, const char *key, size_t key_len, const char *suffix,
                          size_t suffix_len)
{
    if (went_unheard(c, key, key_len))
        return;
    uint64_t hash = key_hash(key, key_len, suffix, suffix_len);
    bool explained = c->nexplained > 0 &&
                     bsearch(&hash, c->explained, c->nexplained, sizeof(hash), by_value) != NULL;
    c->cb.written(c->arg, key, key_len, suffix, suffix_len, explained);
}

/* "<prefix>:<root><suffix>" */
static void take_key(struct changes *c, const char *name, size_t len)
{
    struct buf key = BUF_INIT;
    size_t head = strlen(c->config->key_prefix) + 1;
    size_t root = len > head ? names_read(c->names, name + head, len - head, &key) : 0;
    if (root > 0)
        take_document(c, (char *)key.data, key.len, name + head + root, len - head - root);
    buf_free(&key);
}

/* The marker of a commit comes behind the keys that were written in its turn, also where there are
 * none: what we have written since is not named. */
static bool ends_turn(const struct changes *c, const redisReply *keys)
{
    const redisReply *first = keys->elements > 0 ? keys->element[0] : NULL;
    size_t len = c->markers.len - 1;
    return first != NULL && first->type == REDIS_REPLY_STRING && first->len >= len &&
           memcmp(first->str, c->markers.data, len) == 0;
}

static void take_keys(struct changes *c, const redisReply *keys)
{
    if (keys->type != REDIS_REPLY_ARRAY) {
        c->nexplained = 0;
        c->cb.everything(c->arg);
        return;
    }
    if (ends_turn(c, keys)) {
        c->nexplained = 0;
        return;
    }
    if (c->nexplained > 1)
        qsort(c->explained, c->nexplained, sizeof(*c->explained), by_value);
    for (size_t i = 0; i < keys->elements; i++) {
        if (keys->element[i]->type == REDIS_REPLY_STRING)
            take_key(c, keys->element[i]->str, keys->element[i]->len);
    }
    c->nexplained = 0;
    c->unheard_key = 0;
}

static bool is_channel(const redisReply *name, const struct buf *channel)
{
    return name->len == channel->len - 1 && memcmp(name->str, channel->data, name->len) == 0;
}

static void on_push(void *arg, redisReply *reply)
{
    struct changes *c = arg;
    if (reply->elements != 3 || reply->element[1]->type != REDIS_REPLY_STRING)
        return;
    const redisReply *name = reply->element[1], *payload = reply->element[2];
    if (c->cluster && payload->type == REDIS_REPLY_INTEGER)
        shards_left(c->shards, name);
    if (!c->hearing)
        return;
    if (name->len == sizeof(INVALIDATE) - 1 && memcmp(name->str, INVALIDATE, name->len) == 0)
        take_keys(c, payload);
    else if (payload->type != REDIS_REPLY_STRING)
        return;
    else if (is_channel(name, proofs_channel(c->proofs)))
        proofs_take(c->proofs, payload);
    else if (c->cluster ? shards_has(c->shards, name)
                        : is_channel(name, &c->channel) || is_channel(name, &c->own))
        take_message(c, payload, is_channel(name, &c->own));
    else if (is_channel(name, peers_channel(c->peers)))
        peers_take(c->peers, payload);
}

/* ---- the connections ---- */

static void begin_hearing(struct changes *c)
{
    if (c->tracking)
        c->warned = false;
    c->hearing = true;
    c->cb.hearing(c->arg);
    if (!c->hearing)
        return;
    (void)changes_prove(c);
    if (!c->cluster || shards_known(c->link))
        peers_hello(c->peers);
}

static void on_listening(void *arg, unsigned index, redisReply *reply)
{
    struct changes *c = arg;
    (void)index;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR)
        cannot_hear(c, reply->str);
    else if (c->untracked && !c->hearing)
        begin_hearing(c);
}

static void on_left(void *arg, unsigned index, redisReply *reply)
{
    struct changes *c = arg;
    (void)index;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        c->listening = true; /* we go on, and hear ourselves */
}

static void listen_to_daemons(struct changes *c, bool on)
{
    struct buf out = BUF_INIT;
    c->listening = on;
    resp_words(&out, on ? "SUBSCRIBE" : "UNSUBSCRIBE", (char *)c->channel.data, NULL);
    upstream_send(c->link, out.data, out.len, 1, on ? on_listening : on_left, c);
    buf_free(&out);
}

/* What is tracked already stays so; `second` may be NULL. */
static void pack_tracking(const struct changes *c, const struct buf *first,
                          const struct buf *second, struct buf *out)
{
    char id[RESP_DECIMAL_MAX + 1];
    id[resp_decimal(id, (int64_t)upstream_info(c->link)->client_id)] = '\0';
    resp_words(out, "CLIENT", "TRACKING", "ON", "REDIRECT", id, "BCAST", "NOLOOP", "PREFIX",
               (char *)first->data, second != NULL ? "PREFIX" : NULL,
               second != NULL ? (char *)second->data : NULL, NULL);
}

/* It may be about what was tracked before: track() has said since what is. */
static void on_marked(void *arg, unsigned index, redisReply *reply)
{
    struct changes *c = arg;
    (void)index;
    if (reply == NULL || c->marks != MARKING)
        return;
    c->marks = reply->type == REDIS_REPLY_ERROR ? UNMARKED : MARKED;
    if (c->marks == MARKED && c->hearing && c->tracking && !c->listening)
        listen_to_daemons(c, true);
}

/* Each marker that is tracked costs Redis as much as a key of a document. Who hears nothing that
 * ends with the turn does without; where they are tracked once they stay so, as to end that would
 * be to miss what is written meanwhile. */
static void mark(struct changes *c)
{
    struct buf out = BUF_INIT;
    if (c->marks != UNMARKED)
        return;
    pack_tracking(c, &c->markers, NULL, &out);
    if (upstream_send(c->up, out.data, out.len, 1, on_marked, c))
        c->marks = MARKING;
    buf_free(&out);
}

/* To begin late is no gap: what others have written was named, and unexplained. */
static void on_peers(void *arg, bool others)
{
    struct changes *c = arg;
    bool alone = c->hearing && !others;
    if (c->alone != alone) {
        c->alone = alone;
        c->cb.others(c->arg);
    }
    if (!c->hearing || !c->tracking || c->listening == others || c->cluster)
        return;
    if (others && c->marks != MARKED)
        mark(c); /* then we listen */
    else
        listen_to_daemons(c, others);
}

enum { ANSWER_OFF, ANSWER_ON, TRACK_ANSWERS };

/* Nothing is believed before all of it was answered, for the two connections that there are now. */
static void on_tracking(void *arg, unsigned index, redisReply *reply)
{
    struct changes *c = arg;
    if (reply != NULL && index != ANSWER_ON)
        return;
    c->tracks--;
    if (reply == NULL || c->tracks > 0 || !c->subscribed)
        return;
    c->tracking = reply->type != REDIS_REPLY_ERROR;
    c->untracked = !c->tracking && !c->cluster;
    if (!c->tracking && strncmp(reply->str, "ERR The client ID", 17) == 0) {
        upstream_reset(c->link, "Redis does not know the connection that listens");
        return;
    }
    if (c->tracking) {
        begin_hearing(c);
        return;
    }
    if (c->cluster) { /* until the next connection */
        warn(c, "what others write is not heard (CLIENT TRACKING); each read asks Redis",
             reply->str);
        return;
    }
    warn(c, "what other programs write into Redis is not noticed (CLIENT TRACKING)", reply->str);
    if (!c->listening)
        listen_to_daemons(c, true);
    else
        begin_hearing(c);
}

/* On the link of our own writes, as only who wrote himself is not told of it (NOLOOP). It may track
 * for a connection that is gone. */
static void track(struct changes *c)
{
    struct buf out = BUF_INIT;
    if (!c->subscribed)
        return;
    resp_words(&out, "CLIENT", "TRACKING", "OFF", NULL);
    pack_tracking(c, &c->documents, c->listening ? &c->markers : NULL, &out);
    c->marks = c->listening ? MARKED : UNMARKED;
    if (upstream_send(c->up, out.data, out.len, TRACK_ANSWERS, on_tracking, c))
        c->tracks++;
    buf_free(&out);
}

static unsigned channels(const struct changes *c)
{
    return c->cluster ? 2 : CHANNELS;
}

static void on_subscribed(void *arg, unsigned index, redisReply *reply)
{
    struct changes *c = arg;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        cannot_hear(c, reply->str);
    } else if (index == channels(c) - 1) {
        c->subscribed = true;
        c->listening = false;
        track(c);
    }
}

static void on_up(void *arg)
{
    struct changes *c = arg;
    struct buf out = BUF_INIT;
    if (c->cluster)
        peers_at(c->peers, upstream_info(c->link)->run_id);
    const char *names[CHANNELS] = {
        INVALIDATE,
        (char *)peers_channel(c->peers)->data,
        (char *)proofs_channel(c->proofs)->data,
        (char *)c->own.data,
    };
    for (unsigned i = 0; i < channels(c); i++)
        resp_words(&out, "SUBSCRIBE", names[i], NULL);
    upstream_send(c->link, out.data, out.len, channels(c), on_subscribed, c);
    buf_free(&out);
}

static void on_down(void *arg, const char *why)
{
    struct changes *c = arg;
    (void)why;
    c->subscribed = false;
    if (c->cluster)
        shards_lost(c->shards);
    set_deaf(c);
}

void changes_link(struct changes *c, bool up)
{
    if (up)
        track(c);
    else
        set_deaf(c);
}

/* ---- proofs ---- */

/* All that was written before it was asked for was named: whatever is explained yet, of a key that
 * we have written since, is over. */
static void on_proved(void *arg)
{
    struct changes *c = arg;
    if (c->cluster)
        c->nexplained = 0;
    c->cb.proved(c->arg);
}

static void on_another_realm(void *arg)
{
    struct changes *c = arg;
    c->cb.everything(c->arg);
}

/* Until the next connection. */
static void on_proof_refused(void *arg, const char *why)
{
    struct changes *c = arg;
    warn(c,
         "nothing proves that changes by other daemons are heard (PUBLISH); each read asks Redis",
         why);
    set_deaf(c);
}

/* Nothing is asked over the link that listens that has a slot. */
static void on_redirect(void *arg, const char *error)
{
    (void)arg;
    (void)error;
}

/* ---- interface ---- */

static void name(struct buf *out, const char *prefix, const char *what, const char *id)
{
    buf_printf(out, "%s:@%s%s", prefix, what, id);
    buf_append(out, "", 1);
}

struct changes *changes_new(struct event_base *base, struct config *config, const char *id,
                            const struct names *names, struct router *router, struct upstream *up,
                            const struct changes_callbacks *cb, void *arg)
{
    static const struct upstream_callbacks link_cb = {
        .on_up = on_up, .on_down = on_down, .on_push = on_push, .quiet = true};
    static const struct upstream_callbacks node_cb = {.on_up = on_up,
                                                      .on_down = on_down,
                                                      .on_push = on_push,
                                                      .on_redirect = on_redirect,
                                                      .quiet = true};
    static const struct proofs_callbacks proofs_cb = {
        .proved = on_proved, .another_realm = on_another_realm, .refused = on_proof_refused};
    struct changes *c = alloc_zeroed(1, sizeof(*c));
    c->config = config;
    c->id = id;
    c->names = names;
    c->cluster = router_is_cluster(router);
    c->up = up;
    c->cb = *cb;
    c->arg = arg;
    c->peers = peers_new(config, id, up, on_peers, c);
    name(&c->channel, config->key_prefix, "changes", "");
    name(&c->own, config->key_prefix, "own:", id);
    buf_printf(&c->documents, "%s:{", config->key_prefix);
    buf_append(&c->documents, "", 1);
    buf_printf(&c->markers, "%s:" COMMIT_MARKER, config->key_prefix);
    buf_append(&c->markers, "", 1);
    c->link = upstream_new(base, config, c->cluster ? &node_cb : &link_cb, c);
    c->shards = c->cluster ? shards_new(config->key_prefix, c->link) : NULL;
    c->proofs =
        proofs_new(base, config, id, c->cluster ? router : NULL, up, c->link, &proofs_cb, c);
    return c;
}

void changes_free(struct changes *c)
{
    if (c == NULL)
        return;
    upstream_free(c->link);
    shards_free(c->shards);
    proofs_free(c->proofs);
    peers_free(c->peers);
    buf_free(&c->channel);
    buf_free(&c->own);
    buf_free(&c->documents);
    buf_free(&c->markers);
    buf_free(&c->refused);
    free(c->explained);
    free(c);
}

void changes_start(struct changes *c)
{
    upstream_start(c->link);
}

void changes_stop(struct changes *c)
{
    upstream_stop(c->link, "rapyerd is stopping");
    c->subscribed = false;
    set_deaf(c);
}

void changes_set_address(struct changes *c, const char *address)
{
    upstream_set_address(c->link, address);
}

bool changes_hearing(const struct changes *c)
{
    return c->hearing;
}

bool changes_alone(const struct changes *c)
{
    return c->alone;
}

bool changes_tracking(const struct changes *c)
{
    return c->tracking;
}

int64_t changes_proved_at(const struct changes *c)
{
    return proofs_at(c->proofs);
}

uint64_t changes_prove(struct changes *c)
{
    return c->hearing ? proofs_ask(c->proofs) : 0;
}

bool changes_has_proved(const struct changes *c, uint64_t number)
{
    return proofs_has(c->proofs, number);
}
