"""What stays in memory and what goes, what is remembered of documents that are not there, and how
little of Redis it takes to read what is not in memory."""

import pytest

from models import ADA, KEY, atomic, define_all, field, save_ada
from rpc_client import at_rest, wait_until
from test_bad_input import refused

PAGE = atomic("Page", field("text", "str"))
READS = {"hgetall", "hget", "hlen", "hscan", "llen", "lrange", "lindex", "lpos", "scard", "zcard",
         "smembers", "sscan", "zrange", "eval"}


def asked(rdb):
    """How often Redis was asked for something of documents since config_resetstat, by command."""
    stats = {name.removeprefix("cmdstat_"): stat["calls"]
             for name, stat in rdb.info("commandstats").items()}
    return {name: calls for name, calls in stats.items() if name in READS}


def begin_to_count(rdb):
    """When no daemon asks for something by itself any more."""
    at_rest(lambda: asked(rdb))
    rdb.config_resetstat()


def evictions(client):
    return client.call("admin.cache")["evictions"]


@pytest.fixture
def narrow(redis_server, new_daemon):
    return new_daemon(redis_server.address,
                      {"cache.cache_memory": "1M", "cache.shared_memory": "0", "cache.absent": "100",
                       "coherence.audit": "0", "coherence.bound": "10s"})  # it is let run so often at least


@pytest.fixture
def pages(narrow):
    """A client of a daemon with room for some 600 pages."""
    with narrow.connect() as client:
        client.call("define", PAGE)
        yield client


@pytest.fixture
def write(redis_server, new_daemon):
    """Writes pages with another daemon: what one has written itself is read again after a while."""
    with new_daemon(redis_server.address).connect() as client:
        client.call("define", PAGE)

        def write(*names, text="x" * 1000):
            for name in names:
                client.call("doc.save", f"Page:{name}", {"text": text})

        yield write


# --- which documents stay ------------------------------------------------------------------------


def test_a_scan_does_not_push_out_what_is_read_again_and_again(pages, write, rdb):
    hot, cold = [f"hot{i}" for i in range(100)], [f"cold{i}" for i in range(3000)]
    write(*hot, *cold)
    for _ in range(3):
        for name in hot:
            pages.call("doc.get", f"Page:{name}")
    before = evictions(pages)
    for name in cold:
        pages.call("doc.get", f"Page:{name}")
    assert evictions(pages) > before + 2000
    begin_to_count(rdb)
    for name in hot:
        assert pages.call("doc.get", f"Page:{name}")["text"] == "x" * 1000
    assert asked(rdb) == {}


def test_a_document_larger_than_the_memory_is_served_and_not_kept(pages, write, rdb):
    names = [f"hot{i}" for i in range(100)]
    write("large", text="y" * 3_000_000)
    write(*names)
    for _ in range(2):
        for name in names:
            pages.call("doc.get", f"Page:{name}")
    for _ in range(3):
        assert len(pages.call("doc.get", "Page:large")["text"]) == 3_000_000
        assert len(pages.call("pipeline", [["doc.load", "Page:large", "text"]])[0]) == 3_000_000
    wait_until(lambda: pages.call("admin.cache")["memory"] < 1 << 20, what="the large one to go")
    begin_to_count(rdb)
    for name in names:
        pages.call("doc.get", f"Page:{name}")
    assert asked(rdb) == {}


def test_a_list_that_nobody_looks_at_goes_and_its_document_stays(redis_server, narrow, rdb):
    with narrow.connect() as client:
        client.call("define", PAGE)
        client.call("define", atomic("Mixed", field("n", "int", default=0), field("hot", "list<str>"),
                                     field("cold", "list<str>")))
        client.call("doc.save", "Mixed:1", {"hot": ["h"] * 10, "cold": ["c" * 1000] * 300})
        for i in range(2000):
            name = f"Page:{i}"
            client.call("doc.save", name, {"text": "x" * 1000})
            client.call("doc.get", name)
            client.call("doc.get", name)
            if i % 10 == 0:
                assert client.call("doc.load", "Mixed:1", "hot") == ["h"] * 10
        begin_to_count(rdb)
        assert client.call("doc.load", "Mixed:1", "hot") == ["h"] * 10
        assert asked(rdb) == {}
        client.call("list.append", "Mixed:1", "cold", "one more")
        assert client.call("doc.load", "Mixed:1", "cold") == ["c" * 1000] * 300 + ["one more"]
        assert asked(rdb)["lrange"] == 1


# --- absent documents ----------------------------------------------------------------------------


def test_that_a_document_is_absent_is_remembered(pages, rdb):
    assert pages.call("doc.get_many", ["Page:none"]) == [None]
    begin_to_count(rdb)
    for _ in range(10):
        assert pages.call("doc.get_many", ["Page:none"]) == [None]
    assert asked(rdb) == {}


def test_a_refusal_is_exact_and_costs_one_look_at_the_version(pages, rdb):
    refused(pages, "NOT_FOUND", "doc.get", "Page:none")
    begin_to_count(rdb)
    refused(pages, "NOT_FOUND", "doc.get", "Page:none")
    assert asked(rdb) == {"hget": 1}


@pytest.mark.parametrize("how", ["daemon", "save here", "rename", "restore"])
def test_a_document_that_comes_to_be_is_seen(redis_server, new_daemon, pages, rdb, how):
    assert pages.call("doc.get_many", ["Page:new"]) == [None]
    new = {"text": "new"}
    if how == "daemon":
        with new_daemon(redis_server.address).connect() as other:
            other.call("define", PAGE)
            other.call("doc.save", "Page:new", new)
    elif how == "save here":
        pages.call("doc.save", "Page:new", new)
        assert pages.call("doc.get_many", ["Page:new"]) == [{"@pk": "new", **new}]
    else:
        pages.call("doc.save", "Page:old", new)
        if how == "rename":
            rdb.rename("rapyer:{Page:old}", "rapyer:{Page:new}")
        else:
            rdb.restore("rapyer:{Page:new}", 0, rdb.dump("rapyer:{Page:old}"))
    wait_until(lambda: pages.call("doc.get_many", ["Page:new"]) == [{"@pk": "new", **new}], timeout=5,
               what="the document that is there now")


def test_keys_that_do_not_exist_push_out_nothing(pages, write, rdb):
    names = [f"real{i}" for i in range(300)]
    write(*names)
    for name in names:
        pages.call("doc.get", f"Page:{name}")
    for i in range(0, 30000, 1000):
        assert pages.call("doc.get_many", [f"Page:none{i + n}" for n in range(1000)]) == [None] * 1000
    stats = pages.call("admin.cache")
    assert stats["absent"] == 100 and stats["documents"] == 400
    begin_to_count(rdb)
    for name in names:
        pages.call("doc.get", f"Page:{name}")
    assert asked(rdb) == {}


# --- misses at once ------------------------------------------------------------------------------


LOOKS = [
    (("doc.load", KEY, "tags"), ADA["tags"]),
    (("doc.get", KEY, {"paths": ["numbers"]}), {"numbers": ADA["numbers"]}),
    (("doc.get_many", [KEY], {"paths": ["counts"]}), [{"counts": ADA["counts"]}]),
    (("doc.load", KEY, "sections[0].tasks"), ADA["sections"][0]["tasks"]),
    (("pipeline", [["doc.load", KEY, "tags"], ["doc.load", KEY, "teams"]]), [ADA["tags"], ADA["teams"]]),
    (("doc.load", KEY, ""), {"@pk": "ada", **ADA}),
]


@pytest.mark.parametrize("first", range(len(LOOKS)))
def test_misses_of_one_document_cost_redis_one_load(redis_server, new_proxy, new_daemon, rdb, first):
    """While nothing comes from Redis twelve clients ask for it, in six ways."""
    with new_daemon(redis_server.address).connect() as client:
        save_ada(client)
    quiet = {"coherence.audit": "0"}
    with new_daemon(redis_server.address, quiet).connect() as alone:
        define_all(alone)
        begin_to_count(rdb)
        for n in range(len(LOOKS)):
            alone.call(*LOOKS[(first + n) % len(LOOKS)][0])
    cost = asked(rdb)
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, quiet)
    clients = [daemon.connect() for _ in range(12)]
    define_all(clients[0])
    wait_until(lambda: clients[0].call("admin.stats")["hears_others"], what="a daemon that hears")
    begin_to_count(rdb)
    proxy.freeze()
    looks = [LOOKS[(first + n) % len(LOOKS)] for n in range(12)]
    sent = [client.send(*request) for client, (request, _) in zip(clients, looks)]
    waiting = {client.call("hello", {})["server"] for client in clients}  # behind the requests
    assert len(waiting) == 1 and asked(rdb) == {}
    proxy.thaw()
    for client, request, (_, expected) in zip(clients, sent, looks):
        assert client.wait(request) == expected
        client.close()
    # One load; besides, what a pipeline answers is checked, and who was first may have wanted a single
    # element that is read again with all. Twelve loads would be ten times as much.
    assert sum(asked(rdb).values()) <= 2 * sum(cost.values())
