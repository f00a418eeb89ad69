"""find in a cluster, where an index is one for each slot: beside a full scan, whatever was done to the documents,
while slots move and a master fails over, and in its order."""

import os
import random
import threading

import pytest

from index_oracle import ClusterOracle, View
from models import atomic, field
from redis_cluster import slot_of, slot_of_document
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_indexes import PERSON, Worker, drive

pytestmark = pytest.mark.exact

FULL = os.environ.get("RAPYER_FULL")
FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "20ms"}
EXPRESSIONS = [["=", "name", "Ada"], ["prefix", "name", "A"], [">", "age", 2], ["in", "rank", [0, 1, -1]],
               ["=", "city", None], ["=", "city", "x" * 200], ["has", "tags", "a"], ["has", "clubs", "x"],
               ["and", ["=", "name", "Ada"], ["<", "age", 3]], ["or", ["=", "city", "London"], ["has", "langs", "y"]]]
ALSO = ("CROSS_SLOT", "UNKNOWN_OUTCOME")
KEYS = [f"Person:{i}" for i in range(6)]


def all_of(client, e, **options):
    """Page by page."""
    found, options = [], {"keys": True, "fresh": True, **options}
    while True:
        page = client.call("find", "Person", e, options)
        found += page["keys"]
        if page["cursor"] is None:
            return found
        options["cursor"] = page["cursor"]


def compare(client):
    """By index, and by looking at all there is."""
    documents = {key: d for key, d in ((k, client.call("doc.get", k, {"fresh": True}))
                                       for k in all_of(client, None, scan=True))}
    for e in EXPRESSIONS:
        by_index = all_of(client, e, limit=10)
        assert sorted(by_index) == sorted(all_of(client, ["not", ["not", e]], scan=True)), e
        assert client.call("find.count", "Person", e, {"fresh": True}) == len(by_index)
    for sort in ("age", "-age"):
        wanted = sorted(documents, key=lambda key: (documents[key]["age"], key.encode()), reverse=sort == "-age")
        assert all_of(client, None, sort=sort, limit=7) == wanted
    return len(documents)


def test_the_same_as_a_full_scan(calm_cluster, new_daemon):
    worker = Worker(int(os.environ.get("RAPYER_SEED", 1)))
    with new_daemon(calm_cluster.address).connect() as client:
        client.call("define", PERSON)
        oracle = ClusterOracle(calm_cluster, PERSON)
        for turn in range(200 if FULL else 4):
            client.call("doc.insert", [[f"Person:{{t{i % 3}}}{turn}.{i}", {"name": "Ada", "age": i}] for i in range(5)],
                        {"parts": True})
            calls = [worker.call() for _ in range(30)]
            for method, *params in calls:
                try:  # what is of several slots is refused whole
                    client.call(method, *params)
                except RpcError as e:
                    assert e.code in ("NOT_FOUND", "OUT_OF_RANGE", "CROSS_SLOT"), e
            assert oracle.check() > 20
        assert compare(client) > 20
        assert client.call("find.update", "Person", [">", "age", 2], [["set", "city", "Rome"]],
                           {"limit": 10000})["refused"] == []
        assert sorted(all_of(client, ["=", "city", "Rome"])) == sorted(all_of(client, [">", "age", 2]))
        first = all_of(client, None, sort="age")[:3]
        assert client.call("find.delete", "Person", None, {"sort": "age", "limit": 3})["deleted"] == 3
        assert client.call("doc.exists", *first) == 0
        client.call("find.delete", "Person", ["not", ["=", "name", "nobody"]], {"scan": True, "limit": 10000})
        assert oracle.check() == 0 and oracle.found() == set()


def test_many_of_one_slot_and_of_one_score(calm_cluster, new_daemon):
    """More than a page in a single slot."""
    with new_daemon(calm_cluster.address).connect() as client:
        client.call("define", PERSON)
        many = [f"Person:{{t}}{i}" for i in range(700)]
        client.call("doc.insert", [[key, {"name": "Ada", "age": i // 300}] for i, key in enumerate(many)])
        others = [f"Person:{i}" for i in range(30)]
        client.call("doc.insert", [[key, {"name": "Ada", "age": 1}] for key in others], {"parts": True})
        assert sorted(all_of(client, ["=", "name", "Ada"])) == sorted(many + others)
        assert sorted(all_of(client, ["=", "age", 1])) == sorted(many[300:600] + others)
        ordered = sorted(many[:300], key=str.encode) + sorted(many[300:600] + others) + sorted(many[600:])
        assert all_of(client, None, sort="age", limit=200) == ordered
        assert all_of(client, None, sort="-age", limit=200) == ordered[::-1]
        said = client.call("find", "Person", ["and", ["=", "name", "Ada"], ["=", "age", 2]],
                           {"keys": True, "limit": 1000, "explain": True})
        assert sorted(said["keys"]) == sorted(many[600:]) and said["explain"]["from"][0]["path"] == "age"


def test_an_index_that_is_declared_later(calm_cluster, new_daemon):
    """It is built from all slots, while others write; what has ended leaves nothing behind."""
    bare = {**PERSON, "fields": [{k: v for k, v in f.items() if k != "index"} for f in PERSON["fields"]]}
    with new_daemon(calm_cluster.address).connect() as client:
        client.call("define", bare)
        client.call("doc.insert", [[f"Person:{{t{i % 4}}}{i}" if i % 2 else f"Person:{i}", {"name": "Ada"}]
                                   for i in range(300)], {"parts": True})
        client.call("define", PERSON)
        refused(client, "NO_INDEX", "find", "Person", ["=", "name", "Ada"])
        for i in range(20):
            client.call("set", f"Person:{2 * i}", "name", "Bob")
        wait_until(lambda: {i["state"] for i in client.call("index.list", "Person")} == {"complete"}, timeout=60,
                   what="the index that was declared later")
        assert client.call("find.count", "Person", ["=", "name", "Ada"]) == 280
        oracle = ClusterOracle(calm_cluster, PERSON)
        oracle.check()
        client.call("doc.ttl", "Person:0", 1)
        wait_until(lambda: client.call("doc.exists", "Person:0") == 0, what="the end of a document")
        wait_until(lambda: not any(pk == b"0" for _, pk, _ in oracle.found()), timeout=60,
                   what="the end of its entries")


def checked(client, **options):
    """All of it, page by page."""
    total, options = {}, dict(options)
    while True:
        page = client.call("index.check", "Person", options)
        options["cursor"] = page.pop("cursor")
        for name, n in page.items():
            total[name] = total[name] + n if name in total else n
        if options["cursor"] is None:
            return total


def test_what_others_do_to_an_index(calm_cluster, new_daemon):
    settings = {"limits.find_documents": "50"}
    with new_daemon(calm_cluster.address, settings).connect() as client:
        client.call("define", PERSON)
        keys = [f"Person:{{t{i % 4}}}{i}" if i % 2 else f"Person:{i}" for i in range(40)]
        client.call("doc.insert", [[key, {"name": "Ada", "tags": ["a"]}] for key in keys], {"parts": True})
        well = {"documents": 40, "missing": 0, "left_over": 0, "undeclared": 0, "spoilt": []}
        assert checked(client).items() >= well.items()
        rdb = View(calm_cluster)
        by_age, by_name = (next(iter(rdb.keys(b"rapyer:@index{*}:Person/" + what))) for what in (b"age<", b"name=Ada"))
        rdb.unlink(by_age)
        rdb.set(by_age, "x")
        lost = rdb.scard(by_name)
        rdb.unlink(by_name)
        rdb.sadd(by_name.replace(b"=Ada", b"=Bob"), "nobody", "none")
        rdb.sadd(by_name.replace(b"name=Ada", b"nothing=Ada"), "nobody")
        refused(client, "CORRUPT", "find", "Person", [">=", "age", 0])
        found = checked(client)
        assert (found["left_over"], found["undeclared"], found["spoilt"]) == (2, 1, [by_age.decode()])
        assert found["missing"] > lost
        checked(client, repair=True)
        wait_until(lambda: {i["state"] for i in client.call("index.list", "Person")} == {"complete"}, timeout=60,
                   what="the index that was built anew")
        assert checked(client).items() >= well.items()
        assert client.call("find.count", "Person", [">=", "age", 0]) == 40
        ClusterOracle(calm_cluster, PERSON).check()


def people_with_a_spoilt_key(client, cluster):
    """Gives what takes that key away."""
    client.call("define", PERSON)
    client.call("doc.insert", [[f"Person:{i}", {"name": "Ada", "age": i}] for i in range(10)], {"parts": True})
    rdb = View(cluster)
    key = next(iter(rdb.keys(b"rapyer:@index{*}:Person/age<")))
    rdb.unlink(key)
    rdb.set(key, "x")
    return lambda: rdb.unlink(key)


@pytest.mark.parametrize("asked", [([">=", "age", 0],), (None, {"sort": "age", "limit": 5})], ids=["unordered", "ordered"])
def test_a_spoilt_key_is_remembered(calm_cluster, new_daemon, asked):
    """What it held is missing when it is gone again, so nobody finds by that index."""
    with new_daemon(calm_cluster.address).connect() as client:
        remove = people_with_a_spoilt_key(client, calm_cluster)
        for _ in range(3):
            assert "index.check" in refused(client, "CORRUPT", "find", "Person", *asked)
        remove()
        refused(client, "CORRUPT", "find", "Person", *asked)


def test_a_spoilt_key_that_a_building_meets(calm_cluster, new_daemon):
    """Nobody has found by it, and its index has not all documents."""
    with new_daemon(calm_cluster.address).connect() as client:
        remove = people_with_a_spoilt_key(client, calm_cluster)
        client.call("index.build", "Person")
        wait_until(lambda: "building" not in (states := [i["state"] for i in client.call("index.list", "Person")])
                   and states.count("spoilt") == 1, timeout=60, what="all indexes but the spoilt one")
        remove()
        refused(client, "CORRUPT", "find", "Person", None, {"sort": "age"})


def test_an_index_that_is_dropped(calm_cluster, new_daemon):
    """Its keys go in all slots, also in those that move; declared again it has all documents."""
    place = atomic("Place", field("town", "str", index="exact"))
    daemons = [new_daemon(calm_cluster.address) for _ in range(2)]
    with daemons[0].connect() as one, daemons[1].connect() as two:
        for client in (one, two):
            client.call("define", place, PERSON)
        one.call("doc.insert", [[f"Person:{i}", {"name": "Ada", "age": i}] for i in range(40)], {"parts": True})
        one.call("doc.insert", [[f"Place:{i}", {"town": f"t{i % 7}"}] for i in range(40)], {"parts": True})
        one.call("doc.ttl", "Place:1", 1000)
        rdb = View(calm_cluster)
        kept = {key for key in rdb.keys(b"rapyer:@index{*}:Person/*") if b"/age<" not in key}
        one.call("index.drop", "Person", "age")
        one.call("index.drop", "Place", "town")
        refused(two, "NO_INDEX", "find", "Person", [">", "age", 3])
        two.call("num.incr", "Person:1", "age", 1)
        states = b"rapyer:@index{rapyer:@schema}"
        moves = 0
        while rdb.hexists(states, "Person/age<") or rdb.hexists(states, "Place/town="):
            slot = slot_of_document(f"Person:{moves % 20}")
            source = calm_cluster.agreed_owner(slot)
            calm_cluster.migrate(slot, source, next(n for n in calm_cluster.masters if n is not source))
            moves += 1
        rdb = View(calm_cluster)
        assert not rdb.keys(b"rapyer:@index{*}:Person/age<*") and not rdb.keys(b"rapyer:@index{*}:Place*")
        assert kept == set(rdb.keys(b"rapyer:@index{*}:Person/*"))
        assert one.call("find.count", "Person", ["=", "name", "Ada"]) == 40
        two.call("define", PERSON)
        wait_until(lambda: {i["state"] for i in two.call("index.list", "Person")} == {"complete"}, timeout=60,
                   what="the index that was declared again")
        assert two.call("find.count", "Person", [">=", "age", 2]) == 39
        ClusterOracle(calm_cluster, PERSON).check()


def test_while_the_declarations_move(calm_cluster, new_daemon):
    """Each find asks whether its indexes are complete, and waits for who says so."""
    cluster, slot = calm_cluster, slot_of("rapyer:@schema")
    with new_daemon(cluster.address, {"commit.queue_time": "20s"}).connect() as client:
        client.call("define", PERSON)
        client.call("doc.insert", [[key, {"name": "Ada"}] for key in KEYS], {"parts": True})
        source = cluster.agreed_owner(slot)
        target = next(node for node in cluster.masters if node is not source)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        asked = [client.send("find", "Person", ["=", "name", "Ada"], {"keys": True, **options})
                 for options in ({}, {"sort": "age"}, {"limit": 7})]
        client.call("doc.get", KEYS[0])
        for node in (target, *cluster.masters):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        for found in map(client.wait, asked):
            assert sorted(found["keys"]) == KEYS


class Finder(threading.Thread):
    """Asks for what is never changed, over and over: all of it has to be there each time."""

    def __init__(self, daemon, wanted, maybe=()):
        super().__init__()
        self.daemon_process, self.wanted, self.maybe = daemon, sorted(wanted), set(maybe)
        self.done, self.found, self.faults = threading.Event(), 0, []

    def run(self):
        try:
            with self.daemon_process.connect() as client:
                while not self.done.is_set():
                    self.ask(client)
        except Exception as fault:  # told in the test's own thread
            self.faults.append(fault)

    def ask(self, client):
        try:
            for e, more in ((["=", "city", "Rome"], {}), (["=", "city", "Rome"], {"limit": 7}),
                            ([">=", "rank", 100], {"sort": "rank", "limit": 20})):
                keys = all_of(client, e, **more)
                assert sorted(set(keys)) == self.wanted, (e, len(set(keys)), len(self.wanted))
                self.found += 1
        except RpcError as e:
            assert e.code in ("UNAVAILABLE", "BUSY"), e

    def judge(self):
        self.done.set()
        self.join()
        assert not self.faults, self.faults


def settled(client):
    keys = [f"Person:r{i}" for i in range(25)] + [f"Person:{{t{i % 5}}}r{i}" for i in range(15)]
    client.call("doc.insert", [[key, {"name": "Eve", "city": "Rome", "rank": 100 + i}] for i, key in enumerate(keys)],
                {"parts": True})
    return keys


def test_slots_that_move(calm_cluster, new_daemon):
    cluster, moves = calm_cluster, 200 if FULL else 12
    daemons = [new_daemon(cluster.address) for _ in range(2)]
    worker, r = Worker(2), random.Random(2)
    with daemons[0].connect() as one, daemons[1].connect() as two:
        one.call("define", PERSON)
        two.call("define", PERSON)
        wanted = settled(one)
        finder = Finder(daemons[1], wanted)
        finder.start()
        slots = [slot_of_document(key) for key in KEYS + wanted[:3] + wanted[-3:]]
        done = 0
        while (done < moves or finder.found < 4) and not finder.faults:
            done += 1
            slot = r.choice(slots)
            source = cluster.agreed_owner(slot)
            mover = threading.Thread(target=cluster.migrate, args=(
                slot, source, r.choice([n for n in cluster.masters if n is not source])))
            mover.start()
            while mover.is_alive():
                drive([one, two], worker, 6, ALSO)
            mover.join()
        finder.judge()
        cluster.agreed_owner(slots[0])
        ClusterOracle(cluster, PERSON).check(exact=False)
        compare(one)


@pytest.mark.parametrize("turn", range(10 if FULL else 1))
def test_a_master_that_fails_over(cluster, new_daemon, turn):
    """By the book, then by a kill: what was found is found, and what was written meanwhile."""
    daemon = new_daemon(cluster.address, {**FAST, "commit.queue_time": "20s"})
    worker = Worker(turn)
    with daemon.connect() as client:
        client.call("define", PERSON)
        wanted = settled(client)
        finder = Finder(daemon, wanted)
        finder.start()
        slot = slot_of_document(wanted[0])
        for how in ("failover", "kill"):
            master = cluster.agreed_owner(slot)
            wait_until(lambda: all(cluster.is_well(node) for node in cluster.awake()), what="a cluster that is well")
            if how == "kill":
                master.process.kill()
            else:
                cluster.by_id[next(line.split()[0] for line in master.ask("CLUSTER", "NODES").decode().splitlines()
                                   if f" {master.id} " in line and "slave" in line)].ask("CLUSTER", "FAILOVER")
            while cluster.owner(slot) in (None, master):
                drive([client], worker, 5, ALSO)
            drive([client], worker, 20, ALSO)
            line = f"127.0.0.1:{cluster.owner(slot).port} is the master of slots "
            wait_until(lambda line=line: line in daemon.log(), what="the line on the failover")
            before = finder.found
            wait_until(lambda: finder.found > before + 3 or finder.faults, what="what is found behind it")
        finder.judge()
        ClusterOracle(cluster, PERSON).check(exact=False)
        compare(client)
