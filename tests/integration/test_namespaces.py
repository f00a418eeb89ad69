"""Models of one name in several namespaces: "shop.User", "blog.User" and "User" are three models, wherever a model or
key is named."""

import json
import subprocess

import pytest

from models import atomic, field
from rpc_client import RpcError, wait_until
from test_rapyerctl import CTL


def models(space, kind):
    dot = f"{space}." if space else ""
    return [atomic(f"{dot}Item", field("n", kind)),
            atomic(f"{dot}User", field("value", kind), field("items", f"list<{dot}Item>"),
                   field("one", f"optional<{dot}Item>"), field("friend", f"optional<ref<{dot}User>>", default=None))]


@pytest.fixture
def client(client):
    for space, kind in (("", "int"), ("shop", "str"), ("acme.blog", "bool")):
        for model in models(space, kind):
            assert client.call("define", model)["model"] == model["name"]
    return client


VALUES = {"User:1": 7, "shop.User:1": "seven", "acme.blog.User:1": True}


def test_three_models_of_one_name(client, rdb, new_daemon, redis_server):
    for key, value in VALUES.items():
        model = key.partition(":")[0]
        client.call("doc.save", key, {"value": value, "items": [{"@pk": "a", "n": value}], "friend": key})
        with pytest.raises(RpcError, match="BAD_VALUE.*is no ref"):
            client.call("set", key, "friend", "User:1" if model != "User" else "shop.User:1")
    assert {b"rapyer:{User:1}", b"rapyer:{shop.User:1}/items/a", b"rapyer:{acme.blog.User:1}"} <= set(rdb.keys("*"))
    with new_daemon(redis_server.address).connect() as other:
        for key, value in VALUES.items():
            model = key.partition(":")[0]
            assert other.call("doc.get", key)["items"] == [{"@pk": "a", "n": value}]
            assert other.call("doc.keys", model)["keys"] == [key]
            assert list(other.call("doc.get", key, {"resolve": True})["@refs"]) == []
            assert other.call("ref.get", key, "friend")["value"] == value
    assert client.call("doc.duplicate", "shop.User:1", "2")["key"] == "shop.User:2"
    with pytest.raises(RpcError, match="SCHEMA_CONFLICT.*shop.User"):
        client.call("define", atomic("shop.User", field("value", "int")))
    with pytest.raises(RpcError, match="UNKNOWN_MODEL: no model Shop.User"):
        client.call("doc.get", "Shop.User:1")


def test_watches_and_locks(client, daemon, redis_server, new_daemon):
    with new_daemon(redis_server.address).connect() as other:
        for key in VALUES:
            client.call("doc.save", key, {"value": VALUES[key]})
        other.call("watch", "shop.User:*")
        tokens = [client.call("lock.acquire", key, "w", {"wait": 5})["token"] for key in VALUES]
        with pytest.raises(RpcError, match="LOCK_TIMEOUT.*shop.User:1"):
            other.call("lock.acquire", "shop.User:1", "w", {"wait": 0})
        assert {lock["key"] for lock in client.call("admin.locks")} == set(VALUES)
        for token, key in zip(tokens, VALUES):
            client.call("lock.release", token, [["set", key, "value", VALUES[key]]])
        wait_until(lambda: other.call("doc.exists", "User:1") and other.notifications, what="news")
        # Who was slow may be told of all of them: look yourself.
        assert {told[1][0] for told in other.notifications} - {"shop.User:*"} <= {"shop.User:1"}


def test_bad_names(client):
    for name in (".User", "shop.", "shop..User", "1.User", "shop.1", "a.b c", "x" * 60 + ".User", "shop/User", "."):
        with pytest.raises(RpcError, match="BAD_SCHEMA.*cannot be a model's name"):
            client.call("define", atomic(name, field("n", "int")))
        with pytest.raises(RpcError, match="BAD_KEY|UNKNOWN_MODEL"):
            client.call("doc.get", f"{name}:1")
    for kind in ("list<shop.>", "shop.Nobody", "ref<.User>", "shop.int", "optional<shop.str>"):
        with pytest.raises(RpcError, match="BAD_SCHEMA|UNKNOWN_MODEL"):
            client.call("define", atomic("Bad", field("n", kind)))
    with pytest.raises(RpcError, match="BAD_SCHEMA"):
        client.call("define", atomic("Bad", field("a.b", "int")))


def test_on_the_command_line(daemon, tmp_path):
    def ctl(*args, code=0):
        ran = subprocess.run([CTL, "-s", daemon.socket, *args], capture_output=True, text=True, timeout=30)
        assert ran.returncode == code, ran.stderr
        return ran.stdout

    file = tmp_path / "models.json"
    file.write_text(json.dumps(models("", "int") + [atomic("Word", field("kind", "enum<User|int>", default="int"))]))
    assert "shop.User" in ctl("--namespace", "shop", "define", str(file))
    ctl("-n", "shop", "save", "User:1", '{"value": 5}')
    ctl("-n", "shop", "save", "User:2", '{"value": 6, "friend": "shop.User:1"}')
    ctl("-n", "shop", "save", "Word:1", '{"kind": "User"}')
    assert ctl("-n", "shop", "keys", "User").split() and "shop.User:1" in ctl("-n", "shop", "keys", "User")
    assert len(ctl("-n", "shop", "get", "User:1", "User:2").splitlines()) == 2
    assert ctl("-n", "shop", "get", "User:2", "value").strip() == "6"
    assert ctl("-n", "shop", "incr", "User:2", "value").strip() == "7"
    assert ctl("get", "shop.User:2", "value").strip() == "7" == ctl("-n", "blog", "get", "shop.User:2", "value").strip()
    assert ctl("-n", "shop", "exists", "User:1", "User:2", "User:3").strip() == "2"
    assert "int" in ctl("-n", "shop", "models", "User")
    exported = [json.loads(line) for line in ctl("-n", "shop", "export", "User").splitlines()]
    assert {line["key"] for line in exported if "key" in line} == {"shop.User:1", "shop.User:2"}
    assert ctl("-n", "shop", "call", "doc.exists", '["shop.User:1"]').strip() == "1"
    ctl("get", "User:1", code=4)
    ctl("-n", "no good", "keys", "User", code=2)
