"""Reads documents out of Redis by the layout alone, without the daemon: what another program
would have to do, and what the daemon's own reading is compared with."""

from datetime import datetime, timedelta, timezone

import msgpack

NULL = b"\xc0"
UNSET = object()


def unpack(raw):
    return msgpack.unpackb(raw, raw=False, strict_map_key=False, timestamp=3)


def escape(pk):
    """As a pk, or a key with it, stands in the names of Redis keys."""
    return pk.replace("{", "{7b").replace("}", "{7d").replace("/", "{2f")


def unescape(name):
    return name.replace("{2f", "/").replace("{7d", "}").replace("{7b", "{")


def parse_type(text):
    """("list", T), ("dict", T), ("optional", T) or (name, None)."""
    kind, _, rest = text.partition("<")
    return (kind, parse_type(rest[:-1])) if rest else (kind, None)


def parse_time(text):
    """2024-01-01T00:00:00.5Z, to the microsecond, which is all that datetime has."""
    seconds, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return moment + timedelta(microseconds=int(fraction.ljust(9, "0")) // 1000 if fraction else 0)


class LayoutReader:
    def __init__(self, rdb, models, prefix="rapyer"):
        self.rdb = rdb
        self.models = {model["name"]: model for model in models}
        self.prefix = prefix
        self.visited = set()  # the Redis keys that belong to what was read

    def keys_of(self, key):
        """All Redis keys under a document's tag."""
        tag = f"{self.prefix}:{{{escape(key)}}}"
        pattern = "".join("\\" + c if c in "*?[]^\\" else c for c in tag) + "*"
        return set(self.rdb.scan_iter(match=pattern, count=1000))

    def documents(self):
        """The keys of all documents that have anything in Redis."""
        tag = f"{self.prefix}:{{"
        found = self.rdb.scan_iter(match=tag + "*", count=1000)
        return {unescape(name.decode()[len(tag):].partition("}")[0]) for name in found}

    def read(self, key):
        """The document as doc.get with no lazy fields gives it, or None."""
        model, _, pk = key.partition(":")
        root = f"{self.prefix}:{{{escape(key)}}}"
        if not self.rdb.exists(root):
            return None
        document = self.record(self.models[model], root, self.hash(root), "", {"@pk": pk})
        return document

    def orphans(self, key):
        """Keys under the document's tag that nothing in it leads to. Reads it."""
        self.visited = set()
        self.read(key)
        return self.keys_of(key) - self.visited

    def hash(self, name):
        self.visited.add(name.encode())
        return self.rdb.hgetall(name)

    def list(self, name):
        self.visited.add(name.encode())
        return self.rdb.lrange(name, 0, -1)

    def is_atomic(self, kind):
        return kind in self.models and self.models[kind]["kind"] == "atomic"

    def record(self, model, base, fields, prefix, out):
        """base: the key of the hash that holds the fields, prefix: their names' beginning."""
        for field in model["fields"]:
            kind, of = parse_type(field["type"])
            name = prefix + field["name"]
            if kind in ("set", "sorted"):
                out[field["name"]] = self.members(kind, of, f"{base}/{name}")
            elif kind in ("list", "dict") or (kind == "optional" and self.holds_models(of)):
                out[field["name"]] = self.field(kind, of, f"{base}/{name}")
            elif self.is_atomic(kind):
                out[field["name"]] = self.record(self.models[kind], base, fields, name + ".", {})
            elif name.encode() in fields:
                out[field["name"]] = self.value(kind, of, fields[name.encode()])
            elif field.get("default", UNSET) is not UNSET:
                out[field["name"]] = field["default"]
        return out

    def members(self, kind, of, name):
        self.visited.add(name.encode())
        if kind == "set":
            return [self.value(*of, raw) for raw in self.rdb.smembers(name)]
        return [[self.value(*of, raw), score] for raw, score in self.rdb.zrange(name, 0, -1, withscores=True)]

    def field(self, kind, of, name):
        if kind != "optional":
            return self.container(kind, of, name)
        one = self.container("list", of, name)
        assert len(one) <= 1
        if not one or of[1] is not None:
            return one[0] if one else None
        return {key: one[0][key] for key in one[0] if key != "@pk"}

    def container(self, kind, of, name):
        if kind == "list":
            items = [(None, raw) for raw in self.list(name)]
        else:
            items = list(self.hash(name).items())
        found = [(key, self.element(of, name, raw)) for key, raw in items]
        return [value for _, value in found] if kind == "list" else {
            key.decode(): value for key, value in found}

    def holds_models(self, kind):
        while kind[1] is not None:
            kind = kind[1]
        return self.is_atomic(kind[0])

    def element(self, of, name, raw):
        if of[1] is not None and self.holds_models(of):  # it has a name of its own
            return self.field(*of, f"{name}/{raw.decode()}/items")
        if not self.is_atomic(of[0]):
            return self.value(*of, raw)
        pk = raw.decode()
        base = f"{name}/{escape(pk)}"
        return self.record(self.models[of[0]], base, self.hash(base), "", {"@pk": pk})

    def value(self, kind, of, raw):
        if kind == "optional":
            if of[0] == "bytes":
                return unpack(raw)
            return None if raw == NULL else self.value(*of, raw)
        if kind == "ref":
            return raw.decode()
        readers = {"int": int, "float": float, "bool": lambda raw: {b"1": True, b"0": False}[raw],
                   "str": bytes.decode, "bytes": bytes, "datetime": lambda raw: parse_time(raw.decode())}
        return readers.get(kind, unpack)(raw)
