"""commit.replicas and commit.fsync: a write is acknowledged when so many replicas, and disks, have it;
when they do not in time it says so, and is applied all the same, once."""

import re
import time

import pytest

from fault_proxy import REPLIES
from lock_clients import acquire
from models import KEY, ROOT, save_ada
from rpc_client import RpcError, wait_until
from test_doctor import doctor

LATE = "^NOT_DURABLE: the change is applied, but "
FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "20ms"}


@pytest.fixture
def pair(new_redis):
    master, replica = (new_redis(tcp=True, options=["--repl-diskless-sync-delay", "0"]) for _ in range(2))
    with replica.client() as rdb:
        rdb.replicaof("127.0.0.1", master.port)
        wait_until(lambda: rdb.info("replication")["master_link_status"] == "up", what="the replica")
    return master, replica


def age_in(redis):
    with redis.client() as rdb:
        return int(rdb.hget(ROOT, "age"))


def test_a_write_waits_for_the_replica(pair, new_daemon):
    master, replica = pair
    daemon = new_daemon(master.address, {"commit.replicas": 1})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        for n in range(50):
            assert client.call("num.incr", KEY, "age", 1) == 37 + n
            assert age_in(replica) == 37 + n  # already
        replica.pause()
        request = client.send("num.incr", KEY, "age", 1)
        wait_until(lambda: age_in(master) == 87, what="the commit")
        reading = other.send("doc.load", KEY, "age")
        time.sleep(0.1)
        replica.resume()  # within commit.wait: nobody hears of it
        assert client.wait(request) == 87
        assert other.wait(reading) == 87
        assert client.call("admin.stats")["not_durable"] == 0
        assert doctor(client)["commit"]["state"] == "ok"


def test_too_few_replicas(pair, new_daemon):
    """It is said which are missing; the change is there, once, for whoever reads; and a lock that was to be
    released with it is."""
    master, replica = pair
    daemon = new_daemon(master.address, {"commit.replicas": 2, "commit.wait": "50ms"})
    with daemon.connect() as client, daemon.connect() as other:
        with pytest.raises(RpcError, match=LATE + "only [01] of 2 replicas had it within 50 ms"):
            save_ada(client)
        for method, *params in (("num.incr", KEY, "age", 1), ("pipeline", [["num.incr", KEY, "age", 1]]),
                                ("list.append", KEY, "tags", "x")):
            with pytest.raises(RpcError, match=LATE):
                client.call(method, *params)
        assert other.call("doc.load", KEY, "age") == 38 == age_in(master)
        held = acquire(client, KEY, "edit")
        with pytest.raises(RpcError, match=LATE):
            client.call("lock.release", held["token"], [["num.incr", KEY, "age", 1]])
        assert acquire(other, KEY, "edit", wait=0)
        assert age_in(master) == 39
        assert client.call("admin.stats")["not_durable"] >= 5
        found = doctor(client)["commit"]
        assert found["state"] == "bad" and "2, and 1 are connected" in found["found"]
        with pytest.raises(RpcError, match="^NOT_FOUND"):  # a refusal stays what it is
            client.call("num.incr", "User:nobody", "age", 1)
        client.call("admin.set", "commit.replicas", "1")
        client.call("admin.set", "commit.wait", "4s")
        assert client.call("num.incr", KEY, "age", 1) == 40
    assert age_in(replica) == 40


def test_the_link_is_cut_while_it_waits(pair, new_daemon, new_proxy):
    """EXEC is answered, WAIT is not: applied, and that is all that is known. Or EXEC is not either."""
    master, replica = pair
    proxy = new_proxy(master.address)
    daemon = new_daemon(proxy.address, {**FAST, "commit.replicas": 1, "commit.wait": "3s"})
    with daemon.connect() as client:
        save_ada(client)
        replica.pause()
        request = client.send("num.incr", KEY, "age", 1)
        wait_until(lambda: age_in(master) == 37, what="the commit")
        time.sleep(0.05)  # for EXEC's answer; without it the outcome is the same
        proxy.cut()
        with pytest.raises(RpcError, match=LATE + "the connection to Redis was lost"):
            client.wait(request)
        replica.resume()
        assert client.call("num.incr", KEY, "age", 1) == 38
        late = 1
        for n in range(39, 59):  # where Redis had not got it either, it is sent again, and all is well
            proxy.cut_after(REPLIES, 0)
            try:
                assert client.call("num.incr", KEY, "age", 1) == n
            except RpcError as error:
                assert re.match(LATE + "the connection to Redis was lost", error.error)
                late += 1
                break
        proxy.disarm()
        assert client.call("doc.load", KEY, "age") == n == age_in(master)
        assert client.call("admin.stats")["not_durable"] == late


def test_many_share_one_wait(pair, new_daemon):
    master, _ = pair
    daemon = new_daemon(master.address, {"commit.replicas": 1})
    with daemon.connect() as client:
        save_ada(client)
        before = client.call("admin.stats")["commits"]
        requests = [client.send("num.incr", KEY, "age", 1) for _ in range(1000)]
        assert [client.wait(request) for request in requests] == list(range(37, 1037))
        assert client.call("admin.stats")["commits"] - before < 500


def test_nothing_is_asked_by_default(pair, new_daemon):
    master, _ = pair
    with new_daemon(master.address).connect() as client, master.client() as rdb:
        save_ada(client)
        client.call("num.incr", KEY, "age", 1)
        assert not {"cmdstat_wait", "cmdstat_waitaof"} & set(rdb.info("commandstats"))


def test_disks(new_redis, new_daemon):
    """Where Redis has WAITAOF; else each write says that it has not."""
    redis = new_redis(aof=True)
    daemon = new_daemon(redis.address, {"commit.fsync": 1})
    with daemon.connect() as client, redis.client() as rdb:
        major, minor = (int(n) for n in rdb.info("server")["redis_version"].split(".")[:2])
        if (major, minor) >= (7, 2):
            save_ada(client)
            assert client.call("num.incr", KEY, "age", 1) == 37
            assert rdb.info("commandstats")["cmdstat_waitaof"]["calls"] >= 2
            assert doctor(client)["commit"]["state"] == "ok"
            rdb.config_set("appendonly", "no")
            with pytest.raises(RpcError, match=LATE + "Redis refuses WAITAOF"):
                client.call("num.incr", KEY, "age", 1)
        else:
            with pytest.raises(RpcError, match=LATE + "Redis refuses WAITAOF"):
                save_ada(client)
        assert doctor(client)["commit"]["state"] == "bad"
        assert client.call("doc.load", KEY, "age") == age_in(redis)
