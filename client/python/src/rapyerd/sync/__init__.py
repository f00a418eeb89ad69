"""The same with blocking calls, for programs without an event loop.

    from rapyerd.sync import AtomicRedisModel

    class User(AtomicRedisModel):
        name: str
        visits: int = 0

    user = User(name="Ada")
    user.save()
    with user.lock("visit"):
        user.visits += 1

Each thread has a connection of its own. `twin` makes a blocking class of one that exists for asyncio;
both have the same documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rapyerd.call import Steps
from rapyerd.described import schema_of
from rapyerd.functions import Functions
from rapyerd.links import look_blocking, run_blocking
from rapyerd.model import AtomicRedisModel as _AsyncModel

if TYPE_CHECKING:
    from typing_extensions import Self

    from rapyerd.keys import RapyerKey
    from rapyerd.result import CascadeResult, DeleteResult, GetOrCreateResult

M = TypeVar("M", bound=_AsyncModel)


class AtomicRedisModel(_AsyncModel):
    """A model whose calls block."""

    __rapyer_run__: ClassVar[Callable[[Steps[Any]], Any]] = staticmethod(run_blocking)
    __rapyer_look__: ClassVar[Callable[[str], dict[str, Any] | None] | None] = staticmethod(look_blocking)

    if TYPE_CHECKING:  # the same methods, which give what the others let one wait for

        def save(self) -> Self: ...  # type: ignore[override]
        def load(self, *names: str) -> Self: ...  # type: ignore[override]
        def delete(self) -> bool: ...  # type: ignore[override]
        def duplicate(self) -> Self: ...  # type: ignore[override]
        def duplicate_many(self, num: int) -> list[Self]: ...  # type: ignore[override]
        def aupdate(self, **values: Any) -> None: ...  # type: ignore[override]
        def set_ttl(self, ttl: int, cascade: bool = False) -> CascadeResult | None: ...  # type: ignore[override]
        def refresh_ttl(self, can_use_pipeline: bool = False) -> None: ...  # type: ignore[override]
        @classmethod
        def get(  # type: ignore[override]
            cls, key: Any, *, resolve: bool | list[str] = False, depth: int = 1
        ) -> Self: ...
        @classmethod
        def exists(cls, key: Any) -> bool: ...  # type: ignore[override]
        @classmethod
        def delete_by_key(cls, key: Any) -> bool: ...  # type: ignore[override]
        @classmethod
        def find(  # type: ignore[override]
            cls, *args: Any, max_results: int | None = None, sort: str | None = None
        ) -> list[Self]: ...
        @classmethod
        def find_count(cls, *expressions: Any) -> int: ...  # type: ignore[override]
        @classmethod
        def find_one(cls, *args: Any) -> Self | None: ...  # type: ignore[override]
        @classmethod
        def find_keys(cls, max_results: int | None = None) -> list[RapyerKey]: ...  # type: ignore[override]
        @classmethod
        def insert(cls, *models: Self) -> tuple[Self, ...]: ...  # type: ignore[override]
        @classmethod
        def delete_many(cls, *args: Any) -> DeleteResult: ...  # type: ignore[override]
        @classmethod
        def update_many(  # type: ignore[override]
            cls, *expressions: Any, change: Callable[[Self], Any] | None = None, **values: Any
        ) -> int: ...
        @classmethod
        def get_or_create(cls, model: Self) -> GetOrCreateResult[Self]: ...  # type: ignore[override]


_twins: dict[Any, Any] = {}


def twin(model: type[M]) -> type[Any]:
    """The class with blocking calls of the same documents. No type checker can be told what it is."""
    if model not in _twins:
        body = {
            "__module__": model.__module__,
            "__qualname__": model.__qualname__,
            "__rapyer_run__": staticmethod(run_blocking),
            "__rapyer_look__": staticmethod(look_blocking),
            "__rapyer_same__": model,
        }
        meta: Any = type(model)
        _twins[model] = meta(model.__name__, (model,), body)
        schema_of(model)
    made: type[Any] = _twins[model]
    return made


_functions: Any = Functions(run_blocking)
get = aget = _functions.aget
find_one = afind_one = _functions.afind_one
exists = aexists = _functions.aexists
find = afind = _functions.afind
insert = ainsert = _functions.ainsert
delete_many = adelete_many = _functions.adelete_many
get_or_create = aget_or_create = _functions.aget_or_create
lock_from_key = alock_from_key = _functions.alock_from_key
pipeline = apipeline = _functions.apipeline

__all__ = [
    "AtomicRedisModel",
    "delete_many",
    "exists",
    "find",
    "find_one",
    "get",
    "get_or_create",
    "insert",
    "lock_from_key",
    "pipeline",
    "twin",
]
