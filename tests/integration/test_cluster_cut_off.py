"""A master that is cut off from all other nodes, and not from its daemons: it acknowledges until its node timeout is
over what is thrown away when it comes back, as a replica has taken its place by then. What a daemon of ours keeps is
there all the same; with commit.replicas nothing of that is acknowledged; and a lock that was had there is not had."""

import shutil
import signal
import tempfile

import pytest

from cluster_bus import Bus
from lock_clients import acquire, release
from redis_cluster import Cluster, name_of, slot_of_document
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_cluster_locks import MODEL

SETTINGS = {"redis.reconnect_max": "50ms", "commit.wait": "100ms", "commit.queue_time": "20s"}
KEY = "Log:7"
TURNS = 5  # where the machine is so slow that the node timeout is over before anything was asked

pytestmark = pytest.mark.exact


@pytest.fixture(scope="module")
def cluster():
    path = tempfile.mkdtemp(prefix="rapyer-")
    started = Cluster(path, tls=False, bus=Bus())
    yield started
    started.stop()
    shutil.rmtree(path, ignore_errors=True)


def applied(client, *request):
    """Also where a replica is too slow."""
    try:
        client.call(*request)
    except RpcError as error:
        assert error.code == "NOT_DURABLE"


class Cut:
    """The document's master alone. What was there before is on its replica, too."""

    def __init__(self, cluster, *clients):
        self.cluster, self.slot = cluster, slot_of_document(KEY)
        for client in clients:
            client.call("define", MODEL)
        applied(clients[0], "doc.save", KEY, {"n": 0, "lines": []})

    def __enter__(self):
        self.gone = self.cluster.agreed_owner(self.slot)
        with self.gone.client() as node:  # WAIT is for what its own connection has written
            node.set(f"written{{{KEY}}}", 1)
            assert node.execute_command("WAIT", 1, 20000) == 1
        self.cluster.cut_off(self.gone)
        return self

    def replaced(self):
        return self.cluster.owner(self.slot) not in (None, self.gone)

    def __exit__(self, *_):
        self.cluster.heal()
        self.cluster.well()


def stored(cluster):
    with cluster.agreed_owner(slot_of_document(KEY)).client() as node:
        return [line.decode() for line in node.lrange(f"{name_of(KEY)}/lines", 0, -1)]


def test_what_it_acknowledged_is_applied_again(cluster, new_daemon):
    with new_daemon(cluster.address, SETTINGS).connect() as client:
        lines = []
        for turn in range(TURNS):
            with Cut(cluster, client) as cut:
                lines = [f"{turn}:{i}" for i in range(20)]
                for line in lines:
                    client.call("list.append", KEY, "lines", line)
                wait_until(cut.replaced, timeout=60, what="a promotion")
                client.call("list.append", KEY, "lines", "last")
            assert stored(cluster) == [*lines, "last"]
            told = client.call("admin.stats")
            if told["recovered_resent"] > 0:  # else it was so slow that it waited for the new master
                break
        assert told["recovered_resent"] > 0 and told["lost_states"] == 0


def test_what_has_to_be_on_a_replica_is_not_acknowledged(cluster, new_daemon):
    """Nor by the new master, until it has one; each of these is there or not."""
    with new_daemon(cluster.address, {**SETTINGS, "commit.replicas": "1"}).connect() as client:
        acknowledged, codes, i = [], set(), 0
        with Cut(cluster, client) as cut:
            while not cut.replaced() or i < 5:
                i += 1
                try:
                    client.call("list.append", KEY, "lines", str(i))
                    acknowledged.append(str(i))
                except RpcError as error:
                    codes.add(error.code)
        applied(client, "list.append", KEY, "lines", "last")
        assert codes and codes <= {"NOT_DURABLE", "UNAVAILABLE", "UNKNOWN_OUTCOME"} and acknowledged == []
        there = stored(cluster)
        assert there[-1] == "last" and len(set(there)) == len(there)


def refusal(client):
    """Of a lock that is another's; None: nobody was asked."""
    with pytest.raises(RpcError) as error:
        acquire(client, KEY, "held", wait=0)
    return error.value.code if error.value.code != "UNAVAILABLE" else None


def test_a_lock_that_was_had_there_is_not_had(cluster, new_daemon):
    """Nobody else knew of it, and has it; what was held before still is."""
    settings = {**SETTINGS, "locks.lock_lease": "1min"}
    one, other = (new_daemon(cluster.address, settings) for _ in range(2))
    with one.connect() as client, other.connect() as rival:
        for _ in range(TURNS):
            before = Cut(cluster, client, rival)
            held = acquire(client, KEY, "held", wait=20)
            with before as cut:
                late = acquire(client, KEY, "late", wait=20)
                if not cut.replaced():
                    one.process.send_signal(signal.SIGSTOP)
                    try:
                        wait_until(cut.replaced, timeout=60, what="a promotion")
                        assert wait_until(lambda: refusal(rival), what="an answer") == "LOCK_TIMEOUT"
                        lock = acquire(rival, KEY, "late", wait=20)
                        assert rival.call("pipeline", [["num.incr", KEY, "n", 1]], {"lock": lock["token"]}) == [1]
                    finally:
                        one.process.send_signal(signal.SIGCONT)
                    refused(client, "LOCK_LOST", "pipeline", [["num.incr", KEY, "n", 10]], {"lock": late["token"]})
                    assert client.call("pipeline", [["num.incr", KEY, "n", 1]], {"lock": held["token"]}) == [2]
                    return
                release(client, late)
            release(client, held)
        raise AssertionError("each time the lock was asked for too late")
