"""What is told of each node of a cluster: by the doctor, the figures, and rapyerctl; and nodes with
names, and certificates of their own."""

import json
import re
import subprocess

import pytest

from certificates import common
from redis_cluster import EXPERIMENTAL, SLOTS, Cluster, slot_of_document
from rpc_client import wait_until
from test_bad_input import refused
from test_cluster import FAST, two_slots
from test_rapyerctl import CTL

OF_THE_WHOLE = {"slots", "coherence"}


@pytest.fixture
def daemon(calm_cluster, new_daemon):
    return new_daemon(calm_cluster.address, {**EXPERIMENTAL, **FAST})


def doctor(client):
    """{check: {node: finding}}; of what is said of the whole the node is None."""
    found = {}
    for finding in client.call("admin.doctor"):
        assert (finding["state"] == "ok") == (finding["advice"] == "")
        found.setdefault(finding["check"], {})[finding.get("node")] = finding
    return found


def name(node, host="127.0.0.1"):
    return f"{host}:{node.port}"


def rapyerctl(daemon, *words):
    return subprocess.run([CTL, "-s", daemon.socket, *words], capture_output=True, text=True, timeout=20,
                          check=False)


def all_up(client, masters=3):
    def up():
        nodes = client.call("admin.stats")["nodes"]
        return sum(n["slots"] for n in nodes if n["up"]) == SLOTS and len(nodes) >= masters
    wait_until(up, what="links to all masters")


def test_each_node_has_its_doctor(calm_cluster, daemon):
    weak, *others = calm_cluster.masters
    with daemon.connect() as client:
        all_up(client)
        found = doctor(client)
        names = {name(node) for node in calm_cluster.masters}
        assert all(set(of) == ({None} if check in OF_THE_WHOLE else names) for check, of in found.items())
        assert set(found) >= OF_THE_WHOLE | {"link", "rights", "role", "eviction", "replicas", "cluster", "failover"}
        assert {f["state"] for f in found["rights"].values()} == {"ok"}
        assert "cluster-node-timeout 15.0 s" in found["failover"][name(weak)]["found"]  # our requests wait 5 s
        assert {f["state"] for f in found["failover"].values()} == {"warn"}
        with weak.client() as rdb:
            rdb.config_set("maxmemory-policy", "allkeys-lru")
            rdb.config_set("maxmemory", "1gb")
            found, said = doctor(client), rapyerctl(daemon, "doctor")
            rdb.config_set("maxmemory", 0)
            rdb.config_set("maxmemory-policy", "noeviction")
        assert {n: f["state"] for n, f in found["eviction"].items()} == {
            name(weak): "bad", **{name(node): "ok" for node in others}}
    assert said.returncode == 1
    lines = said.stdout.splitlines()
    assert sum(" rights " in line for line in lines) == 1  # what all say alike
    assert any(re.match(rf"bad +eviction +{name(weak)}: allkeys-lru", line) for line in lines), said.stdout
    assert any(re.match(rf"ok +eviction +{', '.join(name(node) for node in others)}: no maxmemory", line)
               or re.match(rf"ok +eviction +{', '.join(name(node) for node in reversed(others))}: ", line)
               for line in lines), said.stdout


def test_rights_are_those_of_the_node(calm_cluster, new_daemon):
    """Its rehearsal is on keys that are there."""
    user = {"redis.redis_user": "worker", "redis.redis_password": "secret"}
    rule = ["on", ">secret", "resetkeys", "~rapyer:*", "resetchannels", "&rapyer:*", "&__redis__:invalidate", "+@all"]
    for node in calm_cluster.masters:
        node.ask("ACL", "SETUSER", "worker", *rule)
    poor = calm_cluster.masters[2]
    poor.ask("ACL", "SETUSER", "worker", "-hset", "-cluster|nodes")
    daemon = new_daemon(calm_cluster.address, {**EXPERIMENTAL, **user})
    with daemon.connect() as client:
        all_up(client)
        found = doctor(client)["rights"]
        assert {n for n, f in found.items() if f["state"] != "ok"} == {name(poor)}
        bad = found[name(poor)]
        assert bad["state"] == "bad" and bad["found"] == "missing: +hset +cluster|nodes"
        poor.ask(*bad["advice"][bad["advice"].index("ACL SETUSER"):].split())
        assert {f["state"] for f in doctor(client)["rights"].values()} == {"ok"}
    for node in calm_cluster.masters:
        node.ask("ACL", "DELUSER", "worker")


def test_a_node_that_is_away(calm_cluster, new_daemon):
    """It is there for others, and refuses us: so nobody is promoted in its place."""
    daemon = new_daemon(calm_cluster.address, {**EXPERIMENTAL, **FAST, "commit.queue_time": "100ms"})
    with daemon.connect() as client:
        keys = two_slots(client)
        all_up(client)
        away = calm_cluster.owner(slot_of_document(keys[0]))
        assert away is not calm_cluster.owner(slot_of_document(keys[1]))
        with away.client() as rdb:
            rdb.config_set("requirepass", "other")
            rdb.client_kill_filter(_type="normal", skipme=True)
            wait_until(lambda: "wants a password" in doctor(client)["link"][name(away)]["found"], what="the loss of it")
            link = doctor(client)["link"][name(away)]
            slots = next(n["slots"] for n in client.call("admin.stats")["nodes"] if n["address"] == name(away))
            assert link["state"] == "bad" and f"{slots} slots" in link["found"]
            assert sum(f["state"] == "ok" for f in doctor(client)["link"].values()) == 2
            refused(client, "UNAVAILABLE", "num.incr", keys[0], "n", 1)
            assert client.call("num.incr", keys[1], "n", 1) == 2
            assert "2 of 3 masters up" in rapyerctl(daemon, "top", "0.1", "1").stdout
            assert f'rapyerd_node_up{{node="{name(away)}"}} 0' in client.call("admin.metrics")
            rdb.config_set("requirepass", "")
        all_up(client)
        assert client.call("num.incr", keys[0], "n", 1) == 2


def test_figures_of_nodes(calm_cluster, daemon):
    with daemon.connect() as client:
        keys = two_slots(client)
        all_up(client)
        of = name(calm_cluster.owner(slot_of_document(keys[0])))

        def asked():
            return {n["address"]: n["requests"] for n in json.loads(rapyerctl(daemon, "stats").stdout)["nodes"]}

        before = asked()
        for _ in range(20):
            client.call("num.incr", keys[0], "n", 1)
        assert asked()[of] >= before[of] + 20
        text = client.call("admin.metrics")
        for figure in ("up", "slots", "requests_total", "unsent_bytes"):
            assert len(re.findall(rf"^rapyerd_node_{figure}\{{node=", text, re.M)) == 3, figure
    assert "3 of 3 masters up" in rapyerctl(daemon, "top", "0.1", "1").stdout


@pytest.fixture
def named_cluster(workdir):
    """Its nodes speak TLS, each with a certificate of its own, and announce a name."""
    names = ["--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname"]
    started = Cluster(workdir, replicas=0, tls=True, options=names, timeout=15000)
    for i, node in enumerate(started.nodes):
        give_certificate(node, common.authority().sign(f"node{i}"))
    yield started
    started.stop()


def give_certificate(node, pair):
    with node.client() as rdb:
        rdb.execute_command("CONFIG", "SET", "tls-cert-file", pair[0], "tls-key-file", pair[1])


def test_names_and_certificates(named_cluster, new_daemon):
    daemon = new_daemon(named_cluster.address, {**EXPERIMENTAL, **FAST, **common.settings()})
    with daemon.connect() as client:
        keys = two_slots(client)
        wait_until(lambda: {n["address"] for n in client.call("admin.stats")["nodes"] if n["slots"]} ==
                   {name(node, "localhost") for node in named_cluster.nodes}, what="their names")
        all_up(client)
        tls = [f for n, f in doctor(client)["tls"].items() if n.startswith("localhost")]
        assert len(tls) == 3 and all("TLSv1.3" in f["found"] and f["state"] == "ok" for f in tls)
        # One of them gets a certificate for another name.
        node = named_cluster.owner(slot_of_document(keys[0]))
        give_certificate(node, common.authority().sign("elsewhere", "DNS:elsewhere,IP:127.0.0.1"))
        with node.client() as rdb:
            rdb.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: "not for localhost; redis.tls_server_name" in doctor(client)["link"][name(node, "localhost")]["found"],
                   what="the refusal")
        assert client.call("num.incr", keys[1], "n", 1) == 2
        give_certificate(node, common.authority().sign("again"))
        all_up(client)
        assert client.call("num.incr", keys[0], "n", 1) == 2
