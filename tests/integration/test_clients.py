"""Clients we did not write, very many clients, and clients that do not read."""

import resource
import subprocess
import time

import pytest
from pynvim.msgpack_rpc import ErrorResponse, socket_session

from daemon_process import BIG_WORK, built
from models import ADA, KEY, MODELS, save_ada
from rpc_client import Closed, RpcError, wait_until


def test_a_ready_made_client_works(daemon):
    """pynvim's transport, whose first message is a notification with a binary method name."""
    session = socket_session(daemon.socket)
    session.error_wrapper = lambda error: ErrorResponse(error)
    try:
        for model in MODELS:
            session.request("define", model)
        document = {name: value for name, value in ADA.items() if name not in ("born", "blob")}
        assert session.request("doc.save", KEY, document)["key"] == KEY
        assert session.request("list.append", KEY, "sections[0].tasks[0].tags", "new") == 2
        read = session.request("doc.get", KEY)
        assert read["sections"][0]["tasks"][0]["tags"] == ["red", "new"]
        assert read["name"] == "Ada" and read["counts"] == {"x": 1, "y": 2}
        with pytest.raises(ErrorResponse, match="^BAD_TYPE: "):
            session.request("set", KEY, "age", "old")
    finally:
        session.close()


def test_five_thousand_clients(daemon, client):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 6000
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    save_ada(client)
    clients = []
    try:
        for _ in range(5000):
            clients.append(daemon.connect())
        requests = [other.send("num.incr", KEY, "age", 1) for other in clients]
        results = [other.wait(request) for other, request in zip(clients, requests)]
        assert sorted(results) == list(range(37, 5037))
        start = daemon.memory()
        for other in clients:
            assert other.call("doc.load", KEY, "age") == 5036
        assert daemon.memory() - start < 32 << 20
    finally:
        for other in clients:
            other.close()
    assert client.call("doc.load", KEY, "age") == 5036


def test_one_client_too_many(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.max_clients": 10})
    clients = [daemon.connect() for _ in range(10)]
    for other in clients:
        other.call("hello")
    with daemon.connect() as late:
        said = late.expect_closed()
        assert said and said[0][2].startswith("BUSY: ")
    for command in (("stats",), ("get", "User:1"), ("set", "User:1", "name", "x")):
        said = subprocess.run([built("client/rapyerctl"), "-s", daemon.socket, *command],
                              capture_output=True, text=True, check=False)
        assert said.returncode == 5 and "BUSY: 10 clients are connected, limits.max_clients" in said.stderr
    clients[0].call("hello")
    clients.pop().close()
    wait_until(daemon.answers, what="a free place")
    for other in clients:
        other.close()


def stuff(client, request, seconds=3):
    """Sends the request again and again without reading, until the daemon takes no more."""
    client.socket.settimeout(0.3)
    deadline = time.monotonic() + 60
    sent, last = 0, time.monotonic()
    pending = b""
    while time.monotonic() < deadline:
        pending = pending or request
        try:
            done = client.socket.send(pending)
            pending = pending[done:]
            sent += not pending
            last = time.monotonic()
        except TimeoutError:
            if time.monotonic() - last > 0.9:
                return sent, pending
        assert sent < 1_000_000, "it takes all we send"
    raise AssertionError("it neither takes nor refuses what we send")


def test_a_client_that_does_not_read_is_paused(daemon, client):
    save_ada(client)
    client.call("set", KEY, "bio", "x" * 100_000)
    memory = daemon.memory()
    with daemon.connect() as lazy:
        # Long requests, so that those in the socket's buffer are few.
        request = lazy.pack([0, 1, "doc.get", [KEY, {"paths": ["bio"] * 20}]])
        sent, rest = stuff(lazy, request)
        assert daemon.memory() - memory < 32 << 20
        # The others do not notice.
        start = time.monotonic()
        for i in range(200):
            assert client.call("num.incr", KEY, "counts[\"x\"]", 1) == i + 2
        assert time.monotonic() - start < 5
        # It reads at last, and gets an answer to all it sent.
        lazy.socket.settimeout(30)
        for _ in range(sent):
            kind, _, error, _ = lazy.read_message()
            assert (kind, error) == (1, None)
        lazy.send_raw(rest)
        if rest:
            lazy.read_message()
        assert lazy.call("hello")


def test_answers_that_pile_up_unread_close_the_connection(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {
        **BIG_WORK, "limits.client_output": "1M", "limits.client_output_pause": "64K"})
    with daemon.connect() as client, daemon.connect() as lazy:
        save_ada(client)
        client.call("set", KEY, "bio", "x" * 50_000)
        redis_server.pause()
        # The first one is committed alone, and its answer is below the pause. So the others, which wait for
        # it, are carried out together: whoever has more to read than that is kept waiting instead.
        lazy.send("str.append", KEY, "bio", "y")
        lazy.call("hello")
        for _ in range(199):
            lazy.send("str.append", KEY, "bio", "y")
        lazy.notify("hello")
        # All of them are with the daemon: it has read what was sent before this answer came.
        lazy_id = lazy.send("hello")
        lazy.wait(lazy_id)
        redis_server.resume()
        wait_until(lambda: client.call("doc.load", KEY, "bio").endswith("y" * 200), what="the writes")
        received = 0
        with pytest.raises(Closed):
            while True:
                lazy.read_message()
                received += 1
        assert received < 200
        assert client.call("hello")


def test_requests_in_flight_are_bounded(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.client_requests": 100})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        redis_server.pause()
        # In one go: each small one would take a buffer of its own in the socket, and fill it.
        requests = range(1000, 2000)
        client.send_raw(b"".join(client.pack([0, number, "num.incr", [KEY, "age", 1]])
                                 for number in requests))
        assert other.call("hello")
        redis_server.resume()
        assert [client.wait(request) for request in requests] == list(range(37, 1037))


def test_clients_that_leave_in_the_middle(daemon, client):
    save_ada(client)
    for _ in range(200):
        with daemon.connect() as other:
            for _ in range(5):
                other.send("list.append", KEY, "numbers", 4)
            other.send("doc.get", KEY)
    # What was sent is applied; nobody is there for the answers.
    wait_until(lambda: len(client.call("doc.load", KEY, "numbers")) == 1003, what="the appends")
    with pytest.raises(RpcError, match="^BAD_TYPE: "):
        client.call("list.append", KEY, "numbers", "x")
