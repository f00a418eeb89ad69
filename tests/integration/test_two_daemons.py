"""Two daemons on one Redis change the same document at once, by what is computed from what was there:
products, texts that grow, elements at an index, entries that are taken. None of it is lost, and each
answer is true."""

import os
import random
import threading
import time
from datetime import timedelta

import pytest

from models import BORN, KEY, ROOT, atomic, define_all, field, save_ada
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_guard import FAST, same_as_redis

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
EACH = 150 if FULL else 30
SHEET = atomic("Sheet", field("n", "int", default=1), field("x", "float", default=0.0),
               field("count", "int", default=0), field("text", "str", default=""),
               field("raw", "bytes", default=b""), field("cells", "list<int>"), field("rest", "dict<int>"),
               field("jobs", "dict<str>"), field("queue", "list<int>"))
SHEET_KEY, SHEET_ROOT = "Sheet:1", "rapyer:{Sheet:1}"


@pytest.fixture
def daemons(redis_server, new_daemon):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", SHEET)
    return daemons


def crowd(daemons, work, clients=4):
    """Runs work(client, number) at once, half of them on each daemon; gives back what they return."""
    failed, results, start = [], [None] * clients, threading.Barrier(clients)

    def one(number):
        try:
            start.wait()
            with daemons[number % len(daemons)].connect() as client:
                results[number] = work(client, number)
        except Exception as error:  # told by the thread that can fail the test
            failed.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    return results


# --- one at a time: what is on its way when the other daemon's change is applied --------------


@pytest.fixture
def proxy(redis_server, new_proxy):
    return new_proxy(redis_server.address)


@pytest.fixture
def ada(proxy, new_daemon):
    """A client whose daemon reaches Redis through the proxy; it has all of Ada in memory."""
    settings = {**FAST, "coherence.bound": "1h"}  # nothing is read again without need
    with new_daemon(proxy.address, settings).connect() as client:
        save_ada(client)
        yield client


@pytest.fixture
def other(ada, redis_server, new_daemon):
    with new_daemon(redis_server.address).connect() as other:
        define_all(other)
        yield other


def done_again(client):
    return client.call("admin.stats")["done_again"]


def scripts(rdb):
    return rdb.info("commandstats").get("cmdstat_eval", {}).get("calls", 0)


def held(ada, proxy, request, change):
    """The request's answer when change() happens while its commit is held."""
    proxy.freeze()
    sent = ada.send(*request)
    ada.call("hello")
    change()
    proxy.thaw()
    return ada.wait(sent)


# What we do, what the other daemon does before it gets there, our answer, and what is there then.
COMPUTED = [
    (["dict.del", KEY, "counts", "x"], ["dict.del", KEY, "counts", "x"], False, {"y": 2}),
    (["num.mul", KEY, "age", 2], ["set", KEY, "age", 5], 10, 10),
    (["num.mul", KEY, "age", 2], ["num.incr", KEY, "age", 1], 74, 74),
    (["num.floordiv", KEY, "age", 5], ["set", KEY, "age", 51], 10, 10),
    (["num.div", KEY, "score", 2], ["set", KEY, "score", 5.0], 2.5, 2.5),
    (["num.mod", KEY, "age", 7], ["set", KEY, "age", 8], 1, 1),
    (["num.pow", KEY, "age", 2], ["set", KEY, "age", 3], 9, 9),
    (["num.incr", KEY, "score", 0.5], ["num.incr", KEY, "score", 0.25], 2.25, 2.25),
    (["num.incr", KEY, 'counts["new"]', 1], ["num.incr", KEY, 'counts["new"]', 1], 2, 2),
    (["num.incr", KEY, "numbers[-1]", 1], ["list.append", KEY, "numbers", 10], 11, 11),
    (["str.append", KEY, "bio", "!"], ["str.append", KEY, "bio", "?"], "hello?!", "hello?!"),
    (["str.repeat", KEY, "bio", 2], ["set", KEY, "bio", "ho"], "hoho", "hoho"),
    (["bytes.append", KEY, "blob", b"b"], ["bytes.append", KEY, "blob", b"a"], b"\x00\xffab", b"\x00\xffab"),
    (["datetime.add", KEY, "born", 60], ["datetime.add", KEY, "born", 1], BORN + timedelta(seconds=61),
     BORN + timedelta(seconds=61)),
    (["set", KEY, "tags[-1]", "z"], ["list.append", KEY, "tags", "d"], None, ["a", "b", "c", "z"]),
    (["list.set", KEY, "tags", 1, "z"], ["list.pop", KEY, "tags", 0], None, ["b", "z"]),
    (["list.insert", KEY, "tags", 3, "z"], ["list.append", KEY, "tags", "d"], 5, ["a", "b", "c", "z", "d"]),
    (["list.insert", KEY, "tags", -1, "z"], ["list.append", KEY, "tags", "d"], 5, ["a", "b", "c", "z", "d"]),
    (["list.pop", KEY, "tags"], ["list.append", KEY, "tags", "d"], "d", ["a", "b", "c"]),
    (["list.pop", KEY, "tags", 0], ["list.pop", KEY, "tags", 0], "b", ["c"]),
    (["list.pop", KEY, "tags", 1], ["list.pop", KEY, "tags", 0], "c", ["b"]),
    (["list.remove_range", KEY, "tags", 1, 9], ["list.append", KEY, "tags", "d"], 3, ["a"]),
    (["dict.pop", KEY, "counts", "x"], ["set", KEY, 'counts["x"]', 7], 7, {"y": 2}),
    (["dict.pop", KEY, "counts", "x", None], ["dict.pop", KEY, "counts", "x"], None, {"y": 2}),
    (["dict.pop", KEY, "teams", "core"], ["set", KEY, 'teams["core"].name', "new"],
     {"@pk": "c1", "name": "new", "tasks": []}, {}),
    (["set", KEY, "sections[1].name", "z"], ["list.pop", KEY, "sections", 0], None, None),
    (["list.set", KEY, "sections", 0, {"@pk": "s9", "name": "nine"}], ["list.pop", KEY, "sections", 0], None,
     [{"@pk": "s9", "name": "nine", "tasks": []}]),
]


def name(value):
    return " ".join(str(word) for word in value) if isinstance(value, list) and len(value) > 3 else ""


@pytest.mark.parametrize("pipelined", [False, True], ids=["", "in a pipeline"])
@pytest.mark.parametrize("ours, theirs, answer, there", [row for row in COMPUTED if row[3] is not None], ids=name)
def test_what_is_computed(ada, other, proxy, redis_server, new_daemon, ours, theirs, answer, there, pipelined):
    """It is computed again from what the other one has left. Shows C7."""
    ada.call("doc.get", KEY)
    if pipelined:
        request = ["pipeline", [["num.incr", KEY, 'counts["y"]', 5], ours, ["num.incr", KEY, 'counts["y"]', -5]]]
        found = held(ada, proxy, request, lambda: other.call(*theirs))[1]
    else:
        found = held(ada, proxy, ours, lambda: other.call(*theirs))
    assert answer is None or found == answer
    path = ours[2] if ours[0] != "set" or "[" not in ours[2] else ours[2].partition("[")[0]
    assert ada.call("doc.load", KEY, path) == there
    assert done_again(ada) <= 2  # once, but where the other was heard of before, or twice
    same_as_redis(ada, redis_server, new_daemon, [KEY])


@pytest.mark.parametrize("ours, theirs, answer", [
    (["num.incr", KEY, "age", 1], ["num.incr", KEY, "age", 1], 38),
    (["num.incr", KEY, 'counts["x"]', 1], ["num.incr", KEY, 'counts["x"]', 1], 3),
    (["list.append", KEY, "tags", "x"], ["list.append", KEY, "tags", "y"], 5),
    (["list.insert", KEY, "tags", 0, "x"], ["list.append", KEY, "tags", "y"], 5),
    (["dict.set", KEY, "counts", "new", 1], ["dict.set", KEY, "counts", "old", 1], None),
    (["set", KEY, "name", "x"], ["set", KEY, "bio", "y"], None),
    (["pipeline", [["num.incr", KEY, "age", 1], ["set", KEY, "bio", "x"]]], ["num.incr", KEY, "age", 1], None)],
    ids=name)
def test_what_is_not(ada, other, proxy, rdb, redis_server, new_daemon, ours, theirs, answer):
    """Redis does it on what is there: plain commands, which are never in vain. Shows C7."""
    ada.call("doc.get", KEY)
    before = scripts(rdb)
    found = held(ada, proxy, ours, lambda: other.call(*theirs))
    assert answer is None or found == answer
    assert done_again(ada) == 0 and scripts(rdb) == before
    same_as_redis(ada, redis_server, new_daemon, [KEY])


def test_what_came_before_it_in_the_same_commit(ada, other, proxy, rdb, redis_server, new_daemon):
    """Increments ahead of a product are applied as they are, those behind it go with it; in order. Shows C7."""
    ada.call("doc.get", KEY)
    proxy.freeze()
    first = ada.send("set", "User:none", "age", 1)
    requests = [ada.send("list.append", KEY, "numbers", 4), ada.send("num.incr", KEY, "age", 4),
                ada.send("num.mul", KEY, "age", 10), ada.send("num.incr", KEY, "age", 1),
                ada.send("list.append", KEY, "numbers", 5), ada.send("doc.load", KEY, "numbers")]
    ada.call("hello")
    requests += [ada.send("num.incr", KEY, "age", 1), ada.send("list.append", KEY, "numbers", 6),
                 ada.send("doc.load", KEY, "age")]
    ada.call("hello")
    other.call("pipeline", [["num.incr", KEY, "age", 60], ["list.append", KEY, "numbers", 0]])
    proxy.thaw()
    with pytest.raises(RpcError, match="^NOT_FOUND"):
        ada.wait(first)
    assert [ada.wait(one) for one in requests] == [5, 100, 1000, 1001, 6, [1, 2, 3, 0, 4, 5], 1002, 7, 1002]
    same_as_redis(ada, redis_server, new_daemon, [KEY])


def test_under_a_lock(ada, other, proxy, rdb):
    """Who writes without the lock is in nobody's way, and nothing of it is lost. Shows C2, C7."""
    lock = ada.call("lock.acquire", KEY, "edit")
    under = {"lock": lock["token"]}
    request = ["pipeline", [["num.mul", KEY, "age", 2]], under]
    assert held(ada, proxy, request, lambda: other.call("num.incr", KEY, "age", 1)) == [74]
    proxy.freeze()
    requests = [ada.send(*request), ada.send("pipeline", [["num.incr", KEY, "age", 1]], under),
                ada.send("pipeline", [["doc.load", KEY, "age"]], under), ada.send("num.incr", KEY, "age", 1)]
    ada.call("hello")
    other.call("set", KEY, "age", 10)
    proxy.thaw()
    assert [ada.wait(one) for one in requests] == [[20], [21], [21], 22]
    assert held(ada, proxy, ["lock.release", lock["token"], [["num.mul", KEY, "age", 2]]],
                lambda: other.call("set", KEY, "age", 50)) == [100]
    # Once for each change of the other at least, but for those that were heard of before they were in the way.
    assert done_again(ada) >= 1
    refused(ada, "LOCK_LOST", *request)


def test_the_lock_is_lost_on_the_way(ada, other, proxy, rdb):
    """Another writer and the loss of the lock at once: LOCK_LOST, and nothing is applied. Shows C7."""
    lock = ada.call("lock.acquire", KEY, "edit")
    proxy.freeze()
    request = ada.send("pipeline", [["num.mul", KEY, "age", 2]], {"lock": lock["token"]})
    ada.call("hello")
    other.call("set", KEY, "age", 10)
    rdb.delete(*rdb.keys("rapyer:@lock:*"))
    proxy.thaw()
    with pytest.raises(RpcError, match="^LOCK_LOST"):
        ada.wait(request)
    assert rdb.hget(ROOT, "age") == b"10"


@pytest.mark.parametrize("before", [True, False], ids=["while it is thought missing", "on the way"])
@pytest.mark.parametrize("request_", [
    ["doc.insert", [["User:1", {"name": "ours", "settings": {}, "tags": ["ours"]}],
                    ["User:2", {"name": "ours", "settings": {}, "tags": ["ours"]}]]],
    ["doc.insert", [["User:2", {"name": "ours", "settings": {}, "tags": ["ours"]}]]],
    ["doc.duplicate", KEY, "2"]], ids=["two", "one", "a copy"])
def test_what_is_new_for_one_only(ada, other, proxy, redis_server, new_daemon, request_, before):
    """CONFLICT when another daemon has made it, and nothing of ours is anywhere. Shows C3, C7."""
    theirs = {"name": "theirs", "settings": {}, "tags": ["theirs"]}
    assert ada.call("doc.exists", KEY, "User:1", "User:2") == 1

    def save():
        other.call("doc.save", "User:2", theirs)
        snapshots.append(redis_server.snapshot())

    snapshots = []
    if before:
        save()
        refused(ada, "CONFLICT", *request_)
    else:
        with pytest.raises(RpcError, match="^CONFLICT"):
            held(ada, proxy, request_, save)
    assert redis_server.snapshot() == snapshots[0]
    same_as_redis(ada, redis_server, new_daemon, [KEY, "User:1", "User:2"])


def test_others_are_always_faster(redis_server, new_proxy, new_daemon, rdb):
    """BUSY when it was done again for commit.queue_time, and nothing is applied. Shows C7."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, {"commit.queue_time": "300ms"}).connect() as client:
        save_ada(client)
        proxy.delay = 0.01
        done = threading.Event()

        def write():
            with redis_server.client() as writer:
                while not done.is_set():
                    writer.hincrby(ROOT, "@v", 1)

        thread = threading.Thread(target=write)
        before = rdb.hget(ROOT, "@v")
        thread.start()
        try:
            wait_until(lambda: rdb.hget(ROOT, "@v") != before, what="its first write")
            text = refused(client, "BUSY", "num.mul", KEY, "age", 2)
        finally:
            done.set()
            thread.join()
        assert "nothing was applied" in text and rdb.hget(ROOT, "age") == b"36"
        assert done_again(client) >= 1
        assert client.call("num.mul", KEY, "age", 2) == 72


# --- all at once ---------------------------------------------------------------------------


def sheet(daemons, **content):
    with daemons[0].connect() as client:
        client.call("doc.save", SHEET_KEY, content)


def get(daemons, which=0):
    with daemons[which].connect() as client:
        return client.call("doc.get", SHEET_KEY, {"fresh": True})


MODULUS = 1_000_003


def test_products(daemons, rdb):
    """n = (n * 3) mod p, by as many clients as one: what the powers of three are is known. Shows C7."""
    sheet(daemons)

    def work(client, number):
        for _ in range(EACH):
            client.call("pipeline", [["num.mul", SHEET_KEY, "n", 3], ["num.mod", SHEET_KEY, "n", MODULUS]])

    crowd(daemons, work)
    assert int(rdb.hget(SHEET_ROOT, "n")) == pow(3, 4 * EACH, MODULUS)
    assert get(daemons)["n"] == get(daemons, 1)["n"] == pow(3, 4 * EACH, MODULUS)


def test_products_and_sums(daemons, rdb):
    """n = -n, with increments of another field and of a third between; each product is answered in turn. Shows C7."""
    sheet(daemons, n=1)

    def work(client, number):
        answers = []
        for i in range(EACH):
            client.send("num.incr", SHEET_KEY, "count", 1)
            answers.append(client.call("num.mul", SHEET_KEY, "n", -1))
            client.call("num.incr", SHEET_KEY, "x", 0.5)
            client.call("num.incr", SHEET_KEY, 'rest["a"]', 1)
        return answers

    answers = sum(crowd(daemons, work), [])
    assert answers.count(1) == answers.count(-1) == 2 * EACH
    assert rdb.hget(SHEET_ROOT, "n") == b"1"
    assert rdb.hget(SHEET_ROOT, "count") == b"%d" % (4 * EACH)
    assert float(rdb.hget(SHEET_ROOT, "x")) == 2 * EACH
    assert rdb.hget(SHEET_ROOT + "/rest", "a") == b"%d" % (4 * EACH)


def test_texts(daemons, rdb):
    """Shows C7."""
    sheet(daemons)

    def work(client, number):
        seen = []
        for i in range(EACH):
            mark = f"<{number}.{i}>"
            text = client.call("str.append", SHEET_KEY, "text", mark)
            assert text.endswith(mark)
            seen.append(text)
            client.call("bytes.append", SHEET_KEY, "raw", bytes([number]))
        return seen

    texts = sum(crowd(daemons, work), [])
    whole = rdb.hget(SHEET_ROOT, "text").decode()
    assert sorted(whole[1:-1].split("><")) == sorted(f"{number}.{i}" for number in range(4) for i in range(EACH))
    assert len(set(texts)) == len(texts) and all(whole.startswith(text) for text in texts)
    raw = rdb.hget(SHEET_ROOT, "raw")
    assert [raw.count(bytes([number])) for number in range(4)] == [EACH] * 4


def test_elements_at_an_index(daemons, rdb):
    """Each inserts behind the first, sets an element it knows the place of, and takes from the middle. Shows C7."""
    sheet(daemons, cells=[0, -1])

    def work(client, number):
        taken = []
        for i in range(EACH):
            client.call("list.insert", SHEET_KEY, "cells", 1, number * 1000 + i + 1)
            client.call("num.incr", SHEET_KEY, "cells[0]", 1)
            client.call("num.incr", SHEET_KEY, "cells[-1]", -1)
            if i % 2:
                taken.append(client.call("list.pop", SHEET_KEY, "cells", 1))
        return taken

    taken = sum(crowd(daemons, work), [])
    cells = [int(one) for one in rdb.lrange(SHEET_ROOT + "/cells", 0, -1)]
    assert cells[0] == 4 * EACH and cells[-1] == -1 - 4 * EACH
    assert sorted(cells[1:-1] + taken) == sorted(number * 1000 + i + 1 for number in range(4) for i in range(EACH))


@pytest.mark.parametrize("end", [0, -1], ids=["the front", "the end"])
def test_a_queue(daemons, rdb, end):
    """Half of them append, half of them take: each element is given out once. Shows C7."""
    sheet(daemons)
    total = 2 * EACH

    def work(client, number):
        taken = []
        if number % 4 < 2:
            for i in range(EACH):
                client.call("list.append", SHEET_KEY, "queue", number * 1000 + i)
                client.call("dict.set", SHEET_KEY, "jobs", f"{number}.{i}", "x")
        while number % 4 >= 2 and not over.is_set() and time.monotonic() < deadline:
            try:
                taken.append(client.call("list.pop", SHEET_KEY, "queue", end))
                left.append(None)
            except RpcError as error:
                assert error.code == "OUT_OF_RANGE", error
                client.call("doc.get", SHEET_KEY, {"fresh": True})
            if len(left) == total:
                over.set()
        return taken

    left, over, deadline = [], threading.Event(), time.monotonic() + 20
    taken = sum(crowd(daemons, work), [])
    assert sorted(taken) == sorted(number * 1000 + i for number in range(2) for i in range(EACH))
    assert not rdb.exists(SHEET_ROOT + "/queue")
    assert len(rdb.hkeys(SHEET_ROOT + "/jobs")) == total


@pytest.mark.parametrize("method", ["dict.pop", "dict.popitem"])
def test_entries_are_taken_once(daemons, rdb, method):
    """Shows C7."""
    jobs = {f"j{i}": f"v{i}" for i in range(2 * EACH)}
    sheet(daemons, jobs=jobs)

    def work(client, number):
        taken = []
        chance = random.Random(number)
        names = list(jobs)
        chance.shuffle(names)
        while names:
            name = names.pop()
            try:
                if method == "dict.pop":
                    taken.append((name, client.call("dict.pop", SHEET_KEY, "jobs", name)))
                else:
                    taken.append(tuple(client.call("dict.popitem", SHEET_KEY, "jobs")))
            except RpcError as error:
                assert error.code == "NOT_FOUND", error
        return taken

    taken = sum(crowd(daemons, work), [])
    assert sorted(taken) == sorted(jobs.items())
    assert not rdb.exists(SHEET_ROOT + "/jobs")


def test_over_two_documents(daemons, rdb):
    """The products of two documents stay each other's mirror, whoever makes them. Shows C7."""
    sheet(daemons)
    with daemons[0].connect() as client:
        client.call("doc.save", "Sheet:2", {})

    def work(client, number):
        keys = [SHEET_KEY, "Sheet:2"]
        for i in range(EACH):
            results = client.call("pipeline", [["num.mul", key, "n", 3] for key in keys[::1 - 2 * (i % 2)]] +
                                  [["num.mod", key, "n", MODULUS] for key in keys])
            assert results[2] == results[3]
            client.call("num.incr", keys[number % 2], "count", 1)

    crowd(daemons, work)
    for root in SHEET_ROOT, "rapyer:{Sheet:2}":
        assert int(rdb.hget(root, "n")) == pow(3, 4 * EACH, MODULUS)
        assert int(rdb.hget(root, "count")) == 2 * EACH


def test_with_cuts(redis_server, new_proxy, new_daemon, rdb):
    """The same while links are cut: what the marker says was refused is done again, the rest is not. Shows C7, C8."""
    proxies = [new_proxy(redis_server.address) for _ in range(2)]
    daemons = [new_daemon(proxy.address, FAST) for proxy in proxies]
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", SHEET)
    sheet(daemons, cells=[-1, -2])
    done = threading.Event()

    def cutter():
        chance = random.Random(1)
        while not done.is_set():
            plan = chance.choice(proxies).cut_after(chance.choice(["requests", "replies"]), chance.randrange(3000))
            plan.fired.wait(0.02)

    def work(client, number):
        for i in range(EACH):
            client.call("pipeline", [["num.mul", SHEET_KEY, "n", 3], ["num.mod", SHEET_KEY, "n", MODULUS]])
            client.call("list.insert", SHEET_KEY, "cells", -1 if i % 2 else 1, number * 1000 + i)

    thread = threading.Thread(target=cutter)
    thread.start()
    try:
        crowd(daemons, work)
    finally:
        done.set()
        thread.join()
    assert int(rdb.hget(SHEET_ROOT, "n")) == pow(3, 4 * EACH, MODULUS)
    cells = [int(one) for one in rdb.lrange(SHEET_ROOT + "/cells", 0, -1)]
    assert sorted(cells[1:]) == sorted([-2, *(number * 1000 + i for number in range(4) for i in range(EACH))])
    assert cells[0] == -1
    assert all(proxy.cuts for proxy in proxies)
