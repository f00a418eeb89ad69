"""Indexes that are looked after: what they lack, hold too much of or has been spoilt is told, and put right while
writes go on; what is dropped leaves no key behind."""

import json
import os
import subprocess
import threading

import pytest

from daemon_process import binary
from index_oracle import Oracle
from models import atomic, field
from rpc_client import RpcError, wait_until

CTL = os.path.join(os.path.dirname(os.path.dirname(binary())), "client", "rapyerctl")
PLACE = atomic("Place", field("town", "str", default="Bonn", index="exact"))
PERSON = atomic("Person", field("name", "str", index=["exact", "prefix"]), field("age", "int", default=0, index="range"),
                field("tags", "list<str>", index="tags"), field("mail", "optional<str>", unique=True),
                field("home", "Place"), field("places", "list<Place>"))
CLEAN = {"missing": 0, "left_over": 0, "undeclared": 0, "spoilt": [], "cursor": None}


def declare(client):
    client.call("define", PLACE, PERSON)
    return client


@pytest.fixture
def people(client):
    declare(client)
    client.call("doc.insert", [[f"Person:{i}", {"name": f"n{i % 7}", "age": i, "tags": ["a", f"t{i % 3}"],
                                                "mail": f"m{i}", "places": [{"town": "Rom"}] * (i % 2)}]
                               for i in range(60)])
    client.call("doc.ttl", "Person:0", 1000)
    return client


def check(client, model="Person", **options):
    answer = client.call("index.check", model, options)
    assert answer["cursor"] is None
    return answer


def states(client, model="Person"):
    return {f"{one['path']} {one['index']}": one["state"] for one in client.call("index.list", model)}


def test_list(people):
    assert {one["path"]: (one["index"], one["unique"], one["state"], one["key"])
            for one in people.call("index.list", "Person") if one["path"] != "name"} == {
        "age": ("range", False, "complete", None), "tags": ("tags", False, "complete", None),
        "mail": ("exact", True, "complete", None), "home.town": ("exact", False, "complete", None),
        "places[].town": ("exact", False, "complete", None)}
    assert {one["model"] for one in people.call("index.list")} == {"Person", "Place"}


def test_what_is_as_it_should_be(people):
    answer = check(people)
    assert answer["documents"] == 60 and answer["entries"] > 400
    assert {name: answer[name] for name in CLEAN} == CLEAN
    assert check(people, repair=True) == answer


def test_in_parts(redis_server, new_daemon):
    client = declare(new_daemon(redis_server.address, {"limits.find_documents": 10}).connect())
    client.call("doc.insert", [[f"Person:{i}", {"name": f"n{i}", "age": i}] for i in range(700)])
    sums, cursor, turns = {}, None, 0
    while turns == 0 or cursor is not None:
        answer = client.call("index.check", "Person", {"cursor": cursor})
        cursor = answer.pop("cursor")
        turns += 1
        assert answer.pop("spoilt") == []
        sums = {name: sums.get(name, 0) + n for name, n in answer.items()}
    assert turns > 3 and sums["documents"] >= 700 and sums["missing"] == sums["left_over"] == 0


def test_entries_that_are_missing_or_too_many(people, rdb):
    rdb.srem("rapyer:@index:Person/name=n1", "1")
    rdb.zrem("rapyer:@index:Person/age<", "7")
    rdb.zadd("rapyer:@index:Person/age<", {"8": 99})
    rdb.zrem("rapyer:@index:Person/name^", b"n2\x002")
    rdb.srem("rapyer:@index:Person/places[].town=Rom", "9")
    rdb.sadd("rapyer:@index:Person/tags=a", "nobody", "{")
    rdb.zadd("rapyer:@index:Person/name^", {b"x\x001": 0})
    rdb.set("rapyer:@index:Person/note=x", "y")
    rdb.sadd("rapyer:@index:Person/age=7", "7")
    found = check(people)
    assert (found["missing"], found["left_over"], found["undeclared"], found["spoilt"]) == (5, 3, 2, [])
    assert check(people, repair=True) == found
    assert {name: check(people)[name] for name in CLEAN} == CLEAN
    assert people.call("find.count", "Person", ["=", "name", "n1"]) == 9
    assert people.call("find", "Person", ["=", "age", 8])["keys"] == ["Person:8"]
    assert not rdb.exists("rapyer:@index:Person/note=x", "rapyer:@index:Person/age=7")


@pytest.mark.parametrize("key, want, expression", [
    ("name=n1", "name exact", ["=", "name", "n1"]), ("age<", "age range", [">", "age", 50]),
    ("name^", "name prefix", ["prefix", "name", "n"]), ("tags=t1", "tags tags", ["has", "tags", "t1"])])
def test_a_spoilt_key(people, rdb, daemon, key, want, expression):
    before = sorted(people.call("find", "Person", expression)["keys"])
    rdb.set(f"rapyer:@index:Person/{key}", "spoilt")
    with pytest.raises(RpcError, match="^CORRUPT: the index on .*index.check"):
        people.call("find", "Person", expression)
    assert check(people)["spoilt"] == [f"rapyer:@index:Person/{key}"]
    assert states(people)[want] == "spoilt"
    stop, writes = threading.Event(), []

    def write():
        with declare(daemon.connect()) as other:
            while not stop.is_set():
                other.call("set", "Person:59", "age", 60 + len(writes) % 40)
                writes.append(1)
    people.call("set", "Person:1", "age", 51)  # no harm to the document
    people.call("set", "Person:1", "age", 1)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert check(people, repair=True)["spoilt"] == [f"rapyer:@index:Person/{key}"]
        wait_until(lambda: set(states(people).values()) == {"complete"}, timeout=40, what="the index")
    finally:
        stop.set()
        writer.join()
    assert writes and sorted(people.call("find", "Person", expression)["keys"]) == before
    assert {name: check(people)[name] for name in CLEAN} == CLEAN


def test_what_is_sorted_by_a_spoilt_index(people, rdb):
    """It is said each time, wherever a find begins."""
    page = people.call("find", "Person", None, {"sort": "age", "limit": 5})
    rdb.delete("rapyer:@index:Person/age<")
    rdb.set("rapyer:@index:Person/age<", "x")
    for _ in range(2):
        for method, options in (("find", {}), ("find", {"cursor": page["cursor"]}), ("find.delete", {"limit": 1})):
            with pytest.raises(RpcError, match="^CORRUPT: the index on age.*index.check"):
                people.call(method, "Person", None, {"sort": "age", **options})


def test_what_documents_with_a_deadline_have_is_spoilt(people, rdb):
    for key in ("rapyer:@index:Person", "rapyer:@index:Person/@ttl"):
        rdb.delete(key)
        rdb.set(key, "x")
    assert set(check(people, repair=True)["spoilt"]) == {"rapyer:@index:Person", "rapyer:@index:Person/@ttl"}
    assert rdb.hexists("rapyer:@index:Person", "0") and rdb.zscore("rapyer:@index:Person/@ttl", "0")


def index_keys(rdb, model="Person"):
    return {key.decode() for key in rdb.keys(f"rapyer:@index:{model}*")}


def test_drop(people, rdb):
    Oracle(rdb, {**PERSON, "fields": PERSON["fields"][:3]})
    rdb.sadd("rapyer:@index:Person/tags*", "x")
    people.call("index.drop", "Person", "tags")
    assert "tags tags" not in states(people)
    with pytest.raises(RpcError, match="^NO_INDEX"):
        people.call("find", "Person", ["has", "tags", "a"])
    wait_until(lambda: not rdb.hexists("rapyer:@index", "Person/tags="), timeout=20, what="the end of the keys")
    assert not [key for key in index_keys(rdb) if "/tags" in key]
    people.call("index.drop", "Person", "name", "prefix")
    assert people.call("find.count", "Person", ["=", "name", "n1"]) == 9
    wait_until(lambda: not rdb.exists("rapyer:@index:Person/name^"), timeout=20, what="the end of the key")
    people.call("set", "Person:1", "tags", ["z"])
    assert {name: check(people)[name] for name in CLEAN} == CLEAN


def test_drop_all(client, rdb):
    client.call("define", PLACE)
    client.call("doc.insert", [[f"Place:{i}", {"town": f"t{i}"}] for i in range(50)])
    client.call("doc.ttl", "Place:1", 100)
    client.call("index.drop", "Place", "town", ["exact"])
    assert client.call("index.list") == []
    wait_until(lambda: not index_keys(rdb, "Place") and not rdb.exists("rapyer:@index"), timeout=20, what="no keys")
    client.call("doc.save", "Place:x", {"town": "y"})
    assert not index_keys(rdb, "Place")


def test_dropped_and_declared_again_while_others_write(redis_server, new_daemon, rdb):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    with declare(daemons[0].connect()) as a, declare(daemons[1].connect()) as b:
        a.call("doc.insert", [[f"Person:{i}", {"name": "n", "age": i}] for i in range(40)])
        a.call("index.drop", "Person", "age")
        for i in range(40):
            b.call("num.incr", f"Person:{i}", "age", 1)
        wait_until(lambda: "age range" not in states(b), what="the news")
        with pytest.raises(RpcError, match="^NO_INDEX"):
            b.call("find", "Person", [">", "age", 3])
        wait_until(lambda: not rdb.exists("rapyer:@index:Person/age<"), timeout=20, what="the end of the key")
        b.call("define", PLACE, PERSON)
        for i in range(40):
            a.call("num.incr", f"Person:{i}", "age", 1)
        wait_until(lambda: states(a).get("age range") == "complete", timeout=40, what="the index")
        assert sorted(a.call("find", "Person", [">", "age", 20], {"limit": 100, "keys": True})["keys"]) == sorted(
            f"Person:{i}" for i in range(19, 40))
        assert {name: check(a)[name] for name in CLEAN} == CLEAN


def test_the_index_of_a_model_in_a_field_is_dropped_where_it_is_declared(people, rdb):
    with pytest.raises(RpcError, match="^UNKNOWN_FIELD: .*where it is declared"):
        people.call("index.drop", "Person", "home.town")
    people.call("index.drop", "Place", "town")
    wait_until(lambda: not [key for key in index_keys(rdb) if "town" in key], timeout=20, what="no such keys")


def test_build(people, rdb):
    rdb.delete("rapyer:@index:Person/age<")
    assert people.call("index.build", "Person") == len(people.call("index.list", "Person"))
    assert "building" in states(people).values()
    wait_until(lambda: set(states(people).values()) == {"complete"}, timeout=40, what="the indexes")
    assert people.call("find.count", "Person", [">=", "age", 30]) == 30


@pytest.mark.parametrize("params, error", [
    (["index.list", 1], "BAD_REQUEST"), (["index.list", "Nobody"], "UNKNOWN_MODEL"),
    (["index.build"], "BAD_REQUEST"), (["index.check"], "BAD_REQUEST"), (["index.check", "Nobody"], "UNKNOWN_MODEL"),
    (["index.check", "Person", {"repair": 1}], "BAD_REQUEST"), (["index.check", "Person", {"cursor": "x1"}], "BAD_REQUEST"),
    (["index.check", "Person", {"cursor": "k1z"}], "BAD_REQUEST"), (["index.check", "Person", {"nothing": 1}], "BAD_REQUEST"),
    (["index.check", "Person", [1]], "BAD_REQUEST"),
    (["index.drop", "Person"], "BAD_REQUEST"), (["index.drop", "Nobody", "x"], "UNKNOWN_MODEL"),
    (["index.drop", "Person", "x"], "UNKNOWN_FIELD"), (["index.drop", "Person", "home"], "NO_INDEX"),
    (["index.drop", "Person", "age", "exact"], "NO_INDEX"), (["index.drop", "Person", "age", "wrong"], "BAD_SCHEMA"),
    (["index.drop", "Person", "mail"], "SCHEMA_CONFLICT"), (["index.drop", 1, "age"], "BAD_REQUEST")])
def test_bad_input(people, params, error):
    before = states(people)
    with pytest.raises(RpcError, match=f"^{error}"):
        people.call(*params)
    assert states(people) == before


def test_ctl(people, rdb, daemon):
    def ctl(*args, code=0):
        done = subprocess.run([CTL, "-s", daemon.socket, "index", *args], capture_output=True, text=True, timeout=60,
                              check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr
    assert "places[].town" in ctl("list") and len(ctl("list", "Person").splitlines()) == 8
    assert {one["state"] for one in json.loads(ctl("list", "--json"))} == {"complete"}
    rdb.srem("rapyer:@index:Person/name=n1", "1")
    rdb.set("rapyer:@index:Person/name=n2", "x")
    assert "n2 is spoilt" in ctl("check", "Person", code=1)
    assert "missing    " in ctl("check", "Person", "--repair")
    wait_until(lambda: set(states(people).values()) == {"complete"}, timeout=40, what="the index")
    assert json.loads(ctl("check", "Person", "--json"))["missing"] == 0
    ctl("build", "Person")
    assert "--yes" in ctl("drop", "Person", "age", code=2)
    ctl("drop", "Person", "age", "--yes")
    assert "age range" not in states(people)
    assert "NO_INDEX" in ctl("drop", "Person", "age", "--yes", code=1)
    assert "index takes" in ctl("mend", code=2)


def test_another_default_is_another_index(client):
    """Who lacks the field is found by the new default, or NO_INDEX is said, as soon as it is declared."""
    def declare_with(default):
        client.call("define", atomic("Thing", field("o", "optional<str>", index="exact", **default)))

    def found(value):
        try:
            return client.call("find.count", "Thing", ["=", "o", value])
        except RpcError as error:
            assert error.code == "NO_INDEX"
            return None

    declare_with({})
    client.call("doc.insert", [[f"Thing:{i}", {}] for i in range(300)])
    assert found(None) == 300
    declare_with({"default": "zz"})
    assert found("zz") in (None, 300)
    assert wait_until(lambda: found("zz"), what="the index with the new default") == 300
    assert found(None) == 0
    check(client, "Thing", repair=True)  # entries by defaults that were
    assert check(client, "Thing")["left_over"] == 0
