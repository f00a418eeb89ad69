"""Sets: in the daemon, and on drafts."""

import asyncio

import pytest

from rapyerd import AtomicRedisModel, errors
from rapyerd.types import RedisSet


class Club(AtomicRedisModel):
    members: RedisSet[str] = set()
    numbers: set[int] = set()
    guests: set[str] = set()


@pytest.fixture(params=["draft", "stored"])
async def club(request, daemon):
    club = Club(members={"ada", "bob"}, numbers={1})
    if request.param == "stored":
        await club.save()
    return club


async def same(club):
    from rapyerd.place import live

    return not live(club) or await Club.get(club.key) == club


async def test_at_once(club):
    await club.members.aadd("cleo")
    await club.members.aadd_many(["dan", "eve"])
    assert await club.members.aremove("ada") is True and await club.members.aremove("none") is False
    assert await club.members.acontains("cleo") and not await club.members.acontains("ada")
    assert await club.members.asize() == 4 and await club.members.amembers() == {"bob", "cleo", "dan", "eve"}
    popped = await club.members.apop()
    assert popped not in club.members and len(club.members) == 3 and await same(club)
    await club.guests.aadd("bob")
    assert await club.members.aunion(club.guests) == set(club.members) | {"bob"}
    assert await club.members.aintersect(club.guests) == set(club.members) & {"bob"}
    assert await club.members.adifference(club.guests) == set(club.members) - {"bob"}
    other = type(club)(members={"bob", "zoe"})
    await other.save()
    assert await club.members.aunion(other.members) == set(club.members) | {"bob", "zoe"}
    assert await other.members.adifference(club.members) == {"bob", "zoe"} - set(club.members)
    await club.members.aclear()
    assert await club.members.apop() is None and club.members == set() and await same(club)
    with pytest.raises(ValueError):
        await club.numbers.aadd("x")


async def test_gathered(club):
    async with club.pipeline():
        club.members.add("cleo")
        club.members |= {"dan", "eve"}
        club.members -= {"ada"}
        club.members.discard("none")
        club.numbers ^= {1, 2}
        await club.numbers.aadd(3)
    assert club.members == {"bob", "cleo", "dan", "eve"} and club.numbers == {2, 3} and await same(club)
    async with club.lock():
        club.members &= {"bob", "cleo"}
        club.members.remove("cleo")
    assert club.members == {"bob"} and await same(club)
    with pytest.raises(ZeroDivisionError):
        async with club.pipeline():
            club.members.clear()
            raise ZeroDivisionError
    assert club.members == {"bob"} and await same(club)


async def test_others_add_meanwhile(daemon):
    club = Club()
    await club.save()
    others = [await Club.get(club.key) for _ in range(8)]
    await asyncio.gather(*(other.numbers.aadd(n) for n, other in enumerate(others)))
    assert await club.numbers.load() == set(range(8)) and isinstance(club.numbers, RedisSet)
    await others[0].delete()
    with pytest.raises(errors.KeyNotFound):
        await club.numbers.apop()
