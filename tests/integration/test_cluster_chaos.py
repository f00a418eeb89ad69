"""The chaos of test_locks_chaos.py on a Redis Cluster: slots are moved to and fro, and masters are killed,
frozen and replaced, while clients and daemons die. What is acknowledged is on the replica as well
(commit.replicas), so all of it has to be there, whatever fails over.

By default only slots move, for a few seconds; with RAPYER_FULL=1 masters go as well. RAPYER_CHAOS_SECONDS and
RAPYER_CHAOS_SEED as there.
"""

import os
import time

import pytest

from lock_chaos import LOG, check
from redis_cluster import name_of, slot_of_document
from rpc_client import wait_until
from test_locks_chaos import FULL, KEYS, LATE, LEASE, Chaos, tell

pytestmark = pytest.mark.exact

SECONDS = float(os.environ.get("RAPYER_CHAOS_SECONDS", 300 if FULL else 4))
SETTINGS = {"locks.lock_lease": f"{int(LEASE * 1000)}ms", "redis.reconnect_max": "100ms",
            "commit.replicas": "1", "commit.wait": "500ms"}
# As there: one waits, the other gives up.
PATIENCE = [{"commit.queue_time": "6s", "redis.command_timeout": "2s"},
            {"commit.queue_time": "1s", "redis.command_timeout": "700ms"}]


class ClusterChaos(Chaos):
    def __init__(self, cluster, daemons, workdir):
        super().__init__(None, [None] * len(daemons), daemons, workdir)
        self.cluster = cluster

    def prepare(self):
        for host in self.hosts:
            with host.daemon.connect() as client:
                client.call("define", LOG)
        with self.hosts[0].daemon.connect() as client:
            for key in [*KEYS, LATE]:
                client.call("doc.save", key, {})

    def well(self):
        """All nodes are there, so that each master has a replica again."""
        wait_until(lambda: all(self.cluster.is_well(node) for node in self.cluster.nodes), 30, "the cluster")

    def master_of_some(self):
        return self.cluster.agreed_owner(slot_of_document(self.chance.choice(KEYS)))

    # --- events --------------------------------------------------------------------------------

    def move_a_slot(self):
        for _ in range(self.chance.randrange(1, 4)):
            slot = slot_of_document(self.chance.choice([*KEYS, LATE]))
            source = self.cluster.agreed_owner(slot)
            self.cluster.migrate(slot, source, self.chance.choice([n for n in self.cluster.leaders() if n is not source]))

    def cut_links(self):
        node = self.chance.choice(self.cluster.leaders())
        node.ask("CLIENT", "KILL", "TYPE", self.chance.choice(["normal", "pubsub"]), "SKIPME", "yes")

    def lose_a_master(self, freeze):
        gone = self.master_of_some()
        slot = next(s for s in map(slot_of_document, KEYS) if self.cluster.owner(s) is gone)
        gone.pause() if freeze else gone.kill()
        wait_until(lambda: self.tend() or self.cluster.owner(slot) not in (None, gone), 30, "a promotion")
        self.rest(self.chance.choice([0, 0.5, LEASE]))
        gone.resume() if freeze else gone.start()
        self.rest(0.3)
        self.well()

    def kill_a_master(self):
        self.lose_a_master(False)

    def freeze_a_master(self):
        self.lose_a_master(True)

    def freeze_a_master_for_a_moment(self):
        node = self.master_of_some()
        node.pause()
        self.rest(self.chance.choice([0.1, 0.5 * LEASE]))
        node.resume()

    def change_places(self):
        """A failover by hand: the replica takes over when it has all."""
        replica = self.cluster.replica_of(self.master_of_some())
        replica.ask("CLUSTER", "FAILOVER")  # it gives up after 5 s where it does not succeed
        for _ in range(200):
            self.rest(0.03)
            if replica.info()["role"] == "master":
                break
        self.well()

    def random_event(self):
        moves = [self.move_a_slot, self.move_a_slot, self.cut_links]
        goes = [self.kill_a_master, self.freeze_a_master, self.freeze_a_master_for_a_moment, self.change_places,
                self.kill_a_daemon, self.stop_a_daemon, self.upgrade_a_daemon]
        event = self.chance.choice(moves + goes * FULL)
        self.count(event.__name__.replace("_", " "))
        event()

    def run(self):
        self.prepare()
        for host in self.hosts:
            host.populate()
        self.rest(0.5)
        began = turn = time.monotonic()
        while time.monotonic() - began < SECONDS:
            self.random_event()
            self.rest(self.chance.random() * 0.5)
            if FULL and time.monotonic() - turn > 20:
                self.late_daemon(*self.hosts[::self.chance.choice([1, -1])])
                turn = time.monotonic()
        self.finish()

    def read(self):
        documents = {}
        for key in [*KEYS, LATE]:
            with self.cluster.agreed_owner(slot_of_document(key)).client() as rdb:
                root = name_of(key)
                documents[key] = {
                    "entries": [entry.decode() for entry in rdb.lrange(root + "/entries", 0, -1)],
                    "count": int(rdb.hget(root, "count")), "x": int(rdb.hget(root, "x"))}
        return documents, self.read_notes()


def test_chaos(cluster, new_daemon, workdir):
    daemons = [new_daemon(cluster.address, {**SETTINGS, **patience}) for patience in PATIENCE]
    chaos = ClusterChaos(cluster, daemons, workdir)
    documents, notes = {}, {}
    try:
        chaos.run()
        documents, notes = chaos.read()
    finally:
        for node in cluster.nodes:
            if node.frozen:
                node.resume()
        chaos.wake_daemons()
        chaos.crowd.stop()
        print(f"{chaos.events}, {tell(notes)}, late writes: {chaos.late}")
    complaints = check(documents, notes)
    assert not complaints, "\n".join([f"{len(complaints)} complaints", *complaints[:50]])
    assert tell(notes)["ack"] > 20 * SECONDS, tell(notes)
    assert set(chaos.late) <= {"LOCK_LOST", "UNKNOWN_OUTCOME", "UNAVAILABLE"}, chaos.late
    stats = [host.daemon.connect().call("admin.stats") for host in chaos.hosts]
    print([(s["lost_states"], s["recovered_resent"], s["recovered_applied"]) for s in stats])
