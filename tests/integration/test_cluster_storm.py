"""A cluster in which all goes wrong that can, one thing after the other, while clients write: no line that was
acknowledged is lost or doubled. $RAPYER_SEED does one again."""

import os
import random

import pytest

from cluster_storm import Storm
from redis_cluster import reshard, slot_of_document
from rpc_client import wait_until
from test_restart import ALWAYS
from test_upgrade import upgrade

FULL = bool(os.environ.get("RAPYER_FULL"))
EVENTS = 60 if FULL else 0


class Weather:
    """What happens, each to its end: what Redis itself would lose by two things at once says nothing."""

    def __init__(self, cluster, daemon, manager, dice):
        self.cluster, self.daemon, self.manager, self.dice = cluster, daemon, manager, dice
        self.storm = Storm(cluster, [daemon])
        self.slots = [slot_of_document(key) for key in self.storm.keys]

    def master(self):
        """One that has a replica to take its place, and of what the documents are in."""
        return self.cluster.agreed_owner(self.dice.choice(self.slots))

    def replaced(self, gone, timeout=60):
        """All that it had is another's, for whoever is asked."""
        wait_until(lambda: all(self.cluster.owner(slot) not in (None, gone) for slot in self.slots), timeout=timeout,
                   what="a promotion")

    def move(self):
        reshard(self.cluster, self.slots, 5)

    def kill(self):
        gone = self.master()
        gone.kill()
        self.replaced(gone)
        self.storm.goes_on("kill")
        gone.start()

    def freeze(self):
        gone = self.master()
        gone.pause()
        self.replaced(gone)
        self.storm.goes_on("freeze")
        gone.resume()

    def doze(self):
        """Not for long enough to be replaced."""
        gone = self.master()
        gone.pause()
        try:
            wait_until(lambda: False, timeout=self.dice.uniform(0.05, 0.3))
        except TimeoutError:
            pass
        gone.resume()

    def dark(self):
        """Nobody can take its place: all others' documents are written."""
        gone = self.master()
        replica = self.cluster.replica_of(gone)
        replica.pause()
        gone.kill()
        theirs = [key for key, slot in zip(self.storm.keys, self.slots)
                  if self.cluster.owner(slot) not in (None, gone)]
        with self.daemon.connect() as client:
            for key in theirs:
                client.call("num.incr", key, "n", 1)
        replica.resume()
        self.replaced(gone)
        gone.start()

    def failover(self, *how):
        gone = self.master()
        replica = self.cluster.replica_of(gone)
        for patience in (10, 10, 60):  # Redis gives up after 5 s where it does not succeed
            replica.ask("CLUSTER", "FAILOVER", *how)
            try:
                return self.replaced(gone, patience)
            except TimeoutError as late:
                print(late)
        raise TimeoutError("no failover")

    def takeover(self):
        self.failover("TAKEOVER")

    def cut(self):
        for node in self.cluster.leaders():
            node.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def upgrade(self):
        with self.daemon.connect() as client:
            upgrade(client)

    def restart(self):
        self.manager.restart(self.daemon)

    def daemon_killed(self):
        self.daemon.may_end = True
        self.daemon.kill()
        self.manager.start(self.daemon)
        self.storm.goes_on("kill -9 of rapyerd")
        self.daemon.may_end = False

    def let(self, event):
        self.manager.listen()
        getattr(self, event)()
        self.storm.goes_on(event)
        self.cluster.well()


OFTEN = ["move"] * 4 + ["cut"] * 2 + ["kill", "freeze", "doze", "dark", "failover", "takeover", "upgrade",
                                  "restart", "daemon_killed"]
SMALL = ["kill", "move", "upgrade", "freeze", "cut", "takeover", "restart", "daemon_killed", "failover", "move", "dark"]


@pytest.mark.parametrize("replicas", ["0", "1"] if FULL else ["0"])
def test_storm(cluster, new_daemon, service_manager, replicas):
    """With one daemon: what two have computed in the moment that a promotion loses may be in each other's way."""
    seed = os.environ.get("RAPYER_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"RAPYER_SEED={seed}")
    dice = random.Random(seed)
    settings = {"commit.replicas": replicas, "redis.command_timeout": "2s", "commit.wait": "200ms",
                "redis.reconnect_max": "200ms", **ALWAYS}
    daemon = new_daemon(cluster.address, settings, env=service_manager.env)
    weather = Weather(cluster, daemon, service_manager, dice)
    descriptors = len(os.listdir(f"/proc/{weather.daemon.pid}/fd"))
    for event in [dice.choice(OFTEN) for _ in range(EVENTS)] or SMALL:
        print(event, flush=True)
        weather.let(event)
    weather.storm.stop()
    assert weather.storm.judge() == []
    assert "applied again:" not in weather.daemon.log() and "cannot be applied again" not in weather.daemon.log()
    assert len(os.listdir(f"/proc/{weather.daemon.pid}/fd")) <= descriptors + 2 * len(cluster.nodes)
