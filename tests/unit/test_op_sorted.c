#include "op_fixture.h"

static struct fixture x;

static void setup(void)
{
    fixture_open(&x, "{name: d, queue: [[b, 2], [a, 1], [c, 3]]}");
}

static void teardown(void)
{
    fixture_close(&x);
}

TestSuite(op_sorted, .init = setup, .fini = teardown);

Test(op_sorted, members_stand_by_score_and_then_by_text)
{
    fixture_does(&x, "doc.load", "[queue]", "[[a, 1.0], [b, 2.0], [c, 3.0]]");
    fixture_does(&x, "doc.load", "[ranks]", "[[1, 1.0], [10, 1.0], [9, 1.0]]");
    fixture_does(&x, "sorted.push", "[queue, d, 1]", "1");
    fixture_does(&x, "sorted.push", "[queue, a, 1.0]", "0");
    fixture_does(&x, "sorted.push", "[queue, a, 2.5]", "0");
    fixture_does(&x, "doc.load", "[queue]", "[[d, 1.0], [b, 2.0], [a, 2.5], [c, 3.0]]");
    fixture_does(&x, "sorted.rank", "[queue, a]", "2");
    fixture_does(&x, "sorted.score", "[queue, a]", "2.5");
    fixture_does(&x, "sorted.rank", "[queue, none]", "nil");
    fixture_does(&x, "sorted.score", "[queue, none]", "nil");
    fixture_does(&x, "sorted.incr", "[queue, d, 10]", "11.0");
    fixture_does(&x, "sorted.incr", "[queue, e, -1.5]", "-1.5");
    fixture_does(&x, "sorted.size", "[queue]", "5");
    fixture_does(&x, "sorted.push_many", "[queue, [[x, 0], [a, 0]]]", "1");
    fixture_does(&x, "sorted.peek", "[queue, 3]", "[[e, -1.5], [a, 0.0], [x, 0.0]]");
}

Test(op_sorted, both_ends)
{
    fixture_does(&x, "sorted.peek", "[queue]", "[a, 1.0]");
    fixture_does(&x, "sorted.pop_min", "[queue]", "[a, 1.0]");
    fixture_does(&x, "sorted.pop_max", "[queue, 1]", "[[c, 3.0]]");
    fixture_does(&x, "sorted.pop_min", "[queue, 0]", "[]");
    fixture_does(&x, "sorted.pop_max", "[queue, 9]", "[[b, 2.0]]");
    fixture_does(&x, "sorted.pop_min", "[queue, 9]", "[]");
    fixture_refuses(&x, "sorted.pop_min", "[queue]", FAULT_NOT_FOUND, "'queue' is empty");
    fixture_refuses(&x, "sorted.pop_min", "[queue, -1]", FAULT_OUT_OF_RANGE, "negative");
    fixture_does(&x, "sorted.pop_max", "[ranks, 2]", "[[9, 1.0], [10, 1.0]]");
}

Test(op_sorted, ranges)
{
    fixture_does(&x, "sorted.range", "[queue, 0]", "[[a, 1.0], [b, 2.0], [c, 3.0]]");
    fixture_does(&x, "sorted.range", "[queue, -2, nil]", "[[b, 2.0], [c, 3.0]]");
    fixture_does(&x, "sorted.range", "[queue, 1, 2]", "[[b, 2.0]]");
    fixture_does(&x, "sorted.range", "[queue, 2, 1]", "[]");
    fixture_does(&x, "sorted.range_by_score", "[queue, 1, 2]", "[[a, 1.0], [b, 2.0]]");
    fixture_does(&x, "sorted.range_by_score", "[queue, nil, 1.5]", "[[a, 1.0]]");
    fixture_does(&x, "sorted.range_by_score", "[queue, 1.5, nil]", "[[b, 2.0], [c, 3.0]]");
    fixture_does(&x, "sorted.range_by_score", "[queue, 3, 1]", "[]");
    fixture_does(&x, "sorted.remove_range", "[queue, -1]", "1");
    fixture_does(&x, "sorted.remove_by_score", "[queue, nil, 1]", "1");
    fixture_does(&x, "sorted.remove", "[queue, a]", "0");
    fixture_does(&x, "sorted.remove", "[queue, b]", "1");
    fixture_does(&x, "sorted.clear", "[ranks]", NULL);
    fixture_does(&x, "sorted.size", "[ranks]", "0");
}

Test(op_sorted, what_is_no_member_or_score_is_refused)
{
    fixture_refuses(&x, "sorted.push", "[queue, 1, 1]", FAULT_BAD_TYPE, "str expected");
    fixture_refuses(&x, "sorted.push", "[queue, a, b]", FAULT_BAD_TYPE, "score must be an int");
    fixture_refuses(&x, "sorted.push", "[queue, a, #cb7ff8000000000000#]", FAULT_BAD_VALUE,
                    "finite");
    fixture_refuses(&x, "sorted.push", "[queue, a, #cb7ff0000000000000#]", FAULT_BAD_VALUE,
                    "finite");
    fixture_refuses(&x, "sorted.push", "[labels, a, 1]", FAULT_BAD_TYPE, "sorted<>");
    fixture_refuses(&x, "sorted.push_many", "[queue, [[a, 1], b]]", FAULT_BAD_TYPE, "a pair");
    fixture_refuses(&x, "sorted.push_many", "[queue, [[a, 1], [a, 2]]]", FAULT_BAD_VALUE, "twice");
    fixture_refuses(&x, "set", "[queue, [a]]", FAULT_BAD_TYPE, "a pair");
    fixture_refuses(&x, "doc.load", "['queue[0]']", FAULT_BAD_PATH, "no paths of their own");
    fixture_does(&x, "sorted.push", "[queue, big, #cb7fe1ccf385ebc8a0#]", "1");
    fixture_refuses(&x, "sorted.incr", "[queue, big, #cb7fe1ccf385ebc8a0#]", FAULT_OUT_OF_RANGE,
                    "infinite");
}
