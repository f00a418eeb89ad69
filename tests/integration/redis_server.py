"""A private redis-server: on a unix socket, below a directory of the test's own."""

import glob
import os
import shutil
import signal
import socket
import subprocess

import redis

import certificates
from rpc_client import wait_until

# $REDIS_SERVER: another program than Debian's, and what goes with it, for all the tests.
SERVER = os.environ.get("REDIS_SERVER", "redis-server")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def aof_path(directory):
    """The append-only file that is written now: before Redis 7 there is but one."""
    parts = glob.glob(f"{directory}/appendonlydir/*.incr.aof")
    return max(parts, key=os.path.getmtime) if parts else f"{directory}/appendonly.aof"


def break_off(path, *commands):
    """Leaves of a transaction what a Redis leaves that is killed in the middle of the write: these
    commands, and a half one."""
    with open(path, "ab") as file:
        for words in (["MULTI"], *commands):
            file.write(b"*%d\r\n" % len(words))
            for word in words:
                file.write(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
        file.write(b"*3\r\n$3\r\nSET\r\n$5\r\nha")


class RedisServer:
    def __init__(self, directory, tcp=False, aof=False, options=(), env=None, tls=None, program=SERVER, prefix=()):
        """prefix: words in front of the command."""
        self.directory = directory
        self.program = program
        self.prefix = list(prefix)
        os.makedirs(directory, exist_ok=True)
        self.socket = os.path.join(directory, "redis.sock")
        self.tls = certificates.TLS if tls is None else tls
        self.port = free_port() if tcp or self.tls else 0
        self.aof = aof
        self.options = list(options)  # more of them, such as "--maxmemory", "10mb"
        self.env = env or {}
        self.process = None
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}" if self.port else f"unix:{self.socket}"

    def client(self):
        return redis.Redis(unix_socket_path=self.socket)

    def start(self):
        aof = ["--appendonly", "yes", "--appendfsync", "always",
               "--aof-load-truncated", "no"] if self.aof else []
        tls = certificates.common.server_options(self.port) if self.tls else []
        if self.aof:
            self.mend()
        self.process = subprocess.Popen(
            [*self.prefix, self.program, "--port", str(self.port), "--bind", "127.0.0.1",
             "--unixsocket", self.socket, "--dir", self.directory, "--save", "",
             "--loglevel", "warning", "--logfile", os.path.join(self.directory, "log"), *aof, *tls,
             *self.options], env={**os.environ, **self.env})
        wait_until(self.answers, what="redis-server")

    def mend(self):
        """What admin.doctor advises to do before a start. Killed while it wrote, Redis leaves a
        transaction without its end, and would itself cut off no more than the last command."""
        path = aof_path(self.directory)
        if os.path.exists(path):  # each server is its own redis-check-aof, under that name
            subprocess.run(["redis-check-aof", "--fix", path], executable=shutil.which(self.program),
                           input=b"y\n", stdout=subprocess.DEVNULL, check=True)

    def answers(self):
        try:
            with self.client() as client:
                return client.ping()
        except (redis.ConnectionError, redis.BusyLoadingError):
            assert self.process.poll() is None, "redis-server ended"
            return False

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.kill()
        self.start()

    def stop(self):
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def snapshot(self):
        """All documents as they lie in Redis, to compare: key -> (type, content). The daemon's
        own bookkeeping (markers, schema) is not below a document's hash tag, and is left out."""
        content = {}
        with self.client() as client:
            for key in client.keys("*"):
                if key.startswith(b"rapyer:") and not key.startswith(b"rapyer:{"):
                    continue
                kind = client.type(key)
                if kind == b"hash":
                    value = client.hgetall(key)
                elif kind == b"list":
                    value = client.lrange(key, 0, -1)
                else:
                    value = client.dump(key)
                content[key] = (kind, value)
        return content
