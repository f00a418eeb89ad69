"""MessagePack-RPC: requests to bytes, bytes to answers. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgpack

from rapyerd.errors import BadValueError, RapyerError, error_of
from rapyerd.tracing import traceparent

# The daemon's limit for one answer is 64 MiB; a little more than that must fit.
MAX_BUFFER = 80 << 20


class Waiter(Protocol):
    """Who waits for an answer: an asyncio future, or what is like it."""

    def done(self) -> bool: ...

    def set_result(self, result: Any, /) -> None: ...

    def set_exception(self, error: Any, /) -> None: ...


class Reply:
    """A waiter that no loop knows. `then`: called with the error, or None, and the result."""

    __slots__ = ("_done", "_then")

    def __init__(self, then: Callable[[RapyerError | None, Any], None]) -> None:
        self._then = then
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: Any, /) -> None:
        self._done = True
        self._then(None, result)

    def set_exception(self, error: Any, /) -> None:
        self._done = True
        self._then(error, None)


class Nonsense(RapyerError):
    """What came is no message."""


def refused(method: str, params: list[Any], error: Exception) -> RapyerError:
    """What to tell of a request that has no bytes: where in it is what is too large, or has no form there."""
    pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack

    def find(value: Any, where: str, depth: int = 0) -> str:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in pairs:
            try:
                pack(inner)
            except (OverflowError, TypeError, ValueError):
                place = f"{where}.{name}" if where else str(name)
                if isinstance(value, (list, tuple)):  # which parameter it is says nothing
                    place = where if depth == 0 else f"{where}[{name}]"
                if isinstance(inner, (dict, list, tuple)):
                    return find(inner, place, depth + 1)
                return f"{place}: {repr(inner)[:80]}: " if place else f"{repr(inner)[:80]}: "
        return ""

    of_field = len(params) > 2 and isinstance(params[1], str)  # key, path, arguments
    where = find(params[2:], params[1]) if of_field else find(params, "")
    return BadValueError(f"BAD_VALUE: {method}: {where}{error}")


class Wire:
    """One connection's messages: who waits for which answer.

    A waiter is told once, unless it is done. Whoever does not want its answer any more says so with
    `forget`; an answer that nobody waits for is dropped.
    """

    def __init__(self) -> None:
        self._pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
        # Timestamps as they are: their nanoseconds say more than a datetime holds.
        self._unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, timestamp=0, max_buffer_size=MAX_BUFFER
        )
        self.waiters: dict[int, Waiter] = {}
        self.writes: dict[int, Waiter] = {}  # the waiters of what changes something
        self._next = 0
        # Called with the method and the params of what is told without a question.
        self.heard: Callable[[str, list[Any]], None] | None = None
        # What the other side said to nobody in particular, which is why it closes the connection.
        self.last_words = ""

    def request(
        self, method: str, params: list[Any], waiter: Waiter, writes: bool = False
    ) -> tuple[int, bytes]:
        """The id and the bytes of a request, with the trace that it belongs to."""
        request = self._next + 1
        data: bytes = self._pack((0, request, method, params))
        belongs = traceparent()
        if belongs is not None:  # of the next request, this one
            data = self.notification("trace", [belongs]) + data
        self._next = request
        if writes:
            self.writes[request] = waiter
        else:
            self.waiters[request] = waiter
        return request, data

    def notification(self, method: str, params: list[Any]) -> bytes:
        """The bytes of what is told, and not answered."""
        data: bytes = self._pack((2, method, params))
        return data

    def feed(self, data: bytes) -> None:
        """Takes bytes in, and tells those whose answers are there. `Nonsense` when they are no messages."""
        unpacker = self._unpacker
        waiters, writes = self.waiters, self.writes
        try:
            unpacker.feed(data)
            for message in unpacker:
                if message[0] == 1:
                    _, request, said, result = message
                    waiter = writes.pop(request, None) or waiters.pop(request, None)
                    if waiter is not None:
                        if waiter.done():
                            continue
                        if said is None:
                            waiter.set_result(result)
                        else:
                            waiter.set_exception(error_of(said))
                    elif request is None:
                        self.last_words = str(said)
                elif message[0] == 2 and self.heard is not None:
                    self.heard(message[1], message[2])
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            self.last_words = f"that is no MessagePack-RPC ({error!r})"
            raise Nonsense(self.last_words) from error

    def forget(self, request: int, instead: Waiter | None = None) -> None:
        """Nobody waits for the answer to what changes nothing any more, or somebody else does."""
        if request in self.waiters:
            if instead is None:
                del self.waiters[request]
            else:
                self.waiters[request] = instead

    def abandon(self, error: Callable[[], RapyerError]) -> None:
        """The connection is gone: no answer will come."""
        waiters = [*self.waiters.values(), *self.writes.values()]
        self.waiters.clear()
        self.writes.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error())

    @property
    def waiting(self) -> int:
        """How many answers are due."""
        return len(self.waiters) + len(self.writes)
