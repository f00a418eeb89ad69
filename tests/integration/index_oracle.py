"""What the indexes of documents should hold, worked out from the documents as Redis has them."""

NULL = b"\xc0"


def cut(text):
    return text if len(text) <= 128 else text[:64] + b"#%d#" % len(text) + text[-48:]


def number(kind, text):
    if kind in ("datetime", "date", "time", "datetime_naive"):
        text = bytes(c for c in text if c in b"0123456789.")
    return float(text)


def kinds_of(field):
    given = field.get("index", [])
    return [given] if isinstance(given, str) else given


def bare(kind):
    return kind[9:-1] if kind.startswith("optional<") else kind


class Oracle:
    def __init__(self, rdb, model, prefix="rapyer"):
        self.rdb = rdb
        self.model = model
        self.head = f"{prefix}:{{{model['name']}:".encode()
        self.index = f"{prefix}:@index:{model['name']}/".encode()

    def roots(self):
        """pk -> the fields of its root hash."""
        for key in self.rdb.keys(self.head + b"*"):
            if key.endswith(b"}") and self.rdb.hexists(key, "@s"):
                yield key[len(self.head):-1], key

    def expected(self):
        """(key, member, score) of all entries that there have to be."""
        found = set()
        for pk, root in self.roots():
            fields = self.rdb.hgetall(root)
            for field in self.model["fields"]:
                for kind in kinds_of(field):
                    found |= set(self.entries(pk, root, fields, field, kind))
        return found

    def entries(self, pk, root, fields, field, kind):
        name = field["name"].encode()
        if kind == "tags":
            key = root + b"/" + name
            elements = (self.rdb.lrange(key, 0, -1) if field["type"].startswith("list")
                        else self.rdb.smembers(key) if field["type"].startswith("set")
                        else self.rdb.hkeys(key))
            for one in elements:
                yield self.index + name + b"=" + cut(one), pk, 0.0
            return
        text = fields.get(name)
        if text is None and field.get("default") is not None:
            text = str(field["default"]).encode()
        if kind == "exact":
            yield self.index + name + b"=" + cut(NULL if text is None else text), pk, 0.0
        elif text is None or text == NULL:
            return
        elif kind == "range":
            yield self.index + name + b"<", pk, number(bare(field["type"]), text)
        elif kind == "prefix":
            yield self.index + name + b"^", text[:128] + b"\0" + pk, 0.0

    def found(self):
        entries = set()
        for key in self.rdb.keys(self.index + b"*"):
            if key == self.index + b"@ttl":
                continue
            if self.rdb.type(key) == b"zset":
                entries |= {(key, member, score)
                            for member, score in self.rdb.zrange(key, 0, -1, withscores=True)}
            else:
                entries |= {(key, member, 0.0) for member in self.rdb.smembers(key)}
        return entries

    def check(self, exact=True):
        """exact: nothing is there but what has to be."""
        expected, found = self.expected(), self.found()
        assert not expected - found, f"missing: {sorted(expected - found)[:5]}"
        assert not (exact and found - expected), f"left over: {sorted(found - expected)[:5]}"
        return len(expected)
