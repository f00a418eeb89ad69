"""What is gathered to be sent as one: by pipelines, and by locks for their release.

A recorder keeps the operations in order, and how everything that they touch was before, so that it can be
put back. Which recorders there are is a matter of the task (or thread): a context variable.
"""

from __future__ import annotations

import contextvars
from typing import Any

from rapyerd.described import schema_of
from rapyerd.place import field_path, key_of, live, place_of, root_of

Op = list[Any]  # [method, key, path, ...]


class Recorder:
    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.models: dict[type, None] = {}
        # (id of the model, field) -> the model: what is in the operations already.
        self.written: dict[tuple[int, str], Any] = {}
        # What each number will be is the daemon's to say: (model, field) for the answer of each operation.
        self.answers: list[tuple[Any, str] | None] = []
        # What can only be done once it is committed.
        self.later: list[Any] = []
        self._before: dict[int, tuple[Any, Any]] = {}

    def remember(self, touched: Any) -> None:
        """Keeps how a model or container is now, if it was not touched before."""
        if id(touched) in self._before:
            return
        if isinstance(touched, list):
            state: Any = list(touched)
        elif isinstance(touched, dict):
            state = dict(touched)
        elif isinstance(touched, set):
            state = set(touched)
        else:
            place = place_of(touched)
            changes = place.changes
            state = (
                dict(touched.__dict__),
                set(touched.__pydantic_fields_set__),
                {
                    "pk": place.pk,
                    "owner": place.owner,
                    "name": place.name,
                    "saved": place.saved,
                    "named": place.named,
                    "changes": dict(changes) if changes else None,
                    "failed": set(place.failed) if place.failed else None,
                },
            )
        self._before[id(touched)] = (touched, state)

    def put_back(self) -> None:
        """Everything that was touched is as it was before."""
        for touched, state in self._before.values():
            if isinstance(touched, list):
                list.__setitem__(touched, slice(None), state)
            elif isinstance(touched, dict):
                dict.clear(touched)
                dict.update(touched, state)
            elif isinstance(touched, set):
                set.clear(touched)
                set.update(touched, state)
            else:
                values, fields_set, before = state
                touched.__dict__.clear()
                touched.__dict__.update(values)
                object.__setattr__(touched, "__pydantic_fields_set__", fields_set)
                place_of(touched).__dict__.update(before)
        self.clear()

    def clear(self) -> None:
        """Begins anew: what was gathered is done, or given up."""
        self.ops.clear()
        self.answers.clear()
        self.models.clear()
        self.written.clear()
        self.later.clear()
        self._before.clear()

    def add(self, root: Any, op: Op, where: tuple[Any, str] | None, answer: bool = False) -> None:
        """An operation; `where`: the model and field that it is about, which take the `answer`."""
        self.ops.append(op)
        self.models[type(root)] = None
        self.answers.append(where if answer else None)
        if where is not None:
            self.written[id(where[0]), where[1]] = where[0]

    def apply(self, results: list[Any]) -> None:
        """The answers are there: numbers take what the daemon made of them."""

        for where, result in zip(self.answers, results, strict=False):
            if where is not None and result is not None:
                model, name = where
                model.__dict__[name] = schema_of(type(model)).codecs[name].take(result)


class Held(Recorder):
    """A lock that is held: its token is good on its link, for what is written to its document."""

    def __init__(self, key: str, path: str, token: int, link: Any) -> None:
        super().__init__()
        self.key = key
        self.path = path
        self.token = token
        self.link = link
        self.gathers = True


_pipeline: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar("rapyerd_pipeline", default=None)
_held: contextvars.ContextVar[tuple[Held, ...]] = contextvars.ContextVar("rapyerd_held", default=())


def current_pipeline() -> Recorder | None:
    return _pipeline.get()


def ungathered() -> bool:
    """Is there neither a pipeline nor a lock?"""
    return _pipeline.get() is None and not _held.get()


def enter_pipeline(recorder: Recorder | None) -> Any:
    return _pipeline.set(recorder)


def leave_pipeline(token: Any) -> None:
    try:
        _pipeline.reset(token)
    except ValueError:  # left in another context than it was entered in, as some fixtures are
        _pipeline.set(None)


def held(key: str | None = None) -> tuple[Held, ...]:
    """The locks of this task, on one document or on all."""
    locks = _held.get()
    if key is None or not locks:
        return locks
    return tuple(lock for lock in locks if lock.key == key)


def forget_context() -> None:
    """In a child: the pipeline and the locks in which it was forked are its parent's."""
    _pipeline.set(None)
    _held.set(())


def enter_lock(lock: Held) -> None:
    _held.set((*_held.get(), lock))


def leave_lock(lock: Held) -> None:
    _held.set(tuple(other for other in _held.get() if other is not lock))


def keep(model: Any, name: str) -> None:
    """A field was changed in the daemon: if a lock puts the model back, it is not without that."""
    for lock in _held.get():
        state = lock._before.get(id(model))
        if state is not None:
            state[1][0][name] = model.__dict__[name]


def gatherer(root: Any) -> Recorder | None:
    """Who gathers a change of this document that is made without waiting, if anybody does."""
    pipeline = _pipeline.get()
    if pipeline is not None:
        return pipeline
    if _held.get():
        for lock in reversed(held(key_of(root))):
            if lock.gathers:
                return lock
    return None


def before(touched: Any, owner: Any) -> tuple[Any, Recorder | None]:
    """To be called before a model or container is changed: remembers it where that is wanted. Gives back
    its document, and the recorder that wants the operation."""
    root = root_of(owner)
    recorder = gatherer(root)
    if recorder is not None:
        recorder.remember(touched)
    if not live(root):
        return root, None
    return root, recorder


def op_at(root: Any, owner: Any, name: str, method: str, *args: Any) -> Op:
    """An operation on a field of a model."""
    return [method, key_of(root), name if owner is root else field_path(owner, name), *args]
