"""Real Sentinels say where the master is: a daemon finds it, follows a failover by the book and one by
kill, loses no acknowledged commit over it, and does not believe one that is behind."""

import os
import re
import subprocess

import pytest
from redis.exceptions import ConnectionError as ConnectionLost

import certificates
from models import KEY, ROOT, save_ada
from redis_server import SERVER, free_port
from rpc_client import RpcError, wait_until
from test_doctor import doctor
from test_redis_link import Increments, settled_age
from test_service import run

FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "50ms", "commit.queue_time": "20s"}


class Sentinel:
    def __init__(self, directory, master_port, tls=False, lines=(), epoch=0, watches=True):
        os.makedirs(directory, exist_ok=True)
        self.directory, self.port, self.tls = directory, free_port(), tls
        self.path = f"{directory}/sentinel.conf"
        common = certificates.common
        if tls:
            common.authority()
        port = (f"port 0\ntls-port {self.port}\ntls-cert-file {common.pair[0]}\ntls-key-file {common.pair[1]}\n"
                f"tls-ca-cert-file {common.made.certificate}\ntls-auth-clients no\ntls-replication yes\n"
                if tls else f"port {self.port}\n")
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(f"{port}bind 127.0.0.1\ndir {directory}\nlogfile {directory}/log\n")
            if watches:
                file.write(f"sentinel monitor main 127.0.0.1 {master_port} 2\n"
                           "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
                           f"sentinel config-epoch main {epoch}\n")
            file.writelines(f"{line}\n" for line in lines)
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen([SERVER, self.path, "--sentinel"])
        wait_until(lambda: self.cli("PING"), what="the Sentinel")

    def cli(self, *words):
        tls = ["--tls", "--cacert", certificates.common.authority().certificate] if self.tls else []
        done = subprocess.run(["redis-cli", "-p", str(self.port), *tls, *words], capture_output=True,
                              text=True, check=False)
        return done.stdout.split("\n") if done.returncode == 0 else None

    def stop(self):
        self.process.terminate()
        self.process.wait()


def follows(redis):
    """Its link to its master is up. A Sentinel that makes it a replica ends the connections to it."""
    try:
        with redis.client() as rdb:
            return rdb.info("replication").get("master_link_status") == "up"
    except ConnectionLost:
        return False


class House:
    """A master, a replica, and Sentinels that watch them."""

    def __init__(self, new_redis, workdir, **options):
        self.workdir, self.sentinels, self.options = workdir, [], options
        self.tls = options.get("tls", False)
        self.master, self.replica = (new_redis(tcp=True, tls=self.tls, options=[
            "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]) for _ in range(2))
        with self.replica.client() as rdb:
            rdb.replicaof("127.0.0.1", self.master.port)
        wait_until(lambda: follows(self.replica), what="the replica")
        for _ in range(3):
            self.add()
        wait_until(lambda: all(self.sees(one) for one in self.sentinels), what="the Sentinels")

    def add(self, **options):
        self.sentinels.append(Sentinel(f"{self.workdir}/sentinel{len(self.sentinels)}", self.master.port,
                                       **{**self.options, **options}))
        return self.sentinels[-1]

    @staticmethod
    def sees(sentinel):
        said = sentinel.cli("SENTINEL", "MASTER", "main")
        fields = dict(zip(said[::2], said[1::2]))
        return fields.get("num-other-sentinels") == "2" and fields.get("num-slaves") == "1"

    def address(self, name="main", sentinels=None):
        return f"sentinel:{name}@" + ",".join(one.address for one in sentinels or self.sentinels)

    def caught_up(self):
        with self.master.client() as master, self.replica.client() as replica:
            wait_until(lambda: master.info("replication")["master_repl_offset"]
                       == replica.info("replication")["slave_repl_offset"], what="replication")

    def stop(self):
        for sentinel in self.sentinels:
            sentinel.stop()


@pytest.fixture
def new_house(new_redis, workdir, monkeypatch):
    monkeypatch.setattr(certificates, "TLS", False)
    houses = []

    def new(**options):
        houses.append(House(new_redis, workdir, **options))
        return houses[-1]

    yield new
    for house in houses:
        house.stop()


def age_in(redis):
    with redis.client() as rdb:
        return int(rdb.hget(ROOT, "age"))


def named(daemon, port):
    wait_until(lambda: f"the master main is at 127.0.0.1:{port}" in daemon.log(), timeout=40, what="the master")


def test_failovers(new_house, new_daemon):
    """By the book and by kill, while clients write: exactly what they were told is there. One Sentinel in
    the setting is enough, as it knows the others."""
    house = new_house()
    daemon = new_daemon(house.address(sentinels=house.sentinels[:1]), FAST)
    named(daemon, house.master.port)
    with daemon.connect() as client:
        save_ada(client)
        sentinels = wait_until(lambda: (found := doctor(client)["sentinels"])["found"].startswith("3 answer") and found, what="all three")
        assert sentinels["state"] == "ok" and f"127.0.0.1:{house.master.port}" in sentinels["found"]
    workers = [Increments(daemon) for _ in range(3)]

    def writes():
        before = sum(worker.done for worker in workers)
        wait_until(lambda: sum(worker.done for worker in workers) > before + 200, timeout=40, what="writes")

    writes()
    house.sentinels[1].cli("SENTINEL", "FAILOVER", "main")
    named(daemon, house.replica.port)
    writes()
    assert "acknowledged changes may be lost" not in daemon.log()
    # The old master has become a replica of the new one: now that one is killed.
    wait_until(lambda: follows(house.master), timeout=40, what="the way back")
    writes()
    house.sentinels[0].stop()  # and with it the Sentinel of the setting
    house.replica.kill()
    wait_until(lambda: daemon.log().count(f"the master main is at 127.0.0.1:{house.master.port}") == 2,
               timeout=40, what="the master of before")
    writes()
    for worker in workers:
        worker.finish()
    assert sum(worker.unknown for worker in workers) == 0
    assert sum(worker.refused for worker in workers) == 0
    assert settled_age(daemon) == 36 + sum(worker.done for worker in workers) == age_in(house.master)
    with daemon.connect() as client:
        assert client.call("admin.stats")["lost_states"] == 0
        sentinels = doctor(client)["sentinels"]
        assert sentinels["state"] == "warn" and "2 of 3 answer" in sentinels["found"]
    house.sentinels[0].start()


def test_commits_that_the_new_master_lacks(new_house, new_daemon):
    """Acknowledged by the old master and not replicated: applied again."""
    house = new_house()
    daemon = new_daemon(house.address(), FAST)
    with daemon.connect() as client:
        save_ada(client)
        house.caught_up()
        with house.replica.client() as rdb:
            house.replica.pause()
            for n in range(50):
                assert client.call("num.incr", KEY, "age", 1) == 37 + n
            house.master.kill()
            house.replica.resume()
        named(daemon, house.replica.port)
        assert client.call("num.incr", KEY, "age", 1) == 87
        assert age_in(house.replica) == 87
        assert client.call("admin.stats")["lost_states"] == 0


def test_a_sentinel_that_is_behind(new_house, new_redis, new_daemon, workdir):
    """It names a master of before, with a lower epoch: it is not followed, whether it is heard first or
    last; and one that names a replica is not believed either."""
    house = new_house()
    empty = new_redis(tcp=True, tls=False)
    behind = Sentinel(f"{workdir}/behind", empty.port)
    house.sentinels.append(behind)  # stopped with the others
    house.sentinels[0].cli("SENTINEL", "FAILOVER", "main")
    wait_until(lambda: house.sentinels[1].cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1]
               == str(house.replica.port), timeout=40, what="the failover")
    daemon = new_daemon(house.address(), FAST)
    named(daemon, house.replica.port)
    with daemon.connect() as client:
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        save_ada(client)
        for sentinel in house.sentinels[:3]:
            sentinel.stop()
        # Only the one that is behind is left, and the link goes.
        with house.replica.client() as rdb:
            rdb.client_kill_filter(_type="normal", skipme=True)
        assert client.call("num.incr", KEY, "age", 1) == 37
    assert str(empty.port) not in daemon.log()
    assert age_in(house.replica) == 37
    with empty.client() as rdb:
        assert not rdb.exists(ROOT)
    for sentinel in house.sentinels[:3]:
        sentinel.start()


def test_passwords_and_tls(new_house, new_daemon, tmp_path):
    """The Sentinels have a password of their own, which Redis has not, and TLS, as Redis has."""
    secret = tmp_path / "secret"
    secret.write_text("of sentinels\n", encoding="ascii")
    secret.chmod(0o600)
    house = new_house(tls=True)
    for sentinel in house.sentinels:
        sentinel.cli("ACL", "SETUSER", "asker", "on", ">of sentinels", "+@all", "allchannels")
        sentinel.cli("ACL", "SETUSER", "default", "off")
    common = certificates.common.settings()
    tls = {**FAST, **common, "redis.sentinel_tls": 1, "redis.sentinel_user": "asker",
           "redis.sentinel_password_file": secret}
    daemon = new_daemon(house.address(), tls)
    named(daemon, house.master.port)
    with daemon.connect() as client, daemon.connect() as waiter:
        save_ada(client)
        mine = client.call("lock.acquire", KEY, "mine", {"ttl": 60})
        waiting = waiter.send("lock.acquire", KEY, "mine", {"wait": 60})
        wait_until(lambda: client.call("admin.locks")[0]["waiters"], what="the one who waits")
        client.call("admin.set", "upgrade.still_time", "30s")
        for age in range(37, 40):
            assert client.call("admin.upgrade")["ready"]
            assert client.call("num.incr", KEY, "age", 1) == age == age_in(house.master)
        client.call("lock.release", mine["token"])
        assert waiter.wait(waiting)["fence"] > mine["fence"]
    without = {name: value for name, value in tls.items() if "sentinel_password" not in name}
    for settings, text in ((without, "Sentinel at .* wants a password and none is configured"),
                           ({**tls, "redis.sentinel_tls": 0}, "Sentinel at .* perhaps it wants TLS")):
        unheard = new_daemon(house.address(), {**settings, "commit.queue_time": "100ms"})
        wait_until(lambda: re.search(f"no Sentinel says where the master main is.*{text}", unheard.log()),
                   what=f"the log line {text}")
        with unheard.connect() as client:
            with pytest.raises(RpcError, match=f"^UNAVAILABLE: no Sentinel says where.*{text}"):
                client.call("define", {"name": "M", "kind": "atomic", "fields": []})


def test_what_is_no_sentinel_or_knows_no_such_master(new_house, new_daemon):
    house = new_house()
    for address, text in ((house.address("other"), "No such master with that name"),
                          (f"sentinel:main@127.0.0.1:{house.master.port}", "is no Sentinel"),
                          (f"sentinel:main@127.0.0.1:{free_port()}", "Connection refused")):
        daemon = new_daemon(address, {**FAST, "commit.queue_time": "100ms"})
        wait_until(lambda: "no Sentinel says" in daemon.log() and text in daemon.log(), what=f"the log line {text}")
        with daemon.connect() as client:
            (finding,) = client.call("admin.doctor")
            assert finding["state"] == "bad" and text in finding["found"]


def test_settings():
    for bad in "sentinel:", "sentinel:main", "sentinel:@h:1", "sentinel:main@", "sentinel:main@h", "sentinel:m@h:1,":
        done = run("--check", "-o", f"redis.redis={bad}")
        assert done.returncode == 2 and "sentinel:NAME@host:port" in done.stderr, bad
    assert run("--check", "-o", "redis.redis=sentinel:main@h:1,[::1]:2,10.0.0.1:26379").returncode == 0
