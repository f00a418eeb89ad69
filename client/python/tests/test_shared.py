"""Reading in the daemon's shared memory: the same as asking, and never older than what was acknowledged."""

import asyncio
import datetime as dt
import gc
import os
import sys
import threading
import weakref

import pytest
from rpc_client import Client

from rapyerd import AtomicRedisModel, links, shared, sync
from rapyerd.errors import KeyNotFound
from rapyerd.settings import settings

READS = 200  # after so many the daemon shows it, and it is read there


class Shown(AtomicRedisModel):
    n: int = 0
    big: int = 2**63 - 1
    real: float = 0.5
    text: str = "ä" * 40
    raw: bytes = b"\x00\xff"
    when: dt.datetime = dt.datetime(2024, 1, 31, 12, 0, 0, 5)
    maybe: int | None = None
    tags: list[str] = []
    counts: dict[str, list[int]] = {}


BlockingShown = sync.twin(Shown)


@pytest.fixture(params=["shared", "asked"])
def way(request, daemon, monkeypatch):
    assert shared.Segment is not None, "client/python/hatch_build.py builds the extension"
    monkeypatch.setattr(settings, "shared_memory", request.param == "shared")
    return request.param


def segment():
    return links._threads.link.connection.shared.segment


def hits():
    return segment().hits if segment() is not None else 0


def shown():
    return BlockingShown(tags=["a", "b"], counts={"x" * 50: [1, 2**40, -5]}, maybe=7)


def test_what_is_read(way):
    one = shown()
    one.save()
    for _ in range(READS):
        assert BlockingShown.get(one.key) == one
    assert (hits() > READS / 2) is (way == "shared")
    with pytest.raises(KeyNotFound):
        BlockingShown.get("none")


def test_nobody_reads_what_was_before_an_answer(way, daemon):
    mine = shown()
    mine.save()
    with Client(daemon.socket) as other:
        for n in range(READS):
            if n % 10 == 0:
                mine.n.increase()
            elif n % 10 == 5:
                other.call("num.incr", mine.key, "n", 1)
            assert BlockingShown.get(mine.key).n == n // 5 + 1
        assert (hits() > READS / 2) is (way == "shared")
        other.call("doc.delete", mine.key)
    with pytest.raises(KeyNotFound):
        BlockingShown.get(mine.key)


async def test_tasks_read_what_they_have_written(way):
    notes = [Shown() for _ in range(8)]
    await Shown.insert(*notes)

    async def one(mine):
        for n in range(40):
            await mine.n.increase()
            for _ in range(5):
                assert (await Shown.get(mine.key)).n == n + 1
                await asyncio.sleep(0)

    await asyncio.gather(*map(one, notes))
    link = links.async_link().connection
    assert not link.wire.writes
    for _ in range(READS):
        await Shown.get(notes[0].key)
    found = link.shared.segment
    assert (found is not None and found.hits > READS / 2) is (way == "shared")
    # A write that nobody waits for any more is still to come before what is read.
    writing = asyncio.create_task(notes[0].n.increase())
    await asyncio.sleep(0)
    writing.cancel()
    assert (await Shown.get(notes[0].key)).n == 41


def test_under_a_lock_it_is_as_new_as_the_lock(way):
    one = shown()
    one.save()
    for _ in range(READS):
        BlockingShown.get(one.key)
    for n in range(20):
        with one.lock():
            assert BlockingShown.get(one.key).n == n
            one.n += 1
        assert BlockingShown.get(one.key).n == n + 1
    if way == "shared":
        assert segment().stamp > 0


def test_a_daemon_that_dies_shows_nothing_more(way, daemon):
    one = shown()
    one.save()
    for _ in range(READS):
        BlockingShown.get(one.key)
    before = segment()
    daemon.kill()
    daemon.start()
    for _ in range(READS):
        assert BlockingShown.get(one.key) == one
    assert (segment() is not before and hits() > READS / 2) is (way == "shared")


def test_a_child_reads_by_itself(way):
    one = shown()
    one.save()
    for _ in range(READS):
        BlockingShown.get(one.key)
    child = os.fork()
    if child == 0:
        good = all(BlockingShown.get(one.key).n == 0 for _ in range(READS))
        one.n.increase()
        good = good and BlockingShown.get(one.key).n == 1
        sys.stdout.flush()
        os._exit(0 if good and (hits() > READS / 2) is (way == "shared") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert BlockingShown.get(one.key).n == 1


def test_a_thread_that_ends_leaves_nothing_behind(way):
    one = shown()
    one.save()
    left = []

    def read():
        for _ in range(READS):
            BlockingShown.get(one.key)
        assert (hits() > READS / 2) is (way == "shared")
        left.append(weakref.ref(links._threads.link.connection))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    gc.collect()
    assert [connection() for connection in left] == [None]


def test_the_daemon_hears_of_it(daemon):
    one = shown()
    one.save()
    while hits() < 2 * 4096:
        BlockingShown.get(one.key)
    told = links._threads.link.connection.call("admin.cache", [], True)["shared_hits"]
    assert told >= 2 * 4096


def test_what_is_no_such_memory():
    with pytest.raises(ValueError, match="sealed"), open(__file__) as file:
        shared.Segment(file.fileno(), tuple, print)
    assert shared.attach("/none", print) is None
