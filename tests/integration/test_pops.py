"""The lowest of a sorted set, taken out by Redis itself: each member once, whoever else takes some, whatever
is lost on the way, and by a Redis that comes back without it."""

import os
import threading

import pytest

from fault_proxy import REPLIES, REQUESTS
from models import atomic, field
from rpc_client import RpcError, wait_until
from test_fault_failover import Pair
from test_rights import USER, allow

pytestmark = pytest.mark.exact

JOBS = atomic("Jobs", field("name", "str", default=""), field("queue", "sorted<int>"))
KEY, ROOT = "Jobs:1", "rapyer:{Jobs:1}"
QUEUE = ROOT + "/queue"
FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "10ms"}
N = 1000
STEP = 1 if os.environ.get("RAPYER_FULL") else 3


@pytest.fixture
def proxy(redis_server, new_proxy):
    return new_proxy(redis_server.address)


def begin(daemon, n=N):
    client = daemon.connect()
    client.call("define", JOBS)
    client.call("doc.save", KEY, {"queue": [[job, job] for job in range(100, 100 + n)]})
    return client


@pytest.fixture
def client(proxy, new_daemon):
    with begin(new_daemon(proxy.address, FAST)) as client:
        yield client


@pytest.fixture
def other(client, redis_server, new_daemon):
    with new_daemon(redis_server.address).connect() as other:
        other.call("define", JOBS)
        yield other


def pop(client, end="min"):
    return client.call(f"sorted.pop_{end}", KEY, "queue")


def ahead(proxy, lost, act):
    """It happens just before the next pop, the answer to which may be lost."""
    proxy.ahead = (b"ZPOPMIN", lambda: (act(), lost and proxy.cut_after(REPLIES, 30)))


def as_redis_has_it(client, rdb, left):
    assert [int(job) for job in rdb.zrange(QUEUE, 0, -1)] == left
    assert [job for job, _ in client.call("doc.load", KEY, "queue")] == left
    stats = client.call("admin.stats")
    assert stats["unknown_outcomes"] == 0 and stats["lost_states"] == 0


def test_it_is_no_script(new_daemon, redis_server, rdb):
    daemon = new_daemon(redis_server.address)
    client = begin(daemon)
    rdb.config_resetstat()
    assert pop(client) == [100, 100.0] and pop(client, "max") == [1099, 1099.0]
    told = rdb.info("commandstats")
    assert told["cmdstat_zpopmin"]["calls"] == told["cmdstat_zpopmax"]["calls"] == 1
    assert not any(key in told for key in ("cmdstat_eval", "cmdstat_evalsha", "cmdstat_publish"))
    assert client.call("sorted.pop_min", KEY, "queue", 2) == [[101, 101.0], [102, 102.0]]
    client.close()
    assert rdb.keys("rapyer:~pop:*")
    daemon.stop()
    assert not rdb.keys("rapyer:~*"), "what it noted for itself goes with it"


@pytest.mark.parametrize("direction", [REQUESTS, REPLIES])
def test_a_cut_at_any_byte_takes_out_one(client, proxy, rdb, direction):
    fired, count, taken = True, 0, []
    while fired:
        client.call("doc.load", KEY, "queue")  # so that the next transaction is the pop's
        plan = proxy.cut_after(direction, count)
        taken.append(pop(client)[0])
        fired = plan.fired.is_set()
        count += STEP
    proxy.disarm()
    assert count > 60 and taken == list(range(100, 100 + len(taken)))
    as_redis_has_it(client, rdb, list(range(100 + len(taken), 100 + N)))
    stats = client.call("admin.stats")
    assert stats["recovered_applied" if direction == REPLIES else "recovered_resent"] > 60 // STEP


def lower(rdb, other):
    other.call("sorted.push", KEY, "queue", 7, 1.5)


def first(rdb, other):
    assert pop(other) == [100, 100.0]


def foreign(rdb, other):
    rdb.zadd(QUEUE, {"7": 1.5})


def scored(rdb, other):
    other.call("sorted.push", KEY, "queue", 100, 99.5)


@pytest.mark.parametrize("lost", [False, True], ids=["", "and the answer is lost"])
@pytest.mark.parametrize("what, answer", [(lower, [7, 1.5]), (first, [101, 101.0]), (foreign, [7, 1.5]),
                                          (scored, [100, 99.5])])
def test_another_one_is_the_lowest_by_then(client, other, proxy, rdb, what, answer, lost):
    """What is answered is what was taken out."""
    ahead(proxy, lost, lambda: what(rdb, other))
    assert pop(client) == answer
    left = [job for job in ([7] if what is foreign or what is lower else []) + list(range(100, 100 + N))
            if job != answer[0] and not (what is first and job == 100)]
    as_redis_has_it(client, rdb, left)
    assert pop(client)[0] == left[0] and pop(other)[0] == left[1]


@pytest.mark.parametrize("lost", [False, True], ids=["", "and the answer is lost"])
def test_it_is_empty_by_then(client, other, proxy, rdb, lost):
    client.call("sorted.remove_range", KEY, "queue", 1)
    ahead(proxy, lost, lambda: first(rdb, other))
    with pytest.raises(RpcError, match="^NOT_FOUND: .*'queue' is empty"):
        pop(client)
    as_redis_has_it(client, rdb, [])
    client.call("sorted.push", KEY, "queue", 5, 5)
    assert pop(client) == [5, 5.0]


@pytest.mark.parametrize("lost", [False, True], ids=["", "and the answer is lost"])
def test_the_document_is_gone_by_then(client, other, proxy, rdb, lost):
    ahead(proxy, lost, lambda: other.call("doc.delete", KEY))
    with pytest.raises(RpcError, match="^NOT_FOUND: "):
        pop(client)
    wait_until(lambda: not rdb.keys(ROOT + "*"), what="nothing of it")
    client.call("doc.save", KEY, {"queue": [[1, 1]]})
    assert pop(client) == [1, 1.0]


def test_who_comes_meanwhile(client, other, proxy, rdb):
    """Reads that see the pop, and pops behind it, where another one was the lowest."""
    held, go = threading.Event(), threading.Event()
    proxy.ahead = (b"ZPOPMIN", lambda: (held.set(), go.wait()))
    popped = client.send("sorted.pop_min", KEY, "queue")
    held.wait()
    lower(rdb, other)
    peeked = client.send("sorted.peek", KEY, "queue")
    more = [client.send("sorted.pop_min", KEY, "queue") for _ in range(3)]
    go.set()
    assert client.wait(popped) == [7, 1.5] and client.wait(peeked)[0] in range(100, 104)
    assert [client.wait(request)[0] for request in more] == [100, 101, 102]
    as_redis_has_it(client, rdb, list(range(103, 100 + N)))


def test_what_was_lost_is_taken_out_again_by_name(new_redis, new_proxy, new_daemon):
    """The new master lacks the pops, and one that was taken out; it has had a lower member since."""
    pair = Pair(new_redis, new_proxy)
    client = begin(new_daemon(pair.front.address, {**FAST, "redis.reconnect_max": "20ms"}), 50)
    pair.caught_up()
    pair.lag()
    taken = [pop(client)[0] for _ in range(20)]
    plan = pair.front.cut_after(REPLIES, 30)
    taken.append(pop(client)[0])
    assert plan.fired.is_set()
    taken.append(pop(client, "max")[0])
    with pair.master.client() as rdb:
        pair.front.ahead = (b"ZPOPMIN", lambda: rdb.zadd(QUEUE, {"8": 2}))
        taken.append(pop(client)[0])
    assert taken == [*range(100, 121), 149, 8]
    with pair.replica.client() as rdb:
        rdb.config_set("replica-read-only", "no")
        rdb.zadd(QUEUE, {"7": 1.5})
        pair.fail_over()
        assert pop(client) == [7, 1.5]
        as_redis_has_it(client, rdb, list(range(121, 149)))
    client.close()


def test_redis_does_not_let_us(redis_server, new_daemon, rdb):
    """Then a script does it; and in a minute it is tried again."""
    allow(rdb, "~rapyer:*", "resetchannels", "&*", "+@all", "-zpopmin")
    with begin(new_daemon(redis_server.address, USER)) as client:
        rdb.config_resetstat()
        assert [pop(client)[0] for _ in range(3)] == [100, 101, 102]
        as_redis_has_it(client, rdb, list(range(103, 100 + N)))
        assert rdb.info("commandstats")["cmdstat_evalsha"]["calls"] == 3
