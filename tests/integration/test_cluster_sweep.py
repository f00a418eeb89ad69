"""The connection to a slot's master is cut at a byte of a commit or of its answer, and before the master can be
reached again the slot is another one's: the pipeline is applied once. And what is applied again keeps its order."""

import os
import random
import select
import shutil
import tempfile
import threading

import pytest

from fault_proxy import REPLIES, REQUESTS, FaultProxy
from models import define_all
from redis_cluster import Cluster, slot_of_document
from rpc_client import wait_until

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
KEY = "User:ada"
SETTINGS = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "10ms", "commit.queue_time": "20s"}


@pytest.fixture(scope="module")
def cluster():
    path = tempfile.mkdtemp(prefix="rapyer-")
    started = Cluster(path, replicas=0, timeout=15000, proxy=lambda address: OneByOne(path, address, tcp=True))
    yield started
    started.stop()
    for proxy in started.proxies.values():
        proxy.stop()
    shutil.rmtree(path, ignore_errors=True)


class OneByOne(FaultProxy):
    """Has the first commit of those that come next refused, as its slot is on the move: it lets those behind it
    pass when that was answered, and the slot stays after all."""

    def __init__(self, *args, **options):
        self.begin = self.end = None
        self.told = threading.Event()
        super().__init__(*args, **options)

    def pass_on(self, link, direction, data, sink):
        if direction == REPLIES and (b"-ASK " in data or b"-TRYAGAIN " in data):
            self.told.set()
        commit = data.find(b":@still{") if KEY.encode() in data else -1
        if direction == REQUESTS and commit >= 0 and self.begin:
            begin, self.begin = self.begin, None
            begin()
            second = data.find(b"*1\r\n$5\r\nMULTI\r\n", commit)
            sink.sendall(data[:second] if second > 0 else data)
            assert self.told.wait(20)
            self.end()
            data = data[second:] if second > 0 else b""
        return super().pass_on(link, direction, data, sink)


class Sweep:
    def __init__(self, cluster, daemon):
        self.cluster, self.client = cluster, daemon.connect()
        self.slot = slot_of_document(KEY)
        self.age, self.tags = 0, 0
        define_all(self.client)
        self.client.call("doc.save", KEY, {"name": "Ada", "settings": {}})

    def move(self, back=False):
        source = self.cluster.agreed_owner(self.slot)
        target = next(n for n in self.cluster.masters if n is not source)
        self.cluster.migrate(self.slot, source, target)
        self.cluster.agreed_owner(self.slot)
        if back:
            self.cluster.migrate(self.slot, target, source)

    def turn(self, direction, count, late):
        """False: there are fewer bytes. late: what Redis had not got yet it gets when the slot has gone, was written
        to, and has come back."""
        self.client.call("doc.get", KEY)
        proxy = self.cluster.proxies[self.cluster.owner(self.slot)]
        rest = threading.Event() if late else None
        plan = proxy.cut_after(direction, count, rest)
        proxy.refusing = True
        asked = self.client.send("pipeline", [["num.incr", KEY, "age", 1], ["list.append", KEY, "tags", str(self.age)]])
        wait_until(lambda: plan.fired.is_set() or select.select([self.client.socket], [], [], 0)[0],
                   what="a cut, or the answer")
        proxy.disarm()
        fired = plan.fired.is_set()
        if fired:
            self.move()
        proxy.refusing = False
        assert self.client.wait(asked) == [self.age + 1, self.tags + 1]
        self.age, self.tags = self.age + 1, self.tags + 1
        if late and fired:
            self.move()
            rest.set()
        stored = self.client.call("doc.get", KEY, {"fresh": True})
        assert stored["age"] == self.age and stored["tags"] == [str(n) for n in range(self.tags)]
        return fired


@pytest.mark.parametrize("direction, late", [(REQUESTS, False), (REQUESTS, True), (REPLIES, False)])
def test_sweep(cluster, new_daemon, direction, late):
    sweep = Sweep(cluster, new_daemon(cluster.address, SETTINGS))
    step, at = 1 if FULL else 61, 0  # the first cut is surely of the commit; behind its answer there may be another one
    while sweep.turn(direction, at, late):
        at += step if at > 0 else random.randrange(step) + 1
    assert at > 60  # it has more bytes than that
    told = sweep.client.call("admin.stats")
    assert told["recovered_applied"] + told["recovered_resent"] > 0
    assert told["unknown_outcomes"] == 0 and told["lost_states"] == 0
    sweep.client.close()


def test_what_is_sent_again_keeps_its_order(cluster, new_daemon):
    """Where a slot was on the move for the first of them alone. As in a failover it lacks the last commits, and
    its marker says so."""
    sweep = Sweep(cluster, new_daemon(cluster.address, SETTINGS))
    node = cluster.agreed_owner(sweep.slot)
    other = next(n for n in cluster.masters if n is not node)
    with node.client() as at_node:
        before = {key: at_node.dump(key) for key in node.ask("CLUSTER", "GETKEYSINSLOT", sweep.slot, 100)}
        for n in range(10):
            sweep.client.call("list.append", KEY, "tags", str(n))
        for key in node.ask("CLUSTER", "GETKEYSINSLOT", sweep.slot, 100):
            at_node.delete(key)
        for key, value in before.items():
            at_node.restore(key, 0, value)
    proxy = cluster.proxies[node]
    proxy.told.clear()
    proxy.end = lambda: node.ask("CLUSTER", "SETSLOT", sweep.slot, "STABLE")
    proxy.begin = lambda: node.ask("CLUSTER", "SETSLOT", sweep.slot, "MIGRATING", other.id)
    proxy.cut()
    wait_until(proxy.told.is_set, what="the refusal")
    wait_until(lambda: sweep.client.call("admin.stats")["recovered_resent"] >= 10, what="the replay")
    assert sweep.client.call("doc.load", KEY, "tags") == [str(n) for n in range(10)]
    assert sweep.client.call("admin.stats")["lost_states"] == 0
    sweep.client.close()
