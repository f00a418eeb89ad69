"""The entries of documents in indexes are what the documents are, whoever changed them, in whatever
way, and whatever happened to the link or to a daemon meanwhile."""

import os
import random

import pytest

from index_oracle import Oracle
from models import atomic, field
from rpc_client import RpcError, wait_until

FULL = os.environ.get("RAPYER_FULL")
PERSON = atomic(
    "Person", field("name", "str", index=["exact", "prefix"]),
    field("age", "int", default=0, index=["range"]),
    field("rank", "int", default=0, index=["exact", "range"]),
    field("score", "float", default=0.0, index="range"),
    field("born", "optional<date>", index="range"), field("city", "optional<str>", index="exact"),
    field("note", "str", default=""), field("tags", "list<str>", index="tags"),
    field("clubs", "set<str>", index="tags"), field("langs", "dict<int>", index="tags"))


@pytest.fixture
def people(client):
    client.call("define", PERSON)
    return client


@pytest.fixture
def oracle(rdb):
    return Oracle(rdb, PERSON)


ADA = {"name": "Ada", "age": 36, "city": "London", "born": "1815-12-10", "tags": ["a", "b"],
       "clubs": ["x"], "langs": {"en": 1}}


@pytest.mark.parametrize("calls", [
    [],
    [("set", "age", 37)],
    [("set", "age", 36)],
    [("set", "city", None)],
    [("set", "city", "Paris"), ("set", "city", "London")],
    [("set", "name", "Lovelace " * 40)],
    [("num.incr", "age", 5), ("num.incr", "age", -7), ("num.incr", "rank", 1)],
    [("num.incr", "age", 1 << 60), ("num.incr", "age", 1)],
    [("num.mul", "rank", 3), ("num.incr", "rank", 2), ("num.mul", "rank", 3)],
    [("set", "score", -0.0), ("num.incr", "score", 1.5), ("num.div", "score", 4)],
    [("set", "born", "2000-01-31"), ("set", "born", None)],
    [("str.append", "name", "!")],
    [("list.append", "tags", "a"), ("list.pop", "tags", 0), ("list.extend", "tags", ["c", "c"])],
    [("list.clear", "tags"), ("set", "tags", ["z"])],
    [("set.add", "clubs", "y"), ("set.remove", "clubs", "x"), ("set.unite", "clubs", ["w"])],
    [("dict.set", "langs", "fr", 2), ("dict.del", "langs", "en")],
])
def test_operations(people, oracle, calls):
    people.call("doc.save", "Person:a", ADA)
    people.call("doc.save", "Person:b", {**ADA, "city": "Paris"})
    assert oracle.check() > 20
    for method, *args in calls:
        people.call(method, "Person:a", *args)
        oracle.check()
    people.call("pipeline", [[m, "Person:b", *args] for m, *args in calls])
    oracle.check()
    people.call("doc.save", "Person:a", {"name": "Eve"})
    oracle.check()
    people.call("doc.duplicate", "Person:b", "c")
    oracle.check()
    people.call("doc.delete", "Person:a", "Person:b", "Person:c")
    assert oracle.check() == 0


def test_what_gathers_is_merged(people, oracle):
    people.call("doc.insert", [[f"Person:{i}", ADA] for i in range(3)])
    sent = [people.send(*call) for i in range(30) for call in (
        ("num.incr", f"Person:{i % 3}", "age", i), ("set", f"Person:{i % 3}", "city", f"c{i % 4}"),
        ("set", f"Person:{i % 3}", "age", i), ("num.incr", f"Person:{i % 3}", "rank", i),
        ("list.append", f"Person:{i % 3}", "tags", f"t{i}"))]
    for request in sent:
        people.wait(request)
    oracle.check()
    sent = [people.send("doc.delete", "Person:0"), people.send("doc.save", "Person:0", ADA),
            people.send("set", "Person:0", "city", "Rome"), people.send("doc.delete", "Person:1"),
            people.send("doc.save", "Person:7", ADA), people.send("doc.delete", "Person:7")]
    for request in sent:
        people.wait(request)
    oracle.check()


def test_documents_that_take_the_same_value_share_commands(people, oracle, rdb):
    keys = [f"Person:{i}" for i in range(1000)]
    people.call("doc.insert", [[key, {**ADA, "rank": i % 500}] for i, key in enumerate(keys)])
    rdb.config_resetstat()
    people.send_raw(b"".join(people.pack([0, 10**6 + i, "set", [key, "city", "Paris"]]) for i, key in enumerate(keys)))
    for i in range(len(keys)):
        people.wait(10**6 + i)
    calls = {name: rdb.info("commandstats")[f"cmdstat_{name}"]["calls"] for name in ("sadd", "srem", "set")}
    assert calls["sadd"] == calls["srem"] <= calls["set"] < len(keys)  # each commit sets its marker
    oracle.check()
    # More values than are gathered at a time, in turns.
    for request in [people.send("set", key, "rank", i % 300) for i, key in enumerate(keys)]:
        people.wait(request)
    oracle.check()


def test_two_values_with_the_same_entry(people, oracle):
    first, second = ("h" * 64 + middle * 50 + "t" * 48 for middle in "12")
    keys = [f"Person:{i}" for i in range(3)]
    people.call("doc.insert", [[key, {**ADA, "name": first}] for key in keys])
    for name in (second, first, "Ada", second):
        for request in [people.send("set", key, "name", name) for key in keys]:
            people.wait(request)
        oracle.check()
        assert sorted(people.call("find", "Person", ["=", "name", name], {"keys": True})["keys"]) == keys


def test_nothing_of_a_refused_pipeline(people, oracle, rdb):
    version = people.call("doc.save", "Person:a", ADA)["version"]
    rdb.hincrby("rapyer:{Person:a}", "@v", 1)  # somebody else was here
    with pytest.raises(RpcError, match="CONFLICT"):
        people.call("pipeline", [["set", "Person:a", "city", "Rome"], ["num.incr", "Person:a", "age", 1]],
                    {"if_version": {"Person:a": version}})
    oracle.check()


def test_under_a_lock(people, oracle):
    people.call("doc.save", "Person:a", ADA)
    token = people.call("lock.acquire", "Person:a", "x")["token"]
    people.call("lock.release", token, [["set", "Person:a", "city", "Rome"],
                                        ["num.incr", "Person:a", "age", 1]])
    oracle.check()


def test_nested_and_elements(client, rdb):
    client.call("define", atomic("Home", field("town", "str", default="", index="exact")))
    client.call("define", atomic("Pet", field("kind", "str", index="exact"),
                                 field("age", "int", default=0, index="range")))
    client.call("define", atomic("Owner", field("home", "Home"), field("pets", "list<Pet>")))
    client.call("doc.save", "Owner:1", {"home": {"town": "Bonn"}, "pets": [
        {"@pk": "p", "kind": "cat", "age": 3}, {"@pk": "q", "kind": "dog"}]})
    head = "rapyer:@index:Owner/"
    assert rdb.smembers(head + "home.town=Bonn") == {b"1"}
    assert rdb.smembers(head + "pets[].kind=cat") == {b"1"}
    assert rdb.zscore(head + "pets[].age<", "1\0p") == 3
    client.call("set", "Owner:1", "home.town", "Köln")
    client.call("set", "Owner:1", 'pets["p"].age', 4)
    client.call("list.pop", "Owner:1", "pets")
    assert not rdb.exists(head + "home.town=Bonn", head + "pets[].kind=dog")
    assert rdb.smembers(head + "home.town=Köln") == {b"1"}
    assert rdb.zrange(head + "pets[].age<", 0, -1, withscores=True) == [(b"1\0p", 4.0)]
    client.call("set", "Owner:1", "home", {"town": "Ulm"})
    assert rdb.smembers(head + "home.town=Ulm") == {b"1"}
    client.call("doc.delete", "Owner:1")
    assert not [k for k in rdb.keys(head + "*")]


class Worker:
    """Does anything at random to a few documents."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def call(self):
        r = self.random
        key = f"Person:{r.randrange(6)}"
        city = lambda: r.choice([None, "", "London", "Paris", "x" * 200, "x" * 150 + "y" * 50])
        name, tag = (lambda: r.choice(["", "Ada", "Adam", "Bob"])), (lambda: r.choice(["", *"abc"]))
        doc = lambda: {"name": name(), "age": r.randrange(5), "city": city(),
                       "tags": [tag() for _ in range(r.randrange(4))]}
        return r.choice([
            lambda: ("doc.save", key, doc()), lambda: ("doc.delete", key),
            lambda: ("set", key, "city", city()), lambda: ("set", key, "age", r.randrange(5)),
            lambda: ("num.incr", key, "age", r.randrange(-3, 4)),
            lambda: ("num.incr", key, "rank", 1), lambda: ("num.mul", key, "rank", -1),
            lambda: ("list.append", key, "tags", tag()),
            lambda: ("list.pop", key, "tags"), lambda: ("set.add", key, "clubs", tag()),
            lambda: ("set.remove", key, "clubs", tag()),
            lambda: ("dict.set", key, "langs", r.choice("xyz"), 1),
            lambda: ("set", key, "name", name()),
            lambda: ("doc.ttl", key, r.choice([0, 1000])),
            lambda: ("pipeline", [["set", key, "city", city()], ["num.incr", "Person:0", "age", 1],
                                  ["set", key, "name", "Eve"]])])()


def drive(clients, worker, n, also=()):
    """also: codes of refusals that are well, too."""
    sent = []
    for _ in range(n):
        client = worker.random.choice(clients)
        sent.append((client, client.send(*worker.call())))
    for client, request in sent:
        try:
            client.wait(request)
        except RpcError as e:
            assert e.code in ("NOT_FOUND", "OUT_OF_RANGE", "UNAVAILABLE", "BUSY", *also), e


@pytest.mark.parametrize("seed", range(2 if not FULL else 20))
def test_random(people, oracle, seed):
    worker = Worker(seed)
    for _ in range(20 if not FULL else 100):
        drive([people], worker, worker.random.choice([1, 3, 20]))
        oracle.check()


@pytest.mark.parametrize("seed", range(2 if not FULL else 20))
def test_random_on_two_daemons(daemons, oracle, seed):
    """What one has written and the other did not know of may be left over; nothing is missing."""
    worker = Worker(seed)
    with daemons[0].connect() as one, daemons[1].connect() as two:
        one.call("define", PERSON)
        two.call("define", PERSON)
        for _ in range(20 if not FULL else 100):
            drive([one, two], worker, worker.random.choice([2, 6, 40]))
            oracle.check(exact=False)


@pytest.mark.parametrize("seed", range(1 if not FULL else 20))
def test_random_with_cuts(redis_server, new_proxy, new_daemon, oracle, seed):
    """The link is cut in the middle of commits: each is there once, and so are its entries."""
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address)
    worker = Worker(seed)
    with daemon.connect() as client:
        client.call("define", PERSON)
        for _ in range(10 if not FULL else 60):
            proxy.cut_after(worker.random.choice(["requests", "replies"]), worker.random.randrange(1, 3000))
            drive([client], worker, 20)
            oracle.check()


@pytest.mark.parametrize("first, then", [({"index": "exact"}, {}), ({"unique": True}, {}), ({}, {"index": "exact"})],
                         ids=str)
def test_an_exact_index_is_not_of_ints_and_floats(client, first, then):
    """A million is stored as 1000000 by the one and as 1e+06 by the other."""
    def declare(kind, **options):
        default = {} if "unique" in first else {"default": 0}
        client.call("define", atomic("Count", field("n", kind, **default, **options)))
    declare("int", **first)
    client.call("doc.save", "Count:1", {"n": 1_000_000})
    if then:
        declare("float")
    with pytest.raises(RpcError, match="^SCHEMA_CONFLICT: field 'n' of model 'Count' was an int"):
        declare("float", **then)
    if then:
        declare("float", index="range")
        wait_until(lambda: {one["state"] for one in client.call("index.list", "Count")} == {"complete"}, what="the index")
        assert client.call("find", "Count", ["=", "n", 1e6])["keys"] == ["Count:1"]
