"""The script of the leases (daemon/leases/lease.lua) alone, in a real Redis: daemons are played by names
and channels. What the answers and messages are is written at its head."""

import os
import time

import msgpack
import pytest

from daemon_process import REPOSITORY
from rpc_client import wait_until

SCRIPT = ""
# As daemon/CMakeLists.txt puts them together:
for part in "redis/lease_text.lua", "redis/lease_term.lua", "leases/lease.lua":
    with open(os.path.join(REPOSITORY, "daemon", part), encoding="utf-8") as file:
        SCRIPT += file.read()

LEASE = 60_000  # ms: longer than any test here
LOCK = ("User:ada", "", "edit")


def lock_name(kind, lock):
    key, path, action = lock
    return f"rapyer:@{kind}:{{{key}}}/{path}!{action}"


def await_end(rdb, lock=LOCK):
    """Until no lease counts any more."""
    wait_until(lambda: all(int(lease.split()[2]) <= rdb.time()[0] * 1000
                           for lease in rdb.hvals(lock_name("lock", lock))), what="the end of the lease")


class Host:
    """One daemon: what it asks, what it is told, and the leases it counts on."""

    def __init__(self, rdb, name, listens=True, lease=LEASE):
        self.rdb = rdb
        self.name = name
        self.lease = lease
        self.floor = 0
        self.have = {}  # lock -> (mode, fence, expiry)
        self.channel = rdb.pubsub()
        if listens:
            self.listen()

    def listen(self):
        self.channel.subscribe(f"rapyer:@bus:{self.name}")
        assert self.channel.get_message(timeout=5)["type"] == "subscribe"

    def ask(self, *operations):
        """operations: (word, mode, lock, last fence given). The answers."""
        keys, words = ["rapyer:@fence"], [self.name, self.lease, self.floor, "rapyer:@bus:"]
        for word, mode, lock, last in operations:
            have, fence, expiry = self.have.get(lock, ("-", 0, 0))
            keys += [lock_name("lock", lock), lock_name("lockq", lock)]
            words += [word, mode, have, fence, expiry, last, *lock]
        answers = [[part.decode() if isinstance(part, bytes) else part for part in answer]
                   for answer in self.rdb.eval(SCRIPT, len(keys), *keys, *words)]
        for (word, _, lock, _), answer in zip(operations, answers):
            if answer[0] == "held":
                self.floor = max(self.floor, answer[2], answer[4])
                self.have[lock] = tuple(answer[1:4])
            elif answer[0] == "lost" or word == "drop":
                self.have.pop(lock, None)
        return answers

    def do(self, word, mode="-", lock=LOCK, last=0):
        return self.ask((word, mode, lock, last))[0]

    def take(self, mode="x", lock=LOCK):
        return self.do("take", mode, lock)

    def holds(self, answer, mode="x"):
        assert answer[:2] == ["held", mode], answer
        return answer[2]

    def told(self):
        """The messages since the last call, without the lock's name where it is LOCK."""
        messages = []
        self.channel.ping()  # answered behind what was sent before
        while (message := self.channel.get_message(timeout=5))["type"] != "pong":
            content = msgpack.unpackb(message["data"])
            assert tuple(content[1:4]) == LOCK
            messages.append([content[0], *content[4:]])
        return messages


@pytest.fixture
def hosts(rdb):
    made = []

    def new(name, **options):
        made.append(Host(rdb, name, **options))
        return made[-1]

    yield new
    for host in made:
        host.channel.close()


@pytest.fixture
def pair(hosts):
    return hosts("A"), hosts("B")


def leases(rdb, lock=LOCK):
    return {name.decode(): value.decode().split()[0]
            for name, value in rdb.hgetall(lock_name("lock", lock)).items() if name != b"@last"}


def queue(rdb, lock=LOCK):
    return [member.decode() for member in rdb.zrange(lock_name("lockq", lock), 0, -1)]


# Taking, waiting, giving up


def test_a_lease_is_for_one_and_is_handed_on(pair, rdb):
    a, b = pair
    first = a.holds(a.take())
    queued, ms, *who = b.take()
    assert (queued, who) == ("queued", ["A"]) and LEASE - 2000 < ms <= LEASE
    assert a.told() == [["wanted", "x"]]
    assert queue(rdb) == ["x B"]
    assert a.do("drop", last=first + 7) == ["free"]
    assert b.told() == [["granted", "x"]]
    assert leases(rdb) == {"B": "x"} and queue(rdb) == []
    assert b.holds(b.take()) > first + 7
    assert a.take()[0] == "queued"


def test_names_do_not_exclude_each_other(pair):
    a, b = pair
    for lock in (LOCK, ("User:ada", "", "read"), ("User:ada", "posts", "edit"), ("User:bob", "", "edit")):
        a.holds(a.take(lock=lock))
        assert b.take(lock=lock)[0] == "queued"
    assert b.take(lock=("User:ada", "post", "edit"))[0] == "held"


def test_asking_again_changes_nothing(pair, rdb):
    a, b = pair
    first = a.holds(a.take())
    a.have.clear()  # the answer was lost
    again = a.holds(a.take())
    assert again > first  # commits under the lost one are not let through
    for _ in range(3):
        assert b.take()[0] == "queued"
    assert queue(rdb) == ["x B"]
    assert a.do("drop") == ["free"] and a.do("drop") == ["free"]
    b.holds(b.take())


def test_readers_share_and_do_not_overtake(hosts, rdb):
    a, b, c, d = (hosts(name) for name in "ABCD")
    a.holds(a.take("s"), "s")
    b.holds(b.take("s"), "s")
    assert c.take("x")[0] == "queued"
    assert a.told() == b.told() == [["wanted", "x"]]
    assert d.take("s")[0] == "queued"
    assert queue(rdb) == ["x C", "s D"]
    a.do("drop")
    assert leases(rdb) == {"B": "s"}
    b.do("drop")
    assert leases(rdb) == {"C": "x"}
    assert c.told() == [["granted", "x"]]
    assert d.told()[-1] == ["moved", 1000, "C"]
    c.holds(c.take())
    c.do("drop")
    assert d.told() == [["granted", "s"]]


def test_readers_behind_each_other_are_served_together(hosts, rdb):
    a, b, c, d, e = (hosts(name) for name in "ABCDE")
    a.holds(a.take())
    for host, mode in ((b, "s"), (c, "s"), (d, "x"), (e, "s")):
        assert host.take(mode)[0] == "queued"
    a.do("drop")
    assert leases(rdb) == {"B": "s", "C": "s"}
    assert queue(rdb) == ["x D", "s E"]
    kind, ms, *who = d.told()[-1]
    assert (kind, sorted(who)) == ("moved", ["B", "C"]) and ms <= 1000


def test_who_gives_up_and_waits_again_is_last(hosts, rdb):
    a, b, c = (hosts(name) for name in "ABC")
    a.holds(a.take())
    b.take()
    c.take()
    assert a.do("drop", "x")[0] == "queued"
    assert queue(rdb) == ["x C", "x A"]
    b.holds(b.take())
    assert b.do("drop", "x")[0] == "queued"
    assert queue(rdb) == ["x A", "x B"]


def test_who_gives_up_and_nobody_waits_has_it_again(pair):
    a, _ = pair
    first = a.holds(a.take())
    assert a.holds(a.do("drop", "x")) > first


def test_a_try_takes_no_place(pair, rdb):
    a, b = pair
    a.holds(a.take())
    assert b.do("try", "x")[0] == "queued"
    assert queue(rdb) == [] and a.told() == []
    a.do("drop")
    b.holds(b.do("try", "x"))


def test_leaving_the_queue_lets_others_pass(hosts, rdb):
    a, b, c = (hosts(name) for name in "ABC")
    a.holds(a.take("s"), "s")
    b.take("x")
    c.take("s")
    assert b.do("leave") == ["free"]
    assert leases(rdb) == {"A": "s", "C": "s"} and queue(rdb) == []
    assert c.told()[-1] == ["granted", "s"]


def test_another_mode_keeps_the_place(hosts, rdb):
    a, b, c = (hosts(name) for name in "ABC")
    a.holds(a.take())
    b.take("x")
    c.take("x")
    b.take("s")
    assert queue(rdb) == ["s B", "x C"]


def test_asking_again_keeps_the_place(hosts, rdb):
    a, b, c = (hosts(name) for name in "ABC")
    a.holds(a.take())
    for host in (b, c, b, b):
        host.take()
    assert queue(rdb) == ["x B", "x C"]


def test_an_offer_that_is_too_little_is_not_kept(hosts, rdb):
    a, b, c = (hosts(name) for name in "ABC")
    a.holds(a.take())
    b.take("s")
    c.take("s")
    a.do("drop")
    c.holds(c.take("s"), "s")
    assert b.take("x")[0] == "queued"
    assert leases(rdb) == {"C": "s"}


# Dead and deaf


def test_who_does_not_listen_is_passed_over(hosts, rdb):
    a, dead, c = hosts("A"), hosts("dead", listens=False), hosts("C")
    a.holds(a.take())
    dead.take()
    c.take()
    a.do("drop")
    assert leases(rdb) == {"C": "x"} and queue(rdb) == []


def test_the_dead_do_not_keep_a_free_lock(hosts, rdb):
    a, dead, c = hosts("A", lease=300), hosts("dead", listens=False), hosts("C")
    a.holds(a.take())
    dead.take()
    await_end(rdb)
    c.holds(c.take())
    assert queue(rdb) == []


def test_who_waits_and_listens_comes_before_who_asks_when_it_has_run_out(hosts, rdb):
    a, b, c = hosts("A", lease=300), hosts("B"), hosts("C")
    a.holds(a.take())
    b.take()
    await_end(rdb)
    assert c.take()[:1] + c.take()[2:] == ["queued", "B"]
    assert b.told() == [["granted", "x"]]
    b.holds(b.take())


def test_an_offer_that_is_not_taken_runs_out(hosts):
    a, frozen, c = (hosts(name) for name in "ABC")
    a.holds(a.take())
    frozen.take()
    c.take()
    a.do("drop")
    kind, ms, who = c.told()[-1]
    assert (kind, who) == ("moved", "B") and ms <= 1000
    started = time.monotonic()
    wait_until(lambda: c.take()[0] == "held", what="the end of the offer")
    assert 0.5 < time.monotonic() - started < 5
    # It wakes up: the offer is void.
    assert frozen.do("keep", "-")[0] == "lost"
    assert frozen.take()[0] == "queued"


def test_a_lease_ends_when_it_is_not_renewed(pair, rdb):
    a, b = pair
    a.lease = 400
    fence = a.holds(a.take())
    _, ms, who = b.take()
    assert who == "A" and ms <= 400
    deadline = time.monotonic() + 0.9
    while time.monotonic() < deadline:
        assert a.do("keep")[:3] == ["held", "x", fence]
        assert b.take()[0] == "queued"
    wait_until(lambda: b.take()[0] == "held", what="the end of the lease")
    assert a.do("keep")[0] == "lost"
    assert leases(rdb) == {"B": "x"}


def stored(rdb, lock=LOCK):
    """What lies in Redis: daemon -> [mode, fence, expiry, length]."""
    return {name.decode(): value.decode().split()
            for name, value in rdb.hgetall(lock_name("lock", lock)).items()}


def put(rdb, who, *words, lock=LOCK):
    rdb.hset(lock_name("lock", lock), who, " ".join(str(word) for word in words))


def now(rdb):
    seconds, us = rdb.time()
    return seconds * 1000 + us // 1000


@pytest.mark.parametrize("ahead", [LEASE + 1, 3_600_000, 2 ** 52, 10 ** 400])
def test_a_lease_that_would_count_for_longer_than_its_length(pair, rdb, ahead):
    """The clock was set back: it counts from now on, once."""
    a, b = pair
    a.holds(a.take())
    mode, fence, _, length = stored(rdb)["A"]
    put(rdb, "A", mode, fence, now(rdb) + ahead, length)
    what, ms, who = b.take()
    assert (what, who) == ("queued", "A") and LEASE - 1000 < ms <= LEASE
    seen = stored(rdb)["A"]
    assert int(seen[2]) <= now(rdb) + LEASE
    b.take()
    assert stored(rdb)["A"] == seen


def test_a_lease_that_is_over_and_nobody_took(pair, rdb):
    """The clock was set forward."""
    a, b = pair
    a.holds(a.take())
    mode, fence, _, length = stored(rdb)["A"]
    put(rdb, "A", mode, fence, now(rdb) - 3_600_000, length)
    assert a.do("keep")[:3] == ["held", "x", int(fence)]
    assert b.take()[0] == "queued"
    put(rdb, "A", mode, fence, now(rdb) - 3_600_000, length)
    b.holds(b.take())
    assert a.do("keep")[0] == "lost"
    assert list(stored(rdb)) == ["B"]


@pytest.mark.parametrize("text", [
    "", "x", "x 1 2", "x 1 2 3 4", "y 1 2 3", "x -1 2 3", "x 1 2 -3", "x 1e3 2 3", "x 1.5 9e99 3",
    f"x {2 ** 53} 9000000000000 1000", f"x {10 ** 300} 9000000000000 1000",
    f"x 1 9000000000000 {3_600_001}", f"x 1 9000000000000 {10 ** 400}", "\0" * 100, "x" * 100_000])
def test_what_is_no_lease_is_in_nobodys_way(pair, rdb, text):
    a, _ = pair
    rdb.hset(lock_name("lock", LOCK), "who", text)
    rdb.hset(lock_name("lock", LOCK), "@last", text)
    a.holds(a.take())
    assert list(stored(rdb)) == ["A"]


@pytest.mark.parametrize("fence", [2 ** 53 - 1, 2 ** 60, "1e300", "inf", "nan"])
def test_fences_that_cannot_go_on_are_an_error(pair, rdb, fence):
    a, _ = pair
    rdb.set("rapyer:@fence", fence)
    what, why = a.take()
    assert what == "error" and "rapyer:@fence" in why
    assert rdb.get("rapyer:@fence") == str(fence).encode()
    rdb.set("rapyer:@fence", "what")
    assert a.take()[0] == "held"


def test_nothing_is_left_in_redis(hosts, rdb):
    a, dead = hosts("A", lease=200), hosts("dead", listens=False, lease=200)
    a.holds(a.take())
    dead.take()
    for key in rdb.keys("rapyer:@lock*"):  # should neither be heard of again
        assert 0 < rdb.pttl(key) <= 24 * 60 * 60 * 1000
    await_end(rdb)
    b = hosts("B", lease=200)
    b.holds(b.take())
    b.do("drop")
    wait_until(lambda: rdb.keys("rapyer:*") == [b"rapyer:@fence"], what="an empty Redis")


# Renewing


def test_many_locks_in_one_request(pair):
    a, b = pair
    names = [(f"User:{i}", "", "edit") for i in range(100)]
    answers = a.ask(*(("take", "x", lock, 0) for lock in names))
    fences = [answer[2] for answer in answers]
    assert len(set(fences)) == 100 and all(answer[0] == "held" for answer in answers)
    b.take("s", names[7])
    b.do("break", lock=names[9])
    answers = a.ask(*(("keep", "-", lock, 0) for lock in names))
    assert [answer[0] for answer in answers] == ["held"] * 9 + ["lost"] + ["held"] * 90
    assert [answer[5] for answer in answers if answer[0] == "held"] == [""] * 7 + ["s"] + [""] * 91
    assert [a.have[lock][1] for lock in names if lock in a.have] == fences[:9] + fences[10:]


def test_what_redis_forgot_is_taken_again_with_its_fence(pair, rdb):
    a, b = pair
    fence = a.holds(a.take())
    rdb.flushall()
    assert a.do("keep", last=fence + 3)[:3] == ["held", "x", fence]
    assert b.take()[0] == "queued"
    a.do("drop", last=fence + 3)
    assert b.holds(b.take()) > fence + 3


def test_what_another_took_is_not_taken_again(pair, rdb):
    a, b = pair
    a.holds(a.take())
    rdb.flushall()
    b.holds(b.take())
    assert a.do("keep") == ["lost", "B"]


def test_what_another_had_and_gave_up_is_not_taken_again(pair, rdb):
    a, b = pair
    a.holds(a.take())
    rdb.flushall()
    b.holds(b.take())
    b.do("drop")
    assert a.do("keep") == ["lost", ""]


def test_a_renewal_that_comes_too_late_is_void(pair, rdb):
    a, b = pair
    a.lease = b.lease = 200
    a.holds(a.take())
    wait_until(lambda: b.take()[0] == "held", what="the end of the lease")
    b.do("drop")
    wait_until(lambda: not rdb.exists(lock_name("lock", LOCK)), what="an empty Redis")
    assert a.do("keep") == ["lost", ""]


def test_readers_take_again_together(pair, rdb):
    a, b = pair
    a.holds(a.take("s"), "s")
    b.holds(b.take("s"), "s")
    rdb.flushall()
    assert a.do("keep")[0] == b.do("keep")[0] == "held"
    assert leases(rdb) == {"A": "s", "B": "s"}


# From one mode to the other


def test_readers_let_readers_in(pair, rdb):
    a, b = pair
    fence = a.holds(a.take("x"))
    assert b.take("s")[0] == "queued"
    assert a.told() == [["wanted", "s"]]
    assert a.do("share")[:3] == ["held", "s", fence]
    assert b.told() == [["granted", "s"]]
    b.holds(b.take("s"), "s")
    assert leases(rdb) == {"A": "s", "B": "s"}
    assert a.do("keep")[:3] == ["held", "s", fence]


def test_a_reader_that_wants_to_write_keeps_its_fence_and_grants_higher_ones(pair, rdb):
    a, b = pair
    fence = a.holds(a.take("s"), "s")
    other = b.holds(b.take("s"), "s")
    assert a.take("x")[0] == "queued"
    assert leases(rdb) == {"A": "s", "B": "s"}
    assert b.told() == [["wanted", "x"]]
    b.do("drop", last=other + 5)
    assert a.told() == [["granted", "x"]]
    # It counts on its lease for that long, though it has not taken the offer yet.
    ends = int(rdb.hget(lock_name("lock", LOCK), "A").split()[2])
    assert ends == a.have[LOCK][2]
    held, mode, same, _, first, _ = a.take("x")
    assert (held, mode, same) == ("held", "x", fence) and first > other + 5


def test_a_renewal_finds_what_was_granted_meanwhile(pair):
    a, b = pair
    fence = a.holds(a.take("s"), "s")
    b.holds(b.take("s"), "s")
    a.take("x")
    b.do("drop")
    held, mode, same, _, first, _ = a.do("keep")
    assert (held, mode, same) == ("held", "x", fence) and first > fence


def test_two_readers_that_want_to_write_both_get_it(pair, rdb):
    a, b = pair
    a.holds(a.take("s"), "s")
    b.holds(b.take("s"), "s")
    a.take("x")
    b.take("x")
    assert b.do("drop", "x")[0] == "queued"
    assert queue(rdb) == ["x B"]
    a.holds(a.take("x"))
    a.do("drop")
    b.holds(b.take("x"))


def test_a_reader_that_gives_up_to_write_keeps_its_place(hosts, rdb):
    a, b, c = (hosts(name) for name in "ABC")
    a.holds(a.take("s"), "s")
    b.holds(b.take("s"), "s")
    a.take("x")
    c.take("x")
    assert a.do("drop", "x")[0] == "queued"
    assert queue(rdb) == ["x A", "x C"]


def test_a_reader_whose_lease_is_lost_does_not_write_on_it(pair, rdb):
    a, _ = pair
    a.holds(a.take("s"), "s")
    rdb.flushall()
    assert a.take("x") == ["lost", ""]
    a.holds(a.take("x"))


# Fences


def test_fences_never_go_back(pair, rdb, redis_server):
    a, b = pair
    seen = []

    def pass_on(host, other, extra=0):
        seen.append(host.holds(host.take()) + extra)
        host.do("drop", last=seen[-1])
        host.told()
        other.told()

    pass_on(a, b)
    pass_on(b, a, extra=1000)
    pass_on(a, b, extra=10 ** 12)  # far ahead of the clock
    pass_on(b, a)
    rdb.delete("rapyer:@fence")
    pass_on(b, a)
    rdb.flushall()
    pass_on(b, a)
    pass_on(a, b)
    assert seen == sorted(set(seen)), seen


def test_fences_rise_over_a_restart_that_forgets_all(hosts, redis_server):
    fences = []
    for _ in range(3):
        with redis_server.client() as rdb:
            host = Host(rdb, "A")
            fences.append(host.holds(host.take()))
            host.channel.close()
        redis_server.restart()
    assert fences == sorted(set(fences))


def test_readers_elsewhere_do_not_share_fences(pair):
    a, b = pair
    assert a.holds(a.take("s"), "s") != b.holds(b.take("s"), "s")


# Breaking


def test_breaking_takes_it_from_all_others(hosts, rdb):
    a, b, c = (hosts(name) for name in "ABC")
    fence = a.holds(a.take("s"), "s")
    b.holds(b.take("s"), "s")
    assert c.take("x")[0] == "queued"
    for host in (a, b, c):
        host.told()
    assert c.do("break") == ["broke", 2]
    assert a.told() == [["broken", fence]]
    assert c.told() == [["granted", "x"]]
    # The message may be lost: the renewal says it as well.
    assert a.do("keep")[0] == b.do("keep")[0] == "lost"
    c.holds(c.take())
    assert c.do("break") == ["broke", 0]
    assert c.do("keep")[0] == "held"


def test_what_was_broken_is_not_taken_again_by_a_renewal(pair, rdb):
    a, b = pair
    a.holds(a.take())
    assert b.do("break") == ["broke", 1]
    assert leases(rdb) == {}
    assert a.do("keep") == ["lost", ""]
    assert b.holds(b.take())


# Trouble


def test_a_full_redis_still_gives_leases(pair, rdb):
    a, b = pair
    rdb.config_set("maxmemory", 1)
    try:
        with pytest.raises(Exception, match="OOM|maxmemory"):
            rdb.set("rapyer:x", 1)
        fence = a.holds(a.take())
        assert b.take()[0] == "queued"
        assert a.do("keep")[:3] == ["held", "x", fence]
        assert a.do("drop") == ["free"]
        b.holds(b.take())
    finally:
        rdb.config_set("maxmemory", 0)


def test_a_key_of_the_wrong_type_is_no_concern_of_other_locks(pair, rdb):
    a, _ = pair
    spoilt = ("User:bad", "", "edit")
    rdb.set(lock_name("lock", spoilt), "x")
    rdb.hset(lock_name("lock", LOCK), "junk", "junk")
    answers = a.ask(("take", "x", spoilt, 0), ("take", "x", LOCK, 0))
    assert answers[0][0] == "error" and "WRONGTYPE" in answers[0][1]
    assert answers[1][0] == "held"


def test_a_replica_refuses(pair, rdb):
    a, _ = pair
    rdb.replicaof("127.0.0.1", 1)
    answer = a.take()
    assert answer[0] == "error" and "READONLY" in answer[1]
