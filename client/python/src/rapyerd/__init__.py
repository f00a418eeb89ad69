"""rapyerd: nested pydantic models in Redis, through the local daemon rapyerd.

    from rapyerd import AtomicRedisModel

    class User(AtomicRedisModel):
        name: str
        visits: int = 0
        tags: list[str] = []

    user = User(name="Ada")
    await user.save()
    await user.visits.increase()
    await user.tags.aappend("admin")

The same with blocking calls is `rapyerd.sync`.
"""

from rapyerd.cascade import CascadeTTL
from rapyerd.config import ActionGroup, RedisConfig
from rapyerd.find import where
from rapyerd.functions import (
    adelete_many,
    aexists,
    afind,
    afind_one,
    aget,
    aget_or_create,
    ainsert,
    alock_from_key,
    apipeline,
    find_redis_models,
    lock_from_key,
    pipeline,
)
from rapyerd.keys import Index, IndexAnnotation, Key, Lazy, Pickled, RapyerKey, SafeLoad, Unique
from rapyerd.links import close_all
from rapyerd.model import AtomicRedisModel
from rapyerd.rapyer import init_rapyer, install_as_rapyer, teardown_rapyer
from rapyerd.result import (
    CascadeResult,
    DeleteResult,
    GetOrCreateResult,
    GetOrCreateStatus,
    RapyerDeleteResult,
)
from rapyerd.settings import configure
from rapyerd.tracing import trace
from rapyerd.watching import Change, awatch

__all__ = [
    "ActionGroup",
    "AtomicRedisModel",
    "CascadeResult",
    "CascadeTTL",
    "Change",
    "DeleteResult",
    "GetOrCreateResult",
    "GetOrCreateStatus",
    "Index",
    "IndexAnnotation",
    "Key",
    "Lazy",
    "Pickled",
    "RapyerDeleteResult",
    "RapyerKey",
    "RedisConfig",
    "SafeLoad",
    "Unique",
    "adelete_many",
    "aexists",
    "afind",
    "afind_one",
    "aget",
    "aget_or_create",
    "ainsert",
    "alock_from_key",
    "apipeline",
    "awatch",
    "close_all",
    "configure",
    "find_redis_models",
    "init_rapyer",
    "install_as_rapyer",
    "lock_from_key",
    "pipeline",
    "teardown_rapyer",
    "trace",
    "where",
]

__version__ = "0.1.0"
