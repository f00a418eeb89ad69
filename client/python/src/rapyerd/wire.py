"""MessagePack-RPC: requests to bytes, bytes to answers. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgpack

from rapyerd.errors import RapyerError, error_of

# The daemon's limit for one answer is 64 MiB; a little more than that must fit.
MAX_BUFFER = 80 << 20

Answer = Callable[["RapyerError | None", Any], None]


class Nonsense(RapyerError):
    """What came is no message."""


class Wire:
    """One connection's messages: who waits for which answer.

    A waiter is called once, with an error or a result. Whoever does not want its answer any more
    says so with `forget`; an answer that nobody waits for is dropped.
    """

    def __init__(self) -> None:
        self._pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
        # Timestamps as they are: their nanoseconds say more than a datetime holds.
        self._unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, timestamp=0, max_buffer_size=MAX_BUFFER
        )
        self.waiters: dict[int, Answer] = {}
        self._next = 0
        # Called with the method and the params of what is told without a question.
        self.heard: Callable[[str, list[Any]], None] | None = None
        # What the other side said to nobody in particular, which is why it closes the connection.
        self.last_words = ""

    def request(self, method: str, params: list[Any], waiter: Answer) -> tuple[int, bytes]:
        """The id and the bytes of a request."""
        data = self._pack((0, self._next + 1, method, params))
        self._next += 1
        self.waiters[self._next] = waiter
        return self._next, data

    def notification(self, method: str, params: list[Any]) -> bytes:
        """The bytes of what is told, and not answered."""
        data: bytes = self._pack((2, method, params))
        return data

    def feed(self, data: bytes) -> None:
        """Takes bytes in, and calls those whose answers are there. `Nonsense` when they are no messages."""
        unpacker = self._unpacker
        waiters = self.waiters
        try:
            unpacker.feed(data)
            for message in unpacker:
                if message[0] == 1:
                    _, request, said, result = message
                    waiter = waiters.pop(request, None)
                    if waiter is not None:
                        waiter(None if said is None else error_of(said), result)
                    elif request is None:
                        self.last_words = str(said)
                elif message[0] == 2 and self.heard is not None:
                    self.heard(message[1], message[2])
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            self.last_words = f"that is no MessagePack-RPC ({error!r})"
            raise Nonsense(self.last_words) from error

    def forget(self, request: int, instead: Answer | None = None) -> None:
        """Nobody waits for this answer any more, or somebody else does."""
        if request in self.waiters:
            if instead is None:
                del self.waiters[request]
            else:
                self.waiters[request] = instead

    def abandon(self, error: Callable[[], RapyerError]) -> None:
        """The connection is gone: no answer will come."""
        waiters: Iterable[Answer] = list(self.waiters.values())
        self.waiters.clear()
        for waiter in waiters:
            waiter(error(), None)

    @property
    def waiting(self) -> int:
        """How many answers are due."""
        return len(self.waiters)
