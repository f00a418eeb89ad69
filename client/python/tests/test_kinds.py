"""Values that the daemon keeps as texts of their own kind, there and back; Decimals with their operations."""

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import AwareDatetime, NaiveDatetime

from rapyerd import AtomicRedisModel, RedisConfig
from rapyerd.described import schema_of
from rapyerd.errors import OutOfRangeError, RapyerSerializationError

D = decimal.Decimal
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))


class Kinds(AtomicRedisModel):
    price: D = D("1.50")
    day: dt.date = dt.date(2024, 2, 29)
    at: dt.time = dt.time(23, 59, 59, 500000)
    span: dt.timedelta = dt.timedelta(days=-1, microseconds=5)
    ident: uuid.UUID = uuid.UUID(int=7)
    here: NaiveDatetime = dt.datetime(2024, 1, 31, 12, 0, 0, 50)
    there: AwareDatetime = dt.datetime(2024, 1, 31, 12, tzinfo=EAST)
    maybe: D | None = None
    days: list[dt.date] = []
    prices: dict[str, D] = {}
    spans: list[dt.timedelta] = []


def test_what_is_declared():
    wires = {name: codec.wire for name, codec in schema_of(Kinds).codecs.items()}
    assert wires == {
        "price": "decimal", "day": "date", "at": "time", "span": "timedelta", "ident": "uuid",
        "here": "datetime_naive", "there": "datetime_zoned", "maybe": "optional<decimal>",
        "days": "list<date>", "prices": "dict<decimal>", "spans": "list<timedelta>",
    }  # fmt: skip


async def test_there_and_back(daemon, rdb):
    kinds = Kinds(
        days=[dt.date.min, dt.date.max],
        prices={"a": D("0.10"), "b": D("-1E+3")},
        spans=[dt.timedelta.min, dt.timedelta.max, dt.timedelta(), dt.timedelta(microseconds=-1)],
    )
    await kinds.save()
    again = await Kinds.get(kinds.key)
    assert again == kinds
    assert again.there.utcoffset() == EAST.utcoffset(None) and again.here.tzinfo is None
    assert str(again.prices["a"]) == "0.10" and again.maybe is None
    stored = rdb.hgetall(f"rapyer:{{{kinds.key}}}")
    assert stored[b"price"] == b"1.50" and stored[b"day"] == b"2024-02-29"
    assert stored[b"span"] == b"-86399.999995" and stored[b"at"] == b"23:59:59.5"


async def test_decimals_are_exact_and_can_be_added_to(daemon):
    kinds = Kinds(prices={"a": D("0.1")})
    await kinds.save()
    other = await Kinds.get(kinds.key)
    assert await other.price.increase(D("0.2")) == D("1.70")
    assert await other.prices["a"].increase(D("0.2")) == D("0.3")
    async with kinds.pipeline():
        kinds.price -= D("0.7")
        kinds.price *= 3
        kinds.prices["a"] += D("1")
    assert kinds.price == D("3") and kinds.prices == {"a": D("1.3")}
    kinds.price += 1
    await other.price.increase(D("0.5"))
    await kinds.price.save()  # sends one more, not the number
    assert await kinds.price.load() == D("4.5")
    with pytest.raises(OutOfRangeError):
        await kinds.price.increase(D("1e37"))


@pytest.mark.parametrize("name, value", [("price", D("NaN")), ("at", dt.time(1, tzinfo=dt.timezone.utc))])
async def test_what_has_no_form_is_refused(daemon, name, value):
    kinds = Kinds.model_construct(**{name: value})
    with pytest.raises(RapyerSerializationError):
        await kinds.save()


async def test_classes_are_pickled_where_the_model_says_so(daemon):
    class Plugins(AtomicRedisModel):
        Meta = RedisConfig(pickle=True)
        kind: type[Any] | None = None
        hooks: list[Callable[..., Any]] = []

    plugins = Plugins(kind=Kinds, hooks=[uuid.uuid4])
    await plugins.save()
    assert await Plugins.get(plugins.key) == plugins

    class Unnamed(AtomicRedisModel):
        kind: type[Any] | None = None

    with pytest.raises(RapyerSerializationError, match="Pickled"):
        await Unnamed(kind=Kinds).save()
