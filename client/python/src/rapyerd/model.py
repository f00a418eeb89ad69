"""AtomicRedisModel: pydantic models that live in Redis, through the daemon."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Optional, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic._internal._model_construction import ModelMetaclass
from typing_extensions import Self, dataclass_transform

from rapyerd import field as fields
from rapyerd import searching
from rapyerd.call import Call, Steps, done
from rapyerd.cascade import plan_of, specials
from rapyerd.config import FETCHES, ActionGroup, RedisConfig
from rapyerd.contexts import Lock, Pipeline, refresh
from rapyerd.described import schema_of
from rapyerd.dicts import RedisDict
from rapyerd.errors import (
    BadDeleteActionError,
    UnsupportedArgumentTypeError,
    UnsupportedArgumentValueError,
)
from rapyerd.keys import KeyAnnotation, RapyerKey
from rapyerd.kinds import RedisType
from rapyerd.links import run
from rapyerd.lists import RedisList
from rapyerd.many import (
    get_or_create,
    get_resolved,
    insert_all,
)
from rapyerd.place import key_of, live, models_in, own, path_of, pk_of, place_of, root_of, settle, unloaded_in
from rapyerd.reading import read, read_many
from rapyerd.record import before, current_pipeline, held, op_at
from rapyerd.result import CascadeResult, DeleteResult, GetOrCreateResult
from rapyerd.scalars import Scalar, load_field
from rapyerd.schema import is_atomic, marked
from rapyerd.sets import RedisSet
from rapyerd.ttl import spread, touch
from rapyerd.write import flush, submit

M = TypeVar("M", bound="AtomicRedisModel")

models: list[Any] = []
PKS = (int, uuid.UUID, dt.date)  # what a key field may hold, besides a str
_WRAPPED = (Scalar, RedisList, RedisDict, RedisSet)
_BARE = frozenset((int, float, str, bytes, bool, type(None)))  # values that are nobody's lodgers


def absorb(model: Any, read: Any) -> None:
    """What was read becomes the model's content. Inner models, elements and containers that are here
    already stay the same objects; what was assigned here and not sent stays, too."""
    schema = schema_of(type(model))
    place = place_of(model)
    mine, values = model.__dict__, read.__dict__
    its = getattr(read, "__rapyer_place__", None)  # a plain model has none
    unloaded = its.unloaded if its is not None else None
    failed = its.failed if its is not None else None
    place.failed = {n for n in failed if not place.changes or n not in place.changes} if failed else None
    for name, codec in schema.codecs.items():
        if (place.changes and name in place.changes) or (unloaded and name in unloaded):
            continue
        value = values[name]
        there = mine.get(name)
        if (codec.model or codec.plain) and is_atomic(type(there)) and value is not None:
            absorb(there, value)
        elif value is not None and getattr(there, "__rapyer_owner__", None) is model:
            there._absorb(value)
        else:
            mine[name] = value
    model.__pydantic_fields_set__.update(values)


def _may_be_none(annotation: Any) -> bool:
    if annotation is None or annotation is type(None) or annotation is Any:
        return True
    return get_origin(annotation) is not None and any(_may_be_none(a) for a in get_args(annotation))


@dataclass_transform(kw_only_default=True)
class _Meta(ModelMetaclass):
    """Makes the fields of a class what `fields.Field` says, once pydantic is done with it."""

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], **more: Any) -> Any:
        fields.building.depth += 1
        # `n: RedisInt = RedisInt(0)`, as type checkers want it, is a default like 0.
        body.update({n: v.clone() for n, v in body.items() if isinstance(v, _WRAPPED)})
        try:
            cls: Any = super().__new__(mcs, name, bases, body, **more)
            changed = False
            for info in cls.model_fields.values():
                # `x: datetime = None` says that it may be None.
                if info.default is None and not info.is_required() and not _may_be_none(info.annotation):
                    info.annotation = Optional[info.annotation]  # noqa: UP045
                    changed = True
            if changed:
                cls.model_rebuild(force=True, raise_errors=False)
        finally:
            fields.building.depth -= 1
        for field in cls.model_fields:
            type.__setattr__(cls, field, fields.Field(field))
        for field, info in cls.model_fields.items():
            if marked(info, KeyAnnotation):
                cls.__rapyer_key__ = field
        if (
            "__rapyer_twin__" not in body
            and cls.__module__ != __name__
            and not getattr(cls, "__parameters__", ())
        ):
            models.append(cls)
        return cls

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                raise AttributeError(f"{cls.__name__} has no field {name!r}", name=name, obj=cls) from None


class AtomicRedisModel(BaseModel, metaclass=_Meta):
    """A model whose documents live in Redis. An instance that was not saved is a draft: it is changed
    without any I/O, and goes on living where it is saved or put."""

    __slots__ = ("__rapyer_place__", "__weakref__")
    __rapyer_atomic__: ClassVar[bool] = True
    __rapyer_owner__: ClassVar[Any] = None  # which containers have
    __rapyer_key__: ClassVar[str | None] = None
    __rapyer_twin__: ClassVar[Any] = None  # the pydantic model that it is the atomic form of
    __rapyer_run__: ClassVar[Callable[[Steps[Any]], Any]] = staticmethod(run)
    # Reads a document where that needs no waiting, for classes that block.
    __rapyer_look__: ClassVar[Callable[[str], dict[str, Any] | None] | None] = None

    Meta: ClassVar[RedisConfig] = RedisConfig()

    # --- who it is ----------------------------------------------------------------------------

    @property
    def pk(self) -> str:
        """The primary key: the key field, or a UUID."""
        return RapyerKey(pk_of(self))

    @pk.setter
    def pk(self, value: str) -> None:
        place = place_of(self)
        place.pk, place.named = str(value), True

    _pk = pk  # by which Rapyer's users give a model that of another

    @property
    def key(self) -> str:
        """``Model:pk``; of an inner model, that of its document."""
        return RapyerKey(key_of(root_of(self)))

    @key.setter
    def key(self, value: str) -> None:
        self.pk = value.partition(":")[2] or value

    @property
    def field_name(self) -> str:
        """``.field`` of the other model that this one stands in, "" for a document."""
        name = place_of(self).name
        return f".{name}" if name else ""

    @property
    def field_path(self) -> str:
        """Where in its document this model is: ``.field``, "" for the document."""
        path = path_of(self)
        return f".{path}" if path else ""

    @property
    def json_path(self) -> str:
        """Where Rapyer keeps it in its document: ``$.field``."""
        return f"${self.field_path}"

    @property
    def failed_fields(self) -> set[str]:
        """`SafeLoad` fields whose stored value could not be read."""
        return place_of(self).failed or set()

    @classmethod
    def class_key_initials(cls) -> str:
        """The model's name in keys; to be overridden for another one."""
        return cls.__name__ if cls.__rapyer_twin__ is None else f"{cls.__name__}_atomic"

    def is_inner_model(self) -> bool:
        return place_of(self).owner is not None

    # --- documents ----------------------------------------------------------------------------

    def save(self) -> Awaitable[Self]:
        """Stores the document, in place of what is there; an inner model in its place."""
        return self._run(self._save())  # type: ignore[no-any-return]

    def load(self, *names: str) -> Awaitable[Self]:
        """Takes what is stored. With the names of fields: in those alone, be they lazy or not."""
        return self._run(self._load_fields(names) if names else self._load())  # type: ignore[no-any-return]

    def delete(self) -> Awaitable[bool]:
        """Removes the document; False when there was none."""
        return self._run(self._delete())  # type: ignore[no-any-return]

    def duplicate(self) -> Awaitable[Self]:
        """A copy of the document under another pk."""
        return self._run(self._duplicate())  # type: ignore[no-any-return]

    def duplicate_many(self, num: int) -> Awaitable[list[Self]]:
        """Several copies, each under a pk of its own."""
        return self._run(self._duplicate_many(num))  # type: ignore[no-any-return]

    def update(self, **values: Any) -> None:
        """Assigns fields."""
        for name, value in values.items():
            setattr(self, name, value)

    def aupdate(self, **values: Any) -> Awaitable[None]:
        """Assigns fields, here and in the daemon, as one."""
        return self._run(self._update(values))  # type: ignore[no-any-return]

    def set_ttl(self, ttl: int, cascade: bool = False) -> Awaitable[CascadeResult | None]:
        """Seconds for which the document lives from now on; 0: for ever.

        `cascade`: what it refers to, by fields with `CascadeTTL`, lives for the `ttl` of its own class from
        now on; the result says what of that is not there. None in a pipeline, which does it behind its
        commit."""
        return self._run(self._set_ttl(ttl, cascade))  # type: ignore[no-any-return]

    def refresh_ttl(self, can_use_pipeline: bool = False) -> Awaitable[None]:
        """The document lives for its class's `ttl` from now on."""
        return self._run(self._refresh_ttl())  # type: ignore[no-any-return]

    def refresh_ttl_if_needed(
        self, can_use_pipeline: bool = False, action: ActionGroup | None = None
    ) -> Awaitable[None]:
        """The same, where operations of this group do so."""
        group = ActionGroup.all() if action is None else action
        return self._run(self._refresh_ttl() if type(self).Meta.refreshes(group) else done(None))  # type: ignore[no-any-return]

    @classmethod
    def get(cls, key: Any, *, resolve: bool | list[str] = False, depth: int = 1) -> Awaitable[Self]:
        """The document of a key, or of a pk. `KeyNotFound` when there is none.

        `resolve`: with what it refers to, so that its references are fetched; or the names of the fields
        whose references are. `depth`: so many references away."""
        if resolve:
            return cls._run_class(get_resolved(cls, cls._key(key), resolve, depth))  # type: ignore[no-any-return]
        look = cls.__rapyer_look__
        if look is not None and cls.Meta.ttl is None:
            schema = schema_of(cls)
            at_hand = isinstance(key, str) and key.startswith(schema.prefix)
            data = look(key if at_hand else cls._key(key))
            if data is not None:
                return schema.decode(data, True)  # type: ignore[no-any-return]
        return cls._run_class(cls._get(key))  # type: ignore[no-any-return]

    @classmethod
    def exists(cls, key: Any) -> Awaitable[bool]:
        """Is there such a document?"""
        return cls._run_class(cls._exists(key))  # type: ignore[no-any-return]

    @classmethod
    def delete_by_key(cls, key: Any) -> Awaitable[bool]:
        return cls._run_class(cls._delete_key(cls._key(key)))  # type: ignore[no-any-return]

    @classmethod
    def find(
        cls, *args: Any, max_results: int | None = None, sort: str | None = None
    ) -> Awaitable[list[Self]]:
        """The documents of these keys, of which all must be there; or those for which all of these
        expressions hold; or all. `sort`: the path of a field, with ``-`` before it from the highest down."""
        return cls._run_class(searching.find(cls, args, max_results, sort))  # type: ignore[no-any-return]

    @classmethod
    def find_count(cls, *expressions: Any) -> Awaitable[int]:
        """For how many documents all of these expressions hold; how many there are."""
        return cls._run_class(searching.count(cls, expressions))  # type: ignore[no-any-return]

    @classmethod
    def find_one(cls, *args: Any) -> Awaitable[Self | None]:
        """The first of `find`, or None."""
        return cls._run_class(searching.find_one(cls, args))  # type: ignore[no-any-return]

    @classmethod
    def find_keys(cls, max_results: int | None = None) -> Awaitable[list[RapyerKey]]:
        """The keys of all documents."""
        return cls._run_class(searching.find_keys(cls, max_results))  # type: ignore[no-any-return]

    @classmethod
    def insert(cls, *models: Self) -> Awaitable[tuple[Self, ...]]:
        """Saves several documents, all or none."""
        return cls._run_class(insert_all(models))  # type: ignore[no-any-return]

    @classmethod
    def delete_many(cls, *args: Any) -> Awaitable[DeleteResult]:
        """Removes documents: models, keys, or all for which the expressions hold."""
        return cls._run_class(searching.delete_many(cls, args))  # type: ignore[no-any-return]

    @classmethod
    def update_many(
        cls, *expressions: Any, change: Callable[[Self], Any] | None = None, **values: Any
    ) -> Awaitable[int]:
        """Changes all documents for which all of these expressions hold; how many were. Fields get `values`;
        `change`, also an ``async def``, is called once, with a model that stands for each of them, and does
        what a pipeline can do: ``lambda user: user.tags.append("seen")``. Each document is changed as one,
        if the expressions still hold for it."""
        return cls._run_class(searching.update_many(cls, expressions, change, values))  # type: ignore[no-any-return]

    @classmethod
    def get_or_create(cls, model: Self) -> Awaitable[GetOrCreateResult[Self]]:
        """The stored document of this model's key; the model, saved, if there is none."""
        return cls._run_class(get_or_create(model))  # type: ignore[no-any-return]

    @classmethod
    def create_index(cls) -> Awaitable[None]:
        """Nothing but to see that there can be indexes: they are there from the first use of the class on."""
        schema_of(cls)
        return cls._run_class(done(None))  # type: ignore[no-any-return]

    @classmethod
    def init_class(cls) -> None:
        """Nothing: a class is complete when it is made."""

    acreate_index = adelete_index = create_index
    asave = save
    aload = load
    adelete = delete
    aduplicate = duplicate
    aduplicate_many = duplicate_many
    aset_ttl = set_ttl
    aget = get
    aexists = exists
    adelete_by_key = delete_by_key
    afind = find
    afind_count = find_count
    afind_one = find_one
    afind_keys = find_keys
    ainsert = insert
    adelete_many = delete_many
    aupdate_many = update_many
    aget_or_create = get_or_create

    # --- pipelines and locks ------------------------------------------------------------------

    def pipeline(self, ignore_redis_error: bool = False, use_existing_pipe: bool = False) -> Pipeline[Self]:
        """What is done inside is done as one at the end, or not at all."""
        return Pipeline(self, type(root_of(self)).__rapyer_run__, ignore_redis_error, use_existing_pipe)

    def lock(
        self,
        action: str = "default",
        save_at_end: bool | None = None,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        shared: bool = False,
    ) -> Lock[Self]:
        """Excludes all others that take the lock of this name, of this document or inner model. What is
        assigned inside is saved with the release, unless `save_at_end` is False."""
        root = root_of(self)
        options: dict[str, Any] = {"save_at_end": save_at_end, "ttl": ttl, "wait": wait, "shared": shared}
        return Lock(self, key_of(root), path_of(self), action, cls=type(root), **options)

    @classmethod
    def lock_from_key(
        cls,
        key: str,
        action: str = "default",
        save_at_end: bool | None = None,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        shared: bool = False,
    ) -> Lock[Self]:
        """The same for the document of a key."""
        options: dict[str, Any] = {"save_at_end": save_at_end, "ttl": ttl, "wait": wait, "shared": shared}
        return Lock(None, cls._key(key), "", action, cls=cls, **options)

    apipeline = pipeline
    alock = lock
    alock_from_key = lock_from_key

    # --- how it is done -----------------------------------------------------------------------

    def redis_dump(self) -> dict[str, Any]:
        """The model as the daemon gets it."""
        settle(self)
        return schema_of(type(self)).encode(self)

    def _run(self, steps: Steps[Any]) -> Any:
        return type(root_of(self)).__rapyer_run__(steps)

    @classmethod
    def _run_class(cls, steps: Steps[Any]) -> Any:
        return cls.__rapyer_run__(steps)

    @classmethod
    def _key(cls, key: Any) -> str:
        """A key as the daemon knows it: of a model, of a key, or of a pk alone."""
        if isinstance(key, str) and key.startswith(schema_of(cls).prefix):
            return key
        if isinstance(key, AtomicRedisModel):
            return key_of(root_of(key))
        name = schema_of(cls).name
        if not isinstance(key, str):
            if not isinstance(key, PKS) or isinstance(key, bool):
                raise UnsupportedArgumentTypeError(
                    f"a key of {name}, or a pk, is wanted: a str, or the value of its key field, not {key!r}"
                )
            return f"{name}:{key}"
        head, colon, pk = key.partition(":")
        if colon and head in (name, cls.class_key_initials()):
            return f"{name}:{pk}"
        if colon and cls.__rapyer_key__ is None:
            return key
        return f"{name}:{key}"

    @classmethod
    def __rapyer_loaded__(cls, data: dict[str, Any]) -> Self:
        return schema_of(cls).decode(data, True)  # type: ignore[no-any-return]

    def _save(self) -> Steps[Self]:
        place = place_of(self)
        schema = schema_of(type(self))
        root, recorder = before(self, self)
        if root is not self:
            if live(root):
                settle(self)
                op = ["set", key_of(root), path_of(self), schema.encode(self)]
                pipeline = current_pipeline()
                if pipeline is not None:
                    pipeline.add(root, op, None)
                else:
                    yield from submit(root, [op])
                place.changes = None
            return self
        settle(self)
        key = key_of(self)
        op = ["doc.save", key, schema.encode(self)]
        pipeline = current_pipeline()
        if pipeline is not None:
            if recorder is None:
                pipeline.remember(self)
            pipeline.add(self, op, None)
        else:
            yield from submit(self, [op])
        place.saved = True
        place.changes = None
        return self

    def _load(self) -> Steps[Self]:
        before(self, self)
        root = root_of(self)
        place = place_of(self)
        if root is not self and not live(root):
            return self
        place.changes = None
        yield from refresh(self)
        if root is self:
            place.saved = True
        yield from touch([root], ActionGroup.READ)
        return self

    def _load_fields(self, names: tuple[str, ...]) -> Steps[Self]:
        known = schema_of(type(self)).codecs
        for name in names:
            if name not in known:
                raise UnsupportedArgumentValueError(
                    f"{type(self).__name__} has no field {name!r} that is kept"
                )
        for name in names:
            if known[name].kind == "model":
                yield from getattr(self, name)._load()
            else:
                yield from load_field(self, name)
        return self

    def _delete(self) -> Steps[bool]:
        if self.is_inner_model():
            raise BadDeleteActionError(
                "only whole documents can be deleted; remove the element from its container"
            )
        pipeline = current_pipeline()
        if pipeline is not None:
            pipeline.remember(self)
        gone = yield from self._delete_key(key_of(self))
        place = place_of(self)
        place.saved = place.named = False
        return gone

    @classmethod
    def _delete_key(cls, key: str) -> Steps[bool]:
        pipeline = current_pipeline()
        if pipeline is not None:
            pipeline.ops.append(["doc.delete", key])
            pipeline.answers.append(None)
            pipeline.models[cls] = None
            return True
        locks = held(key)
        if locks:
            tokens = [lock.token for lock in locks]
            (count,) = yield Call(
                "pipeline", [[["doc.delete", key]], {"lock": tokens}], (cls,), link=locks[0].link
            )
            for lock in locks:
                lock.clear()
        else:
            count = yield Call("doc.delete", [key], (cls,))
        return bool(count)

    def _duplicate(self) -> Steps[Self]:
        (copy,) = yield from self._duplicate_many(1)
        return copy

    def _duplicate_many(self, num: int) -> Steps[list[Self]]:
        if self.is_inner_model():
            raise RuntimeError("Can only duplicate from top level model")
        if current_pipeline() is not None or not place_of(self).saved:
            return (yield from self._copies(num))
        cls = type(self)
        if num == 1:
            said = yield Call("doc.duplicate", [key_of(self)], (cls,))
            keys = [said["key"]]
        else:  # all of them as one
            content = yield Call("doc.load", [key_of(self), ""], (cls,), True)
            content.pop("@pk", None)
            name = schema_of(cls).name
            keys = [f"{name}:{uuid.uuid4()}" for _ in range(num)]
            ops = [["doc.save", key, self._content_for(key, content)] for key in keys]
            yield Call("pipeline", [ops], (cls,))
        yield from spread([["doc.save", key] for key in keys])
        said = yield from read_many([(cls, key) for key in keys])
        return [cls.__rapyer_loaded__(data) for data in said if data is not None]

    def _content_for(self, key: str, content: dict[str, Any]) -> dict[str, Any]:
        """The content of this document as that of another pk."""
        field = type(self).__rapyer_key__
        if field is None:
            return content
        return {**content, field: schema_of(type(self)).codecs[field].put(key.partition(":")[2])}

    def _copies(self, num: int) -> Steps[list[Self]]:
        """Copies of what is here: drafts of a draft; in a pipeline they are saved with it."""
        out: list[Self] = []
        if current_pipeline() is not None:
            for model, name in unloaded_in(self):
                yield from load_field(model, name)
        for _ in range(num):
            copy = self.model_copy(deep=True)
            place_of(copy).pk = None
            if place_of(self).saved:
                yield from copy._save()
            out.append(copy)
        return out

    def _update(self, values: dict[str, Any]) -> Steps[None]:
        root, recorder = before(self, self)
        if not live(root) or recorder is not None:
            self.update(**values)
            if recorder is not None and recorder is not current_pipeline():
                yield from flush(key_of(root))
            return
        schema = schema_of(type(self))
        old = {name: self.__dict__.get(name) for name in values}
        place = place_of(self)
        changes = dict(place.changes or {})
        self.update(**values)
        ops = [
            op_at(root, self, n, "set", schema.codecs[n].put(getattr(self, n)))
            for n in values
            if n in schema.codecs
        ]
        place.changes = {n: c for n, c in changes.items() if n not in values} or None
        try:
            if ops:
                yield from submit(root, ops)
        except BaseException:
            mine: Any = self.__dict__
            mine.update(old)
            place.changes = changes or None
            raise

    def _set_ttl(self, ttl: int, cascade: bool) -> Steps[CascadeResult | None]:
        if self.is_inner_model():
            raise RuntimeError("only whole documents have a time to live")
        plan = plan_of(type(self)) if cascade else None
        call = Call("doc.ttl", [key_of(self), ttl], (type(self),))
        if plan is not None:
            call = Call("doc.ttl", [key_of(self), ttl, plan.options], plan.models)
        pipeline = current_pipeline()
        if pipeline is not None:
            pipeline.later.append(call)
            return None
        said = yield call
        if not cascade:
            return None
        missing = said["missing"] if plan is not None else []
        return CascadeResult(len(missing), sum(specials(key) for key in missing))

    def _refresh_ttl(self) -> Steps[None]:
        ttl = type(self).Meta.ttl
        if ttl is not None:
            yield from self._set_ttl(ttl, True)

    @classmethod
    def _get(cls, key: str) -> Steps[Self]:
        said = yield from read(cls, cls._key(key), cls)
        model = cls.__rapyer_loaded__(said)
        if cls.Meta.ttl is not None:
            yield from touch([model], FETCHES)
        return model

    @classmethod
    def _exists(cls, key: Any) -> Steps[bool]:
        return bool((yield Call("doc.exists", [cls._key(key)], (cls,), True)))

    # --- as pydantic has it -------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        if name not in cls.__pydantic_fields__:
            super().__setattr__(name, value)
            return
        there = self.__dict__.get(name)
        if value is there and hasattr(type(value), "_absorb"):
            return  # `m.tags += [...]` has done it
        made = None
        if isinstance(value, Scalar) and value._made and value._owner is self and value._base is there:
            made = value._made
        root, recorder = before(self, self)
        if recorder is not None and is_atomic(type(value)):
            recorder.remember(value)
        values: Any = self.__dict__
        self.__pydantic_validator__.validate_assignment(self, name, value)
        if self.__dict__ is not values and cls.__rapyer_twin__ is not None:  # it shares its values
            now = self.__dict__
            values.clear()
            values.update(now)
            object.__setattr__(self, "__dict__", values)
        if type(self.__dict__[name]) not in _BARE:
            getattr(self, name)  # lives here from now on
        place = place_of(self)
        if place.unloaded:
            place.unloaded.discard(name)
        if place.failed:
            place.failed.discard(name)
        if not live(root):
            return
        codec = schema_of(cls).codecs.get(name)
        if codec is None:
            return
        if recorder is None:
            self._changed(name, made)
        elif made is not None:
            for method, argument in made:
                recorder.add(root, op_at(root, self, name, method, argument), (self, name), True)
        else:
            current = getattr(self, name)
            if codec.atomic:
                for inner in models_in(codec, current):
                    settle(inner)
            recorder.add(root, op_at(root, self, name, "set", codec.put(current)), (self, name))

    def _changed(self, name: str, made: list[tuple[str, Any]] | None) -> None:
        """A field was assigned, and nobody gathers that."""
        place = place_of(self)
        if place.changes is None:
            place.changes = {}
        before = place.changes.get(name, [])
        if made is None or before is None:
            place.changes[name] = None
            return
        for method, argument in made:
            if before and method == "num.incr" == before[-1][0]:
                before[-1] = (method, before[-1][1] + argument)
            else:
                before.append((method, argument))
        place.changes[name] = before

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseModel):
            return NotImplemented
        if isinstance(other, type(self)) or isinstance(self, type(other)):
            return {n: getattr(self, n) for n in type(self).model_fields} == {
                n: getattr(other, n, None) for n in type(other).model_fields
            }
        return bool(super().__eq__(other))

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self) -> Self:
        copy = super().__copy__()
        self._copied(copy)
        return copy

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        copy = super().__deepcopy__(memo)
        self._copied(copy)
        return copy

    def _copied(self, copy: Any) -> None:
        """A copy is a draft with the same pk; what it holds is not the fields of this one."""
        mine, its = place_of(self), place_of(copy)
        its.pk = mine.pk
        its.unloaded = set(mine.unloaded) if mine.unloaded else None
        values = copy.__dict__
        for name, value in values.items():
            if isinstance(value, RedisType):
                values[name] = value.clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        plain = type(self).__dict__.get("__rapyer_twin__")
        if plain is None:
            return super().__reduce_ex__(protocol)
        # A twin's class has no name by which it is found again.
        instance = object.__new__(plain)
        for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(instance, name, getattr(self, name))
        return _unpickled, (plain, instance.__getstate__())

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        place = place_of(self)
        state["__rapyer__"] = (place.pk, place.saved, place.unloaded)
        return state

    def __setstate__(self, state: dict[Any, Any]) -> None:
        pk, saved, *more = state.pop("__rapyer__", (None, False))
        super().__setstate__(state)
        place = place_of(self)
        place.pk, place.saved, place.unloaded = pk, saved, more[0] if more else None


def _unpickled(plain: Any, state: Any) -> Any:
    instance = object.__new__(plain)
    instance.__setstate__(state)
    return instance


__all__ = ["AtomicRedisModel", "absorb", "models", "own"]
