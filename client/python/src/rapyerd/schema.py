"""What a model class is in the daemon: its name, its fields, its declaration.

An atomic model (a subclass of `AtomicRedisModel`) is described by a `Schema`. A plain pydantic model in
a field of an atomic one is atomic as well: its values are made instances of a *twin*, a subclass of both.
In lists and dicts, or where it may be None, it is a value, described by a `PlainSchema`.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from msgpack import Timestamp
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rapyerd import described
from rapyerd.codec import UNREADABLE, Codec, codec_of, name_codecs
from rapyerd.described import descriptions, owners, schema_of
from rapyerd.errors import CorruptedModelError, UnsupportedIndexedFieldError
from rapyerd.find import index_of
from rapyerd.keys import IndexAnnotation, KeyAnnotation, LazyAnnotation, SafeLoadAnnotation, UniqueAnnotation
from rapyerd.kinds import SpecialFieldType
from rapyerd.place import Place, adopt
from rapyerd.settings import settings

_new = object.__new__
_set = object.__setattr__


def is_atomic(model: type) -> bool:
    return getattr(model, "__rapyer_atomic__", False) is True


def marked(info: FieldInfo, mark: type) -> bool:
    """Is the field annotated with such a mark?"""
    return any(isinstance(data, mark) or data is mark for data in info.metadata)


def complete(model: type[BaseModel]) -> None:
    """Resolves annotations that name classes defined later."""
    if not getattr(model, "__pydantic_complete__", True):
        model.model_rebuild()


def annotation_of(info: FieldInfo) -> Any:
    """A field's annotation with the marks that pydantic has taken off."""
    from typing import Annotated

    annotation: Any = info.annotation
    for data in info.metadata:
        annotation = Annotated[annotation, data]
    return annotation


def reaches(model: type, target: type, seen: set[type] | None = None) -> bool:
    """Can a value of this model hold one of that?"""
    if model is target or model is getattr(target, "__rapyer_twin__", None):
        return True
    seen = set() if seen is None else seen
    if model in seen or not isinstance(model, type) or not issubclass(model, BaseModel):
        return False
    seen.add(model)
    complete(model)
    return any(
        reaches(inner, target, seen)
        for info in model.model_fields.values()
        for inner in classes_in(info.annotation)
    )


def classes_in(annotation: Any) -> Iterator[type]:
    """The pydantic models that an annotation names."""
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from classes_in(argument)


# --- names ------------------------------------------------------------------------------------

_names: dict[Any, str] = {}


NAME = re.compile(r"[A-Za-z0-9_]{1,48}(\.[A-Za-z0-9_]{1,48})*", re.ASCII)  # with a namespace, maybe


def _sane(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:48].rstrip("_") or "Model"


def wire_name(model: Any, wanted: str, identity: str) -> str:
    """The name of a class in the daemon. The first class of a name has it; another one, unless it is the
    same once more, gets a suffix made of its identity, which is the same in each process."""
    known = _names.get(model)
    if known is not None:
        return known
    same = model.__dict__.get("__rapyer_same__")
    if same is not None:
        return schema_of(same).name
    here = f"{model.__module__}.{model.__qualname__}"
    name = wanted if NAME.fullmatch(wanted) else _sane(wanted)
    if settings.namespace:
        name = f"{settings.namespace}.{name}"
    owner, its = owners.get(name, (model, identity))
    there = f"{owner.__module__}.{owner.__qualname__}"
    if owner is not model and (there, its) != (here, identity):
        if there != here and getattr(model, "__rapyer_twin__", None) is None:
            warnings.warn(
                f"{here} has the name of {there}; it is kept under another one. Give one of them a name of "
                "its own with class_key_initials().",
                stacklevel=2,
            )
        digest = hashlib.sha1(f"{here} {identity}".encode(), usedforsecurity=False)
        name = f"{name}__{digest.hexdigest()[:8]}"
    owners[name] = (model, identity)
    _names[model] = name
    return name


# --- fields -----------------------------------------------------------------------------------

MISSING = object()
KEYS = ("int", "str", "uuid", "date")  # types of key fields whose text is that of Python's `str`
SPOILT = "@spoilt"  # in a map of the wire, put there by `reading`: the fields that cannot be read
# What stands for a lazy field that was not loaded and has no default: `load` can be called on it.
_EMPTY: dict[str, Any] = {"int": 0, "float": 0.0, "str": "", "bytes": b""}
_BLANK: dict[str, Any] = {**_EMPTY, "decimal": "0", "datetime": Timestamp(0)}


class Fields:
    """What atomic and plain models have in common: fields with codecs, there and back."""

    def __init__(self, model: type[BaseModel], atomic: bool) -> None:
        complete(model)
        self.model = model
        self.codecs: dict[str, Codec] = {}
        self.defaults: dict[str, Any] = {}
        self.safe: set[str] = set()
        self.lazy: set[str] = set()
        self.unique: set[str] = set()
        for name, info in model.model_fields.items():
            if left_out(info):
                continue
            self.codecs[name] = self._codec(name, info, atomic)
            self.defaults[name] = default_of(info)
            if marked(info, SafeLoadAnnotation) or getattr(
                getattr(model, "Meta", None), "safe_load_all", False
            ):
                self.safe.add(name)
            if atomic and marked(info, LazyAnnotation):
                self.lazy.add(name)
            if atomic and marked(info, UniqueAnnotation):
                self.unique.add(name)
        self.excluded = {n: default_of(i) for n, i in model.model_fields.items() if left_out(i)}
        self._always = [n for n, c in self.codecs.items() if c.kind in ("set", "queue")]
        self._puts = [(n, c.encode) for n, c in self.codecs.items()]
        self._takes = [(n, c.decode) for n, c in self.codecs.items() if c.decode is not None]
        self._names = frozenset(self.codecs)
        self._all = set(self.codecs)
        # As it comes mostly; no order is that of a class with fields that are not kept.
        self.indexes: dict[str, Any] = dict(self._indexed()) if atomic else {}
        self._order = tuple(self.codecs) if not self.excluded else ()
        post_init = model.model_post_init is not BaseModel.model_post_init
        self._finish = post_init or bool(model.__private_attributes__)
        self.depends = tuple(dict.fromkeys(d for c in self.codecs.values() for d in c.depends))

    def _codec(self, name: str, info: FieldInfo, atomic: bool) -> Codec:
        annotation = annotation_of(info)
        codec = codec_of(annotation, False, (self.model,), atomic)
        factory = info.default_factory is not None
        if info.default is None and not factory:
            return codec_of(annotation, True, (self.model,), atomic)
        # What a factory makes is made here: for the daemon the field may be missing.
        if (
            factory
            and codec.kind not in ("list", "dict", "set", "queue", "model", "maybe")
            and not marked(info, KeyAnnotation)
        ):
            return codec_of(annotation, True, (self.model,), atomic)
        return codec

    def _indexed(self) -> Iterator[tuple[str, Any]]:
        for name, codec in self.codecs.items():
            for mark in self.model.model_fields[name].metadata:
                if isinstance(mark, IndexAnnotation):
                    by: Any = list(mark.by) if len(mark.by) > 1 else (mark.by or (index_of(codec),))[0]
                    if by is None:
                        raise UnsupportedIndexedFieldError(
                            f"{self.model.__name__}.{name}: there is no index for {codec.wire}"
                        )
                    yield name, by

    def put(self, values: dict[str, Any]) -> dict[str, Any]:
        """An instance's values as a map of the wire."""
        out: dict[str, Any] = {}
        for name, encode in self._puts:
            try:
                value = values[name]
            except KeyError:
                continue
            out[name] = value if encode is None or value is None else encode(value)
        for name in self._always:
            if name in out and out[name] is None:
                out[name] = []
        return out

    def take(self, data: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """A map of the wire, which is used up, as an instance's values; and what could not be read."""
        failed: set[str] = set()
        for name, decode in self._takes:
            value = data.get(name)
            if value is not None:
                try:
                    data[name] = decode(value)
                except UNREADABLE:
                    if name not in self.safe:
                        raise
                    data[name] = self.codecs[name].readable(value)
                    failed.add(name)
        # What is missing and what is too much may be equally many: it is the names that tell.
        if tuple(data) != self._order and (data.keys() != self._names or self.excluded):
            spoilt = data.pop(SPOILT, ())
            data.update(dict.fromkeys(spoilt))
            failed.update(spoilt)
            self._complete(data)
        return data, failed

    def _complete(self, data: dict[str, Any]) -> None:
        for name in self.codecs:
            if name not in data:
                data[name] = self.default(name)
        for name, default in self.excluded.items():
            data[name] = None if default is MISSING else fresh(default)
        for name in [n for n in data if n not in self.codecs and n not in self.excluded]:
            del data[name]  # a field that this class does not know

    def default(self, name: str) -> Any:
        default = self.defaults[name]
        codec = self.codecs[name]
        if default is MISSING:
            if codec.holds and not codec.wire.startswith("optional<"):
                return {"list": list, "set": set}.get(codec.holds, dict)()
            if codec.wire.startswith("optional<") or codec.wire == "any":
                return None
            if codec.kind == "model":
                return codec.take({})
            if name in self.lazy:  # left out for now, whatever it is
                return _EMPTY.get(codec.kind)
            raise CorruptedModelError(f"{self.model.__name__}.{name} is not there, and has no default")
        return fresh(default)

    def build(self, data: dict[str, Any]) -> Any:
        """An instance of a map of the wire, which is used up. What it says was checked by the daemon."""
        values, _ = self.take(data)
        model = self.model
        instance = _new(model)
        _set(instance, "__dict__", values)
        _set(instance, "__pydantic_fields_set__", set(values))
        _set(instance, "__pydantic_extra__", None)
        _set(instance, "__pydantic_private__", None)
        if self._finish:
            instance.model_post_init(None)
        return instance

    def declared(self, info: dict[str, FieldInfo]) -> list[dict[str, Any]]:
        fields = []
        for name, codec in self.codecs.items():
            field: dict[str, Any] = {"name": name, "type": codec.wire}
            default = info[name].default
            if codec.model is None and info[name].default_factory is None and not info[name].is_required():
                try:
                    said = codec.put(default)
                except Exception:
                    said = MISSING
                if said is not MISSING and not (
                    isinstance(said, (list, dict)) and said and codec.wire != "any"
                ):
                    field["default"] = said
            if name in self.lazy:
                field["lazy"] = True
            if name in self.unique:
                field["unique"] = True
            if name in self.indexes:
                field["index"] = self.indexes[name]
            fields.append(field)
        return fields


def left_out(info: FieldInfo) -> bool:
    """A field that pydantic leaves out is not kept; but for those that Rapyer keeps in keys of their own."""
    kinds = [get_origin(a) or a for a in (info.annotation, *get_args(info.annotation))]
    special = any(isinstance(kind, type) and issubclass(kind, SpecialFieldType) for kind in kinds)
    return bool(info.exclude) and not special


def default_of(info: FieldInfo) -> Any:
    return MISSING if info.is_required() else info


def fresh(default: Any) -> Any:
    """The default of a field, for one instance."""
    if isinstance(default, FieldInfo):
        if default.default_factory is not None:
            return default.get_default(call_default_factory=True, validated_data={})
        return copy.deepcopy(default.default)
    return copy.deepcopy(default)


class PlainSchema(Fields):
    """A pydantic model as a value."""

    def __init__(self, model: type[BaseModel]) -> None:
        super().__init__(model, atomic=False)
        identity = repr([(n, c.wire) for n, c in self.codecs.items()])
        self.name = wire_name(model, model.__name__, identity)

    def encode(self, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            value = self.model.model_validate(value)
        return self.put(value.__dict__)

    def decode(self, data: dict[str, Any]) -> Any:
        return self.build(data)

    def declaration(self) -> dict[str, Any]:
        return {"name": self.name, "kind": "plain", "fields": self.declared(self.model.model_fields)}


class Schema(Fields):
    """An atomic model."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, atomic=True)
        self.key = model.__rapyer_key__
        identity = repr([(n, c.wire) for n, c in self.codecs.items()])
        self.name = wire_name(model, model.class_key_initials(), identity)
        self.prefix = f"{self.name}:"

    @functools.cached_property
    def some_safe(self) -> bool:
        """Are there `SafeLoad` fields in it, or in the models in its fields?"""
        models = [c.model for c in self.codecs.values() if c.kind == "model"]
        return bool(self.safe) or any(schema_of(m).some_safe for m in models)

    @functools.cached_property
    def some_lazy(self) -> bool:
        """Are there lazy fields in it, or in any model that may be in it?"""
        below = [self.model]
        for model in below:  # which grows meanwhile
            schema = schema_of(model)
            if schema.lazy:
                return True
            inner = [_model_in(codec) for codec in schema.codecs.values() if codec.atomic]
            below += [found for found in inner if found not in below]
        return False

    def encode(self, value: Any) -> dict[str, Any]:
        return adopt(value, self.model)

    def decode(self, data: dict[str, Any], saved: bool = False) -> Any:
        """`saved`: it is a whole document of the daemon's."""
        pk = data.pop("@pk", None)
        unloaded = {name for name in self.lazy if name not in data} if self.lazy else None
        values, failed = self.take(data)
        model = self.model
        instance = _new(model)
        _set(instance, "__dict__", values)
        _set(instance, "__pydantic_fields_set__", self._all.copy() if not self.excluded else set(values))
        _set(instance, "__pydantic_extra__", None)
        _set(instance, "__pydantic_private__", None)
        if saved or pk is not None or failed or unloaded:
            place = Place()
            _set(instance, "__rapyer_place__", place)
            place.pk = pk
            if saved:
                place.saved = True
            if failed:
                place.failed = failed
            if unloaded:
                place.unloaded = unloaded
        if self._finish:
            instance.model_post_init(None)
        return instance

    def blank(self) -> Any:
        """An instance that stands for any document: operations on it mean those of each."""
        return self.decode({**self._blank(), "@pk": "any"}, True)

    def _blank(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for name, codec in self.codecs.items():
            if codec.kind == "model":
                data[name] = schema_of(codec.model)._blank()
            elif codec.holds and not codec.wire.startswith("optional<"):
                data[name] = {} if codec.holds == "dict" else []
            else:
                data[name] = _BLANK.get(codec.kind)
        return data

    def declaration(self) -> dict[str, Any]:
        declaration: dict[str, Any] = {
            "name": self.name,
            "kind": "atomic",
            "fields": self.declared(self.model.model_fields),
        }
        if self.key is not None and self.codecs[self.key].wire in KEYS:
            declaration["key"] = self.key
        meta: Any = getattr(self.model, "Meta")  # noqa: B009
        if meta.ttl:
            declaration["ttl"] = meta.ttl
            if meta.refreshes_writes():
                declaration["refresh_ttl"] = True
        return declaration


def _model_in(codec: Codec) -> Any:
    inner: Any = codec
    while inner.model is None:
        inner = inner.item
    return inner.model


_describing: set[Any] = set()
_one_at_a_time = threading.RLock()
_plain: dict[Any, PlainSchema | None] = {}
_twins: dict[Any, Any] = {}


def _describe(model: Any) -> Schema:
    with _one_at_a_time:
        schema = descriptions.get(model)
        if schema is None:
            _describing.add(model)
            try:
                schema = descriptions[model] = Schema(model)
            finally:
                _describing.discard(model)
            name_codecs(model, schema.name)
    return schema


described.describe = _describe


def is_described(model: Any) -> bool:
    """Is it not being described just now, as one that contains itself?"""
    return model not in _describing


def plain_of(model: Any) -> PlainSchema | None:
    """The description of a pydantic model as a value, None where only pydantic can make one of it."""
    if model not in _plain:
        _plain[model] = None  # while it is described
        simple = (
            model.__init__ is BaseModel.__init__
            and not model.__pydantic_root_model__
            and model.model_config.get("extra") != "allow"
            and not model.__pydantic_decorators__.model_serializers
            and not model.__pydantic_decorators__.field_serializers
        )
        if simple:
            schema = PlainSchema(model)
            if any(c.atomic for c in schema.codecs.values()):
                return None
            _plain[model] = schema
    return _plain[model]


def twin_of(model: Any) -> Any:
    """The atomic twin of a pydantic model, None where there can be none."""
    if model not in _twins:
        from rapyerd.model import AtomicRedisModel

        try:
            if model.__pydantic_root_model__ or model.model_config.get("frozen"):
                raise TypeError
            body: dict[str, Any] = {
                "__module__": model.__module__,
                "__qualname__": model.__qualname__,
                "__doc__": model.__doc__,
                "__rapyer_twin__": model,
            }
            # Fields of the names of methods: the fields it is that a plain model has.
            hidden = {n: i for n, i in model.model_fields.items() if hasattr(AtomicRedisModel, n)}
            body["__annotations__"] = {name: info.annotation for name, info in hidden.items()}
            body.update({name: copy.copy(info) for name, info in hidden.items()})
            meta: Any = type(AtomicRedisModel)
            with warnings.catch_warnings():  # of those fields
                warnings.simplefilter("ignore")
                _twins[model] = meta(model.__name__, (AtomicRedisModel, model), body)
        except TypeError:
            _twins[model] = None
    return _twins[model]


def declarations(
    models: tuple[type, ...], known: set[type], features: frozenset[str]
) -> list[dict[str, Any]]:
    """The declarations that a connection still needs for these classes, inner ones first."""
    out: list[dict[str, Any]] = []
    seen = set(known)

    def visit(model: Any) -> None:
        if model in seen:
            return
        seen.add(model)
        description = schema_of(model) if is_atomic(model) else plain_of(model)
        if description is None:
            return
        for inner in description.depends:
            visit(inner)
        declaration = description.declaration()
        if "find" not in features:  # an older daemon: it has no indexes
            for field in declaration["fields"]:
                field.pop("index", None)
        out.append(declaration)

    for model in models:
        visit(model)
    return out
