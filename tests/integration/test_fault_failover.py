"""A replica is promoted that has not seen the last acknowledged commits: the daemon has kept them
and applies them again, once."""

import os

import pytest

from models import define_all
from rpc_client import RpcError, wait_until

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
KEY, ROOT = "User:ada", "rapyer:{User:ada}"
OTHER, OTHER_ROOT = "User:bob", "rapyer:{User:bob}"
SETTINGS = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "20ms"}


class Pair:
    """A master with a replica behind a proxy each: daemon ─front─► master ─back─► replica."""

    def __init__(self, new_redis, new_proxy):
        self.master, self.replica = new_redis(tcp=True), new_redis(tcp=True)
        self.front = new_proxy(self.master.address)
        self.back = new_proxy(self.master.address, tcp=True)
        self.attach()

    def attach(self):
        with self.replica.client() as rdb, self.master.client() as master:
            for server in (rdb, master):
                server.config_set("repl-diskless-sync-delay", 0)
            host, _, port = self.back.address.rpartition(":")
            rdb.execute_command("REPLICAOF", host, port)
            wait_until(lambda: rdb.info("replication")["master_link_status"] == "up",
                       what="the replica's link")

    def caught_up(self):
        with self.master.client() as master, self.replica.client() as replica:
            wait_until(lambda: master.info("replication")["master_repl_offset"]
                       == replica.info("replication")["slave_repl_offset"], what="replication")

    def lag(self):
        """From here on the replica gets nothing; what it would have got is lost with the link."""
        self.back.freeze()

    def fail_over(self, promote=True):
        self.master.kill()
        self.back.refusing = True
        for link in list(self.back.links):
            link.close()
        self.back.thaw()
        if promote:
            self.promote()
        self.front.target = self.replica.address
        self.front.cut()

    def hand_over(self):
        """A fail over that loses nothing: nobody is answered any more when the replica catches up."""
        self.front.freeze()
        self.caught_up()
        self.fail_over()
        self.front.thaw()

    def change_places(self):
        """The one that was killed comes back, with nothing, as the replica of the other one."""
        self.master, self.replica = self.replica, self.master
        self.replica.start()
        self.back.target = self.master.address
        self.back.refusing = False
        self.attach()

    def promote(self):
        with self.replica.client() as rdb:
            rdb.execute_command("REPLICAOF", "NO", "ONE")


@pytest.fixture
def pair(new_redis, new_proxy):
    return Pair(new_redis, new_proxy)


def start(pair, new_daemon, **settings):
    daemon = new_daemon(pair.front.address, {**SETTINGS, **settings})
    client = daemon.connect()
    define_all(client)
    for key in KEY, OTHER:
        client.call("doc.save", key, {"name": "x", "settings": {}})
    pair.caught_up()
    return client


def write(client, turn):
    return client.send("pipeline", [
        ["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", f"t{turn}"],
        ["num.incr", OTHER, "age", 2], ["dict.set", OTHER, "counts", f"k{turn % 7}", turn]])


def expect(pair, turns):
    """That many writes, each applied once."""
    with pair.replica.client() as rdb:
        assert int(rdb.hget(ROOT, "age")) == turns
        assert rdb.lrange(ROOT + "/tags", 0, -1) == [b"t%d" % turn for turn in range(turns)]
        assert int(rdb.hget(OTHER_ROOT, "age")) == 2 * turns
        assert {int(value) for value in rdb.hvals(OTHER_ROOT + "/counts")} == set(
            range(max(0, turns - 7), turns))


@pytest.mark.parametrize("lost", [1, 2, 30, 900] if FULL else [1, 30])
def test_lost_commits_are_applied_again(pair, new_daemon, lost):
    client = start(pair, new_daemon)
    for turn in range(10):
        client.wait(write(client, turn))
    pair.caught_up()
    pair.lag()
    for turn in range(10, 10 + lost):
        assert client.wait(write(client, turn))[0] == turn + 1
    with pair.replica.client() as rdb:
        assert int(rdb.hget(ROOT, "age")) == 10
    pair.fail_over()
    assert client.wait(write(client, 10 + lost))[0] == 11 + lost
    expect(pair, 11 + lost)
    assert client.call("admin.stats")["lost_states"] == 0


def test_lost_commits_behind_a_refused_one(pair, new_daemon):
    """A commit that Redis refused leaves no gap behind which nothing is applied again."""
    client = start(pair, new_daemon)
    client.wait(write(client, 0))
    pair.caught_up()
    pair.lag()
    client.wait(write(client, 1))
    with pair.master.client() as rdb:
        rdb.config_set("maxmemory", 1)
        with pytest.raises(RpcError, match="^UNAVAILABLE: "):
            client.wait(write(client, 2))
        rdb.config_set("maxmemory", 0)
    client.wait(write(client, 2))
    pair.fail_over()
    client.wait(write(client, 3))
    expect(pair, 4)


def test_fail_over_in_mid_commit(pair, new_daemon):
    """Acknowledged commits are lost and others are on the way."""
    client = start(pair, new_daemon)
    for turn in range(5):
        client.wait(write(client, turn))
    pair.caught_up()
    pair.lag()
    pair.front.delay = 0.002
    window, turn = [], 5
    for turn in range(5, 205):
        if turn == 105:
            pair.fail_over()
        window.append((turn, write(client, turn)))
        if len(window) == 20:
            sent, request = window.pop(0)
            assert client.wait(request)[0] == sent + 1
    for sent, request in window:
        assert client.wait(request)[0] == sent + 1
    expect(pair, 205)
    assert client.call("admin.stats")["lost_states"] == 0


def test_the_link_breaks_while_they_are_applied_again(pair, new_daemon):
    client = start(pair, new_daemon)
    client.wait(write(client, 0))
    pair.caught_up()
    pair.lag()
    for turn in range(1, 60):
        client.wait(write(client, turn))
    pair.front.cut_after("requests", 7000)
    pair.fail_over()
    client.wait(write(client, 60))
    expect(pair, 61)
    assert pair.front.cuts > 1


def test_a_replica_decides_nothing_before_its_promotion(pair, new_daemon):
    """While it is a replica the master's last commit may still get there."""
    client = start(pair, new_daemon)
    client.wait(write(client, 0))
    pair.caught_up()
    pair.lag()
    client.wait(write(client, 1))
    plan = pair.front.cut_after("replies", 0)
    pair.front.refusing = True
    request = write(client, 2)
    wait_until(plan.fired.is_set, what="the cut")
    pair.fail_over(promote=False)
    pair.front.refusing = False
    with pytest.raises(TimeoutError):
        client.socket.settimeout(0.5)
        client.wait(request)
    client.socket.settimeout(30)
    pair.promote()
    assert client.wait(request)[0] == 3
    expect(pair, 3)


def test_a_server_without_any_of_it(pair, new_redis, new_daemon):
    """An empty Redis takes the place: nothing is made up from half of the commits, and it is said
    that state was lost."""
    client = start(pair, new_daemon)
    for turn in range(5):
        client.wait(write(client, turn))
    empty = new_redis()
    pair.front.target = empty.address
    pair.front.cut()
    with pytest.raises(RpcError, match="^NOT_FOUND: "):
        client.call("num.incr", KEY, "age", 1)
    assert client.call("admin.stats")["lost_states"] == 1
    assert empty.snapshot() == {}
    client.call("doc.save", KEY, {"name": "again", "settings": {}})
    assert client.call("num.incr", KEY, "age", 1) == 1
