"""Writes under locks: in a pipeline, or with the release. Who has lost the lock does not write;
who gets it sees all that was written before; and what need not ask Redis does not."""

import random

import pytest

from lock_clients import acquire, ask, await_lost, await_waiters, commands, is_free, look, release
from models import ADA, KEY, ROOT, define_all, save_ada
from rpc_client import RpcError, at_rest
from test_bad_input import refused

pytestmark = pytest.mark.exact


# --- release with operations ---------------------------------------------------------------


def test_release_with_operations(ada, other, rdb):
    lock = acquire(ada)
    request = ask(other, document=True)
    await_waiters(ada, 1)
    assert release(ada, lock, [["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", "d"],
                               ["doc.load", KEY, "tags"]]) == [37, 4, ["a", "b", "c", "d"]]
    assert rdb.hget(ROOT, "age") == b"37"
    lock = other.wait(request)
    assert lock["document"]["age"] == 37 and lock["document"]["tags"][-1] == "d"
    assert release(other, lock, []) == []
    assert is_free(ada)


def test_refused_operations_keep_the_lock(ada, other, redis_server):
    lock = acquire(ada)
    version = lock["version"]
    before = redis_server.snapshot()
    good = ["num.incr", KEY, "age", 1]
    for code, operations, more in [
            ("BAD_TYPE", [good, ["num.incr", KEY, "name", 1]], []),
            ("OUT_OF_RANGE", [good, ["list.set", KEY, "tags", 99, "x"]], []),
            ("NOT_FOUND", [good, ["set", "User:nobody", "age", 1]], []),
            ("UNKNOWN_METHOD", [good, ["no.such", KEY]], []),
            ("BAD_REQUEST", [good, 7], []),
            ("CONFLICT", [good], [{"if_version": version + 1}])]:
        text = refused(ada, code, "lock.release", lock["token"], operations, *more)
        assert code == "CONFLICT" or "operation 1" in text
        assert not is_free(other) and look(ada)["holders"][0]["depth"] == 1
    refused(ada, "BAD_REQUEST", "lock.release", lock["token"], 7)
    refused(ada, "BAD_REQUEST", "lock.release", lock["token"], [good], 7)
    refused(ada, "BAD_REQUEST", "lock.release", lock["token"], [good], {"nothing": 7})
    assert redis_server.snapshot() == {**before}
    assert release(ada, lock, [good], {"if_version": version}) == [37]
    assert is_free(other)


def test_release_with_operations_on_several_documents(ada, other, rdb):
    locks = [acquire(ada), acquire(ada, "User:new")]
    results = ada.call("lock.release", [lock["token"] for lock in locks],
                       [["doc.save", "User:new", {"name": "New"}], ["set", KEY, "name", "Old"]],
                       {"if_version": {KEY: locks[0]["version"], "User:new": 0}})
    assert results[0]["key"] == "User:new" and results[1] == locks[0]["version"] + 1
    assert rdb.hget(ROOT, "name") == b"Old" and rdb.hget("rapyer:{User:new}", "name") == b"New"
    assert is_free(other) and is_free(other, "User:new")


# --- pipelines under locks -----------------------------------------------------------------


def test_pipeline_under_a_lock(ada, other, rdb):
    lock = acquire(ada)
    request = ask(other)
    await_waiters(ada, 1)
    assert ada.call("pipeline", [["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", "d"]],
                    {"lock": lock["token"]}) == [37, 4]
    assert ada.call("pipeline", [["doc.load", KEY, "age"]], {"lock": [lock["token"]]}) == [37]
    assert rdb.hget(ROOT, "age") == b"37" and rdb.llen(ROOT + "/tags") == 4
    refused(ada, "CONFLICT", "pipeline", [["set", KEY, "age", 1]],
            {"lock": lock["token"], "if_version": lock["version"]})
    refused(ada, "BAD_TYPE", "pipeline", [["set", KEY, "age", "x"]], {"lock": lock["token"]})
    assert not other.answers
    release(ada, lock)
    other.wait(request)


@pytest.mark.parametrize("what", [
    ["num.mul", KEY, "age", 2], ["list.insert", KEY, "tags", 1, "x"], ["list.remove_range", KEY, "tags", 0, 2],
    ["list.insert", KEY, "sections", 0, {"name": "new"}], ["list.pop", KEY, "sections", 0],
    ["dict.update", KEY, "counts", {"z": 3}], ["dict.clear", KEY, "teams"], ["set", KEY, "address", None],
    ["doc.save", KEY, {"name": "new", "settings": {}}], ["doc.delete", KEY],
    ["str.append", KEY, "bio", "\u00e9\x00"], ["bytes.append", KEY, "blob", b"\x00\xff\r\n"],
    ["set", KEY, "score", 1e300], ["set", KEY, "age", -(1 << 63)]], ids=lambda what: what[0])
def test_every_kind_of_change_under_a_lock(ada, redis_server, new_daemon, what):
    """The same as without one: in the answer, in Redis, and for a daemon that reads it."""
    with new_daemon(redis_server.address).connect() as plain:
        save = ["doc.save", KEY, ADA]
        plain.call("pipeline", [save])
        result = plain.call("pipeline", [what])
        ada.call("doc.get_many", [KEY], {"fresh": True})
        wanted = plain.call("doc.get_many", [KEY])
        ada.call("pipeline", [save])
        lock = acquire(ada, document=True)
        got = ada.call("pipeline", [what], {"lock": lock["token"]})
        if not isinstance(result[0], dict) and not (isinstance(result[0], int) and result[0] > 1 << 40):
            assert got == result
        found = plain.call("doc.get_many", [KEY], {"fresh": True})
        assert found == ada.call("doc.get_many", [KEY])
        if what[0] != "list.insert" or what[2] != "sections":
            assert found == wanted
        release(ada, lock)


def test_pipeline_under_several_locks(ada, other):
    locks = [acquire(ada), acquire(ada, "User:mutex"), acquire(ada, path="settings")]
    tokens = [lock["token"] for lock in locks]
    assert ada.call("pipeline", [["num.incr", KEY, "age", 1]], {"lock": tokens}) == [37]
    assert ada.call("pipeline", [["num.incr", KEY, "age", 1]], {"lock": tokens + tokens}) == [38]
    release(ada, locks[1])
    for order in (tokens, tokens[::-1]):
        refused(ada, "LOCK_LOST", "pipeline", [["num.incr", KEY, "age", 1]], {"lock": order})
    assert ada.call("pipeline", [["num.incr", KEY, "age", 1]], {"lock": [tokens[0], tokens[2]]}) == [39]


def test_pipeline_without_its_lock(ada, other, redis_server):
    before = redis_server.snapshot()
    change = [["num.incr", KEY, "age", 1]]
    of_another = acquire(other, "User:1")["token"]
    released = acquire(ada)
    release(ada, released)
    expired = acquire(ada, "User:2", ttl=0.1, notify=True)["token"]
    await_lost(ada)
    held = acquire(ada, "User:3")["token"]
    for token in (of_another, released["token"], expired, 0, 1, -1, held + 1, (1 << 63) - 1):
        for given in (token, [token], [held, token], [token, held]):
            refused(ada, "LOCK_LOST", "pipeline", change, {"lock": given})
            refused(ada, "LOCK_LOST", "pipeline", [["doc.get", KEY]], {"lock": given})
    assert redis_server.snapshot() == before
    assert ada.call("doc.load", KEY, "age") == 36
    assert ada.call("pipeline", change, {"lock": held}) == [37]


def test_writes_under_many_locks_to_the_same_documents(redis_server, new_daemon):
    """All in flight at once, with locks that Redis forgets now and then: each is carried out whole
    or refused whole, and what was answered adds up."""
    daemon = new_daemon(redis_server.address)
    chance = random.Random("many")
    keys = [f"User:{n}" for n in range(4)]
    clients = [daemon.connect() for _ in range(6)]
    totals, marks = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0)
    lost = 0
    define_all(clients[0])
    for key in keys:
        clients[0].call("doc.save", key, {"name": "x", "settings": {}})
    for _ in range(40):
        locks = [acquire(client, f"User:lock{n}") for n, client in enumerate(clients)]
        waiting = []
        for turn in range(12):
            for client, lock in zip(clients, locks):
                some = chance.sample(keys, chance.randrange(1, 4))
                operations = [["num.incr", key, "age", 1] for key in some]
                operations += [["list.append", some[0], "numbers", turn], ["num.mul", some[-1], "score", 1]]
                how = chance.randrange(4)
                options = {"lock": lock["token"]} if how else {}
                waiting.append((client, client.send("pipeline", operations, options), some))
            if turn == 6 and chance.random() < 0.5:
                with redis_server.client() as rdb:
                    rdb.delete("rapyer:@lock:{User:lock%d}/!edit" % chance.randrange(6))
        for client, request, some in waiting:
            try:
                client.wait(request)
            except RpcError as error:
                assert error.code == "LOCK_LOST", error
                lost += 1
                continue
            marks[some[0]] += 1
            for key in some:
                totals[key] += 1
        for client, lock in zip(clients, locks):
            try:
                release(client, lock)
            except RpcError as error:
                assert error.code == "LOCK_LOST", error
    assert lost > 0
    for key in keys:
        for options in ({}, {"fresh": True}):
            document = clients[0].call("doc.get", key, options)
            assert (document["age"], len(document["numbers"])) == (totals[key], marks[key])
    for client in clients:
        client.close()


def test_locks_do_not_stop_who_does_not_ask_for_them(ada, other):
    acquire(ada)
    assert other.call("num.incr", KEY, "age", 1) == 37


# --- what a holder sees --------------------------------------------------------------------


def test_the_document_in_the_answer(ada, other):
    whole = ada.call("doc.load", KEY, "")
    lock = acquire(ada, document=True)
    assert lock["document"] == whole
    assert lock["version"] == ada.call("doc.get", KEY, {"version": True})["@v"]
    for path in ("settings", "sections", "sections[0]", 'sections["s1"].tasks[1]', "tags", "counts",
                 'teams["core"]', "name", "age", "blob", "rows", "addresses", "address"):
        lock = acquire(ada, path=path, document=True)
        assert lock["document"] == ada.call("doc.load", KEY, path), path
        assert set(lock) == {"token", "fence", "version", "stamp", "depth", "path", "document"}
    assert "document" not in acquire(ada, document=False)


def test_acquire_sees_what_another_host_wrote(redis_server, new_daemon):
    """In the document of the answer, and in every other document that was written under the lock,
    though both daemons had them all in memory."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    keys = [KEY, "User:one", "User:two"]
    with daemons[0].connect() as one, daemons[1].connect() as two:
        define_all(one)
        define_all(two)
        for key in keys:
            one.call("doc.save", key, {"name": "x", "settings": {}})
        for client in (one, two):
            client.call("doc.get_many", keys)
        for turn in range(10):
            for client in (one, two):
                age = 2 * turn + (client is two)
                lock = acquire(client, document=True)
                assert lock["document"]["age"] == age
                assert [document["age"] for document in client.call("doc.get_many", keys)] == [age] * 3
                assert client.call("doc.load", "User:two", "counts") == ({"x": age} if age else {})
                changes = [["num.incr", key, "age", 1] for key in keys]
                changes.append(["dict.set", "User:two", "counts", "x", age + 1])
                if turn % 2:
                    release(client, lock, changes)
                else:
                    # Not under the lock, but by who has it.
                    for change in changes:
                        client.call(*change)
                    release(client, lock)


def test_acquire_sees_what_is_still_on_its_way(redis_server, new_daemon):
    """The holder before has not even heard that its write was committed."""
    daemon = new_daemon(redis_server.address, {"locks.lock_lease": "1h"})
    with daemon.connect() as one, daemon.connect() as two:
        save_ada(one)
        lock = acquire(one)
        request = ask(two, document=True)
        await_waiters(one, 1)
        redis_server.pause()
        write = one.send("pipeline", [["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", "late"]],
                         {"lock": lock["token"]})
        released = one.send("lock.release", lock["token"])
        one.call("hello")
        redis_server.resume()
        lock = two.wait(request)
        assert lock["document"]["age"] == 37 and lock["document"]["tags"][-1] == "late"
        assert one.wait(write) == [37, 4] and one.wait(released) == []


def test_acquire_sees_what_a_release_has_on_its_way(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"locks.lock_lease": "1h"})
    with daemon.connect() as one, daemon.connect() as two:
        save_ada(one)
        for turn in range(30):
            lock = acquire(one)
            request = ask(two, document=True)
            await_waiters(one, 1)
            released = one.send("lock.release", lock["token"], [["num.incr", KEY, "age", 1]])
            lock = two.wait(request)
            assert lock["document"]["age"] == 37 + turn
            assert one.wait(released) == [37 + turn]
            release(two, lock)


# --- no Redis ------------------------------------------------------------------------------


@pytest.fixture
def leased(redis_server, new_daemon):
    """A daemon that has the lease, and need not renew it soon."""
    daemon = new_daemon(redis_server.address, {"locks.lock_lease": "1h"})
    with daemon.connect() as client:
        save_ada(client)
        release(client, acquire(client))
    return daemon


def test_acquire_and_release_ask_redis_nothing(leased, rdb):
    with leased.connect() as client:
        before = at_rest(lambda: commands(rdb))
        for turn in range(200):
            lock = acquire(client, mode="shared" if turn % 5 == 0 else "exclusive", document=turn % 2 == 0)
            acquire(client, mode="shared")
            release(client, lock)
            client.call("lock.renew", lock["token"], 5)
            assert is_free(client, mode="shared")
            release(client, lock)
        assert commands(rdb) == before


def test_handing_over_asks_redis_nothing(leased, rdb):
    clients = [leased.connect() for _ in range(5)]
    lock, requests = acquire(clients[0]), []
    before = at_rest(lambda: commands(rdb))
    for turn in range(100):
        requests.append(ask(clients[(turn + 1) % 5]))
        release(clients[turn % 5], lock)
        lock = clients[(turn + 1) % 5].wait(requests[-1])
    assert commands(rdb) == before
    for client in clients:
        client.close()


def test_handing_over_while_redis_does_not_answer(leased, redis_server):
    with leased.connect() as one, leased.connect() as two:
        lock = acquire(one)
        redis_server.pause()
        for _ in range(20):
            request = ask(two)
            release(one, lock)
            lock = two.wait(request)
            one, two = two, one
        redis_server.resume()
        assert release(one, lock, [["num.incr", KEY, "age", 1]]) == [37]
