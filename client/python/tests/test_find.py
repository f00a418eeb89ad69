"""Finding documents by expressions: the daemon looks, by indexes where there are some."""

import asyncio
import datetime as dt
import decimal
import enum

import pytest
from pydantic import ValidationError
from rpc_client import Client

from rapyerd import AtomicRedisModel, Index, IndexAnnotation, Key, sync
from rapyerd.described import schema_of
from rapyerd.errors import (
    BadFilterError,
    OutOfRangeError,
    UnsupportedArgumentTypeError,
    UnsupportedArgumentValueError,
    UnsupportedIndexedFieldError,
)


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Profile(AtomicRedisModel):
    city: Index[str] = ""


class Entry(AtomicRedisModel):
    title: Index[str] = ""
    likes: int = 0


class Member(AtomicRedisModel):
    name: Key[str]
    age: Index[int] = 0
    nick: Index[str | None] = None
    level: Index[Level] = Level.LOW
    since: Index[dt.date] = dt.date(2020, 1, 1)
    seen: Index[dt.datetime] = dt.datetime(2020, 1, 1)
    balance: Index[decimal.Decimal] = decimal.Decimal(0)
    active: Index[bool] = True
    tags: Index[list[str]] = []
    note: str = ""
    pair: tuple[int, int] = (0, 0)
    profile: Profile = Profile()
    posts: list[Entry] = []


MEMBERS = [
    Member(name="ada", age=36, nick="countess", tags=["maths"], profile=Profile(city="London")),
    Member(
        name="bob", age=52, level=Level.HIGH, since=dt.date(2021, 5, 6), posts=[Entry(title="Hello", likes=3)]
    ),
    Member(
        name="cy", age=28, active=False, balance=decimal.Decimal("9.5"), tags=["art", "maths"], pair=(1, 2)
    ),
    Member(
        name="dan",
        age=52,
        note="x",
        seen=dt.datetime(2024, 1, 2),
        posts=[Entry(title="Hi"), Entry(title="Ho")],
    ),
]

EXPRESSIONS = {
    "age": (Member.age == 52, "bob dan"),
    "above": (Member.age > 30, "ada bob dan"),
    "at most": (Member.age <= 36.5, "ada cy"),
    "both": ((Member.age == 52) & (Member.note == "x"), "dan"),
    "either": ((Member.age < 30) | (Member.nick == "countess"), "ada cy"),
    "not": (~(Member.age == 52), "ada cy"),
    "unequal": (Member.nick != "countess", "bob cy dan"),
    "none": (Member.nick == None, "bob cy dan"),  # noqa: E711
    "enum": (Member.level == Level.HIGH, "bob"),
    "date": (Member.since >= dt.date(2021, 1, 1), "bob"),
    "datetime": (Member.seen > dt.datetime(2023, 1, 1), "dan"),
    "decimal": (Member.balance >= decimal.Decimal("9.50"), "cy"),
    "bool": (Member.active == False, "cy"),  # noqa: E712
    "in": (Member.age.in_([28, 36, 99]), "ada cy"),
    "prefix": (Member.nick.startswith("coun"), "ada"),
    "tags": (Member.tags.contains("maths"), "ada cy"),
    "inner": (Member.profile.city == "London", "ada"),
    "elements": (Member.posts.title.startswith("H"), "bob dan"),
    "without index": (Member.posts.likes > 2, "bob"),
    "here": (Member.pair == (1, 2), "cy"),
    "partly here": ((Member.pair == (0, 0)) & (Member.age > 40), "bob dan"),
}


@pytest.fixture
async def members(daemon):
    await Member.insert(*[member.model_copy(deep=True) for member in MEMBERS])


def test_what_is_declared():
    fields = {field["name"]: field.get("index") for field in schema_of(Member).declaration()["fields"]}
    assert {name: by for name, by in fields.items() if by} == {
        "age": "range", "nick": "prefix", "level": "exact", "since": "range", "seen": "range",
        "balance": "range", "active": "exact", "tags": "tags",
    }  # fmt: skip
    assert {name: (e.wire() is None) for name, (e, _) in EXPRESSIONS.items()} == {
        name: "here" in name for name in EXPRESSIONS
    }
    local = [(name, [m.name for m in MEMBERS if e.holds(m)]) for name, (e, _) in EXPRESSIONS.items()]
    assert local == [(name, wanted.split()) for name, (_, wanted) in EXPRESSIONS.items()]


async def test_what_is_found(members):
    for name, (expression, wanted) in EXPRESSIONS.items():
        found = await Member.find(expression)
        assert sorted(member.name for member in found) == wanted.split(), name
        assert await Member.find_count(expression) == len(wanted.split()), name
    assert sorted(m.name for m in await Member.find(Member.age > 30, Member.tags.contains("maths"))) == [
        "ada"
    ]
    assert await Member.find_count() == 4 and (await Member.find_one(Member.age > 60)) is None
    assert (await Member.find_one(Member.age == 36)).nick == "countess"


async def test_in_order_and_not_all(members):
    assert [m.age for m in await Member.find(sort="-age", max_results=3)] == [52, 52, 36]
    assert [m.name for m in await Member.find(Member.age < 60, sort="note", max_results=1)] == ["ada"]
    assert len(await Member.find(Member.age > 0, max_results=2)) == 2
    assert len(await Member.find(Member.age > 0)) == 4


async def test_more_than_a_page(daemon, monkeypatch):
    from rapyerd import searching

    monkeypatch.setattr(searching, "FOUND_AT_ONCE", 7)
    await Member.insert(*[Member(name=f"m{n:02}", age=n, note=str(n % 3)) for n in range(40)])
    assert [m.age for m in await Member.find(Member.age >= 10, sort="age")] == list(range(10, 40))
    assert len(await Member.find(Member.age >= 10)) == 30
    assert len({m.name for m in await Member.find(sort="note")}) == 40
    assert len(await Member.find(Member.note == "1", max_results=9)) == 9
    result = await Member.delete_many(Member.age < 35)
    assert result.keys_deleted == 35 and await Member.find_count() == 5


def older(member):
    member.age += 1
    member.tags.append("older")
    member.profile.city = "Paris"
    member.balance += decimal.Decimal("1.5")
    member.seen += dt.timedelta(days=1)


async def test_all_that_is_found_is_changed(members):
    assert await Member.update_many(Member.age > 30, change=older, note="changed") == 3
    for name, was in {m.name: m for m in MEMBERS}.items():
        now, by = await Member.get(name), int(was.age > 30)
        assert (now.age, now.tags) == (was.age + by, [*was.tags, *["older"] * by])
        assert now.balance == was.balance + decimal.Decimal("1.5") * by
        assert now.seen == was.seen + dt.timedelta(days=by)
        assert (now.note, now.profile.city) == ("changed", "Paris") if by else (was.note, was.profile.city)
    assert await Member.update_many(Member.age > 99, note="nobody") == 0
    assert await Member.update_many(Member.age > 0) == 0  # nothing to do
    # What one document refuses the others do not.
    await Member.update_many(Member.name == "ada", age=(1 << 63) - 1)
    with pytest.raises(OutOfRangeError, match=r"Member:ada: .* \(3 documents were changed\)"):
        await Member.update_many(Member.age > 0, change=lambda m: m.age.increase(5))
    assert sorted(m.age for m in await Member.find(Member.age < 100)) == [33, 58, 58]
    with pytest.raises(ValidationError):
        await Member.update_many(Member.age > 0, age="x")

    async def awaited(member):
        await member.tags.aappend("late")
        member.note = "awaited"

    async def waiting(member):
        await asyncio.sleep(0)

    assert await Member.update_many(Member.age == 33, change=awaited) == 1
    assert ((await Member.get("cy")).note, (await Member.get("cy")).tags[-1]) == ("awaited", "late")
    with pytest.raises(UnsupportedArgumentValueError, match="cannot wait"):
        await Member.update_many(Member.age > 0, change=waiting)
    for wrong in ([], [Member.pair == (1, 2)], ["Member:ada"]):
        with pytest.raises((BadFilterError, UnsupportedArgumentTypeError)):
            await Member.update_many(*wrong, note="x")
    with pytest.raises(UnsupportedArgumentValueError, match="and no others"):
        await Member.update_many(Member.age > 0, change=lambda m: Member(name="new").save())
    async with (await Member.get("ada")).pipeline():
        with pytest.raises(UnsupportedArgumentValueError, match="no pipeline"):
            await Member.update_many(Member.age > 0, note="x")


async def test_all_that_is_found_is_deleted(members):
    deleted = await Member.delete_many(Member.age == 52, Member.note == "x")
    assert (deleted.models_deleted, deleted.keys_deleted) == (1, 1)
    async with (await Member.get("ada")).pipeline():
        assert not (await Member.delete_many(Member.age == 52)).was_committed
        assert await Member.exists("bob")
    assert sorted(await Member.find_keys()) == ["Member:ada", "Member:cy"]
    assert (await Member.delete_many(Member.pair == (1, 2))).models_deleted == 1
    assert (await Member.delete_many(Member.age > 0, Member.age < 0)).models_deleted == 0


async def test_what_was_written_is_found(members, daemon):
    ada = await Member.get("ada")
    async with ada.lock():
        ada.age += 100
    assert [m.name for m in await Member.find(Member.age > 100)] == ["ada"]
    with Client(daemon.socket) as other:
        other.call("set", "Member:bob", "age", 200)
    assert sorted(m.name for m in await Member.find(Member.age > 100)) == ["ada", "bob"]


def test_blocking(daemon):
    twin = sync.twin(Member)
    twin.insert(twin(name="x", age=5))
    assert [m.name for m in twin.find(twin.age == 5)] == ["x"] and twin.find_count(twin.age > 5) == 0
    assert twin.update_many(twin.age == 5, change=lambda m: m.age.increase()) == 1
    assert twin.get("x").age == 6 and twin.delete_many(twin.age == 6).models_deleted == 1


async def test_what_is_no_filter(daemon):
    for wrong in (Member.age, ~Member.age):
        with pytest.raises(BadFilterError):
            await Member.find(wrong)
    with pytest.raises(BadFilterError):
        await Member.find(Member.since > "long ago")
    with pytest.raises(UnsupportedIndexedFieldError):

        class Wrong(AtomicRedisModel):
            pair: Index[tuple[int, int]] = (0, 0)

        await Wrong.create_index()


def test_by_several(daemon):
    from typing import Annotated

    class Named(sync.AtomicRedisModel):
        name: Annotated[str, IndexAnnotation(("exact", "prefix"))] = ""

    Named(name="a").save()
    assert len(Named.find(Named.name.in_(["a", "b"]))) == 1
