"""Operations on what is inside values: lists in lists and dicts, dicts in dicts, `any`, plain models. To
Redis each of those values is one; none of what several do to it at once is lost."""

import threading

import pytest

from models import atomic, field
from rpc_client import RpcError
from test_bad_input import refused

pytestmark = pytest.mark.exact

BOARD = atomic("Board", field("grid", "list<list<int>>"), field("lines", "dict<list<str>>"),
               field("extra", "any", default={"n": 0, "log": []}), field("n", "int", default=0))
KEY, ROOT = "Board:1", "rapyer:{Board:1}"
CONTENT = {"grid": [[0, 0], [0]], "lines": {"a": [], "b": ["x"]}}


def open_board(client):
    client.call("define", BOARD)
    client.call("doc.save", KEY, CONTENT)


def test_it_is_in_redis_as_one_value(client, rdb, redis_server, new_daemon):
    open_board(client)
    assert client.call("list.append", KEY, "grid[1]", 7) == 2
    assert client.call("num.incr", KEY, "grid[0][1]", 5) == 5
    assert client.call("list.append", KEY, 'lines["b"]', "y") == 2
    assert client.call("dict.set", KEY, "extra", "more", [1]) > 0
    assert client.call("list.append", KEY, 'extra["more"]', {"deep": []}) == 2
    assert client.call("list.append", KEY, 'extra["more"][1]["deep"]', None) == 1
    whole = {"@pk": "1", "grid": [[0, 5], [0, 7]], "lines": {"a": [], "b": ["x", "y"]},
             "extra": {"n": 0, "log": [], "more": [1, {"deep": [None]}]}, "n": 0}
    assert client.call("doc.get", KEY) == whole
    assert rdb.lrange(f"{ROOT}/grid", 0, -1) == [bytes([0x92, 0, 5]), bytes([0x92, 0, 7])]
    with new_daemon(redis_server.address).connect() as other:
        assert other.call("doc.get", KEY) == whole
        assert other.call("doc.load", KEY, 'extra["more"][1]["deep"][0]') is None


def test_in_pipelines_all_or_nothing(client, redis_server):
    open_board(client)
    assert client.call("pipeline", [["list.append", KEY, "grid[1]", 1], ["list.append", KEY, "grid[1]", 2],
                                    ["doc.load", KEY, "grid[1]"], ["list.pop", KEY, "grid[1]", 0],
                                    ["num.incr", KEY, 'extra["n"]', 3], ["num.incr", KEY, 'extra["n"]', 4],
                                    ["num.incr", KEY, "n", 1]]) == [2, 3, [0, 1, 2], 0, 3, 7, 1]
    before = redis_server.snapshot()
    refused(client, "OUT_OF_RANGE", "pipeline", [["list.append", KEY, "grid[1]", 1], ["num.incr", KEY, "n", 1],
                                                 ["list.pop", KEY, 'lines["a"]']])
    assert redis_server.snapshot() == before
    assert client.call("doc.load", KEY, "grid") == [[0, 0], [1, 2]]


def test_what_is_not_changed_is_not_written(client, rdb):
    open_board(client)
    client.call("dict.set", KEY, "extra", "k", 1)
    version = rdb.hget(ROOT, "@v")
    assert client.call("dict.del", KEY, "extra", "none") is False
    assert client.call("list.remove", KEY, "grid[0]", 99) == 0
    assert rdb.hget(ROOT, "@v") == version
    assert client.call("set", KEY, "grid[0][0]", 0) > int(version)


@pytest.mark.parametrize("code, method, args", [
    ("BAD_TYPE", "list.append", ["grid[0]", "x"]), ("OUT_OF_RANGE", "list.append", ["grid[2]", 1]),
    ("BAD_PATH", "num.incr", ["grid[0].x", 1]), ("BAD_TYPE", "dict.set", ["grid[0]", "k", 1]),
    ("NOT_FOUND", "list.append", ['lines["no"]', "x"]), ("NOT_FOUND", "num.incr", ['extra["no"][0]', 1]),
    ("BAD_PATH", "doc.load", ["extra.n"]), ("BAD_PATH", "watch", ['lines["a"][0]']),
    ("BAD_PATH", "doc.load", ["grid[0]" + "[0]" * 70]), ("BAD_PATH", "lock.acquire", ["edit", {"path": "grid[0][0]"}])])
def test_bad_input(client, code, method, args):
    open_board(client)
    refused(client, code, method, KEY, *args)
    assert client.call("doc.load", KEY, "grid") == CONTENT["grid"]


def test_values_do_not_grow_beyond_the_limit(redis_server, new_daemon):
    with new_daemon(redis_server.address, {"limits.max_value": "64K"}).connect() as client:
        open_board(client)
        client.call("list.append", KEY, 'lines["a"]', "x" * 60_000)
        refused(client, "TOO_LARGE", "list.append", KEY, 'lines["a"]', "x" * 10_000)
        assert client.call("list.append", KEY, 'lines["a"]', "y") == 2


def test_nothing_is_lost_between_two_daemons(redis_server, new_daemon):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    with daemons[0].connect() as client, daemons[1].connect() as other:
        open_board(client)
        other.call("define", BOARD)
    failed = []

    def work(number):
        try:
            with daemons[number % 2].connect() as client:
                for i in range(50):
                    client.call("list.append", KEY, 'lines["a"]', f"{number}:{i}")
                    client.call("num.incr", KEY, 'extra["n"]', 1)
                    client.call("num.incr", KEY, "grid[0][1]", 2)
        except RpcError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for daemon in daemons:
        with daemon.connect() as client:
            lines = client.call("doc.get", KEY, {"fresh": True})["lines"]["a"]
            assert sorted(lines) == sorted(f"{n}:{i}" for n in range(4) for i in range(50))
            for number in range(4):  # each client's in its order
                assert [one for one in lines if one.startswith(f"{number}:")] == [f"{number}:{i}" for i in range(50)]
            assert client.call("doc.load", KEY, 'extra["n"]') == 200
            assert client.call("doc.load", KEY, "grid[0][1]") == 400
