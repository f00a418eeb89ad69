"""Random operations, many in flight, beside a plain Python model of the document.

The daemon merges what is in flight into few commands; whatever it merges, each result must be the
one the model gives, and what a fresh daemon reads from Redis must be the model's document."""

import copy
import random

import msgpack
import pytest

from models import ADA, KEY, define_all
from rpc_client import Closed, RpcError
from test_basic import OPERATIONS

pytestmark = pytest.mark.exact


class Refused(Exception):
    pass


class Model:
    """What the operations mean, in Python."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.document = copy.deepcopy(ADA)
        self.fresh = 0

    def index(self, size):
        return self.random.randint(-size - 1, size)

    def pick(self, items, i):
        if not -len(items) <= i < len(items):
            raise Refused
        return items[i]

    def word(self):
        return self.random.choice(["a", "b", "", "long " * 20, "gr\u00fc\u00df", "x.y[0]"])

    # Each gives (request, function that does the same to the model and returns the result).

    def number(self):
        n = self.random.randint(-100, 100)

        def do():
            self.document["age"] += n
            return self.document["age"]
        return ["num.incr", KEY, "age", n], do

    def assign(self):
        name, value = self.random.choice([("age", self.random.randint(-2**40, 2**40)), ("bio", self.word()),
                                          ("active", self.random.random() < 0.5), ("nick", None),
                                          ("score", self.random.random()), ("extra", [1, {"a": None}])])

        def do():
            self.document[name] = value
            return None
        return ["set", KEY, name, value], do

    def theme(self):
        value = self.word()

        def do():
            self.document["settings"]["theme"] = value
        return ["set", KEY, "settings.theme", value], do

    def list_change(self, path, items, value):
        """items: a function that finds the list, as it may not be there yet or any more."""
        kind = self.random.choice(["append", "append", "extend", "insert", "set", "pop", "remove_range",
                                   "clear"] + ["front", "pop0"])
        i, j = self.index(6), self.index(6)
        if kind == "append":
            return ["list.append", KEY, path, value], lambda: (items().append(value), len(items()))[1]
        if kind == "extend":
            return ["list.extend", KEY, path, [value] * 2], lambda: (
                items().extend([value, value]), len(items()))[1]
        if kind in ("insert", "front"):
            i = 0 if kind == "front" else i

            def insert():
                size = len(items())
                if not -size <= i <= size:
                    raise Refused
                items().insert(i, value)
                return size + 1
            return ["list.insert", KEY, path, i, value], insert
        if kind == "set":
            def put():
                self.pick(items(), i)
                items()[i] = value
            return ["list.set", KEY, path, i, value], put
        if kind in ("pop", "pop0"):
            i = 0 if kind == "pop0" else i

            def pop():
                self.pick(items(), i)
                return items().pop(i)
            return ["list.pop", KEY, path, i], pop
        if kind == "remove_range":
            def remove():
                gone = len(items()[i:j])
                del items()[i:j]
                return gone
            return ["list.remove_range", KEY, path, i, j], remove
        if self.random.random() < 0.8:  # rarely: it would keep all lists empty
            return self.number()
        return ["list.clear", KEY, path], lambda: items().clear()

    def tags(self):
        return self.list_change("tags", lambda: self.document["tags"], self.word())

    def numbers(self):
        return self.list_change("numbers", lambda: self.document["numbers"], self.random.randint(-5, 5))

    def panels(self):
        return self.list_change("settings.panels", lambda: self.document["settings"]["panels"],
                                self.word())

    def sections(self):
        """A list of atomic models; each new one with a pk that nobody had."""
        items = lambda: self.document["sections"]  # noqa: E731
        self.fresh += 1
        value = {"@pk": f"n{self.fresh}", "name": self.word(), "tasks": [
            {"@pk": f"t{self.fresh}", "title": "x", "status": "pending", "tags": ["q"], "metadata": {}}]}
        while True:
            request, do = self.list_change("sections", items, value)
            if request[0] != "list.extend":  # it would give two the same pk
                return request, do

    def task_tags(self):
        i, j, value = self.index(4), self.index(2), self.word()

        def do():
            tags = self.pick(self.pick(self.document["sections"], i)["tasks"], j)["tags"]
            tags.append(value)
            return len(tags)
        return ["list.append", KEY, f"sections[{i}].tasks[{j}].tags", value], do

    def counts(self):
        key, n = self.random.choice(["x", "y", "z", "a b", ""]), self.random.randint(-9, 9)
        counts = lambda: self.document["counts"]  # noqa: E731
        kind = self.random.choice(["set", "update", "del", "pop", "default", "incr"])
        if kind == "set":
            return ["dict.set", KEY, "counts", key, n], lambda: counts().update({key: n})
        if kind == "update":
            return ["dict.update", KEY, "counts", {key: n, "w": 1}], lambda: counts().update({key: n, "w": 1})
        if kind == "del":
            return ["dict.del", KEY, "counts", key], lambda: counts().pop(key, None) is not None
        if kind == "default":
            return ["dict.pop", KEY, "counts", key, 77], lambda: counts().pop(key, 77)
        if kind == "incr":
            def incr():
                counts()[key] = counts().get(key, 0) + n
                return counts()[key]
            return ["num.incr", KEY, f'counts["{key}"]', n], incr

        def pop():
            if key not in counts():
                raise Refused
            return counts().pop(key)
        return ["dict.pop", KEY, "counts", key], pop

    def whole(self):
        if self.random.random() < 0.95:
            return self.number()
        document = dict(copy.deepcopy(ADA), age=self.random.randint(0, 9))

        def do():
            self.document = copy.deepcopy(document)
        return ["doc.save", KEY, document], do

    def step(self):
        return self.random.choice([self.number, self.assign, self.theme, self.tags, self.numbers,
                                   self.panels, self.sections, self.task_tags, self.counts,
                                   self.whole])()


def expect(client, request, do, note):
    try:
        wanted = do()
    except Refused:
        try:
            client.wait(request)
        except RpcError as error:
            assert error.code in ("OUT_OF_RANGE", "NOT_FOUND"), (note, error.error)
            return
        raise AssertionError((note, "was to be refused")) from None
    answer = client.wait(request)
    if wanted is not None:
        assert answer == wanted, note


@pytest.mark.parametrize("seed", range(8))
def test_random_operations_mean_what_python_means(daemon, seed):
    model = Model(seed)
    with daemon.connect() as client:
        define_all(client)
        client.call("doc.save", KEY, ADA)
        for turn in range(120):
            window = []
            for _ in range(model.random.choice([1, 3, 30])):
                step = model.step()
                # What is sent is what was meant now, not what the model changes later.
                window.append((client.send(*copy.deepcopy(step[0])), copy.deepcopy(step[0]), step[1]))
            for request, note, do in window:
                expect(client, request, do, note)
            if turn % 20 == 19:
                assert client.call("doc.get", KEY) == {"@pk": "ada", **model.document}
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        assert client.call("doc.get", KEY) == {"@pk": "ada", **model.document}


@pytest.mark.parametrize("seed", range(4))
def test_damaged_requests_do_no_damage(daemon, seed):
    """Valid requests with a few bytes changed. Some stay valid; none may bring memory and Redis
    apart, or the daemon down."""
    chance = random.Random(seed)
    requests = [[0, 1, method, [KEY, path, *args]] for method, path, args, *_ in OPERATIONS]
    requests += [[0, 1, "doc.save", [KEY, ADA]], [0, 1, "doc.get", [KEY, {"paths": ["age"]}]],
                 [0, 1, "doc.get_many", [[KEY, "User:x"]]], [0, 1, "doc.exists", [KEY]]]
    frames = [msgpack.packb(request, datetime=True) for request in requests]
    with daemon.connect() as client:
        define_all(client)
        client.call("doc.save", KEY, ADA)
        for _ in range(1500):
            frame = bytearray(chance.choice(frames))
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(frame))
                chance.choice([lambda: frame.__setitem__(at, chance.randrange(256)),
                               lambda: frame.insert(at, chance.randrange(256)),
                               lambda: frame.__delitem__(at) if len(frame) > 1 else None])()
            with daemon.connect() as bad:
                try:
                    bad.send_raw(bytes(frame))
                    bad.socket.shutdown(1)
                    bad.expect_closed()
                except (OSError, Closed):
                    pass
        try:
            document = client.call("doc.get", KEY)
        except RpcError as error:
            assert error.code == "NOT_FOUND", error
            document = None
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        if document is not None:
            assert client.call("doc.get", KEY) == document
