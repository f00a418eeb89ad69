"""Each query of the dashboard and of the alerts, by Prometheus, on what a daemon at work tells it."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.parse
import urllib.request

import pytest

from daemon_process import REPOSITORY
from models import KEY, save_ada
from rpc_client import RpcError, wait_until

RULES = os.path.join(REPOSITORY, "conf/prometheus/rapyerd.rules.yml")
DASHBOARD = os.path.join(REPOSITORY, "conf/grafana/rapyerd.json")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    def __init__(self, directory, target):
        self.port = free_port()
        os.makedirs(directory)
        config = os.path.join(directory, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"""
global: {{scrape_interval: 200ms, evaluation_interval: 500ms}}
rule_files: [{RULES}]
scrape_configs: [{{job_name: rapyerd, static_configs: [{{targets: ["{target}"]}}]}}]
""")
        with open(os.path.join(directory, "log"), "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}"], stderr=log)

    def ask(self, what, **params):
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(params)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def scraped(self, times):
        try:
            result = self.query("count_over_time(rapyerd_redis_up[1m])")
        except OSError:
            return False
        return bool(result) and float(result[0]["value"][1]) >= times

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def watched(redis_server, new_daemon, workdir):
    port = free_port()
    daemon = new_daemon(redis_server.address, {"metrics.listen": f"127.0.0.1:{port}"})
    prometheus = Prometheus(f"{workdir}/prometheus", f"127.0.0.1:{port}")
    yield daemon, prometheus
    prometheus.stop()


def work(client):
    for _ in range(20):
        client.call("num.incr", KEY, "age", 1)
        client.call("doc.load", KEY, "age")
    with pytest.raises(RpcError):
        client.call("doc.load", KEY, "nothing")
    client.call("lock.release", client.call("lock.acquire", KEY, "edit")["token"])


def test_each_query_has_an_answer(watched, redis_server):
    daemon, prometheus = watched
    with daemon.connect() as client:
        save_ada(client)
        work(client)
        wait_until(lambda: prometheus.scraped(6), what="some scrapes")
        work(client)
        wait_until(lambda: prometheus.scraped(14), what="more scrapes")
        with open(DASHBOARD, encoding="utf-8") as file:
            dashboard = json.load(file)
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        assert len(queries) > 20
        for query in queries:
            query = query.replace("$__rate_interval", "10s").replace("$instance", ".*")
            result = prometheus.query(query)
            assert result, f"no answer to {query}"
            assert any(sample["value"][1] != "NaN" for sample in result), query

        groups = prometheus.ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        wait_until(lambda: all(r["health"] == "ok" for g in prometheus.ask("rules")["groups"]
                               for r in g["rules"]), what="the evaluation of all rules")
        assert len(rules) >= 10 and prometheus.ask("alerts")["alerts"] == []
        # Without its condition each speaks of something that is there.
        for rule in rules:
            sides = re.sub(r"(==|>|<)\s*[\d.]+$", "", rule["query"])
            for name in set(re.findall(r"\b(rapyerd_(?!node_)\w+|up)\b", sides)):  # nodes: of a cluster alone
                assert prometheus.query(name), f"{rule['name']} goes by {name}, which is not told"
        redis_server.kill()
        wait_until(lambda: "RapyerdRedisDown" in {a["labels"]["alertname"]
                                                  for a in prometheus.ask("alerts")["alerts"]},
                   what="the alert on Redis")
