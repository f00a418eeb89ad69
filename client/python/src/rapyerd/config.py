"""A model's settings: how long its documents live, what starts that time anew."""

from __future__ import annotations

import enum
from typing import Any, ClassVar

from rapyerd.errors import InvalidRefreshTtlError


class ActionGroup(enum.Flag):
    """Kinds of operations, as `refresh_ttl` names them."""

    READ = enum.auto()
    FETCH = enum.auto()
    CREATE = enum.auto()
    UPDATE = enum.auto()
    APPEND = enum.auto()
    DELETE = enum.auto()
    ERASE = enum.auto()
    ARITHMETIC = enum.auto()

    @classmethod
    def all(cls, *, for_ttl: bool = False) -> ActionGroup:
        result = cls(0)
        for member in cls:
            if not (for_ttl and member is cls.DELETE):
                result |= member
        return result


WRITES = (
    ActionGroup.CREATE | ActionGroup.UPDATE | ActionGroup.APPEND | ActionGroup.ERASE | ActionGroup.ARITHMETIC
)
# What reads a whole document.
FETCHES = ActionGroup.READ | ActionGroup.FETCH


class RedisConfig:
    """`ttl`: seconds a document lives after it was saved, None: for ever. `refresh_ttl`: True when each
    write and each read of a document starts that time anew, False: neither, or the groups that do.
    `safe_load_all`: all fields are `SafeLoad`. `pickle`: fields of classes and functions, which have no form
    outside Python, are pickled.

    The others are Rapyer's. `redis` is not used: the daemon knows its Redis.
    """

    grouped: ClassVar[bool] = False  # some model names groups
    cascades: ClassVar[bool] = False  # some time to live follows references
    plans: ClassVar[dict[Any, Any]] = {}  # of classes (cascade.py), as long as no setting has changed

    def __init__(
        self,
        *,
        redis: Any = None,
        ttl: int | None = None,
        refresh_ttl: bool | ActionGroup = True,
        safe_load_all: bool = False,
        pickle: bool = False,
        prefer_normal_json_dump: bool = True,
        init_with_rapyer: bool = True,
        max_delete_per_transaction: int | None = 1000,
        cascade_ttl: Any = None,
        **unknown: Any,
    ) -> None:
        self.redis = redis
        self.ttl = ttl
        self.refresh_ttl = refresh_ttl
        self.safe_load_all = safe_load_all
        self.pickle = pickle
        self.prefer_normal_json_dump = prefer_normal_json_dump
        self.init_with_rapyer = init_with_rapyer
        self.max_delete_per_transaction = max_delete_per_transaction
        self.cascade_ttl = cascade_ttl
        for name, value in unknown.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "refresh_ttl" and isinstance(value, ActionGroup):
            if value & ActionGroup.DELETE:
                raise InvalidRefreshTtlError(
                    "what is deleted has no time to live: refresh_ttl without DELETE"
                )
            RedisConfig.grouped = True
        if name == "cascade_ttl" and value is not None:
            RedisConfig.cascades = True
        RedisConfig.plans.clear()
        changed = name in ("ttl", "refresh_ttl") and getattr(self, name, value) != value
        super().__setattr__(name, value)
        if changed:  # models that were declared have said something else
            from rapyerd.links import declare_again

            declare_again()

    def refreshes_writes(self) -> bool:
        """Does every write start the time anew? Then it is the daemon's business."""
        if isinstance(self.refresh_ttl, bool):
            return self.refresh_ttl
        return self.refresh_ttl & WRITES == WRITES

    def refreshes(self, group: ActionGroup) -> bool:
        """Does a read of this group?"""
        if self.ttl is None:
            return False
        if isinstance(self.refresh_ttl, bool):
            return self.refresh_ttl
        return bool(self.refresh_ttl & group)
