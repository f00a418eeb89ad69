"""Eight processes that do anything at all to the same documents, at once, for a while. Afterwards
what the daemon has in memory, what a fresh one reads, and what lies in Redis must be one.

RAPYER_SOAK_SECONDS says for how long (15; 60 with RAPYER_FULL=1), RAPYER_SOAK_SEED what to try."""

import collections
import multiprocessing
import os
import random
import time
import traceback
from datetime import timedelta

import pytest

from layout_reader import LayoutReader, parse_type
from models import ADA, BORN, MODELS, atomic, define_all, field
from rpc_client import Client, RpcError, wait_until

SECONDS = float(os.environ.get("RAPYER_SOAK_SECONDS", 60 if os.environ.get("RAPYER_FULL") == "1" else 15))
SEED = int(os.environ.get("RAPYER_SOAK_SEED", 1))
CLIENTS = 8
SESSION = atomic("Session", field("hits", "int", default=0), field("pages", "list<str>"),
                 field("parts", "list<Task>"), ttl=600, refresh_ttl=True)
ALL_MODELS = [*MODELS, SESSION]
BY_NAME = {model["name"]: model for model in ALL_MODELS}
TALLY = "User:tally"  # nobody deletes or replaces it: each change must be there in the end
KEYS = [f"User:{i}" for i in range(70)] + [f"Session:{i}" for i in range(10)]
ALLOWED = {"NOT_FOUND", "OUT_OF_RANGE", "BAD_VALUE", "BAD_TYPE", "TOO_LARGE", "CONFLICT"}


class Chance:
    """Random requests: any place of any document, any operation that suits its type."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def number(self):
        return self.random.choice([0, 1, -1, 2, 7, self.random.randint(-1000, 1000), 2**40])

    def word(self):
        return self.random.choice(["", "a", "b", "x.y[0]", "grüß", "long " * 20, "\n\"'"])

    def pk(self):
        return f"p{self.random.randrange(12)}"

    def index(self):
        return self.random.randint(-4, 4)

    def value(self, kind, of):
        if kind == "optional":
            return None if self.random.random() < 0.3 else self.value(*of)
        if kind == "list":
            return [self.value(*of) for _ in range(self.random.randrange(4))]
        if kind == "dict":
            return {self.word(): self.value(*of) for _ in range(self.random.randrange(4))}
        if kind in BY_NAME:
            model = BY_NAME[kind]
            value = {f["name"]: self.value(*parse_type(f["type"])) for f in model["fields"]
                     if "default" not in f or self.random.random() < 0.7}
            return value
        return {"int": self.number, "float": lambda: self.number() / 8,
                "bool": lambda: self.random.random() < 0.5, "str": self.word,
                "bytes": lambda: self.word().encode(),
                "datetime": lambda: BORN + timedelta(seconds=self.random.randrange(10**8)),
                "any": lambda: self.random.choice([None, 1, "s", [1, {"k": b"\0"}], {"a": 1.5}])}[kind]()

    def element(self, of):
        """A value for a list or dict; elements get a pk of few, so that they sometimes clash."""
        value = self.value(*of)
        if of[0] in BY_NAME and BY_NAME[of[0]]["kind"] == "atomic" and self.random.random() < 0.5:
            value["@pk"] = self.pk()
        return value

    def place(self, model, path=""):
        """A path and its type, at any depth."""
        f = self.random.choice(model["fields"])
        path = f"{path}.{f['name']}" if path else f["name"]
        kind, of = parse_type(f["type"])
        while True:
            inner = of[0] if of else kind
            descend = inner in BY_NAME and BY_NAME[inner]["kind"] == "atomic"
            if kind in ("list", "dict") and of[0] != "optional" and self.random.random() < 0.6:
                if kind == "dict":
                    step = f'["{self.random.choice(["", "a", "b", "core"])}"]'
                elif descend and self.random.random() < 0.4:
                    step = f'["{self.pk()}"]'
                else:
                    step = f"[{self.random.randint(-2, 2)}]"
                if descend:
                    return self.place(BY_NAME[inner], path + step)
                if of[1] is None:
                    return path + step, *of
            if kind == inner and descend:
                return self.place(BY_NAME[inner], path)
            return path, kind, of

    def operation(self, key):
        """One of the methods that change a place, as [method, key, path, ...]."""
        path, kind, of = self.place(BY_NAME[key.partition(":")[0]])
        pick = self.random.choice
        if self.random.random() < 0.1:
            return ["doc.load", key, path]
        if kind in ("int", "float"):
            method = pick(["num.incr"] * 5 + ["num.mul", "num.div", "num.floordiv", "num.mod", "num.pow"])
            small = method in ("num.pow", "num.mul")
            operand = self.random.randint(0, 3) if small else self.value(kind, of)
            return pick([[method, key, path, operand], ["set", key, path, self.value(kind, of)]])
        if kind == "str":
            return pick([["str.append", key, path, self.word()], ["set", key, path, self.word()],
                         ["str.repeat", key, path, self.random.randint(0, 2)]])
        if kind == "bytes":
            return pick([["bytes.append", key, path, b"\0x"], ["set", key, path, self.value(kind, of)]])
        if of and of[0] == "datetime" and self.random.random() < 0.5:
            return ["datetime.add", key, path, self.random.randint(-1000, 1000)]
        if kind == "list":
            return self.list_operation(key, path, of)
        if kind == "dict":
            return self.dict_operation(key, path, of)
        return ["set", key, path, self.value(kind, of)]

    def list_operation(self, key, path, of):
        one = self.element(of)
        return self.random.choice([
            ["list.append", key, path, one], ["list.append", key, path, one],
            ["list.extend", key, path, [one, self.element(of)]],
            ["list.insert", key, path, self.index(), one], ["list.set", key, path, self.index(), one],
            ["list.pop", key, path], ["list.pop", key, path, self.index()],
            ["list.remove_range", key, path, self.index(), self.index()], ["list.clear", key, path],
            ["set", key, path, [one]]])

    def dict_operation(self, key, path, of):
        name, one = self.word(), self.element(of)
        return self.random.choice([
            ["dict.set", key, path, name, one], ["dict.update", key, path, {name: one, "core": self.element(of)}],
            ["dict.update", key, path, {name: one}], ["dict.del", key, path, name],
            ["dict.pop", key, path, name], ["dict.pop", key, path, name, self.element(of)],
            ["dict.popitem", key, path], ["dict.clear", key, path], ["set", key, path, {name: one}]])

    def document(self, key):
        if key.startswith("User") and self.random.random() < 0.3:
            return ADA
        return self.value(key.partition(":")[0], None)

    def in_pipeline(self):
        key = self.random.choice(KEYS)
        return self.random.choice([self.operation(key)] * 8 + [
            ["doc.save", key, self.document(key)], ["doc.delete", key], ["doc.get", key]])

    def request(self):
        key, other = self.random.sample(KEYS, 2)
        chance = self.random.random()
        if chance < 0.6:
            return self.operation(key)
        if chance < 0.7:
            return ["doc.save", key, self.document(key)]
        if chance < 0.78:
            return ["pipeline", [self.in_pipeline() for _ in range(self.random.randint(1, 6))]]
        return self.random.choice([
            ["doc.get", key], ["doc.get", key, {"fresh": True, "version": True}],
            ["doc.get", key, {"paths": [self.place(BY_NAME[key.partition(":")[0]])[0]]}],
            ["doc.get_many", [key, other, key]],
            ["doc.get_many", [self.random.choice(KEYS) for _ in range(200)], {"paths": []}],
            ["doc.insert", [[key, self.document(key)], [other, self.document(other)]]],
            ["doc.delete", key], ["doc.delete", key, other], ["doc.exists", key, other],
            ["doc.exists", *self.random.choices(KEYS, k=200)],
            ["doc.duplicate", key, other.partition(":")[2]], ["doc.ttl", key],
            ["doc.ttl", key, self.random.choice([0, 1, 1, 900])], ["doc.keys", "User"]])

    def tally(self, token):
        """A change of the document that keeps count, and what of it counts."""
        incr, append = ["num.incr", TALLY, "age", 1], ["list.append", TALLY, "tags", token]
        kind = self.random.randrange(4)
        if kind == 0:
            return incr, 1, []
        if kind == 1:
            return append, 0, [token]
        if kind == 2:  # it counts only if the others can be done as well
            return ["pipeline", [incr, self.in_pipeline(), append, self.in_pipeline()]], 1, [token]
        return ["pipeline", [append, incr, ["num.div", TALLY, "age", 0]]], 1, [token]


def soak(socket, seed, until, pipe):
    """One client. Tells in the end what it was answered, and what it added to the tally."""
    try:
        pipe.send(soak_client(socket, Chance(seed), seed, until))
    except BaseException:  # the parent shows it
        pipe.send(traceback.format_exc())


def soak_client(socket, chance, seed, until):
    answers, count, tokens, turn = collections.Counter(), 0, [], 0
    with Client(socket) as client:
        while time.monotonic() < until:
            window = []
            for _ in range(chance.random.choice([1, 1, 5, 20])):
                turn += 1
                more = (chance.request(), 0, []) if chance.random.random() < 0.9 else chance.tally(f"{seed}.{turn}")
                window.append((client.send(*more[0]), *more))
            for number, request, add, new in window:
                try:
                    client.wait(number)
                    answers["OK"] += 1
                    count += add
                    tokens += new
                except RpcError as error:
                    assert error.code in ALLOWED, (request, error.error)
                    answers[error.code] += 1
                except TimeoutError:
                    raise AssertionError(f"no answer to {request!r}") from None
    return answers, count, tokens


def run_clients(daemon, seed):
    context = multiprocessing.get_context("fork")
    until = time.monotonic() + SECONDS
    clients = []
    for i in range(CLIENTS):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=soak, args=(daemon.socket, seed * 100 + i, until, there), daemon=True)
        process.start()
        clients.append((process, here))
    said = []
    for process, here in clients:
        assert here.poll(SECONDS + 60), "a client does not come to its end"
        said.append(here.recv())
        process.join(10)
    complaints = [what for what in said if isinstance(what, str)]
    assert not complaints, "\n".join(complaints)
    return said


def look(client, key):
    try:
        return client.call("doc.get", key)
    except RpcError as error:
        assert error.code == "NOT_FOUND", error
        return None


@pytest.mark.parametrize("memory", ["64M", "64K"])
def test_memory_and_redis_stay_one(redis_server, new_daemon, rdb, memory):
    daemon = new_daemon(redis_server.address, {"cache.cache_memory": memory, "limits.max_value": "4K"})
    with daemon.connect() as client:
        define_all(client)
        client.call("define", SESSION)
        client.call("doc.save", TALLY, {"name": "tally"})
        said = run_clients(daemon, seed=SEED)
        evictions = client.call("admin.cache")["evictions"]
        assert (evictions > 0) == (memory == "64K"), evictions
        answers = sum((answers for answers, _, _ in said), collections.Counter())
        assert answers["OK"] > answers.total() / 3, answers
        # Those that are about to expire may do so between two looks.
        wait_until(lambda: all(not -1 < rdb.pttl(key) < 60000 for key in rdb.keys("rapyer:{*")),
                   what="the end of the documents with a time to live")
        fresh = new_daemon(redis_server.address)
        reader = LayoutReader(rdb, ALL_MODELS)
        with fresh.connect() as other:
            for key in [*KEYS, TALLY]:
                document = look(client, key)
                assert document == reader.read(key), key
                assert document == look(other, key), key
                assert not reader.orphans(key)
        tally = client.call("doc.get", TALLY)
    assert tally["age"] == sum(count for _, count, _ in said)
    assert sorted(tally["tags"]) == sorted(token for _, _, tokens in said for token in tokens)
