/* fuzz_message: what becomes of any bytes on the channel of a daemon that holds locks and waits for
 * others. Its Redis cannot be reached, so nothing is sent. Beyond not crashing:
 *   - a message is taken by leases or by probes, or by neither;
 *   - a lock that nobody was told to have lost is still held.
 */
#include "daemon/leases/lease.h"
#include "daemon/leases/probe.h"
#include "tests/fuzz/fuzz.h"

static struct event_base *base;
static struct config config = {.redis = (char *)"unix:/nowhere",
                               .key_prefix = (char *)"rapyer",
                               .lock_lease = 10000,
                               .queue_time = 5000,
                               .command_timeout = 5000,
                               .connect_timeout = 5000,
                               .reconnect_min = 60000,
                               .reconnect_max = 60000};
static const struct names names = {.prefix = "rapyer"};
static struct router *router;
static struct bus *bus;
static struct locks *locks;
static struct leases *leases;
static struct probes *probes;
static unsigned lost;

static void on_want(void *arg, struct lock *l, enum lock_mode mode)
{
    (void)arg;
    leases_want(leases, l, mode);
}

static void on_eased(void *arg, struct lock *l)
{
    (void)arg;
    leases_eased(leases, l);
}

static void on_lost(void *arg, struct hold *h)
{
    (void)arg;
    (void)h;
    lost++;
}

static void on_waiting(void *arg, struct wait *w)
{
    (void)arg;
    probes_waiting(probes, w);
}

static void on_ended(void *arg, struct wait *w)
{
    (void)arg;
    probes_ended(probes, w);
}

static void on_done(void *arg, struct hold *h, const struct fault *f)
{
    (void)arg;
    (void)h;
    (void)f;
}

static void acquire(uint64_t client, const char *key, enum lock_mode mode)
{
    struct lock_who who = {.client = client};
    struct lock_name name = {.key = key, .path = "", .action = "a", .key_len = 1, .action_len = 1};
    struct hold *h;
    struct wait *w;
    struct fault f;
    locks_acquire(locks, locks_owner(locks, &who, "", 0), &name, mode, -1, 3600000, on_done, NULL,
                  &h, &w, &f);
}

static void begin(void)
{
    static const struct locks_limits limits = {.per_client = 100, .turns = 16};
    static const struct locks_callbacks calls = {.want = on_want,
                                                 .eased = on_eased,
                                                 .lost = on_lost,
                                                 .waiting = on_waiting,
                                                 .ended = on_ended};
    static const struct router_callbacks links = {0};
    static const struct bus_callbacks bus_calls = {0};
    static const struct leases_callbacks lease_calls = {0};
    base = event_base_new();
    router = router_new(base, &config, &links, NULL);
    locks = locks_new(base, &limits, &calls, NULL);
    bus = bus_new(base, &config, "me", router, &bus_calls, NULL);
    leases = leases_new(base, &config, "me", router, &names, bus, locks, &lease_calls, NULL);
    probes = probes_new(base, &config, "me", bus, locks);
    for (uint64_t client = 1; client < 8; client++) {
        acquire(client, "k", client < 3 ? LOCK_SHARED : LOCK_EXCLUSIVE);
        acquire(client, client % 2 ? "l" : "m", LOCK_EXCLUSIVE);
    }
    for (struct lock *l = locks_first(locks); l != NULL; l = l->hh.next)
        if (*lock_key(l) != 'm') {
            l->until = 0;
            lock_cover(l, LOCK_EXCLUSIVE, 1);
        }
}

static unsigned held(void)
{
    unsigned n = 0;
    for (struct lock *l = locks_first(locks); l != NULL; l = l->hh.next)
        n += l->nholds;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (base == NULL)
        begin();
    unsigned before = held();
    bool taken = leases_message(leases, data, size);
    require(!taken || !probes_message(probes, data, size));
    if (!taken)
        (void)probes_message(probes, data, size);
    event_base_loop(base, EVLOOP_NONBLOCK);
    require(held() + lost >= before);
    return 0;
}
