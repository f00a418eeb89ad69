"""The daemon as a service: its socket, readiness, signals, and the Redis it brings along."""

import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from daemon_process import binary
from models import KEY, ROOT, define_all, save_ada
from redis_server import SERVER, aof_path, break_off
from rpc_client import Closed, RpcError, wait_until


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def run(*args):
    return subprocess.run([binary(), *args], capture_output=True, text=True, timeout=20, check=False)


def test_command_line():
    version = run("--version")
    assert version.returncode == 0 and "rapyerd" in version.stdout
    usage = run("--help")
    assert usage.returncode == 0 and "--check" in usage.stdout and "-o" in usage.stdout
    assert run("--no-such-option").returncode != 0
    assert run("--check").returncode == 0
    bad = run("--check", "-o", "limits.max_frame=lots")
    assert bad.returncode != 0 and "limits.max_frame" in bad.stderr
    bad = run("--check", "-o", "limits.no_such=1")
    assert bad.returncode != 0 and "no_such" in bad.stderr


def test_error_in_the_file_names_its_line(tmp_path):
    path = tmp_path / "rapyerd.conf"
    path.write_text("[limits]\n\nmax_clients = none\n", encoding="ascii")
    bad = run("--check", "-c", str(path))
    assert bad.returncode != 0 and "rapyerd.conf:3" in bad.stderr and "max_clients" in bad.stderr


def test_sample_is_the_default_configuration(tmp_path):
    sample = run("--print-sample")
    assert sample.returncode == 0
    path = tmp_path / "rapyerd.conf"
    path.write_text(sample.stdout, encoding="utf-8")
    assert run("--check", "-c", str(path)).returncode == 0


def test_socket_activation(redis_server, new_daemon, workdir):
    path = os.path.join(workdir, "activated.sock")
    daemon = new_daemon(redis_server.address, wait=False, prefix=[
        "systemd-socket-activate", "-l", path, "--fdname=rapyerd", "-E", "ASAN_OPTIONS",
        "-E", "UBSAN_OPTIONS"])
    configured, daemon.socket = daemon.socket, path
    wait_until(lambda: os.path.exists(path), what="the socket")
    wait_until(daemon.answers, what="the daemon's hello")
    with daemon.connect() as client:
        save_ada(client)
        assert client.call("num.incr", KEY, "age", 1) == 37
    assert not os.path.exists(configured)
    daemon.stop()
    assert os.path.exists(path), "the socket belongs to the one who handed it over"


def test_figures_on_a_socket_that_is_handed_over(redis_server, new_daemon, workdir):
    path, figures = os.path.join(workdir, "activated.sock"), os.path.join(workdir, "figures.sock")
    activate = ["systemd-socket-activate", "-E", "ASAN_OPTIONS", "-E", "UBSAN_OPTIONS", "-l", path]
    daemon = new_daemon(redis_server.address, wait=False,
                        prefix=[*activate, "-l", figures, "--fdname=rapyerd:metrics"])
    daemon.socket = path
    wait_until(lambda: os.path.exists(figures), what="the sockets")
    wait_until(daemon.answers, what="the daemon's hello")
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(figures)
        one.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in one.recv(4096)
    daemon.stop()
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    open_to_all = new_daemon(redis_server.address, wait=False,
                             prefix=[*activate[:-1], f"{path}2", "-l", f"0.0.0.0:{port}", "--fdname=rapyerd:metrics"])

    def reached(one):
        try:
            one.connect(f"{path}2")
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    with socket.socket(socket.AF_UNIX) as one:
        wait_until(lambda: reached(one), what="the socket")
        assert open_to_all.process.wait(20) == 1
    open_to_all.killed = True
    assert "can be reached from other hosts" in open_to_all.log()


def test_ready_when_redis_answers(redis_server, new_daemon, workdir):
    path = os.path.join(workdir, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        redis_server.kill()
        daemon = new_daemon(redis_server.address, env={"NOTIFY_SOCKET": path})
        notify.settimeout(0.5)
        said = b""
        with pytest.raises(TimeoutError):
            while True:
                said += notify.recv(4096) + b"\n"
        assert b"READY=1" not in said
        redis_server.start()
        notify.settimeout(20)
        while b"READY=1" not in said:
            said += notify.recv(4096) + b"\n"
        daemon.stop()
        while b"STOPPING=1" not in said:
            said += notify.recv(4096) + b"\n"


def test_the_service_manager_is_told_what_happens(redis_server, new_daemon, service_manager):
    daemon = new_daemon(redis_server.address, env={**service_manager.env, "WATCHDOG_USEC": "300000"})
    service_manager.until(b"READY=1", b"WATCHDOG=1")
    service_manager.said.clear()
    daemon.reload()
    service_manager.until(b"RELOADING=1\nMONOTONIC_USEC=", b"READY=1")
    with daemon.connect() as client:
        save_ada(client)
        redis_server.pause()
        client.send("num.incr", KEY, "age", 1)
        client.call("hello")
        service_manager.said.clear()
        daemon.process.send_signal(signal.SIGTERM)
        service_manager.until(b"STOPPING=1", b"STATUS=stopping: 1 requests wait for Redis")
        redis_server.resume()
    daemon.stop()


def test_a_daemon_that_stands_still_is_ended_and_started_anew(redis_server, new_daemon, workdir):
    """As a service manager does it: no WATCHDOG=1 in time, SIGABRT, SIGKILL where that is not enough."""
    path = os.path.join(workdir, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(20)
        daemon = new_daemon(redis_server.address, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "900000"})
        while b"WATCHDOG=1" not in notify.recv(4096):
            pass
        with daemon.connect() as client:
            save_ada(client)
            daemon.process.send_signal(signal.SIGSTOP)
            notify.settimeout(0.9)
            with pytest.raises(TimeoutError):  # what was said before it stood still, and nothing more
                while True:
                    notify.recv(4096)
            client.send("num.incr", KEY, "age", 1)
            daemon.process.send_signal(signal.SIGABRT)
            daemon.kill()
        daemon.start()
        with daemon.connect() as client:
            assert client.call("doc.load", KEY, "age") == 36


def test_does_not_steal_a_socket_in_use(daemon, client, redis_server, new_daemon):
    second = new_daemon(redis_server.address, {"listen.socket": daemon.socket}, wait=False)
    assert second.process.wait(20) != 0
    second.killed = True
    assert daemon.socket in second.log()
    assert client.call("hello")
    assert daemon.answers()


def test_does_not_remove_what_is_no_socket(redis_server, new_daemon, workdir):
    path = os.path.join(workdir, "precious")
    with open(path, "w", encoding="ascii") as file:
        file.write("data")
    second = new_daemon(redis_server.address, {"listen.socket": path}, wait=False)
    assert second.process.wait(20) != 0
    second.killed = True
    assert path in second.log()
    with open(path, encoding="ascii") as file:
        assert file.read() == "data"


def test_replaces_a_dead_socket(daemon, client):
    save_ada(client)
    daemon.kill()
    assert os.path.exists(daemon.socket)
    daemon.start()
    with daemon.connect() as later:
        assert later.call("doc.load", KEY, "age") == 36


def test_socket_mode_and_removal(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"listen.socket_mode": "0600"})
    assert os.stat(daemon.socket).st_mode & 0o777 == 0o600
    daemon.stop()
    assert not os.path.exists(daemon.socket)


def test_reload_takes_what_can_change(daemon, client):
    define_all(client)
    daemon.settings.update({"limits.max_value": "1K", "redis.key_prefix": "other"})
    daemon.write_config()
    daemon.reload()
    wait_until(lambda: "key_prefix" in daemon.log(), what="a word on what cannot change")
    with pytest.raises(RpcError, match="^TOO_LARGE: "):
        client.call("doc.save", "User:1", {"name": "x" * 2000})
    client.call("doc.save", "User:1", {"name": "x"})


def test_a_value_may_have_so_many_bytes(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.max_value": "1K"})
    big, most = "x" * 1025, "x" * 1024
    with daemon.connect() as client:
        save_ada(client)
        before = client.call("doc.get", KEY)
        for path, request in [
                ("bio", ("set", KEY, "bio", big)), ("blob", ("set", KEY, "blob", big.encode())),
                ("extra", ("set", KEY, "extra", [most, 1])), ("tags", ("list.append", KEY, "tags", big)),
                (r"tags\[1\]", ("list.extend", KEY, "tags", ["a", big])),
                ("tags", ("list.insert", KEY, "tags", 0, big)),
                (r"tags", ("list.set", KEY, "tags", 0, big)),
                ("rows", ("list.append", KEY, "rows", list(range(1000)))),
                ("address", ("set", KEY, "address", {"street": big, "city": ""})),
                (r"tasks\[0\]\.title", ("list.append", KEY, "sections",
                                        {"name": "n", "tasks": [{"title": big}]})),
                ("bio", ("str.append", KEY, "bio", big)),
                ("name", ("doc.save", "User:2", {"name": big})),
                ("name", ("doc.insert", [["User:2", {"name": big}]])),
                ("bio", ("pipeline", [["num.incr", KEY, "age", 1], ["set", KEY, "bio", big]]))]:
            with pytest.raises(RpcError, match=f"^TOO_LARGE: .*{path}"):
                client.call(*request)
        assert client.call("doc.get", KEY) == before
        client.call("set", KEY, "bio", most)
        client.call("set", KEY, "blob", most.encode())
        client.call("list.append", KEY, "tags", most)
        # What is there stays readable when less is allowed.
        daemon.settings["limits.max_value"] = "64"
        daemon.write_config()
        daemon.reload()
        daemon.kill()
        daemon.start()
        with daemon.connect() as again:
            assert again.call("doc.load", KEY, "bio") == most
            assert again.call("doc.load", KEY, "tags")[-1] == most


def test_stops_after_answering_what_it_took(daemon, client, redis_server):
    save_ada(client)
    redis_server.pause()
    requests = [client.send("num.incr", KEY, "age", 1) for _ in range(50)]
    client.call("hello")  # they are all read
    daemon.process.send_signal(signal.SIGTERM)
    redis_server.resume()
    assert [client.wait(request) for request in requests] == list(range(37, 87))
    daemon.stop()


# --- the embedded Redis ----------------------------------------------------------------------------


def test_the_application_ends_after_it(daemon, client, redis_server):
    """As a sidecar that is told too early: what was acknowledged is there, and the rest is told, not hung."""
    save_ada(client)
    client.call("lock.acquire", KEY, "mine")
    others = [daemon.connect() for _ in range(4)]
    said, began = [], threading.Event()

    def work(other):
        acknowledged = 0
        try:
            while True:
                other.call("num.incr", KEY, "age", 1)
                acknowledged += 1
                began.set()
        except RpcError as error:
            said.append((acknowledged, error.error))
        except (Closed, OSError):
            said.append((acknowledged, "UNAVAILABLE: rapyerd is stopping; nothing was applied"))

    threads = [threading.Thread(target=work, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    assert began.wait(20)
    daemon.stop()
    for thread in threads:
        thread.join(20)
    assert {error for _, error in said} == {"UNAVAILABLE: rapyerd is stopping; nothing was applied"}
    with redis_server.client() as redis:
        age = int(redis.hget("rapyer:{User:ada}", "age"))
    acknowledged = 36 + sum(n for n, _ in said)
    assert acknowledged <= age <= acknowledged + len(others), "a write whose connection ended may be there"


def test_the_application_ends_before_it(daemon, client):
    save_ada(client)
    with daemon.connect() as application:
        application.call("lock.acquire", KEY, "mine", {"ttl": 60})
        application.send("num.incr", KEY, "age", 1)
    assert client.call("lock.acquire", KEY, "mine", {"wait": 10})["token"]
    wait_until(lambda: client.call("doc.load", KEY, "age") == 37)
    client.close()
    daemon.stop()


@pytest.fixture
def embedded(new_daemon):
    return new_daemon("embedded")


def ready(client):
    """Waits for the embedded server, and defines the models."""
    def try_it():
        try:
            define_all(client)
            return True
        except RpcError as error:
            assert error.code == "UNAVAILABLE", error
            return False
    wait_until(try_it, what="the embedded Redis")


def when_back(client, *request):
    def try_it():
        try:
            return [client.call(*request)]
        except RpcError as error:
            assert error.code in ("UNAVAILABLE", "UNKNOWN_OUTCOME"), error
            return None
    return wait_until(try_it, what="an answer")[0]


def test_embedded_redis_is_private_and_ends_with_the_daemon(embedded):
    with embedded.connect() as client:
        ready(client)
        save_ada(client)
    (server,) = children(embedded.pid)
    assert os.path.samefile(f"/proc/{server}/exe", shutil.which(SERVER))
    sockets = subprocess.run(["ls", "-l", f"/proc/{server}/fd"], capture_output=True, text=True,
                             check=True).stdout
    inodes = {line.rsplit("socket:[", 1)[1][:-1] for line in sockets.splitlines() if "socket:[" in line}
    with open("/proc/net/tcp", encoding="ascii") as tcp:
        listening = {line.split()[9] for line in tcp.readlines()[1:] if line.split()[3] == "0A"}
    assert not inodes & listening, "it listens on TCP"
    embedded.stop()
    assert not os.path.exists(f"/proc/{server}")


def test_data_survives_a_stop(embedded):
    with embedded.connect() as client:
        ready(client)
        save_ada(client)
        client.call("set", KEY, "age", 99)
    embedded.stop()
    embedded.start()
    with embedded.connect() as client:
        assert when_back(client, "doc.load", KEY, "age") == 99


def test_kill_9_of_the_embedded_redis_loses_nothing(embedded):
    with embedded.connect() as client:
        ready(client)
        save_ada(client)
        for round_number in range(3):
            expected = 0
            client.call("set", KEY, "age", 0)
            for _ in range(50):
                expected += 1
                assert client.call("num.incr", KEY, "age", 1) == expected
            (server,) = children(embedded.pid)
            os.kill(server, signal.SIGKILL)
            assert when_back(client, "doc.load", KEY, "age") == expected, round_number
            assert when_back(client, "num.incr", KEY, "age", 0) == expected
            wait_until(lambda: children(embedded.pid) not in ([], [server]), what="a new Redis")


def test_kill_9_of_the_daemon_loses_nothing(embedded):
    for round_number in range(3):
        with embedded.connect() as client:
            ready(client)
            if round_number == 0:
                save_ada(client)
            before = when_back(client, "doc.load", KEY, "age")
            for _ in range(50):
                client.call("num.incr", KEY, "age", 1)
        embedded.kill()
        embedded.start()
        with embedded.connect() as client:
            assert when_back(client, "doc.load", KEY, "age") == before + 50


def test_embedded_redis_that_was_killed_while_it_wrote_a_commit(embedded):
    """What it has of a commit that it did not write to its end is never applied."""
    with embedded.connect() as client:
        ready(client)
        save_ada(client)
    embedded.stop()
    break_off(aof_path(f"{embedded.directory}/state/redis"), ["HINCRBY", ROOT, "age", "1"])
    embedded.start()
    with embedded.connect() as client:
        assert when_back(client, "num.incr", KEY, "age", 1) == 37
        (server,) = children(embedded.pid)
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: children(embedded.pid) not in ([], [server]), what="a new Redis")
        assert when_back(client, "num.incr", KEY, "age", 1) == 38
    assert "broke off" in embedded.log()


def test_program_that_is_not_there(new_daemon):
    daemon = new_daemon("embedded", {"redis.redis_server": "/nonexistent/redis-server"}, wait=False)
    assert daemon.process.wait(20) == 1
    daemon.killed = True
    assert "/nonexistent/redis-server" in daemon.log()
