"""What annotations can say about a field: it is the key, it is unique, indexed, read late, ..."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class KeyAnnotation:
    """The field is the model's primary key."""


@dataclasses.dataclass(frozen=True)
class IndexAnnotation:
    """Documents may be found by this field: by `exact`, `range`, `prefix` or `tags`, or by what
    suits the field's type."""

    by: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class UniqueAnnotation:
    """No two documents have the same value of this field: who writes it second gets a `ConflictError`.
    Documents are found by it as by an index. It has no default but None."""


@dataclasses.dataclass(frozen=True)
class SafeLoadAnnotation:
    """What is stored and cannot be read becomes None, and the field is named in `failed_fields`."""


@dataclasses.dataclass(frozen=True)
class LazyAnnotation:
    """The field is left out when a document is read, until it is loaded by itself."""


@dataclasses.dataclass(frozen=True)
class PickleAnnotation:
    """The field is kept as a pickle: only Python can read it, and only who trusts its Redis should."""


if TYPE_CHECKING:
    Key: TypeAlias = Annotated[T, KeyAnnotation()]
    Index: TypeAlias = Annotated[T, IndexAnnotation()]
    Unique: TypeAlias = Annotated[T, UniqueAnnotation()]
    SafeLoad: TypeAlias = Annotated[T, SafeLoadAnnotation()]
    Lazy: TypeAlias = Annotated[T, LazyAnnotation()]
    Pickled: TypeAlias = Annotated[T, PickleAnnotation()]
else:

    class _Mark:
        """``Key[str]``, ``Key(str)``, and ``Key()`` inside an ``Annotated``."""

        def __init__(self, mark: Any) -> None:
            self.mark = mark

        def __getitem__(self, item: Any) -> Any:
            return Annotated[item, self.mark]

        def __call__(self, item: Any = None) -> Any:
            return self.mark if item is None else Annotated[item, self.mark]

    Key = _Mark(KeyAnnotation())
    Index = _Mark(IndexAnnotation())
    Unique = _Mark(UniqueAnnotation())
    SafeLoad = _Mark(SafeLoadAnnotation())
    Lazy = _Mark(LazyAnnotation())
    Pickled = _Mark(PickleAnnotation())


class RapyerKey(str):
    """A key or pk of a document, told apart from other strings."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source_type: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )
