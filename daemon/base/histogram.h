/* histogram: how often something took how long, in classes each twice as long as the one before.
 * What is added costs a few instructions and no memory. */
#ifndef RAPYERD_HISTOGRAM_H
#define RAPYERD_HISTOGRAM_H

#include <stdint.h>

/* Class i holds what took at most 1024 << i ns (a microsecond, about), and more than the class
 * before; the last one all above 8.6 s. */
#define HISTOGRAM_CLASSES 25

struct histogram {
    uint64_t counts[HISTOGRAM_CLASSES];
    uint64_t sum; /* ns */
};

static inline unsigned histogram_class(uint64_t ns)
{
    unsigned bits = ns <= 1024 ? 0 : 64 - (unsigned)__builtin_clzll((ns - 1) >> 10);
    return bits < HISTOGRAM_CLASSES ? bits : HISTOGRAM_CLASSES - 1;
}

/* ns below 0 counts as 0: two clocks of two processors may differ by so little. */
static inline void histogram_add(struct histogram *h, int64_t ns)
{
    uint64_t took = ns > 0 ? (uint64_t)ns : 0;
    h->counts[histogram_class(took)]++;
    h->sum += took;
}

/* The longest of a class, ns. */
static inline uint64_t histogram_bound(unsigned class)
{
    return (uint64_t)1024 << class;
}

uint64_t histogram_count(const struct histogram *h);
/* At most how long (ns) this part of them (0 to 1) took; 0: there are none. To a class exactly, in
 * between as if they lay evenly. */
uint64_t histogram_part(const struct histogram *h, double part);

#endif
