"""Rapyer, as a peer of the measurements: asked by lines of JSON, [what, calls of each task]."""

import asyncio
import json
import os
import sys
import time

sys.path.insert(0, os.environ["RAPYER_PATH"])

import redis.asyncio

from rapyer import AtomicRedisModel

TASKS = 32
FIELDS = {f"i{n}": (int, n) for n in range(8)} | {f"s{n}": (str, f"text {n}") for n in range(8)}
FIELDS |= {f"f{n}": (float, n + 0.5) for n in range(4)}
BODY = {"__annotations__": {k: t for k, (t, _) in FIELDS.items()}, "__module__": __name__}
BODY |= {k: v for k, (_, v) in FIELDS.items()}
Wide = type(AtomicRedisModel)("Wide", (AtomicRedisModel,), dict(BODY))


async def tasks(work, each):
    async def one(task):
        for _ in range(each):
            await work(task)

    begin = time.perf_counter()
    await asyncio.gather(*(one(task) for task in range(TASKS)))
    return (time.perf_counter() - begin) / TASKS / each


async def main():
    from rapyer import init_rapyer

    client = redis.asyncio.Redis(
        unix_socket_path=os.environ["RAPYER_REDISJSON"], decode_responses=True, max_connections=64
    )
    await init_rapyer(client)
    docs = [Wide() for _ in range(TASKS)]
    await Wide.ainsert(*docs)

    async def pipeline(task):
        async with docs[task].apipeline() as doc:
            for _ in range(5):
                doc.i0 += 1
                doc.i1 += 2
                doc.s0 = "new"
                doc.f0 = 1.5

    work = {
        "get": lambda task: Wide.aget(docs[task].key),
        "increase": lambda task: docs[task].i0.aincrease(),
        "pipeline": pipeline,
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, each = json.loads(line)
        print(await tasks(work[what], each), flush=True)


asyncio.run(main())
