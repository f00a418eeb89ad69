"""What another program spoilt of a document: the rest of it stays good, and every way out works."""

import random
import re

import pytest

from models import ADA, KEY, ROOT, define_all, save_ada
from rpc_client import RpcError

SEED, ROUNDS = 7, 120
SCALARS = {"age": "many", "score": "high", "active": "maybe", "bio": b"\xff\xfe", "born": "soon",
           "extra": b"\xc1", "nick": b"\xff", "address": b"\x93\x01", "settings.theme": b"\xff"}
SOUND = ["name", "numbers", "settings.panels"]


@pytest.fixture()
def ada(client):
    save_ada(client)
    return client


def fresh(client, **more):
    return client.call("doc.get", KEY, {"fresh": True, **more})


def refused(client, *call):
    with pytest.raises(RpcError, match="^CORRUPT: ") as error:
        client.call(*call)
    return str(error.value)


def content(redis_server):
    """All of the document in Redis, but its version."""
    found = {k: v for k, v in redis_server.snapshot().items() if k.startswith(ROOT.encode())}
    found[ROOT.encode()][1].pop(b"@v")
    return found


@pytest.mark.parametrize("field", SCALARS)
def test_a_field(ada, rdb, redis_server, field):
    whole, clean = fresh(ada), content(redis_server)
    rdb.hset(ROOT, field, SCALARS[field])
    for call in (("doc.get", KEY, {"fresh": True}), ("doc.load", KEY, field), ("doc.duplicate", KEY, "eve"),
                 ("doc.get", KEY, {"paths": ["name", field]})):
        text = refused(ada, *call)
        assert f"field {field} of the Redis key {ROOT}: " in text and "expected" in text, text
        assert "set this field, save the whole document, or delete it" in text, text
    assert fresh(ada, paths=SOUND) == {"name": "Ada", "numbers": [1, 2, 3], "settings.panels": ["news"]}
    ada.call("set", KEY, "name", "Eve")
    assert ada.call("list.append", KEY, "tags", "d") == 4
    assert ada.call("list.pop", KEY, "tags") == "d"
    ada.call("set", KEY, "name", "Ada")
    value = whole["settings"]["theme"] if "." in field else whole[field]
    ada.call("set", KEY, field, value)
    assert fresh(ada) == whole and content(redis_server) == clean


def test_a_required_field_that_is_gone_is_left_out(ada, rdb):
    """Until it is set."""
    whole = fresh(ada)
    rdb.hdel(ROOT, "name")
    assert fresh(ada) == {name: value for name, value in whole.items() if name != "name"}
    ada.call("set", KEY, "name", "Ada")
    assert fresh(ada) == whole


def test_the_key_of_a_spoilt_element_is_named(ada, rdb):
    pk = rdb.lrange(f"{ROOT}/sections", 0, 0)[0].decode()
    rdb.set(f"{ROOT}/sections/{pk}", "x")
    assert f"its element {pk}, at {ROOT}/sections/{pk}: it should be a hash" in refused(
        ada, "doc.get", KEY, {"fresh": True})


@pytest.mark.parametrize("op", [("num.incr", "age", 1), ("num.mul", "score", 2), ("str.append", "bio", "x")])
def test_a_field_is_not_computed_from(ada, rdb, op):
    field = op[1]
    rdb.hset(ROOT, field, SCALARS[field])
    fresh(ada, paths=["name"])
    refused(ada, op[0], KEY, *op[1:])
    assert "CORRUPT" in refused(ada, "pipeline", [["set", KEY, "name", "Eve"], [op[0], KEY, *op[1:]]])
    assert fresh(ada, paths=["name"]) == {"name": "Ada"}
    ada.call("pipeline", [["set", KEY, field, ADA[field]], [op[0], KEY, *op[1:]]])
    assert fresh(ada)[field] != ADA[field]


CONTAINERS = [
    ("tags", "list.append", ["z"], "list.clear"), ("tags", "list.extend", [["z"]], "list.clear"),
    ("counts", "dict.set", ["k", 1], "dict.clear"), ("counts", "dict.update", [{"k": 1}], "dict.clear"),
    ('counts["x"]', "num.incr", [1], "dict.clear"), ('counts["x"]', "set", [1], "dict.clear"),
    ("settings.panels", "list.append", ["z"], "list.clear"),
    ('sections["s1"].tasks["t1"].tags', "list.append", ["z"], "list.clear"),
    ("sections", "list.append", [{"name": "z"}], "list.clear"),
    ("teams", "dict.set", ["k", {"name": "z"}], "dict.clear"),
]


@pytest.mark.parametrize("path, method, args, clear", CONTAINERS, ids=[f"{c[0]}-{c[1]}" for c in CONTAINERS])
def test_a_container_of_another_type(ada, rdb, redis_server, path, method, args, clear):
    """Nothing is written into it, as Redis would refuse that in the midst of a change."""
    whole = fresh(ada)
    container = path.removesuffix('["x"]')
    key = ROOT + "/" + container.replace('["', "/").replace('"].', "/")
    rdb.delete(key)
    rdb.set(key, "x")
    text = refused(ada, "doc.get", KEY, {"fresh": True})
    assert f"the Redis key {key}: it should be a " in text and "set or clear this" in text, text
    refused(ada, method, KEY, path, *args)
    refused(ada, "pipeline", [["set", KEY, "name", "Eve"], [method, KEY, path, *args]])
    assert rdb.get(key) == b"x" and fresh(ada, paths=["name"]) == {"name": "Ada"}
    ada.call(clear, KEY, container)
    assert not ada.call("doc.load", KEY, container) and not rdb.exists(key)
    if path != container:
        return
    ada.call(method, KEY, path, *args)
    assert fresh(ada)["name"] == whole["name"]


def test_what_was_mended_elsewhere_is_good_again(ada, rdb):
    """Without a change of the version, and though it was refused before."""
    rdb.hset(ROOT, "age", "many")
    refused(ada, "doc.get", KEY, {"fresh": True})
    rdb.hset(ROOT, "age", "37")
    assert ada.call("doc.get", KEY)["age"] == 37


def test_lazy_fields_are_not_kept_from_what_is_spoilt(client, rdb):
    client.call("define", {"name": "Page", "kind": "atomic",
                           "fields": [{"name": "title", "type": "str"},
                                      {"name": "size", "type": "int", "lazy": True, "default": 0}]})
    client.call("doc.save", "Page:1", {"title": "a", "size": 3})
    rdb.hset("rapyer:{Page:1}", "size", "big")
    left_out = client.call("doc.get", "Page:1", {"fresh": True})
    assert left_out["title"] == "a"
    refused(client, "doc.save", "Page:1", left_out)
    client.call("doc.save", "Page:1", {"title": "b", "size": 4})
    assert client.call("doc.load", "Page:1", "size") == 4


def test_what_could_not_be_made_out_does_not_come_back(ada, rdb):
    """Elements whose pks are lost: new ones with the same pks are new."""
    rdb.delete(ROOT + "/sections")
    rdb.set(ROOT + "/sections", "x")
    refused(ada, "doc.get", KEY, {"fresh": True})
    ada.call("set", KEY, "sections", [{"@pk": "s1", "name": "new", "tasks": []}])
    assert rdb.hgetall(ROOT + "/sections/s1") == {b"name": b"new"} and not rdb.exists(ROOT + "/sections/s1/tasks")
    rdb.delete(ROOT + "/teams")
    rdb.set(ROOT + "/teams", "x")
    rdb.rpush(ROOT + "/teams/c1/tasks", "t9")
    refused(ada, "doc.get", KEY, {"fresh": True})
    ada.call("doc.save", KEY, ADA)
    assert fresh(ada)["teams"] == ADA["teams"] and not rdb.exists(ROOT + "/teams/c1/tasks")


# ---- at random ----

OF_PKS = re.compile(rb"/sections$|/teams$|/tasks$")
NO_PKS = [b"", b"\xff\xfe", b"a\x7f", b"{}\n", b"\x00" * 9]
GARBAGE = [b"x", b"", b"\xff\xfe", b"\xc1", b"\x81\xa1a", b"\x93\x01", b"1e999", b"-", b"{}", b"\x00" * 9, b"a/b"]


def garbage(draw, key):
    """A pk that is one, but not that which was there, nobody can tell from the right one."""
    return draw.choice(NO_PKS if OF_PKS.search(key) else GARBAGE)


def retype(rdb, draw, key):
    rdb.delete(key)
    draw.choice([lambda: rdb.set(key, "x"), lambda: rdb.rpush(key, garbage(draw, key)),
                 lambda: rdb.hset(key, "f", garbage(draw, key)), lambda: rdb.sadd(key, "m"),
                 lambda: rdb.zadd(key, {"m": 1})])()


def spoil(rdb, draw):
    """One field or key of the document, whatever comes of it. The root stays a hash with a version."""
    key = draw.choice(sorted(rdb.keys(ROOT + "*")))
    kind = rdb.type(key)
    if key != ROOT.encode() and draw.random() < 0.4:
        retype(rdb, draw, key)
    elif kind == b"hash":
        field = draw.choice([f for f in rdb.hkeys(key) if not f.startswith(b"@")] or [b"f"])
        rdb.hset(key, draw.choice([field, field, draw.choice(GARBAGE)]), garbage(draw, key))
    elif kind == b"list":
        rdb.lset(key, draw.randrange(rdb.llen(key)), garbage(draw, key))
    return key.decode()


def set_all(client, whole, key):
    """Replaces every part that the key may be of."""
    name = key[len(ROOT):].split("/")[1] if key != ROOT else None
    for field, value in whole.items():
        if not field.startswith("@") and (name is None or field == name or field == "settings"):
            client.call("set", KEY, field, value)


WAYS_OUT = ["set", "save", "delete"]


@pytest.mark.parametrize("way", WAYS_OUT)
def test_at_random(ada, rdb, redis_server, way):
    draw = random.Random(f"{SEED} {way}")
    whole = fresh(ada)
    names = [name for name in whole if not name.startswith("@")]
    for i in range(ROUNDS):
        spoilt = [spoil(rdb, draw) for _ in range(draw.choice([1, 1, 3]))]
        about = f"{way} {i}: {spoilt}"
        try:
            fresh(ada)
        except RpcError as error:
            assert error.code == "CORRUPT" and ROOT in error.error, (about, error.error)
            good = 0
            for name in names:
                try:
                    good += name in fresh(ada, paths=[name])
                except RpcError as inner:
                    assert inner.code == "CORRUPT", (about, inner.error)
            assert good >= len(names) - 2 * len(spoilt), about
        if way == "set":
            for key in spoilt:
                set_all(ada, whole, key)
        elif way == "save":
            ada.call("doc.save", KEY, ADA)
        else:
            assert ada.call("doc.delete", KEY) == 1, about
            assert ada.call("doc.exists", KEY) == 0 and not rdb.exists(ROOT), about
        if way != "delete":
            assert fresh(ada) == whole, about
        for key in rdb.keys(ROOT + "*"):
            rdb.delete(key)
        with pytest.raises(RpcError, match="NOT_FOUND"):
            fresh(ada)
        ada.call("doc.save", KEY, ADA)


ROOTS = {"a string": lambda rdb: (rdb.delete(ROOT), rdb.set(ROOT, "x")),
         "a list": lambda rdb: (rdb.delete(ROOT), rdb.rpush(ROOT, "x")),
         "a version that is no number": lambda rdb: rdb.hset(ROOT, "@v", "new"),
         "no version": lambda rdb: rdb.hdel(ROOT, "@v"),
         "a hash of another program": lambda rdb: (rdb.delete(ROOT), rdb.hset(ROOT, "name", "x"))}


@pytest.mark.parametrize("what", ROOTS)
def test_the_root(ada, rdb, redis_server, new_daemon, what):
    """All of it is CORRUPT, and the text says what helps: saving the whole, deleting it."""
    whole, clean = fresh(ada), content(redis_server)
    with new_daemon(redis_server.address).connect() as other:
        for client in (ada, other):
            ROOTS[what](rdb)
            for call in (("doc.get", KEY, {"fresh": True}), ("doc.load", KEY, "name"), ("set", KEY, "name", "Eve"),
                         ("doc.exists", KEY), ("doc.insert", [[KEY, ADA]]), ("doc.ttl", KEY),
                         ("pipeline", [["set", KEY, "name", "Eve"]])):
                text = refused(client, *call)
                assert f"{ROOT} " in text and "save the whole document, or delete it" in text, text
            client.call("doc.save", KEY, ADA)
            assert fresh(ada) == whole and content(redis_server) == clean
            assert fresh(other) == whole
            client.call("set", KEY, "name", "Ada")
            ROOTS[what](rdb)
            refused(client, "doc.get", KEY, {"fresh": True})
            assert client.call("doc.delete", "User:none", KEY) == 1
            assert not rdb.keys(ROOT + "*")
            with pytest.raises(RpcError, match="^NOT_FOUND"):
                fresh(client)
            assert client.call("doc.insert", [[KEY, ADA]])[0]["key"] == KEY
            assert fresh(ada) == whole


def test_a_long_document_without_its_root_is_deleted(ada, rdb):
    for i in range(0, 12_000, 1000):
        ada.call("list.extend", KEY, "sections", [{"@pk": f"q{j}", "name": "x"} for j in range(i, i + 1000)])
    rdb.delete(ROOT)
    rdb.set(ROOT, "x")
    assert ada.call("doc.delete", KEY) == 1
    ada.call("doc.save", KEY, ADA)
    assert not rdb.keys(ROOT + "/sections/q*")
