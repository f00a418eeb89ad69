"""Pipelines under locks and with if_version, next to those without: the same effects when the guard
holds, none when it does not, and nobody has seen or built upon what was refused then."""

import os
import random
import re
import signal
import threading
import time

import pytest

import test_fault_failover as failover
from daemon_process import BIG_WORK
from lock_clients import acquire, await_link, release
from models import ADA, KEY, ROOT, atomic, define_all, field, save_ada
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_batch_random import CLIENTS, Generator, SHARED, begin, content, plain

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
LEASES = "rapyer:@lock:*"
FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "10ms"}


@pytest.fixture
def proxy(redis_server, new_proxy):
    return new_proxy(redis_server.address)


@pytest.fixture
def ada(proxy, new_daemon):
    """A client of a daemon whose link to Redis goes through the proxy; Ada is saved and in memory.
    The daemon does not listen to others: what they change meanwhile it finds out at the commit."""
    with new_daemon(proxy.address, {**FAST, **BIG_WORK, "coherence.enabled": "0"}).connect() as client:
        save_ada(client)
        yield client


def drop_leases(rdb):
    """What an administrator's DEL does, or a failover to a replica that knows of none."""
    keys = rdb.keys(LEASES)
    assert keys
    rdb.delete(*keys)


def outcome(client, request):
    """The result, or the error's code."""
    try:
        return client.wait(request)
    except RpcError as error:
        return error.code


def same_as_redis(client, redis_server, new_daemon, keys):
    """What the daemon serves from memory is what a fresh one reads."""
    with new_daemon(redis_server.address).connect() as fresh:
        assert client.call("doc.get_many", keys) == fresh.call("doc.get_many", keys)


# --- the guard holds -----------------------------------------------------------------------


def in_pipelines(requests):
    """Only pipelines can be under a lock."""
    return [request if request[0] == "pipeline" else ["pipeline", [request]] for request in requests]


def in_turn(new_redis, new_daemon, requests):
    redis_server = new_redis()
    with new_daemon(redis_server.address).connect() as client:
        begin(client)
        answers = [[answer(client, request, client.send(*request)) for request in mine] for mine in requests]
    return answers, content(redis_server)


def answer(client, request, sent):
    try:
        return plain(request, client.wait(sent))
    except RpcError as error:
        return error.error


@pytest.mark.parametrize("seed", range(20 if FULL else 3))
def test_the_same_under_locks(new_redis, new_proxy, new_daemon, seed):
    """Clients with locks of their own, one with and without, one without any: on one document, and
    each on its own; merged, with cuts, and one time with hardly any memory for documents."""
    generators = [Generator(f"guard{seed}", number) for number in range(CLIENTS)]
    requests = [in_pipelines([generator.request() for _ in range(800 if FULL else 200)])
                for generator in generators]
    expected = in_turn(new_redis, new_daemon, requests)
    redis_server = new_redis()
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {**FAST, **({"cache.cache_memory": "64K"} if seed == 1 else {})})
    clients = [daemon.connect() for _ in requests]
    begin(clients[0])
    locks = [[acquire(client, SHARED, f"own{i}", ttl=600), acquire(client, f"Box:own{i}", ttl=600)]
             for i, client in enumerate(clients)]
    chance = random.Random(seed)
    proxy.delay = 0.002
    sent = [[] for _ in requests]
    for turn, round_ in enumerate(zip(*requests)):
        for i, request in enumerate(round_):
            token = locks[i][0]["token"]
            given = [[token], [token, locks[i][1]["token"]], [] if chance.random() < 0.5 else [token], []][i]
            options = [{"lock": given}] if given else []
            sent[i].append(clients[i].send(*request, *options))
        if turn % 50 == 25:
            proxy.cut()
    found = [[answer(client, request, i) for request, i in zip(mine, ids)]
             for client, mine, ids in zip(clients, requests, sent)]
    for mine, should, did in zip(requests, expected[0], found):
        for request, a, b in zip(mine, should, did):
            assert b == a, request
    assert content(redis_server) == expected[1]
    same_as_redis(clients[0], redis_server, new_daemon, [SHARED, *(f"Box:own{i}" for i in range(CLIENTS))])
    for client in clients:
        client.close()


LONG = {
    "pushes": ["list.extend", KEY, "tags", ["x"] * 20_000],
    "several scripts": ["list.extend", KEY, "tags", ["y"] * 300_000],
    "fields": ["doc.save", KEY, {"name": "A", "settings": {}, "counts": {f"k{i}": i for i in range(30_000)}}],
    "deletions": ["dict.clear", KEY, "counts"],
    "an element in the middle": ["list.insert", KEY, "tags", 150_000, "here"],
    "big": ["set", KEY, "blob", b"\x00\r\n$" * 1_000_000],
}


@pytest.mark.parametrize("prepared, what", [
    (None, "pushes"), (None, "several scripts"), (None, "fields"), ("fields", "deletions"),
    ("several scripts", "an element in the middle"), (None, "big")])
def test_long_ones(ada, redis_server, new_redis, new_daemon, prepared, what):
    other = new_redis()
    with new_daemon(other.address, BIG_WORK).connect() as client:
        save_ada(client)
        lock = acquire(ada)
        for name in filter(None, (prepared, what)):
            result = plain(LONG[name], client.call("pipeline", [LONG[name]])[0])
            assert plain(LONG[name], ada.call("pipeline", [LONG[name]], {"lock": lock["token"]})[0]) == result
        assert content(redis_server) == {key: value for key, value in content(other).items()}


@pytest.mark.parametrize("key, operation", [
    ("/tags", ["list.append", KEY, "tags", "x"]), ("/tags", ["list.insert", KEY, "tags", 1, "x"]),
    ("/tags", ["list.remove_range", KEY, "tags", 1, 2]), ("/counts", ["dict.set", KEY, "counts", "k", 1]),
    ("/counts", ["num.incr", KEY, 'counts["x"]', 1])], ids=lambda one: one[0] if isinstance(one, list) else one)
def test_a_key_of_another_type(ada, rdb, redis_server, new_daemon, key, operation):
    """CORRUPT as without a lock, and the rest of the pipeline is there."""
    ada.call("doc.save", "User:bob", {"name": "b", "settings": {}})
    lock = acquire(ada)
    ada.call("doc.get_many", [KEY, "User:bob"])
    rdb.delete(ROOT + key)
    rdb.set(ROOT + key, "text")
    text = refused(ada, "CORRUPT", "pipeline", [["num.incr", "User:bob", "age", 1], operation,
                                                ["num.incr", KEY, "age", 1]], {"lock": lock["token"]})
    assert KEY in text
    assert rdb.get(ROOT + key) == b"text"
    assert rdb.hget(ROOT, "age") == b"37" and rdb.hget("rapyer:{User:bob}", "age") == b"1"
    assert ada.call("pipeline", [["doc.load", "User:bob", "age"]], {"lock": lock["token"]}) == [1]


def test_a_lease_key_of_another_type(ada, rdb):
    lock = acquire(ada)
    drop_leases(rdb)
    rdb.set("rapyer:@lock:{User:ada}/!edit", "text")
    refused(ada, "LOCK_LOST", "pipeline", [["num.incr", KEY, "age", 1]], {"lock": lock["token"]})
    assert rdb.hget(ROOT, "age") == b"36" and ada.call("doc.load", KEY, "age") == 36


def test_redis_is_full(ada, rdb, redis_server):
    """Nothing is applied, the lock stays, and all goes on when there is room again."""
    lock = acquire(ada)
    before = redis_server.snapshot()
    rdb.config_set("maxmemory", 1)
    for options in ({"lock": lock["token"]}, {"if_version": lock["version"]}):
        requests = [ada.send("pipeline", [["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", "x"]], options)
                    for _ in range(3)]
        assert [outcome(ada, one) for one in requests] == ["UNAVAILABLE"] * 3
    assert redis_server.snapshot() == before
    rdb.config_set("maxmemory", 0)
    both = {"lock": lock["token"], "if_version": lock["version"]}
    assert ada.call("pipeline", [["num.incr", KEY, "age", 1]], both) == [37]


def test_a_ttl_under_a_lock(ada, rdb):
    ada.call("define", atomic("Brief", field("n", "int", default=0), field("l", "list<int>"), ttl=100))
    lock = acquire(ada, "Brief:1")
    under = {"lock": lock["token"]}
    ada.call("pipeline", [["doc.save", "Brief:1", {"l": [1]}]], under)
    for key in ("rapyer:{Brief:1}", "rapyer:{Brief:1}/l"):
        assert 90_000 < rdb.pttl(key) <= 100_000
    rdb.pexpire("rapyer:{Brief:1}/l", 50)
    wait_until(lambda: not rdb.exists("rapyer:{Brief:1}/l"), what="the end of the list")
    ada.call("pipeline", [["doc.delete", "Brief:1"], ["doc.save", "Brief:1", {"l": [2]}],
                          ["list.append", "Brief:1", "l", 3]], under)
    assert 90_000 < rdb.pttl("rapyer:{Brief:1}/l") <= 100_000
    assert rdb.lrange("rapyer:{Brief:1}/l", 0, -1) == [b"2", b"3"]
    ada.call("pipeline", [["doc.delete", "Brief:1"]], under)
    assert not rdb.keys("rapyer:{Brief:1}*")


# --- the lease is gone ---------------------------------------------------------------------


LOG = atomic("Log", field("n", "int", default=0), field("ids", "list<int>"))


class Party:
    """A client that appends numbers of its own to the document that all share, and to its own."""

    def __init__(self, daemon, number, locked):
        self.client = daemon.connect()
        self.number, self.own, self.locked = number, f"Log:own{number}", locked
        self.lock, self.sent, self.lost = None, [], 0
        self.shared, self.made = [], 0  # what has to be there

    def send(self, chance):
        options = {}
        if self.locked:
            if self.lock is None:
                self.lock = acquire(self.client, "Log:shared", f"party{self.number}", ttl=600)
            options["lock"] = self.lock["token"]
        self.made += 1
        mine = self.number * 1_000_000 + self.made
        read = ["doc.load", "Log:shared", "ids"]
        operations = chance.choice([
            [["num.incr", self.own, "n", 1], ["list.append", "Log:shared", "ids", mine]],
            [["list.append", "Log:shared", "ids", mine], ["num.incr", "Log:shared", "n", 1], read],
            [["list.append", self.own, "ids", mine]],
            [read], [read, ["doc.load", self.own, "ids"]]])
        if chance.random() < 0.2:
            operations.append(["list.insert", self.own, "ids", 0, mine])
        self.sent.append((mine, operations, self.client.send("pipeline", operations, options)))

    def settle(self, model, seen):
        """Takes the answers; what they say they did goes into the model, what they saw into seen."""
        for mine, operations, request in self.sent:
            result = outcome(self.client, request)
            if isinstance(result, str):
                assert result == "LOCK_LOST" and self.locked
                self.lost += 1
                self.lock = None
                continue
            for operation, value in zip(operations, result):
                method, key, path = operation[:3]
                if method == "doc.load":
                    seen.append((key, value))
                elif path == "n":
                    model[key]["n"] += 1
                else:
                    model[key]["ids"].add((mine, operation[-1] if method == "list.append" else -mine))
        self.sent = []


def bring_back(rdb, stolen):
    """As soon as the first commit was refused, and before the daemon knows of it."""
    marker = next(key for key in rdb.keys("rapyer:~seq:*"))
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline and b" " not in rdb.get(marker):
        pass
    for key, dump in stolen:
        if not rdb.exists(key):
            rdb.restore(key, 0, dump)


@pytest.mark.parametrize("blink", [False, True], ids=["gone", "back at once"])
@pytest.mark.parametrize("seed", range(8 if FULL else 2))
def test_leases_go_while_pipelines_are_on_their_way(redis_server, new_proxy, new_daemon, rdb, seed, blink):
    """back at once: as when the daemon itself takes the lease again, with the same fence."""
    chance = random.Random(seed)
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address)
    parties = [Party(daemon, number, locked=number < 3) for number in range(5)]
    keys = ["Log:shared", *(party.own for party in parties)]
    model, seen = {key: {"n": 0, "ids": set()} for key in keys}, []
    parties[0].client.call("define", LOG)
    for key in keys:
        parties[0].client.call("doc.save", key, {})
    proxy.delay = 0.004
    for _ in range(60 if FULL else 15):
        for _ in range(chance.randrange(10, 40)):
            chance.choice(parties).send(chance)
        for party in parties:
            party.client.call("hello")  # all of it has been taken, or waits
        stolen = [(key, rdb.dump(key)) for key in rdb.keys(LEASES) if chance.random() < 0.7]
        for key, _ in stolen:
            rdb.delete(key)
        for _ in range(chance.randrange(20)):
            chance.choice(parties[3:] if chance.random() < 0.7 else parties).send(chance)
        if blink:
            bring_back(rdb, stolen)
        for _ in range(chance.randrange(10)):
            chance.choice(parties).send(chance)
        for party in parties:
            party.settle(model, seen)
    proxy.delay = 0
    for key in keys:
        ids = [int(one) for one in rdb.lrange(f"rapyer:{{{key}}}/ids", 0, -1)]
        assert sorted(ids) == sorted(abs(mine) for mine, _ in model[key]["ids"]), key
        assert int(rdb.hget(f"rapyer:{{{key}}}", "n") or 0) == model[key]["n"], key
        for which, value in seen:
            assert which != key or set(value) <= set(ids), f"{key}: somebody has seen what was refused"
    assert sum(party.lost for party in parties[:3]) > 5
    same_as_redis(parties[4].client, redis_server, new_daemon, keys)
    for party in parties:
        party.client.close()


def test_what_was_built_upon_a_refused_change_falls_with_it(ada, proxy, rdb, redis_server):
    """Though the lease is back when it is its turn, with the same fence."""
    before = redis_server.snapshot()
    lock = acquire(ada)
    under = {"lock": lock["token"]}
    ada.call("doc.get_many", [KEY])
    proxy.freeze()
    requests = [ada.send("pipeline", [["list.append", KEY, "tags", "d"]], under)]
    ada.call("hello")
    requests += [ada.send("pipeline", [["list.set", KEY, "tags", 3, "e"]], under),
                 ada.send("pipeline", [["num.incr", KEY, "age", 1], ["doc.load", KEY, "tags"]], under),
                 ada.send("pipeline", [["doc.load", KEY, "tags"]], under)]
    ada.call("hello")
    stolen = [(key, rdb.dump(key)) for key in rdb.keys(LEASES)]
    drop_leases(rdb)
    proxy.delay = 0.1
    proxy.thaw()
    bring_back(rdb, stolen)
    assert [outcome(ada, one) for one in requests] == ["LOCK_LOST"] * 4
    assert redis_server.snapshot() == before
    assert ada.call("doc.get_many", [KEY])[0]["tags"] == ["a", "b", "c"]


def test_reads_under_a_lock_fall_with_what_they_saw(ada, proxy, rdb):
    """One batch is on its way, one gathers; reads saw the one, the other, or both."""
    for key in ("User:1", "User:2"):
        ada.call("doc.save", key, {"name": key, "settings": {}})
    for drop in (False, True) * 5:
        lock = acquire(ada)
        under = {"lock": lock["token"]}
        before = [ada.call("doc.load", key, "age") for key in ("User:1", "User:2")]
        proxy.freeze()
        requests = []
        for key in ("User:1", "User:2"):
            requests.append(ada.send("pipeline", [["num.incr", key, "age", 1]], under))
            ada.call("hello")
        reads = [["doc.load", "User:1", "age"], ["doc.load", "User:2", "age"]]
        for some in (reads[:1], reads[1:], reads, reads[::-1]):
            requests.append(ada.send("pipeline", some, under))
        refusal = ada.send("pipeline", [*reads, ["set", "User:1", "age", "x"]], under)
        ada.call("hello")
        if drop:
            drop_leases(rdb)
        proxy.thaw()
        one, two = before[0] + 1, before[1] + 1
        results = [outcome(ada, request) for request in requests]
        assert results == (["LOCK_LOST"] * 6 if drop else [[one], [two], [one], [two], [one, two], [two, one]])
        assert outcome(ada, refusal) == ("LOCK_LOST" if drop else "BAD_TYPE")
        if not drop:
            release(ada, lock)


def test_what_is_asked_while_answers_are_given(ada, proxy, rdb, redis_server, new_daemon):
    """A lock's document is read the moment another request's answer comes with the same commit."""
    ada.call("doc.save", "User:bob", {"name": "b", "settings": {}, "tags": ["t"]})
    release(ada, acquire(ada, KEY, "more"))
    release(ada, acquire(ada, "User:bob", "more", path="tags"))
    for _ in range(5):
        lock = acquire(ada)
        ada.call("doc.get_many", [KEY, "User:bob"])
        proxy.freeze()
        first = ada.send("doc.save", "User:third", {"name": "x", "settings": {}})
        ada.call("hello")
        write = ada.send("list.append", "User:bob", "tags", "x")
        doomed = ada.send("pipeline", [["num.incr", KEY, "age", 100]], {"lock": lock["token"]})
        asked = ada.send("lock.acquire_many", [["User:bob", "more", {"path": "tags"}], [KEY, "more"]],
                         {"document": True})
        ada.call("hello")
        rdb.delete("rapyer:@lock:{User:ada}/!edit")
        proxy.thaw()
        assert outcome(ada, doomed) == "LOCK_LOST"
        ada.wait(first)
        assert ada.wait(write) > 1
        locks = ada.wait(asked)
        assert locks[1]["document"]["age"] == 36
        ada.call("lock.release", [one["token"] for one in locks])
    assert rdb.hget(ROOT, "age") == b"36"
    same_as_redis(ada, redis_server, new_daemon, [KEY, "User:bob"])


def test_a_refused_unit_is_told_to_its_holder_only(ada, proxy, rdb, new_daemon):
    """Two locks on one document, one lease gone: the other's pipelines are carried out."""
    one, two = acquire(ada, notify=True), acquire(ada, action="two", notify=True)
    proxy.freeze()
    requests = [ada.send("pipeline", [["num.incr", KEY, "age", 1]], {"lock": token})
                for token in (one["token"], two["token"], [one["token"], two["token"]])]
    rdb.delete("rapyer:@lock:{User:ada}/!edit")
    proxy.thaw()
    assert [outcome(ada, request) for request in requests] == ["LOCK_LOST", [37], "LOCK_LOST"]
    wait_until(lambda: ada.call("hello") and ada.notifications, what="lock.lost")
    assert [params[:1] for _, params in ada.notifications] == [[one["token"]]]
    refused(ada, "LOCK_LOST", "lock.release", one["token"], [["num.incr", KEY, "age", 1]])
    assert ada.call("lock.release", two["token"], [["num.incr", KEY, "age", 1]]) == [38]
    assert rdb.hget(ROOT, "age") == b"38"


# --- if_version ----------------------------------------------------------------------------


def version(client, key):
    return client.call("doc.get", key, {"version": True})["@v"]


def conflict(error):
    assert error.code == "CONFLICT", error
    found = re.search(r"has version (\d+)", error.text)
    return int(found[1]) if found else None


def test_two_daemons_lose_no_update(redis_server, new_daemon, rdb):
    """Read, then write under the condition that nobody has written meanwhile."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    with daemons[0].connect() as client:
        define_all(client)
        client.call("doc.save", KEY, {"name": "n", "settings": {}})
        client.call("doc.save", "User:guard", {"name": "n", "settings": {}})
    each, conflicts, failed = 200 if FULL else 40, [], []

    def work(number):
        try:
            with daemons[number % 2].connect() as client:
                define_all(client)
                for _ in range(each):
                    increment(client, number)
        except Exception as error:  # told by the thread that can fail the test
            failed.append(error)

    def increment(client, number):
        # Half of them change the document by a condition upon another, which all of them change.
        while True:
            document = client.call("doc.get", KEY, {"version": True})
            try:
                client.call("pipeline", [["set", KEY, "age", document["age"] + 1]],
                            {"if_version": {KEY: document["@v"]} if number > 1 else document["@v"]})
                return
            except RpcError as error:
                conflicts.append((document["@v"], conflict(error)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    assert int(rdb.hget(ROOT, "age")) == 4 * each
    assert conflicts
    for expected, now in conflicts:
        assert now is None or now != expected
    assert any(now is not None for _, now in conflicts)


def test_a_condition_upon_another_document(ada, rdb, redis_server, new_daemon):
    """It had another version behind the daemon's back: CONFLICT, and the new one is read then."""
    with new_daemon(redis_server.address).connect() as other:
        define_all(other)
        ada.call("doc.save", "User:bob", {"name": "b", "settings": {}})
        for turn in range(3):
            known = {key: version(ada, key) for key in (KEY, "User:bob")}
            other.call("num.incr", "User:bob", "age", 1)
            text = refused(ada, "CONFLICT", "pipeline", [["num.incr", KEY, "age", 1]], {"if_version": known})
            assert f"User:bob has version {known['User:bob'] + 1} now" in text
            known = {key: version(ada, key) for key in (KEY, "User:bob")}
            assert ada.call("pipeline", [["num.incr", KEY, "age", 1]], {"if_version": known}) == [37 + turn]


def test_later_requests_do_not_break_a_condition(ada, proxy):
    """They are carried out in the order in which they came, also within one commit."""
    ada.call("doc.save", "User:bob", {"name": "b", "settings": {}})
    for turn in range(5):
        known = version(ada, "User:bob")
        proxy.freeze()
        first = ada.send("doc.save", "User:third", {"name": "x", "settings": {}})
        ada.call("hello")
        requests = [ada.send("pipeline", [["num.incr", KEY, "age", 1]], {"if_version": {"User:bob": known}}),
                    ada.send("num.incr", "User:bob", "age", 1),
                    ada.send("pipeline", [["num.incr", "User:bob", "age", 1]], {"if_version": known})]
        ada.call("hello")
        proxy.thaw()
        ada.wait(first)
        assert [outcome(ada, one) for one in requests] == [[37 + turn], turn + 1, "CONFLICT"]


def test_a_conflict_does_not_disturb_its_batch(ada, proxy, redis_server, new_daemon, rdb):
    with new_daemon(redis_server.address).connect() as other:
        define_all(other)
        for i in range(20):
            ada.call("doc.save", f"User:{i}", {"name": "n", "settings": {}})
        lock = acquire(ada, "User:0")
        ada.call("doc.get_many", [f"User:{i}" for i in range(20)])
        known = version(ada, KEY)
        other.call("num.incr", KEY, "age", 1)
        proxy.freeze()
        first = ada.send("doc.save", "User:third", {"name": "x", "settings": {}})
        ada.call("hello")
        good, bad = [], []
        for i in range(20):
            options = [{}, {"lock": lock["token"]}, {"if_version": {f"User:{i}": version(other, f"User:{i}")}}][i % 3]
            good.append(ada.send("pipeline", [["num.incr", f"User:{i}", "age", 1],
                                              ["doc.load", f"User:{i}", "age"]], options))
            if i == 7:
                bad.append(ada.send("pipeline", [["num.incr", KEY, "age", 1]], {"if_version": known}))
            if i == 12:
                bad.append(ada.send("pipeline", [["set", KEY, "age", 1], ["set", "User:new", "age", 1]],
                                    {"if_version": {KEY: known}, "lock": lock["token"]}))
        after = ada.send("num.incr", KEY, "age", 1)
        commits = ada.call("admin.stats")["commits"]
        proxy.thaw()
        ada.wait(first)
        assert [outcome(ada, one) for one in good] == [[1, 1]] * 20
        with pytest.raises(RpcError, match=f"CONFLICT: {KEY} has version {known + 1} now"):
            ada.wait(bad[0])
        assert outcome(ada, bad[1]) in ("CONFLICT", "NOT_FOUND")
        assert ada.wait(after) == 38
        assert ada.call("admin.stats")["commits"] - commits < 8, "they were not merged"
        assert ada.call("pipeline", [["num.incr", KEY, "age", 1]], {"lock": lock["token"]}) == [39]
    assert rdb.hget(ROOT, "age") == b"39"


def test_a_lock_and_a_version(ada, redis_server, new_daemon, rdb):
    """Both have to hold; a conflict leaves the lock."""
    with new_daemon(redis_server.address).connect() as other:
        define_all(other)
        lock = acquire(ada)
        both = {"lock": lock["token"], "if_version": lock["version"]}
        other.call("num.incr", KEY, "age", 1)
        text = refused(ada, "CONFLICT", "pipeline", [["num.incr", KEY, "age", 1]], both)
        assert f"has version {lock['version'] + 1} now" in text
        both["if_version"] = version(ada, KEY)
        assert ada.call("pipeline", [["num.incr", KEY, "age", 1]], both) == [38]
        both["if_version"] += 1
        drop_leases(rdb)
        refused(ada, "LOCK_LOST", "pipeline", [["num.incr", KEY, "age", 1]], both)
    assert rdb.hget(ROOT, "age") == b"38"


def test_many_conditions_in_one_commit(ada, proxy):
    """Hundreds of units; none takes long, and each is for itself."""
    count = 3000 if FULL else 600
    ada.call("doc.insert", [[f"User:{i}", {"name": "n", "settings": {}}] for i in range(count)])
    versions = [version(ada, f"User:{i}") for i in range(count)]
    proxy.freeze()
    first = ada.send("doc.save", "User:third", {"name": "x", "settings": {}})
    ada.call("hello")
    requests = [ada.send("pipeline", [["num.incr", f"User:{i}", "age", 1]],
                         {"if_version": versions[i] + (i % 10 == 0)}) for i in range(count)]
    ada.call("hello")
    proxy.thaw()
    ada.wait(first)
    assert [outcome(ada, one) for one in requests] == ["CONFLICT" if i % 10 == 0 else [1] for i in range(count)]


# --- nothing is pinned for ever ------------------------------------------------------------


def test_locks_are_given_back_when_requests_under_them_run_out(redis_server, new_proxy, new_daemon):
    """Redis is away for longer than requests wait: queued, staged, in flight."""
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {**FAST, "commit.queue_time": "300ms", "locks.lock_lease": "500ms"})
    with daemon.connect() as client, new_daemon(redis_server.address).connect() as other:
        save_ada(client)
        define_all(other)
        client.call("doc.save", "User:bob", {"name": "b", "settings": {}})
        lock = acquire(client)
        proxy.freeze()
        under = {"lock": lock["token"]}
        requests = [client.send("pipeline", [["num.incr", KEY, "age", 1]], under),
                    client.send("num.incr", "User:bob", "age", 1)]
        client.call("hello")
        requests += [client.send("pipeline", [["num.incr", key, "age", 1]], under)
                     for key in (KEY, "User:bob", "User:unread")]
        client.call("hello")
        proxy.refusing = True
        proxy.cut()
        proxy.thaw()
        outcomes = [outcome(client, one) for one in requests]
        assert set(outcomes) <= {"UNAVAILABLE", "UNKNOWN_OUTCOME", "LOCK_LOST"}, outcomes
        assert outcomes[0] == "UNKNOWN_OUTCOME"
        proxy.refusing = False
        await_link(client)
        try:
            release(client, lock)
        except RpcError as error:
            assert error.code == "LOCK_LOST"
        # Another host gets it: nothing of the first one's pins the lease.
        lock = other.call("lock.acquire", KEY, "edit", {"wait": 10})
        assert other.call("pipeline", [["set", KEY, "age", 50]], {"lock": lock["token"]})
        assert client.call("doc.get_many", [KEY], {"fresh": True})[0]["age"] == 50


# --- Redis comes back without its state ----------------------------------------------------


@pytest.fixture
def pair(new_redis, new_proxy):
    return failover.Pair(new_redis, new_proxy)


def write(client, turn, **options):
    """As failover.expect wants it."""
    return client.call("pipeline", [
        ["num.incr", failover.KEY, "age", 1], ["list.append", failover.KEY, "tags", f"t{turn}"],
        ["num.incr", failover.OTHER, "age", 2],
        ["dict.set", failover.OTHER, "counts", f"k{turn % 7}", turn]], options)


@pytest.mark.parametrize("released", [False, True], ids=["held", "released"])
@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
def test_lost_commits_under_a_lock_are_applied_again(pair, new_daemon, released, shared):
    client = failover.start(pair, new_daemon)
    write(client, 0)
    pair.caught_up()
    pair.lag()
    mode = "shared" if shared else "exclusive"
    lock = acquire(client, mode=mode)
    for turn in range(1, 20):
        write(client, turn, **({"lock": lock["token"]} if turn % 3 else {}))
    if released:
        release(client, lock)
    pair.fail_over()
    if released:
        lock = acquire(client, mode=mode)
    assert write(client, 20, lock=lock["token"])[0] == 21
    failover.expect(pair, 21)
    assert client.call("admin.stats")["lost_states"] == 0
    client.close()


def test_lost_commits_under_a_lease_that_was_given_up(pair, new_daemon):
    """It is taken back for them, as nobody else has it now."""
    client = failover.start(pair, new_daemon)
    pair.caught_up()
    pair.lag()
    lock = acquire(client)
    write(client, 0, lock=lock["token"])
    release(client, lock)
    with new_daemon(pair.master.address).connect() as other:
        define_all(other)
        release(other, acquire(other))
        pair.fail_over()
        write(client, 1)
        failover.expect(pair, 2)
        assert client.call("admin.stats")["lost_states"] == 0
    lock = acquire(client)
    write(client, 2, lock=lock["token"])
    failover.expect(pair, 3)
    client.close()


def test_lost_commits_with_conditions_are_applied_again(pair, new_daemon):
    client = failover.start(pair, new_daemon)
    write(client, 0)
    pair.caught_up()
    pair.lag()
    for turn in range(1, 20):
        write(client, turn, if_version={key: version(client, key) for key in (failover.KEY, failover.OTHER)})
    pair.fail_over()
    write(client, 20, if_version={key: version(client, key) for key in (failover.KEY, failover.OTHER)})
    failover.expect(pair, 21)
    assert client.call("admin.stats")["lost_states"] == 0
    client.close()


@pytest.mark.parametrize("guard", ["lock", "if_version"])
def test_what_was_refused_is_not_applied_again(pair, new_daemon, guard):
    """In the older state the version is the expected one, and the lease can be had."""
    client = failover.start(pair, new_daemon)
    spoiled = "User:spoiled"
    client.call("doc.save", spoiled, {"name": "x", "settings": {}})
    lock = acquire(client)
    options = {"lock": lock["token"]} if guard == "lock" else {"if_version": version(client, spoiled)}
    write(client, 0)
    client.call("doc.get_many", [spoiled])
    pair.caught_up()
    pair.lag()
    with pair.master.client() as rdb:
        if guard == "lock":
            write(client, 1, **options)
            client.call("doc.get_many", [spoiled])
            drop_leases(rdb)
        else:
            write(client, 1)
            rdb.hincrby("rapyer:{User:spoiled}", "@v", 1)
        sent = [client.send("pipeline", [["num.incr", spoiled, "age", 1]], options), client.send("num.incr", KEY, "age", 5)]
        assert [outcome(client, one) for one in sent] == ["LOCK_LOST" if guard == "lock" else "CONFLICT", 7]
        client.call("num.incr", KEY, "age", -5)
    pair.fail_over()
    assert write(client, 2)[0] == 3
    failover.expect(pair, 3)
    with pair.replica.client() as rdb:
        assert rdb.hget("rapyer:{User:spoiled}", "age") in (None, b"0")
    assert client.call("doc.load", spoiled, "age") == 0
    client.close()


def test_lost_commits_of_a_lock_that_another_host_has_by_now(pair, new_daemon):
    """It has seen the document without them: they stay lost, and that is said. The others are there."""
    client = failover.start(pair, new_daemon)
    pair.caught_up()
    pair.lag()
    lock = acquire(client)
    client.call("pipeline", [["num.incr", failover.KEY, "age", 1]], {"lock": lock["token"]})
    client.call("num.incr", failover.OTHER, "age", 1)
    pair.front.refusing = True
    pair.fail_over()
    with new_daemon(pair.replica.address).connect() as other:
        define_all(other)
        taken = acquire(other, document=True)
        assert taken["document"]["age"] == 0 and taken["fence"] > lock["fence"]
        assert other.call("pipeline", [["num.incr", failover.KEY, "age", 10]], {"lock": taken["token"]}) == [10]
        pair.front.refusing = False
        await_link(client)
        assert client.call("doc.get_many", [failover.OTHER])[0]["age"] == 1
        assert client.call("doc.get_many", [failover.KEY])[0]["age"] == 10
        refused(client, "LOCK_LOST", "pipeline", [["num.incr", failover.KEY, "age", 1]], {"lock": lock["token"]})
        assert client.call("admin.stats")["lost_states"] == 1
        assert other.call("pipeline", [["num.incr", failover.KEY, "age", 1]], {"lock": taken["token"]}) == [11]
    client.close()


def asked_ttl(redis):
    """How often a document was read."""
    with redis.client() as rdb:
        return rdb.info("commandstats").get("cmdstat_pttl", {}).get("calls", 0)


@pytest.mark.parametrize("unread", [False, True], ids=["silent", "an answer unread"])
def test_lost_commits_of_a_daemon_that_stood_still(pair, new_daemon, unread):
    """When it goes on another host has had the lock, and Redis does not remember it any more. How
    long the daemon has noticed nothing is no part of the time that it was away: not of that of its
    clock, and not of that of an answer that waited for it all the time."""
    short = {**failover.SETTINGS, "locks.lock_lease": "500ms"}
    daemon = new_daemon(pair.front.address, short)
    client = daemon.connect()
    define_all(client)
    client.call("doc.save", KEY, {"name": "x", "settings": {}})
    pair.caught_up()
    pair.lag()
    lock = acquire(client)
    client.call("pipeline", [["set", KEY, "name", "lost"]], {"lock": lock["token"]})
    release(client, lock)
    if unread:
        asked = asked_ttl(pair.master)
        pair.front.freeze()
        client.send("doc.get", "User:never")
        client.call("hello", {"client": "test", "protocol": 1})  # it has asked Redis by now
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        if unread:
            pair.front.thaw()
            wait_until(lambda: asked_ttl(pair.master) > asked,
                       what="the question that nobody hears the answer of")
        pair.fail_over()
        with new_daemon(pair.replica.address, short).connect() as other, pair.replica.client() as rdb:
            define_all(other)
            taken = acquire(other, document=True)
            assert taken["document"]["name"] == "x"
            other.call("pipeline", [["set", KEY, "name", "later"]], {"lock": taken["token"]})
            release(other, taken)
            wait_until(lambda: not rdb.keys(LEASES), what="the end of the leases")
            daemon.process.send_signal(signal.SIGCONT)
            await_link(client)
            assert client.call("doc.get", KEY)["name"] == "later"
            assert other.call("doc.get", KEY, {"fresh": True})["name"] == "later"
            assert client.call("admin.stats")["lost_states"] == 1
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    client.close()


def test_a_commit_in_flight_when_the_state_is_lost(pair, new_daemon):
    """It is sent again behind those that were lost, under the lease that is taken again."""
    client = failover.start(pair, new_daemon)
    pair.caught_up()
    pair.lag()
    lock = acquire(client)
    write(client, 0, lock=lock["token"])
    plan = pair.front.cut_after("replies", 0)
    pair.front.refusing = True
    request = client.send("pipeline", [["num.incr", failover.KEY, "age", 1]], {"lock": lock["token"]})
    wait_until(plan.fired.is_set, what="the cut")
    pair.fail_over()
    pair.front.refusing = False
    assert client.wait(request) == [2]
    assert client.call("pipeline", [["num.incr", failover.KEY, "age", -1]], {"lock": lock["token"]}) == [1]
    failover.expect(pair, 1)
    client.close()
