"""What an annotation says about a time to live that follows references: ``Annotated[Reference[Author],
CascadeTTL()]``."""

from __future__ import annotations

import dataclasses
import enum

from rapyerd.errors import InvalidCascadeDepthError


class TTLCascadeMode(enum.Enum):
    """`EXTEND`: the other document lives at least as long."""

    EXTEND = "extend"


@dataclasses.dataclass(frozen=True)
class CascadeSpec:
    enabled: bool = True
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 0:
            raise InvalidCascadeDepthError(f"depth must be None or at least 0, and is {self.depth}")


@dataclasses.dataclass(frozen=True)
class CascadeTTL(CascadeSpec):
    mode: TTLCascadeMode = TTLCascadeMode.EXTEND
