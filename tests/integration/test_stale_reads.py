"""Reads while Redis is away: refused, or answered from memory for as long as was configured and
marked as old."""

import signal
import time

import pytest

from models import KEY, save_ada
from rpc_client import RpcError, wait_until

SOON = {"commit.queue_time": "200ms"}


def unavailable(client, *request):
    with pytest.raises(RpcError, match="^UNAVAILABLE: "):
        client.call(*request)


def lose(redis_server, client):
    redis_server.kill()
    wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="the loss of the link")


def test_no_stale_reads_by_default(redis_server, new_daemon):
    """Shows C5."""
    daemon = new_daemon(redis_server.address, SOON)
    with daemon.connect() as client:
        save_ada(client)
        client.call("doc.get", KEY)
        lose(redis_server, client)
        for request in [("doc.get", KEY), ("doc.get_many", [KEY]), ("doc.load", KEY, "age"),
                        ("doc.exists", KEY), ("doc.ttl", KEY)]:
            unavailable(client, *request)


def test_the_time_that_the_daemon_stood_still_counts(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {**SOON, "cache.stale_reads": "1h"})
    with daemon.connect() as client:
        save_ada(client)
        client.call("doc.get", KEY)
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            stopped = time.monotonic()
            redis_server.kill()
            wait_until(lambda: time.monotonic() - stopped > 1, what="a second to pass")
            still = time.monotonic() - stopped
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="the loss of the link")
        assert client.call("doc.get", KEY, {"version": True})["@stale"] >= int(still * 1000)


def test_stale_reads_for_so_long(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {**SOON, "cache.stale_reads": "1h"})
    with daemon.connect() as client:
        save_ada(client)
        document = client.call("doc.get", KEY)
        assert client.call("doc.exists", "User:absent") == 0
        assert "@stale" not in client.call("doc.get", KEY, {"version": True})
        lose(redis_server, client)
        before = client.call("doc.get", KEY, {"version": True})
        assert client.call("doc.get", KEY) == document
        assert 0 <= before.pop("@stale") < 60000 and before.pop("@v") > 0 and before == document
        some = client.call("doc.get_many", [KEY], {"paths": ["age"], "version": True})[0]
        assert set(some) == {"age", "@v", "@stale"}
        assert client.call("doc.load", KEY, "settings.panels") == ["news"]
        assert client.call("doc.exists", KEY) == 1
        assert client.call("doc.ttl", KEY) == -1
        # What was never read, what must be fresh, and what changes something.
        unavailable(client, "doc.get", "User:never")
        unavailable(client, "doc.get_many", [KEY, "User:never"])
        unavailable(client, "doc.get", KEY, {"fresh": True})
        unavailable(client, "doc.ttl", KEY, 100)
        unavailable(client, "num.incr", KEY, "age", 1)
        unavailable(client, "pipeline", [["doc.get", KEY]])
        age = client.call("doc.get", KEY, {"version": True})["@stale"]
        wait_until(lambda: client.call("doc.get", KEY, {"version": True})["@stale"] > age,
                   what="time to pass")
        # Less is allowed now.
        daemon.settings["cache.stale_reads"] = "1ms"
        daemon.write_config()
        daemon.reload()

        def refused():
            try:
                return not client.call("doc.get", KEY)
            except RpcError as error:
                assert error.code == "UNAVAILABLE", error
                return True
        wait_until(refused, what="the end of stale reads")
        redis_server.start()
        # Redis came back empty: nothing of what was in memory is told as fresh.
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        assert client.call("doc.exists", KEY) == 0


def test_a_stale_read_goes_past_writes_of_others(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"cache.stale_reads": "1h", "commit.queue_time": "20s"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        lose(redis_server, client)
        write = client.send("num.incr", KEY, "age", 1)
        client.call("hello")
        began = time.monotonic()
        assert other.call("doc.load", KEY, "age") == 36
        assert time.monotonic() - began < 15
        read = client.send("doc.load", KEY, "age")  # its own write comes first
        client.call("hello")
        assert not client.answers
        redis_server.start()
        for request in (write, read):
            with pytest.raises(RpcError, match="^NOT_FOUND: "):  # Redis came back empty
                client.wait(request)


def test_what_was_on_the_way_is_not_read(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"cache.stale_reads": "1h", "commit.queue_time": "1s"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        redis_server.pause()
        write = client.send("num.incr", KEY, "age", 1)
        client.call("hello")
        lose(redis_server, client)
        unavailable(other, "doc.load", KEY, "age")
        with pytest.raises(RpcError, match="^UNKNOWN_OUTCOME: "):
            client.wait(write)
