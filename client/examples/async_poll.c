/* async_poll: a thousand increments under way at once, driven by plain poll(). */
#include "example.h"
#include <errno.h>
#include <poll.h>

#define N 1000

static const rapyer_model Counter = RAPYER_ATOMIC("Counter", RAPYER_FIELD("n", "int", "0"));

struct tally {
    int answers;
    bool seen[N + 1];
};

/* Each increment answers with another number, and none comes twice. */
static void counted(rapyer *db, const rapyer_value *result, void *user)
{
    struct tally *tally = user;
    int64_t n = rapyer_int(result, "", 0);
    (void)db;
    EXPECT(result != NULL && n >= 1 && n <= N && !tally->seen[n]);
    if (n >= 1 && n <= N)
        tally->seen[n] = true;
    tally->answers++;
}

int main(void)
{
    struct tally tally = {0};
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &Counter);
    rapyer_auto_doc *counter = rapyer_new(db, "Counter:poll", "{}");
    rapyer_save(counter);

    for (int i = 0; i < N; i++)
        EXPECT(rapyer_send_op(counter, counted, &tally, "num.incr", "n", "1") == 0);
    EXPECT(tally.answers == 0 && rapyer_pending(db) == N);

    while (rapyer_pending(db) > 0) {
        struct pollfd p = {.fd = rapyer_fd(db), .events = rapyer_events(db)};
        int ready = poll(&p, 1, rapyer_timeout_ms(db));
        if (ready < 0 && errno != EINTR)
            return 1;
        if (rapyer_process(db, ready > 0 ? p.revents : 0) < 0)
            break; /* the connection is lost; every callback was told */
    }

    EXPECT(tally.answers == N);
    REDIS_IS("1000", "HGET rapyer:{Counter:poll} n");
    return example_end(db);
}
