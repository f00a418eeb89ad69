"""Random operations through the package, and the same on a plain pydantic model in memory: equal after
each step, and after the document was read again, by another process, over restarts of the daemon."""

import decimal
import multiprocessing

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from pydantic import BaseModel

import rapyerd
from rapyerd import sync
from rapyerd.types import RedisSet

INTS = st.integers(-1000, 1000)
TEXTS = st.text(max_size=8)
NAMES = st.sampled_from(["a", "b", "a.b", 'q"uote', "ü", ""])
FLOATS = st.floats(-1e6, 1e6, allow_nan=False)


class PlainLeaf(BaseModel):
    n: int = 0
    tags: list[str] = []


class PlainTree(BaseModel):
    n: int = 0
    f: float = 0.0
    s: str = ""
    maybe: int | None = None
    numbers: list[int] = []
    counts: dict[str, int] = {}
    leaf: PlainLeaf = PlainLeaf()
    leaves: list[PlainLeaf] = []
    named: dict[str, PlainLeaf] = {}
    grid: list[list[int]] = []
    values: list[PlainLeaf] = []
    inside: PlainLeaf | None = None
    perhaps: PlainLeaf | None = None
    lanes: dict[str, list[PlainLeaf]] = {}
    exact: decimal.Decimal = decimal.Decimal(0)
    labels: set[int] = set()


class RandomLeaf(sync.AtomicRedisModel):
    n: int = 0
    tags: list[str] = []


class RandomTree(sync.AtomicRedisModel):
    n: int = 0
    f: float = 0.0
    s: str = ""
    maybe: int | None = None
    numbers: list[int] = []
    counts: dict[str, int] = {}
    leaf: RandomLeaf = RandomLeaf()
    leaves: list[RandomLeaf] = []
    named: dict[str, RandomLeaf] = {}
    grid: list[list[int]] = []
    values: list[PlainLeaf] = []
    inside: PlainLeaf | None = None
    perhaps: RandomLeaf | None = None
    lanes: dict[str, list[RandomLeaf]] = {}
    exact: decimal.Decimal = decimal.Decimal(0)
    labels: RedisSet[int] = set()


class Other:
    """Another process, which reads documents and counts in them."""

    def __init__(self):
        context = multiprocessing.get_context("fork")
        self.here, there = context.Pipe()
        self.process = context.Process(target=self.serve, args=(there,), daemon=True)
        self.process.start()

    @staticmethod
    def serve(pipe):
        while True:
            what, key = pipe.recv()
            if what == "end":
                return
            tree = RandomTree.get(key)
            if what == "count":
                tree.n.increase(7)
                tree.leaf.tags.aappend("other")
            pipe.send(tree.model_dump())

    def ask(self, what, key):
        self.here.send((what, key))
        return self.here.recv()

    def end(self):
        self.here.send(("end", ""))
        self.process.join()


class Machine(RuleBasedStateMachine):
    daemon = None
    other = None
    restarts = 0

    @initialize()
    def begin(self):
        self.plain = PlainTree()
        self.tree = RandomTree()
        self.plain.leaf = PlainLeaf()
        self.tree.save()

    def both(self):
        return self.plain, self.tree

    def check(self):
        assert self.tree.model_dump() == self.plain.model_dump()
        assert RandomTree.get(self.tree.key) == self.tree

    def teardown(self):
        if hasattr(self, "tree"):
            self.check()
            assert self.other.ask("read", self.tree.key) == self.plain.model_dump()

    @rule(n=INTS, f=FLOATS, s=TEXTS)
    def numbers_at_once(self, n, f, s):
        self.tree.n.increase(n)
        self.plain.n += n
        self.tree.s += s
        self.tree.s.save()
        self.plain.s += s
        self.tree.aupdate(f=f, maybe=n)
        self.plain.f, self.plain.maybe = f, n
        self.check()

    @rule(values=st.lists(INTS, max_size=4), index=st.integers(0, 3), value=INTS)
    def lists_at_once(self, values, index, value):
        self.tree.numbers.aextend(values)
        self.plain.numbers.extend(values)
        index = min(index, len(self.plain.numbers))
        self.tree.numbers.ainsert(index, value)
        self.plain.numbers.insert(index, value)
        assert self.tree.numbers.apop(index) == self.plain.numbers.pop(index)
        self.tree.numbers.aremove_range(index, index + 2)
        del self.plain.numbers[index : index + 2]
        self.check()

    @rule(name=NAMES, pairs=st.dictionaries(NAMES, INTS, max_size=3))
    def dicts_at_once(self, name, pairs):
        self.tree.counts.aupdate(pairs)
        self.plain.counts.update(pairs)
        assert self.tree.counts.apop(name) == self.plain.counts.pop(name, None)
        self.tree.labels.aadd_many([*pairs.values(), 3])
        self.plain.labels.update(pairs.values(), [3])
        assert self.tree.labels.apop() in self.plain.labels
        self.plain.labels = set(self.tree.labels)
        self.tree.counts.adel_item("a.b")
        self.plain.counts.pop("a.b", None)
        self.check()

    @rule(n=INTS, tags=st.lists(TEXTS, max_size=2), index=st.integers(0, 5))
    def elements_at_once(self, n, tags, index):
        self.tree.leaves.ainsert(0, RandomLeaf(n=n, tags=tags))
        self.plain.leaves.insert(0, PlainLeaf(n=n, tags=tags))
        index %= len(self.plain.leaves)
        self.tree.leaves[index].n.increase(n)
        self.plain.leaves[index].n += n
        self.tree.leaves[index].tags.aappend("t")
        self.plain.leaves[index].tags.append("t")
        if index % 2:
            self.tree.leaves.apop(index)
            self.plain.leaves.pop(index)
        self.check()

    def changes(self, data, fails):
        """The same changes to both, as they are written."""
        for model, leaf in (
            (self.plain.model_copy(deep=True) if fails else self.plain, PlainLeaf),
            (self.tree, RandomLeaf),
        ):
            for kind, n, text, name in data:
                if kind == 0:
                    model.n += n
                    model.n *= 2
                    model.n -= 1
                    model.n %= 1000
                elif kind == 1:
                    model.s = text
                    model.s += "x"
                    model.maybe = None if n % 2 else n
                elif kind == 2:
                    model.numbers.append(n)
                    model.numbers += [n, n + 1]
                    model.numbers[-1] = 5
                    model.numbers.pop(len(model.numbers) // 2)
                    if len(model.numbers) > 6:
                        model.numbers.clear()
                elif kind == 3:
                    model.counts[name] = n
                    model.counts |= {"z": n}
                    model.counts.pop("a", None)
                elif kind == 4:
                    model.leaf.n += n
                    model.leaf.tags.append(text)
                    model.leaf = leaf(n=n)
                    model.leaf.tags.append("of the new one")
                elif kind == 5:
                    model.leaves.append(leaf(n=n))
                    model.leaves[-1].n += 1
                    model.leaves[0].tags.append(text)
                    if len(model.leaves) > 2:
                        del model.leaves[1]
                elif kind == 7:
                    model.grid.append([n])
                    model.grid[-1].append(n)
                    model.grid[0][0] += 1
                    model.grid[len(model.grid) // 2] += [n, 0]
                    if len(model.grid) > 2:
                        model.grid.pop(0)
                elif kind == 8:
                    model.values.append(PlainLeaf(n=n))
                    model.values[-1].tags.append(text)
                    model.values[0].n += n
                    if len(model.values) > 2:
                        del model.values[1]
                    model.inside = PlainLeaf(n=n) if model.inside is None else model.inside
                    model.inside.n -= 1
                    model.inside.tags.append(text)
                elif kind == 9:
                    model.perhaps = leaf(n=n) if n % 3 else None
                    if model.perhaps is not None:
                        model.perhaps.n *= 2
                        model.perhaps.tags.append(text)
                elif kind == 10:
                    model.lanes.setdefault(name, []).append(leaf(n=n))
                    model.lanes[name][-1].tags.append(text)
                    model.lanes[name][0].n += 1
                    if len(model.lanes[name]) > 2:
                        model.lanes[name].pop(0)
                    model.exact += decimal.Decimal(n) / 8
                    model.exact -= 1
                elif kind == 11:
                    model.labels.add(n)
                    model.labels |= {n + 1, n + 2}
                    model.labels.discard(n + 1)
                    model.labels &= set(range(-500, 500))
                    model.labels ^= {n, 0}
                elif kind == 6:
                    model.named[name] = leaf(n=n)
                    model.named[name].tags.append(text)
                    if len(model.named) > 2:
                        del model.named[name]

    @rule(
        data=st.lists(st.tuples(st.integers(0, 11), INTS, TEXTS, NAMES), max_size=6),
        how=st.sampled_from(["pipeline", "lock", "both", "draft"]),
        fails=st.booleans(),
    )
    def gathered(self, data, how, fails):
        if how == "draft":
            self.changes(data, False)
            self.tree.save()
            self.check()
            return
        before = self.tree.model_dump()
        try:
            if how == "pipeline":
                with self.tree.pipeline():
                    self.changes(data, fails)
                    if fails:
                        raise ZeroDivisionError
            elif how == "lock":
                with self.tree.lock():
                    self.changes(data, fails)
                    if fails:
                        raise ZeroDivisionError
            else:
                with self.tree.lock(), self.tree.pipeline():
                    self.changes(data, fails)
                    if fails:
                        raise ZeroDivisionError
        except ZeroDivisionError:
            assert self.tree.model_dump() == before
        self.check()

    @rule(n=INTS, text=TEXTS, name=NAMES)
    def inside_at_once(self, n, text, name):
        self.tree.grid.aappend([n])
        self.tree.grid[0].aappend(n)
        self.tree.grid[-1][0].increase(2)
        self.plain.grid.append([n])
        self.plain.grid[0].append(n)
        self.plain.grid[-1][0] += 2
        self.tree.values.ainsert(0, PlainLeaf(n=n))
        self.tree.values[-1].tags.aappend(text)
        self.plain.values.insert(0, PlainLeaf(n=n))
        self.plain.values[-1].tags.append(text)
        self.tree.lanes.aset_item(name, [RandomLeaf(n=n)])
        self.tree.lanes[name][0].n.increase()
        self.plain.lanes[name] = [PlainLeaf(n=n + 1)]
        self.tree.exact.increase(decimal.Decimal("0.1"))
        self.plain.exact += decimal.Decimal("0.1")
        if n % 2:
            self.tree.grid.apop(0)
            self.tree.values.apop()
            self.plain.grid.pop(0)
            self.plain.values.pop()
        self.check()

    @rule()
    def another_process(self):
        self.plain.n += 7
        self.plain.leaf.tags.append("other")
        assert self.other.ask("read", self.tree.key)["n"] == self.plain.n - 7
        self.other.ask("count", self.tree.key)
        self.tree.load()
        self.check()

    @rule(restart=st.integers(0, 30))
    def read_again(self, restart):
        if restart == 1 and Machine.restarts < 3:
            Machine.restarts += 1
            self.daemon.kill() if Machine.restarts % 2 else self.daemon.stop()
            self.daemon.start()
        self.tree = RandomTree.get(self.tree.key)
        self.check()


@pytest.mark.filterwarnings("ignore")
def test_random_operations(daemon):
    Machine.daemon, Machine.other, Machine.restarts = daemon, Other(), 0
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=30,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    finally:
        Machine.other.end()
        rapyerd.close_all()
