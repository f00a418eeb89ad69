"""Many clients write while Redis is killed and restarted and connections are cut. In the end there
is exactly what the clients were told: acknowledged once, refused not at all."""

import itertools
import multiprocessing
import os
import random
import threading
import time

import pytest

from models import define_all
from rpc_client import Client, Closed, RpcError, wait_until

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
CLIENTS, KILLS, CUTS = (16, 50, 200) if FULL else (4, 5, 20)
OPERATIONS = 100_000 if FULL else 8000  # of all clients, at least
WINDOW = 8  # requests that a client has on the way
SHARED = "User:shared"
SETTINGS = {"commit.queue_time": "30s", "redis.reconnect_max": "100ms"}


class Tally:
    """What one client was told. Every value it appends is there only once."""

    def __init__(self, number):
        self.number = number
        self.key = f"User:own{number}"
        self.shared = 0  # added to the counter that all share
        self.own = 0
        self.seen = []  # what the shared counter was after each increment
        self.tags = []  # acknowledged, in the order of the answers
        self.refused_tags = set()
        self.unknown = []
        self.done = self.refused = 0


def work(socket, number, stop, progress, pipe):
    tally, chance, turn = Tally(number), random.Random(number), 0
    waiting = []

    def send():
        nonlocal turn
        turn += 1
        tag = f"{number}-{turn}"
        kind = chance.randrange(4)
        if kind == 0:
            return client.send("num.incr", SHARED, "age", 1), ("incr", 1, tag)
        if kind == 1:
            return client.send("list.append", SHARED, "tags", tag), ("append", 0, tag)
        n = chance.randrange(1, 5)
        return client.send("pipeline", [
            ["num.incr", SHARED, "age", n], ["list.append", tally.key, "tags", tag],
            ["num.incr", tally.key, "age", n], ["set", tally.key, "bio", tag],
            ["list.append", SHARED, "tags", tag]]), ("pipeline", n, tag)

    def take(request, kind, n, tag):
        try:
            result = client.wait(request)
        except RpcError as error:
            if error.code == "UNKNOWN_OUTCOME":
                tally.unknown.append((kind, n, tag))
            elif error.code in ("UNAVAILABLE", "BUSY"):
                tally.refused += 1
                tally.refused_tags.add(tag)
            else:
                raise
            return
        tally.done += 1
        progress.value += 1
        tally.shared += n
        if kind != "append":
            tally.seen.append(result[0] if kind == "pipeline" else result)
        if kind == "pipeline":
            tally.own += n
            assert tally.unknown or result[2] == tally.own, (result, tally.own)
        if kind != "incr":
            tally.tags.append((kind, tag))

    with Client(socket) as client:
        client.socket.settimeout(90)
        while not stop.is_set():
            while len(waiting) < WINDOW:
                waiting.append(send())
            request, what = waiting.pop(0)
            take(request, *what)
        for request, what in waiting:
            take(request, *what)
    pipe.send(tally)


class Crowd:
    def __init__(self, *daemons):
        context = multiprocessing.get_context("fork")
        self.stop = context.Event()
        self.progress = [context.Value("l", 0, lock=False) for _ in range(CLIENTS)]
        self.pipes, self.processes = [], []
        for number in range(CLIENTS):
            mine, theirs = context.Pipe(duplex=False)
            process = context.Process(target=work, daemon=True, args=(
                daemons[number % len(daemons)].socket, number, self.stop, self.progress[number], theirs))
            process.start()
            theirs.close()
            self.pipes.append(mine)
            self.processes.append(process)

    def done(self):
        return sum(value.value for value in self.progress)

    def await_more(self, n):
        goal = self.done() + n
        wait_until(lambda: self.done() >= goal or not all(p.is_alive() for p in self.processes),
                   timeout=60, what="progress of the clients")

    def finish(self):
        self.stop.set()
        tallies = []
        for pipe, process in zip(self.pipes, self.processes):
            assert pipe.poll(90), "a client hangs"
            tallies.append(pipe.recv())  # EOFError: it failed, and said why on stderr
            process.join(10)
        return tallies


def check(tallies, rdb):
    """Redis against the tallies, when no outcome is unknown."""
    assert [entry for tally in tallies for entry in tally.unknown] == []
    shared = "rapyer:{User:shared}"
    assert int(rdb.hget(shared, "age")) == sum(tally.shared for tally in tallies)
    seen = [value for tally in tallies for value in tally.seen]
    assert len(seen) == len(set(seen)), "two increments were told the same number"
    for tally in tallies:
        assert tally.seen == sorted(tally.seen)
    shared_tags = [tag.decode() for tag in rdb.lrange(shared + "/tags", 0, -1)]
    assert len(shared_tags) == len(set(shared_tags)), "an append was applied twice"
    for tally in tallies:
        mine = [tag for tag in shared_tags if tag.startswith(f"{tally.number}-")]
        assert mine == [tag for _, tag in tally.tags]
        assert not tally.refused_tags & set(shared_tags)
        key = f"rapyer:{{{tally.key}}}"
        own = [tag for kind, tag in tally.tags if kind == "pipeline"]
        assert int(rdb.hget(key, "age") or 0) == tally.own
        assert [tag.decode() for tag in rdb.lrange(key + "/tags", 0, -1)] == own
        assert rdb.hget(key, "bio").decode() == (own[-1] if own else "")


def check_whole(tallies, rdb):
    """Redis against the tallies, when some were refused and some outcomes are unknown: those are
    there once or not at all, pipelines whole."""
    shared_tags = [tag.decode() for tag in rdb.lrange("rapyer:{User:shared}/tags", 0, -1)]
    assert len(shared_tags) == len(set(shared_tags)), "an append was applied twice"
    least = most = sum(tally.shared for tally in tallies)
    for tally in tallies:
        key = f"rapyer:{{{tally.key}}}"
        unknown = {tag: n for kind, n, tag in tally.unknown if kind == "pipeline"}
        loose = {tag for kind, _, tag in tally.unknown if kind == "append"}
        mine = [tag for tag in shared_tags if tag.startswith(f"{tally.number}-")]
        assert [tag for tag in mine if tag not in unknown and tag not in loose] == [
            tag for _, tag in tally.tags]
        assert not tally.refused_tags & set(mine)
        applied = [tag for tag in mine if tag in unknown]
        own = [tag.decode() for tag in rdb.lrange(key + "/tags", 0, -1)]
        assert [tag for tag in own if tag in unknown] == applied, "half a pipeline"
        assert [tag for tag in own if tag not in unknown] == [
            tag for kind, tag in tally.tags if kind == "pipeline"]
        more = sum(unknown[tag] for tag in applied)
        assert int(rdb.hget(key, "age") or 0) == tally.own + more
        least += more
        most += more + sum(1 for kind, _, _ in tally.unknown if kind == "incr")
    assert least <= int(rdb.hget("rapyer:{User:shared}", "age")) <= most


def prepare(daemon):
    with daemon.connect() as client:
        define_all(client)
        for key in [SHARED, *(f"User:own{n}" for n in range(CLIENTS))]:
            client.call("doc.save", key, {"name": "x", "settings": {}})


def look_back(daemon, tallies):
    """The daemon serves what Redis has."""
    with daemon.connect() as client:
        assert client.call("doc.load", SHARED, "age") == sum(tally.shared for tally in tallies)
        stats = client.call("admin.stats")
        assert stats["unknown_outcomes"] == 0
        assert stats["recovered_applied"] + stats["recovered_resent"] > 0, "nothing was hit"


@pytest.mark.parametrize("faults", ["cuts", "kills", "both"])
def test_storm(faults, new_redis, new_proxy, new_daemon):
    redis_server = new_redis(aof=True)
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, SETTINGS)
    prepare(daemon)
    crowd = Crowd(daemon)
    chance = random.Random(faults)
    events = ["kill"] * (KILLS if faults != "cuts" else 0)
    events += ["cut"] * (CUTS if faults != "kills" else 0)
    chance.shuffle(events)
    for event in events:
        crowd.await_more(chance.randrange(max(1, 2 * OPERATIONS // len(events))))
        if event == "kill":
            redis_server.kill()
            time.sleep(chance.random() * 0.1)  # how long Redis is away is part of the fault
            redis_server.start()
        else:
            proxy.cut()
    if crowd.done() < OPERATIONS:
        crowd.await_more(OPERATIONS - crowd.done())
    tallies = crowd.finish()
    assert sum(tally.done for tally in tallies) >= OPERATIONS
    assert sum(tally.refused for tally in tallies) == 0
    with redis_server.client() as rdb:
        check(tallies, rdb)
    look_back(daemon, tallies)


def test_storm_over_two_daemons(new_redis, new_proxy, new_daemon):
    """Two daemons write to one document while their connections break. When another writer came in
    between, an answer that was lost cannot be made up: that alone may be unknown."""
    redis_server = new_redis(aof=True)
    proxies = [new_proxy(redis_server.address) for _ in range(2)]
    daemons = [new_daemon(proxy.address, SETTINGS) for proxy in proxies]
    for daemon in daemons:
        with daemon.connect() as client:
            define_all(client)
    prepare(daemons[0])
    crowd = Crowd(*daemons)
    chance = random.Random("two")
    for turn in range(CUTS + KILLS):
        crowd.await_more(chance.randrange(max(1, OPERATIONS // CUTS)))
        if turn % 5 == 4:
            redis_server.restart()
        else:
            chance.choice(proxies).cut()
    if crowd.done() < OPERATIONS:
        crowd.await_more(OPERATIONS - crowd.done())
    tallies = crowd.finish()
    assert sum(tally.refused for tally in tallies) == 0
    with redis_server.client() as rdb:
        check_whole(tallies, rdb)
        tags = {tag.decode() for tag in rdb.lrange("rapyer:{User:shared}/tags", 0, -1)}
        assert {tag for tally in tallies for kind, _, tag in tally.unknown if kind != "incr"} <= tags
        age = int(rdb.hget("rapyer:{User:shared}", "age"))
    assert age == sum(tally.shared + sum(n for _, n, _ in tally.unknown) for tally in tallies), \
        "what is told as applied with an unknown answer was not"
    seen = [value for tally in tallies for value in tally.seen]
    assert len(seen) == len(set(seen)), "two increments were told the same number"


def test_storm_that_outlasts_the_queue(new_redis, new_proxy, new_daemon):
    """Redis is away for longer than requests wait: they are refused, and those on the way unknown,
    and that is the truth."""
    redis_server = new_redis(aof=True)
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {
        "commit.queue_time": "60ms", "redis.reconnect_min": "5ms", "redis.reconnect_max": "20ms",
        "redis.connect_timeout": "50ms", "redis.command_timeout": "50ms"})
    prepare(daemon)
    crowd = Crowd(daemon)
    chance = random.Random("refusals")
    for turn in range(100 if FULL else 24):
        crowd.await_more(chance.randrange(1000))
        if turn % 4 == 0:
            redis_server.kill()
            time.sleep(chance.random() * 0.2)  # how long Redis is away is part of the fault
            redis_server.start()
        elif turn % 4 == 1:
            redis_server.pause()
            time.sleep(0.1 + chance.random() * 0.2)
            redis_server.resume()
        elif turn % 4 == 2:
            proxy.refusing = True
            proxy.cut()
            time.sleep(chance.random() * 0.2)
            proxy.refusing = False
        else:
            proxy.freeze()
            time.sleep(0.1 + chance.random() * 0.1)
            proxy.thaw()
    crowd.await_more(1000)
    tallies = crowd.finish()
    assert sum(tally.refused for tally in tallies) > 0, "nothing was refused"
    assert sum(len(tally.unknown) for tally in tallies) > 0, "nothing was open"
    with redis_server.client() as rdb:
        check_whole(tallies, rdb)


class Appender(threading.Thread):
    """Appends to the shared list and counts until the daemon is gone."""

    def __init__(self, daemon, name):
        super().__init__(daemon=True)
        self.client = daemon.connect()
        self.label = name
        self.told, self.open = [], []
        self.start()

    def run(self):
        try:
            for turn in itertools.count():
                tag = f"{self.label}-{turn}"
                request = self.client.send("pipeline", [["list.append", SHARED, "tags", tag],
                                                        ["num.incr", SHARED, "age", 1]])
                self.open.append((request, tag))
                if len(self.open) > WINDOW:
                    request, tag = self.open[0]
                    self.client.wait(request)
                    self.told.append(self.open.pop(0)[1])
        except (Closed, OSError):
            self.client.close()


def test_kill_9_of_the_daemon(redis_server, new_daemon):
    """What was acknowledged is there once; what was not, once or not at all, whole or not at all."""
    daemon = new_daemon(redis_server.address)
    prepare(daemon)
    told, still_open = [], []
    for life in range(20 if FULL else 4):
        clients = [Appender(daemon, f"{life}/{n}") for n in range(4)]
        wait_until(lambda: min(len(client.told) for client in clients) > 100, what="appends")
        daemon.kill()
        for client in clients:
            client.join(10)
            assert not client.is_alive()
            told += client.told
            still_open += [tag for _, tag in client.open]
        daemon.start()
    with redis_server.client() as rdb:
        tags = [tag.decode() for tag in rdb.lrange("rapyer:{User:shared}/tags", 0, -1)]
        assert len(tags) == len(set(tags))
        assert set(told) <= set(tags) <= set(told) | set(still_open)
        assert int(rdb.hget("rapyer:{User:shared}", "age")) == len(tags)
    with daemon.connect() as client:
        assert client.call("doc.load", SHARED, "tags") == tags
