"""A restart by a service manager that keeps descriptors (systemctl restart): does any client notice? What becomes of
them where nothing can be taken over? How long requests stood still is printed (pytest -rP), not judged."""

import os
import socket
import statistics

import pytest

from daemon_process import binary
from load_clients import Load, watch
from models import KEY, save_ada
from ring_client import RingClient
from rpc_client import Client, Closed, RpcError, wait_until

ALWAYS = {"upgrade.over_restart": "always", "upgrade.still_time": "30s"}


@pytest.fixture
def managed(redis_server, new_daemon, service_manager):
    return new_daemon(redis_server.address, ALWAYS, env=service_manager.env)


@pytest.fixture
def managed_ada(managed):
    with managed.connect() as client:
        save_ada(client)
        yield client


@pytest.mark.parametrize("redis", ["outside", "embedded"])
def test_nobody_notices(redis, new_redis, new_daemon, service_manager):
    daemon = new_daemon(new_redis().address if redis == "outside" else "embedded", ALWAYS, env=service_manager.env)
    said = []
    with daemon.connect() as client:
        load = Load(daemon)
        shared, turn = load.start_counting(client, [Client, RingClient])
        load.start(watch, shared["key"], said)
        pauses = []
        for _ in range(5):
            done = len(load.latencies)
            pauses.append(service_manager.restart(daemon))
            wait_until(lambda: len(load.latencies) > done + 20, what="work after a restart")
        load.join()
        assert client.call("doc.get", shared["key"])["n"] == shared["added"], "lost, or doubled"
        assert turn["taken"] == 2 and client.call("doc.get", turn["key"])["n"] == turn["n"]
        assert all(not lock["holders"] and not lock["waiters"] for lock in client.call("admin.locks"))
        assert None in said, "nobody was told to look after a restart"
        service_manager.restart(daemon)
        assert client.call("doc.get", shared["key"])["n"] == shared["added"]
    print(f"\n{redis}: the pause of {len(pauses)} restarts {statistics.median(pauses):.0f} ms, the longest"
          f" {max(pauses):.0f} ms; the longest of {len(load.latencies)} requests {max(load.latencies) * 1e3:.0f} ms")


def test_what_is_half_done(managed, managed_ada, service_manager):
    """Half a request, answers that are not read, a full ring, and more connections than fit into one message."""
    ada = managed_ada
    ada.call("set", KEY, "bio", "y" * 1_000_000)
    long = Client.pack([0, 7, "set", [KEY, "name", "x" * 500_000]])
    crowd = [managed.connect() for _ in range(300)]
    with managed.connect() as half, managed.connect() as slow, RingClient(managed.socket) as ring:
        half.send_raw(long[:200_000])
        reads = [slow.send("doc.get", KEY) for _ in range(12)]
        writes = [slow.send("num.incr", KEY, "age", 1) for _ in range(8)]
        from_ring = [ring.send("doc.get", KEY) for _ in range(10)]
        wait_until(lambda: any(c["paused"] for c in ada.call("admin.clients")), what="a client that does not read")
        for _ in range(2):
            service_manager.restart(managed)
        half.send_raw(long[200_000:])
        half.wait(7)
        assert all(slow.wait(request)["bio"] == "y" * 1_000_000 for request in reads)
        assert [slow.wait(request) for request in writes] == list(range(37, 45))
        assert all(ring.wait(request)["bio"] == "y" * 1_000_000 for request in from_ring)
    for client in crowd:
        assert client.call("doc.exists", KEY)
        client.close()


def test_locks_stay_with_their_holders(managed, managed_ada, service_manager, redis_server, new_daemon):
    """Also before another host, whose daemon waits for one of them."""
    ada = managed_ada
    elsewhere = new_daemon(redis_server.address)
    with managed.connect() as waiter, elsewhere.connect() as other, elsewhere.connect() as third:
        mine = ada.call("lock.acquire", KEY, "mine", {"ttl": 60})
        theirs = other.call("lock.acquire", KEY, "theirs", {"ttl": 60})
        here = waiter.send("lock.acquire", KEY, "mine", {"wait": 60})
        wait_until(lambda: any(lock["waiters"] for lock in ada.call("admin.locks")), what="the one who waits here")
        there = third.send("lock.acquire", KEY, "mine", {"wait": 60})
        wait_until(lambda: any(lock["wanted"] for lock in ada.call("admin.locks")), what="the one who waits there")
        for _ in range(2):
            service_manager.restart(managed)
        with pytest.raises(RpcError, match="LOCK_TIMEOUT"):
            other.call("lock.acquire", KEY, "mine", {"wait": 0})
        ada.call("lock.renew", mine["token"], 60)
        ada.call("lock.release", mine["token"], [["num.incr", KEY, "age", 1]])
        got = waiter.wait(here)
        assert got["fence"] > mine["fence"]
        waiter.call("lock.release", got["token"])
        assert third.wait(there)["fence"] > got["fence"]
        other.call("lock.release", theirs["token"])
        assert other.call("doc.get", KEY)["age"] == 37


def test_a_restart_takes_what_the_file_says(managed, managed_ada, service_manager, workdir):
    """Settings that were set while it ran are gone, and it listens where the file says."""
    managed_ada.call("admin.set", "log.log_level", "debug")
    managed.socket = f"{workdir}/elsewhere.sock"
    service_manager.restart(managed)
    assert {s["name"]: s["value"] for s in managed_ada.call("admin.config")}["log.log_level"] == "notice"
    with managed.connect() as client:
        assert client.call("doc.exists", KEY)
    assert not os.path.exists(f"{managed.directory}/rapyerd.sock")


def test_who_may_connect(redis_server, new_daemon, service_manager, workdir):
    """As the file says, not as the socket was made; and a socket that somebody has removed is there again."""
    metrics = f"{workdir}/metrics"
    daemon = new_daemon(redis_server.address, {**ALWAYS, "metrics.listen": f"unix:{metrics}"}, env=service_manager.env)
    with daemon.connect() as client:
        save_ada(client)
        for mode in (0o600, 0o666):
            daemon.settings.update({"listen.socket_mode": f"{mode:04o}", "metrics.socket_mode": f"{mode:04o}"})
            service_manager.restart(daemon)
            assert [os.stat(path).st_mode & 0o7777 for path in (daemon.socket, metrics)] == [mode, mode]
            made = os.stat(daemon.socket).st_ino
            service_manager.restart(daemon)
            assert os.stat(daemon.socket).st_ino == made, "who waited to be accepted was sent away"
            with open(f"{daemon.socket}.lock", encoding="ascii") as lock:
                assert int(lock.read()) == daemon.pid
        os.unlink(daemon.socket)
        os.unlink(metrics)
        service_manager.restart(daemon)
        with daemon.connect() as other, socket.socket(socket.AF_UNIX) as scraper:
            scraper.connect(metrics)
            assert other.call("doc.exists", KEY)
        assert client.call("num.incr", KEY, "age", 1) == 37


def test_a_restart_right_behind_an_upgrade(managed, managed_ada, service_manager, workdir):
    """The signal comes before the new program has begun; whoever asked for the upgrade is told of it, and stays."""
    managed.settings["upgrade.program"] = f"{workdir}/new"
    managed.write_config()
    with open(f"{workdir}/new", "w", encoding="ascii") as file:
        file.write(f'#!/bin/sh\necho >>{workdir}/tries\n[ $(wc -l <{workdir}/tries) != 3 ] || kill -TERM $$\n'
                   f'exec {binary()} "$@"\n')
    os.chmod(f"{workdir}/new", 0o755)
    asked = managed_ada.send("admin.upgrade")
    service_manager.see_out(managed)
    service_manager.start(managed)
    assert managed_ada.wait(asked)["clients"] == 1
    assert managed_ada.call("num.incr", KEY, "age", 1) == 37


def test_redis_is_away(managed, managed_ada, service_manager, redis_server):
    """Nothing is under way, so all goes over; the next process waits for Redis as this one did."""
    redis_server.kill()
    wait_until(lambda: managed_ada.call("admin.stats")["redis"] != "up", what="the loss of the link")
    for _ in range(2):
        service_manager.end(managed)
        service_manager.start(managed)
    redis_server.start()
    service_manager.until(b"READY=1")
    save_ada(managed_ada)  # this Redis keeps nothing
    assert managed_ada.call("num.incr", KEY, "age", 1) == 37


# --- nothing is taken over -------------------------------------------------------------------


def is_gone(client):
    try:
        client.call("hello", {})
    except (Closed, OSError):
        return True
    return False


def test_a_state_that_is_not_understood(managed, managed_ada, service_manager):
    service_manager.end(managed)
    service_manager.forget("rapyerd-state")
    memory = os.memfd_create("state")
    os.write(memory, b"\x95\xadrapyerd state\x63\x00\x90\x90")
    service_manager.kept["rapyerd-state"] = [memory]
    service_manager.start(managed)
    service_manager.until(b"READY=1")
    assert "connections from before this restart end: the state is of version 99" in managed.log()
    assert not service_manager.kept
    wait_until(lambda: is_gone(managed_ada), what="the end of the connection")
    with managed.connect() as client:
        assert client.call("doc.get", KEY)["age"] == 36


def test_a_state_that_was_lost(managed, managed_ada, service_manager):
    service_manager.end(managed)
    service_manager.forget("rapyerd-state")
    service_manager.start(managed)
    wait_until(lambda: is_gone(managed_ada), what="the end of the connection")
    with managed.connect() as client:
        assert client.call("doc.get", KEY)["age"] == 36


def test_kill_9_while_it_takes_over(managed, managed_ada, service_manager):
    """What was taken once is not taken again, whatever the next process did with it."""
    service_manager.end(managed)
    kept = {name: [os.dup(fd) for fd in fds] for name, fds in service_manager.kept.items()}
    service_manager.start(managed)
    assert managed_ada.call("num.incr", KEY, "age", 1) == 37
    managed.kill()
    service_manager.forget()
    service_manager.kept = kept  # as if nobody had said that it may go
    service_manager.start(managed)
    assert "was taken up before" in managed.log()
    assert is_gone(managed_ada)
    with managed.connect() as client:
        assert client.call("num.incr", KEY, "age", 1) == 38


def test_another_redis(managed, managed_ada, service_manager, new_redis):
    managed.redis = new_redis().address
    service_manager.end(managed)
    service_manager.start(managed)
    assert "the configuration names another Redis by now" in managed.log()
    wait_until(lambda: is_gone(managed_ada), what="the end of the connection")
    with managed.connect() as client:
        save_ada(client)


def test_a_manager_that_keeps_nothing(managed, managed_ada, service_manager):
    """Whoever was left with it is disconnected, and what was acknowledged is there."""
    service_manager.room = 0
    assert managed_ada.call("num.incr", KEY, "age", 1) == 37
    service_manager.end(managed)
    wait_until(lambda: is_gone(managed_ada), what="the end of the connection")
    service_manager.start(managed)
    with managed.connect() as client:
        assert client.call("doc.get", KEY)["age"] == 37


def test_what_is_under_way_does_not_end(redis_server, new_daemon, service_manager):
    """Then it stops as it always did."""
    daemon = new_daemon(redis_server.address, {**ALWAYS, "upgrade.still_time": "100ms"}, env=service_manager.env)
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        redis_server.pause()
        written = other.send("num.incr", KEY, "age", 1)
        client.call("hello", {})
        daemon.process.terminate()
        service_manager.until(b"STATUS=stopping: 1 requests wait for Redis")
        redis_server.resume()
        assert other.wait(written) == 37
        service_manager.end(daemon)
    assert not service_manager.kept
    assert "connections end with this restart: what is under way did not end" in daemon.log()


def test_a_stop(redis_server, new_daemon, service_manager):
    """No bus says that it would be a restart."""
    daemon = new_daemon(redis_server.address,
                        env={**service_manager.env, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"})
    with daemon.connect() as client:
        save_ada(client)
        client.call("lock.acquire", KEY, "mine", {"ttl": 60})
        service_manager.end(daemon)
        client.expect_closed()
    assert not service_manager.kept
    service_manager.start(daemon)
    with daemon.connect() as client:
        assert client.call("lock.acquire", KEY, "mine", {"wait": 0})["token"]
