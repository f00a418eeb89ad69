"""What the indexes of documents should hold, worked out from the documents as Redis has them."""

from redis_cluster import slot_of, tag_of_slot

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

    def index_of(self, root):
        """How the keys of the indexes begin that have this document."""
        return self.index

    def expected(self):
        """(key, member, score) of all entries that there have to be."""
        found = set()
        for pk, root in self.roots():
            self.index = self.index_of(root)
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

    def index_keys(self):
        return self.rdb.keys(self.index + b"*")

    def found(self):
        entries = set()
        for key in self.index_keys():
            if key.endswith(b"/@ttl"):
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


class View:
    """All keys of a cluster, as if they were in one Redis; while no slot moves."""

    def __init__(self, cluster):
        self.clients = {}
        self.owners = {}
        for node in cluster.awake():
            if node.info()["role"] != "master":
                continue
            self.clients[node.id] = node.client()
        for first, last, (_, _, name, *_), *_ in next(iter(cluster.awake())).slots():
            for slot in range(first, last + 1):
                self.owners[slot] = self.clients[name.decode()]

    def keys(self, pattern):
        return [key for client in self.clients.values() for key in client.keys(pattern)]

    def __getattr__(self, command):
        def ask(key, *rest, **more):
            return getattr(self.owners[slot_of(key.decode(errors="surrogateescape"))], command)(key, *rest, **more)
        return ask


class ClusterOracle(Oracle):
    """One index for each slot."""

    def __init__(self, cluster, model):
        super().__init__(View(cluster), model)
        self.name = model["name"].encode()

    def roots(self):
        for key in self.rdb.keys(b"rapyer:{*"):
            tag, _, rest = key[len(b"rapyer:{"):].partition(b"}")
            if not rest and tag.startswith(self.name + b":"):
                pk = tag[len(self.name) + 1:]
            elif rest.startswith(self.name + b":") and b"/" not in rest:
                pk = b"{" + tag + b"}" + rest[len(self.name) + 1:]
            else:
                continue
            if self.rdb.hexists(key, "@s"):
                yield pk, key

    def index_of(self, root):
        return b"rapyer:@index{%s}:%s/" % (tag_of_slot(slot_of(root.decode())).encode(), self.name)

    def index_keys(self):
        return self.rdb.keys(b"rapyer:@index{*}:%s/*" % self.name)
