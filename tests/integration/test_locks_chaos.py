"""Locks while everything dies: clients, daemons and Redis are killed and stopped at random, commits
are held back until their lease is long gone. No two sections under one lock overlap with effect,
and what is in Redis is what the clients were told. lock_chaos.py has the clients and the checker.

RAPYER_CHAOS_SECONDS says for how long, RAPYER_CHAOS_SEED which chaos. With a rapyerd that does not
check the lease where the write is (cmake -DRAPYER_FENCE=OFF) this test must fail: the commits that
are held back are then carried out under somebody else's lock.
"""

import os
import random
import signal
import time

import pytest

from lock_chaos import ACTION, LOG, Scribe, check, read_notes
from lock_clients import acquire, holds_no_locks, release
from lock_crowd import Crowd
from rpc_client import RpcError, wait_until

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
SECONDS = float(os.environ.get("RAPYER_CHAOS_SECONDS", 300 if FULL else 12))
SEED = os.environ.get("RAPYER_CHAOS_SEED", "1")
LEASE = 1.0
CLIENTS = 12  # of each daemon
KEYS = [f"Log:{n}" for n in range(5)]
LATE = "Log:late"  # nobody but the scenes below writes it
SETTINGS = {"locks.lock_lease": f"{int(LEASE * 1000)}ms", "redis.reconnect_max": "100ms"}
# One waits for Redis through all that happens, the other gives up.
PATIENCE = [{"commit.queue_time": "3s", "redis.command_timeout": "3s"},
            {"commit.queue_time": "600ms", "redis.command_timeout": "700ms"}]


class Host:
    """A daemon, what is between it and Redis, and its clients."""

    def __init__(self, chaos, number, daemon, proxy):
        self.chaos = chaos
        self.name = "ab"[number]
        self.daemon = daemon
        self.proxy = proxy
        self.births = 0
        self.pids = []
        self.asleep = {}  # pid -> when it goes on

    def populate(self):
        while len(self.pids) < CLIENTS:
            self.births += 1
            name = f"{self.name}{self.births}"
            self.pids.append(self.chaos.crowd.start(
                "lock_chaos", "client", name, self.daemon.socket, self.chaos.notes, KEYS,
                f"{SEED}/{name}"))

    def stop_clients(self):
        for pid in self.pids:
            self.chaos.crowd.signal(pid, signal.SIGSTOP)

    def wake_clients(self):
        self.asleep.clear()
        for pid in self.pids:
            self.chaos.crowd.signal(pid, signal.SIGCONT)


class Chaos:
    def __init__(self, redis_server, proxies, daemons, workdir):
        self.chance = random.Random(SEED)
        self.redis = redis_server
        self.notes = workdir + "/notes"
        os.mkdir(self.notes)
        self.crowd = Crowd(workdir + "/crowd.log")
        self.hosts = [Host(self, number, daemon, proxy)
                      for number, (daemon, proxy) in enumerate(zip(daemons, proxies))]
        self.events = {}
        self.scribes = 0
        self.late = []  # what became of the writes that were held back

    def prepare(self):
        for host in self.hosts:
            with host.daemon.connect() as client:
                client.call("define", LOG)
        with self.hosts[0].daemon.connect() as client:
            client.call("doc.insert", [[key, {}] for key in [*KEYS, LATE]])

    def scribe(self, host):
        self.scribes += 1
        name = f"{host.name}-scene{self.scribes}"
        return Scribe(name, host.daemon.socket, f"{self.notes}/{name}")

    # --- random events ---------------------------------------------------------------------

    def rest(self, seconds):
        """Time passes; clients die and sleep meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            host = self.chance.choice(self.hosts)
            if self.chance.random() < 0.2:
                victim = self.chance.choice(host.pids)
                self.crowd.signal(victim, signal.SIGKILL)
                host.pids.remove(victim)
                host.asleep.pop(victim, None)
                self.count("client killed")
            elif self.chance.random() < 0.3:
                victim = self.chance.choice(host.pids)
                self.crowd.signal(victim, signal.SIGSTOP)
                # For less or for more than the ttl of what it holds.
                host.asleep[victim] = time.monotonic() + self.chance.choice([0.05, 0.2, 0.8])
                self.count("client stopped")
            self.tend()
            time.sleep(0.03)

    def tend(self):
        """Wakes who slept long enough, and starts those who died again."""
        now = time.monotonic()
        for host in self.hosts:
            for pid in [pid for pid, until in host.asleep.items() if until < now]:
                self.crowd.signal(pid, signal.SIGCONT)
                del host.asleep[pid]
            host.populate()
        for pid, code in self.crowd.reap().items():
            assert code == -signal.SIGKILL, f"client {pid} ended with {code}: {self.crowd_log()}"

    def count(self, event):
        self.events[event] = self.events.get(event, 0) + 1

    def kill_a_daemon(self):
        host = self.chance.choice(self.hosts)
        host.daemon.kill()
        self.rest(self.chance.choice([0, 0.1, LEASE * 1.2]))
        host.daemon.start()

    def upgrade_a_daemon(self):
        """Where Redis stands still it is refused, and all goes on."""
        host = self.chance.choice(self.hosts)
        try:
            with host.daemon.connect() as client:
                client.call("admin.upgrade")
        except RpcError as error:
            assert error.code == "UNAVAILABLE", error

    def stop_a_daemon(self):
        host = self.chance.choice(self.hosts)
        os.kill(host.daemon.pid, signal.SIGSTOP)
        self.rest(self.chance.choice([0.1, 0.5 * LEASE, 1.5 * LEASE]))
        os.kill(host.daemon.pid, signal.SIGCONT)

    def kill_redis(self):
        self.redis.kill()
        self.rest(self.chance.choice([0, 0.2, 1.2 * LEASE]))
        self.redis.start()

    def stop_redis(self):
        self.redis.pause()
        self.rest(self.chance.choice([0.1, 0.5 * LEASE, 1.3 * LEASE]))
        self.redis.resume()

    def cut_a_link(self):
        self.chance.choice(self.hosts).proxy.cut()

    def freeze_a_link(self):
        proxy = self.chance.choice(self.hosts).proxy
        proxy.freeze()
        self.rest(self.chance.choice([0.1, 0.5 * LEASE, 1.5 * LEASE]))
        if self.chance.random() < 0.3:
            proxy.cut()
        proxy.thaw()

    def random_event(self):
        event = self.chance.choice([self.kill_a_daemon, self.upgrade_a_daemon, self.stop_a_daemon, self.kill_redis,
                                    self.stop_redis, self.cut_a_link, self.freeze_a_link])
        self.count(event.__name__.replace("_", " "))
        event()

    # --- scenes: a write comes too late ----------------------------------------------------

    def calm(self):
        """Both daemons have their link, so that the next scene is the same each time."""
        for host in self.hosts:
            wait_until(host.daemon.answers, what="the daemon")
            with host.daemon.connect() as client:
                wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")

    def acquire_late(self, scribe):
        return wait_until(lambda: scribe.acquire(LATE, wait=5, ttl=30), 30, "the lock of the scene")

    def late_write(self, host, rival_host, hold_back, let_go):
        """A write under a lock is on its way, held back so long that the lease has gone to the
        other host, whose client writes; then it arrives."""
        self.calm()
        host.stop_clients()  # nothing else is on the way
        victim, rival = self.scribe(host), self.scribe(rival_host)
        lock = self.acquire_late(victim)
        count = lock["document"]["count"]
        victim.finish(*victim.write(lock), count + 1)
        held_back = hold_back(victim, lock)
        new = self.acquire_late(rival)
        if new["document"]["count"] != count + 1:
            rival.wrong(f"{new['document']['count']} entries where {count + 1} were written")
        rival.finish(*rival.write(new), count + 2)
        let_go()
        self.late.append(victim.finish(*held_back))
        rival.finish(*rival.write(new, last=True), count + 3)
        victim.look_at_notifications()
        victim.close()
        rival.close()
        host.wake_clients()

    def late_commit(self, host, rival):
        """The commit has left the daemon, and does not reach Redis. Only Redis can refuse it."""
        def hold_back(victim, lock):
            host.proxy.freeze()
            write = victim.write(lock)
            victim.client.call("hello")  # by then the daemon has read it, and sent it on
            return write
        self.count("commit late")
        self.late_write(host, rival, hold_back, host.proxy.thaw)

    def late_daemon(self, host, rival):
        """The daemon sleeps while the request lies in its socket."""
        def hold_back(victim, lock):
            os.kill(host.daemon.pid, signal.SIGSTOP)
            return victim.write(lock)
        self.count("daemon late")
        self.late_write(host, rival, hold_back, lambda: os.kill(host.daemon.pid, signal.SIGCONT))

    # --- all of it ---------------------------------------------------------------------------

    def run(self):
        self.prepare()
        for host in self.hosts:
            host.populate()
        self.rest(0.5)
        a, b = self.hosts
        scenes = [(self.late_commit, a, b), (self.late_daemon, b, a), (self.late_commit, b, a),
                  (self.late_daemon, a, b)]
        began = time.monotonic()
        turn = 0
        while time.monotonic() - began < SECONDS or turn < len(scenes):
            scene, *who = scenes[turn % len(scenes)]
            turn += 1
            scene(*who)
            until = began + max(turn * SECONDS / len(scenes), 0) if SECONDS < 60 else time.monotonic() + 10
            while time.monotonic() < until:
                self.random_event()
                self.rest(self.chance.random() * 0.5)
        self.finish()

    def finish(self):
        """Some end, some are killed with what they hold; then every lock can be had at once."""
        self.calm()
        for host in self.hosts:
            host.wake_clients()
        self.rest(0.3)
        self.calm()
        for host in self.hosts:
            host.wake_clients()
            for pid in host.pids[::2]:
                self.crowd.signal(pid, signal.SIGKILL)
            for pid in host.pids[1::2]:
                self.crowd.signal(pid, signal.SIGTERM)
        self.crowd.await_end(20)
        assert set(self.crowd.codes.values()) <= {0, -signal.SIGKILL}, self.crowd_log()
        for host in self.hosts:
            with host.daemon.connect() as client:
                wait_until(lambda: holds_no_locks(client), 5, "the end of all locks")
                for key in [*KEYS, LATE]:
                    began = time.monotonic()
                    release(client, acquire(client, key, ACTION, wait=20))
                    assert time.monotonic() - began < 2 * LEASE + 1

    def crowd_log(self):
        with open(self.crowd.log, encoding="utf-8") as log:
            return log.read()

    def read(self):
        """What is in Redis, and what the clients were told."""
        documents = {}
        with self.redis.client() as rdb:
            for key in [*KEYS, LATE]:
                root = f"rapyer:{{{key}}}"
                documents[key] = {
                    "entries": [entry.decode() for entry in rdb.lrange(root + "/entries", 0, -1)],
                    "count": int(rdb.hget(root, "count")), "x": int(rdb.hget(root, "x"))}
        return documents, self.read_notes()

    def read_notes(self):
        return {name: read_notes(f"{self.notes}/{name}") for name in os.listdir(self.notes)}

    def wake_daemons(self):
        for host in self.hosts:
            if not host.daemon.killed:
                os.kill(host.daemon.pid, signal.SIGCONT)


def tell(notes):
    """How often what happened."""
    told = {}
    for lines in notes.values():
        for line in lines:
            what = f"refused {line[2]}" if line[0] == "refused" else line[0]
            told[what] = told.get(what, 0) + 1
    return told


def test_chaos(new_redis, new_proxy, new_daemon, workdir):
    redis_server = new_redis(aof=True)
    proxies = [new_proxy(redis_server.address) for _ in range(2)]
    daemons = [new_daemon(proxy.address, {**SETTINGS, **patience})
               for proxy, patience in zip(proxies, PATIENCE)]
    chaos = Chaos(redis_server, proxies, daemons, workdir)
    try:
        chaos.run()
    finally:
        for proxy in proxies:
            proxy.thaw()
        chaos.wake_daemons()
        chaos.crowd.stop()
        documents, notes = chaos.read() if redis_server.process.poll() is None else ({}, {})
        print(f"seed {SEED}, {chaos.events}, {tell(notes)}, late writes: {chaos.late}")
    complaints = check(documents, notes)
    assert not complaints, "\n".join([f"{len(complaints)} complaints", *complaints[:50]])
    assert len(chaos.late) >= 4, chaos.late
    assert set(chaos.late) <= {"LOCK_LOST", "UNKNOWN_OUTCOME", "UNAVAILABLE"}, chaos.late
    assert chaos.late.count("LOCK_LOST") >= len(chaos.late) / 2
    told = tell(notes)
    assert told["ack"] > 50 * SECONDS and told["refused LOCK_LOST"] > 4, told
    for host in chaos.hosts:
        mine = [line for name, lines in notes.items() if name.startswith(host.name) for line in lines]
        assert sum(line[0] == "ack" for line in mine) > 10 * SECONDS
        # All daemons have what Redis has.
        with host.daemon.connect() as client:
            for key, document in documents.items():
                read = client.call("doc.get", key, {"fresh": True})
                assert {name: read[name] for name in document} == document


# --- the checker ---------------------------------------------------------------------------


def story():
    """A good one: a.0 and b.0 write in turns, c.0 shares; one write is refused, one is open."""
    documents = {"Log:0": {"entries": ["10 a.0 1 counted", "10 a.0 2 plain", "20 b.0 1 counted"],
                           "count": 3, "x": 2}}
    notes = {
        "a.0": [["got", "Log:0", 10, "exclusive", 1.0, 1.1, 0],
                ["try", "Log:0", 10, 1, "counted"], ["ack", 1],
                ["try", "Log:0", 10, 2, "plain"],
                ["try", "Log:0", 10, 3, "plain"], ["refused", 3, "LOCK_LOST"]],
        "b.0": [["got", "Log:0", 20, "exclusive", 1.2, 1.3, 2],
                ["try", "Log:0", 20, 1, "counted"], ["ack", 1],
                ["try", "Log:0", 20, 2, "counted"], ["open", 2], ["end"]],
        "c.0": [["got", "Log:0", 30, "shared", 1.4, 1.5, 3], ["lost", 7]],
        "d.0": [["got", "Log:0", 29, "shared", 1.6, 1.7, 3]]}
    return documents, notes


def spoil(documents, notes, what):
    log, entries = documents["Log:0"], documents["Log:0"]["entries"]
    if what == "late write":  # what a missing check of the fence leaves behind
        entries.append("10 a.0 3 plain")
        log["count"] = 4
        notes["a.0"][-1] = ["ack", 3]
    elif what == "one fence for two":
        notes["b.0"][0][2] = 10
        for line in notes["b.0"]:
            if line[0] == "try":
                line[2] = 10
        entries[2] = "10 b.0 1 counted"
    elif what == "one fence told twice":
        notes["b.0"].append(["got", "Log:0", 10, "exclusive", 0.9, 1.0, 0])
    elif what == "acknowledged and lost":
        del entries[0]
        log.update(count=2, x=1)
    elif what == "twice":
        entries.insert(2, entries[1])
        log["count"] = 4
    elif what == "refused and there":
        entries.insert(2, "10 a.0 3 plain")
        log["count"] = 4
    elif what == "lost update":
        log["x"] = 1
    elif what == "lost count":
        log["count"] = 2
    elif what == "out of order":
        entries[0], entries[1] = entries[1], entries[0]
    elif what == "nobody's":
        entries.append("40 e.0 1 plain")
        log["count"] = 4
    elif what == "under another fence":
        entries[1] = "11 a.0 2 plain"
    elif what == "fence goes back":
        notes["b.0"].append(["got", "Log:0", 15, "exclusive", 1.45, 1.46, 3])
    elif what == "shared fence goes back":
        notes["d.0"].append(["got", "Log:0", 19, "shared", 1.8, 1.9, 3])
    elif what == "exclusive below shared":
        notes["d.0"].append(["got", "Log:0", 29, "exclusive", 1.8, 1.9, 3])
    elif what == "old document":
        notes["b.0"][0][6] = 1
    elif what == "saw its own write":
        notes["b.0"][0][6] = 3
    elif what == "client complains":
        notes["c.0"].append(["wrong", "it changed"])


SPOILT = {
    "late write": "fence goes down", "one fence for two": "is the fence of",
    "one fence told twice": "was told to", "acknowledged and lost": "acknowledged and is not there",
    "twice": "2 times", "refused and there": "was refused", "lost update": "update is lost",
    "lost count": "counted", "out of order": "before", "nobody's": "nobody knows",
    "under another fence": "was sent as", "fence goes back": "after", "shared fence goes back": "after",
    "exclusive below shared": "after", "old document": "earlier fences",
    "saw its own write": "before its first", "client complains": "it changed"}


def test_the_checker_finds_nothing_where_nothing_is():
    assert check(*story()) == []


@pytest.mark.parametrize("what", SPOILT)
def test_the_checker_finds(what):
    documents, notes = story()
    spoil(documents, notes, what)
    complaints = check(documents, notes)
    assert any(SPOILT[what] in complaint for complaint in complaints), complaints
