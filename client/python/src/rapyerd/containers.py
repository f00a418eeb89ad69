"""What lists and dicts that are values of fields have in common.

A change made with the plain methods is local; in a pipeline, and under a lock, it is gathered as the
operation that it is. The methods with an ``a`` in front carry it out in the daemon, too. Where the
daemon knows no operation for a change, the whole of the container is sent.

A container in another one, and a pydantic model in a container, are values for the daemon, in which it
carries out the same operations. They have no pks: an element of a list is found by where it stands here.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rapyerd.call import Call, Steps
from rapyerd.config import ActionGroup
from rapyerd.errors import CorruptedModelError, KeyNotFound
from rapyerd.kinds import RedisType
from rapyerd.place import field_path, key_of, live, lodger, pk_of, place_of, quoted, root_of
from rapyerd.record import Recorder, before, current_pipeline, held
from rapyerd.scalars import (
    RedisBytes,
    RedisDatetime,
    RedisDecimal,
    RedisFloat,
    RedisInt,
    RedisStr,
    load_field,
    save_field,
)
from rapyerd.ttl import touch
from rapyerd.write import submit

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rapyerd.codec import Codec

_EXACT = {
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "datetime": dt.datetime,
    "decimal": decimal.Decimal,
}
_WRAPPED = {
    "int": RedisInt,
    "float": RedisFloat,
    "str": RedisStr,
    "bytes": RedisBytes,
    "datetime": RedisDatetime,
    "decimal": RedisDecimal,
}
_ANYWHERE = ("list.append", "list.extend", "list.clear")  # wherever the other elements stand
_MADE = frozenset(_WRAPPED.values())


class Container(RedisType):
    """A list, dict, set or queue: `__rapyer_owner__`, the model that it is in, and `__rapyer_name__`, its
    field; or the container that it is in, and the key there, None in a list."""

    __rapyer_owner__: Any
    __rapyer_name__: Any
    __rapyer_codec__: Codec
    _twin: Any = None  # what elements are that are models without pks

    def _bind(self, owner: Any, name: Any, codec: Codec) -> None:
        self.__rapyer_owner__ = owner
        self.__rapyer_name__ = name
        self.__rapyer_codec__ = codec
        item = codec.item
        if item is not None and item.kind == "maybe":
            self._twin = item.model
        elif item is not None and item.plain is not None:
            from rapyerd.schema import twin_of

            self._twin = twin_of(item.plain)

    def _run(self, steps: Steps[Any]) -> Any:
        return type(root_of(self.__rapyer_owner__)).__rapyer_run__(steps)

    @property
    def _atomic(self) -> bool:
        """Do its elements have pks?"""
        item = self.__rapyer_codec__.item
        return item is not None and item.kind == "model"

    @property
    def _lodges(self) -> bool:
        """Do elements know where they are?"""
        item = self.__rapyer_codec__.item
        return item is not None and (item.kind == "model" or self._twin is not None or bool(item.holds))

    def _inside(self) -> bool:
        """Is it in another container?"""
        return isinstance(self.__rapyer_owner__, Container)

    def _path(self) -> str:
        """The path of the daemon's."""
        if self._inside():
            return self.__rapyer_owner__._path_of(self, self.__rapyer_name__)  # type: ignore[no-any-return]
        return field_path(self.__rapyer_owner__, self.__rapyer_name__)

    def _path_of(self, element: Any, key: Any) -> str:
        """The path of an element: by its key, its pk, or by where it is."""
        if key is None:
            key = pk_of(element) if self._atomic else self._position(element)
        elif not self._atomic and self.get(key) is not element:  # type: ignore[attr-defined]
            raise KeyNotFound(f"the element is not in {self.field_path} any more")
        return self._element_path(key)

    def _position(self, element: Any) -> int:
        for index, other in enumerate(self):  # type: ignore[arg-type,var-annotated]
            if other is element:
                return index
        raise KeyNotFound(f"the element is not in {self.field_path} any more")

    def _field(self) -> tuple[Any, str]:
        """The model and its field that it is in, be it with others around it."""
        owner, name = self.__rapyer_owner__, self.__rapyer_name__
        while isinstance(owner, Container):
            owner, name = owner.__rapyer_owner__, owner.__rapyer_name__
        return owner, name

    @property
    def key(self) -> str:
        """The key of the document."""
        return key_of(root_of(self.__rapyer_owner__))

    @property
    def field_path(self) -> str:
        """Where in its document it is: ``.field``, ``.field[0]``, ``.field.key``."""
        owner, name = self.__rapyer_owner__, self.__rapyer_name__
        if not isinstance(owner, Container):
            return f".{field_path(owner, name)}"
        return owner.field_path + (f"[{owner._position(self)}]" if name is None else f".{name}")

    @property
    def json_path(self) -> str:
        """Where Rapyer keeps it in its document: ``$.field``."""
        return f"${self.field_path}"

    @property
    def field_name(self) -> str:
        name = self.__rapyer_name__
        return f"[{self.__rapyer_owner__._position(self)}]" if name is None else f".{name}"

    def save(self) -> Awaitable[Any]:
        """Sends the whole content, in place of what is there."""
        if self._inside():
            return self._run(self._save_inside())  # type: ignore[no-any-return]
        return self._run(save_field(self.__rapyer_owner__, self.__rapyer_name__))  # type: ignore[no-any-return]

    def load(self) -> Awaitable[Any]:
        """Reads the content."""
        return self._run(self._load_content())  # type: ignore[no-any-return]

    asave = save
    aload = load

    def _save_inside(self) -> Steps[Any]:
        root, now = self._at_once()
        if now:
            yield from self._send(root, "set", self.__rapyer_codec__.put(self))
        else:
            root, recorder = self._before()
            self._gather(root, recorder, "set")
        return self

    def _load_content(self) -> Steps[Any]:
        if not self._inside():
            return (yield from load_field(self.__rapyer_owner__, self.__rapyer_name__))
        root = root_of(self)
        if not live(root):
            return None
        link = next((lock.link for lock in held(key_of(root))), None)
        said = yield Call("doc.load", [key_of(root), self._path()], (type(root),), True, link)
        self._absorb(self.__rapyer_codec__.take(said))
        yield from touch([root], ActionGroup.READ)
        return self

    def _absorb(self, content: Any) -> None:
        raise NotImplementedError

    def _absorbed(self, old: Any, read: Any) -> Any:
        """The element that was here, with what was read in its place; what was read where that is another."""
        from rapyerd.model import absorb

        if old is None or read is None:
            return read
        item = self.__rapyer_codec__.item
        if item is not None and item.holds:
            old._absorb(read)
            return old
        if self._atomic and pk_of(old) != pk_of(read):
            return read
        absorb(old, read)
        return old

    # --- elements -----------------------------------------------------------------------------

    def _checked(self, value: Any) -> Any:
        """An element as it may stand here; an error where it may not."""
        item = self.__rapyer_codec__.item
        if item is None:
            return value
        if item.kind == "model":
            if isinstance(value, item.model):
                return value
            return item.model.model_validate(value) if isinstance(value, dict) else item.validate(value)
        if type(value) is _EXACT.get(item.kind):
            return value
        if type(value) in _MADE:
            value = value.clone()
        return item.validate(value)

    def _lodged(self, value: Any, name: str | None) -> Any:
        """An element that lives here from now on."""
        item = self.__rapyer_codec__.item
        if item is None or value is None:
            return value
        if item.holds:
            return self._wrapped(value, name, item)
        atomic = item.model or self._twin
        if atomic is None:
            return value
        recorder = current_pipeline()
        if recorder is not None and isinstance(value, atomic):
            recorder.remember(value)
        return lodger(self, name, value, atomic)

    def _wrapped(self, value: Any, name: str | None, item: Codec) -> Any:
        """A container that lives in this one."""
        from rapyerd.dicts import RedisDict
        from rapyerd.lists import RedisList
        from rapyerd.sets import RedisSet

        if getattr(value, "__rapyer_owner__", None) is self and value.__rapyer_name__ == name:
            return value
        made: Any = {"list": RedisList, "dict": RedisDict, "set": RedisSet}[item.holds]
        return made._of(self, name, item, value)

    def _evict(self, values: Iterable[Any], recorder: Recorder | None = None) -> None:
        """Elements that live here no more: drafts again."""
        if not self._atomic and self._twin is None:
            return
        for value in values:
            if value is not None and place_of(value).owner is self:
                if recorder is not None:
                    recorder.remember(value)
                place_of(value).owner = None

    def _put(self, value: Any) -> Any:
        """An element as it goes over the wire."""
        item = self.__rapyer_codec__.item
        assert item is not None
        return item.put(value)

    def _of_element(self, name: Any, value: Any) -> Any:
        """A number or string as an element that can be worked with by itself."""
        made = type(value)
        if made not in _MADE:
            item = self.__rapyer_codec__.item
            if item is None or made is not _EXACT.get(item.kind):
                return value
            value = _WRAPPED[item.kind](value)
            self._store(name, value)
        value._owner, value._name = self, name
        return value

    def _store(self, name: Any, value: Any) -> None:
        raise NotImplementedError

    def _element_path(self, name: Any) -> str:
        if not isinstance(name, str):
            self._check_positions("list.set")
        where = quoted(name) if isinstance(name, str) else f"[{name}]"
        return f"{self._path()}{where}"

    def _made_of(self, name: Any, there: Any, value: Any) -> Any:
        """What ``+=`` and its like have done to an element that is being assigned."""
        made = getattr(value, "_made", None)
        if made and value._owner is self and value._base is there:
            return made
        return None

    def _gather_made(self, root: Any, recorder: Recorder, name: Any, made: Any) -> None:
        for method, argument in made:
            op = [method, key_of(root), self._element_path(name), argument]
            recorder.add(root, op, None)
        owner, field = self._field()
        recorder.written[id(owner), field] = owner

    def _save_element(self, name: Any, value: Any) -> Steps[Any]:
        yield from self._set_item(name, value.clone())
        return value

    def _load_element(self, name: Any) -> Steps[Any]:
        yield from self._load_content()
        return self[name]  # type: ignore[index]

    def _increase_element(self, name: Any, value: Any, amount: Any) -> Steps[Any]:
        root, now = self._at_once()
        if not now:
            yield from self._set_item(name, self._checked(value.clone() + amount))
        else:
            item = self.__rapyer_codec__.item
            assert item is not None
            op = ["num.incr", key_of(root), self._element_path(name), value._wired(amount)]
            results = yield from submit(root, [op])
            self._store(name, item.take(results[-1]))
        return self[name]  # type: ignore[index]

    def _set_item(self, name: Any, value: Any) -> Steps[None]:
        raise NotImplementedError

    # --- changes ------------------------------------------------------------------------------

    def _before(self) -> tuple[Any, Recorder | None]:
        return before(self, self.__rapyer_owner__)

    def _gather(self, root: Any, recorder: Recorder | None, method: str, *args: Any) -> None:
        """A change that was just made here, for who gathers changes."""
        if recorder is None:
            return
        self._check_positions(method)
        if method == "set":
            args = (self.__rapyer_codec__.put(self),)
        recorder.add(root, [method, key_of(root), self._path(), *args], self._field())

    def _at_once(self) -> tuple[Any, bool]:
        """For a change that is to be carried out: the document, and whether that is now."""
        root = root_of(self.__rapyer_owner__)
        return root, live(root) and current_pipeline() is None

    def _send(self, root: Any, method: str, *args: Any) -> Steps[Any]:
        self._check_positions(method)
        results = yield from submit(root, [[method, key_of(root), self._path(), *args]])
        return results[-1]

    def _lacks(self) -> bool:
        """Were elements left out that could not be read?"""
        owner, name = self._field()
        failed = place_of(owner).failed
        return failed is not None and name in failed

    def _check_positions(self, method: str) -> None:
        """Refuses what goes by positions, or replaces all, where elements are missing here."""
        if self._lacks() and (method == "set" or (method.startswith("list.") and method not in _ANYWHERE)):
            raise CorruptedModelError(
                f"{self.key}: elements of {self.field_path} could not be read, so it is not known what "
                "stands where; assign a value to the field"
            )
