/* dice: numbers at random, the same ones on each run (Marsaglia's xorshift, 64 bits). */
#ifndef RAPYER_TEST_DICE_H
#define RAPYER_TEST_DICE_H

#include <stdint.h>

static inline uint32_t dice(uint32_t below)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20) % below;
}

#endif
