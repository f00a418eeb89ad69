/* random_value: MessagePack values of all kinds, in all encodings, from a seed. For tests. */
#ifndef RAPYER_TESTS_RANDOM_VALUE_H
#define RAPYER_TESTS_RANDOM_VALUE_H

#include "protocol/buf.h"

static inline uint64_t random_next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline void random_bytes(struct buf *b, uint64_t *state, size_t n)
{
    while (n-- > 0)
        buf_append(b, &(uint8_t){(uint8_t)random_next(state)}, 1);
}

static inline void random_sized(struct buf *b, uint8_t head, unsigned width, size_t n)
{
    buf_append(b, &head, 1);
    while (width-- > 0)
        buf_append(b, &(uint8_t){(uint8_t)(n >> (8 * width))}, 1);
}

/* One value; a head for a big length may carry a small one: encodings need not be shortest. */
static inline void random_value(struct buf *b, uint64_t *state, unsigned depth)
{
    static const uint8_t body[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17}; /* ca .. d8 */
    static const uint8_t width[] = {1, 2, 4, 1, 2, 4};                            /* c4, d9 .. */
    uint8_t head = (uint8_t)random_next(state);
    size_t n = random_next(state) % 6, items = 0;

    if (head == 0xc1)
        head = 0xc0;
    if (depth == 0 && ((head >= 0x80 && head < 0xa0) || head >= 0xdc))
        head &= 0x7f;
    if (head < 0x80 || head >= 0xe0 || head == 0xc0 || head == 0xc2 || head == 0xc3) {
        buf_append(b, &head, 1);
    } else if (head < 0xa0) {
        head = (uint8_t)((head & 0xf0) | n);
        buf_append(b, &head, 1);
        items = head < 0x90 ? 2 * n : n;
    } else if (head < 0xc0) {
        buf_append(b, &head, 1);
        random_bytes(b, state, head & 0x1f);
    } else if (head <= 0xc9) {
        random_sized(b, head, width[head - 0xc4], n * 7);
        random_bytes(b, state, n * 7 + (head >= 0xc7));
    } else if (head <= 0xd8) {
        buf_append(b, &head, 1);
        random_bytes(b, state, body[head - 0xca]);
    } else if (head <= 0xdb) {
        random_sized(b, head, width[head - 0xd9], n * 9);
        random_bytes(b, state, n * 9);
    } else {
        random_sized(b, head, head & 1 ? 4 : 2, n);
        items = head >= 0xde ? 2 * n : n;
    }
    while (items-- > 0)
        random_value(b, state, depth - 1);
}

#endif
