"""Which operations start a document's time to live anew.

Where the model says that all writes do (`refresh_ttl=True`), the daemon does it with each write. Where only
some groups do, the operation that says so goes with theirs, in the same commit. Reads never do it by
themselves: a `touch` is sent after them, which makes no new version, and leaves alone what lives longer.
"""

from __future__ import annotations

import logging
from typing import Any

from rapyerd.call import Call, Steps
from rapyerd.config import WRITES, ActionGroup, RedisConfig
from rapyerd.described import owner_of
from rapyerd.errors import KeyNotFound, RapyerError

logger = logging.getLogger("rapyerd")

Op = list[Any]

_UPDATE = ActionGroup.UPDATE
_APPENDS = _UPDATE | ActionGroup.APPEND
_ERASES = _UPDATE | ActionGroup.ERASE
_COUNTS = _UPDATE | ActionGroup.ARITHMETIC
_CREATES = ActionGroup.CREATE
_NONE = ActionGroup(0)

# By the last word of the method; numbers apart.
_GROUPS: dict[str, ActionGroup] = {
    "save": _CREATES | _UPDATE,
    "insert": _APPENDS,
    "append": _APPENDS,
    "extend": _APPENDS,
    "add": _APPENDS,
    "add_many": _APPENDS,
    "push": _APPENDS,
    "push_many": _APPENDS,
    "unite": _APPENDS,
    "pop": _ERASES,
    "pop_many": _ERASES,
    "pop_min": _ERASES,
    "pop_max": _ERASES,
    "popitem": _ERASES,
    "del": _ERASES,
    "clear": _ERASES,
    "remove": _ERASES,
    "remove_range": _ERASES,
    "remove_by_score": _ERASES,
    "intersect": _ERASES,
    "subtract": _ERASES,
    "incr": _COUNTS,
    "mul": _COUNTS,
    "div": _COUNTS,
    "floordiv": _COUNTS,
    "mod": _COUNTS,
    "pow": _COUNTS,
}


def groups_of(method: str) -> ActionGroup:
    """The groups of a method that changes something."""
    if method in ("doc.delete", "doc.ttl", "doc.persist", "doc.get", "doc.load", "doc.exists"):
        return _NONE
    if method == "datetime.add":
        return _COUNTS
    return _GROUPS.get(method.rpartition(".")[2], _UPDATE)


def _said(meta: Any) -> ActionGroup:
    """The groups that a model names, none where it has no time to live."""
    if meta.ttl is None or isinstance(meta.refresh_ttl, bool):
        return _NONE
    return meta.refresh_ttl  # type: ignore[no-any-return]


def timed(ops: list[Op]) -> list[Op]:
    """Operations, and behind them what starts the time of their documents anew, where some group says so
    and the daemon does not do it by itself."""
    if not RedisConfig.grouped:
        return ops
    more: dict[str, Op] = {}
    for op in ops:
        cls = owner_of(op[1].partition(":")[0])
        if cls is None:
            continue
        said = _said(cls.Meta) & WRITES
        if said and said != WRITES:
            if op[0] == "doc.delete":
                more.pop(op[1], None)
            elif groups_of(op[0]) & said:
                more[op[1]] = ["doc.ttl", op[1], cls.Meta.ttl]
    return [*ops, *more.values()] if more else ops


def spread(ops: list[Op]) -> Steps[None]:
    """These operations have started the time of their documents anew: what these refer to lives on with
    them, where their classes say so. They are done, whatever becomes of this."""
    if not RedisConfig.cascades:
        return
    written: dict[str, Any] = {}
    for op in ops:
        cls = owner_of(op[1].partition(":")[0])
        if op[0] == "doc.delete":
            written.pop(op[1], None)
        elif cls is not None and cls.Meta.ttl is not None:
            group = groups_of(op[0])
            if group & (WRITES if cls.Meta.refreshes_writes() else _said(cls.Meta)):
                written[op[1]] = cls
    for key, cls in written.items():
        yield from _cascade(key, cls)


def _cascade(key: str, cls: Any) -> Steps[bool]:
    """Starts the time of a document and of what it refers to anew; whether it refers to anything."""
    from rapyerd.cascade import plan_of

    plan = plan_of(cls)
    if plan is None:
        return False
    try:
        yield Call("doc.ttl", [key, None, plan.options], plan.models)
    except KeyNotFound:
        pass  # gone meanwhile
    except RapyerError as refused:
        logger.warning("what %s refers to was given no time to live: %s", key, refused)
    return True


def touch(models: list[Any], group: ActionGroup) -> Steps[None]:
    """These documents were read, in a way of this group: their time begins anew, where they say so."""
    from rapyerd.place import key_of, live

    roots = [m for m in models if type(m).Meta.refreshes(group) and live(m)]
    if RedisConfig.cascades:
        alone = []
        for root in roots:
            if not (yield from _cascade(key_of(root), type(root))):
                alone.append(root)
        roots = alone
    if roots:
        classes = tuple(dict.fromkeys(type(root) for root in roots))
        keys = [key_of(root) for root in roots]
        yield Call("doc.get_many", [keys, {"paths": [], "touch": True}], classes)
