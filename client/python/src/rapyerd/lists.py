"""Lists that are values of fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar, get_args

from rapyerd.call import Steps
from rapyerd.containers import Container
from rapyerd.place import pk_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rapyerd.codec import Codec

T = TypeVar("T")


class RedisList(list[T], Container, Generic[T]):
    """A list that is the value of a field. Elements that are atomic models live in it, and are found by
    their pks wherever they stand."""

    @classmethod
    def _of(cls, owner: Any, name: str, codec: Codec, content: list[Any]) -> RedisList[Any]:
        out: RedisList[Any] = cls(content)
        out._bind(owner, name, codec)
        if out._lodges:
            for index, element in enumerate(content):
                if element is not None:
                    list.__setitem__(out, index, out._lodged(element, None))
        return out

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        arguments = get_args(source)
        plain: Any = list
        return handler.generate_schema(plain[arguments[0]] if arguments else plain)

    def _absorb(self, content: list[Any]) -> None:
        """Takes the content that was read; elements that are here already stay the same objects."""
        if self._atomic:
            from rapyerd.model import absorb

            here = {pk_of(element): element for element in self}
            for index, element in enumerate(content):
                old = here.get(pk_of(element))
                if old is not None:
                    absorb(old, element)
                    content[index] = old
        elif self._lodges:  # by where they stand
            for index, (old, element) in enumerate(zip(self, content, strict=False)):
                content[index] = self._absorbed(old, element)
        list.__setitem__(self, slice(None), content)
        if self._lodges:
            for index, element in enumerate(content):
                list.__setitem__(self, index, self._lodged(element, None))

    def clone(self) -> list[T]:
        return list(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (list(self),)

    def __copy__(self) -> list[T]:
        return list(self)

    def __deepcopy__(self, memo: Any) -> list[T]:
        import copy

        return [copy.deepcopy(element, memo) for element in self]

    # --- local, gathered in pipelines and under locks -----------------------------------------

    def append(self, value: T, /) -> None:
        value = self._checked(value)
        root, recorder = self._before()
        value = self._lodged(value, None)
        list.append(self, value)
        if recorder is not None:
            self._gather(root, recorder, "list.append", self._put(value))

    def extend(self, values: Iterable[T], /) -> None:
        checked = [self._checked(value) for value in values]
        if not checked:
            return
        root, recorder = self._before()
        checked = [self._lodged(value, None) for value in checked]
        list.extend(self, checked)
        if recorder is not None:
            self._gather(root, recorder, "list.extend", [self._put(value) for value in checked])

    def insert(self, index: SupportsIndex, value: T, /) -> None:
        value = self._checked(value)
        root, recorder = self._before()
        value = self._lodged(value, None)
        at = self._insertion(index)
        list.insert(self, index, value)
        if recorder is not None:
            self._gather(root, recorder, "list.insert", at, self._put(value))

    def _insertion(self, index: SupportsIndex) -> int:
        """The index as the daemon takes it, which cuts none to the list's length."""
        at = index.__index__()
        return at if -len(self) <= at <= len(self) else (0 if at < 0 else len(self))

    def pop(self, index: SupportsIndex = -1, /) -> T:
        root, recorder = self._before()
        value = list.pop(self, index)
        self._evict((value,), recorder)
        self._gather(root, recorder, "list.pop", index.__index__())
        return value

    def remove(self, value: T, /) -> None:
        del self[self.index(value)]

    def clear(self) -> None:
        root, recorder = self._before()
        self._evict(self, recorder)
        list.clear(self)
        self._gather(root, recorder, "list.clear")

    def remove_range(self, start: int, end: int) -> None:
        """Removes the elements from `start` up to, but without, `end`."""
        root, recorder = self._before()
        self._evict(self[start:end], recorder)
        list.__delitem__(self, slice(start, end))
        self._gather(root, recorder, "list.remove_range", start, end)

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        root, recorder = self._before()
        list.sort(self, key=key, reverse=reverse)
        self._gather(root, recorder, "set")

    def reverse(self) -> None:
        root, recorder = self._before()
        list.reverse(self)
        self._gather(root, recorder, "set")

    def __getitem__(self, index: Any) -> Any:
        value = list.__getitem__(self, index)
        return value if isinstance(index, slice) else self._of_element(index, value)

    def _store(self, name: Any, value: Any) -> None:
        list.__setitem__(self, name, value)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            checked = [self._checked(v) for v in value]
            root, recorder = self._before()
            self._evict([v for v in self[index] if not any(v is kept for kept in checked)], recorder)
            list.__setitem__(self, index, [self._lodged(v, None) for v in checked])
            self._gather(root, recorder, "set")
            return
        there = list.__getitem__(self, index)
        if value is there and isinstance(value, Container):
            return  # `m.grid[0] += [...]` has done it
        made = self._made_of(index, there, value)
        value = self._checked(value)
        root, recorder = self._before()
        if made is not None:
            list.__setitem__(self, index, value)
            if recorder is not None:
                self._gather_made(root, recorder, index.__index__(), made)
            return
        if self[index] is not value:
            self._evict((self[index],), recorder)
        value = self._lodged(value, None)
        list.__setitem__(self, index, value)
        if recorder is not None:
            self._gather(root, recorder, "list.set", index.__index__(), self._put(value))

    def __delitem__(self, index: Any) -> None:
        root, recorder = self._before()
        self._evict(self[index] if isinstance(index, slice) else (self[index],), recorder)
        list.__delitem__(self, index)
        if isinstance(index, slice):
            self._gather(root, recorder, "set")
        else:
            self._gather(root, recorder, "list.pop", index.__index__())

    def __iadd__(self, values: Iterable[T]) -> RedisList[T]:  # type: ignore[override,misc]
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> RedisList[T]:
        root, recorder = self._before()
        list.__imul__(self, times)
        self._gather(root, recorder, "set")
        return self

    # --- in the daemon ------------------------------------------------------------------------

    def aappend(self, value: T) -> Awaitable[None]:
        """Appends an element."""
        return self._run(self._append(value))  # type: ignore[no-any-return]

    def aextend(self, values: Iterable[T]) -> Awaitable[None]:
        """Appends several elements."""
        return self._run(self._extend(values))  # type: ignore[no-any-return]

    def ainsert(self, index: int, value: T) -> Awaitable[None]:
        """Inserts an element before the one that has this index."""
        return self._run(self._insert(index, value))  # type: ignore[no-any-return]

    def apop(self, index: int = -1) -> Awaitable[T | None]:
        """Takes an element out, and gives it back; None when the list is empty."""
        return self._run(self._pop(index))  # type: ignore[no-any-return]

    def aclear(self) -> Awaitable[None]:
        """Removes all elements."""
        return self._run(self._clear())  # type: ignore[no-any-return]

    def aset_item(self, index: int, value: T) -> Awaitable[None]:
        """Replaces one element."""
        return self._run(self._set_item(index, value))  # type: ignore[no-any-return]

    def aremove_range(self, start: int, end: int) -> Awaitable[None]:
        """Removes the elements from `start` up to, but without, `end`."""
        return self._run(self._remove_range(start, end))  # type: ignore[no-any-return]

    def _wired(self, value: Any) -> tuple[Any, Any]:
        """An element that will live here, and its form on the wire."""
        value = self._lodged(value, None)
        return value, self._put(value)

    def _append(self, value: Any) -> Steps[None]:
        return (yield from self._extend((value,)))

    def _extend(self, values: Iterable[Any]) -> Steps[None]:
        root, now = self._at_once()
        values = list(values)
        if not now:
            if len(values) == 1:
                self.append(values[0])
            else:
                self.extend(values)
            return
        if not values:
            return
        checked = [self._checked(value) for value in values]
        pairs = [self._wired(value) for value in checked]
        try:
            if len(pairs) == 1:
                yield from self._send(root, "list.append", pairs[0][1])
            else:
                yield from self._send(root, "list.extend", [wired for _, wired in pairs])
        except BaseException:
            self._evict(value for value, _ in pairs)
            raise
        list.extend(self, [value for value, _ in pairs])

    def _insert(self, index: int, value: Any) -> Steps[None]:
        root, now = self._at_once()
        if not now:
            self.insert(index, value)
            return
        value = self._checked(value)
        value, wired = self._wired(value)
        try:
            yield from self._send(root, "list.insert", index, wired)
        except BaseException:
            self._evict((value,))
            raise
        list.insert(self, index, value)

    def _pop(self, index: int) -> Steps[Any]:
        from rapyerd.errors import OutOfRangeError

        root, now = self._at_once()
        if not now:
            if not self:  # what only the daemon has is taken out as well
                root, recorder = self._before()
                self._gather(root, recorder, "list.pop_many", -1 if index == 0 else 1)
                return None
            return self.pop(index)
        try:
            said = yield from self._send(root, "list.pop", index)
        except OutOfRangeError:
            if index in (0, -1):  # there is none at all
                return None
            raise
        item = self.__rapyer_codec__.item
        assert item is not None
        value = item.take(said)
        if item.kind == "model":
            pk = pk_of(value)
            for at, element in enumerate(self):
                if pk_of(element) == pk:
                    list.pop(self, at)
                    self._evict((element,))
                    return element
        elif -len(self) <= index < len(self):
            self._evict((list.pop(self, index),))
        return value

    def _clear(self) -> Steps[None]:
        root, now = self._at_once()
        if not now:
            self.clear()
            return
        yield from self._send(root, "list.clear")
        self._evict(self)
        list.clear(self)

    def _set_item(self, name: int, value: Any) -> Steps[None]:
        root, now = self._at_once()
        if not now:
            self[name] = value
            return
        value = self._checked(value)
        value, wired = self._wired(value)
        try:
            yield from self._send(root, "list.set", name, wired)
        except BaseException:
            self._evict((value,))
            raise
        if -len(self) <= name < len(self):
            self._evict((self[name],))
            list.__setitem__(self, name, value)

    def _remove_range(self, start: int, end: int) -> Steps[None]:
        root, now = self._at_once()
        if not now:
            self.remove_range(start, end)
            return
        yield from self._send(root, "list.remove_range", start, end)
        self._evict(self[start:end])
        list.__delitem__(self, slice(start, end))
