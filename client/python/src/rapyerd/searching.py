"""Documents that are found: read, counted, changed and deleted. The daemon looks for them; what it has no
form for is looked at here."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from rapyerd.call import Call, Steps, done
from rapyerd.config import FETCHES
from rapyerd.described import schema_of
from rapyerd.errors import (
    BadFilterError,
    KeyNotFound,
    NotSupportedError,
    UnsupportedArgumentTypeError,
    UnsupportedArgumentValueError,
    error_of,
)
from rapyerd.find import Expression, together
from rapyerd.keys import RapyerKey
from rapyerd.many import PAGE, delete_keys, get_many
from rapyerd.place import key_of
from rapyerd.record import Recorder, current_pipeline, enter_pipeline, leave_pipeline
from rapyerd.result import DeleteResult
from rapyerd.ttl import timed, touch

FOUND_AT_ONCE = 1000  # documents of one answer


def find(
    cls: Any, args: tuple[Any, ...], max_results: int | None, sort: str | None = None
) -> Steps[list[Any]]:
    """The documents of keys, or those for which expressions hold, or all."""
    if max_results is not None and max_results < 0:
        raise UnsupportedArgumentValueError(f"max_results must not be below 0, and is {max_results}")
    keys = [arg for arg in args if isinstance(arg, str)]
    conditions = [arg for arg in args if isinstance(arg, Expression)]
    if len(keys) + len(conditions) < len(args):
        raise UnsupportedArgumentTypeError("find takes keys or expressions")
    if keys and conditions:
        raise UnsupportedArgumentValueError("find takes keys or expressions, not both")
    if keys:
        return (yield from get_many([(cls, cls._key(key)) for key in keys[:max_results]], True))
    wired = together(conditions)
    if wired is not None or sort is not None:
        if conditions and wired is None:
            raise BadFilterError("what the daemon cannot compare cannot be sorted")
        try:
            return (yield from find_by(cls, wired, max_results, sort))
        except NotSupportedError:  # an older daemon
            if sort is not None:
                raise
    return (yield from look_through(cls, max_results, lambda keys: get_holding(cls, keys, conditions)))


def find_one(cls: Any, args: tuple[Any, ...]) -> Steps[Any]:
    try:
        found = yield from find(cls, args, 1)
    except KeyNotFound:
        return None
    return found[0] if found else None


def find_keys(cls: Any, max_results: int | None) -> Steps[list[RapyerKey]]:
    return [RapyerKey(key) for key in (yield from look_through(cls, max_results, done))]


def count(cls: Any, expressions: tuple[Any, ...]) -> Steps[int]:
    for each in expressions:
        if not isinstance(each, Expression):
            raise UnsupportedArgumentTypeError("find_count takes expressions")
    wired = together(list(expressions))
    if expressions and wired is None:
        return len((yield from find(cls, expressions, None)))
    return (yield Call("find.count", [schema_of(cls).name, wired, {"scan": True}], (cls,), True))  # type: ignore[no-any-return]


# --- changes ----------------------------------------------------------------------------------


def delete_many(cls: Any, args: tuple[Any, ...]) -> Steps[DeleteResult]:
    """Deletes models, or the documents of keys, or those for which expressions hold."""
    if not args:
        raise UnsupportedArgumentTypeError("delete_many takes at least one model, key or expression")
    conditions = [arg for arg in args if isinstance(arg, Expression)]
    if conditions and len(conditions) < len(args):
        raise UnsupportedArgumentTypeError("delete_many takes expressions or keys and models, not both")
    if not conditions:
        for arg in args:
            if not isinstance(arg, str) and not hasattr(arg, "__rapyer_place__"):
                raise UnsupportedArgumentTypeError(f"{arg!r} is no key, model or expression")
        keys = [cls._key(arg) for arg in args]
    else:
        wired = together(conditions)
        if wired is not None and current_pipeline() is None:
            with contextlib.suppress(NotSupportedError):  # an older daemon
                deleted = yield from _change(cls, "find.delete", [wired], "deleted")
                return DeleteResult(deleted, deleted)
        keys = [key_of(model) for model in (yield from find(cls, args, None))]
    gone, committed = yield from delete_keys([(cls, key) for key in keys])
    return DeleteResult(len(keys), gone, committed)


def update_many(
    cls: Any, expressions: tuple[Any, ...], change: Callable[[Any], Any] | None, values: dict[str, Any]
) -> Steps[int]:
    """Changes the documents for which expressions hold; how many were."""
    if not expressions or not all(isinstance(each, Expression) for each in expressions):
        raise UnsupportedArgumentTypeError("update_many takes at least one expression")
    if current_pipeline() is not None:
        raise UnsupportedArgumentValueError(
            "update_many changes one document after the other, in no pipeline"
        )
    wired = together(list(expressions))
    if wired is None:
        raise BadFilterError("what the daemon cannot compare cannot say what is to be changed")
    ops = timed(_recorded(cls, change, values))
    if not ops:
        return 0
    bare = [[op[0], *op[2:]] for op in ops]
    return (yield from _change(cls, "find.update", [wired, bare], "updated"))


def _recorded(cls: Any, change: Callable[[Any], Any] | None, values: dict[str, Any]) -> list[Any]:
    """What is done to a model that stands for any document."""
    standing = schema_of(cls).blank()
    recorder = Recorder()
    token = enter_pipeline(recorder)
    try:
        standing.update(**values)
        done_by = change(standing) if change is not None else None
        if inspect.iscoroutine(done_by):  # which waits for nothing, as nothing is sent
            try:
                done_by.send(None)
            except StopIteration:
                pass
            else:
                done_by.close()
                raise UnsupportedArgumentValueError("what update_many does to each document cannot wait")
    finally:
        leave_pipeline(token)
    if any(op[1] != key_of(standing) for op in recorder.ops) or recorder.later:
        raise UnsupportedArgumentValueError("update_many changes the documents that it finds, and no others")
    return recorder.ops


def _change(cls: Any, method: str, params: list[Any], counted: str) -> Steps[int]:
    """Changes what is found, page by page; how many documents were changed."""
    options: dict[str, Any] = {"scan": True, "limit": FOUND_AT_ONCE}
    changed: int = 0
    refused: list[Any] = []
    while True:
        said = yield Call(method, [schema_of(cls).name, *params, options], (cls,))
        changed += said[counted]
        refused += said["refused"]
        if said["stopped"] is not None:
            raise error_of(f"{said['stopped']} (after {changed} documents)")
        if said["cursor"] is None:
            break
        options = {**options, "cursor": said["cursor"]}
    if refused:
        key, why = refused[0]
        code, _, text = why.partition(": ")
        more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise error_of(f"{code}: {key}{more}: {text} ({changed} documents were changed)")
    return changed


# --- how they are found -----------------------------------------------------------------------


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
