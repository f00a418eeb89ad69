"""One request as a value, and the runners that carry out what is made of requests.

Everything this package does with the daemon is written once, as a generator that yields calls and
gets their answers. How a call comes to its answer is the runner's business: `links` has one for
asyncio and one that blocks.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Call:
    """A request: its method and params, the model classes that must be declared before it, and
    whether it may be sent again when the connection breaks before its answer (``read``).

    ``link``: the connection it must go through, None for any. What belongs to a connection, the
    token of a lock, is worth nothing on another.
    """

    __slots__ = ("link", "method", "models", "params", "read")

    def __init__(
        self,
        method: str,
        params: list[Any],
        models: tuple[type, ...] = (),
        read: bool = False,
        link: Any = None,
    ) -> None:
        self.method = method
        self.params = params
        self.models = models
        self.read = read
        self.link = link


class Granted:
    """The answer to a ``lock.acquire``: what the daemon said, and the connection it is good on."""

    __slots__ = ("answer", "link")

    def __init__(self, answer: dict[str, Any], link: Any) -> None:
        self.answer = answer
        self.link = link


Steps = Generator[Call, Any, T]


def done(value: T) -> Steps[T]:
    """Steps that need no call."""
    return value
    yield  # pragma: no cover
