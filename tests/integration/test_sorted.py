"""Fields of type sorted<T>, priority queues: what each operation answers and leaves in Redis, also where
two daemons work on one, and where the key holds something else."""

import random

import pytest

from models import atomic, field
from rpc_client import RpcError
from test_basic import Version
from test_two_daemons import crowd

DESK = atomic("Desk", field("name", "str", default=""), field("queue", "sorted<str>"),
              field("ranks", "sorted<int>"), field("preset", "sorted<str>", default=[["a", 1], ["b", 2.5]]))
KEY, ROOT = "Desk:1", "rapyer:{Desk:1}"
ABC = [["a", 1.0], ["b", 2.0], ["c", 3.0]]


@pytest.fixture
def client(client):
    client.call("define", DESK)
    client.call("doc.save", KEY, {"queue": [["c", 3], ["a", 1], ["b", 2]], "ranks": [[10, 0], [9, 0]]})
    return client


def in_redis(rdb, path="queue"):
    return [[member.decode(), score] for member, score in rdb.zrange(f"{ROOT}/{path}", 0, -1, withscores=True)]


@pytest.mark.parametrize("op, args, answer, left", [
    ("sorted.push", ["d", 0.5], 1, [["d", 0.5], *ABC]),
    ("sorted.push", ["a", 9], 0, [["b", 2.0], ["c", 3.0], ["a", 9.0]]),
    ("sorted.push", ["a", -0.0], 0, [["a", 0.0], ["b", 2.0], ["c", 3.0]]),
    ("sorted.push_many", [[["d", 4], ["a", 1.5]]], 1, [["a", 1.5], ["b", 2.0], ["c", 3.0], ["d", 4.0]]),
    ("sorted.push_many", [[]], 0, ABC),
    ("sorted.incr", ["a", 1.5], 2.5, [["b", 2.0], ["a", 2.5], ["c", 3.0]]),
    ("sorted.incr", ["new", -1], -1.0, [["new", -1.0], *ABC]),
    ("sorted.pop_min", [], ["a", 1.0], ABC[1:]), ("sorted.pop_max", [], ["c", 3.0], ABC[:2]),
    ("sorted.pop_min", [2], ABC[:2], ABC[2:]), ("sorted.pop_max", [2], [ABC[2], ABC[1]], ABC[:1]),
    ("sorted.pop_min", [99], ABC, []), ("sorted.pop_min", [0], [], ABC),
    ("sorted.peek", [], ["a", 1.0], ABC), ("sorted.peek", [2], ABC[:2], ABC),
    ("sorted.score", ["b"], 2.0, ABC), ("sorted.score", ["x"], None, ABC),
    ("sorted.rank", ["c"], 2, ABC), ("sorted.rank", ["x"], None, ABC),
    ("sorted.range", [1, 3], ABC[1:], ABC), ("sorted.range", [-1], ABC[2:], ABC),
    ("sorted.range", [0, None], ABC, ABC), ("sorted.range", [2, 1], [], ABC),
    ("sorted.range_by_score", [2, None], ABC[1:], ABC), ("sorted.range_by_score", [None, 1.5], ABC[:1], ABC),
    ("sorted.range_by_score", [1, 3], ABC, ABC), ("sorted.range_by_score", [3, 1], [], ABC),
    ("sorted.remove", ["b"], 1, [ABC[0], ABC[2]]), ("sorted.remove", ["x"], 0, ABC),
    ("sorted.remove_range", [1], 2, ABC[:1]), ("sorted.remove_range", [0, 1], 1, ABC[1:]),
    ("sorted.remove_by_score", [2, 3], 2, ABC[:1]), ("sorted.remove_by_score", [None, None], 3, []),
    ("sorted.size", [], 3, ABC), ("sorted.clear", [], Version, []),
    ("set", [[["z", 1], ["y", 1]]], Version, [["y", 1.0], ["z", 1.0]]),
])
@pytest.mark.parametrize("within", ["alone", "pipeline"])
def test_operation(client, rdb, op, args, answer, left, within):
    if within == "alone":
        got = client.call(op, KEY, "queue", *args)
    else:
        got, = client.call("pipeline", [[op, KEY, "queue", *args]])
    assert got == answer or (answer is Version and isinstance(got, int))
    assert client.call("doc.load", KEY, "queue") == left
    assert in_redis(rdb) == left
    assert client.call("doc.get", KEY, {"fresh": True})["queue"] == left


def test_members_of_one_score_stand_as_in_redis(client, rdb, new_daemon, redis_server):
    assert client.call("doc.load", KEY, "ranks") == [[10, 0.0], [9, 0.0]]
    client.call("sorted.push_many", KEY, "queue", [["é", 1], ["aa", 1], ["A", 1], ["", 1]])
    shown = client.call("doc.load", KEY, "queue")
    assert shown == in_redis(rdb)
    with new_daemon(redis_server.address).connect() as other:
        assert other.call("doc.get", KEY)["queue"] == shown
        assert other.call("doc.get", KEY)["preset"] == [["a", 1.0], ["b", 2.5]]
        assert other.call("sorted.rank", KEY, "queue", "aa") == 3


@pytest.mark.parametrize("op, args, code", [
    ("sorted.push", ["queue", 1, 1], "BAD_TYPE: queue: str expected"), ("sorted.push", ["queue", "x"], "BAD_REQUEST"),
    ("sorted.push", ["queue", "x", "y"], "BAD_TYPE.*score must be an int or float"),
    ("sorted.push", ["queue", "x", float("nan")], "BAD_VALUE.*finite"),
    ("sorted.push", ["queue", "x", float("inf")], "BAD_VALUE.*finite"),
    ("sorted.push", ["name", "x", 1], "BAD_TYPE: sorted.push needs a field of type sorted<>"),
    ("sorted.push", ["queue[0]", "x", 1], "BAD_PATH"), ("sorted.push_many", ["queue", [["x"]]], "BAD_TYPE"),
    ("sorted.push_many", ["queue", [["x", 1], ["x", 2]]], "BAD_VALUE"), ("sorted.push_many", ["queue", {}], "BAD_TYPE"),
    ("sorted.pop_min", ["queue", -1], "OUT_OF_RANGE"), ("sorted.pop_min", ["queue", "x"], "BAD_TYPE"),
    ("sorted.range", ["queue", 1.5], "BAD_TYPE"), ("sorted.range_by_score", ["queue", "x", 1], "BAD_TYPE"),
    ("sorted.incr", ["queue", "a", float("-inf")], "BAD_VALUE"), ("set", ["queue", ["x"]], "BAD_TYPE"),
    ("set", ["queue", [["x", None]]], "BAD_VALUE"), ("set.add", ["queue", "x"], "BAD_TYPE"),
])
def test_bad_input(client, rdb, op, args, code):
    with pytest.raises(RpcError, match=code):
        client.call(op, KEY, *args)
    assert in_redis(rdb) == ABC


@pytest.mark.parametrize("kind", ["list<sorted<str>>", "optional<sorted<str>>", "dict<sorted<int>>", "sorted<Desk>"])
def test_only_as_a_field(client, kind):
    with pytest.raises(RpcError, match="BAD_SCHEMA"):
        client.call("define", atomic("Other", field("f", kind)))
    with pytest.raises(RpcError, match="BAD_SCHEMA"):
        client.call("define", {**atomic("Plain", field("f", "sorted<str>")), "kind": "plain"})


def test_empty(client, rdb):
    client.call("sorted.clear", KEY, "queue")
    for op in ("sorted.pop_min", "sorted.pop_max", "sorted.peek"):
        with pytest.raises(RpcError, match=f"NOT_FOUND: {op}: 'queue' is empty"):
            client.call(op, KEY, "queue")
    assert not rdb.exists(f"{ROOT}/queue")


def test_a_pipeline_is_taken_back(client, rdb):
    with pytest.raises(RpcError, match="NOT_FOUND"):
        client.call("pipeline", [["sorted.push", KEY, "queue", "z", 0], ["sorted.incr", KEY, "queue", "a", 7],
                                 ["sorted.pop_min", KEY, "queue", 3], ["sorted.remove", KEY, "queue", "a"],
                                 ["sorted.pop_min", KEY, "queue"]])
    assert in_redis(rdb) == client.call("doc.load", KEY, "queue") == ABC


@pytest.mark.parametrize("spoil, why", [
    (lambda rdb: rdb.set(f"{ROOT}/queue", "x"), "should be a zset"),
    (lambda rdb: rdb.zadd(f"{ROOT}/queue", {"x": float("inf")}), "a score in it is no finite number"),
    (lambda rdb: rdb.zadd(f"{ROOT}/ranks", {"x": 1}), "int expected"),
])
def test_what_another_program_put_there(client, rdb, spoil, why):
    spoil(rdb)
    rdb.hincrby(ROOT, "@v", 1)
    with pytest.raises(RpcError, match=f"CORRUPT.*{why}"):
        client.call("doc.get", KEY, {"fresh": True})


def test_many_members_are_read_in_slices(redis_server, new_daemon, rdb):
    count = 45_000
    with new_daemon(redis_server.address).connect() as client:
        client.call("define", DESK)
        client.call("doc.save", KEY, {"ranks": [[i, i % 100] for i in range(count)]})
    rdb.config_resetstat()
    with new_daemon(redis_server.address).connect() as client:
        assert client.call("sorted.size", KEY, "ranks") == count
        assert client.call("sorted.pop_max", KEY, "ranks") == [9999, 99.0]
        assert client.call("sorted.size", KEY, "ranks") == count - 1
        assert client.call("sorted.range", KEY, "ranks", 0, 2) == [[0, 0.0], [100, 0.0]]
    assert rdb.info("commandstats")["cmdstat_zrange"]["calls"] >= 5
    assert rdb.zcard(f"{ROOT}/ranks") == count - 1


def test_as_a_sorted_list_of_python(client, rdb):
    """A model beside it, a thousand times."""
    dice, model = random.Random(11), {10: 0.0, 9: 0.0}

    def order():
        return [[n, s] for n, s in sorted(model.items(), key=lambda pair: (pair[1], str(pair[0])))]

    for _ in range(1000):
        n, score = dice.randrange(15), dice.randrange(-4, 5) / 2
        op = dice.choice(["push", "incr", "remove", "pop_min", "pop_max", "range", "rank", "by_score"])
        if op == "push":
            assert client.call("sorted.push", KEY, "ranks", n, score) == int(n not in model)
            model[n] = score
        elif op == "incr":
            model[n] = model.get(n, 0.0) + score
            assert client.call("sorted.incr", KEY, "ranks", n, score) == model[n]
        elif op == "remove":
            assert client.call("sorted.remove", KEY, "ranks", n) == int(n in model)
            model.pop(n, None)
        elif op in ("pop_min", "pop_max"):
            wanted = (order() if op == "pop_min" else order()[::-1])[:2]
            assert client.call(f"sorted.{op}", KEY, "ranks", 2) == wanted
            for member, _ in wanted:
                del model[member]
        elif op == "rank":
            ranks = [member for member, _ in order()]
            assert client.call("sorted.rank", KEY, "ranks", n) == (ranks.index(n) if n in ranks else None)
        elif op == "by_score":
            assert client.call("sorted.range_by_score", KEY, "ranks", score, score + 1) == [
                pair for pair in order() if score <= pair[1] <= score + 1]
        else:
            assert client.call("sorted.range", KEY, "ranks", 0) == order()
    assert in_redis(rdb, "ranks") == [[str(member), score] for member, score in order()]


def test_two_daemons_take_each_job_once(redis_server, new_daemon, rdb):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", DESK)
    with daemons[0].connect() as client:
        client.call("doc.save", KEY, {})

    def push(client, number):
        return [client.call("sorted.push", KEY, "queue", f"{number}.{i}", i) for i in range(15)]

    assert crowd(daemons, push) == [[1] * 15] * 4

    def take(client, _):
        taken = []
        while pairs := client.call("sorted.pop_min", KEY, "queue", 2):
            taken += pairs
        return taken

    taken = [member for mine in crowd(daemons, take) for member, _ in mine]
    assert sorted(taken) == sorted(f"{n}.{i}" for n in range(4) for i in range(15))
    assert not rdb.exists(f"{ROOT}/queue")
