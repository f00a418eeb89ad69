"""What Redis does not let our user do: it works all the same, or the start and the doctor name
exactly the right that is missing and the line that gives it."""

import os
import re
import threading
import time

import pytest

from daemon_process import BIG_WORK
from lock_clients import acquire, release
from models import ADA, KEY, ROOT, atomic, field, save_ada
from rpc_client import RpcError, wait_until
from test_doctor import doctor

USER = {"redis.redis_user": "worker", "redis.redis_password": "secret",
        "redis.reconnect_max": "50ms"}
# Without one of these the link does not come up.
GREETING = ["info", "client|id", "multi", "exec"]
# Without one of these it does, and the doctor knows what is lost.
RIGHTS = ["hgetall", "hget", "hmget", "hexists", "hvals", "type", "hlen", "hscan", "llen", "lrange", "pttl", "get",
          "set", "unlink", "hset", "hdel", "hincrby", "rpush", "lpush", "lset", "lpop", "rpop", "ltrim", "smembers",
          "sscan", "zcard", "scard", "sadd", "srem", "pexpireat", "persist", "eval", "lpos", "lindex", "linsert",
          "lrem", "append", "time", "zrangestore", "zpopmin", "zpopmax", "hkeys", "smismember", "sinter", "zincrby",
          "zcount", "zlexcount", "zmscore", "zrank", "zrevrank", "zrevrange", "zrangebylex", "zrangebyscore",
          "zrevrangebyscore", "evalsha", "script|load", "pexpire", "zadd", "zrem", "zrange", "zscore", "scan",
          "client|kill", "publish", "subscribe", "client|tracking", "unsubscribe", "config|get"]
SOFT = ["lpos", "zrangestore", "zpopmin", "zpopmax", "publish", "subscribe", "client|tracking", "unsubscribe",
        "config|get"]
CHANNELS = "&rapyer:* &__redis__:invalidate"
MANUAL = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "man", "rapyerd.8")


def allow(rdb, *rights):
    rdb.execute_command("ACL", "SETUSER", "worker", "on", ">secret", *rights)


def forbid(rdb, right):
    """Redis 6.2 can take away whole commands only."""
    command, _, subcommand = right.partition("|")
    others = [f"+{other}" for other in GREETING + RIGHTS
              if other.startswith(f"{command}|") and other != right]
    allow(rdb, f"-{command}", *(others if subcommand else []))


@pytest.fixture
def allowed(rdb):
    allow(rdb, "~rapyer:*", "resetchannels", *CHANNELS.split(), "+@all")


def carry_out(rdb, advice):
    """Does what the doctor says; returns the line."""
    line = advice[advice.index("ACL SETUSER "):]
    rdb.execute_command(*line.split())
    return line


def test_each_missing_right_is_named(redis_server, new_daemon, rdb, allowed):
    daemon = new_daemon(redis_server.address, USER)
    with daemon.connect() as client:
        assert doctor(client)["rights"]["state"] == "ok"
        for right in RIGHTS:
            forbid(rdb, right)
            found = doctor(client)["rights"]
            assert found["found"] == f"missing: +{right}"
            assert found["state"] == ("warn" if right in SOFT else "bad"), right
            assert carry_out(rdb, found["advice"]) == f"ACL SETUSER worker +{right}"
            assert doctor(client)["rights"]["state"] == "ok", right
        for right, rule in (("~rapyer:*", "resetkeys"), (CHANNELS, "resetchannels")):
            allow(rdb, rule)
            found = doctor(client)["rights"]
            assert found["found"] == f"missing: {right}"
            assert carry_out(rdb, found["advice"]) == f"ACL SETUSER worker {right}"
            assert doctor(client)["rights"]["state"] == "ok", right
        allow(rdb, "-discard")
        found = doctor(client)["rights"]
        assert found["state"] == "warn" and found["found"].startswith("cannot be checked: NOPERM")
        carry_out(rdb, found["advice"])
        assert doctor(client)["rights"]["state"] == "ok"
        save_ada(client)  # and the link is as it was


def test_the_user_in_the_manual(redis_server, new_daemon, rdb):
    """It can all, and its daemon hears what others write."""
    with open(MANUAL, encoding="utf-8") as page:
        line = re.search(r"^ACL SETUSER rapyerd .*?^\.fi", page.read(), re.MULTILINE | re.DOTALL)[0]
    words = line.replace("\\-", "-").removesuffix(".fi").split()
    rdb.execute_command("ACL", "SETUSER", "worker", *(">secret" if w == ">PASSWORD" else w for w in words[3:]))
    daemon = new_daemon(redis_server.address, USER)
    with daemon.connect() as client:
        found = doctor(client)["rights"]
        assert (found["state"], found["found"]) == ("ok", "all that is needed"), found
        save_ada(client)
        rdb.hset(ROOT, "age", "50")
        wait_until(lambda: client.call("doc.load", KEY, "age") == 50, what="the news")
        assert "each read asks Redis" not in daemon.log()


def test_commands_that_redis_does_not_have(new_redis, new_daemon):
    """As where somebody else looks after it, or has renamed them."""
    redis = new_redis(options=["--rename-command", "CONFIG", "", "--rename-command", "SCAN", "browse"])
    daemon = new_daemon(redis.address)
    with daemon.connect() as client:
        save_ada(client)
        found = doctor(client)
        assert found["rights"]["found"] == "missing: scan config|get"
        assert "doc.keys is refused" in found["rights"]["advice"] and "ACL" not in found["rights"]["advice"]
        assert found["fsync"]["state"] == "ok" and "unknown command" in found["persistence"]["found"]
        with pytest.raises(RpcError, match="unknown command"):
            client.call("doc.keys", "User")


def test_a_service_that_others_run(new_redis, new_daemon):
    """Nothing of what looks at the server or at its connections: all works that can, and what is lost is said."""
    redis = new_redis(options=["--rename-command", "CONFIG", "", "--rename-command", "DEBUG", ""])
    with redis.client() as rdb:
        allow(rdb, "~rapyer:*", "resetchannels", *CHANNELS.split(), "+@all", "-@admin", "-client", "+client|id")
        daemon = new_daemon(redis.address, USER)
        with daemon.connect() as client, daemon.connect() as other:
            found = doctor(client)["rights"]
            assert found["found"] == "missing: +client|kill +client|tracking; not there at all: config|get"
            assert "A commit may be applied twice" in found["advice"]
            save_ada(client)
            token = acquire(client, KEY)
            assert client.call("num.incr", KEY, "age", 1) == 37
            release(client, token)
            rdb.client_kill_filter(_type="normal", skipme=True)
            wait_until(lambda: "CLIENT KILL is refused" in daemon.log(), what="the next link")
            assert other.call("num.incr", KEY, "age", 1) == 38
            assert client.call("doc.get", KEY)["age"] == 38


def test_many_missing_rights(redis_server, new_daemon, rdb, allowed):
    for right in ("eval", "hset", "scan"):
        forbid(rdb, right)
    daemon = new_daemon(redis_server.address, USER)
    wait_until(lambda: "rights of Redis: missing: +hset +eval +scan" in daemon.log(),
               what="the warning at the start")
    assert "ACL SETUSER worker +hset +eval +scan" in daemon.log()
    with daemon.connect() as client:
        allow(rdb, "-@all", *(f"+{right}" for right in GREETING + ["discard"]))
        found = doctor(client)["rights"]
        assert found["found"] == "missing: " + " ".join(f"+{right}" for right in RIGHTS)
        carry_out(rdb, found["advice"])
        assert doctor(client)["rights"]["state"] == "ok"
        save_ada(client)


@pytest.mark.parametrize("right", GREETING + ["select"])
def test_without_it_there_is_no_link(redis_server, new_daemon, rdb, allowed, right):
    forbid(rdb, right)
    daemon = new_daemon(redis_server.address,
                        {**USER, "redis.redis_db": "1", "commit.queue_time": "100ms"})
    line = f"ACL SETUSER worker +{right}"
    wait_until(lambda: line in daemon.log(), what="the line that gives the right")
    with daemon.connect() as client:
        (finding,) = client.call("admin.doctor")
        assert finding["check"] == "link" and finding["state"] == "bad"
        assert line in finding["found"]
        carry_out(rdb, finding["found"])
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        save_ada(client)


def find_people(client, other):
    pet = atomic("Pet", field("name", "str", index="exact"))
    person = atomic("Person", field("name", "str", index=["exact", "prefix"]),
                    field("age", "int", default=0, index="range"), field("tags", "list<str>", index="tags"),
                    field("langs", "dict<int>", index="tags"), field("pets", "list<Pet>"))
    for one in (client, other):
        one.call("define", person, pet)
    for i in range(3):
        client.call("doc.save", f"Person:{i}", {"name": f"a{i}", "age": i, "tags": ["x"], "langs": {"en": 1},
                                               "pets": [{"@pk": "p", "name": "Rex"}]})
        client.call("num.incr", f"Person:{i}", "age", 1)
    client.call("list.append", "Person:0", "pets", {"name": "Kit"})
    client.call("doc.ttl", "Person:0", 100)
    for expression in (["=", "name", "a1"], ["prefix", "name", "a"], [">", "age", 0], ["has", "tags", "x"],
                       ["has", "langs", "en"], ["=", "pets[].name", "Rex"],
                       ["and", ["has", "tags", "x"], [">", "age", 1], ["prefix", "name", "a"], ["=", "age", 2]],
                       ["not", ["=", "name", "none"]]):
        for options in ({}, {"sort": "-age"}, {"sort": "age"}):
            found = other.call("find", "Person", expression, {"scan": True, "keys": True, **options})["keys"]
            assert "Person:1" in found, (expression, options)


def test_what_is_named_is_enough(redis_server, new_daemon, rdb):
    """All that the daemon does, by a user who may do nothing else."""
    allow(rdb, "~rapyer:*", "resetchannels", *CHANNELS.split(), "-@all", "+discard",
          *(f"+{right}" for right in GREETING + RIGHTS))
    settings = {**USER, **BIG_WORK, "locks.lock_lease": "700ms"}
    one, two = (new_daemon(redis_server.address, settings) for _ in range(2))
    with one.connect() as client, two.connect() as other:
        save_ada(client)
        save_ada(other)
        client.call("define", atomic("Club", field("members", "set<str>"),
                                     field("queue", "sorted<str>")))
        client.call("doc.save", "Club:1", {"members": ["ada"]})
        find_people(client, other)
        for method, *params in [
                ("set.add", "Club:1", "members", "bob"), ("set.remove", "Club:1", "members", "ada"),
                ("sorted.push", "Club:1", "queue", "bob", 1), ("sorted.push", "Club:1", "queue", "cy", 2),
                ("sorted.pop_min", "Club:1", "queue"),
                ("set.add_many", "Club:1", "members", [str(i) for i in range(20001)]),
                ("doc.get", "Club:1", {"fresh": True}),
                ("set", KEY, "name", "x"), ("num.incr", KEY, "age", 2), ("num.mul", KEY, "age", 2),
                ("list.append", KEY, "tags", "d"), ("list.insert", KEY, "tags", 0, "e"),
                ("list.insert", KEY, "tags", 2, "f"), ("list.set", KEY, "tags", 1, "g"),
                ("list.pop", KEY, "tags", 0), ("list.pop", KEY, "tags", 2), ("list.pop", KEY, "tags"),
                ("list.remove_range", KEY, "tags", 0, 2), ("list.clear", KEY, "numbers"),
                ("dict.del", KEY, "counts", "x"), ("dict.clear", KEY, "counts"),
                ("dict.update", KEY, "counts", {str(i): i for i in range(20001)}),
                ("doc.get", KEY, {"fresh": True}), ("doc.load", KEY, "sections[0].tasks"),
                ("list.pop", KEY, "sections", 0), ("doc.ttl", KEY, 100), ("doc.ttl", KEY, 0),
                ("doc.insert", [["User:copy", ADA]]), ("doc.duplicate", KEY), ("doc.exists", KEY),
                ("doc.keys", "User"),
                ("pipeline", [["num.incr", KEY, "age", 1], ["num.incr", "User:copy", "age", 1]])]:
            client.call(method, *params)
        counts = other.call("doc.get", KEY, {"paths": ["counts"], "fresh": True})["counts"]
        assert len(counts) == 20001  # with HSCAN
        assert len(other.call("doc.load", "Club:1", "members")) == 20002
        assert other.call("doc.load", "Club:1", "queue") == [["cy", 2.0]]
        held = acquire(client)
        waiting = other.send("lock.acquire", KEY, "edit", {"wait": 10})
        client.call("lock.release", held["token"], [["num.incr", KEY, "age", 1]])
        release(other, other.wait(waiting))
        rdb.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_until(lambda: "connected again" in one.log(), what="the link")
        client.call("doc.delete", KEY, "User:copy")
    # It names itself and greets; nothing hangs on that.
    missed = {entry[entry.index(b"object") + 1] for entry in rdb.execute_command("ACL", "LOG")}
    assert missed <= {b"client|setname", b"client", b"ping"}


@pytest.mark.parametrize("channels", [[], ["&rapyer:@changes"], ["&rapyer:@bus:*"]])
def test_without_channels_locks_only_get_slower(redis_server, new_daemon, rdb, allowed, channels):
    allow(rdb, "resetchannels", *channels)
    settings = {**USER, "locks.lock_lease": "700ms", "log.log_level": "info"}
    daemons = [new_daemon(redis_server.address, settings) for _ in range(2)]
    with daemons[0].connect() as client, daemons[1].connect() as other:
        save_ada(client)
        save_ada(other)
        assert client.call("num.incr", KEY, "age", 1) == 37
        assert rdb.hget(ROOT, "age") == b"37"
        for _ in range(3):  # there and back: nobody is passed over for ever
            held = acquire(client)
            waiting = other.send("lock.acquire", KEY, "edit", {"wait": 20})
            time.sleep(0.1)
            begun = time.monotonic()
            release(client, held)
            release(other, other.wait(waiting))
            assert time.monotonic() - begun < 5
        assert doctor(client)["rights"]["found"] == f"missing: {CHANNELS}"
        assert doctor(client)["rights"]["state"] == "warn"
    told = daemons[0].log().count("other daemons are not told of commits")
    assert told == (0 if "&rapyer:@changes" in channels else 1)
    assert redis_server.snapshot()[ROOT.encode()]


def test_a_busy_lock_without_channels(redis_server, new_daemon, rdb, allowed):
    """Who waits on another host gets it, however much the first one wants it again."""
    allow(rdb, "resetchannels")
    settings = {**USER, "locks.lock_lease": "600ms", "locks.lock_turns": "2"}
    daemons = [new_daemon(redis_server.address, settings) for _ in range(2)]
    stop = threading.Event()

    def be_busy(daemon):
        with daemon.connect() as client:
            while not stop.is_set():
                release(client, acquire(client, wait=30))

    with daemons[0].connect() as client, daemons[1].connect() as other:
        save_ada(client)
        save_ada(other)
        busy = [threading.Thread(target=be_busy, args=[daemons[0]]) for _ in range(2)]
        for thread in busy:
            thread.start()
        try:
            for _ in range(3):
                release(other, acquire(other, wait=10))
        finally:
            stop.set()
            for thread in busy:
                thread.join()


def test_the_channel_is_tried_again(redis_server, new_daemon, rdb, allowed):
    """A commit that was lost in a failover is applied again where the new Redis forbids it, too."""
    daemon = new_daemon(redis_server.address, USER)
    with daemon.connect() as client:
        save_ada(client)
        client.call("num.incr", KEY, "age", 1)
        before = rdb.dump(ROOT), rdb.get(next(iter(rdb.keys("rapyer:~seq:*"))))
        client.call("num.incr", KEY, "age", 1)
        marker = next(iter(rdb.keys("rapyer:~seq:*")))
        # The same state, one commit back, in a server of another run_id.
        schema = rdb.dump("rapyer:@schema")
        redis_server.restart()
        with redis_server.client() as anew:
            anew.restore(ROOT, 0, before[0])
            anew.restore("rapyer:@schema", 0, schema)
            anew.set(marker, before[1])
            # Only now can rapyerd come in.
            allow(anew, "~rapyer:*", "resetchannels", "+@all", "-client", "+client|id")
            wait_until(lambda: anew.hget(ROOT, "age") == b"38", what="the lost commit")
        assert client.call("num.incr", KEY, "age", 1) == 39
    assert "could not be applied again" not in daemon.log()


def test_scan_forbidden(redis_server, new_daemon, rdb, allowed):
    forbid(rdb, "scan")
    daemon = new_daemon(redis_server.address, USER)
    with daemon.connect() as client:
        save_ada(client)
        with pytest.raises(RpcError, match="^UNAVAILABLE: .*NOPERM"):
            client.call("doc.keys", "User")
        assert client.call("doc.get", KEY)["name"] == ADA["name"]


# --- passwords ---------------------------------------------------------------------------------

def write(path, text):
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def change_password(rdb, password):
    """As an administrator does who wants the old one to end: its connections go, too."""
    rdb.config_set("requirepass", password)
    rdb.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_a_rotated_password_is_found_by_itself(new_redis, new_daemon, rdb, redis_server, tmp_path):
    file = write(tmp_path / "password", "first\n")
    rdb.config_set("requirepass", "first")
    rdb.execute_command("AUTH", "first")
    daemon = new_daemon(redis_server.address, {"redis.redis_password_file": file,
                                               "redis.reconnect_max": "50ms"})
    with daemon.connect() as client:
        save_ada(client)
        write(file, "second\n")
        change_password(rdb, "second")
        assert client.call("num.incr", KEY, "age", 1) == 37  # within commit.queue_time
        # First in Redis, and only later in the file.
        change_password(rdb, "third")
        wait_until(lambda: "refuses the password" in daemon.log(), what="the refusal")
        write(file, "third\n")
        assert client.call("num.incr", KEY, "age", 1) == 38
        # What is wrong with the file is said.
        file.chmod(0o644)
        change_password(rdb, "fourth")
        wait_until(lambda: "can be read by everyone" in daemon.log(), what="the reason")
        write(file, "fourth\n")
        assert client.call("num.incr", KEY, "age", 1) == 39
    assert not any(word in daemon.log() for word in ("first", "second", "third", "fourth"))


def test_a_reload_takes_user_and_password_over(redis_server, new_daemon, rdb, tmp_path):
    for user, password in (("old", "one"), ("new", "two")):
        rdb.execute_command("ACL", "SETUSER", user, "on", f">{password}", "~*", "&*", "+@all")
    file = write(tmp_path / "password", "one\n")
    daemon = new_daemon(redis_server.address, {
        "redis.redis_user": "old", "redis.redis_password_file": file,
        "redis.reconnect_max": "50ms"})
    with daemon.connect() as client:
        save_ada(client)
        daemon.settings["redis.redis_user"] = "new"
        write(file, "two\n")
        daemon.write_config()
        daemon.reload()
        wait_until(lambda: "configuration taken over" in daemon.log(), what="the reload")
        assert "take a restart" not in daemon.log()
        rdb.execute_command("ACL", "DELUSER", "old")  # its connections end
        assert client.call("num.incr", KEY, "age", 1) == 37
        assert b"user=new" in rdb.execute_command("CLIENT", "LIST") or \
            "new" in {c["user"] for c in rdb.client_list()}


def test_the_embedded_redis_keeps_its_password(new_daemon, tmp_path):
    file = write(tmp_path / "password", "one\n")
    daemon = new_daemon("embedded", {"redis.redis_password_file": file})
    with daemon.connect() as client:
        save_ada(client)
        write(file, "two\n")
        daemon.reload()
        wait_until(lambda: "take a restart to change: redis.redis_password" in daemon.log(),
                   what="the reload")
        assert client.call("num.incr", KEY, "age", 1) == 37
        daemon.stop()
        daemon.start()
    with daemon.connect() as client:
        assert client.call("num.incr", KEY, "age", 1) == 38
