"""Random operations on models that are optional, within each other and within themselves, on sets, sorted
and what is inside values, many in flight, beside a plain Python model of the document. And the same from two
daemons at once: no key in Redis is left that nothing leads to, and both read the same."""

import copy
import random

import pytest

from layout_reader import LayoutReader
from models import atomic, field
from rpc_client import RpcError
from test_random import Refused, expect
from test_two_daemons import crowd

CARD = atomic("Card", field("title", "str", default=""), field("n", "int", default=0), field("tags", "list<str>"),
              field("sub", "optional<Card>"), field("kids", "list<Card>"), field("lanes", "dict<list<Card>>"))
DESK = atomic("Desk", field("card", "optional<Card>"), field("lanes", "dict<list<Card>>"),
              field("grid", "list<list<Card>>"), field("seats", "list<optional<Card>>"), field("labels", "set<str>"),
              field("queue", "sorted<str>"), field("notes", "any", default=None), field("rows", "dict<list<int>>"))
KEY = "Desk:1"
DEEP = 4  # cards within each other


def blank(**more):
    return {"title": "", "n": 0, "tags": [], "sub": None, "kids": [], "lanes": {}, **more}


class Model:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.fresh = 0
        self.document = {"card": None, "lanes": {}, "grid": [], "seats": [], "labels": set(), "queue": {},
                         "notes": None, "rows": {}}

    def pk(self):
        self.fresh += 1
        return f"p{self.fresh}"

    def a_card(self, named, depth=1):
        card = blank(n=self.random.randint(0, 9), tags=["t"] * self.random.randint(0, 2))
        if depth < 3 and self.random.random() < 0.4:
            card["sub"] = self.a_card(False, depth + 1)
        if depth < 3 and self.random.random() < 0.4:
            card["kids"] = [self.a_card(True, depth + 1)]
        if depth < 3 and self.random.random() < 0.4:
            card["lanes"] = {"x": [self.a_card(True, depth + 1)]}
        return {"@pk": self.pk(), **card} if named else card

    def place(self):
        """A path to a card, as far as the model now says that there is one, and how it is found."""
        def under(steps):
            def find():
                here = self.document
                for step in steps:
                    try:
                        here = here[step]
                    except (KeyError, IndexError):
                        raise Refused from None
                    if here is None:
                        raise Refused
                return here
            return find
        steps, path, here = [], "", self.document
        for depth in range(self.random.randint(1, DEEP)):
            ways = ["card", "lanes", "grid", "seats"] if depth == 0 else ["sub", "kids", "lanes"]
            way = self.random.choice(ways)
            path += ("." if path else "") + way
            steps.append(way)
            if way in ("lanes",):
                key = self.random.choice("xyz")
                path += f'["{key}"]'
                steps.append(key)
            if way in ("lanes", "kids", "grid", "seats"):
                for _ in range(2 if way == "grid" else 1):
                    i = self.random.randint(-2, 1)
                    path += f"[{i}]"
                    steps.append(i)
        return path, under(steps)

    # Each gives (request, function that does the same to the model and returns the result).

    def count(self):
        path, find = self.place()
        by = self.random.randint(1, 5)

        def do():
            card = find()
            card["n"] += by
            return card["n"]
        return ["num.incr", KEY, path + ".n", by], do

    def tag(self):
        path, find = self.place()

        def do():
            tags = find()["tags"]
            tags.append("u")
            return len(tags)
        return ["list.append", KEY, path + ".tags", "u"], do

    def kid(self):
        path, find = self.place()
        if self.random.random() < 0.4:
            return ["list.pop", KEY, path + ".kids"], lambda: self.pop(find()["kids"], -1)
        card = self.a_card(True, 2)

        def do():
            kids = find()["kids"]
            kids.append(copy.deepcopy(card))
            return len(kids)
        return ["list.append", KEY, path + ".kids", card], do

    def sub(self):
        path, find = self.place()
        card = self.random.choice([None, self.a_card(False, 2)])

        def do():
            find()["sub"] = copy.deepcopy(card)
        return ["set", KEY, path + ".sub", card], do

    def card(self):
        card = self.random.choice([None, self.a_card(False), self.a_card(False)])

        def do():
            self.document["card"] = copy.deepcopy(card)
        return ["set", KEY, "card", card], do

    @staticmethod
    def pop(items, i):
        if not -len(items) <= i < len(items):
            raise Refused
        return items.pop(i)

    def lane(self):
        key, card, kind = self.random.choice("xyz"), self.a_card(True), self.random.randint(0, 6)
        path = f'lanes["{key}"]'

        def there():
            if key not in self.document["lanes"]:
                raise Refused
            return self.document["lanes"][key]
        if kind == 0:
            return ["dict.del", KEY, "lanes", key], lambda: self.document["lanes"].pop(key, None) is not None
        if kind == 1:
            return ["dict.set", KEY, "lanes", key, [card]], lambda: self.document["lanes"].update(
                {key: [copy.deepcopy(card)]})
        if kind == 2:
            return ["list.pop", KEY, path, 0], lambda: self.pop(there(), 0)
        if kind == 3:
            return ["set", KEY, path, []], lambda: self.document["lanes"].update({key: []})
        return ["list.append", KEY, path, card], lambda: (there().append(copy.deepcopy(card)), len(there()))[1]

    def grid(self):
        items, kind, i = self.document["grid"], self.random.randint(0, 4), self.random.randint(-2, 2)
        card = self.a_card(True)
        grid = lambda: self.document["grid"]  # noqa: E731
        if kind == 0:
            return ["list.pop", KEY, "grid", i], lambda: self.pop(grid(), i)
        if kind == 1:
            return ["list.append", KEY, f"grid[{i}]", card], lambda: self.append(self.at(grid(), i), card)
        if kind == 2 and items:
            return ["list.pop", KEY, f"grid[{i}]"], lambda: self.pop(self.at(grid(), i), -1)
        return ["list.append", KEY, "grid", [card]], lambda: self.append(grid(), [card])

    @staticmethod
    def at(items, i):
        if not -len(items) <= i < len(items):
            raise Refused
        return items[i]

    @staticmethod
    def append(items, value):
        items.append(copy.deepcopy(value))
        return len(items)

    def seat(self):
        seats, i = (lambda: self.document["seats"]), self.random.randint(-2, 2)
        card = self.random.choice([None, self.a_card(False)])
        kind = self.random.randint(0, 3)
        if kind == 0:
            return ["list.pop", KEY, "seats", i], lambda: self.pop(seats(), i)
        if kind == 1:
            def put():
                self.at(seats(), i)
                seats()[i] = copy.deepcopy(card)
            return ["set", KEY, f"seats[{i}]", card], put
        return ["list.append", KEY, "seats", card], lambda: self.append(seats(), card)

    def labels(self):
        word, labels = self.random.choice("abcd"), (lambda: self.document["labels"])
        if self.random.random() < 0.5:
            def add():
                new = word not in labels()
                labels().add(word)
                return new
            return ["set.add", KEY, "labels", word], add

        def remove():
            there = word in labels()
            labels().discard(word)
            return there
        return ["set.remove", KEY, "labels", word], remove

    def queue(self):
        word, by, queue = self.random.choice("abcd"), self.random.randint(1, 5), (lambda: self.document["queue"])
        kind = self.random.random()
        if kind < 0.15:
            return ["sorted.push", KEY, "queue", word, by], lambda: self.push(queue(), word, float(by))
        if kind < 0.3:
            which = self.random.choice([0, -1])
            return ["sorted.pop_min" if which == 0 else "sorted.pop_max", KEY, "queue"], lambda: self.pop_end(queue(), which)
        if kind < 0.4:
            return ["sorted.range", KEY, "queue", 0, 3], lambda: in_order(queue())[:3]
        if kind < 0.7:
            def incr():
                queue()[word] = queue().get(word, 0.0) + by
                return queue()[word]
            return ["sorted.incr", KEY, "queue", word, by], incr

        def remove():
            return queue().pop(word, None) is not None
        return ["sorted.remove", KEY, "queue", word], remove

    @staticmethod
    def push(queue, word, score):
        new = word not in queue
        queue[word] = score
        return new

    @staticmethod
    def pop_end(queue, which):
        if not queue:
            raise Refused
        pair = in_order(queue)[which]
        del queue[pair[0]]
        return pair

    def inside(self):
        key, n, rows = self.random.choice("xy"), self.random.randint(0, 9), (lambda: self.document["rows"])
        if self.random.random() < 0.3:
            return ["dict.set", KEY, "rows", key, [n]], lambda: rows().update({key: [n]})

        def append():
            if key not in rows():
                raise Refused
            return self.append(rows()[key], n)
        return ["list.append", KEY, f'rows["{key}"]', n], append

    def step(self):
        return self.random.choice([self.count, self.tag, self.kid, self.sub, self.card, self.lane, self.lane, self.grid,
                                   self.seat, self.labels, self.queue, self.inside])()


def in_order(queue):
    """The lowest score first, of those the first member."""
    return sorted(([word, score] for word, score in queue.items()), key=lambda pair: (pair[1], pair[0]))


def shown(document):
    """As the wire has it, sets in an order."""
    queue = document["queue"]
    return {**document, "labels": sorted(document["labels"]), "queue": in_order(queue) if isinstance(queue, dict) else queue}


def define(client):
    client.call("define", DESK, CARD)


@pytest.mark.parametrize("seed", range(4))
def test_random_operations_mean_what_python_means(daemon, rdb, seed):
    model = Model(seed)
    with daemon.connect() as client:
        define(client)
        client.call("doc.save", KEY, {})
        for turn in range(60):
            window = []
            for _ in range(model.random.choice([1, 3, 30])):
                request, do = model.step()
                window.append((client.send(*copy.deepcopy(request)), copy.deepcopy(request), do))
            for request, note, do in window:
                expect(client, request, do, note)
            if turn % 10 == 9:
                assert shown(client.call("doc.get", KEY)) == {"@pk": "1", **shown(model.document)}
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        assert shown(client.call("doc.get", KEY)) == {"@pk": "1", **shown(model.document)}
    reader = LayoutReader(rdb, [CARD, DESK])
    assert reader.orphans(KEY) == set()
    with daemon.connect() as client:
        client.call("doc.delete", KEY)
    assert not rdb.keys("*Desk*")


@pytest.mark.parametrize("seed", range(2))
def test_two_daemons_leave_one_document(redis_server, new_daemon, rdb, seed):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            define(client)
    with daemons[0].connect() as client:
        client.call("doc.save", KEY, {})

    def work(client, number):
        model = Model(100 * seed + number)
        for _ in range(60):
            request, _ = model.step()
            try:
                client.call(*rename(request, f"{number}-"))
            except RpcError as error:
                assert error.code in ("NOT_FOUND", "OUT_OF_RANGE"), (request, error)

    def rename(value, by):
        """Pks of different clients differ."""
        if isinstance(value, dict):
            return {key: by + one if key == "@pk" else rename(one, by) for key, one in value.items()}
        return [rename(one, by) for one in value] if isinstance(value, list) else value

    crowd(daemons, work)
    with daemons[0].connect() as one, daemons[1].connect() as two:
        documents = [shown(client.call("doc.get", KEY, {"fresh": True})) for client in (one, two)]
        assert documents[0] == documents[1]
        reader = LayoutReader(rdb, [CARD, DESK])
        assert reader.orphans(KEY) == set()
        one.call("doc.delete", KEY)
    assert not rdb.keys("*Desk*")
