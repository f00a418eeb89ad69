"""Lists, dicts and optionals of atomic models within each other: dict<list<Model>> and its like."""

import pytest

from layout_reader import LayoutReader
from models import atomic, field
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_guard import FAST
from test_two_daemons import crowd

STEP = atomic("Step", field("what", "str"), field("n", "int", default=0), field("tags", "list<str>"),
              field("note", "optional<str>", lazy=True))
PLAN = atomic("Plan", field("name", "str", default=""), field("lanes", "dict<list<Step>>"),
              field("grid", "list<list<Step>>"), field("index", "dict<dict<Step>>"),
              field("deep", "dict<list<dict<list<Step>>>>"), field("seats", "list<optional<Step>>"),
              field("maybe", "optional<list<Step>>"), field("late", "dict<list<Step>>", lazy=True),
              field("parts", "list<Part>"))
PART = atomic("Part", field("lanes", "dict<list<Step>>"))
MODELS = [STEP, PART, PLAN]
KEY, ROOT = "Plan:1", "rapyer:{Plan:1}"
EMPTY = {"@pk": "1", "name": "", "lanes": {}, "grid": [], "index": {}, "deep": {}, "seats": [], "maybe": None,
         "parts": []}


def step(pk, what="do", **more):
    return {"@pk": pk, "what": what, "n": 0, "tags": [], **more}


def full():
    return {"name": "x", "lanes": {"a": [step("1"), step("2")], "b": []}, "grid": [[step("1")], [], [step("1")]],
            "index": {"x": {"y": step("1"), "z": step("2")}}, "deep": {"k": [{"l": [step("9", tags=["t"])]}, {}]},
            "seats": [None, {"what": "sit", "n": 1, "tags": ["x"]}], "maybe": [step("m")],
            "late": {"l": [step("1")]}, "parts": [{"@pk": "p", "lanes": {"q": [step("s")]}}]}


def bare(value):
    """Without the names of lazy fields."""
    if isinstance(value, dict):
        return {key: bare(one) for key, one in value.items() if key != "@lazy"}
    return [bare(one) for one in value] if isinstance(value, list) else value


@pytest.fixture
def plan(client):
    for model in MODELS:
        client.call("define", model)
    client.call("doc.save", KEY, full())
    return client


@pytest.fixture
def reader(rdb):
    return LayoutReader(rdb, MODELS)


def whole(reader, client, key=KEY):
    """The document, which is the same in Redis, with no key too many."""
    document = client.call("doc.load", key, "")
    assert reader.read(key) == document
    wait_until(lambda: reader.orphans(key) == set(), timeout=5, what="no key that nothing leads to")
    return document


def test_what_is_saved_is_read(plan, reader, daemon):
    assert whole(reader, plan) == {"@pk": "1", **full()}
    assert bare(plan.call("doc.get", KEY)) == {"@pk": "1", **{k: v for k, v in full().items() if k != "late"}}
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        assert client.call("doc.load", KEY, "deep") == full()["deep"]
        assert client.call("doc.load", KEY, "") == {"@pk": "1", **full()}


def test_in_redis_each_inner_one_has_a_name(plan, rdb):
    lanes = rdb.hgetall(ROOT + "/lanes")
    assert set(lanes) == {b"a", b"b"}
    items = ROOT + "/lanes/" + lanes[b"a"].decode() + "/items"
    assert rdb.lrange(items, 0, -1) == [b"1", b"2"]
    assert rdb.hgetall(items + "/2") == {b"what": b"do", b"n": b"0"}


@pytest.mark.parametrize("request_, answer, path, there", [
    (["list.append", 'lanes["a"]', step("3")], 3, 'lanes["a"]', [step("1"), step("2"), step("3")]),
    (["list.append", 'lanes["b"]', step("3")], 1, 'lanes["b"]', [step("3")]),
    (["list.pop", 'lanes["a"]', 0], step("1"), 'lanes["a"]', [step("2")]),
    (["list.insert", 'lanes["a"]', 1, step("3")], 3, 'lanes["a"]', [step("1"), step("3"), step("2")]),
    (["list.extend", "grid[1]", [step("3")]], 1, "grid", [[step("1")], [step("3")], [step("1")]]),
    (["list.clear", 'lanes["a"]'], None, 'lanes["a"]', []),
    (["set", 'lanes["a"]', [step("7")]], None, 'lanes["a"]', [step("7")]),
    (["set", 'lanes["new"]', [step("7")]], None, 'lanes["new"]', [step("7")]),
    (["dict.set", "lanes", "new", [step("7")]], None, 'lanes["new"]', [step("7")]),
    (["dict.update", "lanes", {"b": [step("7")], "c": []}], None, "lanes",
     {"a": [step("1"), step("2")], "b": [step("7")], "c": []}),
    (["dict.pop", "lanes", "a"], [step("1"), step("2")], "lanes", {"b": []}),
    (["dict.del", "lanes", "a"], True, "lanes", {"b": []}),
    (["num.incr", 'lanes["a"][1].n', 4], 4, 'lanes["a"][1].n', 4),
    (["num.incr", 'lanes["a"]["2"].n', 4], 4, 'lanes["a"][-1].n', 4),
    (["list.append", 'lanes["a"]["2"].tags', "t"], 1, 'lanes["a"][1]', step("2", tags=["t"])),
    (["set", 'lanes["a"]["2"].note', "n"], None, 'lanes["a"][1]', step("2", note="n")),
    (["set", 'lanes["a"][0]', step("5")], None, 'lanes["a"]', [step("5"), step("2")]),
    (["list.append", "grid", [step("5")]], 4, "grid[-1]", [step("5")]),
    (["list.move", "grid", 0, 1], None, "grid", [[], [step("1")], [step("1")]]),
    (["list.set", "grid", 1, [step("5")]], None, "grid[1]", [step("5")]),
    (["list.remove_range", "grid", 0, 2], 2, "grid", [[step("1")]]),
    (["list.pop_many", "grid", -2], [[step("1")], []], "grid", [[step("1")]]),
    (["num.mul", 'index["x"]["y"].n', 4], 0, 'index["x"]["y"].n', 0),
    (["dict.set", 'index["x"]', "w", step("5")], None, 'index["x"]["w"]', step("5")),
    (["dict.pop", 'index["x"]', "y"], step("1"), "index", {"x": {"z": step("2")}}),
    (["dict.popitem", 'index["x"]'], ["z", step("2")], "index", {"x": {"y": step("1")}}),
    (["dict.clear", 'index["x"]'], None, "index", {"x": {}}),
    (["dict.clear", "index"], None, "index", {}),
    (["list.append", 'deep["k"][0]["l"]["9"].tags', "u"], 2, 'deep["k"][0]["l"][0].tags', ["t", "u"]),
    (["dict.set", 'deep["k"][1]', "m", [step("1")]], None, 'deep["k"][1]', {"m": [step("1")]}),
    (["list.append", 'deep["k"]', {"n": []}], 3, 'deep["k"][-1]', {"n": []}),
    (["num.incr", "seats[1].n", 1], 2, "seats[1]", {"what": "sit", "n": 2, "tags": ["x"]}),
    (["set", "seats[0]", {"what": "s", "n": 0, "tags": []}], None, "seats[0]", {"what": "s", "n": 0, "tags": []}),
    (["set", "seats[1]", None], None, "seats", [None, None]),
    (["list.append", "seats", None], 3, "seats[2]", None),
    (["list.append", "maybe", step("n")], 2, "maybe", [step("m"), step("n")]),
    (["num.incr", 'maybe["m"].n', 3], 3, "maybe[0].n", 3),
    (["set", "maybe", None], None, "maybe", None),
    (["set", "maybe", []], None, "maybe", []),
    (["list.append", 'late["l"]', step("3")], 2, 'late["l"]', [step("1"), step("3")]),
    (["list.pop", 'parts["p"].lanes["q"]'], step("s"), "parts", [{"@pk": "p", "lanes": {"q": []}}]),
    (["set", "lanes", {"z": [step("1")]}], None, "lanes", {"z": [step("1")]}),
], ids=str)
def test_operations_at_any_depth(plan, reader, request_, answer, path, there):
    got = plan.call(request_[0], KEY, *request_[1:])
    assert answer is None or got == answer
    assert plan.call("doc.load", KEY, path) == there
    whole(reader, plan)


def test_cold_places_are_read(plan, daemon):
    for path, value in [('lanes["a"]["2"].n', 0), ("grid[2][0].what", "do"), ('deep["k"][0]["l"]', [step("9", tags=["t"])]),
                        ("seats[1].tags", ["x"]), ('index["x"]', full()["index"]["x"])]:
        daemon.stop()
        daemon.start()
        with daemon.connect() as client:
            assert client.call("doc.load", KEY, path) == value


def test_what_leads_nowhere_is_refused(plan):
    before = plan.call("doc.get", KEY)
    for code, *request in [
            ("NOT_FOUND", "list.append", KEY, 'lanes["none"]', step("1")), ("NOT_FOUND", "doc.load", KEY, 'lanes["none"]'),
            ("NOT_FOUND", "doc.load", KEY, 'lanes["none"][0]'), ("NOT_FOUND", "list.pop", KEY, 'lanes["a"]["none"].tags'),
            ("OUT_OF_RANGE", "doc.load", KEY, "grid[9][0]"), ("OUT_OF_RANGE", "list.append", KEY, "grid[9]", step("1")),
            ("BAD_PATH", "doc.load", KEY, 'grid["a"]'), ("BAD_PATH", "doc.load", KEY, "grid.items"),
            ("BAD_PATH", "doc.load", KEY, 'lanes["a"].items'), ("BAD_PATH", "doc.load", KEY, "lanes[0]"),
            ("BAD_TYPE", "num.incr", KEY, 'lanes["a"]', 1), ("BAD_TYPE", "dict.set", KEY, 'lanes["a"]', "k", step("1")),
            ("BAD_TYPE", "list.append", KEY, "lanes", step("1")), ("BAD_TYPE", "set", KEY, 'lanes["a"]', step("1")),
            ("BAD_TYPE", "list.append", KEY, "grid", step("1")), ("BAD_VALUE", "list.append", KEY, 'lanes["a"]', step("1")),
            ("BAD_VALUE", "set", KEY, 'lanes["a"]', [step("1"), step("1")]), ("BAD_VALUE", "list.append", KEY, "grid", [{}]),
            ("NOT_FOUND", "num.incr", KEY, "seats[0].n", 1), ("BAD_TYPE", "list.index", KEY, "grid", [])]:
        refused(plan, code, *request)
    assert plan.call("doc.get", KEY) == before
    for kind in ("set<Step>", "list<set<Step>>", "sorted<Step>", "dict<optional<set<Step>>>"):
        refused(plan, "BAD_SCHEMA", "define", atomic("Bad", field("x", kind)))


def test_the_types_are_told_as_they_were_declared(plan, daemon):
    text = refused(plan, "BAD_TYPE", "list.append", KEY, "lanes", step("1"))
    assert "dict<list<Step>>" in text
    refused(plan, "SCHEMA_CONFLICT", "define", atomic("Part", field("lanes", "dict<dict<Step>>")))
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        for model in MODELS:
            assert client.call("define", model)["revision"] == 1


def test_delete_duplicate_save_over_and_ttl(plan, rdb, reader):
    plan.call("doc.duplicate", KEY, "2")
    assert {**whole(reader, plan, "Plan:2"), "@pk": "1"} == whole(reader, plan)
    plan.call("list.append", "Plan:2", 'lanes["a"]', step("3"))
    assert whole(reader, plan)["lanes"] == full()["lanes"]
    plan.call("doc.ttl", "Plan:2", 50)
    plan.call("list.append", "Plan:2", 'deep["k"][0]["l"]', step("new", tags=["x"]))
    assert all(0 < rdb.ttl(key) <= 50 for key in rdb.keys("*Plan:2*"))
    plan.call("doc.delete", "Plan:2")
    assert not rdb.keys("*Plan:2*")
    plan.call("doc.save", KEY, {})
    assert bare(plan.call("doc.get", KEY)) == EMPTY
    assert rdb.keys("*Plan:1*") == [ROOT.encode()]


def test_what_is_lazy_is_kept_in_dicts_of_lists(plan):
    plan.call("set", KEY, 'lanes["a"]["2"].note', "mine")
    plan.call("set", KEY, "grid[2][0].note", "third")
    document = plan.call("doc.get", KEY)
    text = refused(plan, "NOT_FOUND", "doc.save", KEY, document)  # which of the seats it was nothing tells
    assert "seats" in text
    document["seats"] = []
    plan.call("doc.save", KEY, document)
    assert plan.call("doc.load", KEY, 'lanes["a"][1].note') == "mine"
    assert plan.call("doc.load", KEY, "grid[2][0].note") == "third"
    lane = document["lanes"]["a"]
    plan.call("set", KEY, 'lanes["a"]', [lane[1], lane[0]])
    assert plan.call("doc.load", KEY, 'lanes["a"][0].note') == "mine"


def test_a_pipeline_is_whole(plan, reader):
    with pytest.raises(RpcError, match="OUT_OF_RANGE: operation 2"):
        plan.call("pipeline", [["list.append", KEY, 'lanes["a"]', step("3")], ["dict.set", KEY, "lanes", "c", []],
                               ["list.pop", KEY, 'lanes["c"]']])
    assert whole(reader, plan) == {"@pk": "1", **full()}
    plan.call("pipeline", [["dict.set", KEY, "lanes", "c", []], ["list.append", KEY, 'lanes["c"]', step("3")],
                           ["num.incr", KEY, 'lanes["c"]["3"].n', 2], ["dict.del", KEY, "lanes", "a"],
                           ["list.append", KEY, "grid", []], ["list.append", KEY, "grid[-1]", step("g")]])
    assert whole(reader, plan)["lanes"] == {"b": [], "c": [step("3", n=2)]}


def test_watches_are_as_wide_as_what_has_a_name(plan, daemon):
    with daemon.connect() as other:
        assert other.call("watch", KEY, 'lanes["a"][0].n')["path"] == "lanes"
        assert other.call("watch", KEY, "grid[0]")["path"] == "grid"
        assert other.call("watch", KEY, 'maybe["m"].n')["path"] == 'maybe["m"].n'
        plan.call("num.incr", KEY, 'lanes["a"]["1"].n', 1)
        plan.call("num.incr", KEY, "grid[0][0].n", 1)
        plan.call("num.incr", KEY, "maybe[0].n", 1)
        paths = [other.read_message()[2][2] for _ in range(3)]
        assert paths == [["lanes"], ["grid"], ['maybe["m"].n']]


# --- two daemons -------------------------------------------------------------------------------


@pytest.mark.parametrize("ours, theirs", [
    (["list.append", KEY, 'lanes["a"]', step("3")], ["dict.del", KEY, "lanes", "a"]),
    (["num.incr", KEY, 'lanes["a"]["1"].n', 1], ["dict.del", KEY, "lanes", "a"]),
    (["list.append", KEY, 'lanes["a"]["1"].tags', "t"], ["set", KEY, "lanes", {}]),
    (["dict.set", KEY, 'index["x"]', "new", step("3")], ["dict.clear", KEY, "index"]),
    (["set", KEY, "seats[1].n", 3], ["set", KEY, "seats[1]", None])])
def test_a_write_into_what_another_daemon_takes_is_refused(redis_server, new_proxy, new_daemon, reader, ours, theirs):
    proxy = new_proxy(redis_server.address)
    with (new_daemon(proxy.address, {**FAST, "coherence.bound": "1h"}).connect() as one,
          new_daemon(redis_server.address).connect() as two):
        for client in (one, two):
            for model in MODELS:
                client.call("define", model)
        one.call("doc.save", KEY, full())
        for client in (one, two):
            client.call("doc.load", KEY, "")
        proxy.freeze()
        sent = one.send(*ours)
        one.call("hello")
        two.call(*theirs)
        proxy.thaw()
        with pytest.raises(RpcError, match="NOT_FOUND"):
            one.wait(sent)
        whole(reader, two)


def test_two_daemons_agree(redis_server, new_daemon, rdb, reader):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            for model in MODELS:
                client.call("define", model)
    with daemons[0].connect() as client:
        client.call("doc.save", KEY, {"lanes": {"a": []}})

    def work(client, number):
        done = set()
        for turn in range(40):
            pk = f"{number}-{turn}"
            try:
                if turn % 10 == number:
                    client.call("dict.set", KEY, "lanes", "b", [step(pk)])
                elif turn % 3:
                    client.call("list.append", KEY, 'lanes["a"]', step(pk))
                    done.add(pk)
                else:
                    client.call("list.append", KEY, 'lanes["b"]', step(pk))
            except RpcError as error:
                assert error.code == "NOT_FOUND", error
        return done

    added = crowd(daemons, work)
    with daemons[0].connect() as one, daemons[1].connect() as two:
        documents = [client.call("doc.get", KEY, {"fresh": True}) for client in (one, two)]
        assert documents[0] == documents[1]
        document = whole(reader, one)
        assert {item["@pk"] for item in document["lanes"]["a"]} == set().union(*added)
