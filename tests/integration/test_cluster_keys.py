"""doc.keys over the nodes of a cluster: what is there all the time is listed, while slots move to and fro
between two pages, and masters go."""

import random

import pytest

from cluster_storm import MODEL
from index_oracle import View
from models import atomic, field
from redis_cluster import reshard, slot_of_document
from rpc_client import RpcError, wait_until

KEYS = sorted([f"Log:{i}" for i in range(300)] + [f"Log:{{t{i}}}x" for i in range(100)])


@pytest.fixture
def client(calm_cluster, new_daemon):
    with new_daemon(calm_cluster.address).connect() as found:
        save_all(found)
        yield found


def save_all(client):
    client.call("define", MODEL, {**MODEL, "name": "Blog"})
    for key in KEYS:
        client.call("doc.save", key, {"lines": ["x"]})
    client.call("doc.save", "Blog:{Log:1}x", {})


def listed(client, between=lambda: None, count=100):
    cursor, keys = "0", []
    while True:
        page = client.call("doc.keys", "Log", {"cursor": cursor, "count": count})
        keys += page["keys"]
        cursor = page["cursor"]
        if cursor == "0":
            return keys
        between()


def test_each_once_where_no_slot_moves(client):
    assert sorted(listed(client)) == KEYS
    assert sorted(listed(client, count=100000)) == KEYS
    assert [key for key in KEYS if key not in client.call("doc.keys", "Log")["keys"]]
    page = client.call("doc.keys", "Blog", {"count": 100000})
    assert page == {"cursor": "0", "keys": ["Blog:{Log:1}x"]}


def test_what_is_no_cursor(client):
    for cursor in ("17", "c", "c.1.2.d99999", 0):
        with pytest.raises(RpcError, match="^BAD_REQUEST: "):
            client.call("doc.keys", "Log", {"cursor": cursor})


def test_none_is_lost_while_slots_move(calm_cluster, client):
    """Of each slot that has moved some may come twice."""
    slots = [slot_of_document(key) for key in KEYS]
    for _ in range(2):
        assert set(listed(client, lambda: reshard(calm_cluster, random.sample(slots, 3), 3))) == set(KEYS)


def test_a_cursor_outlives_the_daemon(calm_cluster, client, new_daemon):
    page = client.call("doc.keys", "Log", {"count": 200})
    with new_daemon(calm_cluster.address).connect() as later:
        rest, cursor = [], page["cursor"]
        while cursor != "0":
            more = later.call("doc.keys", "Log", {"cursor": cursor})
            rest, cursor = rest + more["keys"], more["cursor"]
    assert sorted(page["keys"] + rest) == KEYS


def test_a_slot_that_is_on_the_move(calm_cluster, new_daemon):
    """Half of it is elsewhere: it is listed when it has arrived, all others before."""
    slot = slot_of_document(KEYS[0])
    source = calm_cluster.agreed_owner(slot)
    target = next(node for node in calm_cluster.masters if node is not source)
    there = {key for key in KEYS if slot_of_document(key) == slot}
    with new_daemon(calm_cluster.address, {"commit.queue_time": "300ms"}).connect() as client:
        save_all(client)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        cursor, keys = "0", []
        with pytest.raises(RpcError, match=f"^UNAVAILABLE: .*slot {slot} is on the move"):
            while not keys or cursor != "0":
                page = client.call("doc.keys", "Log", {"cursor": cursor})
                keys, cursor = keys + page["keys"], page["cursor"]
        assert set(keys) == set(KEYS) - there
        source.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        target.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        assert set(client.call("doc.keys", "Log", {"cursor": cursor, "count": 100000})["keys"]) == there


def test_a_master_that_goes(cluster, new_daemon):
    """The one that takes over is listed from its beginning."""
    with new_daemon(cluster.address).connect() as client:
        save_all(client)
        wait_until(lambda: all(replica.ask("DBSIZE") == master.ask("DBSIZE")
                               for master, replica in zip(cluster.masters, cluster.replicas)), what="the copies")
        page = client.call("doc.keys", "Log", {"count": 50})
        gone = cluster.masters[0]
        gone.kill()
        keys, cursor = page["keys"], page["cursor"]
        while cursor != "0":
            page = client.call("doc.keys", "Log", {"cursor": cursor})
            keys, cursor = keys + page["keys"], page["cursor"]
        assert set(keys) == set(KEYS)


def test_what_is_left_of_a_long_document_whose_slot_moves(calm_cluster, new_daemon):
    """Some of its keys are on the other master when it is looked for them."""
    root, slot = b"rapyer:{Bag:x}", slot_of_document("Bag:x")
    with new_daemon(calm_cluster.address).connect() as client:
        client.call("define", atomic("Item", field("a", "str")), atomic("Bag", field("items", "list<Item>")))
        client.call("doc.save", "Bag:x", {"items": [{"@pk": str(i), "a": "x"} for i in range(20)]})
    rdb = View(calm_cluster)
    rdb.hdel(root, "@s")  # as a daemon leaves it that is killed over it
    rdb.hset(root, "@d", "1")
    rdb.hset(b"rapyer:@gone", "Bag:x", "1")
    source = calm_cluster.agreed_owner(slot)
    target = next(node for node in calm_cluster.masters if node is not source)
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move(keys):
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

    with source.client() as at_source:
        move([key for key in at_source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100) if key != root][:10])
        looks = at_source.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"]
        new_daemon(calm_cluster.address)
        wait_until(lambda: at_source.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"] > looks,
                   what="a look for them")
        move(at_source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100) or [root])
    for node in (target, source):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)
    rdb = View(calm_cluster)
    wait_until(lambda: not rdb.keys(b"rapyer:{Bag:x}*") and not rdb.exists(b"rapyer:@gone"), what="the end of its keys")
