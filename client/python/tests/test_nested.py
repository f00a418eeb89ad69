"""Atomic models that may be None, and containers of them in containers."""

from typing import Optional

import pytest
from rpc_client import Client

from rapyerd import AtomicRedisModel, errors, sync
from rapyerd.described import schema_of
from rapyerd.types import ForeignKey


class Card(AtomicRedisModel):
    limit: int = 0
    notes: list[str] = []


class Step(AtomicRedisModel):
    n: int = 0
    card: Card | None = None


class Owner(AtomicRedisModel):
    card: Card | None = None
    lanes: dict[str, list[Step]] = {}
    grid: list[list[Step]] = []
    seats: list[Card | None] = []
    maybe: list[Step] | None = None


@pytest.fixture(params=["draft", "stored"])
async def owner(request, daemon):
    owner = Owner()
    if request.param == "stored":
        await owner.save()
    return owner


async def as_stored(owner):
    return await Owner.get(owner.key) if await Owner.exists(owner.key) else owner


async def test_one_that_may_be_none(owner):
    assert owner.card is None
    await owner.aupdate(card=Card(limit=5))
    await owner.card.limit.increase(2)
    await owner.card.notes.aappend("x")
    for each in (owner, await as_stored(owner)):
        assert each.card == Card(limit=7, notes=["x"])
    async with owner.pipeline():
        owner.card.limit += 1
        owner.card.notes.append("y")
    async with owner.lock():
        owner.card.limit += 1
    for each in (owner, await as_stored(owner)):
        assert each.card == Card(limit=9, notes=["x", "y"])
    async with owner.pipeline():
        owner.card = None
    assert (await as_stored(owner)).card is None


async def test_what_is_none_for_others_has_no_fields(daemon):
    owner = Owner(card=Card(limit=1))
    await owner.save()
    await (await Owner.get(owner.key)).aupdate(card=None)
    with pytest.raises(errors.KeyNotFound):
        await owner.card.limit.increase()
    await owner.load()
    assert owner.card is None


async def test_containers_in_containers(owner):
    await owner.lanes.aset_item("a", [Step(n=1)])
    await owner.lanes["a"].aappend(Step(n=2))
    step = owner.lanes["a"][1]
    await owner.lanes["a"].ainsert(0, Step(n=0))
    await step.n.increase(10)  # the same, wherever it stands now
    await owner.grid.aappend([Step(n=5)])
    await owner.grid[0][0].n.increase()
    await owner.seats.aextend([None, Card(limit=3)])
    await owner.seats[1].limit.increase()
    await step.aupdate(card=Card(limit=1))
    await step.card.limit.increase()
    for each in (owner, await as_stored(owner)):
        assert [s.n for s in each.lanes["a"]] == [0, 1, 12] and each.grid[0][0].n == 6
        assert each.seats == [None, Card(limit=4)] and each.lanes["a"][2].card == Card(limit=2)
    async with owner.pipeline():
        owner.lanes["b"] = [Step(n=7)]
        owner.lanes["b"].append(Step(n=8))
        owner.lanes["a"].pop(0)
        owner.grid[0][0].n += 1
        owner.seats[0] = Card(limit=9)
    for each in (owner, await as_stored(owner)):
        assert [s.n for s in each.lanes["b"]] == [7, 8] and [s.n for s in each.lanes["a"]] == [1, 12]
        assert each.grid[0][0].n == 7 and [seat.limit for seat in each.seats] == [9, 4]


async def test_a_list_that_may_be_none(owner):
    await owner.aupdate(maybe=[Step(n=1)])
    await owner.maybe[0].n.increase()
    await owner.maybe.aappend(Step(n=5))
    assert [s.n for s in (await as_stored(owner)).maybe] == [2, 5]


async def test_handles_stay(daemon):
    owner = Owner(lanes={"a": [Step(n=1)]}, card=Card(), seats=[Card()])
    await owner.save()
    step, card, lane, seat = owner.lanes["a"][0], owner.card, owner.lanes["a"], owner.seats[0]
    other = await Owner.get(owner.key)
    await other.lanes["a"].ainsert(0, Step(n=0))
    await other.card.limit.increase(4)
    await owner.load()
    assert owner.lanes["a"] is lane and lane[1] is step and owner.card is card and card.limit == 4
    assert owner.seats[0] is seat
    with pytest.raises(ZeroDivisionError):
        async with owner.pipeline():
            lane.append(Step())
            owner.card = None
            step.n += 1
            raise ZeroDivisionError
    assert owner.card is card and len(lane) == 2 and step.n == 1


def test_blocking(daemon):
    owner = sync.twin(Owner)(card=Card(limit=1))
    owner.save()
    with owner.lock():
        owner.card.limit += 1
    assert sync.twin(Owner).get(owner.key).card.limit == 2


class Node(AtomicRedisModel):
    n: int = 0
    children: list["Node"] = []
    parent: Optional["Node"] = None
    named: dict[str, "Node"] = {}


class Society(AtomicRedisModel):
    name: str = ""
    lead: Optional["Attendee"] = None


class Attendee(AtomicRedisModel):
    name: str = ""
    teams: list[Society] = []


@pytest.mark.parametrize("saved", [False, True])
async def test_models_that_contain_themselves(daemon, saved):
    tree = Node(n=1, children=[Node(n=2, children=[Node(n=3)])])
    if saved:
        await tree.save()
    await tree.children[0].children[0].n.increase(10)
    await tree.children[0].children.aappend(Node(n=4, parent=Node(n=5)))
    await tree.children[0].children[1].parent.n.increase()
    await tree.named.aset_item("x", Node(n=6))
    async with tree.pipeline():
        tree.named["x"].children.append(Node(n=7))
        tree.children[0].children[0].n += 1
    for each in (tree, await Node.get(tree.key) if saved else tree):
        assert [c.n for c in each.children[0].children] == [14, 4]
        assert each.children[0].children[1].parent.n == 6 and each.named["x"].children[0].n == 7
    async with tree.pipeline():
        copy = await tree.duplicate()
    assert copy == tree and copy.key != tree.key
    if saved:
        assert await Node.get(tree.key) == await Node.get(copy.key) == tree


async def test_models_that_contain_each_other(daemon):
    team = Society(name="a", lead=Attendee(name="p", teams=[Society(name="b")]))
    await team.save()
    await team.lead.teams[0].name.load()
    async with team.lock():
        team.lead.teams[0].lead = Attendee(name="q")
    assert await Society.get(team.key) == team and team.lead.teams[0].lead.name == "q"
    person = Attendee(teams=[Society(name="c")])
    await person.save()
    assert await Attendee.get(person.key) == person


class Writer(AtomicRedisModel):
    name: str = ""
    best: ForeignKey["Volume"] | None = None


class Volume(AtomicRedisModel):
    author: ForeignKey[Writer] | None = None
    before: ForeignKey["Volume"] | None = None
    readers: list[ForeignKey[Writer]] = []
    anything: ForeignKey[Writer | Society] | None = None


async def test_references_say_what_they_refer_to(daemon):
    wires = {name: codec.wire for name, codec in schema_of(Volume).codecs.items()}
    assert wires == {
        "author": "optional<ref<Writer>>", "before": "optional<ref<Volume>>",
        "readers": "list<ref<Writer>>", "anything": "optional<str>",
    }  # fmt: skip
    assert schema_of(Writer).codecs["best"].wire == "optional<ref<Volume>>"
    ada = Writer(name="Ada")
    await ada.save()
    book = Volume(author=ada, readers=[ada.key], anything=ada)
    await book.save()
    await ada.aupdate(best=book.key)
    book = await Volume.get(book.key)
    assert (await book.author.afetch()).name == "Ada" and book.readers[0].target_key == ada.key
    with Client(daemon.socket) as client:
        assert client.call("ref.get", book.key, "author")["name"] == "Ada"
        assert client.call("ref.get", ada.key, "best")["author"] == ada.key
    with pytest.raises(errors.BadValueError):
        await book.aupdate(author="Society:1")
    whole = await Volume.get(book.key, resolve=True, depth=2)
    assert whole.author.value.name == whole.readers[0].value.name == "Ada"
    assert whole.author.best.value.author.value is whole.author.value  # the circle ends
    part = await Volume.get(book.key, resolve=["readers"])
    assert part.readers[0].is_resolved
