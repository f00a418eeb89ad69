"""Stands in for the conftest files of Rapyer's tests: a daemon, and a client that answers for Redis."""

import contextlib
import datetime
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
from rapyerd.call import Call  # noqa: E402

rapyerd.install_as_rapyer()

# What the helpers of the tests take from Rapyer's inside.
import types  # noqa: E402

import rapyer.actions  # noqa: E402
import rapyer.context  # noqa: E402
import rapyer.types.base  # noqa: E402

import rapyerd.types  # noqa: E402
from rapyerd.described import schema_of  # noqa: E402
from rapyerd.place import own, place_of  # noqa: E402
from rapyerd.values import to_timestamp  # noqa: E402

rapyer.actions.ACTION_GROUPS_ATTR = "_action_groups"
rapyer.types.base.REDIS_DUMP_FLAG_NAME = "__rapyer_dumped__"
rapyerd.AtomicRedisModel.build_redis_model = classmethod(lambda cls, *_: None)
rapyer.types.base.BaseRedisType.build_redis_model = classmethod(lambda cls, *_: None)
rapyer.context._context_pipe = rapyer.context._pipeline


def _special_field_key(cls, key, path):
    return f"{SPECIAL}:{key}:{path.lstrip('.')}"


# Rapyer keeps sets and queues in keys of their own, of which its tests ask.
SPECIAL = "__rapyer_special__"
for name in ("is_fake_redis", "cascade_function_name", "_meta_locked"):
    setattr(rapyerd.RedisConfig, name, None)
for special in (rapyerd.types.RedisSet, rapyerd.types.RedisPriorityQueue):
    special.special_field_key = classmethod(_special_field_key)
    special.special_key = property(lambda self: self.special_field_key(self.key, self.field_path))


def _special(cls):
    """Has a class a set or a queue?"""
    return any(codec.kind in ("set", "queue") for codec in schema_of(cls).codecs.values())


rapyerd.AtomicRedisModel.contains_sf_field = classmethod(_special)
_dump = rapyerd.AtomicRedisModel.redis_dump


def _dumped(model):
    """With the members of sets in an order, to be compared."""

    def sort(values, codecs):
        for name, codec in codecs.items():
            if codec.kind == "set":
                values[name] = sorted(values[name], key=repr)
            elif codec.kind == "model":
                sort(values[name], schema_of(codec.model).codecs)

    values = _dump(model)
    sort(values, schema_of(type(model)).codecs)
    return values


rapyerd.AtomicRedisModel.redis_dump = _dumped


def _index_name(cls):
    return f"idx:{cls.class_key_initials()}"


rapyerd.AtomicRedisModel.index_name = classmethod(_index_name)


def _all_keys(model):
    codecs = schema_of(type(model)).codecs
    special = [n for n, codec in codecs.items() if codec.kind in ("set", "queue")]
    return [str(model.key), *(getattr(model, name).special_key for name in special)]


rapyerd.AtomicRedisModel.all_keys = property(_all_keys)


def _put_into(model, other):
    own(other, "inner", model)


# The model that a value or another model is in.
rapyer.types.base.BaseRedisType._base_model_link = property(lambda value: value._owner)
rapyerd.AtomicRedisModel._base_model_link = property(lambda model: place_of(model).owner, _put_into)
rapyerd.AtomicRedisModel.field_name = rapyerd.AtomicRedisModel.field_name.setter(
    lambda model, name: setattr(place_of(model), "name", name.lstrip("."))
)
# Which tests there are of a method hangs on its groups.
G = rapyer.actions.ActionGroup
GROUPS = {
    "asave": G.UPDATE | G.CREATE,
    "aduplicate": G.CREATE,
    "aduplicate_many": G.CREATE,
    "ainsert": G.CREATE,
    "aget_or_create": G.CREATE | G.READ | G.FETCH,
    "adelete": G.DELETE,
    "adelete_by_key": G.DELETE,
    "adelete_many": G.DELETE,
}
for name, group in GROUPS.items():
    method = getattr(rapyerd.AtomicRedisModel, name)
    getattr(method, "__func__", method)._action_groups = group
    if hasattr(rapyerd.functions.Functions, name):
        getattr(rapyerd.functions.Functions, name)._action_groups = group


async def _ignored(*_, **__):
    """What registers scripts and functions of which there are none."""


async def _nothing(*_, **__):
    """Stands for `flush_action_targets`, which starts the time to live anew, once for each action."""


rapyer.actions.flush_action_targets = _nothing
_perform = links.AsyncLink.perform
_WORK = ("doc.save", "doc.insert", "doc.get_or_create", "doc.duplicate", "pipeline", "doc.ttl")


async def _performed(link, call):
    """A request. What a test that looks at `flush_action_targets` counts are those that start the time of a
    document anew, by themselves or in the daemon."""
    answer = await _perform(link, call)
    times = [getattr(cls, "Meta", None) for cls in call.models]
    writes = not call.read and (call.method in _WORK or not call.method.startswith(("doc.", "lock.")))
    writes = writes or (call.method == "doc.get_many" and "touch" in call.params[-1])
    if writes and any(meta is not None and meta.ttl and meta.refresh_ttl for meta in times):
        await rapyer.actions.flush_action_targets()
    return answer


links.AsyncLink.perform = _performed


def _write(method, params, model):
    """The short way of what is done often, as a request like any other."""
    return links.async_link().perform(Call(method, params, (model,)))


links.write = _write

sys.modules["rapyer.types.relational"].resolve_relational_targets = lambda models: None
sys.modules["rapyer.types.special"].SPECIAL_FIELD_KEY_PREFIX = SPECIAL
for name in (
    "rapyer.cascade.planner",
    "rapyer.scripts",
    "rapyer.scripts.registry",
    "rapyer.utils",
    "rapyer.utils.fields",
):
    module = types.ModuleType(name)
    module.__getattr__ = lambda attribute: _ignored
    module.__path__ = []
    sys.modules[name] = module

from daemon_process import Daemon  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from rpc_client import RpcError, wait_until  # noqa: E402

# One test gives a model of another class with the same fields for a Person, which pydantic refuses.
from tests.models.common import Person  # noqa: E402

Person.model_config["from_attributes"] = True
Person.model_rebuild(force=True)


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
    """RedisJSON's commands, of what the daemon has."""

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

    async def set(self, key, path, value):
        """By the daemon if it takes the value, else straight into Redis, as what spoils it."""
        path = path.lstrip("$").lstrip(".")
        element = "[" in path or "." in path
        if element and isinstance(value, str) and value.startswith("corrupted"):  # the daemon would take it
            self.client.spoil(key, path, value)
            return
        try:
            self.put(key, path, value)
        except RpcError:
            with contextlib.suppress(AttributeError, TypeError, ValueError, RpcError):
                # A time as the original keeps it.
                self.put(key, path, to_timestamp(datetime.datetime.fromisoformat(value)))
                return
            try:  # no pickle, where one is kept
                self.put(key, path, value.encode())
            except (RpcError, AttributeError, TypeError):
                self.client.spoil(key, path, value)

    def put(self, key, path, value):
        """A value where it is; the last name of the path may be a key of a dict."""
        if not path:
            self.client.rpc.call("doc.save", key, value)
            return
        try:
            self.client.rpc.call("set", key, path, value)
        except RpcError as error:
            outer, _, inner = path.rpartition(".")
            if error.code not in ("BAD_PATH", "UNKNOWN_FIELD"):
                raise
            self.client.rpc.call("set", key, f'{outer}["{inner}"]', value)

    async def arrappend(self, key, path, *values):
        for value in values:
            self.client.rpc.call("list.append", key, path.lstrip("$").lstrip("."), value)


class Search:
    """An index of RediSearch: by what the daemon finds documents of a class."""

    def __init__(self, name):
        self.cls = next(cls for cls in rapyerd.find_redis_models() if cls.class_key_initials() == name)

    async def info(self):
        await self.cls.find_count()
        kinds = {"prefix": "TEXT", "range": "NUMERIC", "exact": "TAG", "tags": "TAG"}
        fields = schema_of(self.cls).indexes.items()
        return {"attributes": [["", f"$.{name}", "", name, "", kinds[by]] for name, by in fields]}


class Queued:
    """A pipeline of a few commands."""

    def __init__(self, client):
        self.client, self.calls = client, []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def __getattr__(self, name):
        return lambda *args: self.calls.append((name, args))

    async def execute(self):
        return [await getattr(self.client, name)(*args) for name, args in self.calls]


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
            key = key.split(":", 1)[1].rpartition(":")[0]
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

    def spoil(self, key, path, value):
        """Puts something into Redis where the document has another thing."""
        if not path:
            self.raw.hset(self.root(key), mapping={"@v": 1, **{k: str(v) for k, v in value.items()}})
            return
        container, bracket, index = path.partition("[")
        if bracket:
            self.raw.lset(f"{self.root(key)}/{container}", int(index.rstrip("]")), value)
        elif self.raw.exists(f"{self.root(key)}/{path.rpartition('.')[0]}"):
            outer, _, inner = path.rpartition(".")
            self.raw.hset(f"{self.root(key)}/{outer}", inner, value)
        else:
            self.raw.hset(self.root(key), path, value)
        wait_until(lambda: self.spoilt(key), what="what is spoilt")

    def spoilt(self, key):
        """Has the daemon heard of it?"""
        try:
            self.rpc.call("doc.get", key)
        except RpcError:
            return True
        return False

    def pipeline(self, *_, **__):
        return Queued(self)

    async def set(self, key, value):
        self.raw.set(self.root(key), value)

    async def fcall(self, _name, _keys, key, cls, _special, seconds, cascade):
        """Rapyer's function by which a time to live follows references."""
        cls = rapyerd.functions.class_of(f"{cls}:")
        result = await (await cls.aget(key)).aset_ttl(seconds, cascade=True) if cascade else None
        if result is None:
            self.call("doc.ttl", self.document(key), seconds)
            return [0, 0, 0]
        return [result.dangling_children, result.dangling_special, result.mismatched_class]

    async def ping(self):
        return self.raw.ping()

    async def execute_command(self, *_):
        """About scripts and indexes of which there are none."""
        return []

    def ft(self, name):
        return Search(name.partition(":")[2])

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
        key, _, path = name.split(":", 1)[1].rpartition(":")
        return self.call("doc.load", key, path)

    async def smembers(self, name):
        return {json.dumps(member) for member in self.special(name) or ()}

    async def scard(self, name):
        return len(self.special(name) or ())

    zcard = scard

    async def zrange(self, name, first, last, withscores=False):
        pairs = [(json.dumps(member), score) for member, score in self.special(name) or ()]
        pairs = pairs[first : None if last == -1 else last + 1]
        return pairs if withscores else [text for text, _ in pairs]

    async def info(self, *_):
        return {"redis_version": "7.4.0"}

    async def flush(self):
        keys = await self.keys()
        for key in keys:
            with contextlib.suppress(RpcError):  # no document at all
                self.call("doc.delete", key)
            self.raw.delete(self.root(key))

    async def aclose(self):
        pass


@pytest_asyncio.fixture
async def redis_client(servers):
    client = Client(*servers)
    await client.flush()
    for model in rapyerd.find_redis_models():
        model.Meta.redis = client
        model.Meta.pickle = True  # as the original does, whatever has no other form
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
