"""Connections: cancelled calls, lost connections, forks, threads."""

import asyncio
import multiprocessing
import os
import random
import socket
import threading

import pytest
from rpc_client import wait_until

import rapyerd
from rapyerd import AtomicRedisModel, errors, links, sync
from rapyerd.settings import settings


class Doc(AtomicRedisModel):
    n: int = 0
    s: str = ""
    tags: list[str] = []


class SyncDoc(sync.AtomicRedisModel):
    n: int = 0
    tags: list[str] = []


def connection():
    return links.async_link().connection


async def test_2000_cancelled_calls_mix_up_nothing(daemon):
    docs = [Doc(n=i, s=str(i)) for i in range(50)]
    await Doc.insert(*docs)
    chance = random.Random(1)
    calls = 0

    async def work(doc):
        nonlocal calls
        for _ in range(40):
            calls += 1
            call = asyncio.ensure_future(chance.choice((Doc.get, Doc.exists))(doc.key))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            call.cancel()
            there = await Doc.get(doc.key)
            assert there.s == doc.s and there.n == doc.n and there.pk == doc.pk
        return True

    assert all(await asyncio.gather(*(work(doc) for doc in docs)))
    assert calls == 2000
    await Doc.get(docs[0].key)
    assert connection().wire.waiting == 0


async def test_cancelled_writes_are_done_or_not(daemon):
    doc = Doc()
    await doc.save()
    for _ in range(200):
        call = asyncio.ensure_future(doc.n.increase())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
    there = await Doc.get(doc.key)
    assert 0 <= there.n <= 200
    async with asyncio.timeout(10):
        await doc.load()
    assert doc.n == there.n


async def test_what_tasks_send_in_one_turn_are_few_writes(daemon):
    docs = [Doc(n=i) for i in range(32)]
    await Doc.insert(*docs)
    writes = []
    transport = connection()._transport
    connection()._transport = type(
        "T", (), {"write": lambda _, data: (writes.append(data), transport.write(data))[0]}
    )()
    assert [d.n for d in await asyncio.gather(*(Doc.get(doc.key) for doc in docs))] == list(range(32))
    assert len(writes) == 32 / links.AT_ONCE
    connection()._transport = transport


async def test_the_daemon_is_restarted(daemon):
    doc = Doc(n=1)
    await doc.save()
    old = connection()
    daemon.stop()
    pending = asyncio.create_task(Doc.get(doc.key))  # reads wait for it
    await asyncio.sleep(0.05)
    await asyncio.to_thread(daemon.start)
    assert (await pending).n == 1
    await doc.n.increase()  # declared again on the new connection
    assert (await Doc.get(doc.key)).n == 2 and connection() is not old


async def test_a_write_without_an_answer(daemon, monkeypatch):
    doc = Doc(n=1)
    await doc.save()
    call = asyncio.create_task(doc.n.increase())
    await asyncio.sleep(0)
    connection()._transport.pause_reading()
    await asyncio.sleep(0.05)
    connection().close()
    with pytest.raises(errors.UnknownOutcomeError):
        await call
    assert doc.n == 1  # not known, so not counted
    assert (await Doc.get(doc.key)).n in (1, 2)


async def test_no_daemon(daemon, monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "socket", str(tmp_path / "none.sock"))
    monkeypatch.setattr(settings, "connect_timeout", 0.2)
    with pytest.raises(errors.UnavailableError, match=r"none\.sock.*RAPYER_SOCKET"):
        await Doc.get("x")
    with pytest.raises(errors.UnavailableError):
        await asyncio.to_thread(SyncDoc.get, "x")


def test_errors_are_those_of_redis_py_too():
    from redis import exceptions

    for cls, other in (
        (errors.UnavailableError, exceptions.ConnectionError),
        (errors.KeyNotFound, exceptions.ResponseError),
        (errors.LockLostError, exceptions.LockError),
    ):
        with pytest.raises(other) as caught:
            raise cls("text")
        assert isinstance(caught.value, cls) and isinstance(caught.value, errors.RapyerError)
        assert str(caught.value) == "text"


async def test_a_daemon_that_talks_nonsense(daemon, monkeypatch, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def nonsense():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                peer.recv(100)
                peer.sendall(b"\xc1\xc1")
                peer.close()

        threading.Thread(target=nonsense, daemon=True).start()
        monkeypatch.setattr(settings, "socket", path)
        monkeypatch.setattr(settings, "connect_timeout", 0.3)
        with pytest.raises(errors.UnavailableError, match="no MessagePack-RPC"):
            await Doc.get("x")
        with pytest.raises(errors.UnavailableError, match="no MessagePack-RPC"):
            await asyncio.to_thread(SyncDoc.get, "x")


def child(key, results):
    try:
        for _ in range(50):
            doc = SyncDoc.get(key)
            doc.n.increase()
            assert doc.pk == key.partition(":")[2]
        results.put("ok")
    except BaseException as error:
        results.put(repr(error))


def test_forks_have_connections_of_their_own(daemon):
    docs = [SyncDoc() for _ in range(4)]
    for doc in docs:
        doc.save()  # this process is connected now
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=child, args=(doc.key, results)) for doc in docs]
    for process in children:
        process.start()
    for doc in docs:  # meanwhile, over the parent's
        for _ in range(50):
            assert SyncDoc.get(doc.key).pk == doc.pk
    assert [results.get(timeout=60) for _ in children] == ["ok"] * 4
    for process in children:
        process.join()
    assert [SyncDoc.get(doc.key).n for doc in docs] == [50] * 4


async def test_a_fork_under_asyncio(daemon):
    doc = Doc()
    await doc.save()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio._set_running_loop(None)
            loop = asyncio.new_event_loop()
            loop.run_until_complete(doc.n.increase(5))
            code = 0
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    os.close(read)
    os.close(write)
    assert status == 0
    assert (await Doc.get(doc.key)).n == 5  # ours goes on


def test_a_fork_in_a_lock_does_not_hold_it(daemon):
    """Nor is it in its parent's pipeline."""
    doc = SyncDoc()
    doc.save()

    def work(results):
        try:
            doc.n.increase()
            with SyncDoc.lock_from_key(doc.key, "other") as locked:
                locked.tags.append("child")
            results.put("ok")
        except BaseException as error:
            results.put(repr(error))

    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=work, args=(results,))
    with doc.lock("mine"), doc.pipeline():
        process.start()
        assert results.get(timeout=60) == "ok"
        assert SyncDoc.get(doc.key).n == 1
        doc.n += 1
    process.join()
    assert SyncDoc.get(doc.key) == SyncDoc(n=2, tags=["child"])


def test_a_parent_that_dies_frees_its_locks_whatever_its_children_do(daemon):
    doc = SyncDoc()
    doc.save()
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            SyncDoc.lock_from_key(doc.key).__enter__()
            if os.fork() == 0:
                signal_end = threading.Event()
                signal_end.wait(5)  # a child that does nothing, with what it inherited
            else:
                os.write(go, b"x")
        finally:
            os._exit(0)
    os.read(ready, 1)
    os.waitpid(pid, 0)
    with SyncDoc.lock_from_key(doc.key, wait=3):
        pass
    os.close(ready)
    os.close(go)


def test_threads_and_loops_have_connections_of_their_own(daemon):
    doc = SyncDoc()
    doc.save()

    def blocking():
        for _ in range(50):
            doc_here = SyncDoc.get(doc.key)
            doc_here.n.increase()

    async def tasks():
        there = [await Doc.get(other.key) for _ in range(4)]
        await asyncio.gather(*(one.n.increase() for one in there for _ in range(10)))

    other = Doc()
    asyncio.run(rapyerd.ainsert(other))
    threads = [threading.Thread(target=blocking) for _ in range(4)]
    threads += [threading.Thread(target=lambda: asyncio.run(tasks())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SyncDoc.get(doc.key).n == 200
    assert asyncio.run(Doc.get(other.key)).n == 160


def test_a_twin_has_the_same_documents(daemon):
    blocking = sync.twin(Doc)
    doc = blocking(n=3)
    doc.save()
    assert doc.n.increase() == 4
    assert asyncio.run(Doc.get(doc.key)).n == 4
    with doc.lock(), doc.pipeline():
        doc.tags.append("x")
    assert blocking.get(doc.key).tags == ["x"]


def test_no_connection_is_left_behind(daemon):
    with daemon.connect() as client:

        async def once():
            await Doc.exists("x")
            rapyerd.close_all()

        for _ in range(5):
            asyncio.run(once())
        for _ in range(5):
            asyncio.run(Doc.exists("x"))  # which closes nothing
        for _ in range(3):
            thread = threading.Thread(target=lambda: SyncDoc.exists("x"))
            thread.start()
            thread.join()
        wait_until(lambda: len(client.call("admin.clients")) <= 3)


async def test_what_cannot_be_added(daemon):
    doc = Doc(n=1)
    await doc.save()
    with pytest.raises(TypeError):
        doc.n.increase("x")
    with pytest.raises(errors.BadValueError, match=r"num\.incr"):
        await doc.n.increase(1 << 70)
    with pytest.raises(errors.RapyerError, match="64 bits"):
        await doc.n.increase(1 << 63)
    connection().close()
    assert await doc.n.increase(2) == 3 and not connection().wire.waiting
    assert [await doc.n.increase() for _ in range(3)] == [4, 5, 6]
