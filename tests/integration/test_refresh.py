"""refresh_ttl of a model that goes on by its fields: with each write what the document refers to lives on."""

import pytest

from models import atomic, field
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_rules import ruled  # noqa: F401

TEAM = {**atomic("Team", field("boss", "optional<ref<Team>>", default=None), field("n", "int", default=0)), "ttl": 400}
PART = atomic("Part", field("of", "optional<ref<Page>>", default=None))
PAGE = {**atomic("Page", field("n", "int", default=0), field("next", "optional<ref<Page>>", default=None),
                 field("team", "optional<ref<Team>>", default=None), field("parts", "list<Part>"),
                 field("text", "str", default=""), field("see", "set<ref<Page>>")),
        "ttl": 300, "refresh_ttl": {"next": None, "team": 0, "parts": 1}}


def define(client, **more):
    client.call("define", TEAM, PART, {**PAGE, **more})


@pytest.fixture
def client(client):
    define(client)
    return client


def page(client, name, **more):
    client.call("doc.save", f"Page:{name}", more)


def chain(client, names):
    for name, after in zip(names, [*names[1:], None]):
        page(client, name, next=after and f"Page:{after}")


def short(client, *keys):
    """They end soon; by what changes no document, so that nothing goes on from there."""
    for key in keys:
        client.call("doc.ttl", key, 50)


def refreshed(client, *keys):
    return [key for key in keys if client.call("doc.ttl", key) > 50]


WRITES = {
    "an operation": lambda c: c.call("num.incr", "Page:a", "n", 1),
    "a save": lambda c: c.call("doc.save", "Page:a", {"next": "Page:b"}),
    "a pipeline": lambda c: c.call("pipeline", [["num.incr", "Page:a", "n", 1], ["set", "Page:a", "text", "x"]]),
    "a find.update": lambda c: c.call("find.update", "Page", ["=", "next", "Page:b"], [["set", "text", "x"]],
                                      {"scan": True})["updated"] == 1,
    "under a lock": lambda c: c.call("pipeline", [["num.incr", "Page:a", "n", 1]],
                                     {"lock": c.call("lock.acquire", "Page:a", "x")["token"]}),
    "with its release": lambda c: c.call("lock.release", c.call("lock.acquire", "Page:a", "x")["token"],
                                         [["num.incr", "Page:a", "n", 1]]),
}


@pytest.mark.parametrize("write", WRITES)
def test_each_write_goes_on(client, rdb, write):
    """It is answered when that is done."""
    chain(client, "abc")
    short(client, "Page:c", "Page:b", "Page:a")
    versions = [rdb.hget(f"rapyer:{{Page:{name}}}", "@v") for name in "bc"]
    assert WRITES[write](client)
    assert refreshed(client, *(f"Page:{name}" for name in "abc")) == ["Page:a", "Page:b", "Page:c"]
    assert [rdb.hget(f"rapyer:{{Page:{name}}}", "@v") for name in "bc"] == versions
    short(client, "Page:c", "Page:b", "Page:a")
    assert client.call("doc.get", "Page:a") and client.call("doc.exists", "Page:a") == 1
    assert refreshed(client, "Page:b") == []


def test_as_far_as_each_field_says(client):
    chain(client, "abcd")
    client.call("doc.save", "Team:t", {"boss": "Team:u"})
    client.call("doc.save", "Team:u", {})
    page(client, "r", team="Team:t", see=["Page:a"], text="Page:a")
    short(client, "Page:a", "Team:t", "Team:u")
    client.call("num.incr", "Page:r", "n", 1)
    assert refreshed(client, "Page:a", "Team:t", "Team:u") == ["Team:t"]  # by no other field, and no further
    client.call("set", "Page:r", "parts", [{"@pk": "1", "of": "Page:a"}])
    assert refreshed(client, "Page:a") == ["Page:a"]
    short(client, *(f"Page:{name}" for name in "dcba"))
    client.call("num.incr", "Page:r", "n", 1)
    assert refreshed(client, *(f"Page:{name}" for name in "abcd")) == ["Page:a", "Page:b"]  # one reference further


def test_circles_what_is_missing_and_what_never_ends(client):
    chain(client, "abc")
    client.call("set", "Page:c", "next", "Page:a")
    short(client, "Page:a", "Page:b", "Page:c")
    client.call("num.incr", "Page:b", "n", 1)
    assert len(refreshed(client, "Page:a", "Page:b", "Page:c")) == 3
    client.call("doc.persist", "Page:c")
    client.call("doc.ttl", "Page:a", 9000)
    client.call("doc.delete", "Page:b")
    assert client.call("num.incr", "Page:a", "n", 1) == 1
    assert client.call("doc.ttl", "Page:c") == -1
    client.call("doc.save", "Page:b", {"next": "Page:c"})
    client.call("num.incr", "Page:a", "n", 1)
    assert client.call("doc.ttl", "Page:c") == -1


def test_another_daemons_documents(client, redis_server, new_daemon):
    """Nothing of them is in memory, and what the reference was has just been changed."""
    with new_daemon(redis_server.address).connect() as other:
        chain(client, "abc")
        page(client, "z")
        short(client, "Page:z", "Page:c", "Page:b", "Page:a")
        client.call("set", "Page:b", "next", "Page:z")
        short(client, "Page:z", "Page:c", "Page:b")
        other.call("num.incr", "Page:a", "n", 1)
        names = ("Page:a", "Page:b", "Page:z", "Page:c")
        assert refreshed(other, *names) == ["Page:a", "Page:b", "Page:z"]
        wait_until(lambda: refreshed(client, *names) == ["Page:a", "Page:b", "Page:z"], what="the news")


def test_what_cannot_be_refreshed_fails_no_write(redis_server, new_daemon, rdb):
    daemon = new_daemon(redis_server.address, {"limits.max_resolve": "3", "log.log_level": "info"})
    with daemon.connect() as client:
        define(client)
        chain(client, "abcdef")
        short(client, "Page:f", "Page:b")
        assert client.call("num.incr", "Page:a", "n", 1) == 1
        assert refreshed(client, "Page:b") == []
        assert "Page:a refers to was not given more time: it refers to more than 3 documents" in daemon.log()
        chain(client, "xy")
        rdb.delete("rapyer:{Page:y}")
        rdb.set("rapyer:{Page:y}", "spoilt")
        assert client.call("num.incr", "Page:x", "n", 1) == 1
        assert client.call("doc.load", "Page:x", "n") == 1


def test_many_writes_and_clients_that_leave(client, daemon):
    chain(client, "abcdefgh")
    sent = [client.send("num.incr", "Page:a", "n", 1) for _ in range(500)]
    for _ in range(10):
        leaver = daemon.connect()
        for _ in range(20):
            leaver.send("num.incr", "Page:b", "n", 1)
        leaver.close()
    assert sorted(client.wait(request) for request in sent) == list(range(1, 501))
    short(client, "Page:h")
    wait_until(lambda: client.call("num.incr", "Page:a", "n", 1) and refreshed(client, "Page:h"), what="the last one")


def test_it_is_a_part_of_the_model(client, redis_server, new_daemon):
    assert client.call("define", TEAM, PART, PAGE)[2]["revision"] == 1
    chain(client, "ab")
    assert client.call("define", {**PAGE, "refresh_ttl": {"team": 0}})["revision"] == 2
    short(client, "Page:b")
    client.call("num.incr", "Page:a", "n", 1)
    assert refreshed(client, "Page:b") == []
    with new_daemon(redis_server.address).connect() as other:
        other.call("num.incr", "Page:a", "n", 1)
        assert refreshed(client, "Page:b") == []
        assert other.call("define", {**PAGE, "refresh_ttl": {"next": 0, "team": 0}})["revision"] == 3
        other.call("num.incr", "Page:a", "n", 1)
        assert refreshed(client, "Page:b") == ["Page:b"]
        short(client, "Page:b")
        assert client.call("define", {**PAGE, "refresh_ttl": True})["revision"] == 3  # of a client that knows no more
        client.call("num.incr", "Page:a", "n", 1)
        assert refreshed(client, "Page:b") == ["Page:b"]
        assert client.call("define", {**PAGE, "refresh_ttl": False})["revision"] == 4
        short(client, "Page:b")
        client.call("num.incr", "Page:a", "n", 1)
        assert refreshed(client, "Page:b") == []


def test_who_may_write_it_keeps_what_it_refers_to(ruled):  # noqa: F811
    with ruled.connect() as client:
        define(client)
        client.call("doc.save", "Team:t", {})
        page(client, "a", team="Team:t")
        short(client, "Team:t")
    ruled.set("* read,write Page", "* read Team")
    with ruled.connect() as client:
        client.call("num.incr", "Page:a", "n", 1)
        assert refreshed(client, "Team:t") == ["Team:t"]
        short(client, "Page:a")
        with pytest.raises(RpcError, match="FORBIDDEN"):
            client.call("doc.ttl", "Team:t", 50)


@pytest.mark.parametrize("refresh", [1, "next", [], ["next"], {}, {"next": -1}, {"next": True}, {"next": "1"}, {1: 1},
                                     {"next": 100001}, {"nxt": 1}, {"n": 1}, {"next": {}}, {"parts.of": 1}])
def test_bad_declarations(client, refresh):
    refused(client, "BAD_SCHEMA", "define", {**PAGE, "refresh_ttl": refresh})
    refused(client, "BAD_SCHEMA", "define", {**PAGE, "kind": "plain"})
