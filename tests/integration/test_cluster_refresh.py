"""refresh_ttl that goes on by fields in a cluster: what a document refers to is in whatever slot."""

from redis_cluster import slot_of_document
from rpc_client import RpcError, wait_until
from test_refresh import chain, define, refreshed, short

KEYS = [f"Page:{name}" for name in "abcdef"]


def test_each_write_goes_on(calm_cluster, new_daemon):
    with new_daemon(calm_cluster.address).connect() as client, \
            new_daemon(calm_cluster.address).connect() as other:
        define(client)
        define(other)
        chain(client, "abcdef")
        assert len({slot_of_document(key) for key in KEYS}) == len(KEYS)
        for write in (["num.incr", KEYS[0], "n", 1], ["pipeline", [["num.incr", KEYS[0], "n", 1]]],
                      ["find.update", "Page", ["=", "next", KEYS[1]], [["set", "text", "x"]], {"scan": True}],
                      ["doc.insert", [["Page:x", {"next": KEYS[0]}], ["Page:y", {"next": KEYS[3]}]], {"parts": True}]):
            short(client, *reversed(KEYS))
            versions = client.call("doc.get_many", KEYS[1:], {"version": True})
            other.call(*write)
            wait_until(lambda: refreshed(client, *KEYS) == KEYS, what="the news of the other daemon")
            assert client.call("doc.get_many", KEYS[1:], {"version": True}) == versions


def takes(client):
    """Its time to live is read from where the slot is."""
    try:
        return client.call("doc.ttl", KEYS[2])
    except RpcError as e:
        assert e.code == "UNAVAILABLE"


def test_what_is_out_of_reach_takes_nothing_along(calm_cluster, new_daemon):
    """The write is done, and what lies elsewhere lives on."""
    settings = {"commit.queue_time": "300ms", "log.log_level": "info"}
    daemon = new_daemon(calm_cluster.address, settings)
    with daemon.connect() as client:
        define(client)
        chain(client, "abcdef")
        short(client, *reversed(KEYS))
        slot = slot_of_document(KEYS[2])
        source = calm_cluster.agreed_owner(slot)
        target = next(node for node in calm_cluster.masters if node is not source)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        try:
            assert client.call("num.incr", KEYS[0], "n", 1) == 1
            assert refreshed(client, *KEYS[:2], *KEYS[3:]) == KEYS[:2] + KEYS[3:]
            assert "Page:a refers to was not given more time: " in daemon.log()
        finally:
            source.ask("CLUSTER", "SETSLOT", slot, "STABLE")
            target.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        wait_until(lambda: takes(client), what="the slot")
        assert refreshed(client, KEYS[2]) == []
