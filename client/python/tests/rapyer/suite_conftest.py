"""Stands in for the conftest files of Rapyer's tests: a daemon, and a client that answers for Redis."""

import fnmatch
import json
import pathlib
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

ROOT = next(
    p
    for p in pathlib.Path(__file__).resolve().parents
    if (p / "tests" / "integration" / "rpc_client.py").exists()
)
sys.path[:0] = [str(ROOT / "tests" / "integration"), str(pathlib.Path(__file__).parents[2])]

import rapyerd  # noqa: E402
from rapyerd import links  # noqa: E402

rapyerd.install_as_rapyer()

# What the helpers of the tests take from Rapyer's inside.
import types  # noqa: E402

import rapyer.actions  # noqa: E402
import rapyer.context  # noqa: E402
import rapyer.types.base  # noqa: E402

import rapyerd.types  # noqa: E402

rapyer.actions.ACTION_GROUPS_ATTR = "_action_groups"
rapyer.types.base.REDIS_DUMP_FLAG_NAME = "__rapyer_dumped__"
rapyerd.AtomicRedisModel.build_redis_model = classmethod(lambda cls, *_: None)
rapyer.types.base.BaseRedisType.build_redis_model = classmethod(lambda cls, *_: None)
rapyer.context._context_pipe = rapyer.context._pipeline
# Rapyer keeps sets and queues in keys of their own, of which its tests ask.
SPECIAL = "__rapyer_special__"
for special in (rapyerd.types.RedisSet, rapyerd.types.RedisPriorityQueue):
    special.special_key = property(lambda self: f"{SPECIAL}|{self.key}|{self.field_path}")
for name in ("rapyer.scripts", "rapyer.scripts.registry", "rapyer.utils", "rapyer.utils.fields"):
    module = types.ModuleType(name)
    module.__getattr__ = lambda attribute: None
    module.__path__ = []
    sys.modules[name] = module

from daemon_process import Daemon  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from rpc_client import RpcError  # noqa: E402


@pytest.fixture(scope="session")
def servers():
    directory = tempfile.mkdtemp(prefix="rapyer-", dir="/tmp")
    redis = RedisServer(f"{directory}/redis")
    daemon = Daemon(f"{directory}/daemon", redis.address)
    rapyerd.configure(socket=daemon.socket)
    yield daemon, redis
    daemon.stop()
    redis.stop()


class Json:
    """JSON.GET of a whole document or of a path, for tests that look at what is stored."""

    def __init__(self, client):
        self.client = client

    async def get(self, key, path="$"):
        model = await rapyerd.afind_one(key)
        if model is None:
            return None
        value: Any = model.model_dump(mode="json")
        for part in path.lstrip("$").strip(".").split("."):
            if part:
                value = value[part]
        return [value] if path.startswith("$") else value


class Client:
    """What is asked of Redis, by Rapyer's keys."""

    def __init__(self, daemon, redis):
        self.daemon = daemon
        self.rpc = daemon.connect()
        self.raw = redis.client()

    def call(self, method, *params):
        try:
            return self.rpc.call(method, *params)
        except RpcError as error:
            if error.code in ("NOT_FOUND", "UNKNOWN_MODEL"):
                return None
            raise

    def root(self, key):
        if key.startswith(SPECIAL):  # lives as long as its document
            _, key, _ = key.split("|")
        return f"rapyer:{{{key}}}"

    def document(self, key):
        return self.root(str(key))[len("rapyer:{") : -1]

    async def exists(self, *keys):
        return sum(
            bool(self.special(key)) if key.startswith(SPECIAL) else self.raw.exists(self.root(key))
            for key in keys
        )

    async def ttl(self, key):
        return self.raw.ttl(self.root(key))

    async def persist(self, key):
        return self.call("doc.ttl", self.document(key), 0) is not None

    async def expire(self, key, seconds):
        return self.call("doc.ttl", self.document(key), seconds) is not None

    async def delete(self, *keys):
        return self.call("doc.delete", *map(str, keys))

    async def keys(self, pattern="*"):
        found = {k.decode()[len("rapyer:{") :].partition("}")[0] for k in self.raw.scan_iter("rapyer:{*")}
        return [key for key in found if fnmatch.fnmatch(key, pattern)]

    def json(self):
        return Json(self)

    def special(self, name):
        """The value of a set or queue."""
        _, key, path = name.split("|")
        return self.call("doc.load", key, path)

    async def smembers(self, name):
        return {json.dumps(member) for member in self.special(name) or ()}

    async def scard(self, name):
        return len(self.special(name) or ())

    zcard = scard

    async def zrange(self, name, first, last, withscores=False):
        pairs = sorted((self.special(name) or {}).items(), key=lambda pair: (pair[1], pair[0]))
        pairs = pairs[first : None if last == -1 else last + 1]
        return pairs if withscores else [text for text, _ in pairs]

    async def info(self, *_):
        return {"redis_version": "7.4.0"}

    async def flush(self):
        keys = await self.keys()
        if keys:
            self.call("doc.delete", *keys)

    async def aclose(self):
        pass


@pytest_asyncio.fixture
async def redis_client(servers):
    client = Client(*servers)
    await client.flush()
    for model in rapyerd.find_redis_models():
        model.Meta.redis = client
    yield client
    client.rpc.close()
    client.raw.close()
    rapyerd.close_all()
    for link in list(links._links):
        link.forget()


@pytest_asyncio.fixture
async def requires_redis_functions():
    pass


@pytest_asyncio.fixture(autouse=True)
async def real_redis_client(redis_client):
    yield redis_client


REDUCED_TTL_SECONDS = 10


@dataclass
class SavedModelWithReducedTTL:
    model: Any
    initial_ttl: int


@pytest_asyncio.fixture
async def saved_model_with_reduced_ttl(real_redis_client):
    from tests.models.simple_types import TTLRefreshTestModel

    model = TTLRefreshTestModel(
        name="ttl_test",
        age=25,
        score=10.5,
        tags=["tag1", "tag2"],
        settings={"key1": "value1", "key2": "value2"},
    )
    await model.asave()
    await real_redis_client.expire(model.key, REDUCED_TTL_SECONDS)
    yield SavedModelWithReducedTTL(model, await real_redis_client.ttl(model.key))
    await model.adelete()


@pytest_asyncio.fixture
async def saved_no_refresh_model_with_reduced_ttl(real_redis_client):
    from tests.models.simple_types import TTLRefreshDisabledModel

    model = TTLRefreshDisabledModel(
        name="ttl_no_refresh_test", age=25, score=10.5, tags=["tag1", "tag2"], settings={"key1": "value1"}
    )
    await model.asave()
    await real_redis_client.expire(model.key, REDUCED_TTL_SECONDS)
    yield SavedModelWithReducedTTL(model, await real_redis_client.ttl(model.key))
    await model.adelete()
