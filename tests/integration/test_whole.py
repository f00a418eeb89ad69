"""Pipelines over several documents of which somebody removes one in Redis: all of it, or nothing.

Removed at each moment: before the request, while its commit is held on the way to Redis, while the
connection is lost with the commit or its answer."""

import os
import random
import threading

import pytest

from lock_clients import acquire
from models import KEY, ROOT, atomic, define_all, field, save_ada
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_guard import FAST, outcome, same_as_redis, version

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
BOB, BOB_ROOT = "User:bob", "rapyer:{User:bob}"
BOTH = [["num.incr", BOB, "age", 1], ["list.append", KEY, "tags", "new"], ["list.append", BOB, "tags", "new"]]


@pytest.fixture
def proxy(redis_server, new_proxy):
    return new_proxy(redis_server.address)


@pytest.fixture
def ada(proxy, new_daemon):
    """A client of a daemon whose link to Redis goes through the proxy; Ada and Bob are in memory."""
    with new_daemon(proxy.address, FAST).connect() as client:
        save_ada(client)
        client.call("doc.save", BOB, {"name": "bob", "settings": {}, "tags": ["t"]})
        yield client


def remove(rdb, key=KEY):
    rdb.delete(*rdb.keys(f"rapyer:{{{key}}}*"))


def evict(rdb):
    rdb.delete(ROOT)


def expire(rdb):
    for key in rdb.keys(ROOT + "*"):
        rdb.pexpire(key, 1)
    wait_until(lambda: not rdb.exists(ROOT), what="the end of it")


def bob(redis_server):
    return {key: value for key, value in redis_server.snapshot().items() if key.startswith(BOB_ROOT.encode())}


def older(rdb):
    """As if it had been removed, and made again by a host whose clock is behind."""
    rdb.hincrby(ROOT, "@v", -1_000_000_000)


# --- before the request --------------------------------------------------------------------


@pytest.mark.parametrize("how", [remove, evict, expire])
@pytest.mark.parametrize("turn", [1, -1], ids=["", "the other way round"])
def test_one_is_gone(ada, rdb, redis_server, new_daemon, how, turn):
    before = bob(redis_server)
    how(rdb)
    text = refused(ada, "NOT_FOUND", "pipeline", BOTH[::turn])
    assert KEY in text
    assert bob(redis_server) == before and not rdb.exists(ROOT)
    assert ada.call("doc.load", BOB, "tags") == ["t"]
    same_as_redis(ada, redis_server, new_daemon, [KEY, BOB])
    assert ada.call("pipeline", BOTH[::2]) == [1, 2], "all goes on for the other"


def test_another_daemon_has_removed_it(ada, redis_server, new_daemon):
    before = bob(redis_server)
    with new_daemon(redis_server.address).connect() as other:
        assert other.call("doc.delete", KEY) == 1
    refused(ada, "NOT_FOUND", "pipeline", BOTH)
    assert bob(redis_server) == before == redis_server.snapshot()


def test_operations_that_do_not_mind(ada, rdb, redis_server, new_daemon):
    """Saved, deleted, or only read in the same pipeline: it is done as on what is there."""
    remove(rdb)
    assert ada.call("pipeline", [["num.incr", BOB, "age", 1], ["doc.delete", KEY]]) == [1, 0]
    save_ada(ada)
    remove(rdb)
    results = ada.call("pipeline", [["num.incr", BOB, "age", 1], ["doc.save", KEY, {"name": "A", "settings": {}}],
                                    ["num.incr", KEY, "age", 1]])
    assert [results[0], results[2]] == [2, 1]
    assert rdb.hget(ROOT, "age") == b"1" and rdb.keys(ROOT + "*") == [ROOT.encode()]
    assert version(ada, KEY) == results[1]["version"] == int(rdb.hget(ROOT, "@v"))
    same_as_redis(ada, redis_server, new_daemon, [KEY, BOB])


def test_one_that_was_not_there_is(ada, redis_server, new_daemon):
    """A pipeline saves what another daemon has saved meanwhile: all of that is replaced."""
    assert ada.call("doc.exists", "User:new") == 0
    with new_daemon(redis_server.address).connect() as other:
        define_all(other)
        other.call("doc.save", "User:new", {"name": "other's", "settings": {}, "tags": ["other's"], "age": 7})
        ada.call("pipeline", [["num.incr", BOB, "age", 1],
                              ["doc.save", "User:new", {"name": "ours", "settings": {}, "tags": ["ours"]}]])
        saved = other.call("doc.get", "User:new", {"fresh": True})
        assert [saved["name"], saved["tags"], saved["age"]] == ["ours", ["ours"], 0]


def test_under_a_lock_and_a_condition(ada, rdb, redis_server):
    """NOT_FOUND as without, and the lock stays."""
    before = bob(redis_server)
    lock = acquire(ada)
    both = {"lock": lock["token"], "if_version": {BOB: version(ada, BOB)}}
    for options in ({"lock": lock["token"]}, {"if_version": both["if_version"]}, both):
        save_ada(ada)
        remove(rdb)
        assert KEY in refused(ada, "NOT_FOUND", "pipeline", BOTH, options)
        assert bob(redis_server) == before
    save_ada(ada)
    remove(rdb)
    refused(ada, "NOT_FOUND", "lock.release", lock["token"], BOTH)
    save_ada(ada)
    assert ada.call("lock.release", lock["token"], BOTH) == [1, 4, 2], "it was still held"


# --- while its commit is on the way --------------------------------------------------------


@pytest.mark.parametrize("how", [remove, evict, older])
def test_one_goes_while_the_commit_is_held(ada, proxy, rdb, redis_server, new_daemon, how):
    """Others in the same commit, and those that wait for it, are answered as on what is there."""
    proxy.freeze()
    requests = [ada.send("list.append", BOB, "tags", "1"), ada.send("num.incr", KEY, "age", 1),
                ada.send("pipeline", BOTH), ada.send("list.append", BOB, "tags", "2"),
                ada.send("pipeline", [["doc.load", KEY, "tags"], ["doc.load", BOB, "tags"]])]
    ada.call("hello")
    requests += [ada.send("list.append", BOB, "tags", "3"), ada.send("num.incr", KEY, "age", 1),
                 ada.send("doc.load", BOB, "tags")]
    ada.call("hello")
    how(rdb)
    proxy.thaw()
    found = [outcome(ada, one) for one in requests]
    if how is older:
        assert found == [2, 37, [1, 4, 3], 4, [["a", "b", "c", "new"], ["t", "1", "new", "2"]], 5, 38,
                         ["t", "1", "new", "2", "3"]]
    else:
        assert found == [2, "NOT_FOUND", "NOT_FOUND", 3, "NOT_FOUND", 4, "NOT_FOUND", ["t", "1", "2", "3"]]
        assert not rdb.exists(ROOT)
    same_as_redis(ada, redis_server, new_daemon, [KEY, BOB])


def test_what_is_refused_takes_with_it_what_saw_it(ada, proxy, rdb, redis_server):
    """Pipelines in one commit that share documents, one after the other; others that do not."""
    keys = [f"User:{i}" for i in range(6)]
    for key in keys:
        ada.call("doc.save", key, {"name": key, "settings": {}})
    proxy.freeze()
    first = ada.send("num.incr", BOB, "age", 1)
    ada.call("hello")
    chain = [ada.send("pipeline", [["list.append", a, "tags", "x"], ["list.append", b, "tags", "x"]])
             for a, b in zip(keys[:4], keys[1:4])]
    apart = ada.send("pipeline", [["num.incr", keys[4], "age", 1], ["num.incr", keys[5], "age", 1]])
    reads = ada.send("doc.get_many", [keys[2], keys[4]], {"paths": ["tags", "age"]})
    ada.call("hello")
    remove(rdb, keys[0])
    proxy.thaw()
    assert ada.wait(first) == 1
    assert [outcome(ada, one) for one in chain] == ["NOT_FOUND", [1, 1], [2, 1]]
    assert outcome(ada, apart) == [1, 1]
    assert ada.wait(reads) == [{"tags": ["x", "x"], "age": 0}, {"tags": [], "age": 1}]
    assert [len(rdb.lrange(f"rapyer:{{{key}}}/tags", 0, -1)) for key in keys] == [0, 1, 2, 1, 0, 0]


def test_read_only_documents_of_a_pipeline(ada, proxy, rdb):
    """What it read of others' changes that are refused is read again, with what it changes."""
    proxy.freeze()
    first = ada.send("num.incr", "User:third", "age", 1)
    held = ada.send("num.incr", BOB, "age", 1)
    ada.call("hello")
    requests = [ada.send("pipeline", [["num.incr", KEY, "age", 1], ["set", "User:x", "age", 5]]),
                ada.send("doc.save", "User:x", {"name": "x", "settings": {}}),
                ada.send("pipeline", [["set", KEY, "age", 100], ["num.incr", BOB, "age", 1]]),
                ada.send("pipeline", [["doc.load", KEY, "age"], ["list.append", "User:y", "tags", "x"]]),
                ada.send("pipeline", [["doc.load", KEY, "age"], ["list.append", BOB, "tags", "x"]])]
    ada.call("hello")
    older(rdb)
    proxy.thaw()
    assert outcome(ada, first) == "NOT_FOUND" and ada.wait(held) == 1
    found = [outcome(ada, one) for one in requests]
    assert found[0] == found[3] == "NOT_FOUND" and found[2][1] == 2 and found[4] == [100, 2]


# --- the connection is lost ----------------------------------------------------------------


@pytest.mark.parametrize("how", [remove, older])
@pytest.mark.parametrize("direction", ["requests", "replies"])
def test_the_connection_is_cut(ada, proxy, rdb, redis_server, new_daemon, direction, how):
    """At any byte: what Redis refused is known from the marker, and what did not arrive is sent again."""
    for count in range(0, 4000 if direction == "requests" else 200, (7 if FULL else 61) if direction == "requests" else 9):
        save_ada(ada)
        ada.call("doc.save", BOB, {"name": "bob", "settings": {}, "tags": ["t"]})
        how(rdb)
        proxy.cut_after(direction, count)
        requests = [ada.send("list.append", BOB, "tags", "1"), ada.send("pipeline", BOTH),
                    ada.send("list.append", BOB, "tags", "2")]
        found = [outcome(ada, one) for one in requests]
        proxy.disarm()
        if how is older:
            assert found[1:] == [[1, 4, 3], 4], count
            # Its own answer is lost, and somebody else has written: it is there, its number is not known.
            assert found[0] in (2, "UNKNOWN_OUTCOME"), count
        else:
            assert found == [2, "NOT_FOUND", 3], count
            assert not rdb.exists(ROOT)
        tags = [b"t", b"1", b"new", b"2"] if how is older else [b"t", b"1", b"2"]
        assert rdb.lrange(BOB_ROOT + "/tags", 0, -1) == tags, count
        assert rdb.hget(BOB_ROOT, "age") == (b"1" if how is older else b"0"), count
    assert proxy.cuts > 10
    same_as_redis(ada, redis_server, new_daemon, [KEY, BOB])


def test_it_goes_while_the_link_is_down(ada, proxy, rdb, redis_server):
    """The commit did not arrive; when it is sent again the document is gone."""
    before = bob(redis_server)
    plan = proxy.cut_after("requests", 100)
    proxy.refusing = True
    request = ada.send("pipeline", BOTH)
    wait_until(plan.fired.is_set, what="the cut")
    remove(rdb)
    proxy.refusing = False
    assert outcome(ada, request) == "NOT_FOUND"
    assert bob(redis_server) == before == redis_server.snapshot()


# --- all at once ---------------------------------------------------------------------------


PAGE = atomic("Page", field("ids", "list<int>"), field("n", "int", default=0))


@pytest.mark.parametrize("seed", range(6 if FULL else 2))
def test_a_crowd_and_one_who_removes(redis_server, new_proxy, new_daemon, rdb, seed):
    """Witnesses have exactly what was acknowledged, while mortals come and go, and links are cut."""
    proxies = [new_proxy(redis_server.address) for _ in range(2)]
    daemons = [new_daemon(proxy.address, FAST) for proxy in proxies]
    mortals, witnesses = [f"Page:m{i}" for i in range(4)], [f"Page:w{i}" for i in range(3)]
    with daemons[1].connect() as client:
        client.call("define", PAGE)
    with daemons[0].connect() as client:
        client.call("define", PAGE)
        for key in mortals + witnesses:
            client.call("doc.save", key, {})
    written, failed, lost, done = {key: [] for key in witnesses}, [], [], threading.Event()

    def work(number):
        chance = random.Random(seed * 100 + number)
        try:
            with daemons[number % 2].connect() as client:
                for i in range(400 if FULL else 120):
                    write(client, chance, number * 1_000_000 + i)
        except Exception as error:  # told by the thread that can fail the test
            failed.append(error)

    def write(client, chance, mine):
        mortal, witness = chance.choice(mortals), chance.choice(witnesses)
        operations = [["list.append", mortal, "ids", mine], ["list.append", witness, "ids", mine],
                      ["num.incr", witness, "n", 1]]
        chance.shuffle(operations)
        try:
            client.call("pipeline", operations)
            written[witness].append(mine)
        except RpcError as error:
            if error.code == "UNKNOWN_OUTCOME" and "is applied" in error.text:
                written[witness].append(mine)  # the answer was cut, and somebody else has written since
                return
            assert error.code == "NOT_FOUND" and mortal in error.text, error
            lost.append(mine)

    def remover():
        chance = random.Random(seed)
        with daemons[0].connect() as client:
            while not done.is_set():
                mortal = chance.choice(mortals)
                remove_if_there(rdb, mortal)
                if chance.random() < 0.2:
                    chance.choice(proxies).cut()
                client.call("doc.save", chance.choice(mortals), {})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    last = threading.Thread(target=remover)
    for thread in [*threads, last]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    last.join()
    assert not failed, failed[0]
    assert lost and any(written.values())
    for key in witnesses:
        ids = [int(one) for one in rdb.lrange(f"rapyer:{{{key}}}/ids", 0, -1)]
        assert sorted(ids) == sorted(written[key]), key
        assert int(rdb.hget(f"rapyer:{{{key}}}", "n")) == len(ids), key


def remove_if_there(rdb, key):
    keys = rdb.keys(f"rapyer:{{{key}}}*")
    if keys:
        rdb.delete(*keys)
