"""Operations on what is inside values: containers in containers, and pydantic models that are values."""

import pytest
from pydantic import BaseModel

from rapyerd import AtomicRedisModel, sync
from rapyerd.errors import KeyNotFound
from rapyerd.types import RedisDict, RedisInt, RedisList, RedisSet


class Street(BaseModel):
    name: str = ""
    number: int = 0
    floors: list[str] = []


class Home(BaseModel):
    street: Street = Street()
    rooms: dict[str, int] = {}


class Place(AtomicRedisModel):
    grid: list[list[int]] = []
    lines: dict[str, list[str]] = {}
    boxes: list[dict[str, int]] = []
    marks: dict[str, set[str]] = {}
    deep: list[list[list[int]]] = []
    maybe: list[int] | None = None
    home: Home | None = None
    homes: list[Home] = []
    named: dict[str, Home] = {}


def content():
    return {
        "grid": [[1, 2], [3]],
        "lines": {"a.b": ["x"], "b": []},
        "boxes": [{"n": 1}],
        "marks": {"m": {"one"}},
        "deep": [[[1]]],
        "maybe": [1],
        "home": Home(street=Street(name="s", floors=["ground"]), rooms={"hall": 1}),
        "homes": [Home(), Home(rooms={"hall": 2})],
        "named": {"mine": Home()},
    }


@pytest.fixture(params=["draft", "stored"])
async def place(request, daemon):
    place = Place(**content())
    if request.param == "stored":
        await place.save()
    return place


async def as_stored(place):
    """What is in the daemon; where nothing is, what is here."""
    return await Place.get(place.key) if await Place.exists(place.key) else place


async def test_one_by_one(place):
    assert isinstance(place.grid[0], RedisList) and isinstance(place.boxes[0], RedisDict)
    assert isinstance(place.marks["m"], RedisSet) and isinstance(place.homes[0].street.number, RedisInt)
    await place.grid[0].aappend(9)
    await place.grid[-1].ainsert(0, 7)
    assert await place.grid[0][0].increase(4) == 5
    await place.lines["a.b"].aextend(["y", "z"])
    assert await place.lines["a.b"].apop(0) == "x"
    await place.boxes[0].aset_item("m", 2)
    await place.boxes[0]["n"].increase()
    await place.marks["m"].aadd("two")
    await place.deep[0][0].aappend(2)
    await place.maybe.aappend(2)
    await place.home.street.number.increase(3)
    await place.home.street.floors.aappend("first")
    await place.home.aupdate(rooms={"hall": 5})
    await place.homes[1].rooms.aset_item("bath", 1)
    await place.named["mine"].street.aupdate(name="new")
    for each in (place, await as_stored(place)):
        assert each.grid == [[5, 2, 9], [7, 3]] and each.lines == {"a.b": ["y", "z"], "b": []}
        assert each.boxes == [{"n": 2, "m": 2}] and each.marks == {"m": {"one", "two"}}
        assert each.deep == [[[1, 2]]] and each.maybe == [1, 2]
        street = Street(name="s", number=3, floors=["ground", "first"])
        assert each.home == Home(street=street, rooms={"hall": 5})
        assert each.homes[1] == Home(rooms={"hall": 2, "bath": 1})
        assert each.named == {"mine": Home(street=Street(name="new"))}


@pytest.mark.parametrize("way", ["pipeline", "lock"])
async def test_gathered(place, way):
    async with getattr(place, way)():
        place.grid[0][0] += 10
        place.grid[1] += [4]
        place.grid.append([5])
        place.grid[2].append(6)
        place.lines["b"].append("new")
        place.boxes[0]["n"] = 8
        place.marks["m"].discard("one")
        place.home.street.number += 2
        place.homes[0].street.floors.append("roof")
        place.named["mine"].rooms["x"] = 1
        place.named["other"] = Home()
        place.named["other"].rooms["y"] = 2
    for each in (place, await as_stored(place)):
        assert each.grid == [[11, 2], [3, 4], [5, 6]] and each.lines["b"] == ["new"]
        assert each.boxes == [{"n": 8}] and each.marks == {"m": set()}
        assert each.home.street.number == 2 and each.homes[0].street.floors == ["roof"]
        assert each.named == {"mine": Home(rooms={"x": 1}), "other": Home(rooms={"y": 2})}


async def test_a_failure_puts_all_of_it_back(place):
    before = place.model_dump()
    with pytest.raises(ZeroDivisionError):
        async with place.pipeline():
            place.grid[0].append(1)
            place.home.street.floors.clear()
            place.homes[0].rooms["x"] = 1
            place.marks["m"].add("never")
            del place.lines["b"]
            raise ZeroDivisionError
    assert place.model_dump() == before == (await as_stored(place)).model_dump()


async def test_nobody_loses_what_another_does(daemon):
    place = Place(**content())
    await place.save()
    one, other = await Place.get(place.key), await Place.get(place.key)
    await one.grid[0].aappend(10)
    await other.grid[0].aappend(20)
    await one.home.street.number.increase()
    await other.home.street.number.increase()
    handle, home = one.grid[0], one.homes[0]
    await one.load()
    assert handle is one.grid[0] == [1, 2, 10, 20] and home is one.homes[0]
    assert one.home.street.number == 2
    await other.grid[0].aclear()
    assert await handle.load() == [] and handle is one.grid[0]


async def test_what_was_taken_out_is_written_to_no_more(place):
    row, line, home = place.grid[0], place.lines["b"], place.homes[0]
    place.grid = [[0]]
    await place.lines.adel_item("b")
    await place.homes.apop(0)
    if place.key and await Place.exists(place.key):
        with pytest.raises(KeyNotFound):
            await line.aappend("x")
    home.rooms["x"] = 1
    assert not home.is_inner_model() and place.homes == [Home(rooms={"hall": 2})]
    del row


def test_blocking(daemon):
    place = sync.twin(Place)(**content())
    place.save()
    place.grid[0].aappend(3)
    with place.pipeline():
        place.home.street.number += 1
    again = sync.twin(Place).get(place.key)
    assert again.grid[0] == [1, 2, 3] and again.home.street.number == 1


class Meter(BaseModel):
    key: str
    count: int
    load: float = 0.5
    find: list[str] = []


async def test_fields_of_the_names_of_methods(daemon):
    class Holder(AtomicRedisModel):
        counter: Meter
        counters: list[Meter] = []

    holder = Holder(counter=Meter(key="k", count=1), counters=[Meter(key="l", count=2)])
    await holder.save()
    await holder.counter.count.increase()
    await holder.counters[0].find.aappend("x")
    async with holder.lock():
        holder.counter.key = "m"
    there = await Holder.get(holder.key)
    assert there.counter == Meter(key="m", count=2) and there.counters == [
        Meter(key="l", count=2, find=["x"])
    ]
