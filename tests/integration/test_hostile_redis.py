"""A Redis that answers what no Redis answers: other types, garbage, lengths beyond all bounds, half an
answer. The daemon does not end, takes no memory for what is only declared, says which answer it could
not use, and serves again when Redis does."""

import os
import random
import threading
import time

import pytest

from fault_proxy import REPLIES, FaultProxy
from models import KEY, atomic, define_all, field, save_ada
from rpc_client import Closed, RpcError, wait_until

FULL = os.environ.get("RAPYER_FULL") == "1"
SEED = int(os.environ.get("RAPYER_SEED", random.randrange(1 << 30)))
MIB = 1 << 20
# What there may be to say; never that the daemon itself is at fault.
CODES = {"UNAVAILABLE", "UNKNOWN_OUTCOME", "CORRUPT", "LOCK_LOST", "LOCK_TIMEOUT", "NOT_FOUND", "CONFLICT",
         "UNKNOWN_MODEL", "OUT_OF_RANGE", "BUSY", "DEADLOCK", "NO_INDEX", "TOO_LARGE"}


# --- answers -------------------------------------------------------------------------------


def split(data, at=0):
    """The reply that begins there, as (its bytes, those in it), and where it ends; None: not whole."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None, at
    kind, head, body = data[at:at + 1], data[at + 1:end], end + 2
    if kind == b"$" and int(head) >= 0:
        after = body + int(head) + 2
        return ((data[at:after], []), after) if after <= len(data) else (None, at)
    if kind == b"*" and int(head) > 0:
        parts, after = [], body
        for _ in range(int(head)):
            part, after = split(data, after)
            if part is None:
                return None, at
            parts.append(part)
        return (data[at:body], parts), after
    return (data[at:body], []), body


def join(reply):
    head, parts = reply
    return head + b"".join(join(part) for part in parts)


STRANGE = [
    b":0\r\n", b":-1\r\n", b":9223372036854775807\r\n", b":-9223372036854775808\r\n", b"$-1\r\n", b"*-1\r\n",
    b"*0\r\n", b"$0\r\n\r\n", b"+OK\r\n", b"+QUEUED\r\n", b"+\r\n", b"+REFUSED\r\n", b"+REFUSED 1 -1\r\n",
    b"+REFUSED 99999999999999999999 x\r\n", b"-ERR strange\r\n", b"-\r\n", b"-OOM no\r\n", b"-READONLY no\r\n",
    b"-NOSCRIPT no\r\n", b"-EXECABORT no\r\n", b"-WRONGTYPE no\r\n", b"-LOADING no\r\n", b"-MOVED 1 a:1\r\n",
    b"-NOPERM no\r\n", b"$3\r\nabc\r\n", b"$19\r\n9223372036854775807\r\n", b"$20\r\n-9223372036854775809\r\n",
    b"$1\r\n\xc0\r\n", b"$4\r\n\x00\xff\xfe\x00\r\n", b"$5\r\n1e999\r\n", b"$3\r\nnan\r\n",
    b"*1\r\n*1\r\n*1\r\n:1\r\n", b"*2\r\n$4\r\nheld\r\n$1\r\nx\r\n", b"*1\r\n$4\r\nheld\r\n",
    b"*6\r\n$4\r\nheld\r\n$1\r\nx\r\n:9223372036854775807\r\n:9223372036854775807\r\n:1\r\n$1\r\nx\r\n",
    b"*2\r\n$6\r\nqueued\r\n:9223372036854775807\r\n", b"*2\r\n$6\r\nqueued\r\n:-9223372036854775808\r\n",
    b"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$1\r\nx\r\n", b"*1\r\n$4\r\nlost\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n",
    b"$16384\r\n" + b"x" * 16384 + b"\r\n"]
HUGE = [
    b"*2147483647\r\n", b"*1000000000\r\n", b"*" + b"9" * 30 + b"\r\n", b"*-2\r\n", b"*-2147483648\r\n",
    b"$2147483647\r\n", b"$9223372036854775807\r\n", b"$" + b"9" * 40 + b"\r\n", b"$-2\r\n", b"$-99\r\nabc\r\n",
    b"*4000000\r\n" * 7, b"*1000000\r\n" * 1000, b"*1\r\n" * 1000, b":" + b"1" * 100_000 + b"\r\n",
    b"+" + b"x" * 100_000, b"%2147483647\r\n", b"=15\r\ntxt:Some\r\n", b"_\r\n", b"#t\r\n"]


class HostileProxy(FaultProxy):
    """Changes one of some answers, in the way of its mode."""

    def __init__(self, directory, target, mode, rng):
        self.mode, self.rng = mode, rng
        self.hostile = False
        self.changed = 0
        self.instead = None  # of the next answer
        super().__init__(directory, target)

    def change_one(self, reply):
        head, parts = reply
        if parts and self.rng.random() < 0.8:
            i = self.rng.randrange(len(parts))
            what = self.rng.random()
            if what < 0.8:
                parts = [*parts[:i], self.change_one(parts[i]), *parts[i + 1:]]
                return head, parts
            parts = parts[:i] if what < 0.9 else [*parts, *parts[:i + 1]]  # too few, too many
            return b"*%d\r\n" % len(parts), parts
        return self.rng.choice(STRANGE), []

    def change(self, data):
        if self.mode == "types":
            replies, at = [], 0
            while at < len(data):
                reply, at = split(data, at)
                if reply is None:
                    return data
                replies.append(reply)
            i = self.rng.randrange(len(replies))
            replies[i] = self.change_one(replies[i])
            return b"".join(join(reply) for reply in replies)
        at = self.rng.randrange(len(data) + 1)
        if self.mode == "garbage":
            return data[:at] + self.rng.randbytes(self.rng.randrange(1, 200)) + data[at:]
        if self.mode == "huge":
            return self.rng.choice(HUGE) + data[at:]
        flipped = bytearray(data)  # "flips"
        for _ in range(self.rng.randrange(1, 4)):
            flipped[self.rng.randrange(len(flipped))] = self.rng.randrange(256)
        return bytes(flipped)

    def pass_on(self, link, direction, data, sink):
        if self.instead is not None and direction == REPLIES:
            data, self.instead = self.instead, None
            return super().pass_on(link, direction, data, sink)
        if not self.hostile or direction != REPLIES or self.rng.random() < 0.7:
            return super().pass_on(link, direction, data, sink)
        self.changed += 1
        if self.mode == "closes":
            super().pass_on(link, direction, data[:self.rng.randrange(len(data))], sink)
            return False
        return super().pass_on(link, direction, self.change(data), sink)


# --- what clients do meanwhile -------------------------------------------------------------


PERSON = atomic("Person", field("mail", "optional<str>", unique=True), field("age", "int", index="range", default=0),
                field("tags", "set<str>", index="tags"), field("queue", "sorted<str>"),
                field("boss", "optional<ref<Person>>"), ttl=1)


def request_of_a_person(rng):
    key, other = (f"Person:{rng.choice('abcdef')}" for _ in range(2))
    mail = f"{rng.randrange(8)}@x"
    return rng.choice([
        ("doc.save", key, {"mail": mail, "age": rng.randrange(9), "tags": ["a", "b"], "boss": other}),
        ("set", key, "mail", mail), ("num.incr", key, "age", 1), ("doc.delete", key),
        ("set.add", key, "tags", rng.choice("abc")), ("set.pop", key, "tags"), ("set.union", key, "tags", ["d"]),
        ("sorted.push", key, "queue", rng.choice("xyz"), rng.randrange(9)), ("sorted.pop_min", key, "queue"),
        ("find", "Person", [">", "age", 3], {"sort": "-age", "limit": 3}), ("find", "Person", ["has", "tags", "a"]),
        ("find", "Person", ["=", "mail", mail], {"explain": True}), ("find.count", "Person", [">=", "age", 2]),
        ("find.update", "Person", [">", "age", 3], [["num.incr", "age", -1], ["set.add", "tags", "u"]], {"limit": 4}),
        ("find.delete", "Person", ["has", "tags", "d"], {"limit": 2}), ("index.list",),
        ("index.check", "Person", {"repair": rng.random() < .5}),
        ("find", "Person", None, {"scan": True, "sort": "age"}), ("doc.get", key, {"resolve": ["boss"], "depth": 3}),
        ("doc.ttl", key, 5, {"cascade": True}), ("doc.persist", key), ("if", key, "age", {">": 3}),
        ("pipeline", [["if", key, "age", {">": 3}], ["set.add", other, "tags", "z"]])])


def request(rng):
    if rng.random() < 0.4:
        return request_of_a_person(rng)
    key = f"User:{rng.choice('abcdef')}"
    return rng.choice([
        ("doc.save", key, {"name": "n", "age": 1, "tags": ["a", "b"],
                               "sections": [{"@pk": "s", "name": "x", "tasks": [{"title": "y"}]}]}),
        ("doc.get", key, {"fresh": rng.random() < 0.5}), ("doc.load", key, "sections[0].tasks[0].title"), ("doc.delete", key),
        ("num.incr", key, "age", 1), ("num.mul", key, "age", 2), ("list.append", key, "tags", "c"),
        ("list.pop", key, "tags", 0), ("list.insert", key, "tags", 0, "d"), ("list.clear", key, "sections"),
        ("dict.set", key, "settings.notifications", "x", True), ("doc.exists", key), ("doc.keys", "User", {}),
        ("doc.ttl", key, 100), ("doc.duplicate", key, f"User:{rng.randrange(100)}"),
        ("pipeline", [["num.incr", key, "age", 1], ["num.incr", "User:a", "age", 1]]),
        ("lock.break", key, "edit"), ("admin.doctor",), ("admin.stats",)])


def under_lock(client, rng):
    lock = client.call("lock.acquire", f"User:{rng.choice('abc')}", "edit",
                       {"wait": rng.choice([0, 0.2]), "document": True, "notify": True})
    client.call("lock.release", lock["token"], [["num.incr", "User:a", "age", 1]] if rng.random() < 0.5 else [])


def work(daemon, seed, until, complaints):
    rng = random.Random(seed)
    with daemon.connect() as client:
        client.socket.settimeout(20)
        while time.monotonic() < until:
            try:
                if rng.random() < 0.3:
                    under_lock(client, rng)
                else:
                    client.call(*request(rng))
            except RpcError as error:
                if error.code not in CODES or not error.text:
                    complaints.append(error.error)
            except Exception as error:  # a connection that ends, or an answer that cannot be read
                complaints.append(f"{type(error).__name__}: {error}")
                return


@pytest.mark.parametrize("mode", ["types", "flips", "garbage", "huge", "closes"])
def test_a_redis_that_answers_anything(redis_server, new_daemon, workdir, mode):
    rng = random.Random(f"{SEED} {mode}")
    proxy = HostileProxy(workdir, redis_server.address, mode, rng)
    daemon = new_daemon(proxy.address, {"redis.reconnect_max": "50ms", "commit.queue_time": "300ms",
                                        "locks.lock_lease": "500ms", "redis.command_timeout": "300ms"})
    with daemon.connect() as client:
        wait_until(lambda: began(client), what="documents to work on")
    memory = daemon.memory()
    proxy.hostile = True
    complaints = []
    until = time.monotonic() + (60 if FULL else 5)
    threads = [threading.Thread(target=work, args=(daemon, f"{SEED} {mode} {i}", until, complaints))
               for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert daemon.process.poll() is None, f"seed {SEED}: {daemon.log()[-3000:]}"
    assert proxy.changed > 20, "nothing was hostile"
    assert not complaints, f"seed {SEED}: {complaints[:5]}"
    # The sanitizer alone keeps 256 MiB of what was freed.
    assert daemon.memory() < memory + 600 * MIB, f"seed {SEED}"
    proxy.hostile = False
    proxy.cut()
    with daemon.connect() as client:
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        wait_until(lambda: serves(client), what="a daemon that serves")
    proxy.stop()


def began(client):
    """On a busy machine Redis may be away for a moment: it has little time to answer."""
    try:
        define_all(client)
        client.call("define", PERSON)
        save_ada(client)
    except RpcError as e:
        assert e.code == "UNAVAILABLE", e
        return False
    return True


def serves(client):
    """Its models may be those of the hostile Redis; its locks may be on their way out."""
    try:
        define_all(client)
        save_ada(client)
        age = client.call("doc.get", KEY, {"fresh": True})["age"]
        lock = client.call("lock.acquire", KEY, "again", {"wait": 5})
        return client.call("lock.release", lock["token"], [["num.incr", KEY, "age", 1]]) == [age + 1]
    except RpcError:
        return False


@pytest.mark.parametrize("answer", HUGE, ids=range(len(HUGE)))
def test_what_is_declared_takes_no_memory(redis_server, new_daemon, workdir, answer):
    """Instead of the next answer; the link is given up, and the log says why."""
    proxy = HostileProxy(workdir, redis_server.address, "huge", random.Random(SEED))
    daemon = new_daemon(proxy.address, {"redis.reconnect_max": "50ms", "redis.command_timeout": "500ms"})
    with daemon.connect() as client:
        save_ada(client)
        memory = daemon.memory()
        proxy.instead = answer
        try:
            client.call("doc.get", KEY, {"fresh": True})
        except RpcError as error:
            assert error.code in ("UNAVAILABLE", "CORRUPT"), error.error
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        wait_until(lambda: serves(client), what="a daemon that serves")
        assert daemon.memory() < memory + 100 * MIB
    proxy.stop()
