"""Some clients read in shared memory, others ask and change, while rapyerd is killed, frozen and cut
off: is there one order of it all that explains what each was told? With reads that are never older than
their question: not by the bound of another host's changes, as there is one daemon."""

import os
import random
import signal
import time

import pytest

from histories import Actor
from rpc_client import RpcError
from segment_reader import Segment
from test_histories import SEED, declare, histories, later

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
COUNT = 200 if FULL else 8
FREEZE = 0.7  # longer than a daemon is trusted that says nothing


class Reader(Actor):
    """Every other one looks into the memory first, as librapyer does."""

    reads = 0

    def __init__(self, *args):
        super().__init__(*args)
        self.segment = None

    def memory(self):
        if self.segment is not None and self.segment.gone:
            self.segment.close()
            self.segment = None
        if self.segment is None:
            try:
                self.segment = Segment(self.daemon.socket)
            except (OSError, RpcError, ValueError):
                return None  # it is about to come back
        return self.segment

    def request(self):
        if self.number % 2 and self.rng.random() < 0.7:
            return ["doc.get", self.rng.choice(self.keys), {"version": True}]
        return super().request()

    def ask(self, request):
        plain = request[0] == "doc.get" and not request[2].get("fresh")
        memory = self.memory() if plain and self.number % 2 else None
        call = time.monotonic_ns()
        seen = memory.read(request[1]) if memory else None
        if seen is None:
            return super().ask(request)
        end = time.monotonic_ns()
        version = seen.pop("@v")
        seen.pop("@pk")
        Reader.reads += 1
        self.recorder.add(self.number, self.daemon.socket, request[:2], call, end, seen, None, True, version)
        return None

    def close(self):
        super().close()
        if self.segment is not None:
            self.segment.close()


@pytest.fixture
def daemon(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address)
    declare(daemon)
    return daemon


@pytest.fixture(autouse=True)
def some_read_in_memory():
    Reader.reads = 0
    yield
    assert Reader.reads > COUNT


def read_and_judge(daemon, operations=36, **options):
    histories([daemon], None, count=COUNT, bound=0, actor=Reader, operations=operations, **options)


def test_readers_and_writers(daemon):
    read_and_judge(daemon)


def test_three_documents_in_pipelines(daemon):
    read_and_judge(daemon, documents=3, clients=10)


def test_a_daemon_that_is_killed(daemon):
    def restart():
        daemon.kill()
        daemon.start()
    read_and_judge(daemon, operations=18, nemesis=later(random.Random(SEED), restart))


def test_a_daemon_that_is_frozen(daemon):
    def freeze():
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(FREEZE)
        daemon.process.send_signal(signal.SIGCONT)
    read_and_judge(daemon, nemesis=later(random.Random(SEED), freeze))


def test_a_link_that_is_cut(redis_server, new_proxy, new_daemon):
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address)
    declare(daemon)
    read_and_judge(daemon, nemesis=later(random.Random(SEED), proxy.cut))


def test_memory_that_is_exchanged(daemon):
    sizes = iter(range(1, 1000))

    def exchange():
        daemon.settings["cache.shared_memory"] = f"{1 + next(sizes) % 7}M"
        daemon.write_config()
        daemon.reload()
    read_and_judge(daemon, nemesis=later(random.Random(SEED), exchange))
