"""For programs written for Rapyer: ``import rapyer`` finds this package."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

from rapyerd.links import close_all


async def init_rapyer(
    redis: Any = None,
    ttl: int | None = None,
    override_old_idx: bool = True,
    prefer_normal_json_dump: bool | None = None,
    cascade_ttl: Any = None,
    logger: Any = None,
) -> None:
    """What Rapyer's does is not needed here; `ttl` becomes that of all models. `redis` is not used."""
    from rapyerd.model import models

    if redis is not None:
        warnings.warn(
            "the documents live in the Redis that the daemon rapyerd is set up with (redis.redis in its "
            "configuration), not in the one that init_rapyer was given",
            stacklevel=2,
        )
    for model in models:
        if ttl is not None:
            model.Meta.ttl = ttl
        if prefer_normal_json_dump is not None:
            model.Meta.prefer_normal_json_dump = prefer_normal_json_dump
        if cascade_ttl is not None:
            model.Meta.cascade_ttl = cascade_ttl


async def teardown_rapyer() -> None:
    """Closes the connections of this loop."""
    close_all()


# Rapyer's modules, and where what they hold is found here.
_MODULES = {
    "rapyer": ("rapyerd",),
    "rapyer.base": ("rapyerd.functions", "rapyerd.model", "rapyerd.result", "rapyerd.config"),
    "rapyer.init": ("rapyerd.rapyer",),
    "rapyer.config": ("rapyerd.config",),
    "rapyer.actions": ("rapyerd.config",),
    "rapyer.result": ("rapyerd.result",),
    "rapyer.context": ("rapyerd.record",),
    "rapyer.cascade": ("rapyerd.cascade",),
    "rapyer.cascade.ttl": ("rapyerd.cascade",),
    "rapyer.cascade.spec": ("rapyerd.cascade",),
    "rapyer.errors": ("rapyerd.errors",),
    "rapyer.errors.base": ("rapyerd.errors",),
    "rapyer.errors.find": ("rapyerd.errors",),
    "rapyer.errors.delete": ("rapyerd.errors",),
    "rapyer.errors.cascade": ("rapyerd.errors",),
    "rapyer.fields": ("rapyerd.keys",),
    "rapyer.fields.key": ("rapyerd.keys",),
    "rapyer.fields.index": ("rapyerd.keys",),
    "rapyer.fields.safe_load": ("rapyerd.keys",),
    "rapyer.fields.expression": ("rapyerd.find",),
    "rapyer.types": ("rapyerd.types",),
    "rapyer.types.base": ("rapyerd.types",),
    "rapyer.types.byte": ("rapyerd.types",),
    "rapyer.types.datetime": ("rapyerd.types",),
    "rapyer.types.dct": ("rapyerd.types",),
    "rapyer.types.float": ("rapyerd.types",),
    "rapyer.types.foreign_key": ("rapyerd.references",),
    "rapyer.types.generic": ("rapyerd.types",),
    "rapyer.types.priority_queue": ("rapyerd.queues",),
    "rapyer.types.redis_set": ("rapyerd.sets",),
    "rapyer.types.relational": ("rapyerd.references",),
    "rapyer.types.special": ("rapyerd.sets",),
    "rapyer.types.integer": ("rapyerd.types",),
    "rapyer.types.lst": ("rapyerd.types",),
    "rapyer.types.string": ("rapyerd.types",),
}


def install_as_rapyer() -> None:
    """From now on ``import rapyer``, and its submodules, find this package."""
    import importlib

    for name, sources in _MODULES.items():
        module = types.ModuleType(name, f"{sources[0]}, under Rapyer's name")
        for source in reversed(sources):
            found = vars(importlib.import_module(source))
            module.__dict__.update(
                {k: v for k, v in found.items() if not k.startswith("__") or k == "__all__"}
            )
        if any(other.startswith(name + ".") for other in _MODULES):
            module.__path__ = []
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    sys.modules["rapyer.base"].__dict__["REDIS_MODELS"] = sys.modules["rapyer.base"].__dict__["models"]
    sys.modules["rapyer"].__dict__["__version__"] = "1.3.6"
