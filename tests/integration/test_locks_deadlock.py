"""Waits that go in a circle, on one host: refused at once, with the circle in the text."""

import os
import time

import pytest

from lock_clients import Puppet, acquire, ask, await_waiters, is_free, look, release
from models import KEY, save_ada
from rpc_client import RpcError
from test_bad_input import refused


@pytest.fixture
def clients(client, daemon):
    save_ada(client)
    clients = [daemon.connect() for _ in range(6)]
    yield clients
    for one in clients:
        one.close()


def deadlock(client, key, action="edit", **options):
    began = time.monotonic()
    text = refused(client, "DEADLOCK", "lock.acquire", key, action, options)
    assert time.monotonic() - began < 5
    return text


@pytest.mark.parametrize("wait", [{}, {"wait": 60}])
def test_two_crosswise(clients, wait):
    a, b = clients[:2]
    acquire(a, "User:a")
    lock = acquire(b, "User:b", "other")
    request = ask(a, "User:b", "other", **wait)
    await_waiters(a, 1, key="User:b", action="other")
    text = deadlock(b, "User:a", **wait)
    assert all(word in text for word in ("User:a", "User:b", "edit", "other", str(os.getpid()))), text
    # Only the one that would have closed the circle is told; it still has what it had.
    assert not a.answers and look(a, "User:b", action="other")["holders"]
    assert not look(a, "User:a")["waiters"]
    release(b, lock)
    a.wait(request)
    assert not is_free(b, "User:a")


def test_the_text_names_the_processes(daemon, clients):
    with Puppet(daemon) as puppet:
        puppet.call("lock.acquire", "User:p", "edit")
        acquire(clients[0], KEY, path="settings")
        puppet.start("lock.acquire", KEY, "edit", {"path": "settings"})
        await_waiters(clients[0], 1, path="settings")
        text = deadlock(clients[0], "User:p")
        assert str(puppet.pid) in text and str(os.getpid()) in text and "settings" in text, text


@pytest.mark.parametrize("n", [3, 6])
def test_a_ring(clients, n):
    locks = [acquire(clients[i], f"User:{i}") for i in range(n)]
    requests = {}
    for i in range(n - 1):
        requests[i] = ask(clients[i], f"User:{i + 1}")
        await_waiters(clients[0], 1, key=f"User:{i + 1}")
    text = deadlock(clients[n - 1], "User:0")
    assert all(f"User:{i}" in text for i in range(n)), text
    for i in range(n - 1, 0, -1):
        release(clients[i], locks[i])
        locks[i - 1] = clients[i - 1].wait(requests[i - 1])
        release(clients[i - 1], locks[i - 1])
        locks[i - 1] = {"token": 0}
        break
    assert is_free(clients[n - 1], f"User:{n - 1}")


def test_a_circle_over_shared_holders(clients):
    """One of several who share is enough."""
    a, b, c = clients[:3]
    for one in (a, b):
        acquire(one, "User:x", mode="shared")
    acquire(c, "User:y")
    ask(c, "User:x")
    await_waiters(a, 1, key="User:x")
    deadlock(b, "User:y")
    deadlock(a, "User:y", mode="shared")


def test_a_circle_over_the_queue(clients):
    """b does not wait for who holds x (they would share it), but for c, who came before it."""
    a, b, c = clients[:3]
    acquire(a, "User:x", mode="shared")
    acquire(b, "User:w")
    ask(c, "User:x")
    await_waiters(a, 1, key="User:x")
    ask(b, "User:x", mode="shared")
    await_waiters(a, 2, key="User:x")
    deadlock(a, "User:w")


def test_two_that_share_and_want_more(clients):
    a, b = clients[:2]
    for one in (a, b):
        acquire(one, "User:x", mode="shared")
        acquire(one, "User:x", mode="shared")
    for one in (a, b):
        deadlock(one, "User:x")


def test_owners_of_one_connection(clients):
    a = clients[0]
    acquire(a, "User:x", owner="1")
    acquire(a, "User:y", owner="2")
    request = ask(a, "User:y", owner="1")
    await_waiters(a, 1, key="User:y")
    deadlock(a, "User:x", owner="2")
    # A third one of the same connection is in no circle, it just waits.
    refused(a, "LOCK_TIMEOUT", "lock.acquire", "User:x", "edit", {"owner": "3", "wait": 0.1})
    assert request not in a.answers


def test_no_circle_where_there_is_none(clients):
    """Crosswise, but of different owners; and a queue that is only long."""
    a, b, c = clients[:3]
    acquire(a, "User:x", owner="1")
    acquire(b, "User:y", owner="1")
    requests = [ask(a, "User:y", owner="2"), ask(b, "User:x", owner="2")]
    await_waiters(c, 1, key="User:x")
    await_waiters(c, 1, key="User:y")
    requests += [ask(c, "User:x", owner=str(n)) for n in range(20)]
    await_waiters(c, 21, key="User:x")
    assert not any(one.answers for one in (a, b, c))


def test_a_try_does_not_wait_and_so_is_no_circle(clients):
    a, b = clients[:2]
    acquire(a, "User:x")
    acquire(b, "User:y")
    ask(a, "User:y")
    await_waiters(a, 1, key="User:y")
    refused(b, "LOCK_TIMEOUT", "lock.acquire", "User:x", "edit", {"wait": 0})


def test_a_circle_through_acquire_many(clients):
    a, b = clients[:2]
    acquire(a, "User:x")
    kept = acquire(b, "User:y")
    request = a.send("lock.acquire_many", [["User:w", "edit"], ["User:y", "edit"], ["User:z", "edit"]])
    await_waiters(a, 1, key="User:y")
    deadlock(b, "User:x")
    text = refused(b, "DEADLOCK", "lock.acquire_many", [["User:v", "edit"], ["User:x", "edit"]])
    assert "User:x" in text
    assert is_free(b, "User:v") and not is_free(a, "User:y", owner="2")
    release(b, kept)
    assert len(a.wait(request)) == 3
    assert not is_free(b, "User:w") and not is_free(b, "User:z")


def test_acquire_many_closes_the_circle(clients):
    """It is the victim, and gives back what it had taken, and only that."""
    a, b = clients[:2]
    acquire(a, "User:x")
    acquire(b, "User:y")
    ask(b, "User:x")
    await_waiters(a, 1, key="User:x")
    refused(a, "DEADLOCK", "lock.acquire_many", [["User:a", "edit"], ["User:x", "edit"], ["User:y", "edit"]])
    assert is_free(b, "User:a", owner="2")
    assert look(a, "User:x")["holders"][0]["depth"] == 1


def test_after_a_wait_has_ended_there_is_no_circle(clients):
    a, b, c = clients[:3]
    acquire(a, "User:x")
    lock = acquire(b, "User:y")
    refused(a, "LOCK_TIMEOUT", "lock.acquire", "User:y", "edit", {"wait": 0.05})
    request = ask(b, "User:x")
    await_waiters(a, 1, key="User:x")
    deadlock(a, "User:y")
    c.close()
    a.close()
    assert b.wait(request)["depth"] == 1
    release(b, lock)


def test_very_long_chains_and_many_of_them(daemon, clients):
    """A search is not repeated for nothing, and takes no stack for each link."""
    a, b = clients[:2]
    n = 2000
    for i in range(n):
        acquire(a, f"User:c{i}", owner=str(i))
    for i in range(n - 1):
        ask(a, f"User:c{i + 1}", owner=str(i))
    began = time.monotonic()
    deadlock(a, "User:c0", owner=str(n - 1))
    ask(b, "User:c0")
    await_waiters(b, 1, key="User:c0")
    assert time.monotonic() - began < 5
    # Everybody waits for one lock: each search sees each holder once.
    for i in range(n):
        acquire(b, "User:shared", mode="shared", owner=str(i))
    began = time.monotonic()
    requests = [ask(b, "User:shared", owner=f"x{i}", wait=0.01) for i in range(200)]
    for request in requests:
        with pytest.raises(RpcError, match="^LOCK_TIMEOUT: "):
            b.wait(request)
    assert time.monotonic() - began < 10
