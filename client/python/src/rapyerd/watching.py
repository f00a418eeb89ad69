"""Being told of changes.

    async for change in awatch(user):     a document; awatch(User): all of the class
        user = await User.get(user.key)

Each watch has a connection of its own. Who is slow in taking what is told stops reading there, and
the daemon, which puts together what it could not tell yet, keeps no more than it is allowed to.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from rapyerd.described import schema_of
from rapyerd.errors import UnavailableError, UnsupportedArgumentTypeError
from rapyerd.functions import known_class
from rapyerd.links import AsyncConnection, AsyncLink, lost
from rapyerd.model import AtomicRedisModel
from rapyerd.place import key_of, path_of, root_of

ENOUGH = 100  # changes that were not taken; no more are read
PAUSE = 0.5  # seconds, before a daemon is asked again that could not take the watch


@dataclass(frozen=True)
class Change:
    """Something has changed, or may have."""

    key: str
    """Of the document; ``User:*`` when it may be any."""
    version: int | None
    """What the document has now; 0: it is not there (any more); None: look yourself."""
    paths: tuple[str, ...] | None
    """Places at which, or within which, it has changed; None: anywhere."""

    @property
    def gone(self) -> bool:
        """There is no such document."""
        return self.version == 0


class _Listening(AsyncConnection):
    """A connection that tells."""

    watch: _Watch

    def heard(self, method: str, params: list[Any]) -> None:
        if method == "changed":
            self.watch.heard(params)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.watch.woken.set()


class _Watch:
    def __init__(self, key: str, path: str, models: tuple[type, ...]) -> None:
        self.key, self.path, self.models = key, path, models
        self.woken = asyncio.Event()
        self._told: deque[Change] = deque()
        self._paused = False
        self._link = AsyncLink(asyncio.get_running_loop(), self._make)
        self._began = False

    def _make(self, *args: Any) -> AsyncConnection:
        connection = _Listening(*args)
        connection.watch = self
        return connection

    def heard(self, params: list[Any]) -> None:
        key, version, paths = params[:3]
        self._told.append(Change(key, version, None if paths is None else tuple(paths)))
        self.woken.set()
        if len(self._told) == ENOUGH:
            self._paused = True
            self._read(False)

    def _read(self, on: bool) -> None:
        connection = self._link.connection
        if connection is not None and connection.open:
            connection.read(on)

    async def _begin(self) -> None:
        """What is there when it begins is told first, and again when the connection was lost."""
        connection = await self._link.open()
        await connection.declare(self.models)
        answer = await connection.send("watch", [self.key, self.path])[1]
        self._paused = False
        self._told.appendleft(Change(self.key, answer["version"], None))
        self._began = True

    async def _begin_again(self) -> None:
        while True:
            try:
                return await self._begin()
            except lost:
                pass
            except UnavailableError:  # or busy
                if not self._began:
                    raise
                await asyncio.sleep(PAUSE * (0.5 + random.random() / 2))

    async def next(self) -> Change:
        while not self._told:
            if self._link.connection is None or not self._link.connection.open:
                await self._begin_again()
                continue
            self.woken.clear()
            await self.woken.wait()
        change = self._told.popleft()
        if self._paused and not self._told:
            self._paused = False
            self._read(True)
        return change

    def close(self) -> None:
        connection = self._link.connection
        if connection is not None:
            connection.close()


def _what(what: Any, path: str) -> tuple[str, str, tuple[type, ...]]:
    if isinstance(what, AtomicRedisModel):
        root: Any = root_of(what)
        inner = path_of(what)
        return key_of(root), f"{inner}.{path}" if inner and path else inner or path, (type(root),)
    if isinstance(what, type) and issubclass(what, AtomicRedisModel):
        return f"{schema_of(what).name}:*", path, (what,)
    if isinstance(what, str):
        cls = known_class(what)
        return cls._key(what), path, (cls,)
    raise UnsupportedArgumentTypeError(f"{what!r} is no model, class or key")


async def awatch(
    what: AtomicRedisModel | type[AtomicRedisModel] | str, path: str = ""
) -> AsyncGenerator[Change, None]:
    """Changes of a document (a model, or its key), of a place in it, or of all documents of a class,
    whoever makes them.

    The first is what is there; so reading at each of them misses nothing. When the connection to the
    daemon was lost it is opened again, however long that takes, and the first comes once more. Ends
    with the loop that takes them: at once if it is closed, by ``contextlib.aclosing``.
    """
    watch = _Watch(*_what(what, path))
    try:
        while True:
            yield await watch.next()
    finally:
        watch.close()
