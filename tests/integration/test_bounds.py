"""One client sends what it likes, with and without a Redis that answers: rapyerd takes no more than
one and a half times the sum of its settings."""

import contextlib
import select
import socket
import time

import msgpack
import pytest

from models import atomic, field
from rpc_client import Client, RpcError, wait_until

MIB = 1 << 20
MODELS = [
    atomic("Item", field("a", "str", default="")),
    atomic("Bag", field("n", "int", default=0), field("items", "list<Item>"), field("words", "list<str>"),
           field("counts", "dict<int>"), field("numbers", "list<int>"), field("text", "bytes", default=b"")),
]
SETTINGS = {"cache.cache_memory": "32M", "commit.queue_bytes": "16M", "limits.total_input": "32M",
            "limits.client_output": "16M", "cache.shared_memory": "1M", "limits.max_frame": "8M",
            "limits.max_value": "4M", "redis.command_timeout": "20s", "commit.queue_time": "20s"}
SUM = (32 + 16 + 32 + 16 + 1) * MIB
# The memory of the sanitizer for what was freed is no part of it.
ENV = {"ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=1:verify_asan_link_order=0"}


def frames(method, calls):
    return b"".join(Client.pack([0, i, method, call]) for i, call in enumerate(calls))


def save(key, **fields):
    return frames("doc.save", [[key, fields]])


# By connection: what it sends. The first of each pair: whether Redis stands still meanwhile.
ROWS = {
    "increments of many documents": (True, 10, lambda c: frames(
        "num.incr", ([f"Bag:{c}-{i}", "n", 1] for i in range(20_000)))),
    "saves of many elements, unanswered": (True, 10, lambda c: frames(
        "doc.save", ([f"Bag:{c}-{i}", {"items": [{"a": ""}] * 500}] for i in range(100)))),
    "saves of many elements": (False, 10, lambda c: frames(
        "doc.save", ([f"Bag:{c}-{i}", {"items": [{"a": ""}] * 500}] for i in range(100)))),
    "long values, unanswered": (True, 10, lambda c: frames(
        "doc.save", ([f"Bag:{c}-{i}", {"text": bytes(MIB)}] for i in range(8)))),
    "appends to long values": (False, 5, lambda c: save(f"Bag:{c}", text=bytes(2 * MIB)) + frames(
        "bytes.append", ([f"Bag:{c}", "text", b"x"] for _ in range(20)))),
    "questions about many documents": (False, 5, lambda c: frames(
        "doc.exists", ([f"Bag:{c}-{i}-{j}" for j in range(1000)] for i in range(50)))),
    "questions about many documents, unanswered": (True, 5, lambda c: frames(
        "doc.exists", ([f"Bag:{c}-{i}-{j}" for j in range(1000)] for i in range(50)))),
    "a list that grows": (False, 1, lambda c: save("Bag:x") + frames(
        "list.extend", (["Bag:x", "words", [f"a word that is not short {j}" for j in range(20_000)]]
                        for _ in range(40)))),
    "a dict that grows": (False, 1, lambda c: save("Bag:x") + frames(
        "dict.update", (["Bag:x", "counts", {f"key{i}-{j}": j for j in range(10_000)}] for i in range(40)))),
    "messages that do not end": (False, 40, lambda c: save("Bag:x", text=bytes(4 * MIB - 100))[:-10]),
}


def pump(daemon, connections, data, seconds):
    """Sends all that is taken, and reads what is answered."""
    with contextlib.ExitStack() as stack:
        links = {}
        for i in range(connections):
            link = stack.enter_context(socket.socket(socket.AF_UNIX))
            link.connect(daemon.socket)
            link.setblocking(False)
            links[link] = memoryview(data(i))
        end = time.monotonic() + seconds
        while time.monotonic() < end and links:
            readable, writable, _ = select.select(links, [link for link in links if links[link]], [], 0.1)
            for link in writable:
                with contextlib.suppress(OSError):
                    links[link] = links[link][link.send(links[link][:1 << 18]):]
            for link in readable:
                try:
                    gone = not link.recv(1 << 20)
                except BlockingIOError:
                    continue
                except OSError:
                    gone = True
                if gone:
                    del links[link]


def most_memory(daemon):
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def serves(client):
    try:
        return client.call("doc.exists", "Bag:none") == 0
    except RpcError as error:
        assert error.code == "UNAVAILABLE"
        return False


@pytest.mark.parametrize("row", ROWS)
def test_memory(redis_server, new_daemon, row):
    stands, connections, data = ROWS[row]
    daemon = new_daemon(redis_server.address, SETTINGS, env=ENV)
    with daemon.connect() as client:
        for model in MODELS:
            client.call("define", model)
        before = most_memory(daemon)
        if stands:
            redis_server.pause()
        pump(daemon, connections, data, 4)
        assert most_memory(daemon) - before < 1.5 * SUM
        redis_server.resume()
        wait_until(lambda: serves(client), what="rapyerd to serve as ever")


def test_nothing_is_kept_of_what_is_refused(redis_server, new_daemon):
    """A request that finds the queue full leaves no document behind, and has nothing read."""
    daemon = new_daemon(redis_server.address, {**SETTINGS, "commit.queue_bytes": "1M"})
    with daemon.connect() as client, daemon.connect() as other:
        for model in MODELS:
            client.call("define", model)
        redis_server.pause()
        asked = [client.send("num.incr", f"Bag:{i}", "n", 1) for i in range(5_000)]
        assert other.call("hello")
        waits = other.call("admin.stats")["waiting"]
        assert 0 < waits < 1000
        assert other.call("admin.cache")["documents"] == waits
        redis_server.resume()
        for number in asked:
            with pytest.raises(RpcError, match="^NOT_FOUND|^UNAVAILABLE: .*queue_bytes"):
                client.wait(number)


def test_what_is_said_of_keys_that_nobody_wrote_is_not_kept(redis_server, new_daemon, rdb):
    """What a daemon says of the keys that it wrote is kept until Redis names them; which it does not where they were
    not written, or where nobody may track."""
    daemon = new_daemon(redis_server.address, env=ENV)
    with daemon.connect() as client:
        client.call("define", MODELS[0])
        client.call("doc.save", "Item:1", {})

        def say(numbers):
            for number in numbers:
                places = [f"/{number}.{i}" for i in range(1000)]
                change = ["Item:none", 1, 1, None, places]
                rdb.publish("rapyer:@changes", msgpack.packb(["nobody", number, [change]]))
            client.call("doc.get", "Item:1", {"fresh": True})
        say(range(100))
        before = most_memory(daemon)
        say(range(100, 3000))
        assert most_memory(daemon) - before < 8 * MIB
