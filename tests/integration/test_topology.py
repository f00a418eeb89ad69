"""In front of what rapyerd cannot work with, the start and the doctor say what it is."""

import subprocess

import pytest

from models import KEY, save_ada
from redis_server import SERVER, free_port
from rpc_client import RpcError, wait_until
from test_doctor import doctor

IMPATIENT = {"commit.queue_time": "200ms", "redis.reconnect_max": "50ms"}


def cluster_node():
    """Its nodes talk to each other on the port that is higher by 10000: one of its own for each."""
    port = next(port for port in iter(free_port, 0) if port < 55000)
    return ["--cluster-enabled", "yes", "--port", str(port)]


def said_everywhere(daemon, text):
    """In the log, once; by the doctor; to whoever asks for something."""
    wait_until(lambda: text in daemon.log(), what="the log line")
    with daemon.connect() as client:
        (finding,) = client.call("admin.doctor")
        assert finding["check"] == "link" and finding["state"] == "bad"
        assert text in finding["found"]
        with pytest.raises(RpcError, match="^UNAVAILABLE: .*" + text):
            client.call("define", {"name": "M", "kind": "atomic", "fields": []})
    assert daemon.log().count(text) == 1


def test_cluster(new_redis, new_daemon):
    node = new_redis(options=cluster_node())
    said_everywhere(new_daemon(node.address, IMPATIENT), "is a node of a cluster")


def test_sentinel(workdir, new_daemon):
    port = free_port()
    path = f"{workdir}/sentinel.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"port {port}\ndir {workdir}\nlogfile {workdir}/sentinel.log\n")
    sentinel = subprocess.Popen([SERVER, path, "--sentinel"])
    try:
        said_everywhere(new_daemon(f"127.0.0.1:{port}", IMPATIENT), "is a Sentinel")
    finally:
        sentinel.terminate()
        sentinel.wait()


def test_it_waits_for_a_better_one(new_redis, new_daemon):
    """The address may lead to a right one later."""
    node = new_redis(options=cluster_node())
    daemon = new_daemon(node.address, IMPATIENT)
    wait_until(lambda: "is a node of a cluster" in daemon.log(), what="the refusal")
    node.options = []
    node.restart()
    with daemon.connect() as client:
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        save_ada(client)


def test_replica(new_redis, new_daemon):
    master, replica = new_redis(tcp=True), new_redis(tcp=True)
    with new_daemon(master.address).connect() as client:
        save_ada(client)
    with replica.client() as rdb:
        rdb.replicaof("127.0.0.1", master.port)
        wait_until(lambda: rdb.exists("rapyer:{User:ada}"), what="the copy")
    daemon = new_daemon(replica.address)
    wait_until(lambda: "role of Redis: a replica" in daemon.log(), what="the warning")
    with daemon.connect() as client:
        assert doctor(client)["role"]["state"] == "bad"
        assert client.call("doc.get", KEY)["name"] == "Ada"  # that works
        with pytest.raises(RpcError, match="^UNAVAILABLE: .*READONLY"):
            client.call("num.incr", KEY, "age", 1)
