"""What a daemon that was killed leaves in Redis has an end, and one that only was away does nothing twice."""

import signal

import pytest

from cluster_storm import MODEL
from index_oracle import View
from redis_cluster import slot_of_document
from rpc_client import wait_until

pytestmark = pytest.mark.exact

SOON, LATER = {"commit.forget_after": "1s"}, {"commit.forget_after": "30s"}


def heard_of(rdb):
    """The daemons that have given a sign."""
    return {name for name in rdb.hgetall(b"rapyer:@daemons") if name != b"@claim"}


def markers(rdb):
    return set(rdb.keys(b"rapyer:~seq:*"))


def test_the_marker_of_one_that_was_killed(redis_server, new_daemon, rdb):
    one = new_daemon(redis_server.address, SOON)
    with one.connect() as client:
        client.call("define", MODEL)
        client.call("doc.save", "Log:a", {"n": 1})
        wait_until(lambda: heard_of(rdb), what="its sign")
    dead = markers(rdb)
    assert len(dead) == 1
    popped = dead.copy().pop().replace(b"~seq", b"~pop")
    rdb.zadd(popped, {"what it took out of a queue": 1})
    one.kill()
    two = new_daemon(redis_server.address, LATER)
    with two.connect() as client:
        assert client.call("num.incr", "Log:a", "n", 1) == 2
        wait_until(lambda: not markers(rdb) & dead and len(heard_of(rdb)) == 1, timeout=30, what="the end of its marker")
        assert not rdb.exists(popped) and markers(rdb) and client.call("num.incr", "Log:a", "n", 1) == 3
    two.stop()
    assert not markers(rdb) and not heard_of(rdb)


def test_one_that_was_away_for_too_long(calm_cluster, new_daemon):
    """Its first commits are kept, and no marker says that they are there: they are not applied again."""
    keys = [f"Log:{i}" for i in range(6)]
    one = new_daemon(calm_cluster.address, SOON)
    with one.connect() as client:
        client.call("define", MODEL)
        for key in keys:
            client.call("doc.save", key, {"n": 1})
            assert client.call("num.incr", key, "n", 1) == 2
        rdb = View(calm_cluster)
        wait_until(lambda: heard_of(rdb), what="its sign")
        assert len(markers(rdb)) >= len({slot_of_document(key) for key in keys}) == len(keys)
        one.process.send_signal(signal.SIGSTOP)
        two = new_daemon(calm_cluster.address, LATER)
        wait_until(lambda: not markers(rdb), timeout=30, what="the end of its markers")
        for node in calm_cluster.masters:
            node.ask("CLIENT", "KILL", "TYPE", "normal")
            node.ask("CLIENT", "KILL", "TYPE", "pubsub")
        one.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "came back with marker" in one.log(), what="the loss")
        with two.connect() as other:
            assert [other.call("doc.get", key, {"fresh": True})["n"] for key in keys] == [2] * len(keys)
        assert [client.call("num.incr", key, "n", 1) for key in keys] == [3] * len(keys)
