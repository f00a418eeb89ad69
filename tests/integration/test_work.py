"""What one request costs the others is estimated before anything is changed: what would take too
long is refused, with the setting that says so, and what is big but allowed harms nobody."""

import threading

import pytest

from daemon_process import BIG_WORK
from models import atomic, field
from rpc_client import wait_until
from test_bad_input import refused

BAG = "Bag:big"
MODELS = [
    atomic("Item", field("a", "str", default="")),
    atomic("Bag", field("items", "list<Item>"), field("by_name", "dict<Item>"), field("numbers", "list<int>"),
           field("counts", "dict<int>"), field("names", "set<str>"), field("n", "int", default=0)),
]
MIB = 1 << 20


def define(client):
    for model in MODELS:
        client.call("define", model)


@pytest.fixture
def bag(client):
    define(client)
    client.call("doc.save", BAG, {"items": [{"@pk": "one"}], "counts": {"k": 1}})
    return client


TOO_MUCH = {
    "a save of atomic models": ["doc.save", BAG, {"items": [{}] * 20_000}],
    "a save of a dict of them": ["doc.save", BAG, {"by_name": {str(i): {} for i in range(20_000)}}],
    "a list of values": ["set", BAG, "numbers", [7] * 500_000],
    "a dict of values": ["dict.update", BAG, "counts", {str(i): i for i in range(100_000)}],
    "a set": ["set", BAG, "names", [str(i) for i in range(100_000)]],
    "new elements": ["list.extend", BAG, "items", [{}] * 20_000],
    "new values": ["list.extend", BAG, "numbers", [7] * 500_000],
    "many documents": ["doc.insert", [[f"Bag:{i}", {}] for i in range(20_000)]],
    "a question about many documents": ["doc.exists", *(f"Bag:{i}" for i in range(20_000))],
    "many operations": ["pipeline", [["num.incr", BAG, "n", 1]] * 50_000],
    "many elements by a pipeline": ["pipeline", [["list.extend", BAG, "items", [{}] * 2_000]] * 8],
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_would_take_too_long_is_refused(bag, redis_server, what):
    before, document = redis_server.snapshot(), bag.call("doc.get", BAG, {"version": True})
    assert "limits.max_work" in refused(bag, "TOO_LARGE", *TOO_MUCH[what])
    assert redis_server.snapshot() == before
    assert bag.call("doc.get", BAG, {"version": True}) == document


@pytest.mark.parametrize("request_", [
    ["doc.delete", BAG], ["list.clear", BAG, "items"], ["set", BAG, "items", []],
    ["list.remove_range", BAG, "items", 0, 25_000], ["doc.save", BAG, {}], ["doc.ttl", BAG, 100],
    ["doc.duplicate", BAG]], ids=lambda r: r[0])
def test_what_is_too_big_to_be_removed_at_once_goes_in_parts(bag, redis_server, request_):
    for i in range(0, 25_000, 1000):
        bag.call("list.extend", BAG, "items", [{"@pk": f"p{j}"} for j in range(i, i + 1000)])
    before = redis_server.snapshot()
    assert "limits.max_work" in refused(bag, "TOO_LARGE", *request_)
    assert redis_server.snapshot() == before
    for _ in range(26):
        bag.call("list.remove_range", BAG, "items", 0, 1000)
    bag.call(*request_)


def test_a_huge_frame_takes_little_memory(daemon, bag):
    before = daemon.memory()
    refused(bag, "TOO_LARGE", "doc.save", BAG, {"items": [{"a": ""}] * 1_500_000})
    assert daemon.memory() - before < 100 * MIB
    assert bag.call("doc.load", BAG, "counts") == {"k": 1}


def while_it_is_built(client, other, act):
    """A save that takes a hundred slices, and what is done after the first; gives back its answer, and
    how many others were answered before that."""
    other.call("doc.save", "Bag:small", {})
    save = client.send("doc.save", BAG, {"items": [{"@pk": f"p{i}"} for i in range(30_000)]})
    done = threading.Event()
    answers = []
    thread = threading.Thread(target=lambda: (answers.append(client.wait(save)), done.set()))
    thread.start()
    served = 0
    while not done.is_set():
        served += 1
        assert other.call("num.incr", "Bag:small", "n", 1) == served
        if served == 3:
            assert not done.is_set()
            act()
    thread.join()
    assert client.call("doc.load", BAG, "items[29999]")["@pk"] == "p29999"
    return answers[0], served


def test_others_are_served_while_a_tree_is_built(patient, patient_client, rdb):
    define(patient_client)
    patient_client.call("doc.save", BAG, {"n": 5})
    with patient.connect() as other, patient.connect() as third:
        pending = []

        def queue_up():
            assert not rdb.exists("rapyer:{Bag:big}/items")
            pending.append(third.send("num.incr", BAG, "n", 1))
            pending.append(third.send("doc.get", BAG, {"paths": ["n"]}))
        _, served = while_it_is_built(patient_client, other, queue_up)
        assert served >= 20
        assert [third.wait(i) for i in pending] == [1, {"n": 1}]  # behind the save
    assert rdb.llen("rapyer:{Bag:big}/items") == 30_000


def test_packed_in_slices(patient, patient_client):
    define(patient_client)
    document = {"numbers": list(range(100_000)), "counts": {str(i): i for i in range(50_000)}}
    patient_client.call("doc.save", BAG, document)
    with patient.connect() as other:
        for _ in range(5):
            get, load = patient_client.send("doc.get", BAG), patient_client.send("doc.load", BAG, "counts")
            incr = other.send("num.incr", BAG, "n", 1)
            found = patient_client.wait(get)
            assert found["numbers"] == document["numbers"] and found["counts"] == document["counts"]
            assert patient_client.wait(load) == document["counts"]
            other.wait(incr)


@pytest.mark.parametrize("what", ["the link is lost", "its model grows", "its client leaves"])
def test_what_was_begun_is_begun_again(patient, patient_client, rdb, what):
    define(patient_client)
    patient_client.call("doc.save", BAG, {"n": 5})
    with patient.connect() as other, patient.connect() as third:
        if what == "its client leaves":
            third.send("doc.save", "Bag:other", {"items": [{"@pk": f"p{i}"} for i in range(30_000)]})
            third.close()
            assert other.call("doc.load", BAG, "n") == 5
            wait_until(lambda: rdb.llen("rapyer:{Bag:other}/items") in (0, 30_000), what="all of it, or nothing")
            return

        def act():
            if what == "the link is lost":
                rdb.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            else:
                third.call("define", {**MODELS[0], "fields": [*MODELS[0]["fields"], field("b", "int", default=7)]})
        before = patient_client.call("doc.get", BAG, {"version": True})["@v"]
        answer, _ = while_it_is_built(patient_client, other, act)
    assert answer["version"] == before + 1
    assert rdb.llen("rapyer:{Bag:big}/items") == 30_000
    if what == "its model grows":
        assert rdb.hget("rapyer:{Bag:big}/items/p7", "b") == b"7"


def test_a_tree_must_fit_the_cache(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {**BIG_WORK, "cache.cache_memory": "8M"})
    with daemon.connect() as client:
        define(client)
        assert "cache.cache_memory" in refused(client, "TOO_LARGE", "doc.save", BAG, {"items": [{}] * 50_000})
        client.call("doc.save", BAG, {"items": [{}] * 1000})


def test_what_was_removed_is_freed_in_pieces(patient, patient_client):
    """And all of it, while others are served."""
    client = patient_client
    define(client)
    client.call("doc.save", "Bag:small", {})
    held = client.call("admin.cache")["memory"]
    for n in range(3):
        client.call("doc.save", BAG, {"items": [{"a": "a text of more than a few bytes"}] * 20_000,
                                      "counts": {f"a key that is not short {i}": i for i in range(50_000)},
                                      "names": [f"a member that is not short {i}" for i in range(50_000)]})
        full = client.call("admin.cache")["memory"]
        client.call("doc.delete", BAG)
        assert client.call("num.incr", "Bag:small", "n", 1) == n + 1
        wait_until(lambda: client.call("admin.cache")["memory"] < held + 4096, what="the memory to be free")
        assert full > 5 * MIB


def test_the_cache_does_not_empty_itself_for_one_document(redis_server, new_daemon):
    """What waits to be freed is not taken for what has to go yet."""
    with new_daemon(redis_server.address, {**BIG_WORK, "cache.cache_memory": "20M"}).connect() as client:
        define(client)
        for i in range(100):
            client.call("doc.save", f"Bag:{i}", {"numbers": [1, 2, 3]})
        for i in range(2):
            client.call("doc.save", BAG + str(i), {"counts": {str(i): i for i in range(100_000)}})
            client.call("doc.exists", *(f"Bag:{i}" for i in range(100)))
        client.call("doc.save", BAG + "2", {"counts": {str(i): i for i in range(200_000)}})
        wait_until(lambda: client.call("admin.cache")["memory"] < 20 * MIB, what="the cache to be small enough")
        assert client.call("admin.cache")["documents"] >= 100
