"""Locks on a Redis Cluster: their leases are in the slot of the document that they are named by, and go
where it goes."""

import os
import signal
import threading
from collections import Counter

import pytest

from cluster_storm import MODEL
from lock_clients import acquire, ask, await_lost, await_waiters, release
from redis_cluster import reshard, slot_of, slot_of_document
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_upgrade import upgrade

pytestmark = pytest.mark.exact

FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "20ms"}
REFUSALS = ("LOCK_LOST", "LOCK_TIMEOUT", "UNAVAILABLE", "UNKNOWN_OUTCOME")
SHORT = {**FAST, "locks.lock_lease": "2s"}


def two_slots(client):
    keys = ["Log:a", "Log:b"]
    assert slot_of_document(keys[0]) != slot_of_document(keys[1])
    for key in keys:
        client.call("doc.save", key, {"n": 1})
    return keys


@pytest.fixture
def pair(calm_cluster, new_daemon):
    clients = [new_daemon(calm_cluster.address).connect() for _ in range(2)]
    for client in clients:
        client.socket.settimeout(40)
        client.call("define", MODEL)
    yield clients
    for client in clients:
        client.close()


def attempt(client, *call):
    """The answer, or None while there is no Redis, or somebody else has the lock."""
    try:
        return client.call(*call)
    except RpcError as refusal:
        assert refusal.code in ("UNAVAILABLE", "LOCK_TIMEOUT"), refusal
        return None


def keys_of(cluster, pattern):
    found = []
    for node in cluster.masters:
        with node.client() as at_node:
            found += [key.decode() for key in at_node.keys(pattern)]
    return sorted(found)


def test_a_lock_and_its_fence_are_in_the_slot_of_the_document(calm_cluster, pair):
    client, _ = pair
    a, b = two_slots(client)
    first, second = acquire(client, a), acquire(client, b)
    held = {slot_of(key) for key in keys_of(calm_cluster, "rapyer:@lock:*")}
    assert held == {slot_of_document(a), slot_of_document(b)}
    assert {slot_of(key) for key in keys_of(calm_cluster, "rapyer:@fence*")} == held
    release(client, first, [["num.incr", a, "n", 1]])
    assert client.call("pipeline", [["num.incr", b, "n", 1]], {"lock": second["token"]}) == [2]
    release(client, second)
    assert acquire(client, a)["fence"] > first["fence"]


def test_a_lock_and_what_is_written_under_it_are_in_one_slot(pair):
    client, _ = pair
    a, b = two_slots(client)
    locks = client.call("lock.acquire_many", [[a, "edit"], [b, "edit"]], {"document": True})
    assert [lock["document"]["n"] for lock in locks] == [1, 1]
    tokens = [lock["token"] for lock in locks]
    for call in (["lock.release", tokens[0], [["num.incr", b, "n", 1]]],
                 ["lock.release", tokens, [["num.incr", b, "n", 1]]],
                 ["pipeline", [["num.incr", a, "n", 1]], {"lock": tokens[1]}]):
        said = refused(client, "CROSS_SLOT", *call)
        assert a in said and b in said
    assert client.call("lock.release", tokens[0], [["num.incr", a, "n", 1]]) == [2]
    assert client.call("lock.release", tokens[1], [["num.incr", b, "n", 1]]) == [2]


def test_a_tag_puts_locks_together(pair):
    one, other = pair
    keys = ["Log:{t1}a", "Log:{t1}b"]
    for key in keys:
        one.call("doc.save", key, {"n": 1})
    tokens = [lock["token"] for lock in one.call("lock.acquire_many", [[key, "edit"] for key in keys])]
    refused(other, "LOCK_TIMEOUT", "lock.acquire", keys[0], "edit", {"wait": 0})
    assert one.call("lock.release", tokens, [["num.incr", key, "n", 1] for key in keys]) == [2, 2]
    assert acquire(other, keys[1], document=True)["document"]["n"] == 2


def test_hand_over(pair):
    """Each sees what the other has written, under a higher fence."""
    a, b = pair
    for key in two_slots(a):
        lock = acquire(a, key)
        fences = [lock["fence"]]
        for turn in range(4):
            request = ask(b, key, document=True)
            await_waiters(b, 1, key=key)
            release(a, lock, [["set", key, "n", turn]])
            lock = b.wait(request)
            assert lock["document"]["n"] == turn
            fences.append(lock["fence"])
            a, b = b, a
        release(a, lock)
        assert fences == sorted(set(fences))


def test_readers_share_and_a_circle_is_told(pair):
    a, b = pair
    x, y = two_slots(a)
    shared = [acquire(client, x, mode="shared") for client in pair]
    for client, lock in zip(pair, shared):
        release(client, lock)
    acquire(a, x), acquire(b, y)
    requests = [(a, ask(a, y)), (b, ask(b, x))]

    def told():
        for client, request in requests:
            client.call("hello")
            if request in client.answers:
                return client, request
        return None
    client, request = wait_until(told, 20, "the end of the circle")
    with pytest.raises(RpcError, match="^DEADLOCK: .*Log:[ab]"):
        client.wait(request)


def test_a_break_and_a_wait_that_is_cancelled(pair):
    a, b = pair
    key, _ = two_slots(a)
    lock = acquire(a, key, notify=True)
    request = ask(b, key)
    await_waiters(b, 1, key=key)
    assert b.call("lock.cancel", request) is True
    with pytest.raises(RpcError, match="^LOCK_TIMEOUT"):
        b.wait(request)
    request = ask(b, key)
    await_waiters(b, 1, key=key)
    assert b.call("lock.break", key, "edit") == 1
    later = b.wait(request)
    assert later["fence"] > lock["fence"]
    refused(a, "LOCK_LOST", "lock.release", lock["token"], [["num.incr", key, "n", 1]])


def test_locks_stay_over_an_upgrade(calm_cluster, new_daemon):
    one, other = (new_daemon(calm_cluster.address) for _ in range(2))
    with one.connect() as holder, other.connect() as waiter:
        for client in (holder, waiter):
            client.socket.settimeout(40)
            client.call("define", MODEL)
        keys = two_slots(holder)
        locks = [acquire(holder, key) for key in keys]
        requests = [ask(waiter, key) for key in keys]
        for key in keys:
            await_waiters(waiter, 1, key=key)
        upgrade(holder)
        upgrade(waiter)
        for key, lock, request in zip(keys, locks, requests):
            assert holder.call("lock.release", lock["token"], [["num.incr", key, "n", 1]]) == [2]
            assert waiter.wait(request)["fence"] > lock["fence"]


def test_what_the_dead_held_is_free_after_a_lease(calm_cluster, new_daemon):
    one, other = (new_daemon(calm_cluster.address, SHORT) for _ in range(2))
    with other.connect() as client:
        client.socket.settimeout(40)
        client.call("define", MODEL)
        victim = one.connect()
        victim.call("define", MODEL)
        keys = two_slots(client)
        for key in keys:
            acquire(victim, key)
        requests = [ask(client, key, wait=30) for key in keys]
        one.kill()
        for request in requests:
            client.call("lock.release", client.wait(request)["token"])
        victim.close()
    other.stop()
    wait_until(lambda: keys_of(calm_cluster, "rapyer:@lock*") == [], what="nothing that is left of locks")


class Teller(threading.Thread):
    """Counts up under locks, by what it reads: an update is lost if anybody else had the lock as well."""

    def __init__(self, daemon, keys):
        super().__init__()
        self.daemon_process, self.keys = daemon, keys
        self.done, self.faults = threading.Event(), []
        self.counted, self.unknown, self.refusals, self.fences = Counter(), Counter(), Counter(), []

    def run(self):
        try:
            with self.daemon_process.connect() as client:
                client.socket.settimeout(40)
                turn = 0
                while not self.done.is_set():
                    self.count(client, self.keys[turn % len(self.keys)])
                    turn += 1
        except Exception as fault:  # told in the test's own thread
            self.faults.append(fault)

    def count(self, client, key):
        lock = None
        try:
            lock = acquire(client, key, wait=5, document=True)
            self.fences.append((key, lock["fence"], lock["document"]["n"]))
            client.call("lock.release", lock["token"], [["set", key, "n", lock["document"]["n"] + 1]])
            self.counted[key] += 1
        except RpcError as refusal:
            assert refusal.code in REFUSALS, refusal
            self.refusals[refusal.code] += 1
            self.unknown[key] += refusal.code == "UNKNOWN_OUTCOME"
            if lock:  # it may still have it
                self.let_go(client, lock["token"])

    @staticmethod
    def let_go(client, token):
        try:
            client.call("lock.release", token)
        except RpcError as refusal:
            assert refusal.code == "LOCK_LOST", refusal


def judge(client, tellers, keys):
    """Each that was acknowledged is there once, and who had a higher fence saw no less."""
    for teller in tellers:
        assert not teller.faults, teller.faults
    for key in keys:
        n = client.call("doc.get", key)["n"]
        counted = sum(teller.counted[key] for teller in tellers)
        unknown = sum(teller.unknown[key] for teller in tellers)
        assert counted <= n <= counted + unknown, (key, n, counted, unknown)
        seen = sorted(entry[1:] for teller in tellers for entry in teller.fences if entry[0] == key)
        assert len({fence for fence, _ in seen}) == len(seen)
        assert [n for _, n in seen] == sorted(n for _, n in seen), (key, seen)


def bank(daemons, keys):
    with daemons[0].connect() as client:
        client.call("define", MODEL)
        for key in keys:
            client.call("doc.save", key, {"n": 0})
    for daemon in daemons[1:]:
        with daemon.connect() as client:
            client.call("define", MODEL)
    tellers = [Teller(daemons[i % len(daemons)], keys[i % len(keys):] + keys[:i % len(keys)]) for i in range(4)]
    for teller in tellers:
        teller.start()
    return tellers


def close_up(daemon, tellers, keys):
    for teller in tellers:
        teller.done.set()
    for teller in tellers:
        teller.join()
    with daemon.connect() as client:
        client.socket.settimeout(40)
        judge(client, tellers, keys)


def total(tellers):
    return sum(sum(teller.counted.copy().values()) for teller in tellers)


def test_slots_that_move_with_their_locks(calm_cluster, new_daemon):
    """Nothing is refused: a lock stays who it was given to, and changes hands on the way."""
    daemons = [new_daemon(calm_cluster.address, FAST) for _ in range(2)]
    keys = [f"Log:m{i}" for i in range(3)]
    tellers = bank(daemons, keys)
    for _ in range(6):
        at = total(tellers)
        reshard(calm_cluster, [slot_of_document(key) for key in keys], 3)
        wait_until(lambda: total(tellers) > at + 10, what="sections")
    close_up(daemons[0], tellers, keys)
    assert not any(teller.refusals for teller in tellers), [teller.refusals for teller in tellers]


def test_a_master_that_goes_takes_only_its_locks(cluster, new_daemon):
    daemons = [new_daemon(cluster.address, {**FAST, "redis.command_timeout": "1s"})
               for _ in range(2)]
    keys = [f"Log:g{i}" for i in range(12)]
    tellers = bank(daemons, keys[:6])
    wait_until(lambda: total(tellers) > 20, what="sections")
    with daemons[0].connect() as client:
        gone = cluster.owner(slot_of_document(keys[6]))
        elsewhere = next(key for key in keys[6:] if cluster.owner(slot_of_document(key)) is not gone)
        kept = acquire(client, keys[6])
        gone.pause()
        for _ in range(20):
            release(client, acquire(client, elsewhere), [["doc.save", elsewhere, {"n": 1}]])
        wait_until(lambda: cluster.owner(slot_of_document(keys[6])) not in (None, gone), 30, what="a promotion")
        wait_until(lambda: attempt(client, "pipeline", [["doc.save", keys[6], {"n": 1}]], {"lock": kept["token"]}), 20,
                   "a write under a lock that was held all the time")
        gone.resume()
        wait_until(lambda at=total(tellers): total(tellers) > at + 20, 30, what="sections")
    close_up(daemons[0], tellers, keys[:6])


def test_a_master_that_is_away_for_longer_than_a_lease(calm_cluster, new_daemon):
    """Who holds locks of its slots is told; those of others are as they were."""
    daemon = new_daemon(calm_cluster.address, {**SHORT, "redis.command_timeout": "300ms"})
    with daemon.connect() as client:
        client.call("define", MODEL)
        gone = calm_cluster.owner(slot_of_document("Log:a"))
        elsewhere = next(key for key in (f"Log:{i}" for i in range(99))
                         if calm_cluster.owner(slot_of_document(key)) is not gone)
        client.call("doc.save", elsewhere, {"n": 0})
        lost, kept = acquire(client, "Log:a", notify=True), acquire(client, elsewhere, notify=True)
        gone.pause()
        try:
            assert await_lost(client)[:2] == [lost["token"], "Log:a"]
            assert client.call("pipeline", [["num.incr", elsewhere, "n", 1]], {"lock": kept["token"]}) == [1]
            assert not client.notifications
            with pytest.raises(RpcError) as said:
                client.call("lock.acquire", "Log:a", "edit", {"wait": 0.2})
            assert said.value.code == "UNAVAILABLE" or "cannot be asked (Redis at" in str(said.value)
        finally:
            gone.resume()
        again = wait_until(lambda: attempt(client, "lock.acquire", "Log:a", "edit", {"wait": 5}), 20, "the lock")
        assert again["fence"] > lost["fence"]
        refused(client, "LOCK_LOST", "lock.release", lost["token"])


def test_a_write_that_comes_when_its_lock_is_anothers(calm_cluster, new_daemon):
    """Its slot is on the move, so it has to be sent again, and its daemon sleeps until others have had the lock."""
    one, other = (new_daemon(calm_cluster.address, SHORT) for _ in range(2))
    with one.connect() as late, other.connect() as rival:
        for client in (late, rival):
            client.socket.settimeout(40)
            client.call("define", MODEL)
        key, slot = "Log:late", slot_of_document("Log:late")
        late.call("doc.save", key, {"n": 1, "lines": ["all its keys are there, so it can be read on the move"]})
        lock = acquire(late, key)
        assert late.call("pipeline", [["num.incr", key, "n", 1]], {"lock": lock["token"]}) == [2]
        source = calm_cluster.agreed_owner(slot)
        target = next(node for node in calm_cluster.masters if node is not source)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        request = late.send("pipeline", [["set", key, "n", 99]], {"lock": lock["token"]})
        wait_until(lambda: late.call("admin.stats")["recovered_resent"] > 0 or request in late.answers,
                   what="the commit to be sent again")
        os.kill(one.pid, signal.SIGSTOP)
        try:
            calm_cluster.migrate(slot, source, target)
            new = wait_until(lambda: attempt(rival, "lock.acquire", key, "edit", {"wait": 5}), 20, "the lock")
            assert new["fence"] > lock["fence"]
            assert rival.call("pipeline", [["num.incr", key, "n", 1]], {"lock": new["token"]}) == [3]
        finally:
            os.kill(one.pid, signal.SIGCONT)
        with pytest.raises(RpcError, match="^(LOCK_LOST|UNAVAILABLE)"):
            late.wait(request)
        wait_until(lambda: attempt(late, "doc.get", key), 20, "the slot to be found")
        assert late.call("doc.get", key)["n"] == rival.call("doc.get", key)["n"] == 3
