#include "op_fixture.h"

static struct fixture x;

static void setup(void)
{
    fixture_open(&x, "{name: d, tags: [a, b, c, b], grid: [[1], [2, 3]], sections: [{'@pk': s1,"
                     " name: x, tags: [t]}, {'@pk': s2, name: y}, {'@pk': s3, name: z}]}");
}

static void teardown(void)
{
    fixture_close(&x);
}

TestSuite(op_list_more, .init = setup, .fini = teardown);

Test(op_list_more, by_value)
{
    fixture_does(&x, "list.index", "[tags, b]", "1");
    fixture_does(&x, "list.index", "[tags, z]", "nil");
    fixture_does(&x, "list.index", "[grid, [2, 3]]", "1");
    fixture_does(&x, "list.remove", "[tags, b]", "1");
    fixture_does(&x, "doc.load", "[tags]", "[a, c, b]");
    fixture_does(&x, "list.remove", "[tags, z]", "0");
    fixture_does(&x, "list.remove", "[grid, [1]]", "1");
    fixture_does(&x, "doc.load", "[grid]", "[[2, 3]]");
    fixture_refuses(&x, "list.remove", "[tags, 1]", FAULT_BAD_TYPE, "str expected");
    fixture_refuses(&x, "list.remove", "[sections, {'@pk': s1}]", FAULT_BAD_TYPE, "by their pk");
    fixture_refuses(&x, "list.index", "[name, a]", FAULT_BAD_TYPE, "list<>");
}

Test(op_list_more, several_at_an_end)
{
    fixture_does(&x, "list.pop_many", "[tags, 2]", "[c, b]");
    fixture_does(&x, "list.pop_many", "[tags, -1]", "[a]");
    fixture_does(&x, "list.pop_many", "[tags, 9]", "[b]");
    fixture_does(&x, "list.pop_many", "[tags, -9]", "[]");
    fixture_does(&x, "list.pop_many", "[sections, -2]",
                 "[{'@pk': s1, name: x, tasks: [], by: {}, tags: [t], lead: nil},"
                 " {'@pk': s2, name: y, tasks: [], by: {}, tags: [], lead: nil}]");
    fixture_refuses(&x, "list.pop_many", "[tags, x]", FAULT_BAD_TYPE, "count must be an int");
}

Test(op_list_more, some_of_it)
{
    fixture_does(&x, "doc.load", "[tags, {from: 1, to: 3}]", "[b, c]");
    fixture_does(&x, "doc.load", "[tags, {from: -2}]", "[c, b]");
    fixture_does(&x, "doc.load", "[tags, {to: -3}]", "[a]");
    fixture_does(&x, "doc.load", "[tags, {from: nil, to: 99}]", "[a, b, c, b]");
    fixture_does(&x, "doc.load", "[tags, {from: 3, to: 1}]", "[]");
    fixture_does(&x, "doc.load", "['grid[1]', {to: 1}]", "[2]");
    fixture_does(&x, "doc.load", "['sections[0].tags', {}]", "[t]");
    fixture_does(&x, "doc.load", "[sections, {from: -1}]",
                 "[{'@pk': s3, name: z, tasks: [], by: {}, tags: [], lead: nil}]");
    fixture_refuses(&x, "doc.load", "[tags, 1]", FAULT_BAD_REQUEST, "a range is a map");
    fixture_refuses(&x, "doc.load", "[tags, {until: 1}]", FAULT_BAD_REQUEST, "\"from\" and \"to\"");
    fixture_refuses(&x, "doc.load", "[tags, {to: x}]", FAULT_BAD_TYPE, "end of the range");
    fixture_refuses(&x, "doc.load", "[name, {to: 1}]", FAULT_BAD_TYPE, "list<>");
    fixture_refuses(&x, "doc.load", "['', {to: 1}]", FAULT_BAD_TYPE, "");
}

Test(op_list_more, to_another_place)
{
    fixture_does(&x, "list.move", "[tags, 0, 2]", NULL);
    fixture_does(&x, "doc.load", "[tags]", "[b, c, a, b]");
    fixture_does(&x, "list.move", "[tags, -1, 0]", NULL);
    fixture_does(&x, "list.move", "[tags, 1, -1]", NULL);
    fixture_does(&x, "doc.load", "[tags]", "[b, c, a, b]");
    fixture_does(&x, "list.move", "[sections, 0, 1]", NULL);
    fixture_does(&x, "doc.load", "['sections[1].tags']", "[t]");
    fixture_does(&x, "list.append", "['sections[\"s1\"].tags', u]", "2");
    fixture_refuses(&x, "list.move", "[tags, 4, 0]", FAULT_OUT_OF_RANGE, "index 4");
    fixture_refuses(&x, "list.move", "[tags, 0, 4]", FAULT_OUT_OF_RANGE, "index 4");
}
