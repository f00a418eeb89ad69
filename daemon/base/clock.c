/* clock: see clock.h. */
#include "daemon/base/clock.h"
#include <time.h>

static struct timespec read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t); /* cannot fail: the kernel has all that are asked for here */
    return t;
}

static int64_t ms(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t us(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_ms(void)
{
    return ms(read_clock(CLOCK_MONOTONIC_COARSE));
}

int64_t clock_mono_us(void)
{
    return us(read_clock(CLOCK_MONOTONIC));
}

int64_t clock_boot_ms(void)
{
    return ms(read_clock(CLOCK_BOOTTIME));
}

int64_t clock_boot_ns(void)
{
    struct timespec t = read_clock(CLOCK_BOOTTIME);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    return ms(read_clock(CLOCK_REALTIME));
}

int64_t clock_wall_us(void)
{
    return us(read_clock(CLOCK_REALTIME));
}

static int64_t said, mono; /* clock_new_us: the last one, and clock_mono_us() then */

void clock_new_from(int64_t us)
{
    said = us > said ? us : said;
    mono = clock_mono_us();
}

int64_t clock_new_us(void)
{
    int64_t wall = clock_wall_us(), now = clock_mono_us();
    int64_t next = said + (now > mono ? now - mono : 1);
    said = wall > next ? wall : next;
    mono = now;
    return said;
}
