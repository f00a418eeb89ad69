"""Models as Rapyer's users have them, for test_export."""

import datetime as dt
import enum
from typing import Any

from pydantic import BaseModel, Field
from rapyer.fields import Key
from rapyer.types.priority_queue import RedisPriorityQueue
from rapyer.types.redis_set import RedisSet

import rapyer


class Color(enum.Enum):
    RED = "red"


class Street(BaseModel):
    name: str = ""


class Author(rapyer.AtomicRedisModel):
    email: Key[str]


class Book(rapyer.AtomicRedisModel):
    title: str
    color: Color = Color.RED
    when: dt.datetime = dt.datetime(1, 1, 1, 0, 0, 0, 7)
    raw: bytes = b""
    any: Any = None
    streets: list[Street] = []
    labels: RedisSet[str] = Field(default_factory=RedisSet)
    jobs: RedisPriorityQueue[str] = Field(default_factory=RedisPriorityQueue, exclude=True)
