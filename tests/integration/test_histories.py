"""Clients of one daemon work on a few documents at once, while links are cut and servers killed: is
there one order of what they did that explains all answers?"""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from histories import CARD, COLLECTION, PAGE, Collector, Recorder, judge, keep, record
from redis_cluster import reshard, slot_of
from rpc_client import RpcError
from test_fault_failover import SETTINGS as QUICK
from test_fault_failover import Pair

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
HISTORIES = 300 if FULL else 12
SEED = int(os.environ.get("RAPYER_SEED", random.randrange(1 << 30)))


def declare(*daemons):
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", PAGE)


def histories(daemons, redis, count=HISTORIES, abreast=1, between=None, **options):
    """Records and judges; what is wrong is in the message, with what makes it again and where it is kept.
    between() runs between two of them."""
    rng = random.Random(SEED)
    rngs = [random.Random(rng.random()) for _ in range(count)]

    def one(number):
        if number > 0 and between:
            between()
        return record(daemons, redis, number, rngs[number], **options)
    with ThreadPoolExecutor(abreast) as pool:
        recorded = list(pool.map(one, range(count)))
    verdicts = judge([one.entries for one in recorded])
    assert len(verdicts) == count
    wrong = [number for number, verdict in enumerate(verdicts) if verdict != "ok"]
    backwards = [number for number, one in enumerate(recorded) if one.backwards()]
    kept = [keep(recorded[number].entries) for number in sorted({*wrong, *backwards})]
    assert not wrong, \
        f"RAPYER_SEED={SEED}: {len(wrong)} of {count} histories are {verdicts[wrong[0]]}: {' '.join(kept)}"
    assert not backwards, \
        f"RAPYER_SEED={SEED}: versions went back: {recorded[backwards[0]].backwards()[:3]}: {' '.join(kept)}"


@pytest.mark.parametrize("daemons", [1, 2])
def test_all_kinds(new_redis, new_daemon, daemons):
    """Sets, sorted, optional models, what is in containers of containers, conditions, and what must be unique."""
    redis = new_redis()
    several = [new_daemon(redis.address) for _ in range(daemons)]
    for daemon in several:
        with daemon.connect() as client:
            client.call("define", CARD, COLLECTION)
    with redis.client() as other:
        histories(several, other, actor=Collector)


def test_slots_of_a_cluster_that_move(calm_cluster, new_daemon):
    """To and fro, key by key, while two daemons write the documents of one tag."""
    several = [new_daemon(calm_cluster.address) for _ in range(2)]
    declare(*several)
    histories(several, None, count=60 if FULL else 8, tag="{h}",
              nemesis=lambda: reshard(calm_cluster, [slot_of("{h}")], 2))


# --- the judge itself ------------------------------------------------------------------------


def entry(call, end, request, result=None, error=""):
    return {"client": 0, "call": call, "return": end, "request": request, "result": result,
            "error": error}


SAVED = entry(0, 1, ["doc.save", "Page:1", {"n": 1, "tags": ["a"]}])
POPPED = entry(2, 3, ["list.pop", "Page:1", "tags", -1], "a")
RIGHT = [
    [SAVED, entry(2, 3, ["num.incr", "Page:1", "n", 2], 3),
     entry(4, 5, ["doc.get", "Page:1"], {"n": 3, "text": "", "tags": ["a"], "jobs": {}})],
    [SAVED, POPPED, entry(4, 5, ["list.pop", "Page:1", "tags", -1], error="OUT_OF_RANGE")],
    # Nobody was told; it happened late.
    [SAVED, entry(2, None, ["num.incr", "Page:1", "n", 2]), entry(4, 5, ["num.incr", "Page:1", "n", 1], 2),
     entry(6, 7, ["num.incr", "Page:1", "n", 1], 5)],
    # Two at once, the later question first.
    [SAVED, entry(2, 9, ["num.incr", "Page:1", "n", 1], 3), entry(3, 8, ["num.incr", "Page:1", "n", 1], 2)],
    [entry(2, 3, ["pipeline", [["num.incr", "Page:1", "n", 1], ["list.pop", "Page:1", "tags", 0]]],
           [2, "a"]), SAVED],
]
WRONG = [
    # A lost increment, a doubled one, an old read, a refusal from memory, half a pipeline.
    [SAVED, entry(2, 3, ["num.incr", "Page:1", "n", 1], 2), entry(4, 5, ["num.incr", "Page:1", "n", 1], 2)],
    [SAVED, entry(2, 3, ["num.incr", "Page:1", "n", 1], 3)],
    [SAVED, POPPED, entry(4, 5, ["doc.get", "Page:1"], {"n": 1, "text": "", "tags": ["a"], "jobs": {}})],
    [SAVED, entry(2, 3, ["list.append", "Page:1", "tags", "b"], 2), POPPED,
     entry(4, 5, ["list.pop", "Page:1", "tags", -1], error="OUT_OF_RANGE")],
    [SAVED, entry(2, 3, ["pipeline", [["num.incr", "Page:1", "n", 1], ["list.pop", "Page:1", "tags", 5]]],
                  error="OUT_OF_RANGE"), entry(4, 5, ["num.incr", "Page:1", "n", 1], 3)],
    [SAVED, entry(2, 3, ["doc.exists", "Page:1"], 0)],
]

# Of each kind: what was asked first, and then a question with the only right answer and with wrong ones.
ADD = ["set.add", "Page:1", "marks", "x"]
PUSH = [["sorted.push", "Page:1", "queue", "b", 1], ["sorted.push", "Page:1", "queue", "a", 1],
        ["sorted.push", "Page:1", "queue", "c", 0.5]]
CARD_IS = ["set", "Page:1", "card", {"n": 4}]
LANE, ROW = ["dict.set", "Page:1", "lanes", "a", []], ["dict.set", "Page:1", "rows", "a", []]
ELEMENT = ["list.append", "Page:1", 'rows["a"]', {"@pk": "1", "n": 1}]
SECOND = ["doc.save", "Page:2", {}]
CODE = ["set", "Page:2", "code", "one"]
REFUSED = object()  # with this code
KINDS_ASKED = [
    ([], ADD, 1, [0]), ([ADD], ADD, 0, [1]), ([ADD], ["set.has", "Page:1", "marks", "x"], True, [False]),
    ([ADD], ["set.remove", "Page:1", "marks", "x"], 1, [0]),
    (PUSH, ["sorted.pop_min", "Page:1", "queue"], ["c", 0.5], [["a", 1], ["c", 1], (REFUSED, "NOT_FOUND")]),
    (PUSH[:2], ["sorted.pop_min", "Page:1", "queue"], ["a", 1], [["b", 1]]),
    (PUSH, ["sorted.push", "Page:1", "queue", "c", 7], 0, [1]),
    (PUSH, ["sorted.incr", "Page:1", "queue", "b", 2], 3, [2]),
    ([], ["sorted.pop_min", "Page:1", "queue"], (REFUSED, "NOT_FOUND"), [["a", 1]]),
    ([], ["num.incr", "Page:1", "card.n", 1], (REFUSED, "NOT_FOUND"), [1]),
    ([CARD_IS], ["num.incr", "Page:1", "card.n", 1], 5, [4, 1, (REFUSED, "NOT_FOUND")]),
    ([CARD_IS, ["set", "Page:1", "card", None]], ["num.incr", "Page:1", "card.n", 1], (REFUSED, "NOT_FOUND"), [5]),
    ([], ["list.append", "Page:1", 'lanes["a"]', "x"], (REFUSED, "NOT_FOUND"), [1]),
    ([LANE], ["list.append", "Page:1", 'lanes["a"]', "x"], 1, [2, (REFUSED, "NOT_FOUND")]),
    ([ROW], ["num.incr", "Page:1", 'rows["a"][0].n', 1], (REFUSED, "OUT_OF_RANGE"), [1, (REFUSED, "NOT_FOUND")]),
    ([ROW, ELEMENT], ["num.incr", "Page:1", 'rows["a"][0].n', 1], 2, [1, 3, (REFUSED, "OUT_OF_RANGE")]),
    ([ROW, ELEMENT, ROW], ELEMENT, 1, [2]),
    ([SECOND, CODE], ["set", "Page:1", "code", "one"], (REFUSED, "CONFLICT"), [None]),
    ([SECOND, CODE, ["set", "Page:2", "code", "two"]], ["set", "Page:1", "code", "one"], None, [(REFUSED, "CONFLICT")]),
    ([], ["pipeline", [["if", "Page:1", "n", {"<": 5}], ["num.incr", "Page:1", "n", 1]]], [True, 2],
     [[True, 1], (REFUSED, "CONFLICT")]),
    ([], ["pipeline", [["if", "Page:1", "n", {">=": 5}], ["num.incr", "Page:1", "n", 1]]], (REFUSED, "CONFLICT"), [[True, 2]]),
    ([], ["pipeline", [["if", "Page:1", "n", {">=": 5}, 1], ["num.incr", "Page:1", "n", 1]]], [False, None], [[False, 2], [True, 2]]),
    ([], ["pipeline", [["if", "Page:2", "", {"exists": True}], ["num.incr", "Page:1", "n", 1]]], (REFUSED, "CONFLICT"), [[True, 2]]),
    ([CARD_IS], ["pipeline", [["if", "Page:1", "card.n", {"==": 4}], ["num.incr", "Page:1", "n", 1]]], [True, 2], [(REFUSED, "CONFLICT")]),
    ([ADD, CARD_IS, LANE, ROW, ELEMENT, *PUSH[:2]], ["doc.get", "Page:1"],
     {"n": 1, "text": "", "tags": ["a"], "jobs": {}, "marks": ["x"], "card": {"n": 4}, "lanes": {"a": []},
      "rows": {"a": [{"@pk": "1", "n": 1}]}, "queue": [["a", 1], ["b", 1]]},
     [{"n": 1, "text": "", "tags": ["a"], "jobs": {}},
      {"n": 1, "text": "", "tags": ["a"], "jobs": {}, "marks": ["x"], "card": {"n": 4}, "lanes": {"a": []},
       "rows": {"a": [{"@pk": "1", "n": 1}]}, "queue": [["b", 1], ["a", 1]]}]),
]


def told(before, question, answer):
    """A history: one request after the other, and then the question."""
    entries = [SAVED]
    for at, request in enumerate(before):
        entries.append(entry(10 * at + 2, 10 * at + 3, request, **result_of(before[:at], request)))
    end = 10 * len(before) + 5
    return [*entries, entry(end, end + 1, question, **as_told(answer))]


def as_told(answer):
    return {"error": answer[1]} if isinstance(answer, tuple) else {"result": answer}


def result_of(before, request):
    """What is answered to those that come first."""
    what, count = request[0], before.count(request)
    answers = {"set.add": 1, "sorted.push": 1, "list.append": 1}
    return {"result": answers.get(what) if count == 0 else None}


def test_the_judge_takes_what_is_right():
    assert judge(RIGHT) == ["ok"] * len(RIGHT)


def test_the_judge_finds_what_is_wrong():
    assert judge(WRONG) == ["wrong"] * len(WRONG)


@pytest.mark.parametrize("before, question, right, wrong", KINDS_ASKED)
def test_the_judge_knows_each_kind(before, question, right, wrong):
    assert judge([told(before, question, right)]) == ["ok"]
    assert judge([told(before, question, answer) for answer in wrong]) == ["wrong"] * len(wrong)


def test_versions_that_go_back_are_found():
    recorder = Recorder(bound=0)
    for call, version in ((1, 7), (3, 8), (5, 7)):
        recorder.add(0, "a", ["doc.get", "Page:1"], call, call + 1, {}, version=version)
    assert [(best, version) for _, _, best, version in recorder.backwards()] == [(8, 7)]


def test_a_plain_read_may_be_older_than_what_was_told_while_it_was_on_its_way():
    """Daemon b reads, then hears of what daemon a did, then counts on; and that answer comes first."""
    recorder = Recorder(bound=1)
    second = 1_000_000_000
    recorder.add(0, "a", ["doc.save", "Page:1", {"n": 1}], 1 * second, 2 * second)
    recorder.add(1, "a", ["num.incr", "Page:1", "n", 1], 3 * second, int(3.1 * second), 2)
    recorder.add(2, "b", ["num.incr", "Page:1", "n", 1], int(3.2 * second), int(3.3 * second), 3)
    recorder.add(3, "b", ["doc.get", "Page:1"], int(3.15 * second), int(3.4 * second),
                 {"n": 1, "text": "", "tags": [], "jobs": {}}, plain=True)
    assert judge([recorder.entries]) == ["ok"]
    recorder.add(3, "b", ["doc.get", "Page:1"], int(3.35 * second), int(3.5 * second),
                 {"n": 1, "text": "", "tags": [], "jobs": {}}, plain=True)
    assert judge([recorder.entries]) == ["wrong"]


def test_a_plain_read_may_be_older_by_the_bound_but_not_than_what_its_daemon_has_told():
    recorder = Recorder(bound=1)
    second = 1_000_000_000
    recorder.add(0, "a", ["num.incr", "Page:1", "n", 1], 4 * second, 5 * second, 1)
    recorder.add(0, "a", ["doc.get", "Page:1"], 9 * second, 10 * second, {}, plain=True)
    recorder.add(0, "b", ["doc.get", "Page:1"], 9 * second, 10 * second, {}, plain=True)
    recorder.add(0, "b", ["num.incr", "Page:1", "n", 1], int(10.1 * second), int(10.2 * second), 2)
    recorder.add(0, "b", ["doc.get", "Page:1"], int(10.5 * second), 11 * second, {}, plain=True)
    assert [entry["call"] / second for entry in recorder.entries if entry["request"][0] == "doc.get"] \
        == [8, 8, 10.1]


# --- one daemon ------------------------------------------------------------------------------


@pytest.fixture
def aof(new_redis):
    return new_redis(aof=True)


def later(rng, act, within=0.1):
    """act() at a random moment of a history."""
    def nemesis():
        time.sleep(rng.random() * within)  # any moment is as good as another
        act()
    return nemesis


def test_clients_of_one_daemon(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address)
    declare(daemon)
    histories([daemon], redis_server.client(), bound=0)


def test_three_documents_and_twelve_clients(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address)
    declare(daemon)
    histories([daemon], redis_server.client(), bound=0, documents=3, clients=12, operations=16)


def test_links_that_are_cut(redis_server, new_proxy, new_daemon):
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address)
    declare(daemon)
    histories([daemon], redis_server.client(), bound=0, nemesis=later(random.Random(SEED), proxy.cut))


def test_a_redis_that_is_killed(aof, new_daemon):
    daemon = new_daemon(aof.address)
    declare(daemon)
    histories([daemon], None, bound=0, nemesis=later(random.Random(SEED), aof.restart))


def test_a_daemon_that_is_killed(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address)
    declare(daemon)

    def restart():
        daemon.kill()
        daemon.start()
    histories([daemon], redis_server.client(), bound=0, nemesis=later(random.Random(SEED), restart))


def upgrade(daemon):
    """Whatever is under way, and whoever else asks for one."""
    with daemon.connect() as client:
        try:
            client.call("admin.upgrade")
        except RpcError as error:
            assert error.code in ("BUSY", "UNAVAILABLE"), error


def test_a_daemon_that_is_upgraded(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address)
    declare(daemon)
    histories([daemon], redis_server.client(), bound=0, nemesis=later(random.Random(SEED), lambda: upgrade(daemon)))


def test_two_daemons_that_are_upgraded(redis_server, new_daemon):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    declare(*daemons)
    rng = random.Random(SEED)
    histories(daemons, redis_server.client(), nemesis=later(rng, lambda: upgrade(rng.choice(daemons))))


def test_an_upgrade_while_redis_is_killed(aof, new_daemon):
    daemon = new_daemon(aof.address, {"upgrade.still_time": "200ms"})
    declare(daemon)

    def both():
        other = threading.Thread(target=aof.restart)
        other.start()
        upgrade(daemon)
        other.join()
    histories([daemon], None, bound=0, nemesis=later(random.Random(SEED), both))


def test_a_cache_that_holds_next_to_nothing(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"cache.cache_memory": "64K"})
    declare(daemon)
    histories([daemon], redis_server.client(), bound=0)


def test_a_replica_that_is_promoted(new_redis, new_proxy, new_daemon):
    """It has not seen the last commits: the daemon has them."""
    servers = Pair(new_redis, new_proxy)
    daemon = new_daemon(servers.front.address, QUICK)
    declare(daemon)
    rng = random.Random(SEED)

    def fail_over():
        servers.lag()
        time.sleep(rng.random() * 0.02)  # what is acknowledged meanwhile is lost
        servers.fail_over()
    histories([daemon], None, bound=0, nemesis=later(rng, fail_over, 0.03), between=servers.change_places)
    with daemon.connect() as client:
        assert client.call("admin.stats")["lost_states"] == 0
