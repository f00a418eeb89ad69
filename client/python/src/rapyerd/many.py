"""Calls about several documents, of one class or more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rapyerd.call import Call, Steps
from rapyerd.config import FETCHES
from rapyerd.described import schema_of
from rapyerd.errors import (
    CorruptedModelError,
    KeyNotFound,
    NotSupportedError,
    UnsupportedArgumentTypeError,
    error_of,
)
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


def must_be_model(model: Any, what: str) -> None:
    if getattr(type(model), "__rapyer_atomic__", False) is not True:
        more = ": put a * before it" if isinstance(model, (list, tuple)) and what == "insert" else ""
        raise UnsupportedArgumentTypeError(f"{what} takes models, not {repr(model)[:80]}{more}")


def _must_be_done(refused: list[Any]) -> None:
    """Of what was done in parts: the first that was refused is raised."""
    if refused:
        key, why = refused[0]
        more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise error_of(f"{why} ({key}{more}; others were done)")


def _in_one_or_parts(whole: Call, parts: Call) -> Steps[Any]:
    """What is in several slots of a cluster goes slot by slot; whether it did, and the answer."""
    try:
        return False, (yield whole)
    except NotSupportedError as error:
        if error.code != "CROSS_SLOT":
            raise
    return True, (yield parts)


def insert_all(models: tuple[Any, ...]) -> Steps[tuple[Any, ...]]:
    """Saves several documents, all or none; of those in several slots of a cluster all or none of each
    slot, and what was refused is raised when the others are saved."""
    ops = []
    done: set[str] | None = None
    refused: list[Any] = []
    pipeline = current_pipeline()
    for model in models:
        must_be_model(model, "insert")
        if model.is_inner_model():
            raise UnsupportedArgumentTypeError("only whole documents can be inserted")
        settle(model)
        ops.append(["doc.save", key_of(model), schema_of(type(model)).encode(model)])
    if pipeline is not None:
        for model, op in zip(models, ops, strict=True):
            pipeline.remember(model)
            pipeline.add(model, op, None)
    elif ops:
        classes = tuple(dict.fromkeys(type(m) for m in models))
        documents = [list(op[1:]) for op in {op[1]: op for op in ops}.values()]
        in_parts, said = yield from _in_one_or_parts(
            Call("pipeline", [ops], classes),
            Call("doc.insert", [documents, {"parts": True, "replace": True}], classes),
        )
        if in_parts:
            refused = said["refused"]
            done = {one["key"] for one in said["saved"]}
        yield from spread([op for op in ops if done is None or op[1] in done])
    for model in models:
        if done is not None and key_of(model) not in done:
            continue
        place = place_of(model)
        place.saved = True
        place.changes = None
    _must_be_done(refused)
    return models


def delete_keys(wanted: list[tuple[Any, str]]) -> Steps[tuple[int, bool]]:
    """Removes documents; how many were there, and whether they are gone already."""
    pipeline = current_pipeline()
    if pipeline is not None:
        for cls, key in wanted:
            yield from cls._delete_key(key)
        return len(wanted), False
    count = 0
    refused: list[Any] = []
    for begin in range(0, len(wanted), PAGE):
        part = wanted[begin : begin + PAGE]
        keys, classes = [key for _, key in part], tuple(dict.fromkeys(c for c, _ in part))
        in_parts, said = yield from _in_one_or_parts(
            Call("doc.delete", keys, classes), Call("doc.delete", [*keys, {"parts": True}], classes)
        )
        refused += said["refused"] if in_parts else []
        count += said["deleted"] if in_parts else said
    _must_be_done(refused)
    return count, True


def get_or_create(model: M) -> Steps[GetOrCreateResult[M]]:
    must_be_model(model, "get_or_create")
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
