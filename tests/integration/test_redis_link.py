"""The link to Redis breaks, stalls, refuses: no write is lost, doubled or acknowledged too early."""

import threading

import pytest

from models import KEY, ROOT, define_all, save_ada
from rpc_client import RpcError, wait_until

NOT_DONE = ("UNAVAILABLE", "BUSY")


class Increments(threading.Thread):
    """A client that increments until told to stop, and counts what it was told."""

    def __init__(self, daemon, window=20):
        super().__init__()
        self.daemon = daemon
        self.window = window
        self.stopped = threading.Event()
        self.done = self.refused = self.unknown = 0
        self.fault = None
        self.start()

    def run(self):
        try:
            with self.daemon.connect() as client:
                while not self.stopped.is_set():
                    requests = [client.send("num.incr", KEY, "age", 1) for _ in range(self.window)]
                    for request in requests:
                        self.count(client, request)
        except Exception as fault:  # shown by finish()
            self.fault = fault

    def count(self, client, request):
        try:
            client.wait(request)
            self.done += 1
        except RpcError as error:
            if error.code in NOT_DONE:
                self.refused += 1
            elif error.code == "UNKNOWN_OUTCOME":
                self.unknown += 1
            else:
                raise

    def finish(self):
        self.stopped.set()
        self.join(60)
        assert not self.is_alive()
        assert self.fault is None, repr(self.fault)


def settled_age(daemon):
    def read():
        try:
            with daemon.connect() as client:
                return [client.call("doc.load", KEY, "age")]
        except RpcError as error:
            assert error.code in NOT_DONE, error
            return None
    return wait_until(read, what="a read")[0]


def test_broken_connections_lose_and_double_nothing(daemon, client, rdb):
    save_ada(client)
    workers = [Increments(daemon) for _ in range(4)]
    for _ in range(15):
        before = sum(worker.done for worker in workers)
        rdb.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: sum(worker.done for worker in workers) > before + 200,
                   what="writes after the break")
    for worker in workers:
        worker.finish()
    done = sum(worker.done for worker in workers)
    assert sum(worker.unknown for worker in workers) == 0
    assert settled_age(daemon) == 36 + done
    assert int(rdb.hget(ROOT, "age")) == 36 + done


def test_kill_9_of_redis_loses_no_acknowledged_write(new_redis, new_daemon):
    redis_server = new_redis(aof=True)
    daemon = new_daemon(redis_server.address)
    with daemon.connect() as client:
        save_ada(client)
    workers = [Increments(daemon) for _ in range(4)]
    for _ in range(5):
        before = sum(worker.done for worker in workers)
        redis_server.restart()
        wait_until(lambda: sum(worker.done for worker in workers) > before + 200,
                   what="writes after the restart")
    for worker in workers:
        worker.finish()
    done = sum(worker.done for worker in workers)
    unknown = sum(worker.unknown for worker in workers)
    age = settled_age(daemon)
    assert 36 + done <= age <= 36 + done + unknown
    with redis_server.client() as rdb:
        assert int(rdb.hget(ROOT, "age")) == age


def test_redis_that_stalls_only_delays(daemon, client, redis_server):
    save_ada(client)
    redis_server.pause()
    requests = [client.send("num.incr", KEY, "age", 1) for _ in range(500)]
    with daemon.connect() as other:
        assert other.call("hello")
    redis_server.resume()
    assert [client.wait(request) for request in requests] == list(range(37, 537))


def test_redis_that_is_away_is_named(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"commit.queue_time": "200ms"})
    with daemon.connect() as client:
        save_ada(client)
        redis_server.kill()
        for method, *params in (("num.incr", KEY, "age", 1), ("doc.save", "User:b", {"name": "b"}),
                                ("doc.get", "User:unread"), ("dict.clear", KEY, "counts")):
            with pytest.raises(RpcError) as caught:
                client.call(method, *params)
            assert caught.value.code in ("UNAVAILABLE", "UNKNOWN_OUTCOME"), caught.value.error
            assert "redis" in caught.value.text.lower()
        assert client.call("hello")
        redis_server.start()

        def works():
            try:
                define_all(client)
                return client.call("doc.save", KEY, {"name": "again"})
            except RpcError as error:
                assert error.code == "UNAVAILABLE", error
                return None
        wait_until(works, what="a write after Redis is back")


def test_redis_that_refuses_writes(daemon, client, redis_server, rdb):
    save_ada(client)
    before = redis_server.snapshot()
    rdb.config_set("maxmemory", 1)
    with pytest.raises(RpcError, match="^UNAVAILABLE: "):
        client.call("num.incr", KEY, "age", 1)
    with pytest.raises(RpcError, match="^UNAVAILABLE: "):
        client.call("list.append", KEY, "tags", "x")
    assert redis_server.snapshot() == before
    rdb.config_set("maxmemory", 0)
    assert client.call("num.incr", KEY, "age", 1) == 37
    assert client.call("doc.load", KEY, "tags") == ["a", "b", "c"]


def test_two_daemons_add_up(redis_server, new_daemon, rdb):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    with daemons[0].connect() as client:
        save_ada(client)
    with daemons[1].connect() as client:
        define_all(client)
    workers = [Increments(daemon) for daemon in daemons for _ in range(2)]
    wait_until(lambda: min(worker.done for worker in workers) > 500, what="increments")
    for worker in workers:
        worker.finish()
    assert int(rdb.hget(ROOT, "age")) == 36 + sum(worker.done for worker in workers)


def test_batches_carry_many_clients(daemon, client, rdb):
    """While one commit is in flight the next gathers: far fewer transactions than writes."""
    save_ada(client)
    count = lambda: rdb.info("commandstats").get("cmdstat_exec", {"calls": 0})["calls"]  # noqa: E731
    before = count()
    requests = [client.send("num.incr", KEY, "age", 1) for _ in range(5000)]
    assert [client.wait(request) for request in requests] == list(range(37, 5037))
    assert count() - before < 2500
