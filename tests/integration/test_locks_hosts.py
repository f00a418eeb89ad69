"""Locks between hosts: two and more daemons in front of one Redis, each with its clients."""

import os
import signal
import threading
import time

import pytest

from lock_clients import acquire, ask, await_lost, await_waiters, is_free, look, release
from models import KEY, ROOT, save_ada
from rpc_client import RpcError, wait_until

pytestmark = pytest.mark.exact

LEASE = b"rapyer:@lock:{User:ada}/!edit"
QUEUE = b"rapyer:@lockq:{User:ada}/!edit"
LONG = {"locks.lock_lease": "60s"}  # what happens below happens by messages, long before that
SHORT = {"locks.lock_lease": "700ms", "redis.reconnect_max": "50ms"}
SOON = 5  # seconds: well below LONG


class Hosts:
    """Daemons, and a client of each."""

    def __init__(self, new_daemon, address, settings, n=2):
        self.daemons = [new_daemon(address, settings) for _ in range(n)]
        self.clients = [self.connect(i) for i in range(n)]
        for client in self.clients:
            save_ada(client)

    def connect(self, which):
        client = self.daemons[which].connect()
        client.socket.settimeout(20)
        return client

    def close(self):
        for client in self.clients:
            client.close()


@pytest.fixture
def hosts(redis_server, new_daemon):
    made = []

    def new(settings, n=2):
        made.append(Hosts(new_daemon, redis_server.address, settings, n))
        return made[-1]

    yield new
    for one in made:
        one.close()


@pytest.fixture
def pair(hosts):
    return hosts(LONG).clients


@pytest.fixture
def tough_pair(hosts):
    """Its links come back soon, however often they are cut."""
    return hosts({**LONG, "redis.reconnect_max": "50ms"}).clients


def granted(client, request, within=SOON):
    """The answer, which comes in time."""
    began = time.monotonic()
    lock = client.wait(request)
    assert time.monotonic() - began < within
    return lock


def refused(client, code, method, *params):
    with pytest.raises(RpcError) as caught:
        client.call(method, *params)
    assert caught.value.code == code, caught.value.error
    return caught.value.text


def expiry(rdb):
    """When the lease ends in Redis, by its clock and ours."""
    return max(int(value.split()[2]) for name, value in rdb.hgetall(LEASE).items() if name != b"@last") / 1000


# --- from host to host ---------------------------------------------------------------------


def test_hand_over(pair):
    """A release wakes up who waits on another host, and each sees what the other wrote."""
    a, b = pair
    lock = acquire(a)
    fences = [lock["fence"]]
    for turn in range(50):
        request = ask(b, document=True)
        await_waiters(b, 1)
        release(a, lock, [["set", KEY, "age", turn]])
        lock = granted(b, request)
        assert lock["document"]["age"] == turn
        fences.append(lock["fence"])
        a, b = b, a
    assert fences == sorted(set(fences))


def test_a_lease_stays_where_it_is_used(pair, rdb):
    a, _ = pair
    release(a, acquire(a))
    before = rdb.info("commandstats")["cmdstat_time"]["calls"]  # each script asks for it
    for _ in range(100):
        release(a, acquire(a))
    assert rdb.info("commandstats")["cmdstat_time"]["calls"] == before


def test_an_idle_lease_is_given_back(hosts, rdb):
    a, b = hosts(SHORT).clients
    release(a, acquire(a))
    assert rdb.exists(LEASE)
    wait_until(lambda: not rdb.keys("rapyer:@lock*"), 5, "an empty Redis")
    wait_until(lambda: a.call("admin.locks") == [], 5, "an empty table")
    acquire(b)


def test_a_try_says_who_has_it(pair, rdb):
    a, b = pair
    lock = acquire(a)
    began = time.monotonic()
    assert "another host" in refused(b, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"wait": 0})
    assert time.monotonic() - began < 2
    assert not rdb.exists(QUEUE)
    assert "another host" in refused(b, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"wait": 0.1})
    release(a, lock)
    # Nobody here uses the lease of the other host: it comes over for the asking.
    granted(b, ask(b))


def test_who_gave_up_waiting_is_in_nobodys_way(pair, rdb):
    a, b = pair
    lock = acquire(a)
    request = ask(b, wait=0.3)
    wait_until(lambda: rdb.exists(QUEUE), what="the wait in Redis")
    with pytest.raises(RpcError, match="^LOCK_TIMEOUT: .*another host"):
        b.wait(request)
    wait_until(lambda: not rdb.exists(QUEUE), SOON, "the end of the wait in Redis")
    release(a, lock)
    granted(a, ask(a))


def test_readers_of_all_hosts_share(hosts):
    a, b, c = hosts(LONG, 3).clients
    first = acquire(a, mode="shared")
    second = granted(b, ask(b, mode="shared"))
    write = ask(c)
    await_waiters(c, 1)
    # Who reads later does not overtake who wants to write.
    wait_until(lambda: look(a)["wanted"] and look(b)["wanted"], what="word of the writer")
    late = ask(b, owner="late", mode="shared")
    await_waiters(b, 1)
    release(a, first)
    assert b.call("hello") and not b.answers
    release(b, second)
    writer = granted(c, write)
    assert b.call("hello") and not b.answers
    release(c, writer)
    granted(b, late)


def test_a_host_of_readers_lets_readers_in(pair):
    a, b = pair
    release(a, acquire(a))  # the lease is exclusive
    acquire(a, mode="shared")
    granted(b, ask(b, mode="shared"))
    assert look(a)["lease"] == look(b)["lease"] == "shared"


def test_two_readers_that_write_next(pair):
    """Each host has the lease to read, and now both want to write."""
    a, b = pair
    locks = [acquire(a, mode="shared"), acquire(b, mode="shared")]
    requests = [ask(a, owner="writer"), ask(b, owner="writer")]
    for client, lock in zip(pair, locks):
        release(client, lock)
    for _ in range(2):
        def first():
            for client, request in zip(pair, requests):
                client.call("hello")
                if request in client.answers:
                    return client, request
            return None
        client, request = wait_until(first, SOON, "one of the writers")
        lock = client.wait(request)
        requests[pair.index(client)] = None
        other = pair[1 - pair.index(client)]
        assert requests[pair.index(other)] is None or not other.answers
        release(client, lock)


def test_turns(hosts):
    """A busy host lets another one in after a few grants."""
    together = hosts({**LONG, "locks.lock_turns": 8})
    b = together.clients[1]
    grants, stop = [0], threading.Event()

    def hammer(client):
        with client:
            while not stop.is_set():
                release(client, acquire(client))
                grants[0] += 1

    workers = [threading.Thread(target=hammer, args=(together.connect(0),)) for _ in range(4)]
    for worker in workers:
        worker.start()
    try:
        wait_until(lambda: grants[0] > 100, what="a busy host")
        for _ in range(20):
            before = grants[0]
            lock = granted(b, ask(b))
            assert grants[0] - before < 100
            release(b, lock)
    finally:
        stop.set()
        for worker in workers:
            worker.join()


# --- messages that are lost ----------------------------------------------------------------


def test_messages_lost_with_their_connection(tough_pair, rdb):
    """The connections that listen are cut again and again while locks change hosts."""
    a, b = tough_pair
    lock = acquire(a)
    for _ in range(20):
        request = ask(b)
        await_waiters(b, 1)
        rdb.client_kill_filter(_type="pubsub")
        release(a, lock)
        lock = granted(b, request)
        a, b = b, a


def test_all_connections_cut(tough_pair, rdb):
    a, b = tough_pair
    lock = acquire(a)
    for _ in range(20):
        request = ask(b)
        rdb.client_kill_filter(_type="pubsub")
        rdb.client_kill_filter(_type="normal", skipme=True)
        release(a, lock)
        lock = granted(b, request)
        a, b = b, a


def test_scripts_forgotten(pair, rdb):
    a, b = pair
    for _ in range(3):
        rdb.script_flush()
        lock = acquire(a)
        request = ask(b)
        rdb.script_flush()
        release(a, lock)
        release(b, granted(b, request))


def test_a_full_redis(pair, rdb):
    """Locks need no room to speak of, and losing them would be worse."""
    a, b = pair
    rdb.config_set("maxmemory", 1)
    lock = acquire(a)
    request = ask(b)
    await_waiters(b, 1)
    release(a, lock)
    granted(b, request)
    rdb.config_set("maxmemory", 0)


# --- what ends ------------------------------------------------------------------------------


def test_kill_9_of_the_holders_daemon(hosts, rdb):
    together = hosts(SHORT)
    a, b = together.clients
    lock = acquire(a)
    request = ask(b)
    await_waiters(b, 1)
    together.daemons[0].kill()
    ends = expiry(rdb)
    fence = granted(b, request)["fence"]
    assert ends <= time.time() < ends + 2
    assert fence > lock["fence"]


def test_a_daemon_that_starts_again_has_no_lock(hosts, rdb):
    """What it had before it was killed is out for its lease, for its own clients as well."""
    together = hosts(SHORT)
    lock = acquire(together.clients[0])
    together.daemons[0].kill()
    ends = expiry(rdb)
    together.daemons[0].start()
    with together.connect(0) as client:
        fence = acquire(client)["fence"]
        assert ends <= time.time() < ends + 2
        assert fence > lock["fence"]


def test_kill_9_of_one_that_waits(hosts):
    together = hosts(LONG, 3)
    a, b, c = together.clients
    lock = acquire(a)
    ask(b)
    await_waiters(b, 1)
    request = ask(c)
    await_waiters(c, 1)
    together.daemons[1].kill()
    release(a, lock)
    granted(c, request)


def test_a_daemon_that_ends_hands_its_locks_on(hosts):
    together = hosts(LONG)
    a, b = together.clients
    acquire(a)
    request = ask(b)
    await_waiters(b, 1)
    together.daemons[0].stop()
    granted(b, request)


def test_a_frozen_daemon(hosts, rdb):
    """It stands still past its lease: another host has the lock then, and what was asked of it in the
    meantime, and after, is refused."""
    together = hosts(SHORT)
    a, b = together.clients
    lock = acquire(a, notify=True)
    assert a.call("pipeline", [["set", KEY, "age", 1]], {"lock": lock["token"]})
    frozen = together.daemons[0].process
    frozen.send_signal(signal.SIGSTOP)
    try:
        write = a.send("pipeline", [["set", KEY, "age", 2]], {"lock": lock["token"]})
        mine = granted(b, ask(b, document=True))
        assert mine["fence"] > lock["fence"] and mine["document"]["age"] == 1
        b.call("pipeline", [["set", KEY, "age", 3]], {"lock": mine["token"]})
    finally:
        frozen.send_signal(signal.SIGCONT)
    with pytest.raises(RpcError, match="^LOCK_LOST: "):
        a.wait(write)
    refused(a, "LOCK_LOST", "pipeline", [["set", KEY, "age", 4]], {"lock": lock["token"]})
    assert rdb.hget(ROOT, "age") == b"3"
    assert not is_free(a)
    release(b, mine)
    granted(a, ask(a))


def test_a_frozen_daemon_that_waits(hosts):
    """It is offered the lock and does not take it: the next host has it soon after."""
    together = hosts(LONG, 3)
    a, b, c = together.clients
    lock = acquire(a)
    waiting = ask(b)
    await_waiters(b, 1)
    request = ask(c)
    await_waiters(c, 1)
    frozen = together.daemons[1].process
    frozen.send_signal(signal.SIGSTOP)
    try:
        release(a, lock)
        mine = granted(c, request)
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert not is_free(b, owner="another")
    release(c, mine)
    granted(b, waiting)


def test_redis_comes_back_without_its_state(hosts, redis_server):
    """Who holds a lock keeps it."""
    together = hosts({**LONG, "redis.reconnect_max": "50ms"})
    a, b = together.clients
    lock = acquire(a)
    redis_server.restart()

    def save():
        try:
            return a.call("pipeline", [["doc.save", KEY, {"name": "Ada", "age": 1}]], {"lock": lock["token"]})
        except RpcError as error:
            assert error.code == "UNAVAILABLE", error
            return None
    wait_until(save, what="a write after the restart")
    request = ask(b)
    await_waiters(b, 1)
    wait_until(lambda: look(b)["elsewhere"], what="the lease in Redis")
    assert b.call("hello") and not b.answers
    release(a, lock)
    assert granted(b, request)["fence"] > lock["fence"]


def test_redis_away_for_longer_than_the_lease(hosts, redis_server):
    together = hosts(SHORT)
    a, b = together.clients
    lock = acquire(a, notify=True)
    other = acquire(a, action="other", notify=True)
    redis_server.kill()
    killed = time.monotonic()
    token, key, path, action, reason = await_lost(a)
    assert (token, key, path, action) == (lock["token"], KEY, "", "edit")
    assert time.monotonic() - killed < 0.7 + SOON
    assert "it could not be renewed for" in reason
    assert await_lost(a)[0] == other["token"]  # its lease began a little later
    refused(a, "LOCK_LOST", "lock.release", other["token"])
    wait_until(lambda: "its lease in Redis ran out" in together.daemons[0].log(), what="a line in the log")
    redis_server.start()

    def again():
        try:
            return granted(b, ask(b))
        except RpcError as error:
            assert error.code == "UNAVAILABLE", error
            return None
    assert wait_until(again, what="a lock after Redis is back")["fence"] > lock["fence"]


def test_break(pair):
    a, b = pair
    lock = acquire(a, notify=True)
    waiting = ask(a, owner="next")
    request = ask(b)
    await_waiters(b, 1)
    assert b.call("lock.break", KEY, "edit") == 1
    mine = granted(b, request)
    assert await_lost(a)[0] == lock["token"]
    assert "lock.break" in refused(a, "LOCK_LOST", "pipeline", [["set", KEY, "age", 4]], {"lock": lock["token"]})
    release(b, mine)
    granted(a, waiting)


# --- circles ---------------------------------------------------------------------------------


def deadlock(clients, requests, within):
    """One of them is refused within that time; which, and the text. The others still wait."""
    def answered():
        for client in clients:
            client.call("hello")
        return [i for i, (client, request) in enumerate(zip(clients, requests)) if request in client.answers]
    over = wait_until(answered, within, "the end of the circle")
    assert len(over) == 1, over
    with pytest.raises(RpcError, match="^DEADLOCK: ") as caught:
        clients[over[0]].wait(requests[over[0]])
    return over[0], caught.value.text


@pytest.mark.parametrize("n", [2, 3, 6])
def test_a_circle_of_hosts(hosts, n):
    clients = hosts(LONG, n).clients
    locks = [acquire(client, action=f"a{i}") for i, client in enumerate(clients)]
    requests = []
    for i, client in enumerate(clients):
        requests.append(ask(client, action=f"a{(i + 1) % n}"))
        await_waiters(client, 1, action=f"a{(i + 1) % n}")
    victim, text = deadlock(clients, requests, 2.5)
    assert victim == n - 1, "the youngest wait"
    assert '"a0" of User:ada' in text and '"a1" of User:ada' in text and f"pid {os.getpid()}" in text
    # Those who are left get what they wait for, one after the other.
    release(clients[victim], locks[victim])
    for i in reversed(range(n - 1)):
        release(clients[i], granted(clients[i], requests[i]))
        release(clients[i], locks[i])


def test_a_circle_through_waits_of_one_host(hosts):
    """a1 holds A and waits for B, on the other host; b1 holds B and waits for C of its own host; b2
    holds C and waits for A."""
    together = hosts(LONG)
    a1, b1 = together.clients
    with together.connect(1) as b2:
        held = [acquire(a1, action="A"), acquire(b1, action="B"), acquire(b2, action="C")]
        clients, requests = [b2, a1, b1], []
        for client, action in zip(clients, "ABC"):
            requests.append(ask(client, action=action))
            await_waiters(client, 1, action=action)
            # When the circle is closed the others have been looked at already, more than once.
            wait_until(lambda: look(client, action=action)["waiters"][0]["age"] > 0.1, what="an old wait")
        # b1's wait closes the circle, and is not one for another host: the youngest of the others ends it.
        victim, _ = deadlock(clients, requests, 2.5)
        assert victim == 1
        release(a1, held[0])
        release(b2, granted(b2, requests[0]))
        release(b2, held[2])
        granted(b1, requests[2])


def test_a_circle_over_readers(hosts):
    """A writer waits for readers on two hosts, one of which waits for what the writer has."""
    a, b, c = hosts(LONG, 3).clients
    acquire(a, action="read", mode="shared")
    mine = acquire(b, action="read", mode="shared")
    acquire(c, action="own")
    write = ask(c, action="read")
    await_waiters(c, 1, action="read")
    back = ask(b, action="own")
    victim, _ = deadlock([b, c], [back, write], 2.5)
    assert victim == 0
    release(b, mine)


def test_no_circle(hosts):
    """A chain over hosts is none, nor does a try close it."""
    a, b, c = hosts(LONG, 3).clients
    locks = [acquire(client, action=name) for client, name in ((a, "A"), (b, "B"), (c, "C"))]
    first = ask(a, action="B")
    await_waiters(a, 1, action="B")
    second = ask(b, action="C")
    await_waiters(b, 1, action="C")
    assert not is_free(c, action="A")  # a try waits for nobody
    time_out = time.monotonic() + 1.3  # past all kinds of probes
    wait_until(lambda: time.monotonic() > time_out, 3, "time to pass")
    for client in (a, b):
        assert client.call("hello") and not client.answers
    release(c, locks[2])
    release(b, granted(b, second))
    release(b, locks[1])
    granted(a, first)
