/* listing: which slots of a cluster are listed, while they move. */
#include "daemon/redis/listing.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct listing l;

#define A "07c3 127.0.0.1:30001@31001 myself,master - 0 0 "
#define B "67ed 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922\n"

/* A node with this epoch and slots. */
static void look(const char *epoch_and_slots)
{
    char nodes[400];
    snprintf(nodes, sizeof(nodes), B A "%s\n", epoch_and_slots);
    cr_assert_eq(listing_look(&l, nodes, strlen(nodes)), 0);
}

static const char *text(void)
{
    static struct buf out = BUF_INIT;
    buf_clear(&out);
    listing_text(&l, &out);
    buf_append(&out, "", 1);
    return (char *)out.data;
}

static void setup(void)
{
    listing_begin(&l);
}

TestSuite(listing, .init = setup);

Test(listing, goes_from_node_to_node)
{
    cr_expect_eq(listing_slot(&l, 0), 0);
    listing_ask(&l, "aaaa");
    look("1 connected 0-5460");
    listing_scanned(&l, 96);
    cr_expect_str_eq(text(), "caaaa.1.96.n0-5460");
    listing_ask(&l, "aaaa");
    look("1 connected 0-5460");
    listing_scanned(&l, 0);
    cr_expect_str_eq(text(), "caaaa.1.0.d0-5460");
    cr_expect_eq(listing_slot(&l, 0), 5461);
    listing_ask(&l, "bbbb");
    look("2 connected 5461-10922 16383");
    listing_scanned(&l, 0);
    cr_expect_str_eq(text(), "cbbbb.2.0.d0-10922d16383");
    listing_ask(&l, "cccc");
    look("3 connected 10923-16382");
    listing_scanned(&l, 0);
    cr_expect_eq(listing_slot(&l, 0), -1);
}

Test(listing, leaves_what_moves)
{
    listing_ask(&l, "aaaa");
    look("1 connected 0-9 [5->-67ed]"); /* half of 5 may be elsewhere */
    cr_expect_eq(listing_slot(&l, 0), 0);
    listing_scanned(&l, 96);
    cr_expect_str_eq(text(), "caaaa.1.96.n0-4n6-9");
    look("1 connected 0-4 6-8 [9-<-67ed]"); /* 9 is gone, and comes back */
    listing_scanned(&l, 112);
    cr_expect_str_eq(text(), "caaaa.1.112.n0-4n6-8");
    look("1 connected 0-9"); /* these are there, but were not all the time */
    listing_scanned(&l, 0);
    cr_expect_str_eq(text(), "caaaa.1.0.d0-4d6-8");
}

Test(listing, begins_anew_where_a_slot_may_have_been_away)
{
    listing_ask(&l, "aaaa");
    look("1 connected 0-9");
    listing_scanned(&l, 96);
    listing_ask(&l, "aaaa");
    look("4 connected 0-9");
    cr_expect_eq(l.slots[0], LISTED_LEFT);
    listing_scanned(&l, 0);
    cr_expect_str_eq(text(), "caaaa.4.0.");
}

/* Its cursor means nothing to another run, also of the same node. */
Test(listing, begins_anew_with_another_run)
{
    listing_ask(&l, "aaaa");
    look("1 connected 0-9");
    listing_scanned(&l, 96);
    listing_ask(&l, "bbbb");
    cr_expect_str_eq(text(), "cbbbb.1.0.");
}

Test(listing, nothing_is_done_by_a_node_that_has_no_slot)
{
    listing_ask(&l, "aaaa");
    look("1 connected");
    cr_expect_neq(l.slots[listing_slot(&l, 0)], LISTED_NOW);
    listing_scanned(&l, 96);
    cr_expect_eq(l.scan, 0);
    cr_expect_eq(listing_slot(&l, 7), 7);
    cr_expect_eq(listing_look(&l, "nonsense", 8), -1);
    cr_expect_eq(listing_look(&l, B, strlen(B)), -1);
}

Test(listing, is_read_as_it_was_written)
{
    static const char *const good[] = {"c.0.0.", "caaaa.1.96.n0-5460",
                                       "c0123456789abcdef.7.9.d0n1d2-3",
                                       "c.18446744073709551615.0.d16383"};
    for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++) {
        cr_expect_eq(listing_read(&l, good[i], strlen(good[i])), 0, "%s", good[i]);
        cr_expect_str_eq(text(), good[i]);
    }
}

Test(listing, takes_no_other_text)
{
    static const char *const bad[] = {"",
                                      "0",
                                      "c",
                                      "c.1.2",
                                      "c.1.2.x",
                                      "cz.1.2.",
                                      "c.1.2.d",
                                      "c.1.2.d16384",
                                      "c.1.2.n5-4",
                                      "c..2.d1",
                                      "c.1..d1",
                                      "c.1.2.d1 ",
                                      "c.-1.2.d1",
                                      "c.1.2.d1-",
                                      "c.1.2.d1-99999",
                                      "c0123456789abcdef0.1.2.d1"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect_eq(listing_read(&l, bad[i], strlen(bad[i])), -1, "%s", bad[i]);
    cr_expect_eq(listing_read(&l, "c.1.2.d1\0d2", 11), -1);
}
