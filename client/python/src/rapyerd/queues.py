"""Priority queues: `RedisPriorityQueue[T]`, members with a number that says who is first.

In the daemon a queue is of the type ``sorted``. Here it is a dict: the member as it goes over the wire,
packed, and its priority.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

import msgpack

from rapyerd.call import Call, Steps
from rapyerd.config import ActionGroup
from rapyerd.containers import Container
from rapyerd.kinds import SpecialFieldType
from rapyerd.place import key_of, live, root_of
from rapyerd.record import held
from rapyerd.ttl import touch

if TYPE_CHECKING:
    from rapyerd.codec import Codec

T = TypeVar("T")


@dataclasses.dataclass
class PriorityQueueItem(Generic[T]):
    value: T
    priority: float


def packed(wired: Any) -> bytes:
    return msgpack.packb(wired, use_bin_type=True)  # type: ignore[no-any-return]


def unpacked(member: bytes) -> Any:
    return msgpack.unpackb(member, raw=False, strict_map_key=False, timestamp=0)


def encode(content: dict[bytes, float]) -> list[list[Any]]:
    """A queue as it goes over the wire: pairs."""
    return [[unpacked(member), priority] for member, priority in content.items()]


def decode(pairs: list[list[Any]]) -> dict[bytes, float]:
    return {packed(wired): priority for wired, priority in pairs}


@functools.lru_cache(maxsize=512)
def _member_codec(annotation: Any) -> Codec:
    from rapyerd.codec import codec_of

    return codec_of(annotation, False, (), False)


class RedisPriorityQueue(dict[bytes, float], Container, SpecialFieldType, Generic[T]):
    """A priority queue that is the value of a field: the lowest priority is first."""

    @classmethod
    def _of(cls, owner: Any, name: str, codec: Codec, content: dict[bytes, float]) -> RedisPriorityQueue[Any]:
        out: RedisPriorityQueue[Any] = cls(content)
        out._bind(owner, name, codec)
        return out

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        arguments = get_args(source)
        annotation = arguments[0] if arguments else Any

        def make(value: Any) -> Any:
            """Another queue, or pairs of members and priorities."""
            if isinstance(value, dict):
                return value
            out: RedisPriorityQueue[Any] = cls()
            for pair in value if isinstance(value, (list, tuple)) else ():
                member, priority = (
                    (pair.value, pair.priority) if isinstance(pair, PriorityQueueItem) else pair
                )
                codec = _member_codec(annotation)
                dict.__setitem__(out, packed(codec.put(codec.validate(member))), float(priority))
            return out

        def pairs(value: Any) -> list[Any]:
            codec = _member_codec(annotation)
            return [(codec.take(unpacked(member)), priority) for member, priority in value.items()]

        return core_schema.no_info_plain_validator_function(
            make, serialization=core_schema.plain_serializer_function_ser_schema(pairs)
        )

    def _absorb(self, content: dict[bytes, float]) -> None:
        dict.clear(self)
        dict.update(self, content)

    def clone(self) -> RedisPriorityQueue[T]:
        return RedisPriorityQueue(self)

    __copy__ = clone

    def __deepcopy__(self, memo: Any) -> RedisPriorityQueue[T]:
        return RedisPriorityQueue(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return RedisPriorityQueue, (dict(self),)

    def _member(self, wired: Any) -> Any:
        item = self.__rapyer_codec__.item
        return wired if item is None else item.take(wired)

    def _wired(self, value: Any) -> Any:
        return self._put(self._checked(value))

    def apush(self, value: T, priority: float) -> Awaitable[None]:
        """Adds a member, or gives it another priority."""
        return self._run(self._push([(value, priority)]))  # type: ignore[no-any-return]

    def apush_many(self, items: Iterable[PriorityQueueItem[T]]) -> Awaitable[None]:
        """Adds several."""
        return self._run(self._push([(i.value, i.priority) for i in items]))  # type: ignore[no-any-return]

    def aincrease(self, value: T, amount: float = 1) -> Awaitable[float]:
        """Adds to a member's priority, 0 where it is not there, and gives back the new one."""
        return self._run(self._increase(value, amount))  # type: ignore[no-any-return]

    def apop(self) -> Awaitable[T | None]:
        """Takes the first one out; None when there is none."""
        return self._run(self._take_first())  # type: ignore[no-any-return]

    def apeek(self) -> Awaitable[T | None]:
        """The first one, which stays."""
        return self._run(self._peek())  # type: ignore[no-any-return]

    def asize(self) -> Awaitable[int]:
        """How many there are in the daemon."""
        return self._run(self._size())  # type: ignore[no-any-return]

    def aitems(self) -> Awaitable[list[PriorityQueueItem[T]]]:
        """All of them, in order."""
        return self._run(self._in_order())  # type: ignore[no-any-return]

    def aremove(self, value: T) -> Awaitable[bool | None]:
        """Removes a member; gives back whether it was there, None in a pipeline."""
        return self._run(self._remove(value))  # type: ignore[no-any-return]

    def aclear(self) -> Awaitable[None]:
        """Removes all members."""
        return self._run(self._clear())  # type: ignore[no-any-return]

    adelete_special = aclear

    def _push(self, items: list[tuple[Any, float]]) -> Steps[None]:
        pairs = [[self._wired(value), float(priority)] for value, priority in items]
        if not pairs:
            return
        method, args = ("sorted.push_many", [pairs]) if len(pairs) > 1 else ("sorted.push", pairs[0])
        root, now = self._at_once()
        if now:
            yield from self._send(root, method, *args)
        else:
            root, recorder = self._before()
            self._gather(root, recorder, method, *args)
        dict.update(self, decode(pairs))

    def _increase(self, value: Any, amount: float) -> Steps[float]:
        wired = self._wired(value)
        member = packed(wired)
        root, now = self._at_once()
        if now:
            priority: float = yield from self._send(root, "sorted.incr", wired, float(amount))
        else:
            priority = self.get(member, 0.0) + amount
            root, recorder = self._before()
            self._gather(root, recorder, "sorted.incr", wired, float(amount))
        dict.__setitem__(self, member, priority)
        return priority

    def _remove(self, value: Any) -> Steps[bool | None]:
        wired = self._wired(value)
        member = packed(wired)
        root, now = self._at_once()
        if now:
            there = bool((yield from self._send(root, "sorted.remove", wired)))
        else:
            root, recorder = self._before()
            there = member in self
            self._gather(root, recorder, "sorted.remove", wired)
        dict.pop(self, member, None)
        return None if live(root) and not now else there  # in a pipeline it is not known yet

    def _clear(self) -> Steps[None]:
        root, now = self._at_once()
        if now:
            yield from self._send(root, "sorted.clear")
        else:
            root, recorder = self._before()
            self._gather(root, recorder, "sorted.clear")
        dict.clear(self)

    def _take_first(self) -> Steps[Any]:
        root = root_of(self.__rapyer_owner__)
        if not live(root):
            if not self:
                return None
            first = min(self, key=lambda member: (self[member], member))
            dict.pop(self, first)
            return self._member(unpacked(first))
        # Its answer is wanted at once, in a pipeline as well. With a count nothing is no error.
        pairs = yield from self._send(root, "sorted.pop_min", 1)
        if not pairs:
            return None
        dict.pop(self, packed(pairs[0][0]), None)
        return self._member(pairs[0][0])

    def _ask(self, method: str, *args: Any) -> Steps[Any]:
        root = root_of(self.__rapyer_owner__)
        key = key_of(root)
        link = next((lock.link for lock in held(key)), None)
        path = self._path()
        said = yield Call(method, [key, path, *args], (type(root),), True, link)
        yield from touch([root], ActionGroup.READ)
        return said

    def _ordered(self) -> list[list[Any]]:
        """What a draft holds, in order."""
        members = sorted(self, key=lambda member: (self[member], member))
        return [[unpacked(member), self[member]] for member in members]

    def _peek(self) -> Steps[Any]:
        if live(root_of(self.__rapyer_owner__)):
            pairs = yield from self._ask("sorted.peek", 1)
        else:
            pairs = self._ordered()
        return self._member(pairs[0][0]) if pairs else None

    def _size(self) -> Steps[int]:
        if live(root_of(self.__rapyer_owner__)):
            return (yield from self._ask("sorted.size"))  # type: ignore[no-any-return]
        return len(self)

    def _in_order(self) -> Steps[list[PriorityQueueItem[Any]]]:
        if live(root_of(self.__rapyer_owner__)):
            pairs = yield from self._ask("sorted.range", 0)
        else:
            pairs = self._ordered()
        return [PriorityQueueItem(self._member(wired), priority) for wired, priority in pairs]
