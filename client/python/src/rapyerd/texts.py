"""Python's values as the texts that the daemon keeps them as, and back.

What the daemon answers has no zeros at the end of a fraction of seconds, and may have nine digits of it,
which another program has put there: a Python value keeps six.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
from typing import Any

from rapyerd.errors import RapyerSerializationError

_SECOND = dt.timedelta(seconds=1)
_MICROSECOND = dt.timedelta(microseconds=1)


def _with_six_digits(text: str) -> str:
    """What `fromisoformat` of Python 3.10 takes."""
    return re.sub(r"\.(\d+)", lambda found: f".{found[1][:6]:0<6}", text)


def from_decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise RapyerSerializationError(f"{value} is no number that can be kept")
    return format(value, "f")


def from_time(value: dt.time) -> str:
    if value.tzinfo is not None:
        raise RapyerSerializationError("a time of day has no time zone here; keep a datetime")
    return value.isoformat()


def to_time(text: str) -> dt.time:
    return dt.time.fromisoformat(_with_six_digits(text))


def from_timedelta(value: dt.timedelta) -> str:
    seconds, rest = divmod(abs(value), _SECOND)
    sign = "-" if value < dt.timedelta() else ""
    return f"{sign}{seconds}.{rest // _MICROSECOND:06d}"


def to_timedelta(text: str) -> dt.timedelta:
    return dt.timedelta(microseconds=int(decimal.Decimal(text) * 1_000_000))


def from_zoned(value: dt.datetime) -> str:
    offset = value.utcoffset()
    if offset is None:
        raise RapyerSerializationError("a datetime without an offset is no AwareDatetime")
    if offset % dt.timedelta(minutes=1):  # of a time before there were zones
        value = value.astimezone(dt.timezone.utc)
    return value.isoformat()


def to_datetime(text: str) -> Any:
    return dt.datetime.fromisoformat(_with_six_digits(text))
