"""The clock of the host is set, as by NTP or by hand: what the daemon waits for does not notice."""

import os
import signal

import pytest

from daemon_process import built
from models import KEY, save_ada
from rpc_client import RpcError, wait_until

DAY = 86400


class Clock:
    """The wall clock of the daemons that have its environment."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "clock")
        self.env = {"LD_PRELOAD": built("tests/preload_clock.so"), "PRELOAD_CLOCK": self.path}

    def set(self, ahead):
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(str(ahead))
        os.rename(self.path + ".new", self.path)


@pytest.fixture
def clock(workdir):
    return Clock(workdir)


def turns(daemon):
    """How often it has been given the processor."""
    with open(f"/proc/{daemon.pid}/schedstat", encoding="ascii") as stat:
        return int(stat.read().split()[2])


def has_looked(daemon):
    """The daemon has looked at all that it waits for: its slowest look comes ten times a second."""
    with daemon.connect() as client:
        before = client.call("admin.stats")["uptime_ms"]
        wait_until(lambda: client.call("admin.stats")["uptime_ms"] >= before + 300,
                   what="the daemon's clock going on")
        assert client.call("admin.stats")["uptime_ms"] < DAY * 500


@pytest.mark.parametrize("ahead", (DAY, -DAY))
def test_who_waits_for_the_first_link_is_not_refused_early(new_redis, new_daemon, clock, ahead):
    redis = new_redis()
    redis.stop()
    daemon = new_daemon(redis.address, {"commit.queue_time": "60s"}, env=clock.env)
    with daemon.connect() as client:
        request = client.send("doc.exists", KEY)
        client.call("hello", {"client": "test", "protocol": 1})
        clock.set(ahead)
        has_looked(daemon)
        redis.start()
        with pytest.raises(RpcError) as refused:
            client.wait(request)
        assert refused.value.code == "UNKNOWN_MODEL"  # that is, Redis was asked


@pytest.mark.parametrize("ahead", (DAY, -DAY))
def test_who_waits_for_the_first_link_is_told_in_time(new_redis, new_daemon, clock, ahead):
    redis = new_redis()
    redis.stop()
    daemon = new_daemon(redis.address, {"commit.queue_time": "1s"}, env=clock.env)
    with daemon.connect() as client:
        request = client.send("doc.exists", KEY)
        client.call("hello", {"client": "test", "protocol": 1})
        clock.set(ahead)
        with pytest.raises(RpcError) as refused:
            client.wait(request)
        assert refused.value.code == "UNAVAILABLE"


def stopping(new_daemon, proxy, clock):
    """A daemon that was told to stop, with a commit on the way that Redis does not answer."""
    daemon = new_daemon(proxy.address, env=clock.env)
    client = daemon.connect()
    save_ada(client)
    proxy.freeze()
    request = client.send("num.incr", KEY, "age", 1)
    client.call("admin.stats")
    daemon.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping on" in daemon.log(), what="its stopping")
    return daemon, client, request


def test_a_commit_under_way_is_waited_for_when_the_daemon_stops(redis_server, new_proxy, new_daemon,
                                                                clock):
    proxy = new_proxy(redis_server.address)
    daemon, client, request = stopping(new_daemon, proxy, clock)
    clock.set(DAY)
    before = turns(daemon)
    wait_until(lambda: turns(daemon) > before + 10, what="some looks at the deadline")
    proxy.thaw()
    assert client.wait(request) == 37
    client.close()
    assert daemon.process.wait(daemon.STOP_TIME) == 0


def test_a_commit_that_gets_no_answer_does_not_keep_the_daemon(redis_server, new_proxy, new_daemon,
                                                               clock):
    daemon, client, _ = stopping(new_daemon, new_proxy(redis_server.address), clock)
    clock.set(-DAY)
    assert daemon.process.wait(daemon.STOP_TIME) == 0
    client.close()
