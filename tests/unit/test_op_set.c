#include "op_fixture.h"

static struct fixture x;

static void setup(void)
{
    fixture_open(&x, "{name: d, labels: [a, b], primes: [2, 3, 5], others: [3, 4]}");
}

static void teardown(void)
{
    fixture_close(&x);
}

TestSuite(op_set, .init = setup, .fini = teardown);

Test(op_set, a_member_is_there_once)
{
    fixture_does(&x, "set.add", "[labels, c]", "1");
    fixture_does(&x, "set.add", "[labels, c]", "0");
    fixture_does(&x, "set.has", "[labels, c]", "true");
    fixture_does(&x, "set.has", "[labels, z]", "false");
    fixture_does(&x, "set.size", "[labels]", "3");
    fixture_does(&x, "set.remove", "[labels, c]", "1");
    fixture_does(&x, "set.remove", "[labels, c]", "0");
    fixture_does(&x, "doc.load", "[labels]", "[a, b]");
    fixture_does(&x, "set.add_many", "[labels, [b, c, d, c]]", "2");
    fixture_does(&x, "set.size", "[labels]", "4");
    fixture_does(&x, "set.clear", "[labels]", NULL);
    fixture_does(&x, "doc.load", "[labels]", "[]");
    fixture_refuses(&x, "set.pop", "[labels]", FAULT_NOT_FOUND, "'labels' is empty");
    fixture_does(&x, "set", "[labels, [one]]", NULL);
    fixture_does(&x, "set.pop", "[labels]", "one");
}

Test(op_set, two_sets)
{
    fixture_does(&x, "set.union", "[primes, [5, 7]]", "[2, 3, 5, 7]");
    fixture_does(&x, "set.intersection", "[primes, [5, 7]]", "[5]");
    fixture_does(&x, "set.difference", "[primes, [5, 7]]", "[2, 3]");
    fixture_does(&x, "set.union", "[primes, {path: others}]", "[2, 3, 5, 4]");
    fixture_does(&x, "set.intersection", "[primes, {path: others}]", "[3]");
    fixture_does(&x, "doc.load", "[primes]", "[2, 3, 5]");
    fixture_does(&x, "set.subtract", "[primes, {path: others}]", "2");
    fixture_does(&x, "doc.load", "[primes]", "[2, 5]");
    fixture_does(&x, "set.unite", "[primes, [11, 2]]", "3");
    fixture_does(&x, "set.intersect", "[primes, [11, 13]]", "1");
    fixture_does(&x, "set.unite", "[primes, {path: primes}]", "1");
    fixture_does(&x, "set.subtract", "[primes, {path: primes}]", "0");
}

Test(op_set, what_is_no_member_is_refused)
{
    fixture_refuses(&x, "set.add", "[labels, 1]", FAULT_BAD_TYPE, "str expected, found int");
    fixture_refuses(&x, "set.add", "[tags, a]", FAULT_BAD_TYPE, "needs a field of type set<>");
    fixture_refuses(&x, "set.add", "['groups[\"k\"]', 1]", FAULT_NOT_FOUND, "there is no");
    fixture_refuses(&x, "set.add_many", "[labels, a]", FAULT_BAD_TYPE, "a list of members");
    fixture_refuses(&x, "set.add_many", "[labels, [a, 1]]", FAULT_BAD_TYPE, "found int");
    fixture_refuses(&x, "set", "[labels, [a, b, a]]", FAULT_BAD_VALUE, "there twice");
    fixture_refuses(&x, "set", "['labels[0]', a]", FAULT_BAD_PATH, "no paths of their own");
    fixture_refuses(&x, "set.union", "[primes, {path: labels}]", FAULT_BAD_TYPE, "set<int>");
    fixture_refuses(&x, "set.union", "[primes, {path: nowhere}]", FAULT_UNKNOWN_FIELD, "nowhere");
    fixture_refuses(&x, "set.union", "[primes, {road: others}]", FAULT_BAD_REQUEST, "path");
    fixture_refuses(&x, "set.union", "[primes, 3]", FAULT_BAD_TYPE, "expected set<int>");
}

Test(op_set, a_set_that_is_a_value_has_one_form)
{
    fixture_does(&x, "dict.set", "[groups, k, [3, 1, 2]]", NULL);
    fixture_does(&x, "doc.load", "['groups[\"k\"]']", "[1, 2, 3]");
    fixture_refuses(&x, "dict.set", "[groups, k, [1, 2, 1]]", FAULT_BAD_VALUE, "there twice");
}
