"""Unique fields in a cluster, where a value has a slot of its own and is claimed there before the commit: no two
documents have the same value, whatever moves, fails over or is killed, and nothing but a document that has it
refuses a value for long."""

import bisect
import itertools
import math
import os
import random
import signal
import threading
import time

import pytest

from cluster_storm import Tireless
from index_oracle import View
from models import atomic, field
from redis_cluster import reshard, slot_of, slot_of_document
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_unique import without_conflict

FULL = os.environ.get("RAPYER_FULL")
FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "20ms"}
MEMBER = atomic("Member", field("email", "optional<str>", default=None, unique=True),
                field("number", "optional<int>", default=None, unique=True), field("note", "str", default=""))
CLAIM, NULL = b"rapyer:@unique:Member/", b"\xc0"


def holders(view, name="email"):
    """value -> the pks of the documents that have it."""
    found = {}
    for key in view.keys(b"rapyer:{*Member:*"):
        value = view.hget(key, name)
        if value not in (None, NULL) and b"/" not in key:
            found.setdefault(value, []).append(key.rpartition(b"Member:")[2].rstrip(b"}"))
    return found


def claims(view, name="email"):
    """value -> the pk of whom it is claimed for."""
    head = CLAIM + name.encode() + b"="
    found = {key[len(head):]: view.get(key) for key in view.keys(head + b"*")}
    return {value: is_of.split(b" ", 1)[1].rpartition(b"}")[2] for value, is_of in found.items() if is_of}


def check(cluster, name="email", exact=True):
    """Each value has one holder, which has the claim; with nothing left over, after a moment."""
    view = View(cluster)
    have = holders(view, name)
    assert all(len(pks) == 1 for pks in have.values()), have
    have = {value: pks[0] for value, pks in have.items()}
    if exact:
        wait_until(lambda: claims(view, name) == have, what="claims that are let go")
    assert have.items() <= claims(view, name).items()
    return have


@pytest.fixture
def members(calm_cluster, new_daemon):
    with new_daemon(calm_cluster.address).connect() as client:
        client.call("define", MEMBER)
        yield client


@pytest.mark.parametrize("call", [
    ("doc.save", "Member:2", {"email": "a@b"}),
    ("doc.insert", [["Member:{t}3", {"email": "x"}], ["Member:{t}4", {"email": "a@b"}]]),
    ("doc.get_or_create", "Member:5", {"email": "a@b"}),
    ("set", "Member:other", "email", "a@b"),
    ("str.append", "Member:half", "email", "@b"),
    ("pipeline", [["set", "Member:other", "note", "n"], ["set", "Member:other", "email", "a@b"]]),
    ("doc.save", "Member:new", {"email": "fresh", "number": 7}),
])
def test_conflict(members, calm_cluster, call):
    """Refused as a whole, by a text that says all; and what was claimed with it is let go."""
    members.call("doc.save", "Member:1", {"email": "a@b", "number": 7})
    for key, value in (("Member:other", "c"), ("Member:half", "a")):
        members.call("doc.save", key, {"email": value})
    before = holders(View(calm_cluster))
    text = refused(members, "CONFLICT", *call)
    assert "is unique, and '" in text and "that of Member:1;" in text
    assert holders(View(calm_cluster)) == before
    check(calm_cluster)
    check(calm_cluster, "number")


def test_what_is_no_conflict(members, calm_cluster):
    without_conflict(members, "Member:{x}5")
    one, two = "h" * 64 + "1" * 50 + "t" * 48, "h" * 64 + "2" * 50 + "t" * 48
    members.call("doc.save", "Member:6", {"email": one})
    members.call("doc.save", "Member:7", {"email": two})
    refused(members, "CONFLICT", "doc.save", "Member:8", {"email": two})
    members.call("doc.delete", "Member:6")
    members.call("doc.delete", "Member:7")
    assert not View(calm_cluster).keys(CLAIM + b"email#*")
    assert check(calm_cluster) == {b"a": b"5", b"b": b"1"}


def test_numbers_and_documents_of_one_slot(members, calm_cluster):
    members.call("doc.insert", [["Member:{t}1", {"number": 1}], ["Member:{t}5", {"number": 5}]])
    assert "'5' is that of Member:{t}5" in refused(members, "CONFLICT", "num.incr", "Member:{t}1", "number", 4)
    assert members.call("num.incr", "Member:{t}1", "number", 3) == 4
    refused(members, "CONFLICT", "doc.insert", [["Member:{t}6", {"number": 6}], ["Member:{t}7", {"number": 6}]])
    sent = [members.send("doc.save", f"Member:{{t}}{i}", {"number": 9}) for i in range(10, 20)]
    outcomes = [outcome(members, request) for request in sent]
    assert sorted(outcomes) == ["CONFLICT"] * 9 + ["won"]
    assert len(check(calm_cluster, "number")) == 3


def test_under_a_lock(members, calm_cluster):
    for key, value in (("Member:1", "a"), ("Member:2", "b")):
        members.call("doc.save", key, {"email": value})
    token = members.call("lock.acquire", "Member:2", "x")["token"]
    refused(members, "CONFLICT", "pipeline", [["set", "Member:2", "email", "a"]], {"lock": token})
    members.call("pipeline", [["set", "Member:2", "email", "c"]], {"lock": token})
    version = members.call("doc.get", "Member:2", {"version": True})["@v"]
    assert "expected" in refused(members, "CONFLICT", "pipeline", [["set", "Member:2", "email", "e"]],
                                 {"lock": token, "if_version": version - 1})
    refused(members, "CONFLICT", "lock.release", token, [["set", "Member:2", "email", "a"]])
    members.call("lock.release", token, [["set", "Member:2", "email", "d"]])
    assert check(calm_cluster, exact=False) == {b"a": b"1", b"d": b"2"}


def test_many_values_of_one_commit(members, calm_cluster):
    """Claimed some at a time, and each is let go."""
    n = 1000 if FULL else 500
    members.call("doc.insert", [[f"Member:{{t}}{i}", {"number": i}] for i in range(n)])
    refused(members, "CONFLICT", "doc.insert", [[f"Member:{{s}}{i}", {"number": i}] for i in range(n - 1, 2 * n)])
    assert len(check(calm_cluster, "number")) == n
    members.call("doc.delete", *(f"Member:{{t}}{i}" for i in range(n)))
    wait_until(lambda: not View(calm_cluster).keys(CLAIM + b"*"), what="claims that are let go")


def outcome(client, request):
    try:
        client.wait(request)
        return "won"
    except RpcError as error:
        return error.code


@pytest.mark.parametrize("left", [b"0 ghost", b"7 other", b"0 1"])
def test_what_is_left_over_refuses_nothing(members, calm_cluster, left):
    """Of a daemon that was killed between the claim and the commit, of a document that has ended by itself."""
    for pk in ("1", "other"):
        members.call("doc.save", f"Member:{pk}", {"note": pk})
    View(calm_cluster).set(CLAIM + b"email=a", left)
    members.call("doc.save", "Member:2", {"email": "a"})
    members.call("doc.save", "Member:3", {"email": "b"})
    members.call("doc.ttl", "Member:3", 1)
    view = View(calm_cluster)
    view.pexpire(b"rapyer:{Member:3}", 1)
    wait_until(lambda: not view.exists(b"rapyer:{Member:3}"))
    members.call("set", "Member:1", "email", "b")
    assert check(calm_cluster) == {b"a": b"2", b"b": b"1"}


def test_a_spoilt_claim_is_told(members, calm_cluster):
    view = View(calm_cluster)
    view.hset(CLAIM + b"email=a", "x", "y")
    assert "Member.email" in refused(members, "CORRUPT", "doc.save", "Member:1", {"email": "a"})
    view.unlink(CLAIM + b"email=a")
    members.call("doc.save", "Member:1", {"email": "a"})


def test_claims_are_checked(members, calm_cluster):
    """What is left over goes when it is asked for; what another program has written, or Redis has lost, is claimed."""
    long = "x" * 200
    for i, value in enumerate(["a", "b", long]):
        members.call("doc.save", f"Member:{{t}}{i}", {"email": value, "number": i})
    view = View(calm_cluster)
    found = members.call("index.check", "Member")
    assert (found["documents"], found["missing"], found["left_over"]) == (3, 0, 0)
    view.unlink(CLAIM + b"email=b")
    for key, value in ((b"email=c", b"0 ghost"), (b"email=d", b"3 {t}0"), (b"email#" + b"0" * 64, b"9 {t}1"), (b"email=e", b"?")):
        view.set(CLAIM + key, value)
    for repair in (False, True):
        found = members.call("index.check", "Member", {"repair": repair})
        assert (found["missing"], found["left_over"], found["spoilt"]) == (1, 3, ["rapyer:@unique:Member/email=e"])
    found = members.call("index.check", "Member")
    assert (found["missing"], found["left_over"], found["spoilt"]) == (0, 0, [])
    refused(members, "CONFLICT", "doc.save", "Member:9", {"email": "b"})
    members.call("doc.save", "Member:9", {"email": "d"})
    members.call("doc.delete", "Member:{t}2")
    assert check(calm_cluster) == {b"a": b"0", b"b": b"1", b"d": b"9"}


def test_a_spoilt_epoch_is_told(members, calm_cluster):
    """At once, whether it is that of the document or of whoever has the claim."""
    view = View(calm_cluster)
    epoch = b"rapyer:@unique{a}"
    for spoil in (lambda: view.set(epoch, "x"), *(lambda text=text: view.hset(epoch, "@v", text) for text in
                                                  ("", "abc", "1e+20", "-1", "007", "9" * 20))):
        spoil()
        assert "Member.email" in refused(members, "CORRUPT", "doc.save", "Member:{a}1", {"email": "a"})
        view.set(CLAIM + b"email=b", b"0 {a}1")
        refused(members, "CORRUPT", "doc.save", "Member:other", {"email": "b"})
        view.unlink(epoch)
    members.call("doc.save", "Member:{a}1", {"email": "a"})
    members.call("doc.save", "Member:other", {"email": "b"})
    view.set(CLAIM + b"email=c", b"9" * 20 + b" {a}1")
    refused(members, "CORRUPT", "doc.save", "Member:other", {"email": "c"})
    assert members.call("index.check", "Member", {"repair": True})["spoilt"]
    members.call("doc.save", "Member:other", {"email": "c"})
    assert check(calm_cluster) == {b"a": b"1", b"c": b"other"}


def test_zeros(members, calm_cluster):
    """Of numbers there is one, of texts two."""
    members.call("define", atomic("Zero", field("text", "optional<str>", default=None, unique=True),
                                  field("real", "optional<float>", default=None, unique=True)))
    members.call("doc.save", "Zero:{t}1", {"text": "0", "real": 0.0})
    members.call("doc.save", "Zero:2", {"text": "-0"})
    refused(members, "CONFLICT", "doc.save", "Zero:3", {"real": -0.0})
    members.call("doc.delete", "Zero:{t}1")
    refused(members, "CONFLICT", "doc.insert", [["Zero:{u}5", {"real": 0.0}], ["Zero:{u}6", {"real": -0.0}]])
    members.call("doc.insert", [["Zero:{u}5", {"text": "0"}], ["Zero:{u}6", {"real": -0.0}]])


def test_two_daemons_race(calm_cluster, new_daemon):
    daemons = [new_daemon(calm_cluster.address) for _ in range(2)]
    clients = [daemons[i % 2].connect() for i in range(4)]
    for client in clients:
        client.call("define", MEMBER)
    values, won = range(1000 if FULL else 60), [None] * 4

    def one(number):
        sent = [(value, clients[number].send("doc.save", f"Member:{number}-{value}", {"email": str(value)}))
                for value in values]
        won[number] = {value: outcome(clients[number], request) for value, request in sent}

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for value in values:
        assert sorted(outcomes[value] for outcomes in won) == ["CONFLICT"] * 3 + ["won"], value
    assert len(check(calm_cluster, exact=False)) == len(values)
    for client in clients:
        client.close()


def on_the_move(cluster, slot, is_so):
    source = cluster.agreed_owner(slot)
    target = next(node for node in cluster.masters if node is not source)
    target.ask("CLUSTER", "SETSLOT", slot, *(["IMPORTING", source.id] if is_so else ["STABLE"]))
    source.ask("CLUSTER", "SETSLOT", slot, *(["MIGRATING", target.id] if is_so else ["STABLE"]))


@pytest.mark.parametrize("pk, meanwhile", [("1", False), ("new", False), ("new", True)])
def test_who_stood_still_behind_its_claim(calm_cluster, new_daemon, pk, meanwhile):
    """Its commit comes when another one has the value by then, and is refused; also where the document had it meanwhile,
    and is gone again."""
    one, two = (new_daemon(calm_cluster.address, {**FAST, "commit.queue_time": "60s"}) for _ in range(2))
    key, view = f"Member:{{t}}{pk}", View(calm_cluster)
    slot = slot_of_document(key)
    with one.connect() as slow, two.connect() as other:
        for client in (slow, other):
            client.call("define", MEMBER)
        slow.call("doc.save", "Member:{t}1", {"email": "old"})
        slow.call("doc.exists", key)
        on_the_move(calm_cluster, slot, True)
        try:
            sent = slow.send("doc.save", key, {"email": "a"})
            wait_until(lambda: view.get(CLAIM + b"email=a"), what="the claim")
            one.process.send_signal(signal.SIGSTOP)
        finally:
            on_the_move(calm_cluster, slot, False)
        try:
            if meanwhile:
                other.call("doc.save", key, {"email": "a"})
                other.call("doc.delete", key)
            other.call("doc.save", "Member:2", {"email": "a"})
        finally:
            one.process.send_signal(signal.SIGCONT)
        with pytest.raises(RpcError, match="^CONFLICT: .*'a' is that of Member:2;"):
            slow.wait(sent)
        assert check(calm_cluster, exact=False)[b"a"] == b"2"


# --- many at once, while all goes wrong that can -----------------------------------------------

VALUES = [f"v{i}" for i in range(6)]
KEYS = [f"Member:{i}" for i in range(8)] + [f"Member:{{t}}x{i}" for i in range(4)]
CODES = ("CONFLICT", "NOT_FOUND", "BUSY", "UNAVAILABLE", "UNKNOWN_OUTCOME", "NOT_DURABLE")


class Write:
    """`value` None: none, or the document was deleted. `is_there`: it was acknowledged; None: it may be there, or be
    yet."""

    def __init__(self, key, value):
        self.key, self.value, self.is_there, self.holder = key, value, None, None
        self.began, self.ended = time.monotonic(), math.inf


class Rival(Tireless):
    def __init__(self, daemon, seed):
        super().__init__(daemon)
        self.random, self.writes, self.codes = random.Random(seed), [], set()

    def write(self, client):
        r, key = self.random, self.random.choice(KEYS)
        value = r.choice([None, *VALUES])
        call = r.choice([("doc.save", key, {"email": value}), ("set", key, "email", value)])
        if r.random() < 0.1:
            call, value = ("doc.delete", key), None
        write = Write(key, value)
        self.writes.append(write)
        try:
            client.call(*call)
            write.is_there = True
        except RpcError as error:
            self.codes.add(error.code)
            assert error.code in CODES, error
            if error.code not in ("UNKNOWN_OUTCOME", "NOT_DURABLE"):
                write.is_there = False
            if error.code == "CONFLICT":
                write.holder = str(error).partition("is that of ")[2].partition(";")[0]
        if write.is_there is not None:
            write.ended = time.monotonic()


def overs(writes):
    """Of the writes of one document: when each was certainly followed by another one."""
    sure = sorted((w for w in writes if w.is_there), key=lambda w: w.began)
    earliest = list(itertools.accumulate((w.ended for w in reversed(sure)), min, initial=math.inf))[::-1]
    begins = [w.began for w in sure]
    return {w: earliest[bisect.bisect_right(begins, w.ended)] for w in writes}


def judge(cluster, writes):
    have = {pk: value.decode() for value, pk in check(cluster, exact=False).items()}
    over, of_value = {}, {}
    for key in KEYS:
        made = [w for w in writes if w.key == key and w.is_there is not False]
        over.update(overs(made))
        for w in made:
            of_value.setdefault((key, w.value), []).append(w)
        is_there = have.get(key.rpartition(":")[2].rpartition("}")[2].encode())
        last = {w.value for w in made if over[w] == math.inf}
        assert not last or is_there in last, (key, is_there, last)
    for w in writes:
        assert not w.holder or any(h.began <= w.ended and over[h] >= w.began
                                   for h in of_value.get((w.holder, w.value), ())), (w.key, w.value, w.holder)


class Weather:
    def __init__(self, cluster, daemons, dice):
        self.cluster, self.daemons, self.random = cluster, daemons, dice
        self.slots = [slot_of_document(key) for key in KEYS] + [slot_of(f"rapyer:@unique:Member/email={v}") for v in VALUES]

    def move(self):
        reshard(self.cluster, self.slots, 5)

    def fail_over(self):
        """In peace: nothing is lost by it."""
        gone = self.random.choice(self.cluster.leaders())
        self.cluster.replica_of(gone).ask("CLUSTER", "FAILOVER")
        wait_until(lambda: gone not in self.cluster.leaders(), what="a promotion")
        self.cluster.well()

    def kill_daemon(self):
        daemon = self.random.choice(self.daemons)
        daemon.may_end = True
        daemon.kill()
        daemon.start()
        daemon.may_end = False

    def kill_master(self):
        gone = self.random.choice(self.cluster.leaders())
        gone.kill()
        wait_until(lambda: all(self.cluster.owner(slot) not in (None, gone) for slot in self.slots), timeout=60,
                   what="a promotion")
        gone.start()
        self.cluster.well()


@pytest.mark.exact
@pytest.mark.parametrize("events", [None] if FULL else [("move", "fail_over", "kill_daemon")])
def test_a_storm(cluster, new_daemon, events):
    """At each quiet point no value is held twice, all that was acknowledged is there, and a value was refused only
    while a document had it."""
    dice = random.Random(int(os.environ.get("RAPYER_SEED", random.randrange(1 << 30))))
    daemons = [new_daemon(cluster.address, FAST) for _ in range(2)]
    weather, before, codes = Weather(cluster, daemons, dice), [], set()
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", MEMBER)
    for event in events or [dice.choice(["move", "fail_over", "kill_daemon", "kill_master"]) for _ in range(40)]:
        rivals = [Rival(daemons[i % 2], dice.random()) for i in range(4)]
        for rival in rivals:
            rival.start()
        wait_until(lambda: all(len(rival.writes) > 20 for rival in rivals), timeout=60, what="writes")
        getattr(weather, event)()
        n = [len(rival.writes) for rival in rivals]
        wait_until(lambda: all(len(rival.writes) > n[i] + 20 for i, rival in enumerate(rivals)), timeout=60,
                   what=f"writes after {event}")
        for rival in rivals:
            rival.done.set()
        for rival in rivals:
            rival.join()
            assert not rival.faults, rival.faults
            codes |= rival.codes
            before += rival.writes
        weather.cluster.well()
        judge(cluster, before)
    assert "CONFLICT" in codes
