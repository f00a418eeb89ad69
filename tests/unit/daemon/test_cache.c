#include "daemon/base/hash.h"
#include "daemon/documents/cache.h"
#include "tests/unit/model_text.h"

#define VALUE 1000
#define ONE 1500 /* bytes that a document takes, about */

static struct schema *schema;
static const struct model *model;
static struct cache *c;

static void setup(void)
{
    hash_seed = 1;
    schema = schema_new();
    model = define(schema, "{'name': 'M', 'kind': 'atomic', 'fields': ["
                           "{'name': 'v', 'type': 'str'},"
                           "{'name': 'cold', 'type': 'list<str>'},"
                           "{'name': 'hot', 'type': 'list<str>'}]}");
    c = cache_new(tree_memory() + 100 * ONE, 10);
}

static void teardown(void)
{
    cache_free(c);
    schema_free(schema);
}

TestSuite(cache, .init = setup, .fini = teardown);

static struct doc *entry(const char *name, unsigned number)
{
    char key[32];
    int len = snprintf(key, sizeof(key), "M:%s%u", name, number);
    struct doc *d = cache_doc(c, model, key, (size_t)len);
    cache_use(d);
    return d;
}

static void fill(struct doc *d, size_t bytes)
{
    struct weighing before = cache_weigh(c);
    char *text = calloc(1, bytes);
    record_free(d->root);
    d->root = record_new(model);
    d->root->slots[0] = cell_str(text, bytes);
    d->state = DOC_PRESENT;
    free(text);
    cache_weighed(c, before, &d, 1);
}

/* A request for a document that is there; whether it was in memory. */
static bool get(const char *name, unsigned number)
{
    struct doc *d = entry(name, number);
    bool hit = d->state == DOC_PRESENT;
    if (!hit)
        fill(d, VALUE);
    cache_release(c, d);
    cache_trim(c);
    return hit;
}

static void miss(const char *name, unsigned number)
{
    struct doc *d = entry(name, number);
    d->state = DOC_ABSENT;
    cache_release(c, d);
    cache_trim(c);
}

static struct cache_stats stats(void)
{
    struct cache_stats s;
    cache_stats(c, &s);
    return s;
}

Test(cache, a_scan_pushes_out_nothing_that_is_read_again)
{
    for (int again = 0; again < 3; again++)
        for (unsigned i = 0; i < 50; i++)
            get("hot", i);
    for (unsigned i = 0; i < 5000; i++) {
        get("scan", i);
        cr_assert_leq(tree_memory(), stats().limit);
    }
    for (unsigned i = 0; i < 50; i++)
        cr_assert(get("hot", i), "%u", i);
}

Test(cache, what_is_asked_for_again_soon_after_it_went_stays_this_time)
{
    for (unsigned i = 0; i < 200; i++)
        for (int again = 0; again < 2; again++)
            get("hot", i);
    get("late", 0);
    unsigned at = 0;
    for (; cache_find(c, "M:late0", 7) != NULL; at++)
        get("scan", at);
    cr_assert_not(get("late", 0));
    for (unsigned end = at + 50; at < end; at++)
        get("scan", at);
    cr_assert(get("late", 0));
}

Test(cache, absent_documents_are_bounded_and_push_out_nothing)
{
    for (unsigned i = 0; i < 60; i++)
        get("real", i);
    for (unsigned i = 0; i < 10000; i++)
        miss("none", i);
    cr_assert_eq(stats().absent, 10);
    cr_assert_eq(cache_find(c, "M:none9990", 10)->state, DOC_ABSENT);
    cr_assert_null(cache_find(c, "M:none9989", 10));
    for (unsigned i = 0; i < 60; i++)
        cr_assert(get("real", i), "%u", i);
}

Test(cache, an_absent_document_that_comes_to_be_is_one_like_others)
{
    miss("new", 1);
    fill(entry("new", 1), VALUE);
    cache_release(c, entry("new", 1));
    cr_assert_eq(stats().absent, 0);
    for (unsigned i = 0; i < 20; i++)
        miss("none", i);
    cr_assert(get("new", 1));
}

Test(cache, none_are_remembered_where_none_shall_be)
{
    cache_bound(c, stats().limit, 0);
    miss("none", 1);
    cr_assert_eq(stats().documents, 0);
}

Test(cache, what_is_larger_than_half_of_it_goes_first)
{
    for (int again = 0; again < 2; again++)
        for (unsigned i = 0; i < 80; i++)
            get("real", i);
    struct doc *d = entry("big", 0);
    d->loading = true; /* it is served: nothing is pushed out for it meanwhile, */
    fill(d, 200 * ONE);
    cache_trim(c);
    cr_assert_eq(stats().documents, 81);
    d->loading = false; /* nor later */
    cache_release(c, d);
    cache_trim(c);
    cr_assert_eq(stats().documents, 80);
    cr_assert_null(cache_find(c, "M:big0", 6));
}

Test(cache, what_is_larger_than_half_stays_while_there_is_room)
{
    struct doc *d = entry("big", 0);
    fill(d, 60 * ONE);
    cache_release(c, d);
    for (unsigned i = 0; i < 20; i++)
        get("real", i);
    cr_assert_eq(stats().documents, 21);
    for (unsigned i = 20; i < 60; i++)
        get("real", i);
    cr_assert_eq(stats().documents, 60);
}

Test(cache, what_is_used_or_dirty_stays)
{
    struct doc *pinned = entry("pinned", 0), *dirty = entry("dirty", 0);
    fill(pinned, VALUE);
    fill(dirty, VALUE);
    pinned->pins = 1;
    dirty->batch = (struct batch *)dirty; /* any */
    for (unsigned i = 0; i < 1000; i++)
        get("scan", i);
    cr_assert_eq(cache_find(c, "M:pinned0", 9), pinned);
    cr_assert_eq(cache_find(c, "M:dirty0", 8), dirty);
    cr_assert_leq(tree_memory(), stats().limit);
}

Test(cache, containers_that_nobody_looks_at_go_before_the_document)
{
    struct doc *d = entry("doc", 0);
    fill(d, VALUE);
    for (unsigned slot = 1; slot < 3; slot++) {
        struct weighing before = cache_weigh(c);
        for (int i = 0; i < 20; i++)
            list_insert(d->root->slots[slot].list, 0, cell_str("some text of 20 byte", 20));
        d->root->slots[slot].container->used = true;
        cache_weighed(c, before, &d, 1);
    }
    size_t bytes = d->bytes;
    for (unsigned i = 0; i < 4000; i++) {
        get("scan", i);
        if (i > 200) /* until then it gets into main */
            get("scan", i);
        cr_assert_eq(cache_find(c, "M:doc0", 6), d);
        cache_use(d);
        d->root->slots[2].container->used = true;
    }
    cr_assert(list_loaded(d->root->slots[2].list));
    cr_assert_not(list_loaded(d->root->slots[1].list));
    cr_assert_eq(list_len(d->root->slots[1].list), 20);
    cr_assert_lt(d->bytes, bytes - 20 * 20);
}

Test(cache, what_is_forgotten_weighs_nothing)
{
    struct doc *d = entry("doc", 0);
    fill(d, VALUE);
    cr_assert_geq(d->bytes, VALUE);
    cr_assert_leq(d->bytes, VALUE + 500);
    doc_forget(d);
    cr_assert_eq(d->bytes, 0);
    fill(d, VALUE);
    cr_assert_leq(d->bytes, VALUE + 500);
}
