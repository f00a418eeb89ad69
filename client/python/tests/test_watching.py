"""Watching: each change is told, by documents, places and classes, also when the daemon was away."""

import asyncio
from contextlib import aclosing

import pytest
from rpc_client import wait_until

import rapyerd
from rapyerd import AtomicRedisModel, Change, awatch, errors


class Stage(AtomicRedisModel):
    name: str = ""
    notes: list[str] = []


class Show(AtomicRedisModel):
    title: str = ""
    seats: int = 0
    tags: list[str] = []
    stages: list[Stage] = []


async def take(changes, wanted=lambda change: True):
    async with asyncio.timeout(20):
        async for change in changes:
            if wanted(change):
                return change


def watches(daemon):
    with daemon.connect() as client:
        return client.call("admin.stats")["watches"]


@pytest.fixture
def daemon(daemon):
    with daemon.connect() as client:
        wait_until(lambda: client.call("admin.stats")["hears_others"], what="a daemon that hears")
    return daemon


async def test_a_document(daemon, rdb):
    show = Show(title="Hamlet")
    async with aclosing(awatch(show)) as changes:
        assert await take(changes) == Change(show.key, 0, None)
        await show.save()
        first = await take(changes)
        assert first.key == show.key and first.version > 0 and first.paths is None and not first.gone
        await show.seats.increase()
        assert await take(changes) == Change(show.key, first.version + 1, ("seats",))
        rdb.hset(f"rapyer:{{{show.key}}}", "seats", 9)
        assert await take(changes) == Change(show.key, first.version + 1, ("",))
        assert (await Show.get(show.key)).seats == 9
        await show.delete()
        last = await take(changes)
        assert last == Change(show.key, 0, None) and last.gone
    await asyncio.to_thread(wait_until, lambda: watches(daemon) == 0, what="the end of the watch")


async def test_a_place(daemon):
    show = Show(stages=[Stage(name="small"), Stage(name="big")])
    await show.save()
    small = show.stages[0]
    async with aclosing(awatch(small)) as inner, aclosing(awatch(small, "notes")) as notes:
        await take(inner), await take(notes)
        await show.seats.increase()
        await show.stages[1].notes.aappend("no")
        await small.notes.aappend("yes")
        here = f'stages["{small.pk}"].notes'
        assert (await take(inner)).paths == (here,) and (await take(notes)).paths == (here,)


async def test_a_class_and_keys(daemon):
    async with aclosing(awatch(Show)) as all_of_them, aclosing(awatch("Show:one", "tags")) as one:
        assert await take(all_of_them) == Change("Show:*", None, None)
        assert (await take(one)).key == "Show:one"
        show = Show(title="x")
        show.pk = "one"
        await show.save()
        assert (await take(all_of_them)).key == (await take(one)).key == show.key == "Show:one"
        await show.tags.aappend("a")
        assert (await take(one)).paths == ("tags",)


async def test_what_cannot_be_watched(daemon):
    for wrong, error in (
        (lambda: awatch(Show, "nope"), errors.RapyerError),
        (lambda: awatch("Nobody:1"), errors.RapyerModelDoesntExistError),
        (lambda: awatch(3), errors.UnsupportedArgumentTypeError),
    ):
        with pytest.raises(error):
            await anext(wrong())


async def test_a_daemon_that_comes_back(daemon):
    show = Show()
    await show.save()
    async with aclosing(awatch(show)) as changes:
        await take(changes)
        daemon.kill()
        waiting = asyncio.ensure_future(take(changes))
        await asyncio.to_thread(daemon.start)
        again = await waiting
        assert again.key == show.key and again.paths is None
        await show.seats.increase()
        assert (await take(changes, lambda change: change.paths == ("seats",))).version == again.version + 1


async def test_who_is_slow_reads_no_more(daemon):
    """And is told at the end what matters: the last version, or to look."""
    show = Show()
    await show.save()
    async with aclosing(awatch(Show)) as changes:
        await take(changes)
        for _ in range(40):
            await asyncio.gather(*(show.seats.increase() for _ in range(50)))
        async with asyncio.timeout(10):
            last = await take(changes, lambda change: change.version is None or change.version > 0)
            with daemon.connect() as client:
                now = client.call("doc.get", show.key, {"version": True})["@v"]
            while last.version is not None and last.version < now:
                last = await take(changes)


async def test_a_watch_that_is_cancelled(daemon):
    changes = awatch(Show)
    await anext(changes)
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.to_thread(wait_until, lambda: watches(daemon) == 0, what="the end of the watch")
    rapyerd.close_all()
