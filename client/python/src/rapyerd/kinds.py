"""What the types of fields have in common."""

from __future__ import annotations

from typing import Any


class BaseRedisType:
    """The type of a field, whatever it is."""


class RedisType(BaseRedisType):
    """A Python type, with operations."""

    def save(self) -> Any:
        raise NotImplementedError

    def load(self) -> Any:
        raise NotImplementedError

    def clone(self) -> Any:
        """The value alone."""
        raise NotImplementedError

    asave = save
    aload = load


class SpecialFieldType(BaseRedisType):
    """Fields whose operations are not those of a Python value. (Rapyer keeps them in keys of their own.)"""


class RelationalFieldType(BaseRedisType):
    """A field that names another document."""
