"""Documents that are together in a cluster, as their pks begin with the same {tag}; and that a tag changes
nothing of where documents are that were there before."""

import pytest

from cluster_storm import MODEL
from redis_cluster import name_of, slot_of, slot_of_document
from rpc_client import wait_until
from test_bad_input import refused

OTHER = {**MODEL, "name": "Other"}
TOGETHER = ["Log:{c42}a", "Other:{c42}", "Log:{c42}b/{x}"]


@pytest.fixture
def cluster(calm_cluster):
    return calm_cluster


@pytest.fixture
def daemon(cluster, new_daemon):
    return new_daemon(cluster.address)


def save_all(client, keys, models=(MODEL, OTHER)):
    client.call("define", *models)
    for key in keys:
        client.call("doc.save", key, {"n": 1})


def where(cluster, name):
    """The nodes that have this key."""
    found = []
    for node in cluster.masters:
        with node.client() as at_node:
            found += [node] * (name.encode() in at_node.keys("rapyer:*"))
    return found


def test_what_has_one_tag_is_changed_together(cluster, daemon):
    a, other, b = TOGETHER
    with daemon.connect() as client:
        save_all(client, TOGETHER)
        assert client.call("pipeline", [["num.incr", a, "n", 1], ["list.append", other, "lines", "x"],
                                        ["str.append", b, "last", "!"]]) == [2, 1, "!"]
        assert client.call("doc.insert", [["Log:{c42}c", {"n": 7}], ["Other:{c42}d", {}]]) is not False
        refused(client, "OUT_OF_RANGE", "pipeline", [["num.incr", a, "n", 1], ["list.pop", b, "lines", 3]])
        assert client.call("doc.load", a, "n") == 2
        client.call("doc.duplicate", a, "{c42}copy")
        made = client.call("doc.duplicate", a)["key"]
        assert made.startswith("Log:{c42}") and client.call("doc.load", made, "n") == 2
        assert [d["n"] for d in client.call("doc.get_many", [a, "Log:{c42}c", "Log:{c42}copy"])] == [2, 7, 2]
        assert client.call("doc.delete", a, b, "Other:{c42}d") == 3
        said = refused(client, "CROSS_SLOT", "doc.delete", "Log:{c42}c", "Log:{c43}c")
        assert "{tag}" in said
    daemon.stop()
    home = cluster.owner(slot_of("{c42}"))
    for name in ("rapyer:{c42}Other:", "rapyer:{c42}Other:/lines", "rapyer:{c42}Log:c", "rapyer:{c42}Log:copy"):
        assert where(cluster, name) == [home], name
    assert not where(cluster, "rapyer:{c42}Log:b{2f{7bx{7d")


def test_a_tag_that_is_the_name_of_a_document(cluster, daemon):
    """So what is about one document can be put beside it."""
    with daemon.connect() as client:
        save_all(client, ["Log:7", "Other:{Log:7}note"])
        assert client.call("pipeline", [["num.incr", "Log:7", "n", 1], ["num.incr", "Other:{Log:7}note", "n", 1]]) \
            == [2, 2]
        assert where(cluster, "rapyer:{Log:7}Other:note") == where(cluster, "rapyer:{Log:7}")


def test_no_tag(cluster, daemon):
    """Elsewhere than at the beginning, empty or not closed."""
    keys = ["Log:x{c}", "Log:{}x", "Log:{c"]
    with daemon.connect() as client:
        save_all(client, keys)
        assert [d["@pk"] for d in client.call("doc.get_many", keys)] == [key[4:] for key in keys]
        for name in ("rapyer:{Log:x{7bc{7d}", "rapyer:{Log:{7b{7dx}", "rapyer:{Log:{7bc}"):
            assert len(where(cluster, name)) == 1


def test_a_tag_while_its_slot_moves(cluster, new_daemon):
    """Two daemons agree; what one reads the other has written, on any node."""
    with new_daemon(cluster.address).connect() as one, \
            new_daemon(cluster.address).connect() as two:
        save_all(one, TOGETHER)
        slot = slot_of("{c42}")
        assert {slot} == {slot_of_document(key) for key in TOGETHER[:2]}
        for n, target in enumerate(cluster.masters * 2):
            source = cluster.agreed_owner(slot)
            if source is not target:
                cluster.migrate(slot, source, target)
            one.call("pipeline", [["num.incr", key, "n", 1] for key in TOGETHER])
            assert [d["n"] for d in two.call("doc.get_many", TOGETHER, {"fresh": True})] == [n + 2] * 3
            assert where(cluster, name_of(TOGETHER[0])) == [target]


def schema_at(cluster):
    return cluster.owner(slot_of("rapyer:@schema")).client()


def test_a_database_that_was_begun_without(cluster, new_daemon):
    """What was there before, or was brought from one Redis, stays where it is."""
    with schema_at(cluster) as at_node:
        at_node.hset("rapyer:@schema", "@rev", 1)
    with new_daemon(cluster.address).connect() as client:
        save_all(client, TOGETHER)
        assert "{tag}" not in refused(client, "CROSS_SLOT", "doc.delete", *TOGETHER)
        assert len(where(cluster, "rapyer:{Log:{7bc42{7da}")) == 1
        assert client.call("doc.load", TOGETHER[0], "n") == 1


def test_tags_count_again_where_that_was_lost(cluster, daemon, new_daemon):
    """Else a daemon that starts later would look elsewhere."""
    with daemon.connect() as client:
        save_all(client, TOGETHER)
        with schema_at(cluster) as at_node:
            assert at_node.hdel("rapyer:@schema", "@tags") == 1
            at_node.client_kill_filter(_type="normal", skipme=True)
            wait_until(lambda: at_node.hget("rapyer:@schema", "@tags"), what="the tags")
        with new_daemon(cluster.address).connect() as later:
            assert later.call("pipeline", [["num.incr", key, "n", 1] for key in TOGETHER]) == [2, 2, 2]


def test_one_redis_is_as_it_was(daemon_of_one_redis, rdb):
    with daemon_of_one_redis.connect() as client:
        save_all(client, TOGETHER)
        assert rdb.exists("rapyer:{Log:{7bc42{7da}")
        assert rdb.hget("rapyer:@schema", "@tags") is None


@pytest.fixture
def daemon_of_one_redis(redis_server, new_daemon):
    return new_daemon(redis_server.address)


def test_a_database_of_a_cluster_in_one_redis(redis_server, rdb, new_daemon):
    """Its documents would not be found."""
    rdb.hset("rapyer:@schema", "@tags", 1)
    daemon = new_daemon(redis_server.address, {"commit.queue_time": "200ms"}, wait=False)
    wait_until(lambda: "begun in a cluster" in daemon.log(), what="the refusal")
    with daemon.connect() as client:
        assert "begun in a cluster" in refused(client, "UNAVAILABLE", "define", MODEL)
    assert rdb.hlen("rapyer:@schema") == 1
