"""Containers of very many elements: read in slices, between which Redis serves others, and still
as of one moment."""

import threading

from daemon_process import BIG_WORK
from models import TASK, atomic, define_all, field
from rpc_client import wait_until

BAG = atomic("Bag", field("numbers", "list<int>"), field("counts", "dict<int>"),
             field("tasks", "list<Task>"), field("by_name", "dict<Task>"))
BIG = "Bag:big"


def define(client):
    define_all(client)
    client.call("define", TASK)
    client.call("define", BAG)


def test_others_are_served_while_it_is_read(redis_server, new_daemon, rdb):
    count = 200_000
    with new_daemon(redis_server.address, BIG_WORK).connect() as client:
        define(client)
        client.call("doc.save", BIG, {"numbers": list(range(count))})
    fresh = new_daemon(redis_server.address, BIG_WORK)
    rdb.config_resetstat()
    with fresh.connect() as client, fresh.connect() as other:
        other.call("doc.save", "User:small", {"name": "small"})
        load = client.send("num.incr", BIG, "numbers[-1]", 1)
        done = threading.Event()
        thread = threading.Thread(target=lambda: (client.wait(load), done.set()))
        thread.start()
        served = 0
        while not done.is_set():
            served += 1
            assert other.call("num.incr", "User:small", "age", 1) == served
        thread.join()
        # A round each, and each let a commit through.
        assert rdb.info("commandstats")["cmdstat_lrange"]["calls"] == 20
        assert served >= 10
        assert client.call("doc.load", BIG, "numbers") == [*range(count - 1), count]


def test_every_kind_of_container(redis_server, new_daemon, rdb):
    task = {"status": "pending", "tags": ["t"], "metadata": {}}
    document = {
        "numbers": list(range(25_001)), "counts": {f"k{i}": i for i in range(130_000)},
        "tasks": [{"@pk": f"p{i}", "title": str(i), **task} for i in range(4_500)],
        "by_name": {f"n{i}": {"@pk": f"q{i}", "title": str(i), **task} for i in range(2_001)}}
    with new_daemon(redis_server.address, BIG_WORK).connect() as client:
        define(client)
        client.call("doc.save", BIG, document)
    rdb.config_resetstat()
    with new_daemon(redis_server.address, BIG_WORK).connect() as client:
        assert client.call("doc.get", BIG) == {"@pk": "big", **document}
    stats = rdb.info("commandstats")
    assert stats["cmdstat_hscan"]["calls"] >= 13
    assert stats["cmdstat_lrange"]["calls"] >= 4


def test_one_moment_while_another_daemon_writes(redis_server, new_daemon):
    """The list is always 0, 1, 2, ...; slices of different moments would show a gap or a double."""
    count = 60_000
    with new_daemon(redis_server.address, BIG_WORK).connect() as writer:
        define(writer)
        writer.call("doc.save", BIG, {"numbers": list(range(count))})
        stop = threading.Event()
        written = [count]

        def write():
            while not stop.is_set():
                writer.call("pipeline", [["list.append", BIG, "numbers", written[0]],
                                         ["list.set", BIG, "numbers", 0, 0]])
                written[0] += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(2):
                before = written[0]
                wait_until(lambda: written[0] > before + 5, what="writes")
                with new_daemon(redis_server.address, BIG_WORK).connect() as reader:
                    numbers = reader.call("doc.load", BIG, "numbers")
                    assert numbers == list(range(len(numbers))) and len(numbers) >= before
        finally:
            stop.set()
            thread.join()


def test_models_may_grow_while_it_is_read(redis_server, new_daemon):
    """Elements are asked for by what their model was, and taken by what it is."""
    tasks = [{"@pk": f"p{i}", "title": str(i), "status": "pending", "tags": ["t"], "metadata": {"k": "v"}}
             for i in range(9_000)]
    with new_daemon(redis_server.address, BIG_WORK).connect() as client:
        define(client)
        client.call("doc.save", BIG, {"tasks": tasks})
    fresh = new_daemon(redis_server.address, BIG_WORK)
    with fresh.connect() as client, fresh.connect() as other:
        load = client.send("doc.load", BIG, "tasks")
        for i in range(10):
            more = [field(f"list{j}", "list<str>") for j in range(i + 1)]
            other.call("define", {**TASK, "fields": TASK["fields"] + more})
            other.call("define", {**BAG, "fields": BAG["fields"] + more})
        read = client.wait(load)
        for was, now in zip(tasks, read, strict=True):
            assert {name: now[name] for name in was} == was
            assert all(now[name] == [] for name in set(now) - set(was))
        assert client.call("list.append", BIG, "tasks[-1].list9", "x") == 1
        assert client.call("doc.load", BIG, "tasks[-1]")["list9"] == ["x"]


def test_keys_are_looked_for_in_steps(client, rdb):
    """One page, however many keys it is about, is several SCANs, so that others get their turn."""
    define(client)
    for i in range(0, 5000, 500):
        client.call("doc.insert", [[f"Bag:{j}", {"numbers": [j]}] for j in range(i, i + 500)])
    rdb.config_resetstat()
    page = client.call("doc.keys", "Bag", {"count": 100_000})
    assert page["cursor"] == "0" and sorted(page["keys"]) == sorted(f"Bag:{j}" for j in range(5000))
    assert rdb.info("commandstats")["cmdstat_scan"]["calls"] >= 10  # with the lists, 10,000 keys
    some = client.call("doc.keys", "Bag", {"count": 2500})
    assert some["cursor"] != "0" and len(some["keys"]) < 3000
