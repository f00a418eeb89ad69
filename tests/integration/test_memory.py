"""There is no memory, at any moment: the daemon answers truly or ends, and Redis holds what was
acknowledged, each change as a whole. (preload_memory.c is the allocator that fails.)"""

import itertools
import mmap
import os
import re
import struct
import subprocess

import pytest

from daemon_process import built
from models import ADA, define_all, save_ada
from rpc_client import Closed, wait_until

pytestmark = pytest.mark.exact

LARGE = 100_000
MEGABYTES = 5
LAST_WORDS = re.compile(r"error: no memory for \d+ bytes at [\w/.]+:\d+; this daemon ends")


class Memory:
    """The memory of the daemons that have its environment."""

    ORDERS = struct.Struct("=qqq")

    def __init__(self, directory):
        path = os.path.join(directory, "memory")
        self.file = open(path, "w+b")
        self.file.truncate(self.ORDERS.size)
        self.map = mmap.mmap(self.file.fileno(), self.ORDERS.size)
        self.env = {"LD_PRELOAD": built("tests/preload_memory.so"), "PRELOAD_MEMORY": path}

    def fail(self, number, least=0):
        """The number-th allocation from now on of at least so many bytes."""
        self.ORDERS.pack_into(self.map, 0, least, number, 0)

    def failed(self):
        """How many bytes were asked for in vain; 0: nothing has failed yet."""
        return self.ORDERS.unpack_from(self.map, 0)[2]

    def close(self):
        self.map.close()
        self.file.close()


@pytest.fixture
def memory(workdir):
    memory = Memory(workdir)
    yield memory
    memory.close()


def has_ended(daemon, rdb):
    """It had no memory, and said so before it ended; Redis has taken all that it had sent."""
    daemon.process.wait(daemon.STOP_TIME)
    daemon.killed = True
    assert daemon.process.returncode == -6, daemon.log()
    lines = [line for line in daemon.log().splitlines() if "no memory" in line]
    assert lines and all(LAST_WORDS.search(line) for line in lines), daemon.log()
    wait_until(lambda: len(rdb.client_list()) == 1, what="the end of its connections")


class Requests:
    """Sends requests at once, and takes what comes back until the daemon ends."""

    def __init__(self, client):
        self.client = client
        self.sent = []
        self.answers = {}
        self.alive = True

    def send(self, *request):
        try:
            self.sent.append(self.client.send(*request))
        except OSError:
            self.alive = False

    def finish(self):
        for request in self.sent:
            try:
                self.answers[request] = self.client.wait(request)
            except (Closed, OSError):
                self.alive = False
                return

    def answer(self, index):
        return self.answers.get(self.sent[index]) if index < len(self.sent) else None

    def answered(self, *indices):
        """How many of these."""
        return sum(self.answer(index) is not None for index in indices)


def begin(daemon, key):
    with daemon.connect() as client:
        define_all(client)
        client.call("doc.save", key, {**ADA, "tags": [], "age": 0})


def long_text(number):
    """Shifted or cut it is another."""
    return "".join(f"{number:04}:{i:010}," for i in range(MEGABYTES * 1_000_000 // 16))


def test_memory_for_a_large_change_ends(redis_server, new_daemon, memory, rdb):
    """Each allocation on the way of 5 MB from the socket to Redis, one after the other."""
    daemon = new_daemon(redis_server.address, env=memory.env)
    ended = 0
    for number in itertools.count(1):
        key = f"User:{number}"
        begin(daemon, key)
        text = long_text(number)
        with daemon.connect() as client:
            requests = Requests(client)
            memory.fail(number, LARGE)
            requests.send("num.incr", key, "age", 1)
            requests.send("list.append", key, "tags", text)
            requests.send("num.incr", key, "age", 1)
            requests.send("list.append", key, "tags", "last")
            requests.finish()
        failed = memory.failed()
        memory.fail(0)
        if not requests.alive:
            has_ended(daemon, rdb)
            ended += 1
            daemon.start()
        assert [requests.answer(0), requests.answer(2)] in ([1, 2], [1, None], [None, None])
        age = int(rdb.hget(f"rapyer:{{{key}}}", "age"))
        assert requests.answered(0, 2) <= age <= 2
        tags = [tag.decode() for tag in rdb.lrange(f"rapyer:{{{key}}}/tags", 0, -1)]
        assert tags in ([], [text], [text, "last"])
        assert len(tags) >= requests.answered(1, 3)
        with daemon.connect() as client:
            assert client.call("doc.load", key, "age") == age
            assert client.call("doc.load", key, "tags") == tags
            client.call("doc.delete", key)
        if not failed:
            break
    assert ended >= 10, f"{ended}: it was to run out of memory on the way"


def test_memory_for_reading_a_large_document_ends(redis_server, new_daemon, memory, rdb):
    daemon = new_daemon(redis_server.address, env=memory.env)
    begin(daemon, "User:ada")
    text = long_text(0)
    with daemon.connect() as client:
        client.call("list.append", "User:ada", "tags", text)
    ended = 0
    for number in itertools.count(1):
        daemon.stop()  # so that the document is not in its memory
        daemon.start()
        with daemon.connect() as client:
            requests = Requests(client)
            memory.fail(number, LARGE)
            requests.send("doc.load", "User:ada", "tags")
            requests.finish()
        failed = memory.failed()
        memory.fail(0)
        if requests.alive:
            assert requests.answers == {requests.sent[0]: [text]}
        else:
            has_ended(daemon, rdb)
            ended += 1
        if not failed:
            break
    assert ended >= 5, f"{ended}: it was to run out of memory on the way"


def test_memory_for_anything_ends(redis_server, new_daemon, memory, rdb):
    """Allocations of all sizes under requests of several kinds, for some documents each."""
    daemon = new_daemon(redis_server.address, env=memory.env)
    ended = 0
    for number in itertools.count(1):
        key = f"User:{number}"
        begin(daemon, key)
        memory.fail(number)
        try:
            with daemon.connect() as client:
                requests = Requests(client)
                for _ in range(3):
                    requests.send("num.incr", key, "age", 1)
                    requests.send("list.append", key, "tags", "tag " * 20)
                    requests.send("dict.set", key, "counts", "k", 1)
                    requests.send("pipeline", [["num.incr", key, "age", 1],
                                               ["list.append", key, "tags", "tag " * 20]])
                requests.finish()
        except (OSError, Closed):
            requests.alive = False
        failed = memory.failed()
        memory.fail(0)
        if not requests.alive:
            has_ended(daemon, rdb)
            ended += 1
            daemon.start()
        pairs = requests.answered(3, 7, 11)
        age = int(rdb.hget(f"rapyer:{{{key}}}", "age"))
        tags = [tag.decode() for tag in rdb.lrange(f"rapyer:{{{key}}}/tags", 0, -1)]
        assert requests.answered(0, 4, 8) + pairs <= age <= 6
        assert requests.answered(1, 5, 9) + pairs <= len(tags) <= 6
        assert set(tags) <= {"tag " * 20}
        with daemon.connect() as client:
            assert client.call("doc.load", key, "age") == age
            assert client.call("doc.load", key, "tags") == tags
            client.call("doc.delete", key)
        if not failed:
            break
    assert ended >= 10, f"{ended}: it was to run out of memory on the way"


@pytest.mark.parametrize("chapter", ("operations", "pipeline", "lock", "large"))
def test_librapyer_without_memory_gives_an_error_and_leaves_nothing(daemon, client, memory, chapter):
    """Each allocation of the chapter fails in its turn (memory_caller.c)."""
    save_ada(client)
    env = dict(os.environ, RAPYER_SOCKET=daemon.socket, **memory.env,
               ASAN_OPTIONS="detect_leaks=1:verify_asan_link_order=0")
    run = subprocess.run([built("tests/memory_caller"), chapter], env=env, capture_output=True,
                         text=True, timeout=60, check=False)
    assert run.returncode == 0 and not run.stderr, run.stderr
    assert int(run.stdout) > 15, "it was to run out of memory on the way"
