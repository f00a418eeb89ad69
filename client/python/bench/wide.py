"""What ours and Rapyer are both measured with."""

import asyncio
import time

TASKS = 32
FIELDS = {f"i{n}": (int, n) for n in range(8)} | {f"s{n}": (str, f"text {n}") for n in range(8)}
FIELDS |= {f"f{n}": (float, n + 0.5) for n in range(4)}


def wide_class(base):
    """A model of 20 fields."""
    body = {"__annotations__": {name: kind for name, (kind, _) in FIELDS.items()}, "__module__": "wide"}
    body |= {name: value for name, (_, value) in FIELDS.items()}
    return type(base)("Wide", (base,), body)


async def pipeline(doc):
    """Twenty operations as one."""
    async with doc.apipeline() as inside:
        for _ in range(5):
            inside.i0 += 1
            inside.i1 += 2
            inside.s0 = "new"
            inside.f0 = 1.5


async def seconds_each(work, each):
    """Seconds for one call, of TASKS tasks that do `each` calls."""

    async def one(task):
        for _ in range(each):
            await work(task)

    begin = time.perf_counter()
    await asyncio.gather(*(one(task) for task in range(TASKS)))
    return (time.perf_counter() - begin) / TASKS / each
