"""Several daemons, and programs without one, on the same documents: is what is answered true in Redis
where that is promised, and no older than coherence.bound elsewhere?"""

import random
import signal
import threading
import time

import pytest

from fault_proxy import REPLIES, DeafProxy
from histories import Foreigner, Mortal, Neighbour, Reaper, SlowMortal
from models import ADA, KEY, ROOT, atomic, field, save_ada
from rpc_client import RpcError, wait_until
from test_fault_failover import SETTINGS as QUICK
from test_fault_failover import Pair
from test_histories import FULL, SEED, declare, histories, later

pytestmark = pytest.mark.exact

HISTORIES = 300 if FULL else 8
BOUND = 1.0
# However late others come, and without reading again what it has just written.
PATIENT = {**QUICK, "commit.queue_time": "20s", "coherence.bound": "1h"}


def soon(client, path, value, key=KEY):
    """A plain read sees it within the bound."""
    start = time.monotonic()
    wait_until(lambda: client.call("doc.load", key, path) == value, timeout=BOUND + 5,
               what=f"{value} at {path}")
    return time.monotonic() - start


def outcome(client, *request):
    try:
        return client.call(*request)
    except RpcError as refusal:
        return refusal.code


# --- histories -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
def test_several_daemons(redis_server, new_daemon, count):
    """Shows C1, C2, C3, C4, C6, C7."""
    daemons = [new_daemon(redis_server.address) for _ in range(count)]
    declare(*daemons)
    histories(daemons, redis_server.client(), HISTORIES, bound=BOUND, clients=3 * count)


def test_three_daemons_and_twelve_clients(redis_server, new_daemon):
    """With a short bound: reads that may be of any time leave the judge too much to look at.
    Shows C1, C2, C3, C4, C7."""
    daemons = [new_daemon(redis_server.address, {"coherence.bound": "20ms"}) for _ in range(3)]
    declare(*daemons)
    histories(daemons, redis_server.client(), HISTORIES, bound=0.02, clients=12, documents=3, operations=8)


def test_two_daemons_beside_a_program_without_one(redis_server, new_daemon):
    """Shows C1."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    declare(*daemons)
    histories(daemons, redis_server.client(), HISTORIES, bound=BOUND, foreign=Foreigner, actor=Neighbour)


def test_two_daemons_and_a_replica_that_is_promoted(new_redis, new_proxy, new_daemon):
    """What Redis has acknowledged and not passed on is lost; here it has nothing of that kind. Shows C8."""
    servers = Pair(new_redis, new_proxy)
    daemons = [new_daemon(servers.front.address, QUICK) for _ in range(2)]
    declare(*daemons)
    histories(daemons, None, HISTORIES, bound=BOUND, between=servers.change_places,
              nemesis=later(random.Random(SEED), servers.hand_over, 0.03))


@pytest.mark.parametrize("said_by", ["daemons", "another program"])
def test_two_daemons_and_deadlines(redis_server, new_daemon, said_by):
    """A document is never given out after its deadline by any daemon, nor half of it. Shows C9."""
    daemons = [new_daemon(redis_server.address, {"coherence.bound": "20ms"}) for _ in range(2)]
    declare(*daemons)
    how = {"actor": SlowMortal} if said_by == "daemons" else {"actor": Mortal, "foreign": Reaper}
    histories(daemons, redis_server.client(), HISTORIES, bound=0.02, abreast=8, **how)


def test_two_daemons_that_stumble_beside_a_program_without_one(redis_server, new_daemon):
    """As on a busy machine, where anything may happen between two steps of theirs. Shows C1."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    declare(*daemons)
    rng = random.Random(SEED)

    def stumble():
        for _ in range(5):
            process = rng.choice(daemons).process
            process.send_signal(signal.SIGSTOP)
            time.sleep(rng.random() * 0.02)  # it is the standing still that is tested
            process.send_signal(signal.SIGCONT)
            time.sleep(rng.random() * 0.01)
    histories(daemons, redis_server.client(), HISTORIES, bound=BOUND, foreign=Foreigner, actor=Neighbour,
              nemesis=stumble)


def test_two_daemons_of_which_the_links_of_one_freeze(redis_server, new_proxy, new_daemon):
    """Both, of commits and of what is heard, for longer than the bound. Shows C4, C5."""
    proxy = new_proxy(redis_server.address)
    daemons = [new_daemon(redis_server.address, {"coherence.bound": "200ms"}),
               new_daemon(proxy.address, {"coherence.bound": "200ms"})]
    declare(*daemons)

    def freeze():
        proxy.freeze()
        time.sleep(0.3)  # it is the standing still that is tested
        proxy.thaw()
    histories(daemons, redis_server.client(), HISTORIES, bound=0.2, nemesis=later(random.Random(SEED), freeze))


def test_two_daemons_and_a_redis_that_is_killed(new_redis, new_daemon):
    """Shows C8."""
    redis_server = new_redis(aof=True)
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    declare(*daemons)
    histories(daemons, None, HISTORIES, bound=BOUND, nemesis=later(random.Random(SEED), redis_server.restart))


def test_two_daemons_that_hold_next_to_nothing(redis_server, new_daemon):
    """Shows C4."""
    daemons = [new_daemon(redis_server.address, {"cache.cache_memory": "64K"}) for _ in range(2)]
    declare(*daemons)
    histories(daemons, redis_server.client(), HISTORIES, bound=BOUND)


def test_two_daemons_and_links_that_are_cut(redis_server, new_proxy, new_daemon):
    """Of commits and of what is heard, at any moment. Shows C5, C8."""
    proxies = [new_proxy(redis_server.address) for _ in range(2)]
    daemons = [new_daemon(proxy.address) for proxy in proxies]
    declare(*daemons)
    rng = random.Random(SEED)
    histories(daemons, redis_server.client(), HISTORIES, bound=BOUND,
              nemesis=later(rng, lambda: rng.choice(proxies).cut()))


def test_two_daemons_of_which_one_stands_still(redis_server, new_daemon):
    """For longer than the bound: what it then gives from memory is not older, all the same. Shows C5."""
    daemons = [new_daemon(redis_server.address, {"coherence.bound": "200ms"}) for _ in range(2)]
    declare(*daemons)
    rng = random.Random(SEED)

    def stand_still():
        daemons[1].process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)  # it is the standing still that is tested
        daemons[1].process.send_signal(signal.SIGCONT)
    histories(daemons, redis_server.client(), HISTORIES, bound=0.2, nemesis=later(rng, stand_still))


def test_two_daemons_of_which_one_is_killed(redis_server, new_daemon):
    """Shows C8."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    declare(*daemons)

    def restart():
        daemons[1].kill()
        daemons[1].start()
    histories(daemons, redis_server.client(), HISTORIES, bound=BOUND,
              nemesis=later(random.Random(SEED), restart))


# --- between daemons -------------------------------------------------------------------------


def test_a_change_is_seen_by_a_plain_read_of_another_daemon(pair):
    """Shows C4."""
    one, two = pair
    for n in range(20):
        one.call("set", KEY, "age", n)
        soon(two, "age", n)


@pytest.mark.parametrize("change, request_, answer", [
    (["list.clear", KEY, "tags"], ["list.pop", KEY, "tags"], "OUT_OF_RANGE"),
    (["doc.delete", KEY], ["doc.get", KEY], "NOT_FOUND"),
    (["doc.delete", KEY], ["doc.exists", KEY], 0),
    (["doc.delete", KEY], ["num.incr", KEY, "age", 1], "NOT_FOUND"),
    (["doc.delete", KEY], ["doc.delete", KEY], 0),
    (["dict.del", KEY, "counts", "x"], ["dict.del", KEY, "counts", "x"], False),
    (["dict.set", KEY, "counts", "new", 1], ["dict.del", KEY, "counts", "new"], True),
    (["list.append", KEY, "numbers", 9], ["list.pop", KEY, "numbers"], 9),
    (["num.incr", KEY, "age", 5], ["num.incr", KEY, "age", 1], 42),
    (["list.append", KEY, "tags", "x"], ["list.append", KEY, "tags", "y"], 5),
    (["num.incr", KEY, "age", 5], ["doc.get", KEY, {"fresh": True, "paths": ["age"]}], {"age": 41}),
    (["doc.delete", KEY], ["doc.insert", [[KEY, {"name": "new", "settings": {}}]]], "ok"),
])
def test_what_is_answered_is_true_in_redis(pair, change, request_, answer):
    """At once, whatever the daemon has in memory. Shows C1, C2, C3."""
    one, two = pair
    for _ in range(5):
        save_ada(one)
        soon(two, "tags", ["a", "b", "c"])
        one.call(*change)
        found = outcome(two, *request_)
        assert found == answer or (answer == "ok" and isinstance(found, list))


def test_a_document_that_comes_again_does_not_come_back_as_it_was(pair):
    """Shows C1, C2."""
    one, two = pair
    for n in range(10):
        assert one.call("doc.delete", KEY) == 1
        assert outcome(two, "num.incr", KEY, "age", 1) == "NOT_FOUND"
        two.call("doc.save", KEY, {"name": "again", "age": n, "settings": {}})
        assert one.call("doc.get", KEY, {"fresh": True})["age"] == n
        assert one.call("num.incr", KEY, "age", 1) == n + 1


def test_what_a_change_left_of_a_removed_document_is_not_in_the_next_one(redis_server, new_proxy, new_daemon, rdb):
    """A change that found no document leaves a hash with a version that says little (1), until it is swept
    away. Who saves the document may have seen another one of these. Shows C1."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as one, new_daemon(redis_server.address).connect() as two:
        save_ada(two)
        one.call("doc.get", KEY)
        two.call("doc.delete", KEY)
        rdb.hset(ROOT, "@v", 1)
        rdb.rpush(ROOT + "/tags", "left")
        assert outcome(one, "doc.get", KEY, {"fresh": True}) == "NOT_FOUND"
        proxy.freeze()
        request = one.send("doc.save", KEY, {"name": "new", "settings": {}})
        one.call("hello")
        rdb.delete(ROOT, ROOT + "/tags")
        rdb.hset(ROOT, mapping={"@v": 1, "bio": "left", "nick": "left"})
        rdb.hset(ROOT + "/counts", "left", 1)
        proxy.thaw()
        one.wait(request)
        found = two.call("doc.get", KEY, {"fresh": True})
        assert found["nick"] is None and found["bio"] == "" and found["counts"] == {} and found["tags"] == []
        assert found == one.call("doc.get", KEY)


def test_what_another_program_put_into_what_a_change_left_is_not_in_the_next_one(redis_server, workdir, new_proxy,
                                                                                new_daemon, rdb):
    """A change that finds no document leaves a hash for a moment. A program that takes that for the document puts
    something beside it; somebody makes the document, and had looked before all that. Shows C1, C3."""
    deaf, proxy = DeafProxy(workdir, redis_server.address), new_proxy(redis_server.address)
    with new_daemon(deaf.address).connect() as one, new_daemon(proxy.address).connect() as two:
        save_ada(one)
        deaf.unheard = lambda channel, payload: b"@proof" not in channel
        rdb.delete(*rdb.keys(ROOT + "*"))
        assert outcome(two, "doc.get", KEY, {"fresh": True}) == "NOT_FOUND"

        def push():
            assert rdb.exists(ROOT)
            rdb.rpush(ROOT + "/tags", "left")

        def change():
            assert outcome(one, "set", KEY, "bio", "x") == "NOT_FOUND"
            wait_until(lambda: not rdb.exists(ROOT), what="the sweep")
        deaf.ahead = b"HEXISTS", push  # the sweep of what it has left
        proxy.ahead = b"\r\nmine\r\n", change
        two.call("doc.insert", [[KEY, {"name": "mine", "settings": {}, "numbers": [1]}]])
        assert deaf.ahead is None
        found = two.call("doc.get", KEY, {"fresh": True})
        assert found["tags"] == [] and found["numbers"] == [1] and found["bio"] == ""
    deaf.stop()


def test_an_increment_before_a_set_is_told_what_redis_says(redis_server, new_proxy, new_daemon):
    """Both go in one commit; the increment's answer is its own, though another daemon was first. Shows C2."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as one, new_daemon(redis_server.address).connect() as two:
        save_ada(one)
        two.call("doc.get", KEY)
        proxy.freeze()
        first = one.send("num.incr", KEY, "score", 0.5)  # goes out, and is held
        one.call("hello")
        requests = [one.send("num.incr", KEY, "age", 1), one.send("set", KEY, "age", 7)]
        one.call("hello")
        two.call("num.incr", KEY, "age", 100)
        proxy.thaw()
        one.wait(first)
        assert one.wait(requests[0]) == 137
        one.wait(requests[1])
        assert one.call("doc.load", KEY, "age") == 7


def test_a_fresh_read_behind_a_write_waits_for_more_than_that(redis_server, new_proxy, new_daemon, rdb):
    """A change that waited with it is made first. What another program has written ahead of that is in what is
    read, as it is in Redis. Shows C1."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as one, new_daemon(redis_server.address).connect() as two:
        save_ada(one)
        proxy.freeze()
        first = one.send("num.incr", KEY, "score", 0.5)  # goes out, and is held; another daemon is before it
        one.call("hello")
        requests = [one.send("set", KEY, "bio", "mine"),
                    one.send("doc.get", KEY, {"fresh": True, "paths": ["age", "bio"]})]
        one.call("hello")
        two.call("num.incr", KEY, "age", 1)
        proxy.ahead = b"\r\nmine\r\n", lambda: rdb.hset(ROOT, "age", 77)
        proxy.thaw()
        one.wait(first)
        one.wait(requests[0])
        assert one.wait(requests[1]) == {"age": 77, "bio": "mine"}


def test_only_what_has_changed_is_read_again(redis_server, daemons, rdb, pair):
    """An element for one list costs not the other list. Shows C12."""
    one, two = pair
    one.call("list.extend", KEY, "numbers", list(range(2000)))
    two.call("doc.load", KEY, "numbers")
    for n in range(5):
        one.call("list.append", KEY, "tags", f"t{n}")
        soon(two, "tags[-1]", f"t{n}")
    rdb.config_resetstat()
    one.call("list.append", KEY, "tags", "last")
    soon(two, "tags[-1]", "last")
    assert len(two.call("doc.load", KEY, "numbers")) == 2003
    stats = rdb.info("commandstats")
    assert stats["cmdstat_lrange"]["calls"] <= 2, stats["cmdstat_lrange"]


# --- programs without a daemon ---------------------------------------------------------------


def evict(rdb, key):
    """Redis has no memory left, and this is the one key that may go."""
    rdb.pexpire(key, 3600 * 1000)
    rdb.config_set("maxmemory-policy", "volatile-ttl")
    rdb.config_set("maxmemory", 1)
    assert not rdb.exists(key)
    rdb.config_set("maxmemory", 0)


def copy_of(rdb, change, key=ROOT):
    """All of it is replaced, by what differs by this."""
    rdb.copy(key, "aside")
    change("aside")
    rdb.copy("aside", key, replace=True)


FOREIGN = [
    (lambda rdb: rdb.hset(ROOT, "age", 77), "age", 77),
    (lambda rdb: rdb.rpush(ROOT + "/tags", "z"), "tags", ["a", "b", "c", "z"]),
    (lambda rdb: rdb.hset(ROOT + "/counts", "x", 5), "counts", {"x": 5, "y": 2}),
    (lambda rdb: rdb.delete(ROOT + "/tags"), "tags", []),
    (lambda rdb: rdb.rename(ROOT + "/numbers", ROOT + "/elsewhere"), "numbers", []),
    (lambda rdb: rdb.pexpire(ROOT + "/tags", 1), "tags", []),
    (lambda rdb: rdb.hset(ROOT + "/sections/s1", "name", "other"), 'sections["s1"].name', "other"),
    (lambda rdb: rdb.restore(ROOT + "/tags", 0, rdb.dump(ROOT + "/sections"), replace=True), "tags",
     ["s1", "s2"]),
    (lambda rdb: rdb.eval("redis.call('HSET',KEYS[1],'bio','x') redis.call('HSET',KEYS[1],'nick','y')", 1,
                          ROOT), "nick", "y"),
    (lambda rdb: copy_of(rdb, lambda key: rdb.hset(key, "age", 77)), "age", 77),
    (lambda rdb: copy_of(rdb, lambda key: rdb.lset(key, 0, "other"), ROOT + "/tags"), "tags", ["other", "b", "c"]),
    (lambda rdb: rdb.copy(ROOT + "/sections", ROOT + "/tags", replace=True), "tags", ["s1", "s2"]),
    (lambda rdb: copy_of(rdb, lambda key: rdb.hset(key, "name", "other"), ROOT + "/sections/s1"),
     'sections["s1"].name', "other"),
    (lambda rdb: evict(rdb, ROOT + "/counts"), "counts", {}),
    (lambda rdb: evict(rdb, ROOT + "/sections/s1/tasks"), 'sections["s1"].tasks', []),
]


@pytest.mark.parametrize("change, path, value", FOREIGN)
def test_what_another_program_writes_is_seen(pair, rdb, change, path, value):
    """Shows C4."""
    change(rdb)
    for client in pair:
        soon(client, path, value)


@pytest.mark.parametrize("change, path, value", [row for row in FOREIGN if row[1] != "tags" or row[2]])
def test_fresh_sees_at_once_what_another_program_writes(pair, rdb, change, path, value):
    """Shows C1."""
    for client in pair:
        client.call("doc.load", KEY, path)
    change(rdb)
    for client in pair:
        assert client.call("doc.get", KEY, {"fresh": True, "paths": [path]}) == {path: value}


@pytest.mark.parametrize("path, place, command", [
    ("tags", "/tags", b"LRANGE"),
    ('sections["s1"].name', "/sections", b"LPOS"),
    ('sections["s1"].tasks', "/sections/s1/tasks", b"/sections/s1/tasks"),
    ("numbers", "/numbers", b"\r\n10000\r\n"),  # the second piece
], ids=["list", "element", "deep", "long"])
def test_fresh_is_of_one_moment(redis_server, new_proxy, new_daemon, rdb, path, place, command):
    """However many rounds it is read in: what another program does there between two of them, and what it did
    elsewhere before that, are both in it, or neither is. Shows C1, C6."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as client:
        save_ada(client)
        client.call("set", KEY, "numbers", list(range(10010)))
        client.call("list.extend", KEY, "sections", [{"@pk": f"x{n}", "name": ""} for n in range(100)])

        def meddle():
            rdb.hset(ROOT, "age", 77)
            if place == "/sections":
                rdb.hset(ROOT + "/sections/s1", "name", "other")
            elif place == "/numbers":
                rdb.lpush(ROOT + place, -1)
            else:
                rdb.lrem(ROOT + place, 1, rdb.lindex(ROOT + place, 0))
        question = ["doc.get", KEY, {"fresh": True, "paths": ["age", path]}]
        before = client.call(*question)
        proxy.ahead = command, meddle
        found = client.call(*question)
        assert proxy.ahead is None  # it was asked so
        after = client.call(*question)
        assert after != before and after["age"] == 77
        assert found in (before, after)


def copy_of_what_ends(rdb):
    rdb.copy(ROOT, "aside")
    rdb.pipeline().pexpire("aside", 1).copy("aside", ROOT, replace=True).execute()


REMOVALS = {
    "flushall": lambda rdb: rdb.flushall(), "flushdb": lambda rdb: rdb.flushdb(),
    "delete": lambda rdb: rdb.delete(*rdb.keys(ROOT + "*")), "expire": lambda rdb: rdb.pexpire(ROOT, 1),
    "swapdb": lambda rdb: rdb.swapdb(0, 1), "rename": lambda rdb: rdb.rename(ROOT, "elsewhere"),
    "evict": lambda rdb: evict(rdb, ROOT), "copy": copy_of_what_ends,
}


@pytest.mark.parametrize("how", REMOVALS)
def test_a_document_that_another_program_removes_is_gone(pair, rdb, how):
    """Shows C4."""
    REMOVALS[how](rdb)
    for client in pair:
        wait_until(lambda: client.call("doc.get_many", [KEY]) == [None], timeout=BOUND + 5,
                   what="the end of the document")


@pytest.mark.parametrize("how", [how for how in REMOVALS if how not in ("expire", "copy")])
def test_fresh_sees_at_once_that_another_program_removed_the_document(pair, rdb, how):
    """Shows C1."""
    REMOVALS[how](rdb)
    for client in pair:
        assert outcome(client, "doc.get", KEY, {"fresh": True}) == "NOT_FOUND"


def test_a_deadline_that_another_program_takes_away(pair, rdb):
    """From the document with all that it has. Shows C4, C9."""
    one, two = pair
    one.call("doc.ttl", KEY, 1000)
    wait_until(lambda: two.call("doc.ttl", KEY) > 0, what="the deadline")
    for key in rdb.keys(ROOT + "*"):
        rdb.persist(key)
    for client in pair:
        assert client.call("doc.get", KEY, {"fresh": True, "paths": ["tags"]}) == {"tags": ["a", "b", "c"]}
        wait_until(lambda: client.call("doc.ttl", KEY) == -1, timeout=BOUND + 5, what="no deadline")


def test_a_document_ends_although_what_it_has_was_made_to_stay(pair, rdb):
    """A program has persisted its lists and dicts: nobody is given them after the deadline. Shows C9."""
    one, two = pair
    one.call("doc.ttl", KEY, 1000)
    for key in rdb.keys(ROOT + "/*"):
        rdb.persist(key)
    for client in pair:
        assert client.call("doc.load", KEY, "tags") == ["a", "b", "c"]
    rdb.pexpire(ROOT, 1)
    wait_until(lambda: not rdb.exists(ROOT), what="the deadline")
    for client in pair:
        assert outcome(client, "doc.get", KEY, {"fresh": True}) == "NOT_FOUND"
        assert outcome(client, "doc.load", KEY, "tags") == "NOT_FOUND"
    assert rdb.exists(ROOT + "/tags")


def test_a_write_in_the_same_turn_as_ours_is_seen(pair, rdb):
    """Redis names a key once that a daemon and another program have written at about the same time. Shows C4."""
    one, two = pair
    for n in range(30):
        sent = [one.send("num.incr", KEY, "age", 1) for _ in range(20)]
        rdb.hset(ROOT, "bio", f"foreign {n}")
        for request in sent:
            one.wait(request)
    for client in pair:
        soon(client, "bio", "foreign 29")


def test_an_increment_after_another_programs_write(pair, rdb):
    """Shows C2."""
    one, two = pair
    rdb.hset(ROOT, "age", 77)
    assert one.call("num.incr", KEY, "age", 1) == 78
    assert one.call("doc.load", KEY, "age") == 78
    soon(two, "age", 78)


def test_what_is_heard_is_counted(pair, rdb):
    """Shows C4."""
    one, two = pair
    before = two.call("admin.stats")
    assert before["hears_others"] is True
    one.call("set", KEY, "age", 50)
    rdb.hset(ROOT, "bio", "x")
    soon(two, "bio", "x")
    after = two.call("admin.stats")
    assert after["others_commits"] == before["others_commits"] + 1
    assert after["foreign_writes"] == before["foreign_writes"] + 1
    rdb.flushall()
    wait_until(lambda: two.call("admin.stats")["gaps"] > before["gaps"], what="the gap")


# --- when it cannot be heard -----------------------------------------------------------------


def test_a_daemon_that_stood_still_gives_nothing_old(pair, daemons):
    """Shows C5."""
    one, two = pair
    for n in range(3):
        daemons[1].process.send_signal(signal.SIGSTOP)
        one.call("set", KEY, "age", 1000 + n)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > BOUND + 0.1, what="the bound to pass")
        request = two.send("doc.load", KEY, "age")
        daemons[1].process.send_signal(signal.SIGCONT)
        assert two.wait(request) == 1000 + n


def test_who_hears_nothing_asks_redis(redis_server, new_daemon, rdb):
    """Without the right to listen each read is exact; it only costs more. Shows C5."""
    rdb.execute_command("ACL", "SETUSER", "deaf", "on", ">secret", "~rapyer:*", "resetchannels", "+@all")
    settings = {"redis.redis_user": "deaf", "redis.redis_password": "secret"}
    with new_daemon(redis_server.address, settings).connect() as deaf, \
            new_daemon(redis_server.address).connect() as other:
        save_ada(deaf)
        for n in range(20):
            other.call("set", KEY, "age", n)
            assert deaf.call("doc.load", KEY, "age") == n
            rdb.hset(ROOT, "age", 500 + n)
            assert deaf.call("doc.load", KEY, "age") == 500 + n


def test_what_changed_while_the_link_was_cut(redis_server, new_proxy, new_daemon, rdb):
    """Shows C5."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as client:
        save_ada(client)
        for n in range(10):
            client.call("doc.get", KEY)
            proxy.refusing = True
            proxy.cut()
            rdb.rpush(ROOT + "/tags", f"x{n}")  # the version stays as it was
            proxy.refusing = False
            wait_until(lambda: outcome(client, "doc.load", KEY, "tags[-1]") == f"x{n}", timeout=BOUND + 5,
                       what="the element")


@pytest.fixture
def listening(redis_server, new_daemon, workdir):
    """A writer, a reader that has in memory what it wrote, and the proxy through which the reader hears of it."""
    deaf = DeafProxy(workdir, redis_server.address)
    with new_daemon(redis_server.address).connect() as writer, \
            new_daemon(deaf.address, {"coherence.bound": "1h"}).connect() as reader:
        save_ada(writer)
        writer.call("doc.save", "User:bob", {"name": "b", "settings": {}})
        for key in (KEY, "User:bob"):
            reader.call("doc.get", key)
        with redis_server.client() as rdb:  # they have found each other
            wait_until(lambda: rdb.pubsub_numsub("rapyer:@changes")[0][1] == 2, what="both to listen")
        yield writer, reader, deaf
    deaf.stop()


def check_that_the_next_change_is_known_to_be_one(writer, reader, deaf):
    """Also when it is not heard of: the reader has counted what was before, and all of it once."""
    writer.call("set", "User:bob", "age", 1)
    soon(reader, "age", 1, "User:bob")  # and so all that was said before
    deaf.unheard = lambda channel, payload: b"@proof" not in channel
    writer.call("dict.set", KEY, "counts", "x", 99)
    assert outcome(reader, "dict.pop", KEY, "counts", "none") == "NOT_FOUND"  # which asks Redis
    assert reader.call("doc.load", KEY, "counts") == {"x": 99, "y": 2}


def test_what_redis_refuses_has_changed_nothing_for_others(redis_server, new_proxy, new_daemon, listening):
    """Who counts what others have done to the version, to know what of a document is as it was, counts
    only what was applied. Otherwise the next change, not heard of yet, would pass for that. Shows C4."""
    (writer, reader, _), proxy = listening, new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as refused:
        version = refused.call("doc.get", KEY, {"version": True})["@v"]
        proxy.freeze()
        request = refused.send("pipeline", [["list.append", KEY, "tags", "x"]], {"if_version": {KEY: version}})
        refused.call("hello")
        writer.call("set", KEY, "age", 50)
        assert reader.call("doc.get", KEY, {"fresh": True})["age"] == 50
        proxy.thaw()
        with pytest.raises(RpcError, match="CONFLICT"):
            refused.wait(request)
        check_that_the_next_change_is_known_to_be_one(*listening)


@pytest.mark.parametrize("behind", ["its read", "another change of ours"])
def test_what_is_heard_late_counts_once(listening, rdb, behind):
    """A change that was read before it was heard of is in the version already. Counted again it would stand for
    the next one, of which nothing was heard yet. Shows C4."""
    (writer, reader, deaf), late = listening, []

    def hold_back(channel, payload):
        late.extend([(channel, payload)] if b"@changes" in channel else [])
        return b"@proof" not in channel
    deaf.unheard = hold_back
    writer.call("set", KEY, "age", 50)
    assert reader.call("doc.get", KEY, {"fresh": True})["age"] == 50
    wait_until(lambda: late, what="the message")
    if behind == "another change of ours":
        reader.call("num.incr", KEY, "score", 1)
    deaf.unheard = lambda channel, payload: False
    rdb.publish(*late[0])
    check_that_the_next_change_is_known_to_be_one(*listening)


@pytest.mark.parametrize("again", [False, True])
def test_a_change_that_was_removed_before_its_answer_came(redis_server, new_proxy, new_daemon, again):
    """It was applied, but whether to a document nobody can tell any more: no word that it was not. Shows C8."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, PATIENT).connect() as one, new_daemon(redis_server.address).connect() as two:
        save_ada(one)
        two.call("doc.get", KEY)
        cut = proxy.cut_after(REPLIES, 0)
        proxy.refusing = True
        request = one.send("set", KEY, "age", 77)
        assert cut.fired.wait(20)
        assert two.call("doc.get", KEY, {"fresh": True})["age"] == 77
        assert two.call("doc.delete", KEY) == 1
        if again:
            save_ada(two)
        proxy.refusing = False
        with pytest.raises(RpcError, match="UNKNOWN_OUTCOME"):
            one.wait(request)


GONE = "User:ada is not there any more: it was removed, or its deadline was over, before the change or since"
CHANGED = "somebody else has changed User:ada, before the change or since: for all that is known it was gone"
APPLIED = "the change is applied, but .* somebody else has changed User:ada, before it or since"


@pytest.mark.parametrize("old, request_, meanwhile, answer", [
    (False, ["num.incr", KEY, "age", 1], ["set", KEY, "bio", "x"], f"UNKNOWN_OUTCOME: .* {CHANGED}"),
    (False, ["set", KEY, "age", 7], ["set", KEY, "bio", "x"], f"UNKNOWN_OUTCOME: .* {CHANGED}"),
    (False, ["set", KEY, "age", 7], ["doc.delete", KEY], f"UNKNOWN_OUTCOME: .* {GONE}"),
    (False, ["set", KEY, "age", 7], None, f"UNKNOWN_OUTCOME: .* {GONE}"),
    (True, ["num.incr", KEY, "age", 1], ["set", KEY, "bio", "x"], f"UNKNOWN_OUTCOME: {APPLIED}"),
    (True, ["list.append", KEY, "tags", "z"], ["set", KEY, "bio", "x"], f"UNKNOWN_OUTCOME: {APPLIED}"),
    (True, ["num.mul", KEY, "age", 2], ["set", KEY, "bio", "x"], 72),
    (True, ["dict.set", KEY, "counts", "z", 1], ["doc.delete", KEY], f"UNKNOWN_OUTCOME: .* {GONE}"),
    (False, ["num.incr", KEY, "age", 1], ["set", "User:bob", "bio", "x"], 37),
])
def test_what_is_said_when_an_answer_was_lost(redis_server, new_proxy, new_daemon, rdb, old, request_, meanwhile,
                                              answer):
    """As much as can be known of what others did meanwhile, and no more. What they did to another document of
    the same commit is no matter. A deadline is over where nobody did anything. Shows C8."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, PATIENT).connect() as one, new_daemon(redis_server.address).connect() as two:
        save_ada(one)
        one.call("doc.save", "User:bob", {"name": "Bob", "settings": {}})
        if old:  # so that it was not made anew just now
            before = one.call("admin.stats")["foreign_writes"]
            rdb.hset(ROOT, "@v", int(rdb.hget(ROOT, "@v")) - 60_000_000)
            wait_until(lambda: one.call("admin.stats")["foreign_writes"] > before, what="the news of that")
        one.call("doc.get", KEY, {"fresh": True})
        cut = proxy.cut_after(REPLIES, 0)
        proxy.refusing = True
        one.send_raw(one.pack([0, 1000, "set", ["User:bob", "nick", "b"]])
                     + one.pack([0, 1001, request_[0], request_[1:]]))
        assert cut.fired.wait(20)
        if meanwhile:
            two.call(*meanwhile)
        else:
            for key in rdb.keys(ROOT + "*"):
                rdb.pexpire(key, 1)
            wait_until(lambda: not rdb.keys(ROOT + "*"), what="the end of the document")
        proxy.refusing = False
        if isinstance(answer, int):
            assert one.wait(1001) == answer
        else:
            with pytest.raises(RpcError, match=f"^{answer}"):
                one.wait(1001)


@pytest.mark.parametrize("path, place", [("age", (ROOT, "age")), ('counts["x"]', (ROOT + "/counts", "x"))])
@pytest.mark.parametrize("when", ["before", "since", "never"])
def test_what_is_said_of_a_number_that_another_program_changed(redis_server, new_proxy, new_daemon, rdb, path, place,
                                                               when):
    """It leaves the version alone. Where the answer was lost nothing but the number itself says that it did.
    Shows C8."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, PATIENT).connect() as one:
        save_ada(one)
        before = one.call("doc.load", KEY, path)
        if when == "before":
            proxy.ahead = b"HINCRBY", lambda: rdb.hset(*place, 500)
        cut = proxy.cut_after(REPLIES, 0)
        proxy.refusing = True
        request = one.send("num.incr", KEY, path, 1)
        assert cut.fired.wait(20)
        if when == "since":
            rdb.hset(*place, 500)
        proxy.refusing = False
        if when == "never":
            assert one.wait(request) == before + 1
        else:
            with pytest.raises(RpcError, match=f"^UNKNOWN_OUTCOME: {APPLIED}"):
                one.wait(request)
        stored = int(rdb.hget(*place))
        assert one.call("doc.get", KEY, {"fresh": True, "paths": [path]}) == {path: stored}


@pytest.mark.parametrize("path, later", [
    ("age", ["doc.save", KEY, ADA]), ("age", ["set", KEY, "age", 7]), ("age", ["doc.delete", KEY]),
    ('counts["x"]', ["doc.save", KEY, ADA]), ('counts["x"]', ["dict.clear", KEY, "counts"])])
def test_what_is_said_of_a_number_that_the_same_commit_has_replaced(redis_server, new_proxy, new_daemon, path, later):
    """Where the answer was lost another number is there, which says nothing of others. Shows C8."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address, PATIENT).connect() as one:
        save_ada(one)
        before = one.call("doc.load", KEY, path)
        cut = proxy.cut_after(REPLIES, 0)
        proxy.refusing = True
        calls = [["str.append", KEY, "bio", "!"], ["num.incr", KEY, path, 1], later]
        one.send_raw(b"".join(one.pack([0, 1000 + n, call[0], call[1:]]) for n, call in enumerate(calls)))
        assert cut.fired.wait(20)
        proxy.refusing = False
        assert [one.wait(1000), one.wait(1001)] == ["hello!", before + 1]
        one.wait(1002)


def test_an_idle_daemon_asks_redis_nothing(pair, rdb):
    """Shows C12."""
    one, two = pair
    wait_until(lambda: rdb.info("commandstats") and True)
    time.sleep(BOUND)  # proofs that are still on their way
    rdb.config_resetstat()
    time.sleep(2 * BOUND)
    calls = {name: stat["calls"] for name, stat in rdb.info("commandstats").items()}
    assert "cmdstat_publish" not in calls, calls


def test_a_read_of_many_documents_that_waits_for_a_proof_is_tried_once(redis_server, new_proxy, new_daemon):
    """Not once for each of them, after which it would seem that they change too often. Shows C12."""
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {"coherence.bound": "200ms"})
    with daemon.connect() as client:
        save_ada(client)
        keys = [f"User:{n}" for n in range(1500)]
        for i in range(0, 1500, 500):
            client.call("doc.insert", [[key, {"name": "n", "settings": {}}] for key in keys[i:i + 500]])
        saved = time.monotonic()
        wait_until(lambda: client.call("doc.get_many", keys) and time.monotonic() > saved + 0.3,
                   what="the last reading")
        time.sleep(0.3)  # idle, so that the last proof is too old
        proxy.freeze()
        request = client.send("doc.get_many", keys)
        client.call("hello")
        daemon.process.send_signal(signal.SIGSTOP)
        proxy.thaw()
        time.sleep(0.3)  # the proof is there, and too old when it is seen
        daemon.process.send_signal(signal.SIGCONT)
        assert len(client.wait(request)) == 1500


def test_no_moment_makes_a_pipeline_happen_twice(redis_server, new_daemon, rdb):
    """What was fresh when it was tried is so when it is carried out, however short the bound. Shows C8."""
    daemon = new_daemon(redis_server.address, {"coherence.bound": "20ms"})
    with daemon.connect() as client:
        save_ada(client)
        client.call("doc.save", "User:bob", {"name": "b", "settings": {}})
        both = [["num.incr", KEY, "age", 1], ["num.incr", "User:bob", "age", 1]]
        sent = [client.send("pipeline", both * 150) for _ in range(200)]
        for request in sent:
            last = client.wait(request)
    assert last[-2:] == [36 + 30000, 30000]
    assert rdb.hget(ROOT, "age") == b"30036" and rdb.hget("rapyer:{User:bob}", "age") == b"30000"


# --- fairness --------------------------------------------------------------------------------


def fight(daemons):
    """A client of each computes from the state as fast as it can: how often each succeeded, and how
    often its daemon was late."""
    done, counts = threading.Event(), [0, 0]

    def work(number):
        with daemons[number].connect() as client:
            while not done.is_set():
                client.call("str.append", KEY, "bio", "x" if number else "y")
                counts[number] += 1
                if counts[number] % 50 == 0:
                    client.call("set", KEY, "bio", "")

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    wait_until(lambda: max(counts) > 150 and min(counts) > 50, timeout=60, what="changes of both")
    done.set()
    for thread in threads:
        thread.join()
    late = []
    for daemon in daemons:
        with daemon.connect() as client:
            late.append(client.call("admin.stats")["done_again"])
    return counts, late


def test_two_daemons_that_fight_for_a_document_take_turns(daemons, pair):
    """Of what each computes from the state at least a third is in time. (How much each does is a
    matter of how much it was let run.) Shows C10."""
    for count, late in zip(*fight(daemons)):
        assert late <= 2 * count


def test_a_link_that_is_slower_than_the_bound(redis_server, new_daemon, new_proxy):
    """A proof is older than the bound when it comes back; what was asked since is what counts. Shows C4."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(redis_server.address).connect() as near, \
            new_daemon(proxy.address, {"coherence.bound": "20ms"}).connect() as far:
        save_ada(near)
        far.call("doc.get", KEY)
        proxy.delay = 0.04
        before = far.call("admin.stats")["gaps"]
        for n in range(20):
            near.call("set", KEY, "age", n)
            time.sleep(0.021)  # the bound
            assert far.call("doc.load", KEY, "age") == n
        assert far.call("admin.stats")["gaps"] == before
        proxy.delay = 0


def test_who_is_far_from_redis_gets_its_turn(redis_server, new_daemon, new_proxy):
    """By chance it never would: whenever it has read, the other has written five times since. Shows C10."""
    proxy = new_proxy(redis_server.address)
    near, far = new_daemon(redis_server.address), new_daemon(proxy.address)
    with near.connect() as client, far.connect() as other:
        save_ada(client)
        assert other.call("doc.get", KEY)
    proxy.delay = 0.01
    counts, late = fight([near, far])
    assert late[1] <= 2 * counts[1], (counts, late)


# --- what is true in Redis, though it was not heard of yet --------------------------------------

ITEM = atomic("Part", field("t", "str"))
THING = atomic("Thing", field("n", "int", default=0), field("l", "list<int>"), field("d", "dict<int>"),
               field("s", "set<int>"), field("q", "sorted<str>"), field("parts", "list<Part>"),
               field("by", "dict<Part>"), field("x", "any", default=None), field("o", "optional<list<int>>"))
PART = {"@pk": "p", "t": "x"}


@pytest.mark.parametrize("content, change, question, answer", [
    ({}, ["dict.set", "d", "k", 1], ["dict.pop", "d", "k", 9], 1),
    ({}, ["list.append", "l", 1], ["list.remove", "l", 1], 1),
    ({}, ["list.append", "l", 1], ["list.remove_range", "l", 0, 9], 1),
    ({}, ["list.append", "l", 1], ["list.pop_many", "l", 1], [1]),
    ({}, ["set.add", "s", 1], ["set.remove", "s", 1], 1),
    ({"s": [1]}, ["set.remove", "s", 1], ["set.add", "s", 1], 1),
    ({}, ["sorted.push", "q", "a", 1], ["sorted.remove", "q", "a"], 1),
    ({}, ["sorted.push", "q", "a", 1], ["sorted.pop_min", "q", 1], [["a", 1]]),
    ({}, ["doc.ttl", 100], ["doc.persist"], True),
    ({"n": 3}, ["set", "n", 4], ["num.div", "n", 2], 2),
    ({"parts": [PART]}, ["list.pop", "parts"], ["list.append", "parts", PART], 1),
    ({}, ["list.append", "parts", PART], ["list.append", "parts", PART], "BAD_VALUE"),
    ({}, ["dict.set", "by", "a", PART], ["dict.set", "by", "b", PART], "BAD_VALUE"),
    ({"x": 1}, ["set", "x", [7]], ["list.pop", "x"], 7),
    ({}, ["set", "o", [7]], ["list.append", "o", 1], 2)], ids=lambda one: one[0] if isinstance(one, list) else "")
@pytest.mark.parametrize("in_pipeline", [False, True], ids=["", "in a pipeline"])
def test_it_is_true_where_nothing_was_heard(redis_server, new_daemon, new_proxy, content, change, question, answer,
                                            in_pipeline):
    """That nothing was there to change, and what is refused for what is there: as Redis has it. Shows C3."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(redis_server.address).connect() as one, \
            new_daemon(proxy.address, {"coherence.bound": "1h"}).connect() as other:
        for model in (ITEM, THING):
            one.call("define", model)
            other.call("define", model)
        one.call("doc.save", "Thing:1", content)
        other.call("doc.get", "Thing:1")
        proxy.delay = 0.05
        one.call(change[0], "Thing:1", *change[1:])
        method, *args = question
        if in_pipeline and not method.startswith("doc."):
            def ask():
                return other.call("pipeline", [[method, "Thing:1", *args]])[0]
        else:
            def ask():
                return other.call(method, "Thing:1", *args)
        if answer == "BAD_VALUE":
            with pytest.raises(RpcError, match="^BAD_VALUE"):
                ask()
        else:
            assert ask() == answer
        proxy.delay = 0
