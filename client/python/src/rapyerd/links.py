"""Connections to the daemon: one for each event loop, one for each thread that blocks.

    model, field, lock, ...     steps: generators of calls
          |
    run (asyncio) | run_blocking
          |
    Link: the connection that is open now, opened again when it is gone
          |
    Connection: bytes <-> Wire

A connection is never shared over a fork: the child forgets those of its parent and closes its copies
of their sockets. Declarations belong to a connection and are sent again on a new one.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from rapyerd.call import Call, Granted, Steps
from rapyerd.errors import (
    LockLostError,
    NotSupportedError,
    RapyerError,
    UnavailableError,
    UnknownOutcomeError,
)
from rapyerd.record import forget_context
from rapyerd.settings import settings
from rapyerd.shared import Reader, attach
from rapyerd.wire import Nonsense, Reply, Wire, refused

T = TypeVar("T")
PROTOCOL = 1
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
ACQUIRE = "lock.acquire"
AT_ONCE = 16  # requests that go out before the turn is over: the daemon works on them meanwhile


class _Lost(RapyerError):
    """The connection ended before the answer."""


lost = _Lost


def _lost(wire: Wire) -> RapyerError:
    return _Lost(wire.last_words or "the connection to rapyerd was lost before the answer")


def after_loss(method: str) -> RapyerError:
    """What a caller gets whose request may not be sent again."""
    if method.startswith("lock."):
        return LockLostError(f"{method}: the connection to rapyerd, and with it its locks, was lost")
    return UnknownOutcomeError(
        f"UNKNOWN_OUTCOME: the connection to rapyerd was lost before {method} was answered; "
        "reading shows whether it was applied"
    )


def _hello() -> tuple[str, list[Any]]:
    return "hello", [{"client": settings.client, "protocol": PROTOCOL}]


def _declarations(known: set[type], features: frozenset[str], models: tuple[type, ...]) -> list[Any]:
    from rapyerd.schema import declarations

    return declarations(models, known, features)


def _pauses() -> Any:
    """Growing pauses between tries, different for each client."""
    pause = FIRST_PAUSE
    while True:
        yield pause * (0.5 + random.random() / 2)
        pause = min(pause * 2, LONGEST_PAUSE)


def _unreachable(path: str, error: Exception) -> RapyerError:
    return UnavailableError(
        f"UNAVAILABLE: rapyerd cannot be reached at {path}: {error}; is it running, and is that its socket? "
        "$RAPYER_SOCKET or rapyerd.configure(socket=...) names another one"
    )


class _Connection:
    """What connections of both kinds know, and how they read in shared memory."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.open = True
        self.features: frozenset[str] = frozenset()
        self.declared: set[type] = set()
        self.shared = Reader()

    def look(self, key: str) -> dict[str, Any] | None:
        """A document in shared memory, None if it is to be asked for."""
        segment = self.shared.segment
        if segment is None:
            if self.shared.due() and settings.shared_memory:
                self._attach(settings.path())
            return None
        if self.wire.writes:  # what is written may be missing there
            return None
        document: dict[str, Any] | None = segment.get(key)
        if document is None:
            self.shared.missed()
        return document

    def _attach(self, path: str) -> None:
        """Looks for the memory of the daemon that listens there."""
        raise NotImplementedError

    def _tell_hits(self, count: int, key: str) -> None:
        self._push(self.wire.notification("segment.hits", [count, key]))

    def _push(self, data: bytes) -> None:
        """Sends bytes, now or soon."""
        raise NotImplementedError


# --- asyncio ----------------------------------------------------------------------------------


class AsyncConnection(_Connection, asyncio.Protocol):
    """One connection, served by its event loop, for any number of tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        super().__init__()
        self.loop = loop
        self.sock = sock
        self.wire.heard = self.heard
        self.declaring: asyncio.Lock = asyncio.Lock()
        self._transport: Any = None
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self.wire.feed(data)
        except Nonsense:
            self.close()

    def heard(self, method: str, params: list[Any]) -> None:
        """A notification."""

    def read(self, on: bool) -> None:
        """Whether what comes is taken."""
        if on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self.wire.abandon(lambda: _lost(self.wire))

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def send(self, method: str, params: list[Any], writes: bool = False) -> tuple[int, asyncio.Future[Any]]:
        """Sends a request; what tasks send in one turn of the loop goes out in few writes."""
        future = self.loop.create_future()
        request, data = self.wire.request(method, params, future, writes)
        self._push(data)
        return request, future

    def _push(self, data: bytes) -> None:
        out = self._out
        out.append(data)
        if len(out) == 1:
            self.loop.call_soon(self._flush)
        elif len(out) == AT_ONCE:
            self._flush()

    def _attach(self, path: str) -> None:
        found = self.loop.run_in_executor(None, attach, path, self._tell_hits)
        found.add_done_callback(self._attached)

    def _attached(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.shared.take(future.result())

    def _flush(self) -> None:
        data, self._out = self._out, []
        if not data:  # it was enough to go out before
            return
        if self.open:
            self._transport.write(b"".join(data) if len(data) > 1 else data[0])
        else:
            self.wire.abandon(lambda: _lost(self.wire))

    async def declare(self, models: tuple[type, ...]) -> None:
        async with self.declaring:
            if self.declared.issuperset(models):
                return
            declarations = _declarations(self.declared, self.features, models)
            if declarations:
                await self.send("define", declarations)[1]
            self.declared.update(models)

    def ask_for_lock(self, params: list[Any]) -> tuple[int, asyncio.Future[Any]]:
        """`send` of a ``lock.acquire``. What is granted to a task that was cancelled meanwhile goes back: the
        loop may turn between that and the moment that it runs."""
        future = self.loop.create_future()

        def answered(error: RapyerError | None, result: Any) -> None:
            if future.done():
                if error is None:
                    self._give_back(result)
            elif error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        request, data = self.wire.request(ACQUIRE, params, Reply(answered))
        self._push(data)
        return request, future

    def _give_back(self, granted: dict[str, Any]) -> None:
        if self.open:
            self.send("lock.release", [granted["token"]])[1].add_done_callback(_look)

    def drop(self, request: int, call: Call, future: asyncio.Future[Any]) -> None:
        """The task that waited for this was cancelled."""
        if call.method != ACQUIRE:
            if call.read:
                self.wire.forget(request)
        elif not future.cancelled():  # it was answered, and the task has not seen it
            if future.exception() is None:
                self._give_back(future.result())
        elif "lock.cancel" in self.features and self.open:
            self.send("lock.cancel", [request])[1].add_done_callback(_look)


def _look(future: asyncio.Future[Any]) -> None:
    """Whatever came of it: nobody waits for it."""
    if not future.cancelled():
        future.exception()


# A link belongs to its loop and goes with it; this is only to find those there are.
_links: weakref.WeakSet[AsyncLink] = weakref.WeakSet()


class AsyncLink:
    """The way of one event loop to the daemon."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[asyncio.AbstractEventLoop, socket.socket], AsyncConnection] = AsyncConnection,
    ) -> None:
        self.loop = loop
        self._make = make
        self.connection: AsyncConnection | None = None
        self._opening: asyncio.Task[AsyncConnection] | None = None
        _links.add(self)

    def forget(self) -> None:
        """There is no connection any more; its socket is closed, and its loop is not touched."""
        connection, self.connection = self.connection, None
        self._opening = None
        _links.discard(self)
        if connection is not None:
            connection.open = False
            connection.sock.close()

    async def open(self) -> AsyncConnection:
        """The connection, made if there is none; tasks that come meanwhile wait for the same one."""
        connection = self.connection
        if connection is not None and connection.open:
            return connection
        if self._opening is None or self._opening.done():
            self._opening = self.loop.create_task(self._connect())
            self._opening.add_done_callback(_look)
        return await asyncio.shield(self._opening)

    async def _connect(self) -> AsyncConnection:
        deadline = time.monotonic() + settings.connect_timeout
        for pause in _pauses():
            path = settings.path()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await self.loop.sock_connect(sock, path)
                _, connection = await self.loop.create_unix_connection(
                    lambda sock=sock: self._make(self.loop, sock),  # type: ignore[misc]
                    sock=sock,
                )
                said = await connection.send(*_hello())[1]
                connection.features = frozenset(said["features"])
                self.connection = connection
                return connection
            except (OSError, _Lost) as error:
                sock.close()
                if time.monotonic() + pause > deadline:
                    raise _unreachable(path, error) from error
            except BaseException:
                sock.close()
                raise
            await asyncio.sleep(pause)
        raise AssertionError

    async def perform(self, call: Call) -> Any:
        while True:
            connection = self.connection
            if call.link is not None:
                connection = call.link
                if not connection.open:
                    raise after_loss(call.method)
            elif connection is None or not connection.open:
                connection = await self.open()
            elif call.method == "doc.get" and len(call.params) == 1:
                found = connection.look(call.params[0])
                if found is not None:
                    return found
            try:
                if call.models and not connection.declared.issuperset(call.models):
                    await connection.declare(call.models)
                    if not connection.open:
                        raise _lost(connection.wire)
            except _Lost:
                if call.link is not None:
                    raise after_loss(call.method) from None
                continue
            try:
                if call.method == ACQUIRE:
                    request, future = connection.ask_for_lock(call.params)
                else:
                    request, future = connection.send(call.method, call.params, not call.read)
            except (OverflowError, TypeError, ValueError) as error:
                raise refused(call.method, call.params, error) from error
            try:
                answer = await future
            except asyncio.CancelledError:
                connection.drop(request, call, future)
                raise
            except _Lost:
                if call.read and call.link is None:
                    continue
                if call.method == ACQUIRE:  # nothing was taken: locks go with their connection
                    continue
                raise after_loss(call.method) from None
            if call.method != ACQUIRE:
                return answer
            connection.shared.granted(answer["stamp"])
            return Granted(answer, connection)


_LINK = "__rapyer_link__"


def async_link() -> AsyncLink:
    loop = asyncio.get_running_loop()
    link: AsyncLink | None = getattr(loop, _LINK, None)
    if link is None:
        for other in list(_links):
            if other.loop.is_closed():
                other.forget()
        link = AsyncLink(loop)
        setattr(loop, _LINK, link)
    return link


async def run(steps: Steps[T]) -> T:
    """Carries steps out under asyncio."""
    try:
        call = next(steps)
        link = async_link()
        while True:
            try:
                answer = await link.perform(call)
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def write(method: str, params: list[Any], model: type) -> Awaitable[Any]:
    """The answer to one request that changes something, under no lock: what `run` makes of it, but short, as
    nothing is to be done when its caller is cancelled. The caller has to expect `lost`."""
    link: AsyncLink | None = getattr(asyncio.get_running_loop(), _LINK, None)
    connection = link.connection if link is not None else None
    if connection is None or not connection.open or model not in connection.declared:
        return async_link().perform(Call(method, params, (model,)))
    try:
        return connection.send(method, params, True)[1]
    except (OverflowError, TypeError, ValueError) as error:
        raise refused(method, params, error) from error


# --- blocking ---------------------------------------------------------------------------------


class BlockingConnection(_Connection):
    """One connection, for one thread."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(path)
            self.features = frozenset(self.call(*_hello())["features"])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.open = False
        self.sock.close()
        self.wire.abandon(lambda: _lost(self.wire))

    def _attach(self, path: str) -> None:
        self.shared.take(attach(path, self._tell_hits))

    def call(self, method: str, params: list[Any], read: bool = False) -> Any:
        got: list[tuple[RapyerError | None, Any]] = []
        reply = Reply(lambda error, result: got.append((error, result)))
        request, data = self.wire.request(method, params, reply, not read and method != ACQUIRE)
        try:
            self.sock.sendall(data)
        except BaseException:  # in the middle of a message: nothing can follow it
            self.close()
            raise
        try:
            while not got:
                more = self.sock.recv(1 << 17)
                if not more:
                    raise _lost(self.wire)
                self.wire.feed(more)
        except (OSError, RapyerError):
            self.close()
            raise
        except BaseException:  # an interrupt: the answer is not waited for any more
            self._drop(request, method, read, got)
            raise
        error, result = got[0]
        if error is not None:
            raise error
        return result

    def _drop(self, request: int, method: str, read: bool, got: list[tuple[RapyerError | None, Any]]) -> None:
        if method != ACQUIRE:
            if read:
                self.wire.forget(request)
            return

        def granted(error: RapyerError | None, result: Any) -> None:
            if error is None and self.open:
                self._tell("lock.release", [result["token"]])

        if got:  # the answer came just before
            granted(*got[0])
            return
        self.wire.forget(request, Reply(granted))
        if "lock.cancel" in self.features:
            self._tell("lock.cancel", [request])

    def _tell(self, method: str, params: list[Any]) -> None:
        """Sends a request whose answer nobody waits for."""
        self._push(self.wire.request(method, params, Reply(lambda error, result: None))[1])

    def _push(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            self.close()

    def declare(self, models: tuple[type, ...]) -> None:
        declarations = _declarations(self.declared, self.features, models)
        if declarations:
            self.call("define", declarations)
        self.declared.update(models)


class BlockingLink:
    """The way of one thread to the daemon."""

    def __init__(self) -> None:
        self.connection: BlockingConnection | None = None

    def open(self) -> BlockingConnection:
        connection = self.connection
        if connection is not None and connection.open:
            return connection
        deadline = time.monotonic() + settings.connect_timeout
        for pause in _pauses():
            path = settings.path()
            try:
                self.connection = BlockingConnection(path)
                return self.connection
            except (OSError, _Lost, Nonsense) as error:
                if time.monotonic() + pause > deadline:
                    raise _unreachable(path, error) from error
            time.sleep(pause)
        raise AssertionError

    def perform(self, call: Call) -> Any:
        while True:
            if call.link is not None:
                connection = call.link
                if not connection.open:
                    raise after_loss(call.method)
            else:
                if call.method == "doc.get" and len(call.params) == 1:
                    found = look_blocking(call.params[0])
                    if found is not None:
                        return found
                connection = self.open()
            try:
                if call.models and not connection.declared.issuperset(call.models):
                    connection.declare(call.models)
            except (OSError, _Lost, Nonsense):
                if call.link is not None:
                    raise after_loss(call.method) from None
                continue
            try:
                answer = connection.call(call.method, call.params, call.read)
            except (OverflowError, TypeError, ValueError) as error:
                raise refused(call.method, call.params, error) from error
            except (OSError, _Lost, Nonsense):
                if call.link is None and (call.read or call.method == ACQUIRE):
                    continue
                raise after_loss(call.method) from None
            if call.method != ACQUIRE:
                return answer
            connection.shared.granted(answer["stamp"])
            return Granted(answer, connection)


class _Threads(threading.local):
    def __init__(self) -> None:
        self.link = BlockingLink()


_threads = _Threads()
_blocking: weakref.WeakSet[BlockingLink] = weakref.WeakSet()


def blocking_link() -> BlockingLink:
    link = _threads.link
    if link not in _blocking:
        _blocking.add(link)
    return link


def look_blocking(key: str) -> dict[str, Any] | None:
    """A document in shared memory, None if it is to be asked for by this thread."""
    connection = _threads.link.connection
    return connection.look(key) if connection is not None and connection.open else None


def run_blocking(steps: Steps[T]) -> T:
    """Carries steps out in this thread, which waits."""
    try:
        call = next(steps)
        link = blocking_link()
        while True:
            try:
                answer = link.perform(call)
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


# --- both -------------------------------------------------------------------------------------

Runner = Callable[[Steps[Any]], Any]


def close_all() -> None:
    """Closes the connections of this thread and of the running loop, if there are some."""
    link = _threads.link
    if link.connection is not None:
        link.connection.close()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    mine: AsyncLink | None = getattr(loop, _LINK, None)
    if mine is not None and mine.connection is not None:
        mine.connection.close()


def declare_again() -> None:
    """What models say of themselves has changed: every connection tells it before it is used again."""
    links: list[AsyncLink | BlockingLink] = [*_links, *_blocking]
    for link in links:
        if link.connection is not None:
            link.connection.declared.clear()


# A child must not touch the transports of its parent: their loop's epoll is shared. It closes its
# copies of the sockets, so that the daemon notices the parent's end, and keeps the rest as it is.
_inherited: list[Any] = []


def _forget_parent() -> None:
    for link in list(_links):
        if link.connection is not None:
            _inherited.append(link.connection)
        link.forget()
    for blocking in list(_blocking):
        if blocking.connection is not None:
            blocking.connection.open = False
            blocking.connection.sock.close()
        blocking.connection = None
    _blocking.clear()
    forget_context()


os.register_at_fork(after_in_child=_forget_parent)

__all__ = [
    "AsyncLink",
    "BlockingLink",
    "Coroutine",
    "NotSupportedError",
    "Runner",
    "close_all",
    "run",
    "run_blocking",
    "write",
]
