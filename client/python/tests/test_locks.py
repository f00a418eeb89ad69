"""Locks: who has them, what is saved with the release, what happens when they are lost."""

import asyncio
import threading

import pytest
from rpc_client import Client, wait_until

import rapyerd
from rapyerd import AtomicRedisModel, errors, links, sync


class Note(AtomicRedisModel):
    n: int = 0
    text: str = ""
    tags: list[str] = []


class Book(AtomicRedisModel):
    n: int = 0
    s: str = ""
    tags: list[str] = []
    counts: dict[str, int] = {}
    note: Note = Note()
    notes: list[Note] = []


@pytest.fixture
async def book(daemon):
    book = Book(notes=[Note(text="a"), Note(text="b")])
    await book.save()
    return book


def holders(daemon):
    with Client(daemon.socket) as client:
        return [h for lock in client.call("admin.locks") for h in (*lock["holders"], *lock["waiters"])]


async def test_what_is_assigned_is_saved_with_the_release(daemon, book):
    with Client(daemon.socket) as client:
        before = client.call("doc.get", book.key, {"version": True})["@v"]
        async with book.lock("edit") as locked:
            assert locked is book
            book.n += 1
            book.s = "new"
            book.tags.append("t")
            book.counts["a"] = 1
            book.note.n -= 2
            book.notes[1].tags += ["x"]
            book.notes.append(Note(text="c"))
            client.call("num.incr", book.key, "n", 100)  # others count meanwhile: increments are sent
            assert client.call("doc.get", book.key)["s"] == ""
        assert client.call("doc.get", book.key, {"version": True})["@v"] == before + 2
    there = await Book.get(book.key)
    assert there == book and there.n == 101
    assert holders(daemon) == []


async def test_an_error_saves_nothing_and_puts_back(daemon, book):
    with pytest.raises(ZeroDivisionError):
        async with book.lock():
            book.n += 1
            book.tags.append("t")
            await book.note.n.increase(7)  # was carried out, and stays
            raise ZeroDivisionError
    assert (book.n, book.tags, book.note.n) == (0, [], 7)
    assert await Book.get(book.key) == book and holders(daemon) == []


async def test_what_is_done_at_once_comes_after_what_was_assigned_there_before(daemon, book):
    async with book.lock():
        book.tags.append("first")
        await book.tags.aappend("second")
        book.n += 1
        await book.n.increase()
        book.s = "x"
        await book.s.save()
        assert (await Book.get(book.key)).s == "x"
    there = await Book.get(book.key)
    assert there.tags == ["first", "second"] and there.n == 2 and there == book


async def test_the_document_is_fresh_under_the_lock(daemon, book):
    await (await Book.get(book.key)).aupdate(s="by another", n=5)
    note = book.note
    async with book.lock() as locked:
        assert locked.s == "by another" and locked.n == 5 and locked.note is note
    async with Book.lock_from_key(book.key) as locked:
        assert locked == book and locked is not book
        locked.n += 1
    assert (await Book.get(book.key)).n == 6


async def test_save_at_end(daemon, book):
    async with book.lock(save_at_end=False) as locked:
        locked.s = "not saved"
    assert (await Book.get(book.key)).s == ""
    async with Book.lock_from_key(book.key, save_at_end=True) as locked:
        locked.s = "saved"
    assert (await Book.get(book.key)).s == "saved"


async def test_tasks_exclude_each_other(daemon, book):
    inside = 0

    async def work():
        nonlocal inside
        for _ in range(5):
            async with Book.lock_from_key(book.key, "count") as locked:
                inside += 1
                assert inside == 1
                value = locked.n
                await asyncio.sleep(0)
                locked.n = value + 1
                inside -= 1

    await asyncio.gather(*(work() for _ in range(16)))
    assert (await Book.get(book.key)).n == 80 and holders(daemon) == []


async def test_a_task_has_its_lock_again(daemon, book):
    async with book.lock("a"):
        book.n += 1
        async with book.lock("a"):
            book.n += 10
        book.n += 100
        with pytest.raises(errors.LockTimeoutError):
            await asyncio.create_task(enter(Book.lock_from_key(book.key, "a", wait=0)))
    assert (await Book.get(book.key)).n == 111


async def enter(lock):
    async with lock:
        pass


async def test_locks_of_elements_and_of_drafts(daemon, book):
    note = book.notes[1]
    async with note.lock("edit") as locked:
        assert locked is note
        note.n += 1
        await asyncio.create_task(enter(book.notes[0].lock("edit", wait=0)))  # another lock
        with pytest.raises(errors.LockTimeoutError):
            await asyncio.create_task(enter(note.lock("edit", wait=0)))
        async with note.pipeline():
            note.tags.append("t")
            note.n += 10
    there = (await Book.get(book.key)).notes[1]
    assert there.n == 11 and there.tags == ["t"]
    draft = Book()
    async with draft.lock() as locked:
        locked.n += 1
    assert draft.n == 1 and not await Book.exists(draft.key)
    with pytest.raises(errors.KeyNotFound):
        async with Book.lock_from_key("Book:none"):
            pass
    async with rapyerd.alock_from_key("Book:none") as nothing:
        assert nothing is None
    assert holders(daemon) == []


async def test_two_accounts_are_changed_in_one_commit(daemon, rdb):
    one, other = Book(n=100), Book()
    await Book.insert(one, other)
    async with one.lock("move"), other.lock("move"):
        one.n -= 30
        other.n += 30
    assert (await Book.get(one.key)).n == 70 and (await Book.get(other.key)).n == 30
    with pytest.raises(errors.OutOfRangeError):
        async with one.lock("move"), other.lock("move"):
            one.n -= 30
            other.n **= 1000
    assert one.n == 70 and other.n == 30
    assert (await Book.get(one.key)).n == 70 and holders(daemon) == []


async def test_a_circle_is_told(daemon):
    one, other = Book(), Book()
    await Book.insert(one, other)
    both = asyncio.Barrier(2)

    async def cross(a, b):
        async with Book.lock_from_key(a.key):
            await both.wait()
            async with Book.lock_from_key(b.key):
                return "in"

    done = await asyncio.gather(cross(one, other), cross(other, one), return_exceptions=True)
    assert "in" in done and any(isinstance(d, errors.DeadlockError) for d in done)
    assert holders(daemon) == []


async def test_who_lost_the_lock_writes_nothing(daemon, book):
    for write in ("at once", "at the end", "pipeline"):
        with pytest.raises(errors.LockLostError):
            async with book.lock("edit"):
                book.s = "late"
                with Client(daemon.socket) as client:
                    assert client.call("lock.break", book.key, "edit") == 1
                if write == "at once":
                    await book.tags.aappend("late")
                if write == "pipeline":
                    async with book.pipeline():
                        book.n += 1
        assert book.s == "" and book.tags == [] and book.n == 0, write
        assert await Book.get(book.key) == book


async def test_a_wait_that_is_cancelled_leaves_nothing_behind(daemon, book):
    async with book.lock("edit"):
        waits = [asyncio.create_task(enter(Book.lock_from_key(book.key, "edit"))) for _ in range(20)]
        await asyncio.to_thread(wait_until, lambda: len(holders(daemon)) == 21)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        if "lock.cancel" in rapyerd.links.async_link().connection.features:
            await asyncio.to_thread(wait_until, lambda: len(holders(daemon)) == 1)
    await asyncio.wait_for(enter(Book.lock_from_key(book.key, "edit")), 10)
    await asyncio.to_thread(wait_until, lambda: not holders(daemon))


async def test_shared_locks(daemon, book):
    async with book.lock("read", shared=True):
        await asyncio.create_task(enter(Book.lock_from_key(book.key, "read", shared=True, wait=0)))
        with pytest.raises(errors.LockTimeoutError):
            await asyncio.create_task(enter(Book.lock_from_key(book.key, "read", wait=0)))


async def test_a_lock_ends_with_the_connection(daemon, book):
    with pytest.raises(errors.LockLostError):
        async with book.lock("edit"):
            book.s = "late"
            rapyerd.links.async_link().connection.close()
            assert (await Book.get(book.key)).n == 0  # another connection, without the lock
    assert book.s == "" and (await Book.get(book.key)).s == ""


def test_threads_exclude_each_other(daemon):
    class Counter(sync.AtomicRedisModel):
        n: int = 0

    counter = Counter()
    counter.save()

    def work():
        for _ in range(10):
            with Counter.lock_from_key(counter.key, "count") as locked:
                locked.n = locked.n + 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter.get(counter.key).n == 80
    with pytest.raises(TypeError, match="async with"), Book().lock():
        pass


@pytest.mark.parametrize("before", [True, False])
async def test_a_task_that_is_cancelled_as_it_gets_the_lock(daemon, book, before):
    """In the turn of the loop in which the answer comes, before it or behind it."""
    task = asyncio.create_task(book.lock("x").__aenter__())
    connection = links.async_link().connection
    take = connection.data_received

    def data_received(data):
        if before:
            task.cancel()
        take(data)
        task.cancel()

    connection.data_received = data_received
    try:
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        del connection.data_received
    async with book.lock("x", wait=20):
        book.n += 1
    assert (await Book.get(book.key)).n == 1


async def test_a_task_that_is_cancelled_at_any_moment_leaves_no_lock(daemon, book):
    other = Book()
    await other.save()

    async def work():
        async with book.lock("x"):
            book.n += 1
            async with other.lock("y"):
                other.n += 1

    for turns in range(50):
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(20):
            while holders(daemon):
                await asyncio.sleep(0.001)
