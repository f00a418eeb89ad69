"""The connection to Redis is cut at every byte of a transaction and of its answer: the pipeline is
applied exactly once, and its client gets its results; or it is refused and nothing is there."""

import os
import random

import pytest

from fault_proxy import REPLIES, REQUESTS
from models import define_all
from rpc_client import RpcError, wait_until

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
ADA, BOB = "User:ada", "User:bob"
FAST = {"redis.reconnect_min": "1ms", "redis.reconnect_max": "10ms"}
END = 10000  # more than any of these transactions has


class Model:
    """What should be in Redis, and the pipeline that changes it."""

    def __init__(self):
        self.age, self.tags, self.numbers, self.name, self.counts = 0, ["t0"], [], "b", {}
        self.turn = 0

    def save(self, client):
        define_all(client)
        client.call("doc.save", ADA, {"name": "Ada", "tags": self.tags, "settings": {}})
        self.numbers = list(range(100))
        client.call("doc.save", BOB, {"name": "b", "numbers": self.numbers, "settings": {}})

    def operations(self):
        self.turn += 1
        return [["num.incr", ADA, "age", 3],
                ["list.append", ADA, "tags", f"t{self.turn}"],
                ["list.pop", BOB, "numbers", 0],
                ["set", BOB, "name", f"bob{self.turn}"],
                ["num.incr", BOB, "age", 1]]

    def apply(self):
        self.age += 3
        self.tags.append(f"t{self.turn}")
        popped = self.numbers.pop(0)
        self.name = f"bob{self.turn}"
        return [self.age, len(self.tags), popped]

    def check(self, rdb):
        ada, bob = "rapyer:{User:ada}", "rapyer:{User:bob}"
        assert int(rdb.hget(ada, "age")) == self.age
        assert [tag.decode() for tag in rdb.lrange(ada + "/tags", 0, -1)] == self.tags
        assert [int(n) for n in rdb.lrange(bob + "/numbers", 0, -1)] == self.numbers
        assert rdb.hget(bob, "name").decode() == self.name
        assert int(rdb.hget(bob, "age")) == self.age // 3


class Sweep:
    def __init__(self, redis_server, new_daemon, new_proxy):
        self.proxy = new_proxy(redis_server.address, tcp=bool(redis_server.port))
        self.daemon = new_daemon(self.proxy.address, FAST)
        self.client = self.daemon.connect()
        self.rdb = redis_server.client()
        self.model = Model()
        self.model.save(self.client)
        self.refused = 0
        self.guard = self.token = self.spoil = None

    def turn(self, direction, count, late=None, expected="UNAVAILABLE"):
        """False: the transaction has fewer bytes."""
        if len(self.model.numbers) < 3:
            self.refill()
        # Both documents are loaded and fresh, so that the next transaction is the pipeline's.
        documents = self.client.call("doc.get_many", [ADA, BOB], {"version": True})
        options = self.options(documents)
        if self.spoil is not None:
            self.spoil(self.rdb)
        plan = self.proxy.cut_after(direction, count, late)
        try:
            results = self.client.call("pipeline", self.model.operations(), options)
        except RpcError as error:
            assert error.code == expected, error.error
            self.refused += 1
            if expected == "LOCK_LOST":
                self.token = None
        else:
            assert results[:3] == self.model.apply()
        self.proxy.disarm()
        self.model.check(self.rdb)
        return plan.fired.is_set()

    def options(self, documents):
        """Under a lock, with the versions of the documents, or with neither."""
        if self.guard == "if_version":
            return {"if_version": {key: one["@v"] for key, one in zip((ADA, BOB), documents)}}
        if self.guard == "lock" and self.token is None:
            self.token = self.client.call("lock.acquire", ADA, "sweep", {"ttl": 3600})["token"]
            self.client.call("doc.get_many", [ADA, BOB], {})
        return {"lock": self.token} if self.guard == "lock" else {}

    def refill(self):
        more = list(range(100))
        self.client.call("list.extend", BOB, "numbers", more)
        self.model.numbers += more
        self.client.call("set", ADA, "tags", ["again"])
        self.model.tags = ["again"]

    def finish(self):
        stats = self.client.call("admin.stats")
        self.model.check(self.rdb)
        self.client.close()
        self.rdb.close()
        assert stats["unknown_outcomes"] == 0 and stats["lost_states"] == 0
        return stats


@pytest.fixture(params=["unix", "tcp"])
def sweep(request, new_redis, new_daemon, new_proxy):
    return Sweep(new_redis(tcp=request.param == "tcp"), new_daemon, new_proxy)


def length(sweep, direction):
    """Bytes of the transaction, or of its answer: the last place where it can be cut."""
    low, high = 1, END
    while low < high:
        middle = (low + high + 1) // 2
        if sweep.turn(direction, middle):
            low = middle
        else:
            high = middle - 1
    return low


def positions(total):
    if FULL:
        return range(total + 1)
    return sorted({*range(0, total + 1, 7), *range(12), *range(total - 12, total + 1)})


@pytest.mark.parametrize("direction", [REQUESTS, REPLIES])
def test_a_cut_at_any_byte_applies_a_pipeline_once(sweep, direction):
    total = length(sweep, direction)
    cut = sum(sweep.turn(direction, count) for count in positions(total))
    assert cut >= len(positions(total)) - 12
    stats = sweep.finish()
    if direction == REPLIES:
        assert stats["recovered_applied"] > cut // 2
    else:
        assert stats["recovered_resent"] > cut // 2
    assert sweep.refused == 0  # Redis is back in time each time


def test_a_transaction_that_arrives_late_is_not_applied_twice(sweep):
    """The rest of the transaction reaches Redis while the daemon is asking for its marker."""
    total = length(sweep, REQUESTS)
    chance = random.Random(1)
    for _ in range(2000 if FULL else 100):
        sweep.turn(REQUESTS, chance.choice([total, total - 1, chance.randrange(total)]),
                   late=chance.random() * 0.02)
    sweep.finish()


def test_a_cut_while_recovering(sweep):
    """The connection after the broken one breaks too, again and again."""
    chance = random.Random(2)
    for _ in range(300 if FULL else 40):
        if len(sweep.model.numbers) < 3:
            sweep.refill()
        sweep.client.call("doc.get_many", [ADA, BOB], {})
        plan = sweep.proxy.cut_after(REQUESTS, chance.randrange(300), late=0.01)
        request = sweep.client.send("pipeline", sweep.model.operations())
        wait_until(plan.fired.is_set, what="the cut")
        for _ in range(chance.randrange(4)):
            wait_until(lambda: sweep.proxy.links, what="a new connection")
            sweep.proxy.cut()
        assert sweep.client.wait(request)[:3] == sweep.model.apply()
        sweep.model.check(sweep.rdb)
    sweep.finish()


def test_a_recovery_that_breaks_forgets_no_old_connection(sweep):
    """The second connection breaks before it could have the first one killed; then the rest of the
    transaction arrives on the first one, after the third has looked."""
    total = length(sweep, REQUESTS)
    for _ in range(20 if FULL else 5):
        sweep.proxy.swallow = b"KILL"
        assert sweep.turn(REQUESTS, total - 8, late=0.1)  # within EXEC, if some number is a digit shorter, too
        assert sweep.proxy.swallow is None
        # Only what comes later can be wrong.
        # Three stay: for commits, for messages between daemons, for what others change.
        wait_until(lambda: len(sweep.proxy.links) == 3, what="the end of the old connections")
        sweep.model.check(sweep.rdb)
    sweep.finish()


@pytest.mark.parametrize("guard", ["lock", "if_version"])
@pytest.mark.parametrize("direction", [REQUESTS, REPLIES])
def test_a_cut_at_any_byte_of_a_guarded_pipeline(sweep, direction, guard):
    """Its guard holds: it is there once, as one without."""
    sweep.guard = guard
    total = length(sweep, direction)
    some = guarded_positions(total)
    cut = sum(sweep.turn(direction, count) for count in some)
    assert cut >= len(some) - 12
    sweep.finish()
    assert sweep.refused == 0


def guarded_positions(total):
    """The script is in the middle, and says nothing."""
    return positions(total) if FULL else [*range(0, total, 97 if total > 300 else 7), *range(total - 8, total + 1)]


def lose_the_lease(rdb):
    rdb.delete("rapyer:@lock:{User:ada}/!sweep")


def write_behind_it(rdb):
    rdb.hincrby("rapyer:{User:bob}", "@v", 1)


@pytest.mark.parametrize("guard, spoil, expected", [("lock", lose_the_lease, "LOCK_LOST"),
                                                    ("if_version", write_behind_it, "CONFLICT")],
                         ids=["lock", "if_version"])
@pytest.mark.parametrize("direction", [REQUESTS, REPLIES])
def test_a_cut_at_any_byte_of_a_refused_pipeline(sweep, direction, guard, spoil, expected):
    """Its guard does not hold in Redis, and the answer that says so is lost: the marker says it.
    Nothing is applied, and the outcome is known. A lease that was gone may be back before the
    pipeline is sent again: then it was not refused, and is there once."""
    sweep.guard, sweep.spoil = guard, spoil
    total = 800 if direction == REQUESTS else 100
    some = guarded_positions(total)
    for count in some:
        sweep.turn(direction, count, expected=expected)
    if direction == REPLIES or guard == "if_version":
        assert sweep.refused == len(some)
    sweep.finish()


@pytest.mark.parametrize("direction", [REQUESTS, REPLIES])
def test_a_cut_at_any_byte_only_delays_a_read(sweep, direction):
    """A document that has to be read anew, in two rounds: never half of it, and no refusal."""
    expected = sweep.client.call("doc.get", BOB, {})
    cut = 0
    for count in range(0, 800, 1 if FULL else 16):
        sweep.rdb.hincrby("rapyer:{User:bob}", "@v", 1)
        sweep.proxy.cut()
        plan = sweep.proxy.cut_after(direction, count)
        assert sweep.client.call("doc.get", BOB, {}) == expected
        cut += plan.fired.is_set()
        sweep.proxy.disarm()
    assert cut > 5
    sweep.finish()
