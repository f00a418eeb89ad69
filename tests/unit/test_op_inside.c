/* Operations on what is inside values: lists of lists, dicts of lists, sets in dicts, `any`, plain
 * models. */
#include "op_fixture.h"

#define DOC                                                                                       \
    "{name: Ann, grid: [[1, 2], []], lines: {a: [x, y]}, deep: [{k: [1, 2, 3]}, {}], maybe: [5]," \
    " any: {n: 1, list: [a, {x: 1.5}], text: t, nothing: nil}, home: {street: Main},"             \
    " homes: [{street: One}, {street: Two}], groups: {even: [2, 4]}}"

static struct fixture x;

static void open_doc(void)
{
    fixture_open(&x, DOC);
}

static void close_doc(void)
{
    fixture_close(&x);
}

TestSuite(op_inside, .init = open_doc, .fini = close_doc);

Test(op_inside, lists_of_lists)
{
    fixture_does(&x, "list.append", "['grid[0]', 3]", "3");
    fixture_does(&x, "list.extend", "['grid[-1]', [7, 8]]", "2");
    fixture_does(&x, "list.insert", "['grid[0]', 1, 9]", "4");
    fixture_does(&x, "doc.load", "[grid]", "[[1, 9, 2, 3], [7, 8]]");
    fixture_does(&x, "doc.load", "['grid[0][1]']", "9");
    fixture_does(&x, "num.incr", "['grid[0][1]', 5]", "14");
    fixture_does(&x, "num.mul", "['grid[0][0]', 3]", "3");
    fixture_does(&x, "set", "['grid[1][0]', 70]", NULL);
    fixture_does(&x, "list.pop", "['grid[0]', 0]", "3");
    fixture_does(&x, "list.remove", "['grid[0]', 2]", "1");
    fixture_does(&x, "list.index", "['grid[0]', 3]", "1");
    fixture_does(&x, "doc.load", "[grid]", "[[14, 3], [70, 8]]");
    fixture_does(&x, "list.clear", "['grid[1]']", NULL);
    fixture_does(&x, "doc.load", "['grid[1]']", "[]");
    fixture_does(&x, "list.append", "[grid, [1]]", "3");
}

Test(op_inside, dicts_of_lists)
{
    fixture_does(&x, "list.append", "['lines[\"a\"]', z]", "3");
    fixture_does(&x, "doc.load", "['lines[\"a\"][2]']", "z");
    fixture_does(&x, "str.append", "['lines[\"a\"][0]', '!']", "'x!'");
    fixture_does(&x, "list.pop", "['lines[\"a\"]']", "z");
    fixture_does(&x, "doc.load", "[lines]", "{a: ['x!', y]}");
    fixture_refuses(&x, "list.append", "['lines[\"b\"]', z]", FAULT_NOT_FOUND, "lines[\"b\"]");
    fixture_refuses(&x, "doc.load", "['lines[\"b\"][0]']", FAULT_NOT_FOUND, "lines[\"b\"]");
}

Test(op_inside, as_deep_as_it_goes)
{
    fixture_does(&x, "num.incr", "['deep[0][\"k\"][1]', 10]", "12");
    fixture_does(&x, "dict.set", "['deep[1]', new, [4]]", NULL);
    fixture_does(&x, "list.append", "['deep[1][\"new\"]', 5]", "2");
    fixture_does(&x, "dict.pop", "['deep[0]', k]", "[1, 12, 3]");
    fixture_does(&x, "dict.update", "['deep[0]', {p: [], q: [1]}]", NULL);
    fixture_does(&x, "dict.del", "['deep[0]', p]", "true");
    fixture_does(&x, "dict.del", "['deep[0]', p]", "false");
    fixture_does(&x, "dict.popitem", "['deep[0]']", "[q, [1]]");
    fixture_does(&x, "doc.load", "[deep]", "[{}, {new: [4, 5]}]");
}

Test(op_inside, any_is_what_it_holds)
{
    fixture_does(&x, "num.incr", "['any[\"n\"]', 2]", "3");
    fixture_does(&x, "list.append", "['any[\"list\"]', nil]", "3");
    fixture_does(&x, "num.incr", "['any[\"list\"][1][\"x\"]', 1]", "2.5");
    fixture_does(&x, "dict.set", "[any, more, {y: [1]}]", NULL);
    fixture_does(&x, "list.append", "['any[\"more\"][\"y\"]', two]", "2");
    fixture_does(&x, "doc.load", "['any[\"more\"]']", "{y: [1, two]}");
    fixture_does(&x, "set", "['any[\"text\"]', 5]", NULL);
    fixture_does(&x, "num.incr", "['any[\"text\"]', 1]", "6");
    fixture_refuses(&x, "num.incr", "['any[\"nothing\"]', 1]", FAULT_BAD_TYPE, "is null");
    fixture_refuses(&x, "list.append", "['any[\"n\"]', 1]", FAULT_BAD_TYPE, "any[\"n\"]");
    fixture_refuses(&x, "doc.load", "['any[\"n\"].x']", FAULT_BAD_PATH, "any[\"n\"]");
    fixture_refuses(&x, "doc.load", "['any[\"none\"]']", FAULT_NOT_FOUND, "any[\"none\"]");
    fixture_does(&x, "set", "[any, nil]", NULL);
    fixture_refuses(&x, "dict.set", "[any, k, 1]", FAULT_BAD_TYPE, "'any' is null; set it first");
}

Test(op_inside, plain_models_and_what_may_be_null)
{
    fixture_does(&x, "set", "['home.city', Ulm]", NULL);
    fixture_does(&x, "str.append", "['home.street', ' St']", "'Main St'");
    fixture_does(&x, "doc.load", "[home]", "{street: 'Main St', city: Ulm}");
    fixture_does(&x, "set", "['homes[1].street', Three]", NULL);
    fixture_does(&x, "doc.load", "['homes[1].street']", "Three");
    fixture_refuses(&x, "set", "['home.street', 1]", FAULT_BAD_TYPE, "home.street");
    fixture_refuses(&x, "set", "['home.none', 1]", FAULT_UNKNOWN_FIELD, "'home'");
    fixture_does(&x, "list.append", "[maybe, 6]", "2");
    fixture_does(&x, "set", "[maybe, nil]", NULL);
    fixture_refuses(&x, "list.append", "[maybe, 6]", FAULT_BAD_TYPE,
                    "'maybe' is null; set it first");
    fixture_refuses(&x, "doc.load", "['maybe[0]']", FAULT_BAD_TYPE, "'maybe' is null");
}

Test(op_inside, sets)
{
    fixture_does(&x, "set.add", "['groups[\"even\"]', 6]", "1");
    fixture_does(&x, "set.add", "['groups[\"even\"]', 6]", "0");
    fixture_does(&x, "set.has", "['groups[\"even\"]', 4]", "true");
    fixture_does(&x, "set.remove", "['groups[\"even\"]', 2]", "1");
    fixture_does(&x, "set.size", "['groups[\"even\"]']", "2");
    fixture_does(&x, "set.unite", "[primes, {path: 'groups[\"even\"]'}]", "2");
    fixture_does(&x, "set.add", "[primes, 3]", "1");
    fixture_does(&x, "set.subtract", "['groups[\"even\"]', {path: primes}]", "0");
    fixture_refuses(&x, "set.union", "[primes, {path: 'groups[\"odd\"]'}]", FAULT_NOT_FOUND, "odd");
    fixture_refuses(&x, "set.union", "[primes, {path: groups}]", FAULT_BAD_TYPE, "dict<set<int>>");
}

Test(op_inside, what_is_refused_changes_nothing)
{
    fixture_refuses(&x, "list.append", "['grid[0]', x]", FAULT_BAD_TYPE, "grid[0]");
    fixture_refuses(&x, "list.append", "['grid[5]', 1]", FAULT_OUT_OF_RANGE,
                    "'grid' has 2 elements");
    fixture_refuses(&x, "set", "['grid[0][7]', 1]", FAULT_OUT_OF_RANGE, "'grid[0]' has 2 elements");
    fixture_refuses(&x, "list.pop", "['grid[1]']", FAULT_OUT_OF_RANGE, "grid[1]");
    fixture_refuses(&x, "doc.load", "['grid[0][\"k\"]']", FAULT_BAD_PATH,
                    "'grid[0]' is a list<int>");
    fixture_refuses(&x, "doc.load", "['grid[0][0][0]']", FAULT_BAD_PATH, "'grid[0][0]' is int");
    fixture_does(&x, "doc.load", "[grid]", "[[1, 2], []]");
}
