/* segment: what was put is found, what is torn is not taken, and whatever the memory holds nothing
 * is read outside of it. The code under test is compiled in here, with places where it stops. */
#include <stdint.h>

static void stall(void);
#define SEGMENT_STALL() stall()
#include "protocol/segment.c"

#include "protocol/buf.h"
#include "random_value.h"
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 64u
#define SLOT 1024u
#define SLOTS 16u

/* How often a process stands still in the middle of something; 0: never. */
static unsigned stalls;
static uint64_t stall_seed;

static void stall(void)
{
    if (stalls == 0 || random_next(&stall_seed) % stalls != 0)
        return;
    if (random_next(&stall_seed) % 8 == 0)
        sched_yield();
    for (volatile unsigned i = (unsigned)(random_next(&stall_seed) % 2000); i > 0; i--)
        continue;
}

static size_t memory_size(void)
{
    return segment_slots_at(BUCKETS) + (size_t)SLOTS * SLOT;
}

static size_t slot_of(unsigned i)
{
    return segment_slots_at(BUCKETS) + (size_t)i * SLOT;
}

static void make(struct segment *w, struct segment *r, void *memory)
{
    segment_init(w, memory, memory_size(), BUCKETS, 0x1234567890abcdefu, 1);
    cr_assert_eq(segment_join(r, memory, memory_size()), 0);
}

/* {"n": n, "text": n times a letter, "sum": of the letters} of a key */
static void pack_document(struct buf *b, uint64_t n, size_t len)
{
    uint64_t sum = 0;

    buf_clear(b);
    pack_map(b, 3);
    pack_cstr(b, "n");
    pack_uint(b, n);
    pack_cstr(b, "text");
    char text[SLOT];
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)('a' + (n + i) % 26);
        sum += (uint8_t)text[i];
    }
    pack_str(b, text, len);
    pack_cstr(b, "sum");
    pack_uint(b, sum + n);
}

static struct segment_record record_of(const char *key, const struct buf *b)
{
    struct cursor in = cursor_of(b->data, b->len);
    struct segment_record r = {.key = key,
                               .key_len = strlen(key),
                               .value = b->data,
                               .len = b->len,
                               .items = (uint32_t)cursor_count(in),
                               .generation = 1};

    cursor_map(&in, &r.pairs);
    return r;
}

static void put(struct segment *w, const char *key, unsigned slot, const struct buf *b)
{
    struct segment_record r = record_of(key, b);

    cr_assert_leq(segment_need(&r), SLOT);
    segment_put(w, slot_of(slot), &r);
    segment_list(w, segment_hash(w, key, strlen(key)), slot % SEGMENT_WAYS, slot_of(slot));
}

Test(segment, what_was_put_is_found)
{
    void *memory = calloc(1, memory_size());
    struct segment w, r;
    struct segment_view v;
    struct buf b = BUF_INIT;
    uint8_t copy[SLOT];

    make(&w, &r, memory);
    cr_expect_not(segment_find(&r, "User:1", 6, &v));
    pack_document(&b, 7, 300);
    put(&w, "User:1", 3, &b);
    cr_assert(segment_find(&r, "User:1", 6, &v));
    cr_expect_eq(v.len, b.len);
    cr_expect_eq(v.items, 7);
    cr_expect_eq(v.pairs, 3);
    cr_assert(segment_copy(&r, &v, 0, v.len, copy));
    cr_expect_eq(memcmp(copy, b.data, b.len), 0);
    cr_expect_not(segment_find(&r, "User:2", 6, &v));
    cr_expect_not(segment_find(&r, "User:", 5, &v));
    free(memory);
    buf_free(&b);
}

Test(segment, a_pair_is_found_by_its_name)
{
    void *memory = calloc(1, memory_size());
    struct segment w, r;
    struct segment_view v;
    struct buf b = BUF_INIT;
    uint8_t copy[SLOT];
    size_t from, n, len;
    const char *name;
    int64_t value;

    make(&w, &r, memory);
    pack_document(&b, 7, 300);
    put(&w, "User:1", 3, &b);
    cr_assert(segment_find(&r, "User:1", 6, &v));
    cr_expect_not(segment_pair(&r, &v, "m", 1, &from, &n));
    cr_assert(segment_pair(&r, &v, "n", 1, &from, &n));
    cr_assert(segment_copy(&r, &v, from, n, copy));
    struct cursor in = cursor_of(copy, n);
    cr_expect(cursor_str(&in, &name, &len) == 0 && len == 1 && name[0] == 'n');
    cr_expect(cursor_int(&in, &value) == 0 && value == 7 && cursor_done(&in));
    cr_assert(segment_pair(&r, &v, "sum", 3, &from, &n));
    cr_expect_eq(from + n, b.len);
    free(memory);
    buf_free(&b);
}

Test(segment, what_was_withdrawn_is_not_there_even_for_who_had_found_it)
{
    void *memory = calloc(1, memory_size());
    struct segment w, r;
    struct segment_view v, old;
    struct buf b = BUF_INIT;
    uint8_t copy[SLOT];

    make(&w, &r, memory);
    pack_document(&b, 7, 10);
    cr_expect(segment_vacant(&w, slot_of(3)));
    put(&w, "User:1", 3, &b);
    cr_expect_not(segment_vacant(&w, slot_of(3)));
    cr_assert(segment_find(&r, "User:1", 6, &old));
    segment_withdraw(&w, slot_of(3));
    segment_withdraw(&w, slot_of(3));
    cr_expect(segment_vacant(&w, slot_of(3)));
    cr_expect_not(segment_copy(&r, &old, 0, old.len, copy));
    cr_expect_not(segment_find(&r, "User:1", 6, &v));
    put(&w, "User:1", 3, &b); /* the same again is another one */
    cr_expect_not(segment_copy(&r, &old, 0, old.len, copy));
    cr_assert(segment_find(&r, "User:1", 6, &v));
    cr_expect(segment_copy(&r, &v, 0, v.len, copy));
    free(memory);
    buf_free(&b);
}

Test(segment, what_is_not_allowed_is_not_readable)
{
    void *memory = calloc(1, memory_size());
    struct segment w, r;
    bool gone;
    _Atomic uint32_t *owner = (_Atomic uint32_t *)((uint8_t *)memory + SEGMENT_OWNER_AT);

    make(&w, &r, memory);
    segment_allow(&w, 5);
    segment_beat(&w, 1000);
    cr_expect_eq(segment_readable(&r, 999, &gone), 0, "nobody owns it");
    cr_expect(gone);
    *owner = 4711;
    cr_expect_eq(segment_readable(&r, 999, &gone), 5);
    cr_expect_not(gone);
    cr_expect_eq(segment_readable(&r, 1000, &gone), 0);
    cr_expect_not(gone);
    *owner = 4711 | SEGMENT_OWNER_DIED;
    cr_expect_eq(segment_readable(&r, 999, &gone), 0);
    cr_expect(gone);
    *owner = 4711;
    segment_allow(&w, 0);
    cr_expect_eq(segment_readable(&r, 999, &gone), 0);
    cr_expect_not(gone);
    segment_allow(&w, 6);
    segment_close(&w);
    cr_expect_eq(segment_readable(&r, 999, &gone), 0);
    cr_expect(gone);
    free(memory);
}

Test(segment, a_turn_is_seen_by_who_reads_several)
{
    void *memory = calloc(1, memory_size());
    struct segment w, r;

    make(&w, &r, memory);
    uint64_t turn = segment_turn(&r);
    cr_expect_eq(turn % 2, 0);
    cr_expect(segment_turn_is(&r, turn));
    segment_turn_begin(&w);
    cr_expect_eq(segment_turn(&r) % 2, 1);
    cr_expect_not(segment_turn_is(&r, turn));
    segment_turn_end(&w);
    cr_expect_not(segment_turn_is(&r, turn));
    free(memory);
}

/* ---- hostile ---- */

static void read_all(const struct segment *r)
{
    static const char *const keys[] = {"User:1", "User:2", "", "a key that is longer than a word"};
    static const char *const names[] = {"n", "text", "sum", ""};
    struct segment_view v;
    size_t from, n;

    for (unsigned i = 0; i < 4; i++) {
        if (!segment_find(r, keys[i], strlen(keys[i]), &v))
            continue;
        uint8_t *copy = malloc(v.len + 1);
        segment_copy(r, &v, 0, v.len, copy);
        cr_assert_leq(v.items, v.len);
        for (unsigned j = 0; j < 4; j++) {
            if (segment_pair(r, &v, names[j], strlen(names[j]), &from, &n))
                segment_copy(r, &v, from, n, copy);
        }
        free(copy);
    }
}

/* Numbers that lie, at every place where one stands, in memory of exactly that size. */
Test(segment, nothing_is_read_outside_whatever_it_holds)
{
    uint64_t seed = 11;
    struct buf b = BUF_INIT;

    for (unsigned round = 0; round < 30000; round++) {
        size_t size = memory_size();
        uint8_t *memory = calloc(1, size);
        struct segment w, r;
        make(&w, &r, memory);
        pack_document(&b, round, random_next(&seed) % 700);
        put(&w, "User:1", SLOTS - 1, &b);
        put(&w, "User:2", 0, &b);
        for (unsigned lies = 1 + random_next(&seed) % 4; lies > 0; lies--) {
            uint64_t hash = segment_hash(&w, "User:1", 6), lie = random_next(&seed);
            size_t places[] = {slot_of(SLOTS - 1), slot_of(0),
                               (size_t)((uint8_t *)word_of(&w, hash, 0) - memory)};
            size_t at = places[random_next(&seed) % 3] + random_next(&seed) % 28 * 4;
            unsigned width = 1u << random_next(&seed) % 4;
            if (random_next(&seed) % 4 == 0)
                lie = UINT64_MAX << random_next(&seed) % 32;
            if (at + width <= size)
                memcpy(memory + at, &lie, width);
        }
        read_all(&r);
        free(memory);
    }
    buf_free(&b);
}

Test(segment, a_head_that_lies_is_refused)
{
    uint8_t *memory = calloc(1, memory_size());
    struct segment w, r;

    make(&w, &r, memory);
    struct head *head = (struct head *)memory, good = *head;
    cr_expect_eq(segment_join(&r, memory, memory_size() - 1), -1);
    cr_expect_eq(segment_join(&r, memory, 100), -1);
    head->layout++;
    cr_expect_eq(segment_join(&r, memory, memory_size()), -1);
    *head = good;
    head->magic++;
    cr_expect_eq(segment_join(&r, memory, memory_size()), -1);
    *head = good;
    head->buckets = 0;
    cr_expect_eq(segment_join(&r, memory, memory_size()), -1);
    head->buckets = 3;
    cr_expect_eq(segment_join(&r, memory, memory_size()), -1);
    head->buckets = 1u << 31;
    cr_expect_eq(segment_join(&r, memory, memory_size()), -1);
    *head = good;
    cr_expect_eq(segment_join(&r, memory, memory_size()), 0);
    free(memory);
}

/* ---- torn ---- */

struct tally {
    uint64_t reads, accepted, torn, backwards;
};

/* One document whole: its letters, their sum, and a number that never goes back. */
static void check_copy(struct tally *t, const uint8_t *copy, size_t size, uint64_t *last)
{
    struct cursor in = cursor_of(copy, size);
    uint32_t pairs;
    const char *s;
    size_t len;
    int64_t n = 0, sum = 0;

    if (cursor_map(&in, &pairs) < 0 || pairs != 3 || cursor_str(&in, &s, &len) < 0 ||
        cursor_int(&in, &n) < 0 || cursor_str(&in, &s, &len) < 0 || cursor_str(&in, &s, &len) < 0) {
        t->torn++;
        return;
    }
    uint64_t expected = (uint64_t)n;
    for (size_t i = 0; i < len; i++)
        expected += (uint8_t)s[i];
    if (cursor_str(&in, &s, &len) < 0 || cursor_int(&in, &sum) < 0 || !cursor_done(&in) ||
        (uint64_t)sum != expected)
        t->torn++;
    t->backwards += (uint64_t)n < *last;
    *last = (uint64_t)n;
}

static int64_t ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void key_of(char key[16], unsigned i)
{
    snprintf(key, 16, "User:%u", i);
}

#define KEYS 8u

static void read_for(const void *memory, int64_t until, uint64_t seed, struct tally *t)
{
    struct segment r;
    struct segment_view v;
    uint64_t last[KEYS] = {0};
    uint8_t copy[SLOT];
    char key[16];

    stall_seed = seed;
    segment_join(&r, memory, memory_size());
    for (uint64_t i = 0; (i & 1023) != 0 || ms() < until; i++) {
        unsigned which = (unsigned)(random_next(&seed) % KEYS);
        key_of(key, which);
        t->reads++;
        if (!segment_find(&r, key, strlen(key), &v) || !segment_copy(&r, &v, 0, v.len, copy))
            continue;
        t->accepted++;
        check_copy(t, copy, v.len, &last[which]);
    }
}

/* Rewrites documents without a pause, each in any slot that is not another's: slots go from one
 * document to the next at once. */
static void write_for(void *memory, int64_t until)
{
    struct segment w;
    struct buf b = BUF_INIT;
    unsigned slot_of_key[KEYS] = {0}, owner[SLOTS];
    char key[16];
    uint64_t seed = 5;

    memset(owner, 0xff, sizeof owner);
    segment_join(&w, memory, memory_size());
    for (uint64_t n = 1; (n & 255) != 0 || ms() < until; n++) {
        unsigned which = (unsigned)(random_next(&seed) % KEYS), to;
        key_of(key, which);
        uint64_t hash = segment_hash(&w, key, strlen(key));
        pack_document(&b, n, random_next(&seed) % 800);
        if (owner[slot_of_key[which]] == which && random_next(&seed) % 2) {
            to = slot_of_key[which];
        } else {
            if (owner[slot_of_key[which]] == which) {
                segment_withdraw(&w, slot_of(slot_of_key[which]));
                owner[slot_of_key[which]] = UINT32_MAX;
            }
            do
                to = (unsigned)(random_next(&seed) % SLOTS);
            while (owner[to] != UINT32_MAX);
        }
        struct segment_record r = record_of(key, &b);
        segment_put(&w, slot_of(to), &r);
        segment_list(&w, hash, which, slot_of(to));
        owner[to] = which;
        slot_of_key[which] = to;
    }
    buf_free(&b);
}

static void race(unsigned readers, int64_t time, unsigned how_often)
{
    size_t size = memory_size();
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct tally *tallies =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct tally all = {0};
    struct segment w, r;
    int64_t until = ms() + time;

    make(&w, &r, memory);
    stalls = how_often;
    for (unsigned i = 0; i < readers; i++) {
        if (fork() == 0) {
            read_for(memory, until, i + 1, &tallies[i]);
            _exit(0);
        }
    }
    stall_seed = 99;
    write_for(memory, until);
    for (unsigned i = 0; i < readers; i++)
        wait(NULL);
    for (unsigned i = 0; i < readers; i++) {
        all.reads += tallies[i].reads;
        all.accepted += tallies[i].accepted;
        all.torn += tallies[i].torn;
        all.backwards += tallies[i].backwards;
    }
    fprintf(stderr, "%u readers, stalls 1/%u: %llu reads, %llu accepted\n", readers, how_often,
            (unsigned long long)all.reads, (unsigned long long)all.accepted);
    cr_expect_eq(all.torn, 0, "%llu torn", (unsigned long long)all.torn);
    cr_expect_eq(all.backwards, 0, "%llu went back", (unsigned long long)all.backwards);
    cr_expect_gt(all.accepted, 1000);
    munmap(memory, size);
    munmap(tallies, 4096);
}

/* RAPYER_READS_SECONDS: for how long each of the races lasts. */
static int64_t race_ms(void)
{
    const char *seconds = getenv("RAPYER_READS_SECONDS");

    return seconds ? atoll(seconds) * 1000 : 1500;
}

Test(segment, nobody_takes_what_is_torn, .timeout = 0)
{
    race(8, race_ms(), 0);
}

Test(segment, nor_when_either_side_stands_still_in_the_middle, .timeout = 0)
{
    race(8, race_ms(), 16);
    race(2, race_ms(), 4);
}
