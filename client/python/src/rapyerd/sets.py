"""Sets that are values of fields."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from rapyerd.call import Call, Steps
from rapyerd.config import ActionGroup
from rapyerd.containers import Container
from rapyerd.kinds import SpecialFieldType
from rapyerd.place import key_of, live, root_of
from rapyerd.record import current_pipeline, held
from rapyerd.ttl import touch

if TYPE_CHECKING:
    from rapyerd.codec import Codec

T = TypeVar("T")


class RedisSet(set[T], Container, SpecialFieldType, Generic[T]):
    """A set that is the value of a field."""

    @classmethod
    def _of(cls, owner: Any, name: str, codec: Codec, content: Any) -> RedisSet[Any]:
        out: RedisSet[Any] = cls(content)
        out._bind(owner, name, codec)
        return out

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        arguments = get_args(source)
        inner = handler.generate_schema(arguments[0]) if arguments else core_schema.any_schema()
        return core_schema.no_info_after_validator_function(cls, core_schema.set_schema(inner))

    def _absorb(self, content: Any) -> None:
        set.clear(self)
        set.update(self, content)

    def clone(self) -> RedisSet[T]:
        return RedisSet(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return RedisSet, (list(self),)

    def copy(self) -> RedisSet[T]:
        return RedisSet(self)

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> RedisSet[T]:
        return RedisSet(self)

    @property
    def _bound(self) -> bool:
        return hasattr(self, "__rapyer_owner__")

    def _members(self, values: Iterable[Any]) -> list[Any]:
        """Members as they may stand here."""
        return [self._checked(value) for value in values]

    def _change(self, method: str, *args: Any) -> None:
        """A change that is about to be made here, for who gathers changes."""
        if self._bound:
            root, recorder = self._before()
            self._gather(root, recorder, method, *args)

    def _puts(self, values: Iterable[Any]) -> list[Any]:
        return [self._put(value) for value in values]

    # --- local, gathered in pipelines and under locks -----------------------------------------

    def add(self, value: T, /) -> None:
        if self._bound:
            value = self._checked(value)
            self._change("set.add", self._put(value))
        set.add(self, value)

    def discard(self, value: Any, /) -> None:
        if self._bound:
            self._change("set.remove", self._put(self._checked(value)))
        set.discard(self, value)

    def remove(self, value: T, /) -> None:
        if (not self._bound or current_pipeline() is None) and value not in self:
            raise KeyError(value)
        self.discard(value)

    def pop(self) -> T:
        value = next(iter(self), None)
        if value is None and None not in self:
            raise KeyError("pop from an empty set")
        self.discard(value)
        return value  # type: ignore[return-value]

    def clear(self) -> None:
        self._change("set.clear")
        set.clear(self)

    def update(self, *others: Iterable[Any]) -> None:
        values = [value for other in others for value in other]
        if self._bound:
            values = self._members(values)
            if values:
                self._change("set.add_many", self._puts(values))
        set.update(self, values)

    def difference_update(self, *others: Iterable[Any]) -> None:
        values = [value for other in others for value in other]
        if self._bound and values:
            self._change("set.subtract", self._puts(self._members(values)))
        set.difference_update(self, values)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        for other in others:
            values = list(other)
            if self._bound:
                self._change("set.intersect", self._puts(self._members(values)))
            set.intersection_update(self, values)

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        values = set(other)
        result = set(self) ^ values
        if self._bound:
            root, recorder = self._before()
            set.clear(self)
            set.update(self, result)
            self._gather(root, recorder, "set")
        else:
            set.clear(self)
            set.update(self, result)

    def __ior__(self, other: Any) -> RedisSet[T]:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __iand__(self, other: Any) -> RedisSet[T]:  # type: ignore[misc]
        self.intersection_update(other)
        return self

    def __isub__(self, other: Any) -> RedisSet[T]:  # type: ignore[misc]
        self.difference_update(other)
        return self

    def __ixor__(self, other: Any) -> RedisSet[T]:  # type: ignore[override,misc]
        self.symmetric_difference_update(other)
        return self

    # --- in the daemon ------------------------------------------------------------------------

    def aadd(self, value: T) -> Awaitable[None]:
        """Adds a member."""
        return self._run(self._add([value]))  # type: ignore[no-any-return]

    def aadd_many(self, values: Iterable[T]) -> Awaitable[None]:
        """Adds members."""
        return self._run(self._add(values))  # type: ignore[no-any-return]

    def aremove(self, value: T) -> Awaitable[bool | None]:
        """Removes a member; gives back whether it was there, None in a pipeline."""
        return self._run(self._remove(value))  # type: ignore[no-any-return]

    def apop(self) -> Awaitable[T | None]:
        """Takes a member out, any; None when there is none."""
        return self._run(self._pop())  # type: ignore[no-any-return]

    def aclear(self) -> Awaitable[None]:
        """Removes all members."""
        return self._run(self._clear())  # type: ignore[no-any-return]

    adelete_special = aclear

    def acontains(self, value: T) -> Awaitable[bool]:
        """Is it a member, in the daemon?"""
        return self._run(self._ask("set.has", value))  # type: ignore[no-any-return]

    def asize(self) -> Awaitable[int]:
        """How many members there are in the daemon."""
        return self._run(self._ask("set.size"))  # type: ignore[no-any-return]

    def amembers(self) -> Awaitable[set[T]]:
        """The members in the daemon."""
        return self._run(self._read())  # type: ignore[no-any-return]

    def aunion(self, *others: RedisSet[T]) -> Awaitable[set[T]]:
        """What is a member of any, in the daemon."""
        return self._run(self._combine(set.union, others))  # type: ignore[no-any-return]

    def aintersect(self, *others: RedisSet[T]) -> Awaitable[set[T]]:
        """What is a member of all, in the daemon."""
        return self._run(self._combine(set.intersection, others))  # type: ignore[no-any-return]

    def adifference(self, *others: RedisSet[T]) -> Awaitable[set[T]]:
        """What is a member of this set alone, in the daemon."""
        return self._run(self._combine(set.difference, others))  # type: ignore[no-any-return]

    def _add(self, values: Iterable[Any]) -> Steps[None]:
        members = self._members(values)
        root, now = self._at_once()
        if not now:
            self.update(members)
            return
        if len(members) == 1:
            yield from self._send(root, "set.add", self._put(members[0]))
        elif members:
            yield from self._send(root, "set.add_many", self._puts(members))
        set.update(self, members)

    def _remove(self, value: Any) -> Steps[bool | None]:
        value = self._checked(value)
        root, now = self._at_once()
        if not now:
            there = value in self
            self.discard(value)
            return None if current_pipeline() is not None else there
        there = yield from self._send(root, "set.remove", self._put(value))
        set.discard(self, value)
        return bool(there)

    def _pop(self) -> Steps[Any]:
        from rapyerd.errors import KeyNotFound

        root, now = self._at_once()
        if not now:
            return self.pop() if self else None
        try:
            said = yield from self._send(root, "set.pop")
        except KeyNotFound:
            yield from self._ask("set.size")  # is it the document that is not there?
            return None
        item = self.__rapyer_codec__.item
        value = said if item is None else item.take(said)
        set.discard(self, value)
        return value

    def _clear(self) -> Steps[None]:
        root, now = self._at_once()
        if not now:
            self.clear()
            return
        yield from self._send(root, "set.clear")
        set.clear(self)

    def _where(self) -> tuple[Any, str, str, Any]:
        root = root_of(self.__rapyer_owner__)
        key = key_of(root)
        link = next((lock.link for lock in held(key)), None)
        return root, key, self._path(), link

    def _ask(self, method: str, *args: Any) -> Steps[Any]:
        args = tuple(self._put(self._checked(value)) for value in args)
        root, key, path, link = self._where()
        if not live(root):
            return args[0] in self if args else len(self)
        said = yield Call(method, [key, path, *args], (type(root),), True, link)
        yield from touch([root], ActionGroup.READ)
        return said

    def _read(self) -> Steps[set[Any]]:
        out = yield from self._content()
        yield from touch([root_of(self.__rapyer_owner__)], ActionGroup.READ)
        return out

    def _content(self) -> Steps[set[Any]]:
        root, key, path, link = self._where()
        if not live(root):
            return set(self)
        said = yield Call("doc.load", [key, path], (type(root),), True, link)
        return set(self.__rapyer_codec__.take(said))

    def _combine(self, how: Any, others: tuple[RedisSet[Any], ...]) -> Steps[set[Any]]:
        root, key, path, link = self._where()
        its = root_of(others[0].__rapyer_owner__) if len(others) == 1 else None
        if its is not None and live(root) and live(its):
            method = {set.union: "union", set.intersection: "intersection", set.difference: "difference"}[how]
            there = {"path": others[0]._path()}
            if its is not root:
                there["key"] = key_of(its)
            classes = tuple(dict.fromkeys((type(root), type(its))))
            said = yield Call(f"set.{method}", [key, path, there], classes, True, link)
            yield from touch([root], ActionGroup.READ)
            return set(self.__rapyer_codec__.take(said))
        out = yield from self._read()
        for other in others:
            out = how(out, (yield from other._content()))
        return out
