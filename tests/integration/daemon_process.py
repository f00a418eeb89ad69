"""The real daemon as a child process, and what every test wants to know of it at its end."""

import os
import re
import signal
import subprocess

import certificates
from redis_server import SERVER
from rpc_client import Client, Closed, wait_until

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIG_WORK = {"limits.max_work": "1h"}  # for requests that would keep others waiting too long
REPORT = re.compile(r"ERROR: \w+Sanitizer|runtime error:|Assertion .* failed")


def binary():
    """$RAPYERD, or the newest one below build/."""
    given = os.environ.get("RAPYERD")
    if given:
        return os.path.abspath(given)
    found = []
    for preset in ("asan", "debug", "release", "clang"):
        path = os.path.join(REPOSITORY, "build", preset, "daemon", "rapyerd")
        if os.path.exists(path):
            found.append(path)
    assert found, "no rapyerd: build one, or name one in RAPYERD"
    return max(found, key=os.path.getmtime)


def built(name):
    """What was built along with it: the path from the root of its build."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(binary()))), name)
    assert os.path.exists(path), f"{path} was not built"
    return path


class Daemon:
    STOP_TIME = 10

    def __init__(self, directory, redis, settings=(), prefix=(), env=None, wait=True, pass_fds=()):
        """redis: its address, or "embedded". settings: {"section.name": value}. prefix: words
        in front of the command, such as systemd-socket-activate and its options."""
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.socket = os.path.join(directory, "rapyerd.sock")
        self.log_path = os.path.join(directory, "rapyerd.log")
        self.redis = redis
        self.settings = dict(settings)
        self.prefix = list(prefix)
        self.env = env or {}
        self.pass_fds = pass_fds
        self.killed = False
        self.may_end = False  # and be started again: who is connected is to connect anew
        self.start(wait)

    def write_config(self):
        sections = {}
        tls = certificates.TLS and self.redis != "embedded"
        settings = {**(certificates.common.settings() if tls else {}),
                    "listen.socket": self.socket, "redis.redis": self.redis,
                    "redis.state_dir": os.path.join(self.directory, "state"),
                    "redis.redis_server": SERVER, **self.settings}
        for name, value in settings.items():
            section, _, name = name.partition(".")
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        path = os.path.join(self.directory, "rapyerd.conf")
        with open(path, "w", encoding="utf-8") as file:
            for section, lines in sections.items():
                file.write(f"[{section}]\n{''.join(lines)}\n")
        return path

    def start(self, wait=True):
        config = self.write_config()
        env = {**os.environ,
               # The link order: a test may preload what stands in front of the allocator.
               "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:allocator_may_return_null=0"
                               ":verify_asan_link_order=0",
               "UBSAN_OPTIONS": "print_stacktrace=1", **self.env}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, binary(), "-c", config], stderr=log,
                                            stdin=subprocess.DEVNULL, env=env,
                                            pass_fds=self.pass_fds)
        self.killed = False
        if wait:
            wait_until(self.answers, what="the daemon's hello")

    def answers(self):
        assert self.process.poll() is None, f"the daemon ended:\n{self.log()}"
        try:
            with self.connect() as client:
                return client.call("hello", {"client": "test", "protocol": 1})
        except (OSError, Closed):
            return False

    def connect(self):
        return Client(self.socket)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    @property
    def pid(self):
        return self.process.pid

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def virtual_memory(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self):
        """Seconds of processor time so far, to the nanosecond."""
        with open(f"/proc/{self.pid}/schedstat", encoding="ascii") as stat:
            return int(stat.read().split()[0]) / 1e9

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.killed = True

    def stop(self):
        """Ends it as a service manager would; it must go well and leave no sanitizer report."""
        if not self.killed:
            if self.process.poll() is None:
                self.process.terminate()
            try:
                code = self.process.wait(self.STOP_TIME)
            except subprocess.TimeoutExpired:
                self.kill()
                raise TimeoutError(
                    f"the daemon did not end within {self.STOP_TIME} s of SIGTERM:\n"
                    f"{self.log()}") from None
            self.killed = True
            assert code == 0, f"the daemon ended with {code}:\n{self.log()}"
        assert not REPORT.search(self.log()), f"a sanitizer has spoken:\n{self.log()}"
