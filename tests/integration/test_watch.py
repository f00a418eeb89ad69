"""Watches: is everybody who asked told of each change, by whomever, or told to look, and does who reads
then see it?"""

import random
import signal
import threading
import time

import pytest

from fault_proxy import REPLIES, FaultProxy
from models import ADA, KEY, ROOT, save_ada
from ring_client import RingClient
from rpc_client import RpcError, wait_until

BOUND = 1.0


def told(client):
    """The params of the next notification."""
    while not client.notifications:
        message = client.read_message()
        assert message[0] == 2, message
        client.notifications.append(message[1:])
    method, params = client.notifications.pop(0)
    assert method == "changed" and len(params) == 3, (method, params)
    return params


def told_until(client, wanted):
    """All that is told until one is as wanted, which is the last."""
    all_of_it = [told(client)]
    while not wanted(*all_of_it[-1]):
        all_of_it.append(told(client))
    return all_of_it


def version(client, key=KEY):
    return client.call("doc.get", key, {"version": True, "paths": ["name"]})["@v"]


@pytest.fixture
def new_daemon(new_daemon):
    """They hear of others when they are given out: else who watches is told once more when they do."""
    def new(*args, deaf=False, **options):
        daemon = start(*args, **options)
        with daemon.connect() as client:
            wait_until(lambda: deaf or client.call("admin.stats")["hears_others"], what="a daemon that hears")
        return daemon

    start, new.daemons = new_daemon, new_daemon.daemons
    return new


# --- changes through the same daemon ---------------------------------------------------------


def test_the_answer_says_what_is_there(ada, other):
    assert other.call("watch", KEY) == {"key": KEY, "path": "", "version": version(ada)}
    assert other.call("watch", "User:none")["version"] == 0
    assert other.call("watch", "User:*") == {"key": "User:*", "path": "", "version": None}


def test_a_change_is_told_with_its_version_and_place(ada, other):
    other.call("watch", KEY)
    ada.call("num.incr", KEY, "age", 1)
    assert told(other) == [KEY, version(ada), ["age"]]
    ada.call("set", KEY, "settings.theme", "blue")
    assert told(other) == [KEY, version(ada), ["settings.theme"]]
    ada.call("list.append", KEY, 'sections["s1"].tasks["t1"].tags', "x")
    assert told(other) == [KEY, version(ada), ['sections["s1"].tasks["t1"].tags']]
    ada.call("set", KEY, 'sections["s1"].name', "x")
    assert told(other) == [KEY, version(ada), ['sections["s1"].name']]
    ada.call("set", KEY, 'teams["core"].name', "x")  # in Redis it has its pk, here its key
    assert told(other) == [KEY, version(ada), ["teams"]]
    ada.call("dict.set", KEY, "counts", "z", 1)
    assert told(other) == [KEY, version(ada), ["counts"]]


def test_a_client_is_told_of_its_own_changes(ada):
    ada.call("watch", KEY)
    after = ada.call("set", KEY, "age", 1)
    assert told(ada) == [KEY, after, ["age"]]


def test_a_document_comes_and_goes(client, daemon):
    with daemon.connect() as watcher:
        save_ada(client)
        client.call("doc.delete", KEY)
        assert watcher.call("watch", KEY)["version"] == 0
        watcher.call("watch", KEY, "tags")
        created = client.call("doc.save", KEY, {"name": "A", "settings": {}})["version"]
        assert told(watcher) == [KEY, created, None]
        client.call("doc.delete", KEY)
        assert told(watcher) == [KEY, 0, None]


def test_a_pipeline_is_told_once(ada, other):
    other.call("watch", "User:*")
    ada.call("doc.save", "User:bob", {"name": "b", "settings": {}})
    assert told(other)[0] == "User:bob"
    ada.call("pipeline", [["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", "x"],
                          ["set", KEY, "bio", "x"], ["set", "User:bob", "bio", "y"]])
    both = sorted([told(other), told(other)])
    assert both == [[KEY, version(ada), ["age", "bio", "tags"]], ["User:bob", version(ada, "User:bob"), ["bio"]]] or \
        sorted(both[0][2]) == ["age", "bio", "tags"], both


def test_what_is_refused_is_not_told(ada, other):
    other.call("watch", KEY)
    for request in (["num.incr", KEY, "age", "x"], ["list.pop", KEY, "tags", 9],
                    ["pipeline", [["set", KEY, "age", 1]], {"if_version": 7}]):
        with pytest.raises(RpcError):
            ada.call(*request)
    after = ada.call("set", KEY, "bio", "x")
    assert told(other) == [KEY, after, ["bio"]]


def test_changes_of_one_turn_are_told_once(ada, other):
    other.call("watch", KEY)
    before = ada.call("admin.stats")
    ada.send_raw(b"".join(ada.pack([0, 1000 + n, "num.incr", [KEY, "age", 1]]) for n in range(500)))
    for n in range(500):
        last = ada.wait(1000 + n)
    all_of_it = told_until(other, lambda key, v, paths: v == version(ada))
    commits = ada.call("admin.stats")["commits"] - before["commits"]
    assert last == 536 and len(all_of_it) <= commits < 250
    assert [v for _, v, _ in all_of_it] == sorted({v for _, v, _ in all_of_it})


def test_many_places_are_told_as_anything(ada, other):
    other.call("watch", KEY)
    ada.call("list.extend", KEY, "sections", [{"@pk": f"x{n}", "name": "x"} for n in range(100)])
    assert told(other) == [KEY, version(ada), None]


def test_through_a_ring(ada, daemon):
    with RingClient(daemon.socket) as watcher:
        watcher.call("watch", KEY)
        after = ada.call("set", KEY, "age", 7)
        wait_until(lambda: watcher.call("hello") and watcher.notifications, what="a notification")
        assert watcher.notifications == [["changed", [KEY, after, ["age"]]]]


# --- paths -----------------------------------------------------------------------------------

SAVED = ["doc.save", KEY, ADA]
PLACES = [
    ("age", ["num.incr", KEY, "age", 1], True),
    ("age", ["set", KEY, "bio", "x"], False),
    ("age", ["list.append", KEY, "tags", "x"], False),
    ("tags", ["list.append", KEY, "tags", "x"], True),
    ("tags", ["set", KEY, "bio", "x"], False),
    ("tags", ["list.append", KEY, "numbers", 1], False),
    ("tags[0]", ["list.append", KEY, "tags", "x"], True),
    ('counts["x"]', ["dict.set", KEY, "counts", "x", 5], True),
    ("settings", ["set", KEY, "settings.theme", "x"], True),
    ("settings", ["list.append", KEY, "settings.panels", "x"], True),
    ("settings", ["set", KEY, "age", 5], False),
    ("settings.theme", ["set", KEY, "settings.theme", "x"], True),
    ("settings.panels", ["set", KEY, "settings.theme", "x"], False),
    ("address", ["set", KEY, "address", {"street": "x"}], True),
    ("sections", ["set", KEY, 'sections["s1"].tasks["t1"].title', "x"], True),
    ('sections["s1"]', ["set", KEY, 'sections["s1"].tasks["t1"].title', "x"], True),
    ('sections["s1"]', ["set", KEY, 'sections["s2"].name', "x"], False),
    ('sections["s1"].name', ["set", KEY, 'sections["s1"].name', "x"], True),
    ('sections["s1"].tasks', ["set", KEY, 'sections["s1"].name', "x"], False),
    ('sections["s1"].tasks', ["list.remove_range", KEY, "sections", 0, 1], True),
    ('sections[0].tasks["t1"].tags', ["set", KEY, 'sections["s2"].name', "x"], True),
    ('teams["core"].name', ["set", KEY, 'teams["core"].name', "x"], True),
    ("age", SAVED, True),
    ('sections["s1"].tasks["t2"].tags', SAVED, True),
    ("tags", ["doc.delete", KEY], True),
]


def check_place(watcher, writer, path, change, wanted):
    watcher.call("watch", KEY, path)
    watcher.call("watch", "User:fence")
    writer.call(*change)
    if wanted:
        assert told(watcher)[0] == KEY
    writer.call("doc.save", "User:fence", {"name": "f", "settings": {}})
    assert told_until(watcher, lambda key, v, paths: key == "User:fence")[0][0] == "User:fence"


@pytest.mark.parametrize("path, change, wanted", PLACES)
def test_a_place_is_told_of_what_is_in_it(ada, other, path, change, wanted):
    check_place(other, ada, path, change, wanted)


@pytest.mark.parametrize("path, change, wanted", PLACES)
def test_a_place_is_told_of_what_another_daemon_does_in_it(pair, path, change, wanted):
    one, two = pair
    check_place(two, one, path, change, wanted)


@pytest.mark.parametrize("path, inside", [
    ("", ""), ("tags[3]", "tags"), ('counts["x"]', "counts"), ("sections[0].tasks[1].tags", "sections"),
    ('sections["s1"].tasks[0]', 'sections["s1"].tasks'), ('teams["core"].tasks', "teams"),
    ('sections["no such"].name', 'sections["no such"].name'), ("settings.theme", "settings.theme")])
def test_the_answer_says_which_place_is_watched(ada, path, inside):
    assert ada.call("watch", KEY, path)["path"] == inside
    assert ada.call("unwatch", KEY, path) is True
    assert ada.call("unwatch", KEY, path) is False


@pytest.mark.parametrize("params, code", [
    ([], "BAD_REQUEST"), ([KEY, "", 1], "BAD_REQUEST"), ([1], "BAD_REQUEST"), ([KEY, 1], "BAD_REQUEST"),
    (["User"], "BAD_KEY"), (["User:"], "BAD_KEY"), (["User:a\tb"], "BAD_KEY"), (["None:1"], "UNKNOWN_MODEL"),
    (["None:*"], "UNKNOWN_MODEL"), (["Address:*"], "UNKNOWN_MODEL"), ([KEY, "nope"], "UNKNOWN_FIELD"),
    ([KEY, "tags.x"], "BAD_PATH"), ([KEY, 'tags["x"]'], "BAD_PATH"), ([KEY, "counts[0]"], "BAD_PATH"),
    ([KEY, "address.city"], "BAD_PATH"), ([KEY, "age[0]"], "BAD_PATH"), ([KEY, "settings[0]"], "BAD_PATH"),
    ([KEY, 'sections["a\\u0001b"].name'], "BAD_KEY"), ([KEY, "tags[0].x"], "BAD_PATH"), ([KEY, "tags..b"], "BAD_PATH"),
    ([KEY, "rows[0][0]"], "BAD_PATH"), ([KEY, "sections[0].nope"], "UNKNOWN_FIELD")])
@pytest.mark.parametrize("method", ["watch", "unwatch"])
def test_what_cannot_be_watched(ada, method, params, code):
    with pytest.raises(RpcError) as refusal:
        ada.call(method, *params)
    assert refusal.value.code == code
    assert ada.call("admin.stats")["watches"] == 0


def test_inside_of_a_value_there_is_nothing_to_watch(ada):
    with pytest.raises(RpcError, match="'address' is .*, a value: there is nothing to lock or watch inside"):
        ada.call("watch", KEY, "address.city")


# --- models ----------------------------------------------------------------------------------


def test_all_documents_of_a_model(pair, rdb):
    one, two = pair
    one.call("define", {"name": "Other", "kind": "atomic", "fields": [{"name": "n", "type": "int", "default": 0}]})
    two.call("watch", "User:*")
    one.call("doc.save", "Other:1", {})
    two.call("doc.get", "Other:1")
    saved = one.call("doc.save", "User:bob", {"name": "b", "settings": {}})["version"]
    assert told(two) == ["User:bob", saved, None]
    after = two.call("set", "User:bob", "age", 3)
    assert told(two) == ["User:bob", after, ["age"]]
    rdb.hset("rapyer:{User:eve}", mapping={"@v": 5, "@s": 1, "name": "e"})
    assert told(two) == ["User:eve", 5, [""]]
    rdb.delete("rapyer:{User:eve}")
    assert told(two) == ["User:eve", 0, None]


def test_a_model_and_a_place_in_it(ada, other):
    other.call("watch", "User:*", "tags")
    ada.call("set", KEY, "age", 1)
    after = ada.call("list.append", KEY, "tags", "x")
    assert told(other) == [KEY, version(ada), ["tags"]] and after == 4


def test_a_change_is_told_once_to_who_watches_it_twice(ada, other):
    for params in ([KEY], [KEY], [KEY, "age"], ["User:*"]):
        other.call("watch", *params)
    first = ada.call("set", KEY, "age", 1)
    assert told(other) == [KEY, first, ["age"]]
    second = ada.call("set", KEY, "age", 2)
    assert told(other) == [KEY, second, ["age"]]


# --- others ----------------------------------------------------------------------------------


def test_another_daemon(pair):
    one, two = pair
    two.call("watch", KEY)
    for n in range(20):
        after = one.call("set", KEY, "age", 100 + n)
        assert told(two) == [KEY, after, ["age"]]
        assert two.call("doc.load", KEY, "age") == 100 + n
    one.call("pipeline", [["set", KEY, 'sections["s1"].name', "n"], ["list.append", KEY, "tags", "x"]])
    key, seen, paths = told(two)
    assert (key, seen, sorted(paths)) == (KEY, version(one), ['sections["s1"].name', "tags"])
    one.call("doc.delete", KEY)
    assert told(two) == [KEY, 0, None]


def test_a_document_that_is_too_long_to_go_at_once(redis_server, new_daemon):
    """It is gone with the commit that says so; its keys go later."""
    daemons = [new_daemon(redis_server.address, {"limits.max_work": "1ms"}) for _ in range(2)]
    with daemons[0].connect() as one, daemons[1].connect() as two:
        save_ada(one)
        for n in range(0, 3000, 50):
            one.call("list.extend", KEY, "sections", [{"@pk": f"x{n + m}", "name": "x"} for m in range(50)])
        for client in (one, two):
            client.call("watch", KEY)
        assert one.call("doc.delete", KEY) == 1
        for client in (one, two):
            assert told(client) == [KEY, 0, None]
        wait_until(lambda: redis_server.client().exists(ROOT) == 0, what="the end of its keys")
        saved = one.call("doc.save", KEY, {"name": "A", "settings": {}})["version"]
        for client in (one, two):
            assert all(v == 0 for _, v, _ in told_until(client, lambda key, v, paths: v == saved)[:-1])


def test_a_document_that_is_not_in_memory(pair):
    one, two = pair
    two.call("watch", "User:bob")
    saved = one.call("doc.save", "User:bob", {"name": "b", "settings": {}})["version"]
    assert told(two) == ["User:bob", saved, None]
    assert two.call("doc.get", "User:bob", {"version": True})["@v"] == saved


def copied(rdb):
    rdb.copy("elsewhere", ROOT, replace=True)


FOREIGN = [
    (lambda rdb: rdb.hset(ROOT, "age", 77), [""]),
    (lambda rdb: rdb.hdel(ROOT, "age"), [""]),
    (lambda rdb: rdb.hset(ROOT, "@v", 10**15), [""]),
    (lambda rdb: rdb.rpush(ROOT + "/tags", "x"), ["tags"]),
    (lambda rdb: rdb.delete(ROOT + "/tags"), ["tags"]),
    (lambda rdb: rdb.rename(ROOT + "/counts", "elsewhere"), ["counts"]),
    (lambda rdb: rdb.hset(ROOT + "/sections/s1", "name", "x"), ['sections["s1"]']),
    (lambda rdb: rdb.pexpire(ROOT + "/numbers", 1), ["numbers"]),
    (lambda rdb: rdb.persist(ROOT), [""]),
    (lambda rdb: rdb.restore(ROOT + "/tags", 0, rdb.dump(ROOT + "/numbers"), replace=True), ["tags"]),
    (lambda rdb: rdb.hset(ROOT + "/teams/c1", "name", "x"), ["teams"]),
]


@pytest.mark.parametrize("change, paths", FOREIGN)
def test_a_program_without_a_daemon(pair, rdb, change, paths):
    for client in pair:
        client.call("watch", KEY)
    rdb.pexpire(ROOT, 3600000)
    for client in pair:
        assert told(client)[0] == KEY
    change(rdb)
    for client in pair:
        assert told(client) == [KEY, int(rdb.hget(ROOT, "@v")), paths]


@pytest.mark.parametrize("how", [
    lambda rdb: rdb.delete(ROOT), lambda rdb: rdb.unlink(*rdb.keys(ROOT + "*")),
    lambda rdb: rdb.pexpire(ROOT, 1), lambda rdb: rdb.rename(ROOT, "elsewhere")])
def test_the_end_of_a_document_is_told(pair, rdb, how):
    for client in pair:
        client.call("watch", KEY)
        client.call("watch", KEY, "tags")
    how(rdb)
    for client in pair:
        assert told_until(client, lambda key, v, paths: v == 0)[-1] == [KEY, 0, None]
        with pytest.raises(RpcError, match="NOT_FOUND"):
            client.call("doc.get", KEY)


@pytest.mark.parametrize("how", ["flushall", "flushdb", "swapdb"])
def test_the_end_of_everything_is_told(pair, rdb, how):
    """Nobody reads meanwhile; SWAPDB is told by nobody but the proofs."""
    for client in pair:
        client.call("watch", KEY)
        client.call("watch", "User:*")
    rdb.swapdb(0, 1) if how == "swapdb" else getattr(rdb, how)()
    for client in pair:
        assert sorted([told(client), told(client)]) == [["User:*", None, None], [KEY, None, None]]
        with pytest.raises(RpcError, match="NOT_FOUND"):
            client.call("doc.get", KEY)


def test_a_deadline_is_told_when_it_is_over(pair):
    one, two = pair
    two.call("watch", KEY)
    one.call("doc.ttl", KEY, 1)
    assert told(two)[:2] == [KEY, version(one)]
    assert told_until(two, lambda key, v, paths: v == 0)[-1] == [KEY, 0, None]


def test_a_key_that_is_spoilt_is_to_be_looked_at(pair, rdb):
    one, two = pair
    two.call("watch", KEY)
    with rdb.pipeline() as p:
        p.delete(ROOT).set(ROOT, "text").execute()
    assert told(two) == [KEY, None, None]
    with pytest.raises(RpcError, match="CORRUPT"):
        two.call("doc.get", KEY)


def test_who_may_not_listen_is_told_of_what_goes_through_its_daemon(redis_server, new_daemon, rdb):
    rdb.execute_command("ACL", "SETUSER", "deaf", "on", ">secret", "~rapyer:*", "resetchannels", "+@all")
    settings = {"redis.redis_user": "deaf", "redis.redis_password": "secret"}
    with new_daemon(redis_server.address, settings, deaf=True).connect() as deaf:
        save_ada(deaf)
        deaf.call("watch", KEY)
        after = deaf.call("set", KEY, "age", 1)
        assert told_until(deaf, lambda key, v, paths: v == after)[-1] == [KEY, after, ["age"]]


# --- gaps ------------------------------------------------------------------------------------


def test_a_link_that_was_cut(redis_server, new_proxy, new_daemon, rdb):
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as client:
        save_ada(client)
        client.call("watch", KEY)
        client.call("watch", "User:*")
        for n in range(5):
            proxy.refusing = True
            proxy.cut()
            rdb.hset(ROOT, "age", 1000 + n)
            proxy.refusing = False
            while client.call("doc.load", KEY, "age") != 1000 + n:
                assert told(client)[1:] == [None, None]
            client.notifications.clear()
    # Once it was heard again, whoever had asked before was told.


def test_a_subscriber_that_was_cut(redis_server, new_daemon, rdb):
    """The connection that listens alone, by CLIENT KILL, while nobody reads."""
    with new_daemon(redis_server.address).connect() as client:
        save_ada(client)
        client.call("watch", KEY)
        for _ in range(3):
            wait_until(lambda: rdb.execute_command("CLIENT", "KILL", "TYPE", "pubsub") > 0, what="its connection")
            assert told(client) == [KEY, None, None]


def test_a_link_for_commits_that_was_cut(redis_server, new_daemon, rdb):
    """That alone: what was being committed may have happened."""
    with new_daemon(redis_server.address).connect() as client:
        save_ada(client)
        client.call("watch", KEY)
        for _ in range(3):
            wait_until(lambda: rdb.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") > 0,
                       what="a link that can be cut")
            assert told(client) == [KEY, None, None]


def test_a_link_that_is_dead_without_a_word(redis_server, new_proxy, new_daemon, rdb):
    """Nothing comes, and no end of it; a proof does not come back, though nobody reads."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, {"coherence.bound": "200ms", "redis.command_timeout": "1s"}).connect() as client:
        save_ada(client)
        client.call("watch", KEY)
        proxy.freeze()
        rdb.hset(ROOT, "age", 5)
        assert told(client) == [KEY, None, None]
        proxy.thaw()
        wait_until(lambda: client.call("doc.load", KEY, "age") == 5, what="the change")


def test_a_daemon_that_stood_still(pair, daemons):
    one, two = pair
    two.call("watch", KEY)
    for n in range(3):
        daemons[1].process.send_signal(signal.SIGSTOP)
        for _ in range(50):
            after = one.call("num.incr", KEY, "age", 1)
        daemons[1].process.send_signal(signal.SIGCONT)
        told_until(two, lambda key, v, paths: v == version(one))
        assert two.call("doc.load", KEY, "age") == after


class BehindProxy(FaultProxy):
    """Keeps back what Redis answers, and lets its messages pass."""

    def __init__(self, *args, **options):
        self.answers, self.kept, self.listening = threading.Event(), 0, set()
        self.answers.set()
        super().__init__(*args, **options)

    def pass_on(self, link, direction, data, sink):
        if direction == REPLIES and b"\r\nsubscribe\r\n" in data:
            self.listening.add(link)
        if direction == REPLIES and link not in self.listening:
            self.kept += not self.answers.is_set()
            self.answers.wait()
        return super().pass_on(link, direction, data, sink)


def test_a_gap_while_a_watch_is_asked_for(workdir, redis_server, new_daemon, rdb):
    """Its answer says what was before; then it is told to look."""
    proxy = BehindProxy(workdir, redis_server.address)
    with new_daemon(proxy.address).connect() as client:
        save_ada(client)
        before = version(client)
        gaps = client.call("admin.stats")["gaps"]
        proxy.answers.clear()
        watch = client.send("watch", KEY)
        wait_until(lambda: proxy.kept, what="the answer of Redis")
        realm = rdb.get("rapyer:@realm")  # else the next proof finds another gap
        with rdb.pipeline() as p:
            p.flushall().set("rapyer:@realm", realm).execute()
        wait_until(lambda: client.call("admin.stats")["gaps"] > gaps, what="the gap")
        proxy.answers.set()
        assert client.wait(watch)["version"] in (before, 0)
        assert told(client) == [KEY, None, None]
    proxy.stop()


def test_a_redis_that_was_killed(new_redis, new_daemon):
    server = new_redis(aof=True)
    with new_daemon(server.address).connect() as client:
        save_ada(client)
        client.call("watch", KEY)
        gaps = client.call("admin.stats")["gaps"]
        server.restart()
        assert told(client) == [KEY, None, None]
        # Nobody is heard, and then all are again: the second gap could be told in the place of what follows.
        wait_until(lambda: client.call("admin.stats")["gaps"] >= gaps + 2, what="a daemon that hears again")
        after = client.call("set", KEY, "age", 3)
        assert told_until(client, lambda key, v, paths: v == after)[-1] == [KEY, after, ["age"]]


# --- who does not read -----------------------------------------------------------------------


def test_a_slow_watcher_is_told_to_look(redis_server, new_daemon):
    """What it was told before has versions; then comes what says that there was more; and all works
    again. The memory is bounded, and nobody else waits."""
    daemon = new_daemon(redis_server.address, {"limits.client_output_pause": "64K", "limits.watch_memory": "16K"})
    with daemon.connect() as slow, daemon.connect() as writer:
        save_ada(writer)
        slow.call("watch", "User:*")
        for begin in range(0, 2000, 500):
            writer.call("doc.insert", [[f"User:{n:0200d}", {"name": "x", "settings": {}}]
                                       for n in range(begin, begin + 500)])
        for _ in range(4):
            for begin in range(0, 2000, 500):
                writer.call("pipeline", [["num.incr", f"User:{n:0200d}", "age", 1] for n in range(begin, begin + 500)])
        assert max(one["unsent"] for one in writer.call("admin.clients")) < (64 + 16) << 10
        all_of_it = told_until(slow, lambda key, v, paths: v is None)
        assert all_of_it[-1] == ["User:*", None, None]
        assert all(v > 0 for _, v, _ in all_of_it[:-1])
        after = writer.call("set", KEY, "age", 1)
        assert told_until(slow, lambda key, v, paths: v is not None)[-1] == [KEY, after, ["age"]]
        assert slow.call("admin.stats")["watches_lost"] > 0


def test_what_a_slow_watcher_misses_of_a_document_is_one_notification(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.client_output_pause": "1K"})
    with daemon.connect() as slow, daemon.connect() as writer:
        save_ada(writer)
        slow.call("watch", KEY)
        for n in range(20000):
            last = writer.send("num.incr", KEY, "age", 1)
            if n % 100 == 99:
                writer.wait(last)
        last = version(writer)
        all_of_it = told_until(slow, lambda key, v, paths: v == last)
        versions = [v for _, v, _ in all_of_it]
        assert versions == sorted(set(versions)) and set(map(str, (p for *_, p in all_of_it))) == {"['age']"}


def test_watches_are_limited(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.client_watches": "3"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        for key in ("User:a", "User:b", "User:*"):
            client.call("watch", key)
        client.call("watch", "User:a")  # it is there already
        with pytest.raises(RpcError, match="BUSY: .*limits.client_watches"):
            client.call("watch", "User:c")
        other.call("watch", "User:c")
        client.call("unwatch", "User:a")
        client.call("watch", "User:c")


def test_watches_of_all_are_limited(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.max_watches": "3"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        client.call("watch", "User:a")
        other.call("watch", "User:a")
        other.call("watch", "User:b")
        with pytest.raises(RpcError, match="BUSY: .*limits.max_watches"):
            client.call("watch", "User:b")
        other.close()
        wait_until(lambda: client.call("admin.stats")["watches"] == 1, what="room")
        client.call("watch", "User:b")


def test_very_many_watches(redis_server, new_daemon, rdb):
    """All of them are told, and others are served in between."""
    daemon = new_daemon(redis_server.address)
    clients = [daemon.connect() for _ in range(50)]
    try:
        save_ada(clients[0])
        for client in clients:
            client.socket.settimeout(60)
            sent = [client.send("watch", f"User:{n}") for n in range(500)] + [client.send("watch", KEY)]
            for request in sent:
                client.wait(request)
        after = clients[0].call("set", KEY, "age", 1)
        assert all(told(client) == [KEY, after, ["age"]] for client in clients)
        rdb.flushall()
        for client in clients:
            assert {tuple(told(client)) for _ in range(501)} == \
                {(key, None, None) for key in [KEY] + [f"User:{n}" for n in range(500)]}
    finally:
        for client in clients:
            client.close()


def test_what_others_change_faster_than_it_can_be_looked_at(redis_server, new_daemon, rdb):
    daemon = new_daemon(redis_server.address, {"limits.watch_memory": "4K"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        client.call("watch", "User:*")
        other.call("watch", KEY)
        for _ in range(20):
            with rdb.pipeline() as p:
                for n in range(500):
                    p.hset(f"rapyer:{{User:{n}}}", mapping={"@v": 5, "@s": 1, "name": "x"})
                p.execute()
        told_until(client, lambda key, v, paths: [key, v, paths] == ["User:*", None, None])
        assert told(other) == [KEY, None, None]  # of which nothing has changed


# --- the end ---------------------------------------------------------------------------------


def test_unwatch(ada, other):
    other.call("watch", KEY)
    other.call("watch", "User:bob")
    assert other.call("unwatch", KEY) is True
    assert other.call("unwatch", KEY) is False
    assert other.call("unwatch", "User:*") is False
    ada.call("set", KEY, "age", 1)
    saved = ada.call("doc.save", "User:bob", {"name": "b", "settings": {}})["version"]
    assert told(other) == ["User:bob", saved, None]


def test_watches_end_with_the_connection(ada, daemon):
    with daemon.connect() as client:
        for n in range(50):
            client.send("watch", f"User:{n}")
        client.call("watch", "User:*")
        assert ada.call("admin.stats")["watches"] == 51
    wait_until(lambda: ada.call("admin.stats")["watches"] == 0, what="the end of the watches")
    ada.call("set", KEY, "age", 1)


def test_an_idle_daemon_that_nobody_watches_with_asks_redis_nothing(pair, rdb):
    one, two = pair
    two.call("watch", KEY)
    rdb.config_resetstat()
    wait_until(lambda: "cmdstat_publish" in rdb.info("commandstats"), what="a proof")
    two.call("unwatch", KEY)
    time.sleep(BOUND)  # proofs that are still on their way
    rdb.config_resetstat()
    time.sleep(2 * BOUND)  # it is that nothing happens which is tested
    assert "cmdstat_publish" not in rdb.info("commandstats")


def test_a_client_that_leaves_while_its_watch_is_asked_for(redis_server, new_proxy, new_daemon):
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address)
    with daemon.connect() as client:
        save_ada(client)
        proxy.freeze()
        leaving = daemon.connect()
        leaving.send("watch", KEY)
        leaving.send("unwatch", KEY)
        leaving.send("watch", KEY)
        wait_until(lambda: client.call("admin.stats")["watches"] == 1, what="the watch")
        leaving.close()
        wait_until(lambda: client.call("admin.stats")["watches"] == 0, what="its end")
        proxy.thaw()
        client.call("watch", KEY)
        after = client.call("set", KEY, "age", 1)
        told_until(client, lambda key, v, paths: v == after)


def test_a_watch_that_cannot_be_asked_for_is_none(new_redis, new_daemon):
    server = new_redis()
    daemon = new_daemon(server.address, {"commit.queue_time": "200ms"})
    with daemon.connect() as client:
        save_ada(client)
        server.kill()
        with pytest.raises(RpcError, match="UNAVAILABLE"):
            client.call("watch", KEY)
        assert client.call("admin.stats")["watches"] == 0
        server.start()


# --- the promises under load -----------------------------------------------------------------


def test_who_is_told_of_a_version_reads_none_that_is_older(redis_server, new_daemon, rdb):
    """On the same daemon, by any connection, whoever has written; and versions that are told only
    rise."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    with daemons[0].connect() as first:
        save_ada(first)
    stop = threading.Event()

    def write(daemon, seed):
        rng = random.Random(seed)
        with daemon.connect() as client:
            while not stop.is_set():
                client.call(*rng.choice([["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", "x"],
                                         ["num.mul", KEY, "score", 1.5], ["list.clear", KEY, "tags"],
                                         ["set", KEY, "score", 1.0]]))

    def write_foreign():
        with redis_server.client() as client:
            while not stop.is_set():
                client.hincrby(ROOT, "@v", 1)
                client.hset(ROOT, "bio", "x")
                stop.wait(0.002)

    threads = [threading.Thread(target=write, args=(daemons[n % 2], n)) for n in range(4)]
    threads.append(threading.Thread(target=write_foreign))
    for thread in threads:
        thread.start()
    try:
        with daemons[1].connect() as watcher, daemons[1].connect() as reader:
            highest = watcher.call("watch", KEY)["version"]
            for n in range(1500):
                key, seen, _ = told(watcher)
                if seen is None:
                    continue
                assert seen >= highest, (seen, highest)
                highest = seen
                client = (watcher, reader)[n % 2]
                assert version(client) >= seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_nothing_is_missed_between_the_answer_and_the_first_notification(pair):
    """A write at about the time of the watch is in its answer, or is told."""
    one, two = pair
    for n in range(1500):
        watch = two.send("watch", KEY)
        for _ in range(n % 40):
            pass  # a little later each time
        one.call("num.incr", KEY, "age", 1)
        last = version(one)
        if two.wait(watch)["version"] < last:
            told_until(two, lambda key, v, paths: v == last)
        two.call("unwatch", KEY)
        two.notifications.clear()
