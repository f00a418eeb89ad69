"""``python -m rapyerd.export --models myapp.models``: what Rapyer has put into a Redis with RedisJSON, for
`rapyerctl import`.

    Rapyer's own models read ──plain values──► a second process: the same modules, rapyerd as rapyer ──► lines

It runs in the environment of the program that the documents belong to, where Rapyer and the modules with its
models can be imported: only they know how to read what Rapyer has written, pickles and all. Nothing is
changed in that Redis: documents are only read, and their time to live goes on as it was.

A line is a JSON object. First, for each model, ``{"define": {...}}``, its declaration; then for each document
``{"key": "Model:pk", "document": {...}, "ttl": seconds}``, the last where it ends. The man page rapyerctl(1)
has all of the format.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import datetime as dt
import enum
import importlib
import importlib.util
import json
import pickle
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import IO, Any

from msgpack import Timestamp

READ_AT_ONCE = 100  # documents
_LENGTH = struct.Struct("<I")
_PLAIN: tuple[type, ...] = (bool, int, float, str, bytes)


# --- the process with Rapyer ------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A value of Rapyer's without Rapyer's classes in it: models as dicts."""
    kind = type(value)
    if kind in _PLAIN or value is None or isinstance(value, (enum.Enum, type)):
        return value
    if hasattr(kind, "model_fields"):
        return {name: plain(getattr(value, name)) for name in kind.model_fields}
    if hasattr(kind, "target_key"):
        return str(value.target_key)
    if isinstance(value, dt.datetime):
        return dt.datetime.combine(value.date(), value.timetz())
    if isinstance(value, dict):
        return {plain(key): plain(element) for key, element in value.items()}
    for container in (list, tuple, set, frozenset):
        if isinstance(value, container) and not hasattr(value, "_fields"):
            return container(plain(element) for element in value)
    for scalar in _PLAIN:
        if isinstance(value, scalar):
            return scalar(value)
    return value


async def with_queues(model: Any) -> dict[str, Any]:
    """A model's values; what queues hold is still to be read."""
    out: dict[str, Any] = plain(model)

    async def fill(model: Any, values: dict[str, Any]) -> None:
        for name in type(model).model_fields:
            there = getattr(model, name)
            if hasattr(type(there), "aitems"):
                values[name] = [(plain(item.value), item.priority) for item in await there.aitems()]
            elif hasattr(type(there), "model_fields") and isinstance(values[name], dict):
                await fill(there, values[name])

    await fill(model, out)
    return out


async def documents(arguments: argparse.Namespace) -> AsyncIterator[tuple[Any, str, Any, Any]]:
    """The class, the key, the values or an error, and the milliseconds that are left, of each document."""
    rapyer: Any = importlib.import_module("rapyer")
    redis: Any = importlib.import_module("redis.asyncio")
    for name in arguments.models:
        importlib.import_module(name)
    models = list(rapyer.find_redis_models())
    client = redis.from_url(arguments.redis, decode_responses=True)
    importlib.import_module("rapyer.result").resolve_forward_refs()
    importlib.import_module("rapyer.types.relational").resolve_relational_targets(models)
    for model in models:
        model.Meta.redis = client
        model.Meta.ttl, model.Meta.refresh_ttl = None, False  # reading starts no time anew
        if arguments.prefer_normal_json_dump:
            model.Meta.prefer_normal_json_dump = True
        model.init_class()
        model.build_redis_model()
    try:
        for model in models:
            async for key in client.scan_iter(f"{model.class_key_initials()}:*", READ_AT_ONCE, "ReJSON-RL"):
                try:
                    values: Any = await with_queues(await model.aget(key))
                    left = await client.pttl(key)
                except Exception as error:
                    values, left = error, -1
                yield model, key, values, left
    finally:
        await client.aclose()


async def read_all(arguments: argparse.Namespace, out: IO[bytes]) -> int:
    """Sends all documents to the other process; how many could not be read."""
    failed = 0
    async for model, key, values, left in documents(arguments):
        if isinstance(values, Exception):
            failed += 1
            print(f"{key} was not exported: {type(values).__name__}: {values}", file=sys.stderr)
            continue
        try:
            data = pickle.dumps((model.__module__, model.__qualname__, key, values, left))
        except Exception as error:
            failed += 1
            print(f"{key} was not exported: {error}", file=sys.stderr)
            continue
        out.write(_LENGTH.pack(len(data)) + data)
    return failed


# --- the process with rapyerd in its place ----------------------------------------------------


def found(stream: IO[bytes]) -> Iterator[tuple[str, str, str, dict[str, Any], int]]:
    """What the other process has sent."""
    while head := stream.read(_LENGTH.size):
        (size,) = _LENGTH.unpack(head)
        yield pickle.loads(stream.read(size))


def as_json(value: Any) -> Any:
    """What goes over the wire, as it stands in a line."""
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Timestamp):
        whole = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=value.seconds)
        fraction = f".{value.nanoseconds:09}".rstrip("0").rstrip(".")
        return {"$time": f"{whole.isoformat()}{fraction}Z"}
    if isinstance(value, dict):
        pairs = [(key, as_json(element)) for key, element in value.items()]
        odd = any(not isinstance(key, str) or "\0" in key for key, _ in pairs)
        if odd or (len(pairs) == 1 and pairs[0][0].startswith("$")):
            return {"$map": [[as_json(key), element] for key, element in pairs]}
        return dict(pairs)
    if isinstance(value, (list, tuple)):
        return [as_json(element) for element in value]
    return value


def class_at(module: str, qualname: str) -> Any:
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def write_all(models: list[str], stream: IO[bytes], out: IO[str]) -> int:
    """Writes the lines; how many documents had no form."""
    from rapyerd import install_as_rapyer
    from rapyerd.described import schema_of
    from rapyerd.place import key_of, settle
    from rapyerd.schema import declarations

    install_as_rapyer()
    for name in models:
        importlib.import_module(name)

    def line(content: dict[str, Any]) -> None:
        out.write(json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")

    known: set[type] = set()
    failed = count = 0
    for module, qualname, key, values, left in found(stream):
        try:
            cls = class_at(module, qualname)
            document = cls.model_validate(values)
            if cls.__rapyer_key__ is None:
                document.pk = key.partition(":")[2]
            settle(document)
            content = as_json(schema_of(cls).encode(document))
            if cls not in known:
                for declaration in declarations((cls,), known, frozenset()):
                    line({"define": as_json(declaration)})
                known.add(cls)
            written = {"key": key_of(document), "document": content}
            if left > 0:
                written["ttl"] = max(left // 1000, 1)
            line(written)
            count += 1
        except Exception as error:
            failed += 1
            print(f"{key} was not exported: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"{count} documents were exported, {failed} had no form", file=sys.stderr)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rapyerd.export",
        description="Writes Rapyer's documents as rapyerctl import takes them.",
    )
    parser.add_argument("--models", action="append", required=True, metavar="MODULE", help="may be repeated")
    parser.add_argument("--redis", default="redis://localhost:6379/0", metavar="URL")
    parser.add_argument("--out", metavar="FILE", help="standard output if nothing is said")
    parser.add_argument(
        "--prefer-normal-json-dump",
        action="store_true",
        help="as init_rapyer was told when they were written",
    )
    parser.add_argument("--encode", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.encode:
        with open(arguments.out, "w") if arguments.out else sys.stdout as out:
            return 1 if write_all(arguments.models, sys.stdin.buffer, out) else 0
    if missing := [name for name in ("rapyer", "redis") if importlib.util.find_spec(name) is None]:
        parser.error(f"there is no {' and no '.join(missing)} here: run it in your program's environment")
    command = [sys.executable, "-m", "rapyerd.export", "--encode"]
    for name in arguments.models:
        command += ["--models", name]
    if arguments.out:
        command += ["--out", arguments.out]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        try:
            failed = asyncio.run(read_all(arguments, encoder.stdin))
        finally:
            encoder.stdin.close()
        return 1 if encoder.wait() or failed else 0


if __name__ == "__main__":
    sys.exit(main())
