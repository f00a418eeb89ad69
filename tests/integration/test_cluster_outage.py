"""A master that is away for as long as it likes, as nobody takes its place: what of its documents is told, and that
those of other masters are read and written as ever."""

import os
import shutil
import tempfile

import pytest

from histories import PAGE
from redis_cluster import Cluster, name_of, slot_of
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_cluster_coherence import hears, if_available, key_of, soon
from test_metrics import ask
from test_upgrade import upgrade

SOON = {"commit.queue_time": "300ms"}


@pytest.fixture(scope="module")
def cluster():
    """3 masters without replicas, which go on without each other, and keep what they have."""
    path = tempfile.mkdtemp(prefix="rapyer-")
    started = Cluster(path, replicas=0, options=["--cluster-require-full-coverage", "no", "--appendonly", "yes"])
    yield started
    started.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def back(cluster):
    """All of them are there behind the test."""
    yield
    for node in cluster.nodes:
        if node.process.poll() is not None:
            node.start()
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    wait_until(lambda: all(cluster.is_well(node) for node in cluster.nodes), what="the cluster")


def unavailable(client, *request):
    with pytest.raises(RpcError, match="^UNAVAILABLE: "):
        client.call(*request)


def about(client, key):
    return client.call("doc.get", key, {"version": True})


@pytest.mark.usefixtures("back")
def test_stale_reads(cluster, new_daemon):
    """Of documents of that master alone, and they say so."""
    gone, other, _ = cluster.masters
    a, b = key_of(cluster, gone), key_of(cluster, other)
    unread, absent = key_of(cluster, other, "unread"), key_of(cluster, gone, "absent")
    daemon = new_daemon(cluster.address, {"cache.stale_reads": "1h"})
    with daemon.connect() as client:
        client.call("define", PAGE)
        for key in (a, b, unread):
            client.call("doc.save", key, {"n": 1})
        assert client.call("doc.exists", absent) == 0
        hears(client)
        assert "@stale" not in about(client, a)
        client.call("admin.set", "commit.queue_time", "300ms")
        gone.kill()
        wait_until(lambda: "@stale" in about(client, a), what="the loss of the link")
        assert client.call("doc.get", a) == {**client.call("doc.get", b), "@pk": a.partition(":")[2]}
        assert client.call("doc.exists", a) == 1 and client.call("doc.load", a, "n") == 1
        # What others have is read and written as ever, also together with it.
        client.call("set", b, "n", 2)
        other.ask("HSET", name_of(unread), "n", 3)
        soon(client, unread, 3)
        stale, *fresh = client.call("doc.get_many", [a, b, unread], {"version": True})
        assert stale["@stale"] >= 0 and [one["n"] for one in (stale, *fresh)] == [1, 2, 3]
        assert all("@stale" not in one for one in fresh)
        # What was not there, was never read, must be fresh, or changes something.
        unavailable(client, "doc.exists", absent)
        unavailable(client, "doc.get_many", [b, key_of(cluster, gone, "never")])
        unavailable(client, "doc.get", a, {"fresh": True})
        unavailable(client, "set", a, "n", 4)
        gone.start()
        wait_until(lambda: if_available(client, "set", a, "n", 4), what="the master that is back")
        now = about(client, a)
        assert now["n"] == 4 and "@stale" not in now


@pytest.mark.usefixtures("back")
def test_the_declarations_are_away(cluster, new_daemon):
    """Who knows them goes on, with other documents, over an upgrade, and answers programs that begin; who
    starts says what it lacks."""
    home = cluster.agreed_owner(slot_of("rapyer:@schema"))
    key = key_of(cluster, next(node for node in cluster.masters if node is not home))
    wider = {**PAGE, "fields": [*PAGE["fields"], {"name": "added", "type": "int", "default": 7}]}
    daemon = new_daemon(cluster.address, SOON)
    with daemon.connect() as client:
        revision = client.call("define", PAGE)["revision"]
        client.call("doc.save", key, {"n": 1})
        home.kill()
        wait_until(lambda: if_available(client, "set", key_of(cluster, home), "n", 1) is None, what="the loss")
        assert upgrade(client)["ready"]
        assert client.call("num.incr", key, "n", 1) == 2
        assert client.call("define", PAGE) == {"model": "Page", "revision": revision}
        assert str(home.port) in refused(client, "UNAVAILABLE", "define", wider)
        assert str(home.port) in refused(client, "UNAVAILABLE", "doc.exists", key_of(cluster, home))
        late = new_daemon(cluster.address, SOON)
        with late.connect() as other:
            for call in (["doc.get", key], ["admin.models"]):
                assert f"(rapyer:@schema) are not read yet: Redis at 127.0.0.1:{home.port}" in refused(
                    other, "UNAVAILABLE", *call)
            assert late.log().count("nothing can be served: the declarations (rapyer:@schema)") == 1
            client.call("admin.set", "commit.queue_time", "60s")
            waits = client.send("define", wider)
            client.call("hello")
            assert not client.answers
            home.start()
            assert client.wait(waits)["revision"] == revision + 1
            wait_until(lambda: (if_available(other, "doc.get", key) or {}).get("added") == 7, what="the declarations")


@pytest.mark.usefixtures("back")
def test_the_cluster_is_down(cluster, new_daemon, workdir):
    """As Redis has it by default: nodes carry out nothing while one is away, and that is what is told."""
    gone, *others = cluster.masters
    keys = [key_of(cluster, node) for node in others]
    place = os.path.join(workdir, "metrics.sock")
    daemon = new_daemon(cluster.address, {"metrics.listen": f"unix:{place}"})
    with daemon.connect() as client:
        client.call("define", PAGE)
        for key in keys:
            client.call("doc.save", key, {"n": 1})
        client.call("admin.set", "commit.queue_time", "300ms")
        wait_until(lambda: ask(place, "/readyz")[0] == 200, what="readiness")
        for node in others:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "yes")
        gone.kill()
        # Nobody asks for anything meanwhile.
        why = wait_until(lambda: (a := ask(place, "/readyz"))[0] == 503 and a[1], what="unreadiness")
        assert "says that the cluster is down" in why
        for key, node in zip(keys, others, strict=True):
            told = f"127.0.0.1:{node.port} says that the cluster is down"
            for call in (["set", key, "n", 2], ["doc.get", key, {"fresh": True}],
                         ["doc.exists", key_of(cluster, node, "absent")], ["lock.acquire", key, "edit", {"wait": 5}]):
                assert told in refused(client, "UNAVAILABLE", *call)
            with pytest.raises(RpcError, match=f"^(LOCK_TIMEOUT|UNAVAILABLE): .*{told}"):
                client.call("lock.acquire", key, "edit", {"wait": 0.1})
        wider = {**PAGE, "fields": [*PAGE["fields"], {"name": "wide", "type": "int", "default": 7}]}
        said = refused(client, "UNAVAILABLE", "define", wider)
        assert "says that the cluster is down" in said or str(gone.port) in said
        rights = [f for f in client.call("admin.doctor") if f["check"] == "rights"]
        assert len(rights) == len(others)
        assert all("the cluster is down" in f["found"] and "ACL" not in f["advice"] for f in rights)
        for node in others:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        wait_until(lambda: ask(place, "/readyz")[0] == 200, what="readiness again")
        wait_until(lambda: "the cluster is up again" in daemon.log(), what="the end in the log")
        assert daemon.log().count("requests are UNAVAILABLE until it is up") == 1
        for key in keys:
            wait_until(lambda key=key: if_available(client, "set", key, "n", 2), what="its master")
