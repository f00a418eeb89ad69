"""What is told of each node of a cluster: by the doctor, the figures, and rapyerctl."""

import json
import re
import subprocess

import pytest

from redis_cluster import SLOTS, can_talk, slot_of_document
from rpc_client import wait_until
from test_bad_input import refused
from test_cluster import FAST, two_slots
from test_rapyerctl import CTL

OF_THE_WHOLE = {"slots", "coherence"}


@pytest.fixture
def daemon(calm_cluster, new_daemon):
    return new_daemon(calm_cluster.address, FAST)


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


def test_what_a_master_that_goes_takes_with_it(calm_cluster, daemon):
    node = calm_cluster.masters[0]
    names = ("cluster-require-full-coverage", "cluster-node-timeout")
    with daemon.connect() as client, node.client() as rdb:
        all_up(client)
        before = {n: rdb.config_get(n)[n] for n in names}
        try:
            for coverage, timeout, patience, wanted in (
                    ("yes", 15000, "5s", [("warn", "no"), ("warn", "commit.queue_time")]),
                    ("no", 15000, "60s", [("ok", ""), ("warn", "locks.lock_lease")]),
                    ("no", 2000, "4900ms", [("ok", ""), ("warn", "commit.queue_time")]),
                    ("no", 2000, "5s", [("ok", ""), ("ok", "")])):
                client.call("admin.set", "commit.queue_time", patience)
                for n, value in zip(names, (coverage, timeout), strict=True):
                    rdb.config_set(n, value)
                found = doctor(client)
                for check, (state, advice) in zip(("coverage", "failover"), wanted, strict=True):
                    finding = found[check][name(node)]
                    assert finding["state"] == state and advice in finding["advice"], finding
        finally:
            for n, value in before.items():
                rdb.config_set(n, value)


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
            rdb.client_kill_filter(_type="normal", skipme=True)
            warning = f"eviction of Redis at {name(weak)}: allkeys-lru"
            wait_until(lambda: warning in daemon.log(), what="the warning, when it is connected again")
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
    poor.ask("ACL", "SETUSER", "worker", "-hset", *["-spublish"] * can_talk(calm_cluster), "-cluster", "+cluster|slots", "+cluster|info")
    daemon = new_daemon(calm_cluster.address, {**user})
    with daemon.connect() as client:
        all_up(client)
        found = doctor(client)["rights"]
        assert {n for n, f in found.items() if f["state"] != "ok"} == {name(poor)}
        bad = found[name(poor)]
        assert bad["state"] == "bad"
        assert bad["found"] == "missing: +hset +cluster|nodes" + " +spublish" * can_talk(calm_cluster)
        poor.ask(*bad["advice"][bad["advice"].index("ACL SETUSER"):].split())
        assert {f["state"] for f in doctor(client)["rights"].values()} == {"ok"}
    for node in calm_cluster.masters:
        node.ask("ACL", "DELUSER", "worker")


def test_a_node_that_is_away(calm_cluster, daemon):
    """It is there for others, and refuses us: so nobody is promoted in its place."""
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
            client.call("admin.set", "commit.queue_time", "100ms")
            refused(client, "UNAVAILABLE", "num.incr", keys[0], "n", 1)
            client.call("admin.set", "commit.queue_time", "20s")
            assert client.call("num.incr", keys[1], "n", 1) == 2
            assert "2 of 3 masters up" in rapyerctl(daemon, "top", "0.1", "1").stdout
            assert f'rapyerd_node_up{{node="{name(away)}"}} 0' in client.call("admin.metrics")
            rdb.config_set("requirepass", "")
        all_up(client)
        assert client.call("num.incr", keys[0], "n", 1) == 2


def test_refusals_say_that_it_does_not_answer(calm_cluster, new_daemon):
    """And not that its slots move. Of several documents the one that is there comes first."""
    daemon = new_daemon(calm_cluster.address, {**FAST, "redis.command_timeout": "200ms"})
    with daemon.connect() as client:
        keys = two_slots(client)
        all_up(client)
        away = calm_cluster.owner(slot_of_document(keys[0]))
        client.call("admin.set", "commit.queue_time", "500ms")
        away.pause()
        try:
            for call in (["doc.get", keys[0], {"fresh": True}], ["doc.get_many", keys[::-1]], ["doc.get", keys[0]],
                         ["num.incr", keys[0], "n", 1]):
                assert f"{name(away)}: " in refused(client, "UNAVAILABLE", *call)
        finally:
            away.resume()
        client.call("admin.set", "commit.queue_time", "20s")
        assert [d["n"] for d in client.call("doc.get_many", keys)] == [1, 1]


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
