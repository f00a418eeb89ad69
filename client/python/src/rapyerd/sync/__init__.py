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
from typing import Any, ClassVar, TypeVar

from rapyerd.call import Steps
from rapyerd.described import schema_of
from rapyerd.functions import Functions
from rapyerd.links import look_blocking, run_blocking
from rapyerd.model import AtomicRedisModel as _AsyncModel

M = TypeVar("M", bound=_AsyncModel)


class AtomicRedisModel(_AsyncModel):
    """A model whose calls block."""

    __rapyer_run__: ClassVar[Callable[[Steps[Any]], Any]] = staticmethod(run_blocking)
    __rapyer_look__: ClassVar[Callable[[str], dict[str, Any] | None] | None] = staticmethod(look_blocking)


_twins: dict[Any, Any] = {}


def twin(model: type[M]) -> type[M]:
    """The class with blocking calls of the same documents."""
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
    return _twins[model]  # type: ignore[no-any-return]


_functions = Functions(run_blocking)
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
