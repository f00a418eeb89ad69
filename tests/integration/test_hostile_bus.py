"""Whoever may PUBLISH speaks on the channels of the daemons: garbage, numbers beyond all bounds, and
messages as a daemon would send them, but not true. Locks go on, in order; what each message costs is
bounded; nobody waits for ever because of one."""

import os
import random
import threading
import time

import msgpack
import pytest

from lock_clients import acquire, ask, await_waiters, commands, release
from models import KEY, save_ada
from rpc_client import RpcError, wait_until

FULL = os.environ.get("RAPYER_FULL") == "1"
SEED = int(os.environ.get("RAPYER_SEED", random.randrange(1 << 30)))
NUMBERS = [0, 1, -1, 2 ** 31, 2 ** 53, 10 ** 15, 2 ** 63 - 1, -2 ** 63, 2 ** 64 - 1, 1.5, float("inf"),
           float("nan"), None, True, "7", b"7", [], {}]
LONG = {"locks.lock_lease": "60s"}
SHORT = {"locks.lock_lease": "1s"}


def channels(rdb):
    """Those of single daemons, whose names are UUIDs."""
    return sorted(rdb.pubsub_channels("rapyer:@bus:" + "?" * 36))


def forged(rng, ids, fences):
    """A message of the right form, most of the time, of things that are not so."""
    name = [rng.choice([KEY, "User:b", "User:none", "", "x" * 10_000, "a\x00b"]), rng.choice(["", "", "tags"]),
            rng.choice(["edit", "edit", "other"])]
    daemon = rng.choice([*ids, "", "x" * 39, "x" * 40, "nobody"])
    number = lambda: rng.choice(NUMBERS)  # noqa: E731
    return rng.choice([
        ["granted", *name, rng.choice(["x", "s", "-", ""])], ["wanted", *name, rng.choice(["x", "s", "?"])],
        ["broken", *name, rng.choice([*fences[-3:], number()])], ["over", *name, number()],
        ["moved", *name, number(), *[daemon] * rng.randrange(20)], ["moved", *name, 2 ** 63 - 1, daemon],
        ["probe", daemon, rng.choice([number(), 1, 2, 3]), number(), number(), daemon, number(),
         rng.choice([0, 1, 63, 64, number()]), *name, rng.choice(["", "; pid 1", "x" * 600])],
        ["granted"], ["probe"], [], [number()] * 12, ["what", *name]])


def spoilt(rng, packed):
    """Bytes that are no such message any more, or none at all."""
    data = bytearray(packed)
    what = rng.randrange(4)
    if what == 0:
        return rng.randbytes(rng.randrange(300))
    if what == 1:
        return bytes(data[:rng.randrange(len(data) + 1)])
    if what == 2 and data:
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    return rng.choice([b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\x91" * 10_000,
                       b"\x9f" + b"\xa5probe" * 15, b"x" * 70_000])


@pytest.mark.parametrize("settings", [SHORT, LONG], ids=["short leases", "long leases"])
def test_locks_go_on(redis_server, new_daemon, rdb, settings):
    """What is written under the lock is exact, fences rise, and all of them get their turns."""
    rng = random.Random(SEED)
    hosts = [new_daemon(redis_server.address, settings) for _ in range(2)]
    for daemon in hosts:
        with daemon.connect() as client:
            save_ada(client)
            begin = client.call("doc.get", KEY)["age"]
    ids = [channel.decode().rpartition(":")[2] for channel in channels(rdb)]
    assert len(ids) == 2
    until = time.monotonic() + (60 if FULL else 6)
    sections, complaints = [], []

    def work(daemon, seed):
        own = random.Random(seed)
        done = 0
        with daemon.connect() as client:
            client.socket.settimeout(20)
            while time.monotonic() < until:
                try:
                    lock = acquire(client, mode="exclusive", notify=True)
                    age, = release(client, lock, [["num.incr", KEY, "age", 1]])
                except RpcError as error:  # one was taken for true: a circle, or "broken" with its fence
                    if error.code not in ("LOCK_LOST", "DEADLOCK"):
                        complaints.append(error.error)
                    continue
                sections.append((age, lock["fence"]))
                done += 1
                if own.random() < 0.1:
                    time.sleep(0.002)
        if done < 5:
            complaints.append(f"{done} sections only")

    threads = [threading.Thread(target=work, args=(daemon, i))
               for daemon in hosts for i in range(2)]
    for thread in threads:
        thread.start()
    ours = rdb.pubsub_channels("rapyer:*")  # those for all daemons, too
    sent = 0
    while any(thread.is_alive() for thread in threads):
        fences = [fence for _, fence in sections[-5:]] or [1]
        with rdb.pipeline(transaction=False) as pipe:
            for _ in range(50):
                payload = msgpack.packb(forged(rng, ids, fences))
                if rng.random() < 0.3:
                    payload = spoilt(rng, payload)
                pipe.publish(rng.choice([*ours, b"rapyer:@changes"]), payload)
            pipe.execute()
        sent += 50
    for daemon in hosts:
        assert daemon.process.poll() is None, f"seed {SEED}"
    assert not complaints, f"seed {SEED}: {complaints[:5]}"
    assert sent > 1000
    by_age = sorted(sections)
    assert [age for age, _ in by_age] == list(range(begin + 1, begin + 1 + len(sections))), f"seed {SEED}"
    assert [fence for _, fence in by_age] == sorted(fence for _, fence in by_age), f"seed {SEED}"


@pytest.fixture
def waits(redis_server, new_daemon, rdb):
    """Two hosts; the first has the lock, the second waits for it: its client, its request, its channel."""
    def new(settings):
        a, b = [new_daemon(redis_server.address, settings) for _ in range(2)]
        clients.extend((a.connect(), b.connect()))
        for client in clients:
            client.socket.settimeout(20)
            save_ada(client)
        before = {channel for channel, n in rdb.pubsub_numsub(*channels(rdb)) if n}
        lock = acquire(clients[0])
        request = ask(clients[1])
        await_waiters(clients[1], 1)
        wait_until(lambda: rdb.zcard("rapyer:@lockq:{User:ada}/!edit") == 1, what="a place in the queue")
        mine = rdb.hkeys("rapyer:@lock:{User:ada}/!edit")[0]
        channel, = (channel for channel in before if not channel.endswith(mine))
        return a, b, lock, request, channel

    clients = []
    new.clients = clients
    yield new
    for client in clients:
        client.close()


def publish(rdb, channel, *message, times=1):
    payload = msgpack.packb(list(message))
    with rdb.pipeline(transaction=False) as pipe:
        for _ in range(times):
            pipe.publish(channel, payload)
        pipe.execute()


@pytest.mark.parametrize("ms", [2 ** 63 - 1, 10 ** 15, 3_600_000, -1, -2 ** 63])
def test_nobody_waits_for_ever(waits, rdb, ms):
    """`moved` says when the lock will be free. The holder dies, and nobody else will tell."""
    a, _, lock, request, channel = waits({"locks.lock_lease": "700ms"})
    stop = time.monotonic() + 1.5
    publish(rdb, channel, "moved", KEY, "", "edit", ms, "nobody")
    a.kill()
    while time.monotonic() < stop:  # each one would put it off once more
        publish(rdb, channel, "moved", KEY, "", "edit", ms, "nobody")
        time.sleep(0.01)
    assert waits.clients[1].wait(request)["fence"] > lock["fence"]


def scripts(rdb):
    calls = commands(rdb)
    return calls.get("cmdstat_evalsha", 0) + calls.get("cmdstat_eval", 0)


@pytest.mark.parametrize("key", [KEY, "User:none"], ids=["of a lock that is waited for", "of none"])
def test_forged_offers_cost_little(waits, rdb, key):
    """Each used to be a script call."""
    _, b, lock, request, channel = waits(LONG)
    before = scripts(rdb)
    began = time.monotonic()
    for i in range(50):
        for kind in "granted", "wanted":
            publish(rdb, channel, kind, key if key == KEY else f"{key}{i}", "", "edit", "x", times=100)
        waits.clients[1].call("hello")
    took = time.monotonic() - began
    calls = scripts(rdb) - before
    assert calls <= 2 * (30 + 110 * (took + 1)), (calls, took)  # of two daemons
    release(waits.clients[0], lock)  # and a true one is heard
    began = time.monotonic()
    assert waits.clients[1].wait(request)["fence"] > lock["fence"]
    assert time.monotonic() - began < 5


def test_forged_wishes_cost_little(redis_server, new_daemon, rdb):
    """A lease may be given up for somebody who is not there: that and taking it again is all."""
    daemon = new_daemon(redis_server.address, LONG)
    with daemon.connect() as client:
        save_ada(client)
        channel, = channels(rdb)
        release(client, acquire(client))
        before = scripts(rdb)
        for _ in range(100):
            lock = acquire(client)
            request = ask(client, action="edit", owner="two")
            publish(rdb, channel, "wanted", KEY, "", "edit", "x", times=50)
            client.call("hello")
            release(client, lock)
            release(client, client.wait(request))
        assert scripts(rdb) - before <= 2 * 100 + 20


def test_forged_probes_cost_little(redis_server, new_daemon, rdb):
    """A probe goes along holders and waits: over a thousand readers who each wait for what the others
    read, but once. Others are answered meanwhile."""
    daemon = new_daemon(redis_server.address, LONG)
    n = 300
    with daemon.connect() as client, daemon.connect() as probe:
        client.socket.settimeout(60)
        save_ada(client)
        for i in range(n):  # each owner reads all of a few locks, and waits to write one
            for action in "abc":
                client.call("lock.acquire", KEY, action, {"mode": "shared", "owner": str(i)})
        client.call("lock.acquire", KEY, "held", {"owner": "x"})
        for i in range(n):
            client.send("lock.acquire", KEY, "held", {"owner": str(i)})
        client.call("hello")
        channel, = channels(rdb)
        cpu = daemon.cpu()
        for i in range(2000):
            publish(rdb, channel, "probe", "somebody", 1, i, 1, "somebody", 1, 1, KEY, "", "abc"[i % 3], "")
        probe.call("hello")
        wait_until(lambda: probe.call("hello"), what="an answer")
        assert daemon.cpu() - cpu < 5
