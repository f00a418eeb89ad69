/* segment: documents in memory that one process writes and many read, without a word between them.
 *
 *   | head | index: buckets of 8 words | slots: a record each, or nothing |
 *
 * PROTOCOL.md has the layout. A record has a sequence that is odd while there is nothing to be read
 * and never goes back, so who copies it and finds the same even sequence before and after has one
 * state of it, whole. A slot stays where it is for as long as the memory lives: what was once a
 * sequence is never payload. A word of the index says where a key's record may be; it is a hint,
 * the record has the key.
 *
 * No I/O, no allocation. What a reader takes from the memory is checked before it is used, and
 * looked at once: whatever is in there, nothing is read outside of it. One writer, one thread.
 */
#ifndef RAPYER_PROTOCOL_SEGMENT_H
#define RAPYER_PROTOCOL_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_MAGIC 0x474d4553u
#define SEGMENT_LAYOUT 1u
#define SEGMENT_OWNER_AT ((size_t)64)
#define SEGMENT_OWNER_DIED 0x40000000u /* FUTEX_OWNER_DIED */
#define SEGMENT_WAYS 8u                /* words of a bucket */
#define SEGMENT_UNIT ((size_t)64)      /* slots begin at multiples of it */

struct segment {
    uint8_t *memory; /* readers have it read-only */
    size_t size;
    uint32_t buckets;
    uint64_t seed;
};

/* ---- both ---- */

uint64_t segment_hash(const struct segment *s, const char *text, size_t len);
/* Where slots may begin. */
size_t segment_slots_at(uint32_t buckets);

/* ---- the writer ---- */

/* Writes the head into memory that is zero: nobody owns it yet, nothing may be read. buckets: a
 * power of two. */
void segment_init(struct segment *s, void *memory, size_t size, uint32_t buckets, uint64_t seed,
                  uint64_t boot);
/* Nothing is to be read in it any more, for ever. */
void segment_close(struct segment *s);
/* Records of this generation may be read, until this time on CLOCK_BOOTTIME in nanoseconds. 0: none
 * may. */
void segment_allow(struct segment *s, uint64_t generation);
void segment_beat(struct segment *s, uint64_t until);
/* Around the changes of what belongs together: who reads several records sees all or none. */
void segment_turn_begin(struct segment *s);
void segment_turn_end(struct segment *s);

struct segment_record {
    const char *key;
    size_t key_len;
    const uint8_t *value; /* a map, as doc.get {version: true} answers it */
    size_t len;
    uint32_t pairs, items; /* of that map; in all of it, as cursor_count says */
    uint64_t generation;
    uint64_t stamp;  /* leases that had come when it was last known to be what Redis holds */
    int64_t expires; /* unix milliseconds; 0: never */
    bool complete;   /* no field was left out of it */
};

/* Bytes of a slot that can take it. */
size_t segment_need(const struct segment_record *r);
/* Whether nothing was ever in a slot that begins there, or nothing is now. */
bool segment_vacant(const struct segment *s, size_t slot);
/* Into a slot of at least segment_need bytes. */
void segment_put(struct segment *s, size_t slot, const struct segment_record *r);
/* It cannot be read any more from here on. */
void segment_withdraw(struct segment *s, size_t slot);

/* The words of the bucket for a hash, and what stands in them: 0, or where the slot is. */
void segment_list(struct segment *s, uint64_t hash, unsigned way, size_t slot);
void segment_unlist(struct segment *s, uint64_t hash, unsigned way);
size_t segment_listed(const struct segment *s, uint64_t hash, unsigned way);

/* ---- a reader ---- */

/* -1: that is no segment, or one of another layout, or shorter than it says. */
int segment_join(struct segment *s, const void *memory, size_t size);

/* What may be read now, on CLOCK_BOOTTIME; 0: nothing. Before segment_find. *gone (may be NULL):
 * nor ever again, as the writer has closed it or died. */
uint64_t segment_readable(const struct segment *s, uint64_t now, bool *gone);

/* A record as it was found: a guess, until segment_copy has said that it was true. */
struct segment_view {
    size_t slot, value; /* where the record and its value begin */
    uint64_t sequence;
    uint64_t generation, stamp;
    int64_t expires;
    uint32_t pairs, items, len; /* items <= len */
    bool complete;
};

/* Whether there is a record of this key. */
bool segment_find(const struct segment *s, const char *key, size_t len, struct segment_view *v);
/* Copies the bytes [from, from + n) of the value, which are inside of it. False: the record has
 * changed since it was found, nothing of that was true. */
bool segment_copy(const struct segment *s, const struct segment_view *v, size_t from, size_t n,
                  void *to);
/* Where in the value the pair of this name may be. False: there is none. */
bool segment_pair(const struct segment *s, const struct segment_view *v, const char *name,
                  size_t len, size_t *from, size_t *n);
/* Reading several: the turn before the first, to be compared with that after the last copy. Odd: it
 * is somebody's turn. */
uint64_t segment_turn(const struct segment *s);
bool segment_turn_is(const struct segment *s, uint64_t turn);

#endif
