"""Reading what is not in memory: in as few round trips as it is deep, and no more than was asked for."""

import os
import random

import msgpack
import pytest

from models import ADA, KEY, ROOT, atomic, define_all, field, save_ada
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_cache import asked, begin_to_count

MANY = 100_000
HUGE = os.environ.get("RAPYER_FULL")
QUIET = {"coherence.audit": "0"}  # what is asked of Redis is counted here
ITEM = atomic("Item", field("name", "str", default=""), field("n", "int", default=0),
              field("tags", "list<str>"))
SHELF = atomic("Shelf", field("title", "str", default=""), field("items", "list<Item>"),
               field("named", "dict<Item>"), field("numbers", "list<int>"), field("counts", "dict<int>"))
SHELF_KEY = "Shelf:1"
BASE = "rapyer:{Shelf:1}"


def items(n):
    return [{"@pk": f"p{i}", "name": f"item {i}", "n": i, "tags": [f"t{i}"]} for i in range(n)]


def shelf(n):
    return {"title": "all", "items": items(n), "named": {f"k{i}": {**item, "@pk": f"q{i}"}
                                                        for i, item in enumerate(items(n))},
            "numbers": list(range(n)), "counts": {f"k{i}": i for i in range(n)}}


def define(client):
    client.call("define", ITEM)
    client.call("define", SHELF)


@pytest.fixture
def writer(redis_server, new_daemon):
    with new_daemon(redis_server.address).connect() as client:
        define(client)
        yield client


@pytest.fixture
def reader(writer, redis_server, new_daemon):
    """A daemon that has nothing of the shelf in memory yet; it has 300 of each."""
    writer.call("doc.save", SHELF_KEY, shelf(300))
    with new_daemon(redis_server.address, QUIET).connect() as client:
        define(client)
        yield client


def round_trips(rdb):
    stats = rdb.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("exec", "eval"))


# --- round trips -------------------------------------------------------------------------------


def nested(depth):
    """Models and a document with a list in a list, so deep; a path to its bottom."""
    models = [atomic("Level0", field("v", "int", default=0))]
    document, path = {"@pk": "e", "v": 7}, "v"
    for i in range(1, depth):
        models.append(atomic(f"Level{i}", field("v", "int", default=0), field("down", f"list<Level{i - 1}>")))
        document, path = {"@pk": "e", "down": [document]}, "down[0]." + path
    document.pop("@pk")
    return models, f"Level{depth - 1}:1", document, path


@pytest.mark.parametrize("depth", [1, 2, 5, 10])
@pytest.mark.parametrize("what", ["path", "pks", "whole"])
def test_as_many_round_trips_as_it_is_deep(redis_server, new_daemon, rdb, depth, what):
    models, key, document, path = nested(depth)
    with new_daemon(redis_server.address).connect() as client:
        for model in models:
            client.call("define", model)
        client.call("doc.save", key, document)
    with new_daemon(redis_server.address, QUIET).connect() as client:
        for model in models:
            client.call("define", model)
        begin_to_count(rdb)
        if what == "whole":
            assert client.call("doc.get", key)["v" if depth == 1 else "down"]
        else:
            assert client.call("doc.load", key, path.replace("[0]", '["e"]') if what == "pks" else path) == 7
        assert round_trips(rdb) == depth


def test_what_is_wide_costs_no_more_round_trips(redis_server, new_daemon, rdb):
    with new_daemon(redis_server.address).connect() as client:
        save_ada(client)
    with new_daemon(redis_server.address, QUIET).connect() as client:
        define_all(client)
        begin_to_count(rdb)
        assert client.call("doc.load", KEY, "") == {"@pk": "ada", **ADA}
        assert round_trips(rdb) == 4  # the root, its lists, the sections' tasks, their tags


# --- one element ---------------------------------------------------------------------------------


ONE = [
    ('items["p77"]', items(78)[77]), ('items["p77"].n', 77), ('items["p77"].tags', ["t77"]),
    ("items[77]", items(78)[77]), ("items[-223].name", "item 77"),
    ('named["k77"]', {**items(78)[77], "@pk": "q77"}), ('named["k77"].tags[0]', "t77"),
    ("numbers[77]", 77), ("numbers[-1]", 299), ('counts["k77"]', 77),
]


@pytest.mark.parametrize("path, expected", ONE, ids=[path for path, _ in ONE])
def test_one_element_is_read_without_the_others(reader, rdb, path, expected):
    begin_to_count(rdb)
    assert reader.call("doc.load", SHELF_KEY, path) == expected
    spent = asked(rdb)
    assert spent["hgetall"] <= 2 and spent.get("hget", 0) <= 4, spent
    assert spent.get("lrange", 0) == (1 if "tags" in path or path.endswith(("]",)) and "[" in path and
                                      path.startswith(("items", "named")) else 0), spent
    begin_to_count(rdb)
    assert reader.call("doc.load", SHELF_KEY, path) == expected
    assert reader.call("doc.get", SHELF_KEY, {"paths": [path]}) == {path: expected}
    assert asked(rdb) == {}


NONE = [('items["none"]', "NOT_FOUND"), ('items["none"].n', "NOT_FOUND"), ("items[300]", "OUT_OF_RANGE"),
        ("items[-301].n", "OUT_OF_RANGE"), ('named["none"]', "NOT_FOUND"), ('named["none"].n', "NOT_FOUND"),
        ("numbers[300]", "OUT_OF_RANGE"), ('counts["none"]', "NOT_FOUND")]


@pytest.mark.parametrize("path, code", NONE, ids=[path for path, _ in NONE])
def test_one_that_is_not_there_is_refused_in_the_same_words(reader, writer, rdb, path, code):
    begin_to_count(rdb)
    said = refused(reader, code, "doc.load", SHELF_KEY, path)
    assert asked(rdb).get("lrange", 0) == 0 and asked(rdb)["hgetall"] == 1
    assert said == refused(writer, code, "doc.load", SHELF_KEY, path)


def test_where_many_are_read_all_are(reader, rdb):
    begin_to_count(rdb)
    for i in range(300):
        assert reader.call("doc.load", SHELF_KEY, f"items[{i}].n") == i
        assert reader.call("doc.load", SHELF_KEY, f'counts["k{i}"]') == i
    assert asked(rdb)["lrange"] >= 1  # the pks
    assert asked(rdb)["hgetall"] <= 2 + 40 + 300
    paths = [f'named["k{i}"].n' for i in range(300)]
    begin_to_count(rdb)
    assert reader.call("doc.get", SHELF_KEY, {"paths": paths}) == dict(zip(paths, range(300)))
    assert round_trips(rdb) <= 3


@pytest.mark.parametrize("count", [MANY, 200_000])
def test_one_of_many(patient, patient_client, redis_server, new_daemon, rdb, count):
    define(patient_client)
    for at in range(0, count, MANY):
        patient_client.call("list.extend" if at else "doc.save", SHELF_KEY, *(
            ["items", [{"@pk": f"p{i}", "n": i} for i in range(at, at + MANY)]] if at else
            [{"items": [{"@pk": f"p{i}", "n": i} for i in range(MANY)]}]))
    with new_daemon(redis_server.address, QUIET).connect() as client:
        define(client)
        before = client.call("admin.cache")["memory"]
        begin_to_count(rdb)
        for i in (count - 1, count // 2, 7):
            assert client.call("doc.load", SHELF_KEY, f'items["p{i}"].n') == i
        assert client.call("doc.load", SHELF_KEY, f"items[{count // 4}].n") == count // 4
        assert client.call("doc.load", SHELF_KEY, "items[-1].n") == count - 1
        refused(client, "NOT_FOUND", "doc.load", SHELF_KEY, 'items["none"]')
        spent = asked(rdb)
        assert spent["hgetall"] <= 6 and client.call("admin.cache")["memory"] - before < 20_000, spent
        assert spent.get("lrange", 0) == (0 if count == MANY else 40 + 21 + 1 + 40)  # of 5,000 each


def resident(daemon):
    with open(f"/proc/{daemon.process.pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


def test_what_is_large_stays_where_it_is(redis_server, new_daemon, rdb):
    """A gigabyte in one list (with RAPYER_FULL; else a sixteenth of it): what is beside it is read, and one
    element of it, and that is all that comes."""
    dataset = atomic("Dataset", field("name", "str"), field("metadata", "dict<str>"),
                     field("large_data", "list<dict<any>>"))
    with new_daemon(redis_server.address).connect() as client:
        client.call("define", dataset)
        client.call("doc.save", "Dataset:1", {"name": "all", "metadata": {"rows": "many"}})
    count, row = (1 << 20) // (1 if HUGE else 16), msgpack.packb({"row": bytes(1000)})
    for _ in range(0, count, 1 << 12):
        rdb.rpush("rapyer:{Dataset:1}/large_data", *[row] * (1 << 12))
    assert rdb.memory_usage("rapyer:{Dataset:1}/large_data", samples=0) > count * 1000
    daemon = new_daemon(redis_server.address)
    with daemon.connect() as client:
        client.call("define", dataset)
        client.call("doc.get_many", ["Dataset:none"])
        memory, before = client.call("admin.cache")["memory"], resident(daemon)
        assert client.call("doc.load", "Dataset:1", "metadata") == {"rows": "many"}
        assert client.call("doc.get", "Dataset:1", {"paths": ["name", 'metadata["rows"]']}) == {
            "name": "all", 'metadata["rows"]': "many"}
        assert client.call("doc.load", "Dataset:1", "large_data[-1]") == {"row": bytes(1000)}
        client.call("list.append", "Dataset:1", "large_data", {"one": "more"})
        client.call("dict.set", "Dataset:1", "metadata", "rows", "one more")
        assert client.call("admin.cache")["memory"] - memory < 8_000
        assert resident(daemon) - before < 4 << 20


# --- some of a long list -------------------------------------------------------------------------


RANGES = [({"from": 10, "to": 13}, slice(10, 13)), ({"to": 2}, slice(2)), ({"from": -3}, slice(-3, None)),
          ({"from": 290, "to": 999}, slice(290, 300)), ({"from": -999, "to": -298}, slice(0, 2)),
          ({"from": 5, "to": 6}, slice(5, 6)), ({"from": 5, "to": 3}, slice(0)), ({"from": 300}, slice(0)),
          ({"from": None, "to": 30}, slice(30)), ({}, slice(None)), ({"from": 1, "to": 299}, slice(1, 299))]


@pytest.mark.parametrize("span, these", RANGES, ids=[str(span) for span, _ in RANGES])
@pytest.mark.parametrize("what", ["numbers", "items"])
def test_a_range_is_read_without_the_others(reader, rdb, what, span, these):
    expected = shelf(300)[what][these]
    begin_to_count(rdb)
    assert reader.call("doc.load", SHELF_KEY, what, span) == expected
    if len(expected) < 300 // 8:
        spent = asked(rdb)
        assert spent.get("hgetall", 0) <= 1 + (len(expected) if what == "items" else 0), spent
        begin_to_count(rdb)
        assert reader.call("doc.load", SHELF_KEY, what, span) == expected
        assert asked(rdb) == {}
    assert reader.call("doc.load", SHELF_KEY, what) == shelf(300)[what]
    assert reader.call("doc.load", SHELF_KEY, what, span) == expected


def test_ranges_meet_each_other_and_single_elements(reader):
    all_of = items(300)
    assert reader.call("doc.load", SHELF_KEY, 'items["p12"]') == all_of[12]
    assert reader.call("pipeline", [
        ["doc.load", SHELF_KEY, "items[14].tags"], ["doc.load", SHELF_KEY, "items", {"from": 10, "to": 20}],
        ["doc.load", SHELF_KEY, "items", {"from": 15, "to": 25}], ["num.incr", SHELF_KEY, "items[14].n", 1],
        ["doc.load", SHELF_KEY, "items", {"from": 14, "to": 15}]]) == [
            all_of[14]["tags"], all_of[10:20], all_of[15:25], 15, [{**all_of[14], "n": 15}]]
    assert reader.call("doc.load", SHELF_KEY, "items", {"from": 8, "to": 16}) == [
        *all_of[8:14], {**all_of[14], "n": 15}, all_of[15]]


@pytest.mark.parametrize("span", [{"from": 15, "to": 25}, {"from": 5, "to": 15}], ids=["behind", "before"])
def test_of_a_range_only_what_is_not_there_is_read(reader, rdb, span):
    reader.call("doc.load", SHELF_KEY, "items", {"from": 10, "to": 20})
    begin_to_count(rdb)
    assert reader.call("doc.load", SHELF_KEY, "items", span) == items(300)[span["from"]:span["to"]]
    assert asked(rdb)["hgetall"] == 5


def test_a_range_sees_what_was_appended_in_the_same_pipeline(reader, writer):
    assert reader.call("pipeline", [
        ["list.append", SHELF_KEY, "numbers", 7], ["doc.load", SHELF_KEY, "numbers", {"from": -3}],
        ["list.append", SHELF_KEY, "numbers", 8], ["doc.load", SHELF_KEY, "numbers", {"from": -3}]]) == [
            301, [298, 299, 7], 302, [299, 7, 8]]
    assert writer.call("doc.get", SHELF_KEY, {"fresh": True})["numbers"][-3:] == [299, 7, 8]


@pytest.mark.parametrize("change", [
    ("list.insert", "numbers", 0, -1), ("list.pop", "numbers", 11), ("list.set", "numbers", 12, 0),
    ("list.append", "numbers", 5), ("list.remove_range", "numbers", 0, 295), ("list.clear", "numbers"),
    ("set", "items[12].name", "new"), ("list.append", "items[12].tags", "x"), ("list.pop", "items", 11),
    ("list.insert", "items", 0, {"@pk": "new"}), ("list.move", "items", 299, 0)], ids=lambda c: f"{c[0]}-{c[1]}")
def test_a_change_between_two_ranges_is_seen(reader, writer, change):
    """By who reads, and by another daemon: what has been read by then is no longer right."""
    what, (method, *args) = change[1].split("[")[0], change
    span = {"from": 10, "to": 15}
    for client in (writer, reader):
        assert reader.call("doc.load", SHELF_KEY, what, span) == shelf(300)[what][10:15]
        client.call("doc.save", SHELF_KEY, shelf(300))
        assert reader.call("doc.load", SHELF_KEY, what, span) == shelf(300)[what][10:15]
        client.call(method, SHELF_KEY, *args)
        truth = writer.call("doc.get", SHELF_KEY, {"fresh": True})[what]
        wait_until(lambda: reader.call("doc.load", SHELF_KEY, what, span) == truth[10:15], what="the change")
        wait_until(lambda: reader.call("doc.load", SHELF_KEY, what, {"from": -2}) == truth[-2:], what="its end")
        client.call("doc.save", SHELF_KEY, shelf(300))
        wait_until(lambda: reader.call("doc.load", SHELF_KEY, what, {"to": 2}) == shelf(300)[what][:2], what="it")


@pytest.mark.parametrize("what, key", [("numbers", "numbers"), ("items", "items"), ("items", "items/p9")])
def test_a_range_that_another_program_spoilt_is_refused(reader, rdb, what, key):
    if key == "numbers":
        rdb.lset(f"{BASE}/numbers", 9, "nine")
    else:
        rdb.delete(f"{BASE}/{key}")
        rdb.set(f"{BASE}/{key}", "x")
    said = refused(reader, "CORRUPT", "doc.load", SHELF_KEY, what, {"to": 12})
    assert said == refused(reader, "CORRUPT", "doc.load", SHELF_KEY, what)


def test_a_range_of_a_million(redis_server, new_daemon, rdb):
    count = 1_000_000
    with new_daemon(redis_server.address).connect() as client:
        define(client)
        client.call("doc.save", SHELF_KEY, {"title": "all"})
    for at in range(0, count, 50_000):
        rdb.rpush(f"{BASE}/numbers", *range(at, at + 50_000))
    for at in range(0, count, 50_000):
        rdb.rpush(f"{BASE}/items", *(f"p{i}" for i in range(at, at + 50_000)))
    for i in range(500_000, 503_000):
        rdb.hset(f"{BASE}/items/p{i}", "n", i)
    with new_daemon(redis_server.address, QUIET).connect() as client:
        define(client)
        before = client.call("admin.cache")["memory"]
        begin_to_count(rdb)
        assert client.call("doc.load", SHELF_KEY, "numbers", {"from": -2}) == [count - 2, count - 1]
        assert client.call("doc.load", SHELF_KEY, "numbers", {"from": 400_000, "to": 425_000}) == list(
            range(400_000, 425_000))  # in slices
        assert asked(rdb)["lrange"] == 1 + 3
        assert client.call("admin.cache")["memory"] - before < 25_000 * 300
        before = client.call("admin.cache")["memory"]
        begin_to_count(rdb)
        found = client.call("doc.load", SHELF_KEY, "items", {"from": 500_000, "to": 503_000})
        assert [item["n"] for item in found] == list(range(500_000, 503_000))
        assert asked(rdb)["hgetall"] == 3000 and asked(rdb)["lrange"] < 12
        assert client.call("admin.cache")["memory"] - before < 3000 * 1000


# --- what is changed ---------------------------------------------------------------------------


def test_an_element_that_was_read_alone_can_be_changed(reader, writer):
    assert reader.call("num.incr", SHELF_KEY, 'items["p5"].n', 10) == 15
    assert reader.call("list.append", SHELF_KEY, "items[5].tags", "more") == 2
    reader.call("set", SHELF_KEY, 'named["k5"].name', "new")
    reader.call("set", SHELF_KEY, 'counts["k5"]', 55)
    reader.call("dict.update", SHELF_KEY, "counts", {"k6": 66, "new": 1})
    reader.call("list.append", SHELF_KEY, "numbers", 300)
    expected = {'items["p5"]': {"@pk": "p5", "name": "item 5", "n": 15, "tags": ["t5", "more"]},
                'named["k5"].name': "new", 'counts["k5"]': 55, 'counts["k6"]': 66, 'counts["new"]': 1,
                "numbers[300]": 300, "numbers[-2]": 299}
    for client in (reader, writer):
        assert client.call("doc.get", SHELF_KEY, {"paths": list(expected), "fresh": client is writer}) == expected
    whole = shelf(300)
    whole["items"][5] = expected['items["p5"]']
    whole["named"]["k5"]["name"] = "new"
    whole["counts"].update(k5=55, k6=66, new=1)
    whole["numbers"].append(300)
    assert reader.call("doc.load", SHELF_KEY, "") == {"@pk": "1", **whole}


def test_what_is_inside_one_value(redis_server, new_daemon, rdb):
    box = atomic("Box", field("rows", "list<any>"), field("maps", "dict<any>"))
    value = {"rows": [{"n": i} for i in range(200)], "maps": {f"k{i}": {"n": i} for i in range(200)}}
    with new_daemon(redis_server.address).connect() as client:
        client.call("define", box)
        client.call("doc.save", "Box:1", value)
    with new_daemon(redis_server.address, QUIET).connect() as client:
        client.call("define", box)
        wait_until(lambda: client.call("admin.stats")["hears_others"], what="a daemon that hears")
        begin_to_count(rdb)
        assert client.call("doc.load", "Box:1", 'rows[7]["n"]') == 7
        assert client.call("doc.load", "Box:1", 'maps["k7"]["n"]') == 7
        refused(client, "NOT_FOUND", "doc.load", "Box:1", 'maps["none"]["n"]')
        assert asked(rdb).get("lrange", 0) == 0 and asked(rdb)["hgetall"] == 1
        assert client.call("num.incr", "Box:1", 'rows[7]["n"]', 1) == 8
        assert client.call("num.incr", "Box:1", 'maps["k7"]["n"]', 1) == 8
        value["rows"][7]["n"] = value["maps"]["k7"]["n"] = 8
        assert client.call("doc.load", "Box:1", "") == {"@pk": "1", **value}


def test_a_pipeline_sees_what_it_does(reader):
    assert reader.call("pipeline", [
        ["doc.load", SHELF_KEY, 'counts["k1"]'], ["dict.set", SHELF_KEY, "counts", "k1", 11],
        ["doc.load", SHELF_KEY, 'counts["k1"]'], ["dict.update", SHELF_KEY, "counts", {"k2": 22}],
        ["doc.load", SHELF_KEY, 'counts["k2"]'], ["list.append", SHELF_KEY, "numbers", 7],
        ["doc.load", SHELF_KEY, "numbers[-1]"], ["set", SHELF_KEY, 'items["p3"].n', 33],
        ["doc.load", SHELF_KEY, "items[3].n"], ["list.pop", SHELF_KEY, "items", 3],
    ])[2::2] == [11, 22, 7, 33]
    with pytest.raises(RpcError):
        reader.call("pipeline", [["dict.set", SHELF_KEY, "counts", "k4", 44],
                                 ["set", SHELF_KEY, 'items["p4"].n', 44], ["list.pop", SHELF_KEY, "numbers", 999]])
    assert reader.call("doc.get", SHELF_KEY, {"paths": ['counts["k4"]', 'items["p4"].n']}) == {
        'counts["k4"]': 4, 'items["p4"].n': 4}
    refused(reader, "NOT_FOUND", "doc.load", SHELF_KEY, 'items["p3"]')


ELSEWHERE = [
    (("set", SHELF_KEY, 'items["p9"].name', "new"), 'items["p9"].name', "new"),
    (("list.append", SHELF_KEY, 'items["p9"].tags', "x"), 'items["p9"].tags', ["t9", "x"]),
    (("list.pop", SHELF_KEY, "items", 9), 'items["p9"].name', "NOT_FOUND"),
    (("list.pop", SHELF_KEY, "items", 0), "items[9].name", "item 10"),
    (("dict.set", SHELF_KEY, "named", "k9", {"@pk": "z", "name": "z"}), 'named["k9"].name', "z"),
    (("dict.del", SHELF_KEY, "named", "k9"), 'named["k9"].name', "NOT_FOUND"),
    (("dict.set", SHELF_KEY, "named", "none", {"@pk": "z", "name": "z"}), 'named["none"].name', "z"),
    (("dict.set", SHELF_KEY, "counts", "k9", 99), 'counts["k9"]', 99),
    (("dict.set", SHELF_KEY, "counts", "none", 99), 'counts["none"]', 99),
    (("list.set", SHELF_KEY, "numbers", 9, 99), "numbers[9]", 99),
    (("list.append", SHELF_KEY, "items", {"@pk": "none", "name": "z"}), 'items["none"].name', "z"),
]


def outcome(client, path):
    try:
        return client.call("doc.load", SHELF_KEY, path)
    except RpcError as refusal:
        return refusal.code


@pytest.mark.parametrize("request_, path, expected", ELSEWHERE, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize("read", ["first", "not"])
def test_what_another_daemon_does_to_it_is_seen(reader, writer, request_, path, expected, read):
    if read == "first":
        assert outcome(reader, path) != expected
    writer.call(*request_)
    wait_until(lambda: outcome(reader, path) == expected, timeout=5, what=f"{expected} at {path}")


FOREIGN = [
    (lambda rdb: rdb.hset(f"{BASE}/items/p9", "n", 99), 'items["p9"].n', 99),
    (lambda rdb: rdb.lrem(f"{BASE}/items", 1, "p9"), 'items["p9"].n', "NOT_FOUND"),
    (lambda rdb: rdb.lpop(f"{BASE}/items"), "items[9].n", 10),
    (lambda rdb: rdb.rpush(f"{BASE}/items/p9/tags", "x"), 'items["p9"].tags[1]', "x"),
    (lambda rdb: rdb.hset(f"{BASE}/counts", "k9", 99), 'counts["k9"]', 99),
    (lambda rdb: rdb.hset(f"{BASE}/counts", "none", 99), 'counts["none"]', 99),
    (lambda rdb: rdb.lset(f"{BASE}/numbers", 9, 99), "numbers[9]", 99),
    (lambda rdb: rdb.delete(f"{BASE}/items"), 'items["p9"].n', "NOT_FOUND"),
]


@pytest.mark.parametrize("change, path, expected", FOREIGN, ids=lambda v: str(v)[:20])
def test_what_another_program_does_to_it_is_seen(reader, rdb, change, path, expected):
    assert outcome(reader, path) != expected
    change(rdb)
    wait_until(lambda: outcome(reader, path) == expected, timeout=5, what=f"{expected} at {path}")


SPOILT = [
    (lambda rdb: (rdb.delete(f"{BASE}/items/p9"), rdb.set(f"{BASE}/items/p9", "x")), 'items["p9"].n'),
    (lambda rdb: (rdb.delete(f"{BASE}/items"), rdb.set(f"{BASE}/items", "x")), 'items["p9"].n'),
    (lambda rdb: rdb.lset(f"{BASE}/items", 9, "a\x01b"), "items[9].n"),
    (lambda rdb: rdb.hset(f"{BASE}/named", "k9", "a\x01b"), 'named["k9"].n'),
    (lambda rdb: rdb.hset(f"{BASE}/counts", "k9", "nine"), 'counts["k9"]'),
    (lambda rdb: rdb.lset(f"{BASE}/numbers", 9, "nine"), "numbers[9]"),
    (lambda rdb: rdb.hset(f"{BASE}/items/p9", "n", "nine"), 'items["p9"].n'),
]


@pytest.mark.parametrize("spoil, path", SPOILT, ids=lambda v: str(v)[:20])
def test_one_that_another_program_spoilt_is_refused_as_ever(redis_server, new_daemon, reader, rdb, spoil, path):
    spoil(rdb)
    said = refused(reader, "CORRUPT", "doc.load", SHELF_KEY, path)
    with new_daemon(redis_server.address).connect() as other:
        define(other)
        with pytest.raises(RpcError):
            other.call("doc.load", SHELF_KEY, "")  # all of it is in memory then
        assert said == refused(other, "CORRUPT", "doc.load", SHELF_KEY, path)


# --- at random ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_at_random_it_is_what_a_whole_document_would_be(reader, writer, seed):
    """Two daemons read and write single elements and whole ones, in turn."""
    rng = random.Random(seed)
    for _ in range(150):
        client, i = rng.choice([reader, writer]), rng.randrange(320)
        path = rng.choice([f'items["p{i}"]', f"items[{i}]", f'named["k{i}"]'])
        request = rng.choice([
            ("set", SHELF_KEY, f"{path}.name", f"new {rng.random()}"), ("num.incr", SHELF_KEY, f"{path}.n", 1),
            ("list.append", SHELF_KEY, f"{path}.tags", "x"), ("dict.set", SHELF_KEY, "counts", f"k{i}", rng.randrange(99)),
            ("list.append", SHELF_KEY, "numbers", i), ("list.pop", SHELF_KEY, "numbers", 0),
            ("list.append", SHELF_KEY, "items", {"@pk": f"p{i}", "name": "again"}), ("list.pop", SHELF_KEY, "items", i),
            ("dict.del", SHELF_KEY, "named", f"k{i}"), ("doc.load", SHELF_KEY, path),
            ("doc.load", SHELF_KEY, f'counts["k{i}"]'), ("doc.load", SHELF_KEY, f"numbers[{i}]"),
        ])
        try:
            client.call(*request)
        except RpcError as refusal:
            assert refusal.code in ("NOT_FOUND", "OUT_OF_RANGE", "BAD_VALUE"), refusal
        looks = {p: outcome(reader, p) for p in rng.sample(
            [f'items["p{i}"].n', f"items[{i}]", f'counts["k{i}"]', f"numbers[{i}]", f'named["k{i}"]'], 2)}
        truth = writer.call("doc.get", SHELF_KEY, {"fresh": True})
        for p, found in looks.items():
            wait_until(lambda: outcome(reader, p) == place(truth, p), timeout=5, what=f"{p}, not {found}")
    assert reader.call("doc.get", SHELF_KEY, {"fresh": True}) == writer.call("doc.get", SHELF_KEY, {"fresh": True})


def place(document, path):
    """What is there, in a document that was read as a whole."""
    name, rest = path.split("[", 1)
    key, rest = rest.split("]", 1)
    here = document[name]
    try:
        if name in ("named", "counts"):
            here = here[key.strip('"')]
        elif key.startswith('"'):
            here = next(item for item in here if item["@pk"] == key.strip('"'))
        else:
            here = here[int(key)]
    except (KeyError, StopIteration):
        return "NOT_FOUND"
    except IndexError:
        return "OUT_OF_RANGE"
    return here[rest[1:]] if rest else here


# --- a Redis that is not as one wishes -----------------------------------------------------------


def test_without_the_right_to_use_scripts(redis_server, new_daemon, writer, rdb):
    writer.call("doc.save", SHELF_KEY, shelf(300))
    rdb.execute_command("ACL", "SETUSER", "plain", "on", ">secret", "~*", "&*", "+@all", "-eval")
    settings = {"redis.redis_user": "plain", "redis.redis_password": "secret"}
    daemon = new_daemon(redis_server.address, settings)
    with daemon.connect() as client:
        for path, expected in ONE:
            assert client.call("doc.load", SHELF_KEY, path) == expected


def test_a_full_redis_is_read_all_the_same(reader, rdb):
    rdb.config_set("maxmemory", 1)
    for path, expected in ONE:
        assert reader.call("doc.load", SHELF_KEY, path) == expected
    rdb.config_set("maxmemory", 0)
