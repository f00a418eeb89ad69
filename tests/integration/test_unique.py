"""No two documents have the same value of a unique field, whoever writes them, over whichever daemon, and
whatever happens to links and daemons meanwhile; and nothing but a document that has it refuses a value."""

import os
import random
import threading

import pytest

from models import atomic, field
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_guard import FAST

FULL = os.environ.get("RAPYER_FULL")
MEMBER = atomic("Member", field("email", "optional<str>", default=None, unique=True),
                field("number", "optional<int>", default=None, unique=True), field("note", "str", default=""),
                field("count", "int", default=0), field("seats", "list<str>"))
SEAT = atomic("Seat", field("row", "int", unique=True), field("note", "str", default=""), ttl=600)
HEAD, NULL = "rapyer:@index:Member/email=", b"\xc0"


@pytest.fixture
def members(client):
    client.call("define", MEMBER)
    client.call("define", SEAT)
    return client


def unescaped(pk):
    for escape, character in ((b"{2f", b"/"), (b"{7d", b"}"), (b"{7b", b"{")):
        pk = pk.replace(escape, character)
    return pk.decode()


def holders(rdb, name="email", model="Member"):
    """value -> the pks of the documents that have it."""
    found, head = {}, f"rapyer:{{{model}:".encode()
    for key in rdb.keys(f"rapyer:{{{model}:*}}"):
        value = rdb.hget(key, name)
        if value not in (None, NULL):
            found.setdefault(value.decode(), []).append(unescaped(key[len(head):-1]))
    return found


def check_entries(rdb):
    """Each value has one holder, and is found; with nothing left over."""
    have = holders(rdb)
    assert all(len(pks) == 1 for pks in have.values()), have
    sets = {key[len(HEAD):]: [pk.decode() for pk in rdb.smembers(key)] for key in rdb.keys(HEAD + "*")}
    sets.pop(NULL, None)
    assert {value.decode(): pks for value, pks in sets.items()} == have


@pytest.mark.parametrize("call", [
    ("doc.save", "Member:2", {"email": "a@b"}),
    ("doc.insert", [["Member:3", {"email": "x"}], ["Member:4", {"email": "a@b"}]]),
    ("doc.get_or_create", "Member:5", {"email": "a@b"}),
    ("set", "Member:other", "email", "a@b"),
    ("str.append", "Member:half", "email", "@b"),
    ("doc.duplicate", "Member:1", "6"),
    ("pipeline", [["set", "Member:other", "note", "n"], ["num.incr", "Member:half", "count", 1],
                  ["set", "Member:other", "email", "a@b"]]),
    ("pipeline", [["doc.save", "Member:7", {"email": "a@b"}], ["doc.delete", "Member:other"]]),
    ("pipeline", [["doc.duplicate", "Member:1", "8"]]),
])
def test_conflict(members, rdb, call):
    """Refused as a whole, by a text that says all."""
    members.call("doc.save", "Member:1", {"email": "a@b"})
    members.call("doc.insert", [["Member:other", {"email": "c"}], ["Member:half", {"email": "a"}]])
    before = {key: rdb.hgetall(key) for key in rdb.keys("rapyer:{Member:*}")}
    text = refused(members, "CONFLICT", *call)
    assert "Member.email" in text and "'a@b'" in text and "Member:1;" in text
    assert {key: rdb.hgetall(key) for key in rdb.keys("rapyer:{Member:*}")} == before
    check_entries(rdb)


def test_zeros(client):
    """Of numbers there is one, of texts two."""
    client.call("define", atomic("Zero", field("text", "optional<str>", default=None, unique=True),
                                 field("real", "optional<float>", default=None, unique=True)))
    client.call("doc.save", "Zero:1", {"text": "0", "real": 0.0})
    client.call("doc.save", "Zero:2", {"text": "-0"})
    refused(client, "CONFLICT", "doc.save", "Zero:3", {"text": "-0"})
    refused(client, "CONFLICT", "doc.save", "Zero:3", {"real": -0.0})
    client.call("doc.delete", "Zero:1")
    refused(client, "CONFLICT", "doc.insert", [["Zero:5", {"real": 0.0}], ["Zero:6", {"real": -0.0}]])
    client.call("doc.insert", [["Zero:5", {"text": "0"}], ["Zero:6", {"real": -0.0}]])
    refused(client, "CONFLICT", "doc.save", "Zero:7", {"real": 0.0})


def without_conflict(members, other):
    """What changes hands."""
    for pk in "123":
        members.call("doc.save", f"Member:{pk}", {"note": pk})
    members.call("doc.save", "Member:1", {"email": "a"})
    members.call("doc.save", "Member:1", {"email": "a", "note": "again"})
    members.call("set", "Member:1", "email", "a")
    members.call("set", "Member:1", "email", "b")
    members.call("set", "Member:2", "email", "a")
    members.call("set", "Member:2", "email", None)
    members.call("set", "Member:3", "email", "a")
    members.call("doc.delete", "Member:3")
    members.call("doc.save", "Member:2", {"email": "a"})
    members.call("doc.save", "Member:2", {})
    members.call("doc.save", other, {"email": "a"})
    assert f"{other};" in refused(members, "CONFLICT", "set", "Member:2", "email", "a")


def test_what_is_no_conflict(members, rdb):
    without_conflict(members, "Member:{/}")
    check_entries(rdb)


def test_numbers(members, rdb):
    members.call("doc.insert", [["Member:1", {"number": 1}], ["Member:5", {"number": 5}]])
    assert "'5' is that of Member:5" in refused(members, "CONFLICT", "num.incr", "Member:1", "number", 4)
    assert members.call("num.incr", "Member:1", "number", 3) == 4
    refused(members, "CONFLICT", "set", "Member:5", "number", 4)
    refused(members, "CONFLICT", "pipeline", [["num.incr", "Member:5", "number", -2], ["num.incr", "Member:5", "number", 1]])
    members.call("pipeline", [["num.incr", "Member:5", "number", -1], ["num.incr", "Member:5", "number", 1]])
    assert holders(rdb, "number") == {"4": ["1"], "5": ["5"]}


def test_long_values_that_are_cut_alike(members, rdb):
    one, two = "h" * 64 + "1" * 50 + "t" * 48, "h" * 64 + "2" * 50 + "t" * 48
    members.call("doc.insert", [["Member:1", {"email": one}], ["Member:2", {"email": two}]])
    refused(members, "CONFLICT", "doc.save", "Member:3", {"email": two})
    assert len(holders(rdb)) == 2


def test_one_pipeline_gives_it_to_two(members, rdb):
    text = refused(members, "CONFLICT", "doc.insert", [["Member:1", {"email": "a"}], ["Member:2", {"email": "a"}]])
    assert "Member:1;" in text or "Member:2;" in text
    refused(members, "CONFLICT", "pipeline", [["doc.save", "Member:1", {"email": "a"}],
                                              ["doc.save", "Member:2", {"email": "a"}]])
    assert not rdb.keys("rapyer:{Member*")
    members.call("pipeline", [["doc.save", "Member:1", {"email": "a"}], ["set", "Member:1", "email", "b"],
                              ["doc.save", "Member:2", {"email": "a"}]])
    check_entries(rdb)


def test_under_a_lock(members, rdb):
    members.call("doc.insert", [["Member:1", {"email": "a"}], ["Member:2", {"email": "b"}]])
    token = members.call("lock.acquire", "Member:2", "x")["token"]
    refused(members, "CONFLICT", "pipeline", [["set", "Member:2", "email", "a"]], {"lock": token})
    members.call("pipeline", [["set", "Member:2", "email", "c"]], {"lock": token})
    refused(members, "CONFLICT", "lock.release", token, [["set", "Member:2", "email", "a"]])
    members.call("lock.release", token, [["set", "Member:2", "email", "d"]])
    check_entries(rdb)


@pytest.mark.parametrize("value", ["leftover", "moved", "ended"])
def test_what_is_left_over_refuses_nothing(members, rdb, value):
    if value == "leftover":
        rdb.sadd(HEAD + value, "ghost")
    else:
        members.call("doc.save", "Member:1", {"email": value})
        if value == "moved":
            rdb.hset("rapyer:{Member:1}", "email", "elsewhere")
        else:
            rdb.pexpire("rapyer:{Member:1}", 1)
            wait_until(lambda: not rdb.exists("rapyer:{Member:1}"))
        assert rdb.smembers(HEAD + value) == {b"1"}
    members.call("doc.save", "Member:2", {"email": value})
    assert holders(rdb)[value] == ["2"]


def test_a_holder_with_a_deadline(members, rdb):
    """Its entries are put right by the script that stands around the batch, and it holds the value within."""
    for i in range(30):
        members.call("doc.save", f"Seat:{i}", {"row": i})
        sent = [members.send("set", f"Seat:{i}", "note", "n"), members.send("doc.save", f"Seat:x{i}", {"row": i}),
                members.send("doc.delete", f"Seat:{i}"), members.send("doc.save", f"Seat:y{i}", {"row": i}),
                members.send("doc.save", f"Seat:z{i}", {"row": i})]
        outcomes = []
        for request in sent:
            try:
                outcomes.append(members.wait(request) and "")
            except RpcError as error:
                outcomes.append(error.code)
        assert len(holders(rdb, "row", "Seat")[str(i)]) == 1, outcomes
        assert outcomes[3:].count("CONFLICT") >= 1
    rows = {int(key.decode().rsplit("=", 1)[1]): len(rdb.smembers(key)) for key in rdb.keys("rapyer:@index:Seat/row=*")}
    assert rows == {i: 1 for i in range(30)}


def test_a_spoilt_key_is_told(members, rdb):
    rdb.set(HEAD + "a", "spoilt")
    assert "Member.email" in refused(members, "CORRUPT", "doc.save", "Member:1", {"email": "a"})
    members.call("doc.insert", [["Member:1", {"email": "b"}], ["Member:2", {"email": "c"}]])
    assert rdb.hget("rapyer:@index", "Member/email=") == b"!" + HEAD.encode() + b"a"
    rdb.delete(HEAD + "a", HEAD + "b")
    members.call("doc.save", "Member:3", {"email": "a"})
    wait_until(lambda: rdb.smembers(HEAD + "b") == {b"1"}, what="the index to be built anew")
    refused(members, "CONFLICT", "set", "Member:2", "email", "b")


@pytest.mark.parametrize("code, model", [
    ("BAD_SCHEMA", atomic("Other", field("email", "str", unique=True, default=""))),
    ("BAD_SCHEMA", atomic("Other", field("email", "str", unique="yes"))),
    ("BAD_SCHEMA", atomic("Other", field("tags", "list<str>", unique=True))),
    ("BAD_SCHEMA", atomic("Other", field("price", "decimal", unique=True))),
    ("BAD_SCHEMA", {"name": "Other", "kind": "plain", "fields": [field("email", "str", unique=True)]}),
    ("SCHEMA_CONFLICT", atomic("Member", field("seat", "str", unique=True))),
])
def test_declarations_that_are_refused(members, code, model):
    assert refused(members, code, "define", model)


def test_only_what_is_new_becomes_unique(members, rdb, redis_server, new_daemon):
    plain = atomic("Box", field("name", "optional<str>", default=None))
    members.call("define", plain)
    members.call("doc.insert", [["Box:1", {"name": "a"}], ["Box:2", {"name": "a"}]])
    text = refused(members, "SCHEMA_CONFLICT", "define", atomic("Box", field("name", "optional<str>", default=None, unique=True)))
    assert "only a new field" in text
    members.call("define", atomic("Box", field("label", "optional<str>", default=None, unique=True)))
    members.call("set", "Box:1", "label", "x")
    with new_daemon(redis_server.address).connect() as other:
        other.call("define", plain)
        other.call("define", atomic("Box", field("label", "optional<str>", default=None)))
        refused(other, "CONFLICT", "set", "Box:2", "label", "x")
    refused(members, "CONFLICT", "set", "Box:2", "label", "x")


def test_a_model_within(members, rdb):
    members.call("define", atomic("Login", field("name", "optional<str>", default=None, unique=True)))
    members.call("define", atomic("Account", field("login", "Login"), field("all", "list<Login>")))
    members.call("doc.save", "Account:1", {"login": {"name": "a"}, "all": [{"name": "a"}, {"name": "a"}]})
    text = refused(members, "CONFLICT", "doc.save", "Account:2", {"login": {"name": "a"}})
    assert "Account.login.name" in text
    members.call("doc.save", "Account:2", {"all": [{"name": "a"}]})
    refused(members, "CONFLICT", "set", "Account:2", "login.name", "a")
    refused(members, "CONFLICT", "set", "Account:2", "login", {"name": "a"})
    members.call("doc.save", "Login:1", {"name": "a"})


# --- many at once ----------------------------------------------------------------------------

def outcome(client, request):
    try:
        client.wait(request)
        return "won"
    except RpcError as error:
        return error.code


def race(clients, values, start):
    """Each client wants each value for a document of its own; who got it."""
    won = [None] * len(clients)

    def one(number):
        start.wait()
        sent = [(value, clients[number].send("doc.save", f"Member:{number}-{value}", {"email": str(value)}))
                for value in values]
        won[number] = {value: outcome(clients[number], request) for value, request in sent}

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_two_daemons_race(daemons, rdb):
    clients = [daemons[i % 2].connect() for i in range(4)]
    for client in clients:
        client.call("define", MEMBER)
    values = range(2000 if FULL else 300)
    won = race(clients, values, threading.Barrier(4))
    have = holders(rdb)
    for value in values:
        mine = sorted(outcomes[value] for outcomes in won)
        assert mine == ["CONFLICT"] * 3 + ["won"], (value, mine)
        winner = next(number for number, outcomes in enumerate(won) if outcomes[value] == "won")
        assert have[str(value)] == [f"{winner}-{value}"]
    check_entries(rdb)
    for client in clients:
        client.close()


class Worker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def call(self):
        r = self.random
        key, email = f"Member:{r.randrange(12)}", r.choice([None, "", *"abcde"])
        return r.choice([
            ("doc.save", key, {"email": email}), ("set", key, "email", email), ("doc.delete", key),
            ("num.incr", key, "count", 1), ("doc.ttl", key, r.choice([0, 1000])),
            ("doc.duplicate", key, str(r.randrange(12, 15))),
            ("pipeline", [["set", key, "email", email], ["num.incr", key, "count", 1]]),
            ("pipeline", [["doc.delete", "Member:0"], ["doc.save", key, {"email": email}]])])


@pytest.mark.parametrize("seed", range(2 if not FULL else 20))
def test_random_with_cuts(redis_server, new_proxy, new_daemon, rdb, seed):
    """Two daemons, the link of one is cut in the middle of commits: what is answered is so."""
    proxy = new_proxy(redis_server.address)
    daemons = [new_daemon(proxy.address, FAST), new_daemon(redis_server.address, FAST)]
    clients, worker = [daemon.connect() for daemon in daemons], Worker(seed)
    for client in clients:
        client.call("define", MEMBER)
    codes = set()
    for turn in range(15 if not FULL else 100):
        proxy.cut_after(worker.random.choice(["requests", "replies"]), worker.random.randrange(1, 4000))
        sent = [(client, client.send(*worker.call())) for _ in range(20) for client in clients]
        codes |= {outcome(client, request) for client, request in sent}
        assert all(len(pks) == 1 for pks in holders(rdb).values()), turn
    assert "won" in codes and "CONFLICT" in codes
    assert codes <= {"won", "CONFLICT", "NOT_FOUND", "BUSY", "UNAVAILABLE", "UNKNOWN_OUTCOME"}
    for client in clients:
        client.close()


def test_an_answer_that_is_lost(redis_server, new_proxy, new_daemon, rdb):
    """Applied once or refused, and the answer says which, and who has the value."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, FAST).connect() as client:
        client.call("define", MEMBER)
        client.call("doc.save", "Member:1", {"email": "a"})
        for i in range(20):
            client.call("doc.save", "Member:2", {"email": f"n{i}"})
            proxy.cut_after("replies", 1)
            assert "'a' is that of Member:1;" in refused(client, "CONFLICT", "set", "Member:2", "email", "a")
            proxy.cut_after("replies", 1)
            assert client.call("pipeline", [["set", "Member:2", "email", f"m{i}"], ["num.incr", "Member:2", "count", 1]])[1] == 1
        proxy.disarm()
    check_entries(rdb)


def test_a_daemon_is_killed(daemons, rdb):
    """Whatever of its writes was applied, the others go on, and each value has one holder."""
    one, two = daemons[0].connect(), daemons[1].connect()
    for client in (one, two):
        client.call("define", MEMBER)
    for value in range(100):
        one.send("doc.save", f"Member:one{value}", {"email": str(value)})
        if value == 50:
            daemons[0].kill()
            break
    won = [outcome(two, two.send("doc.save", f"Member:two{value}", {"email": str(value)})) for value in range(100)]
    have = holders(rdb)
    assert all(len(pks) == 1 for pks in have.values()) and len(have) == 100
    for value in range(100):
        assert (won[value] == "won") == (have[str(value)] == [f"two{value}"])
