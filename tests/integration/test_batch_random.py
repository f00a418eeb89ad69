"""Many requests merged into few transactions, against the same requests one by one in front of a
Redis of their own: the same answers, the same keys."""

import os
import random

import pytest

from models import atomic, field
from rpc_client import RpcError

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
CLIENTS = 4
SEEDS = range(30 if FULL else 3)
REQUESTS = 4000 if FULL else 1500  # of all clients
SHARED = "Box:shared"
VERSIONS = {"set", "list.set", "list.clear", "dict.update", "dict.set", "dict.clear", "doc.save"}

ITEM = atomic("Item", field("title", "str", default=""), field("n", "int", default=0),
              field("tags", "list<str>"), field("map", "dict<int>"))
# Each client has fields of its own in every document.
BOX = atomic("Box", *(entry for c in range(CLIENTS) for entry in (
    field(f"n{c}", "int", default=0), field(f"f{c}", "float", default=0.5),
    field(f"s{c}", "str", default=""), field(f"b{c}", "bytes", default=b""),
    field(f"o{c}", "optional<int>", default=None), field(f"l{c}", "list<str>"),
    field(f"i{c}", "list<int>"), field(f"d{c}", "dict<int>"), field(f"e{c}", "list<Item>"),
    field(f"m{c}", "dict<Item>"), field(f"in{c}", "Item"))))


class Generator:
    """Requests of one client. They mostly make sense: it keeps rough lengths."""

    def __init__(self, seed, number):
        self.chance = random.Random(f"{seed}/{number}")
        self.c = number
        self.documents = [SHARED, f"Box:own{number}"]
        self.made = 0

    def item(self):
        self.made += 1
        pick = self.chance.randrange
        return {"@pk": f"p{self.c}-{self.made}", "title": self.word(), "n": pick(9),
                "tags": [self.word() for _ in range(pick(3))],
                "map": {self.word(): pick(9) for _ in range(pick(3))}}

    def word(self):
        return self.chance.choice(["a", "bb", "ccc", "d" * 40, "é", ""])

    def key(self):
        return self.chance.choice(["k1", "k2", "k3", "k4"])

    def index(self):
        return self.chance.choice([0, 0, 0, 1, -1, -1, -1, -2, 3])

    def at(self):
        """Where the fields of an Item may be: the path of one, or of our own inline one."""
        return self.chance.choice([f"in{self.c}", f"in{self.c}", f"e{self.c}[0]", f"e{self.c}[-1]",
                                   f'm{self.c}["k1"]'])

    def operation(self):
        pick, c = self.chance.randrange, self.c
        key = self.chance.choice(self.documents)
        n = self.chance.choice([f"n{c}", f"n{c}", f"{self.at()}.n"])
        s = self.chance.choice([f"s{c}", f"{self.at()}.title"])
        strings = self.chance.choice([f"l{c}", f"l{c}", f"{self.at()}.tags"])
        ints = self.chance.choice([f"d{c}", f"{self.at()}.map"])
        some = [
            ("num.incr", n, pick(-5, 9)), ("num.incr", n, 1), ("num.incr", n, 1),
            ("num.mul", n, 2), ("num.mod", n, 1000), ("set", n, pick(100)),
            ("num.incr", f"f{c}", pick(8) / 4), ("num.incr", f"o{c}", 1), ("set", f"o{c}", None),
            ("set", f"o{c}", pick(9)), ("set", s, self.word()), ("str.append", s, self.word()),
            ("set", f"s{c}", "x"), ("bytes.append", f"b{c}", b"\xff"), ("set", f"b{c}", b""),
            ("list.append", strings, self.word()), ("list.append", strings, self.word()),
            ("list.extend", strings, [self.word() for _ in range(pick(4))]),
            ("list.insert", strings, self.index(), self.word()),
            ("list.insert", strings, 0, self.word()), ("list.set", strings, self.index(), "set"),
            ("list.pop", strings, 0), ("list.pop", strings), ("list.pop", strings, self.index()),
            ("list.remove_range", strings, pick(3), pick(5)), ("list.clear", strings),
            ("list.append", f"i{c}", pick(9)), ("list.pop", f"i{c}", 0),
            ("set", f"i{c}", [pick(9) for _ in range(pick(5))]),
            ("dict.set", ints, self.key(), pick(9)), ("dict.del", ints, self.key()),
            ("dict.pop", ints, self.key(), None), ("num.incr", f'{ints}["{self.key()}"]', 2),
            ("dict.update", ints, {self.key(): pick(9) for _ in range(pick(3))}),
            ("dict.clear", ints),  # no popitem: it takes any, which is another one once the dict was read anew
            ("list.append", f"e{c}", self.item()), ("list.append", f"e{c}", self.item()),
            ("list.insert", f"e{c}", 0, self.item()),
            ("list.pop", f"e{c}", self.index()), ("list.set", f"e{c}", 0, self.item()),
            ("list.remove_range", f"e{c}", 0, 1), ("set", f"e{c}", [self.item()]),
            ("dict.set", f"m{c}", self.key(), self.item()), ("dict.pop", f"m{c}", self.key()),
            ("dict.del", f"m{c}", self.key()), ("set", f"in{c}.n", pick(9)),
            ("doc.load", strings), ("doc.load", n), ("doc.load", f"e{c}"), ("doc.load", ints)]
        method, *rest = self.chance.choice(some)
        return [method, key, *rest]

    def request(self):
        dice = self.chance.random()
        own = self.documents[1]
        if dice < 0.03:
            return ["doc.save", own, self.document()]
        if dice < 0.036:
            return ["doc.delete", own]
        if dice < 0.08:
            return ["doc.get", own]
        if dice < 0.3:
            return ["pipeline", [self.operation() for _ in range(self.chance.randrange(1, 6))]]
        if dice < 0.33:
            return ["pipeline", [["doc.delete", own], ["doc.save", own, self.document()],
                                 self.operation()]]
        return self.operation()

    def document(self):
        c, pick = self.c, self.chance.randrange
        inline = {f"in{other}": {} for other in range(CLIENTS)}
        inline[f"in{c}"] = {key: value for key, value in self.item().items() if key != "@pk"}
        return {f"n{c}": pick(9), f"l{c}": [self.word()], f"d{c}": {"k1": 1},
                f"e{c}": [self.item() for _ in range(pick(3))],
                f"m{c}": {"k1": self.item()}, **inline}


def plain(request, result):
    """What does not depend on how many transactions it took."""
    method = request[0]
    if method in VERSIONS:
        return "version"
    if method == "pipeline":
        return [plain(operation, one) for operation, one in zip(request[1], result)]
    return result


def answer(client, request, sent):
    try:
        return plain(request, client.wait(sent))
    except RpcError as error:
        return error.error


def begin(client):
    client.call("define", ITEM)
    client.call("define", BOX)
    client.call("doc.save", SHARED, {f"in{c}": {} for c in range(CLIENTS)})


def content(redis_server):
    """All documents but for their versions."""
    snapshot = redis_server.snapshot()
    for kind, value in snapshot.values():
        if kind == b"hash":
            value.pop(b"@v", None)
    return snapshot


def in_turn(new_redis, new_daemon, requests):
    """One by one, each waited for: what the answers and the keys should be."""
    redis_server = new_redis()
    daemon = new_daemon(redis_server.address)
    clients = [daemon.connect() for _ in requests]
    begin(clients[0])
    answers = [[answer(client, request, client.send(*request)) for request in mine]
               for client, mine in zip(clients, requests)]
    for client in clients:
        client.close()
    return answers, content(redis_server)


def at_once(new_redis, new_proxy, new_daemon, requests, turn):
    redis_server = new_redis()
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address)
    clients = [daemon.connect() for _ in requests]
    begin(clients[0])
    proxy.delay = 0.003
    sent = [[] for _ in requests]
    for i in range(max(map(len, requests))):
        for client, mine, ids in zip(clients, requests, sent):
            if i < len(mine):
                ids.append(client.send(*mine[i]))
        turn(i, proxy)
    proxy.delay = 0
    answers = [[answer(client, request, i) for request, i in zip(mine, ids)]
               for client, mine, ids in zip(clients, requests, sent)]
    stats = clients[0].call("admin.stats")
    # What it serves is what it wrote: read anew by a daemon that has nothing in memory.
    served = [clients[0].call("doc.load", SHARED, f"{name}{c}")
              for name in ("n", "l", "i", "d", "e", "m", "in") for c in range(CLIENTS)]
    with new_daemon(redis_server.address).connect() as fresh:
        assert served == [fresh.call("doc.load", SHARED, f"{name}{c}")
                          for name in ("n", "l", "i", "d", "e", "m", "in")
                          for c in range(CLIENTS)]
    for client in clients:
        client.close()
    return answers, content(redis_server), stats


def compare(requests, expected, found):
    for mine, should, did in zip(requests, expected[0], found[0]):
        for i, (request, a, b) in enumerate(zip(mine, should, did)):
            assert b == a, f"request {i}: {request}"
    assert found[1] == expected[1]


def no_fault(_turn, _proxy):
    pass


def cuts(turn, proxy):
    """Every now and then the connection breaks."""
    if turn % 100 == 50:
        proxy.cut()


@pytest.mark.parametrize("fault", [no_fault, cuts])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("clients", [1, CLIENTS])
def test_merged_as_one_by_one(new_redis, new_proxy, new_daemon, clients, seed, fault):
    generators = [Generator(seed, number) for number in range(clients)]
    requests = [[generator.request() for _ in range(REQUESTS // clients)]
                for generator in generators]
    expected = in_turn(new_redis, new_daemon, requests)
    found = at_once(new_redis, new_proxy, new_daemon, requests, fault)
    compare(requests, expected, found)
    assert found[2]["commits"] < REQUESTS / 3, "they were not merged"
    assert found[2]["unknown_outcomes"] == 0
    errors = sum(isinstance(one, str) and ": " in one for mine in expected[0] for one in mine)
    assert errors < REQUESTS / 2, "hardly anything was done"
