"""Operations on fields, lists and dicts: in the daemon, and on drafts."""

import asyncio
from datetime import datetime, timedelta

import pytest

from rapyerd import AtomicRedisModel, errors
from rapyerd.types import RedisDict, RedisInt, RedisList, RedisStr


class Part(AtomicRedisModel):
    name: str = ""
    n: int = 0
    tags: list[str] = []


class Thing(AtomicRedisModel):
    n: int = 0
    f: float = 0.0
    s: str = ""
    b: bytes = b""
    when: datetime = datetime(2024, 1, 1)
    maybe: int | None = None
    numbers: list[int] = []
    counts: dict[str, int] = {}
    some: list[int] | None = None
    part: Part = Part()
    parts: list[Part] = []
    named: dict[str, Part] = {}


@pytest.fixture(params=["draft", "stored"])
async def thing(request, daemon):
    thing = Thing(numbers=[1, 2, 3], counts={"a": 1}, parts=[Part(name="p0"), Part(name="p1")])
    if request.param == "stored":
        await thing.save()
    return thing


async def same(thing):
    """A stored thing is in the daemon what it is here."""
    from rapyerd.place import place_of

    if place_of(thing).saved:
        assert await Thing.get(thing.key) == thing
    return True


async def test_numbers(thing):
    assert await thing.n.increase(5) == 5 == thing.n and isinstance(thing.n, RedisInt)
    assert await thing.n.aincrease() == 6
    assert await thing.f.increase(1.5) == 1.5 == thing.f
    thing.n *= 7
    thing.n -= 2
    thing.n //= 3
    thing.n **= 2
    thing.n %= 100
    assert thing.n == 69
    await thing.n.save()
    thing.f += 1
    thing.f /= 4
    await thing.f.save()
    assert (thing.n, thing.f) == (69, 0.625)
    thing.part.n += 3
    await thing.part.n.save()
    assert await same(thing)


async def test_text_and_time(thing):
    thing.s += "ab"
    thing.s *= 2
    await thing.s.save()
    assert thing.s == "abab" and isinstance(thing.s, RedisStr)
    thing.b += b"\x00\xff"
    await thing.b.save()
    thing.when += timedelta(days=1, seconds=0.5)
    thing.when -= timedelta(hours=1)
    await thing.when.save()
    assert thing.when == datetime(2024, 1, 1, 23, 0, 0, 500000) and thing.when.tzinfo is None
    assert await same(thing)


async def test_lists(thing):
    await thing.numbers.aappend(4)
    await thing.numbers.aextend([5, 6])
    await thing.numbers.ainsert(0, 0)
    assert await thing.numbers.apop() == 6 and await thing.numbers.apop(0) == 0
    await thing.numbers.aset_item(0, 10)
    await thing.numbers.aremove_range(1, 3)
    assert thing.numbers == [10, 4, 5] and isinstance(thing.numbers, RedisList)
    assert await same(thing)
    await thing.numbers.aclear()
    assert await thing.numbers.apop() is None
    thing.numbers += [3, 1, 2]
    thing.numbers.sort()
    await thing.numbers.save()
    assert thing.numbers == [1, 2, 3] and await same(thing)


async def test_dicts(thing):
    await thing.counts.aset_item("b", 2)
    await thing.counts.aupdate(c=3, d=4)
    await thing.counts.aupdate({"a.b": 5})
    await thing.counts.adel_item("c")
    assert await thing.counts.apop("d") == 4 and await thing.counts.apop("none", 7) == 7
    assert thing.counts == {"a": 1, "b": 2, "a.b": 5} and isinstance(thing.counts, RedisDict)
    assert await same(thing)
    await thing.counts.aclear()
    with pytest.raises(KeyError):
        await thing.counts.apopitem()
    await thing.counts.aset_item("x", 1)
    assert await thing.counts.apopitem() == 1 and await same(thing)


async def test_containers_that_may_be_none_are_sent_whole(thing):
    assert thing.some is None
    thing.some = [1]
    await thing.some.save()
    await thing.some.aappend(2)
    await thing.some.ainsert(0, 0)
    assert await thing.some.apop() == 2
    assert thing.some == [0, 1] and await same(thing)
    thing.maybe = 3
    await thing.maybe.save()
    assert await thing.maybe.increase() == 4 and await same(thing)


async def test_elements_are_found_by_their_pks(thing):
    part = thing.parts[1]
    await thing.parts.ainsert(0, Part(name="before"))
    await part.tags.aappend("mine")
    await part.n.increase(2)
    assert thing.parts[2] is part and part.n == 2
    assert await thing.parts.apop(2) is part
    await thing.named.aset_item("k", part)  # a draft again, that may live elsewhere
    await part.tags.aappend("moved")
    assert thing.named["k"].tags == ["mine", "moved"]
    part.name = "renamed"
    await part.save()
    assert await same(thing)


async def test_a_draft_goes_on_living_where_it_was_put(daemon):
    one, other = Thing(), Thing()
    await one.save()
    part = Part(name="p")
    await part.tags.aappend("draft")
    assert not part.is_inner_model()
    await one.parts.aappend(part)
    await part.tags.aappend("element")
    assert part.key == one.key and part.field_path == f'.parts["{part.pk}"]'
    there = await Thing.get(one.key)
    assert there.parts[0].tags == ["draft", "element"] and there.parts[0].pk == part.pk
    # What lives somewhere is copied.
    await other.save()
    await other.parts.aappend(part)
    await part.n.increase()
    assert (await Thing.get(other.key)).parts[0].n == 0
    assert (await Thing.get(one.key)).parts[0].n == 1
    # Into a draft, which is saved later.
    third = Thing()
    piece = Part()
    third.parts.append(piece)
    third.part = inner = Part(name="inner")
    await third.save()
    await piece.n.increase(3)
    await inner.n.increase(4)
    there = await Thing.get(third.key)
    assert (there.parts[0].n, there.part.n) == (3, 4)


async def test_what_fails_changes_nothing_here(daemon):
    thing = Thing(numbers=[1], parts=[Part()])
    await thing.save()
    other = await Thing.get(thing.key)
    await other.delete()
    part = Part()
    for failing in (
        lambda: thing.numbers.aappend(2),
        lambda: thing.n.increase(),
        lambda: thing.counts.aset_item("a", 1),
        lambda: thing.parts.aappend(part),
        lambda: thing.aupdate(n=5, s="x"),
        lambda: thing.load(),
    ):
        with pytest.raises(errors.KeyNotFound):
            await failing()
    assert thing == Thing(numbers=[1], parts=[Part()]) and not part.is_inner_model()
    await part.tags.aappend("a draft still")


async def test_loading_keeps_handles(daemon):
    thing = Thing(parts=[Part(name="a"), Part(name="b")], named={"k": Part()})
    await thing.save()
    other = await Thing.get(thing.key)
    second, inner, numbers, k = thing.parts[1], thing.part, thing.numbers, thing.named["k"]
    await other.parts.apop(0)
    await other.part.n.increase()
    await other.numbers.aappend(7)
    await other.named["k"].n.increase(9)
    assert await thing.load() is thing
    assert thing.parts[0] is second and thing.part is inner and inner.n == 1 and k.n == 9
    assert thing.numbers is numbers and numbers == [7]
    assert await other.s.load() == "" and await other.part.load() is other.part
    assert await thing.numbers.load() is numbers


async def test_plus_equals_sends_an_increment_and_assignment_a_value(daemon):
    thing = Thing()
    await thing.save()
    other = await Thing.get(thing.key)
    await other.n.increase(100)
    thing.n += 1
    thing.n += 2
    await thing.n.save()
    assert thing.n == 103
    thing.n = thing.n + 1
    thing.n += 1
    await other.n.increase(100)
    await thing.n.save()
    assert (await Thing.get(thing.key)).n == 105
    kept = thing.n
    thing.n = 7
    kept += 1  # of a value that is not the field's any more
    thing.n = kept
    await thing.n.save()
    assert (await Thing.get(thing.key)).n == 106


async def test_update(daemon):
    thing = Thing()
    await thing.save()
    await thing.aupdate(n=5, s="x", numbers=[1], part=Part(name="new"))
    assert thing.part.name == "new" and await same(thing)
    await thing.part.n.increase()
    await thing.part.aupdate(name="newer")
    assert await same(thing)


async def test_elements_that_are_numbers_have_operations(thing):
    thing.counts["x"] = 1
    await thing.counts.save()
    assert await thing.counts["x"].increase(5) == 6 == thing.counts["x"]
    assert await thing.numbers[1].increase(-5) == -3 == thing.numbers[1]
    assert isinstance(thing.counts["x"], RedisInt) and thing.counts["x"].key == thing.key
    async with thing.pipeline():
        thing.counts["x"] += 1
        thing.numbers[0] *= 7
        thing.numbers.insert(0, 0)
        thing.numbers[1] += 1
    assert thing.counts == {"a": 1, "x": 7} and thing.numbers == [0, 8, -3, 3]
    assert await same(thing)


async def test_elements_are_incremented_and_not_overwritten(daemon):
    thing = Thing(counts={"x": 1}, numbers=[1])
    await thing.save()
    other = await Thing.get(thing.key)
    async with thing.lock():
        thing.counts["x"] += 1
        thing.numbers[0] -= 1
        await asyncio.create_task(other.counts["x"].increase(100))
    assert (await Thing.get(thing.key)).counts == {"x": 102}


async def test_a_pk_that_was_given_names_a_document(daemon):
    thing = Thing(n=5)
    await thing.save()
    handle = Thing()
    handle.pk = thing.pk
    assert await handle.n.increase() == 6
    assert await handle.numbers.load() == [] and (await handle.load()).n == 6
    nobody = Thing()
    nobody.key = "Thing:nobody"
    with pytest.raises(errors.KeyNotFound):
        await nobody.n.increase()
    part = Part()
    part.pk = "p1"  # a draft that is put somewhere has it there
    await thing.parts.aappend(part)
    await part.n.increase()
    assert (await Thing.get(thing.key)).parts[0].n == 1 and thing.parts[0].pk == "p1"
