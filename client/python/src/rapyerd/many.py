"""Calls about several documents, of one class or more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rapyerd.call import Call, Steps
from rapyerd.config import FETCHES
from rapyerd.described import schema_of
from rapyerd.errors import CorruptedModelError, KeyNotFound, UnsupportedArgumentTypeError
from rapyerd.find import Expression
from rapyerd.place import key_of, place_of, settle
from rapyerd.reading import read_many
from rapyerd.record import current_pipeline
from rapyerd.result import GetOrCreateResult, GetOrCreateStatus
from rapyerd.ttl import spread, touch

if TYPE_CHECKING:
    from rapyerd.model import AtomicRedisModel

M = TypeVar("M", bound="AtomicRedisModel")
PAGE = 1000  # documents that are asked for at a time


def get_many(wanted: list[tuple[Any, str]], all_of_them: bool) -> Steps[list[Any]]:
    """The documents of these keys, without those that are missing; `KeyNotFound` if there must be none."""
    out: list[Any] = []
    for begin in range(0, len(wanted), PAGE):
        part = wanted[begin : begin + PAGE]
        said = yield from read_many(part)
        for (cls, key), data in zip(part, said, strict=True):
            if data is not None:
                out.append(cls.__rapyer_loaded__(data))
            elif all_of_them:
                raise KeyNotFound(f"NOT_FOUND: there is no document {key}")
    yield from touch(out, FETCHES)
    return out


def insert_all(models: tuple[Any, ...]) -> Steps[tuple[Any, ...]]:
    """Saves several documents, all or none."""
    ops = []
    pipeline = current_pipeline()
    for model in models:
        if model.is_inner_model():
            raise UnsupportedArgumentTypeError("only whole documents can be inserted")
        settle(model)
        ops.append(["doc.save", key_of(model), schema_of(type(model)).encode(model)])
    if pipeline is not None:
        for model, op in zip(models, ops, strict=True):
            pipeline.remember(model)
            pipeline.add(model, op, None)
    elif ops:
        yield Call("pipeline", [ops], tuple(dict.fromkeys(type(m) for m in models)))
        yield from spread(ops)
    for model in models:
        place = place_of(model)
        place.saved = True
        place.changes = None
    return models


def delete_keys(wanted: list[tuple[Any, str]]) -> Steps[tuple[int, bool]]:
    """Removes documents; how many were there, and whether they are gone already."""
    pipeline = current_pipeline()
    if pipeline is not None:
        for cls, key in wanted:
            yield from cls._delete_key(key)
        return len(wanted), False
    count = 0
    for begin in range(0, len(wanted), PAGE):
        part = wanted[begin : begin + PAGE]
        count += yield Call("doc.delete", [key for _, key in part], tuple(dict.fromkeys(c for c, _ in part)))
    return count, True


def get_or_create(model: M) -> Steps[GetOrCreateResult[M]]:
    if model.is_inner_model():
        raise RuntimeError("only top level models can be created, no models that are in others")
    cls = type(model)
    settle(model)
    key = key_of(model)
    try:
        said = yield Call("doc.get_or_create", [key, schema_of(cls).encode(model)], (cls,))
    except CorruptedModelError:  # it is there, and maybe what is spoilt is `SafeLoad`
        return GetOrCreateResult((yield from cls._get(key)), GetOrCreateStatus.FOUND)
    if said["created"]:
        yield from spread([["doc.save", key]])
        place_of(model).saved = True
        place_of(model).changes = None
        return GetOrCreateResult(model, GetOrCreateStatus.CREATED)
    found: M = cls.__rapyer_loaded__(said["document"])
    yield from touch([found], FETCHES)
    return GetOrCreateResult(found, GetOrCreateStatus.FOUND)


def look_through(
    cls: Any, most: int | None, take: Callable[[list[str]], Steps[list[Any]]]
) -> Steps[list[Any]]:
    """What is made of the keys of all documents, each of which comes once, until there is so much of it."""
    out: list[Any] = []
    cursor = "0"
    seen: set[str] = set()
    while most is None or len(out) < most:
        page = yield Call("doc.keys", [schema_of(cls).name, {"cursor": cursor, "count": PAGE}], (cls,), True)
        fresh = [key for key in dict.fromkeys(page["keys"]) if key not in seen]
        seen.update(fresh)
        out += yield from take(fresh)
        cursor = page["cursor"]
        if cursor == "0":
            break
    return out[:most]


def get_holding(cls: Any, keys: list[str], conditions: list[Expression]) -> Steps[list[Any]]:
    """Those documents for which all of these expressions hold."""
    found = yield from get_many([(cls, key) for key in keys], False)
    return [model for model in found if all(condition.holds(model) for condition in conditions)]


FOUND_AT_ONCE = 1000  # documents of one answer


def pages(cls: Any, wired: Any, most: int | None, options: dict[str, Any]) -> Steps[list[dict[str, Any]]]:
    """The answers of the daemon for an expression, until there is no more, or so many were found."""
    out: list[dict[str, Any]] = []
    count = 0
    name = schema_of(cls).name
    while most is None or count < most:
        limit = FOUND_AT_ONCE if most is None else min(FOUND_AT_ONCE, most - count)
        page = yield Call("find", [name, wired, {**options, "limit": limit, "scan": True}], (cls,), True)
        out.append(page)
        count += len(page["keys"])
        if page["cursor"] is not None:
            options = {**options, "cursor": page["cursor"]}
        elif "sort" in options and "cursor" not in options and len(page["keys"]) == limit:
            options = {**options, "offset": count}  # sorted without an index
        else:
            break
    return out


def find_by(cls: Any, wired: Any, most: int | None, sort: str | None) -> Steps[list[Any]]:
    """The documents for which an expression holds."""
    options: dict[str, Any] = {} if sort is None else {"sort": sort}
    if schema_of(cls).some_safe:  # one that is spoilt must not spoil the others
        found = yield from pages(cls, wired, most, {**options, "keys": True})
        return (yield from get_many([(cls, key) for page in found for key in page["keys"]], False))
    found = yield from pages(cls, wired, most, options)
    out = [cls.__rapyer_loaded__(data) for page in found for data in page["documents"]]
    yield from touch(out, FETCHES)
    return out


def find_keys_by(cls: Any, wired: Any) -> Steps[list[str]]:
    found = yield from pages(cls, wired, None, {"keys": True})
    return [key for page in found for key in page["keys"]]


def get_resolved(cls: Any, key: str, resolve: bool | list[str], depth: int) -> Steps[Any]:
    """A document with what it refers to."""
    from rapyerd.functions import class_of
    from rapyerd.references import resolved

    said = yield Call("doc.get", [key, {"resolve": resolve, "depth": depth}], (cls,), True)
    there = {}
    for other, data in said.pop("@refs", {}).items():
        its = class_of(other)
        if data is not None and its is not None:
            there[other] = its.__rapyer_loaded__(data)
    model = there[key] = cls.__rapyer_loaded__(said)
    for each in list(there.values()):
        resolved(each, there)
    yield from touch([model], FETCHES)
    return model
