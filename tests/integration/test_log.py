"""What rapyerd writes about itself: for people, for programs and for the journal, and nothing that is secret."""

import json
import os
import re
import socket
import subprocess

import pytest

from daemon_process import binary, built
from models import KEY, save_ada
from rpc_client import RpcError, wait_until


def lines(daemon):
    return daemon.log().splitlines()


def refused(daemon):
    """A line with all there is to say: who asked for what, and was told what."""
    with daemon.connect() as client:
        with pytest.raises(RpcError, match="^FORBIDDEN"):
            client.call("doc.get", KEY)
        return os.getpid(), os.getuid()


@pytest.fixture
def strict(redis_server, new_daemon, workdir):
    def new(form):
        rules = os.path.join(workdir, "rights")
        with open(rules, "w", encoding="utf-8") as file:
            file.write("* stats Nothing\n")
        with new_daemon(redis_server.address).connect() as client:
            save_ada(client)
        return new_daemon(redis_server.address, {"log.format": form, "rights.file": rules})
    return new


def test_json(strict):
    daemon = strict("json")
    pid, uid = refused(daemon)
    daemon.settings["log.log_level"] = 'lo"ud\\ \u00fc'
    daemon.write_config()
    daemon.reload()
    wait_until(lambda: "is not taken over" in daemon.log(), what="the error")
    said = [json.loads(line) for line in lines(daemon) if line.startswith("{")]
    assert len(said) == len([line for line in lines(daemon) if "==" not in line])
    line = next(line for line in said if line.get("code") == "FORBIDDEN")
    assert (line["level"], line["pid"], line["uid"], line["client"]) == ("warning", pid, uid, 2)
    assert line["request"] > 0 and line["msg"].startswith("refused: doc.get of User") and line["program"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert any('"lo"ud\\ \u00fc" is not one of' in line["msg"] for line in said)


def test_logfmt(strict):
    daemon = strict("logfmt")
    pid, uid = refused(daemon)
    line = next(line for line in lines(daemon) if "code=FORBIDDEN" in line)
    assert re.match(rf"time=\S+ level=warning client=2 program=\S+ pid={pid} uid={uid} request=\d+ code=FORBIDDEN "
                    r'msg="refused: doc\.get of User: .*\\"read\\" or \\"doc\.get\\""$', line), line


def test_the_format_changes_while_it_runs(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address)
    with daemon.connect() as client:
        client.call("admin.set", "log.format", "json")
        said = [json.loads(line)["msg"] for line in lines(daemon) if line.startswith("{")]
        assert "log.format is json until the next start" in said
        with pytest.raises(RpcError, match='"xml" is not one of text, logfmt, json'):
            client.call("admin.set", "log.format", "xml")


def test_the_journal_is_given_fields(workdir, redis_server):
    """Where the service manager says that standard error is the journal's."""
    path = os.path.join(workdir, "journal")
    stream, end = socket.socketpair()
    with stream, end, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        journal.settimeout(20)
        at = os.fstat(end.fileno())
        daemon = subprocess.Popen(
            [binary(), "-o", f"listen.socket={workdir}/d.sock", "-o", f"redis.redis={redis_server.address}",
             "-o", f"redis.state_dir={workdir}/state"], stderr=end,
            env={**os.environ, "ASAN_OPTIONS": "verify_asan_link_order=0", "PRELOAD_JOURNAL": path,
                 "LD_PRELOAD": built("tests/preload_journal.so"), "JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino}"})
        try:
            said = "".join(journal.recv(1 << 16).decode() for _ in range(3))
        finally:
            daemon.terminate()
            daemon.wait()
    assert re.search(r"^MESSAGE=connected to Redis", said, re.MULTILINE)
    assert "PRIORITY=5\n" in said and "SYSLOG_IDENTIFIER=rapyerd\n" in said


def test_no_secret_is_written(new_redis, new_daemon):
    secret = "not-for-the-log"
    redis = new_redis()
    redis.client().config_set("requirepass", secret)
    daemon = new_daemon(redis.address, {"redis.redis_password": secret, "log.log_level": "debug"})
    with daemon.connect() as client:
        save_ada(client)
        assert secret not in str(client.call("admin.config"))
        client.call("doc.save", KEY, {"name": secret})
        with pytest.raises(RpcError):
            client.call("set", KEY, "age", secret)
        daemon.reload()
        client.call("admin.set", "log.log_level", "info")
        redis.kill()
        wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="the loss of Redis")
    daemon.stop()
    assert secret not in daemon.log() and "connected to Redis" in daemon.log()
