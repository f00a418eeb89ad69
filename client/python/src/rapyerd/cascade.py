"""A time to live that follows references: ``Annotated[Reference[Author], CascadeTTL()]``, or
``Meta = RedisConfig(cascade_ttl=CascadeTTL())`` for all references of a class.

A class's plan is what the daemon is told of that: by which fields of which classes it goes on, and how far.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from rapyerd.config import RedisConfig
from rapyerd.described import owner_of, schema_of
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

    def __post_init__(self) -> None:
        super().__post_init__()
        RedisConfig.cascades = True


# --- plans ------------------------------------------------------------------------------------

_FAR = 100_000  # as far as they lead


@dataclasses.dataclass(frozen=True)
class Plan:
    """`options`: of `doc.ttl`. `models`: the classes that they name or lead to, which must be declared."""

    options: dict[str, Any]
    models: tuple[Any, ...]


_plans: dict[Any, Plan | None] = RedisConfig.plans


def plan_of(cls: Any) -> Plan | None:
    """Where a cascade goes from documents of a class; None: nowhere."""
    if not RedisConfig.cascades:
        return None
    if cls not in _plans:
        _plans[cls] = _made(cls)
    return _plans[cls]


def _made(cls: Any) -> Plan | None:
    plan: dict[str, dict[str, int | None]] = {}
    models = [cls]
    for model in models:  # which grows meanwhile
        fields: dict[str, int | None] = {}
        for path, spec, explicit, targets in _edges(model, "", ()):
            far = _FAR if spec.depth is None else spec.depth
            fields[path] = far if explicit else None
            models += [target for target in targets if target not in models]
        if fields:
            plan[schema_of(model).name] = fields
    if schema_of(cls).name not in plan:
        return None
    # What is not said of a field counts from the document itself.
    general = [spec.depth for _, spec, explicit, _ in _edges(cls, "", ()) if not explicit]
    options: dict[str, Any] = {"cascade": plan}
    if general and None not in general:
        options["depth"] = max(depth for depth in general if depth is not None) + 1
    return Plan(options, tuple(models))


def _edges(
    model: Any, prefix: str, within: tuple[Any, ...]
) -> Iterator[tuple[str, CascadeSpec, bool, list[Any]]]:
    """The fields that hold references and go on: path, what is said, whether by the field itself, classes."""
    schema = schema_of(model)
    general = getattr(getattr(model, "Meta", None), "cascade_ttl", None)
    for name, codec in schema.codecs.items():
        info = model.model_fields[name]
        said = next((mark for mark in info.metadata if isinstance(mark, CascadeTTL)), None)
        spec = said or general
        targets = list(_targets(info.annotation))
        inner: Any = codec
        while inner.model is None and inner.item is not None:
            inner = inner.item
        if targets and spec is not None and spec.enabled:
            yield prefix + name, spec, said is not None, targets
        elif inner.model is not None and inner.atomic and inner.model not in within:
            yield from _edges(inner.model, f"{prefix}{name}.", (*within, inner.model))


def _targets(annotation: Any) -> Iterator[Any]:
    """The classes that references in an annotation lead to."""
    from rapyerd.references import ForeignKey
    from rapyerd.schema import classes_in, is_atomic

    if get_origin(annotation) is ForeignKey:
        yield from (cls for cls in classes_in(annotation) if is_atomic(cls))
        return
    for argument in get_args(annotation):
        yield from _targets(argument)


def specials(key: str) -> int:
    """How many sets and queues a document of this key would have."""
    cls = owner_of(key.partition(":")[0])
    kinds = [] if cls is None else [codec.kind for codec in schema_of(cls).codecs.values()]
    return sum(kind in ("set", "queue") for kind in kinds)
