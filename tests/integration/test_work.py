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


TOO_BIG_AT_ONCE = [
    ["list.clear", BAG, "items"], ["set", BAG, "items", []], ["list.remove_range", BAG, "items", 0, 25_000],
    ["doc.save", BAG, {}], ["doc.ttl", BAG, 100], ["doc.duplicate", BAG], ["pipeline", [["doc.save", BAG, {}]]],
    ["pipeline", [["doc.delete", BAG]]]]


def test_what_is_too_big_to_be_removed_at_once_goes_in_parts(bag, redis_server):
    for i in range(0, 25_000, 1000):
        bag.call("list.extend", BAG, "items", [{"@pk": f"p{j}"} for j in range(i, i + 1000)])
    before = redis_server.snapshot()
    for request in TOO_BIG_AT_ONCE:
        text = refused(bag, "TOO_LARGE", *request)
        assert "limits.max_work" in text
        if request[0].startswith("doc.") or request[0] == "pipeline":
            assert f"{BAG} has too many elements" in text and "doc.delete" in text
    assert redis_server.snapshot() == before
    for _ in range(26):
        bag.call("list.remove_range", BAG, "items", 0, 1000)
    for request in TOO_BIG_AT_ONCE:
        bag.call(*request)


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
        assert served >= 5
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
    for n in range(2):
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


def test_long_values_have_their_price(bag):
    bag.call("define", atomic("Box", field("text", "str", default=""), field("raw", "bytes", default=b"")))
    bag.call("doc.save", "Box:1", {"raw": bytes(4 * MIB), "text": "x" * (6 * MIB)})
    assert len(bag.call("bytes.append", "Box:1", "raw", b"end")) == 4 * MIB + 3
    assert "limits.max_work" in refused(bag, "TOO_LARGE", "str.append", "Box:1", "text", "end")
    assert "limits.max_work" in refused(bag, "TOO_LARGE", "doc.save", "Box:2",
                                        {"raw": bytes(12 * MIB), "text": "x" * (12 * MIB)})
    bag.call("set", "Box:1", "text", "\u00e4" * (6 * MIB))
    assert bag.call("doc.get", "Box:1") == {"@pk": "1", "raw": bytes(4 * MIB) + b"end", "text": "\u00e4" * (6 * MIB)}
    assert bag.call("doc.get", "Box:1", {"fresh": True, "version": True})["text"] == "\u00e4" * (6 * MIB)
    bag.call("doc.duplicate", "Box:1", "2")
    bag.call("doc.delete", "Box:1")
    assert bag.call("doc.load", "Box:2", "raw") == bytes(4 * MIB) + b"end"


# --- what Redis cannot cut ---------------------------------------------------------------------

@pytest.fixture
def long_list(redis_server, new_daemon):
    """A daemon by which a command may look at 12,500 elements, and a list of 40,000."""
    daemon = new_daemon(redis_server.address, {"limits.max_work": "1ms"})
    with daemon.connect() as client:
        define(client)
        client.call("doc.save", BAG, {})
        for i in range(0, 40_000, 5_000):
            client.call("list.extend", BAG, "numbers", list(range(i, i + 5_000)))
        yield client


@pytest.mark.parametrize("request_", [
    ["list.insert", BAG, "numbers", 20_000, 7], ["list.insert", BAG, "numbers", 39_000, 7],
    ["list.pop", BAG, "numbers", 20_000], ["list.remove", BAG, "numbers", 20_000],
    ["list.remove_range", BAG, "numbers", 20_000, 20_100], ["list.move", BAG, "numbers", 0, 20_000],
    ["list.move", BAG, "numbers", 20_000, 0],
    ["pipeline", [["set", BAG, "n", 1], ["list.pop", BAG, "numbers", 20_000]]]], ids=str)
def test_no_command_searches_a_long_list_for_long(long_list, redis_server, request_):
    before, document = redis_server.snapshot(), long_list.call("doc.get", BAG, {"version": True})
    assert "quarter of limits.max_work" in refused(long_list, "TOO_LARGE", *request_)
    assert redis_server.snapshot() == before
    assert long_list.call("doc.get", BAG, {"version": True}) == document


def test_near_its_ends_a_long_list_changes_as_ever(long_list, rdb):
    mirror = list(range(40_000))
    for index in (1, 10_000, -2, -500, 0, 40_000):
        long_list.call("list.insert", BAG, "numbers", index, -index)
        mirror.insert(index, -index)
    for index in (1, 10_000, -2, -10_000, 0, -1):
        assert long_list.call("list.pop", BAG, "numbers", index) == mirror.pop(index)
    long_list.call("list.remove_range", BAG, "numbers", 100, 110)
    del mirror[100:110]
    long_list.call("list.remove_range", BAG, "numbers", 30_000, 100_000)
    del mirror[30_000:]
    long_list.call("list.move", BAG, "numbers", 1, 100)
    mirror.insert(100, mirror.pop(1))
    assert [int(n) for n in rdb.lrange("rapyer:{Bag:big}/numbers", 0, -1)] == mirror


def batches(client):
    return client.call("admin.stats")["commits"]


def test_what_is_heavy_does_not_go_together(daemon, client):
    """A quarter of what one request may come to, in each batch."""
    define(client)
    with daemon.connect() as other:
        other.call("doc.save", "Bag:small", {})
        begun = batches(client)
        saves = [client.send("doc.save", f"Bag:{i % 10}", {"n": i, "items": [{}] * 900}) for i in range(40)]
        for served in range(1, 21):
            assert other.call("num.incr", "Bag:small", "n", 1) == served
        for save in saves:
            client.wait(save)
        assert batches(client) - begun >= 40
        for i in range(10):
            assert client.call("doc.load", f"Bag:{i}", "n") == 30 + i
            assert len(client.call("doc.load", f"Bag:{i}", "items")) == 900


def test_what_waits_for_room_waits_for_the_link_too(daemon, client, rdb):
    define(client)
    saves = [client.send("doc.save", f"Bag:{i}", {"n": i, "items": [{}] * 900}) for i in range(20)]
    rdb.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for save in saves:
        client.wait(save)
    for i in range(20):
        assert client.call("doc.load", f"Bag:{i}", "n") == i
        assert rdb.llen(f"rapyer:{{Bag:{i}}}/items") == 900


def test_a_heavy_change_and_what_comes_after_it_stay_in_order(daemon, client):
    define(client)
    client.call("doc.save", BAG, {})
    asked, want = [], []
    for i in range(30):
        asked.append(client.send("list.extend", BAG, "numbers", [i] * 10_000))
        want.append(10_000 * (i + 1))
        asked.append(client.send("num.incr", BAG, "n", 1))
        want.append(i + 1)
    assert [client.wait(i) for i in asked] == want


# --- deletion in pieces ------------------------------------------------------------------------

def long_document(client, key, n):
    client.call("doc.save", key, {"n": 1, "counts": {"k": 1}, "items": []})
    for i in range(0, n, 1000):
        client.call("list.extend", key, "items", [{"@pk": f"p{j}", "a": "x"} for j in range(i, i + 1000)])


def keys_of(rdb, key):
    return [k for k in rdb.keys("rapyer:{*") if k.startswith(f"rapyer:{{{key}}}".encode())]


def test_a_document_of_any_length_can_be_deleted(daemon, bag, rdb):
    for n in range(2):
        long_document(bag, BAG, 30_000)
        long_document(bag, "Bag:also", 2_000)
        long_document(bag, "Bag:*", 1_000)  # its key is no pattern
        others = [bag.send("doc.get", BAG, {"paths": ["n"]}), bag.send("doc.delete", BAG, "Bag:also", "Bag:no"),
                  bag.send("doc.exists", BAG), bag.send("doc.save", BAG, {"n": 7, "items": [{"@pk": "p1"}]}),
                  bag.send("num.incr", BAG, "n", 1)]
        assert bag.wait(others[0]) == {"n": 1}
        assert bag.wait(others[1]) == 2
        assert bag.wait(others[2]) == 0
        assert bag.wait(others[3])["key"] == BAG
        assert bag.wait(others[4]) == 8
        assert bag.call("doc.get", BAG) == {"@pk": "big", "n": 8, "counts": {}, "by_name": {}, "names": [],
                                            "numbers": [], "items": [{"@pk": "p1", "a": ""}]}
        assert len(keys_of(rdb, BAG)) == 3
        assert bag.call("doc.delete", BAG) == 1
        assert not keys_of(rdb, BAG) and not keys_of(rdb, "Bag:also") and not rdb.exists("rapyer:@gone")
        assert len(bag.call("doc.load", "Bag:*", "items")) == 1_000
        assert bag.call("doc.delete", "Bag:*") == 1


def test_what_is_being_deleted_is_there_for_nobody(redis_server, new_daemon, rdb):
    """Not for another daemon either, which makes it anew when all of it is gone."""
    first, second = (new_daemon(redis_server.address) for _ in range(2))
    with first.connect() as a, second.connect() as b:
        define(a)
        define(b)
        long_document(a, BAG, 20_000)
        assert b.call("doc.load", BAG, "items[19999].a") == "x"
        assert a.call("doc.delete", BAG) == 1
        refused(b, "NOT_FOUND", "doc.get", BAG, {"fresh": True})
        refused(b, "NOT_FOUND", "num.incr", BAG, "n", 1)
        refused(a, "NOT_FOUND", "num.incr", BAG, "n", 1)
        assert b.call("doc.insert", [[BAG, {"items": [{"@pk": "p5"}]}]])[0]["key"] == BAG
        assert a.call("doc.load", BAG, "items") == [{"@pk": "p5", "a": ""}]
        assert len(keys_of(rdb, BAG)) == 3


@pytest.mark.parametrize("how", ["another is there", "the same starts again"])
def test_what_a_daemon_leaves_half_deleted_another_one_removes(redis_server, new_daemon, rdb, how):
    daemon = new_daemon(redis_server.address)
    other = new_daemon(redis_server.address) if how == "another is there" else None
    with daemon.connect() as client:
        define(client)
        long_document(client, BAG, 20_000)
        assert client.call("doc.delete", BAG) == 1
        daemon.kill()
    if other is None:
        daemon.start()
        wait_until(lambda: not keys_of(rdb, BAG), what="nothing to be left")
        wait_until(lambda: not rdb.exists("rapyer:@gone"), what="the note to be gone")
        return
    with other.connect() as client:
        define(client)
        client.call("doc.save", BAG, {"items": [{"@pk": "p1"}]})
        assert len(keys_of(rdb, BAG)) == 3


def test_deleting_goes_on_when_the_link_is_back(daemon, bag, rdb):
    long_document(bag, BAG, 30_000)
    assert bag.call("doc.delete", BAG) == 1
    rdb.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_until(lambda: not keys_of(rdb, BAG), what="nothing to be left")


def test_small_changes_without_end_do_not_keep_a_heavy_one_waiting(daemon, client):
    define(client)
    client.call("doc.save", "Bag:small", {})
    with daemon.connect() as other:
        done = threading.Event()

        def go_on():
            while not done.is_set():
                other.call("num.incr", "Bag:small", "n", 1)
        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            for _ in range(5):
                client.call("doc.save", BAG, {"items": [{}] * 3_000})
        finally:
            done.set()
            thread.join()
    assert len(client.call("doc.load", BAG, "items")) == 3_000
