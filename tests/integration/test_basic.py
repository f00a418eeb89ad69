"""Every operation of the wire table: its result, what is read afterwards, and what is in Redis."""

from datetime import timedelta

import msgpack
import pytest

from models import ADA, BORN, KEY, ROOT, USER, atomic, define_all, field, save_ada
from rpc_client import RpcError, wait_until


class Version:
    """Stands for the document's version after the operation."""


def in_redis(rdb, suffix, name=None):
    key = ROOT + suffix
    if name is not None:
        return rdb.hget(key, name)
    kind = rdb.type(key)
    if kind == b"list":
        return rdb.lrange(key, 0, -1)
    if kind == b"hash":
        return rdb.hgetall(key)
    assert kind == b"none", kind
    return None


def packed(value):
    return msgpack.packb(value)


@pytest.fixture
def ada(client):
    save_ada(client)
    return client


def test_hello_says_who_it_is(client):
    answer = client.call("hello", {"client": "test", "protocol": 1})
    assert "rapyerd" in answer["server"]
    assert answer["protocol"] == 1
    assert client.call("hello") == answer


def test_define_counts_revisions(client):
    model = atomic("Thing", field("a", "int", default=1))
    assert client.call("define", model) == {"model": "Thing", "revision": 1}
    assert client.call("define", model) == {"model": "Thing", "revision": 1}
    wider = atomic("Thing", field("a", "int", default=1), field("b", "str", default="x"))
    assert client.call("define", wider) == {"model": "Thing", "revision": 2}


def test_new_field_with_default_is_there_in_old_documents(client):
    client.call("define", atomic("Thing", field("a", "int", default=1)))
    client.call("doc.save", "Thing:1", {"a": 5})
    client.call("define", atomic("Thing", field("a", "int", default=1),
                                 field("b", "str", default="x"), field("l", "list<int>")))
    assert client.call("doc.get", "Thing:1") == {"@pk": "1", "a": 5, "b": "x", "l": []}
    assert client.call("list.append", "Thing:1", "l", 3) == 1


def test_save_and_get_whole_document(client, rdb):
    answer = save_ada(client)
    assert answer["key"] == KEY
    assert answer["version"] == int(in_redis(rdb, "", "@v"))
    assert client.call("doc.get", KEY) == {
        "@pk": "ada", **ADA,
        "settings": ADA["settings"]}
    assert client.call("doc.get", KEY, {"version": True})["@v"] == answer["version"]


def test_saved_document_lies_in_redis_as_documented(ada, rdb):
    root = in_redis(rdb, "")
    for name, raw in {
        "name": b"Ada", "age": b"36", "score": b"1.5", "active": b"1", "bio": b"hello",
        "blob": b"\x00\xff", "born": b"2024-01-01T12:30:00Z", "extra": packed({"k": [1, None]}),
        "nick": b"\xc0", "address": packed(ADA["address"]), "settings.theme": b"dark",
    }.items():
        assert root[name.encode()] == raw, name
    assert in_redis(rdb, "/tags") == [b"a", b"b", b"c"]
    assert in_redis(rdb, "/numbers") == [b"1", b"2", b"3"]
    assert in_redis(rdb, "/counts") == {b"x": b"1", b"y": b"2"}
    assert in_redis(rdb, "/settings.notifications") == {b"mail": b"1"}
    assert in_redis(rdb, "/settings.panels") == [b"news"]
    assert in_redis(rdb, "/addresses") == [packed(ADA["addresses"][0])]
    assert in_redis(rdb, "/rows") == [packed([1]), packed([2, 3])]
    assert in_redis(rdb, "/sections") == [b"s1", b"s2"]
    assert in_redis(rdb, "/sections/s1", "name") == b"one"
    assert in_redis(rdb, "/sections/s1/tasks") == [b"t1", b"t2"]
    assert in_redis(rdb, "/sections/s1/tasks/t1", "title") == b"first"
    assert in_redis(rdb, "/sections/s1/tasks/t1/tags") == [b"red"]
    assert in_redis(rdb, "/sections/s1/tasks/t1/metadata") == {b"due": b"today"}
    assert in_redis(rdb, "/teams") == {b"core": b"c1"}
    assert in_redis(rdb, "/teams/c1", "name") == b"core"


# method, path, arguments, result, value at the path afterwards, (place in Redis..., content)
OPERATIONS = [
    ("set", "age", [7], Version, 7, ("", "age", b"7")),
    ("set", "age", [-2**63], Version, -2**63, ("", "age", b"-9223372036854775808")),
    ("set", "score", [3], Version, 3.0, ("", "score", b"3")),
    ("set", "active", [False], Version, False, ("", "active", b"0")),
    ("set", "bio", ["gr\u00fc\u00df"], Version, "gr\u00fc\u00df", ("", "bio", "gr\u00fc\u00df".encode())),
    ("set", "blob", [b"\xc0"], Version, b"\xc0", ("", "blob", b"\xc0")),
    ("set", "born", [None], Version, None, ("", "born", b"\xc0")),
    ("set", "nick", ["al"], Version, "al", ("", "nick", b"al")),
    ("set", "extra", [[1, "x"]], Version, [1, "x"], ("", "extra", packed([1, "x"]))),
    ("set", "address", [{"street": "s"}], Version, {"street": "s", "city": ""},
     ("", "address", packed({"street": "s", "city": ""}))),
    ("set", "tags", [["n"]], Version, ["n"], ("/tags", None, [b"n"])),
    ("set", "counts", [{"n": 3}], Version, {"n": 3}, ("/counts", None, {b"n": b"3"})),
    ("set", "settings.theme", ["blue"], Version, "blue", ("", "settings.theme", b"blue")),
    ("set", "counts[\"x\"]", [9], Version, 9, ("/counts", "x", b"9")),
    ("set", "numbers[1]", [9], Version, 9, ("/numbers", None, [b"1", b"9", b"3"])),
    ("num.incr", "age", [5], 41, 41, ("", "age", b"41")),
    ("num.incr", "age", [-40], -4, -4, ("", "age", b"-4")),
    ("num.incr", "score", [0.25], 1.75, 1.75, ("", "score", b"1.75")),
    ("num.incr", "counts[\"x\"]", [2], 3, 3, ("/counts", "x", b"3")),
    ("num.incr", "numbers[-1]", [2], 5, 5, ("/numbers", None, [b"1", b"2", b"5"])),
    ("num.mul", "age", [-2], -72, -72, ("", "age", b"-72")),
    ("num.mul", "score", [2], 3.0, 3.0, ("", "score", b"3")),
    ("num.div", "age", [6], 6, 6, ("", "age", b"6")),
    ("num.div", "score", [4], 0.375, 0.375, ("", "score", b"0.375")),
    ("num.floordiv", "age", [5], 7, 7, ("", "age", b"7")),
    ("num.floordiv", "age", [-5], -8, -8, ("", "age", b"-8")),
    ("num.floordiv", "score", [1], 1.0, 1.0, ("", "score", b"1")),
    ("num.mod", "age", [5], 1, 1, ("", "age", b"1")),
    ("num.mod", "age", [-5], -4, -4, ("", "age", b"-4")),
    ("num.pow", "age", [2], 1296, 1296, ("", "age", b"1296")),
    ("num.pow", "score", [2], 2.25, 2.25, ("", "score", b"2.25")),
    ("str.append", "bio", [" you"], "hello you", "hello you", ("", "bio", b"hello you")),
    ("str.append", "tags[0]", ["!"], "a!", "a!", ("/tags", None, [b"a!", b"b", b"c"])),
    ("str.repeat", "bio", [2], "hellohello", "hellohello", ("", "bio", b"hellohello")),
    ("str.repeat", "bio", [0], "", "", ("", "bio", b"")),
    ("bytes.append", "blob", [b"\x02"], b"\x00\xff\x02", b"\x00\xff\x02",
     ("", "blob", b"\x00\xff\x02")),
    ("datetime.add", "born", [90], BORN + timedelta(seconds=90), BORN + timedelta(seconds=90),
     ("", "born", b"2024-01-01T12:31:30Z")),
    ("datetime.add", "born", [-0.5], BORN - timedelta(seconds=0.5), BORN - timedelta(seconds=0.5),
     ("", "born", b"2024-01-01T12:29:59.5Z")),
    ("list.append", "tags", ["d"], 4, ["a", "b", "c", "d"], ("/tags", None, [b"a", b"b", b"c", b"d"])),
    ("list.append", "rows", [[7]], 3, [[1], [2, 3], [7]],
     ("/rows", None, [packed([1]), packed([2, 3]), packed([7])])),
    ("list.extend", "tags", [["d", "e"]], 5, ["a", "b", "c", "d", "e"],
     ("/tags", None, [b"a", b"b", b"c", b"d", b"e"])),
    ("list.extend", "tags", [[]], 3, ["a", "b", "c"], ("/tags", None, [b"a", b"b", b"c"])),
    ("list.insert", "tags", [0, "z"], 4, ["z", "a", "b", "c"],
     ("/tags", None, [b"z", b"a", b"b", b"c"])),
    ("list.insert", "tags", [1, "z"], 4, ["a", "z", "b", "c"],
     ("/tags", None, [b"a", b"z", b"b", b"c"])),
    ("list.insert", "tags", [-1, "z"], 4, ["a", "b", "z", "c"],
     ("/tags", None, [b"a", b"b", b"z", b"c"])),
    ("list.insert", "numbers", [3, 4], 4, [1, 2, 3, 4], ("/numbers", None, [b"1", b"2", b"3", b"4"])),
    ("list.set", "tags", [-1, "q"], Version, ["a", "b", "q"], ("/tags", None, [b"a", b"b", b"q"])),
    ("list.pop", "tags", [], "c", ["a", "b"], ("/tags", None, [b"a", b"b"])),
    ("list.pop", "tags", [0], "a", ["b", "c"], ("/tags", None, [b"b", b"c"])),
    ("list.pop", "tags", [1], "b", ["a", "c"], ("/tags", None, [b"a", b"c"])),
    ("list.remove_range", "tags", [0, 2], 2, ["c"], ("/tags", None, [b"c"])),
    ("list.remove_range", "tags", [1, 2], 1, ["a", "c"], ("/tags", None, [b"a", b"c"])),
    ("list.remove_range", "tags", [-2, 100], 2, ["a"], ("/tags", None, [b"a"])),
    ("list.remove_range", "tags", [2, 1], 0, ["a", "b", "c"], ("/tags", None, [b"a", b"b", b"c"])),
    ("list.remove_range", "tags", [0, 3], 3, [], ("/tags", None, None)),
    ("list.remove", "tags", ["b"], 1, ["a", "c"], ("/tags", None, [b"a", b"c"])),
    ("list.remove", "tags", ["z"], 0, ["a", "b", "c"], ("/tags", None, [b"a", b"b", b"c"])),
    ("list.index", "tags", ["c"], 2, ["a", "b", "c"], ("/tags", None, [b"a", b"b", b"c"])),
    ("list.index", "tags", ["z"], None, ["a", "b", "c"], ("/tags", None, [b"a", b"b", b"c"])),
    ("list.move", "tags", [0, -1], Version, ["b", "c", "a"], ("/tags", None, [b"b", b"c", b"a"])),
    ("list.move", "tags", [2, 1], Version, ["a", "c", "b"], ("/tags", None, [b"a", b"c", b"b"])),
    ("list.pop_many", "tags", [2], ["b", "c"], ["a"], ("/tags", None, [b"a"])),
    ("list.pop_many", "tags", [-2], ["a", "b"], ["c"], ("/tags", None, [b"c"])),
    ("list.clear", "tags", [], Version, [], ("/tags", None, None)),
    ("dict.update", "counts", [{"y": 5, "z": 6}], Version, {"x": 1, "y": 5, "z": 6},
     ("/counts", None, {b"x": b"1", b"y": b"5", b"z": b"6"})),
    ("dict.update", "settings.notifications", [{"sms": False}], Version,
     {"mail": True, "sms": False}, ("/settings.notifications", None, {b"mail": b"1", b"sms": b"0"})),
    ("dict.set", "counts", ["a b.c[0]\"", 1], Version, {"x": 1, "y": 2, "a b.c[0]\"": 1},
     ("/counts", "a b.c[0]\"", b"1")),
    ("dict.del", "counts", ["x"], True, {"y": 2}, ("/counts", None, {b"y": b"2"})),
    ("dict.del", "counts", ["nope"], False, {"x": 1, "y": 2}, ("/counts", None, {b"x": b"1", b"y": b"2"})),
    ("dict.pop", "counts", ["x"], 1, {"y": 2}, ("/counts", None, {b"y": b"2"})),
    ("dict.pop", "counts", ["nope", 77], 77, {"x": 1, "y": 2}, ("/counts", None, {b"x": b"1", b"y": b"2"})),
    ("dict.clear", "counts", [], Version, {}, ("/counts", None, None)),
    ("list.append", "sections[0].tasks[0].tags", ["x"], 2, ["red", "x"],
     ("/sections/s1/tasks/t1/tags", None, [b"red", b"x"])),
    ("list.append", "sections[\"s1\"].tasks[\"t2\"].tags", ["x"], 1, ["x"],
     ("/sections/s1/tasks/t2/tags", None, [b"x"])),
    ("dict.update", "sections[-2].tasks[-2].metadata", [{"by": "me"}], Version,
     {"due": "today", "by": "me"}, ("/sections/s1/tasks/t1/metadata", "by", b"me")),
    ("set", "sections[0].tasks[1].status", ["open"], Version, "open",
     ("/sections/s1/tasks/t2", "status", b"open")),
    ("set", "teams[\"core\"].name", ["nucleus"], Version, "nucleus", ("/teams/c1", "name", b"nucleus")),
]


@pytest.mark.parametrize("method,path,args,result,after,raw", OPERATIONS,
                         ids=[f"{o[0]}-{o[1]}-{i}" for i, o in enumerate(OPERATIONS)])
def test_operation(ada, daemon, rdb, method, path, args, result, after, raw):
    answer = ada.call(method, KEY, path, *args)
    if result is Version:
        assert answer == int(in_redis(rdb, "", "@v"))
    else:
        assert answer == result
        assert type(answer) is type(result)
    loaded = ada.call("doc.load", KEY, path)
    assert loaded == after
    assert type(loaded) is type(after)
    suffix, name, content = raw
    assert in_redis(rdb, suffix, name) == content
    # The same comes out of Redis when nothing is cached.
    whole = ada.call("doc.get", KEY)
    daemon.stop()
    daemon.start()
    with daemon.connect() as later:
        define_all(later)
        assert later.call("doc.get", KEY) == whole


def test_popitem_takes_each_pair_once(ada, rdb):
    pairs = [ada.call("dict.popitem", KEY, "counts"), ada.call("dict.popitem", KEY, "counts")]
    assert sorted(pairs) == [["x", 1], ["y", 2]]
    assert in_redis(rdb, "/counts") is None
    with pytest.raises(RpcError, match="^NOT_FOUND: "):
        ada.call("dict.popitem", KEY, "counts")


def test_versions_grow_by_one_with_each_write(ada):
    first = ada.call("set", KEY, "age", 1)
    assert ada.call("set", KEY, "age", 2) == first + 1
    assert ada.call("dict.set", KEY, "counts", "x", 2) == first + 2


def test_element_models_come_and_go_with_their_keys(ada, rdb):
    new = {"name": "three", "tasks": [{"title": "x", "tags": ["t"]}]}
    assert ada.call("list.append", KEY, "sections", new) == 3
    section = ada.call("doc.load", KEY, "sections[-1]")
    task = section["tasks"][0]
    assert section["@pk"] and task["@pk"] and task["status"] == "pending"
    place = f"/sections/{section['@pk']}"
    assert in_redis(rdb, place, "name") == b"three"
    assert in_redis(rdb, f"{place}/tasks/{task['@pk']}/tags") == [b"t"]
    assert ada.call("list.pop", KEY, "sections") == section
    assert not [key for key in rdb.keys("*") if section["@pk"].encode() in key]


def test_same_element_after_insert_in_front(ada):
    ada.call("list.insert", KEY, "sections", 0, {"@pk": "s0", "name": "zero"})
    ada.call("list.append", KEY, "sections[\"s1\"].tasks[0].tags", "late")
    assert ada.call("doc.load", KEY, "sections[1].tasks[0].tags") == ["red", "late"]


def test_generated_pk_and_key_field(client, rdb):
    client.call("define", atomic("Book", field("isbn", "str"), field("title", "str", default=""),
                                 key="isbn"))
    assert client.call("doc.save", "Book:978", {"isbn": "978"})["key"] == "Book:978"
    assert client.call("doc.get", "Book:978")["isbn"] == "978"
    with pytest.raises(RpcError, match="^BAD_VALUE: "):
        client.call("doc.save", "Book:978", {"isbn": "979"})
    assert client.call("doc.duplicate", "Book:978", "979")["key"] == "Book:979"
    assert client.call("doc.get", "Book:979")["isbn"] == "979"


def test_pages_of_keys_hold_all_documents(client):
    define_all(client)
    keys = [f"User:{number}" for number in range(500)]
    client.call("doc.insert", [[key, {"name": key}] for key in keys])
    found, cursor = [], "0"
    while True:
        page = client.call("doc.keys", "User", {"cursor": cursor, "count": 50})
        found += page["keys"]
        cursor = page["cursor"]
        if cursor == "0":
            break
    assert sorted(set(found)) == sorted(keys)


def test_insert_is_all_or_nothing(ada, redis_server):
    before = redis_server.snapshot()
    with pytest.raises(RpcError):
        ada.call("doc.insert", [["User:1", {"name": "one"}], ["User:2", {"name": 2}]])
    assert redis_server.snapshot() == before
    answer = ada.call("doc.insert", [["User:1", {"name": "one"}], ["User:2", {"name": "two"}]])
    assert [item["key"] for item in answer] == ["User:1", "User:2"]
    assert [d and d["name"] for d in ada.call("doc.get_many", ["User:2", "User:0", "User:1"])] == [
        "two", None, "one"]


def test_get_parts(ada):
    assert ada.call("doc.get", KEY, {"paths": ["age", "sections[0].name"]}) == {
        "age": 36, "sections[0].name": "one"}
    assert ada.call("doc.load", KEY, "") == ada.call("doc.get", KEY)
    assert ada.call("doc.load", KEY, "sections[1]") == ADA["sections"][1]


def test_exists_delete_and_keys(ada, rdb):
    assert ada.call("doc.exists", KEY, "User:nobody") == 1
    assert ada.call("doc.keys", "User") == {"cursor": "0", "keys": [KEY]}
    ada.call("doc.save", "User:b", {"name": "b"})
    assert ada.call("doc.delete", KEY, "User:nobody", "User:b") == 2
    assert ada.call("doc.exists", KEY) == 0
    assert ada.call("doc.keys", "User") == {"cursor": "0", "keys": []}
    assert not rdb.keys("rapyer:{*")
    with pytest.raises(RpcError, match="^NOT_FOUND: "):
        ada.call("doc.get", KEY)


def test_saving_again_replaces_all_of_it(ada, rdb):
    ada.call("doc.save", KEY, {"name": "Bea", "tags": ["n"]})
    document = ada.call("doc.get", KEY)
    assert (document["name"], document["age"], document["tags"]) == ("Bea", 0, ["n"])
    assert sorted(rdb.keys("rapyer:{*")) == [ROOT.encode(), ROOT.encode() + b"/tags"]


def test_duplicate(ada, rdb):
    answer = ada.call("doc.duplicate", KEY, "twin")
    assert answer["key"] == "User:twin"
    twin = ada.call("doc.get", "User:twin")
    assert twin.pop("@pk") == "twin"
    ada.call("set", "User:twin", "age", 1)
    assert ada.call("doc.load", KEY, "age") == 36
    assert [s["name"] for s in twin["sections"]] == ["one", "two"]


def test_lazy_fields_are_left_out_of_the_whole(client):
    client.call("define", atomic("Film", field("title", "str"),
                                 field("frames", "list<int>", lazy=True)))
    client.call("doc.save", "Film:1", {"title": "x", "frames": [1, 2]})
    assert client.call("doc.get", "Film:1") == {"@pk": "1", "@lazy": ["frames"], "title": "x"}
    assert client.call("doc.get", "Film:1", {"paths": ["frames"]}) == {"frames": [1, 2]}
    assert client.call("doc.load", "Film:1", "frames") == [1, 2]
    assert client.call("doc.load", "Film:1", "") == {"@pk": "1", "title": "x", "frames": [1, 2]}


def test_null_never_set_and_default_are_told_apart(client, rdb):
    client.call("define", atomic("Note", field("a", "optional<str>"), field("b", "optional<str>"),
                                 field("c", "str", default="d")))
    client.call("doc.save", "Note:1", {"b": None})
    assert client.call("doc.get", "Note:1") == {"@pk": "1", "b": None, "c": "d"}
    with pytest.raises(RpcError, match="^NOT_FOUND: "):
        client.call("doc.load", "Note:1", "a")
    root = rdb.hgetall("rapyer:{Note:1}")
    assert b"a" not in root and root[b"b"] == b"\xc0" and root[b"c"] == b"d"


def test_time_to_live(client, rdb):
    client.call("define", atomic("Session", field("n", "int", default=0), field("l", "list<int>"),
                                 ttl=100))
    client.call("doc.save", "Session:1", {"l": [1]})
    assert 0 < client.call("doc.ttl", "Session:1") <= 100
    for key in rdb.keys("rapyer:{*"):
        assert 0 < rdb.ttl(key) <= 100, key
    assert client.call("doc.ttl", "Session:1", 1000) > 100
    assert client.call("doc.ttl", "Session:1", 0) == 0
    assert client.call("doc.ttl", "Session:1") == -1
    assert all(rdb.ttl(key) == -1 for key in rdb.keys("rapyer:{*"))
    client.call("define", atomic("Short", field("n", "int", default=0), ttl=1))
    client.call("doc.save", "Short:1", {})
    wait_until(lambda: not client.call("doc.exists", "Short:1"), 10, "the end of the document")


def test_a_write_is_seen_by_all_after_its_answer(ada, daemon):
    with daemon.connect() as other:
        for i in range(100):
            ada.call("set", KEY, "age", i)
            assert other.call("doc.load", KEY, "age") == i


def test_pipelined_requests_of_many_clients_all_count(ada, daemon, rdb):
    others = [daemon.connect() for _ in range(10)]
    sent = [(other, [other.send("num.incr", KEY, "age", 1) for _ in range(100)])
            for other in others]
    results = [other.wait(request) for other, requests in sent for request in requests]
    assert sorted(results) == list(range(37, 37 + 1000))
    assert in_redis(rdb, "", "age") == b"1036"
    for other in others:
        other.close()


def test_schema_and_documents_are_known_after_a_restart(ada, daemon):
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        assert client.call("doc.load", KEY, "sections[0].tasks[0].tags") == ["red"]
        assert client.call("define", USER)["revision"] == 1
