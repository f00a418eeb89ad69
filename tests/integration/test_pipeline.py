"""Pipelines: applied whole or not at all."""

import pytest

from models import KEY, save_ada
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
