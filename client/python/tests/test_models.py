"""What annotations become, and that values come back as they were."""

import asyncio
import enum
import pathlib
import pickle
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator
from rpc_client import Client

import rapyerd
from rapyerd import AtomicRedisModel, Key, Lazy, Pickled, RedisConfig, SafeLoad, Unique, errors, sync
from rapyerd.described import schema_of
from rapyerd.schema import declarations
from rapyerd.types import RedisSet


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(BaseModel):
    x: int
    y: float = 0.5
    when: datetime | None = None


class Shape(BaseModel):
    name: str = ""
    points: list[Point] = []
    colour: Colour = Colour.RED
    _area: int = PrivateAttr(default=7)


class Inner(AtomicRedisModel):
    n: int = 0
    names: list[str] = []


class Everything(AtomicRedisModel):
    an_int: int = 1
    a_float: float = 1.5
    a_bool: bool = True
    a_str: str = "s"
    some_bytes: bytes = b"\x00\xff"
    naive: datetime = datetime(2024, 1, 31, 12, 0, 0, 123456)
    aware: datetime = datetime(2024, 1, 31, 12, 0, tzinfo=timezone.utc)
    a_date: date = date(2024, 2, 29)
    a_time: time = time(12, 30)
    a_delta: timedelta = timedelta(days=1, seconds=2.5)
    an_enum: Colour = Colour.BLUE
    an_int_enum: Level = Level.HIGH
    a_uuid: uuid.UUID = uuid.UUID(int=5)
    a_decimal: Decimal = Decimal("1.10")
    a_literal: Literal["a", "b"] = "a"
    a_union: int | str | None = "text"
    a_tuple: tuple[int, str] = (1, "x")
    tuples: tuple[int, ...] = (1, 2, 3)
    a_set: set[int] = {1, 2}
    a_frozen: frozenset[str] = frozenset("ab")
    anything: Any = {"k": [1, None, "x", 2.5]}
    annotated: Annotated[int, Field(ge=0)] = 3
    maybe: int | None = None
    maybe_list: list[int] | None = None
    none_by_default: datetime = None
    made: uuid.UUID = Field(default_factory=uuid.uuid4)
    a_list: list[int] = [1, 2]
    rows: list[list[int]] = [[1], [2, 3]]
    a_dict: dict[str, float] = {"a": 1.0}
    by_number: dict[int, str] = {1: "one"}
    colours: list[Colour] = [Colour.RED]
    decimals: dict[str, Decimal] = {"d": Decimal("2.5")}
    times: list[datetime] = [datetime(2020, 1, 1)]
    point: Point = Point(x=1)
    maybe_point: Point | None = None
    points: list[Point] = [Point(x=2, when=datetime(2021, 2, 3))]
    shapes: dict[str, Shape] = {"s": Shape(points=[Point(x=9)])}
    inner: Inner = Inner()
    maybe_inner: Inner | None = None
    inners: list[Inner] = []
    named: dict[str, Inner] = {}
    inners_of_inners: list[list[Inner]] = []
    untyped_list: list = [1, "x"]
    untyped_dict: dict = {"k": b"v"}
    kept: Pickled[complex] = 1 + 2j


async def test_values_come_back_as_they_were(daemon):
    one = Everything(
        maybe=5,
        maybe_list=[1, 2],
        maybe_point=Point(x=7, y=1),
        maybe_inner=Inner(n=3),
        inners=[Inner(n=1), Inner(names=["a"])],
        named={"k": Inner(n=9)},
        inners_of_inners=[[Inner(n=4)]],
        none_by_default=datetime(2022, 5, 6),
    )
    await one.save()
    for there in (await Everything.get(one.key), await Everything.get(one.pk)):
        for name in Everything.model_fields:
            assert getattr(there, name) == getattr(one, name), name
        assert there == one
        assert type(there.an_enum) is Colour and type(there.a_tuple) is tuple and isinstance(there.a_set, set)
        assert there.naive.tzinfo is None and there.aware.tzinfo is not None
        assert there.shapes["s"]._area == 7
        assert there.model_dump() == one.model_dump()
        no_json = {"some_bytes", "kept"}
        assert there.model_dump_json(exclude=no_json) == one.model_dump_json(exclude=no_json)


async def test_defaults_come_back_too(daemon):
    one = Everything()
    await one.save()
    there = await Everything.get(one.key)
    assert there == one and there.none_by_default is None and there.maybe_inner is None


def test_what_is_declared():
    types = {
        f["name"]: f["type"] for d in declarations((Everything,), set(), frozenset()) for f in d["fields"]
    }
    assert types["an_int"] == "int" and types["naive"] == "datetime" and types["some_bytes"] == "bytes"
    assert types["maybe"] == "optional<int>" and types["none_by_default"] == "optional<datetime>"
    assert types["a_list"] == "list<int>" and types["rows"] == "list<list<int>>"
    assert types["a_dict"] == "dict<float>" and types["annotated"] == "int"
    assert types["point"] == "Point_atomic" and types["points"] == "list<Point>"
    assert types["inner"] == "Inner" and types["inners"] == "list<Inner>" and types["named"] == "dict<Inner>"
    assert types["maybe_inner"] == "optional<Inner>" and types["kept"] == "bytes"


class Wrong(AtomicRedisModel):
    value: Any = None
    count: Annotated[int, Field(ge=0)] = 0
    tags: list[str] = []


async def test_what_cannot_be_kept_is_told(daemon):
    wrong = Wrong(value=object())
    with pytest.raises(errors.RapyerSerializationError, match="Pickled"):
        await wrong.save()
    with pytest.raises(errors.BadValueError):
        await Wrong(value=1 << 70).save()
    with pytest.raises(errors.BadValueError):
        await Wrong(value="\ud800").save()
    good = Wrong()
    await good.save()  # the connection goes on
    with pytest.raises(ValidationError):
        good.count = -1
    with pytest.raises(ValidationError):
        await good.tags.aappend(5)
    assert good.tags == [] and (await Wrong.get(good.key)).tags == []


class ByName(AtomicRedisModel):
    name: Key[str]
    n: int = 0


class ByNumber(AtomicRedisModel):
    number: Annotated[int, Key()]


class ByUuid(AtomicRedisModel):
    id: Key[uuid.UUID] = Field(default_factory=uuid.uuid4)


async def test_key_fields(daemon, rdb):
    ada = ByName(name="ada:1")
    await ada.save()
    assert ada.pk == "ada:1" and ada.key == "ByName:ada:1"
    assert rdb.exists("rapyer:{ByName:ada:1}")
    assert (await ByName.get("ada:1")) == (await ByName.get("ByName:ada:1")) == ada
    assert await ByName.exists("ada:1") and not await ByName.exists("bob")
    await ByNumber(number=7).save()
    assert (await ByNumber.get("7")).number == 7
    one = ByUuid()
    await one.save()
    assert (await ByUuid.get(one.key)).id == one.id == uuid.UUID(one.pk)


class Big(AtomicRedisModel):
    name: str
    rows: Lazy[list[int]] = []
    text: Lazy[str] = ""


async def test_lazy_fields(daemon):
    one = Big(name="b", rows=[1, 2, 3], text="long")
    await one.save()
    there = await Big.get(one.key)
    assert there.rows == [] and there.text == ""
    assert await there.rows.load() == [1, 2, 3] == there.rows
    there = await Big.get(one.key)
    there.name = "other"
    await there.save()  # leaves alone what was not loaded
    assert await there.text.load() == "long"
    assert await (await Big.get(one.key)).rows.load() == [1, 2, 3]


class Parcel(AtomicRedisModel):
    name: str = ""
    blob: Lazy[bytes] = b""


class Needed(AtomicRedisModel):
    """Its lazy fields have no defaults."""

    blob: Lazy[bytes]
    pages: Lazy[int]
    colour: Lazy[Colour]
    inner: Parcel = Parcel()


async def test_the_only_lazy_field_is_there_until_it_is_loaded(daemon):
    one = Parcel(name="p", blob=b"long")
    await one.save()
    for there in (await Parcel.get(one.key), *await Parcel.find(), *await Parcel.find(one.key)):
        assert there.blob == b"" and there.name == "p"
        assert await there.blob.load() == b"long" == there.blob
    async with Parcel.lock_from_key(one.key) as there:
        assert await there.blob.load() == b"long"


def test_the_only_lazy_field_is_there_for_blocking_programs(daemon):
    blocking = sync.twin(Parcel)
    one = blocking(name="p", blob=b"long")
    one.save()
    for there in (blocking.get(one.key), *blocking.find()):
        assert there.blob == b"" and there.blob.load() == b"long"


async def test_a_lazy_field_needs_no_default(daemon):
    one = Needed(blob=b"long", pages=7, colour=Colour.BLUE, inner=Parcel(blob=b"inner"))
    await one.save()
    there = await Needed.get(one.key)
    assert (there.blob, there.pages, there.colour, there.inner.blob) == (b"", 0, None, b"")
    assert await there.blob.load() == b"long" and await there.pages.load() == 7
    assert await there.inner.blob.load() == b"inner"
    assert (await there.load("colour")).colour is Colour.BLUE
    assert there == one
    there = await Needed.get(one.key)
    await there.save()  # leaves alone what was not loaded
    await there.inner.load("blob")
    assert await there.load("blob", "pages", "colour") == one
    with pytest.raises(errors.UnsupportedArgumentValueError, match="no field 'nothing'"):
        await there.load("nothing")


class Crate(AtomicRedisModel):
    parcels: list[Parcel] = []
    named: dict[str, Parcel] = {}
    one: Parcel = Parcel()
    note: Lazy[str] = ""


async def lazies(crate):
    there = await (await Crate.get(crate.key)).load("note")
    inner = [*there.parcels, *there.named.values(), there.one]
    return there.note, [await parcel.blob.load() for parcel in inner]


async def lock_and_assign(crate):
    async with crate.lock():
        crate.parcels, crate.one = list(crate.parcels), crate.one


async def lock_and_reverse(crate):
    async with crate.lock():
        crate.parcels.reverse()


async def put_elements_in_a_pipeline(crate):
    async with crate.pipeline():
        crate.parcels[0] = crate.parcels[0]
        crate.named["k"] = crate.named["k"]


WRITES = {
    "save": lambda crate: crate.save(),
    "save a list": lambda crate: crate.parcels.save(),
    "save a dict": lambda crate: crate.named.save(),
    "save an element": lambda crate: crate.parcels[0].save(),
    "save an inner model": lambda crate: crate.one.save(),
    "insert": lambda crate: Crate.insert(crate),
    "set an element": lambda crate: crate.parcels.aset_item(0, crate.parcels[0]),
    "update": lambda crate: crate.aupdate(one=crate.one),
    "save a copy": lambda crate: crate.model_copy(deep=True).save(),
    "save what was pickled": lambda crate: pickle.loads(pickle.dumps(crate)).save(),
    "assign under a lock": lock_and_assign,
    "reverse under a lock": lock_and_reverse,
    "put elements in a pipeline": put_elements_in_a_pipeline,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_no_write_replaces_lazy_fields_that_were_not_loaded(daemon, write):
    parcel = Parcel(name="p", blob=b"p")
    crate = Crate(parcels=[parcel], named={"k": Parcel(blob=b"k")}, one=Parcel(blob=b"o"), note="n")
    await crate.save()
    await write(await Crate.get(crate.key))
    assert await lazies(crate) == ("n", [b"p", b"k", b"o"])


async def test_what_was_not_loaded_goes_nowhere_else(daemon):
    crate, other = Crate(parcels=[Parcel(blob=b"p")]), Crate()
    await Crate.insert(crate, other)
    there = await Crate.get(crate.key)
    with pytest.raises(errors.KeyNotFound, match="blob"):
        await other.parcels.aappend(there.parcels[0])
    assert other.parcels == [] and (await Crate.get(other.key)).parcels == []
    await there.parcels[0].load("blob")
    await other.parcels.aappend(there.parcels[0])
    assert await lazies(other) == ("", [b"p", b""])
    async with there.pipeline():
        copy = await there.duplicate()
    assert await lazies(copy) == ("", [b"p", b""])


class Ours(AtomicRedisModel):
    a: int = 0
    token: uuid.UUID = Field(default_factory=uuid.uuid4)

    @classmethod
    def class_key_initials(cls):
        return "GrownTwice"


def test_a_field_of_ours_and_one_of_another_client_come_together(daemon):
    with Client(daemon.socket) as client:
        fields = [
            {"name": "a", "type": "int", "default": 0},
            {"name": "theirs", "type": "str", "default": "t"},
        ]
        client.call("define", {"name": "GrownTwice", "kind": "atomic", "fields": fields})
        client.call("doc.save", "GrownTwice:1", {"a": 5, "theirs": "x"})
    there = asyncio.run(Ours.get("1"))
    assert there.a == 5 and isinstance(there.token, uuid.UUID) and "theirs" not in there.__dict__
    blocking = sync.twin(Ours).get("1")
    assert blocking.a == 5 and isinstance(blocking.token, uuid.UUID)


class Old(AtomicRedisModel):
    a: int

    @classmethod
    def class_key_initials(cls):
        return "Evolving"


class New(AtomicRedisModel):
    a: int
    b: str = "new"
    c: list[int] = []
    d: datetime = None
    e: uuid.UUID = Field(default_factory=uuid.uuid4)

    @classmethod
    def class_key_initials(cls):
        return "Evolving"


class Clash(AtomicRedisModel):
    a: str = ""

    @classmethod
    def class_key_initials(cls):
        return "Evolving"


async def test_a_model_grows(daemon, monkeypatch):
    from rapyerd import described

    old = Old(a=1)
    await old.save()
    described.owners.pop("Evolving")  # as in another process
    new = await New.get(old.key)
    assert (new.a, new.b, new.c, new.d) == (1, "new", [], None) and isinstance(new.e, uuid.UUID)
    await new.c.aappend(4)
    old = await Old.get(old.key)
    assert old.a == 1  # does not know the new fields, and does not mind
    await old.aupdate(a=2)
    async with old.lock():
        old.a += 1
    async with old.pipeline():
        old.a += 1
    new = await New.get(old.key)
    assert (new.a, new.c) == (4, [4])
    await old.save()  # replaces the whole: what it does not know gets its default
    assert (await New.get(old.key)).c == []
    described.owners.pop("Evolving")
    with pytest.raises(errors.SchemaConflictError, match="stored as int and declared as str"):
        await Clash().save()


T = TypeVar("T")


class Box(AtomicRedisModel, Generic[T]):
    content: T
    more: list[T] = []


class Base(AtomicRedisModel):
    name: str = "base"
    n: int = 0


class Derived(Base):
    n: int = 5
    extra: list[str] = []


async def test_generics_and_inheritance(daemon):
    ints, strs = Box[int](content=1), Box[str](content="a")
    await ints.save()
    await strs.save()
    await ints.content.increase()
    await strs.more.aappend("b")
    assert (await Box[int].get(ints.key)).content == 2
    assert (await Box[str].get(strs.key)).more == ["b"]
    one = Derived()
    await one.save()
    await one.n.increase()
    await one.extra.aappend("x")
    there = await Derived.get(one.key)
    assert (there.name, there.n, there.extra) == ("base", 6, ["x"])
    assert Base().n == 0 and schema_of(Base).name == "Base"


class Node(AtomicRedisModel):
    name: str
    children: list["Node"] = []


async def test_a_model_that_holds_itself_is_a_value_in_itself(daemon):
    tree = Node(name="a", children=[Node(name="b", children=[Node(name="c")])])
    await tree.save()
    assert (await Node.get(tree.key)) == tree


class Checked(AtomicRedisModel):
    name: str

    @field_validator("name")
    @classmethod
    def upper(cls, value):
        return value.upper()


async def test_validators_run_on_construction_and_assignment(daemon):
    one = Checked(name="a")
    assert one.name == "A"
    await one.save()
    one.name = "b"
    assert one.name == "B"
    await one.name.save()
    assert (await Checked.get(one.key)).name == "B"


class Loose(AtomicRedisModel):
    good: str = ""
    broken: SafeLoad[Pickled[Any]] = None


async def test_safe_load(daemon):
    one = Loose(good="g", broken={"a": 1})
    await one.save()
    assert (await Loose.get(one.key)).broken == {"a": 1}
    with Client(daemon.socket) as client:
        client.call("set", one.key, "broken", b"no pickle")
    there = await Loose.get(one.key)
    assert there.broken is None and there.failed_fields == {"broken"} and there.good == "g"


class Patchy(AtomicRedisModel):
    items: SafeLoad[list[Pickled[Any]]] = []
    by_name: SafeLoad[dict[str, Pickled[Any]]] = {}
    levels: SafeLoad[RedisSet[Level]] = set()
    strict: list[Level] = []


async def test_elements_that_cannot_be_read_are_left_out(daemon):
    one = Patchy(items=[1, 2, 3], by_name={"a": 1, "b": 2}, levels={Level.LOW}, strict=[Level.LOW])
    await one.save()
    with Client(daemon.socket) as client:

        def spoil(path, value):
            client.call("set", one.key, path, value)

        spoil("items[0]", b"no pickle")
        spoil('by_name["a"]', b"no pickle")
        client.call("set.add", one.key, "levels", 3)
        for there in (await Patchy.get(one.key), await one.load()):
            assert (there.items, there.by_name, there.levels) == ([2, 3], {"b": 2}, {Level.LOW})
            assert there.failed_fields == {"items", "by_name", "levels"}
        # What goes by places does not hit another element, and nothing is lost by saving.
        for change in (
            lambda: there.items.apop(0),
            lambda: there.items.aset_item(0, 9),
            lambda: there.items.ainsert(1, 9),
            lambda: there.items.aremove_range(0, 1),
        ):
            with pytest.raises(errors.CorruptedModelError, match="not known what stands where"):
                await change()
        for change in (there.save, there.items.save, there.by_name.save):
            with pytest.raises(errors.BadValueError, match="could not be read, and would be lost"):
                await change()
        with pytest.raises(errors.CorruptedModelError):
            async with there.pipeline():
                there.by_name["c"] = 3
                there.items[0] = 9
        assert there.items == [2, 3] and "c" not in there.by_name
        async with there.pipeline():
            there.items.append(4)
            there.by_name["c"] = 3
        said = client.call("doc.get", one.key)
        assert [said["items"][0], len(said["items"])] == [b"no pickle", 4] and set(said["by_name"]) == {
            "a",
            "b",
            "c",
        }
        there.items, there.by_name, there.levels = [7], {}, {Level.HIGH}
        await there.save()
        again = await Patchy.get(one.key)
        assert again == there and not again.failed_fields and await again.items.apop(0) == 7
        spoil("strict[0]", 3)
        with pytest.raises(errors.CantSerializeRedisValueError):
            await Patchy.get(one.key)


class Gauge(AtomicRedisModel):
    reading: SafeLoad[int] = 0
    unit: str = "C"


class Shaky(AtomicRedisModel):
    name: str = ""
    number: SafeLoad[int] = 1
    tags: SafeLoad[list[str]] = []
    late: Lazy[SafeLoad[int]] = 2
    gauge: Gauge = Gauge()
    maybe: int | None = None


async def test_what_another_program_spoilt_is_none_where_the_class_says_so(daemon, rdb):
    good, one = Shaky(name="good"), Shaky(name="one", tags=["t"], late=5, gauge=Gauge(unit="K"), maybe=7)
    await Shaky.insert(good, one)
    hash_key = f"rapyer:{{{one.key}}}"
    rdb.hset(hash_key, "number", "banana")

    def holds(there):
        assert there.number is None and there.failed_fields == {"number"}
        assert (there.name, there.tags, there.maybe, there.gauge.unit) == ("one", ["t"], 7, "K")
        assert (there.pk, there.key) == (one.pk, one.key)
        return True

    assert holds(await Shaky.get(one.key)) and holds(await rapyerd.aget(one.key))
    assert holds(await Shaky.find_one(Shaky.name == "one"))
    assert [m.name for m in await Shaky.find(good.key, one.key, good.key)] == ["good", "one", "good"]
    assert [m.name for m in await rapyerd.afind(one.key, "Shaky:none", skip_missing=True)] == ["one"]
    with pytest.raises(errors.KeyNotFound):
        await Shaky.find(one.key, "none")
    there = await Shaky.get(one.key)
    assert await there.late.load() == 5 and await there.name.load() == "one"
    assert holds(await there.load())
    with pytest.raises(errors.BadValueError, match="number could not be read"):
        await there.save()  # what is stored is not lost by the way
    async with there.pipeline():
        assert holds(there)
        there.maybe = 8
    async with Shaky.lock_from_key(one.key) as there:
        assert there.number is None and there.maybe == 8
        there.number = 4
    assert there.failed_fields == set()
    again = await Shaky.get(one.key)
    assert again.number == 4 and again.failed_fields == set()
    with Client(daemon.socket) as client:  # nobody holds it any more
        assert client.call("lock.acquire", one.key, "default", {"wait": 0})["depth"] == 1


async def test_more_than_one_place_may_be_spoilt(daemon, rdb):
    one = Shaky(name="one", tags=["t"])
    await one.save()
    rdb.hset(f"rapyer:{{{one.key}}}", mapping={"gauge.reading": "banana", "late": "apple", "number": "pear"})
    rdb.delete(f"rapyer:{{{one.key}}}/tags")
    rdb.set(f"rapyer:{{{one.key}}}/tags", "none")
    there = await Shaky.get(one.key)
    assert there.failed_fields == {"number", "tags"} and there.gauge.failed_fields == {"reading"}
    assert (there.tags, there.gauge.reading, there.gauge.unit, there.name) == (None, None, "C", "one")
    await there.load("late")
    assert there.late is None and there.failed_fields == {"number", "tags", "late"}
    assert (await there.gauge.load()).failed_fields == {"reading"}
    there.tags, there.number, there.late, there.gauge.reading = ["new"], 1, 1, 1
    assert there.failed_fields == there.gauge.failed_fields == set()
    await there.save()
    assert await (await Shaky.get(one.key)).load("late") == there
    rdb.hset(f"rapyer:{{{one.key}}}", "maybe", "plum")
    with pytest.raises(errors.CorruptedModelError, match="field maybe"):
        await Shaky.get(one.key)
    rdb.delete(f"rapyer:{{{one.key}}}")
    rdb.set(f"rapyer:{{{one.key}}}", "nothing of ours")
    with pytest.raises(errors.CorruptedModelError, match="should be a hash"):
        await Shaky.get(one.key)
    with pytest.raises(errors.CorruptedModelError, match="should be a hash"):
        async with Shaky.lock_from_key(one.key):
            pass


async def test_the_ways_out_of_what_is_spoilt(daemon, rdb):
    one = ByName(name="n", n=3)
    for way in ("aupdate", "save", "delete"):
        await one.save()
        rdb.hset(f"rapyer:{{{one.key}}}", "n", "banana")
        with pytest.raises(errors.CorruptedModelError, match=r'field n .* found "banana"'):
            await ByName.get("n")
        handle = ByName(name="n")
        handle.pk = "n"
        if way == "aupdate":
            await handle.aupdate(n=4)
            assert (await ByName.get("n")).n == 4
        elif way == "save":
            await handle.save()
            assert (await ByName.get("n")).n == 0
        else:
            assert await ByName.delete_by_key("n")
            assert not await ByName.exists("n")


def test_blocking_programs_read_around_what_is_spoilt(daemon, rdb):
    blocking = sync.twin(Shaky)
    one = blocking(name="one")
    one.save()
    rdb.hset(f"rapyer:{{{one.key}}}", "number", "banana")
    for there in (blocking.get(one.key), *blocking.find(), *blocking.find(one.key)):
        assert there.number is None and there.failed_fields == {"number"} and there.name == "one"
    with one.lock():
        assert one.number is None
        one.number = 9
    assert blocking.get(one.key).number == 9


class Session(AtomicRedisModel):
    name: str = ""
    Meta = RedisConfig(ttl=100, refresh_ttl=False)


class Active(AtomicRedisModel):
    name: str = ""
    Meta = RedisConfig(ttl=100)


async def test_ttl(daemon, rdb):
    fixed, active = Session(), Active()
    await fixed.save()
    await active.save()
    for key in (fixed.key, active.key):
        with Client(daemon.socket) as client:
            client.call("doc.ttl", key, 50)
    await Session.get(fixed.key)
    await Active.get(active.key)
    assert rdb.ttl(f"rapyer:{{{fixed.key}}}") <= 50
    assert rdb.ttl(f"rapyer:{{{active.key}}}") > 50
    await fixed.set_ttl(7)
    assert rdb.ttl(f"rapyer:{{{fixed.key}}}") <= 7


async def test_copies_and_pickles(daemon):
    one = Everything(inners=[Inner(n=1)])
    await one.save()
    copy = one.model_copy(deep=True)
    assert copy == one and copy.pk == one.pk
    copy.inners[0].n = 5
    assert one.inners[0].n == 1
    there = pickle.loads(pickle.dumps(one))
    assert there == one and there.key == one.key
    await there.an_int.increase()  # it is the document still
    assert (await Everything.get(one.key)).an_int == 2


async def test_a_shallow_copy_has_fields_of_its_own(daemon):
    one = Everything(inners=[Inner(n=1)])
    await one.save()
    assert (one.an_int, one.a_list, one.inners[0].n, one.inner.n, one.a_set) == (1, [1, 2], 1, 0, {1, 2})
    copy = one.model_copy()
    copy.a_list.append(9)
    copy.an_int += 1
    copy.inner.n += 5
    await copy.a_list.aappend(10)  # a draft: here alone
    assert (one.an_int, one.a_list, one.inner.n) == (1, [1, 2], 0)
    assert await Everything.get(one.key) == one


async def test_plain_models_in_fields_are_atomic(daemon):
    one = Everything()
    await one.save()
    other = await Everything.get(one.key)
    assert isinstance(one.point, Point)
    await one.point.x.increase(4)
    await other.point.x.increase(5)
    assert (await Everything.get(one.key)).point == Point(x=10)
    point = Point(x=0)
    one.point = point
    await one.point.save()
    assert (await Everything.get(one.key)).point.x == 0


async def test_containers_in_containers_are_replaced_whole(daemon):
    one = Everything()
    await one.save()
    await one.rows.aset_item(0, [5, 6])
    one.rows[1].append(9)  # here alone
    assert one.rows == [[5, 6], [2, 3, 9]] and (await Everything.get(one.key)).rows == [[5, 6], [2, 3]]
    async with one.lock():
        one.rows[1] = [*one.rows[1], 4]
    assert (await Everything.get(one.key)).rows == [[5, 6], [2, 3, 4]]


async def test_documents(daemon):
    models = [ByName(name=f"n{i}", n=i) for i in range(5)]
    await ByName.insert(*models)
    assert sorted(m.n for m in await ByName.find()) == [0, 1, 2, 3, 4]
    assert [m.n for m in await ByName.find("n3", "ByName:n1")] == [3, 1]
    with pytest.raises(errors.KeyNotFound):
        await ByName.find("n3", "none")
    assert sorted(m.n for m in await ByName.find((ByName.n >= 2) & ~(ByName.name == "n3"))) == [2, 4]
    assert (await ByName.find_one(ByName.n == 4)).name == "n4" and await ByName.find_one(ByName.n > 9) is None
    assert len(await ByName.find_keys()) == 5 and len(await ByName.find_keys(max_results=2)) == 2
    result = await ByName.get_or_create(ByName(name="n1", n=77))
    assert result.status.value == "found" and result.value.n == 1
    result = await ByName.get_or_create(ByName(name="new", n=77))
    assert result.status.value == "created"
    assert await models[0].delete() is True and await models[0].delete() is False
    result = await ByName.delete_many("n1", models[2], "none")
    assert (result.models_deleted, result.keys_deleted) == (3, 2)
    assert (await ByName.delete_many(ByName.n == 77)).keys_deleted == 1
    copy = await (await ByName.get("n3")).duplicate()
    assert copy.n == 3 and copy.pk != "n3" and await ByName.exists(copy)
    assert len(await models[4].duplicate_many(2)) == 2


async def test_a_value_that_another_document_has(daemon):
    class Contact(AtomicRedisModel):
        mail: Unique[str | None] = None

    class Login(AtomicRedisModel):
        name: Unique[str]
        contact: Contact = Contact()
        n: int = 0

    ada = Login(name="ada")
    assert (await Login.get_or_create(ada)).status.value == "created"
    for write in (Login(name="ada").save, lambda: Login.get_or_create(Login(name="ada"))):
        with pytest.raises(errors.ConflictError, match="unique"):
            await write()
    assert await Login.find_keys() == [ada.key]
    bob = await Login(name="bob", contact=Contact(mail="b@c")).save()
    bob.n, bob.name = 5, "ada"
    for refused in (bob.name.save, bob.save, lambda: bob.aupdate(name="ada", n=6)):
        with pytest.raises(errors.ConflictError):
            await refused()
    for whole in (ada.pipeline, ada.lock):
        with pytest.raises(errors.ConflictError, match="b@c"):
            async with whole():
                ada.n += 1
                ada.contact.mail = "b@c"
    assert (ada.n, ada.contact.mail) == (0, None) and (await Login.get(bob.key)).n == 0
    with pytest.raises(errors.ConflictError):
        await Login.insert(Login(name="cy"), Login(name="ada"))
    found = await Login.find(Login.name == "ada")
    assert [m.key for m in found] == [ada.key] and await Login.find_count() == 2
    await ada.delete()
    await bob.aupdate(name="ada")
    blocking = sync.twin(Login)
    with pytest.raises(errors.ConflictError):
        blocking(name="ada").save()

    class Same(AtomicRedisModel):
        name: Unique[str] = "x"

    with pytest.raises(errors.SchemaError, match="default"):
        await Same.find_count()


async def test_what_the_rules_do_not_allow(daemon, redis_server, new_daemon, workdir, monkeypatch):
    rules = pathlib.Path(workdir, "rights.conf")
    rules.write_text("* read,write,define ByName\n")
    ruled = new_daemon(redis_server.address, {"rights.file": str(rules)})
    monkeypatch.setattr(rapyerd.settings.settings, "socket", ruled.socket)
    mine = ByName(name="x")
    await mine.save()
    for refused in (mine.lock().__aenter__, lambda: Everything.get("x")):
        with pytest.raises(errors.ForbiddenError) as found:
            await refused()
        assert found.value.code == "FORBIDDEN" and isinstance(found.value, errors.ResponseError)
    assert await ByName.get("x") == mine


async def test_what_is_no_key_and_no_model(daemon):
    class Numbered(AtomicRedisModel):
        number: Key[int]
        counts: dict[str, int] = {}

    await Numbered(number=7).save()
    assert (await Numbered.get(7)).number == 7 and await Numbered.exists(7)
    for wrong in (None, 1.5, True, ["7"]):
        for call in (Numbered.get, Numbered.exists, Numbered.delete_by_key):
            with pytest.raises(errors.UnsupportedArgumentTypeError, match="a key of Numbered"):
                await call(wrong)
    for call in (Numbered.insert, Numbered.get_or_create, rapyerd.ainsert, rapyerd.aget_or_create):
        with pytest.raises(errors.UnsupportedArgumentTypeError, match="takes models, not '7'"):
            await call("7")
    with pytest.raises(errors.UnsupportedArgumentTypeError, match=r"put a \* before it"):
        await Numbered.insert([Numbered(number=8)])
    with pytest.raises(errors.KeyNotFound, match="a key is Model:pk"):
        await rapyerd.aget("7")
    with pytest.raises(errors.UnsupportedArgumentTypeError):
        await rapyerd.aexists(7)
    with pytest.raises(AttributeError, match="Numbered has no field 'nmber'"):
        await Numbered.find(Numbered.nmber == 7)
    with pytest.raises(errors.BadFilterError, match="a field"):
        rapyerd.where(7)
    assert await Numbered.find_count(rapyerd.where(Numbered.number).in_([7, 8])) == 1
    with pytest.raises(errors.UnsupportedArgumentValueError, match="connect_timeout"):
        rapyerd.configure(connect_timeout="5")


async def test_what_has_no_bytes_is_named(daemon):
    class Large(AtomicRedisModel):
        n: int = 0
        counts: dict[str, int] = {}
        inner: list[dict[str, int]] = []

    large = Large()
    await large.save()
    for field, value, place in (
        ("n", 1 << 70, "n"),
        ("counts", {"a": 1, "b": 1 << 70}, "counts.b"),
        ("inner", [{}, {"c": 1 << 70}], r"inner\[1\]\.c"),
    ):
        with pytest.raises(errors.BadValueError, match=rf"doc\.save: {place}: 1180591620717411303424: "):
            await Large(**{field: value}).save()
        with pytest.raises(errors.BadValueError, match=rf"set: {place}: 1180591620717411303424: "):
            await large.aupdate(**{field: value})
