"""What the chaos of locks consists of: the clients, what they write down, and the checker.

A document of the chaos is a log itself. Each write under a lock appends one entry, "fence client
sequence kind", to its list, and counts it; so what was in Redis in which order is all there to
see. Beside that each client notes in a file of its own what it was told:

    got     key fence mode asked told length    it has the lock (times on the clock of the machine;
                                                how long the list was in the document it got)
    try     key fence sequence kind             a write, before it is sent
    ack     sequence                            it was answered
    refused sequence code                       LOCK_LOST, UNAVAILABLE, ...
    open    sequence                            UNKNOWN_OUTCOME, NOT_DURABLE; so is a try without any answer
    lost    fence                               a notification
    wrong   text                                the client itself saw what cannot be
    end                                         it ended because it was asked to
"""

import json
import os
import random
import signal
import time

from models import atomic, field
from rpc_client import Client, Closed, RpcError

LOG = atomic("Log", field("entries", "list<str>"), field("count", "int", default=0),
             field("x", "int", default=0), field("x_by", "str", default=""))
ACTION = "write"
OPEN = ("UNKNOWN_OUTCOME", "NOT_DURABLE")
CARELESS = ("LOCK_LOST", "UNAVAILABLE", *OPEN)  # what a write may end with in the chaos


class Notes:
    """Each line is in the file before the next thing happens; a killed client loses none."""

    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, *note):
        os.write(self.file, json.dumps(note).encode() + b"\n")

    def close(self):
        os.close(self.file)


def read_notes(path):
    notes = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                notes.append(json.loads(line))
    return notes


class Scribe:
    """One client: sections under locks, and notes of all that it is told."""

    def __init__(self, name, socket, notes):
        self.name = name
        self.notes = Notes(notes)
        self.client = Client(socket)
        self.client.socket.settimeout(45)
        self.sequence = 0

    def close(self):
        self.client.close()
        self.notes.close()

    def wrong(self, text):
        self.notes.add("wrong", text)

    def look_at_notifications(self):
        for method, params in self.client.notifications:
            if method != "lock.lost" or len(params) != 5:
                self.wrong(f"notification {method} {params}")
            self.notes.add("lost", params[0])
        self.client.notifications.clear()

    def acquire(self, key, mode="exclusive", **options):
        """The answer, or None. With the document, what it is worth is checked here."""
        asked = time.monotonic()
        try:
            lock = self.client.call("lock.acquire", key, ACTION, {
                "mode": mode, "document": True, "notify": True, **options})
        except RpcError as error:
            if error.code not in ("LOCK_TIMEOUT", "UNAVAILABLE", "LOCK_LOST", "NOT_DURABLE"):
                self.wrong(f"acquire: {error}")
            return None
        document = lock["document"]
        lock["key"] = key
        self.notes.add("got", key, lock["fence"], mode, asked, time.monotonic(), len(document["entries"]))
        self.check_document(key, document)
        return lock

    def check_document(self, key, document):
        if document["count"] != len(document["entries"]):
            self.wrong(f"{key}: {len(document['entries'])} entries, counted {document['count']}")

    def write(self, lock, x=None, last=False, keep=False):
        """Sends a write under the lock. x: what x shall be, where it was read before. last: with
        the release of the lock. Returns what finish() takes."""
        self.sequence += 1
        kind = "plain" if x is None else "counted"
        self.notes.add("try", lock["key"], lock["fence"], self.sequence, kind)
        entry = f"{lock['fence']} {self.name} {self.sequence} {kind}"
        operations = [["list.append", lock["key"], "entries", entry], ["num.incr", lock["key"], "count", 1]]
        if x is not None:
            operations.append(["set", lock["key"], "x", x])
        if last:
            request = self.client.send("lock.release", lock["token"], operations)
        else:
            request = self.client.send("pipeline", operations, {"lock": lock["token"]})
        return request, self.sequence

    def finish(self, request, sequence, count=None):
        """Whether the write is there. count: what it must be after it, if known."""
        try:
            result = self.client.wait(request)
        except RpcError as error:
            if error.code in OPEN:
                self.notes.add("open", sequence)
            else:
                self.notes.add("refused", sequence, error.code)
            if error.code not in CARELESS:
                self.wrong(f"write {sequence}: {error}")
            return error.code
        self.notes.add("ack", sequence)
        if result[0] != result[1] or count not in (None, result[1]):
            self.wrong(f"write {sequence}: list {result[0]}, count {result[1]}, expected {count}")
        return None

    def release(self, lock):
        try:
            self.client.call("lock.release", lock["token"])
        except RpcError as error:
            if error.code != "LOCK_LOST":
                self.wrong(f"release: {error}")

    # --- sections --------------------------------------------------------------------------

    def counting(self, lock, chance):
        """Reads x, writes x + 1, some times; the last one may be with the release."""
        document = lock["document"]
        x, count = document["x"], document["count"]
        writes = chance.randrange(1, 5)
        for turn in range(writes):
            if chance.random() < 0.1:
                time.sleep(chance.random() * 0.02)
            last = turn == writes - 1 and chance.random() < 0.5
            refusal = self.finish(*self.write(lock, x + 1, last), count + 1)
            if refusal:
                break
            x, count = x + 1, count + 1
            if last:
                return
        self.release(lock)

    def burst(self, lock, chance):
        """Several writes and the release on the way at once."""
        waiting = [self.write(lock) for _ in range(chance.randrange(1, 6))]
        if chance.random() < 0.5:
            waiting.append(self.write(lock, last=True))
        else:
            request = self.client.send("lock.release", lock["token"])
            waiting.append((request, None))
        refusal = None
        for request, sequence in waiting:
            if sequence is not None:
                refusal = self.finish(request, sequence)
                continue
            try:
                self.client.wait(request)
            except RpcError as error:
                if error.code != "LOCK_LOST":
                    self.wrong(f"release: {error}")
        if refusal and sequence is not None:
            self.release(lock)  # the operations were refused, so the lock may still be held

    def oversleep(self, lock, chance):
        """Holds it for longer than its ttl, and writes all the same."""
        began = time.monotonic()
        while time.monotonic() - began < 0.12:
            time.sleep(0.02)
        if self.finish(*self.write(lock, last=chance.random() < 0.5)) is None:
            self.wrong(f"{lock['key']}: a write under {lock['fence']} was taken after its ttl")
        self.release(lock)

    def renewed(self, lock, chance):
        try:
            self.client.call("lock.renew", lock["token"], 1)
        except RpcError as error:
            if error.code != "LOCK_LOST":
                self.wrong(f"renew: {error}")
        self.counting(lock, chance)

    def shared(self, lock, chance):
        """While it is shared nobody writes."""
        time.sleep(chance.random() * 0.01)
        try:
            document, = self.client.call("lock.release", lock["token"], [["doc.get", lock["key"]]])
        except RpcError as error:
            if error.code not in CARELESS:
                self.wrong(f"shared: {error}")
            self.release(lock)
            return
        if document["entries"] != lock["document"]["entries"]:
            self.wrong(f"{lock['key']} changed under a shared lock: {lock['document']['entries'][-2:]} -> "
                       f"{document['entries'][-2:]}")

    def section(self, keys, chance):
        what = chance.choices(["counting", "burst", "oversleep", "renewed", "shared"], [50, 25, 2, 5, 18])[0]
        options = {"ttl": 0.1 if what == "oversleep" else 0.5, "wait": chance.choice([0, 0.05, 2, 2])}
        lock = self.acquire(chance.choice(keys), "shared" if what == "shared" else "exclusive", **options)
        if lock:
            getattr(self, what)(lock, chance)
        else:
            time.sleep(0.005)
        self.look_at_notifications()


def client(name, socket, notes, keys, seed):
    """The process of a client: until SIGTERM, through all the deaths of its daemon."""
    over = False

    def end(*_):
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    chance = random.Random(seed)
    life = 0
    while not over:
        try:
            # A name of its own for each connection: what was open on the last one stays open.
            scribe = Scribe(f"{name}.{life}", socket, f"{notes}/{name}.{life}")
        except OSError:
            time.sleep(0.02)
            continue
        life += 1
        try:
            while not over:
                scribe.section(keys, chance)
            scribe.notes.add("end")
        except (Closed, BrokenPipeError, ConnectionResetError):
            pass
        except BaseException as error:
            scribe.wrong(f"{type(error).__name__}: {error}")
            raise
        finally:
            scribe.close()


# --- the checker -----------------------------------------------------------------------------


class Entry:
    def __init__(self, text):
        fence, self.client, sequence, self.kind = text.split(" ")
        self.fence, self.sequence = int(fence), int(sequence)


def check(documents, notes):
    """Complaints about what is in Redis: {key: {"entries", "count", "x"}}, beside what the clients
    were told: {client: [[what, ...], ...]}."""
    complaints = []
    entries = {key: [Entry(text) for text in document["entries"]] for key, document in documents.items()}
    for key, document in documents.items():
        complaints += check_list(key, entries[key], document)
    complaints += check_writes(entries, notes)
    complaints += check_grants(entries, notes)
    for client, lines in notes.items():
        complaints += [f"{client} saw: {line[1]}" for line in lines if line[0] == "wrong"]
    return complaints


def check_list(key, entries, document):
    complaints = []
    owner = {}
    for before, after in zip(entries, entries[1:]):
        if after.fence < before.fence:
            complaints.append(f"{key}: the fence goes down: {after.client} wrote under {after.fence} after "
                              f"{before.client} under {before.fence}")
        elif (after.fence, after.client) == (before.fence, before.client) and (
                after.sequence <= before.sequence):
            complaints.append(f"{key}: {after.client} wrote {before.sequence} before {after.sequence}")
    for entry in entries:
        if owner.setdefault(entry.fence, entry.client) != entry.client:
            complaints.append(f"{key}: {entry.fence} is the fence of {owner[entry.fence]} and {entry.client}")
    if document["count"] != len(entries):
        complaints.append(f"{key}: {len(entries)} entries, counted {document['count']}")
    counted = sum(entry.kind == "counted" for entry in entries)
    if document["x"] != counted:
        complaints.append(f"{key}: x is {document['x']} after {counted} times x + 1: an update is lost")
    return complaints


def check_writes(entries, notes):
    """Acknowledged: once. Refused: not there. Open: at most once. Never tried: not there."""
    complaints, there = [], {}
    for key, list_ in entries.items():
        for entry in list_:
            there.setdefault((entry.client, entry.sequence), []).append((key, entry.fence))
    tried = {}
    for client, lines in notes.items():
        fate = {line[1]: line for line in lines if line[0] in ("ack", "refused", "open")}
        for line in lines:
            if line[0] != "try":
                continue
            _, key, fence, sequence, _ = line
            tried[client, sequence] = key, fence
            found = there.get((client, sequence), [])
            told = fate.get(sequence, ["open"])
            if len(found) > 1:
                complaints.append(f"{key}: write {sequence} of {client} is there {len(found)} times")
            elif told[0] == "ack" and not found:
                complaints.append(f"{key}: write {sequence} of {client} was acknowledged and is not there")
            elif told[0] == "refused" and found:
                complaints.append(f"{key}: write {sequence} of {client} under {fence} was refused "
                                  f"({told[2]}) and is there")
    for what, found in there.items():
        if what not in tried:
            complaints.append(f"{found[0][0]}: nobody knows of write {what[1]} of {what[0]}")
        elif any(one != tried[what] for one in found):
            complaints.append(f"write {what[1]} of {what[0]} is at {found}, was sent as {tried[what]}")
    return complaints


class Grant:
    def __init__(self, client, note):
        _, self.key, self.fence, self.mode, self.asked, self.told, self.length = note
        self.client = client


def check_grants(entries, notes):
    complaints, by_key = [], {}
    for client, lines in notes.items():
        for line in lines:
            if line[0] == "got":
                by_key.setdefault(line[1], []).append(Grant(client, line))
    for key, grants in by_key.items():
        complaints += check_fences(key, grants)
        complaints += check_documents(key, grants, entries.get(key, []))
    return complaints


def check_fences(key, grants):
    """A fence is higher than all that were told before it was asked for; only those of shared
    locks, on two hosts, have no order among themselves."""
    complaints, owner = [], {}
    for grant in grants:
        if grant.mode == "exclusive" and owner.setdefault(grant.fence, grant.client) != grant.client:
            complaints.append(f"{key}: {grant.fence} was told to {owner[grant.fence]} and {grant.client}")
    told = sorted(grants, key=lambda grant: grant.told)
    highest = {"exclusive": 0, "shared": 0}
    at = 0
    for grant in sorted(grants, key=lambda grant: grant.asked):
        while at < len(told) and told[at].told < grant.asked:
            highest[told[at].mode] = max(highest[told[at].mode], told[at].fence)
            at += 1
        before = max(highest.values()) if grant.mode == "exclusive" else highest["exclusive"]
        if grant.fence <= before:
            complaints.append(f"{key}: {grant.client} got the fence {grant.fence} after {before} was given")
    return complaints


def check_documents(key, grants, entries):
    """Who acquires sees all that was written under earlier fences, and nothing of its own yet."""
    complaints = []
    fences = [entry.fence for entry in entries]
    highest, at_least = 0, {}
    for length, fence in enumerate(fences, 1):
        highest = max(highest, fence)
        at_least[fence] = length  # entries up to the last one of this fence
    ends = sorted(at_least.items())
    at = earlier = 0
    for grant in sorted(grants, key=lambda grant: grant.fence):
        while at < len(ends) and ends[at][0] < grant.fence:
            earlier = max(earlier, ends[at][1])
            at += 1
        if grant.length < earlier:
            complaints.append(f"{key}: {grant.client} got {grant.fence} and {grant.length} entries, but "
                              f"{earlier} were written under earlier fences")
    first = {}
    for index, entry in enumerate(entries):
        first.setdefault((entry.fence, entry.client), index)
    for grant in grants:
        own = first.get((grant.fence, grant.client))
        if own is not None and grant.length > own:
            complaints.append(f"{key}: {grant.client} saw {grant.length} entries before its first, which "
                              f"is number {own}")
    return complaints
