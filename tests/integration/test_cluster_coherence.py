"""Documents of a cluster that are read from memory: what others change is seen within the bound, also where
slots move, masters go, links are lost and other programs write; and who does not change costs Redis nothing."""

import os
import random
import signal

import pytest
import redis

from histories import PAGE, Foreigner, Neighbour
from models import KEY, save_ada
from redis_cluster import can_talk, name_of, reshard, slot_of_document
from rpc_client import RpcError, wait_until
from segment_reader import Segment
from test_bad_input import refused
from test_coherence import fight
from test_histories import FULL, declare, histories
from test_listening import in_one_turn, sends
from test_segment import shown
from test_watch import told_until

# Nothing is read again because it may be old, and nobody looks but who is asked.
QUIET = {"coherence.bound": "1h", "coherence.audit": "0"}


def key_of(cluster, node, tag=""):
    """Of a document that this master has."""
    return next(key for key in (f"Page:{tag}{n}" for n in range(1000))
                if cluster.agreed_owner(slot_of_document(key)) is node)


def calls(command, *nodes):
    return sum(node.info("commandstats").get("cmdstat_" + command, {"calls": 0})["calls"] for node in nodes)


def loads(*nodes):
    """How often a document was read there."""
    return calls("pttl", *nodes)


def hears(client):
    return wait_until(lambda: client.call("admin.stats")["hears_others"], what="all masters to be heard")


def n_of(client, key):
    return client.call("doc.get", key)["n"]


def soon(client, key, n):
    wait_until(lambda: n_of(client, key) == n, what=f"{key} to be {n}")


def if_available(client, *request):
    """None: it is not, and nothing was done. How long a failover takes is the machine's business."""
    try:
        return client.call(*request)
    except RpcError as error:
        assert error.code == "UNAVAILABLE", error
        return None


class Pair:
    """A writer, and a reader that has in memory what it wrote: a document of each master."""

    def __init__(self, cluster, new_daemon, settings):
        self.cluster = cluster
        self.daemons = [new_daemon(cluster.address, settings) for _ in range(2)]
        self.writer, self.reader = (daemon.connect() for daemon in self.daemons)
        self.keys = [key_of(cluster, node) for node in cluster.masters]
        self.writer.call("define", PAGE)
        self.reader.call("define", PAGE)
        hears(self.reader)
        for key in self.keys:
            self.writer.call("doc.save", key, {"n": 1})
            soon(self.reader, key, 1)
        self.settle()

    def settle(self):
        """Until what was heard is heard, and read: then a read asks nobody."""
        def quiet():
            before = loads(*self.cluster.masters)
            for key in self.keys:
                n_of(self.reader, key)
            return loads(*self.cluster.masters) == before
        wait_until(quiet, what="reads that ask nobody")

    def heard(self):
        return self.reader.call("admin.stats")["others_commits"]

    def talk(self, key):
        """Until the reader hears what the writer says of it."""
        def told():
            before = self.heard()
            soon(self.reader, key, self.writer.call("num.incr", key, "n", 1))
            return self.heard() > before
        wait_until(told, what=f"messages about {key}")

    def close(self):
        self.writer.close()
        self.reader.close()


@pytest.fixture
def pair(calm_cluster, new_daemon):
    made = Pair(calm_cluster, new_daemon, QUIET)
    yield made
    made.close()


@pytest.fixture
def talking(pair):
    if not can_talk(pair.cluster):
        pytest.skip("daemons tell each other nothing there")
    pair.talk(pair.keys[0])
    return pair


def test_what_is_in_memory_costs_redis_nothing(pair):
    before = loads(*pair.cluster.masters)
    for _ in range(50):
        assert [n_of(pair.reader, key) for key in pair.keys] == [1, 1, 1]
        assert pair.reader.call("doc.load", pair.keys[0], "tags") == []
    assert loads(*pair.cluster.masters) == before


def test_what_others_write_is_seen(pair):
    """Another daemon, with scripts and without, and programs that have none."""
    a, b, c = pair.keys
    for n in range(2, 6):
        pair.writer.call("num.incr", a, "n", 1)
        soon(pair.reader, a, n)
    pair.writer.call("num.mul", a, "n", 2)
    soon(pair.reader, a, 10)
    pair.writer.call("list.append", a, "tags", "x")
    wait_until(lambda: pair.reader.call("doc.load", a, "tags") == ["x"], what="the list")
    node = pair.cluster.masters[1]
    node.ask("HSET", name_of(b), "n", 77)
    soon(pair.reader, b, 77)
    node.ask("RPUSH", name_of(b) + "/tags", "y")
    wait_until(lambda: pair.reader.call("doc.load", b, "tags") == ["y"], what="the list")
    pair.writer.call("doc.delete", c)
    wait_until(lambda: pair.reader.call("doc.exists", c) == 0, what="the end of it")


def check_that_no_more_is_read_than_has_changed(pair, key):
    """Its list is in memory, and stays there."""
    pair.talk(key)
    before = len(pair.reader.call("doc.load", key, "tags")), calls("lrange", *pair.cluster.masters)
    for n in range(100, 110):
        pair.writer.call("set", key, "n", n)
        soon(pair.reader, key, n)
    assert (len(pair.reader.call("doc.load", key, "tags")), calls("lrange", *pair.cluster.masters)) == before


def test_only_what_another_daemon_has_changed_is_read_again(talking):
    """As it says what that is: also behind a slot that has moved, which ends what Redis tells, and comes back."""
    a = talking.keys[0]
    home, away, _ = talking.cluster.masters
    talking.writer.call("list.extend", a, "tags", ["x"] * 2000)
    check_that_no_more_is_read_than_has_changed(talking, a)
    for source, target in ((home, away), (away, home)):
        talking.cluster.migrate(slot_of_document(a), source, target)
        check_that_no_more_is_read_than_has_changed(talking, a)


def test_what_we_have_written_since_explains_nothing(talking):
    """Of two daemons that write a key in one turn of Redis the second is not told of it. What the first has said of it
    must not stand for what a program writes later."""
    a, node = talking.keys[0], talking.cluster.masters[0]
    for n in range(1000, 1003):
        before = n_of(talking.reader, a)
        in_one_turn(node, lambda: sends(talking.writer, "num.incr", a, "n", 1),
                    lambda: sends(talking.reader, "num.incr", a, "n", 1))
        soon(talking.reader, a, before + 2)
        node.ask("HSET", name_of(a), "n", n)
        soon(talking.reader, a, n)


def test_a_change_of_which_nothing_is_said(talking):
    """And which Redis does not name either, as we write there in the same turn: the version tells."""
    a, node = talking.keys[0], talking.cluster.masters[0]
    talking.reader.call("doc.get", a)
    with node.client() as client:
        silent, root = client.connection_pool.get_connection("PING"), name_of(a)
        silent.send_command("PING")
        silent.read_response()  # what is not taken in yet would be last in the turn
        commands = [("MULTI",), ("HINCRBY", root, "@v", 1), ("RPUSH", root + "/tags", "theirs"), ("EXEC",)]
        in_one_turn(node, lambda: silent.send_packed_command(silent.pack_commands(commands)),
                    lambda: sends(talking.reader, "list.append", a, "tags", "ours"))
        wait_until(lambda: sorted(talking.reader.call("doc.load", a, "tags")) == ["ours", "theirs"], what="both")
        client.connection_pool.release(silent)


def test_without_the_right_to_tell_others(talking):
    """It is no reason to keep nothing, and others see it."""
    a, node = talking.keys[0], talking.cluster.masters[0]
    node.ask("ACL", "SETUSER", "default", "-spublish")
    try:
        for n in range(50, 53):
            talking.writer.call("set", a, "n", n)
            soon(talking.reader, a, n)
    finally:
        node.ask("ACL", "SETUSER", "default", "+spublish")


def test_who_is_alone_tells_nobody(calm_cluster, new_daemon):
    """Until somebody comes."""
    with new_daemon(calm_cluster.address, QUIET).connect() as one:
        one.call("define", PAGE)
        hears(one)

        def says():
            before = calls("spublish", *calm_cluster.masters)
            one.call("doc.save", "Page:1", {})
            return calls("spublish", *calm_cluster.masters) - before
        wait_until(lambda: says() == 0, what="one that is alone")
        with new_daemon(calm_cluster.address, QUIET).connect() as other:
            if can_talk(calm_cluster):
                hears(other)
                wait_until(lambda: says() == 1, what="one that is not")


def test_two_daemons_that_fight_for_a_document_take_turns(talking):
    """Of what each computes from the state at least a third is in time, as in front of one Redis."""
    save_ada(talking.writer)
    talking.reader.call("doc.get", KEY)
    for count, late in zip(*fight(talking.daemons)):
        assert late <= 2 * count


def test_what_was_not_there_is_asked_for(pair):
    """A document may come into being on a master that is not known to have the slot yet."""
    key = key_of(pair.cluster, pair.cluster.masters[0], "new")
    for _ in range(20):
        refused(pair.reader, "NOT_FOUND", "doc.get", key)
        assert pair.reader.call("doc.exists", key) == 0
        pair.writer.call("doc.save", key, {"n": 3})
        assert n_of(pair.reader, key) == 3
        pair.writer.call("doc.delete", key)
        wait_until(lambda: pair.reader.call("doc.exists", key) == 0, what="the end of it")


def test_tagged_documents(pair):
    keys = ["Page:{t}a", "Page:{t}b"]
    pair.writer.call("pipeline", [["doc.save", key, {"n": 1}] for key in keys])
    for key in keys:
        soon(pair.reader, key, 1)
    pair.writer.call("pipeline", [["num.incr", key, "n", 1] for key in keys])
    for key in keys:
        soon(pair.reader, key, 2)


def test_one_master_is_flushed(pair):
    """Its documents are gone, and those of others are not read again."""
    a, *others = pair.keys
    first, *rest = pair.cluster.masters
    before = loads(*rest)
    first.ask("FLUSHALL")
    wait_until(lambda: pair.reader.call("doc.exists", a) == 0, what="the news")
    assert [n_of(pair.reader, key) for key in others] == [1, 1]
    assert loads(*rest) == before


@pytest.mark.parametrize("which", ["pubsub", "normal"])
def test_one_link_is_lost(pair, which):
    """The one that listens, or the one that tracks: the documents of that master are read again."""
    a, *others = pair.keys
    first, *rest = pair.cluster.masters
    gaps = pair.reader.call("admin.stats")["gaps"]
    before, of_others = loads(first), loads(*rest)
    first.ask("CLIENT", "KILL", "TYPE", which, "SKIPME", "yes")
    wait_until(lambda: pair.reader.call("admin.stats")["gaps"] > gaps, what="the loss")
    assert n_of(pair.reader, a) == 1 and loads(first) > before
    assert [n_of(pair.reader, key) for key in others] == [1, 1]
    assert loads(*rest) == of_others
    hears(pair.reader)
    pair.writer.call("num.incr", a, "n", 1)
    soon(pair.reader, a, 2)
    pair.settle()


def test_what_is_written_while_nobody_listens(pair):
    """Neither a message nor a name tells of it, and nobody reads meanwhile."""
    a, node, reader = pair.keys[0], pair.cluster.masters[0], pair.daemons[1].process
    reader.send_signal(signal.SIGSTOP)
    try:
        node.ask("CLIENT", "KILL", "TYPE", "pubsub")
        pair.writer.call("num.incr", a, "n", 1)
    finally:
        reader.send_signal(signal.SIGCONT)
    hears(pair.reader)
    soon(pair.reader, a, 2)


def test_a_slot_that_moves(pair):
    """To and fro: what is written there is seen, and other documents are not read again."""
    a, *others = pair.keys
    home, away, third = pair.cluster.masters
    of_third = loads(third)
    for n, source, target in ((2, home, away), (3, away, home)):
        pair.cluster.migrate(slot_of_document(a), source, target)
        pair.writer.call("num.incr", a, "n", 1)
        soon(pair.reader, a, n)
    assert [n_of(pair.reader, key) for key in others] == [1, 1]
    assert loads(third) == of_third


def test_a_slot_that_comes_is_a_gap(pair):
    """Nobody has told the reader that the document has left its master, and it learns of the new one by another
    document of the slot."""
    a, other = "Page:{gap}a", "Page:{gap}b"
    home = pair.cluster.agreed_owner(slot_of_document(a))
    away = next(node for node in pair.cluster.masters if node is not home)
    pair.writer.call("doc.save", a, {"n": 1})
    pair.writer.call("doc.save", other, {"n": 1})
    soon(pair.reader, a, 1)
    reader = pair.daemons[1].process
    reader.send_signal(signal.SIGSTOP)
    try:
        home.ask("CLIENT", "KILL", "TYPE", "pubsub")
        pair.cluster.migrate(slot_of_document(a), home, away)
        pair.writer.call("num.incr", a, "n", 1)
    finally:
        reader.send_signal(signal.SIGCONT)
    assert n_of(pair.reader, other) == 1
    assert n_of(pair.reader, a) == 2


def test_a_master_that_goes(cluster, new_daemon):
    """What the others have is read from memory meanwhile. Then its replica takes its place."""
    pair = Pair(cluster, new_daemon, {**QUIET, "coherence.bound": "2s"})
    a, b, _ = pair.keys
    gone, slot = cluster.masters[0], slot_of_document(pair.keys[0])
    gone.pause()
    before = loads(cluster.masters[1])
    for _ in range(50):
        assert n_of(pair.reader, b) == 1
    assert loads(cluster.masters[1]) == before
    gone.kill()
    wait_until(lambda: cluster.owner(slot) not in (None, gone), timeout=30, what="a promotion")
    assert wait_until(lambda: if_available(pair.writer, "num.incr", a, "n", 1), timeout=30, what="the change") == 2
    wait_until(lambda: if_available(pair.reader, "doc.load", a, "n") == 2, timeout=30, what="the news of it")
    if can_talk(pair.cluster):
        pair.talk(a)
    pair.close()


def test_a_master_that_is_cut_off(cluster, new_daemon):
    """It answers, and says that it has lost the others: somebody may be in its place, so nothing of it is read."""
    node, *others = cluster.masters
    daemon = new_daemon(cluster.address, {**QUIET, "coherence.bound": "500ms"})
    with daemon.connect() as client:
        client.call("define", PAGE)
        key = key_of(cluster, node)
        client.call("doc.save", key, {"n": 1})
        hears(client)
        assert n_of(client, key) == 1
        gone = [other for other in cluster.nodes if other is not node]
        for other in gone:
            other.pause()
        wait_until(lambda: node.cluster_info()["cluster_state"] != "ok", what="the master that knows")
        wait_until(lambda: if_available(client, "doc.load", key, "n") is None, what="the refusal")
        for other in gone:
            other.resume()
        wait_until(lambda: if_available(client, "doc.load", key, "n") == 1, 60, "the cluster again")


def hello(client):
    """The daemon has taken up what was sent before over another connection, and what Redis is asked for it is sent."""
    for _ in range(2):
        client.call("hello")


def test_a_master_that_wakes(cluster, new_daemon):
    """It was frozen for so long that its replica took its place, does not know so yet, and answers what waited for
    it: one daemon stood still as well, and asks it with the map of before; to the other one it owes an answer."""
    daemons = [new_daemon(cluster.address, {**QUIET, "redis.command_timeout": "1min", "commit.queue_time": "1min"})
               for _ in range(2)]
    asleep = daemons[0].process
    gone = cluster.masters[0]
    keys = [key_of(cluster, gone, tag) for tag in ("a", "b", "c")]
    slot = slot_of_document(keys[0])
    clients = [[daemon.connect() for _ in range(4)] for daemon in daemons]
    clients[0][0].call("define", PAGE)
    for client, *_ in clients:
        client.call("define", PAGE)
        for key in keys:
            client.call("doc.save", key, {"n": 1})
        hears(client)
    requests = [("doc.get", keys[0], {"fresh": True}), ("num.incr", keys[1], "n", 1), ("doc.exists", keys[2])]
    sent = [[] for _ in daemons]

    def ask(which):
        for client, request in zip(clients[which][1:], requests):
            sent[which].append(client.send(*request))
    gone.pause()
    ask(1)
    asleep.send_signal(signal.SIGSTOP)
    try:
        heir = wait_until(lambda: (now := cluster.owner(slot)) not in (None, gone) and now, 60, "a promotion")
        with heir.client() as at_heir:
            at_heir.hset(name_of(keys[0]), "n", 10)
            at_heir.hset(name_of(keys[1]), "n", 20)
            at_heir.delete(name_of(keys[2]))
        ask(0)
    finally:
        asleep.send_signal(signal.SIGCONT)
    for client, *_ in clients:
        hello(client)
    gone.resume()
    said = [[client.wait(request) for client, request in zip(several[1:], asked)]
            for several, asked in zip(clients, sent)]
    assert [(get["n"], there) for get, _, there in said] == [(10, 0)] * 2
    assert sorted(n for _, n, _ in said) == [21, 22]
    with heir.client() as at_heir:
        assert at_heir.hget(name_of(keys[1]), "n") == b"22"


def test_who_watches_is_told(pair):
    """Of documents of all masters, by whomever they were changed; and to look, where something may have been missed."""
    for key in pair.keys:
        assert pair.reader.call("watch", key)["key"] == key
    pair.reader.call("watch", "Page:*", "tags")
    for key in pair.keys:
        version = pair.writer.call("set", key, "n", 2)
        told_until(pair.reader, lambda *said: said[:2] == (key, version))
        assert n_of(pair.reader, key) == 2
        if can_talk(pair.cluster):  # then the field is told as well
            pair.talk(key)
            version = pair.writer.call("set", key, "n", 3)
            told_until(pair.reader, lambda *said: said == (key, version, ["n"]))
        version = pair.reader.call("set", key, "n", 3)
        told_until(pair.reader, lambda *said: said == (key, version, ["n"]))
    a, b, c = pair.keys
    home, away, third = pair.cluster.masters
    away.ask("RPUSH", name_of(b) + "/tags", "x")
    told_until(pair.reader, lambda *said: said[0] == b and said[2] == ["tags"])
    third.ask("CLIENT", "KILL", "TYPE", "pubsub")
    told_until(pair.reader, lambda *said: said == (c, None, None))
    hears(pair.reader)
    pair.cluster.migrate(slot_of_document(a), home, away)
    pair.writer.call("set", a, "n", 4)
    told_until(pair.reader, lambda *said: said[0] == a)
    wait_until(lambda: n_of(pair.reader, a) == 4, what="the change")
    hears(pair.reader)
    version = pair.writer.call("set", a, "n", 5)
    told_until(pair.reader, lambda *said: said[0] == a and (said[1] or version) >= version)
    soon(pair.reader, a, 5)
    assert pair.reader.call("unwatch", a)


def test_what_is_told_is_read_also_while_a_commit_is_on_its_way(pair):
    """By whoever looks at once; he is not told again."""
    key = pair.keys[0]
    home, away = pair.cluster.masters[:2]
    assert pair.writer.call("watch", key)
    home.ask("CLUSTER", "SETSLOT", slot_of_document(key), "MIGRATING", away.id)
    try:
        commit = pair.writer.send("set", key, "n", 2)
        wait_until(lambda: pair.writer.call("admin.stats")["recovered_resent"] > 0, what="a commit that has to wait")
        home.ask("HSET", name_of(key), "text", "new")
        told_until(pair.writer, lambda *said: said[0] == key)
        read = pair.writer.send("doc.load", key, "text")
    finally:
        home.ask("CLUSTER", "SETSLOT", slot_of_document(key), "STABLE")
    assert pair.writer.wait(read) == "new"
    pair.writer.wait(commit)


def test_documents_in_shared_memory(pair):
    """They are read there while all masters are heard."""
    first, last = pair.keys[0], pair.keys[-1]
    with Segment(pair.daemons[1].socket) as segment:
        for key in (first, last):
            assert shown(segment, pair.reader, key)["n"] == 1
        pair.writer.call("set", first, "n", 2)
        wait_until(lambda: (segment.read(first) or {"n": 2})["n"] == 2, what="the change")
        assert shown(segment, pair.reader, first)["n"] == 2
        home, away = pair.cluster.masters[:2]
        pair.cluster.migrate(slot_of_document(first), home, away)
        pair.writer.call("set", first, "n", 3)
        wait_until(lambda: (segment.read(first) or {"n": 3})["n"] == 3, what="the change")
        assert shown(segment, pair.reader, first)["n"] == 3
        assert shown(segment, pair.reader, last)["n"] == 1
        reader = pair.daemons[1].process
        reader.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: segment.read(last) is None, what="the end of what a daemon says that stands still")
        finally:
            reader.send_signal(signal.SIGCONT)
        assert shown(segment, pair.reader, last)["n"] == 1


def looked_at(daemons):
    """What the daemons have compared with Redis, and what was wrong of it."""
    told = []
    for daemon in daemons:
        with daemon.connect() as client:
            told.append(client.call("admin.stats"))
    return sum(one["audits"] for one in told), sum(one["audit_wrong"] for one in told)


def test_slots_that_move_and_links_that_are_cut(calm_cluster, new_daemon):
    """Judged; and what is in memory at the end is what Redis holds."""
    several = [new_daemon(calm_cluster.address, {"coherence.bound": "300ms", "coherence.audit": "100"})
               for _ in range(2)]
    declare(*several)
    rng = random.Random(os.environ.get("RAPYER_SEED"))

    def nemesis():
        reshard(calm_cluster, [slot_of_document("Page:{c}")], 2)
        rng.choice(calm_cluster.masters).ask("CLIENT", "KILL", "TYPE", rng.choice(["pubsub", "normal"]), "SKIPME", "yes")
    histories(several, None, count=200 if FULL else 4, bound=0.3, tag="{c}", nemesis=nemesis)
    with several[0].connect() as client:
        def audited():
            client.call("doc.get", "Page:{c}0-0")
            return client.call("admin.stats")["audits"] > 5
        client.call("doc.save", "Page:{c}0-0", {"n": 1})
        wait_until(audited, what="looks")
    assert looked_at(several)[1] == 0


def test_programs_without_a_daemon(calm_cluster, new_daemon):
    several = [new_daemon(calm_cluster.address) for _ in range(2)]
    declare(*several)
    with redis.RedisCluster("127.0.0.1", calm_cluster.masters[0].port) as foreign:
        histories(several, foreign, count=100 if FULL else 3, actor=Neighbour, foreign=Foreigner)
