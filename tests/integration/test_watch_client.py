"""Watching through librapyer and rapyerctl: what callbacks and those who wait are told, also when the
connection to rapyerd comes and goes."""

import json
import os
import subprocess

import pytest

from daemon_process import binary, built
from models import KEY, ROOT, save_ada
from rpc_client import wait_until
from test_watch import new_daemon, version  # noqa: F401  (a fixture)

CTL = os.path.join(os.path.dirname(os.path.dirname(binary())), "client", "rapyerctl")


class Caller:
    """A process with one connection of librapyer (watch_caller.c)."""

    def __init__(self, daemon, ring=0):
        env = dict(os.environ, RAPYER_SOCKET=daemon.socket, RAPYER_RING=str(ring), ASAN_OPTIONS="detect_leaks=1")
        self.process = subprocess.Popen([built("tests/watch_caller")], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, *words):
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def line(self):
        return self.process.stdout.readline().rstrip("\n").split("\t")

    def ask(self, *words):
        """What callbacks were called with, and the answer."""
        self.tell(*words)
        called = []
        while (line := self.line())[0] == "called":
            called.append(line[1:])
        return called, line[0] if len(line) == 1 else line

    def answer(self, *words):
        called, answer = self.ask(*words)
        assert not called
        return answer

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


@pytest.fixture(params=[0, 1], ids=["socket", "ring"])
def caller(ada, daemon, request):
    caller = Caller(daemon, request.param)
    yield caller
    caller.close()


@pytest.fixture
def settled(caller):
    """With a ring, if it is to have one: that is asked for at the next request."""
    for _ in range(3):
        caller.ask("unwatch", "User:none", "")
        caller.ask("incr", KEY, "numbers[0]")
    return caller


def change(key, version_, places):
    return ["change", key, str(version_), places]


def test_who_waits_is_told(settled, ada):
    assert settled.answer("keep", KEY) == str(version(ada))
    assert settled.answer("wait", 0) == "none"
    settled.tell("wait", 20000)
    after = ada.call("set", KEY, "age", 1)
    assert settled.line() == change(KEY, after, "age")
    ada.call("pipeline", [["set", KEY, "age", 2], ["list.append", KEY, "tags", "x"]])
    assert settled.answer("wait", 20000)[:3] == change(KEY, version(ada), "")[:3]
    ada.call("doc.delete", KEY)
    assert settled.answer("wait", 20000) == change(KEY, 0, "anything")
    assert settled.answer("wait", 10) == "none"


def test_what_nobody_has_waited_for_is_one_change(settled, ada):
    settled.answer("keep", KEY)
    settled.answer("keep", KEY, "age")
    for place in ("age", "bio", "age"):
        ada.call("set", KEY, place, 5 if place == "age" else "x")
        settled.ask("incr", "User:none", "age")  # a call reads what has come
    assert settled.answer("wait", 20000) == change(KEY, version(ada), "age bio")
    assert settled.answer("wait", 10) == "none"


def test_callbacks_are_called_by_calls_and_by_loops(settled, ada):
    assert settled.answer("watch", KEY) == str(version(ada))
    settled.tell("loop", 20000)
    after = ada.call("set", KEY, "bio", "x")
    assert settled.line() == ["called", KEY, str(after), "bio"] and settled.line() == ["done"]
    assert settled.ask("incr", KEY, "age")[1] == "37"
    settled.tell("loop", 20000)
    ada.call("set", "User:none", "bio", "x") if False else ada.call("set", KEY, "bio", "y")
    told = []
    while (line := settled.line())[0] == "called":
        told.append(line[3])
    assert set(told) <= {"age", "bio"}


def test_places_and_models(settled, ada):
    settled.answer("watch", "User:*", "tags")
    settled.answer("keep", KEY, 'sections["s1"]')
    ada.call("set", KEY, "age", 5)
    ada.call("set", KEY, 'sections["s2"].name', "x")
    ada.call("set", KEY, 'sections["s1"].name', "x")
    assert settled.answer("wait", 20000) == change(KEY, version(ada), 'sections["s1"].name')
    ada.call("list.append", KEY, "tags", "x")
    assert settled.ask("loop", 20000) == ([[KEY, str(version(ada)), "tags"]], "done")


def test_a_callback_may_call_and_end_and_begin(settled, ada):
    settled.answer("nest", KEY)
    for n in range(5):
        settled.tell("loop", 20000)
        ada.call("set", KEY, "age", 100 + n)
        assert settled.line() == ["called", KEY, str(100 + n), "1", "1"]
        assert settled.line() == ["done"]


def test_unwatch(settled, ada):
    settled.answer("watch", KEY)
    settled.answer("keep", "User:*")
    assert settled.answer("unwatch", KEY) == "1"
    assert settled.answer("unwatch", KEY) == "0"
    after = ada.call("set", KEY, "age", 5)
    assert settled.ask("wait", 20000) == ([], change(KEY, after, "age"))
    assert settled.answer("unwatch", "User:*") == "1"
    assert settled.answer("wait", 20000).startswith("BAD_REQUEST: nothing is watched")


@pytest.mark.parametrize("words, code", [
    (["User", ""], "BAD_KEY"), (["None:1", ""], "UNKNOWN_MODEL"), ([KEY, "nope"], "UNKNOWN_FIELD"), ([KEY, "tags."], "BAD_PATH")])
def test_what_cannot_be_watched(settled, words, code):
    assert settled.answer("keep", *words).startswith(code + ": ")
    assert settled.answer("wait", 0).startswith("BAD_REQUEST: ")


# --- a daemon that comes and goes ------------------------------------------------------------


def test_a_restart_of_the_daemon(settled, ada, daemon, redis_server):
    settled.answer("watch", KEY)
    settled.answer("keep", "User:*")
    settled.answer("keep", KEY, "tags")
    for restart in ("stop", "kill"):
        getattr(daemon, restart)()
        with redis_server.client() as rdb:
            rdb.hset(ROOT, "age", 99)
        daemon.start()
        with daemon.connect() as client:
            wait_until(lambda: client.call("admin.stats")["hears_others"], what="a daemon that hears")
            wanted = [change(KEY, version(client), "anything"), change("User:*", -1, "anything")]
            called, heard = [], []
            while not all(line in heard for line in wanted):
                more, line = settled.ask("wait", 20000)
                called += more
                heard.append(line)
            assert [KEY, str(version(client)), "anything"] in called
            while settled.ask("wait", 100)[1] != "none":
                pass  # what follows when it hears
            after = client.call("set", KEY, "bio", restart)
            called, line = settled.ask("wait", 20000)
            assert line == change(KEY, after, "bio") and called == [[KEY, str(after), "bio"]]


def test_an_event_loop_finds_the_daemon_again(settled, daemon):
    settled.answer("watch", KEY)
    daemon.kill()
    settled.tell("loop", 20000)
    daemon.start()
    called, answer = [], None
    while (line := settled.line())[0] == "called":
        called.append(line[1:])
    assert called[0][0] == KEY and called[0][2] == "anything" and line == ["done"]


def test_what_the_daemon_cannot_take_yet_is_asked_for_again(new_redis, new_daemon):  # noqa: F811
    """Redis is away when it has come back; then all goes on."""
    server = new_redis(aof=True)
    daemon = new_daemon(server.address, {"commit.queue_time": "100ms"})
    with daemon.connect() as client:
        save_ada(client)
    caller = Caller(daemon)
    caller.answer("keep", KEY)
    daemon.kill()
    server.kill()
    daemon.start(wait=False)
    assert caller.answer("wait", 1500) == "none"
    server.start()
    caller.tell("wait", 20000)
    assert caller.line()[:2] == ["change", KEY]
    caller.close()


def test_what_cannot_be_watched_any_more_is_told(new_redis, new_daemon):  # noqa: F811
    """Another Redis, which does not know the model."""
    server = new_redis()
    daemon = new_daemon(server.address)
    with daemon.connect() as client:
        save_ada(client)
    caller = Caller(daemon)
    caller.answer("watch", KEY)
    caller.answer("keep", "User:bob")
    daemon.kill()
    server.restart()  # it has kept nothing
    daemon.start()
    called, answer = caller.ask("wait", 20000)
    assert answer.startswith("UNKNOWN_MODEL: ")
    assert len(called) == 1 and called[0][0].startswith("UNKNOWN_MODEL: ")
    assert caller.answer("wait", 0).startswith("BAD_REQUEST: ")
    caller.close()


def test_a_child_watches_for_itself(settled, ada):
    settled.answer("keep", KEY)
    settled.tell("forked", KEY)
    assert settled.line() == change(KEY, version(ada), "anything")
    after = ada.call("set", KEY, "age", 3)
    assert settled.answer("wait", 20000) == change(KEY, after, "age")


def test_who_never_waits_keeps_no_more_than_is_bounded(settled, ada):
    settled.answer("keep", "User:*")
    for begin in range(0, 3000, 500):
        ada.call("doc.insert", [[f"User:{n}", {"name": "x", "settings": {}}] for n in range(begin, begin + 500)])
    settled.ask("incr", KEY, "age")
    assert settled.answer("wait", 20000) == change("User:*", -1, "anything")


# --- rapyerctl -------------------------------------------------------------------------------


@pytest.fixture
def ctl(daemon):
    watching = []

    def watch(*args):
        watching.append(subprocess.Popen([CTL, "-s", daemon.socket, "watch", *args], text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return watching[-1]

    yield watch
    for process in watching:
        process.kill()
        process.communicate()


def test_rapyerctl_prints_a_line_for_each_change(ada, ctl, rdb):
    one, all_of_them = ctl(KEY, "tags"), ctl("User:*")
    assert json.loads(one.stdout.readline()) == [KEY, version(ada), None]
    assert json.loads(all_of_them.stdout.readline()) == ["User:*", None, None]
    ada.call("set", KEY, "settings.theme", "x")
    assert json.loads(all_of_them.stdout.readline()) == [KEY, version(ada), ["settings.theme"]]
    ada.call("list.append", KEY, "tags", "x")
    for process in (one, all_of_them):
        assert json.loads(process.stdout.readline()) == [KEY, version(ada), ["tags"]]
    rdb.hset(ROOT, "age", 5)
    assert json.loads(all_of_them.stdout.readline()) == [KEY, version(ada), [""]]
    ada.call("doc.delete", KEY)
    for process in (one, all_of_them):
        assert json.loads(process.stdout.readline()) == [KEY, 0, None]


def test_rapyerctl_goes_on_when_the_daemon_comes_back(ada, ctl, daemon):
    process = ctl(KEY)
    assert json.loads(process.stdout.readline()) == [KEY, version(ada), None]
    daemon.kill()
    daemon.start()
    assert json.loads(process.stdout.readline())[2] is None
    assert process.poll() is None


def test_rapyerctl_says_what_cannot_be_watched(ada, ctl):
    process = ctl(KEY, "nope")
    assert process.wait(20) == 4
    assert process.stderr.read().startswith("rapyerctl: UNKNOWN_FIELD: ")
