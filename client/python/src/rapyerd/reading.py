"""How whole documents, and models in them, are read.

The daemon refuses the whole where another program has spoilt a field. A class with `SafeLoad` fields is read
all the same: it is found out which of those are spoilt, and the others are read as one, so that what
comes is the document as it was at one moment.
"""

from __future__ import annotations

from typing import Any

from rapyerd.call import Call, Granted, Steps
from rapyerd.described import schema_of
from rapyerd.errors import CorruptedModelError, KeyNotFound
from rapyerd.schema import SPOILT, Schema


def read(root: Any, key: str, model: Any, path: str = "", link: Any = None) -> Steps[dict[str, Any]]:
    """The map of a document of the class `root`, or of the model of the class `model` at a path in it."""
    try:
        if path:
            return (yield Call("doc.load", [key, path], (root,), True, link))  # type: ignore[no-any-return]
        return (yield Call("doc.get", [key], (root,), True, link))  # type: ignore[no-any-return]
    except CorruptedModelError:
        if not schema_of(model).some_safe:
            raise
    return (yield from _in_parts(root, key, model, path, link))


def read_many(wanted: list[tuple[Any, str]]) -> Steps[list[dict[str, Any] | None]]:
    """The maps of several documents, None where there is none: as many at a time as none of them spoils."""
    classes = tuple(dict.fromkeys(cls for cls, _ in wanted))
    try:
        return (yield Call("doc.get_many", [[key for _, key in wanted]], classes, True))  # type: ignore[no-any-return]
    except CorruptedModelError:
        if not any(schema_of(cls).some_safe for cls in classes):
            raise
    if len(wanted) > 1:
        half = len(wanted) // 2
        first = yield from read_many(wanted[:half])
        return first + (yield from read_many(wanted[half:]))
    ((cls, key),) = wanted
    try:
        return [(yield from _in_parts(cls, key, cls, "", None))]
    except KeyNotFound:
        return [None]


def acquire(cls: Any, params: list[Any], model: Any, link: Any) -> Steps[Granted]:
    """A lock, with what is at its path in "document"."""
    key, action, options = params
    try:
        return (yield Call("lock.acquire", params, (cls,), link=link))  # type: ignore[no-any-return]
    except CorruptedModelError:  # nothing was taken
        if not schema_of(model).some_safe:
            raise
    bare = {name: value for name, value in options.items() if name != "document"}
    granted: Granted = yield Call("lock.acquire", [key, action, bare], (cls,), link=link)
    try:
        document: Any = yield from read(cls, key, model, options.get("path", ""), granted.link)
    except KeyNotFound:
        document = None
    except BaseException:
        yield Call("lock.release", [granted.answer["token"]], link=granted.link)
        raise
    granted.answer["document"] = document
    return granted


def _in_parts(root: Any, key: str, model: Any, path: str, link: Any) -> Steps[dict[str, Any]]:
    """What a model has but for its spoilt `SafeLoad` fields."""
    doubtful: list[str] = []
    paths = list(_paths(schema_of(model), path, doubtful))
    spoilt: set[str] = set()
    for doubt in doubtful:
        try:
            yield Call("doc.get", [key, {"paths": [doubt]}], (root,), True, link)
        except CorruptedModelError:
            spoilt.add(doubt)
    wanted = [p for p in paths if p not in spoilt]
    said = yield Call("doc.get", [key, {"paths": wanted}], (root,), True, link)
    out = _map(schema_of(model), path, said, spoilt)
    if not path:
        out["@pk"] = key.partition(":")[2]
    return out


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _inner(schema: Schema, name: str) -> Schema | None:
    """The schema of the model in a field that is read field by field as well."""
    codec = schema.codecs[name]
    if codec.kind != "model" or name in schema.safe:
        return None
    inner = schema_of(codec.model)
    return inner if inner.some_safe else None


def _paths(schema: Schema, path: str, doubtful: list[str]) -> list[str]:
    """The fields that are not lazy, by their paths; and which of them may be spoilt."""
    out: list[str] = []
    for name in schema.codecs:
        if name in schema.lazy:
            continue
        here = _under(path, name)
        inner = _inner(schema, name)
        if inner is not None:
            out += _paths(inner, here, doubtful)
            continue
        out.append(here)
        if name in schema.safe:
            doubtful.append(here)
    return out


def _map(schema: Schema, path: str, said: dict[str, Any], spoilt: set[str]) -> dict[str, Any]:
    """Values by their paths as the map of the wire that holds them."""
    out: dict[str, Any] = {}
    for name in schema.codecs:
        here = _under(path, name)
        inner = None if name in schema.lazy else _inner(schema, name)
        if inner is not None:
            out[name] = _map(inner, here, said, spoilt)
        elif here in said:
            out[name] = said[here]
    failed = [name for name in schema.safe if _under(path, name) in spoilt]
    if failed:
        out[SPOILT] = failed
    return out
