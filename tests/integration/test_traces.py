"""Where a request belongs among those of other services: told with all that is said of it, and to a collector, for
whom nobody waits."""

import http.server
import json
import os
import socket
import subprocess
import threading
import time

import pytest

from models import KEY, save_ada
from rpc_client import RpcError, wait_until
from test_administration import CTL

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


class Collector:
    """Takes what is POSTed; answers with `status`, after `delay` seconds."""

    def __init__(self, port=0):
        self.bodies, self.status, self.delay = [], 200, 0
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(collector.delay)
                self.send_response(collector.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
                if collector.status == 200:
                    collector.bodies.append(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def spans(self):
        return [span for body in self.bodies for resource in body["resourceSpans"]
                for scope in resource["scopeSpans"] for span in scope["spans"]]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector():
    one = Collector()
    yield one
    one.stop()


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])}


def figure(client, name):
    return next(int(line.split()[1]) for line in client.call("admin.metrics").splitlines()
                if line.startswith(name + " "))


def test_it_is_told_with_what_is_said_of_the_request(redis_server, new_daemon, workdir):
    daemon = new_daemon(redis_server.address, {"log.slow_time": "1ms"})
    with daemon.connect() as client, daemon.connect() as monitor:
        save_ada(client)
        monitor.call("admin.monitor", {"method": "num.incr"})
        client.notify("trace", UNSAMPLED)
        redis_server.pause()
        traced = client.send("num.incr", KEY, "age", 1)
        other = client.send("num.incr", KEY, "age", 1)
        client.call("hello")
        time.sleep(0.05)
        redis_server.resume()
        client.wait(traced)
        client.wait(other)
        monitor.call("hello")
        lines = {p[0]["request"]: p[0] for _, p in monitor.notifications}
        assert lines[traced]["trace"] == TRACE and lines[other]["trace"] is None
        slow = {line["request"]: line for line in client.call("admin.slowlog")}
        assert slow[traced]["trace"] == TRACE and slow[other]["trace"] is None
    said = subprocess.run([CTL, "-s", daemon.socket, "slowlog"], capture_output=True, text=True, check=True).stdout
    assert f"request {traced}  num.incr {KEY}  trace {TRACE}" in said
    rules = os.path.join(workdir, "rights")
    with open(rules, "w", encoding="utf-8") as file:
        file.write("* stats Nothing\n")
    strict = new_daemon(redis_server.address, {"rights.file": rules})
    with strict.connect() as client:
        client.notify("trace", SAMPLED)
        with pytest.raises(RpcError, match="^FORBIDDEN"):
            client.call("doc.get", KEY)
    assert f"request 1, trace {TRACE}: refused" in strict.log()


def test_what_is_no_traceparent_is_ignored_and_of_many_the_last_are_known(daemon):
    with daemon.connect() as client, daemon.connect() as monitor:
        save_ada(client)
        monitor.call("admin.monitor", {"method": "doc.load"})
        for text in ("", "x", SAMPLED + "x", SAMPLED.upper(), 7, None, b"\xff" * 55, ["a"]):
            client.notify("trace", text)
            client.call("doc.load", KEY, "age")
        client.notify("trace")
        client.notify("trace", SAMPLED, SAMPLED)
        client.call("doc.load", KEY, "age")
        for _ in range(200):
            client.notify("trace", SAMPLED)
            client.send("doc.load", KEY, "age")
        client.call("hello")
        monitor.call("hello")
        traces = [p[0]["trace"] for _, p in monitor.notifications]
        assert traces[:9] == [None] * 9 and traces[9:] == [TRACE] * 200


def test_the_library_tells_it(daemon):
    with daemon.connect() as client, daemon.connect() as monitor:
        save_ada(client)
        monitor.call("admin.monitor", {"method": "doc.load"})
        for parent in (SAMPLED, "nonsense", ""):
            subprocess.run([CTL, "-s", daemon.socket, "get", KEY, "age"], check=True, capture_output=True,
                           env={**os.environ, "TRACEPARENT": parent})
        monitor.call("hello")
        assert [p[0]["trace"] for _, p in monitor.notifications] == [TRACE, None, None]


def test_spans(redis_server, new_daemon, collector):
    daemon = new_daemon(redis_server.address, {"metrics.traces": collector.url})
    with daemon.connect() as client:
        save_ada(client)
        client.call("doc.save", "User:\"<\u202e", {"name": "x"})
        begun = time.time_ns()
        client.notify("trace", SAMPLED)
        client.call("num.incr", KEY, "age", 1)
        for parent in (UNSAMPLED, SAMPLED):
            client.notify("trace", parent)
            with pytest.raises(RpcError):
                client.call("doc.load", "User:\"<\u202e", "nothing")
        client.call("num.incr", KEY, "age", 1)
        wait_until(lambda: len([s for s in collector.spans() if s["kind"] == 2]) == 2, what="the spans")
        assert figure(client, "rapyerd_spans_sent_total") == 2
        number = client.call("admin.clients")[0]["number"]
    incr, load = (s for s in collector.spans() if s["kind"] == 2)
    assert incr["traceId"] == TRACE and incr["parentSpanId"] == SPAN and incr["name"] == "num.incr"
    assert begun - 10**9 < int(incr["startTimeUnixNano"]) < int(incr["endTimeUnixNano"]) < time.time_ns() + 10**9
    said = attributes(incr)
    assert said["rapyerd.key"] == KEY and said["rapyerd.client"] == str(number) and incr["status"] == {}
    assert load["status"] == {"code": 2, "message": "UNKNOWN_FIELD"} and attributes(load)["rapyerd.key"] == "User:\"<\u202e"
    stages = [s for s in collector.spans() if s["kind"] == 1 and s["parentSpanId"] == incr["spanId"]]
    assert {"gather", "redis", "answer"} <= {s["name"] for s in stages}
    assert all(incr["startTimeUnixNano"] <= s["startTimeUnixNano"] <= s["endTimeUnixNano"] <= incr["endTimeUnixNano"]
               for s in stages)
    ids = [s["spanId"] for s in collector.spans()]
    assert len(set(ids)) == len(ids)


def test_a_collector_that_does_not_take_them_keeps_nobody(redis_server, new_daemon):
    collector = Collector()
    collector.status = 500
    daemon = new_daemon(redis_server.address, {"metrics.traces": collector.url})
    with daemon.connect() as client:
        save_ada(client)
        for _ in range(2000):
            client.notify("trace", SAMPLED)
            client.send("doc.load", KEY, "age")
        client.call("hello")
        wait_until(lambda: figure(client, "rapyerd_spans_dropped_total") > 500, what="the bound")
        assert daemon.log().count("spans are not taken") == 1
        collector.status, collector.delay = 200, 2
        wait_until(lambda: figure(client, "rapyerd_spans_sent_total") > 0 or
                   (client.notify("trace", SAMPLED), client.call("doc.load", KEY, "age"))[0], what="the first", timeout=30)
        collector.stop()
        client.notify("trace", SAMPLED)
        client.call("doc.load", KEY, "age")
        wait_until(lambda: daemon.log().count("spans are not taken") == 2, what="that it is gone")
        assert "spans are taken by the collector again" in daemon.log()


def test_it_ends_while_a_collector_is_silent(redis_server, new_daemon):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        daemon = new_daemon(redis_server.address,
                            {"metrics.traces": f"http://localhost:{silent.getsockname()[1]}/v1/traces"})
        with daemon.connect() as client:
            save_ada(client)
            client.notify("trace", SAMPLED)
            client.call("doc.load", KEY, "age")
            silent.settimeout(20)
            link, _ = silent.accept()
            assert link.recv(65536).startswith(b"POST /v1/traces HTTP/1.1")
            assert client.call("num.incr", KEY, "age", 1) == 37
        daemon.stop()
        link.close()


@pytest.mark.parametrize("url", ["on", "https://127.0.0.1/", "http://collector.example/v1/traces", "http://a:b@127.0.0.1/",
                                 "http:///v1/traces", "127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces?key=x"])
def test_other_addresses_are_refused(redis_server, new_daemon, url):
    with pytest.raises(AssertionError, match="metrics.traces: .* is not off, or as http://"):
        new_daemon(redis_server.address, {"metrics.traces": url})
