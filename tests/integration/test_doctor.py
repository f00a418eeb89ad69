"""admin.doctor and rapyerctl doctor: what of Redis weakens a guarantee, and only that."""

import signal
import subprocess

import pytest

from models import KEY, save_ada
from rpc_client import wait_until
from test_rapyerctl import CTL


def doctor(client):
    """What is found, once the link is up: a daemon answers before its Redis does."""
    findings = wait_until(lambda: (found := client.call("admin.doctor"))[0]["state"] == "ok" and found,
                          what="the link")
    assert all(set(finding) == {"check", "state", "found", "advice"} for finding in findings)
    assert all((finding["state"] == "ok") == (finding["advice"] == "") for finding in findings)
    return {finding["check"]: finding for finding in findings}


def states(client):
    return {check: finding["state"] for check, finding in doctor(client).items()}


def run_ctl(daemon):
    return subprocess.run([CTL, "-s", daemon.socket, "doctor"], capture_output=True,
                          text=True, timeout=20, check=False)


def test_all_is_well(new_redis, new_daemon):
    daemon = new_daemon(new_redis(aof=True).address)
    with daemon.connect() as client:
        found = doctor(client)
    assert {finding["state"] for finding in found.values()} == {"ok"}, found
    assert set(found) >= {"link", "version", "role", "persistence", "fsync", "eviction", "replicas"}
    said = run_ctl(daemon)
    assert said.returncode == 0, said
    assert len(said.stdout.splitlines()) == len(found)
    assert "warning" not in daemon.log()


def test_each_weakness_is_named(redis_server, daemon, client, rdb):
    good = {check: "ok" for check in states(client)}
    # The Redis of the tests keeps nothing.
    assert states(client) == {**good, "persistence": "bad"}
    assert "All documents are lost" in doctor(client)["persistence"]["advice"]
    rdb.config_set("save", "3600 1")
    assert states(client) == {**good, "persistence": "warn"}
    rdb.config_set("appendonly", "yes")
    rdb.config_set("appendfsync", "always")
    assert states(client) == {**good, "aof-tail": "warn"}
    rdb.config_set("aof-load-truncated", "no")
    assert states(client) == good
    rdb.config_set("appendfsync", "everysec")
    assert states(client) == {**good, "fsync": "warn"}
    rdb.config_set("appendfsync", "always")
    rdb.config_set("maxmemory-policy", "allkeys-lru")  # without maxmemory it means nothing
    assert states(client) == good
    rdb.config_set("maxmemory", "1gb")
    assert states(client) == {**good, "eviction": "bad"}
    assert "allkeys-lru" in doctor(client)["eviction"]["found"]
    rdb.config_set("maxmemory-policy", "volatile-ttl")
    assert states(client) == {**good, "eviction": "warn"}
    rdb.config_set("maxmemory-policy", "noeviction")
    assert states(client) == good
    rdb.config_set("maxmemory", rdb.info("memory")["used_memory"])
    assert states(client)["memory"] == "warn"
    rdb.config_set("maxmemory", 0)
    rdb.config_set("min-replicas-to-write", 1)
    assert states(client) == {**good, "min-replicas": "bad"}
    said = run_ctl(daemon)
    assert said.returncode == 1
    assert "bad   min-replicas" in said.stdout and "until enough replicas" in said.stdout


def test_replicas(new_redis, new_daemon):
    master, replica = new_redis(tcp=True), new_redis(tcp=True)
    daemon = new_daemon(master.address)
    with daemon.connect() as client, replica.client() as other, master.client() as rdb:
        other.replicaof("127.0.0.1", master.port)
        wait_until(lambda: "state=online" in str(rdb.execute_command("INFO", "replication")) or
                   rdb.info("replication").get("slave0", {}).get("state") == "online",
                   what="the replica")
        found = doctor(client)
        assert found["replicas"]["state"] == "ok" and found["replicas"]["found"] == "1 online"
        assert found["min-replicas"]["state"] == "warn"
        rdb.config_set("min-replicas-to-write", 1)
        assert states(client)["min-replicas"] == "ok"
        behind = new_daemon(replica.address, wait=False)
        wait_until(lambda: "connected to" in behind.log(), what="the link to the replica")
        with behind.connect() as client_of_replica:
            assert states(client_of_replica)["role"] == "bad"


def test_what_may_not_be_seen_is_not_taken_for_good(redis_server, new_daemon, rdb):
    rdb.execute_command("ACL", "SETUSER", "shy", "on", ">secret", "~*", "&*", "+@all", "-config")
    daemon = new_daemon(redis_server.address,
                        {"redis.redis_user": "shy", "redis.redis_password": "secret"})
    with daemon.connect() as client:
        save_ada(client)
        found = doctor(client)
    assert found["persistence"]["state"] == "warn"
    assert "cannot be checked" in found["persistence"]["found"] and "NOPERM" in found["persistence"]["found"]
    assert found["eviction"]["state"] == "ok"  # INFO tells that


def test_no_link(redis_server, daemon, client):
    save_ada(client)
    redis_server.kill()
    wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="the loss of the link")
    (finding,) = client.call("admin.doctor")
    assert finding["check"] == "link" and finding["state"] == "bad" and finding["advice"]
    assert run_ctl(daemon).returncode == 1


def test_asked_while_redis_hangs(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"redis.command_timeout": "300ms"})
    with daemon.connect() as client:
        save_ada(client)
        redis_server.pause()
        (finding,) = client.call("admin.doctor")
        assert finding["check"] == "link" and finding["state"] == "bad"
        redis_server.resume()


def test_dangers_are_logged_once(redis_server, new_daemon, rdb):
    rdb.config_set("maxmemory", "1gb")
    rdb.config_set("maxmemory-policy", "allkeys-lru")
    daemon = new_daemon(redis_server.address)

    def reconnect():
        before = daemon.log().count("connected again")
        rdb.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_until(lambda: daemon.log().count("connected again") > before, what="a new link")
        with daemon.connect() as client:
            client.call("doc.load", KEY, "age")  # the link is ready, so the daemon has asked
            client.call("admin.doctor")  # asked after that, answered after that

    with daemon.connect() as client:
        save_ada(client)
        client.call("admin.doctor")
    assert daemon.log().count("eviction of Redis: allkeys-lru") == 1
    assert daemon.log().count("persistence of Redis: none") == 1
    reconnect()
    assert daemon.log().count("eviction of Redis") == 1
    rdb.config_set("maxmemory-policy", "volatile-lru")
    reconnect()
    assert daemon.log().count("eviction of Redis: volatile-lru") == 1
    assert daemon.log().count("persistence of Redis") == 1


@pytest.mark.parametrize("params", [[1], [{}]])
def test_parameters_are_refused(client, params):
    with pytest.raises(Exception, match="^BAD_REQUEST: "):
        client.call("admin.doctor", *params)


def test_nobody_waits_for_the_answer_any_more(redis_server, daemon, client):
    save_ada(client)
    redis_server.pause()
    with daemon.connect() as impatient:
        impatient.send("admin.doctor")
        client.call("hello")
    daemon.process.send_signal(signal.SIGTERM)  # with one more question open
    client.send("admin.doctor")
    redis_server.resume()
    daemon.stop()
