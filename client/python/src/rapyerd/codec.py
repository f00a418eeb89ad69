"""How a field is kept: its type in the daemon, and the way of its values there and back."""

from __future__ import annotations

import collections.abc
import contextlib
import datetime as dt
import decimal
import enum
import functools
import pickle
import sys
import types
import uuid
from collections.abc import Callable
from typing import Annotated, Any, ForwardRef, Literal, TypeVar, Union, get_args, get_origin

from msgpack import Timestamp
from pydantic import AwareDatetime, BaseModel, NaiveDatetime, TypeAdapter

from rapyerd import queues, texts
from rapyerd.described import schema_of
from rapyerd.errors import CantSerializeRedisValueError
from rapyerd.keys import PickleAnnotation
from rapyerd.kinds import SpecialFieldType
from rapyerd.queues import RedisPriorityQueue
from rapyerd.references import ForeignKey, reference
from rapyerd.scalars import RedisBytes, RedisDatetime, RedisDecimal, RedisFloat, RedisInt, RedisStr
from rapyerd.values import from_timestamp, from_wire, to_timestamp, to_wire

Step = Callable[[Any], Any]
# What a codec raises when it cannot make a value of what is stored.
UNREADABLE = (CantSerializeRedisValueError, ValueError)
SCALARS: dict[type, str] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    bytes: "bytes",
    dt.datetime: "datetime",
}
MADE: dict[Any, type] = {
    RedisInt: int,
    RedisFloat: float,
    RedisStr: str,
    RedisBytes: bytes,
    RedisDatetime: dt.datetime,
    RedisDecimal: decimal.Decimal,
}
# Kept as a text that the daemon knows; those in their exact classes alone.
TEXTS: dict[Any, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    decimal.Decimal: ("decimal", texts.from_decimal, decimal.Decimal),
    dt.date: ("date", dt.date.isoformat, dt.date.fromisoformat),
    dt.time: ("time", texts.from_time, texts.to_time),
    dt.timedelta: ("timedelta", texts.from_timedelta, texts.to_timedelta),
    uuid.UUID: ("uuid", str, uuid.UUID),
    NaiveDatetime: ("datetime_naive", dt.datetime.isoformat, texts.to_datetime),
    AwareDatetime: ("datetime_zoned", texts.from_zoned, texts.to_datetime),
}
# Kept as a str, which pydantic makes a value of again.
AS_TEXT = (uuid.UUID, decimal.Decimal, dt.date, dt.time)


# A model that contains itself has no name yet while it is described: its codecs get it afterwards.
_unnamed: dict[Any, list[Codec]] = {}


def _placeholder(model: Any) -> str:
    return f"({model.__module__}.{model.__qualname__})"


def name_codecs(model: Any, name: str) -> None:
    """A model that was being described has its name."""
    for codec in _unnamed.pop(model, ()):
        codec.wire = codec.wire.replace(_placeholder(model), name)


class Codec:
    """`wire`: the type's text in a declaration. `kind`: what a field of this type can do: one of the
    scalars, list, dict, set, queue, model (atomic), maybe (a model or None), or value. `encode`, `decode`:
    None where the value goes as it is. `item`: of a container; `holds`: which one it is, be it that it may
    be None. `model`: of one; `atomic`: there are atomic models in it. `plain`: a pydantic model that is a
    value. `depends`: the classes that must be declared first."""

    __slots__ = (
        "_adapter",
        "atomic",
        "decode",
        "depends",
        "encode",
        "holds",
        "item",
        "kind",
        "model",
        "plain",
        "source",
        "wire",
    )

    def __init__(
        self,
        source: Any,
        wire: str,
        kind: str,
        encode: Step | None = None,
        decode: Step | None = None,
        item: Codec | None = None,
        model: Any = None,
        depends: tuple[type, ...] = (),
        plain: Any = None,
    ) -> None:
        self.source = source
        self.wire = wire
        self.kind = kind
        self.encode = encode
        self.decode = decode
        self.item = item
        self.model = model
        self.depends = depends
        self.plain = plain
        self.atomic: bool = model is not None or (item is not None and item.atomic)
        self.holds = wire.removeprefix("optional<").partition("<")[0] if item is not None else ""
        self._adapter: TypeAdapter[Any] | None = None
        for model, unnamed in _unnamed.items():
            if _placeholder(model) in wire:
                unnamed.append(self)

    @property
    def adapter(self) -> TypeAdapter[Any]:
        if self._adapter is None:
            self._adapter = TypeAdapter(self.source)
        return self._adapter

    def validate(self, value: Any) -> Any:
        return self.adapter.validate_python(value)

    def put(self, value: Any) -> Any:
        """A value as it goes over the wire. A set or a queue is there always, None is an empty one."""
        if value is None:
            return [] if self.kind in ("set", "queue") else None
        return value if self.encode is None else self.encode(value)

    def take(self, value: Any) -> Any:
        """What came over the wire as a value."""
        return value if self.decode is None or value is None else self.decode(value)

    def readable(self, value: Any) -> Any:
        """What came over the wire, of which something cannot be read: a container without those elements,
        else None."""
        item = self.item
        if item is None or self.kind == "queue":
            return None
        pairs = value.items() if self.holds == "dict" else enumerate(value)
        found: dict[Any, Any] = {}
        for key, element in pairs:
            with contextlib.suppress(*UNREADABLE):
                found[key] = item.take(element)
        if self.holds == "dict":
            return found
        return set(found.values()) if self.holds == "set" else list(found.values())


def codec_of(
    annotation: Any, optional: bool = False, within: tuple[type, ...] = (), field: bool = True
) -> Codec:
    """The codec of an annotation. `optional`: None is a value, too. `within`: the models that are
    being described, to notice those that contain themselves. `field`: it stands in a field of an atomic
    model itself, where a container or a model can be changed in place."""
    source = annotation
    while get_origin(annotation) is Annotated:
        annotation, *marks = get_args(annotation)
        if any(isinstance(mark, PickleAnnotation) for mark in marks):
            return Codec(
                source, "bytes" if not optional else "optional<bytes>", "value", pickle.dumps, _unpickle
            )
    if isinstance(annotation, (str, ForwardRef)) and within:
        # Python 3.10 leaves the name in list["Node"] as it is.
        annotation = source = _class_named(annotation, within[0]) or Any
    if isinstance(annotation, TypeVar):
        annotation = annotation.__bound__ or Any
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        if len(members) < len(get_args(annotation)):
            inner: Any = Union[tuple(members)]  # noqa: UP007
            if field and _special(inner):
                return codec_of(inner, False, within, field)
            return _optional(source, codec_of(inner, True, within, False))
        return _value(source)
    codec = _container(source, annotation, origin, within, field) or _plain(source, annotation, within, field)
    return _optional(source, codec) if optional and not (field and _special(annotation)) else codec


def _special(annotation: Any) -> bool:
    """A set or queue that Rapyer keeps in a key of its own: it is there always, if only empty."""
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and issubclass(kind, SpecialFieldType)


def _optional(source: Any, codec: Codec) -> Codec:
    if codec.wire.startswith("optional<") or codec.wire == "any":
        wire = codec.wire
    else:
        wire = f"optional<{codec.wire}>"
    kind = codec.kind if codec.kind in SCALAR_KINDS else "value"
    if codec.model is not None:
        kind = "maybe"
    take, put = codec.decode, codec.encode
    return Codec(source, wire, kind, put, take, codec.item, codec.model, codec.depends, codec.plain)


SCALAR_KINDS = frozenset(("int", "float", "str", "bytes", "datetime", "decimal"))


def _value(source: Any) -> Codec:
    """Kept as whatever pydantic makes of it, replaced whole."""
    adapter: list[TypeAdapter[Any]] = []

    def known() -> TypeAdapter[Any]:
        if not adapter:
            adapter.append(TypeAdapter(source))
        return adapter[0]

    def encode(value: Any) -> Any:
        return to_wire(known().dump_python(value, warnings=False))

    def decode(value: Any) -> Any:
        try:
            return known().validate_python(from_wire(value))
        except ValueError as error:
            raise CantSerializeRedisValueError(f"what is stored is no {source}: {error}") from error

    return Codec(source, "any", "value", encode, decode)


def _unpickle(value: bytes) -> Any:
    try:
        return pickle.loads(value)
    except Exception as error:
        raise CantSerializeRedisValueError(
            f"what is stored is no pickle that can be read: {error}"
        ) from error


def _plain(source: Any, annotation: Any, within: tuple[type, ...], field: bool) -> Codec:
    annotation = MADE.get(annotation, annotation)
    if annotation in SCALARS:
        name = SCALARS[annotation]
        if name == "datetime":
            return Codec(source, name, name, to_timestamp, _datetime)
        return Codec(source, name, name if name != "bool" else "value")
    if isinstance(annotation, type) and annotation in TEXTS:
        name, put, take = TEXTS[annotation]
        return Codec(source, name, name if name == "decimal" else "value", put, take)
    if (get_origin(annotation) or annotation) is ForeignKey:
        return _reference(source, annotation, within)
    if annotation is Any or isinstance(annotation, (str, ForwardRef)):
        return Codec(source, "any", "value", to_wire, from_wire)
    if get_origin(annotation) is Literal:
        return _of_choices(source, get_args(annotation))
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return _of_choices(source, [member.value for member in annotation])
        if issubclass(annotation, BaseModel):
            return _model(source, annotation, within, field)
        if issubclass(annotation, AS_TEXT):
            value = _value(source)
            return Codec(source, "str", "value", value.encode, value.decode)
        if issubclass(annotation, str) and annotation.__module__.startswith("rapyerd"):
            return Codec(source, "str", "value", None, annotation)
    supertype = getattr(annotation, "__supertype__", None)
    if supertype is not None:  # NewType
        return codec_of(supertype, False, within, field)
    if within and getattr(getattr(within[0], "Meta", None), "pickle", False) and _python_only(annotation):
        return Codec(source, "bytes", "value", pickle.dumps, _unpickle)
    return _value(source)


def _python_only(annotation: Any) -> bool:
    """A class or a function: what has no form outside Python."""
    kind = get_origin(annotation) or annotation
    return kind is type or kind is collections.abc.Callable


def _class_named(annotation: Any, outer: type) -> Any:
    """The class that an annotation of this model gives only the name of; None if there is none (yet)."""
    name = annotation if isinstance(annotation, str) else annotation.__forward_arg__
    if outer.__name__ == name:
        return outer
    return vars(sys.modules.get(outer.__module__, types)).get(name)


def _reference(source: Any, annotation: Any, within: tuple[type, ...]) -> Codec:
    """Of a reference: to documents of one model, or to any that a key may name."""
    from rapyerd import schema

    target: Any = (get_args(annotation) or (Any,))[0]
    if isinstance(target, (str, ForwardRef)) and within:
        target = _class_named(target, within[0])
    decode = functools.partial(reference, annotation)
    if not isinstance(target, type) or not schema.is_atomic(target) or target.__dict__.get("__parameters__"):
        return Codec(source, "str", "value", lambda value: str(value.target_key), decode)
    if schema.is_described(target):
        name = schema_of(target).name
    else:
        _unnamed.setdefault(target, [])
        name = _placeholder(target)
    model: Any = target
    return Codec(source, f"ref<{name}>", "value", lambda value: model._key(str(value.target_key)), decode)


def _of_choices(source: Any, choices: Any) -> Codec:
    value = _value(source)
    kinds = {type(choice) for choice in choices}
    wire = SCALARS.get(kinds.pop(), "any") if len(kinds) == 1 else "any"
    return Codec(source, wire if wire in ("str", "int") else "any", "value", value.encode, value.decode)


def _datetime(value: Any) -> Any:
    return from_timestamp(value) if type(value) is Timestamp else value


def _container(
    source: Any, annotation: Any, origin: Any, within: tuple[type, ...], field: bool
) -> Codec | None:
    kind = origin or annotation
    if not isinstance(kind, type):
        return None
    arguments = get_args(annotation)
    if issubclass(kind, list):
        item = codec_of(arguments[0] if arguments else Any, False, within, False)
        return _of_items(source, "list", item, field)
    if issubclass(kind, RedisPriorityQueue):
        if not field:
            return _value(source)
        item = codec_of(arguments[0] if arguments else Any, False, within, False)
        if item.atomic:
            return _value(source)
        return Codec(
            source, f"sorted<{item.wire}>", "queue", queues.encode, queues.decode, item, None, item.depends
        )
    if issubclass(kind, set):
        item = codec_of(arguments[0] if arguments else Any, False, within, False)
        if item.atomic:
            return _value(source)
        put, take = item.encode, item.decode
        encode = (lambda value: [put(v) for v in value]) if put is not None else list
        decode = (lambda value: {take(v) for v in value}) if take is not None else set
        kind = "set" if field else "value"
        return Codec(source, f"set<{item.wire}>", kind, encode, decode, item, None, item.depends)
    if issubclass(kind, dict) and (kind is dict or kind.__module__.startswith("rapyerd")):
        if len(arguments) == 1:
            arguments = (str, *arguments)
        key, inner = arguments if len(arguments) == 2 else (str, Any)
        if not (isinstance(key, type) and issubclass(key, str) and not issubclass(key, enum.Enum)):
            return _value(source)
        return _of_items(source, "dict", codec_of(inner, False, within, False), field)
    return None


def _of_items(source: Any, kind: str, item: Codec, field: bool) -> Codec:
    put, take = item.encode, item.decode
    # What is sent is a copy: what is gathered now may be sent when more was done to it.
    encode: Step = list if kind == "list" else dict
    decode: Step | None = None
    if kind == "list":
        if put is not None:
            encode = lambda value: [None if v is None else put(v) for v in value]  # noqa: E731
        if take is not None:
            decode = lambda value: [None if v is None else take(v) for v in value]  # noqa: E731
    else:
        if put is not None:
            encode = lambda value: {k: None if v is None else put(v) for k, v in value.items()}  # noqa: E731
        if take is not None:
            decode = lambda value: {k: None if v is None else take(v) for k, v in value.items()}  # noqa: E731
    wire = f"{kind}<{item.wire}>"
    return Codec(source, wire, kind if field else "value", encode, decode, item, None, item.depends)


def _of_itself(source: Any, model: Any) -> Codec:
    """The codec of a model that is being described."""
    from rapyerd.place import adopt

    def encode(value: Any) -> Any:
        return adopt(value, model)

    def decode(value: Any) -> Any:
        return schema_of(model).decode(value)

    _unnamed.setdefault(model, [])
    return Codec(source, _placeholder(model), "model", encode, decode, None, model, (model,))


def _model(source: Any, model: Any, within: tuple[type, ...], field: bool) -> Codec:
    from rapyerd import schema

    if model.__dict__.get("__parameters__"):
        return _value(source)
    if schema.is_atomic(model):
        if not schema.is_described(model):
            return _of_itself(source, model)
        described = schema_of(model)
        return Codec(
            source, described.name, "model", described.encode, described.decode, None, model, (model,)
        )
    if any(schema.reaches(model, outer) for outer in within):
        return _value(source)
    if field:
        twin = schema.twin_of(model)
        if twin is not None:
            described = schema_of(twin)
            if described is not None:
                return Codec(
                    source, described.name, "model", described.encode, described.decode, None, twin, (twin,)
                )
    plain = schema.plain_of(model)
    if plain is None:
        return _value(source)
    return Codec(source, plain.name, "value", plain.encode, plain.decode, None, None, (model,), model)
