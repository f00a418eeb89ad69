"""Locks, as the protocol has them: one host, one daemon, nothing broken."""

import os
import threading
import time

import pytest

from lock_clients import acquire, ask, await_lost, await_waiters, is_free, look, release
from models import ADA, KEY, save_ada
from rpc_client import RpcError, wait_until
from test_bad_input import refused


# --- acquire and release -------------------------------------------------------------------


def test_the_answer(ada):
    version = ada.call("doc.get", KEY, {"version": True})["@v"]
    lock = ada.call("lock.acquire", KEY, "edit")
    assert set(lock) == {"token", "fence", "version", "depth", "path", "stamp"}
    assert isinstance(lock["token"], int) and isinstance(lock["fence"], int)
    assert 0 < lock["fence"] < 1 << 53
    assert lock["version"] == version and lock["depth"] == 1
    assert ada.call("lock.release", lock["token"]) == []
    written = ada.call("set", KEY, "age", 1)
    assert acquire(ada)["version"] == written


def test_one_holder_and_the_next(ada, other):
    first = acquire(ada)
    request = ask(other)
    await_waiters(ada, 1)
    assert not other.answers
    release(ada, first)
    second = other.wait(request)
    assert second["fence"] > first["fence"]
    assert not is_free(ada)
    release(other, second)
    assert is_free(ada)


def test_the_fence_rises_with_every_grant(ada, other):
    fences = []
    for turn in range(50):
        for client in (ada, other):
            lock = acquire(client, mode="shared" if turn % 3 == 0 else "exclusive")
            fences.append(lock["fence"])
            release(client, lock)
    assert all(fence < after for fence, after in zip(fences, fences[1:]))


def test_tokens_differ(ada):
    tokens = [acquire(ada, f"User:{n}")["token"] for n in range(100)]
    assert len(set(tokens)) == 100


def test_other_requests_go_on_while_one_waits(ada, other):
    lock = acquire(ada)
    request = ask(other)
    await_waiters(other, 1)
    assert other.call("num.incr", KEY, "age", 1) == 37
    free = acquire(other, action="else")
    release(other, free)
    assert request not in other.answers
    release(ada, lock)
    assert other.wait(request)["depth"] == 1


def test_several_waits_of_one_connection(ada, other):
    locks = [acquire(ada, f"User:{n}") for n in range(3)]
    requests = [ask(other, f"User:{n}", owner=str(n)) for n in range(3)]
    for n in (1, 0, 2):
        release(ada, locks[n])
        assert other.wait(requests[n])["depth"] == 1


def test_release_of_what_is_not_held(ada, other):
    lock = acquire(ada)
    assert str(lock["token"]) in refused(other, "LOCK_LOST", "lock.release", lock["token"])
    assert not is_free(other)
    release(ada, lock)
    refused(ada, "LOCK_LOST", "lock.release", lock["token"])
    refused(ada, "LOCK_LOST", "lock.release", [lock["token"]])


def test_several_tokens_in_one_release(ada, other):
    first, second = acquire(ada), acquire(ada, action="else")
    assert ada.call("lock.release", [first["token"], second["token"]]) == []
    assert is_free(other) and is_free(other, action="else")


def test_a_lost_token_among_several(ada, other):
    good, bad = acquire(ada), acquire(ada, action="else")
    release(ada, bad)
    for tokens in ([good["token"], bad["token"]], [bad["token"], good["token"]]):
        refused(ada, "LOCK_LOST", "lock.release", tokens, [["set", KEY, "age", 1]])
        assert not is_free(other)
    assert ada.call("doc.load", KEY, "age") == 36
    # Without operations there is nothing to be kept for.
    refused(ada, "LOCK_LOST", "lock.release", [bad["token"], good["token"]])
    assert is_free(other)


# --- owners, modes, reentrancy -------------------------------------------------------------


def test_an_owner_gets_its_lock_again(ada, other):
    first = acquire(ada)
    again = acquire(ada, wait=0)
    assert (again["token"], again["fence"], again["depth"]) == (first["token"], first["fence"], 2)
    assert acquire(ada, mode="shared")["depth"] == 3  # held exclusively is held shared
    for left in (2, 1):
        assert release(ada, first) == []
        assert look(ada)["holders"][0]["depth"] == left
        assert not is_free(other)
    release(ada, first)
    assert is_free(other)
    refused(ada, "LOCK_LOST", "lock.release", first["token"])


def test_an_owner_gets_its_lock_again_past_those_who_wait(ada, other):
    lock = acquire(ada)
    request = ask(other)
    await_waiters(ada, 1)
    assert acquire(ada, wait=0)["depth"] == 2
    release(ada, lock)
    assert not other.answers and look(ada)["waiters"]
    release(ada, lock)
    other.wait(request)


def test_operations_commit_at_every_depth(ada, other):
    lock = acquire(ada)
    acquire(ada)
    assert release(ada, lock, [["num.incr", KEY, "age", 1]]) == [37]
    assert not is_free(other)
    assert release(ada, lock, [["num.incr", KEY, "age", 1]]) == [38]
    assert is_free(other)


def test_owners_of_one_connection_exclude_each_other(ada, other):
    names = ["", "a", "\u00e9" * 32, "x" * 64]
    lock = acquire(ada, owner=names[1])
    assert acquire(ada, owner=names[1], wait=0)["depth"] == 2
    for name in (names[0], *names[2:]):
        refused(ada, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"owner": name, "wait": 0})
    refused(ada, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"wait": 0})
    # The same name on another connection is somebody else.
    refused(other, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"owner": names[1], "wait": 0})
    release(ada, lock)
    release(ada, lock)
    assert acquire(ada, owner=names[3], wait=0)["depth"] == 1
    for name in ("x" * 65, "\u00e9" * 33, 7, None):
        with pytest.raises(RpcError, match="^BAD_(REQUEST|VALUE): "):
            acquire(ada, owner=name)


def test_shared_and_exclusive(ada, other, third):
    one, two = acquire(ada, mode="shared"), acquire(other, mode="shared", wait=0)
    assert one["fence"] != two["fence"]
    refused(third, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"wait": 0})
    release(ada, one)
    refused(third, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"wait": 0})
    release(other, two)
    lock = acquire(third, wait=0)
    assert lock["fence"] > max(one["fence"], two["fence"])
    refused(ada, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"mode": "shared", "wait": 0})
    for mode in ("", "Shared", "x", 1, True):
        with pytest.raises(RpcError, match="^BAD_(REQUEST|VALUE): "):
            acquire(third, mode=mode)


def test_shared_ones_that_come_later_do_not_starve_an_exclusive_one(ada, other, third):
    lock = acquire(ada, mode="shared")
    exclusive = ask(other)
    await_waiters(ada, 1)
    shared = ask(third, mode="shared")
    await_waiters(ada, 2)
    assert [waiter["mode"] for waiter in look(ada)["waiters"]] == ["exclusive", "shared"]
    release(ada, lock)
    lock = other.wait(exclusive)
    assert not third.answers and len(look(ada)["waiters"]) == 1
    release(other, lock)
    third.wait(shared)


def test_an_upgrade_is_refused(ada):
    lock = acquire(ada, mode="shared")
    assert acquire(ada, mode="shared")["depth"] == 2
    refused(ada, "DEADLOCK", "lock.acquire", KEY, "edit")
    refused(ada, "DEADLOCK", "lock.acquire", KEY, "edit", {"wait": 1})
    assert look(ada)["holders"][0]["depth"] == 2
    assert acquire(ada, mode="shared")["token"] == lock["token"]


def test_writes_under_a_shared_lock(ada, other):
    locks = [acquire(client, mode="shared") for client in (ada, other)]
    for client, lock in zip((ada, other), locks):
        client.call("pipeline", [["num.incr", KEY, "age", 1]], {"lock": lock["token"]})
    assert release(ada, locks[0], [["num.incr", KEY, "age", 1]]) == [39]


# --- waiting -------------------------------------------------------------------------------


def test_try_says_who_holds_it(ada, other):
    acquire(ada)
    began = time.monotonic()
    text = refused(other, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"wait": 0})
    assert time.monotonic() - began < 5
    assert KEY in text and "edit" in text and str(os.getpid()) in text
    assert not look(ada)["waiters"]


@pytest.mark.parametrize("wait", [0.2, 1])
def test_a_wait_ends(ada, other, wait):
    acquire(ada)
    began = time.monotonic()
    text = refused(other, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"wait": wait})
    assert wait * 0.95 <= time.monotonic() - began < wait + 5
    assert str(os.getpid()) in text
    assert not look(ada)["waiters"]


def test_who_waits_for_ever(ada, other):
    lock = acquire(ada)
    requests = [ask(other, wait=None, owner="1"), ask(other, owner="2")]
    await_waiters(ada, 2)
    wait_until(lambda: look(ada)["waiters"][0]["age"] > 0.5, what="half a second")
    release(ada, lock)
    release(other, other.wait(requests[0]))
    other.wait(requests[1])


@pytest.mark.parametrize("options", [
    {"wait": -1}, {"wait": -0.001}, {"wait": float("nan")}, {"wait": float("-inf")},
    {"wait": "1"}, {"wait": []}, {"wait": True}, {"ttl": "1"}, {"ttl": False}, {"ttl": {}},
    {"ttl": float("nan")}, {"ttl": 0}, {"ttl": -1}, {"ttl": 3601}, {"ttl": 1e300},
    {"ttl": float("inf")}, {"ttl": 1 << 63}, {"ttl": (1 << 64) - 1}])
def test_times_that_are_none(ada, options):
    with pytest.raises(RpcError) as caught:
        acquire(ada, **options)
    assert caught.value.code in ("BAD_REQUEST", "OUT_OF_RANGE", "BAD_TYPE"), caught.value.error
    if options.get("ttl") in (3601, 1e300, 1 << 63):
        assert caught.value.code == "OUT_OF_RANGE"
    assert is_free(ada)


@pytest.mark.parametrize("wait", [1e300, float("inf"), (1 << 64) - 1, 1 << 53])
def test_a_very_long_wait(ada, other, wait):
    """For ever, or refused; it is not taken for a short one."""
    lock = acquire(ada)
    request = ask(other, wait=wait)
    other.call("hello")
    if request in other.answers:
        with pytest.raises(RpcError, match="^(OUT_OF_RANGE|BAD_REQUEST): "):
            other.wait(request)
        return
    wait_until(lambda: look(ada)["waiters"][0]["age"] > 0.2, what="time to pass")
    release(ada, lock)
    other.wait(request)


# --- ttl, renew ----------------------------------------------------------------------------


def test_the_ttl_ends_a_hold(ada, other):
    lock = acquire(ada, ttl=0.3, notify=True)
    began = time.monotonic()
    next_one = acquire(other)
    assert time.monotonic() - began < 5
    assert next_one["fence"] > lock["fence"]
    token, key, path, action, reason = await_lost(ada)
    assert (token, key, path, action) == (lock["token"], KEY, "", "edit")
    assert "ttl" in reason
    assert "ttl" in refused(ada, "LOCK_LOST", "lock.release", lock["token"], [["set", KEY, "age", 1]])
    refused(ada, "LOCK_LOST", "lock.release", lock["token"])  # forgotten by now
    assert ada.call("doc.load", KEY, "age") == 36
    assert not is_free(ada)


def test_the_ttl_ends_a_hold_that_nobody_waits_for(ada, other):
    lock = acquire(ada, ttl=0.2, path="settings", notify=True)
    assert await_lost(ada)[:4] == [lock["token"], KEY, "settings", "edit"]
    assert not look(other, path="settings")["holders"]
    assert "ttl" in refused(ada, "LOCK_LOST", "pipeline", [["set", KEY, "age", 1]], {"lock": lock["token"]})


def test_nobody_is_told_who_did_not_ask(ada, other):
    lock = acquire(ada, ttl=0.2)
    told = acquire(ada, action="else", ttl=0.2, notify=True)
    release(other, acquire(other))
    assert await_lost(ada)[0] == told["token"]
    ada.call("hello")
    assert not ada.notifications
    refused(ada, "LOCK_LOST", "lock.release", lock["token"])


def test_nobody_is_told_of_a_release(ada):
    lock = acquire(ada, ttl=0.2, notify=True)
    release(ada, lock)
    later = acquire(ada, action="else", ttl=0.4, notify=True)
    assert await_lost(ada)[0] == later["token"]


def test_the_ttl_counts_from_the_grant(ada, other):
    lock = acquire(ada)
    request = ask(other, ttl=0.5, notify=True)
    await_waiters(ada, 1)
    wait_until(lambda: look(ada)["waiters"][0]["age"] > 0.6, what="more than the ttl")
    release(ada, lock)
    lock = other.wait(request)
    assert 0 < look(ada)["holders"][0]["ttl_left"] <= 0.5
    assert release(other, lock, [["num.incr", KEY, "age", 1]]) == [37]


def test_to_be_had_again_renews(ada, other):
    """The ttl begins anew when the lock is taken again, if it ends later then."""
    acquire(ada, ttl=0.3, notify=True)
    acquire(ada, ttl=20)
    assert look(ada)["holders"][0]["ttl_left"] > 10
    acquire(ada, ttl=0.2)
    assert look(ada)["holders"][0]["ttl_left"] > 10


def test_renew(ada, other):
    lock = acquire(ada, ttl=0.6)
    assert ada.call("lock.renew", lock["token"], 20) == 20
    assert 10 < look(ada)["holders"][0]["ttl_left"] <= 20
    wait_until(lambda: look(ada)["holders"][0]["age"] > 0.8, what="the first ttl")
    assert ada.call("lock.renew", lock["token"], 0.5) == 0.5  # it may be shorter as well
    assert look(ada)["holders"][0]["ttl_left"] <= 0.5
    release(other, acquire(other))
    assert "ttl" in refused(ada, "LOCK_LOST", "lock.renew", lock["token"])
    refused(ada, "LOCK_LOST", "lock.renew", lock["token"], 1)


def test_renew_with_the_ttl_it_had(ada, other):
    lock = acquire(ada, ttl=7)
    assert ada.call("lock.renew", lock["token"]) == 7
    assert ada.call("lock.renew", lock["token"], 9) == 9
    assert 6 < look(ada)["holders"][0]["ttl_left"] <= 9
    refused(other, "LOCK_LOST", "lock.renew", lock["token"])
    refused(ada, "LOCK_LOST", "lock.renew", lock["token"] + 1000)
    refused(ada, "OUT_OF_RANGE", "lock.renew", lock["token"], 3601)
    for ttl in (0, -1, float("nan"), "x"):
        with pytest.raises(RpcError, match="^(OUT_OF_RANGE|BAD_REQUEST|BAD_TYPE): "):
            ada.call("lock.renew", lock["token"], ttl)
    assert not is_free(other)


def test_ttl_by_default_and_at_most(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"locks.lock_ttl": "3s", "locks.lock_max_ttl": "5s"})
    with daemon.connect() as client:
        save_ada(client)
        lock = acquire(client)
        assert 2 < look(client)["holders"][0]["ttl_left"] <= 3
        release(client, lock)
        acquire(client, ttl=5)
        assert 4 < look(client)["holders"][0]["ttl_left"] <= 5
        assert "5" in refused(client, "OUT_OF_RANGE", "lock.acquire", KEY, "edit", {"ttl": 5.01})


# --- break ---------------------------------------------------------------------------------


def test_break(ada, other, third):
    assert third.call("lock.break", KEY, "edit") == 0
    locks = [acquire(client, mode="shared", notify=True) for client in (ada, other)]
    request = ask(third)
    await_waiters(ada, 1)
    with pytest.raises(RpcError, match="^LOCK_TIMEOUT: "):
        acquire(third, wait=0, owner="x")
    breaker = third.send("lock.break", KEY, "edit")
    third.wait(request)
    assert third.wait(breaker) == 2
    for client, lock in zip((ada, other), locks):
        token, key, path, action, reason = await_lost(client)
        assert (token, key, path, action) == (lock["token"], KEY, "", "edit")
        assert "brok" in reason
        assert "brok" in refused(client, "LOCK_LOST", "pipeline", [["set", KEY, "age", 1]],
                                 {"lock": lock["token"]})
        refused(client, "LOCK_LOST", "lock.release", lock["token"])
    assert ada.call("doc.load", KEY, "age") == 36
    assert third.call("lock.break", KEY, "edit") == 1
    assert is_free(ada)


def test_break_of_a_path(ada, other):
    document, element = acquire(ada), acquire(ada, path="sections[0]")
    assert other.call("lock.break", KEY, "edit", {"path": 'sections["s1"]'}) == 1
    refused(ada, "LOCK_LOST", "lock.release", element["token"])
    release(ada, document)
    assert other.call("lock.break", KEY, "edit", {"path": "sections[1]"}) == 0


def test_a_held_depth_is_one_holder(ada, other):
    acquire(ada)
    acquire(ada)
    assert other.call("lock.break", KEY, "edit") == 1


# --- acquire_many --------------------------------------------------------------------------


def test_acquire_many(ada, other):
    names = [["User:b", "edit"], [KEY, "edit", {"path": "settings"}], ["User:a", "x", {"mode": "shared"}]]
    locks = ada.call("lock.acquire_many", names, {"document": True, "ttl": 5})
    assert [lock["depth"] for lock in locks] == [1, 1, 1]
    assert [lock["version"] > 0 for lock in locks] == [False, True, False]
    assert [lock["document"] for lock in locks] == [None, ADA["settings"], None]
    assert len({lock["token"] for lock in locks}) == 3
    shown = {lock["key"]: lock["holders"][0] for lock in other.call("admin.locks")}
    assert [shown[key]["mode"] for key in ("User:b", KEY, "User:a")] == ["exclusive", "exclusive", "shared"]
    assert all(4 < holder["ttl_left"] <= 5 for holder in shown.values())
    assert not is_free(other, "User:b") and not is_free(other, "User:a", "x")
    assert is_free(other, "User:a", "x", mode="shared")
    # The answers are in the order asked, whatever order they were taken in.
    release(ada, locks[0])
    assert is_free(other, "User:b") and not is_free(other, path="settings")
    assert ada.call("lock.release", [lock["token"] for lock in locks[1:]],
                    [["set", KEY, "age", 1]])[0] > 0
    assert is_free(other, path="settings") and is_free(other, "User:a", "x")


def test_acquire_many_takes_all_or_none(ada, other):
    names = [[f"User:{n}", "edit"] for n in range(20)]
    in_the_way = acquire(other, "User:11")
    mine = acquire(ada, "User:5")
    text = refused(ada, "LOCK_TIMEOUT", "lock.acquire_many", names, {"wait": 0})
    assert "User:11" in text
    began = time.monotonic()
    refused(ada, "LOCK_TIMEOUT", "lock.acquire_many", names, {"wait": 0.3})
    assert 0.28 <= time.monotonic() - began < 5
    # What was held before is still held, no deeper than before.
    assert [look(ada, f"User:{n}")["holders"] != [] for n in range(20)] == [n in (5, 11) for n in range(20)]
    assert look(ada, "User:5")["holders"][0]["depth"] == 1
    release(ada, mine)
    request = ada.send("lock.acquire_many", names, {"wait": 20})
    await_waiters(other, 1, key="User:11")
    release(other, in_the_way)
    locks = ada.wait(request)
    assert len(locks) == 20
    assert not any(is_free(other, f"User:{n}") for n in range(20))


def test_acquire_many_waits_once_for_all(ada, other):
    locks = [acquire(other, f"User:{n}", ttl=0.4 + 0.4 * n) for n in range(4)]
    began = time.monotonic()
    refused(ada, "LOCK_TIMEOUT", "lock.acquire_many", [[f"User:{n}", "edit"] for n in range(4)], {"wait": 1})
    assert 0.95 <= time.monotonic() - began < 1.4 + 5
    del locks
    wait_until(lambda: all(is_free(other, f"User:{n}") for n in range(4)), what="all of them")


def test_acquire_many_of_the_same_lock_twice(ada, other):
    locks = ada.call("lock.acquire_many", [[KEY, "edit"], [KEY, "edit", {"mode": "shared"}]])
    assert locks[0]["token"] == locks[1]["token"]
    assert sorted(lock["depth"] for lock in locks) == [1, 2]
    assert ada.call("lock.release", [lock["token"] for lock in locks]) == []
    assert is_free(other)


def test_acquire_many_never_deadlocks(daemon, ada):
    """In all orders, by several at once."""
    keys, rounds, threads, errors = ["User:a", "User:b", "User:c", KEY], 60, [], []

    def work(number):
        with daemon.connect() as client:
            for turn in range(rounds):
                names = [[keys[(number + turn + i * (1 + number % 2 * 2)) % 4], "edit"] for i in range(3)]
                locks = client.call("lock.acquire_many", names, {"wait": 20})
                if number % 2:
                    client.call("lock.release", [lock["token"] for lock in locks])
                else:
                    for lock in locks:
                        release(client, lock)

    def guarded(number):
        try:
            work(number)
        except Exception as error:  # noqa: BLE001: told below
            errors.append(error)

    for number in range(6):
        threads.append(threading.Thread(target=guarded, args=(number,), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not errors


@pytest.mark.parametrize("code,params", [
    ("BAD_REQUEST", []), ("BAD_REQUEST", [7]), ("BAD_REQUEST", [[7]]), ("BAD_REQUEST", [[[]]]),
    ("BAD_REQUEST", [[[KEY]]]), ("BAD_REQUEST", [[[KEY, "edit", 7]]]),
    ("BAD_VALUE", [[[KEY, "edit"], [KEY, "\n"]]]), ("BAD_KEY", [[[KEY, "edit"], ["User", "edit"]]]),
    ("UNKNOWN_MODEL", [[[KEY, "edit"], ["Nothing:1", "edit"]]]),
    ("NOT_FOUND", [[[KEY, "edit"], [KEY, "edit", {"path": 'sections["s9"]'}]]]),
    ("BAD_REQUEST", [[[KEY, "edit"]], 7]), ("OUT_OF_RANGE", [[[KEY, "edit"]], {"ttl": 3601}])], ids=range(12))
def test_acquire_many_refused(ada, other, code, params):
    refused(ada, code, "lock.acquire_many", *params)
    assert is_free(other)


# --- admin.locks ---------------------------------------------------------------------------


def test_admin_locks(ada, other, third):
    assert [lock for lock in ada.call("admin.locks") if lock["holders"]] == []
    lock = acquire(ada, path="sections[0]", action="re-order", owner="me", ttl=10)
    acquire(ada, path="sections[0]", action="re-order", owner="me")
    requests = [ask(other, path="sections[0]", action="re-order", mode="shared"),
                ask(third, path="sections[0]", action="re-order", owner="you")]
    await_waiters(ada, 2, path='sections["s1"]', action="re-order")
    acquire(other, "User:else")
    shown, = ada.call("admin.locks", {"key": KEY})
    assert set(shown) == {"key", "path", "action", "lease", "lease_left", "wanted", "elsewhere",
                          "holders", "waiters"}
    assert (shown["key"], shown["path"], shown["action"]) == (KEY, 'sections["s1"]', "re-order")
    assert (shown["lease"], shown["wanted"], shown["elsewhere"]) == ("exclusive", False, None)
    assert 0 < shown["lease_left"] <= 10
    holder, = shown["holders"]
    numbers = {one["client"] for one in (holder, *shown["waiters"])}
    assert len(numbers) == 3
    with open("/proc/self/comm", encoding="ascii") as comm:
        program = comm.read().strip()
    for one in (holder, *shown["waiters"]):
        assert (one["pid"], one["uid"]) == (os.getpid(), os.getuid())
        assert one["program"].startswith(program[:15])
        assert isinstance(one["age"], float) and 0 <= one["age"] < 20
    assert set(holder) == {"client", "pid", "uid", "program", "owner", "mode", "depth", "fence", "age",
                           "ttl_left"}
    assert (holder["owner"], holder["mode"], holder["depth"], holder["fence"]) == (
        "me", "exclusive", 2, lock["fence"])
    assert 0 < holder["ttl_left"] <= 30
    assert all(set(waiter) == {"client", "pid", "uid", "program", "owner", "mode", "age"}
               for waiter in shown["waiters"])
    assert [(waiter["owner"], waiter["mode"]) for waiter in shown["waiters"]] == [
        ("", "shared"), ("you", "exclusive")]
    assert {lock["key"] for lock in ada.call("admin.locks")} == {KEY, "User:else"}
    assert {lock["key"] for lock in ada.call("admin.locks", {})} == {KEY, "User:else"}
    assert ada.call("admin.locks", {"key": "User:none"}) == []
    release(ada, lock)
    release(ada, lock)
    release(other, other.wait(requests[0]))
    third.wait(requests[1])


def test_what_happens_to_locks_is_counted(ada, other):
    def counted(client=ada):
        stats = client.call("admin.stats")
        return [stats[name] for name in ("locks_held", "locks_waiting", "locks_granted",
                                         "locks_lost", "lock_timeouts", "deadlocks")]
    held, waiting, granted, lost, timeouts, deadlocks = counted()
    assert (held, waiting) == (0, 0)
    first, second = acquire(ada), acquire(other, "User:else")
    request = ask(ada, "User:else")
    await_waiters(ada, 1, key="User:else")
    assert counted() == [2, 1, granted + 2, lost, timeouts, deadlocks]
    refused(other, "DEADLOCK", "lock.acquire", KEY, "edit")
    refused(other, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"wait": 0})
    assert ada.call("lock.break", KEY, "edit") == 1
    release(other, second)
    release(ada, ada.wait(request))
    refused(ada, "LOCK_LOST", "lock.release", first["token"])
    assert counted() == [0, 0, granted + 3, lost + 1, timeouts + 1, deadlocks + 1]


def test_the_features_name_the_locks(client):
    features = client.call("hello")["features"]
    assert {"lock.acquire", "lock.acquire_many", "lock.release", "lock.renew", "lock.break",
            "admin.locks"} <= set(features)


# --- requests that are none ---------------------------------------------------------------


@pytest.mark.parametrize("tokens", ["x", None, -1, 1.5, {}, [[1]], ["x"], [None], True])
def test_tokens_that_are_none(ada, tokens):
    for method, params in [("lock.release", [tokens]), ("lock.renew", [tokens]),
                           ("pipeline", [[["set", KEY, "age", 1]], {"lock": tokens}])]:
        if method == "pipeline" and tokens is None:
            continue
        with pytest.raises(RpcError) as caught:
            ada.call(method, *params)
        assert caught.value.code in ("BAD_REQUEST", "LOCK_LOST"), (method, caught.value.error)
    assert ada.call("doc.load", KEY, "age") == 36


@pytest.mark.parametrize("method,params", [
    ("lock.acquire", []), ("lock.acquire", [KEY]), ("lock.acquire", [KEY, "edit", {}, 1]),
    ("lock.acquire", [KEY, "edit", 7]), ("lock.acquire", [KEY, "edit", []]),
    ("lock.acquire", [KEY, "edit", {"nothing": 1}]), ("lock.acquire", [KEY, "edit", {1: 1}]),
    ("lock.acquire", [KEY, "edit", {"path": 7}]), ("lock.acquire", [KEY, "edit", {"document": 7}]),
    ("lock.acquire", [KEY, "edit", {"notify": "yes"}]), ("lock.acquire", [KEY, 7]),
    ("lock.acquire", [7, "edit"]), ("lock.acquire", [KEY, None]), ("lock.release", []),
    ("lock.release", [1, [], {}, 1]), ("lock.renew", []), ("lock.renew", [1, 1, 1]),
    ("lock.break", []), ("lock.break", [KEY]), ("lock.break", [KEY, "edit", 7]),
    ("lock.break", [KEY, "edit", {}, 7]), ("admin.locks", [7]), ("admin.locks", [{"key": 7}])])
def test_requests_of_the_wrong_shape(ada, method, params):
    refused(ada, "BAD_REQUEST", method, *params)
    assert is_free(ada)


# --- cancel --------------------------------------------------------------------------------


def test_a_wait_that_is_cancelled_is_answered_and_gone(ada, other):
    held = acquire(ada)
    request = ask(other)
    await_waiters(ada, 1)
    assert other.call("lock.cancel", request) is True
    with pytest.raises(RpcError, match="LOCK_TIMEOUT: the client has cancelled"):
        other.wait(request)
    await_waiters(ada, 0)
    assert other.call("lock.cancel", request) is False
    release(ada, held)
    assert is_free(ada)


def test_who_waits_behind_a_cancelled_wait_is_granted(ada, other, third):
    held = acquire(ada)
    first, second = ask(other), None
    await_waiters(ada, 1)
    second = ask(third)
    await_waiters(ada, 2)
    assert other.call("lock.cancel", first) is True
    release(ada, held)
    assert third.wait(second)["token"]


def test_only_ones_own_waits_are_cancelled(ada, other, third):
    held = acquire(ada)
    request = ask(other)
    await_waiters(ada, 1)
    assert third.call("lock.cancel", request) is False
    assert other.call("lock.cancel", request + 1000) is False
    release(ada, held)
    assert other.wait(request)["token"]
    assert other.call("lock.cancel", request) is False, "it was granted and answered"


def test_several_locks_that_are_waited_for_are_all_free_after_a_cancel(ada, other):
    held = acquire(ada, action="b")
    request = other.send("lock.acquire_many", [[KEY, "a"], [KEY, "b"]])
    await_waiters(ada, 1, action="b")
    assert not is_free(ada, action="a")
    assert other.call("lock.cancel", request) is True
    with pytest.raises(RpcError, match="LOCK_TIMEOUT"):
        other.wait(request)
    assert is_free(ada, action="a")
    release(ada, held)


@pytest.mark.parametrize("params", [[], [1, 2], ["1"], [-1], [None], [1.0]])
def test_a_cancel_that_says_no_request(ada, params):
    assert "lock.cancel takes [id]" in refused(ada, "BAD_REQUEST", "lock.cancel", *params)
