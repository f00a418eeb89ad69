"""A cluster over TLS whose nodes announce names, and have certificates of their own."""

import shutil
import subprocess

import pytest

from certificates import Authority, common
from redis_cluster import Cluster, slot_of_document
from redis_server import SERVER
from rpc_client import wait_until
from test_cluster import FAST, two_slots
from test_cluster_nodes import all_up, doctor, name

# Redis 6.2 has no names for nodes.
NAMED = "v=6." not in subprocess.run([SERVER, "--version"], capture_output=True, text=True, check=True).stdout
HOST = "localhost" if NAMED else "127.0.0.1"


@pytest.fixture
def named_cluster(workdir):
    """Its nodes speak TLS, each with a certificate of its own, and announce a name."""
    names = ["--cluster-announce-hostname", HOST, "--cluster-preferred-endpoint-type", "hostname"]
    started = Cluster(workdir, replicas=0, tls=True, options=names if NAMED else [], timeout=15000)
    for i, node in enumerate(started.nodes):
        give_certificate(node, common.authority().sign(f"node{i}"))
    yield started
    started.stop()


def give_certificate(node, pair):
    with node.client() as rdb:
        rdb.execute_command("CONFIG", "SET", "tls-cert-file", pair[0], "tls-key-file", pair[1])


def test_names_and_certificates(named_cluster, new_daemon, workdir):
    trusted = shutil.copy(common.authority().certificate, f"{workdir}/trusted.crt")
    daemon = new_daemon(named_cluster.address,
                        {**FAST, **common.settings(), "redis.tls_ca_file": trusted})
    with daemon.connect() as client:
        keys = two_slots(client)
        wait_until(lambda: {n["address"] for n in client.call("admin.stats")["nodes"] if n["slots"]} ==
                   {name(node, HOST) for node in named_cluster.nodes}, what="their names")
        all_up(client)
        tls = [f for n, f in doctor(client)["tls"].items() if n.startswith(HOST)]
        assert len(tls) == 3 and all("TLSv1.3" in f["found"] and f["state"] == "ok" for f in tls)
        # One of them gets a certificate for another name.
        node = named_cluster.owner(slot_of_document(keys[0]))
        give_certificate(node, common.authority().sign("elsewhere", "DNS:elsewhere"))
        with node.client() as rdb:
            rdb.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: f"is for elsewhere, not for {HOST}" in doctor(client)["link"][name(node, HOST)]["found"],
                   what="the refusal")
        assert client.call("num.incr", keys[1], "n", 1) == 2
        # It gets a good one, of a CA that is trusted from the reload on.
        other = Authority(f"{workdir}/other", name="another CA of the tests")
        give_certificate(node, other.sign("again"))
        wait_until(lambda: "is signed by nobody" in doctor(client)["link"][name(node, HOST)]["found"], what="distrust")
        with open(other.certificate, encoding="ascii") as more, open(trusted, "a", encoding="ascii") as file:
            file.write(more.read())
        daemon.reload()
        all_up(client)
        assert client.call("num.incr", keys[0], "n", 1) == 2
