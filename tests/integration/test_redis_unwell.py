"""Redis is full, read-only, loading, locked, emptied, frozen, killed: what then happens is defined."""

import os
import threading
import time

import pytest

from models import ADA, KEY, ROOT, define_all, save_ada
from redis_server import aof_path, break_off
from rpc_client import RpcError, wait_until

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
WRITES = [("num.incr", KEY, "age", 1), ("list.append", KEY, "tags", "x"),
          ("list.insert", KEY, "tags", 1, "x"), ("list.remove_range", KEY, "tags", 0, 2),
          ("dict.set", KEY, "counts", "x", 5), ("set", KEY, "name", "x"),
          ("list.append", KEY, "sections", {"name": "new", "tasks": []}),
          ("doc.save", "User:new", {"name": "new", "settings": {}}),
          ("pipeline", [["num.incr", KEY, "age", 1], ["list.insert", KEY, "tags", 1, "y"]])]


def refused(client, code, *request):
    with pytest.raises(RpcError) as caught:
        client.call(*request)
    assert caught.value.code == code, caught.value.error
    return caught.value.text


def all_refused(client, redis_server, code="UNAVAILABLE"):
    """No write is applied, not in part either; cached reads go on."""
    before = redis_server.snapshot()
    for request in WRITES:
        refused(client, code, *request)
        assert client.call("doc.load", KEY, "age") == 36
    assert redis_server.snapshot() == before
    assert client.call("doc.get", KEY) == {**ADA, "@pk": "ada"}


def all_work(client):
    assert client.call("num.incr", KEY, "age", 1) == 37
    for request in WRITES[1:]:
        client.call(*request)


def test_full(client, redis_server, rdb):
    save_ada(client)
    rdb.config_set("maxmemory", 1)
    all_refused(client, redis_server)
    assert "OOM" in refused(client, "UNAVAILABLE", *WRITES[0])
    rdb.config_set("maxmemory", 0)
    all_work(client)


def test_replica(client, redis_server, rdb, new_redis):
    save_ada(client)
    master = new_redis(tcp=True)
    rdb.config_set("replica-serve-stale-data", "yes")
    host, _, port = master.address.rpartition(":")
    master.pause()  # so that nothing is taken over from it
    rdb.execute_command("REPLICAOF", host, port)
    all_refused(client, redis_server)
    assert "READONLY" in refused(client, "UNAVAILABLE", *WRITES[0])
    rdb.execute_command("REPLICAOF", "NO", "ONE")
    all_work(client)


def test_disk_full(new_redis, new_daemon):
    """MISCONF: Redis cannot save, and refuses writes."""
    redis_server = new_redis(options=["--dbfilename", "taken"])
    os.mkdir(os.path.join(redis_server.directory, "taken"))
    with new_daemon(redis_server.address).connect() as client, redis_server.client() as rdb:
        save_ada(client)
        rdb.config_set("save", "3600 1000000")
        rdb.bgsave()
        wait_until(lambda: rdb.info("persistence")["rdb_last_bgsave_status"] == "err",
                   what="a fault")
        all_refused(client, redis_server)
        assert "MISCONF" in refused(client, "UNAVAILABLE", *WRITES[0])
        rdb.config_set("stop-writes-on-bgsave-error", "no")
        rdb.config_set("save", "")
        all_work(client)


def start_slowly(redis_server, client, rdb):
    """Redis again, with more than a second of loading. While it loads it answers only now and
    then, and that with LOADING."""
    with rdb.pipeline(transaction=False) as pipe:
        for i in range(5000):
            pipe.set(f"other{i}", i)
        pipe.execute()
    redis_server.kill()
    redis_server.options = ["--key-load-delay", "200"]  # microseconds per key
    starting = threading.Thread(target=redis_server.start)
    starting.start()
    return starting


def test_loading(new_redis, new_daemon):
    redis_server = new_redis(aof=True)
    daemon = new_daemon(redis_server.address, {"redis.reconnect_max": "50ms"})
    with daemon.connect() as client, redis_server.client() as rdb:
        save_ada(client)
        starting = start_slowly(redis_server, client, rdb)
        begun = time.monotonic()
        all_work(client)
        assert time.monotonic() - begun > 0.5, "Redis was not seen loading"
        starting.join()


def test_loading_for_longer_than_anybody_waits(new_redis, new_daemon):
    redis_server = new_redis(aof=True)
    daemon = new_daemon(redis_server.address, {"commit.queue_time": "200ms",
                                               "redis.reconnect_max": "50ms"})
    with daemon.connect() as client, redis_server.client() as rdb:
        save_ada(client)
        starting = start_slowly(redis_server, client, rdb)
        wait_until(lambda: "loading" in refused(client, "UNAVAILABLE", *WRITES[0]),
                   what="a refusal that names it")
        starting.join()
        wait_until(lambda: try_call(client, "doc.load", KEY, "age") == 36, what="a read")
        all_work(client)


def test_killed_while_it_writes_a_commit(new_redis, new_proxy, new_daemon):
    """The first commands of the commit are in the append-only file, and the commit is sent again:
    it is applied once, also when Redis reads its file once more."""
    redis_server = new_redis(aof=True)
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {"redis.reconnect_max": "50ms"})
    with daemon.connect() as client, redis_server.client() as rdb:
        save_ada(client)
        proxy.freeze()
        request = client.send("list.append", KEY, "tags", "x")
        wait_until(lambda: client.call("admin.stats")["in_flight_bytes"] > 0, what="the commit")
        redis_server.kill()
        break_off(aof_path(redis_server.directory), ["RPUSH", f"{ROOT}/tags", "x"])
        redis_server.start()
        proxy.thaw()
        assert client.wait(request) == 4
        redis_server.restart()
        assert rdb.lrange(f"{ROOT}/tags", 0, -1) == [b"a", b"b", b"c", b"x"]
        assert client.call("list.append", KEY, "tags", "y") == 5


def try_call(client, *request):
    try:
        return client.call(*request)
    except RpcError as error:
        assert error.code == "UNAVAILABLE", error.error
        return None


def try_connect(daemon):
    """The path is there a moment before it takes connections."""
    try:
        return daemon.connect()
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def test_wrong_password(redis_server, rdb, new_daemon):
    rdb.config_set("requirepass", "right")
    daemon = new_daemon(redis_server.address, {"redis.redis_password": "open",
                                               "commit.queue_time": "300ms",
                                               "redis.reconnect_max": "100ms"}, wait=False)
    with wait_until(lambda: try_connect(daemon), what="the socket") as client:
        begun = time.monotonic()
        text = refused(client, "UNAVAILABLE", "define", {"name": "M", "kind": "atomic",
                                                         "fields": []})
        assert time.monotonic() - begun < 3
        assert "password" in text
        rdb.config_set("requirepass", "open")
        wait_until(lambda: try_call(client, "define", {
            "name": "M", "kind": "atomic", "fields": [{"name": "n", "type": "int"}]}),
            what="a definition")
        client.call("doc.save", "M:1", {"n": 1})
        assert client.call("num.incr", "M:1", "n", 1) == 2


def test_script_flush(client, rdb):
    save_ada(client)
    expected = ["a", "b", "c"]
    for i in range(10):
        expected.insert(1, f"x{i}")
        assert client.call("list.insert", KEY, "tags", 1, f"x{i}") == len(expected)
        rdb.script_flush()
    assert [tag.decode() for tag in rdb.lrange(ROOT + "/tags", 0, -1)] == expected


@pytest.mark.parametrize("request_", WRITES[:7], ids=lambda request: request[0])
def test_emptied(client, redis_server, rdb, request_):
    """FLUSHALL: what was cached may still be read; the first write finds the document gone, says
    so, and leaves nothing of itself behind."""
    save_ada(client)
    rdb.flushall()
    assert KEY in refused(client, "NOT_FOUND", *request_)
    wait_until(lambda: redis_server.snapshot() == {}, what="nothing there")
    refused(client, "NOT_FOUND", "doc.get", KEY)
    refused(client, "NOT_FOUND", *request_)
    save_ada(client)
    all_work(client)
    assert redis_server.snapshot()[ROOT.encode()][1][b"age"] == b"38"


def test_emptied_under_many_writes(client, redis_server, rdb):
    """Those that were gathering while the first one found it out are told the same."""
    save_ada(client)
    requests = [client.send("num.incr", KEY, "age", 1) for _ in range(1000)]
    rdb.flushall()
    requests += [client.send("list.append", KEY, "tags", "x") for _ in range(1000)]
    answers = []
    for request in requests:
        try:
            answers.append(client.wait(request))
        except RpcError as error:
            assert error.code == "NOT_FOUND", error.error
            answers.append(None)
    gone = answers.index(None)
    assert set(answers[gone:]) == {None}
    assert answers[:gone] == list(range(37, 37 + gone))
    wait_until(lambda: redis_server.snapshot() == {}, what="nothing there")
    refused(client, "NOT_FOUND", "doc.get", KEY)


def test_emptied_and_saved(client, redis_server, rdb):
    """A save writes the whole document: it does not mind."""
    save_ada(client)
    before = redis_server.snapshot()
    rdb.flushall()
    client.call("doc.save", KEY, ADA)
    after = redis_server.snapshot()
    for snapshot in before, after:
        snapshot[ROOT.encode()][1].pop(b"@v")
    assert after == before
    assert client.call("doc.get", KEY) == {**ADA, "@pk": "ada"}


def test_emptied_with_two_documents(client, redis_server, rdb):
    """One of a pipeline's documents is gone: nothing is applied."""
    save_ada(client)
    client.call("doc.save", "User:bob", {"name": "bob", "settings": {}})
    rdb.delete(*rdb.keys(ROOT + "*"))
    text = refused(client, "NOT_FOUND", "pipeline", [["num.incr", "User:bob", "age", 1],
                                                     ["num.incr", KEY, "age", 1]])
    assert KEY in text
    assert client.call("doc.load", "User:bob", "age") == 0
    assert not rdb.exists(ROOT)


def test_another_daemon_removes_it(client, redis_server, rdb, new_daemon):
    save_ada(client)
    with new_daemon(redis_server.address).connect() as other:
        assert other.call("doc.delete", KEY) == 1
    refused(client, "NOT_FOUND", "num.incr", KEY, "age", 1)
    wait_until(lambda: redis_server.snapshot() == {}, what="nothing there")


def test_deadline_survives_another_writer(redis_server, rdb, new_daemon):
    """What is forgotten of a document because somebody else wrote to it is not its deadline."""
    model = {"name": "Brief", "kind": "atomic", "ttl": 1000,
             "fields": [{"name": "n", "type": "int", "default": 0},
                        {"name": "tags", "type": "list<str>"}]}
    with new_daemon(redis_server.address).connect() as client:
        client.call("define", model)
        client.call("doc.save", "Brief:1", {})
        for _ in range(20):
            rdb.hincrby("rapyer:{Brief:1}", "@v", 1)
            requests = [client.send("list.append", "Brief:1", "tags", "x") for _ in range(200)]
            for request in requests:
                client.wait(request)
            assert rdb.ttl("rapyer:{Brief:1}") > 900
            assert rdb.ttl("rapyer:{Brief:1}/tags") > 900


@pytest.mark.parametrize("command_timeout", ["200ms", "20s"])
def test_frozen_and_back(redis_server, new_daemon, rdb, command_timeout):
    """Longer than command_timeout, and shorter; both within queue_time."""
    daemon = new_daemon(redis_server.address, {"redis.command_timeout": command_timeout,
                                               "redis.connect_timeout": "200ms",
                                               "redis.reconnect_max": "50ms",
                                               "commit.queue_time": "20s"})
    with daemon.connect() as client:
        save_ada(client)
        for turn in range(10 if FULL else 2):
            age = client.call("doc.load", KEY, "age")
            redis_server.pause()
            requests = [client.send("num.incr", KEY, "age", 1) for _ in range(300)]
            if command_timeout == "200ms":
                wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="a timeout")
            redis_server.resume()
            assert [client.wait(request) for request in requests] == list(
                range(age + 1, age + 301))
            assert int(rdb.hget(ROOT, "age")) == age + 300


def test_frozen_for_longer_than_anybody_waits(redis_server, new_daemon, rdb):
    """What was on the way is unknown, what was not is refused; afterwards each is found to be there
    or not, once."""
    daemon = new_daemon(redis_server.address, {"redis.command_timeout": "100ms",
                                               "redis.connect_timeout": "100ms",
                                               "redis.reconnect_max": "50ms",
                                               "commit.queue_time": "300ms"})
    with daemon.connect() as client:
        save_ada(client)
        for _ in range(3):
            # When one is answered the next go out at once, and are on their way.
            age = wait_until(lambda: try_call(client, "num.incr", KEY, "age", 1), what="a write")
            redis_server.pause()
            sent = [client.send("num.incr", KEY, "age", 1) for _ in range(100)]
            codes = []
            for request in sent:
                with pytest.raises(RpcError) as caught:
                    client.wait(request)
                codes.append(caught.value.code)
            unknown = codes.count("UNKNOWN_OUTCOME")
            assert set(codes) <= {"UNKNOWN_OUTCOME", "UNAVAILABLE"} and unknown > 0
            begun = time.monotonic()
            refused(client, "UNAVAILABLE", "num.incr", KEY, "age", 1)
            assert time.monotonic() - begun < 0.2, "it is known that Redis is away"
            redis_server.resume()
            now = wait_until(lambda: try_call(client, "doc.load", KEY, "age"), what="a read")
            assert now in (age, age + unknown)
            age = now
            assert int(rdb.hget(ROOT, "age")) == age
        stats = client.call("admin.stats")
        assert stats["lost_states"] == 0
        # And the marker is right again: a break is recovered from as ever.
        rdb.client_kill_filter(_type="normal", skipme=True)
        assert client.call("num.incr", KEY, "age", 1) == age + 1


@pytest.mark.parametrize("away", ["frozen", "gone"])
def test_full_queue(new_redis, new_daemon, away):
    """queue_bytes: past it the answer is UNAVAILABLE, at once; what was taken is not lost."""
    redis_server = new_redis(aof=True)
    daemon = new_daemon(redis_server.address, {
        "commit.queue_bytes": "64K", "redis.command_timeout": "20s", "commit.queue_time": "20s",
        "redis.reconnect_max": "50ms"})
    with daemon.connect() as client:
        save_ada(client)
        if away == "frozen":
            redis_server.pause()
        else:
            redis_server.kill()
            wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="a lost link")
        requests = {client.send("list.append", KEY, "tags", f"{i}-{'x' * 1000}"): i
                    for i in range(200)}
        early = {}
        begun = time.monotonic()
        while len(early) < 100:
            message = client.read_message()
            early[message[1]] = message[2]
        assert time.monotonic() - begun < 5
        assert all(error.startswith("UNAVAILABLE: ") for error in early.values())
        if away == "frozen":
            redis_server.resume()
        else:
            redis_server.start()
        taken = []
        for request, i in requests.items():
            try:
                if request not in early:
                    client.wait(request)
                    taken.append(f"{i}-{'x' * 1000}")
            except RpcError as error:
                assert error.code == "UNAVAILABLE", error.error
        assert len(taken) > 10
        assert client.call("doc.load", KEY, "tags") == ["a", "b", "c", *taken]


def test_define_and_reads_wait_as_writes_do(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"redis.reconnect_max": "50ms"})
    with daemon.connect() as client:
        save_ada(client)
        redis_server.kill()
        wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="a lost link")
        request = client.send("doc.get", "User:unread")
        redis_server.start()
        with pytest.raises(RpcError, match="^NOT_FOUND: "):
            client.wait(request)
        wait_until(lambda: try_define(client), what="a definition")


def try_define(client):
    try:
        define_all(client)
        return True
    except RpcError as error:
        assert error.code == "UNAVAILABLE", error.error
        return False
