"""pks of all characters: URLs, paths, what has a meaning in the names of Redis keys. Nothing collides, and all that
names documents, elements, locks and watches takes them."""

from datetime import datetime, timezone
from itertools import combinations

import pytest

from layout_reader import LayoutReader, escape
from models import atomic, field
from rpc_client import RpcError, wait_until
from test_guard import FAST

NOTE = atomic("Note", field("n", "int", default=0), field("tags", "list<str>"))
PAGE = atomic("Page", field("n", "int", default=0), field("notes", "list<Note>"), field("named", "dict<Note>"),
              field("next", "ref<Page>", default="Page:x"), field("one", "optional<Note>"))
MODELS = [NOTE, PAGE]
PKS = ["http://x.org/a?b=%20c#d", "/", "//", "{", "}", "{}", "}{", "a/notes", "a}/notes/p", "{2f", "%2f", "{7b", "{7d",
       "a{b}c/d", "../..", "*?[^]\\", "\u00e9/\u6c34", "x:y/z:", "plain", "a b", "/" * 256]


def define(client):
    for model in MODELS:
        client.call("define", model)


@pytest.fixture
def client(client):
    define(client)
    return client


def quoted(pk):
    return '"' + pk.replace("\\", "\\\\") + '"'


def test_documents_and_elements(client, rdb, new_daemon, redis_server):
    """Each is written through one daemon, changed in its parts, and read through another, and by the layout alone."""
    for n, pk in enumerate(PKS):
        key = f"Page:{pk}"
        client.call("doc.save", key, {"n": n, "notes": [{"@pk": other, "n": i} for i, other in enumerate(PKS)],
                                      "named": {pk: {"@pk": pk, "n": n}}, "next": key, "one": {"n": 5}})
        client.call("list.append", key, f"notes[{quoted(pk)}].tags", pk)
        assert client.call("num.incr", key, f"named[{quoted(pk)}].n", 1) == n + 1
        client.call("set", key, "one.n", 6)
    names = set(rdb.keys("*"))
    assert len({escape(pk) for pk in PKS}) == len(PKS)
    assert {f"rapyer:{{Page:{escape(pk)}}}".encode() for pk in PKS} <= names
    assert b"rapyer:{Page:plain}/notes/plain/tags" in names and b"rapyer:{Page:%2f}" in names
    with new_daemon(redis_server.address).connect() as other:
        define(other)
        for n, pk in enumerate(PKS):
            key = f"Page:{pk}"
            page = other.call("doc.get", key)
            assert page["@pk"] == pk and page["n"] == n and page["next"] == key and page["one"] == {"n": 6, "tags": []}
            assert [note["@pk"] for note in page["notes"]] == PKS and page["notes"][n]["tags"] == [pk]
            assert page["named"] == {pk: {"@pk": pk, "n": n + 1, "tags": []}}
            reader = LayoutReader(rdb, MODELS)
            assert reader.read(key) == page and not reader.orphans(key)
            assert other.call("ref.get", key, "next")["n"] == n
            assert other.call("doc.load", key, f"notes[{quoted(pk)}].n") == n
    found, cursor = [], "0"
    while True:
        page = client.call("doc.keys", "Page", {"cursor": cursor})
        found += page["keys"]
        cursor = page["cursor"]
        if cursor == "0":
            break
    assert sorted(found) == sorted(f"Page:{pk}" for pk in PKS)
    for n, pk in enumerate(PKS):
        assert client.call("doc.delete", f"Page:{pk}") == 1
        assert client.call("doc.exists", *(f"Page:{other}" for other in PKS)) == len(PKS) - n - 1
    assert not [name for name in rdb.keys("rapyer:{*")]


def test_one_of_many_is_read_alone(client, rdb, new_daemon, redis_server):
    """By its pk, its key and its index: the script that finds it writes the same names."""
    pks = [f"dir{n}/{{file}}" for n in range(200)]
    client.call("doc.save", "Page:a", {"notes": [{"@pk": pk, "n": n, "tags": [pk]} for n, pk in enumerate(pks)],
                                       "named": {pk: {"@pk": pk, "n": n} for n, pk in enumerate(pks)}})
    with new_daemon(redis_server.address).connect() as other:
        define(other)
        assert other.call("doc.load", "Page:a", f"notes[{quoted(pks[77])}].tags") == [pks[77]]
        assert other.call("doc.load", "Page:a", f"named[{quoted(pks[78])}]")["n"] == 78
        assert other.call("doc.load", "Page:a", "notes[79]") == {"@pk": pks[79], "n": 79, "tags": [pks[79]]}
        assert other.call("num.incr", "Page:a", f"notes[{quoted(pks[80])}].n", 1) == 81
        assert other.call("doc.get", "Page:a")["notes"][80]["n"] == 81


def test_what_others_change_is_heard(redis_server, new_daemon, rdb):
    """By another daemon, and by a program without one; also by whoever watches."""
    key = "Page:a/{b}"
    one, two = (new_daemon(redis_server.address).connect() for _ in range(2))
    for client in (one, two):
        define(client)
    one.call("doc.save", key, {"notes": [{"@pk": "x/y"}]})
    assert two.call("doc.get", key)["notes"] == [{"@pk": "x/y", "n": 0, "tags": []}]
    assert two.call("watch", key, 'notes["x/y"].n')["path"] == 'notes["x/y"].n'
    one.call("num.incr", key, 'notes["x/y"].n', 3)
    wait_until(lambda: two.call("doc.load", key, 'notes["x/y"].n') == 3, what="the change of the other")
    wait_until(lambda: two.call("doc.exists", key) and any(n[1][0] == key for n in two.notifications), what="news")
    told = [n[1] for n in two.notifications if n[0] == "changed"]
    assert told[0][2] == ['notes["x/y"].n']
    rdb.rpush("rapyer:{Page:a{2f{7bb{7d}/notes/x{2fy/tags", "new")
    wait_until(lambda: two.call("doc.load", key, 'notes["x/y"].tags') == ["new"], what="what was pushed")
    for client in (one, two):
        client.close()


def test_locks_of_similar_keys(redis_server, new_daemon):
    """None excludes another, and each excludes itself, on two daemons."""
    pks = ["a", "a}", "a}/notes", "a/notes", "{a", "a/"]
    one, two = (new_daemon(redis_server.address).connect() for _ in range(2))
    for client in (one, two):
        define(client)
    tokens = [one.call("lock.acquire", f"Page:{pk}", "w", {"wait": 5})["token"] for pk in pks]
    for pk in pks:
        with pytest.raises(RpcError, match="LOCK_TIMEOUT"):
            two.call("lock.acquire", f"Page:{pk}", "w", {"wait": 0})
    for token, pk in zip(tokens, pks):
        assert one.call("pipeline", [["doc.save", f"Page:{pk}", {"n": 1}]], {"lock": token, "if_version": 0})
    for client in (one, two):
        client.close()


def test_over_a_lost_link(redis_server, new_proxy, new_daemon, rdb):
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, FAST).connect() as client:
        define(client)
        key = "Page:/{x}"
        client.call("doc.save", key, {"notes": [{"@pk": "/"}]})
        for turn in range(8):
            proxy.cut_after("replies" if turn % 2 else "requests", 5 + turn * 7)
            client.call("pipeline", [["num.incr", key, "n", 1], ["num.incr", key, 'notes["/"].n', 1]])
        proxy.disarm()
        assert client.call("doc.get", key, {"fresh": True})["n"] == 8
    assert rdb.hget("rapyer:{Page:{2f{7bx{7d}/notes/{2f", "n") == b"8"


def test_key_fields(client, rdb):
    """The pk is the text of the field, and the field what the text says."""
    moment = datetime(2024, 1, 31, 12, 30, 0, 500000, tzinfo=timezone.utc)
    cases = [("datetime", moment, "2024-01-31T12:30:00.5Z"), ("date", "2024-01-31", "2024-01-31"),
             ("uuid", "0b4ac3d2-5e6f-4a7b-8c9d-0e1f2a3b4c5d", "0b4ac3d2-5e6f-4a7b-8c9d-0e1f2a3b4c5d"),
             ("decimal", "12.50", "12.50"), ("enum<a|b>", "b", "b"), ("int", -7, "-7"), ("str", "a/{b}", "a/{b}"),
             ("datetime_zoned", "2024-01-31T12:30:00+02:00", "2024-01-31T12:30:00+02:00")]
    for n, (kind, value, pk) in enumerate(cases):
        model = f"K{n}"
        client.call("define", atomic(model, field("id", kind), field("n", "int", default=0), key="id"))
        assert client.call("doc.save", f"{model}:{pk}", {"id": value})["key"] == f"{model}:{pk}"
        assert client.call("doc.save", f"{model}:{pk}", {"n": 4})["key"] == f"{model}:{pk}"
        assert client.call("doc.get", f"{model}:{pk}") == {"@pk": pk, "id": value, "n": 4}
        assert rdb.hget(f"rapyer:{{{model}:{escape(pk)}}}", "id") == pk.encode()
        if kind != "str":
            with pytest.raises(RpcError, match=f"BAD_KEY.*must be a {kind.partition('<')[0]}"):
                client.call("doc.save", f"{model}:nonsense", {"n": 1})
            with pytest.raises(RpcError, match="BAD_KEY"):
                client.call("doc.duplicate", f"{model}:{pk}", "nonsense")
        with pytest.raises(RpcError, match="BAD_VALUE"):
            client.call("set", f"{model}:{pk}", "id", value)
    client.call("doc.duplicate", f"K0:{cases[0][2]}", "2030-01-01T00:00:00Z")
    assert client.call("doc.load", "K0:2030-01-01T00:00:00Z", "id") == datetime(2030, 1, 1, tzinfo=timezone.utc)
    for kind in ("float", "bool", "bytes", "optional<str>", "list<str>", "any"):
        with pytest.raises(RpcError, match="BAD_SCHEMA.*a key is"):
            client.call("define", atomic("Bad", field("id", kind), key="id"))


def test_no_two_keys_have_one_name():
    names = {escape(pk) for n in range(1, 4) for pk in ("".join(p) for p in combinations("{}/2f7bd%" * 2, n))}
    count = {pk for n in range(1, 4) for pk in ("".join(p) for p in combinations("{}/2f7bd%" * 2, n))}
    assert len(names) == len(count)
