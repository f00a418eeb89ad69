"""A Redis Cluster, as far as rapyerd goes with it: what is refused, where the marker is, and that nothing
is lost or doubled while slots move and masters go."""

import re

import pytest

from cluster_storm import MODEL, Storm
from redis_cluster import reshard, slot_of, slot_of_document
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_upgrade import upgrade

FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "20ms"}


@pytest.fixture
def daemon(calm_cluster, new_daemon):
    return new_daemon(calm_cluster.address)


def two_slots(client):
    client.call("define", MODEL)
    keys = ["Log:a", "Log:b"]
    assert slot_of_document(keys[0]) != slot_of_document(keys[1])
    for key in keys:
        client.call("doc.save", key, {"n": 1})
    return keys


def test_documents(daemon):
    with daemon.connect() as client:
        a, b = two_slots(client)
        assert client.call("num.incr", a, "n", 2) == 3
        assert client.call("list.append", b, "lines", "x") == 1
        assert [d["n"] for d in client.call("doc.get_many", [a, b])] == [3, 1]
        assert client.call("pipeline", [["num.incr", a, "n", 1], ["str.append", a, "last", "!"]]) == [4, "!"]
        version = client.call("doc.get", a, {"version": True})["@v"]
        refused(client, "CONFLICT", "pipeline", [["num.incr", a, "n", 1]], {"if_version": version - 1})
        assert client.call("doc.delete", b) == 1
        refused(client, "NOT_FOUND", "doc.get", b)


def test_what_is_in_several_slots_is_not_changed_together(daemon):
    with daemon.connect() as client:
        a, b = two_slots(client)
        for call in (["doc.delete", a, b], ["doc.insert", [["Log:c", {}], ["Log:d", {}]]],
                     ["pipeline", [["num.incr", a, "n", 1], ["num.incr", b, "n", 1]]],
                     ["pipeline", [["doc.load", a, "n"], ["doc.load", b, "n"]]]):
            said = refused(client, "CROSS_SLOT", *call)
            assert len(re.findall(r"Log:\w", said)) == 2
            assert f"cannot be {'done' if 'doc.load' in str(call) else 'changed'} together" in said
        assert [d["n"] for d in client.call("doc.get_many", [a, b])] == [1, 1]
        assert client.call("doc.get_many", ["Log:c", "Log:d"]) == [None, None]


def takes(client, key):
    try:
        return client.call("num.incr", key, "n", 0) == 1
    except RpcError:
        return False


def test_a_slot_that_stays_on_the_move(calm_cluster, new_daemon):
    """Its marker is there to be looked at, and it takes no commit: who waits is told in time, again and again."""
    with new_daemon(calm_cluster.address, {"commit.queue_time": "300ms"}).connect() as client:
        a, b = two_slots(client)
        slot = slot_of_document(a)
        source = calm_cluster.agreed_owner(slot)
        target = next(node for node in calm_cluster.masters if node is not source)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        try:
            for _ in range(2):
                assert f"slot {slot} is on the move" in refused(client, "UNAVAILABLE", "num.incr", a, "n", 1)
                assert client.call("num.incr", b, "n", 0) == 1
            said = next(f for f in client.call("admin.doctor") if f["check"] == "slots")
            assert said["state"] == "warn" and "--cluster fix" in said["advice"]
            assert said["found"] == f"{slot} is being moved from 127.0.0.1:{source.port} to 127.0.0.1:{target.port}"
        finally:
            source.ask("CLUSTER", "SETSLOT", slot, "STABLE")
            target.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        wait_until(lambda: takes(client, a))


@pytest.mark.parametrize("setting, text", [
    ({"redis.redis_db": "1"}, "database 0")])
def test_settings(new_daemon, setting, text):
    daemon = new_daemon("cluster:127.0.0.1:1", setting, wait=False)
    daemon.process.wait(20)
    assert text in daemon.log()
    daemon.killed = True


def test_nodes_that_refuse_connections(new_daemon):
    """Whoever asks is told that, and not only that nobody has said who has the slot."""
    with new_daemon("cluster:127.0.0.1:1", {"commit.queue_time": "200ms"}).connect() as client:
        assert "Connection refused" in refused(client, "UNAVAILABLE", "doc.get", "Log:a")
        assert "Connection refused" in refused(client, "UNAVAILABLE", "define", MODEL)


def test_a_redis_that_is_no_cluster(redis_server, new_redis, new_daemon):
    plain = new_redis(tcp=True)
    daemon = new_daemon("cluster:" + plain.address, {"commit.queue_time": "200ms"})
    wait_until(lambda: "is no node of a cluster" in daemon.log(), what="the refusal")


def test_the_marker_is_in_the_slot_it_speaks_for(calm_cluster, daemon):
    cluster = calm_cluster
    with daemon.connect() as client:
        keys = two_slots(client)
        slots = {slot_of_document(key) for key in keys}
        markers = {}
        for node in cluster.masters:
            with node.client() as at_node:
                for key in at_node.keys("rapyer:~seq:*"):
                    markers[slot_of(key.decode())] = at_node.get(key)
        assert slots <= set(markers)
        before = int(markers[slot_of_document(keys[0])])
        client.call("num.incr", keys[0], "n", 1)
        with cluster.owner(slot_of_document(keys[0])).client() as at_node:
            marker = next(key for key in at_node.keys("rapyer:~seq:*")
                          if slot_of(key.decode()) == slot_of_document(keys[0]))
            assert int(at_node.get(marker)) == before + 1
    daemon.stop()
    for node in cluster.masters:
        with node.client() as at_node:
            assert not at_node.keys("rapyer:~seq:*")


def test_what_another_daemon_writes_is_read(calm_cluster, new_daemon):
    cluster = calm_cluster
    with new_daemon(cluster.address).connect() as one, \
            new_daemon(cluster.address).connect() as other:
        a, b = two_slots(one)
        for n in range(2, 20):
            one.call("num.incr", a, "n", 1)
            assert other.call("doc.get", a)["n"] == n
            assert other.call("pipeline", [["doc.load", a, "n"]])[0] == n
            other.call("list.append", b, "lines", str(n))
            assert one.call("doc.load", b, "lines")[-1] == str(n)


def replaced(cluster, node, slot, timeout=30):
    wait_until(lambda: cluster.owner(slot) not in (None, node), timeout=timeout, what="a promotion")


def judged(storm):
    storm.stop()
    assert storm.judge() == []
    return storm.told()


def test_slots_that_move(calm_cluster, new_daemon):
    """One of two daemons is upgraded meanwhile."""
    cluster = calm_cluster
    storm = Storm(cluster, [new_daemon(cluster.address) for _ in range(2)])
    slots = [slot_of_document(key) for key in storm.keys[:8]]
    with storm.daemons[1].connect() as client:
        for _ in range(4):
            reshard(cluster, slots, 10)
            upgrade(client)
    told = judged(storm)
    assert told["unknown"] == 0 and told["lost_states"] == 0


def test_connections_that_are_cut(calm_cluster, new_daemon):
    """Whether a commit without an answer was applied is looked for: each is there once."""
    cluster = calm_cluster
    storm = Storm(cluster, [new_daemon(cluster.address, FAST)])
    for _ in range(20):
        wait_until(lambda at=storm.acknowledged(): storm.acknowledged() > at + 20, timeout=30, what="commits")
        for node in cluster.masters:
            node.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    told = judged(storm)
    assert told["recovered_applied"] + told["recovered_resent"] > 0 and told["unknown"] == 0


def test_a_replica_that_lacks_the_last_commits(cluster, new_daemon):
    """They are applied again, in their order, also those from before an upgrade."""
    daemon = new_daemon(cluster.address)
    with daemon.connect() as client:
        key, _ = two_slots(client)
        slot = slot_of_document(key)
        master = cluster.owner(slot)
        replica = cluster.replicas[cluster.masters.index(master)]
        with replica.client() as at_replica:
            at_replica.readonly()
            wait_until(lambda: at_replica.exists(f"rapyer:{{{key}}}"), what="the copy")
        replica.pause()
        master.ask("CLIENT", "KILL", "TYPE", "replica")  # else all is in its socket
        for n in range(10):
            client.call("list.append", key, "lines", str(n))
            client.call("num.incr", key, "n", 1)
            if n == 5:
                upgrade(client)
        master.kill()
        replica.resume()
        replaced(cluster, master, slot)
        wait_until(lambda: client.call("admin.stats")["recovered_resent"] >= 20, timeout=15, what="the replay")
        assert client.call("doc.get", key) == {
            "@pk": key[4:], "n": 11, "lines": [str(n) for n in range(10)], "last": ""}
        assert client.call("admin.stats")["lost_states"] == 0


def test_commits_that_wait_for_replicas(cluster, new_daemon):
    """While slots move; where a replica stands still, and only there; and what was acknowledged is on the
    replica, though master and rapyerd are killed together."""
    settings = {"commit.replicas": "1", "commit.wait": "3s"}
    daemon = new_daemon(cluster.address, settings)
    storm = Storm(cluster, [daemon])
    reshard(cluster, [slot_of_document(key) for key in storm.keys[:8]], 10)
    wait_until(lambda at=storm.acknowledged(): storm.acknowledged() > at + 50, what="commits")
    judged(storm)
    with daemon.connect() as client:
        a, _ = two_slots(client)
        master = cluster.agreed_owner(slot_of_document(a))
        elsewhere = next(key for key in storm.keys if cluster.agreed_owner(slot_of_document(key)) is not master)
        replica = cluster.replicas[cluster.masters.index(master)]
        replica.pause()
        client.call("admin.set", "commit.wait", "100ms")
        refused(client, "NOT_DURABLE", "num.incr", a, "n", 1)
        client.call("admin.set", "commit.wait", "3s")
        assert client.call("num.incr", elsewhere, "n", 1) == 1
        replica.resume()
        for n in range(50):
            client.call("list.append", a, "lines", str(n))
    daemon.kill()
    master.kill()
    replaced(cluster, master, slot_of_document(a))
    with new_daemon(cluster.address, settings).connect() as client:
        assert client.call("doc.load", a, "lines") == [str(n) for n in range(50)]


def test_several_slots_in_parts(daemon):
    with daemon.connect() as client:
        a, b = two_slots(client)
        said = client.call("doc.insert", [["Log:c", {"n": 1}], [a, {}], ["Log:{t}d", {}], ["Log:{t}e", {}]],
                           {"parts": True})
        assert {one["key"] for one in said["saved"]} == {"Log:c", "Log:{t}d", "Log:{t}e"}
        assert [key for key, _ in said["refused"]] == [a] and said["refused"][0][1].startswith("CONFLICT: ")
        said = client.call("doc.insert", [["Log:{t}f", {}], ["Log:{t}e", {}], ["Log:g", {}]], {"parts": True})
        assert {key for key, _ in said["refused"]} == {"Log:{t}f", "Log:{t}e"}  # a slot is whole
        assert client.call("doc.exists", "Log:{t}f") == 0
        assert client.call("doc.insert", [[a, {"n": 9}], [b, {"n": 9}]], {"parts": True, "replace": True})["refused"] == []
        assert client.call("doc.get", a)["n"] == 9
        everywhere = ["Log:c", a, b, "Log:{t}d", "Log:{t}e", "Log:gone"]
        assert client.call("doc.delete", *everywhere, {"parts": True}) == {"deleted": 5, "refused": []}
        assert client.call("doc.exists", *everywhere) == 0
        many = [f"Log:{i}" for i in range(2000)]
        assert len(client.call("doc.insert", [[key, {}] for key in many], {"parts": True})["saved"]) == 2000
        assert client.call("doc.delete", *many, {"parts": True})["deleted"] == 2000
        refused(client, "BAD_REQUEST", "doc.insert", [[a, {}], [b, {}], [a, {}]], {"parts": True})
        refused(client, "BAD_KEY", "doc.delete", a, "nothing", {"parts": True})
