/* turn: runs an event loop until something is so, for tests. */
#ifndef RAPYERD_TEST_TURN_H
#define RAPYERD_TEST_TURN_H

#include <criterion/criterion.h>
#include <event2/event.h>
#include <stdbool.h>
#include <time.h>

#define TURN_SECONDS 10

static inline double turn_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline void turn_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

/* One turn that sleeps for 5 ms at most when nothing is to do. */
static inline void turn_once(struct event_base *base)
{
    struct timeval soon = {.tv_usec = 5000};
    struct event *wake = event_new(base, -1, 0, turn_wake, NULL);

    event_add(wake, &soon);
    event_base_loop(base, EVLOOP_ONCE);
    event_free(wake);
}

/* No event is left: nobody on this loop waits for anything. */
static inline bool turn_idle(struct event_base *base)
{
    return event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED) == 0;
}

/* Everything that is ready now is handled, without waiting. */
static inline void turn_settle(struct event_base *base)
{
    for (int i = 0; i < 20; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

#define turn_until(base, condition)                                                     \
    do {                                                                                \
        double turn_end = turn_now() + TURN_SECONDS;                                    \
        while (!(condition)) {                                                          \
            cr_assert(turn_now() < turn_end, "did not happen in time: %s", #condition); \
            turn_once(base);                                                            \
        }                                                                               \
    } while (0)

#endif
