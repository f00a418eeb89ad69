"""decimal, date, time, timedelta, datetimes with and without a zone, uuid, enum and ref: checked, kept as
text that any program reads, and told as they were given."""

import pytest

from models import atomic, field
from rpc_client import RpcError
from test_two_daemons import crowd

UUID = "0b4ac3d2-5e6f-4a7b-8c9d-0e1f2a3b4c5d"
BILL = atomic("Bill", field("total", "decimal", default="0.00"), field("tax", "optional<decimal>"),
              field("day", "date"), field("at", "time"), field("took", "timedelta"),
              field("local", "datetime_naive"), field("moment", "datetime_zoned"), field("id", "uuid"),
              field("state", "enum<open|paid|void>", default="open"), field("owner", "optional<ref<Person>>"),
              field("rates", "list<decimal>"), field("parts", "dict<decimal>"), field("days", "set<date>"),
              field("marks", "list<enum<a|b>>"))
PERSON = atomic("Person", field("name", "str"), field("boss", "optional<ref<Person>>"))
KEY, ROOT = "Bill:1", "rapyer:{Bill:1}"
FULL = {"total": "12.50", "tax": None, "day": "2024-02-29", "at": "23:59:59.5", "took": "-90.5",
        "local": "2024-01-31T12:00:00", "moment": "2024-01-31T12:00:00+02:00", "id": UUID, "state": "paid",
        "owner": "Person:ada", "rates": ["0.1", "7"], "parts": {"a": "1.10"}, "days": ["2024-01-01"],
        "marks": ["b", "a"]}


@pytest.fixture
def client(client):
    client.call("define", PERSON)
    client.call("define", BILL)
    client.call("doc.save", KEY, FULL)
    return client


def test_told_as_they_were_given(client, rdb, new_daemon, redis_server):
    assert client.call("doc.get", KEY) == {"@pk": "1", **FULL}
    for name in ("total", "day", "at", "took", "local", "moment", "id", "state", "owner"):
        assert rdb.hget(ROOT, name).decode() == FULL[name]
    assert rdb.lrange(f"{ROOT}/rates", 0, -1) == [b"0.1", b"7"]
    with new_daemon(redis_server.address).connect() as other:
        assert other.call("doc.get", KEY) == {"@pk": "1", **FULL}


@pytest.mark.parametrize("path, given, form", [
    ("total", 7, "7"), ("total", "-0", "0"), ("at", "12:00:00.500", "12:00:00.5"), ("took", 60, "60"),
    ("moment", "2024-01-31T10:00:00Z", "2024-01-31T10:00:00+00:00"), ("id", UUID.upper(), UUID),
    ("tax", "0.19", "0.19"), ("owner", None, None), ("rates[0]", "0.20", "0.20"),
])
def test_one_form(client, path, given, form):
    client.call("set", KEY, path, given)
    assert client.call("doc.load", KEY, path) == form


@pytest.mark.parametrize("path, given, code", [
    ("total", "1e5", "BAD_VALUE: total: '1e5' is no decimal: like -12.50"), ("total", 1.5, "BAD_TYPE"),
    ("total", "1" * 39, "BAD_VALUE"), ("day", "2023-02-29", "BAD_VALUE"), ("day", 5, "BAD_TYPE"),
    ("at", "24:00:00", "BAD_VALUE"), ("took", "1.0000000001", "BAD_VALUE"),
    ("local", "2024-01-31T12:00:00Z", "BAD_VALUE"), ("moment", "2024-01-31T12:00:00", "BAD_VALUE"),
    ("id", "x", "BAD_VALUE"), ("state", "lost", "BAD_VALUE.*one of open|paid|void"), ("state", None, "BAD_TYPE"),
    ("owner", "Bill:1", "BAD_VALUE.*of model Person"), ("owner", "Person:", "BAD_VALUE"), ("marks[0]", "c", "BAD_VALUE"),
    ("days", ["2024-01-01", "2024-01-01"], "BAD_VALUE"),
])
def test_bad_input(client, path, given, code):
    with pytest.raises(RpcError, match=code):
        client.call("set", KEY, path, given)
    assert client.call("doc.get", KEY) == {"@pk": "1", **FULL}


@pytest.mark.parametrize("kind", ["enum", "enum<>", "enum<a|>", "enum<a|a>", "enum<a", "ref", "ref<>", "ref<a b>",
                                  "decimal<int>", "list<enum<a>", "enum<a>>"])
def test_types_that_are_none(client, kind):
    with pytest.raises(RpcError, match="BAD_SCHEMA"):
        client.call("define", atomic("Odd", field("f", kind)))


def test_an_enum_keeps_its_names(client):
    other = [field("state", "enum<open|paid>", default="open") if f["name"] == "state" else f for f in BILL["fields"]]
    with pytest.raises(RpcError, match="SCHEMA_CONFLICT.*enum<open.paid.void>.*enum<open.paid>"):
        client.call("define", atomic("Bill", *other))
    assert client.call("define", BILL)["revision"] == 1


@pytest.mark.parametrize("op, by, now", [
    ("num.incr", "0.10", "12.60"), ("num.incr", -12, "0.50"), ("num.mul", "1.19", "14.875"), ("num.div", 8, "1.5625"),
    ("num.floordiv", "5", "2"), ("num.mod", "5", "2.50"), ("num.pow", 2, "156.25"),
])
def test_arithmetic_is_exact(client, rdb, op, by, now):
    assert client.call(op, KEY, "total", by) == now
    assert rdb.hget(ROOT, "total").decode() == now
    assert client.call("num.incr", KEY, 'parts["a"]', "0.001") == "1.101"


@pytest.mark.parametrize("op, path, by, code", [
    ("num.div", "total", 3, "OUT_OF_RANGE"), ("num.div", "total", 0, "BAD_VALUE"), ("num.incr", "total", 0.1, "BAD_TYPE"),
    ("num.incr", "total", "x", "BAD_VALUE"), ("num.mul", "total", "9" * 38, "OUT_OF_RANGE"),
    ("num.pow", "total", "0.5", "BAD_VALUE"), ("num.pow", "total", 10 ** 6, "OUT_OF_RANGE"),
    ("num.mul", "tax", 2, "BAD_TYPE"), ("num.incr", "day", 1, "BAD_TYPE"), ("num.incr", "took", 1, "BAD_TYPE"),
])
def test_arithmetic_that_cannot_be(client, op, path, by, code):
    with pytest.raises(RpcError, match=code):
        client.call(op, KEY, path, by)
    assert client.call("doc.load", KEY, "total") == "12.50"


def test_crowds_on_two_daemons_lose_no_cent(redis_server, new_daemon):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", PERSON)
            client.call("define", BILL)
    with daemons[0].connect() as client:
        client.call("doc.save", KEY, {**FULL, "total": "0.00"})
    crowd(daemons, lambda client, _: [client.call("num.incr", KEY, "total", "0.01") for _ in range(25)])
    with daemons[0].connect() as client:
        assert client.call("doc.get", KEY, {"fresh": True})["total"] == "1.00"


def test_what_another_program_put_there(client, rdb):
    rdb.hset(ROOT, "total", "01.5")
    rdb.hincrby(ROOT, "@v", 1)
    with pytest.raises(RpcError, match="CORRUPT.*decimal expected .like -12.50"):
        client.call("doc.get", KEY, {"fresh": True})


def test_a_uuid_as_the_key(client):
    client.call("define", atomic("Job", field("id", "uuid"), field("n", "int", default=0), key="id"))
    client.call("doc.save", f"Job:{UUID}", {})
    assert client.call("doc.get", f"Job:{UUID}") == {"@pk": UUID, "id": UUID, "n": 0}
    with pytest.raises(RpcError, match="BAD_KEY"):
        client.call("doc.save", "Job:one", {})


def test_ref_get_follows_a_reference(client):
    client.call("doc.save", "Person:ada", {"name": "Ada", "boss": "Person:eve"})
    client.call("doc.save", "Person:eve", {"name": "Eve", "boss": "Person:eve"})
    assert client.call("ref.get", KEY, "owner") == {"@pk": "ada", "name": "Ada", "boss": "Person:eve"}
    assert client.call("ref.get", "Person:eve", "boss")["name"] == "Eve"
    client.call("set", KEY, "owner", None)
    assert client.call("ref.get", KEY, "owner") is None


@pytest.mark.parametrize("params, code", [
    ([KEY, "owner"], "NOT_FOUND: the reference leads to Person:ada, which is not there"),
    ([KEY, "state"], "BAD_TYPE: ref.get needs a ref<Model>: 'state' is enum<open.paid.void>"),
    ([KEY, ""], "BAD_TYPE.*the document"), ([KEY, "nothing"], "UNKNOWN_FIELD"), (["Bill:2", "owner"], "NOT_FOUND"),
    ([KEY], "BAD_REQUEST"), ([KEY, "owner", 1], "BAD_REQUEST"), ([KEY, 5], "BAD_REQUEST"), ([5, "owner"], "BAD_REQUEST"),
])
def test_references_that_lead_nowhere(client, params, code):
    with pytest.raises(RpcError, match=code):
        client.call("ref.get", *params)
