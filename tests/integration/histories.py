"""Records histories of a few documents, which clients of several daemons and foreign programs change
at once while things break, and has them judged.

A history is a list of entries: who asked for what, when it was asked and answered, and the answer.
tests/judge says whether there is an order of them, each at one moment between its question and its
answer, in which one after the other gives these answers (linearizability).

A plain read may be older than that, by the bound; but not older than what its daemon has already
told somebody of the document. That was so at some moment between its question and its answer; so the
read is dated back by the bound, at most to that question. That it is not before that answer either is
seen by the versions (backwards).

What its daemon told somebody while the read was on its way may have been found out behind it. It counts at
first, as the judge is many times faster with it; a history that is wrong so is judged once more without that.

A deadline is an entry of its own, for the end of the document: at a moment between the earliest and the
latest at which whoever said it can have meant it. It ends the document that still has that deadline, all of
it at once. A plain read may be dated back; but it says when it really was, as nobody is given what is over."""

import json
import os
import random
import re
import subprocess
import tempfile
import threading
import time

from daemon_process import REPOSITORY, binary
from models import atomic, field
from rpc_client import Client, Closed, RpcError

PAGE = atomic("Page", field("n", "int", default=0), field("text", "str", default=""),
              field("tags", "list<str>"), field("jobs", "dict<str>"))
CARD = atomic("Card", field("n", "int", default=0))
COLLECTION = {**PAGE, "fields": [
    *PAGE["fields"], field("marks", "set<str>"), field("queue", "sorted<str>"), field("card", "optional<Card>", default=None),
    field("lanes", "dict<list<str>>"), field("rows", "dict<list<Card>>"),
    {**field("code", "optional<str>", default=None), "unique": True}]}
KINDS = ("marks", "queue", "card", "lanes", "rows", "code")  # which the judge is shown where they hold something
NOTHING_HAPPENED = {"UNAVAILABLE", "BUSY"}  # refused before anything was done
UNKNOWN = {"UNKNOWN_OUTCOME"}
TICKS = 2_000_000  # ns: deadlines are ms, and so is the time that they are compared with
ENDLESS = 1 << 52


def judge_program():
    """It is built beside the daemon."""
    program = os.path.join(os.path.dirname(os.path.dirname(binary())), "tests", "judge")
    if not os.path.exists(program):  # of another build than the daemon's, such as an installed one
        program = os.path.join(REPOSITORY, "build", "asan", "tests", "judge")
    assert os.path.exists(program), "no judge: build the tests"
    return program


def judge(histories):
    """A verdict for each history: "ok", "wrong", "unknown"."""
    verdicts = judge_once(histories)
    for number, verdict in enumerate(verdicts):
        loose = [{**entry, "call": entry.get("earliest", entry["call"])} for entry in histories[number]]
        if verdict != "ok" and loose != histories[number]:
            verdicts[number], = judge_once([loose])
    return verdicts


def judge_once(histories):
    lines = "".join(json.dumps({"entries": entries}) + "\n" for entries in histories)
    done = subprocess.run([judge_program()], input=lines, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def keep(entries):
    """Where a history is that nobody can make again, one line for each entry; for who looks into it."""
    handle, path = tempfile.mkstemp(prefix="rapyer-history-", suffix=".json")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("[" + ",\n".join(json.dumps(entry) for entry in entries) + "]\n")
    return path


def keys_of(request):
    if request[0] == "pipeline":
        return {operation[1] for operation in request[1]}
    return {request[1]}


def shown(request):
    """As the judge knows it."""
    if request[0] == "doc.get":
        return request[:2]
    if request[0] == "doc.insert":  # of one document
        return ["doc.insert", *request[1][0]]
    return request


def of_one_document(request, text):
    """Of a refused pipeline what its refusal is about: the operation that it names, and those on the same document
    before it. Documents are each as of one moment, which need not be the same (PROTOCOL.md, Several hosts). None: it
    names no operation."""
    named = re.match(r"operation (\d+)\b", text)
    if named is None:
        return None
    operations = request[1][:int(named.group(1)) + 1]
    return ["pipeline", [operation for operation in operations if operation[1] == operations[-1][1]]]


def by_document(request, result):
    """Of a pipeline over several documents that found nothing to change in any of them what it says of each, by
    itself: it only read, and they need not be as of one moment (PROTOCOL.md, Several hosts)."""
    if request[0] != "pipeline" or not result or any(answer is not False for answer in result):
        return [(request, result)]
    parts = {}
    for operation, answer in zip(request[1], result):
        operations, answers = parts.setdefault(operation[1], ([], []))
        operations.append(operation)
        answers.append(answer)
    return [(["pipeline", operations], answers) for operations, answers in parts.values()]


class Recorder:
    """One history. Threads add what they did."""

    def __init__(self, bound):
        self.bound = int(bound * 1e9)
        self.entries = []
        self.told = {}  # (daemon, key) -> [(return, call)] of exact answers
        self.seen = {}  # (daemon, key) -> [(call, return, version)] of reads and writes
        self.deadlines = 0
        self.lock = threading.Lock()

    def add(self, client, daemon, request, call, end, result=None, error=None, plain=False, version=None):
        if error in NOTHING_HAPPENED:
            return
        if error in UNKNOWN and request[0] in ("doc.get", "doc.exists"):
            return
        if error in UNKNOWN:
            end = None
        asked = earliest = call
        with self.lock:
            if request[0] in ("doc.ttl", "foreign.pexpire"):
                request = [*request, 0, 0] if error and end else self.deadline(request, call, end)
            if plain:
                request = [*request, asked]
                told = self.told.get((daemon, request[1]), ())
                earliest = max([asked - self.bound, *(began for over, began in told if over < asked)])
                call = max([asked - self.bound, *(min(asked, began) for _, began in told)])
            elif end is not None and daemon is not None:
                # A refusal is about one of its documents, and says nothing of the others.
                for key in keys_of(request) if error is None or len(keys_of(request)) == 1 else ():
                    self.told.setdefault((daemon, key), []).append((end, call))
            if version is not None:
                self.seen.setdefault((daemon, request[1]), []).append((asked, end, version))
            self.entries.append({"client": client, "call": call, "earliest": earliest, "return": end,
                                 "request": request, "result": result, "error": error or "", "v": version})

    def deadline(self, request, call, end):
        """With the name of this deadline and the end of it, which is an entry."""
        self.deadlines += 1
        key, ns = request[1], request[2] * (1_000_000_000 if request[0] == "doc.ttl" else 1_000_000)
        over = end + ns + TICKS if end is not None else None
        self.entries.append({"client": -1, "call": call + ns - TICKS, "return": over,
                             "request": ["clock.expire", key, self.deadlines], "result": None, "error": "",
                             "v": None})
        return [*request, self.deadlines, over or ENDLESS]

    def backwards(self):
        """Reads of an older version than an earlier read or write, through the same daemon, was told. Not of
        documents that were deleted: two that make it anew at once do so by the clocks of two daemons."""
        wrong = []
        deleted = {entry["request"][1] for entry in self.entries
                   if entry["request"][0] in ("doc.delete", "foreign.del", "clock.expire")}
        for (_, key), reads in self.seen.items():
            if key in deleted:
                continue
            best_end, best = 0, 0
            ends = sorted((end, version) for _, end, version in reads)
            at = 0
            for call, end, version in sorted(reads):
                while at < len(ends) and ends[at][0] < call:
                    best = max(best, ends[at][1])
                    best_end = ends[at][0]
                    at += 1
                if version < best:
                    wrong.append((best_end, call, best, version))
        return wrong


class Actor:
    """A client of one daemon: asks at random and records what it is answered."""

    pause = 0  # seconds between two requests, at most

    def __init__(self, number, daemon, recorder, keys, rng):
        self.number = number
        self.daemon = daemon
        self.recorder = recorder
        self.keys = keys
        self.rng = rng
        self.client = None

    def connection(self):
        if self.client is None:
            self.client = Client(self.daemon.socket)
        return self.client

    def one_operation(self, key):
        rng, word = self.rng, f"{self.number}.{self.rng.randrange(1000)}"
        return rng.choice([
            ["set", key, "n", rng.randrange(100)], ["num.incr", key, "n", rng.randrange(1, 9)],
            ["num.incr", key, "n", 1], ["num.mod", key, "n", 7], ["str.append", key, "text", word[-1]],
            ["list.append", key, "tags", word], ["list.append", key, "tags", word],
            ["list.pop", key, "tags", rng.choice([-1, 0])], ["list.pop", key, "tags", -1],
            ["dict.set", key, "jobs", rng.choice("ab"), word], ["dict.del", key, "jobs", rng.choice("ab")],
            ["dict.pop", key, "jobs", rng.choice("ab")]])

    def request(self):
        rng, key = self.rng, self.rng.choice(self.keys)
        what = rng.random()
        if what < 0.2:
            return ["doc.get", key, {"version": True}]
        if what < 0.35:
            return ["doc.get", key, {"fresh": True, "version": True}]
        if what < 0.4:
            return ["doc.exists", key]
        if what < 0.44:
            return ["doc.delete", key]
        if what < 0.52:
            return ["doc.save", key, {"n": rng.randrange(50), "tags": ["s"]}]
        if what < 0.64 and len(self.keys) > 1:
            two = rng.sample(self.keys, 2)
            return ["pipeline", [self.one_operation(rng.choice(two)) for _ in range(rng.randrange(2, 4))]]
        return self.one_operation(key)

    def ask(self, request):
        """The request as it is sent, asked and recorded."""
        plain = request[0] == "doc.get" and not request[2].get("fresh")
        version = None
        result = error = None
        try:
            client = self.connection()
        except OSError:
            return "UNAVAILABLE"  # nobody was asked
        call = time.monotonic_ns()
        try:
            result = client.call(*request)
        except RpcError as refusal:
            error = refusal.code
            if request[0] == "pipeline" and len(keys_of(request)) > 1 and error not in UNKNOWN:
                request = of_one_document(request, refusal.text)
        except (OSError, Closed):
            # A daemon that was killed may have carried it out, or not.
            self.client = None
            error = "UNKNOWN_OUTCOME"
        end = time.monotonic_ns()
        if request is None:
            return error
        if error is None and request[0] == "doc.get":
            version = result.pop("@v", None)
            result.pop("@pk", None)
            if "@stale" in result:
                return error
            for kind in KINDS:
                if not result.get(kind):
                    result.pop(kind, None)
            if "marks" in result:
                result["marks"].sort()
        if error is None and request[0] in ("set", "dict.set", "doc.save"):
            version = result["version"] if request[0] == "doc.save" else result
            result = None
        for asked, answer in by_document(shown(request), result):
            self.recorder.add(self.number, self.daemon.socket, asked, call, end, answer, error, plain, version)
        return error

    def work(self, count):
        for _ in range(count):
            self.ask(self.request())
            time.sleep(self.rng.random() * self.pause)
            if self.client is None:
                time.sleep(0.01)  # the daemon is away; its next request may be too early as well

    def close(self):
        if self.client is not None:
            self.client.close()


class Collector(Actor):
    """It is after the kinds that the others have nothing to do with, and makes conditions."""

    def one_operation(self, key):
        rng, word = self.rng, f"{self.number}.{self.rng.randrange(1000)}"
        lane = rng.choice("ab")
        return rng.choice([
            ["set.add", key, "marks", rng.choice("xyz")], ["set.add", key, "marks", rng.choice("xyz")],
            ["set.remove", key, "marks", rng.choice("xyz")], ["set.has", key, "marks", rng.choice("xyz")],
            ["sorted.push", key, "queue", rng.choice("pqr"), rng.randrange(9)], ["sorted.pop_min", key, "queue"],
            ["sorted.incr", key, "queue", rng.choice("pqr"), 2], ["set", key, "card", {"n": rng.randrange(9)}],
            ["set", key, "card", None], ["num.incr", key, "card.n", 1], ["num.incr", key, "n", 1],
            ["dict.set", key, "lanes", lane, []], ["list.append", key, f'lanes["{lane}"]', word],
            ["list.append", key, f'lanes["{lane}"]', word], ["dict.set", key, "rows", lane, []],
            ["list.append", key, f'rows["{lane}"]', {"@pk": word, "n": 1}],
            ["num.incr", key, f'rows["{lane}"][0].n', 1]])

    def condition(self, key):
        rng = self.rng
        return rng.choice([["if", key, "", {"exists": True}], ["if", key, "n", {"<": rng.randrange(1, 5)}],
                           ["if", key, "n", {">=": 1}], ["if", key, "card.n", {">=": rng.randrange(5)}]])

    def request(self):
        what, key, other = self.rng.random(), self.rng.choice(self.keys), self.rng.choice(self.keys)
        if what < 0.25:
            operations = [self.condition(other), self.one_operation(key)]
            if what < 0.1:
                operations[0].append(1)
            return ["pipeline", operations]
        if what < 0.33:
            history = key.partition("-")[0]
            return ["set", key, "code", self.rng.choice([f"{history}.one", f"{history}.two", None])]
        if what < 0.36:
            return ["doc.save", key, {"n": 1, "marks": ["x"], "card": {"n": 5}}]
        return self.one_operation(key) if what < 0.8 else super().request()


class Neighbour(Actor):
    """One that lives with programs without a daemon: it asks for nothing that is computed from what was
    there, which may overwrite what they write at the same time; and reads all as of one moment, which
    plain reads do not promise of what they have written (PROTOCOL.md, Several hosts)."""

    def one_operation(self, key):
        rng, word = self.rng, f"{self.number}.{self.rng.randrange(1000)}"
        return rng.choice([
            ["set", key, "n", rng.randrange(100)], ["num.incr", key, "n", rng.randrange(1, 9)],
            ["list.append", key, "tags", word], ["list.append", key, "tags", word],
            ["dict.set", key, "jobs", rng.choice("ab"), word]])

    def request(self):
        rng, key = self.rng, self.rng.choice(self.keys)
        what = rng.random()
        if what < 0.4:
            return ["doc.get", key, {"fresh": True, "version": True}]
        if what < 0.5:
            return ["doc.insert", [[key, {"n": rng.randrange(50), "tags": ["s"]}]]]
        return self.one_operation(key)


class Mortal(Actor):
    """Its documents have deadlines. It mostly reads from memory, where one may be forgotten; and not so often that
    somebody else would always find the document gone before it is too late."""
    pause = 0.01

    def request(self):
        what, key = self.rng.random(), self.rng.choice(self.keys)
        if what < 0.6:
            return ["doc.get", key, {"version": True}]
        if what < 0.62:
            return ["doc.persist", key]
        return super().request()


class SlowMortal(Mortal):
    """It says the deadlines itself, of a second, and stays to see the end of them."""
    requests = 0

    def request(self):
        what, key = self.rng.random(), self.rng.choice(self.keys)
        self.requests += 1
        if self.requests == 10:
            self.pause = 0.12
        if self.requests < 10:
            return ["doc.ttl", key, 1] if what < 0.3 else super().request()
        return ["num.incr", key, "n", 1] if what < 0.2 else ["doc.get", key, {"version": True}]


class Foreigner:
    """A program that knows nothing of daemons: it writes into Redis directly."""

    OPERATIONS = ["foreign.hset", "foreign.hset", "foreign.rpush", "foreign.del"]

    def __init__(self, number, redis, recorder, keys, rng):
        self.number, self.redis, self.recorder, self.keys, self.rng = number, redis, recorder, keys, rng

    def work(self, count):
        for turn in range(count):
            key, what = self.rng.choice(self.keys), self.rng.choice(self.OPERATIONS)
            root, value = "rapyer:{%s}" % key, self.rng.randrange(1000, 2000)
            call = time.monotonic_ns()
            if what == "foreign.hset":
                request, code = [what, key, "n", value], (
                    "if redis.call('EXISTS',KEYS[1])==1 then redis.call('HSET',KEYS[1],'n',ARGV[1]) end")
            elif what == "foreign.rpush":
                value = f"f{self.number}.{turn}"
                request, code = [what, key, "tags", value], (
                    "if redis.call('EXISTS',KEYS[1])==1 then redis.call('RPUSH',KEYS[2],ARGV[1]) end")
            else:
                request, code = [what, key], "redis.call('DEL',unpack(KEYS))"
            self.redis.eval(code, 3, root, f"{root}/tags", f"{root}/jobs", value)
            self.recorder.add(self.number, None, request, call, time.monotonic_ns())
            time.sleep(self.rng.random() * 0.01)


class Reaper(Foreigner):
    """Gives documents deadlines, and takes them."""

    def work(self, count):
        for _ in range(count):
            key, ms = self.rng.choice(self.keys), self.rng.randrange(1, 20)
            root = "rapyer:{%s}" % key
            if self.rng.random() < 0.2:
                request, code = ["foreign.persist", key], "for _, key in ipairs(KEYS) do redis.call('PERSIST',key) end"
            else:
                request, code = ["foreign.pexpire", key, ms], (
                    "for _, key in ipairs(KEYS) do redis.call('PEXPIRE',key,ARGV[1]) end")
            call = time.monotonic_ns()
            self.redis.eval(code, 3, root, f"{root}/tags", f"{root}/jobs", ms)
            self.recorder.add(self.number, None, request, call, time.monotonic_ns())
            time.sleep(self.rng.random() * 0.01)


def record(daemons, redis, number, rng, clients=6, operations=30, documents=2, bound=1.0, foreign=None,
           nemesis=None, actor=Actor, tag=""):
    """One history of documents of its own; nemesis() runs beside it once."""
    keys = [f"Page:{tag}{number}-{i}" for i in range(documents)]
    recorder = Recorder(bound)
    workers = [actor(i, daemons[i % len(daemons)], recorder, keys, random.Random(rng.random()))
               for i in range(clients)]
    if foreign:
        workers.append(foreign(clients, redis, recorder, keys, random.Random(rng.random())))
    failed = []

    def run(worker):
        try:
            worker.work(operations if isinstance(worker, Actor) else operations // 4)
        except Exception as error:  # told by the thread that can fail the test
            failed.append(error)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    if nemesis:
        threads.append(threading.Thread(target=nemesis))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    for daemon_number, daemon in enumerate(daemons):  # the end is equal everywhere
        last = Actor(clients + 1 + daemon_number, daemon, recorder, keys, rng)
        for key in keys:
            last.ask(["doc.get", key, {"fresh": True, "version": True}])
        last.close()
    for worker in workers:
        if isinstance(worker, Actor):
            worker.close()
    return recorder
