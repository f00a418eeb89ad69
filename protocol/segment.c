/* segment: see segment.h.
 *
 * The writer makes a sequence odd, and only then (release fence) writes what it guards; it makes it
 * even, with release, when all of it is there. The reader loads the sequence with acquire, then
 * what it guards, and only then (acquire fence) the sequence again. If any byte that it has loaded
 * was written later than that, the second load sees the odd sequence or one after it.
 *
 * The bytes themselves are copied by memcpy, as every sequence lock does it: C11 has no word for a
 * copy that may race and is thrown away then, and atomic loads word by word cost ten times as much.
 * The fences keep the compiler from looking at the source again.
 */
#include "protocol/segment.h"
#include "protocol/cursor.h"
#include <stdatomic.h>
#include <string.h>

/* Tests that look for torn reads stop here, and have the bytes copied in pieces. */
#ifndef SEGMENT_STALL
#define SEGMENT_STALL()
#define copy_bytes memcpy
#else
static void copy_bytes(void *to, const void *from, size_t n)
{
    for (size_t at = 0; at < n; at += 64) {
        memcpy((uint8_t *)to + at, (const uint8_t *)from + at, n - at < 64 ? n - at : 64);
        SEGMENT_STALL();
    }
}
#endif

#define INDEX_AT ((size_t)4096)
#define FLAG_COMPLETE 1u

struct head {
    uint32_t magic, layout;
    uint64_t size, boot, seed;
    uint32_t buckets, unused[7];
    _Atomic uint32_t owner; /* a line of its own from here */
    uint32_t unused_too;
    _Atomic uint64_t generation, until;
    uint64_t unused_line[5];
    _Atomic uint64_t turn;
};

struct slot {
    _Atomic uint64_t sequence;
    _Atomic uint32_t key_len, pairs, items, len;
    _Atomic uint64_t generation;
    _Atomic int64_t expires;
    _Atomic uint64_t stamp;
    _Atomic uint32_t flags;
    uint32_t unused[3];
};

/* Of a pair of the map: the hash of its name, and below that where it begins. */
typedef _Atomic uint64_t pair;

/* What is looked at one by one: loaded once, whatever the compiler thinks of it. */
#define load(p) atomic_load_explicit(p, memory_order_relaxed)
#define store(p, v) atomic_store_explicit(p, v, memory_order_relaxed)

_Static_assert(offsetof(struct head, owner) == SEGMENT_OWNER_AT, "the kernel writes there");
_Static_assert(offsetof(struct head, turn) == 128 && sizeof(struct head) <= INDEX_AT, "lines");
_Static_assert(sizeof(struct slot) == SEGMENT_UNIT, "a slot's head is one line");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "processes cannot share a lock");

static struct head *head_of(const struct segment *s)
{
    return (struct head *)s->memory;
}

static struct slot *slot_at(const struct segment *s, size_t slot)
{
    return (struct slot *)(s->memory + slot);
}

static _Atomic uint64_t *word_of(const struct segment *s, uint64_t hash, unsigned way)
{
    size_t bucket = (size_t)hash & (s->buckets - 1);

    return (_Atomic uint64_t *)(s->memory + INDEX_AT) + bucket * SEGMENT_WAYS + way;
}

static uint64_t word(uint64_t hash, size_t slot)
{
    return (hash >> 32 << 32) | slot / SEGMENT_UNIT;
}

static size_t word_slot(uint64_t word)
{
    return (size_t)(uint32_t)word * SEGMENT_UNIT;
}

static inline uint64_t mix(uint64_t hash, uint64_t part)
{
    hash = (hash ^ part) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

uint64_t segment_hash(const struct segment *s, const char *text, size_t len)
{
    uint64_t hash = s->seed ^ len, part;

    for (; len >= sizeof part; text += sizeof part, len -= sizeof part) {
        memcpy(&part, text, sizeof part);
        hash = mix(hash, part);
    }
    part = 0;
    memcpy(&part, text, len);
    return mix(mix(hash, part), 0); /* the last letters reach all bits with the second */
}

size_t segment_slots_at(uint32_t buckets)
{
    return INDEX_AT + (size_t)buckets * SEGMENT_WAYS * sizeof(uint64_t);
}

/* ---- the writer ---- */

void segment_init(struct segment *s, void *memory, size_t size, uint32_t buckets, uint64_t seed,
                  uint64_t boot)
{
    struct head *head = memory;

    *s = (struct segment){.memory = memory, .size = size, .buckets = buckets, .seed = seed};
    head->magic = SEGMENT_MAGIC;
    head->layout = SEGMENT_LAYOUT;
    head->size = size;
    head->boot = boot;
    head->seed = seed;
    head->buckets = buckets;
}

void segment_close(struct segment *s)
{
    segment_allow(s, 0);
    atomic_store_explicit(&head_of(s)->owner, 0, memory_order_release);
}

void segment_allow(struct segment *s, uint64_t generation)
{
    atomic_store_explicit(&head_of(s)->generation, generation, memory_order_release);
}

void segment_beat(struct segment *s, uint64_t until)
{
    atomic_store_explicit(&head_of(s)->until, until, memory_order_release);
}

static void add(_Atomic uint64_t *count)
{
    atomic_store_explicit(count, load(count) + 1, memory_order_release);
}

void segment_turn_begin(struct segment *s)
{
    add(&head_of(s)->turn);
    atomic_thread_fence(memory_order_release);
}

void segment_turn_end(struct segment *s)
{
    add(&head_of(s)->turn);
}

static size_t key_room(size_t len)
{
    return (len + 7) & ~(size_t)7;
}

size_t segment_need(const struct segment_record *r)
{
    return sizeof(struct slot) + r->pairs * sizeof(pair) + key_room(r->key_len) + r->len;
}

bool segment_vacant(const struct segment *s, size_t slot)
{
    uint64_t sequence = load(&slot_at(s, slot)->sequence);

    return sequence == 0 || (sequence & 1);
}

void segment_withdraw(struct segment *s, size_t slot)
{
    if (!segment_vacant(s, slot))
        add(&slot_at(s, slot)->sequence);
}

/* The names of the map and where their pairs begin; those are strs, as the writer made them. */
static void put_pairs(struct segment *s, pair *all, const struct segment_record *r)
{
    struct cursor in = cursor_of(r->value, r->len);
    const char *name = "";
    size_t len = 0;
    uint32_t pairs;

    cursor_map(&in, &pairs);
    for (uint32_t i = 0; i < r->pairs; i++) {
        uint64_t at = (uint64_t)(in.at - r->value);
        cursor_str(&in, &name, &len);
        cursor_skip(&in);
        store(&all[i], segment_hash(s, name, len) << 32 | at);
    }
}

void segment_put(struct segment *s, size_t at, const struct segment_record *r)
{
    struct slot *slot = slot_at(s, at);
    pair *pairs = (pair *)(slot + 1);
    uint8_t *key = (uint8_t *)(pairs + r->pairs);
    uint64_t sequence = load(&slot->sequence) | 1;

    store(&slot->sequence, sequence);
    atomic_thread_fence(memory_order_release);
    SEGMENT_STALL();
    store(&slot->key_len, (uint32_t)r->key_len);
    store(&slot->pairs, r->pairs);
    store(&slot->items, r->items);
    store(&slot->len, (uint32_t)r->len);
    store(&slot->generation, r->generation);
    store(&slot->expires, r->expires);
    store(&slot->stamp, r->stamp);
    store(&slot->flags, r->complete ? FLAG_COMPLETE : 0);
    SEGMENT_STALL();
    put_pairs(s, pairs, r);
    copy_bytes(key, r->key, r->key_len);
    copy_bytes(key + key_room(r->key_len), r->value, r->len);
    SEGMENT_STALL();
    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_release);
}

void segment_list(struct segment *s, uint64_t hash, unsigned way, size_t slot)
{
    atomic_store_explicit(word_of(s, hash, way), word(hash, slot), memory_order_release);
}

void segment_unlist(struct segment *s, uint64_t hash, unsigned way)
{
    atomic_store_explicit(word_of(s, hash, way), 0, memory_order_release);
}

size_t segment_listed(const struct segment *s, uint64_t hash, unsigned way)
{
    return word_slot(load(word_of(s, hash, way)));
}

/* ---- a reader ---- */

int segment_join(struct segment *s, const void *memory, size_t size)
{
    const struct head *head = memory;

    if (size < INDEX_AT || head->magic != SEGMENT_MAGIC || head->layout != SEGMENT_LAYOUT)
        return -1;
    *s = (struct segment){
        .memory = (uint8_t *)(uintptr_t)memory,
        .size = head->size,
        .buckets = head->buckets,
        .seed = head->seed,
    };
    bool power = s->buckets > 0 && (s->buckets & (s->buckets - 1)) == 0;
    return power && s->size <= size && segment_slots_at(s->buckets) <= s->size ? 0 : -1;
}

uint64_t segment_readable(const struct segment *s, uint64_t now, bool *gone)
{
    const struct head *head = head_of(s);
    uint32_t owner = atomic_load_explicit(&head->owner, memory_order_acquire);
    uint64_t generation = atomic_load_explicit(&head->generation, memory_order_acquire);
    uint64_t until = atomic_load_explicit(&head->until, memory_order_acquire);
    bool dead = owner == 0 || (owner & SEGMENT_OWNER_DIED);

    if (gone)
        *gone = dead;
    return dead || now >= until ? 0 : generation;
}

static bool view(const struct segment *s, size_t at, const char *key, size_t key_len,
                 struct segment_view *v)
{
    const struct slot *slot = slot_at(s, at);

    *v = (struct segment_view){.slot = at};
    v->sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    SEGMENT_STALL();
    if (v->sequence == 0 || (v->sequence & 1) || load(&slot->key_len) != key_len)
        return false;
    v->pairs = load(&slot->pairs);
    v->items = load(&slot->items);
    v->len = load(&slot->len);
    v->generation = load(&slot->generation);
    v->expires = load(&slot->expires);
    v->stamp = load(&slot->stamp);
    v->complete = load(&slot->flags) & FLAG_COMPLETE;
    SEGMENT_STALL();
    uint64_t key_at = at + sizeof *slot + (uint64_t)v->pairs * sizeof(pair);
    uint64_t value = key_at + key_room(key_len);
    if (value > s->size || v->len > s->size - value || v->items > v->len)
        return false;
    v->value = (size_t)value;
    return memcmp(s->memory + key_at, key, key_len) == 0;
}

bool segment_find(const struct segment *s, const char *key, size_t len, struct segment_view *v)
{
    uint64_t hash = segment_hash(s, key, len);

    if (len > s->size)
        return false;
    for (unsigned way = 0; way < SEGMENT_WAYS; way++) {
        uint64_t found = atomic_load_explicit(word_of(s, hash, way), memory_order_acquire);
        size_t slot = word_slot(found);
        if (found == 0 || found >> 32 != hash >> 32 || slot < segment_slots_at(s->buckets) ||
            slot > s->size - sizeof(struct slot))
            continue;
        SEGMENT_STALL();
        if (view(s, slot, key, len, v))
            return true;
    }
    return false;
}

static bool unchanged(const struct segment *s, const struct segment_view *v)
{
    SEGMENT_STALL();
    atomic_thread_fence(memory_order_acquire);
    return load(&slot_at(s, v->slot)->sequence) == v->sequence;
}

bool segment_copy(const struct segment *s, const struct segment_view *v, size_t from, size_t n,
                  void *to)
{
    copy_bytes(to, s->memory + v->value + from, n);
    return unchanged(s, v);
}

bool segment_pair(const struct segment *s, const struct segment_view *v, const char *name,
                  size_t len, size_t *from, size_t *n)
{
    const pair *pairs = (const pair *)(slot_at(s, v->slot) + 1);
    uint32_t hash = (uint32_t)segment_hash(s, name, len);

    for (uint32_t i = 0; i < v->pairs; i++) {
        uint64_t this = load(&pairs[i]);
        if (this >> 32 != hash)
            continue;
        uint32_t at = (uint32_t)this,
                 end = i + 1 < v->pairs ? (uint32_t)load(&pairs[i + 1]) : v->len;
        *from = at;
        *n = end - at;
        return at < end && end <= v->len;
    }
    return false;
}

uint64_t segment_turn(const struct segment *s)
{
    return atomic_load_explicit(&head_of(s)->turn, memory_order_acquire);
}

bool segment_turn_is(const struct segment *s, uint64_t turn)
{
    atomic_thread_fence(memory_order_acquire);
    return load(&head_of(s)->turn) == turn;
}
