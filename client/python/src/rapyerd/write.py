"""How operations get to the daemon: at once, or with what a lock has gathered, under the locks held."""

from __future__ import annotations

from typing import Any

from rapyerd.call import Call, Steps
from rapyerd.config import RedisConfig
from rapyerd.place import key_of
from rapyerd.record import Held, Op, held
from rapyerd.ttl import spread, timed


def related(one: str, other: str) -> bool:
    """Is one of two paths inside the other, or the same?"""
    if len(one) > len(other):
        one, other = other, one
    return other.startswith(one) and (len(one) == len(other) or not one or other[len(one)] in ".[")


def where(op: Op) -> str:
    """The path that an operation is about."""
    return op[2] if len(op) > 2 and not op[0].startswith("doc.") else ""


def submit(root: Any, ops: list[Op]) -> Steps[list[Any]]:
    """Operations on one document, as one. What a lock of it has gathered about the same places goes
    before them, so that the order is that of the program."""
    locks = held()
    models = (type(root),)
    if locks:
        locks = held(key_of(root))
    if not locks:
        sent = timed(ops)
        if len(sent) == 1:
            op = sent[0]
            results = [(yield Call(op[0], op[1:], models))]
        else:
            results = yield Call("pipeline", [sent], models)
        if RedisConfig.cascades:
            yield from spread(ops)
        return results[: len(ops)]
    first: list[Op] = []
    emptied: list[Held] = []
    for lock in locks:
        if any(related(where(old), where(new)) for old in lock.ops for new in ops):
            first += lock.ops
            emptied.append(lock)
    results = yield Call(
        "pipeline",
        [timed(first + ops), {"lock": tokens_of(locks)}],
        models + tuple(model for lock in emptied for model in lock.models),
        link=locks[0].link,
    )
    done = 0
    for lock in emptied:
        lock.apply(results[done : done + len(lock.ops)])
        done += len(lock.ops)
        lock.clear()
    yield from spread(first + ops)
    return results[done : done + len(ops)]  # type: ignore[no-any-return]


def tokens_of(locks: tuple[Held, ...]) -> list[int]:
    return list(dict.fromkeys(lock.token for lock in locks))


def flush(key: str) -> Steps[None]:
    """What locks of a document have gathered goes out now."""
    for lock in held(key):
        if lock.ops:
            ops = list(lock.ops)
            results = yield Call(
                "pipeline",
                [timed(ops), {"lock": tokens_of(held(key))}],
                tuple(lock.models),
                link=lock.link,
            )
            lock.apply(results)
            lock.clear()
            yield from spread(ops)
