"""Another program takes over from the running daemon (rapyerctl upgrade): does any client notice? Is
all as before where it cannot? What latencies were is printed (pytest -s), not judged."""

import fcntl
import os
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time

import pytest

from daemon_process import Daemon, binary, built
from fault_proxy import REQUESTS
from load_clients import COUNTER, Load, watch
from models import KEY, save_ada
from ring_client import RingClient
from rpc_client import Client, RpcError, wait_until
from segment_reader import Segment

UPGRADES = 20


def upgrade(client):
    client.call("admin.set", "upgrade.still_time", "30s")  # on a machine that is busy with others
    result = client.call("admin.upgrade")
    assert result["ready"] and result["still"] > 0
    return result


# --- nobody notices --------------------------------------------------------------------------


@pytest.mark.parametrize("redis", ["outside", "embedded"])
def test_nobody_notices(redis, new_redis, new_daemon, request):
    daemon = new_daemon(new_redis().address if redis == "outside" else "embedded")
    said, pauses = [], []
    with daemon.connect() as client:
        load = Load(daemon)
        shared, turn = load.start_counting(client, [Client, Client, RingClient, RingClient])
        load.start(watch, shared["key"], said)
        pid = daemon.pid
        for _ in range(UPGRADES):
            pauses.append(upgrade(client)["still"])
            time.sleep(0.05)
        load.join()
        n = client.call("doc.get", shared["key"])["n"]
        assert n == shared["added"], "lost, or doubled"
        assert turn["taken"] == 2 and client.call("doc.get", turn["key"])["n"] == turn["n"]
        assert client.call("admin.locks") == [] or all(
            not lock["holders"] and not lock["waiters"] for lock in client.call("admin.locks"))
        assert None in said, "nobody was told to look after an upgrade"
        versions = [version for version in said if version is not None]
        assert versions == sorted(versions)
    assert daemon.process.poll() is None and daemon.pid == pid
    times = sorted(load.latencies)
    print(f"\n{redis}: {len(times)} requests beside {UPGRADES} upgrades; the pause {statistics.median(pauses) * 1e3:.0f}"
          f" ms, the longest {max(pauses) * 1e3:.0f} ms; latencies: median {times[len(times) // 2] * 1e3:.2f} ms,"
          f" 99 % {times[len(times) * 99 // 100] * 1e3:.1f} ms, 99.9 % {times[len(times) * 999 // 1000] * 1e3:.1f} ms,"
          f" longest {times[-1] * 1e3:.0f} ms; below 50 ms: {sum(t < 0.05 for t in times) / len(times):.3%}")


# --- what is half done -----------------------------------------------------------------------


def test_half_a_request(daemon, ada):
    long = Client.pack([0, 7, "set", [KEY, "bio", "x" * 1_000_000]])
    with daemon.connect() as half, daemon.connect() as byte:
        half.send_raw(long[:300_000])
        byte.send_raw(Client.pack([0, 3, "num.incr", [KEY, "age", 1]])[:1])
        wait_until(lambda: any(c["memory"] >= 300_000 for c in ada.call("admin.clients")), what="half a request")
        upgrade(ada)
        half.send_raw(long[300_000:600_000])
        upgrade(ada)
        half.send_raw(long[600_000:])
        byte.send_raw(Client.pack([0, 3, "num.incr", [KEY, "age", 1]])[1:])
        half.wait(7)
        assert byte.wait(3) == 37
    assert ada.call("doc.get", KEY)["bio"] == "x" * 1_000_000


def test_an_answer_that_is_half_read(daemon, ada):
    """More than a client has to read before more is carried out for it: what waits for that, too."""
    ada.call("set", KEY, "bio", "y" * 3_000_000)
    with daemon.connect() as slow:
        reads = [slow.send("doc.get", KEY) for _ in range(8)]
        writes = [slow.send("num.incr", KEY, "age", 1) for _ in range(8)]
        wait_until(lambda: any(c["paused"] for c in ada.call("admin.clients")), what="a client that does not read")
        for _ in range(3):
            upgrade(ada)
        for request in reads:
            assert slow.wait(request)["bio"] == "y" * 3_000_000
        assert [slow.wait(request) for request in writes] == list(range(37, 45))


def test_a_client_that_has_closed_one_direction(daemon, ada):
    """It gets what it has asked for."""
    ada.call("set", KEY, "bio", "z" * 2_000_000)
    with daemon.connect() as done:
        requests = [done.send("doc.get", KEY) for _ in range(3)]
        done.socket.shutdown(socket.SHUT_WR)
        upgrade(ada)
        upgrade(ada)
        for request in requests:
            assert done.wait(request)["bio"] == "z" * 2_000_000
        assert done.expect_closed() == []


def test_a_ring_that_is_full(daemon, ada):
    ada.call("set", KEY, "bio", "r" * 500_000)
    with RingClient(daemon.socket) as ring:
        requests = [ring.send("doc.get", KEY) for _ in range(20)]
        upgrade(ada)
        requests += [ring.send("num.incr", KEY, "age", 1) for _ in range(5)]
        upgrade(ada)
        for request in requests[:20]:
            assert ring.wait(request)["bio"] == "r" * 500_000
        assert [ring.wait(request) for request in requests[20:]] == [37, 38, 39, 40, 41]


def test_a_ring_that_a_client_has_spoilt(daemon, ada):
    """What it wrote over the daemon's part of the memory harms nobody else, and stops no upgrade."""
    with RingClient(daemon.socket) as bad, RingClient(daemon.socket) as good:
        for ring in (bad, good):
            assert ring.call("num.incr", KEY, "age", 1) > 0
        bad.memory[:192] = b"\xff" * 192
        bad.memory[4096:8192] = os.urandom(4096)
        upgrade(ada)
        assert good.call("num.incr", KEY, "age", 1) == 39
        wait_until(lambda: len(ada.call("admin.clients")) == 2, what="the end of who breaks the rules")
        upgrade(ada)
        assert good.call("num.incr", KEY, "age", 1) == 40


def test_clients_that_come_and_go(daemon, ada):
    """While it is upgraded: who connects waits, who is gone is gone, with its locks."""
    ended = threading.Event()
    wrong = []

    def come_and_go():
        try:
            while not ended.is_set():
                with daemon.connect() as client:
                    client.call("lock.acquire", KEY, "door", {"ttl": 60})
                    client.send("doc.get", KEY)
        except BaseException as error:  # pylint: disable=broad-except
            wrong.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(UPGRADES):
        upgrade(ada)
    ended.set()
    for thread in threads:
        thread.join(60)
    assert not wrong
    wait_until(lambda: len(ada.call("admin.clients")) == 1)
    assert all(not lock["holders"] and not lock["waiters"] for lock in ada.call("admin.locks"))


def test_many_connections(daemon, ada):
    crowd = [daemon.connect() for _ in range(300)]
    for i, client in enumerate(crowd):
        client.call("lock.acquire", f"User:{i}", "own", {"ttl": 60})
    for _ in range(2):
        upgrade(ada)
    for client in crowd:
        assert client.call("doc.exists", KEY)
    assert sum(len(lock["holders"]) for lock in ada.call("admin.locks")) == 300
    for client in crowd:
        client.close()


def test_shared_memory_is_asked_for_anew(daemon, ada, other):
    """Who reads there does not go on with what the old program has shown."""
    with Segment(daemon.socket) as before:
        wait_until(lambda: ada.call("doc.get", KEY) and before.read(KEY), what="the document is shown")
        upgrade(ada)
        assert other.call("num.incr", KEY, "age", 1) == 37
        assert before.gone and before.read(KEY) is None
    with Segment(daemon.socket) as after:
        wait_until(lambda: ada.call("doc.get", KEY) and after.read(KEY), what="it is shown anew")


# --- locks -----------------------------------------------------------------------------------


def test_waits_keep_their_place(daemon, ada):
    grant = ada.call("lock.acquire", KEY, "paint", {"ttl": 60})
    waits = []
    clients = [daemon.connect() for _ in range(6)]
    for i, client in enumerate(clients):
        waits.append(client.send("lock.acquire", KEY, "paint", {"wait": 60, "owner": f"o{i}", "document": i % 2 == 0}))
        wait_until(lambda: sum(len(lock["waiters"]) for lock in ada.call("admin.locks")) == len(waits))
        if i % 2:
            upgrade(ada)
    ada.call("lock.renew", grant["token"], 60)
    ada.call("lock.release", grant["token"], [["num.incr", KEY, "age", 1]])
    fence = grant["fence"]
    for i, client in enumerate(clients):
        got = client.wait(waits[i])
        assert got["fence"] > fence
        fence = got["fence"]
        assert ("document" in got) == (i % 2 == 0)
        assert all(lock["holders"][0]["owner"] == f"o{i}" for lock in ada.call("admin.locks"))
        upgrade(ada)
        client.call("lock.release", got["token"])
        client.close()


def test_what_ends_by_itself_does(daemon, ada, other):
    """Deadlines of waits and holds are as before; a lost lock is remembered, and told."""
    short = ada.call("lock.acquire", KEY, "short", {"ttl": 1.0, "notify": True})
    ada.call("lock.acquire", KEY, "long", {"ttl": 60})
    with pytest.raises(RpcError) as refused:
        waiting = other.send("lock.acquire", KEY, "long", {"wait": 0.5})
        upgrade(ada)
        other.wait(waiting)
    assert refused.value.code == "LOCK_TIMEOUT"
    got = other.call("lock.acquire", KEY, "short", {"wait": 10})
    upgrade(ada)
    assert any(method == "lock.lost" and params[0] == short["token"] for method, params in ada.notifications)
    with pytest.raises(RpcError) as lost:
        ada.call("lock.release", short["token"])
    assert lost.value.code == "LOCK_LOST" and "ttl" in lost.value.text
    other.call("lock.release", got["token"])


def test_a_grant_before_redis_has_answered(daemon, ada, redis_server):
    """The new program does not know the models yet, of which a grant tells; so it is told later."""
    ada.call("admin.set", "upgrade.still_time", "30s")
    holder, waiter, gone = (daemon.connect() for _ in range(3))
    holder.call("lock.acquire", KEY, "first", {"ttl": 60})
    waits = [gone.send("lock.acquire", KEY, "first", {"wait": 60})]
    wait_until(lambda: ada.call("admin.locks")[0]["waiters"], what="the first wait")
    waits.append(waiter.send("lock.acquire", KEY, "first", {"wait": 60, "document": True}))
    wait_until(lambda: len(ada.call("admin.locks")[0]["waiters"]) == 2, what="the second wait")
    redis_server.pause()
    request = ada.send("admin.upgrade")
    wait_until(lambda: ada.call("admin.stats")["redis"] != "up", what="the new program")
    holder.close()
    wait_until(lambda: len(ada.call("admin.locks")[0]["waiters"]) == 1, what="the grant to the first")
    gone.close()
    wait_until(lambda: not ada.call("admin.locks")[0]["waiters"], what="the grant to the second")
    redis_server.resume()
    assert waiter.wait(waits[1])["document"]["age"] == 36
    ada.wait(request)
    waiter.close()


def test_between_hosts(daemons, pair):
    """A lock that is held here and waited for there, and the other way round."""
    one, two = pair
    with daemons[0].connect() as waiter:
        here = one.call("lock.acquire", KEY, "here", {"ttl": 60})
        there = two.call("lock.acquire", KEY, "there", {"ttl": 60})
        from_there = two.send("lock.acquire", KEY, "here", {"wait": 60})
        from_here = waiter.send("lock.acquire", KEY, "there", {"wait": 60})
        wait_until(lambda: any(lock["wanted"] for lock in one.call("admin.locks")), what="a wish from the other host")
        for _ in range(3):
            upgrade(one)
        one.call("lock.release", here["token"], [["num.incr", KEY, "age", 1]])
        got = two.wait(from_there)
        assert got["fence"] > here["fence"]
        assert two.call("doc.get", KEY)["age"] == 37
        two.call("lock.release", there["token"])
        assert waiter.wait(from_here)["fence"] > there["fence"]


def test_the_other_host_sees_no_gap(daemons, pair):
    """What one writes the other reads, upgraded or not, and is told of what it watches."""
    one, two = pair
    two.call("watch", KEY)
    for n in range(1, 6):
        upgrade(one)
        assert one.call("num.incr", KEY, "age", 1) == 36 + 2 * n - 1
        upgrade(two)
        assert two.call("num.incr", KEY, "age", 1) == 36 + 2 * n
        assert one.call("doc.get", KEY, {"fresh": True})["age"] == 36 + 2 * n
    assert two.notifications


# --- what else goes along --------------------------------------------------------------------


def test_watches_and_monitors_go_on(daemon, ada, other, third):
    other.call("watch", KEY, "settings")
    other.call("watch", "User:*")
    third.call("admin.monitor", {"method": "num.incr"})
    upgrade(ada)
    wait_until(lambda: other.call("hello", {}) and len(other.notifications) >= 2)
    assert {params[0]: params[1] for _, params in other.notifications} == {KEY: None, "User:*": None}
    other.notifications.clear()
    ada.call("set", KEY, "settings.theme", "dark")
    ada.call("num.incr", KEY, "age", 1)
    wait_until(lambda: other.call("hello", {}) and len(other.notifications) >= 2)
    assert any(params[2] and "settings.theme" in params[2] for _, params in other.notifications)
    assert other.call("unwatch", KEY, "settings")
    wait_until(lambda: third.call("hello", {}) and third.notifications)
    assert third.notifications[0][1][0]["method"] == "num.incr"


def test_settings_that_were_set_stay_and_the_file_is_read(daemon, ada):
    ada.call("admin.set", "log.log_level", "debug")
    daemon.settings["limits.max_clients"] = "1234"
    daemon.write_config()
    upgrade(ada)
    now = {s["name"]: s["value"] for s in ada.call("admin.config")}
    assert now["log.log_level"] == "debug" and now["limits.max_clients"] == "1234"


def test_the_embedded_redis_stays(new_daemon):
    daemon = new_daemon("embedded")
    with daemon.connect() as client:
        wait_until(lambda: client.call("define", COUNTER) or True)
        client.call("doc.save", "Counter:1", {"n": 5})
        with open(f"{daemon.directory}/state/redis/lock", encoding="ascii") as lock:
            pid = int(lock.read())
        for _ in range(3):
            upgrade(client)
        with open(f"{daemon.directory}/state/redis/lock", encoding="ascii") as lock:
            assert int(lock.read()) == pid
        os.kill(pid, signal.SIGKILL)  # it is looked after as before
        wait_until(lambda: "was killed by signal 9" in daemon.log())
        assert client.call("doc.get", "Counter:1")["n"] == 5
        upgrade(client)
    daemon.stop()
    assert not os.path.exists(f"/proc/{pid}")


def test_figures_go_on_at_their_port(redis_server, new_daemon, workdir):
    path = f"{workdir}/metrics"
    daemon = new_daemon(redis_server.address, {"metrics.listen": f"unix:{path}"})
    with daemon.connect() as client:
        inode = os.stat(path).st_ino
        upgrade(client)
        assert os.stat(path).st_ino == inode
        with socket.socket(socket.AF_UNIX) as http:
            http.connect(path)
            http.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b"200 OK" in http.recv(4096)
    daemon.stop()
    assert not os.path.exists(path) and not os.path.exists(daemon.socket)


def test_who_may_something_else_is_disconnected(redis_server, new_daemon, workdir):
    rules = f"{workdir}/rules"
    with open(rules, "w", encoding="ascii") as file:
        file.write(f"user:{os.getuid()} admin,stats,read,write,define *\n")
    daemon = new_daemon(redis_server.address, {"rights.file": rules})
    with daemon.connect() as same, daemon.connect() as client:
        upgrade(same)
        client.call("hello", {})
        with open(rules, "w", encoding="ascii") as file:
            file.write(f"user:{os.getuid()} admin,stats,read *\n")
        client.send("admin.upgrade")
        client.expect_closed()
        same.expect_closed()
    assert "what it may do has changed" in daemon.log()


def test_socket_of_the_service_manager(redis_server, new_daemon, workdir):
    path = os.path.join(workdir, "activated.sock")
    daemon = new_daemon(redis_server.address, wait=False, prefix=[
        "systemd-socket-activate", "-l", path, "--fdname=rapyerd", "-E", "ASAN_OPTIONS",
        "-E", "UBSAN_OPTIONS"])
    daemon.socket = path
    wait_until(lambda: os.path.exists(path), what="the socket")
    wait_until(daemon.answers, what="the daemon's hello")
    with daemon.connect() as client:
        upgrade(client)
        with daemon.connect() as new:
            new.call("hello", {})
    daemon.stop()
    assert os.path.exists(path)


def test_the_service_manager_is_told(redis_server, new_daemon, service_manager):
    daemon = new_daemon(redis_server.address, env={**service_manager.env, "WATCHDOG_USEC": "300000"})
    with daemon.connect() as client:
        service_manager.until(b"READY=1")
        said = service_manager.said
        said.clear()
        upgrade(client)
        service_manager.until(b"RELOADING=1\nMONOTONIC_USEC=", b"READY=1", b"WATCHDOG=1")
        assert [m for m in said if b"RELOADING" in m or b"READY" in m][-1].startswith(b"READY=1")


def test_a_program_that_was_found_by_its_name(redis_server, new_daemon, workdir):
    """In PATH; and its file is replaced meanwhile, as packages do that."""
    path = f"{workdir}/bin/rapyerd"
    os.mkdir(os.path.dirname(path))
    shutil.copy(binary(), path)
    daemon = new_daemon(redis_server.address, env={"PATH": f"{workdir}/bin:{os.environ['PATH']}"},
                        prefix=["sh", "-c", 'shift; exec rapyerd "$@"', "sh"])
    with daemon.connect() as client:
        for _ in range(2):
            shutil.copy(binary(), f"{path}.new")
            os.rename(f"{path}.new", path)
            upgrade(client)
            assert os.readlink(f"/proc/{daemon.pid}/exe") == path


def test_rapyerctl_upgrade(daemon, ada):
    said = subprocess.run([built("client/rapyerctl"), "-s", daemon.socket, "upgrade"], check=True,
                          capture_output=True, text=True).stdout
    assert said.startswith("upgraded from ") and "requests stood still for" in said
    assert ada.call("doc.get", KEY)["name"] == "Ada"


# --- when it does not go well ----------------------------------------------------------------


@pytest.fixture
def refused(daemon, ada, workdir):
    """Tries an upgrade to what a script does, and says why it was refused; all is as before."""

    def refused(script=None, path=None, still="2s", start="10s", during=None):
        if script is not None:
            path = f"{workdir}/new"
            with open(path, "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\n{script}\n")
            os.chmod(path, 0o755)
        daemon.settings.update({"upgrade.program": path})
        daemon.write_config()
        with daemon.connect() as waiter:
            grant = ada.call("lock.acquire", KEY, "mine")
            waiting = waiter.send("lock.acquire", KEY, "mine", {"wait": 30})
            request = ada.send("admin.upgrade")
            if during is not None:
                during()
            with pytest.raises(RpcError) as why:
                ada.wait(request)
            assert why.value.code == "UNAVAILABLE" and "all goes on as before" in why.value.text
            age = ada.call("doc.get", KEY)["age"]
            assert ada.call("num.incr", KEY, "age", 1) == age + 1
            ada.call("lock.release", grant["token"])
            waiter.call("lock.release", waiter.wait(waiting)["token"])
        return why.value.text

    return refused


# The words of the environment: memory, way back, report, returned. A trial has a report.
TRIAL = 'set -- "$@"; read memory back report returned <<END\n$RAPYERD_STATE\nEND\n'


def test_programs_that_cannot_take_over(refused):
    assert "No such file" in refused(path="/nowhere/rapyerd")
    assert "without a word" in refused(path="/bin/true")
    assert "without a word" in refused(script="exit 3")
    assert "ended by signal 11" in refused(script="kill -SEGV $$")
    assert "Permission denied" in refused(path="/etc/passwd")


def test_a_program_that_says_nothing(redis_server, new_daemon, workdir):
    daemon = new_daemon(redis_server.address, {"upgrade.start_time": "300ms", "upgrade.program": f"{workdir}/new"})
    with open(f"{workdir}/new", "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nexec sleep 60\n")
    os.chmod(f"{workdir}/new", 0o755)
    with daemon.connect() as client:
        with pytest.raises(RpcError, match="upgrade.start_time"):
            client.call("admin.upgrade")
        assert client.call("hello", {})


def test_a_program_that_hangs_over_the_state(redis_server, new_daemon, workdir):
    """The second time that it is tried; requests go on after upgrade.still_time."""
    daemon = new_daemon(redis_server.address, {"upgrade.still_time": "500ms", "upgrade.program": f"{workdir}/new"})
    with open(f"{workdir}/new", "w", encoding="ascii") as file:
        file.write(f'#!/bin/sh\n[ -e {workdir}/once ] && exec sleep 60\ntouch {workdir}/once\nexec {binary()} "$@"\n')
    os.chmod(f"{workdir}/new", 0o755)
    with daemon.connect() as client:
        save_ada(client)
        with pytest.raises(RpcError, match="upgrade.still_time.*"):
            client.call("admin.upgrade")
        assert client.call("num.incr", KEY, "age", 1) == 37


@pytest.mark.parametrize("attempt", range(1, 4))
def test_a_stop_meanwhile(attempt, redis_server, new_daemon, workdir):
    """While the other program is tried, is tried with the state, and while this one becomes the other: whoever has
    asked is answered, and it stops."""
    tries = f"{workdir}/tries"
    daemon = new_daemon(redis_server.address, {"upgrade.program": f"{workdir}/new"})
    with open(f"{workdir}/new", "w", encoding="ascii") as file:
        file.write(f'#!/bin/sh\necho >>{tries}\n[ $(wc -l <{tries}) != {attempt} ] || kill -TERM {daemon.pid}\n'
                   f'exec {binary()} "$@"\n')
    os.chmod(f"{workdir}/new", 0o755)
    with daemon.connect() as client:
        save_ada(client)
        if attempt == 1:
            with pytest.raises(RpcError, match="rapyerd is stopping"):
                client.call("admin.upgrade")
        else:
            assert client.call("admin.upgrade")["clients"] == 1
        client.expect_closed()
    assert daemon.process.wait(Daemon.STOP_TIME) == 0
    assert "stopping on Terminated" in daemon.log()


def test_a_broken_configuration(daemon, ada, refused):
    daemon.settings["limits.max_clients"] = "many"
    with pytest.raises(RpcError, match="max_clients"):
        daemon.write_config()
        ada.call("admin.upgrade")
    daemon.settings.pop("limits.max_clients")
    daemon.settings["redis.key_prefix"] = "other"
    daemon.write_config()
    with pytest.raises(RpcError, match="other keys in it; that takes a restart"):
        ada.call("admin.upgrade")
    daemon.settings.pop("redis.key_prefix")
    daemon.write_config()
    upgrade(ada)


def stranger(workdir):
    """A rapyerd that knows no state of ours."""
    with open(binary(), "rb") as file:
        code = file.read()
    assert b"rapyerd state\0" in code
    path = f"{workdir}/stranger"
    with open(path, "wb") as file:
        file.write(code.replace(b"rapyerd state\0", b"rapyerd elate\0"))
    os.chmod(path, 0o755)
    return path


def test_a_state_that_is_not_understood(refused, workdir):
    assert "this is no state of a rapyerd" in refused(path=stranger(workdir))


def test_the_way_back(refused, daemon, workdir):
    """It was tried, and cannot go on after all: the program before is back, with all it had."""
    script = TRIAL + f'[ "$report" = -1 ] && exec {stranger(workdir)} "$@"\nexec {binary()} "$@"'
    assert "could not go on after all" in refused(script=script)
    assert "back to the program before: this is no state of a rapyerd" in daemon.log()


def test_kill_9_of_what_is_tried(refused, workdir):
    script = f"echo $$ > {workdir}/pid; mv {workdir}/pid {workdir}/trial; exec sleep 60"

    def kill():
        wait_until(lambda: os.path.exists(f"{workdir}/trial"))
        with open(f"{workdir}/trial", encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGKILL)

    assert "without a word" in refused(script=script, during=kill)


def nobody_has_its_socket(daemon):
    """What is tried ends with the daemon, but a moment later."""
    with open(f"{daemon.socket}.lock", "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False


def test_kill_9_of_the_daemon_in_the_middle(redis_server, new_daemon, workdir):
    """At any moment of an upgrade: it is a crash as any other."""
    daemon = new_daemon(redis_server.address)
    acknowledged = 0
    for after in (0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3):
        with daemon.connect() as client:
            if acknowledged == 0:
                client.call("define", COUNTER)
                client.call("doc.save", "Counter:1", {"n": 0})
            for _ in range(5):
                acknowledged = client.call("num.incr", "Counter:1", "n", 1)
            client.send("admin.upgrade")
            time.sleep(after)
            daemon.kill()
        wait_until(lambda: nobody_has_its_socket(daemon), what="the end of what was tried")
        daemon.start()
        with daemon.connect() as client:
            wait_until(lambda: client.call("doc.get", "Counter:1")["n"] == acknowledged)


def test_redis_does_not_answer(redis_server, new_daemon):
    """What is under way cannot end, so requests go on to wait for Redis as they did."""
    daemon = new_daemon(redis_server.address, {"upgrade.still_time": "300ms"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        redis_server.pause()
        written = other.send("num.incr", KEY, "age", 1)
        client.call("hello", {})
        with pytest.raises(RpcError, match="did not end within upgrade.still_time"):
            client.call("admin.upgrade")
        redis_server.resume()
        assert other.wait(written) == 37
        upgrade(client)
        assert other.call("num.incr", KEY, "age", 1) == 38


def test_redis_is_away(redis_server, new_daemon):
    """Nothing is under way: the new program waits for it as the old one did."""
    daemon = new_daemon(redis_server.address)
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        redis_server.kill()
        wait_until(lambda: client.call("admin.stats")["redis"] != "up", what="the loss of the link")
        request = client.send("admin.upgrade")
        written = other.send("num.incr", KEY, "age", 1)
        redis_server.start()
        assert client.wait(request)["ready"] in (True, False)
        with pytest.raises(RpcError) as gone:
            other.wait(written)
        assert gone.value.code == "NOT_FOUND"  # this Redis keeps nothing


def test_a_commit_that_may_arrive_yet(redis_server, new_proxy, new_daemon):
    """Only who has sent it knows the connection that has the rest of it, and has that killed before it writes more."""
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {"commit.queue_time": "300ms", "upgrade.still_time": "300ms"})
    with daemon.connect() as client, redis_server.client() as rdb:
        save_ada(client)
        client.call("doc.get", KEY)
        rest = threading.Event()
        proxy.cut_after(REQUESTS, 20, late=rest)
        proxy.refusing = True
        with pytest.raises(RpcError, match="UNKNOWN_OUTCOME"):
            client.call("num.incr", KEY, "age", 1)
        with pytest.raises(RpcError, match="only Redis knows of a commit"):
            client.call("admin.upgrade")
        proxy.refusing = False
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        upgrade(client)
        assert client.call("num.incr", KEY, "age", 10) == 46
        rest.set()
        wait_until(lambda: not any(link.held for link in proxy.links), what="the end of the old connection")
        assert rdb.hget("rapyer:{User:ada}", "age") == b"46"


def test_one_at_a_time(daemon, ada, other):
    first, second = ada.send("admin.upgrade"), other.send("admin.upgrade")
    said = []
    for client, request in ((ada, first), (other, second)):
        try:
            said.append(client.wait(request)["ready"])
        except RpcError as error:
            said.append(error.code)
    assert sorted(map(str, said)) == ["BUSY", "True"]
    with pytest.raises(RpcError, match="takes no parameters"):
        ada.call("admin.upgrade", "/bin/sh")


def test_stop_while_it_is_tried(redis_server, new_daemon, workdir):
    daemon = new_daemon(redis_server.address, {"upgrade.program": f"{workdir}/new"})
    with open(f"{workdir}/new", "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\ntouch {workdir}/began\nexec sleep 60\n")
    os.chmod(f"{workdir}/new", 0o755)
    with daemon.connect() as client:
        request = client.send("admin.upgrade")
        wait_until(lambda: os.path.exists(f"{workdir}/began"))
        daemon.process.terminate()
        with pytest.raises(RpcError, match="stopping"):
            client.wait(request)
    daemon.stop()
