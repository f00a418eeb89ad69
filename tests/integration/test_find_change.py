"""find.update, find.delete: what the expression holds for is changed, once, as a whole, and nothing else is."""

import random

import pytest

from fault_proxy import REPLIES, REQUESTS
from models import atomic, field
from rpc_client import RpcError, wait_until

JOB = atomic("Job", field("state", "str", default="new", index="exact"), field("rank", "int", default=0, index="range"),
             field("name", "str", default="", index="prefix"), field("tags", "list<str>", index="tags"),
             field("runs", "int", default=0), field("code", "optional<str>", index="exact"))


def declare(client):
    client.call("define", JOB)
    return client


@pytest.fixture
def client(client):
    return declare(client)


def jobs(client, n, **fields):
    client.call("doc.insert", [[f"Job:{i:04}", {"rank": i, "tags": [str(i % 3)], **fields}] for i in range(n)])


def change(client, method, expression, *operations, **options):
    """To the end, with the cursor of each answer; the sum."""
    total, cursor, refused, turns = 0, None, [], 0
    while True:
        answer = client.call(method, "Job", expression, *operations, {"cursor": cursor, **options})
        total += answer["updated" if method == "find.update" else "deleted"]
        refused += answer["refused"]
        cursor, turns = answer["cursor"], turns + 1
        assert answer["stopped"] is None
        if cursor is None:
            return total, refused, turns


def values(client, path):
    keys = client.call("find", "Job", None, {"scan": True, "limit": 10000, "paths": [path]})
    return {key: doc[path] for key, doc in zip(keys["keys"], keys["documents"])}


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("expression", [["=", "state", "new"], ["<", "rank", 40], ["has", "tags", "1"], None,
                                        ["or", ["<", "rank", 10], [">", "rank", 50], ["has", "tags", "1"]]])
def test_update_is_made_once_in_each(client, expression, limit):
    jobs(client, 60)
    want = client.call("find.count", "Job", expression, {"scan": True})
    done, refused, turns = change(client, "find.update", expression, [["num.incr", "runs", 1], ["str.append", "name", "x"]],
                                  limit=limit, scan=True)
    assert (done, refused) == (want, []) and turns >= want / limit
    runs = values(client, "runs")
    assert sum(runs.values()) == want and set(runs.values()) <= {0, 1}
    assert sum(name == "x" for name in values(client, "name").values()) == want


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("expression", [["=", "state", "new"], [">=", "rank", 20], ["prefix", "name", "x"], None])
def test_delete(client, limit, expression):
    jobs(client, 60, name="xyz")
    left = set(values(client, "rank")) - set(client.call("find", "Job", expression, {"limit": 100, "scan": True})["keys"])
    assert change(client, "find.delete", expression, limit=limit, scan=True)[:2] == (60 - len(left), [])
    assert set(values(client, "rank")) == left
    assert client.call("find.count", "Job", ["=", "state", "new"]) == len(left)


def test_limit_and_cursor(client):
    jobs(client, 30)
    answer = client.call("find.delete", "Job", ["=", "state", "new"], {"limit": 12, "explain": True})
    assert answer["deleted"] == 12 and answer["cursor"] and answer["explain"]["from"][0]["path"] == "state"
    answer = client.call("find.delete", "Job", ["=", "state", "new"], {"cursor": answer["cursor"]})
    assert answer == {"deleted": 18, "refused": [], "stopped": None, "cursor": None}
    assert client.call("find.delete", "Job", ["=", "state", "new"])["deleted"] == 0


@pytest.mark.parametrize("sort, kept", [("rank", range(5, 20)), ("-rank", range(0, 15))])
def test_in_the_order_of_an_index(client, sort, kept):
    jobs(client, 20)
    assert client.call("find.delete", "Job", None, {"sort": sort, "limit": 5})["deleted"] == 5
    assert sorted(values(client, "rank").values()) == list(kept)


def test_all_but_the_newest(client):
    jobs(client, 20)
    assert change(client, "find.delete", ["=", "state", "new"], sort="-rank", offset=4, limit=100)[0] == 16
    assert sorted(values(client, "rank").values()) == [16, 17, 18, 19]


@pytest.mark.parametrize("moves", ["rank", "state"])
def test_what_moves_in_its_own_index_is_changed_once_in_one_request(client, moves):
    """Its entry goes to a place behind the one that is read."""
    jobs(client, 300)
    expression, operations = ([">=", "rank", 0], [["num.incr", "rank", 1000]]) if moves == "rank" else (
        ["in", "state", ["new", "old"]], [["set", "state", "old"], ["num.incr", "runs", 1]])
    answer = client.call("find.update", "Job", expression, operations, {"limit": 1000})
    assert answer["updated"] == 300
    if moves == "rank":
        assert sorted(values(client, "rank").values()) == list(range(1000, 1300))
    else:
        assert set(values(client, "runs").values()) == {1}


@pytest.mark.parametrize("sorted_max", [10, 10000], ids=["by the index", "afterwards"])
@pytest.mark.parametrize("sort", ["rank", "-rank"])
def test_a_cursor_goes_on_where_entries_were_that_are_elsewhere_now(redis_server, new_daemon, sorted_max, sort):
    client = declare(new_daemon(redis_server.address, {"limits.find_sorted": sorted_max}).connect())
    jobs(client, 100)
    client.call("find.update", "Job", None, [["set", "rank", 5]], {"scan": True, "limit": 100})
    seen, cursor = [], None
    while not seen or cursor is not None:  # of equal ranks; each page's last one goes elsewhere
        answer = client.call("find", "Job", [">=", "rank", 0], {"sort": sort, "limit": 9, "keys": True, "cursor": cursor})
        seen += answer["keys"]
        if answer["keys"]:
            client.call("set", answer["keys"][-1], "rank", -1)
        cursor = answer["cursor"]
    assert len(seen) == len(set(seen)) == 100
    assert change(client, "find.delete", None, sort="-rank", limit=9)[0] == 100


def test_some_are_refused_and_the_others_changed(client):
    jobs(client, 30)
    for i in range(0, 30, 3):
        client.call("list.clear", f"Job:{i:04}", "tags")
    done, refused, _ = change(client, "find.update", ["=", "state", "new"],
                              [["num.incr", "runs", 1], ["list.pop", "tags"]], limit=8)
    assert done == 20 and sorted(key for key, _ in refused) == [f"Job:{i:04}" for i in range(0, 30, 3)]
    assert all(text.startswith(("OUT_OF_RANGE: operation 1 (list.pop)", "NOT_FOUND: operation 1 (list.pop)"))
               for _, text in refused)
    assert values(client, "runs") == {f"Job:{i:04}": int(i % 3 > 0) for i in range(30)}


def test_who_is_refused_too_often_is_told_in_time(client):
    jobs(client, 300)
    answer = client.call("find.update", "Job", ["=", "state", "new"], [["list.pop", "tags"], ["list.pop", "tags"]],
                         {"limit": 10000})
    assert answer["updated"] == 0 and 100 <= len(answer["refused"]) <= 350 and answer["cursor"] is not None


def test_conditions_and_whole_documents_in_an_update(client):
    jobs(client, 10)
    answer = client.call("find.update", "Job", ["=", "state", "new"],
                         [["if", "rank", {"<": 5}, 1], ["set", "state", "low"], ["doc.ttl", 100]])
    assert answer["updated"] == 10
    assert client.call("find.count", "Job", ["=", "state", "low"]) == 5
    assert client.call("doc.ttl", "Job:0007") > 90
    answer = client.call("find.update", "Job", None, [["if", "rank", {"<": 5}], ["doc.delete"]], {"scan": True})
    assert answer["updated"] == 5 and len(answer["refused"]) == 5
    assert client.call("find.count", "Job", ["=", "state", "low"]) == 0


@pytest.mark.parametrize("params, error", [
    (["find.update", "Job", ["=", "state", "new"]], "BAD_REQUEST: find.update takes"),
    (["find.update", "Job", ["=", "state", "new"], []], "BAD_REQUEST: the operations"),
    (["find.update", "Job", ["=", "state", "new"], [["num.incr", "runs", 1], []]], "BAD_REQUEST: the operations"),
    (["find.update", "Job", ["=", "state", "new"], [[1, "runs"]]], "BAD_REQUEST: the operations"),
    (["find.update", "Job", ["=", "state", "new"], {"a": 1}], "BAD_REQUEST: the operations"),
    (["find.update", "Job", ["=", "state", "new"], [["num.incr", "Job:1", "runs", 1]]], "BAD_REQUEST: operation 0"),
    (["find.update", "Job", ["=", "state", "new"], [["nothing", "runs"]]], "UNKNOWN_METHOD: operation 0"),
    (["find.update", "Job", ["=", "state", "new"], [["set", "none", 1]]], "UNKNOWN_FIELD: operation 0"),
    (["find.update", "Job", ["=", "state", "new"], [["set", "rank", "x"]]], "BAD_TYPE: operation 0"),
    (["find.update", "Job", ["=", "runs", 1], [["set", "rank", 1]]], "NO_INDEX"),
    (["find.update", "Job", None, [["set", "rank", 1]], {"sort": "name", "scan": True}], "NO_INDEX: .*range index on name"),
    (["find.update", "Job", None, [["set", "rank", 1]], {"keys": True}], "BAD_REQUEST: find.update has the options"),
    (["find.update", "Job", None, [["set", "rank", 1]], {"limit": 0}], "BAD_REQUEST: option 'limit'"),
    (["find.delete", "Job"], "BAD_REQUEST: find.delete takes"),
    (["find.delete", "Job", None], "NO_INDEX"),
    (["find.delete", "Job", ["=", "state", 1]], "BAD_TYPE"),
    (["find.delete", "Nobody", None], "UNKNOWN_MODEL"),
    (["find.delete", "Job", None, {"paths": []}], "BAD_REQUEST: find.delete has the options"),
    (["find.delete", "Job", None, {"scan": True, "cursor": "00"}], "BAD_REQUEST: the cursor"),
    (["find.delete", "Job", None, None, None], "BAD_REQUEST: find.delete takes"),
])
def test_bad_input(client, params, error):
    jobs(client, 3)
    before = values(client, "rank")
    with pytest.raises(RpcError, match=f"^{error}"):
        client.call(*params)
    assert values(client, "rank") == before


def test_what_no_longer_holds_is_left_alone(redis_server, new_daemon, new_proxy):
    """Another daemon changes documents between the look at them and the commit, which is held back."""
    proxy = new_proxy(redis_server.address)
    with declare(new_daemon(proxy.address).connect()) as slow, declare(new_daemon(redis_server.address).connect()) as other:
        jobs(other, 40)
        assert slow.call("find.count", "Job", ["=", "state", "new"]) == 40  # all in memory
        proxy.freeze()
        request = slow.send("find.update", "Job", ["=", "state", "new"], [["num.incr", "runs", 1]])
        for i in range(0, 40, 2):
            other.call("set", f"Job:{i:04}", "state", "old")
        for i in range(1, 40, 4):
            other.call("doc.delete", f"Job:{i:04}")
        proxy.thaw()
        assert slow.wait(request)["updated"] == 10
        assert values(other, "runs") == {f"Job:{i:04}": int(i % 4 == 3) for i in range(40) if i % 4 != 1}


def crowd(daemons, work):
    import threading
    results = [None] * len(daemons)

    def run(i):
        with declare(daemons[i].connect()) as client:
            results[i] = work(client, i)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(daemons))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def test_two_daemons_take_what_is_there_once(redis_server, new_daemon):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    with declare(daemons[0].connect()) as client:
        jobs(client, 300)

        def work(client, number):
            return change(client, "find.update", ["=", "state", "new"],
                          [["set", "state", "taken"], ["num.incr", "runs", 1]], limit=20)[0]
        assert sum(crowd(daemons * 2, work)) == 300
        assert set(values(client, "runs").values()) == {1}


def test_links_that_are_cut_change_nothing_twice(redis_server, new_daemon, new_proxy):
    proxy, r = new_proxy(redis_server.address), random.Random(4)
    with declare(new_daemon(proxy.address).connect()) as client, declare(new_daemon(redis_server.address).connect()) as other:
        jobs(client, 400)
        done, cuts = 0, proxy.cuts
        for turn in range(12):
            proxy.cut_after(r.choice([REQUESTS, REPLIES]), r.randrange(20, 30000))
            cursor = None
            while True:
                try:
                    answer = client.call("find.update", "Job", ["=", "runs", turn], [["num.incr", "runs", 1]],
                                         {"scan": True, "limit": 150, "cursor": cursor})
                except RpcError as e:
                    assert e.code == "UNAVAILABLE", e
                    continue
                assert answer["refused"] == []
                done += answer["updated"]
                cursor = answer["cursor"]
                if cursor is None:
                    break
            assert set(values(other, "runs").values()) == {turn + 1}
        assert done == 12 * 400 and proxy.cuts - cuts >= 10


def test_nobody_waits_for_it_any_more(client, daemon):
    jobs(client, 500)
    with daemon.connect() as gone:
        gone.send("find.update", "Job", ["=", "state", "new"], [["num.incr", "runs", 1]], {"limit": 10000})
    wait_until(lambda: client.call("doc.load", "Job:0000", "runs") in (0, 1), what="an answer")
    assert set(values(client, "runs").values()) <= {0, 1}


def test_spoilt_documents_are_named(client, rdb):
    jobs(client, 5)
    rdb.delete("rapyer:{Job:0003}/tags")
    rdb.set("rapyer:{Job:0003}/tags", "x")
    with pytest.raises(RpcError, match="^CORRUPT"):
        client.call("doc.get", "Job:0003", {"fresh": True})
    answer = client.call("find.update", "Job", ["=", "state", "new"], [["list.append", "tags", "y"]])
    assert answer["updated"] == 4 and [key for key, _ in answer["refused"]] == ["Job:0003"]
    assert answer["refused"][0][1].startswith("CORRUPT: ")
