"""Access to the fields of a model: values are made what they can do when they are first touched."""

from __future__ import annotations

import datetime as dt
import decimal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from rapyerd.described import schema_of
from rapyerd.dicts import RedisDict
from rapyerd.lists import RedisList
from rapyerd.place import lodger, place_of
from rapyerd.queues import RedisPriorityQueue
from rapyerd.scalars import RedisBytes, RedisDatetime, RedisDecimal, RedisFloat, RedisInt, RedisStr
from rapyerd.sets import RedisSet

if TYPE_CHECKING:
    from rapyerd.codec import Codec

# The values that are what they should be already.
SETTLED = frozenset(
    (
        bool,
        type(None),
        RedisInt,
        RedisFloat,
        RedisStr,
        RedisBytes,
        RedisDatetime,
        RedisDecimal,
        RedisList,
        RedisDict,
    )
)
_SCALARS: dict[str, tuple[type, Any]] = {
    "int": (int, RedisInt),
    "float": (float, RedisFloat),
    "str": (str, RedisStr),
    "bytes": (bytes, RedisBytes),
    "datetime": (dt.datetime, RedisDatetime),
    "decimal": (decimal.Decimal, RedisDecimal),
}
Wrap = Callable[[Any, Any], Any]


class _Building(threading.local):
    """Classes are being made: their fields are no attributes of them yet."""

    depth = 0


building = _Building()


def _as_it_is(model: Any, value: Any) -> Any:
    return value


def wrapper_of(name: str, codec: Codec | None) -> Wrap:
    """What makes of a bare value of a field what can be worked with."""
    if codec is None:
        return _as_it_is
    if codec.kind in _SCALARS:
        bare, made = _SCALARS[codec.kind]

        def scalar(model: Any, value: Any) -> Any:
            if type(value) is not bare and not (bare is float and type(value) is int):
                return value
            out = made(value)
            out._owner = model
            out._name = name
            model.__dict__[name] = out
            return out

        return scalar
    if codec.holds == "list":

        def as_list(model: Any, value: Any) -> Any:
            if type(value) is not list:
                return value
            out = model.__dict__[name] = RedisList._of(model, name, codec, value)
            return out

        return as_list
    if codec.kind == "queue":

        def as_queue(model: Any, value: Any) -> Any:
            if value is None or (
                isinstance(value, RedisPriorityQueue) and getattr(value, "__rapyer_owner__", None) is model
            ):
                return value
            out = model.__dict__[name] = RedisPriorityQueue._of(model, name, codec, value)
            return out

        return as_queue
    if codec.holds == "set":

        def as_set(model: Any, value: Any) -> Any:
            if isinstance(value, RedisSet) and getattr(value, "__rapyer_owner__", None) is model:
                return value
            if value is None:
                return value
            out = model.__dict__[name] = RedisSet._of(model, name, codec, value)
            return out

        return as_set
    if codec.holds == "dict":

        def as_dict(model: Any, value: Any) -> Any:
            if type(value) is not dict:
                return value
            out = model.__dict__[name] = RedisDict._of(model, name, codec, value)
            return out

        return as_dict
    if codec.model is not None or codec.plain is not None:
        from rapyerd.schema import twin_of

        atomic = codec.model or twin_of(codec.plain)
        if atomic is None:
            return _as_it_is

        def inner(model: Any, value: Any) -> Any:
            if not isinstance(value, BaseModel):
                return value
            place = getattr(value, "__rapyer_place__", None)
            if place is not None and place.owner is model:
                return value
            out = model.__dict__[name] = lodger(model, name, value, atomic)
            return out

        return inner
    return _as_it_is


class Field:
    """A field of a model class: on an instance its value, on the class what it is found by."""

    __slots__ = ("_wrap", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._wrap: Wrap | None = None

    def __get__(self, model: Any, owner: Any) -> Any:
        if model is None:
            if building.depth:
                raise AttributeError(self.name)
            from rapyerd.find import expression_of

            return expression_of(owner, self.name)
        try:
            value = model.__dict__[self.name]
        except KeyError:
            raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}") from None
        if type(value) in SETTLED:
            return value
        wrap = self._wrap
        if wrap is None:
            wrap = self._wrap = wrapper_of(self.name, schema_of(owner).codecs.get(self.name))
        return wrap(model, value)

    def __set__(self, model: Any, value: Any) -> None:
        model.__dict__[self.name] = value

    def __delete__(self, model: Any) -> None:
        del model.__dict__[self.name]


__all__ = ["SETTLED", "Field", "building", "place_of", "wrapper_of"]
