/* What is in memory of another version than Redis is known to have is not given out. */
#include "daemon/base/clock.h"
#include "daemon/documents/cache.h"
#include "daemon/documents/coherence.h"
#include "daemon/documents/stale.h"
#include "daemon/redis/names.h"
#include "protocol/alloc.h"
#include <criterion/criterion.h>
#include <stdlib.h>

static struct config config = {.redis = (char *)"unix:/nowhere",
                               .key_prefix = (char *)"rapyer",
                               .coherence = 1,
                               .coherence_bound = 1000,
                               .reconnect_min = 60000,
                               .reconnect_max = 60000};
static const struct model user = {.name = (char *)"User", .atomic = true};
static struct event_base *base;
static const struct names names = {.prefix = "rapyer"};
static struct router *router;
static struct cache *cache;
static struct coherence *coherence;
static struct doc *doc;

static void nothing(void *arg)
{
    (void)arg;
}

static void setup(void)
{
    static const struct router_callbacks links = {.on_map = nothing};
    static const struct coherence_callbacks calls = {.proved = nothing, .changed = nothing};
    base = event_base_new();
    router = router_new(base, &config, &links, NULL);
    cache = cache_new(1 << 20, 1000);
    coherence = coherence_new(base, &config, "me", &names, router, cache, &calls, NULL);
    doc = cache_doc(cache, &user, "User:a", 6);
    doc->state = DOC_PRESENT;
    doc->version = 7;
}

static void teardown(void)
{
    doc->state = DOC_UNKNOWN;
    coherence_free(coherence);
    cache_free(cache);
    router_free(router);
    event_base_free(base);
}

TestSuite(coherence, .init = setup, .fini = teardown);

static bool current_when_seen(int64_t version)
{
    coherence_seen(coherence, "User:a", 6, version);
    bool current = coherence_current(coherence, doc, clock_boot_ms());
    stale_free(stale_take(doc));
    return current;
}

Test(coherence, a_document_is_good_as_long_as_redis_has_its_version)
{
    cr_assert(current_when_seen(7));
    cr_assert_not(current_when_seen(8));
    cr_assert_not(current_when_seen(6));
    cr_assert_not(current_when_seen(0));
}

Test(coherence, and_so_is_that_there_is_none)
{
    doc->state = DOC_ABSENT;
    cr_assert(current_when_seen(0));
    cr_assert_not(current_when_seen(7));
}

Test(coherence, of_what_is_not_in_memory_there_is_nothing_to_doubt)
{
    coherence_seen(coherence, "User:b", 6, 8);
    doc->state = DOC_UNKNOWN;
    cr_assert(current_when_seen(8));
}
