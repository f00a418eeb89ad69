"""Indexes beside a full scan, after daemons and Redis were killed and links cut in the middle of commits, of changes of
all that is found, and while an index was built; documents end meanwhile."""

import os
import random
import time

import pytest

from index_oracle import Oracle
from models import atomic, field
from rpc_client import Closed, RpcError, wait_until
from test_indexes import FULL, PERSON, Worker

pytestmark = pytest.mark.exact

ROUNDS, CALLS, SEEDS = (120, 90, 10) if FULL else (5, 60, 1)  # 10^5 calls
SETTINGS = {"commit.queue_time": "20s", "redis.reconnect_max": "100ms"}
LATER = {**PERSON, "fields": [{**f, "index": "exact"} if f["name"] == "note" else f for f in PERSON["fields"]]}
EXPRESSIONS = [["=", "name", "Ada"], ["prefix", "name", "A"], [">", "age", 2], ["in", "rank", [0, 1, -1]],
               ["=", "city", None], ["=", "city", "x" * 200], ["has", "tags", "a"], ["has", "clubs", "x"],
               ["has", "langs", "y"], ["=", "note", "1"]]


class Killed(Worker):
    """With documents that end within a second or so, and changes of all that is found."""

    def call(self):
        r = self.random
        kind = r.randrange(12)
        if kind == 0:
            return "doc.ttl", f"Person:{r.randrange(6)}", 1
        if kind == 1:
            return "find.update", "Person", [">", "age", r.randrange(4)], [
                ["num.incr", "age", r.randrange(-3, 3)], ["set", "note", r.choice("12")]], {"limit": 1000}
        if kind == 2:
            return "find.delete", "Person", ["=", "city", "Paris"]
        if kind == 3:
            return "set", f"Person:{r.randrange(6)}", "note", r.choice("12")
        if kind == 4:
            return "doc.save", f"Person:{r.randrange(6, 40)}", {"name": "Ada", "age": r.randrange(5)}
        return super().call()


def reached(daemon, rdb):
    def asks():
        try:
            with daemon.connect() as client:
                client.call("doc.exists", "Person:0")
                return True
        except (RpcError, Closed, OSError):
            return False
    wait_until(asks, timeout=60, what="the daemon")
    assert rdb.ping()


def ending(oracle):
    """Documents that would end between two questions."""
    return [pk for pk, root in oracle.roots() if 0 <= oracle.rdb.pttl(root) < 60_000]


def compare(clients, oracle, model, whole):
    wait_until(lambda: not ending(oracle), what="the end of what has a deadline")
    for client in clients:
        for e in EXPRESSIONS:
            if not whole and e[1] == "note":
                continue
            by_index = client.call("find", "Person", e, {"limit": 10000, "keys": True, "fresh": True})["keys"]
            by_scan = client.call("find", "Person", ["not", ["not", e]],  # which no index answers
                                  {"limit": 10000, "keys": True, "fresh": True, "scan": True})["keys"]
            assert sorted(by_index) == sorted(by_scan), e
    oracle.model = model
    oracle.check(exact=False)
    if whole:
        found = clients[0].call("index.check", "Person")
        assert (found["missing"], found["undeclared"], found["spoilt"]) == (0, 0, [])


@pytest.mark.parametrize("seed", [int(os.environ["RAPYER_SEED"])] if "RAPYER_SEED" in os.environ else range(SEEDS))
def test_the_same_as_a_full_scan(new_redis, new_proxy, new_daemon, seed):
    redis = new_redis(aof=True)
    proxy = new_proxy(redis.address)
    daemons = [new_daemon(proxy.address, SETTINGS), new_daemon(redis.address, SETTINGS)]
    worker, r = Killed(seed), random.Random(seed)
    model, rdb = PERSON, redis.client()
    oracle = Oracle(rdb, model)
    for turn in range(ROUNDS):
        if turn == 1:
            model = LATER  # it is built while all of this goes on
        with daemons[0].connect() as one, daemons[1].connect() as two:
            one.call("define", model)
            two.call("define", model)
            proxy.cut_after(r.choice(["requests", "replies"]), r.randrange(1, 20000))
            clients = [one, two]
            sent = [(client, client.send(*worker.call())) for client in r.choices(clients, k=CALLS)]
            event = r.randrange(4)
            time.sleep(r.random() / 50)
            if event == 0:
                daemons[r.randrange(2)].kill()
            elif event == 1:
                redis.restart()
            for client, request in sent:
                try:
                    client.wait(request)
                except RpcError as e:
                    assert e.code in ("NOT_FOUND", "OUT_OF_RANGE", "UNAVAILABLE", "BUSY", "UNKNOWN_OUTCOME", "NO_INDEX"), e
                except (Closed, OSError):
                    pass
        proxy.disarm()
        for daemon in daemons:
            if daemon.process.poll() is not None:
                daemon.start()
            reached(daemon, rdb)
        with daemons[0].connect() as one, daemons[1].connect() as two:
            compare([one, two], oracle, PERSON, whole=False)
    with daemons[0].connect() as one, daemons[1].connect() as two:
        wait_until(lambda: {i["state"] for i in one.call("index.list", "Person")} == {"complete"}, timeout=60,
                   what="the index that was declared later")
        compare([one, two], oracle, LATER, whole=True)
        time_is_over = int(rdb.time()[0]) + 1
        wait_until(lambda: not rdb.zcount("rapyer:@index:Person/@ttl", "-inf", (time_is_over - 15) * 1000), timeout=60,
                   what="the end of entries of what has ended")


def test_who_builds_an_index_dies_in_the_middle(redis_server, new_proxy, new_daemon, rdb):
    """Half of the documents have their entries then: nobody finds by them. Another daemon begins anew, while
    it writes."""
    proxy = new_proxy(redis_server.address)
    builder = new_daemon(proxy.address)
    page, rome = b"$4\r\nSCAN\r\n", "rapyer:@index:City/country=Italy"

    def second_page():
        proxy.ahead = page, builder.kill

    with builder.connect() as client:
        client.call("define", atomic("City", field("country", "str"), field("n", "int", default=0)))
        client.call("doc.insert", [[f"City:{i}", {"country": "Italy"}] for i in range(1200)])
        proxy.ahead = page, second_page
        client.call("define", atomic("City", field("country", "str", index="exact"), field("n", "int", default=0)))
        wait_until(lambda: builder.process.poll() is not None, timeout=60, what="the end of who builds")
    assert 0 < rdb.scard(rome) < 1200
    rdb.delete("rapyer:@index:@builder")  # it ends by itself within some seconds
    with new_daemon(redis_server.address).connect() as client:
        client.call("define", atomic("City", field("country", "str", index="exact"), field("n", "int", default=0)))
        with pytest.raises(RpcError, match="^NO_INDEX: "):
            client.call("find.count", "City", ["=", "country", "Italy"])
        for i in range(0, 1200, 100):
            client.call("set", f"City:{i}", "country", "Malta")
        client.call("doc.delete", "City:1")
        wait_until(lambda: {i["state"] for i in client.call("index.list", "City")} == {"complete"}, timeout=60,
                   what="the index")
        assert client.call("find.count", "City", ["=", "country", "Malta"]) == 12
        assert client.call("find.count", "City", ["=", "country", "Italy"]) == 1187
        found = client.call("index.check", "City")
        assert (found["missing"], found["undeclared"], found["spoilt"]) == (0, 0, [])
    assert rdb.scard(rome) == 1187
