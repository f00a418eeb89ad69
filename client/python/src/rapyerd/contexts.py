"""``async with model.pipeline()`` and ``async with model.lock()``, and the same with a plain ``with``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from typing import Any, Generic, TypeVar

from rapyerd.call import Call, Steps
from rapyerd.described import schema_of
from rapyerd.errors import KeyNotFound, LockError, RapyerError, UnavailableError
from rapyerd.links import run, run_blocking
from rapyerd.place import key_of, live, path_of, place_of, root_of
from rapyerd.reading import acquire, read
from rapyerd.record import (
    Held,
    Recorder,
    current_pipeline,
    enter_lock,
    enter_pipeline,
    held,
    leave_lock,
    leave_pipeline,
)
from rapyerd.ttl import spread, timed
from rapyerd.write import flush, tokens_of

logger = logging.getLogger("rapyerd")
M = TypeVar("M")


class Context(Generic[M]):
    """Entered and left by steps, with waiting as the model's class does it."""

    def _enter(self) -> Steps[M]:
        raise NotImplementedError

    def _leave(self, error: BaseException | None) -> Steps[None]:
        raise NotImplementedError

    async def __aenter__(self) -> M:
        return await run(self._enter())

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        await run(self._leave(error))

    def __enter__(self) -> M:
        self._must_block()
        return run_blocking(self._enter())

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        run_blocking(self._leave(error))

    def _must_block(self) -> None:
        raise TypeError("use 'async with', or the models of rapyerd.sync")


# --- pipelines --------------------------------------------------------------------------------


class Pipeline(Context[M]):
    """What is done inside is done as one at the end, or not at all. A failure puts everything that was
    touched back as it was before."""

    def __init__(self, model: Any, runner: Any, ignore_redis_error: bool, use_existing_pipe: bool) -> None:
        self.model = model
        self.runner = runner
        self.ignore = ignore_redis_error
        self.join = use_existing_pipe
        self.recorder: Recorder | None = None
        self._token: Any = None

    def _must_block(self) -> None:
        if self.runner is not run_blocking:
            super()._must_block()

    def _enter(self) -> Steps[M]:
        if self.model is not None:
            yield from self._look()
        if not (self.join and current_pipeline() is not None):
            self.recorder = Recorder()
            self._token = enter_pipeline(self.recorder)
        return self.model if self.model is not None else self.recorder  # type: ignore[return-value]

    def _look(self) -> Steps[None]:
        """The model as it is in the daemon now, but for what was assigned here."""
        if not live(root_of(self.model)):
            return
        try:
            yield from refresh(self.model)
        except KeyNotFound:
            if not self.ignore:
                raise

    def _leave(self, error: BaseException | None) -> Steps[None]:
        recorder = self.recorder
        if recorder is None:
            return
        leave_pipeline(self._token)
        if error is not None:
            recorder.put_back()
            return
        try:
            yield from commit(recorder)
        except UnavailableError:
            recorder.put_back()
            raise
        except RapyerError as refused:
            recorder.put_back()
            if not self.ignore:
                raise
            logger.warning("a pipeline was refused and left out, as ignore_redis_error says: %s", refused)
        except BaseException:
            recorder.put_back()
            raise
        return


def commit(recorder: Recorder) -> Steps[None]:
    """A pipeline's operations, under the locks held on their documents, with what those have gathered."""
    if recorder.ops:
        keys = {op[1] for op in recorder.ops}
        locks = tuple(lock for lock in held() if lock.key in keys)
        gathered = [lock for lock in locks if lock.ops]
        first = [op for lock in gathered for op in lock.ops]
        params: list[Any] = [timed(first + recorder.ops)]
        if locks:
            params.append({"lock": tokens_of(locks)})
        models = dict.fromkeys(recorder.models)
        for lock in gathered:
            models.update(lock.models)
        link = locks[0].link if locks else None
        results = yield Call("pipeline", params, tuple(models), link=link)
        done = 0
        for lock in gathered:
            lock.apply(results[done : done + len(lock.ops)])
            done += len(lock.ops)
            lock.clear()
        recorder.apply(results[done:])
        yield from spread(first + recorder.ops)
    later, recorder.later = recorder.later, []
    recorder.clear()
    for call in later:
        yield call


def refresh(model: Any) -> Steps[None]:
    """Reads a model where it lives; what was assigned and not sent stays."""
    from rapyerd.model import absorb

    root = root_of(model)
    key, path = key_of(root), path_of(model)
    link = next((lock.link for lock in held(key)), None)
    said = yield from read(type(root), key, type(model), path, link)
    absorb(model, schema_of(type(model)).decode(said))


# --- locks ------------------------------------------------------------------------------------

_counts = iter(range(1, 1 << 62))
_tasks: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.name = f"thread {next(_counts)}"


_thread = _Thread()


def owner_name() -> str:
    """The name of this task, or this thread, as an owner of locks."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        return _thread.name
    name = _tasks.get(task)
    if name is None:
        name = _tasks[task] = f"task {next(_counts)}"
    return name


class Lock(Context[M]):
    """Held inside. What was assigned is saved with the release, in one commit; with an error it is not,
    and is put back. What is written at once is written under the lock: whoever lost it writes nothing.

    `fence`: a number that is higher for each holder, for systems outside. `version`: of the document.
    """

    fence: int
    version: int

    def __init__(
        self,
        model: Any,
        key: str,
        path: str,
        action: str,
        *,
        cls: Any,
        save_at_end: bool | None = None,
        ttl: float | None = None,
        wait: float | None = None,
        shared: bool = False,
        missing_ok: bool = False,
    ) -> None:
        self.model = model
        self.key = key
        self.path = path
        self.action = action
        self.cls = cls
        self.save_at_end = save_at_end
        self.missing_ok = missing_ok
        self.options: dict[str, Any] = {"document": True}
        if path:
            self.options["path"] = path
        if ttl is not None:
            self.options["ttl"] = ttl
        if wait is not None:
            self.options["wait"] = wait
        if shared:
            self.options["mode"] = "shared"
        self._lock: Held | None = None

    def _must_block(self) -> None:
        if self.cls.__rapyer_run__ is not run_blocking:
            super()._must_block()

    def _enter(self) -> Steps[M]:
        if self._lock is not None:
            raise LockError("this lock is held already; make another with lock()")
        yield from flush(self.key)
        outer = held(self.key)
        options = {**self.options, "owner": owner_name()}
        link = outer[0].link if outer else (held()[0].link if held() else None)
        granted = yield from acquire(
            self.cls, [self.key, self.action, options], type(self.model) if self.path else self.cls, link
        )
        said = granted.answer
        self.fence, self.version = said["fence"], said["version"]
        self._lock = lock = Held(self.key, said["path"], said["token"], granted.link)
        lock.gathers = self.save_at_end is not False
        try:
            model = self._locked(said["document"])
        except BaseException:
            yield from self._release(lock)
            raise
        enter_lock(lock)
        return model  # type: ignore[no-any-return]

    def _locked(self, document: Any) -> Any:
        """The model as it is under the lock."""
        from rapyerd.model import absorb

        if document is None:
            if self.model is not None and not live(root_of(self.model)):
                return self.model
            if self.missing_ok:
                return None
            raise KeyNotFound(f"NOT_FOUND: there is no document {self.key}")
        if self.model is None:
            return self.cls.__rapyer_loaded__(document)
        absorb(self.model, schema_of(type(self.model)).decode(document))
        if not self.path:
            place_of(self.model).saved = True
        return self.model

    def _leave(self, error: BaseException | None) -> Steps[None]:
        lock = self._lock
        assert lock is not None
        self._lock = None
        leave_lock(lock)
        if error is not None:
            lock.put_back()
            try:
                yield from self._release(lock)
            except RapyerError as second:
                if isinstance(error, Exception):
                    logger.warning("a lock was lost while an error was on its way: %s", second)
            return
        try:
            yield from self._save(lock)
        except RapyerError:
            lock.put_back()
            raise
        except BaseException:  # cancelled: whatever was on its way, the lock must not stay
            lock.put_back()
            with contextlib.suppress(RapyerError):
                yield from self._release(lock)
            raise
        return

    def _save(self, lock: Held) -> Steps[None]:
        """The release, with what was gathered. Where a lock around this one has gathered something as
        well, all of it is one commit: of two accounts both are changed, or none."""
        around = [other for other in held() if other.ops and other.link is lock.link]
        if lock.ops and around:
            every = [*around, lock]
            ops = [op for one in every for op in one.ops]
            models = dict.fromkeys(model for one in every for model in one.models)
            tokens = list(dict.fromkeys(one.token for one in every))
            try:
                results = yield Call(
                    "pipeline", [timed(ops), {"lock": tokens}], tuple(models), link=lock.link
                )
            except RapyerError:
                lock.put_back()
                yield from self._release(lock)
                raise
            for one in every:
                count = len(one.ops)
                one.apply(results[:count])
                results = results[count:]
                one.clear()
            yield from spread(ops)
        if not lock.ops:
            yield from self._release(lock)
            return
        try:
            results = yield Call(
                "lock.release", [lock.token, timed(lock.ops)], tuple(lock.models), link=lock.link
            )
        except LockError:
            raise
        except RapyerError:
            yield from self._release(lock)  # what is refused leaves the lock held
            raise
        ops = list(lock.ops)
        lock.apply(results)
        lock.clear()
        yield from spread(ops)

    def _release(self, lock: Held) -> Steps[None]:
        yield Call("lock.release", [lock.token], link=lock.link)
