"""What rapyerctl shows of a running daemon, and what it changes in it."""

import json
import os
import pty
import re
import subprocess
import threading
import time

import pytest

from daemon_process import REPOSITORY, binary
from models import KEY, define_all, save_ada
from rpc_client import Closed, RpcError, wait_until

CTL = os.path.join(os.path.dirname(os.path.dirname(binary())), "client", "rapyerctl")


@pytest.fixture
def ctl(daemon):
    def run(*args, status=0, env=None):
        done = subprocess.run([CTL, "-s", daemon.socket, *args], capture_output=True, text=True,
                              timeout=30, check=False, env={**os.environ, **(env or {})})
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr
    return run


def on_a_terminal(*command):
    """What it writes when its output is a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave)
    os.close(slave)
    said = b""
    try:
        while data := os.read(master, 65536):
            said += data
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert process.wait(30) == 0, said
    return said.decode()


class Followed:
    """The lines of a command that goes on until it is ended."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines = []
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()


@pytest.fixture
def follow(daemon):
    all_of_them = []

    def start(*args):
        all_of_them.append(Followed(CTL, "-s", daemon.socket, *args))
        return all_of_them[-1]

    yield start
    for one in all_of_them:
        one.end()


def busy_with(client, followed):
    """Asks until the follower has begun to see it."""
    def ask():
        client.call("doc.load", KEY, "age")
        return followed.lines
    wait_until(ask, what="the first line")


# --- values -------------------------------------------------------------------------------------


def test_texts_need_no_quotes(ctl, client):
    save_ada(client)
    ctl("set", KEY, "name", "Ada Lovelace")
    assert client.call("doc.load", KEY, "name") == "Ada Lovelace"
    for text in ("12", "true", "null", "-0.5"):
        ctl("set", KEY, "name", text)
        assert client.call("doc.load", KEY, "name") == text
    ctl("set", KEY, "name", '"quoted"')
    assert client.call("doc.load", KEY, "name") == "quoted"
    ctl("set", KEY, "age", "12")
    assert client.call("doc.load", KEY, "age") == 12
    assert ctl("append", KEY, "tags", "urgent").strip().isdigit()
    assert client.call("doc.load", KEY, "tags")[-1] == "urgent"
    assert "int expected, found str" in ctl("set", KEY, "age", "many", status=1)
    assert "not JSON" in ctl("set", KEY, "tags", "[1", status=2)


def test_save_of_a_model_makes_the_pk(ctl, client):
    define_all(client)
    key = ctl("save", "User", '{"name": "x"}').strip()
    assert re.fullmatch(r"User:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", key)
    assert client.call("doc.load", key, "name") == "x"
    assert ctl("save", "User", '{"@pk": "mine", "name": "y"}') == "User:mine\n"
    client.call("define", {"name": "Account", "kind": "atomic", "key": "login",
                           "fields": [{"name": "login", "type": "str"}, {"name": "n", "type": "int", "default": 0}]})
    assert ctl("save", "Account", '{"login": "ada"}') == "Account:ada\n"
    assert client.call("doc.load", "Account:ada", "login") == "ada"
    assert "UNKNOWN_MODEL" in ctl("save", "Nothing", "{}", status=4)


def test_several_documents_and_indents(ctl, client, daemon):
    save_ada(client)
    lines = subprocess.run([CTL, "-s", daemon.socket, "get", KEY, "User:none"], capture_output=True, text=True,
                           check=False)
    assert lines.returncode == 4
    first, second = lines.stdout.splitlines()
    assert json.loads(first)["name"] == "Ada" and json.loads(second) is None
    assert ctl("get", KEY).count("\n") == 1
    shown = on_a_terminal(CTL, "-s", daemon.socket, "get", KEY)
    assert shown.count("\n") > 10 and '\r\n  "name": "Ada"' in shown
    assert json.loads(shown) == json.loads(ctl("get", KEY))
    assert on_a_terminal(CTL, "-s", daemon.socket, "-j", "get", KEY).count("\n") == 1


def test_edit_saves_what_nobody_else_changed(ctl, client, workdir):
    save_ada(client)
    editor = os.path.join(workdir, "editor")

    def edit(script, status=0):
        with open(editor, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(editor, 0o755)
        return ctl("edit", KEY, status=status, env={"EDITOR": editor, "VISUAL": ""})

    before = client.call("doc.get", KEY)
    assert edit("true") == "nothing was changed\n"
    edit("""sed -i 's/"name": "Ada"/"name": "Lady Ada"/' "$1" """)
    assert client.call("doc.get", KEY) == {**before, "name": "Lady Ada"}
    said = edit(f"""{CTL} -s $SOCKET set {KEY} age 99 || exit 1; sed -i 's/Lady/Countess/' "$1" """.replace(
        "$SOCKET", client.socket.getpeername()), status=6)
    assert "CONFLICT" in said
    kept = re.search(r"what was edited is in (\S+)", said).group(1)
    with open(kept, encoding="utf-8") as file:
        assert "Countess" in file.read()
    os.unlink(kept)
    assert client.call("doc.load", KEY, "name") == "Lady Ada" and client.call("doc.load", KEY, "age") == 99
    os.unlink(re.search(r"is in (\S+)", edit("exit 3", status=1)).group(1))


def test_keys_that_fit_a_pattern(ctl, client):
    define_all(client)
    for pk in ("1", "12", "13", "[x]", "*"):
        client.call("doc.save", f"User:{pk}", {"name": "x"})
    assert sorted(ctl("keys", "User:1*").split()) == ["User:1", "User:12", "User:13"]
    assert sorted(json.loads(ctl("-j", "keys", "User:1[23]"))) == ["User:12", "User:13"]
    assert ctl("keys", r"User:\[x]").split() == ["User:[x]"] and ctl("keys", r"User:\*").split() == ["User:*"]
    assert len(json.loads(ctl("-j", "keys", "User"))) == 5
    assert ctl("keys", "User:none*") == "" and json.loads(ctl("-j", "keys", "User:none*")) == []
    ctl("keys", "Nobody:*", status=4)


def test_a_key_does_not_turn_what_stands_beside_it(ctl, client, daemon):
    define_all(client)
    key = "User:\u202e\u05d0\u2066x"
    client.call("doc.save", key, {"name": "x"})
    client.call("doc.load", key, "name")
    assert key in json.loads(ctl("-j", "cache", "3"))["hottest"][0]["key"]
    shown = on_a_terminal(CTL, "-s", daemon.socket, "cache", "3")
    assert "User:???\u05d0???x" in shown and "\u202e" not in shown


def test_colours_are_for_terminals_and_who_wants_them(daemon, ctl):
    looks_at = [CTL, "-s", daemon.socket, "doctor"]
    master, slave = pty.openpty()
    subprocess.run(looks_at, stdout=slave, check=False)
    assert b"\033[32mok" in os.read(master, 65536)
    subprocess.run(looks_at, stdout=slave, check=False, env={**os.environ, "NO_COLOR": "1"})
    assert b"\033[3" not in os.read(master, 65536)
    os.close(slave)
    os.close(master)
    assert "\033" not in subprocess.run(looks_at, capture_output=True, text=True, check=False).stdout


# --- looking ------------------------------------------------------------------------------------


def test_models_are_listed_and_described(ctl, client):
    define_all(client)
    names = [line.split()[0] for line in ctl("models").splitlines()]
    assert names[0] == "MODEL" and "User" in names
    text = ctl("models", "User")
    assert text.startswith("User: atomic, revision 1") and re.search(r"^age +int", text, re.MULTILINE)
    assert json.loads(ctl("-j", "models", "User"))["fields"][0]["name"] == "name"
    ctl("models", "Nothing", status=4)
    client.call("define", {"name": "Book", "kind": "atomic", "ttl": 60, "refresh_ttl": {"author": None, "next": 2},
                           "fields": [{"name": "isbn", "type": "optional<str>", "unique": True},
                                      {"name": "author", "type": "optional<ref<User>>", "default": None},
                                      {"name": "next", "type": "optional<ref<Book>>", "default": None}]})
    text = ctl("models", "Book")
    assert ", lives 60 s from its last change, with what is at author, next\n" in text
    assert re.search(r"^isbn +optional<str> .*unique$", text, re.MULTILINE)


def test_monitor_tells_what_others_ask(ctl, client, follow, daemon):
    save_ada(client)
    all_lines, changes, faults = follow("-j", "monitor"), follow("-j", "monitor", "method=num.incr", "key=User:*"), \
        follow("-j", "monitor", "faults")
    busy_with(client, all_lines)
    wait_until(lambda: json.loads(ctl("clients")).__len__() >= 4, what="all of them")
    client.call("num.incr", KEY, "age", 1)
    wait_until(lambda: (client.call("num.incr", KEY, "age", 1), changes.lines)[1], what="changes")
    wait_until(lambda: (_refused(client), faults.lines)[1], what="errors")
    line = json.loads(changes.lines[-1])
    assert line["method"] == "num.incr" and line["key"] == KEY and line["fault"] is None
    assert {"gather", "redis", "answer", "all"} <= set(line["us"]) and line["pid"] == os.getpid()
    assert line["us"]["all"] >= line["us"]["redis"] > 0
    assert all(json.loads(text)["fault"] == "UNKNOWN_FIELD" for text in faults.lines)
    assert all(json.loads(text)["method"] == "num.incr" for text in changes.lines)
    traced = follow("trace", KEY)
    wait_until(lambda: (client.call("num.incr", KEY, "age", 1), traced.lines)[1], what="a trace")
    assert re.search(rf"num\.incr {KEY}  \d+ us  .*gather \d+  redis \d+  answer \d+$", traced.lines[-1])


def _refused(client):
    with pytest.raises(RpcError):
        client.call("doc.load", KEY, "nothing")


def test_a_monitor_that_does_not_read_is_told_what_it_lost(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.watch_memory": "4K", "limits.max_monitors": 1})
    with daemon.connect() as client, daemon.connect() as slow, daemon.connect() as third:
        save_ada(client)
        assert slow.call("admin.monitor", {"method": "doc.load"}) is True
        with pytest.raises(RpcError, match="^BUSY: .*limits.max_monitors"):
            third.call("admin.monitor")
        # More than all sockets on the way take, none of it read.
        asked = 0
        before = daemon.memory()
        for _ in range(40):
            for request in [client.send("doc.load", KEY, "age") for _ in range(200)]:
                client.wait(request)
            asked += 200
        assert daemon.memory() - before < 8 << 20
        slow.call("hello")  # what was kept for it is read
        client.call("doc.load", KEY, "age")
        slow.call("hello")
        lines = [params[0] for method, params in slow.notifications if method == "monitor"]
        lost = sum(line["lost"] for line in lines)
        assert lost > 0 and lines[-1]["lost"] > 0
        assert len(lines) + lost == asked + 1
        assert slow.call("admin.unmonitor") is True and slow.call("admin.unmonitor") is False
        assert third.call("admin.monitor") is True


def test_each_request_is_told_once(client, daemon):
    """Also one that names what this daemon does not know, which it asks Redis about first."""
    with daemon.connect() as monitor:
        save_ada(client)
        monitor.call("admin.monitor", {"method": "doc.load"})
        _refused(client)
        client.call("doc.load", KEY, "age")
        monitor.call("hello")
        assert [p[0]["fault"] for _, p in monitor.notifications] == ["UNKNOWN_FIELD", None]


@pytest.mark.parametrize("wanted,error", [
    ({"method": "incr"}, "^UNKNOWN_METHOD: method: there is no method 'incr'"),
    ({"key": "User"}, '^BAD_REQUEST: key: .User. is no key of a document; "User:\\*" is all of a model'),
    ({"keys": "User:1"}, "^BAD_REQUEST: admin.monitor takes"),
])
def test_a_filter_that_nothing_can_fit_is_refused(client, wanted, error):
    with pytest.raises(RpcError, match=error):
        client.call("admin.monitor", wanted)
    assert client.call("admin.unmonitor") is False


def test_what_was_cleared_is_not_printed(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"log.slow_time": "1ms", "log.slow_entries": 3})

    def slowlog(*args):
        return subprocess.run([CTL, "-s", daemon.socket, "slowlog", *args], capture_output=True, text=True,
                              check=True).stdout

    with daemon.connect() as client:
        save_ada(client)
        redis_server.pause()
        request = client.send("num.incr", KEY, "age", 1)
        client.call("hello")
        time.sleep(0.01)
        redis_server.resume()
        client.wait(request)
        assert KEY in slowlog() and slowlog("clear") == "" and slowlog() == ""


def test_what_takes_no_parameters_says_so(client):
    for method in ("admin.reload", "admin.latency", "admin.metrics", "admin.unmonitor", "admin.stats"):
        with pytest.raises(RpcError, match=f"^BAD_REQUEST: {method} takes no parameters"):
            client.call(method, 1)


def test_a_setting_that_is_refused_is_no_option_of_the_command_line(client):
    with pytest.raises(RpcError, match="^BAD_VALUE: [^-]") as refused:
        client.call("admin.set", "log.slow_time", "soon")
    assert "-o" not in str(refused.value)


def test_what_takes_long_is_kept(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"log.slow_time": "1h", "log.slow_entries": 3})
    with daemon.connect() as client:
        save_ada(client)
        client.call("num.incr", KEY, "age", 1)
        quick = client.call("admin.slowlog")
        client.call("admin.set", "log.slow_time", "50ms")
        for n in range(4):
            redis_server.pause()
            request = client.send("num.incr", KEY, "age", n)
            client.call("hello")
            time.sleep(0.06)
            redis_server.resume()
            client.wait(request)
        slow = client.call("admin.slowlog")
        assert len(quick) == 0 and len(slow) == 3
        assert slow[0]["method"] == "num.incr" and slow[0]["key"] == KEY
        assert slow[0]["us"]["redis"] >= 50000 and slow[0]["at"] >= slow[-1]["at"]
        client.call("admin.set", "log.slow_time", "0")
        assert f"num.incr {KEY}" in subprocess.run([CTL, "-s", daemon.socket, "slowlog"], capture_output=True,
                                                   text=True, check=True).stdout


def test_an_answer_about_what_has_left_the_memory(redis_server, new_daemon):
    """What a request only reads may be evicted before it is answered, and is named to who observes."""
    daemon = new_daemon(redis_server.address, {"cache.cache_memory": "64K"})
    with daemon.connect() as client, daemon.connect() as other, daemon.connect() as observer:
        save_ada(client)
        observer.call("admin.monitor", {"method": "doc.exists"})
        for n in range(20):
            asked = []
            for i in range(0, 100, 5):
                asked.append((other, other.send("doc.exists", *(f"User:{n}/other{i + m}" for m in range(20)))))
                asked.append((client, client.send("num.incr", KEY, "age", 1)))
                asked.append((client, client.send("doc.exists", *(f"User:{n}/{i + m}" for m in range(5)), KEY)))
            for who, request in asked:
                who.wait(request)
        assert client.call("admin.cache")["evictions"] > 1000
        assert "User:0/" in str(observer.read_message())


def test_latency_clients_and_cache(ctl, client):
    save_ada(client)
    for _ in range(30):
        client.call("num.incr", KEY, "age", 1)
    times = json.loads(ctl("-j", "latency"))
    incr = times["methods"]["num.incr"]
    assert incr["count"] == incr["calls"] == 30 and 0 < incr["p50"] <= incr["p99"] <= incr["p999"]
    assert incr["stages"]["redis"]["count"] == 30 and times["commits"]["count"] >= 30
    assert re.search(r"^num\.incr +30 ", ctl("latency"), re.MULTILINE)
    me = [c for c in json.loads(ctl("clients")) if c["pid"] == os.getpid()]
    assert max(c["requests"] for c in me) >= 30 and any(c["busy_us"] > 0 for c in me)
    client.call("doc.save", "User:2", {"name": "x" * 50000})
    top = json.loads(ctl("-j", "cache", "1"))
    assert top["biggest"][0]["key"] == "User:2" and top["biggest"][0]["bytes"] > 40000
    assert top["hottest"][0]["key"] == KEY and top["hottest"][0]["requests"] >= 30
    assert "User:2" in ctl("cache")
    with pytest.raises(RpcError, match="^BAD_REQUEST: "):
        client.call("admin.cache", 1000000)


def test_options_behind_a_command(ctl, client):
    save_ada(client)
    assert json.loads(ctl("latency", "--json"))["methods"] and json.loads(ctl("cache", "1", "-j"))["biggest"]
    assert ctl("get", KEY, "name", "--raw") == ctl("--raw", "get", KEY, "name") == "Ada\n"
    assert ctl("top", "--help").startswith("Usage: rapyerctl top [SECONDS")
    ctl("set", KEY, "name", "--json")  # where a value may stand it is one
    assert ctl("--raw", "get", KEY, "name") == "--json\n"


def test_top(ctl, client, daemon):
    save_ada(client)
    stop = threading.Event()

    def work():
        with daemon.connect() as other:
            while not stop.is_set():
                other.call("num.incr", KEY, "age", 1)
                other.call("doc.load", KEY, "age")
    worker = threading.Thread(target=work)
    worker.start()
    try:
        one, two = (json.loads(line) for line in ctl("-j", "top", "0.3", "2").splitlines())
        assert one["methods"]["num.incr"]["rate"] > 0 and two["requests"] > 0 and two["redis"] == "up"
        assert two["commits"] > 0 and two["redis_us"] > 0
        incr = two["methods"]["num.incr"]
        parts = sum(incr[f"{stage}_us"] for stage in ("queue", "gather", "redis", "answer"))
        assert parts == pytest.approx(incr["mean_us"], rel=0.05) and incr["redis_us"] > 0
        plain = ctl("top", "0.2", "1")
        assert plain.count("\n") == 1 and "requests/s" in plain and "\033" not in plain
        screen = on_a_terminal(CTL, "-s", daemon.socket, "top", "0.2", "2")
        assert screen.count("\033[H\033[2J") == 2
        assert "num.incr" in screen and KEY in screen and "DOCUMENT" in screen and "LOCK" not in screen
        with daemon.connect() as holder, daemon.connect() as waiter:
            holder.call("lock.acquire", KEY, "edit")
            waiter.send("lock.acquire", KEY, "edit")
            waiter.call("hello")
            screen = on_a_terminal(CTL, "-s", daemon.socket, "top", "0.2", "1")
            assert "LOCK" in screen and re.search(rf"^{KEY} .* {os.getpid()} +1\r$", screen, re.MULTILINE)
    finally:
        stop.set()
        worker.join()
    ctl("top", "0", status=2)


# --- changing -----------------------------------------------------------------------------------


def test_settings_of_a_running_daemon(ctl, client, daemon):
    assert ctl("config", "get", "limits.max_value") == "16M\n"
    assert "redis.redis_password = \n" in ctl("config", "get")
    define_all(client)
    assert ctl("config", "set", "limits.max_value", "1024") == "limits.max_value = 1K, until the next start\n"
    assert "limits.max_value = 1K    (not the default)\n" in ctl("config", "get", "limits")
    with pytest.raises(RpcError, match="^TOO_LARGE: "):
        client.call("doc.save", "User:1", {"name": "x" * 2000})
    assert "takes a restart" in ctl("config", "set", "redis.key_prefix", "x", status=1)
    assert "is not a number of bytes" in ctl("config", "set", "limits.max_value", "much", status=1)
    assert "no setting" in ctl("config", "set", "limits.nothing", "1", status=1)
    assert "at most limits.max_frame" in ctl("config", "set", "limits.max_value", "64M", status=1)
    assert ctl("config", "get", "limits.max_value") == "1K\n", "what was refused changes nothing"
    ctl("config", "get", "nothing", status=4)
    ctl("-j", "config", "get", "nothing", status=4)
    assert json.loads(ctl("-j", "config", "get", "limits.max_value")) == [
        {"name": "limits.max_value", "value": "1K", "default": "16M", "reload": True}]
    assert {s["name"].split(".")[0] for s in json.loads(ctl("-j", "config", "get", "log"))} == {"log"}
    assert json.loads(ctl("-j", "config", "set", "limits.max_value", "1K")) == "1K"
    daemon.settings.update({"limits.max_clients": "77", "redis.key_prefix": "other"})
    daemon.write_config()
    assert json.loads(ctl("-j", "config", "reload")) == {"changed": ["limits.max_clients"],
                                                         "restart": ["redis.key_prefix"]}
    assert ctl("config", "get", "limits.max_clients") == "77\n"
    assert ctl("config", "get", "limits.max_value") == "1K\n", "it stays over the file"
    daemon.settings["limits.max_clients"] = "none"
    daemon.write_config()
    assert "rapyerd.conf" in ctl("config", "reload", status=1)
    ctl("log", "debug")
    daemon.connect().close()
    wait_until(lambda: "debug: client" in daemon.log(), what="lines of level debug")
    assert re.search(r"client \d+ \(rapyerctl, pid .*: limits.max_value is 1K until the next start", daemon.log())


def test_secrets_are_not_shown(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"redis.redis_password": "hunter2"})
    with daemon.connect() as client:
        text = json.dumps(client.call("admin.config"))
        assert "hunter2" not in text and "(set)" in text


def test_kill_ends_one_client(ctl, daemon, client):
    with daemon.connect() as victim:
        victim.call("hello")
        number = max(c["number"] for c in json.loads(ctl("clients")) if c["pid"] == os.getpid())
        ctl("kill", str(number))
        with pytest.raises((Closed, BrokenPipeError)):
            victim.call("hello")
    assert client.call("hello")
    assert f"there is no client {number}" in ctl("kill", str(number), status=4)
    assert "ended by an administrator: rapyerctl" in daemon.log()
    ctl("kill", "me", status=2)


@pytest.mark.parametrize("status, args", [(4, ("get", "User:none")), (4, ("get", "Nothing:1")), (1, ("get", "nokey")),
                                          (2, ("get",)), (6, ("call", "pipeline", '[[["num.incr", "User:ada", "age", 1]],'
                                                                                  ' {"if_version": 1}]'))])
def test_the_exit_status_says_what_can_be_done(ctl, client, status, args):
    save_ada(client)
    ctl(*args, status=status)


def test_not_now_has_a_status(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"commit.queue_time": "100ms"})
    with daemon.connect() as client:
        save_ada(client)
    redis_server.kill()
    done = subprocess.run([CTL, "-s", daemon.socket, "incr", KEY, "age"], capture_output=True, check=False)
    assert done.returncode == 5


def test_completions_know_all_commands(ctl):
    where = os.path.join(REPOSITORY, "conf", "completions")
    env = {**os.environ, "PATH": f"{os.path.dirname(CTL)}:{os.environ['PATH']}"}
    script = (f"source {where}/rapyerctl.bash; COMP_WORDS=(rapyerctl {{}}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1));"
              " _rapyerctl; printf '%s\\n' \"${COMPREPLY[@]}\"")

    def complete(words):
        return set(subprocess.run(["bash", "-c", script.replace("{}", words)], env=env, capture_output=True, text=True,
                                  check=True).stdout.split())
    commands = set(re.findall(r"^  ([a-z]+) ", ctl("--help"), re.MULTILINE))
    assert len(commands) > 25 and complete('""') == commands
    assert complete("c") == {c for c in commands if c.startswith("c")}
    assert complete('log ""') == {"error", "warning", "notice", "info", "debug"}
    assert complete("import --") == {"--dry-run", "--if-absent", "--from"}
    assert complete('ttl User:1 60 ""') == {"--cascade"}
    for name in ("_rapyerctl", "rapyerctl.fish"):
        with open(os.path.join(where, name), encoding="utf-8") as file:
            assert "rapyerctl --help" in file.read(), "commands are taken from there"


@pytest.mark.parametrize("name", ["rapyerctl.bash", "_rapyerctl", "rapyerctl.fish"])
def test_completions_know_all_options(name):
    with open(os.path.join(REPOSITORY, "docs", "man", "rapyerctl.1"), encoding="utf-8") as page:
        options = set(re.findall(r"--([a-z-]+)", page.read().replace("\\-", "-")))
    with open(os.path.join(REPOSITORY, "conf", "completions", name), encoding="utf-8") as file:
        text = file.read()
    for words in re.findall(r"for option in (.*)", text):  # as fish has them
        text += "".join(f" -l {word}" for word in words.split())
    assert len(options) > 15 and options <= set(re.findall(r"(?:--|-l )([a-z-]+)", text))
