"""What lists and dicts that are values of fields have in common.

A change made with the plain methods is local; in a pipeline, and under a lock, it is gathered as the
operation that it is. The methods with an ``a`` in front carry it out in the daemon, too. Where the
daemon knows no operation for a change, or the container is a value for it (it may be None), the whole
of it is sent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rapyerd.call import Steps
from rapyerd.kinds import RedisType
from rapyerd.place import field_path, key_of, live, lodger, place_of, quoted, root_of, twin_for
from rapyerd.record import Recorder, before, current_pipeline, op_at
from rapyerd.scalars import (
    RedisBytes,
    RedisDatetime,
    RedisFloat,
    RedisInt,
    RedisStr,
    load_field,
    save_field,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rapyerd.codec import Codec

_EXACT = {"int": int, "float": float, "str": str, "bytes": bytes, "datetime": dt.datetime}
_WRAPPED = {
    "int": RedisInt,
    "float": RedisFloat,
    "str": RedisStr,
    "bytes": RedisBytes,
    "datetime": RedisDatetime,
}
_MADE = frozenset(_WRAPPED.values())


class Container(RedisType):
    """A list or dict in a field: `__rapyer_owner__`, the model; `__rapyer_name__`, the field."""

    __rapyer_owner__: Any
    __rapyer_name__: str
    __rapyer_codec__: Codec

    def _bind(self, owner: Any, name: str, codec: Codec) -> None:
        self.__rapyer_owner__ = owner
        self.__rapyer_name__ = name
        self.__rapyer_codec__ = codec

    def _run(self, steps: Steps[Any]) -> Any:
        return type(root_of(self.__rapyer_owner__)).__rapyer_run__(steps)

    @property
    def _whole(self) -> bool:
        return self.__rapyer_codec__.kind == "value"

    @property
    def key(self) -> str:
        """The key of the document."""
        return key_of(root_of(self.__rapyer_owner__))

    @property
    def field_path(self) -> str:
        return field_path(self.__rapyer_owner__, self.__rapyer_name__)

    @property
    def json_path(self) -> str:
        """Where Rapyer keeps it in its document: ``$.field``."""
        return f"$.{self.field_path}"

    @property
    def field_name(self) -> str:
        return f".{self.__rapyer_name__}"

    def save(self) -> Awaitable[Any]:
        """Sends the whole content, in place of what is there."""
        return self._run(save_field(self.__rapyer_owner__, self.__rapyer_name__))  # type: ignore[no-any-return]

    def load(self) -> Awaitable[Any]:
        """Reads the content."""
        return self._run(load_field(self.__rapyer_owner__, self.__rapyer_name__))  # type: ignore[no-any-return]

    asave = save
    aload = load

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
        if item is None or item.kind != "model" or value is None:
            return value
        recorder = current_pipeline()
        if recorder is not None and isinstance(value, item.model):
            recorder.remember(value)
        return lodger(self, name, value, item.model)

    def _evict(self, values: Iterable[Any], recorder: Recorder | None = None) -> None:
        """Elements that live here no more: drafts again."""
        item = self.__rapyer_codec__.item
        if item is None or item.kind != "model":
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

    def _as_atomic(self, value: Any) -> Any:
        item = self.__rapyer_codec__.item
        if (
            item is not None
            and item.kind == "model"
            and value is not None
            and not isinstance(value, item.model)
        ):
            return twin_for(item.model, value)
        return value

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
        where = quoted(name) if isinstance(name, str) else f"[{name}]"
        return f"{self.field_path}{where}"

    def _made_of(self, name: Any, there: Any, value: Any) -> Any:
        """What ``+=`` and its like have done to an element that is being assigned."""
        made = getattr(value, "_made", None)
        if made and value._owner is self and value._base is there and not self._whole:
            return made
        return None

    def _gather_made(self, root: Any, recorder: Recorder, name: Any, made: Any) -> None:
        owner = self.__rapyer_owner__
        for method, argument in made:
            op = [method, key_of(root), self._element_path(name), argument]
            recorder.add(root, op, None)
        recorder.written[id(owner), self.__rapyer_name__] = owner

    def _save_element(self, name: Any, value: Any) -> Steps[Any]:
        yield from self._set_item(name, value.clone())
        return value

    def _load_element(self, name: Any) -> Steps[Any]:
        yield from load_field(self.__rapyer_owner__, self.__rapyer_name__)
        return self[name]  # type: ignore[index]

    def _increase_element(self, name: Any, value: Any, amount: Any) -> Steps[Any]:
        from rapyerd.write import submit

        root, now = self._at_once()
        if not now or self._whole:
            yield from self._set_item(name, self._checked(value.clone() + amount))
        else:
            op = ["num.incr", key_of(root), self._element_path(name), amount]
            results = yield from submit(root, [op])
            self._store(name, results[-1])
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
        owner, name = self.__rapyer_owner__, self.__rapyer_name__
        if self._whole or method == "set":
            method, args = "set", (self.__rapyer_codec__.put(self),)
        recorder.add(root, op_at(root, owner, name, method, *args), (owner, name))

    def _at_once(self) -> tuple[Any, bool]:
        """For a change that is to be carried out: the document, and whether that is now."""
        root = root_of(self.__rapyer_owner__)
        return root, live(root) and current_pipeline() is None

    def _send(self, root: Any, method: str, *args: Any) -> Steps[Any]:
        from rapyerd.write import submit

        results = yield from submit(
            root, [op_at(root, self.__rapyer_owner__, self.__rapyer_name__, method, *args)]
        )
        return results[-1]

    def _send_whole(self, root: Any, content: Any) -> Steps[Any]:
        return (yield from self._send(root, "set", self.__rapyer_codec__.put(content)))
