"""The clock of Redis is set, or one takes over whose clock goes otherwise: a lease counts for no
longer than its length, and who has lost a lock writes nothing."""

import time

import pytest

from lock_clients import acquire, ask, await_lost, await_waiters, is_free, release
from models import KEY, save_ada
from rpc_client import RpcError, wait_until
from test_clock import Clock

HOUR = 3600
DAY = 24 * HOUR
CHANGE = [["num.incr", KEY, "age", 1]]
SHORT = {"locks.lock_lease": "700ms", "redis.reconnect_max": "50ms"}
LONG = {"locks.lock_lease": "60s"}


@pytest.fixture
def clock(workdir):
    return Clock(workdir)


@pytest.fixture
def redis_server(new_redis, clock):
    return new_redis(env=clock.env)


@pytest.fixture
def hosts(redis_server, new_daemon):
    """Daemons, each with a client."""
    clients = []

    def new(n, settings):
        daemons = [new_daemon(redis_server.address, settings) for _ in range(n)]
        mine = [daemon.connect() for daemon in daemons]
        clients.extend(mine)
        for client in mine:
            client.socket.settimeout(20)
            save_ada(client)
        return daemons, mine

    yield new
    for client in clients:
        client.close()


def refused(client, code, method, *params):
    with pytest.raises(RpcError) as caught:
        client.call(method, *params)
    assert caught.value.code == code, caught.value.error


@pytest.mark.parametrize("back", (2, 30, HOUR))
@pytest.mark.parametrize("waits", (False, True), ids=("comes later", "waits before"))
def test_set_back_and_the_holder_dies(hosts, clock, back, waits):
    """The lock is free within two lengths of a lease, not when the clock is there again."""
    daemons, (a, b) = hosts(2, SHORT)
    lock = acquire(a)
    request = ask(b) if waits else None
    if waits:
        await_waiters(b, 1)
    daemons[0].kill()
    clock.set(-back)
    began = time.monotonic()
    got = b.wait(request) if waits else acquire(b)
    assert time.monotonic() - began < back or back == 2
    assert got["fence"] > lock["fence"]


def test_set_back_and_somebody_has_waited(hosts, clock):
    """The dead holder's lock is free after a length and a quarter, not after two."""
    daemons, (a, b) = hosts(2, {**SHORT, "locks.lock_lease": "4s"})
    lock = acquire(a)
    request = ask(b)
    await_waiters(b, 1)
    daemons[0].kill()
    clock.set(-HOUR)
    began = time.monotonic()
    assert b.wait(request)["fence"] > lock["fence"]
    assert time.monotonic() - began < 7


def test_set_back_and_the_holder_lives(hosts, clock):
    """It has its lock as long as it likes, and everybody writes in order."""
    _, (a, b) = hosts(2, SHORT)
    lock = acquire(a)
    request = ask(b)
    await_waiters(b, 1)
    for back in (1, 60, HOUR):
        clock.set(-back)
        until = time.monotonic() + 1.5  # two lengths of a lease: it would be lost by then
        while time.monotonic() < until:
            a.call("pipeline", CHANGE, {"lock": lock["token"]})
    age = release(a, lock, CHANGE)[0]
    mine = b.wait(request)
    assert release(b, mine, CHANGE) == [age + 1]
    assert mine["fence"] > lock["fence"]


@pytest.mark.parametrize("ahead", (2, HOUR))
def test_set_forward_and_nobody_waits(hosts, clock, ahead):
    """The lease is taken again by its daemon, and what is written under it is written."""
    _, (a, b) = hosts(2, SHORT)
    lock = acquire(a, notify=True)
    age = a.call("doc.get", KEY)["age"]
    clock.set(ahead)
    assert a.call("pipeline", CHANGE, {"lock": lock["token"]}) == [age + 1]
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        a.call("pipeline", CHANGE, {"lock": lock["token"]})
    assert not is_free(b)
    release(a, lock, CHANGE)
    assert not a.notifications
    assert acquire(b)["fence"] > lock["fence"]


@pytest.mark.parametrize("writes", (False, True), ids=("is told", "writes"))
@pytest.mark.parametrize("ahead", (70, HOUR, 2 * DAY))
def test_set_forward_and_somebody_comes(hosts, clock, ahead, writes):
    """The lease is over for Redis. Who had it writes nothing any more, and is told at once; when Redis
    has forgotten it altogether, at its next write."""
    _, (a, b) = hosts(2, LONG)
    lock = acquire(a, notify=True)
    age = a.call("doc.get", KEY)["age"]
    clock.set(ahead)
    mine = acquire(b, document=True)
    assert mine["fence"] > lock["fence"]
    if writes or ahead > DAY:
        refused(a, "LOCK_LOST", "pipeline", CHANGE, {"lock": lock["token"]})
    began = time.monotonic()
    assert await_lost(a)[0] == lock["token"]
    assert time.monotonic() - began < 10  # it would be renewed after 20
    assert b.call("pipeline", CHANGE, {"lock": mine["token"]}) == [age + 1]
    release(b, mine)


def test_set_forward_with_a_queue(hosts, clock, rdb):
    """Who waits keeps its place, and has the lock as soon as it is given up."""
    _, (a, b, c) = hosts(3, LONG)
    lock = acquire(a)
    second = ask(b)
    wait_until(lambda: rdb.zcard("rapyer:@lockq:{User:ada}/!edit") == 1, what="the first in the queue")
    third = ask(c)
    wait_until(lambda: rdb.zcard("rapyer:@lockq:{User:ada}/!edit") == 2, what="the second in the queue")
    clock.set(HOUR)
    began = time.monotonic()
    release(a, lock)
    fences = [lock["fence"]]
    for client, request in (b, second), (c, third):
        mine = client.wait(request)
        fences.append(mine["fence"])
        release(client, mine)
    assert time.monotonic() - began < 30
    assert fences == sorted(set(fences))


def section(client, fences):
    """One that wrote; again where its lease was over for Redis, and its daemon did not know yet."""
    while True:
        lock = acquire(client)
        try:
            age = release(client, lock, CHANGE)[0]
        except RpcError as error:
            assert error.code == "LOCK_LOST", error.error
            continue
        fences.append(lock["fence"])
        return age


def test_fences_of_those_who_write_do_not_go_back_with_the_clock(hosts, clock):
    _, (a, b) = hosts(2, SHORT)
    fences, ages = [], []
    for ahead in (0, -HOUR, HOUR, 2 * DAY, -DAY, 0):
        clock.set(ahead)
        ages += [section(client, fences) for client in (a, b, a)]
    assert fences == sorted(set(fences))
    assert ages == list(range(ages[0], ages[0] + len(ages)))


def test_a_server_that_is_behind_takes_over(hosts, redis_server, clock):
    """As a replica does: it has the leases, with ends by the clock of the one before."""
    daemons, (a, b) = hosts(2, SHORT)
    acquire(a)
    daemons[0].kill()
    with redis_server.client() as rdb:
        leases = rdb.dump("rapyer:@lock:{User:ada}/!edit")
    redis_server.kill()
    clock.set(-HOUR)
    redis_server.start()
    with redis_server.client() as rdb:
        rdb.restore("rapyer:@lock:{User:ada}/!edit", HOUR * 1000, leases, replace=True)
    wait_until(lambda: b.call("admin.stats")["redis"] == "up", what="the link")
    acquire(b)


@pytest.mark.parametrize("back", (1, HOUR))
def test_a_document_made_anew_has_no_version_of_before(redis_server, new_daemon, clock, back):
    """Though the clock of the host was set back."""
    daemon = new_daemon(redis_server.address, env=clock.env)
    with daemon.connect() as client:
        save_ada(client)
        clock.set(0)
        seen = []
        for ahead in (0, -back, -back):
            clock.set(ahead)
            client.call("doc.delete", KEY)
            save_ada(client)
            seen.append(client.call("doc.get", KEY, {"version": True})["@v"])
        assert seen == sorted(set(seen))
