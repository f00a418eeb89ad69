"""rapyerctl: JSON in and out, and what it says when something is wrong."""

import grp
import json
import os
import shutil
import subprocess

import pytest

from daemon_process import binary
from rpc_client import wait_until

CTL = os.path.join(os.path.dirname(os.path.dirname(binary())), "client", "rapyerctl")
MODELS = [
    {"name": "Task", "kind": "atomic", "fields": [
        {"name": "title", "type": "str"},
        {"name": "tags", "type": "list<str>"}]},
    {"name": "Project", "kind": "atomic", "fields": [
        {"name": "name", "type": "str"},
        {"name": "stars", "type": "int", "default": 0},
        {"name": "logo", "type": "bytes", "default": {"$bytes": ""}},
        {"name": "since", "type": "optional<datetime>"},
        {"name": "extra", "type": "any", "default": None},
        {"name": "tasks", "type": "list<Task>"}]},
]


class Failed(Exception):
    def __init__(self, code, text):
        super().__init__(f"exit status {code}: {text}")
        self.code = code
        self.text = text


@pytest.fixture
def ctl(daemon, workdir):
    def run(*args, stdin=None, socket=daemon.socket):
        done = subprocess.run([CTL, "-s", socket, *args], input=stdin, capture_output=True,
                              text=True, timeout=30, check=False)
        if done.returncode:
            raise Failed(done.returncode, done.stderr)
        assert done.stderr == ""
        return done.stdout

    path = os.path.join(workdir, "models.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(MODELS, file)
    assert [json.loads(line) for line in run("define", path).splitlines()] == [
        {"model": "Task", "revision": 1}, {"model": "Project", "revision": 1}]
    return run


def test_a_document_comes_back_as_it_went(ctl):
    document = {"name": "Site \"ü\"\n", "stars": 2**63 - 1, "logo": {"$bytes": "AAH/gA=="},
                "since": {"$time": "2024-01-31T12:00:00.5Z"},
                "extra": {"a": [1, -2.5, None, True, "\u0000"]},
                "tasks": [{"@pk": "t1", "title": "one", "tags": ["x"]}]}
    assert ctl("save", "Project:1", json.dumps(document)) == ""
    assert json.loads(ctl("get", "Project:1")) == {"@pk": "1", **document}
    ctl("save", "Project:2", "-", stdin=ctl("get", "Project:1").replace('"@pk":"1"', '"@pk":"2"'))
    assert json.loads(ctl("get", "Project:2")) == {"@pk": "2", **document}


def test_operations(ctl):
    ctl("save", "Project:1", '{"name": "Site", "tasks": [{"@pk": "t1", "title": "one"}]}')
    assert ctl("incr", "Project:1", "stars") == "1\n"
    assert ctl("incr", "Project:1", "stars", "41") == "42\n"
    assert ctl("append", "Project:1", "tasks[\"t1\"].tags", '"a b"') == "1\n"
    assert ctl("-r", "get", "Project:1", "tasks[0].tags[0]") == "a b\n"
    for each in "bcd":
        ctl("append", "Project:1", "tasks[0].tags", each)
    for part, expected in {"1:3": ["b", "c"], "-1:": ["d"], ":2": ["a b", "b"], ":": ["a b", "b", "c", "d"]}.items():
        assert json.loads(ctl("get", "Project:1", f"tasks[0].tags[{part}]")) == expected
    assert ctl("set", "Project:1", "name", '"New"') == ""
    assert json.loads(ctl("get", "Project:1", "name", "stars")) == {"name": "New", "stars": 42}
    assert ctl("call", "list.insert", '["Project:1", "tasks", 0, {"title": "zero"}]') == "2\n"
    assert ctl("ttl", "Project:1") == "-1\n"
    assert 0 < int(ctl("ttl", "Project:1", "100")) <= 100
    assert json.loads(ctl("ttl", "Project:1", "50", "--cascade")) == {"ttl": {"Project:1": 50}, "missing": []}
    assert json.loads(ctl("ttl", "Project:1", "null", "--cascade")) == {"ttl": {}, "missing": []}


def test_many_keys_are_listed_page_by_page(ctl, client):
    client.call("doc.insert", [[f"Project:{i}", {"name": "x"}] for i in range(2500)])
    assert sorted(ctl("keys", "Project").split()) == sorted(f"Project:{i}" for i in range(2500))
    assert ctl("exists", "Project:1", "Project:2", "Project:none") == "2\n"
    assert ctl("delete", "Project:1", "Project:none") == "1\n"
    assert ctl("exists", "Project:1") == "0\n"


def test_what_the_daemon_is_asked_about_itself(ctl):
    assert json.loads(ctl("stats"))["version"]
    assert "\nrapyerd_redis_up 1\n" in ctl("metrics")
    clients = json.loads(ctl("clients"))
    assert "rapyerctl" in json.dumps(clients)


@pytest.mark.parametrize("args, code, text", [
    (["get", "Project:1"], 4, "NOT_FOUND"),
    (["get", "nokey"], 1, "BAD_KEY"),
    (["call", "no.such"], 1, "UNKNOWN_METHOD"),
    (["save", "Project:1", '{"name": 1}'], 1, "BAD_TYPE"),
    (["save", "Project:1", "{name}"], 2, "not JSON"),
    (["save", "Project:1", '{"n": 9223372036854775808}'], 2, "too big"),
    (["save", "Project:1", '{"a": 1, "a": 2}'], 2, "duplicate"),
    (["set", "Project:1", "logo", '{"$bytes": "?"}'], 2, "base64"),
    (["set", "Project:1", "since", '{"$time": "today"}'], 2, "$time"),
    (["define", "/nonexistent.json"], 2, "No such file"),
    (["get"], 2, "Usage: rapyerctl get"),
    (["ttl", "Project:1", "x", "--cascade"], 2, "not JSON"),
    (["ttl", "Project:1", "5", "--all"], 2, "ttl takes --cascade, not"),
    (["fetch", "Project:1"], 2, "no such command"),
    ([], 2, "a command is missing"),
    (["--timeout", "soon", "stats"], 2, "seconds"),
    (["--nonsense"], 2, "--help"),
])
def test_errors_have_a_text_and_an_exit_status(ctl, args, code, text):
    with pytest.raises(Failed) as failed:
        ctl(*args)
    assert failed.value.code == code
    assert text in failed.value.text


def test_without_a_daemon(ctl, workdir):
    with pytest.raises(Failed) as failed:
        ctl("stats", socket=f"{workdir}/none.sock")
    assert failed.value.code == 3
    assert "none.sock" in failed.value.text


def as_ordinary_user():
    """For who runs the tests as root: what is only so for others is looked at as one of those."""
    return {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


def for_all_users(program, workdir):
    """Where they can run it, wherever the build is."""
    os.chmod(workdir, 0o777)
    return shutil.copy(program, workdir)


@pytest.mark.skipif(os.path.exists("/run/rapyerd/rapyerd.sock"), reason="a daemon of the system is there")
@pytest.mark.parametrize("variable, place", [
    ("XDG_RUNTIME_DIR", "rapyerd/rapyerd.sock"), ("HOME", ".rapyerd.sock")])
def test_a_daemon_of_ones_own_is_found(redis_server, workdir, variable, place):
    """With nothing said on either side."""
    home = f"{workdir}/home"
    os.makedirs(f"{home}/rapyerd")
    who = as_ordinary_user()
    ctl, rapyerd = for_all_users(CTL, workdir), for_all_users(binary(), workdir)
    for path in (home, f"{home}/rapyerd"):
        os.chmod(path, 0o777)
    env = {"PATH": os.environ["PATH"], variable: home}
    asked = [ctl, "call", "hello"]
    alone = subprocess.run(asked, env=env, capture_output=True, text=True, check=False, **who)
    assert alone.returncode == 3
    assert "no rapyerd at /run/rapyerd/rapyerd.sock" in alone.stderr
    daemon = subprocess.Popen(
        [rapyerd, "-o", f"redis.redis={redis_server.address}", "-o", f"redis.state_dir={home}"],
        env=env, stderr=subprocess.DEVNULL, **who)
    try:
        wait_until(lambda: os.path.exists(f"{home}/{place}"), what="its socket")
        found = wait_until(lambda: subprocess.run(asked, env=env, capture_output=True, text=True,
                                                  check=False, **who).stdout, what="its answer")
        assert json.loads(found)["server"].startswith("rapyerd")
    finally:
        daemon.terminate()
        assert daemon.wait(20) == 0


def test_who_may_not_connect_is_told_so(daemon, workdir):
    program = for_all_users(CTL, workdir)
    os.chmod(os.path.dirname(daemon.socket), 0o755)
    os.chmod(daemon.socket, 0)
    refused = subprocess.run([program, "-s", daemon.socket, "stats"], capture_output=True, text=True,
                             check=False, **as_ordinary_user())
    os.chmod(daemon.socket, 0o660)
    assert refused.returncode == 7
    assert "permission denied" in refused.stderr
    assert grp.getgrgid(os.stat(daemon.socket).st_gid).gr_name in refused.stderr


def test_help_and_version():
    text = subprocess.run([CTL, "--help"], capture_output=True, text=True, check=True).stdout
    for command in ("get", "set", "save", "keys", "delete", "exists", "ttl", "incr", "append",
                    "define", "stats", "clients", "call"):
        assert f"\n  {command} " in text
    assert subprocess.run([CTL, "-V"], capture_output=True, text=True,
                          check=True).stdout.startswith("rapyerctl ")
