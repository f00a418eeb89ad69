"""Fields of type set<T>: what each operation answers and leaves in Redis, also where two daemons work
on one set, and where the key holds something else."""

import random

import pytest

from daemon_process import BIG_WORK
from models import atomic, field
from rpc_client import RpcError
from test_basic import Version
from test_guard import FAST
from test_two_daemons import crowd, done_again, held, scripts

CLUB = atomic("Club", field("name", "str", default=""), field("members", "set<str>"),
              field("numbers", "set<int>"), field("days", "set<datetime>"), field("rows", "set<list<int>>"),
              field("guests", "set<str>", default=["ada", "bob"]), field("teams", "dict<set<str>>"))
KEY, ROOT = "Club:1", "rapyer:{Club:1}"


@pytest.fixture
def client(client):
    client.call("define", CLUB)
    client.call("doc.save", KEY, {"members": ["a", "b", "c"], "numbers": [1, 2]})
    return client


def members(client, path="members"):
    return sorted(client.call("doc.load", KEY, path))


@pytest.mark.parametrize("op, args, answer, left", [
    ("set.add", ["d"], 1, "abcd"), ("set.add", ["a"], 0, "abc"), ("set.remove", ["a"], 1, "bc"),
    ("set.remove", ["x"], 0, "abc"), ("set.add_many", [["c", "d", "e", "d"]], 2, "abcde"),
    ("set.add_many", [[]], 0, "abc"), ("set.clear", [], Version, ""), ("set.has", ["a"], True, "abc"),
    ("set.has", ["x"], False, "abc"), ("set.size", [], 3, "abc"),
    ("set.unite", [["c", "d"]], 4, "abcd"), ("set.intersect", [["c", "d"]], 1, "c"),
    ("set.subtract", [["c", "d"]], 2, "ab"), ("set.subtract", [{"path": "members"}], 0, ""),
    ("set.unite", [{"path": "guests"}], 5, ["a", "ada", "b", "bob", "c"]),
    ("set", [["x", "y"]], Version, "xy"),
])
@pytest.mark.parametrize("within", ["alone", "pipeline"])
def test_operation(client, rdb, op, args, answer, left, within):
    if within == "alone":
        got = client.call(op, KEY, "members", *args)
    else:
        got, = client.call("pipeline", [[op, KEY, "members", *args]])
    assert got == answer or (answer is Version and isinstance(got, int))
    assert members(client) == sorted(left)
    assert rdb.smembers(f"{ROOT}/members") == {m.encode() for m in left}
    client.call("doc.get", KEY, {"fresh": True})
    assert members(client) == sorted(left)


@pytest.mark.parametrize("op, other, answer", [
    ("set.union", ["c", "d"], "abcd"), ("set.intersection", ["c", "d"], "c"),
    ("set.difference", ["c", "d"], "ab"), ("set.union", {"path": "guests"}, ["a", "ada", "b", "bob", "c"]),
])
def test_answers_that_are_sets(client, op, other, answer):
    assert sorted(client.call(op, KEY, "members", other)) == sorted(answer)
    assert members(client) == ["a", "b", "c"]


def test_pop_takes_each_once(client, rdb):
    assert {client.call("set.pop", KEY, "members") for _ in range(3)} == {"a", "b", "c"}
    with pytest.raises(RpcError, match="NOT_FOUND: set.pop: 'members' is empty"):
        client.call("set.pop", KEY, "members")
    assert not rdb.exists(f"{ROOT}/members")


def test_members_of_all_types(client, rdb, new_daemon, redis_server):
    rows = [[1, 2], [], [3]]
    client.call("set", KEY, "rows", rows)
    client.call("set.add", KEY, "numbers", -7)
    client.call("dict.set", KEY, "teams", "red", ["y", "x"])
    assert rdb.smembers(f"{ROOT}/numbers") == {b"1", b"2", b"-7"}
    with new_daemon(redis_server.address).connect() as other:
        assert sorted(other.call("doc.load", KEY, "rows")) == sorted(rows)
        assert sorted(other.call("doc.load", KEY, "numbers")) == [-7, 1, 2]
        assert other.call("doc.load", KEY, "teams") == {"red": ["x", "y"]}
        assert sorted(other.call("doc.get", KEY)["guests"]) == ["ada", "bob"]


@pytest.mark.parametrize("op, args, code", [
    ("set.add", ["members", 1], "BAD_TYPE: members: str expected, found int"),
    ("set.add", ["numbers", 2 ** 63], "OUT_OF_RANGE"), ("set.add", ["members"], "BAD_REQUEST"),
    ("set.add", ["members", "x", "y"], "BAD_REQUEST"), ("set.add", ["name", "x"], "BAD_TYPE: set.add needs"),
    ("set.add", ['teams["red"]', "x"], "NOT_FOUND"), ("set.add", ["members[0]", "x"], "BAD_PATH"),
    ("set.add_many", ["members", "x"], "BAD_TYPE"), ("set.add_many", ["members", ["x", None]], "BAD_TYPE"),
    ("set.union", ["members", {"path": "numbers"}], "BAD_TYPE"), ("set.union", ["members", {}], "BAD_REQUEST"),
    ("set.union", ["members", {"path": b"\xff"}], "BAD_REQUEST"), ("set.union", ["members", 5], "BAD_TYPE"),
    ("set", ["members", ["x", "x"]], "BAD_VALUE"), ("set", ["members", {"x": 1}], "BAD_TYPE"),
    ("list.append", ["members", "x"], "BAD_TYPE"), ("dict.set", ["members", "k", "x"], "BAD_TYPE"),
])
def test_bad_input(client, rdb, op, args, code):
    before = rdb.smembers(f"{ROOT}/members")
    with pytest.raises(RpcError, match=code):
        client.call(op, KEY, *args)
    assert rdb.smembers(f"{ROOT}/members") == before


def test_no_set_of_models(client):
    client.call("define", atomic("Seat", field("n", "int")))
    with pytest.raises(RpcError, match="BAD_SCHEMA"):
        client.call("define", atomic("Hall", field("seats", "set<Seat>")))


def test_the_empty_text_is_a_member(client, rdb, new_daemon, redis_server):
    """Also where it is the first thing that a daemon writes."""
    with new_daemon(redis_server.address).connect() as other:
        other.call("define", CLUB)
        assert other.call("set.add", KEY, "members", "") == 1
    with new_daemon(redis_server.address).connect() as other:
        other.call("define", CLUB)
        assert other.call("set.remove", KEY, "members", "") == 1
    assert rdb.smembers(f"{ROOT}/members") == {b"a", b"b", b"c"}


def test_a_pipeline_is_taken_back(client, rdb):
    with pytest.raises(RpcError, match="OUT_OF_RANGE|NOT_FOUND"):
        client.call("pipeline", [["set.add", KEY, "members", "z"], ["set.pop", KEY, "members"],
                                 ["set.clear", KEY, "members"], ["set.pop", KEY, "members"]])
    assert rdb.smembers(f"{ROOT}/members") == {b"a", b"b", b"c"}
    assert members(client) == ["a", "b", "c"]


def test_what_another_program_put_there(client, rdb):
    rdb.delete(f"{ROOT}/members")
    rdb.lpush(f"{ROOT}/members", "x")
    rdb.hincrby(ROOT, "@v", 1)
    with pytest.raises(RpcError, match="CORRUPT.*should be a set"):
        client.call("doc.get", KEY, {"fresh": True})
    rdb.delete(f"{ROOT}/members")
    rdb.sadd(f"{ROOT}/numbers", "three")
    assert client.call("set.size", KEY, "members") == 0
    with pytest.raises(RpcError, match="CORRUPT.*int expected"):
        client.call("set.has", KEY, "numbers", 3)


def test_removed_and_expired_with_the_document(client, rdb):
    client.call("doc.ttl", KEY, 100)
    client.call("set.add", KEY, "members", "late")
    assert 0 < rdb.ttl(f"{ROOT}/members") <= 100
    client.call("doc.delete", KEY)
    assert not rdb.keys(f"{ROOT}*")


def test_many_members_are_read_in_pages(redis_server, new_daemon, rdb):
    count = 120_000
    with new_daemon(redis_server.address, BIG_WORK).connect() as client:
        client.call("define", CLUB)
        client.call("doc.save", KEY, {"numbers": list(range(count))})
    rdb.config_resetstat()
    with new_daemon(redis_server.address).connect() as client:
        assert client.call("set.size", KEY, "numbers") == count
        assert client.call("set.has", KEY, "numbers", count - 1) is True
        assert client.call("set.has", KEY, "numbers", count) is False
    assert rdb.info("commandstats")["cmdstat_sscan"]["calls"] >= 12


def test_as_a_set_of_python(client, rdb):
    """A model beside it, a thousand times."""
    dice, model = random.Random(7), {1, 2}
    for _ in range(1000):
        given = [dice.randrange(12) for _ in range(dice.randrange(4))]
        n = dice.randrange(12)
        op, args, answer, model = dice.choice([
            ("set.add", [n], int(n not in model), model | {n}),
            ("set.remove", [n], int(n in model), model - {n}),
            ("set.add_many", [given], len(set(given) - model), model | set(given)),
            ("set.has", [n], n in model, model),
            ("set.size", [], len(model), model),
            ("set.unite", [list(set(given))], len(model | set(given)), model | set(given)),
            ("set.subtract", [list(set(given))], len(model - set(given)), model - set(given)),
        ])
        assert client.call(op, KEY, "numbers", *args) == answer
        if dice.randrange(50) == 0:
            assert set(client.call("doc.load", KEY, "numbers")) == model
            assert rdb.smembers(f"{ROOT}/numbers") == {str(n).encode() for n in model}


def test_the_other_was_first(redis_server, new_proxy, new_daemon, rdb):
    """Redis says whether a member was there, as it is added or taken out: no script, and nothing is done again.
    What follows from the members is. Shows C7."""
    hall = atomic("Hall", field("set", "set<str>"), field("sorted", "sorted<str>"))
    both, key = ["a", "b"], "Hall:1"
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, {**FAST, "coherence.bound": "1h"}).connect() as client, \
            new_daemon(redis_server.address).connect() as other:
        for one in client, other:
            one.call("define", hall)
        for op, args, theirs, answer, left in [
                ("set.add", ["x"], ["set.add", "x"], 0, ["a", "b", "x"]),
                ("set.add", ["x"], ["set.remove", "a"], 1, ["b", "x"]),
                ("set.remove", ["a"], ["set.remove", "a"], 0, ["b"]),
                ("set.remove", ["a"], ["set.clear"], 0, []),
                ("set.add", ["x"], ["set.clear"], 1, ["x"]),
                ("sorted.push", ["x", 3], ["sorted.push", "x", 4], 0, [["a", 1], ["b", 2], ["x", 3]]),
                ("sorted.push", ["a", 3], ["sorted.remove", "a"], 1, [["b", 2], ["a", 3]]),
                ("sorted.remove", ["a"], ["sorted.remove", "a"], 0, [["b", 2]]),
                ("sorted.remove", ["a"], ["sorted.push", "a", 7], 1, [["b", 2]])]:
            path = op.partition(".")[0]
            client.call("doc.save", key, {"set": both, "sorted": [["a", 1], ["b", 2]]})
            other.call("doc.get", key, {"fresh": True})
            client.call("doc.get", key, {"fresh": True})
            before, again = scripts(rdb), done_again(client)
            change = [theirs[0], key, path, *theirs[1:]]
            assert held(client, proxy, [op, key, path, *args], lambda c=change: other.call(*c)) == answer, (op, theirs)
            assert done_again(client) == again and scripts(rdb) == before, (op, theirs)
            for one in client, other:
                there = one.call("doc.load", key, path)
                assert (sorted(there) if path == "set" else there) == left, (op, theirs)
        client.call("doc.save", key, {"set": both})
        pipeline = ["pipeline", [["set.add", key, "set", "x"], ["set.add", key, "set", "y"], ["set.size", key, "set"]]]
        assert held(client, proxy, pipeline, lambda: other.call("set.add", key, "set", "x")) == [0, 1, 4]
        pipeline[1].pop()
        assert held(client, proxy, [*pipeline[:1], [["set.remove", key, "set", "x"], ["set.remove", key, "set", "y"]]],
                    lambda: other.call("set.remove", key, "set", "y")) == [1, 0]
        assert sorted(client.call("doc.load", key, "set")) == both


def test_two_daemons_claim(redis_server, new_daemon, rdb):
    """Each member is added by one of all who try, and popped by one."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    with daemons[0].connect() as client:
        client.call("define", CLUB)
        client.call("doc.save", KEY, {})
    with daemons[1].connect() as client:
        client.call("define", CLUB)

    def claim(client, _):
        return [n for n in range(25) if client.call("set.add", KEY, "numbers", n) == 1]

    claimed = sorted(n for mine in crowd(daemons, claim) for n in mine)
    assert claimed == list(range(25))

    def take(client, _):
        taken = []
        while True:
            try:
                taken.append(client.call("set.pop", KEY, "numbers"))
            except RpcError as error:
                assert "is empty" in str(error)
                return taken

    assert sorted(n for mine in crowd(daemons, take) for n in mine) == list(range(25))
    assert not rdb.exists(f"{ROOT}/numbers")


# --- a set of another document ---------------------------------------------------------------


OTHER = "Club:2"


@pytest.fixture
def two(client):
    client.call("doc.save", OTHER, {"members": ["b", "c", "d"], "numbers": [2, 3], "teams": {"red": ["c"]}})
    return client


@pytest.mark.parametrize("op, left, there", [
    ("union", "abcd", None), ("intersection", "bc", None), ("difference", "a", None),
    ("unite", 4, "abcd"), ("intersect", 2, "bc"), ("subtract", 1, "a")])
def test_with_a_set_of_another_document(two, rdb, new_daemon, redis_server, op, left, there):
    """Alone, in a pipeline, and through a daemon that has nothing of either in memory."""
    with new_daemon(redis_server.address).connect() as cold:
        for client, wrap in ((two, False), (two, True), (cold, False), (cold, True)):
            call = [f"set.{op}", KEY, "members", {"path": "members", "key": OTHER}]
            got = client.call("pipeline", [call])[0] if wrap else client.call(*call)
            assert (sorted(got) if there is None else got) == (sorted(left) if there is None else left)
            if there is not None:
                assert rdb.smembers(f"{ROOT}/members") == {m.encode() for m in there}
                client.call("doc.save", KEY, {"members": ["a", "b", "c"], "numbers": [1, 2]})
    assert two.call("set.union", KEY, "members", {"key": OTHER, "path": 'teams["red"]'}).sort() is None
    assert two.call("set.intersection", KEY, "members", {"key": KEY, "path": "members"})
    assert sorted(two.call("doc.load", OTHER, "members")) == ["b", "c", "d"]


def test_it_is_as_the_operations_before_left_it(two):
    assert two.call("pipeline", [
        ["set.add", OTHER, "members", "z"], ["set.unite", KEY, "members", {"key": OTHER, "path": "members"}],
        ["set.clear", OTHER, "members"], ["set.intersect", KEY, "members", {"key": OTHER, "path": "members"}]]
    )[1::2] == [5, 0]
    with pytest.raises(RpcError, match=r"NOT_FOUND: operation 1 \(set.unite\): there is no document Club:2"):
        two.call("pipeline", [["doc.delete", OTHER], ["set.unite", KEY, "members", {"key": OTHER, "path": "members"}]])


@pytest.mark.parametrize("other, code", [
    ({"key": OTHER}, "BAD_REQUEST"), ({"key": 5, "path": "members"}, "BAD_REQUEST"), ({"key": "Club", "path": "members"}, "BAD_KEY"),
    ({"key": "None:1", "path": "members"}, "UNKNOWN_MODEL"), ({"key": "Club:9", "path": "members"}, "NOT_FOUND"),
    ({"key": OTHER, "path": "numbers"}, "BAD_TYPE"), ({"key": OTHER, "path": "nope"}, "UNKNOWN_FIELD"),
    ({"key": OTHER, "path": "members", "x": "y"}, "BAD_REQUEST"), ({"key": OTHER, "path": ""}, "BAD_TYPE")])
def test_bad_others(two, other, code):
    for call in (["set.union", KEY, "members", other], ["set.unite", KEY, "members", other],
                 ["pipeline", [["set.unite", KEY, "members", other]]]):
        with pytest.raises(RpcError, match=code):
            two.call(*call)
    assert members(two) == ["a", "b", "c"]


def test_two_daemons_move_what_the_other_adds(redis_server, new_daemon):
    """One takes over what is in a basket and empties it, again and again; others put into it through another
    daemon. Nothing is lost, and nothing taken twice."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", CLUB)
    with daemons[0].connect() as client:
        client.call("doc.insert", [[KEY, {}], [OTHER, {}]])

    def work(client, number):
        if number == 0:
            taken = 0
            while taken < 60:
                had, now, _ = client.call("pipeline", [
                    ["set.size", OTHER, "numbers"], ["set.unite", KEY, "numbers", {"key": OTHER, "path": "numbers"}],
                    ["set.clear", OTHER, "numbers"]])
                taken += had
                assert now == taken
            return taken
        for n in range(20):
            client.call("set.add", OTHER, "numbers", number * 100 + n)
        return None

    assert crowd(daemons, work)[0] == 60
    with daemons[1].connect() as client:
        assert len(client.call("doc.get", KEY, {"fresh": True})["numbers"]) == 60
        assert client.call("doc.get", OTHER, {"fresh": True})["numbers"] == []
