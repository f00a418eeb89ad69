"""Dicts that are values of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from rapyerd.call import Steps
from rapyerd.containers import Container
from rapyerd.errors import KeyNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rapyerd.codec import Codec

T = TypeVar("T")
_ABSENT: Any = object()


class RedisDict(dict[str, T], Container, Generic[T]):
    """A dict that is the value of a field. Elements that are atomic models live in it, under their keys."""

    @classmethod
    def _of(cls, owner: Any, name: str, codec: Codec, content: dict[str, Any]) -> RedisDict[Any]:
        out: RedisDict[Any] = cls(content)
        out._bind(owner, name, codec)
        if out._lodges:
            for key, element in content.items():
                dict.__setitem__(out, key, out._lodged(element, key))
        return out

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        arguments = get_args(source)
        plain: Any = dict
        return handler.generate_schema(plain[str, arguments[-1]] if arguments else plain)

    def _absorb(self, content: dict[str, Any]) -> None:
        """Takes the content that was read; elements that are here already stay the same objects."""
        if self._lodges:
            for key, element in content.items():
                content[key] = self._absorbed(dict.get(self, key), element)
        dict.clear(self)
        dict.update(self, content)
        if self._lodges:
            for key, element in content.items():
                dict.__setitem__(self, key, self._lodged(element, key))

    def clone(self) -> dict[str, T]:
        return dict(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (dict(self),)

    def copy(self) -> dict[str, T]:
        return dict(self)

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> dict[str, T]:
        import copy

        return {key: copy.deepcopy(value, memo) for key, value in self.items()}

    def _wired(self, key: str, value: Any) -> tuple[Any, Any]:
        value = self._lodged(value, key)
        return value, self._put(value)

    # --- local, gathered in pipelines and under locks -----------------------------------------

    def __getitem__(self, key: str) -> Any:
        return self._of_element(key, dict.__getitem__(self, key))

    def _store(self, name: Any, value: Any) -> None:
        dict.__setitem__(self, name, value)

    def _set_item(self, name: Any, value: Any) -> Steps[None]:
        return (yield from self._update({name: value}))

    def __setitem__(self, key: str, value: T) -> None:
        there = dict.get(self, key)
        if value is there and isinstance(value, Container):
            return  # `m.lines["a"] += [...]` has done it
        made = self._made_of(key, there, value)
        value = self._checked(value)
        root, recorder = self._before()
        if made is not None:
            dict.__setitem__(self, key, value)
            if recorder is not None:
                self._gather_made(root, recorder, key, made)
            return
        self._evict([old for old in (self.get(key),) if old is not value], recorder)
        value = self._lodged(value, key)
        dict.__setitem__(self, key, value)
        if recorder is not None:
            self._gather(root, recorder, "dict.set", key, self._put(value))

    def __delitem__(self, key: str) -> None:
        root, recorder = self._before()
        self._evict((self[key],), recorder)
        dict.__delitem__(self, key)
        self._gather(root, recorder, "dict.del", key)

    def update(self, *others: Any, **more: Any) -> None:
        """Sets all pairs."""
        pairs = {key: self._checked(value) for key, value in dict(*others, **more).items()}
        if not pairs:
            return
        root, recorder = self._before()
        self._evict([self[key] for key in pairs if key in self and self[key] is not pairs[key]], recorder)
        pairs = {key: self._lodged(value, key) for key, value in pairs.items()}
        dict.update(self, pairs)
        if recorder is not None:
            self._gather(
                root, recorder, "dict.update", {key: self._put(value) for key, value in pairs.items()}
            )

    def __ior__(self, other: Any) -> RedisDict[T]:  # type: ignore[override,misc]
        self.update(other)
        return self

    def setdefault(self, key: str, default: Any = None, /) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, default: Any = _ABSENT, /) -> Any:
        if key not in self:
            if default is _ABSENT:
                raise KeyError(key)
            return default
        root, recorder = self._before()
        value = dict.pop(self, key)
        self._evict((value,), recorder)
        self._gather(root, recorder, "dict.del", key)
        return value

    def popitem(self) -> tuple[str, T]:
        root, recorder = self._before()
        key, value = dict.popitem(self)
        self._evict((value,), recorder)
        self._gather(root, recorder, "dict.del", key)
        return key, value

    def clear(self) -> None:
        root, recorder = self._before()
        self._evict(self.values(), recorder)
        dict.clear(self)
        self._gather(root, recorder, "dict.clear")

    # --- in the daemon ------------------------------------------------------------------------

    def aset_item(self, key: str, value: T) -> Awaitable[None]:
        """Sets the value of a key."""
        return self._run(self._update({key: value}))  # type: ignore[no-any-return]

    def aupdate(self, other: Mapping[str, T] | None = None, /, **more: T) -> Awaitable[None]:
        """Sets all pairs."""
        return self._run(self._update({**(other or {}), **more}))  # type: ignore[no-any-return]

    def adel_item(self, key: str) -> Awaitable[bool]:
        """Removes a key; gives back whether it was there."""
        return self._run(self._del(key))  # type: ignore[no-any-return]

    def apop(self, key: str, default: Any = None) -> Awaitable[Any]:
        """Takes the value of a key out, the default if it is not there."""
        return self._run(self._pop(key, default))  # type: ignore[no-any-return]

    def apopitem(self) -> Awaitable[Any]:
        """Takes a value out, any, and gives it back; KeyError when there is none."""
        return self._run(self._popitem())  # type: ignore[no-any-return]

    def aclear(self) -> Awaitable[None]:
        """Removes all keys."""
        return self._run(self._clear())  # type: ignore[no-any-return]

    def _update(self, pairs: dict[str, Any]) -> Steps[None]:
        root, now = self._at_once()
        if not now:
            self.update(pairs)
            return
        if not pairs:
            return
        checked = {key: self._checked(value) for key, value in pairs.items()}
        wired = {key: self._wired(key, value) for key, value in checked.items()}
        try:
            if len(wired) == 1:
                ((key, (_, value)),) = wired.items()
                yield from self._send(root, "dict.set", key, value)
            else:
                yield from self._send(root, "dict.update", {key: value for key, (_, value) in wired.items()})
        except BaseException:
            self._evict(value for value, _ in wired.values())
            raise
        self._evict([self[key] for key in wired if key in self and self[key] is not wired[key][0]])
        dict.update(self, {key: value for key, (value, _) in wired.items()})

    def _del(self, key: str) -> Steps[bool]:
        root, now = self._at_once()
        if not now:
            # Also what only the daemon has is removed.
            there = key in self
            root, recorder = self._before()
            self._evict((dict.pop(self, key, None),), recorder)
            self._gather(root, recorder, "dict.del", key)
            return there
        there = bool((yield from self._send(root, "dict.del", key)))
        self._evict((dict.pop(self, key, None),))
        return there

    def _pop(self, key: str, default: Any) -> Steps[Any]:
        root, now = self._at_once()
        if not now:
            if key not in self:  # what only the daemon has is taken out as well
                yield from self._del(key)
            return self.pop(key, default)
        try:
            said = yield from self._send(root, "dict.pop", key)
        except KeyNotFound as error:
            if "document" in str(error):
                raise
            dict.pop(self, key, None)
            return default
        return self._taken(key, said)

    def _popitem(self) -> Steps[Any]:
        root, now = self._at_once()
        if not now:
            return self.popitem()[1]
        try:
            key, said = yield from self._send(root, "dict.popitem")
        except KeyNotFound as error:
            if "document" in str(error):
                raise
            raise KeyError("popitem(): dictionary is empty") from error
        return self._taken(key, said)

    def _taken(self, key: str, said: Any) -> Any:
        item = self.__rapyer_codec__.item
        assert item is not None
        here = dict.pop(self, key, None)
        if item.kind == "model" and here is not None:
            self._evict((here,))
            return here
        return item.take(said)

    def _clear(self) -> Steps[None]:
        root, now = self._at_once()
        if not now:
            self.clear()
            return
        yield from self._send(root, "dict.clear")
        self._evict(self.values())
        dict.clear(self)
