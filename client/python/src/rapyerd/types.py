"""The types that fields have once they are touched."""

from __future__ import annotations

from rapyerd.containers import Container
from rapyerd.dicts import RedisDict
from rapyerd.lists import RedisList
from rapyerd.scalars import (
    RedisBytes,
    RedisDatetime,
    RedisDatetimeTimestamp,
    RedisFloat,
    RedisInt,
    RedisStr,
    Scalar,
)

RedisType = Scalar
GenericRedisType = Container

__all__ = [
    "Container",
    "GenericRedisType",
    "RedisBytes",
    "RedisDatetime",
    "RedisDatetimeTimestamp",
    "RedisDict",
    "RedisFloat",
    "RedisInt",
    "RedisList",
    "RedisStr",
    "RedisType",
    "Scalar",
]
