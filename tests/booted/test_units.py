"""The units as systemd itself runs them."""

import json
import os
import signal

import pytest

from load_clients import COUNTER, Load, count_alone, pour, take_turns, watch
from ring_client import RingClient
from rpc_client import Client

SOCKET = "/run/rapyerd/rapyerd.sock"


def ctl(machine, *argv, name=None, **options):
    socket = ["-s", f"/run/rapyerd/{name}.sock"] if name else []
    return machine.out("rapyerctl", *socket, *argv, user="member", **options)


def age(machine, **options):
    return ctl(machine, "get", "User:ada", "age", **options)


def main_pid(machine, unit="rapyerd.service"):
    return int(machine.show(unit, "MainPID"))


def is_down(machine, unit):
    return machine.show(unit, "ActiveState") == "inactive"


def start_redis(machine, name, *options):
    """A Redis of the machine's, which is not rapyerd's own."""
    machine.run("systemd-run", f"--unit={name}", "redis-server", "--port", "0", "--dir", "/tmp", "--unixsocketperm",
                "777", "--unixsocket", f"/tmp/{name}.sock", *options)
    machine.until(lambda: os.path.exists(machine.path(f"/tmp/{name}.sock")), "Redis is there")


def instance(machine, conf, name, settings, dropin=""):
    machine.write(f"{conf}/{name}.conf", settings)
    if dropin:
        machine.write(f"/etc/systemd/system/rapyerd@{name}.service.d/test.conf", dropin)
        machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", f"rapyerd@{name}.socket")


def test_the_first_client_starts_it(machine):
    machine.run("systemctl", "stop", "rapyerd.service")
    assert machine.show("rapyerd.socket", "ActiveState") == "active"
    refused = machine.run("rapyerctl", "stats", user="stranger", check=False)
    assert refused.returncode == 7 and "may not connect" in refused.stderr
    assert is_down(machine, "rapyerd.service")
    assert json.loads(ctl(machine, "stats"))
    machine.until(lambda: machine.show("rapyerd.service", "SubState") == "running", "it is ready")
    assert machine.show("rapyerd.service", "StatusText", "User") == ["Redis answers", "rapyerd"]
    state = os.stat(machine.path("/var/lib/rapyerd"))
    assert state.st_mode & 0o777 == 0o700 and state.st_uid == os.stat(f"/proc/{host_pid(machine)}").st_uid != 0


def host_pid(machine, unit="rapyerd.service"):
    """The process as it is seen from outside: the one in the machine with that number."""
    wanted = str(main_pid(machine, unit))
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/status", encoding="utf-8") as file:
                    numbers = next(line.split()[1:] for line in file if line.startswith("NSpid:"))
            except (OSError, StopIteration):
                continue
            if len(numbers) == 2 and numbers[1] == wanted:
                return int(entry)
    raise LookupError(wanted)


def test_its_exposure_is_small(machine):
    for unit in ("rapyerd.service", "rapyerd@blue.service"):
        said = machine.run("systemd-analyze", "security", "--no-pager", "--threshold=10", unit)
        assert "SAFE" in said.stdout


def test_rings_shared_memory_and_names_work_in_there(service):
    path = service.path(SOCKET)
    with RingClient(path) as client:
        for _ in range(100):
            assert client.call("num.incr", "User:ada", "age", 1) > 0
        assert client.call("doc.load", "User:ada", "age") == 136
    clients = json.loads(ctl(service, "-j", "clients"))
    assert "rapyerctl" in json.dumps(clients), "the names of programs come from /proc"


def test_it_has_no_network(service):
    with open(f"/proc/{host_pid(service)}/net/dev", encoding="ascii") as file:
        assert [line.split(":")[0].strip() for line in file.readlines()[2:]] == ["lo"]
    assert os.readlink(f"/proc/{host_pid(service)}/ns/net") != os.readlink(f"/proc/{service.init}/ns/net")


def test_kill_9_loses_nothing(service):
    before, restarts = main_pid(service), int(service.show("rapyerd.service", "NRestarts"))
    ctl(service, "set", "User:ada", "age", "40")
    service.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "rapyerd.service")
    assert age(service) == "40", "the socket is there all the time"
    assert main_pid(service) not in (0, before)
    assert int(service.show("rapyerd.service", "NRestarts")) == restarts + 1


def test_a_reload_is_taken_over_or_told(service, conf):
    service.write(f"{conf}/rapyerd.conf", "[log]\nslow_time = 7ms\n")
    service.run("systemctl", "reload", "rapyerd.service")
    service.until(lambda: "7ms" in ctl(service, "config", "get", "log.slow_time"), "the setting")
    pid = main_pid(service)
    service.write(f"{conf}/rapyerd.conf", "[log]\nslow_time = soon\n")
    service.run("systemctl", "reload", "rapyerd.service", check=False)
    service.until(lambda: "rapyerd.conf:2: log.slow_time" in service.journal("rapyerd.service"), "the error")
    service.until(lambda: service.show("rapyerd.service", "SubState") == "running", "the end of the reload")
    assert main_pid(service) == pid and "7ms" in ctl(service, "config", "get", "log.slow_time")
    service.write(f"{conf}/rapyerd.conf", "")
    service.run("systemctl", "reload", "rapyerd.service")


def test_an_upgrade_keeps_process_redis_and_clients(service):
    """The program is replaced as a package does it, by another file of the same name."""
    program = service.show("rapyerd.service", "ExecStart").split("path=")[1].split()[0]
    before = host_pid(service)
    redis = service.out("pgrep", "-u", "rapyerd", "redis-server")
    with RingClient(service.path(SOCKET)) as client:
        grant = client.call("lock.acquire", "User:ada", "mine", {"ttl": 60})
        for _ in range(3):
            service.run("cp", program, f"{program}.new")
            service.run("mv", f"{program}.new", program)
            assert "requests stood still for" in ctl(service, "upgrade")
            assert client.call("doc.exists", "User:ada")
        client.call("lock.release", grant["token"])
    assert host_pid(service) == before and service.out("pgrep", "-u", "rapyerd", "redis-server") == redis
    assert os.readlink(f"/proc/{before}/exe") == program, "not the one that was replaced"
    service.until(lambda: service.show("rapyerd.service", "SubState", "StatusText") == ["running", "Redis answers"],
                  "the end of it for systemd")
    assert service.show("rapyerd.service", "NRestarts", "Result")[1] == "success"


class Installed:
    """What load_clients want of a daemon."""

    def __init__(self, machine):
        self.socket = machine.path(SOCKET)

    def connect(self):
        return Client(self.socket)


def pauses(machine):
    return [float(line.split(" stood still for ")[1].split(" ms")[0])
            for line in machine.journal("rapyerd.service").splitlines() if "restarted from" in line]


def test_a_restart_keeps_clients_and_what_they_hold(service):
    """systemctl restart, under load: no error, nothing lost or doubled, holders and waiters as before."""
    before = pauses(service)
    daemon = Installed(service)
    turn = {"key": "Counter:turn", "inside": 0, "n": 0, "taken": 0}
    said = []
    with daemon.connect() as client, RingClient(daemon.socket) as holder, daemon.connect() as waiter:
        client.call("define", COUNTER)
        client.call("doc.save", turn["key"], {"n": 0})
        mine = holder.call("lock.acquire", "User:ada", "mine", {"ttl": 600})
        waiting = waiter.send("lock.acquire", "User:ada", "mine", {"wait": 600})
        service.until(lambda: any(lock["waiters"] for lock in client.call("admin.locks")), "the one who waits")
        load = Load(daemon)
        load.start(count_alone, "Counter:raw", Client)
        load.start(count_alone, "Counter:ring", RingClient)
        for _ in range(2):
            load.start(take_turns, turn)
        load.start(pour, "Counter:poured")
        load.start(watch, "Counter:raw", said)
        for n in range(5):
            process, done = main_pid(service), len(load.latencies)
            service.run("systemctl", "reset-failed")  # it counts how often it starts, too
            service.run("systemctl", "restart", "rapyerd.service")
            assert main_pid(service) not in (0, process)
            assert service.show("rapyerd.service", "NFileDescriptorStore") == "0", "it was taken"
            service.until(lambda: len(load.latencies) > done + 20, "work after a restart")
            service.until(lambda: len(pauses(service)) == len(before) + n + 1, "the pause is told")
        load.join()
        assert turn["taken"] == 2 and client.call("doc.get", turn["key"])["n"] == turn["n"]
        assert None in said, "nobody was told to look after a restart"
        holder.call("lock.release", mine["token"])
        assert waiter.wait(waiting)["fence"] > mine["fence"]
    print(f"pauses: {pauses(service)[len(before):]} ms; the longest of {len(load.latencies)} requests"
          f" {max(load.latencies) * 1e3:.0f} ms")


def test_a_stop_ends_connections(service):
    with Installed(service).connect() as client:
        client.call("lock.acquire", "User:ada", "mine", {"ttl": 600})
        service.run("systemctl", "stop", "rapyerd.service")
        client.expect_closed()
    assert service.show("rapyerd.service", "NFileDescriptorStore", "Result") == ["0", "success"]
    with Installed(service).connect() as client:
        assert client.call("lock.acquire", "User:ada", "mine", {"wait": 20})["token"]


def test_a_restart_of_the_socket_too(service):
    """Another socket, and the same clients."""
    with Installed(service).connect() as client:
        service.run("systemctl", "restart", "rapyerd.socket")
        service.until(lambda: service.show("rapyerd.service", "SubState") == "running", "it is ready")
        assert client.call("doc.exists", "User:ada")
        with Installed(service).connect() as new:
            assert new.call("doc.exists", "User:ada")


def test_one_that_stands_still_is_started_anew(service):
    service.write("/run/systemd/system/rapyerd.service.d/test.conf", "[Service]\nWatchdogSec=1\n")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "restart", "rapyerd.service")
    ctl(service, "set", "User:ada", "age", "41")
    before = host_pid(service)
    os.kill(before, signal.SIGSTOP)
    assert age(service) == "41"
    assert host_pid(service) != before
    assert "Watchdog timeout" in service.journal("rapyerd.service")
    os.remove(service.path("/run/systemd/system/rapyerd.service.d/test.conf"))
    service.run("systemctl", "daemon-reload")


def test_stops_with_its_redis_and_leaves_the_socket(service):
    service.run("systemctl", "stop", "rapyerd.service")
    result, code = service.show("rapyerd.service", "Result", "ExecMainStatus")
    assert (result, code) == ("success", "0")
    assert "redis-server" not in service.out("ps", "-e", "-o", "args")
    assert age(service), "and the next client starts it"


def test_instances_keep_to_themselves(machine, conf):
    for name in ("blue", "green"):
        instance(machine, conf, name, f"[redis]\nkey_prefix = {name}\n")
        ctl(machine, "define", "/tmp/models.json", name=name)
        ctl(machine, "save", "User:ada", json.dumps({"name": name}), name=name)
    machine.run("systemctl", "stop", "rapyerd@blue.service", "rapyerd@blue.socket")
    assert ctl(machine, "get", "User:ada", "name", name="green") == '"green"'
    machine.run("systemctl", "start", "rapyerd@blue.socket")
    assert ctl(machine, "get", "User:ada", "name", name="blue") == '"blue"'
    assert {"rapyerd-blue", "rapyerd-green"} <= set(os.listdir(machine.path("/var/lib")))
    machine.run("systemctl", "stop", "rapyerd@*.service", "rapyerd@*.socket")


def test_status_tells_when_redis_is_gone(machine, conf):
    start_redis(machine, "redis-gone")
    instance(machine, conf, "gone", "[redis]\nredis = unix:/tmp/redis-gone.sock\n", "[Service]\nPrivateTmp=no\n")
    ctl(machine, "define", "/tmp/models.json", name="gone")
    assert machine.show("rapyerd@gone.service", "StatusText") == "Redis answers"
    machine.run("systemctl", "stop", "redis-gone.service")
    machine.until(lambda: machine.show("rapyerd@gone.service", "StatusText") == "Redis cannot be reached", "the status")
    start_redis(machine, "redis-gone")
    machine.until(lambda: machine.show("rapyerd@gone.service", "StatusText") == "Redis answers", "the status")
    machine.run("systemctl", "stop", "rapyerd@gone.service", "rapyerd@gone.socket", "redis-gone.service")


def test_a_secret_is_a_credential(machine, conf):
    start_redis(machine, "redis-secret", "--requirepass", "opensesame")
    machine.write("/etc/redis.password", "opensesame\n", 0o600)
    instance(machine, conf, "secret", "[redis]\nredis = unix:/tmp/redis-secret.sock\n"
             "redis_password_file = credential:redis-password\n",
             "[Service]\nPrivateTmp=no\nLoadCredential=redis-password:/etc/redis.password\n")
    ctl(machine, "define", "/tmp/models.json", name="secret")
    told = ctl(machine, "config", "get", name="secret") + machine.out("systemctl", "show", "rapyerd@secret.service")
    assert "/redis-password" in told and "opensesame" not in told
    machine.run("systemctl", "stop", "rapyerd@secret.service", "rapyerd@secret.socket", "redis-secret.service")


def test_a_credential_that_is_not_given_is_named(machine, conf):
    instance(machine, conf, "naked", "[redis]\nredis_password_file = credential:redis-password\n")
    assert machine.run("systemctl", "start", "rapyerd@naked.service", check=False).returncode != 0
    assert "LoadCredential=redis-password" in machine.journal("rapyerd@naked.service")
    state, result, restarts = machine.show("rapyerd@naked.service", "ActiveState", "Result", "NRestarts")
    assert (state, result, restarts) == ("failed", "exit-code", "0"), "a wrong setting is not tried again"
    machine.run("systemctl", "stop", "rapyerd@naked.socket")


@pytest.fixture
def far_redis(machine):
    machine.run("systemd-run", "--unit=redis-far", "redis-server", "--port", "6399", "--dir", "/tmp")
    yield "127.0.0.1:6399"
    machine.run("systemctl", "stop", "redis-far.service")


def test_the_network_is_given_by_a_drop_in(machine, conf, far_redis):
    instance(machine, conf, "far", f"[redis]\nredis = {far_redis}\n")
    machine.run("systemctl", "start", "rapyerd@far.service", check=False)
    machine.until(lambda: "NETWORK in rapyerd(8)" in machine.journal("rapyerd@far.service"), "the reason")
    machine.run("systemctl", "stop", "rapyerd@far.service", "rapyerd@far.socket")
    share = os.path.dirname(conf).replace("/etc", "/usr/share") if conf == "/etc/rapyerd" else "/usr/local/share"
    machine.run("mkdir", "-p", "/etc/systemd/system/rapyerd@.service.d")
    machine.run("ln", "-s", f"{share}/rapyerd/network.conf", "/etc/systemd/system/rapyerd@.service.d/")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "start", "rapyerd@far.service")
    assert ctl(machine, "define", "/tmp/models.json", name="far")
    machine.run("systemctl", "stop", "rapyerd@far.service", "rapyerd@far.socket")
    os.remove(machine.path("/etc/systemd/system/rapyerd@.service.d/network.conf"))
    machine.run("systemctl", "daemon-reload")


def test_figures_come_by_a_socket_of_their_own(service):
    service.run("systemctl", "enable", "rapyerd-metrics.socket")
    service.run("systemctl", "restart", "rapyerd.service")
    ctl(service, "stats")
    ask = 'exec 3<>/dev/tcp/127.0.0.1/9680; printf "GET /metrics HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3'
    assert "rapyerd_redis_up 1" in service.out("bash", "-c", ask)
    service.run("systemctl", "disable", "--now", "rapyerd-metrics.socket")
    service.run("systemctl", "restart", "rapyerd.service")
