"""What the Python client costs, beside its peers in the same run, and whether that is what is wanted.

    .ci/python && .ci/rapyer      # once: what it runs with; Rapyer, and a Redis with RedisJSON
    cmake --preset release && cmake --build --preset release
    RAPYERD=build/release/daemon/rapyerd build/python/bin/python client/python/bench/run.py [--quick]

Peers: redis-py (asyncio and blocking, with hiredis) against the same Redis server, and Rapyer with a server
of its own, in a process of its own. Ours and theirs take turns. Shown are medians, how many times the peer's
ours is, and what is wanted of that. Only the ratios mean anything on another machine, and those of a busy one
little.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import redis
import redis.asyncio

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "integration")]

from daemon_process import Daemon  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from wide import FIELDS, TASKS, pipeline, seconds_each, wide_class  # noqa: E402

import rapyerd  # noqa: E402
from rapyerd import links, sync  # noqa: E402
from rapyerd.described import schema_of  # noqa: E402

Wide = wide_class(rapyerd.AtomicRedisModel)
Blocking = sync.twin(Wide)
VALUES = {name: value for name, (_, value) in FIELDS.items()}


class Rapyer:
    """Rapyer in a process of its own, asked by lines."""

    PLACE = ROOT / "build" / "rapyer"

    def __init__(self, directory):
        self.server = RedisServer(directory, program=str(self.PLACE / "redis-server"))
        program = pathlib.Path(__file__).with_name("rapyer_peer.py")
        self.process = subprocess.Popen(
            [str(self.PLACE / "bin" / "python"), str(program), self.server.socket],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, what, count):
        self.process.stdin.write(json.dumps([what, count]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.server.stop()


class Bench:
    """`rounds`: how often each side has its turn. `each`: calls of one turn, of each task."""

    def __init__(self, directory, quick):
        self.rounds, self.each = (3, 40) if quick else (9, 200)
        self.missed = []
        self.ends = contextlib.ExitStack()
        self.server = RedisServer(f"{directory}/redis")
        self.ends.callback(self.server.stop)
        self.daemon = Daemon(f"{directory}/daemon", self.server.address)
        self.ends.callback(self.daemon.stop)
        self.rapyer = None
        if (Rapyer.PLACE / "wanted").exists():
            self.rapyer = Rapyer(f"{directory}/json")
            self.ends.callback(self.rapyer.end)
        else:
            print(".ci/rapyer was not run: there is no Rapyer to compare with", flush=True)
        rapyerd.configure(socket=self.daemon.socket)
        self.run = asyncio.new_event_loop().run_until_complete
        self.redis = redis.Redis(unix_socket_path=self.server.socket, decode_responses=True)
        self.redis_asyncio = redis.asyncio.Redis(
            unix_socket_path=self.server.socket, decode_responses=True, max_connections=TASKS
        )
        self.docs = [Wide() for _ in range(TASKS)]
        self.run(rapyerd.ainsert(*self.docs))
        for task in range(TASKS):
            self.redis.hset(f"wide:{task}", mapping=VALUES)

    def end(self):
        async def close():
            rapyerd.close_all()
            await self.redis_asyncio.aclose()

        self.run(close())
        self.ends.close()

    def tasks(self, work, each=None):
        """Measures one call, of TASKS tasks that do `each` calls."""
        return lambda: self.run(seconds_each(work, each or self.each))

    def blocking(self, work):
        """Measures one call."""

        def measure():
            begin = time.perf_counter()
            for _ in range(self.each * 10):
                work()
            return (time.perf_counter() - begin) / self.each / 10

        return measure

    def theirs(self, what, goal=None, each=None):
        """Rapyer as a peer, if it is there."""
        if self.rapyer is None:
            return {}
        return {"Rapyer": (lambda: self.rapyer.ask(what, each or self.each), goal)}

    def compare(self, name, ours, peers, rounds=None):
        """`peers`: by name what measures, and how many times that ours may be (None: as it is)."""
        measures = [ours, *(measure for measure, _ in peers.values())]
        found = [[] for _ in measures]
        for _ in range(rounds or self.rounds):
            for measure, times in zip(measures, found, strict=True):
                times.append(measure())
        median, *others = [statistics.median(times) for times in found]
        print(f"{name}: {median * 1e6:.2f} us", flush=True)
        for (peer, (_, goal)), other in zip(peers.items(), others, strict=True):
            self.judge(name, f"{other * 1e6:10.2f} us  {peer}: ours is", median / other, goal)

    def judge(self, name, what, value, goal):
        wanted = ""
        if goal is not None:
            wanted = f" of at most {goal:g}" + ("" if value <= goal else "   MISSED")
            if value > goal:
                self.missed.append(name)
        print(f"    {what} {value:.3f}{wanted}", flush=True)


def reads(bench):
    docs, other, plain = bench.docs, bench.redis_asyncio, bench.redis
    bench.compare(
        "32 tasks read a model of 20 fields, built",
        bench.tasks(lambda task: Wide.get(docs[task].key)),
        {
            "redis-py, HGETALL": (bench.tasks(lambda task: other.hgetall(f"wide:{task}")), 0.2),
            **bench.theirs("get", 0.1),
        },
    )
    key = docs[0].key
    for _ in range(100):
        Blocking.get(key)
    assert links.look_blocking(key) is not None, (
        "no shared memory: client/python/hatch_build.py builds the reader"
    )
    hgetall = {"redis-py, HGETALL": (bench.blocking(lambda: plain.hgetall("wide:0")), 0.05)}
    bench.compare(
        "a blocking read in shared memory", bench.blocking(lambda: links.look_blocking(key)), hgetall
    )
    bench.compare("the same, as a model", bench.blocking(lambda: Blocking.get(key)), hgetall)


def increments(bench):
    docs, other = bench.docs, bench.redis_asyncio
    bench.compare(
        "32 tasks increment",
        bench.tasks(lambda task: docs[task].i0.increase()),
        {
            "redis-py, HINCRBY": (bench.tasks(lambda task: other.hincrby(f"wide:{task}", "i0", 1)), None),
            **bench.theirs("increase", 0.1),
        },
    )


def pipelines(bench):
    docs, other = bench.docs, bench.redis_asyncio

    async def by_hand(task):
        async with other.pipeline(transaction=True) as pipe:
            for _ in range(5):
                pipe.hincrby(f"wide:{task}", "i0", 1)
                pipe.hincrby(f"wide:{task}", "i1", 2)
                pipe.hset(f"wide:{task}", "s0", "new")
                pipe.hset(f"wide:{task}", "f0", 1.5)
            await pipe.execute()

    few = max(bench.each // 5, 10)
    bench.compare(
        "32 tasks, a pipeline of 20 operations",
        bench.tasks(lambda task: pipeline(docs[task]), few),
        {"redis-py, by hand": (bench.tasks(by_hand, few), 1.0), **bench.theirs("pipeline", 0.5, few)},
    )


def locks(bench):
    """From the moment that the holder lets go to the moment that the next one has it."""

    def hand_over(lock, times):
        async def crowd():
            gaps = []
            let_go = last = None

            async def one(task):
                nonlocal let_go, last
                for _ in range(times):
                    async with lock():
                        now = time.perf_counter()
                        if last not in (None, task):  # redis-py has no queue: a task may well have it again
                            gaps.append(now - let_go)
                        last = task
                        await asyncio.sleep(0.002)
                        let_go = time.perf_counter()

            await asyncio.gather(*(one(task) for task in range(8)))
            return statistics.median(gaps)

        return lambda: bench.run(crowd())

    key = bench.docs[0].key
    bench.compare(
        "a lock goes from hand to hand among 8 tasks",
        hand_over(lambda: Wide.lock_from_key(key, "bench"), 10),
        {"redis-py, Lock": (hand_over(lambda: bench.redis_asyncio.lock("bench:lock"), 2), 1 / 50)},
        rounds=3,
    )


def builds(bench):
    """A model of what was read, as it comes over the wire."""
    schema = schema_of(Wide)

    def build():
        copies = [dict(VALUES) for _ in range(20000)]
        begin = time.perf_counter()
        for copy in copies:
            schema.decode(copy)
        return (time.perf_counter() - begin) / 20000

    name = "building a model of 20 fields of what was read"
    found = statistics.median(build() for _ in range(bench.rounds)) * 1e6
    print(f"{name}:", flush=True)
    bench.judge(name, "microseconds:", found, 2.5)


def first_call(bench):
    program = (
        "import time; begin = time.perf_counter()\n"
        "import asyncio\n"
        "from rapyerd import AtomicRedisModel\n"
        "class First(AtomicRedisModel):\n    n: int = 0\n"
        "asyncio.run(First.exists('x'))\n"
        "print(time.perf_counter() - begin, time.process_time())\n"
    )
    env = {**os.environ, "RAPYER_SOCKET": bench.daemon.socket}
    found = []
    for _ in range(7):
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        )
        found.append([float(value) for value in done.stdout.split()])
    wall, cpu = (statistics.median(values) for values in zip(*found, strict=True))
    name = "import and first call"
    print(f"{name}: {cpu:.3f} s of processor", flush=True)
    bench.judge(name, "seconds:", wall, 0.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("only", nargs="*", help="reads, increments, pipelines, locks, builds, first_call")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rapyer-", dir="/tmp") as directory:
        bench = Bench(directory, arguments.quick)
        try:
            for figure in (reads, increments, pipelines, locks, builds, first_call):
                if not arguments.only or figure.__name__ in arguments.only:
                    figure(bench)
        finally:
            bench.end()
    print(f"missed: {', '.join(bench.missed) or 'none'}")


main()
