"""Numbers, strings, bytes and datetimes that know the field they are the value of.

They are what they are, with the operations added. ``m.n += 1`` makes a number that remembers that it is
one more than the field's value; when it is assigned to the field, that is what is sent, not the number.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rapyerd import links
from rapyerd.call import Call, Steps
from rapyerd.config import ActionGroup, RedisConfig
from rapyerd.described import schema_of
from rapyerd.errors import CantSerializeRedisValueError, CorruptedModelError
from rapyerd.kinds import RedisType
from rapyerd.place import field_path, key_of, live, place_of, root_of, unread
from rapyerd.record import before, current_pipeline, held, keep, op_at, ungathered
from rapyerd.ttl import touch
from rapyerd.write import flush, submit

if TYPE_CHECKING:
    from collections.abc import Awaitable

Made = list[tuple[str, Any]]
S = TypeVar("S", bound="Scalar")


class Scalar(RedisType):
    """What the values of fields can do, whatever they are."""

    _plain: Any = None
    _owner: Any = None
    _name: Any = ""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return handler.generate_schema(cls._plain)

    _base: Any = None
    _made: Made | None = None

    def _bind(self: S, owner: Any, name: str) -> S:
        self._owner = owner
        self._name = name
        return self

    def _after(self, value: Any, method: str, argument: Any) -> Any:
        """The value that the field gets when this was done to it."""
        cls: Any = type(self)
        out = cls(value)
        if self._owner is not None:
            out._owner = self._owner
            out._name = self._name
            out._base = self if self._made is None else self._base
            out._made = [*(self._made or ()), (method, argument)]
        return out

    @property
    def _model(self) -> Any:
        """The model that it is in; its owner may be a list or dict of that."""
        above = getattr(self._owner, "__rapyer_owner__", None)
        return self._owner if above is None else above

    def _run(self, steps: Steps[Any]) -> Any:
        return type(root_of(self._model)).__rapyer_run__(steps)

    @property
    def key(self) -> str:
        """The key of the document."""
        return key_of(root_of(self._model))

    @property
    def field_path(self) -> str:
        """Where in its document it is: ``.field``, ``.field[0]``, ``.field.key``."""
        if self._model is not self._owner:
            where = f"[{self._name}]" if isinstance(self._name, int) else f".{self._name}"
            return f"{self._owner.field_path}{where}"
        return f".{field_path(self._owner, self._name)}"

    @property
    def json_path(self) -> str:
        """Where Rapyer keeps it in its document: ``$.field``."""
        return f"${self.field_path}"

    @property
    def field_name(self) -> str:
        return f"[{self._name}]" if isinstance(self._name, int) else f".{self._name}"

    def save(self) -> Awaitable[Any]:
        """Sends the field's value; after ``+=`` and its like, what was done to it."""
        if self._model is not self._owner:
            return self._run(self._owner._save_element(self._name, self))  # type: ignore[no-any-return]
        return self._run(save_field(self._owner, self._name))  # type: ignore[no-any-return]

    def load(self) -> Awaitable[Any]:
        """Reads the field's value."""
        if self._model is not self._owner:
            return self._run(self._owner._load_element(self._name))  # type: ignore[no-any-return]
        return self._run(load_field(self._owner, self._name))  # type: ignore[no-any-return]

    asave = save
    aload = load

    def clone(self) -> Any:
        """The value alone."""
        return self.__reduce_ex__(4)[1][0]

    def __copy__(self) -> Any:
        return self.clone()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.clone()


def save_field(owner: Any, name: str) -> Steps[Any]:
    """What was done to a field, or the value that it has, goes to the daemon."""
    place = place_of(owner)
    made = place.changes.get(name) if place.changes else None
    codec = schema_of(type(owner)).codecs[name]
    root, recorder = before(owner, owner)
    value = getattr(owner, name)
    if not live(root):
        return value
    if place.failed and name in place.failed:
        raise unread(owner, (name,))
    if recorder is not None and (id(owner), name) in recorder.written:
        if recorder is not current_pipeline():
            yield from flush(key_of(root))
        return getattr(owner, name)
    if made is None:
        ops = [op_at(root, owner, name, "set", codec.put(value))]
    else:
        ops = [op_at(root, owner, name, method, argument) for method, argument in made]
    if place.changes:
        place.changes.pop(name, None)
    if current_pipeline() is not None and recorder is not None:
        for op in ops:
            recorder.add(root, op, (owner, name), made is not None)
        return value
    try:
        results = yield from submit(root, ops)
    except BaseException:
        if made is not None or name not in (place.changes or {}):
            if place.changes is None:
                place.changes = {}
            place.changes.setdefault(name, made)
        raise
    if made is not None:
        owner.__dict__[name] = codec.take(results[-1])
    keep(owner, name)
    return getattr(owner, name)


def load_field(owner: Any, name: str) -> Steps[Any]:
    """What the daemon has in a field."""
    root = root_of(owner)
    if not live(root):
        return None  # there is nothing
    link = next((lock.link for lock in held(key_of(root))), None)
    call = Call("doc.load", [key_of(root), field_path(owner, name)], (type(root),), True, link)
    schema = schema_of(type(owner))
    place = place_of(owner)
    failed = set(place.failed or ())
    failed.discard(name)
    codec, said = schema.codecs[name], None
    try:
        said = yield call
        value = codec.take(said)
    except (CorruptedModelError, CantSerializeRedisValueError, ValueError):
        if name not in schema.safe:
            raise
        value = None if said is None else codec.readable(said)
        failed.add(name)
    place.failed = failed
    if place.changes:
        place.changes.pop(name, None)
    if place.unloaded:
        place.unloaded.discard(name)
    take_field(owner, name, value)
    keep(owner, name)
    yield from touch([root], ActionGroup.READ)
    return getattr(owner, name)


def take_field(owner: Any, name: str, value: Any) -> None:
    """A field's value as it was read. A container that is there already gets the content."""
    there: Any = owner.__dict__.get(name)
    if value is not None and getattr(there, "__rapyer_owner__", None) is owner:
        there._absorb(value)
    else:
        owner.__dict__[name] = value


def _increase(value: Number, amount: Any, guess: Any) -> Steps[Any]:
    """Adds to a field at once; in a pipeline, with it."""
    owner, name, method, argument = value._owner, value._name, "num.incr", value._wired(amount)
    root, recorder = before(owner, owner)
    gathered = recorder is not None and recorder is current_pipeline()
    if gathered or not live(root):
        if recorder is not None:
            recorder.add(root, op_at(root, owner, name, method, argument), (owner, name), True)
        owner.__dict__[name] = guess
        return getattr(owner, name)
    results = yield from submit(root, [op_at(root, owner, name, method, argument)])
    owner.__dict__[name] = schema_of(type(owner)).codecs[name].take(results[-1])
    keep(owner, name)
    return getattr(owner, name)


async def _increased(value: Number, root: Any, amount: Any, guess: Any) -> Any:
    """The same under asyncio. Few things are done as often as this: where nobody gathers it, and nothing is
    to be done behind it, it goes a short way."""
    if not ungathered() or not live(root) or RedisConfig.grouped or RedisConfig.cascades:
        return await links.run(_increase(value, amount, guess))
    owner, name = value._owner, value._name
    path = name if owner is root else field_path(owner, name)
    try:
        answer = await links.write("num.incr", [key_of(root), path, value._wired(amount)], type(root))
    except links.lost:
        raise links.after_loss("num.incr") from None
    kind: Any = type(value)
    decode = schema_of(type(owner)).codecs[name].decode
    made = owner.__dict__[name] = kind(answer if decode is None else decode(answer))
    made._owner = owner
    made._name = name
    return made


class Number(Scalar):
    """What int and float have in common."""

    def _wired(self, amount: Any) -> Any:
        """A number of this kind as it goes over the wire."""
        return amount

    def increase(self, amount: Any = 1) -> Awaitable[Any]:
        """Adds to the field, whatever it is in the daemon by now, and gives back the new number."""
        owner = self._owner
        if owner.__rapyer_owner__ is not None:
            return self._run(owner._increase_element(self._name, self, amount))  # type: ignore[no-any-return]
        guess = owner.__dict__[self._name] + amount
        root = root_of(owner)
        run = root.__rapyer_run__
        if run is links.run:
            return _increased(self, root, amount, guess)
        return run(_increase(self, amount, guess))  # type: ignore[no-any-return]

    aincrease = increase


def _step(
    method: str, compute: Callable[[Any, Any], Any], argument: Callable[[Any], Any] = lambda x: x
) -> Any:
    def operator(self: Any, other: Any) -> Any:
        value = compute(self, other)
        if value is NotImplemented:
            return NotImplemented
        return self._after(value, method, argument(other))

    return operator


class RedisInt(int, Number):
    """An int that is the value of a field."""

    _plain = int

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return int, (int(self),)

    __iadd__ = _step("num.incr", int.__add__)
    __isub__ = _step("num.incr", int.__sub__, lambda n: -n)
    __imul__ = _step("num.mul", int.__mul__)
    __ifloordiv__ = _step("num.floordiv", int.__floordiv__)
    __imod__ = _step("num.mod", int.__mod__)
    __ipow__ = _step("num.pow", int.__pow__)


class RedisFloat(float, Number):
    """A float that is the value of a field."""

    _plain = float

    def __reduce__(self) -> Any:
        return float, (float(self),)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return float, (float(self),)

    __iadd__ = _step("num.incr", float.__add__)
    __isub__ = _step("num.incr", float.__sub__, lambda n: -n)
    __imul__ = _step("num.mul", float.__mul__)
    __itruediv__ = _step("num.div", float.__truediv__)
    __ifloordiv__ = _step("num.floordiv", float.__floordiv__)
    __imod__ = _step("num.mod", float.__mod__)
    __ipow__ = _step("num.pow", float.__pow__)


def _text(value: Any) -> str:
    return format(decimal.Decimal(value), "f")


class RedisDecimal(decimal.Decimal, Number):
    """A Decimal that is the value of a field."""

    _plain = decimal.Decimal

    def __reduce__(self) -> Any:
        return decimal.Decimal, (str(self),)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return decimal.Decimal, (str(self),)

    def clone(self) -> decimal.Decimal:
        return decimal.Decimal(self)

    def _wired(self, amount: Any) -> Any:
        return _text(amount)

    __iadd__ = _step("num.incr", decimal.Decimal.__add__, _text)
    __isub__ = _step("num.incr", decimal.Decimal.__sub__, lambda n: _text(-n))
    __imul__ = _step("num.mul", decimal.Decimal.__mul__, _text)


class RedisStr(str, Scalar):
    """A str that is the value of a field."""

    _plain = str

    def __reduce__(self) -> Any:
        return str, (str(self),)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return str, (str.__str__(self),)

    __iadd__ = _step("str.append", str.__add__)
    __imul__ = _step("str.repeat", str.__mul__, lambda n: max(n, 0))


class RedisBytes(bytes, Scalar):
    """Bytes that are the value of a field."""

    _plain = bytes

    def __reduce__(self) -> Any:
        return bytes, (bytes(self),)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return bytes, (bytes(self),)

    __iadd__ = _step("bytes.append", bytes.__add__)


def _seconds(delta: dt.timedelta) -> int | float:
    seconds = delta.total_seconds()
    return int(seconds) if seconds == int(seconds) else seconds


class RedisDatetime(dt.datetime, Scalar):
    """A datetime that is the value of a field."""

    _plain = dt.datetime

    def __new__(cls, value: Any, *more: Any, **named: Any) -> Any:
        if isinstance(value, dt.datetime):
            return dt.datetime.__new__(
                cls, value.year, value.month, value.day, value.hour, value.minute, value.second,
                value.microsecond, value.tzinfo, fold=value.fold,
            )  # fmt: skip
        return dt.datetime.__new__(cls, value, *more, **named)

    def clone(self) -> dt.datetime:
        return dt.datetime(
            self.year, self.month, self.day, self.hour, self.minute, self.second, self.microsecond,
            self.tzinfo, fold=self.fold,
        )  # fmt: skip

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.clone().__reduce_ex__(protocol)

    def __add__(self, other: Any) -> Any:
        return self.clone() + other

    def __sub__(self, other: Any) -> Any:
        return self.clone() - (other.clone() if isinstance(other, RedisDatetime) else other)

    def __iadd__(self, other: Any) -> Any:
        if not isinstance(other, dt.timedelta):
            return NotImplemented
        return self._after(self + other, "datetime.add", _seconds(other))

    def __isub__(self, other: Any) -> Any:
        if not isinstance(other, dt.timedelta):
            return NotImplemented
        return self._after(self - other, "datetime.add", -_seconds(other))


RedisDatetimeTimestamp = RedisDatetime
