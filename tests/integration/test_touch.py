"""doc.get and doc.get_many with {touch}: who reads a document keeps it, and changes nothing of it."""

import time

import pytest

from fault_proxy import REQUESTS, REPLIES
from models import atomic, field
from rpc_client import wait_until
from segment_reader import Segment
from test_bad_input import refused
from test_cache import begin_to_count
from test_rules import forbidden, ruled  # noqa: F401

KEY, ROOT = "Visit:1", "rapyer:{Visit:1}"
ITEM = atomic("Item", field("n", "int", default=0), field("tags", "list<str>"))
VISIT = {**atomic("Visit", {**field("user", "str", default=""), "index": "exact"}, field("tags", "list<str>"),
                  field("counts", "dict<int>"), field("items", "list<Item>")), "ttl": 400}
BOOK = atomic("Book", field("title", "str", default=""))
START = {"user": "ada", "tags": ["a"], "counts": {"x": 1}, "items": [{"@pk": "i", "tags": ["t"]}]}
TOUCH = {"touch": True}


def define(client):
    for model in (ITEM, VISIT, BOOK):
        client.call("define", model)


@pytest.fixture
def client(client):
    define(client)
    client.call("doc.save", KEY, START)
    return client


@pytest.fixture
def sides(daemons):
    with daemons[0].connect() as a, daemons[1].connect() as b:
        define(a)
        define(b)
        a.call("doc.save", KEY, START)
        yield a, b


def ends(client, seconds, key=KEY):
    """As by hand, so that it is known how far from its end the document is."""
    client.call("doc.ttl", key, seconds)


def expect_whole(rdb, seconds, root=ROOT):
    left = {key: rdb.pttl(key) for key in rdb.keys(root + "*")}
    assert root.encode() in left and len(left) > 1
    assert all((seconds - 30) * 1000 < ms <= seconds * 1000 for ms in left.values()), left


def commands(rdb, name):
    return rdb.info("commandstats").get(f"cmdstat_{name}", {}).get("calls", 0)


def test_all_of_it_lives_on_and_is_what_it_was(client, daemon, rdb):
    ends(client, 60)
    before = client.call("doc.get", KEY, {"version": True})
    with daemon.connect() as other:
        other.call("watch", KEY)
        assert client.call("doc.get", KEY, {"version": True, **TOUCH}) == before
        expect_whole(rdb, 400)
        assert client.call("doc.ttl", KEY) == 400
        assert client.call("doc.get", KEY, {"version": True, "fresh": True}) == before
        client.call("pipeline", [["list.append", KEY, "tags", "b"]], {"if_version": {KEY: before["@v"]}})
        message = other.read_message()
        assert message[1] == "changed" and other.call("doc.exists", KEY) == 1
        assert not other.notifications
    expect_whole(rdb, 400)


@pytest.mark.parametrize("options, answer", [({"paths": []}, {}), ({"paths": ["user"]}, {"user": "ada"}),
                                             ({"fresh": True, "paths": ["tags"]}, {"tags": ["a"]})])
def test_it_goes_with_what_is_read(client, rdb, options, answer):
    ends(client, 60)
    assert client.call("doc.get", KEY, {**options, **TOUCH}) == answer
    expect_whole(rdb, 400)
    ends(client, 60)
    assert client.call("doc.get", KEY, {**options, "touch": False}) == answer
    expect_whole(rdb, 60)


def test_several_at_once(client, rdb):
    client.call("doc.save", "Visit:2", START)
    client.call("doc.save", "Book:1", {})
    for key in (KEY, "Visit:2"):
        ends(client, 60, key)
    answer = client.call("doc.get_many", [KEY, "Visit:3", "Visit:2", KEY], {"paths": ["user"], **TOUCH})
    assert answer == [{"user": "ada"}, None, {"user": "ada"}, {"user": "ada"}]
    for root in (ROOT, "rapyer:{Visit:2}"):
        expect_whole(rdb, 400, root)
    assert client.call("doc.get_many", ["Book:1"], TOUCH) == [{"@pk": "1", "title": ""}]
    assert client.call("doc.ttl", "Book:1") == -1


def test_no_end_comes_nearer_and_none_is_made(client, rdb):
    ends(client, 4000)
    client.call("doc.get", KEY, TOUCH)
    expect_whole(rdb, 4000)
    client.call("doc.persist", KEY)
    client.call("doc.get", KEY, TOUCH)
    assert client.call("doc.ttl", KEY) == -1 and {rdb.pttl(key) for key in rdb.keys(ROOT + "*")} == {-1}
    client.call("doc.save", "Book:1", {})
    client.call("doc.ttl", "Book:1", 60)
    client.call("doc.get", "Book:1", TOUCH)
    assert client.call("doc.ttl", "Book:1") <= 60  # its model has no ttl
    refused(client, "NOT_FOUND", "doc.get", "Visit:none", TOUCH)


def test_what_is_read_all_the_time_is_not_written_all_the_time(client, rdb):
    ends(client, 60)
    client.call("doc.get", KEY, TOUCH)
    before = commands(rdb, "exec")
    deadline = rdb.pexpiretime(ROOT)
    for _ in range(200):
        client.call("doc.get", KEY, TOUCH)
    assert commands(rdb, "exec") - before <= 3  # at most one a second
    wait_until(lambda: client.call("doc.get", KEY, TOUCH) and rdb.pexpiretime(ROOT) > deadline,
               what="the next second")


def test_another_daemon_has_it_as_long(sides, daemons, rdb):
    """It is told, but need not be: before the document is over for it, it looks. Nor does it take what was done for
    a program's without a daemon, or read anything of it again."""
    a, b = sides
    ends(a, 2)
    before = b.call("doc.get", KEY, {"version": True})
    foreign = b.call("admin.stats")["foreign_writes"]
    a.call("doc.get", KEY, TOUCH)
    wait_until(lambda: b.call("doc.ttl", KEY) > 390, what="the news of it")
    begin_to_count(rdb)
    for _ in range(20):
        assert b.call("doc.get", KEY, {"version": True}) == before
    assert commands(rdb, "hgetall") + commands(rdb, "lrange") == 0
    assert b.call("admin.stats")["foreign_writes"] == foreign
    time.sleep(2.2)  # the end that was is over
    assert b.call("doc.get", KEY, {"version": True}) == before and b.call("doc.exists", KEY) == 1
    assert 390 < b.call("doc.ttl", KEY) <= 400


def test_two_daemons_at_once(sides, rdb):
    """Where the other one adds keys, or says another end, in that moment: the document ends whole."""
    a, b = sides
    for i in range(60):
        ends(a, 60)
        (b if i % 2 else a).call("doc.get", KEY)
        requests = [(a, a.send("doc.get", KEY, TOUCH)),
                    (b, b.send("list.append", KEY, "items", {"@pk": str(i), "tags": ["x"]}))]
        if i % 3 == 0:
            requests.append((b, b.send("doc.ttl", KEY, 3000)))
        for client, request in requests:
            client.wait(request)
        left = [rdb.pttl(key) for key in rdb.keys(ROOT + "*")]
        assert max(left) - min(left) < 200 and min(left) > 390000, left
    assert len(a.call("doc.load", KEY, "items")) == 61


def test_it_is_found_as_long_as_it_lives(client, rdb):
    ends(client, 2)
    client.call("doc.get", KEY, TOUCH)
    assert rdb.zscore("rapyer:@index:Visit/@ttl", "1") > (time.time() + 300) * 1000
    time.sleep(2.2)
    assert client.call("find", "Visit", ["=", "user", "ada"], {"keys": True})["keys"] == [KEY]


def test_who_reads_in_shared_memory_sees_the_new_end(client, daemon):
    ends(client, 2)
    segment = Segment(daemon.socket)
    wait_until(lambda: client.call("doc.get", KEY) and segment.read(KEY) is not None, what="the document to be shown")
    client.call("doc.get", KEY, TOUCH)
    time.sleep(2.2)
    wait_until(lambda: client.call("doc.get", KEY) and segment.read(KEY) is not None, what="the document to be shown")


@pytest.mark.parametrize("direction, count", [(REQUESTS, 1), (REQUESTS, 400), (REQUESTS, 1500), (REPLIES, 0), (REPLIES, 40)])
def test_the_link_is_cut(new_daemon, redis_server, new_proxy, rdb, direction, count):
    """With its answer it is done, whatever happens."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as client:
        define(client)
        client.call("doc.save", KEY, START)
        ends(client, 60)
        before = client.call("doc.get", KEY, {"version": True})
        cut = proxy.cut_after(direction, count)
        assert client.call("doc.get", KEY, {"version": True, **TOUCH}) == before
        assert cut.fired.is_set()
        expect_whole(rdb, 400)


def test_it_is_a_write_to_the_rules(ruled):  # noqa: F811
    with ruled.connect() as client:
        define(client)
        client.call("doc.save", KEY, START)
    ruled.set("* read Visit, Book")
    with ruled.connect() as client:
        assert client.call("doc.get", KEY, {"touch": False})["user"] == "ada"
        assert '"write"' in forbidden(client, "doc.get", KEY, TOUCH)
        forbidden(client, "doc.get_many", [KEY], TOUCH)


def test_bad_input(client):
    for options in ({"touch": 1}, {"touch": None}, {"touch": "yes"}, {"resolve": True, **TOUCH}, {"depth": 1, **TOUCH},
                    {"touch": True, "Touch": True}):
        refused(client, "BAD_REQUEST", "doc.get", KEY, options)
        refused(client, "BAD_REQUEST", "doc.get_many", [KEY], options)
    refused(client, "BAD_REQUEST", "pipeline", [["doc.get", KEY, TOUCH]])
    refused(client, "BAD_PATH", "doc.get", KEY, {"paths": ["["], **TOUCH})
    refused(client, "UNKNOWN_MODEL", "doc.get", "Nobody:1", TOUCH)


def test_a_bad_path_touches_nothing(client, rdb):
    ends(client, 60)
    refused(client, "UNKNOWN_FIELD", "doc.get", KEY, {"paths": ["user", "nothing"], **TOUCH})
    expect_whole(rdb, 60)
