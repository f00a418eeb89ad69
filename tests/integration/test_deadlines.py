"""Deadlines are Redis': what a daemon remembers of one is never written, and a document ends whole.
Two daemons, every operation, in every order, and programs that know nothing of rapyerd."""

import itertools
import time

import pytest

from models import atomic, field
from rpc_client import wait_until
from test_bad_input import refused

KEY, ROOT = "Stay:1", "rapyer:{Stay:1}"
MODELS = [
    atomic("Item", field("n", "int", default=0), field("tags", "list<str>"), field("inner", "dict<int>")),
    atomic("Stay", field("n", "int", default=0), field("text", "str", default=""), field("tags", "list<str>"),
           field("full", "list<str>"), field("counts", "dict<int>"), field("items", "list<Item>"),
           field("named", "dict<Item>"), field("marks", "set<str>")),
]
START = {"full": ["a", "b"], "items": [{"@pk": "i", "tags": ["t"]}], "named": {"k": {"@pk": "k"}}}

# What the one daemon says of the deadline, and what is said of it then.
DEADLINES = {"in a while": 500, "never": 0}
OPERATIONS = {
    "an increment": ["num.incr", KEY, "n", 1],
    "a new list": ["list.append", KEY, "tags", "x"],
    "an old list": ["list.append", KEY, "full", "x"],
    "a product": ["num.mul", KEY, "n", 2],
    "a new dict": ["dict.set", KEY, "counts", "x", 1],
    "a new element": ["list.append", KEY, "items", {"@pk": "new", "tags": ["x"]}],
    "a new set": ["set.add", KEY, "marks", "x"],
    "within an element": ["dict.set", KEY, 'items["i"].inner', "x", 1],
    "a pipeline": ["pipeline", [["list.extend", KEY, "tags", ["x", "y"]],
                                ["dict.update", KEY, "named", {"m": {"@pk": "m", "tags": ["z"]}}]]],
}


@pytest.fixture
def sides(redis_server, new_daemon):
    with new_daemon(redis_server.address).connect() as a, new_daemon(redis_server.address).connect() as b:
        for model in MODELS:
            a.call("define", model)
        yield a, b


def deadlines(rdb):
    """Of each key of the document: ms that it still lives, -1: for ever."""
    return {key.decode(): rdb.pttl(key) for key in rdb.keys(ROOT + "*")}


def expect_whole(rdb, seconds):
    left = deadlines(rdb)
    assert ROOT in left
    for key, ms in left.items():
        if seconds == 0:
            assert ms == -1, left
        else:
            assert (seconds - 60) * 1000 < ms <= seconds * 1000, left
    assert max(left.values()) - min(left.values()) < 100, left  # read one after the other


@pytest.mark.parametrize("before, deadline, order, operation",
                         itertools.product(DEADLINES, DEADLINES, ["read before", "read after"], OPERATIONS))
def test_the_deadline_is_the_last_that_was_said(sides, rdb, before, deadline, order, operation):
    """Shows C9."""
    a, b = sides
    a.call("doc.save", KEY, START)
    a.call("doc.ttl", KEY, {"in a while": 300, "never": 0}[before])
    if order == "read before":
        b.call("doc.load", KEY, "")
    a.call("doc.ttl", KEY, DEADLINES[deadline])
    b.call(*OPERATIONS[operation])
    expect_whole(rdb, DEADLINES[deadline])
    # And the other way round: who knows the deadline does not know of the new keys.
    a.call("doc.ttl", KEY, 700)
    expect_whole(rdb, 700)
    b.call(*OPERATIONS["a new element"][:3], {"@pk": "last", "tags": ["x"]})
    a.call("doc.ttl", KEY, 0)
    expect_whole(rdb, 0)


@pytest.mark.parametrize("command", ["EXPIRE", "PERSIST"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_another_program_says_is_not_taken_back(sides, rdb, command, operation):
    """Shows C9."""
    a, b = sides
    a.call("doc.save", KEY, START)
    a.call("doc.ttl", KEY, 0 if command == "EXPIRE" else 300)
    b.call("doc.load", KEY, "")
    for key in rdb.keys(ROOT + "*"):
        rdb.execute_command(command, key, *([500] if command == "EXPIRE" else []))
    b.call(*OPERATIONS[operation])
    a.call("list.append", KEY, "full", "y")
    expect_whole(rdb, 500 if command == "EXPIRE" else 0)
    assert a.call("doc.get", KEY, {"fresh": True})
    assert a.call("doc.ttl", KEY) == (500 if command == "EXPIRE" else -1)


def test_a_document_that_is_saved_anew_has_the_models_deadline(sides, rdb):
    """Shows C9."""
    a, b = sides
    for client in (a, b):
        client.call("define", atomic("Stay", ttl=400))
    a.call("doc.save", KEY, START)
    expect_whole(rdb, 400)
    b.call("list.append", KEY, "tags", "x")
    expect_whole(rdb, 400)
    a.call("doc.ttl", KEY, 0)
    b.call("dict.set", KEY, "counts", "x", 1)
    expect_whole(rdb, 0)
    b.call("doc.save", KEY, START)
    expect_whole(rdb, 400)


SAVES = {"alone": lambda client, *more: client.call("doc.save", KEY, START, *more),
         "in a pipeline": lambda client, *more: client.call("pipeline", [["doc.save", KEY, START, *more],
                                                                         ["doc.ttl", KEY]])}


@pytest.mark.parametrize("save", SAVES)
def test_what_was_said_by_hand_outlives_a_save(sides, rdb, save):
    """By whoever it was said, unless the model has a ttl of its own, or the save takes it back. Shows C9."""
    a, b = sides
    SAVES[save](a)
    expect_whole(rdb, 0)
    a.call("doc.ttl", KEY, 500)
    b.call("list.append", KEY, "tags", "x")
    SAVES[save](b)
    expect_whole(rdb, 500)
    SAVES[save](a, {"reset_ttl": False})
    for key in rdb.keys(ROOT + "*"):
        rdb.expire(key, 300)
    SAVES[save](b)
    expect_whole(rdb, 300)
    assert a.call("doc.get", KEY, {"fresh": True}) and 290 < a.call("doc.ttl", KEY) <= 300
    SAVES[save](a, {"reset_ttl": True})
    expect_whole(rdb, 0)
    for bad in ({"reset": True}, {"reset_ttl": 1}, True, [], {"reset_ttl": True, "x": 1}):
        refused(a, "BAD_REQUEST", "doc.save", KEY, START, bad)
        refused(a, "BAD_REQUEST", "pipeline", [["doc.save", KEY, START, bad]])


def test_a_save_after_the_end_begins_anew(sides, rdb):
    """Shows C9."""
    a, b = sides
    a.call("doc.save", KEY, START)
    b.call("doc.get", KEY)
    a.call("pipeline", [["doc.ttl", KEY, 300], ["doc.delete", KEY], ["doc.save", KEY, START]])
    expect_whole(rdb, 0)
    a.call("doc.ttl", KEY, 300)
    rdb.delete(*rdb.keys(ROOT + "*"))
    b.call("doc.save", KEY, START)
    expect_whole(rdb, 0)


def test_a_model_that_lives_on_with_each_write_has_one_deadline(sides, rdb):
    """Shows C9."""
    a, b = sides
    for client in (a, b):
        client.call("define", atomic("Stay", ttl=400, refresh_ttl=True))
    a.call("doc.save", KEY, START)
    for client, operation in itertools.product((a, b), OPERATIONS):
        if operation not in ("a new element", "a pipeline") or client is a:
            client.call(*OPERATIONS[operation])
        expect_whole(rdb, 400)
    for i in range(20):
        (a, b)[i % 2].call("list.append", KEY, "items", {"tags": ["x"]})
        expect_whole(rdb, 400)


def test_a_document_ends_whole(sides, rdb):
    """Shows C9."""
    a, b = sides
    a.call("doc.save", KEY, START)
    b.call("doc.load", KEY, "")
    a.call("doc.ttl", KEY, 1)
    while b.call("doc.exists", KEY) and rdb.exists(ROOT):
        with_new = ["list.append", KEY, "items", {"tags": ["x"]}]
        try:
            b.call(*with_new)
        except Exception as error:
            assert str(error).startswith("NOT_FOUND"), error
            break
        assert "items" in b.call("doc.get", KEY)
        time.sleep(0.05)
    wait_until(lambda: not rdb.keys(ROOT + "*"), what="the end of all keys")
    refused(b, "NOT_FOUND", "list.append", KEY, "tags", "x")
    assert a.call("doc.exists", KEY) == 0
