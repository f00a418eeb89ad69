"""Models as Rapyer's users have them, for test_export."""

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

from pydantic import BaseModel, Field
from rapyer.fields import Key
from rapyer.types import Reference
from rapyer.types.priority_queue import RedisPriorityQueue
from rapyer.types.redis_set import RedisSet

import rapyer


class Color(enum.Enum):
    RED = "red"


class Street(BaseModel):
    name: str = ""


class Desk(rapyer.AtomicRedisModel):
    drawers: list[str] = []
    waiting: RedisPriorityQueue[str] = Field(default_factory=RedisPriorityQueue, exclude=True)


class Author(rapyer.AtomicRedisModel):
    email: Key[str]
    desk: Desk = Field(default_factory=Desk)


class Book(rapyer.AtomicRedisModel):
    title: str
    color: Color = Color.RED
    when: dt.datetime = dt.datetime(1, 1, 1, 0, 0, 0, 7)
    raw: bytes = b""
    any: Any = None
    streets: list[Street] = []
    labels: RedisSet[str] = Field(default_factory=RedisSet)
    author: Reference[Author] | None = None
    price: decimal.Decimal = decimal.Decimal(0)
    number: uuid.UUID = uuid.UUID(int=0)
    size: tuple[int, float] = (0, 0.0)
    lent: bool | None = None
    jobs: RedisPriorityQueue[str] = Field(default_factory=RedisPriorityQueue, exclude=True)


async def fill(address: str) -> None:
    """What a program has written with Rapyer."""
    await rapyer.init_rapyer(address)
    author = Author(email="a@b.c:d{e}")
    author.desk.drawers = ["pens", "ä\n"]
    await author.asave()
    await author.desk.waiting.apush("letter", 1.5)
    for number in range(120):  # more than are read at once
        book = Book(
            title=f"book {number}",
            when=dt.datetime(2024, 1, 2, 3, 4, 5, number, tzinfo=dt.timezone.utc),
            raw=b"\0\xff",
            any={"deep": [1, 2.5, None, b"x"]},
            streets=[Street(name="s")],
            labels={"l", f"{number}"},
            author=author,
            price=decimal.Decimal("12.30"),
            number=uuid.UUID(int=number),
            size=(number, 0.5),
            lent=bool(number % 2),
        )
        book._pk = str(number)
        await book.asave()
        await book.jobs.apush("j", number)
    await book.aset_ttl(5000)


async def show(address: str | None = None) -> None:
    """What a program finds, be it with Rapyer or with rapyerd."""
    if address is not None:
        await rapyer.init_rapyer(address)
    for author in await Author.afind():
        waiting = [(str(item.value), item.priority) for item in await author.desk.waiting.aitems()]
        print(author.key, list(author.desk.drawers), waiting)
    for key in sorted(await Book.afind_keys()):
        book = await Book.aget(key)
        jobs = [(str(item.value), item.priority) for item in await book.jobs.aitems()]
        values = book.model_dump(exclude={"labels", "jobs", "author"})
        values["when"] = dt.datetime.isoformat(values["when"])
        print(key, values, sorted(book.labels), jobs, book.author and book.author.target_key)
