"""References to other documents, by their keys."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union, get_args

from rapyerd.call import Steps, done
from rapyerd.described import schema_of
from rapyerd.errors import NotResolvedError, RapyerModelDoesntExistError
from rapyerd.kinds import RelationalFieldType

T = TypeVar("T")


class ForeignKey(RelationalFieldType, Generic[T]):
    """The key of another document, which is fetched when it is asked for. Made of a key, of a model, or of
    ``{"$ref": "Model", "$id": "pk"}``."""

    def __init__(self, target: Any, model: Any = None) -> None:
        self._model = model
        self._value: Any = None
        if isinstance(target, str):
            self._key = target
        else:
            self._value = target
            self._key = str(target.key)

    @property
    def target_key(self) -> str:
        return self._key

    @property
    def is_resolved(self) -> bool:
        return self._value is not None

    @property
    def value(self) -> T:
        """The other document; it must have been fetched."""
        if self._value is None:
            raise NotResolvedError(f"{self._key} was not fetched: await afetch() first")
        return self._value  # type: ignore[no-any-return]

    def afetch(self) -> Awaitable[T]:
        """The other document, read the first time."""
        cls = self._class()
        return cls.__rapyer_run__(self._fetch(cls))  # type: ignore[no-any-return]

    def aunload(self) -> Awaitable[None]:
        """Forgets the document, and keeps its key."""
        self._value = None
        return self._class().__rapyer_run__(done(None))  # type: ignore[no-any-return]

    def _class(self) -> Any:
        from rapyerd.functions import class_of

        model = self._model if self._model is not None else self._argument()
        name = model if isinstance(model, str) else getattr(model, "__forward_arg__", None)
        if isinstance(model, type):
            return model
        cls = class_of(f"{name}:" if name else self._key)
        if cls is None:
            raise RapyerModelDoesntExistError(name or self._key.partition(":")[0])
        return cls

    def _argument(self) -> Any:
        arguments = get_args(getattr(self, "__orig_class__", None))
        return arguments[0] if arguments else None

    def _fetch(self, cls: Any) -> Steps[Any]:
        if self._value is None:
            self._value = yield from cls._get(self._key)
        return self._value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self.__dict__.get("_value") is None:
            raise NotResolvedError(
                f"{self.__dict__.get('_key')} was not fetched: await afetch() first, then .{name}"
            )
        return getattr(self._value, name)

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, ForeignKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"ForeignKey({self._key!r}, {'resolved' if self.is_resolved else 'unresolved'})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def validate(value: Any) -> Any:
            return reference(source, value)

        def serialize(value: Any) -> Any:
            return None if value is None else value._key

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(serialize)
        )


def resolved(model: Any, there: dict[str, Any]) -> None:
    """References in a model to one of these documents are fetched."""

    def look(codec: Any, value: Any) -> None:
        if isinstance(value, ForeignKey):
            if value._value is None:
                value._value = there.get(value._key)
        elif codec.model is not None and value is not None:
            resolved(value, there)
        elif codec.item is not None and value is not None:
            for element in value.values() if codec.holds == "dict" else value:
                look(codec.item, element)

    for name, codec in schema_of(type(model)).codecs.items():
        if codec.atomic or "ref<" in codec.wire:
            look(codec, getattr(model, name))


def reference(source: Any, value: Any) -> Any:
    """A reference of this type, made of what may stand for one."""
    from pydantic import BaseModel

    arguments = get_args(source)
    model = arguments[0] if arguments else None
    if isinstance(value, ForeignKey):
        return value
    if isinstance(value, (str, BaseModel)):
        return source(value) if arguments else ForeignKey(value, model)
    if isinstance(value, dict) and value.get("$ref") is not None and value.get("$id") is not None:
        return source(f"{value['$ref']}:{value['$id']}")
    raise ValueError(f"a key or a model is wanted for a reference, not {value!r}")


if TYPE_CHECKING:
    Reference = Union[ForeignKey[T], T, str]  # noqa: UP007
else:
    Reference = ForeignKey
