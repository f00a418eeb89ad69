"""TLS to Redis: whom a daemon trusts, and what it says of whom it does not; what is read again; and
that nothing a peer does in a handshake hurts or stops anybody."""

import os
import random
import shutil
import socket
import ssl
import threading

import pytest

from certificates import Authority, TlsSocket, common
from fault_proxy import FaultProxy
from models import KEY, ROOT, save_ada
from redis_server import free_port
from rpc_client import RpcError, wait_until
from test_service import run

FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "20ms"}


@pytest.fixture(scope="module")
def authority():
    return common.authority()


@pytest.fixture
def tls_redis(new_redis, authority):
    def new(certificate=None, options=()):
        pair = ["--tls-cert-file", certificate[0], "--tls-key-file", certificate[1]] if certificate else []
        return new_redis(tls=True, options=[*pair, *options])
    return new


def settings(authority, **more):
    return {**FAST, "redis.tls": 1, "redis.tls_ca_file": authority.certificate,
            **{f"redis.{name}": value for name, value in more.items()}}


def works(daemon):
    with daemon.connect() as client:
        wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")
        save_ada(client)
        assert client.call("num.incr", KEY, "age", 1) == 37


def refused(daemon, text):
    """In the log, and not again for each attempt; and by the doctor."""
    wait_until(lambda: text in daemon.log(), what=f"the log line ({text})")
    with daemon.connect() as client:
        # One attempt of many may have been cut off before the other side could say why.
        wait_until(lambda: [one["state"] for one in client.call("admin.doctor") if text in one["found"]] == ["bad"],
                   what="the doctor's word")
        assert client.call("admin.stats")["redis"] != "up"
    said = [line.partition(" ")[2] for line in daemon.log().splitlines()]
    assert all(line != before for line, before in zip(said[1:], said)), "again for each attempt"


def test_all_connections_are_encrypted(tls_redis, new_daemon, authority):
    redis = tls_redis()
    daemon = new_daemon(redis.address, settings(authority))
    works(daemon)
    assert ", TLS)" in daemon.log()
    with daemon.connect() as client, redis.client() as rdb:
        wait_until(lambda: len([c for c in rdb.client_list() if c["name"] == "rapyerd"]) == 3,
                   what="commits, messages and changes")
        found = {one["check"]: one for one in client.call("admin.doctor")}
        assert found["tls"]["state"] == "ok" and "TLSv1.3" in found["tls"]["found"]
        big = "x" * 3000000  # many records each way, more than the socket takes
        client.call("set", KEY, "name", big)
        assert client.call("doc.load", KEY, "name") == big
        assert rdb.hget(ROOT, "name").decode() == big


def test_an_upgrade(tls_redis, new_daemon, authority):
    """The new program makes connections of its own; nothing is lost or doubled over that."""
    daemon = new_daemon(tls_redis().address, {**settings(authority), "upgrade.still_time": "30s"})
    with daemon.connect() as client, daemon.connect() as other:
        save_ada(client)
        expected = 36
        for _ in range(5):
            requests = [other.send("num.incr", KEY, "age", 1) for _ in range(50)]
            assert client.call("admin.upgrade")["ready"]
            for request in requests:
                expected += 1
                assert other.wait(request) == expected
    links = [line for line in daemon.log().splitlines() if " connected to " in line]
    assert len(links) >= 6 and all(", TLS)" in line for line in links)


def test_tls_1_2_and_nothing_older(tls_redis, new_daemon, authority):
    redis = tls_redis(options=["--tls-protocols", "TLSv1.2"])
    daemon = new_daemon(redis.address, settings(authority))
    works(daemon)
    with daemon.connect() as client:
        found = {one["check"]: one for one in client.call("admin.doctor")}
    assert "TLSv1.2" in found["tls"]["found"]


def test_who_is_not_trusted(tls_redis, new_redis, new_daemon, authority, workdir):
    """Each by its name, and until it is somebody better."""
    stranger = Authority(f"{workdir}/stranger", "somebody else")
    redis = tls_redis(certificate=stranger.sign("redis"))
    daemon = new_daemon(redis.address, settings(authority))
    refused(daemon, "is signed by nobody that is trusted here")
    redis.options = []
    redis.restart()
    works(daemon)


def test_expired(tls_redis, new_daemon, authority):
    redis = tls_redis(certificate=authority.sign("old", days=-1))
    refused(new_daemon(redis.address, settings(authority)), "certificate has expired")


def test_the_name(tls_redis, new_daemon, authority):
    redis = tls_redis(certificate=authority.sign("elsewhere", "DNS:redis.example,IP:10.0.0.1"))
    refused(new_daemon(redis.address, settings(authority)),
            "for redis.example, 10.0.0.1, not for 127.0.0.1; redis.tls_server_name")
    works(new_daemon(redis.address, settings(authority, tls_server_name="redis.example")))
    works(new_daemon(redis.address, settings(authority, tls_server_name="10.0.0.1")))
    unchecked = new_daemon(redis.address, settings(authority, tls_verify=0))
    works(unchecked)
    with unchecked.connect() as client:
        found = {one["check"]: one for one in client.call("admin.doctor")}
    assert found["tls"]["state"] == "warn"


def test_host_names(tls_redis, new_daemon, authority):
    redis = tls_redis(certificate=authority.sign("local", "DNS:localhost"))
    works(new_daemon(f"localhost:{redis.port}", settings(authority)))


def test_our_certificate(tls_redis, new_daemon, authority):
    for protocol in "TLSv1.2", "TLSv1.3":
        redis = tls_redis(options=["--tls-auth-clients", "yes", "--tls-protocols", protocol])
        refused(new_daemon(redis.address, settings(authority)), "redis.tls_cert_file names")
        certificate, key = authority.sign("client")
        works(new_daemon(redis.address, settings(authority, tls_cert_file=certificate,
                                                 tls_key_file=key)))


def test_a_plain_server(new_redis, new_daemon, authority):
    """It waits for a line, or finds one in what is random, and answers."""
    redis = new_redis(tcp=True, tls=False)
    daemon = new_daemon(redis.address, settings(authority, connect_timeout="300ms"), wait=False)
    wait_until(lambda: "perhaps its port is a plain one (redis.tls = 0)" in daemon.log(),
               what="the log line")


def test_a_server_with_tls_in_front_of_who_has_none(tls_redis, new_daemon, monkeypatch):
    monkeypatch.setattr("certificates.TLS", False)
    daemon = new_daemon(tls_redis().address, FAST)
    wait_until(lambda: "redis.tls" in daemon.log(), what="the log line")


def test_settings_that_cannot_be(authority, workdir, tmp_path):
    def says(text, *options):
        words = [word for option in options for word in ("-o", option)]
        done = run("--check", *words)
        assert done.returncode == 2 and text in done.stderr, done.stderr

    tls = ("redis.tls=1", "redis.redis=127.0.0.1:6379")
    assert run("--check", "-o", tls[0], "-o", tls[1]).returncode == 0
    says("is reached without TLS", "redis.tls=1")
    says("is reached without TLS", "redis.tls=1", "redis.redis=unix:/run/redis.sock")
    says("/nowhere cannot be used as certificates to trust: No such file", *tls,
         "redis.tls_ca_file=/nowhere")
    says("cannot be used as certificates", *tls, f"redis.tls_ca_file={authority.key}")
    certificate, key = authority.sign("checked")
    says("cannot be used as the key", *tls, f"redis.tls_cert_file={certificate}",
         f"redis.tls_key_file={authority.key}")
    says("needs redis.tls_cert_file", *tls, f"redis.tls_key_file={key}")
    open_key = tmp_path / "open.key"
    shutil.copy(key, open_key)
    os.chmod(open_key, 0o644)
    says("can be read by everyone", *tls, f"redis.tls_cert_file={certificate}",
         f"redis.tls_key_file={open_key}")


def test_certificates_are_read_again(tls_redis, new_daemon, workdir):
    """Redis gets a certificate of another CA: known after a reload, and what is not good is not
    taken over."""
    old, new = Authority(f"{workdir}/old"), Authority(f"{workdir}/new")
    trusted = f"{workdir}/trusted.crt"
    shutil.copy(old.certificate, trusted)
    redis = tls_redis(certificate=old.sign("redis"))
    daemon = new_daemon(redis.address, {**FAST, "redis.tls": 1, "redis.tls_ca_file": trusted})
    works(daemon)
    with open(trusted, "w", encoding="ascii") as file:
        file.write("half a certif")
    daemon.reload()
    wait_until(lambda: "the configuration is not taken over: redis.tls: " in daemon.log(), what="no")
    redis.restart()
    works(daemon)
    shutil.copy(new.certificate, trusted)
    pair = new.sign("redis")
    redis.options = ["--tls-cert-file", pair[0], "--tls-key-file", pair[1]]
    redis.restart()
    refused(daemon, "is signed by nobody that is trusted here")
    daemon.reload()
    works(daemon)
    with daemon.connect() as client:
        with pytest.raises(RpcError, match="^BAD_VALUE: .*/nowhere cannot be used"):
            client.call("admin.set", "redis.tls_ca_file", "/nowhere")
        client.call("admin.set", "redis.tls_ca_file", new.certificate)
        redis.restart()
    works(daemon)


class Strange(threading.Thread):
    """A server that gives each connection to talk(); counts them."""

    def __init__(self, talk):
        super().__init__(daemon=True)
        self.talk = talk
        self.seen = 0
        self.listener = socket.create_server(("127.0.0.1", free_port()))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            self.seen += 1
            with link:
                try:
                    self.talk(link)
                except OSError:
                    pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.mark.parametrize("kind", ["cut", "garbage", "spoilt", "later"])
def test_hostile_handshakes(new_daemon, authority, kind):
    """The connection is cut after each of the bytes of a handshake, goes on with noise, or has one
    byte that is wrong; or noise comes when it is over."""
    rng = random.Random(f"{kind}{os.environ.get('RAPYER_SEED', 1)}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("hostile"))
    turns = 3000 if os.environ.get("RAPYER_FULL") else 150
    positions = iter(range(10**9))

    def talk(link):
        if kind == "later":
            TlsSocket(link, context, True)
            link.sendall(bytes([rng.choice([20, 21, 22, 23, 24]), 3, 3]) + rng.randbytes(rng.randrange(3000)))
            link.shutdown(socket.SHUT_WR)
            link.recv(1 << 16)
            return
        taken, given = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(taken, given, server_side=True)
        taken.write(link.recv(1 << 16))
        try:
            tls.do_handshake()
        except ssl.SSLError:
            pass
        said = given.read()
        at = next(positions) * max(1, len(said) // turns) % len(said)
        if kind == "cut":
            link.sendall(said[:at])
        elif kind == "garbage":
            link.sendall(said[:at] + rng.randbytes(rng.randrange(1, 3000)))
        else:
            link.sendall(said[:at] + bytes([said[at] ^ 1 << rng.randrange(8)]) + said[at + 1:])
            link.shutdown(socket.SHUT_WR)
            link.recv(1 << 16)

    server = Strange(talk)
    daemon = new_daemon(server.address, settings(authority, reconnect_max="1ms",
                                                 connect_timeout="200ms"))
    wait_until(lambda: server.seen > turns, timeout=120, what="handshakes")
    with daemon.connect() as client:
        assert client.call("hello")
        assert client.call("admin.stats")["redis"] != "up"
    server.stop()


def test_a_handshake_that_hangs_stops_nobody(new_daemon, authority):
    silent = threading.Event()
    server = Strange(lambda link: silent.wait(30))
    daemon = new_daemon(server.address, settings(authority, connect_timeout="300ms"))
    with daemon.connect() as client:
        for _ in range(100):
            assert client.call("hello")
    wait_until(lambda: "no TLS handshake for 300 ms" in daemon.log(), what="the limit")
    silent.set()
    server.stop()


class RawCuts(FaultProxy):
    """Cuts after so many bytes, whatever they are and whichever way they go."""

    left = None

    def pass_on(self, link, direction, data, sink):
        with self.lock:
            cut, self.left = self.left, None
            if cut is not None and len(data) < cut:
                cut, self.left = None, cut - len(data)
        sink.sendall(data[:cut])
        if cut is not None:
            self.cuts += 1
            link.close()
        return cut is None


def test_what_is_cut_at_any_encrypted_byte(tls_redis, new_daemon, authority, workdir, monkeypatch):
    """Of handshakes, greetings and commits: nothing is lost or done twice."""
    monkeypatch.setattr("certificates.TLS", False)  # the proxy passes on what it cannot read
    redis = tls_redis()
    proxy = RawCuts(workdir, redis.address, tcp=True)
    daemon = new_daemon(proxy.address, settings(authority))
    rng = random.Random(3)
    with daemon.connect() as client, redis.client() as rdb:
        save_ada(client)
        for turn in range(30):
            proxy.left = rng.randrange(4000)
            for _ in range(20):
                client.call("num.incr", KEY, "age", 1)
            assert int(rdb.hget(ROOT, "age")) == 36 + 20 * (turn + 1)
        stats = client.call("admin.stats")
    assert stats["unknown_outcomes"] == 0 and stats["lost_states"] == 0
    assert proxy.cuts >= 10
    proxy.stop()
