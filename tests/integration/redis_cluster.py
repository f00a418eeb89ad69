"""A private cluster: masters and replicas that the tests freeze, kill, promote, and move slots between."""

import binascii
import functools
import itertools
import os
import random
import socket
import string

import redis

import certificates
from redis_server import RedisServer
from rpc_client import wait_until

SLOTS = 16384
# Slots are moved as a whole, where the server can: Valkey 9 and Redis 8.4.
WHOLE_SLOTS = os.environ.get("RAPYER_WHOLE_SLOTS") == "1"


def slot_of(key):
    inside = key.partition("{")[2].partition("}")
    text = inside[0] if inside[1] and inside[0] else key
    return binascii.crc_hqx(text.encode(), 0) % SLOTS


@functools.cache
def tags():
    """For each slot the shortest text that leads there, and of these the first."""
    found = {}
    for n in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=n):
            found.setdefault(slot_of("".join(letters)), "".join(letters))
        if len(found) == SLOTS:
            return found


def tag_of_slot(slot):
    return tags()[slot]


def name_of(key):
    """In Redis, of a document; its pk is plain, or plain behind a {tag}."""
    model, _, pk = key.partition(":")
    tag, closed, rest = pk[1:].partition("}")
    return f"rapyer:{{{tag}}}{model}:{rest}" if pk.startswith("{") and closed and tag else f"rapyer:{{{key}}}"


def slot_of_document(key):
    return slot_of(name_of(key))


def free_ports():
    """One, and that which is higher by 10000. Below those that connections get, so none of them takes it
    before the node begins, or while it is away."""
    while True:
        port = random.SystemRandom().randrange(11000, 20000)
        try:
            for number in (port, port + 10000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            return port
        except OSError:
            pass  # somebody has it


class Node(RedisServer):
    """One of a cluster. Its nodes talk on the port that is higher by 10000."""

    def __init__(self, directory, timeout, tls, options, prefix=()):
        self.frozen = self.cut_off = False
        port = free_ports()
        encrypted = [*certificates.common.server_options(port), "--tls-cluster", "yes"] if tls else []
        super().__init__(directory, tls=False, prefix=prefix, options=[
            "--cluster-enabled", "yes", "--port", str(port), "--cluster-node-timeout", str(timeout),
            "--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0", *encrypted, *options])
        self.port = self.announced = port

    def announce(self, address, tls):
        """As where others are to reach it."""
        self.announced = int(address.rpartition(":")[2])
        self.ask("CONFIG", "SET", f"cluster-announce-{'tls-' * tls}port", self.announced)

    def client(self):
        return redis.Redis(unix_socket_path=self.socket, socket_timeout=20)

    def ask(self, *words):
        with self.client() as client:
            return client.execute_command(*words)

    @property
    def id(self):
        return self.ask("CLUSTER", "MYID").decode()

    def cluster_info(self):
        said = self.ask("CLUSTER", "INFO")
        return said if isinstance(said, dict) else dict(
            line.split(":") for line in said.decode().split("\r\n") if line)

    def raw(self, command):
        with self.client() as client:
            client.response_callbacks.clear()
            return client.execute_command(command)

    def slots(self):
        """[[first, last, [host, port, id], ...], ...], raw."""
        return self.raw("CLUSTER SLOTS")

    def epochs(self):
        """Of each master that it takes for one, the epoch of its configuration, as far as it has heard."""
        nodes = [line.split() for line in self.raw("CLUSTER NODES").decode().splitlines()]
        return {name: int(epoch) for name, _, flags, _, _, _, epoch, *_ in nodes if "master" in flags}

    @functools.cached_property
    def is_valkey(self):
        return "valkey_version" in self.info("server")

    def pause(self):
        self.frozen = True
        super().pause()

    def resume(self):
        super().resume()
        self.frozen = False

    def info(self, section="replication"):
        with self.client() as client:
            return client.info(section)


def can_talk(cluster):
    """Daemons to each other: there are channels of slots that may be used in a transaction: Redis 7, and not Valkey."""
    server = cluster.awake()[0].info("server")
    return "valkey_version" not in server and int(server["redis_version"].split(".")[0]) >= 7


class Cluster:
    def __init__(self, directory, masters=3, timeout=1000, replicas=None, tls=None, options=(), proxy=None,
                 prefix=(), bus=None):
        """replicas: how many; one for each master if nothing is said. options: more, for each node. proxy: makes one
        in front of an address, as which a master is known then; they are in `proxies`. prefix: words in front of the
        command of each node. bus: between the nodes, each of which is cut off if it is said."""
        tls = certificates.TLS if tls is None else tls
        n = masters + (masters if replicas is None else replicas)
        self.bus, doors = bus, [bus.door() if bus else None for _ in range(n)]
        through = [["--cluster-announce-bus-port", str(door)] if bus else [] for door in doors]
        self.nodes = [Node(f"{directory}/node{i}", timeout, tls, [*options, *through[i]], prefix) for i in range(n)]
        self.masters, self.replicas = self.nodes[:masters], self.nodes[masters:]
        self.by_id = {node.id: node for node in self.nodes}
        self.proxies = {node: proxy(f"127.0.0.1:{node.port}") for node in self.masters} if proxy else {}
        for node, it in self.proxies.items():
            node.announce(it.address, tls)
        first = self.nodes[0]
        for i, node in enumerate(self.nodes):  # else epochs collide, and have to be settled first
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for node, door in zip(self.nodes, doors):
            if bus:
                node.id_in_bus = node.id
                bus.open(door, node)
        if bus:
            bus.start()
        for node, door in zip(self.nodes[1:], doors[1:]):
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, *[door] * bool(bus))
        share = SLOTS // masters
        for i, node in enumerate(self.masters):
            end = SLOTS if i == masters - 1 else (i + 1) * share
            node.ask("CLUSTER", "ADDSLOTS", *range(i * share, end))
        wait_until(lambda: all(self.knows_all(node) for node in self.nodes), what="the nodes to meet")
        for master, replica in zip(self.masters, self.replicas):
            replica.ask("CLUSTER", "REPLICATE", master.id)
        wait_until(lambda: all(self.is_well(node) for node in self.nodes), what="the cluster")

    def knows_all(self, node):
        return node.cluster_info()["cluster_known_nodes"] == str(len(self.nodes))

    def is_well(self, node):
        info = node.cluster_info()
        replication = node.info()
        linked = replication["role"] == "master" or replication["master_link_status"] == "up"
        return info["cluster_state"] == "ok" and info["cluster_slots_assigned"] == str(SLOTS) and linked

    def well(self):
        """All nodes are there, and of one mind: also one that was away has heard what it is now, and has all of its
        master."""
        wait_until(lambda: all(map(self.is_well, self.nodes)) and self.epochs_known()
                   and len(self.leaders()) == len(self.masters), timeout=60, what="the cluster")

    @property
    def address(self):
        return "cluster:" + ",".join(f"127.0.0.1:{node.announced}" for node in self.masters)

    def awake(self):
        return [node for node in self.nodes if node.process.poll() is None and not node.frozen and not node.cut_off]

    def cut_off(self, node):
        """From all others; those that follow it, too, do not get in any more. It is not from clients."""
        for other in self.nodes:
            if other is not node:
                other.ask("CONFIG", "SET", "masterauth", "none")
        node.cut_off = True
        self.bus.off = frozenset([node.id])
        node.ask("CLIENT", "KILL", "TYPE", "replica")

    def heal(self):
        self.bus.off = frozenset()
        for node in self.nodes:
            node.cut_off = False
            node.ask("CONFIG", "SET", "masterauth", "")

    def leaders(self):
        """The masters of now."""
        return [node for node in self.awake() if node.info()["role"] == "master"]

    def replica_of(self, master):
        """One of those that follow it."""
        return next(node for node in self.awake() if node.info().get("master_port") == master.announced)

    def owners(self, slot):
        """As each of those says that run, and are not frozen."""
        for node in self.awake():
            for first, last, (_, _, name, *_), *_ in node.slots():  # over a unix socket the port of TLS is not told
                if first <= slot <= last:
                    yield self.by_id[name.decode()]

    def owner(self, slot):
        return next(self.owners(slot), None)

    def agreed_owner(self, slot):
        """What the nodes tell each other after a slot has moved takes a moment."""
        return wait_until(lambda: self.owner(slot) if len(set(self.owners(slot))) == 1 else None,
                          what=f"nodes that agree whose slot {slot} is")

    def ports_known(self):
        """All masters are known by what they announce."""
        wanted = {node.announced for node in self.leaders()}
        return all({port for _, _, (_, port, *_), *_ in node.slots()} == wanted for node in self.awake())

    def epochs_known(self):
        """Everywhere, and each has its own."""
        first, *others = [node.epochs() for node in self.awake()]
        return len(set(first.values())) == len(first) and all(other == first for other in others)

    def migrate_whole(self, slot, source, target):
        """As masters do it by themselves: copied and followed like a replica, and given over at once. Of Valkey 9 the one
        that has the slot is asked, of Redis 8.4 the one that is to have it; where a move was begun by hand neither does."""
        source.ask("CLUSTER", "SETSLOT", slot, "STABLE")
        if source.is_valkey:
            source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        else:
            target.ask("CLUSTER", "MIGRATION", "IMPORT", slot, slot)
        wait_until(lambda: set(self.owners(slot)) == {target}, what="the slot on its new master")

    def migrate(self, slot, source, target):
        """Key by key, as redis-cli does it. A target that takes its epoch for the highest, as it has not heard yet that
        the source has a higher one by another move, keeps it; and what the source said before it gave the slot
        away then takes the slot back, and the target deletes the keys. What the target has of the slot it had as a replica
        that was promoted before it heard that they were moved."""
        wait_until(self.epochs_known, what="epochs that all nodes know")
        # Of Redis the target asks the source, over a proxy that has cut it off.
        if WHOLE_SLOTS and (source.is_valkey or not self.proxies):
            self.migrate_whole(slot, source, target)
            return
        with source.client() as a, target.client() as b:
            b.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
            a.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
            while True:
                keys = a.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 3)
                if not keys:
                    break
                a.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)
            for node in (target, source, *self.leaders()):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def stop(self):
        for node in self.nodes:
            node.stop()
        if self.bus:
            self.bus.stop()


def reshard(cluster, slots, rounds):
    for _ in range(rounds):
        slot = random.choice(slots)
        source = cluster.agreed_owner(slot)
        cluster.migrate(slot, source, random.choice([n for n in cluster.leaders() if n is not source]))
