"""Pipelines: applied whole or not at all."""

import pytest

from models import ADA, KEY, save_ada
from rpc_client import RpcError
from test_bad_input import VALUES
from test_basic import in_redis


@pytest.fixture
def ada(client):
    save_ada(client)
    return client


def test_pipeline_gives_all_results(ada, rdb):
    version = int(in_redis(rdb, "", "@v"))
    assert ada.call("pipeline", [["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", "d"],
                                 ["num.incr", KEY, "age", 1], ["list.pop", KEY, "tags"]]) == [
        37, 4, 38, "d"]
    assert in_redis(rdb, "", "age") == b"38"
    assert int(in_redis(rdb, "", "@v")) == version + 1


def test_pipeline_is_all_or_nothing(ada, redis_server):
    before, document = redis_server.snapshot(), ada.call("doc.get", KEY)
    with pytest.raises(RpcError, match="^OUT_OF_RANGE: "):
        ada.call("pipeline", [["num.incr", KEY, "age", 1], ["set", KEY, "counts", {}],
                              ["list.remove_range", KEY, "sections", 0, 1],
                              ["list.set", KEY, "tags", 99, "x"]])
    assert redis_server.snapshot() == before
    assert ada.call("doc.get", KEY) == document


def test_pipeline_with_expected_version(ada, rdb):
    version = int(in_redis(rdb, "", "@v"))
    operations = [["num.incr", KEY, "age", 1]]
    assert ada.call("pipeline", operations, {"if_version": {KEY: version}}) == [37]
    with pytest.raises(RpcError, match="^CONFLICT: "):
        ada.call("pipeline", operations, {"if_version": {KEY: version}})
    assert in_redis(rdb, "", "age") == b"37"


@pytest.mark.parametrize("code,method,path,args", [(v[0], v[1], v[2], v[3:]) for v in VALUES],
                         ids=[f"{v[0]}-{v[1]}-{i}" for i, v in enumerate(VALUES)])
def test_refusal_in_the_middle_takes_all_with_it(ada, redis_server, code, method, path, args):
    before, document = redis_server.snapshot(), ada.call("doc.get", KEY)
    with pytest.raises(RpcError):
        ada.call("pipeline", [["num.mul", KEY, "score", 2], ["list.insert", KEY, "addresses", 0, {"street": "x"}],
                              ["list.pop", KEY, "rows"], ["dict.clear", KEY, "counts"],
                              [method, KEY, path, *args], ["set", KEY, "bio", "x"]])
    assert redis_server.snapshot() == before
    assert ada.call("doc.get", KEY) == document


@pytest.mark.parametrize("params", [
    [], ["set"], [[["set", KEY, 7, 1]]], [["set", KEY, "age", 1]], [[[]]], [[], 7],
    [[["set", KEY, "age"]]], [[["no.such", KEY]]], [[["set", "User:nobody", "age", 1]]]],
    ids=range(9))
def test_pipeline_of_the_wrong_shape(ada, redis_server, params):
    before = redis_server.snapshot()
    with pytest.raises(RpcError) as caught:
        ada.call("pipeline", *params)
    assert caught.value.code in ("BAD_REQUEST", "UNKNOWN_METHOD", "NOT_FOUND", "BAD_KEY", "BAD_TYPE",
                                 "BAD_PATH"), caught.value.error
    assert redis_server.snapshot() == before


@pytest.mark.parametrize("said,operation", [
    ("operation 1 (list.set): ", ["list.set", KEY, "tags", 99, "x"]),
    ("operation 1 (doc.save): ", ["doc.save", KEY, {"age": "old"}]),
    ("operation 1 (doc.get): ", ["doc.get", "User:nobody"]),
    ("operation 1: set takes 3 parameters, and got 2", ["set", KEY, "age"]),
    ("operation 1: list.pop takes 2 to 3 parameters, and got 1", ["list.pop", KEY]),
    ("operation 1: doc.save takes 2 to 3 parameters, and got 1", ["doc.save", KEY]),
    ("operation 1: doc.delete takes 1 parameter, and got 2", ["doc.delete", KEY, 1]),
    ("operation 1: 'doc.insert' cannot be in a pipeline", ["doc.insert", KEY, {}]),
    ("operation 1 should be [method, key, ...]", ["doc.get"])])
def test_refusal_says_which_operation_it_was(ada, said, operation):
    with pytest.raises(RpcError) as caught:
        ada.call("pipeline", [["num.incr", KEY, "age", 1], operation])
    assert said in str(caught.value)


def test_pipelines_that_wait_for_their_documents(ada, daemon):
    """Each is read at once, and carried out when Redis has answered and its bytes are gone."""
    keys = [f"User:{n}" for n in range(30)]
    for key in keys:
        ada.call("doc.save", key, ADA)
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        asked = [client.send("pipeline", [
            operation for key in keys for operation in (
                ["num.incr", key, "age", n], ["list.append", key, "tags", "x" * 100],
                ["list.pop", key, "sections", n % 2], ["doc.get", key],
                ["set", key, "sections", ADA["sections"]], ["dict.set", key, "counts", f"{n}", n])])
            for n in range(10)]
        age = ADA["age"]
        for n, request in enumerate(asked):
            results = client.wait(request)
            age += n
            for at, key in enumerate(keys):
                added, length, section, document = results[6 * at:6 * at + 4]
                assert (added, length) == (age, len(ADA["tags"]) + n + 1)
                assert section["@pk"] == ADA["sections"][n % 2]["@pk"]
                assert len(document["sections"]) == len(ADA["sections"]) - 1
        counts = ADA["counts"] | {f"{n}": n for n in range(10)}
        assert all(client.call("doc.load", key, "counts") == counts for key in keys)
