"""Models that contain themselves and each other, and declarations that come together."""

import random

import pytest

from layout_reader import LayoutReader
from models import atomic, field, plain
from rpc_client import RpcError
from test_bad_input import refused
from test_two_daemons import crowd

NODE = atomic("Node", field("name", "str", default=""), field("n", "int", default=0), field("tags", "list<str>"),
              field("extra", "any", default=None), field("children", "list<Node>"), field("next", "optional<Node>"),
              field("by", "dict<Node>"), field("groups", "dict<list<Node>>"))
KEY, ROOT = "Node:1", "rapyer:{Node:1}"
DEEPEST = 26


def node(**more):
    return {"name": "", "n": 0, "tags": [], "extra": None, "children": [], "next": None, "by": {}, "groups": {}, **more}


def child(pk, **more):
    return {"@pk": pk, **node(**more)}


@pytest.fixture
def tree(client):
    client.call("define", NODE)
    client.call("doc.save", KEY, node(children=[child("a", children=[child("b", n=1)]), child("c")],
                                      next=node(next=node(n=2)), by={"k": child("d", by={"k": child("d", n=3)})},
                                      groups={"g": [child("e", groups={"g": [child("e", n=4)]})]}))
    return client


@pytest.fixture
def reader(rdb):
    return LayoutReader(rdb, [NODE])


def whole(reader, client, key=KEY):
    document = client.call("doc.load", key, "")
    assert reader.read(key) == document
    assert reader.orphans(key) == set()
    return document


def test_it_is_read_as_it_was_saved(tree, reader, daemon):
    document = whole(reader, tree)
    assert document["children"][0]["children"][0]["n"] == 1
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        assert client.call("doc.load", KEY, 'children["a"].children["b"].n') == 1
        assert client.call("doc.load", KEY, "next.next.n") == 2
        assert client.call("doc.load", KEY, 'by["k"].by["k"].n') == 3
        assert client.call("doc.load", KEY, 'groups["g"][0].groups["g"]["e"].n') == 4
        assert client.call("doc.load", KEY, "") == document
        assert client.call("define", NODE) == {"model": "Node", "revision": 1}


def test_every_level_changes_in_place(tree, reader, rdb):
    path = "children[0]"
    for level in range(5):
        assert tree.call("num.incr", KEY, path + ".n", 1) >= 1
        assert tree.call("list.append", KEY, path + ".tags", "t") == 1
        tree.call("list.append", KEY, path + ".children", child(f"x{level}"))
        path += f'.children["x{level}"]'
    tree.call("set", KEY, "next.next.next", node(name="far"))
    tree.call("set", KEY, "next.next.next.next", node(children=[child("z")]))
    assert tree.call("list.pop", KEY, "next.next.next.next.children")["@pk"] == "z"
    tree.call("dict.set", KEY, 'by["k"].by', "l", child("m"))
    tree.call("list.append", KEY, 'groups["g"]["e"].groups["g"]', child("new"))
    whole(reader, tree)
    tree.call("set", KEY, "next.next", None)
    tree.call("list.pop", KEY, "children", 0)
    tree.call("dict.clear", KEY, "groups")
    whole(reader, tree)
    tree.call("doc.duplicate", KEY, "2")
    tree.call("doc.ttl", "Node:2", 60)
    assert all(0 < rdb.ttl(key) <= 60 for key in rdb.keys("*Node:2*"))
    tree.call("doc.delete", "Node:2")
    assert not rdb.keys("*Node:2*")
    tree.call("doc.save", KEY, {})
    assert rdb.keys("*Node:1*") == [ROOT.encode()]


def nested(levels, leaf=None):
    """A document with so many nodes below each other, the last of them `leaf`."""
    inner = leaf if leaf is not None else child("leaf")
    for _ in range(levels - 1):
        inner = child("c", children=[inner])
    return node(children=[inner])


def test_a_document_is_so_deep_and_no_deeper(tree, reader, daemon):
    """A node in a list is two containers, the document one, its deepest list of tags one."""
    levels = (DEEPEST - 2) // 2
    tree.call("doc.save", KEY, nested(levels))
    whole(reader, tree)
    assert "at most 26 containers" in refused(tree, "BAD_VALUE", "doc.save", KEY, nested(levels + 1))
    deepest = ".".join(["children[0]"] * levels)
    assert tree.call("list.append", KEY, deepest + ".tags", "t") == 1
    for request in (["list.append", deepest + ".children", child("x")], ["dict.set", deepest + ".by", "x", child("x")],
                    ["set", deepest + ".next", node()], ["list.extend", deepest + ".children", [child("x")]],
                    ["set", deepest + ".extra", [[1]]], ["dict.set", deepest + ".groups", "x", [child("x")]],
                    ["dict.update", deepest + ".by", {"x": child("x")}], ["set", deepest + ".children", [child("x")]]):
        assert "at most 26 containers" in refused(tree, "BAD_VALUE", request[0], KEY, *request[1:])
    tree.call("set", KEY, deepest + ".extra", [1])
    refused(tree, "BAD_VALUE", "list.append", KEY, deepest + ".extra", [1])
    tree.call("list.append", KEY, deepest + ".extra", 2)
    with pytest.raises(RpcError, match="BAD_VALUE: operation 1"):
        tree.call("pipeline", [["num.incr", KEY, "n", 1], ["list.append", KEY, deepest + ".children", child("x")]])
    chain = node()
    for _ in range(DEEPEST - 2):
        chain = node(next=chain)
    tree.call("doc.save", KEY, chain)  # an optional is no container of its own
    refused(tree, "BAD_VALUE", "doc.save", KEY, node(next=chain))
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        assert whole(reader, client) == {"@pk": "1", **chain}


def test_what_another_program_nests_without_end_is_not_followed(tree, rdb, daemon):
    key = ROOT
    for _ in range(60):
        rdb.rpush(key + "/children", "c")
        rdb.hset(key + "/children/c", "n", 1)
        key += "/children/c"
    rdb.hincrby(ROOT, "@v", 1)
    assert "nested deeper" in refused(tree, "CORRUPT", "doc.load", KEY, "", )
    tree.call("doc.save", KEY, {})
    assert tree.call("doc.load", KEY, "children") == []


PERSON = atomic("Person", field("name", "str"), field("teams", "list<Team>"), field("spot", "Spot", default={"x": 1}))
TEAM = atomic("Team", field("lead", "optional<Person>"), field("people", "dict<Person>"))
SPOT = plain("Spot", field("x", "int"), field("y", "int", default=2))


def test_models_are_declared_together_in_any_order(client, redis_server, new_daemon, daemon, rdb):
    refused(client, "UNKNOWN_MODEL", "define", PERSON)
    refused(client, "UNKNOWN_MODEL", "define", PERSON, TEAM)
    assert rdb.exists("rapyer:@schema") == 0
    assert client.call("define", PERSON, TEAM, SPOT) == [{"model": name, "revision": 1} for name in
                                                         ("Person", "Team", "Spot")]
    assert client.call("define", PERSON, TEAM, SPOT)[0]["revision"] == 1
    client.call("doc.save", "Person:a", {"name": "Ada", "teams": [{"@pk": "t", "lead": {"name": "Bob", "teams": []}}]})
    assert client.call("doc.load", "Person:a", 'teams["t"].lead.spot') == {"x": 1, "y": 2}
    with new_daemon(redis_server.address).connect() as other:  # it has them from Redis
        assert other.call("set", "Person:a", 'teams[0].lead.name', "Eve") > 0
        more = {**TEAM, "fields": [*TEAM["fields"], field("city", "str", default="")]}
        assert other.call("define", more, PERSON) == [{"model": "Team", "revision": 2}, {"model": "Person", "revision": 1}]
    assert client.call("doc.load", "Person:a", "teams[0].city") == ""
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        assert client.call("doc.load", "Person:a", "teams[0].lead.name") == "Eve"


def test_of_declarations_that_come_together_all_are_taken_or_none(client, rdb):
    good = atomic("Good", field("n", "int", default=0))
    for bad, code in [(atomic("Bad", field("n", "number")), "UNKNOWN_MODEL"), ({}, "BAD_SCHEMA"), (7, "BAD_SCHEMA"),
                      (atomic("Good", field("m", "int")), "BAD_SCHEMA"), (atomic("Bad", field("x", "Bad")), "BAD_SCHEMA"),
                      (plain("Bad", field("x", "list<Bad>")), "BAD_SCHEMA"),
                      (atomic("Bad", field("x", "list<Good>", default=[{}])), "BAD_VALUE")]:
        refused(client, code, "define", good, bad)
        refused(client, "UNKNOWN_MODEL", "doc.get", "Good:1")
    refused(client, "BAD_REQUEST", "define")
    loop = [atomic("A", field("b", "B")), atomic("B", field("c", "C")), atomic("C", field("a", "A"))]
    assert "without end" in refused(client, "BAD_SCHEMA", "define", *loop)
    assert rdb.exists("rapyer:@schema") == 0
    assert client.call("define", good) == {"model": "Good", "revision": 1}


def test_two_daemons_grow_one_tree(redis_server, new_daemon, rdb, reader):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", NODE)
    with daemons[0].connect() as client:
        client.call("doc.save", KEY, {})

    def work(client, number):
        chance, paths, added = random.Random(number), [""], set()
        for turn in range(40):
            at, pk = chance.choice(paths), f"{number}-{turn}"
            path = at + (".children" if at else "children")
            client.call("list.append", KEY, path, child(pk))
            client.call("num.incr", KEY, "n", 1)
            added.add(pk)
            if path.count("children") < 8:
                paths.append(f'{path}["{pk}"]')
        return added

    def pks(one):
        return {inner["@pk"] for inner in one["children"]}.union(*map(pks, one["children"]))

    added = crowd(daemons, work)
    with daemons[0].connect() as one, daemons[1].connect() as two:
        documents = [client.call("doc.get", KEY, {"fresh": True}) for client in (one, two)]
        assert documents[0] == documents[1]
        assert pks(documents[0]) == set().union(*added) and documents[0]["n"] == 160
        whole(reader, one)
