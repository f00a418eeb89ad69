"""The types that fields have once they are touched."""

from __future__ import annotations

from rapyerd.containers import Container
from rapyerd.dicts import RedisDict
from rapyerd.lists import RedisList
from rapyerd.queues import PriorityQueueItem, RedisPriorityQueue
from rapyerd.references import ForeignKey, Reference, RelationalFieldType
from rapyerd.scalars import (
    RedisBytes,
    RedisDatetime,
    RedisDatetimeTimestamp,
    RedisFloat,
    RedisInt,
    RedisStr,
    Scalar,
)
from rapyerd.sets import RedisSet, SpecialFieldType

RedisType = Scalar
GenericRedisType = Container

__all__ = [
    "Container",
    "ForeignKey",
    "GenericRedisType",
    "PriorityQueueItem",
    "RedisBytes",
    "RedisDatetime",
    "RedisDatetimeTimestamp",
    "RedisDict",
    "RedisFloat",
    "RedisInt",
    "RedisList",
    "RedisPriorityQueue",
    "RedisSet",
    "RedisStr",
    "RedisType",
    "Reference",
    "RelationalFieldType",
    "Scalar",
    "SpecialFieldType",
]
