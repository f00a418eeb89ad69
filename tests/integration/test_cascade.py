"""doc.ttl with {cascade}: what a document refers to lives on as well, each for its own model's ttl."""

import pytest

from fault_proxy import FaultProxy
from models import atomic, field
from rpc_client import RpcError, wait_until
from test_rules import forbidden, ruled  # noqa: F401

NODE = {**atomic("Node", field("next", "optional<ref<Node>>", default=None), field("others", "set<ref<Node>>"),
                 field("page", "optional<ref<Page>>", default=None), field("name", "str", default=""),
                 field("leafs", "list<Leaf>")), "ttl": 3600}
PAGE = atomic("Page", field("up", "optional<ref<Node>>", default=None))  # lives for ever
LEAF = atomic("Leaf", field("node", "optional<ref<Node>>", default=None))


@pytest.fixture
def client(client):
    define(client)
    return client


def define(client):
    for model in (LEAF, NODE, PAGE):
        client.call("define", model)


def node(client, name, **more):
    client.call("doc.save", f"Node:{name}", more)


def chain(client, names):
    """Each refers to the next one, and none of them ends."""
    for name, after in zip(names, [*names[1:], None]):
        node(client, name, next=after and f"Node:{after}")
    endless(client, names)


def endless(client, names):
    for name in names:
        client.call("doc.persist", f"Node:{name}")


def ending(client, names):
    return "".join(name for name in names if client.call("doc.ttl", f"Node:{name}") > 0)


def test_each_gets_the_ttl_of_its_own_model(client, redis_server, new_daemon):
    client.call("doc.save", "Page:p", {"up": "Node:up"})
    node(client, "a", next="Node:b", others=["Node:c", "Node:gone"], page="Page:p",
         leafs=[{"@pk": "1", "node": "Node:d"}])
    for name in ("b", "c", "d", "up", "alone"):
        node(client, name)
    endless(client, ["a", "b", "c", "d", "up", "alone"])
    with new_daemon(redis_server.address).connect() as other:  # nothing of it in memory
        define(other)
        answer = other.call("doc.ttl", "Node:a", 60, {"cascade": True})
        assert answer["missing"] == ["Node:gone"]
        assert answer["ttl"] == {"Node:a": 60, **{f"Node:{name}": 3600 for name in ("b", "c", "d", "up")}}
        client.call("set", "Node:a", "next", "Node:alone")  # is seen at once
        assert "Node:alone" in other.call("doc.ttl", "Node:a", None, {"cascade": ["next"]})["ttl"]
    wait_until(lambda: client.call("doc.ttl", "Node:a") > 60, what="what the other has set")
    assert client.call("doc.ttl", "Page:p") == -1
    wait_until(lambda: ending(client, ["a", "b", "c", "d", "up", "alone"]) == "abcdupalone", what="all ends")
    assert client.call("doc.ttl", "Page:p", None, {"cascade": True})["ttl"].keys() >= {"Node:up"}
    assert client.call("doc.ttl", "Page:p", 9, {"cascade": False}) == 9


def test_depth_fields_and_circles(client):
    chain(client, "abcde")
    client.call("doc.ttl", "Node:a", 60, {"cascade": True, "depth": 2})
    assert ending(client, "abcde") == "abc"
    client.call("set", "Node:e", "next", "Node:a")
    endless(client, "abcde")
    client.call("doc.ttl", "Node:c", 0, {"cascade": True})
    assert ending(client, "abcde") == "abde"
    endless(client, "abcde")
    client.call("doc.ttl", "Node:a", 60, {"cascade": ["others", "page"]})
    assert ending(client, "abcde") == "a"


def test_a_plan_says_how_far_each_field_goes(client):
    chain(client, "abcdefg")
    client.call("doc.save", "Page:p", {"up": "Node:c"})
    ttl = lambda key, plan, **more: client.call("doc.ttl", key, None, {"cascade": plan, **more})  # noqa: E731
    assert set(ttl("Page:p", {"Page": {"up": 1}, "Node": {"next": None}})["ttl"]) == {"Node:c", "Node:d"}
    assert set(ttl("Page:p", {"Page": {"up": 0}, "Node": {"next": 0}})["ttl"]) == {f"Node:{n}" for n in "cdefg"}
    assert set(ttl("Page:p", {"Page": {"up": None}}, depth=1)["ttl"]) == {"Node:c"}
    assert ttl("Page:p", {}) == {"ttl": {}, "missing": []}
    # Reached twice, it goes on as far as the longer way lets it.
    node(client, "r", next="Node:a", others=["Node:a"])
    plan = {"Node": {"next": None, "others": 5}}
    assert set(ttl("Node:r", plan, depth=1)["ttl"]) == {f"Node:{n}" for n in "rabcdef"}
    # A text is a key where a plan says so.
    client.call("doc.save", "Node:t", {"name": "Node:g"})
    assert ttl("Node:t", {"Node": {"name": 0}})["ttl"].keys() == {"Node:t", "Node:g"}
    client.call("set", "Node:t", "name", "no key")
    assert ttl("Node:t", {"Node": {"name": 0}})["missing"] == ["no key"]


def test_bounds(redis_server, new_daemon):
    """Too many are refused before anything is changed."""
    with new_daemon(redis_server.address, {"limits.max_resolve": "3"}).connect() as client:
        define(client)
        chain(client, "abcde")
        with pytest.raises(RpcError, match="TOO_LARGE.*more than 3 documents.*limits.max_resolve"):
            client.call("doc.ttl", "Node:a", 60, {"cascade": True})
        assert ending(client, "abcde") == ""
        assert len(client.call("doc.ttl", "Node:a", 60, {"cascade": True, "depth": 3})["ttl"]) == 4


def test_bad_input(client):
    chain(client, "ab")
    for seconds, options in ((None, {}), (None, {"cascade": False}), (-1, {"cascade": True}), (1, {"depth": 1}),
                             (1, {"cascade": True, "depth": 0}), (1, {"cascade": []}), (1, {"cascade": [1]}),
                             (1, {"cascade": "next"}), (1, {"cascade": {"Node": ["next"]}}), (1, {"deep": 1}),
                             (1, {"cascade": {"Node": {"next": -1}}}), (1, {"cascade": {"Node": {"next": True}}}),
                             (1, {"cascade": {1: {}}}), (1, ["cascade"])):
        with pytest.raises(RpcError, match="BAD_REQUEST"):
            client.call("doc.ttl", "Node:a", seconds, options)
    for cascade in (["name"], ["nxt"], {"Node": {"nxt": None}}, {"Node": {"up": None}}):
        with pytest.raises(RpcError, match="BAD_PATH"):
            client.call("doc.ttl", "Node:a", 1, {"cascade": cascade})
    with pytest.raises(RpcError, match="UNKNOWN_MODEL: .*Nobody"):
        client.call("doc.ttl", "Node:a", 1, {"cascade": {"Nobody": {}}})
    with pytest.raises(RpcError, match="NOT_FOUND"):
        client.call("doc.ttl", "Node:none", 1, {"cascade": True})
    with pytest.raises(RpcError, match="BAD_REQUEST"):
        client.call("pipeline", [["doc.ttl", "Node:a", 1, {"cascade": True}]])
    assert ending(client, "ab") == ""


def test_other_namespaces(client):
    client.call("define", {**atomic("shop.Cart", field("of", "ref<Node>")), "ttl": 50})
    chain(client, "ab")
    client.call("doc.save", "shop.Cart:1", {"of": "Node:a"})
    answer = client.call("doc.ttl", "shop.Cart:1", None, {"cascade": True})
    assert answer["ttl"] == {"shop.Cart:1": 50, "Node:a": 3600, "Node:b": 3600}


def test_rights(ruled):  # noqa: F811
    """Whoever may not write one of them changes none of them."""
    with ruled.connect() as client:
        client.call("define", {**atomic("Mine", field("to", "ref<Theirs>")), "ttl": 60})
        client.call("define", {**atomic("Theirs"), "ttl": 60})
        client.call("doc.save", "Theirs:1", {})
        client.call("doc.save", "Mine:1", {"to": "Theirs:1"})
        for key in ("Mine:1", "Theirs:1"):
            client.call("doc.persist", key)
    ruled.set("* read,write,define Mine", "* read Theirs")
    with ruled.connect() as client:
        assert "Theirs" in forbidden(client, "doc.ttl", "Mine:1", 9, {"cascade": True})
        assert client.call("doc.ttl", "Mine:1") == client.call("doc.ttl", "Theirs:1") == -1
        assert client.call("doc.ttl", "Mine:1", 9) == 9


def test_lost_answers(redis_server, new_daemon, workdir):
    """The link to Redis breaks in the midst of what sets the ends, or of the answer to that."""
    proxy = FaultProxy(workdir, redis_server.address)
    try:
        with new_daemon(proxy.address).connect() as client:
            define(client)
            for direction, count in [*(("requests", n) for n in (0, 20, 60, 100)), *(("replies", n) for n in (0, 5, 10, 20))]:
                chain(client, "abc")
                cut = proxy.cut_after(direction, count)
                assert len(client.call("doc.ttl", "Node:a", 60, {"cascade": True})["ttl"]) == 3
                assert cut.fired.is_set()
                assert ending(client, "abc") == "abc"
    finally:
        proxy.stop()


def test_clients_that_leave(client, daemon):
    chain(client, [str(n) for n in range(100)])
    for turn in range(10):
        leaver = daemon.connect()
        leaver.send("doc.ttl", f"Node:{turn}", 60, {"cascade": True})
        leaver.close()
    assert len(client.call("doc.ttl", "Node:0", 60, {"cascade": True})["ttl"]) == 100
