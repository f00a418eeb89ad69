"""Pipelines: one commit or none, one state, put back when they fail."""

import asyncio

import pytest
from rpc_client import Client

import rapyerd
from rapyerd import AtomicRedisModel, errors


class Line(AtomicRedisModel):
    name: str = ""
    n: int = 0
    tags: list[str] = []


class Paper(AtomicRedisModel):
    n: int = 0
    s: str = ""
    tags: list[str] = []
    counts: dict[str, int] = {}
    line: Line = Line()
    lines: list[Line] = []
    named: dict[str, Line] = {}


@pytest.fixture
async def paper(daemon):
    paper = Paper(n=10, s="ab", tags=["x", "y"], counts={"a": 1}, lines=[Line(name="l0"), Line(name="l1")])
    await paper.save()
    return paper


def version(daemon, key):
    with Client(daemon.socket) as client:
        return client.call("doc.get", key, {"version": True})["@v"]


async def everything(paper):
    """Every kind of change that is gathered."""
    paper.n += 1
    paper.n *= 2
    paper.s += "c"
    paper.tags.append("z")
    paper.tags += ["w"]
    paper.tags.insert(0, "first")
    paper.tags[1] = "X"
    paper.tags.pop()
    paper.tags.remove("y")
    paper.counts["b"] = 2
    paper.counts |= {"c": 3}
    del paper.counts["a"]
    paper.counts.pop("c")
    paper.line.n += 5
    paper.line.tags.append("t")
    paper.lines[0].name = "renamed"
    paper.lines.append(Line(name="l2"))
    paper.lines[-1].tags.append("of the new one")
    paper.lines.pop(1)
    paper.named["k"] = Line(name="named")
    paper.named["k"].n += 9
    await paper.tags.aappend("async")
    await paper.n.increase(100)
    await paper.counts.aupdate(d=4)
    await paper.counts.adel_item("d")
    await paper.line.aupdate(name="line")


async def test_all_of_it_is_one_commit(daemon, paper):
    before = version(daemon, paper.key)
    async with paper.pipeline() as pipelined:
        assert pipelined is paper
        await everything(paper)
        assert paper.n == 122  # seen here at once
        assert (await Paper.get(paper.key)).n == 10  # and nowhere else
    assert version(daemon, paper.key) == before + 1
    there = await Paper.get(paper.key)
    assert there == paper and there.n == 122 and there.tags == ["first", "X", "z", "async"]
    assert [line.pk for line in there.lines] == [line.pk for line in paper.lines]


@pytest.mark.parametrize("reason", ["error", "refused", "gone", "cancelled"])
async def test_nothing_of_it_when_it_fails(daemon, paper, reason):
    was = paper.model_copy(deep=True)
    lines = list(paper.lines)
    draft = Line(name="draft")

    async def attempt():
        async with paper.pipeline():
            await everything(paper)
            paper.lines.append(draft)
            if reason == "error":
                raise ZeroDivisionError
            if reason == "refused":
                paper.n **= 1000
            if reason == "gone":
                with Client(daemon.socket) as client:
                    client.call("doc.delete", paper.key)
            if reason == "cancelled":
                await asyncio.sleep(60)

    if reason == "cancelled":
        task = asyncio.create_task(attempt())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        expected = {"error": ZeroDivisionError, "refused": errors.OutOfRangeError, "gone": errors.KeyNotFound}
        with pytest.raises(expected[reason]):
            await attempt()
    assert paper == was and all(a is b for a, b in zip(paper.lines, lines, strict=True))
    assert not draft.is_inner_model()
    if reason != "gone":
        assert await Paper.get(paper.key) == was
        await paper.lines[1].n.increase()  # handles go on
        assert (await Paper.get(paper.key)).lines[1].n == 1


async def test_a_pipeline_over_several_documents(daemon, paper):
    other = Paper()
    async with rapyerd.apipeline():
        await other.save()
        other.n += 5
        paper.n -= 5
        await paper.line.tags.aappend("t")
        assert not await Paper.exists(other.key)
    assert (await Paper.get(other.key)).n == 5 and (await Paper.get(paper.key)).n == 5
    with pytest.raises(errors.OutOfRangeError):
        async with rapyerd.apipeline():
            await other.delete()
            paper.n **= 1000
    assert await Paper.exists(other.key)
    await other.n.increase()  # alive again
    assert other.n == 6


async def test_saved_in_a_pipeline_and_refused(daemon, paper):
    draft = Paper(s="draft")
    with pytest.raises(errors.OutOfRangeError):
        async with rapyerd.apipeline():
            await draft.save()
            await draft.tags.aappend("x")
            paper.n **= 1000
    assert draft.tags == []
    await draft.tags.aappend("a draft again")
    assert not await Paper.exists(draft.key)


async def test_nested_pipelines(daemon, paper):
    async with paper.pipeline():
        paper.n += 1
        async with paper.pipeline(use_existing_pipe=True):
            paper.n += 10
        assert (await Paper.get(paper.key)).n == 10
        other = await Paper.get(paper.key)
        async with other.pipeline():
            other.s = "inner"
        assert (await Paper.get(paper.key)).s == "inner"
    assert (await Paper.get(paper.key)).n == 21


async def test_ignore_redis_error(daemon, paper):
    await (await Paper.get(paper.key)).delete()
    async with paper.pipeline(ignore_redis_error=True):
        paper.n += 1
    assert paper.n == 10
    with pytest.raises(ZeroDivisionError):  # errors of the program are not ignored
        async with paper.pipeline(ignore_redis_error=True):
            raise ZeroDivisionError


async def test_a_pipeline_begins_with_what_is_stored(daemon, paper):
    other = await Paper.get(paper.key)
    await other.n.increase(5)
    paper.s = "assigned here"
    async with paper.pipeline():
        assert paper.n == 15 and paper.s == "assigned here"
        await paper.s.save()
    assert (await Paper.get(paper.key)).s == "assigned here"


async def test_a_pipeline_of_an_element_and_of_a_draft(daemon, paper):
    async with paper.lines[1].pipeline() as line:
        line.n += 3
        line.tags.append("t")
    assert (await Paper.get(paper.key)).lines[1].tags == ["t"]
    draft = Line()
    async with draft.pipeline():
        draft.n += 1
        await draft.tags.aappend("x")
    assert draft.n == 1 and draft.tags == ["x"]
    with pytest.raises(ZeroDivisionError):
        async with draft.pipeline():
            draft.n += 1
            raise ZeroDivisionError
    assert draft.n == 1


async def test_pipelines_of_tasks_do_not_mix(daemon):
    papers = [Paper() for _ in range(20)]
    await Paper.insert(*papers)

    async def work(paper, index):
        for _ in range(5):
            async with paper.pipeline():
                paper.n += index
                await asyncio.sleep(0)
                paper.tags.append(str(index))

    await asyncio.gather(*(work(paper, index) for index, paper in enumerate(papers)))
    for index, paper in enumerate(papers):
        there = await Paper.get(paper.key)
        assert there.n == 5 * index and there.tags == [str(index)] * 5 and there == paper


async def test_numbers_take_the_daemons_answer(daemon, paper):
    other = await Paper.get(paper.key)
    async with paper.pipeline():
        paper.n += 1
        await other.load()
        await rapyerd_increase(daemon, paper.key)
    assert paper.n == 1011


async def rapyerd_increase(daemon, key):
    with Client(daemon.socket) as client:
        client.call("num.incr", key, "n", 1000)
