"""A master that is away for as long as it likes, as nobody takes its place: what of its documents is told, and that
those of other masters are read and written as ever."""

import shutil
import tempfile

import pytest

from histories import PAGE
from redis_cluster import Cluster, name_of, slot_of
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_cluster_coherence import hears, if_available, key_of, soon
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
    unread = key_of(cluster, other, "unread")
    daemon = new_daemon(cluster.address, {**SOON, "cache.stale_reads": "1h"})
    with daemon.connect() as client:
        client.call("define", PAGE)
        for key in (a, b, unread):
            client.call("doc.save", key, {"n": 1})
        assert client.call("doc.exists", "Page:{%s}absent" % a) == 0
        hears(client)
        assert "@stale" not in about(client, a)
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
        unavailable(client, "doc.exists", key_of(cluster, gone, "absent"))
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
