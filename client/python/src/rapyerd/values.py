"""Python values to what goes over the wire, and back, where no annotation says more.

Naive datetimes are kept as such: they go as the same wall clock in UTC, with one nanosecond more than
a datetime can hold to tell them from aware ones. Aware ones come back in UTC.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import uuid
from collections.abc import Mapping, Sequence, Set
from typing import Any

from msgpack import Timestamp
from pydantic import BaseModel, SecretBytes, SecretStr

from rapyerd.errors import RapyerSerializationError

NAIVE = 1  # nanoseconds
_EPOCH = dt.datetime(1970, 1, 1)
_UTC = dt.timezone.utc
_AWARE_EPOCH = _EPOCH.replace(tzinfo=_UTC)
_PLAIN = frozenset((int, float, str, bool, bytes, type(None)))


def to_timestamp(value: dt.datetime) -> Timestamp:
    if value.tzinfo is None:
        delta = value - _EPOCH
        return Timestamp(delta.days * 86400 + delta.seconds, delta.microseconds * 1000 + NAIVE)
    delta = value - _AWARE_EPOCH
    return Timestamp(delta.days * 86400 + delta.seconds, delta.microseconds * 1000)


def from_timestamp(value: Timestamp) -> dt.datetime:
    microseconds, rest = divmod(value.nanoseconds, 1000)
    epoch = _EPOCH if rest == NAIVE else _AWARE_EPOCH
    return epoch + dt.timedelta(seconds=value.seconds, microseconds=microseconds)


def to_wire(value: Any) -> Any:
    """Any value that MessagePack, or a plain convention, has a form for."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, enum.Enum):
        return to_wire(value.value)
    if isinstance(value, (int, float, str, bytes)):
        return value
    if isinstance(value, dt.datetime):
        return to_timestamp(value)
    if isinstance(value, Mapping):
        return {to_wire(k): to_wire(v) for k, v in value.items()}
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (bytearray, memoryview, range)):
        return [to_wire(v) for v in value]
    if isinstance(value, BaseModel):
        return to_wire(value.model_dump())
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, decimal.Decimal, pathlib.PurePath)):
        return str(value)
    if isinstance(value, (SecretStr, SecretBytes)):
        return value.get_secret_value()
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_wire(dataclasses.asdict(value))
    if hasattr(kind, "__pydantic_core_schema__") or kind.__module__.startswith(("pydantic", "ipaddress")):
        return str(value)
    raise RapyerSerializationError(
        f"a {kind.__module__}.{kind.__qualname__} has no form outside Python; annotate the field with a "
        "type that pydantic knows, or with Pickled[...] if only Python has to read it"
    )


def from_wire(value: Any) -> Any:
    """Timestamps to datetimes, wherever they are."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return [from_wire(v) for v in value]
    if kind is dict:
        return {k: from_wire(v) for k, v in value.items()}
    if kind is Timestamp:
        return from_timestamp(value)
    return value
