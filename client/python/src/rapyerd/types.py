"""The types that fields have once they are touched."""

from __future__ import annotations

from rapyerd.containers import Container
from rapyerd.dicts import RedisDict
from rapyerd.kinds import BaseRedisType, RedisType, RelationalFieldType, SpecialFieldType
from rapyerd.lists import RedisList
from rapyerd.queues import PriorityQueueItem, RedisPriorityQueue
from rapyerd.references import ForeignKey, Reference
from rapyerd.scalars import (
    RedisBytes,
    RedisDatetime,
    RedisDatetimeTimestamp,
    RedisDecimal,
    RedisFloat,
    RedisInt,
    RedisStr,
    Scalar,
)
from rapyerd.sets import RedisSet

GenericRedisType = Container

__all__ = [
    "BaseRedisType",
    "Container",
    "ForeignKey",
    "GenericRedisType",
    "PriorityQueueItem",
    "RedisBytes",
    "RedisDatetime",
    "RedisDatetimeTimestamp",
    "RedisDecimal",
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
