"""Priority queues: `RedisPriorityQueue[T]`, members with a number that says who is first.

The daemon has nothing of the kind yet. The class is here so that models which have such a field can be
imported; whoever uses it is told.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

from rapyerd.errors import NotSupportedError
from rapyerd.sets import SpecialFieldType

T = TypeVar("T")


@dataclasses.dataclass
class PriorityQueueItem(Generic[T]):
    value: T
    priority: float


class RedisPriorityQueue(SpecialFieldType, Generic[T]):
    """A priority queue that is the value of a field."""

    def _refuse(self, *args: Any, **named: Any) -> Any:
        raise NotSupportedError("UNKNOWN_METHOD: this version of rapyerd has no priority queues")

    apush = apush_many = apop = apeek = asize = aclear = aitems = aremove = _refuse

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisPriorityQueue)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def make(value: Any) -> Any:
            return value if isinstance(value, cls) else cls()

        return core_schema.no_info_plain_validator_function(
            make, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: None)
        )
