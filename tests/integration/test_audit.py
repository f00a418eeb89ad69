"""The audit of what is in memory: does it find what was not heard of, does it say when, and does it
accuse nobody?"""

import os
import random
import re
import threading
import time

import pytest

from fault_proxy import DeafProxy
from models import ADA, KEY, ROOT, atomic, define_all, field, save_ada
from rpc_client import RpcError, wait_until

SECONDS = 120 if os.environ.get("RAPYER_FULL") else 6
BOUND = 1.0
BUSY = {"coherence.audit": 200}
SHELF = atomic("Shelf", field("names", "set<str>"), field("scores", "sorted<str>"), field("n", "int", default=0))
SHELF_ROOT = "rapyer:{Shelf:s}"


def document_of(key):
    return key[key.find(b"{") + 1:key.find(b"}")]


def all_but_proofs(channel, _payload):
    return b"@proof" not in channel


def settle(client, keys, seconds=0.7):
    """What was just written is read again half a bound later."""
    start = time.monotonic()
    wait_until(lambda: client.call("doc.get_many", keys) and time.monotonic() > start + seconds,
               what="the last reading")


@pytest.fixture
def deaf(redis_server, workdir):
    proxy = DeafProxy(workdir, redis_server.address)
    yield proxy
    proxy.stop()


@pytest.fixture
def listener(deaf, new_daemon):
    """A daemon with Ada and a shelf in memory, and a client of it."""
    daemon = new_daemon(deaf.address, BUSY)
    with daemon.connect() as client:
        save_ada(client)
        client.call("define", SHELF)
        client.call("doc.save", "Shelf:s", {"names": ["a", "b"], "scores": [["a", 1.0], ["b", 2.0]]})
        settle(client, [KEY, "Shelf:s"])
        yield daemon, client


def stats_after(client, name, value, timeout=20):
    """Its counters, once this one has come so far; documents are used meanwhile."""
    def look():
        client.call("doc.get_many", [KEY, "Shelf:s"])
        stats = client.call("admin.stats")
        return stats[name] >= value and stats
    return wait_until(look, timeout=timeout, what=f"{name} to be {value}")


def finding(client):
    return wait_until(lambda: [row for row in client.call("admin.doctor") if row["check"] == "coherence"],
                      what="the link to Redis")[0]


UNHEARD = [
    (lambda rdb: rdb.hset(ROOT, "age", 77), "/age"),
    (lambda rdb: rdb.hdel(ROOT, "name"), "/name"),
    (lambda rdb: rdb.hset(ROOT, "settings.theme", "light"), "/settings.theme"),
    (lambda rdb: rdb.rpush(ROOT + "/tags", "z"), "/tags"),
    (lambda rdb: rdb.lset(ROOT + "/tags", 1, "z"), "/tags"),
    (lambda rdb: rdb.hset(ROOT + "/counts", "x", 5), "/counts"),
    (lambda rdb: rdb.hset(ROOT + "/settings.notifications", "mail", 0), "/settings.notifications"),
    (lambda rdb: rdb.hset(ROOT + "/sections/s1", "name", "other"), "/sections/s1/name"),
    (lambda rdb: rdb.rpush(ROOT + "/sections/s1/tasks/t1/tags", "z"), "/sections/s1/tasks/t1/tags"),
    (lambda rdb: rdb.hset(ROOT + "/teams/c1", "name", "other"), "/teams/c1/name"),
    (lambda rdb: rdb.delete(*rdb.keys(ROOT + "*")), "it is not there"),
    (lambda rdb: (rdb.srem(SHELF_ROOT + "/names", "a"), rdb.sadd(SHELF_ROOT + "/names", "c")), "/names"),
    (lambda rdb: rdb.zadd(SHELF_ROOT + "/scores", {"a": 7}), "/scores"),
]


@pytest.mark.parametrize("change, where", UNHEARD)
def test_what_was_not_heard_of_is_found(deaf, listener, rdb, change, where):
    """Wherever it is: it is counted once, and the log says where."""
    daemon, client = listener
    deaf.unheard = all_but_proofs
    change(rdb)
    stats_after(client, "audit_wrong", 1)
    assert f"is not what Redis holds ({where})" in daemon.log()
    row = finding(client)
    assert row["state"] == "bad" and re.match(r"1 of \d+ documents", row["found"])


def test_what_is_wrong_for_long_is_counted_by_how_long_and_mended(deaf, listener, rdb):
    daemon, client = listener
    deaf.unheard = all_but_proofs
    rdb.hset(ROOT, "age", 77)
    stats = stats_after(client, "audit_wrong", 1)
    assert stats["audit_wrong_1s"] == stats["audit_wrong_10s"] == 0
    assert client.call("doc.load", KEY, "age") == 36, "a look has told the cache"
    stats = stats_after(client, "audit_wrong_1s", 1)
    assert stats["audit_wrong_10s"] == 0
    stats_after(client, "audit_wrong_10s", 1)
    assert client.call("doc.load", KEY, "age") == 77
    assert daemon.log().count("is not what Redis holds") == 1


def test_a_look_tells_the_cache_nothing(deaf, listener, rdb):
    """What is heard of later than the look, but in time, is no error; nor is it mended by the look."""
    _, client = listener
    late = 0  # on a busy machine
    for n in range(5):
        begun = time.monotonic()
        deaf.unheard = all_but_proofs
        rdb.hset(ROOT, "age", 100 + n)
        before = client.call("admin.stats")["audits"]
        stats_after(client, "audits", before + 5)
        deaf.unheard = lambda channel, payload: False
        rdb.hset(ROOT, "bio", f"heard {n}")
        wait_until(lambda: client.call("doc.load", KEY, "age") == 100 + n, what="the news")
        late += time.monotonic() - begun > BOUND
    settle(client, [KEY, "Shelf:s"], BOUND + 0.2)
    assert client.call("admin.stats")["audit_wrong"] <= late


def test_each_twentieth_message_lost_is_found(redis_server, deaf, new_daemon):
    """Of another daemon's commits, and of the keys that they wrote."""
    lost, count = set(), [0]

    def unheard(channel, payload):
        if b"@changes" in channel:
            count[0] += 1
            if count[0] % 20 == 0:
                lost.add(re.search(rb"User:d\d+", payload).group())
                return True
        return isinstance(payload, list) and any(document_of(key) in lost for key in payload)

    writer, reader = new_daemon(redis_server.address), new_daemon(deaf.address, BUSY)
    keys = [f"User:d{n}" for n in range(60)]
    with writer.connect() as one, reader.connect() as two:
        define_all(one)
        for key in keys:
            one.call("doc.save", key, ADA)
        settle(two, keys)
        deaf.unheard = unheard
        for key in keys:
            one.call("num.incr", key, "age", 1)
        found = wait_until(lambda: two.call("doc.get_many", keys) and
                           two.call("admin.stats")["audit_wrong"] >= len(lost) > 0, timeout=30,
                           what="all that were lost")
        assert found and two.call("admin.stats")["audit_wrong"] == len(lost)


def work(daemon, rng, until, keys):
    """Every kind of change, to documents that others change as well."""
    with daemon.connect() as client:
        while time.monotonic() < until:
            key, word = rng.choice(keys), f"w{rng.randrange(1000)}"
            request = rng.choice([
                ["doc.get", key], ["doc.get", key], ["doc.get_many", keys], ["set", key, "age", rng.randrange(99)],
                ["num.incr", key, "age", 1], ["num.mul", key, "score", 1.5], ["str.append", key, "bio", "x"],
                ["list.append", key, "tags", word], ["list.pop", key, "tags", 0], ["list.clear", key, "tags"],
                ["dict.set", key, "counts", word[:2], 1], ["dict.pop", key, "counts", word[:2]],
                ["list.append", key, "sections", {"name": word}], ["list.pop", key, "sections", -1],
                ["list.append", key, "sections[0].tasks", {"title": word}], ["set", key, "sections[0].name", word],
                ["doc.delete", key], ["doc.save", key, ADA], ["doc.save", key, ADA], ["doc.ttl", key, 1],
                ["pipeline", [["num.incr", keys[0], "age", 1], ["list.append", keys[1], "tags", word]]]])
            try:
                client.call(*request)
            except RpcError:
                pass


def write_directly(redis_server, rng, until, keys):
    with redis_server.client() as rdb:
        while time.monotonic() < until:
            root = "rapyer:{%s}" % rng.choice(keys)
            if rdb.exists(root):
                rng.choice([lambda: rdb.hset(root, "age", rng.randrange(99)),
                            lambda: rdb.rpush(root + "/tags", "f"), lambda: rdb.delete(root + "/counts"),
                            lambda: rdb.pexpire(root + "/tags", 5), lambda: rdb.delete(root)])()
            time.sleep(rng.random() * 0.02)


@pytest.mark.parametrize("bound", ["20ms", "200ms"])
def test_nobody_is_accused(redis_server, new_daemon, bound):
    """However much changes, with looks as often as can be. Shows C4."""
    settings = {"coherence.bound": bound, "coherence.audit": 1000}
    daemons = [new_daemon(redis_server.address, settings) for _ in range(2)]
    keys, until = [f"User:d{n}" for n in range(6)], time.monotonic() + SECONDS
    for daemon in daemons:
        with daemon.connect() as client:
            define_all(client)
    threads = [threading.Thread(target=work, args=(daemons[n % 2], random.Random(n), until, keys))
               for n in range(4)]
    threads.append(threading.Thread(target=write_directly, args=(redis_server, random.Random(9), until, keys)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for daemon in daemons:
        with daemon.connect() as client:
            stats = client.call("admin.stats")
            assert stats["audits"] > 20 * SECONDS and stats["audit_wrong"] == 0, daemon.log()
            assert finding(client)["state"] == "ok"


def test_a_long_run_is_never_wrong(redis_server, new_daemon):
    """Documents of which each changes once, and is then looked at. A rapyerd that passes over each
    1,000th change (RAPYER_UNHEARD) is found out here. Shows C4."""
    writer = new_daemon(redis_server.address)
    reader = new_daemon(redis_server.address, {"coherence.bound": "200ms", "coherence.audit": 1000})
    keys = [f"Shelf:{n}" for n in range(2000)]
    with writer.connect() as one, reader.connect() as two:
        one.call("define", SHELF)
        one.call("doc.insert", [[key, {}] for key in keys])
        two.call("doc.get_many", keys)
        for n in range(SECONDS // 2):
            for sent in [one.send("set", key, "n", n) for key in keys]:
                one.wait(sent)
            settle(two, keys, 0.2)
            looked = time.monotonic()
            while time.monotonic() < looked + 2.5:
                two.call("doc.get", keys[0])
        stats = two.call("admin.stats")
        assert stats["audits"] > 100 * SECONDS and stats["audit_wrong"] == 0, reader.log()


def test_it_can_be_turned_off_and_on(redis_server, new_daemon):
    with new_daemon(redis_server.address, {"coherence.enabled": 0}).connect() as deaf:
        assert finding(deaf)["state"] == "warn"
        assert "coherence.enabled" in finding(deaf)["found"]
    daemon = new_daemon(redis_server.address, {"coherence.audit": 0})
    with daemon.connect() as client:
        save_ada(client)
        for _ in range(50):
            client.call("doc.get", KEY)
        assert client.call("admin.stats")["audits"] == 0
        assert "not compared" in finding(client)["found"]
        daemon.settings.update(BUSY)
        daemon.write_config()
        daemon.reload()
        wait_until(lambda: client.call("doc.get", KEY) and client.call("admin.stats")["audits"] > 3,
                   what="looks")
