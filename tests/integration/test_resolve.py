"""doc.get with {resolve}: what a document refers to, and what that refers to, in one answer."""

import pytest

from models import atomic, field, plain
from rpc_client import RpcError
from test_cache import begin_to_count

LINK = plain("Link", field("to", "optional<ref<Person>>", default=None), field("why", "str", default=""))
NOTE = atomic("Note", field("by", "ref<Person>"), field("text", "str", default=""))
CITY = atomic("City", field("name", "str", default=""), field("mayor", "optional<ref<Person>>", default=None))
PERSON = atomic(
    "Person", field("name", "str", default=""), field("boss", "optional<ref<Person>>", default=None),
    field("friends", "set<ref<Person>>"), field("home", "optional<ref<City>>", default=None),
    field("notes", "list<Note>"), field("boards", "dict<list<Note>>"), field("first", "optional<Note>"), field("links", "dict<list<Link>>"),
    field("ranks", "sorted<ref<City>>"), field("old", "any", default=None), field("gone", "optional<ref<Nobody>>"),
    field("kept", "optional<ref<Person>>", default=None, lazy=True))


@pytest.fixture
def client(client):
    define(client)
    return client


def define(client):
    for model in (LINK, NOTE, CITY, PERSON):
        client.call("define", model)


def person(client, name, **more):
    client.call("doc.save", f"Person:{name}", {"name": name, **more})


def refs(client, key, fields=True, **options):
    answer = client.call("doc.get", key, {"resolve": fields, **options})
    return {key: document and document.get("name") for key, document in answer.pop("@refs").items()}


def test_all_that_it_refers_to(client):
    client.call("doc.save", "City:x", {"name": "x", "mayor": "Person:far"})
    for name in ("far", "b", "f1", "n", "l", "i"):
        person(client, name)
    person(client, "a", boss="Person:b", friends=["Person:f1", "Person:f2"], home="City:x",
           notes=[{"@pk": "1", "by": "Person:n"}], first={"by": "Person:i"},
           links={"k": [{"to": "Person:l"}, {}]}, boards={"x": [{"by": "Person:n2"}], "y": []}, ranks=[["City:x", 1], ["City:y", 2]], gone="Nobody:1",
           old="Person:far", kept="Person:far")
    answer = client.call("doc.get", "Person:a", {"resolve": True})
    assert {k: v for k, v in answer.items() if k != "@refs"} == client.call("doc.get", "Person:a")
    assert answer["@refs"]["Person:b"] == client.call("doc.get", "Person:b")
    one = {"Person:b": "b", "Person:f1": "f1", "Person:f2": None, "City:x": "x", "Person:n": "n", "Person:n2": None, "Person:i": "i",
           "Person:l": "l", "City:y": None, "Nobody:1": None}
    assert refs(client, "Person:a") == refs(client, "Person:a", depth=1, fresh=True) == one
    assert refs(client, "Person:a", depth=2) == {**one, "Person:far": "far"}
    assert refs(client, "Person:a", ["boss", "notes.by"]) == {"Person:b": "b", "Person:n": "n"}
    assert refs(client, "Person:a", ["home", "mayor"], depth=2) == {"City:x": "x", "Person:far": "far"}
    assert refs(client, "Person:a", ["boards.by"]) == {"Person:n2": None}
    assert refs(client, "Person:a", ["links"]) == {"Person:l": "l"}
    assert refs(client, "Person:l") == {}
    with_version = client.call("doc.get", "Person:a", {"resolve": ["boss"], "version": True})
    assert with_version["@refs"]["Person:b"]["@v"] > 0 and with_version["@v"] > 0


def test_an_answer_can_be_saved_back(client):
    person(client, "b")
    person(client, "a", boss="Person:b")
    answer = client.call("doc.get", "Person:a", {"resolve": True, "version": True})
    client.call("doc.save", "Person:a", answer)
    assert refs(client, "Person:a") == {"Person:b": "b"}


def test_circles_end(client):
    for name, boss in ("ab", "bc", "ca"):
        person(client, name, boss=f"Person:{boss}", friends=[f"Person:{name}"])
    assert refs(client, "Person:a", depth=32) == {"Person:b": "b", "Person:c": "c"}


def test_as_many_round_trips_as_it_is_deep(client, new_daemon, redis_server, rdb):
    """A tree of 4 levels with 40 documents, nothing of it in memory."""
    for n in range(1, 41):
        person(client, str(n), friends=[f"Person:{child}" for child in range(3 * n - 1, 3 * n + 2) if child <= 40])
    with new_daemon(redis_server.address, {"coherence.enabled": "0"}).connect() as cold:
        define(cold)
        begin_to_count(rdb)
        assert len(refs(cold, "Person:1", ["friends"], depth=3)) == 39
        cold.call("doc.get", "Person:1", {"resolve": True, "depth": 3})
    reads = rdb.info("commandstats")["cmdstat_exec"]["calls"]
    assert reads <= 100, reads  # two rounds for each document at most
    assert reads >= 40


def test_bounds(redis_server, new_daemon):
    with new_daemon(redis_server.address, {"limits.max_resolve": "3"}).connect() as client:
        define(client)
        person(client, "a", friends=["Person:1", "Person:2", "Person:3"])
        assert len(refs(client, "Person:a")) == 3
        person(client, "a", friends=["Person:1", "Person:2", "Person:3", "Person:4"])
        with pytest.raises(RpcError, match="TOO_LARGE.*more than 3 documents.*limits.max_resolve"):
            refs(client, "Person:a")
    with new_daemon(redis_server.address, {"limits.client_output": "64K", "limits.client_output_pause": "1K"}
                    ).connect() as client:
        for name in "xyz":
            person(client, name, old="o" * 30000)
        person(client, "a", boss="Person:x", friends=["Person:y"], notes=[{"by": "Person:z"}])
        with pytest.raises(RpcError, match="TOO_LARGE"):
            refs(client, "Person:a")
        assert client.call("doc.get", "Person:x")["name"] == "x"


def test_bad_input(client):
    person(client, "a")
    for options in ({"resolve": False, "depth": 1}, {"resolve": "boss"}, {"resolve": []}, {"resolve": [1]}, {"resolve": None},
                    {"resolve": True, "depth": 0}, {"resolve": True, "depth": 33}, {"resolve": True, "depth": "x"},
                    {"depth": 1}, {"resolve": True, "paths": ["name"]}):
        with pytest.raises(RpcError, match="BAD_REQUEST"):
            client.call("doc.get", "Person:a", options)
    for path in ("bos", "name", "", "notes.text", "notes[0].by", "boss.name", "home.mayor", "mayor", "links.why", ".", "a." * 99):
        with pytest.raises(RpcError, match="BAD_PATH: '.*' leads to no reference in Person"):
            client.call("doc.get", "Person:a", {"resolve": ["boss", path]})
    assert refs(client, "Person:a", ["boss", "mayor"], depth=2) == {}
    with pytest.raises(RpcError, match="NOT_FOUND"):
        client.call("doc.get", "Person:none", {"resolve": True})
    with pytest.raises(RpcError, match="BAD_REQUEST: resolve is an option of doc.get"):
        client.call("doc.get_many", ["Person:a"], {"resolve": True})


def test_what_is_spoilt(client, rdb):
    person(client, "b")
    person(client, "a", boss="Person:b")
    rdb.hset("rapyer:{Person:b}", "boss", "nonsense")
    with pytest.raises(RpcError, match="CORRUPT: .*Person:b"):
        client.call("doc.get", "Person:a", {"resolve": True, "fresh": True})


def test_clients_that_leave(client, daemon):
    """In the middle of it."""
    for n in range(200):
        person(client, str(n), boss=f"Person:{n + 1}")
    for turn in range(10):
        leaver = daemon.connect()
        leaver.send("doc.get", f"Person:{turn}", {"resolve": True, "depth": 32, "fresh": True})
        leaver.close()
    assert len(refs(client, "Person:0", depth=32)) == 32
