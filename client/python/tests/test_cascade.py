"""A time to live that follows references: in the daemon by the plan that a class makes of its annotations."""

import logging
from typing import Annotated, ClassVar, Optional

import pytest
from pydantic import BaseModel, Field

from rapyerd import AtomicRedisModel, CascadeResult, CascadeTTL, Lazy, RedisConfig
from rapyerd.cascade import plan_of
from rapyerd.sync import AtomicRedisModel as BlockingModel
from rapyerd.types import RedisPriorityQueue, RedisSet, Reference


class Scribe(AtomicRedisModel):
    name: str = ""
    tags: RedisSet[str] = Field(default_factory=RedisSet)
    Meta: ClassVar[RedisConfig] = RedisConfig(ttl=3600)


class Scrap(AtomicRedisModel):
    by: Annotated[Reference[Scribe] | None, CascadeTTL()] = None


class Case(BaseModel):
    of: Annotated[Reference[Scribe] | None, CascadeTTL()] = None


class Tome(AtomicRedisModel):
    title: str = ""
    writer: Annotated[Reference[Scribe] | None, CascadeTTL()] = None
    other: Reference[Scribe] | None = None
    anybody: Annotated[list[Reference[Scribe | Scrap]], CascadeTTL(depth=0)] = []
    readers: Annotated[RedisSet[Reference[Scribe]], CascadeTTL()] = Field(default_factory=RedisSet)
    queue: Annotated[RedisPriorityQueue[Reference[Scribe]], CascadeTTL()] = Field(
        default_factory=RedisPriorityQueue
    )
    notes: list[Scrap] = []
    box: Case = Field(default_factory=Case)
    Meta: ClassVar[RedisConfig] = RedisConfig(ttl=200)


class Hop(AtomicRedisModel):
    next: Reference["Hop"] | None = None
    shut: Annotated[Reference["Hop"] | None, CascadeTTL(enabled=False)] = None
    Meta: ClassVar[RedisConfig] = RedisConfig(ttl=300, cascade_ttl=CascadeTTL(depth=1))


class BlockingHop(BlockingModel):
    next: Annotated[Reference["BlockingHop"] | None, CascadeTTL()] = None
    Meta: ClassVar[RedisConfig] = RedisConfig(ttl=300)


class Shelf(AtomicRedisModel):
    keeper: Reference[Scribe] | None = None
    Meta: ClassVar[RedisConfig] = RedisConfig(ttl=100, cascade_ttl=CascadeTTL())


class Hall(AtomicRedisModel):
    far: Annotated[Reference[Shelf] | None, CascadeTTL()] = None
    near: Annotated[Reference[Shelf] | None, CascadeTTL(depth=0)] = None
    late: Annotated[Lazy[Reference[Scribe] | None], CascadeTTL()] = None
    inner: Optional["Hall"] = None
    Meta: ClassVar[RedisConfig] = RedisConfig(ttl=100)


class Hermit(AtomicRedisModel):
    other: Reference[Scribe] | None = None
    Meta: ClassVar[RedisConfig] = RedisConfig(ttl=100)


def end(rdb, model):
    return rdb.ttl(f"rapyer:{{{model.key}}}")


async def endless(*models):
    for model in models:
        await model.set_ttl(0)


async def test_each_lives_for_the_ttl_of_its_class(daemon, rdb):
    writers = [Scribe(name=str(n)) for n in range(8)]
    for writer in writers:
        await writer.save()
    book = Tome(writer=writers[0], other=writers[1], anybody=[writers[2]], notes=[Scrap(by=writers[5])])
    book.box.of = writers[6].key
    await book.save()
    await book.readers.aadd(writers[3].key)
    await book.queue.apush(writers[4].key, 1)
    await endless(*writers)
    assert await book.set_ttl(50, cascade=True) == CascadeResult(0, 0)
    assert 0 < end(rdb, book) <= 50
    assert [end(rdb, writer) > 3000 for writer in writers] == [n not in (1, 7) for n in range(8)]
    await endless(*writers)
    assert await book.set_ttl(50) is None
    assert all(end(rdb, writer) == -1 for writer in writers)
    await writers[0].delete()
    assert await book.set_ttl(50, cascade=True) == CascadeResult(1, 1)


async def test_a_general_depth(daemon, rdb):
    links = [Hop()]
    for _ in range(4):
        links.insert(0, Hop(next=links[0].key, shut=links[0].key))
    for link in links:
        await link.save()
    await endless(*links)
    await links[0].set_ttl(60, cascade=True)
    assert [end(rdb, link) > 0 for link in links] == [True, True, True, False, False]
    assert plan_of(Hop).options == {"cascade": {"Hop": {"next": None}}, "depth": 2}
    assert plan_of(Hermit) is None and plan_of(Scribe) is None


async def test_how_far_a_field_leads(daemon, rdb):
    keepers = [Scribe(), Scribe(), Scribe()]
    shelves = [Shelf(keeper=keepers[0]), Shelf(keeper=keepers[1])]
    for model in (*keepers, *shelves):
        await model.save()
    hall = Hall(far=shelves[0], near=shelves[1], late=keepers[2], inner=Hall(near=shelves[1]))
    await hall.save()
    await endless(*keepers, *shelves)
    await hall.set_ttl(60, cascade=True)
    assert [end(rdb, shelf) > 0 for shelf in shelves] == [True, True]
    assert [end(rdb, keeper) > 0 for keeper in keepers] == [True, False, False]


async def test_writes_reads_and_pipelines_start_it_anew(daemon, rdb):
    writer, book = Scribe(), Tome()
    await writer.save()
    book.writer = writer.key
    await book.save()

    async def renewed(work):
        await endless(writer)
        await work
        return end(rdb, writer) > 0

    async def piped():
        async with book.pipeline() as inside:
            inside.title = "z"

    async def under_lock():
        async with book.lock() as mine:
            mine.title = "y"

    async def at_once_under_lock():
        async with book.lock() as mine:
            await mine.aupdate(title="w")
            assert end(rdb, writer) > 0
            await endless(writer)

    async def made_under_lock():
        async with book.lock():
            await book.readers.aadd(writer.key)
            assert end(rdb, writer) > 0

    assert await renewed(book.save())
    assert await renewed(book.aupdate(title="x"))
    assert await renewed(Tome.get(book.key))
    assert await renewed(piped())
    assert await renewed(under_lock())
    assert not await renewed(at_once_under_lock())
    assert await renewed(made_under_lock())
    assert await renewed(book.duplicate())
    assert await renewed(book.duplicate_many(2))
    assert await renewed(Tome.insert(Tome(writer=writer.key)))
    assert await renewed(Tome.get_or_create(Tome(writer=writer.key)))
    assert await renewed(Tome.get_or_create(book))
    assert await renewed(book.refresh_ttl())
    assert not await renewed(Scribe.exists(writer.key))


async def test_a_write_is_done_whatever_becomes_of_it(daemon, rdb, caplog):
    writer, book = Scribe(), Tome()
    await writer.save()
    book.writer = writer.key
    await book.save()
    rdb.delete(f"rapyer:{{{writer.key}}}")
    rdb.set(f"rapyer:{{{writer.key}}}", "spoilt")
    with caplog.at_level(logging.WARNING, "rapyerd"):
        await book.aupdate(title="done")
    assert (await Tome.get(book.key)).title == "done"
    assert f"what {book.key} refers to was given no time to live: " in caplog.text


def test_blocking(daemon, rdb):
    last = BlockingHop()
    last.save()
    first = BlockingHop(next=last.key)
    first.save()
    last.set_ttl(0)
    assert first.set_ttl(9, cascade=True) == CascadeResult(0, 0)
    assert end(rdb, last) > 200


@pytest.mark.parametrize("depth", [-1, -5])
def test_bad_depths(depth):
    from rapyerd.errors import InvalidCascadeDepthError

    with pytest.raises(InvalidCascadeDepthError):
        CascadeTTL(depth=depth)
