/* slots: where a cluster puts a key. */
#include "daemon/redis/slots.h"
#include <criterion/criterion.h>
#include <stdbool.h>
#include <string.h>

static unsigned slot(const char *key)
{
    return slot_of(key, strlen(key));
}

/* As CLUSTER KEYSLOT of Redis 7.0 says. */
Test(slots, are_those_of_redis)
{
    cr_assert_eq(slot("123456789"), 0x31c3);
    cr_assert_eq(slot("foo"), 12182);
    cr_assert_eq(slot(""), 0);
    cr_assert_eq(slot("rapyer:{C:1}"), 2257);
    cr_assert_eq(slot("rapyer:{C:2}/tags"), 14514);
}

Test(slots, go_by_the_first_tag)
{
    cr_assert_eq(slot("{user1000}.following"), slot("{user1000}.followers"));
    cr_assert_eq(slot("a{b}c{d}"), slot("b"));
    cr_assert_eq(slot("a{{b}}"), slot("{b"));
}

/* What is empty or not closed is no tag. */
Test(slots, go_by_all_of_a_key_without_a_tag)
{
    cr_assert_neq(slot("{}a"), slot("{}b"));
    cr_assert_neq(slot("a{b"), slot("b"));
    cr_assert_neq(slot("a}b{"), slot("b"));
}

Test(slots, each_has_a_tag_that_leads_there)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        const char *tag = slot_tag((uint16_t)i);
        cr_assert_leq(strlen(tag), SLOT_TAG_MAX);
        cr_assert_gt(strlen(tag), 0);
        cr_assert_eq(slot(tag), i, "%s leads to %u, not %u", tag, slot(tag), i);
        cr_assert_eq(strspn(tag, "abcdefghijklmnopqrstuvwxyz"), strlen(tag));
    }
    cr_assert_str_eq(slot_tag(slot_of("a", 1)), "a");
}
