"""What a daemon is told and what not: Redis names the keys that others write, over the link of its own
commits, and nobody hears himself. Is anything missed for that?"""

import contextlib
import socket
import time

import pytest

from fault_proxy import REQUESTS, FaultProxy
from models import KEY, ROOT, save_ada
from rpc_client import RpcError, wait_until
from segment_reader import Segment
from test_coherence import outcome
from test_watch import told, told_until

BOUND = 1.0
CHANGES = "rapyer:@changes"


@pytest.fixture
def daemon(redis_server, new_daemon):
    """It does not look for what it has missed, and so does not mend it."""
    return new_daemon(redis_server.address, {"coherence.audit": "0"})


def listeners(rdb):
    return dict(rdb.pubsub_numsub(CHANGES))[CHANGES.encode()]


def prefixes(rdb):
    """How many beginnings of keys Redis looks for in each write."""
    return rdb.info()["tracking_total_prefixes"]


def said(rdb, client, *request):
    """How many messages to all daemons come of it."""
    with rdb.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(CHANGES)
        heard.get_message(timeout=5)
        client.call(*request)
        rdb.publish(CHANGES, "the end")
        return sum(1 for _ in iter(lambda: heard.get_message(timeout=5)["data"], b"the end"))


def soon(client, path, value):
    wait_until(lambda: client.call("doc.load", KEY, path) == value, timeout=BOUND + 5, what=f"{value} at {path}")


@pytest.fixture
def first(redis_server):
    """Sends a command without waiting for its answer."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as link:
        link.connect(redis_server.socket)
        link.sendall(b"PING\r\n")
        link.recv(100)  # what is not taken in yet would be last in the turn

        def send(*words):
            link.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode())
                                                            for word in words))
        yield send


def in_one_turn(redis_server, *senders):
    """Redis stands still meanwhile, and then finds all of it there, in this order."""
    redis_server.pause()
    for send in senders:
        send()
    redis_server.resume()


def sends(client, *request):
    """It is on its way to Redis when this returns: what is asked last is asked in a later turn."""
    client.send(*request)
    client.call("hello")
    client.call("hello")


@pytest.mark.parametrize("long", [0, 1500, 20000])
@pytest.mark.parametrize("theirs, path, ours", [
    (["HSET", ROOT, "bio"], "bio", ["num.incr", KEY, "age", 1]),
    (["HSET", ROOT + "/counts", "x"], 'counts["x"]', ["dict.set", KEY, "counts", "y", 7]),
    (["LSET", ROOT + "/numbers", "1"], "numbers[1]", ["list.append", KEY, "numbers", 7]),
    (["LSET", ROOT + "/numbers", "1"], "numbers[1]", ["list.set", KEY, "numbers", 0, 7])])
def test_a_write_just_before_ours(redis_server, ada, first, theirs, path, ours, long):
    """Of two who write a key in one turn of Redis only the last one is remembered: nobody is told. Shows C4."""
    ada.call("list.extend", KEY, "numbers", list(range(max(0, long - 10))))
    ada.call("dict.update", KEY, "counts", {f"k{n}": n for n in range(max(0, long - 10))})
    ada.call("set", KEY, "name", "x" * 100 * long)
    ada.call("doc.get", KEY)
    kind = type(ada.call("doc.load", KEY, path))
    for n in range(10, 13):
        in_one_turn(redis_server, lambda: first(*theirs, str(n)), lambda: sends(ada, *ours))
        soon(ada, path, kind(n))


def test_a_write_just_before_ours_is_seen_while_ours_waits_for_replicas(redis_server, new_daemon, first):
    """However long they take: what is asked meanwhile is asked of Redis, behind them. Shows C4."""
    daemon = new_daemon(redis_server.address, {"coherence.audit": "0", "coherence.bound": "200ms",
                                               "commit.replicas": 1, "commit.wait": "2s"})
    with daemon.connect() as ada, daemon.connect() as other:
        with pytest.raises(RpcError, match="NOT_DURABLE"):
            save_ada(ada)
        ada.call("doc.get", KEY)
        in_one_turn(redis_server, lambda: first("HSET", ROOT, "bio", "theirs"),
                    lambda: sends(ada, "num.incr", KEY, "age", 1))
        time.sleep(0.25)  # the bound
        assert other.call("doc.load", KEY, "bio") == "theirs"


def test_a_write_just_before_ours_is_seen_in_shared_memory(redis_server, daemon, ada, first):
    """Who reads there does not ask, however long it is shown; the first time it is shown after the write."""
    with Segment(daemon.socket) as segment:
        for n in range(4):
            in_one_turn(redis_server, lambda: first("HSET", ROOT, "bio", str(n)),
                        lambda: sends(ada, "num.incr", KEY, "age", 1))

            def seen():
                found = segment.read(KEY)
                if found is None:
                    ada.call("doc.get", KEY)
                return found and found["bio"] == str(n)
            wait_until(seen, timeout=BOUND + 5, what="the write")


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
def test_one_of_the_links_is_cut(ada, rdb, kind):
    """Redis tracks for as long as both are there, and tells neither of the other's end."""
    for n in range(3):
        gaps = ada.call("admin.stats")["gaps"]
        wait_until(lambda: rdb.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") > 0, what="a link")
        wait_until(lambda: ada.call("admin.stats")["gaps"] > gaps and ada.call("admin.stats")["hears_others"],
                   what="a new one")
        for value in (2 * n, 2 * n + 1):
            ada.call("doc.get", KEY)
            rdb.hset(ROOT, "age", value)
            soon(ada, "age", value)


class SilentProxy(FaultProxy):
    """The link over which is tracked can end for Redis alone."""
    lane = dead = None

    def pass_on(self, link, direction, data, sink):
        if direction == REQUESTS and b"TRACKING" in data:
            self.lane = link
        if link is self.dead:
            return True
        return super().pass_on(link, direction, data, sink)


def test_the_link_that_tracks_ends_without_a_word(redis_server, workdir, new_daemon, rdb):
    """Nothing is named any more, and what is read is all there: only that no proof comes back says so."""
    proxy = SilentProxy(workdir, redis_server.address)
    with new_daemon(proxy.address, {"redis.command_timeout": "2s"}).connect() as client:
        save_ada(client)
        client.call("doc.get", KEY)
        wait_until(lambda: proxy.lane and client.call("admin.stats")["hears_others"], what="the link")
        proxy.dead = proxy.lane
        proxy.dead.close = lambda: None
        assert rdb.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") > 0
        rdb.hset(ROOT, "age", 77)
        written = time.monotonic()
        while (found := outcome(client, "doc.load", KEY, "age")) != 77:
            assert found == "UNAVAILABLE" or time.monotonic() - written < BOUND
    proxy.stop()


def test_what_scripts_of_ours_write_is_not_foreign(redis_server, new_daemon, rdb):
    """They are named whoever calls them. It is known what they do, so nothing is read again for it, but later, to
    be sure."""
    settings = {"coherence.audit": "0", "coherence.bound": "1h"}
    with new_daemon(redis_server.address, settings).connect() as ada:
        save_ada(ada)
        ada.call("list.extend", KEY, "numbers", list(range(2000)))
        for n in range(5):  # hears all that was before
            ada.call("doc.load", KEY, "numbers")
        rdb.config_resetstat()
        before = ada.call("admin.stats")["foreign_writes"]
        for n in range(20):
            ada.call("str.append", KEY, "bio", "x")
            ada.call("list.insert", KEY, "numbers", 5, n)
            version = ada.call("doc.get", KEY, {"version": True, "paths": ["age"]})["@v"]
            ada.call("pipeline", [["list.append", KEY, "numbers", n]], {"if_version": {KEY: version}})
            assert ada.call("doc.load", KEY, "numbers[-1]") == n
        ada.call("doc.ttl", KEY, 1000)
        for n in range(5):
            ada.call("list.append", KEY, "numbers", n)
            assert ada.call("doc.load", KEY, "numbers[-1]") == n
        assert ada.call("admin.stats")["foreign_writes"] == before
        assert rdb.info("commandstats").get("cmdstat_lrange", {"calls": 0})["calls"] == 0


def test_a_write_just_after_a_script_of_ours(ada, other, rdb):
    """What of the commit is written without one is not named, and explains nothing that comes after it. It is read
    again, however long it is, and told to who watches."""
    ada.call("list.extend", KEY, "numbers", list(range(2000)))
    other.call("watch", KEY, "numbers")
    ada.call("doc.load", KEY, "numbers")
    for n in range(20):
        ada.call("list.append", KEY, "numbers", n)
        assert told(other)[2] == ["numbers"]
        rdb.lset(ROOT + "/numbers", 7, -n)
        assert told(other)[2] == ["numbers"]
        soon(ada, "numbers[7]", -n)


def test_a_write_just_after_what_redis_refused(ada, other, rdb):
    """Nothing of that is named, and of what we wrote beside it in the same commit no more; it explains nothing later."""
    ada.call("list.extend", KEY, "numbers", list(range(2000)))
    ada.call("doc.save", "User:bob", {"name": "Bob"})
    other.call("watch", KEY, "numbers")
    for n in range(5):
        token = ada.call("lock.acquire", "User:bob", "edit")["token"]
        rdb.delete(*rdb.keys("rapyer:@lock:*"))
        for key in KEY, "User:bob":  # nothing of them is to be read, so that one commit has both
            ada.call("doc.get", key)
        ada.send_raw(ada.pack([0, 1000 + n, "list.append", [KEY, "numbers", n]]) +
                     ada.pack([0, 2000 + n, "pipeline", [[["set", "User:bob", "age", n]], {"lock": token}]]))
        ada.wait(1000 + n)
        with pytest.raises(RpcError, match="LOCK_LOST"):
            ada.wait(2000 + n)
        assert told(other)[2] == ["numbers"]
        rdb.lset(ROOT + "/numbers", 7, -n)
        assert told(other)[2] == ["numbers"]
    assert not rdb.exists("rapyer:{~turn}")


def test_what_redis_refuses_explains_nothing(ada, other, first, redis_server):
    """Nothing of the pipeline was written, as another program was first. What that one has written else is told."""
    ada.call("list.extend", KEY, "numbers", list(range(2000)))
    other.call("watch", KEY, "numbers")
    for n in range(5):
        ada.call("doc.load", KEY, "numbers")
        version = ada.call("doc.get", KEY, {"version": True, "paths": ["age"], "fresh": True})["@v"]
        sent = []

        def refused():
            sent.append(ada.send("pipeline", [["list.set", KEY, "numbers", 5, n]], {"if_version": {KEY: version}}))
            ada.call("hello")
            ada.call("hello")
        in_one_turn(redis_server, lambda: first("HINCRBY", ROOT, "@v", "1"), refused,
                    lambda: first("LSET", ROOT + "/numbers", "7", str(-n)))
        with pytest.raises(RpcError, match="CONFLICT"):
            ada.wait(sent[0])
        assert told(other)[2] == ["numbers"]
        soon(ada, "numbers[7]", -n)


# --- who is alone ----------------------------------------------------------------------------


def test_nobody_listens_to_himself_alone(redis_server, new_daemon, ada, rdb):
    wait_until(lambda: ada.call("num.incr", KEY, "age", 1) and said(rdb, ada, "num.incr", KEY, "age", 1) == 0,
               what="silence")
    for n in range(5):
        assert said(rdb, ada, "set", KEY, "age", n) == 0
        assert said(rdb, ada, "num.mul", KEY, "age", 2) == 0
    assert listeners(rdb) == 0 and prefixes(rdb) == 1
    second = new_daemon(redis_server.address)
    with second.connect() as other:
        wait_until(lambda: listeners(rdb) == 2, what="both")
        assert prefixes(rdb) == 2
        assert said(rdb, ada, "set", KEY, "age", 76) == said(rdb, ada, "num.mul", KEY, "age", 2) == 1
        other.call("set", KEY, "age", 77)
        soon(ada, "age", 77)
        ada.call("set", KEY, "age", 78)
        soon(other, "age", 78)
    second.stop()
    wait_until(lambda: ada.call("num.incr", KEY, "age", 1) and listeners(rdb) == 0, timeout=30, what="nobody")
    assert said(rdb, ada, "set", KEY, "age", 79) == 0


def test_who_does_not_know_of_others_sees_what_they_do(redis_server, new_daemon, ada, rdb):
    """As that of programs without a daemon, also where both write the same in one turn."""
    rdb.execute_command("ACL", "SETUSER", "quiet", "on", ">secret", "~rapyer:*", "resetchannels", "&" + CHANGES,
                        "+@all")
    settings = {"redis.redis_user": "quiet", "redis.redis_password": "secret"}
    ada.call("list.extend", KEY, "numbers", list(range(2000)))
    with new_daemon(redis_server.address, settings).connect() as other:
        for n in range(10):
            other.call("list.append", KEY, "numbers", n)
            soon(ada, "numbers[-1]", n)
            ada.call("doc.load", KEY, "numbers")
            writers = [lambda: sends(other, "list.append", KEY, "numbers", -1),
                       lambda: sends(ada, "list.append", KEY, "numbers", -2)]
            in_one_turn(redis_server, *(writers if n % 2 else reversed(writers)))
            wait_until(lambda: rdb.llen(ROOT + "/numbers") == 2003 + 3 * (n + 1), what="both")
            stored = [int(text) for text in rdb.lrange(ROOT + "/numbers", -5, -1)]
            wait_until(lambda: ada.call("doc.load", KEY, "numbers")[-5:] == stored, timeout=BOUND + 5,
                       what=f"{stored} at the end")
        assert listeners(rdb) == 0


def test_what_was_said_explains_nothing_later(redis_server, new_daemon, ada, third, rdb):
    """Where another daemon and then we write the same in one turn nothing is named in it. What a program
    without one writes after that is not taken for theirs, however soon, and however long it is; who watches is told."""
    ada.call("list.extend", KEY, "numbers", list(range(2000)))
    third.call("watch", KEY)
    with new_daemon(redis_server.address).connect() as other:
        wait_until(lambda: listeners(rdb) == 2, what="both")
        for n in range(3):
            for client in other, ada:
                client.call("doc.load", KEY, "numbers")
            in_one_turn(redis_server, lambda: sends(other, "list.append", KEY, "numbers", n),
                        lambda: sends(ada, "list.append", KEY, "numbers", n))
            wait_until(lambda: rdb.llen(ROOT + "/numbers") == 2003 + 2 * (n + 1), what="both")
            wait_until(lambda: len(ada.call("doc.load", KEY, "numbers")) == 2003 + 2 * (n + 1), timeout=BOUND + 5,
                       what="the other's")
            ada.call("set", KEY, "bio", f"that was turn {n}")
            told_until(third, lambda key, version, paths: "bio" in paths)
            rdb.lset(ROOT + "/numbers", 7, -n)
            told_until(third, lambda key, version, paths: "numbers" in paths)
            soon(ada, "numbers[7]", -n)
