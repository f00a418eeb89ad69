"""What calls about several documents give back."""

from __future__ import annotations

import dataclasses
import enum
import warnings
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclasses.dataclass
class DeleteResult:
    """`models_deleted`: how many documents were named. `keys_deleted`: how many were there."""

    models_deleted: int
    keys_deleted: int
    was_committed: bool = True

    @property
    def count(self) -> int:
        warnings.warn(
            "DeleteResult.count is deprecated: it is models_deleted", DeprecationWarning, stacklevel=2
        )
        return self.models_deleted


@dataclasses.dataclass
class RapyerDeleteResult(DeleteResult):
    by_model: dict[Any, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class CascadeResult:
    dangling_children: int
    dangling_special: int
    mismatched_class: int = 0


class GetOrCreateStatus(str, enum.Enum):
    CREATED = "created"
    FOUND = "found"


@dataclasses.dataclass
class GetOrCreateResult(Generic[T]):
    value: T
    status: GetOrCreateStatus
