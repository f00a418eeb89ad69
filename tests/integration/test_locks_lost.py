"""Locks that are lost: their client dies or hangs, their lease goes, Redis goes. Nobody stays
locked out, and who lost a lock does not write."""

import socket
import time

import pytest

from lock_clients import (Puppet, acquire, ask, await_link, await_lost, await_waiters, holds_no_locks,
                          is_free, look, release)
from models import KEY, ROOT, save_ada
from rpc_client import Closed, RpcError, wait_until
from test_bad_input import refused

pytestmark = pytest.mark.exact

LEASE = "rapyer:@lock:{User:ada}/!edit"
CHANGE = [["num.incr", KEY, "age", 1]]
SOON = {"locks.lock_lease": "500ms", "commit.queue_time": "300ms", "redis.reconnect_max": "50ms"}


@pytest.fixture
def puppet(ada, daemon):
    with Puppet(daemon) as puppet:
        yield puppet


def stamp(rdb):
    seconds, microseconds = rdb.time()
    return seconds * 1000 + microseconds // 1000


# --- clients -------------------------------------------------------------------------------


def test_a_closed_connection_frees_its_locks(ada, other, daemon):
    with daemon.connect() as leaver:
        first = acquire(leaver)
        acquire(leaver)
        acquire(leaver, action="else", owner="x", mode="shared")
        request = ask(ada)
        await_waiters(other, 1)
    began = time.monotonic()
    assert ada.wait(request)["fence"] > first["fence"]
    assert time.monotonic() - began < 5
    assert is_free(other, action="else")


def test_a_closed_connection_ends_its_waits(ada, other, daemon):
    lock = acquire(ada)
    with daemon.connect() as leaver:
        for owner in range(10):
            ask(leaver, owner=str(owner))
        await_waiters(ada, 10)
        request = ask(other)
        await_waiters(ada, 11)
    await_waiters(ada, 1)
    release(ada, lock)
    other.wait(request)


def test_a_connection_closed_between_its_requests(ada, daemon):
    """Acquires and leaves at once, with all in one go and the last request half sent."""
    for turn in range(100):
        with daemon.connect() as leaver:
            requests = [["lock.acquire", [KEY, "edit", {"owner": str(n)}]] for n in range(5)]
            requests.append(["lock.acquire_many", [[[f"User:{n}", "edit"] for n in range(5)]]])
            frames = [leaver.pack([0, 1, *request]) for request in requests]
            frames.append(leaver.pack([0, 1, "pipeline", [CHANGE, {"lock": turn}]])[:turn % 20])
            leaver.send_raw(b"".join(frames))
    wait_until(lambda: is_free(ada) and holds_no_locks(ada), what="the end of all locks")


def test_a_client_that_only_stops_sending_gets_its_answers(ada, daemon):
    """It shuts down its writing side. Operations that it sent with the release are carried out;
    what it waits for it could never release, so that ends."""
    acquire(ada, action="else")
    with daemon.connect() as half:
        lock = acquire(half)
        ask(half, action="else")
        await_waiters(ada, 1, action="else")
        request = half.send("lock.release", lock["token"], CHANGE)
        half.socket.shutdown(socket.SHUT_WR)
        assert half.wait(request) == [37]
        half.expect_closed()
    wait_until(lambda: is_free(ada), what="the lock")
    assert not look(ada, action="else")["waiters"]


def test_kill_9_of_the_holder(ada, puppet):
    lock = puppet.call("lock.acquire", KEY, "edit")
    puppet.call("lock.acquire", KEY, "else")
    request = ask(ada)
    holder = look(ada)["holders"][0]
    assert holder["pid"] == puppet.pid
    puppet.kill()
    began = time.monotonic()
    assert ada.wait(request)["fence"] > lock["fence"]
    assert time.monotonic() - began < 5
    assert is_free(ada, action="else")


def test_kill_9_of_one_that_waits(ada, other, puppet):
    lock = acquire(ada)
    puppet.start("lock.acquire", KEY, "edit")
    await_waiters(ada, 1)
    request = ask(other)
    await_waiters(ada, 2)
    puppet.kill()
    await_waiters(ada, 1)
    release(ada, lock)
    other.wait(request)


def test_a_holder_stopped_past_its_ttl_does_not_write(ada, puppet, rdb):
    """It wakes up, believes that it has the lock, and is refused."""
    lock = puppet.call("lock.acquire", KEY, "edit", {"ttl": 0.4})
    assert puppet.call("pipeline", CHANGE, {"lock": lock["token"]}) == [37]
    puppet.stop()
    mine = acquire(ada, document=True)
    assert mine["fence"] > lock["fence"] and mine["document"]["age"] == 37
    puppet.go_on()
    puppet.start("pipeline", CHANGE, {"lock": lock["token"]})
    with pytest.raises(RpcError, match="^LOCK_LOST: .*ttl"):
        puppet.finish()
    assert release(ada, mine, CHANGE) == [38]
    assert rdb.hget(ROOT, "age") == b"38"
    with pytest.raises(RpcError, match="^LOCK_LOST: "):
        puppet.call("lock.release", lock["token"], CHANGE)
    assert puppet.call("lock.acquire", KEY, "edit", {"document": True})["document"]["age"] == 38


def test_a_write_that_was_sent_in_time_and_read_too_late(ada, daemon, redis_server):
    """The request lies in the socket of a client while the ttl runs out."""
    with daemon.connect() as late:
        lock = acquire(late, ttl=0.3)
        frame = late.pack([0, 99, "pipeline", [CHANGE, {"lock": lock["token"]}]])
        late.send_raw(frame[:-1])
        mine = acquire(ada)
        late.send_raw(frame[-1:])
        with pytest.raises(RpcError, match="^LOCK_LOST: "):
            late.wait(99)
    assert release(ada, mine, CHANGE) == [37]


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("how", ["ttl", "break", "gone"])
def test_a_write_on_its_way_when_its_lock_is_lost(redis_server, new_daemon, how, busy):
    """Who gets the lock next sees it, or it is refused: it does not come after that. busy: another
    write to the document is on its way, so that this one still waits for its turn."""
    daemon = new_daemon(redis_server.address, {"locks.lock_lease": "1h"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        for _ in range(5):
            with daemon.connect() as holder:
                lock = acquire(holder, ttl=0.1 if how == "ttl" else 10, document=True)
                age = lock["document"]["age"]
                redis_server.pause()
                if busy:
                    client.send("str.append", KEY, "bio", "x")
                    client.call("hello")
                write = holder.send("pipeline", CHANGE, {"lock": lock["token"]})
                holder.call("hello")
                if how == "break":
                    breaking = client.send("lock.break", KEY, "edit")
                elif how == "gone":
                    holder.close()
                request = ask(other, document=True)
                wait_until(lambda: look(client)["holders"] and
                           look(client)["holders"][0]["fence"] > lock["fence"], what="the next holder")
                redis_server.resume()
                mine = other.wait(request)
                if how == "break":
                    assert client.wait(breaking) == 1
                seen = mine["document"]["age"]
                if how != "gone":
                    try:
                        assert holder.wait(write) == [age + 1]
                        assert seen == age + 1
                    except RpcError as error:
                        assert error.code == "LOCK_LOST" and seen == age
                assert release(other, mine, CHANGE) == [seen + 1]
                assert client.call("doc.get", KEY, {"fresh": True})["age"] == seen + 1


# --- the lease -----------------------------------------------------------------------------


def test_what_lies_in_redis(ada, rdb):
    """The layout that daemons share."""
    lock = acquire(ada)
    (name, value), = rdb.hgetall(LEASE).items()
    mode, fence, expiry, length = value.decode().split(" ")
    assert mode == "x" and int(fence) <= lock["fence"] and name
    assert stamp(rdb) < int(expiry) <= stamp(rdb) + 10_000
    assert int(length) == 10_000 and rdb.pttl(LEASE) > 10_000
    assert int(rdb.get("rapyer:@fence")) >= int(fence)


def take_away(rdb, to_another):
    """As if the lease had run out, or gone to another host after it had."""
    if to_another:
        (field, value), = rdb.hgetall(LEASE).items()
        with rdb.pipeline() as pipe:
            pipe.hdel(LEASE, field)
            pipe.hset(LEASE, "another", f"x {int(value.split()[1]) + 1000} {stamp(rdb) + 600} 600")
            pipe.pexpire(LEASE, 600)
            pipe.execute()
    else:
        rdb.delete(LEASE)


@pytest.mark.parametrize("to_another", [False, True])
@pytest.mark.parametrize("write", ["pipeline", "release"])
def test_redis_has_the_last_word(ada, other, rdb, redis_server, to_another, write):
    """The daemon believes that it has the lease; Redis knows better, and the write is not done."""
    lock = acquire(ada, notify=True, document=True)
    inner = acquire(ada, action="else")
    before = redis_server.snapshot()
    take_away(rdb, to_another)
    if write == "pipeline":
        text = refused(ada, "LOCK_LOST", "pipeline", [*CHANGE, ["set", KEY, "bio", "no"]],
                       {"lock": [inner["token"], lock["token"]]})
    else:
        text = refused(ada, "LOCK_LOST", "lock.release", [inner["token"], lock["token"]], CHANGE)
    assert "lease" in text
    assert redis_server.snapshot() == before
    assert other.call("doc.get", KEY, {"version": True}) == {**lock["document"], "@v": lock["version"]}
    assert await_lost(ada)[0] == lock["token"]
    refused(ada, "LOCK_LOST", "pipeline", CHANGE, {"lock": lock["token"]})
    # Others, and other locks, do not suffer.
    mine = acquire(other, document=True, wait=10)
    assert mine["fence"] > lock["fence"] and mine["document"]["age"] == 36
    assert release(other, mine, CHANGE) == [37]
    assert ada.call("pipeline", CHANGE, {"lock": inner["token"]}) == [38]


def test_lost_among_writes_that_are_not(ada, other, rdb, redis_server):
    """Requests that share a batch with one that is refused in Redis are carried out, each once."""
    lock = acquire(ada)
    good = acquire(other, action="else")
    for turn in range(20):
        take_away(rdb, False)
        redis_server.pause()  # so that they gather in one batch, behind the one on its way
        first = other.send("num.incr", KEY, "counts[\"y\"]", 1)
        other.call("hello")
        writes, bad = [], None
        for n in range(6):
            if n == turn % 6:
                bad = ada.send("pipeline", [["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", "bad"],
                                            ["num.incr", KEY, "counts[\"x\"]", 100]], {"lock": lock["token"]})
                ada.call("hello")
            if n % 2:
                writes.append(other.send("num.incr", KEY, "counts[\"x\"]", 1))
            else:
                writes.append(other.send("pipeline", [["num.incr", KEY, "counts[\"x\"]", 1]],
                                         {"lock": good["token"]}))
            other.call("hello")
        redis_server.resume()
        results = []
        for request in writes:
            result = other.wait(request)
            results.append(result[0] if isinstance(result, list) else result)
        assert results == list(range(2 + 6 * turn, 8 + 6 * turn))
        other.wait(first)
        with pytest.raises(RpcError, match="^LOCK_LOST: "):
            ada.wait(bad)
        lock = acquire(ada)
    assert rdb.hget(ROOT, "age") == b"36" and rdb.llen(ROOT + "/tags") == 3
    assert rdb.hget(ROOT + "/counts", "x") == b"121"
    assert other.call("doc.load", KEY, "counts") == {"x": 121, "y": 22}
    assert other.call("doc.get", KEY) == other.call("doc.get", KEY, {"fresh": True})


def test_a_lease_is_renewed(redis_server, new_daemon, rdb):
    daemon = new_daemon(redis_server.address, {"locks.lock_lease": "500ms"})
    with daemon.connect() as client:
        save_ada(client)
        lock = acquire(client, notify=True)
        ends = {rdb.hvals(LEASE)[0]}

        def renewed():
            values = rdb.hvals(LEASE)
            assert len(values) == 1
            ends.add(values[0])
            return len(ends) > 4
        wait_until(renewed, what="four renewals")
        assert {value.split()[1] for value in ends} == {next(iter(ends)).split()[1]}
        assert client.call("pipeline", CHANGE, {"lock": lock["token"]}) == [37]
        assert not client.notifications


# --- Redis ---------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [1, 500])
def test_leases_are_renewed_while_other_locks_come_and_go(redis_server, new_daemon, held):
    """Without a pause: whatever happens to other locks must not put off the renewals."""
    daemon = new_daemon(redis_server.address, {"locks.lock_lease": "1s"})
    with daemon.connect() as client, daemon.connect() as busy:
        save_ada(client)
        requests = [ask(client, action=f"held {n}", ttl=60) for n in range(held)]
        locks = [client.wait(request) for request in requests]
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            release(busy, acquire(busy, "User:other"))
            release(busy, acquire(busy, f"User:{time.monotonic()}"))
        assert client.call("admin.stats")["locks_lost"] == 0
        for lock in locks:
            release(client, lock)


def test_redis_away_before_the_lease(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, SOON)
    with daemon.connect() as client:
        save_ada(client)
        redis_server.kill()
        await_link(client, up=False)
        for options in ({}, {"wait": 0}, {"wait": 1, "document": True}):
            began = time.monotonic()
            with pytest.raises(RpcError) as caught:
                acquire(client, "User:other", **options)
            assert caught.value.code in ("UNAVAILABLE", "LOCK_TIMEOUT"), caught.value.error
            assert caught.value.code == "UNAVAILABLE" or "wait" in options
            assert time.monotonic() - began < 10
        refused(client, "UNAVAILABLE", "lock.acquire_many", [["User:1", "edit"], ["User:2", "edit"]])
        assert holds_no_locks(client)
        redis_server.start()
        await_link(client)
        assert is_free(client, "User:other")


def test_redis_away_before_the_document(redis_server, new_daemon):
    """The lock could be had; what is under it cannot be read. So it is not taken."""
    daemon = new_daemon(redis_server.address, {**SOON, "locks.lock_lease": "1h"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        release(client, acquire(client))
        redis_server.kill()
        await_link(client, up=False)
        for _ in range(3):
            refused(client, "UNAVAILABLE", "lock.acquire", KEY, "edit", {"document": True})
            refused(other, "UNAVAILABLE", "lock.acquire_many", [[KEY, "edit"]], {"document": True})
            assert holds_no_locks(client)
        redis_server.start()
        await_link(client)
        assert acquire(client)["depth"] == 1


def test_redis_away_for_longer_than_the_lease(new_redis, new_daemon):
    redis_server = new_redis(aof=True)
    daemon = new_daemon(redis_server.address, SOON)
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        lock = acquire(client, notify=True)
        assert client.call("pipeline", CHANGE, {"lock": lock["token"]}) == [37]
        redis_server.kill()
        began = time.monotonic()
        token, _, _, _, reason = await_lost(client)
        assert token == lock["token"] and "lease" in reason
        assert time.monotonic() - began < 5
        refused(client, "LOCK_LOST", "pipeline", CHANGE, {"lock": lock["token"]})
        redis_server.start()
        await_link(client)
        again = acquire(other, document=True)
        assert again["fence"] > lock["fence"] and again["document"]["age"] == 37
        refused(client, "LOCK_LOST", "lock.release", lock["token"], CHANGE)
        assert release(other, again, CHANGE) == [38]


@pytest.mark.parametrize("aof", [True, False])
def test_redis_back_within_the_lease(new_redis, new_daemon, aof):
    """With its data: as if nothing had happened. Without: nobody else has the lease, so the
    holder keeps it or is told that it lost it; the fence does not go back."""
    redis_server = new_redis(aof=aof)
    daemon = new_daemon(redis_server.address, {"locks.lock_lease": "30s", "redis.reconnect_max": "50ms"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        lock = acquire(client, notify=True)
        for _ in range(3):
            redis_server.restart()
            if not aof:
                break
            assert client.call("pipeline", [["num.incr", KEY, "age", 1], ["doc.get", KEY]],
                               {"lock": lock["token"]})
        operations = [["doc.save", KEY, {"name": "Eve", "settings": {}}]]
        try:
            client.call("pipeline", operations, {"lock": lock["token"]})
            assert not client.notifications
            assert not is_free(other)
            release(client, lock)
        except RpcError as error:
            assert error.code == "LOCK_LOST" and not aof
        assert acquire(other)["fence"] > lock["fence"]


def test_a_write_under_a_lock_whose_answer_is_lost(new_redis, new_proxy, new_daemon):
    """Exactly once holds under a lock as well, at every byte of the transaction."""
    redis_server = new_redis()
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {"redis.reconnect_min": "5ms", "redis.reconnect_max": "20ms"})
    with daemon.connect() as client:
        save_ada(client)
        lock = acquire(client)
        done = 36
        for direction, most in (("requests", 4000), ("replies", 400)):
            for count in range(0, most, 110 if direction == "requests" else 13):
                plan = proxy.cut_after(direction, count)
                done += 1
                assert client.call("pipeline", [*CHANGE, ["list.append", KEY, "tags", str(done)]],
                                   {"lock": lock["token"]}) == [done, done - 33]
                if not plan.fired.is_set():
                    proxy.disarm()
                    break
        assert release(client, lock, CHANGE) == [done + 1]
    with redis_server.client() as rdb:
        assert int(rdb.hget(ROOT, "age")) == done + 1 and rdb.llen(ROOT + "/tags") == done - 33


@pytest.mark.parametrize("to_another", [False, True])
@pytest.mark.parametrize("direction,most,step", [("requests", 4000, 170), ("replies", 200, 5)])
def test_a_refused_write_whose_answer_is_lost(new_redis, new_proxy, new_daemon, direction, most, step,
                                              to_another):
    """The lease is gone in Redis, and the connection breaks at any byte of the transaction: the
    client is told what became of its write. (While nobody else had the lock the daemon may take it
    again, and carry the write out.)"""
    redis_server = new_redis()
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {"redis.reconnect_min": "5ms", "redis.reconnect_max": "20ms"})
    with daemon.connect() as client, redis_server.client() as rdb:
        save_ada(client)
        age, lost, cuts = 36, 0, 0
        for count in range(0, most, step):
            lock = acquire(client)
            take_away(rdb, to_another)
            plan = proxy.cut_after(direction, count)
            try:
                assert client.call("pipeline", [*CHANGE, ["list.append", KEY, "tags", "x"]],
                                   {"lock": lock["token"]}) == [age + 1, age - 32]
                assert not to_another
                age += 1
                release(client, lock)
            except RpcError as error:
                assert error.code == "LOCK_LOST", error
                lost += 1
            cuts += plan.fired.is_set()
            proxy.disarm()
            assert (int(rdb.hget(ROOT, "age")), rdb.llen(ROOT + "/tags")) == (age, age - 33)
            assert client.call("doc.load", KEY, "age") == age
            rdb.delete(LEASE)  # so that it need not be waited for
        assert lost > 0 or (direction, to_another) == ("requests", False)
        assert cuts > 3, cuts


def test_a_renewal_that_comes_much_too_late(new_redis, new_proxy, new_daemon):
    """Renewal and write are on their way for so long that another host had the lock meanwhile and
    let it go again: nobody has it when they arrive, and still it is not theirs any more."""
    redis_server = new_redis()
    proxy = new_proxy(redis_server.address)
    settings = {"locks.lock_lease": "600ms", "redis.command_timeout": "20s", "commit.queue_time": "20s"}
    slow, quick = new_daemon(proxy.address, settings), new_daemon(redis_server.address, settings)
    with slow.connect() as client, quick.connect() as other, redis_server.client() as rdb:
        save_ada(client)
        save_ada(other)
        lock = acquire(client, document=True)
        assert client.call("pipeline", CHANGE, {"lock": lock["token"]}) == [37]
        proxy.freeze()
        left = look(client)["lease_left"]
        # The renewal is due after a third of the lease; the write goes out behind it.
        wait_until(lambda: look(client)["lease_left"] < left - 0.35, what="a third of the lease")
        write = client.send("pipeline", CHANGE, {"lock": lock["token"]})
        mine = acquire(other, document=True)
        assert mine["document"]["age"] == 37
        assert release(other, mine, [["num.mul", KEY, "age", 2]]) == [74]
        quick.stop()  # its lease is gone
        wait_until(lambda: not rdb.exists(LEASE), what="the end of all that Redis knows of the lease")
        proxy.thaw()
        with pytest.raises(RpcError, match="^LOCK_LOST: "):
            client.wait(write)
        assert rdb.hget(ROOT, "age") == b"74"


def test_flushall(ada, other, rdb):
    """Whoever empties Redis takes the locks away; fences rise all the same."""
    lock = acquire(ada, notify=True)
    rdb.flushall()
    try:
        ada.call("pipeline", [["doc.save", KEY, {"name": "Eve", "settings": {}}]], {"lock": lock["token"]})
    except RpcError as error:
        assert error.code == "LOCK_LOST"
    else:
        release(ada, lock)
    for _ in range(3):
        again = acquire(other)
        assert again["fence"] > lock["fence"]
        lock = again
        release(other, lock)
        rdb.flushall()


def test_fences_rise_over_restarts(new_redis, new_daemon):
    redis_server = new_redis(aof=True)
    daemon = new_daemon(redis_server.address, {"locks.lock_lease": "500ms", "redis.reconnect_max": "50ms"})
    fence = 0
    for life in range(6):
        with daemon.connect() as client:
            save_ada(client)
            for _ in range(20):
                lock = acquire(client)
                assert lock["fence"] > fence
                fence = lock["fence"]
                if life % 2 == 0:
                    release(client, lock)
                else:
                    client.call("lock.break", KEY, "edit")
            lock = acquire(client)
            assert lock["fence"] > fence
            fence = lock["fence"]
        if life % 3 == 0:
            daemon.kill()
            daemon.start()
        elif life % 3 == 1:
            daemon.stop()
            daemon.start()
        else:
            redis_server.restart()
            with daemon.connect() as client:
                await_link(client)


def test_kill_9_of_the_daemon_leaves_no_lock_behind(redis_server, new_daemon):
    """Its locks are free after the lease at most; another daemon can have them then."""
    settings = {"locks.lock_lease": "1s"}
    first, second = new_daemon(redis_server.address, settings), new_daemon(redis_server.address, settings)
    with first.connect() as client, second.connect() as other:
        save_ada(client)
        save_ada(other)
        lock = acquire(client)
        request = ask(other)
        await_waiters(other, 1)
        first.kill()
        began = time.monotonic()
        again = other.wait(request)
        assert again["fence"] > lock["fence"]
        assert time.monotonic() - began < 1 + 4
        with pytest.raises((Closed, OSError)):
            client.call("hello")


def test_a_daemon_that_ends_gives_its_locks_up(redis_server, new_daemon):
    """At once, long before its leases would end."""
    settings = {"locks.lock_lease": "1h"}
    first, second = new_daemon(redis_server.address, settings), new_daemon(redis_server.address, settings)
    with first.connect() as client, second.connect() as other:
        save_ada(client)
        save_ada(other)
        locks = [acquire(client, f"User:{n}") for n in range(5)]
        request = ask(other, "User:0")
        await_waiters(other, 1, key="User:0")
        first.stop()
        assert other.wait(request)["fence"] > locks[0]["fence"]
        for n in range(1, 5):
            assert acquire(other, f"User:{n}", wait=20)["fence"] > locks[n]["fence"]
