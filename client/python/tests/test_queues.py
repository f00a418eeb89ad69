"""Priority queues: in the daemon, and on drafts."""

import asyncio

import pytest

from rapyerd import AtomicRedisModel
from rapyerd.types import PriorityQueueItem, RedisPriorityQueue


class Work(AtomicRedisModel):
    name: str = ""
    jobs: RedisPriorityQueue[str] = RedisPriorityQueue()
    pairs: RedisPriorityQueue[dict[str, int]] = RedisPriorityQueue()


@pytest.fixture(params=["draft", "stored"])
async def work(request, daemon):
    work = Work()
    if request.param == "stored":
        await work.save()
    return work


async def test_in_order(work):
    await work.jobs.apush("b", 2)
    await work.jobs.apush("a", 2)
    await work.jobs.apush_many([PriorityQueueItem("last", 9.5), PriorityQueueItem("first", -1)])
    assert await work.jobs.asize() == 4 and await work.jobs.apeek() == "first"
    assert [(i.value, i.priority) for i in await work.jobs.aitems()] == [
        ("first", -1.0), ("a", 2.0), ("b", 2.0), ("last", 9.5)
    ]  # fmt: skip
    assert await work.jobs.aremove("b") is True and await work.jobs.aremove("none") is False
    await work.jobs.apush("last", 0)
    assert [await work.jobs.apop() for _ in range(4)] == ["first", "last", "a", None]
    await work.pairs.apush({"x": 1}, 1)
    assert await work.pairs.apop() == {"x": 1} and await work.jobs.asize() == 0


async def test_nobody_gets_what_another_has(daemon):
    work = Work()
    await work.save()
    await work.jobs.apush_many(PriorityQueueItem(f"job {n:02}", n) for n in range(40))
    takers = [await Work.get(work.key) for _ in range(4)]
    got = await asyncio.gather(*map(taker, takers))
    assert sorted(job for jobs in got for job in jobs) == [f"job {n:02}" for n in range(40)]
    assert all(jobs == sorted(jobs) for jobs in got)


async def taker(work):
    jobs = []
    while (job := await work.jobs.apop()) is not None:
        jobs.append(job)
    return jobs


async def test_saving_and_pipelines(daemon):
    work = Work()
    await work.save()
    with pytest.raises(ZeroDivisionError):
        async with work.pipeline():
            await work.jobs.apush("never", 1)
            raise ZeroDivisionError
    async with work.pipeline():
        await work.jobs.apush("x", 1)
    work.name = "named"
    await work.save()
    assert await (await Work.get(work.key)).jobs.apeek() == "x"


async def test_what_was_not_touched_is_refreshed_as_well(daemon):
    work = Work()
    await work.save()
    await (await Work.get(work.key)).jobs.apush("x", 1)
    async with work.pipeline():
        work.name = "named"
    assert await work.jobs.apeek() == "x" and len(work.jobs) == 1


async def test_it_is_a_sorted_set(work, daemon, rdb):
    await work.jobs.apush("x", 2.5)
    assert await work.jobs.aincrease("x", 0.5) == 3 and await work.jobs.aincrease("new") == 1
    assert [(i.value, i.priority) for i in await work.jobs.aitems()] == [("new", 1.0), ("x", 3.0)]
    assert Work(**work.model_dump()).jobs == work.jobs
    if not rdb.exists(f"rapyer:{{{work.key}}}"):  # a draft
        return
    assert rdb.zrange(f"rapyer:{{{work.key}}}/jobs", 0, -1, withscores=True) == [(b"new", 1.0), (b"x", 3.0)]
    await work.jobs.aclear()
    assert await work.jobs.asize() == 0 and not work.jobs


async def test_one_that_may_be_none_is_an_empty_one(daemon):
    class Later(AtomicRedisModel):
        jobs: RedisPriorityQueue[int] | None = None

    later = Later()
    await later.save()
    later.jobs = RedisPriorityQueue()
    await later.jobs.apush(7, 1)
    assert await (await Later.get(later.key)).jobs.apop() == 7
