"""A daemon that nobody asks anything sleeps: only what something waits for wakes it up."""

import time

import pytest

from lock_clients import acquire
from models import KEY, save_ada
from rpc_client import wait_until

LONG = {"redis.command_timeout": "1h", "locks.lock_lease": "1h"}  # each of them has to look now and then


def wakes(daemon):
    with open(f"/proc/{daemon.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("voluntary_ctxt_switches"):
                return int(line.split()[1])
    raise AssertionError("no count of switches")


def wakes_in(daemon, seconds):
    """Once it has come to rest."""
    before = -1

    def rests():
        nonlocal before
        was, before = before, wakes(daemon)
        time.sleep(0.3)
        return was == before

    wait_until(rests, what="rest")
    before = wakes(daemon)
    time.sleep(seconds)
    return wakes(daemon) - before


@pytest.mark.parametrize("settings", [{}, LONG], ids=["as shipped", "long intervals"])
def test_nobody_asks(redis_server, new_daemon, settings):
    """As shipped it asks the connection that listens whether it is there, every 5 s."""
    daemon = new_daemon(redis_server.address, settings)
    with daemon.connect() as client:
        save_ada(client)
        client.call("num.incr", KEY, "age", 1)
        acquire(client)
        assert wakes_in(daemon, 3) <= (4 if not settings else 1)


def test_requests_that_were_held_are_over(new_redis, new_daemon):
    """Those that came before Redis did."""
    redis = new_redis()
    redis.stop()
    daemon = new_daemon(redis.address, {**LONG, "commit.queue_time": "60s", "redis.reconnect_max": "50ms"})
    with daemon.connect() as client:
        request = client.send("define", {"name": "M", "kind": "atomic", "fields": []})
        client.call("hello")
        redis.start()
        client.wait(request)
        assert wakes_in(daemon, 3) <= 1


def test_requests_that_waited_for_redis_are_over(redis_server, new_proxy, new_daemon):
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {**LONG, "commit.queue_time": "60s", "redis.reconnect_max": "50ms"})
    with daemon.connect() as client:
        save_ada(client)
        proxy.refusing = True
        proxy.cut()
        wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="the loss of the link")
        request = client.send("num.incr", KEY, "age", 1)
        client.call("hello")
        proxy.refusing = False
        assert client.wait(request) == 37
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        assert wakes_in(daemon, 3) <= 1
