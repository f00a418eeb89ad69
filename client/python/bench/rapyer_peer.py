"""Rapyer, as a peer of the measurements: asked by lines of JSON, [what, calls of each task]. Its argument is
the socket of a Redis with RedisJSON."""

import asyncio
import json
import sys

import redis.asyncio
from wide import TASKS, pipeline, seconds_each, wide_class

from rapyer import AtomicRedisModel, init_rapyer

Wide = wide_class(AtomicRedisModel)


async def main():
    client = redis.asyncio.Redis(unix_socket_path=sys.argv[1], decode_responses=True, max_connections=64)
    await init_rapyer(client)
    docs = [Wide() for _ in range(TASKS)]
    await Wide.ainsert(*docs)

    work = {
        "get": lambda task: Wide.aget(docs[task].key),
        "increase": lambda task: docs[task].i0.aincrease(),
        "pipeline": lambda task: pipeline(docs[task]),
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, each = json.loads(line)
        print(await seconds_each(work[what], each), flush=True)
    await client.aclose()


asyncio.run(main())
