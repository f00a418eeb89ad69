"""How long documents live, and what starts that time anew."""

import pytest

from rapyerd import ActionGroup, AtomicRedisModel, RedisConfig
from rapyerd.types import RedisSet


class Short(AtomicRedisModel):
    Meta = RedisConfig(ttl=100, refresh_ttl=False)
    n: int = 0
    tags: list[str] = []
    marks: RedisSet[str] = set()


@pytest.fixture
async def short(daemon, monkeypatch):
    short = Short(tags=list("abcde"))
    await short.save()
    monkeypatch.setattr(Short.Meta, "refresh_ttl", False)
    return short


ACTIONS = {
    ActionGroup.ARITHMETIC: lambda short: short.n.increase(),
    ActionGroup.APPEND: lambda short: short.tags.aappend("b"),
    ActionGroup.ERASE: lambda short: short.tags.apop(),
    ActionGroup.UPDATE: lambda short: short.tags.aset_item(0, "c"),
    ActionGroup.READ: lambda short: short.marks.asize(),
    ActionGroup.FETCH: lambda short: Short.get(short.key),
}


@pytest.mark.parametrize("group", ACTIONS)
async def test_each_group_by_itself(short, rdb, group):
    key = f"rapyer:{{{short.key}}}"
    for other in (ActionGroup(0), ActionGroup.CREATE, group):
        Short.Meta.refresh_ttl = other
        rdb.expire(key, 10)
        await ACTIONS[group](short)
        assert (rdb.ttl(key) > 10) is (other is group), other


@pytest.mark.parametrize("way", ["pipeline", "lock"])
async def test_it_goes_with_the_commit(short, rdb, way):
    key = f"rapyer:{{{short.key}}}"
    Short.Meta.refresh_ttl = ActionGroup.APPEND
    for change, anew in (("n", False), ("tags", True)):
        async with getattr(short, way)():
            if change == "n":
                short.n += 1
            else:
                short.tags.append("x")
            rdb.expire(key, 10)
        assert (rdb.ttl(key) > 10) is anew


async def test_it_goes_with_what_a_lock_has_gathered(short, rdb):
    key = f"rapyer:{{{short.key}}}"
    Short.Meta.refresh_ttl = ActionGroup.APPEND
    async with short.lock(save_at_end=True):
        short.tags.append("x")
        rdb.expire(key, 10)
        await short.tags.apop(0)  # takes it along
        assert rdb.ttl(key) > 10
        assert short.tags == [*"bcde", "x"]


async def test_what_is_said_later_is_declared_again(short, rdb):
    key = f"rapyer:{{{short.key}}}"
    for refresh in (True, False, True):
        Short.Meta.refresh_ttl = refresh
        rdb.expire(key, 10)
        await short.n.increase()
        assert (rdb.ttl(key) > 10) is refresh


async def test_several_copies_are_one_commit(short, stored):
    copies = await short.duplicate_many(3)
    assert len({copy.key for copy in copies}) == 3 and all(copy == short for copy in copies)
    assert [stored(copy)["tags"] for copy in copies] == [list("abcde")] * 3
