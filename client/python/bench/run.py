"""What the Python client costs, beside its peers in the same run.

    RAPYERD=build/release/daemon/rapyerd build/python/bin/python client/python/bench/run.py [--quick]

Peers: redis-py (asyncio and blocking, with hiredis) against the same Redis server, and Rapyer where
$RAPYER_REDISJSON names the socket of a Redis with RedisJSON and the package `rapyer` can be imported from
$RAPYER_PATH. Ours and theirs take turns; what is shown are medians, and ratios to the peer. Only the ratios
mean anything on another machine.
"""

import argparse
import asyncio
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

import rapyerd  # noqa: E402
from rapyerd import links, sync  # noqa: E402

TASKS = 32
FIELDS = {f"i{n}": (int, n) for n in range(8)} | {f"s{n}": (str, f"text {n}") for n in range(8)}
FIELDS |= {f"f{n}": (float, n + 0.5) for n in range(4)}
BODY = {"__annotations__": {k: t for k, (t, _) in FIELDS.items()}, "__module__": __name__}
BODY |= {k: v for k, (_, v) in FIELDS.items()}
Wide = type(rapyerd.AtomicRedisModel)("Wide", (rapyerd.AtomicRedisModel,), dict(BODY))
Blocking = sync.twin(Wide)


async def tasks(work, each):
    """Seconds for one call, of TASKS tasks that do `each` calls."""

    async def one(task):
        for _ in range(each):
            await work(task)

    begin = time.perf_counter()
    await asyncio.gather(*(one(task) for task in range(TASKS)))
    return (time.perf_counter() - begin) / TASKS / each


def turns(rounds, *measures):
    """The median of each measure; they take turns."""
    times = [[] for _ in measures]
    for _ in range(rounds):
        for measure, found in zip(measures, times, strict=True):
            found.append(measure())
    return [statistics.median(found) for found in times]


class Figures:
    def __init__(self):
        self.rows = []

    def add(self, name, ours, **peers):
        self.rows.append((name, ours, peers))
        shown = ", ".join(
            f"{peer} {value * 1e6:.1f} us (ours is {ours / value:.3f})" for peer, value in peers.items()
        )
        print(f"{name}: {ours * 1e6:.1f} us; {shown}", flush=True)


class Rapyer:
    """Rapyer in a process of its own, asked by lines."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("rapyer_peer.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, what, count):
        self.process.stdin.write(json.dumps([what, count]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rounds, each = (3, 40) if quick else (7, 200)
    directory = tempfile.mkdtemp(prefix="rapyer-", dir="/tmp")
    server = RedisServer(f"{directory}/redis")
    daemon = Daemon(f"{directory}/daemon", server.address)
    rapyerd.configure(socket=daemon.socket)
    peer = Rapyer() if os.environ.get("RAPYER_REDISJSON") else None
    loop = asyncio.new_event_loop()
    figures = Figures()
    try:
        measure(loop, server, figures, rounds, each, peer)
        locks(loop, server, figures, rounds)
        first_call(figures, daemon)
    finally:
        loop.run_until_complete(close(server))
        if peer is not None:
            peer.end()
        daemon.stop()
        server.stop()


_pool = {}


async def close(server):
    rapyerd.close_all()
    if "asyncio" in _pool:
        await _pool["asyncio"].aclose()


def client_of(server):
    if "asyncio" not in _pool:
        _pool["asyncio"] = redis.asyncio.Redis(
            unix_socket_path=server.socket, decode_responses=True, max_connections=TASKS
        )
    return _pool["asyncio"]


def measure(loop, server, figures, rounds, each, peer):
    run = loop.run_until_complete
    other = client_of(server)
    plain = redis.Redis(unix_socket_path=server.socket, decode_responses=True)
    docs = [Wide() for _ in range(TASKS)]
    run(rapyerd.ainsert(*docs))
    for task in range(TASKS):
        plain.hset(f"wide:{task}", mapping={k: v for k, (_, v) in FIELDS.items()})

    def theirs(what):
        return (lambda: peer.ask(what, each),) if peer is not None else ()

    def named(values):
        return dict(zip(("redis_py", "rapyer"), values, strict=False))

    ours, *rest = turns(
        rounds,
        lambda: run(tasks(lambda task: Wide.get(docs[task].key), each)),
        lambda: run(tasks(lambda task: other.hgetall(f"wide:{task}"), each)),
        *theirs("get"),
    )
    figures.add("32 tasks, a model of 20 fields, read and built", ours, **named(rest))

    key = docs[0].key

    def blocking(work):
        begin = time.perf_counter()
        for _ in range(each * 4):
            work()
        return (time.perf_counter() - begin) / each / 4

    ours, his = turns(
        rounds, lambda: blocking(lambda: Blocking.get(key)), lambda: blocking(lambda: plain.hgetall("wide:0"))
    )
    figures.add("blocking read of the same", ours, redis_py=his)
    seen = links.blocking_link().connection.look(key)
    if seen is None:
        print(
            "nothing was read in shared memory: client/python/hatch_build.py builds the extension", flush=True
        )
        return
    data, his = turns(
        rounds,
        lambda: blocking(lambda: links.look_blocking(key)),
        lambda: blocking(lambda: plain.hgetall("wide:0")),
    )
    figures.add("the same in shared memory, without a model", data, redis_py=his)

    ours, *rest = turns(
        rounds,
        lambda: run(tasks(lambda task: docs[task].i0.increase(), each)),
        lambda: run(tasks(lambda task: other.hincrby(f"wide:{task}", "i0", 1), each)),
        *theirs("increase"),
    )
    figures.add("32 tasks incrementing", ours, **named(rest))

    def many(doc):
        for _ in range(5):
            doc.i0 += 1
            doc.i1 += 2
            doc.s0 = "new"
            doc.f0 = 1.5

    async def a_pipeline(task):
        doc = docs[task]
        async with doc.pipeline():
            many(doc)

    async def without_reading(task):
        async with rapyerd.apipeline():
            many(docs[task])

    async def by_hand(task):
        async with other.pipeline(transaction=True) as pipe:
            for _ in range(5):
                pipe.hincrby(f"wide:{task}", "i0", 1)
                pipe.hincrby(f"wide:{task}", "i1", 2)
                pipe.hset(f"wide:{task}", "s0", "new")
                pipe.hset(f"wide:{task}", "f0", 1.5)
            await pipe.execute()

    few = max(each // 10, 5)
    ours, bare, *rest = turns(
        rounds,
        lambda: run(tasks(a_pipeline, few)),
        lambda: run(tasks(without_reading, few)),
        lambda: run(tasks(by_hand, few)),
        *((lambda: peer.ask("pipeline", few),) if peer is not None else ()),
    )
    figures.add("32 tasks, a pipeline of 20 operations", ours, **named(rest))
    figures.add("the same, without reading the model first", bare, **named(rest))

    data = {k: v for k, (_, v) in FIELDS.items()}
    from rapyerd.schema import schema_of

    schema = schema_of(Wide)

    def build():
        copies = [dict(data) for _ in range(20000)]
        begin = time.perf_counter()
        for copy in copies:
            schema.decode(copy)
        return (time.perf_counter() - begin) / 20000

    def construct():
        begin = time.perf_counter()
        for _ in range(20000):
            Wide(**data)
        return (time.perf_counter() - begin) / 20000

    built, constructed = turns(rounds, build, construct)
    figures.add("building a model of 20 fields of what was read", built, pydantic_validation=constructed)


def locks(loop, server, figures, rounds):
    """From the moment that the holder lets go to the moment that the next one has it."""
    other = client_of(server)
    doc = Wide()
    loop.run_until_complete(rapyerd.ainsert(doc))

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

        return lambda: loop.run_until_complete(crowd())

    ours, his = turns(
        rounds,
        hand_over(lambda: Wide.lock_from_key(doc.key, "bench"), 5),
        hand_over(lambda: other.lock("bench:lock"), 2),
    )
    figures.add("a lock from hand to hand, 8 tasks", ours, redis_py_lock=his)


def first_call(figures, daemon):
    program = (
        "import time; begin = time.perf_counter()\n"
        "import asyncio\n"
        "from rapyerd import AtomicRedisModel\n"
        "class First(AtomicRedisModel):\n    n: int = 0\n"
        "asyncio.run(First.exists('x'))\n"
        "print(time.perf_counter() - begin, time.process_time())\n"
    )
    env = {**os.environ, "RAPYER_SOCKET": daemon.socket}
    found = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        )
        found.append([float(value) for value in done.stdout.split()])
    wall, cpu = (statistics.median(values) for values in zip(*found, strict=True))
    print(f"import and first call: {wall:.3f} s, of which {cpu:.3f} s of processor")


main()
