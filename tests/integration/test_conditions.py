"""Conditions: `if` alone, and in pipelines, which are refused or go on without a part where one does not hold;
also where another daemon changes what was looked at, and where the answer of Redis is lost."""

from datetime import datetime, timezone

import pytest

from fault_proxy import REPLIES, DeafProxy
from models import atomic, field, plain
from rpc_client import RpcError
from test_bad_input import refused
from test_guard import FAST
from test_two_daemons import crowd

BOX = plain("Box", field("w", "int"), field("label", "str", default=""))
PART = atomic("Part", field("n", "int", default=0))
ORDER = atomic(
    "Order", field("status", "str", default="open"), field("total", "int", default=0), field("x", "float", default=0.0),
    field("price", "decimal", default="0"), field("due", "datetime_zoned", default="2024-01-31T12:00:00+02:00"),
    field("at", "datetime", default=datetime(2024, 1, 31, tzinfo=timezone.utc)), field("wait", "timedelta", default="9"),
    field("paid", "bool", default=False), field("raw", "bytes", default=b""), field("note", "optional<str>"),
    field("tags", "list<str>"), field("counts", "dict<int>"), field("who", "set<str>"), field("queue", "sorted<str>"),
    field("parts", "list<Part>"), field("box", "optional<Box>", default=None), field("extra", "any", default=None),
    field("first", "optional<Part>"), field("second", "optional<Part>"), field("halls", "dict<list<Part>>"),
    field("seats", "list<optional<Part>>"), field("pairs", "dict<optional<Part>>"))
ONE, TWO = "Order:1", "Order:2"


def define(client):
    for model in (BOX, PART, ORDER):
        client.call("define", model)


def save(client):
    define(client)
    client.call("doc.save", ONE, {
        "total": 7, "x": 1.5, "price": "12.50", "tags": ["a", "b"], "counts": {"k": 1, "l": 2}, "who": ["ada", "bob"],
        "queue": [["job", 2]], "parts": [{"@pk": "p1"}], "box": {"w": 3}, "extra": {"n": 4},
        "first": {"n": 5}, "halls": {"k": [{"n": 1}]}, "seats": [{"n": 1}, None],
        "pairs": {"k": {"n": 2}, "l": None}})
    client.call("doc.save", TWO, {})


@pytest.fixture
def client(client):
    save(client)
    return client


@pytest.fixture
def two(daemons):
    """Two daemons that have both documents in memory."""
    for daemon in daemons:
        with daemon.connect() as client:
            save(client)
    return daemons


TESTS = [
    ("total", {"==": 7}, True), ("total", {"!=": 7}, False), ("total", {">=": 7, "<": 8}, True),
    ("total", {">": 7}, False), ("total", {"<=": 6}, False), ("x", {"<": 2}, True), ("x", {"==": 1.5}, True),
    ("status", {"==": "open"}, True), ("status", {"<": "opens", ">": "op"}, True), ("paid", {"==": False}, True),
    ("price", {"==": "12.5"}, True), ("price", {">": "12.49999", "<": "1" + "0" * 37}, True), ("price", {"<": "-3"}, False),
    ("due", {"==": "2024-01-31T10:00:00Z"}, True), ("due", {"<": "2024-01-31T11:00:00+00:30"}, True),
    ("at", {"<": datetime(2024, 1, 31, 0, 0, 1, tzinfo=timezone.utc)}, True), ("wait", {"<": "10"}, True),
    ("raw", {"==": b""}, True), ("raw", {"<": b"\x00"}, True),
    ("note", {"exists": False}, True), ("note", {"exists": True}, False), ("note", {"==": "x"}, False),
    ("note", {"!=": "x"}, True), ("note", {"<": "x"}, False), ("box", {"exists": True}, True),
    ("box", {"==": {"label": "", "w": 3}}, True), ("box", {"!=": None}, True), ("box.w", {">": 2}, True),
    ("tags", {"==": ["a", "b"]}, True), ("tags", {"==": ["b", "a"]}, False), ("tags", {"!=": ["a"]}, True),
    ("tags[1]", {"==": "b"}, True), ("tags[2]", {"exists": False}, True), ("tags[2]", {"==": "c"}, False),
    ("tags[-1]", {"==": "b"}, True), ("counts", {"==": {"l": 2, "k": 1}}, True), ("counts", {"==": {"l": 2}}, False),
    ('counts["k"]', {"==": 1}, True), ('counts["z"]', {"exists": True}, False), ('counts["z"]', {"!=": 1}, True),
    ("who", {"==": ["bob", "ada"]}, True), ("queue", {"==": [["job", 2.0]]}, True), ("queue", {"==": [["job", 3]]}, False),
    ("parts[0]", {"exists": True}, True), ('parts["p1"].n', {"==": 0}, True), ('parts["p2"].n', {"==": 0}, False),
    ('parts["p2"]', {"exists": False}, True), ("extra", {"==": {"n": 4}}, True), ('extra["n"]', {"==": 4}, True),
    ('extra["m"]', {"exists": False}, True), ("first", {"!=": None}, True), ("first.n", {"==": 5}, True),
    ("second", {"==": None}, True), ("second.n", {"==": 5}, False), ("second.n", {"exists": False}, True),
    ('halls["k"]', {"exists": True}, True), ('halls["l"]', {"exists": True}, False), ('halls["k"][0].n', {"==": 1}, True),
    ('halls["k"][1].n', {"exists": True}, False), ("", {"exists": True}, True),
    ("seats[0]", {"!=": None}, True), ("seats[0]", {"==": None}, False), ("seats[-1]", {"==": None}, True),
    ("seats[1]", {"exists": True}, True), ("seats[2]", {"==": None}, False), ("seats[2]", {"exists": False}, True),
    ("seats[1].n", {"exists": True}, False), ('pairs["k"]', {"!=": None}, True), ('pairs["l"]', {"==": None}, True),
    ('pairs["m"]', {"exists": True}, False), ('pairs["m"]', {"==": None}, False),
]


def test_tests(client):
    done = 0
    for path, tests, holds in TESTS:
        assert client.call("if", ONE, path, tests) is holds, (path, tests)
        pipeline = [["if", ONE, path, tests], ["num.incr", TWO, "total", 1]]
        if holds:
            done += 1
            assert client.call("pipeline", pipeline) == [True, done]
        else:
            with pytest.raises(RpcError, match=r"CONFLICT: operation 0 \(if\): '.*' of Order:1 is not "):
                client.call("pipeline", pipeline)
    assert client.call("doc.load", TWO, "total") == done


SAID = [
    (ONE, "total", {">=": 8, "<": 100}, "'total' of Order:1 is not >= 8 and < 100"),
    (ONE, "note", {"exists": True}, "'note' of Order:1 is not there"),
    (ONE, "status", {"exists": False}, "'status' of Order:1 is not absent"),
    (ONE, "note", {"exists": True, "==": "x"}, "'note' of Order:1 is not there and == 'x'"),
    (ONE, "seats[1]", {"!=": None}, "'seats[1]' of Order:1 is not != nil"),
    ("Order:none", "", {"exists": True}, "Order:none is not there"),
]


@pytest.mark.parametrize("key, path, tests, said", SAID)
def test_what_is_said(client, key, path, tests, said):
    with pytest.raises(RpcError) as refused:
        client.call("pipeline", [["if", key, path, tests], ["num.incr", TWO, "total", 1]])
    assert refused.value.error == f"CONFLICT: operation 0 (if): {said}"


def test_what_is_read_from_redis(client, daemon, new_daemon, redis_server):
    """Also where nothing is in memory."""
    with new_daemon(redis_server.address).connect() as cold:
        assert cold.call("if", ONE, "tags", {"==": ["a", "b"]})
        assert cold.call("if", ONE, 'counts["z"]', {"exists": False})
        assert cold.call("if", "Order:none", "tags", {"exists": False})
        assert not cold.call("if", "Order:none", "", {"exists": True})


def test_a_part_is_left_out(client):
    ops = [["if", ONE, "total", {">": 100}, 2], ["num.incr", ONE, "total", 1], ["set", ONE, "status", "big"],
           ["if", ONE, "total", {"<": 100}, 3], ["num.incr", ONE, "total", 3], ["if", ONE, "total", {"==": 0}, 1],
           ["num.incr", ONE, "total", 1000], ["set", ONE, "status", "small"],
           ["if", "Order:none", "", {"exists": True}, 1], ["num.incr", "Order:none", "total", 1]]
    result = client.call("pipeline", ops)
    assert result[:7] == [False, None, None, True, 10, False, None] and result[8:] == [False, None]
    assert client.call("doc.load", ONE, "status") == "small"
    assert client.call("doc.load", ONE, "total") == 10


def test_an_operation_sees_what_was_done_before(client):
    assert client.call("pipeline", [["num.incr", ONE, "total", 1], ["if", ONE, "total", {"==": 8}],
                                    ["doc.delete", TWO], ["if", TWO, "", {"exists": False}]]) == [8, True, 1, True]


BAD = [
    ({}, "BAD_REQUEST"), ([], "BAD_REQUEST"), (5, "BAD_REQUEST"), ({"=": 1}, "BAD_REQUEST.*if: a test is one of"),
    ({1: 1}, "BAD_REQUEST"), ({"exists": 1}, "BAD_REQUEST"), ({"==": "7"}, "BAD_TYPE.*total: int expected"),
    ({"==": None}, "BAD_TYPE"), ({"<": 2 ** 63}, "OUT_OF_RANGE"), ({"<": 1, "nope": 1}, "BAD_REQUEST"),
]


def test_bad_conditions(client):
    for tests, code in BAD:
        with pytest.raises(RpcError, match=code):
            client.call("if", ONE, "total", tests)
        with pytest.raises(RpcError, match=code):
            client.call("pipeline", [["num.incr", ONE, "total", 1], ["if", ONE, "total", tests]])
    assert client.call("doc.load", ONE, "total") == 7


INCOMPARABLE = [
    ("paid", {"<": True}), ("tags", {"<": ["a"]}), ("", {"==": {}}), ("parts", {"==": []}), ("parts[0]", {"==": {}}),
    ("extra", {"<": 3}), ("box", {"<": {"w": 3}}), ("planet", {"exists": False}),
    ("first", {"==": {"n": 5}}), ('halls["k"]', {"==": []}), ("halls", {"==": {}}), ("second", {"<": None}),
    ("extra[3]", {"exists": False}), ("seats[0]", {"==": {"n": 1}}), ('pairs["k"]', {"<": None}), ("seats", {"==": []})]


def test_what_cannot_be_compared(client):
    for path, tests in INCOMPARABLE:
        with pytest.raises(RpcError, match="BAD_TYPE|BAD_PATH|UNKNOWN_FIELD"):
            client.call("if", ONE, path, tests)


def test_bad_reach(client):
    for decides in (0, -1, 2, "x", None, 2 ** 40, 1.0):
        with pytest.raises(RpcError, match="BAD_REQUEST: operation 0: the number of an if says how many of the 1 operations"):
            client.call("pipeline", [["if", ONE, "total", {"==": 7}, decides], ["num.incr", ONE, "total", 1]])
    with pytest.raises(RpcError, match="BAD_REQUEST"):
        client.call("if", ONE, "total", {"==": 7}, 1)


def test_two_daemons_decide_once(two):
    """Each of many clients takes one of ten places, by a condition on a document that it does not change, and one
    that it does."""
    def take(client, number):
        taken = refused = 0
        for turn in range(8):
            try:
                client.call("pipeline", [
                    ["if", ONE, "total", {"<": 17}], ["num.incr", ONE, "total", 1],
                    ["if", ONE, "total", {">": 12}, 1], ["set.add", TWO, "who", f"{number}-{turn}"]])
                taken += 1
            except RpcError as error:
                assert error.code == "CONFLICT", error
                refused += 1
        return taken, refused

    results = crowd(two, take)
    assert sum(taken for taken, _ in results) == 10
    with two[0].connect() as client:
        assert client.call("doc.load", ONE, "total") == 17
        assert client.call("set.size", TWO, "who") == 5


def test_a_reference_never_leads_to_what_was_deleted_before(two):
    """One daemon sets it if there is what it names, the other one deletes that, at once; both note it with that, in
    the order in which Redis has it: whoever sets it was first."""
    holder = atomic("Holder", field("to", "optional<ref<Order>>", default=None), field("done", "list<str>"))
    with two[0].connect() as one, two[1].connect() as other:
        one.call("define", holder)
        for turn in range(60):
            key, mine = f"Order:r{turn}", f"Holder:{turn}"
            one.call("doc.save", key, {})
            one.call("doc.save", mine, {})
            for client in (one, other):  # both have them in memory
                client.call("doc.get_many", [key, mine])
            sent = one.send("pipeline", [["if", key, "", {"exists": True}], ["set", mine, "to", key],
                                         ["list.append", mine, "done", "set"]])
            deleted = other.send("pipeline", [["doc.delete", key], ["list.append", mine, "done", "deleted"]])
            try:
                order = [one.wait(sent) and "set"]
            except RpcError as error:
                assert error.code == "CONFLICT", error
                order = []
            other.wait(deleted)
            found = one.call("doc.get", mine, {"fresh": True})
            assert (found["done"], found["to"]) == ([*order, "deleted"], key if order else None)


def test_a_reference_to_what_is_gone_unheard(redis_server, new_daemon, workdir):
    """The daemon that is to set it has what it names in memory, and has not heard that it was deleted: Redis
    decides."""
    deaf = DeafProxy(workdir, redis_server.address)
    refs = atomic("Holder", field("to", "optional<ref<Order>>", default=None))
    with new_daemon(deaf.address, {"coherence.bound": "1h"}).connect() as one, \
            new_daemon(redis_server.address).connect() as other:
        save(one)
        one.call("define", refs)
        one.call("doc.save", "Holder:1", {})
        deaf.unheard = lambda channel, payload: b"@proof" not in channel
        for key in (ONE, TWO):
            one.call("doc.get", key)
            assert other.call("doc.delete", key) == 1
            refused(one, "CONFLICT", "pipeline", [["if", key, "", {"exists": True}], ["set", "Holder:1", "to", key]])
        assert one.call("doc.load", "Holder:1", "to") is None
    deaf.stop()


def test_a_document_that_is_only_looked_at(two):
    """One daemon closes the shop, the other sells while it is open: nothing is sold after it was closed."""
    def work(client, number):
        if number == 1:  # of the second daemon
            client.call("pipeline", [["set", ONE, "status", "closed"], ["doc.load", ONE, "status"]])
            return client.call("doc.get", TWO, {"fresh": True})["total"]
        sold = 0
        while True:
            try:
                client.call("pipeline", [["if", ONE, "status", {"==": "open"}], ["num.incr", TWO, "total", 1]])
                sold += 1
            except RpcError as error:
                assert error.code == "CONFLICT", error
                return sold

    results = crowd(two, work, clients=3)
    with two[1].connect() as client:
        total = client.call("doc.get", TWO, {"fresh": True})["total"]
    assert total == results[0] + results[2] == results[1]


def test_a_lost_answer_gives_the_same_decision(redis_server, new_proxy, new_daemon, rdb):
    """The link is cut at each of some bytes of what Redis answers."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, FAST).connect() as client:
        save(client)
        client.call("doc.save", ONE, {"total": 0})
        for turn in range(12):
            proxy.cut_after(REPLIES, 3 + turn * 9)
            result = client.call("pipeline", [["if", ONE, "total", {"==": turn}], ["num.incr", ONE, "total", 1],
                                              ["if", ONE, "total", {">": 6}, 1], ["num.incr", TWO, "total", 1]])
            assert result == [True, turn + 1, turn >= 6, max(0, turn - 5) if turn >= 6 else None]
        proxy.disarm()
        with pytest.raises(RpcError, match="CONFLICT"):
            client.call("pipeline", [["if", ONE, "total", {"==": 11}], ["num.incr", ONE, "total", 1]])
    assert rdb.hget("rapyer:{Order:1}", "total") == b"12" and rdb.hget("rapyer:{Order:2}", "total") == b"6"


def test_documents_in_pipelines(client):
    """doc.exists, doc.ttl, doc.persist and doc.duplicate as parts of one."""
    result = client.call("pipeline", [
        ["doc.duplicate", ONE, "3"], ["num.incr", "Order:3", "total", 1], ["doc.ttl", "Order:3", 50],
        ["doc.ttl", "Order:3"], ["doc.persist", "Order:3"], ["doc.persist", "Order:3"], ["doc.exists", "Order:3"],
        ["doc.duplicate", "Order:3"]])
    assert result[1:7] == [8, 50, 50, True, False, 1]
    assert result[0]["key"] == "Order:3"
    copy = client.call("doc.get", result[7]["key"], {"fresh": True})
    assert copy["total"] == 8 and copy["tags"] == ["a", "b"] and copy["parts"] == [{"@pk": "p1", "n": 0}]
    with pytest.raises(RpcError, match=r"CONFLICT: operation 1 \(doc.duplicate\): Order:3 is there already"):
        client.call("pipeline", [["num.incr", ONE, "total", 1], ["doc.duplicate", ONE, "3"]])
    with pytest.raises(RpcError, match="CONFLICT: Order:1 cannot become its own copy"):
        client.call("pipeline", [["doc.duplicate", ONE, "1"]])
    with pytest.raises(RpcError, match=r"NOT_FOUND: operation 0 \(doc.duplicate\)"):
        client.call("pipeline", [["doc.duplicate", "Order:none", "9"]])
    assert client.call("doc.load", ONE, "total") == 7


def test_a_copy_of_what_others_change_is_whole(two):
    """Two parts of the original are always the same; so they are in each copy."""
    def work(client, number):
        for turn in range(15):
            if number % 2:
                client.call("pipeline", [["set", ONE, "status", f"{number}-{turn}"],
                                         ["dict.set", ONE, "counts", "k", number * 100 + turn]])
            else:
                client.call("pipeline", [["doc.duplicate", ONE, f"c{number}-{turn}"],
                                         ["if", f"Order:c{number}-{turn}", "", {"exists": True}]])
        return None

    client = two[0].connect()
    client.call("pipeline", [["set", ONE, "status", "0-0"], ["dict.set", ONE, "counts", "k", 0]])
    crowd(two, work)
    for number in (0, 2):
        for turn in range(15):
            copy = client.call("doc.get", f"Order:c{number}-{turn}", {"fresh": True})
            who, when = copy["status"].split("-")
            assert copy["counts"]["k"] == int(who) * 100 + int(when)
    client.close()


def test_after_a_while(client):
    """What the deadline of a new document is, within the pipeline that makes it."""
    client.call("define", atomic("Brief", field("n", "int", default=0), ttl=60))
    assert client.call("pipeline", [["doc.save", "Brief:1", {}], ["doc.ttl", "Brief:1"], ["doc.persist", "Brief:1"],
                                    ["doc.ttl", "Brief:1"]])[1:] == [60, True, -1]
    assert client.call("doc.ttl", "Brief:1") == -1
