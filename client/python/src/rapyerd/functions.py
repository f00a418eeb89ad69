"""The same for documents of any class, which the key names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rapyerd.call import Steps
from rapyerd.contexts import Lock, Pipeline
from rapyerd.described import owner_of, schema_of
from rapyerd.errors import (
    KeyNotFound,
    MissingParameterError,
    RapyerModelDoesntExistError,
    UnsupportedArgumentTypeError,
)
from rapyerd.links import run
from rapyerd.many import delete_keys, get_many, get_or_create, insert_all
from rapyerd.model import AtomicRedisModel, models
from rapyerd.place import key_of, root_of
from rapyerd.record import Recorder
from rapyerd.result import GetOrCreateResult, RapyerDeleteResult


def class_of(key: str) -> Any:
    """The class of the documents that a key names."""
    if not isinstance(key, str):
        raise UnsupportedArgumentTypeError(f"a key is wanted, Model:pk, not {key!r}")
    name = key.partition(":")[0]
    for model in reversed(models):
        if name in (model.class_key_initials(), model.__name__):
            return model
    return owner_of(name)


def known_class(key: str) -> Any:
    cls = class_of(key)
    if cls is None:
        raise RapyerModelDoesntExistError(key.partition(":")[0])
    return cls


def find_redis_models() -> list[type[AtomicRedisModel]]:
    """All model classes."""
    return models


def _wanted(args: tuple[Any, ...]) -> list[tuple[Any, str]]:
    out = []
    for arg in args:
        if isinstance(arg, AtomicRedisModel):
            root: Any = root_of(arg)
            out.append((type(root), key_of(root)))
        elif isinstance(arg, str):
            cls = known_class(arg)
            out.append((cls, cls._key(arg)))
        else:
            raise UnsupportedArgumentTypeError(f"{arg!r} is no key or model")
    return out


def get_steps(key: str) -> Steps[Any]:
    cls = class_of(key)
    if cls is None:
        raise KeyNotFound(f"NOT_FOUND: no model of this program is meant by {key!r}; a key is Model:pk")
    return (yield from cls._get(key))


def find_one_steps(key: str) -> Steps[Any]:
    try:
        return (yield from get_steps(key))
    except KeyNotFound:
        return None


def exists_steps(key: Any) -> Steps[bool]:
    if isinstance(key, AtomicRedisModel):
        return (yield from type(key)._exists(key))
    cls = class_of(key)
    return False if cls is None else (yield from cls._exists(key))


def find_steps(keys: tuple[str, ...], skip_missing: bool) -> Steps[list[Any]]:
    return (yield from get_many(_wanted(keys), not skip_missing))


def delete_many_steps(args: tuple[Any, ...]) -> Steps[RapyerDeleteResult]:
    if not args:
        raise MissingParameterError("adelete_many requires at least one argument: a key or a model")
    wanted = _wanted(args)
    count, committed = yield from delete_keys(wanted)
    by_model: dict[Any, int] = {}
    for cls, _ in wanted:
        by_model[cls] = by_model.get(cls, 0) + 1
    return RapyerDeleteResult(len(wanted), count, committed, by_model)


class Functions:
    """The functions, for one way of waiting."""

    def __init__(self, runner: Callable[[Steps[Any]], Any]) -> None:
        self._runner = runner

    def aget(self, key: str) -> Awaitable[Any]:
        """The document of a key."""
        return self._runner(get_steps(key))  # type: ignore[no-any-return]

    def afind_one(self, key: str) -> Awaitable[Any]:
        """The document of a key, or None."""
        return self._runner(find_one_steps(key))  # type: ignore[no-any-return]

    def aexists(self, key: Any) -> Awaitable[bool]:
        """Is there such a document?"""
        return self._runner(exists_steps(key))  # type: ignore[no-any-return]

    def afind(self, *keys: str, skip_missing: bool = False) -> Awaitable[list[Any]]:
        """The documents of these keys."""
        return self._runner(find_steps(keys, skip_missing))  # type: ignore[no-any-return]

    def ainsert(self, *models: Any) -> Awaitable[Any]:
        """Saves several documents, all or none."""
        return self._runner(insert_all(models))  # type: ignore[no-any-return]

    def adelete_many(self, *args: Any) -> Awaitable[RapyerDeleteResult]:
        """Removes documents."""
        return self._runner(delete_many_steps(args))  # type: ignore[no-any-return]

    def aget_or_create(self, model: Any) -> Awaitable[GetOrCreateResult[Any]]:
        """The stored document of this model's key; the model, saved, if there is none."""
        return self._runner(get_or_create(model))  # type: ignore[no-any-return]

    def alock_from_key(
        self, key: str, action: str = "default", save_at_end: bool | None = None, **more: Any
    ) -> Lock[Any]:
        """The lock of a key; the document is None when there is none."""
        cls = known_class(key)
        return Lock(
            None, cls._key(key), "", action, cls=cls, save_at_end=save_at_end, missing_ok=True, **more
        )

    def apipeline(
        self, ignore_redis_error: bool = False, use_existing_pipe: bool = False
    ) -> Pipeline[Recorder]:
        """What is done inside, with any documents, is done as one at the end, or not at all."""
        return Pipeline(None, self._runner, ignore_redis_error, use_existing_pipe)

    def get(self, key: str) -> Awaitable[Any]:
        return self.aget(key)


_async = Functions(run)
aget = get = _async.aget
afind_one = find_one = _async.afind_one
aexists = exists = _async.aexists
afind = find = _async.afind
ainsert = insert = _async.ainsert
adelete_many = delete_many = _async.adelete_many
aget_or_create = get_or_create_of = _async.aget_or_create
alock_from_key = lock_from_key = _async.alock_from_key
apipeline = pipeline = _async.apipeline

__all__ = ["Functions", "schema_of"]
