"""Locks through the C library and rapyerctl, where a daemon has to be restarted or a process killed:
the rest is in client/examples/locks.c, which test_examples.py runs."""

import json
import os
import re
import signal
import subprocess

import pytest

from daemon_process import binary
from models import KEY, save_ada
from rpc_client import RpcError, wait_until

CLIENT = os.path.join(os.path.dirname(os.path.dirname(binary())), "client")


@pytest.fixture
def locks_program(daemon, redis_server):
    """Starts client/examples/locks; it is killed if it is still there at the end."""
    env = dict(os.environ, RAPYER_SOCKET=daemon.socket, RAPYER_EXAMPLE_REDIS=redis_server.socket,
               ASAN_OPTIONS="detect_leaks=1")
    programs = []

    def start(part):
        programs.append(subprocess.Popen(
            [os.path.join(CLIENT, "examples", "locks"), part], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return programs[-1]

    yield start
    for program in programs:
        if program.poll() is None:
            program.kill()
        program.communicate()


@pytest.fixture
def ctl(daemon):
    def run(*args):
        done = subprocess.run([os.path.join(CLIENT, "rapyerctl"), "-s", daemon.socket, *args],
                              capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def go_on(program):
    program.stdin.write("\n")
    program.stdin.flush()


def finish(program):
    out, err = program.communicate(timeout=30)
    assert program.returncode == 0 and not err, out + err


def holders(client, key="Purse:1", action="a"):
    return [holder for lock in client.call("admin.locks", {"key": key})
            if lock["action"] == action for holder in lock["holders"]]


@pytest.fixture
def daemon(redis_server, new_daemon):
    """With short leases: those of a daemon that was killed have to run out."""
    return new_daemon(redis_server.address, {"locks.lock_lease": "1s"})


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_ends_locks_and_no_token_outlives_it(daemon, locks_program, how):
    program = locks_program("restart")
    assert program.stdout.readline() == "held\n"
    getattr(daemon, how)()
    daemon.start()
    go_on(program)
    assert program.stdout.readline() == "waiting\n"
    getattr(daemon, how)()
    daemon.start()
    go_on(program)
    finish(program)


def test_a_wait_outlasts_the_timeout_of_calls(client, locks_program):
    client.call("define", {"name": "Purse", "kind": "atomic", "fields": []})
    mine = client.call("lock.acquire", "Purse:1", "b")
    program = locks_program("hold")
    assert program.stdout.readline() == "held\n"

    def age():
        waiters = [waiter for lock in client.call("admin.locks", {"key": "Purse:1"})
                   for waiter in lock["waiters"]]
        return waiters and waiters[0]["age"]

    wait_until(lambda: (age() or 0) > 0.5, what="a wait of five times the timeout")
    client.call("lock.release", mine["token"])
    assert program.stdout.readline() == "got b\n"
    go_on(program)
    finish(program)
    assert holders(client) == []


def test_a_process_that_is_killed_leaves_no_lock(client, locks_program):
    program = locks_program("hold")
    assert program.stdout.readline() == "held\n"
    assert program.stdout.readline() == "got b\n"
    assert [holder["pid"] for holder in holders(client)] == [program.pid]
    waiting = client.send("lock.acquire", "Purse:1", "a")
    program.send_signal(signal.SIGKILL)
    assert client.wait(waiting)["depth"] == 1
    assert [holder["program"] for holder in holders(client)] != ["locks"]


def test_funds_are_transferred_from_two_hosts(redis_server, new_daemon):
    short = {"locks.lock_lease": "2s"}
    here, there = (new_daemon(redis_server.address, short) for _ in range(2))
    env = dict(os.environ, RAPYER_SOCKET=here.socket, RAPYER_EXAMPLE_OTHER=there.socket,
               RAPYER_EXAMPLE_REDIS=redis_server.socket, ASAN_OPTIONS="detect_leaks=1")
    run = subprocess.run([os.path.join(CLIENT, "examples", "transfer_funds")], env=env,
                         capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0 and not run.stderr, run.stdout + run.stderr


def rows(table):
    return [re.split(r"  +", line) for line in table.splitlines()]


def test_rapyerctl_shows_who_holds_and_who_waits(daemon, client, ctl):
    save_ada(client)
    assert ctl("locks") == ""
    shared = {"mode": "shared"}
    client.call("lock.acquire", KEY, "edit", {"path": "sections[0]"})
    client.call("lock.acquire", KEY, "read", shared)
    with daemon.connect() as second, daemon.connect() as third:
        second.call("lock.acquire", KEY, "read", shared)
        second.send("lock.acquire", KEY, "edit", {"path": "sections[0]"})
        wait_until(lambda: "1." in ctl("locks", KEY), what="the first waiter")
        third.send("lock.acquire", KEY, "edit", {"path": "sections[0]", **shared})
        wait_until(lambda: "2." in ctl("locks", KEY), what="the second waiter")

        table = ctl("locks", KEY)
        heads, *lines = rows(table)
        assert heads == ["KEY", "PATH", "ACTION", "MODE", "PID", "UID", "PROGRAM", "AGE"]
        held = [line for line in lines if line[0] == KEY]
        assert sorted((line[-6], line[-5]) for line in held) == [
            ("edit", "exclusive"), ("read", "shared"), ("read", "shared")]
        assert {line[-4] for line in held} == {str(os.getpid())}
        at = next(i for i, line in enumerate(lines) if "edit" in line)
        assert [line[1:3] + line[-1:] for line in lines[at + 1:at + 3]] == [
            ["1.", "exclusive", "waits"], ["2.", "shared", "waits"]]
        assert len({line.index(word) for line, word in zip(
            table.splitlines(), ["MODE"] + [line[-5] for line in lines[:1]])}) == 1
        assert len(json.loads(ctl("--json", "locks"))) == 2
        assert ctl("locks", "Project:none") == ""


def test_rapyerctl_breaks_a_lock(client, ctl):
    save_ada(client)
    lock = client.call("lock.acquire", KEY, "edit")
    inner = client.call("lock.acquire", KEY, "edit", {"path": "sections[0]"})
    path = re.search(r"sections\S+", ctl("locks", KEY))[0]
    assert ctl("lock", "break", KEY, "edit", path) == "1\n"
    assert ctl("lock", "break", KEY, "other") == "0\n"
    with pytest.raises(RpcError, match="^LOCK_LOST: .*rapyerctl"):
        client.call("lock.renew", inner["token"])
    client.call("lock.renew", lock["token"])


@pytest.mark.parametrize("args, text", [
    (["lock", "free", KEY, "edit"], "lock takes break"),
    (["lock", "break", KEY], "Usage: rapyerctl lock break KEY ACTION"),
    (["locks", "a", "b"], "Usage: rapyerctl locks")])
def test_wrong_usage_of_rapyerctl(daemon, args, text):
    done = subprocess.run([os.path.join(CLIENT, "rapyerctl"), "-s", daemon.socket, *args],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and text in done.stderr


def test_nothing_in_a_name_reaches_the_terminal(client, ctl):
    client.call("define", {"name": "Purse", "kind": "atomic", "fields": []})
    client.call("lock.acquire", "Purse:a\u009b31mb", "edit")
    assert "Purse:a??31mb" in ctl("locks")


def test_doctor_speaks_json_too(daemon):
    done = subprocess.run([os.path.join(CLIENT, "rapyerctl"), "-s", daemon.socket, "-j", "doctor"],
                          capture_output=True, text=True, timeout=30, check=False)
    checks = json.loads(done.stdout)
    assert done.returncode == any(check["state"] != "ok" for check in checks)
    assert {"check", "state", "found"} <= set(checks[0])
