"""Clients that work without pause while the daemon is upgraded or restarted, and see whether anything is lost,
doubled, or out of its order."""

import threading
import time

from models import atomic, field
from rpc_client import wait_until

COUNTER = atomic("Counter", field("n", "int", default=0), field("log", "list<int>"))


class Load:
    """Clients that work without pause, each in a thread of its own, and say what they saw."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.ended = threading.Event()
        self.threads, self.wrong, self.latencies = [], [], []

    def start(self, work, *args):
        def run():
            try:
                work(self, *args)
            except BaseException as error:  # pylint: disable=broad-except
                self.wrong.append(f"{work.__name__}{args}: {error!r}")
        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def start_counting(self, client, alone):
        """Counters, each alone of one kind of client, and one that all share; turns behind a lock; a stream. Gives
        what is shared, and the turns."""
        shared = {"key": "Counter:shared", "lock": threading.Lock(), "added": 0}
        turn = {"key": "Counter:turn", "inside": 0, "n": 0, "taken": 0}
        wait_until(lambda: client.call("define", COUNTER) or True)
        for key in (shared["key"], turn["key"]):
            client.call("doc.save", key, {"n": 0})
        for i, kind in enumerate(alone):
            self.start(count_alone, f"Counter:alone{i}", kind)
        for _ in range(2):
            self.start(count_together, shared)
            self.start(take_turns, turn)
        self.start(pour, "Counter:poured")
        return shared, turn

    def timed(self, client, *request):
        begun = time.monotonic()
        result = client.call(*request)
        self.latencies.append(time.monotonic() - begun)
        return result

    def join(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads), "somebody still waits"
        assert not self.wrong, "\n".join(self.wrong)


def count_alone(load, key, kind):
    """What this client adds is there once, in its order, whatever happens in between."""
    with kind(load.daemon.socket) as client:
        client.call("doc.save", key, {"n": 0})
        n = 0
        while not load.ended.is_set():
            n += 1
            got = load.timed(client, "num.incr", key, "n", 1)
            assert got == n, f"{got} after {n} increments"
            if n % 10 == 0:
                assert load.timed(client, "doc.get", key)["n"] == n
        assert n > 0


def count_together(load, shared):
    with load.daemon.connect() as client:
        before = 0
        while not load.ended.is_set():
            got = load.timed(client, "num.incr", shared["key"], "n", 1)
            assert got > before
            before = got
            with shared["lock"]:
                shared["added"] += 1


def pour(load, key):
    """Many requests at once, half of them in the daemon when it is upgraded."""
    with load.daemon.connect() as client:
        client.call("doc.save", key, {"n": 0})
        n = 0
        while not load.ended.is_set():
            requests = [client.send("num.incr", key, "n", 1) for _ in range(50)]
            for request in requests:
                n += 1
                assert client.wait(request) == n
            commit = client.call("pipeline", [["list.append", key, "log", n], ["num.incr", key, "n", 1]])
            n += 1
            assert commit[1] == n
        assert client.call("doc.get", key)["n"] == n


def take_turns(load, shared):
    """One at a time, and what was written under the lock before is seen."""
    with load.daemon.connect() as client:
        fence = 0
        while not load.ended.is_set():
            grant = load.timed(client, "lock.acquire", shared["key"], "turn", {"document": True})
            shared["inside"] += 1
            assert shared["inside"] == 1, "two hold it"
            assert grant["fence"] > fence
            fence = grant["fence"]
            assert grant["document"]["n"] == shared["n"], "not what the holder before has written"
            shared["n"] += 1
            shared["inside"] -= 1
            client.call("lock.release", grant["token"], [["num.incr", shared["key"], "n", 1]])
        shared["taken"] += 1


def watch(load, key, said):
    """Each change is told, or that there may be one."""
    with load.daemon.connect() as client:
        said.append(client.call("watch", key)["version"])
        while not load.ended.is_set():
            client.call("hello", {})
            said += [params[1] for method, params in client.notifications if method == "changed"]
            client.notifications.clear()
