"""What rapyerd tells of itself over HTTP: true, in the form that Prometheus reads, and at nobody's cost."""

import http.client
import os
import socket
import time

import pytest
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from models import KEY, define_all, save_ada
from rpc_client import RpcError, wait_until

OPEN = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
CONNECTIONS = 16  # of daemon/metrics/http.c


class OverUnix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)  # with a timeout it would not wait for a place in the backlog
        self.sock.settimeout(self.timeout)


def ask(path, what="/metrics", headers=(), method="GET"):
    connection = OverUnix(path)
    try:
        connection.request(method, what, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def samples(path, fresh=True):
    """{(name, labels): value}; what was written less than a second ago may be given once more."""
    if fresh:
        time.sleep(1.05)
    status, text, headers = ask(path, headers=OPEN)
    assert status == 200 and headers["Content-Type"].startswith("application/openmetrics-text")
    return {(s.name, frozenset(s.labels.items())): s.value
            for family in openmetrics_parser.text_string_to_metric_families(text)
            for s in family.samples}


def one(found, name, **labels):
    return found.get((name, frozenset(labels.items())), 0)


@pytest.fixture
def place(workdir):
    return os.path.join(workdir, "metrics.sock")


@pytest.fixture
def measured(redis_server, new_daemon, place):
    return new_daemon(redis_server.address, {"metrics.listen": f"unix:{place}"})


def test_what_clients_did_is_in_the_figures(measured, place):
    with measured.connect() as client:
        save_ada(client)
        for _ in range(7):
            client.call("num.incr", KEY, "age", 1)
        for _ in range(5):
            client.call("doc.load", KEY, "age")
        with pytest.raises(RpcError):
            client.call("doc.load", KEY, "nothing")
        token = client.call("lock.acquire", KEY, "edit")["token"]
        found = samples(place)
        client.call("lock.release", token)
    assert one(found, "rapyerd_requests_total", method="num.incr") == 7
    assert one(found, "rapyerd_requests_total", method="doc.load") == 6
    assert one(found, "rapyerd_requests_total", method="lock.acquire") == 1
    assert one(found, "rapyerd_request_seconds_count", method="num.incr") == 7
    for stage in ("gather", "redis", "answer"):
        assert one(found, "rapyerd_stage_seconds_count", method="num.incr", stage=stage) == 7
    parts = sum(one(found, "rapyerd_stage_seconds_sum", method="num.incr", stage=stage)
                for stage in ("queue", "gather", "redis", "answer"))
    assert parts == pytest.approx(one(found, "rapyerd_request_seconds_sum", method="num.incr"), rel=0.01)
    assert one(found, "rapyerd_stage_seconds_count", method="doc.load", stage="redis") == 0
    assert one(found, "rapyerd_faults_total", code="UNKNOWN_FIELD") == 1
    assert one(found, "rapyerd_locks_held") == 1 and one(found, "rapyerd_lock_wait_seconds_count") == 1
    assert one(found, "rapyerd_clients") == 1 and one(found, "rapyerd_redis_up") == 1
    assert one(found, "rapyerd_commits_total") == one(found, "rapyerd_commit_seconds_count") > 0
    assert one(found, "rapyerd_limit", setting="limits.max_clients") == 10000
    assert one(found, "rapyerd_limit_used", setting="limits.max_clients") == 1
    assert one(found, "rapyerd_limit_used", setting="locks.client_locks") == 1
    assert 0 < one(found, "rapyerd_limit_used", setting="cache.cache_memory") < 1 << 20
    assert one(found, "rapyerd_received_bytes_total") > 100


def test_waiting_is_told_apart_from_being_done(measured, place, redis_server):
    with measured.connect() as client, measured.connect() as other:
        save_ada(client)
        redis_server.pause()
        first = client.send("num.incr", KEY, "age", 1)
        client.call("hello")
        time.sleep(0.2)
        second = other.send("num.incr", KEY, "age", 1)
        other.call("hello")
        assert one(samples(place), "rapyerd_requests_waiting") == 2
        redis_server.resume()
        client.wait(first)
        other.wait(second)
    found = samples(place)
    assert one(found, "rapyerd_stage_seconds_sum", method="num.incr", stage="redis") > 1
    # The second one waited until the first commit was answered, and counts that as gathering.
    assert one(found, "rapyerd_stage_seconds_sum", method="num.incr", stage="gather") > 1
    assert one(found, "rapyerd_stage_seconds_sum", method="num.incr", stage="answer") < 0.5


def test_both_forms_say_the_same(measured, place):
    with measured.connect() as client:
        save_ada(client)
    status, text, headers = ask(place)
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    old = {s.name for family in parser.text_string_to_metric_families(text) for s in family.samples}
    assert old == {name for name, _ in samples(place, fresh=False)}
    kinds = {family.name: family.type for family in parser.text_string_to_metric_families(text)}
    assert set(kinds.values()) == {"counter", "gauge", "histogram"}
    assert openmetrics.exposition.CONTENT_TYPE_LATEST.split(";")[0] in OPEN["Accept"]
    with measured.connect() as client:
        over_rpc = client.call("admin.metrics")
    assert {line.split()[2] for line in over_rpc.splitlines() if line.startswith("# TYPE")} == {
        line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def test_health_and_readiness(measured, place, redis_server):
    assert ask(place, "/healthz")[:2] == (200, "ok\n")
    wait_until(lambda: ask(place, "/readyz")[0] == 200, what="readiness")
    redis_server.kill()
    status, text, _ = wait_until(lambda: (a := ask(place, "/readyz"))[0] == 503 and a, what="unreadiness")
    assert "Redis" in text or "connect" in text
    assert ask(place, "/healthz")[0] == 200
    redis_server.start()
    wait_until(lambda: ask(place, "/readyz")[0] == 200, what="readiness again")
    assert ask(place, "/elsewhere")[0] == 404
    assert ask(place, method="POST")[0] in (405, 501)


def test_who_is_slow_or_many_keeps_nobody_waiting(measured, place):
    """Connections that say nothing, or never end their request, are bounded and end; clients do not notice."""
    idle = []
    for _ in range(CONNECTIONS + 40):
        one_more = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one_more.setblocking(False)
        try:
            one_more.connect(place)
            one_more.send(b"GET /metrics HTTP/1.1\r\nX: ")
        except OSError:  # what is not accepted waits in the backlog, and that is short
            pass
        idle.append(one_more)
    with measured.connect() as client:
        define_all(client)
        begun = time.monotonic()
        for n in range(200):
            client.call("hello")
        assert time.monotonic() - begun < 5
    open_files = len(os.listdir(f"/proc/{measured.pid}/fd"))
    assert open_files < CONNECTIONS + 30
    for one_more in idle:
        one_more.close()
    wait_until(lambda: ask(place, "/healthz")[0] == 200, what="an answer after the crowd")


def test_a_request_that_never_ends_is_cut_off(measured, place):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
        slow.connect(place)
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        slow.settimeout(1)
        begun = time.monotonic()
        ended = False
        while not ended and time.monotonic() - begun < 30:
            try:
                slow.sendall(b"X-A: b\r\n")
                ended = not slow.recv(100)
            except TimeoutError:
                pass
            except OSError:
                ended = True
        assert ended
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as long:
        long.settimeout(20)
        long.connect(place)
        try:
            long.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"y" * 100000 + b"\r\n\r\n")
            said = long.recv(1000)
        except OSError:
            said = b""
        assert b" 200 " not in said


@pytest.mark.parametrize("address", ["0.0.0.0:9680", "10.0.0.1:9680", "[::]:9680", "127.0.0.1", "unix:x", "on"])
def test_it_listens_on_this_host_only(redis_server, new_daemon, address):
    daemon = new_daemon(redis_server.address, {"metrics.listen": address}, wait=False)
    assert daemon.process.wait(20) == 2
    daemon.killed = True
    assert "metrics.listen" in daemon.log() and address in daemon.log()


def test_its_socket_is_there_as_long_as_the_daemon(measured, place):
    assert os.stat(place).st_mode & 0o777 == 0o660
    measured.kill()
    assert os.path.exists(place)
    measured.start()
    assert ask(place, "/healthz")[0] == 200
    measured.stop()
    assert not os.path.exists(place)


def test_a_port_of_this_host(redis_server, new_daemon):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    new_daemon(redis_server.address, {"metrics.listen": f"127.0.0.1:{port}"})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/metrics", headers=OPEN)
    text = connection.getresponse().read().decode()
    assert text.endswith("# EOF\n")
    assert list(openmetrics_parser.text_string_to_metric_families(text))
