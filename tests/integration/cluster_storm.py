"""Clients that append texts of their own to lists all over a cluster, and what has to be there at the
end: each that was acknowledged once, each whose outcome or safety is unknown once at most, no other. Every second
document has a partner, with which it shares a tag: what is appended to both is in both, or in neither."""

import threading
import time

from redis_cluster import name_of, slot_of_document
from rpc_client import Closed, RpcError, wait_until

MODEL = {"name": "Log", "kind": "atomic", "fields": [
    {"name": "n", "type": "int", "default": 0}, {"name": "lines", "type": "list<str>"},
    {"name": "last", "type": "str", "default": ""}]}


def document(i):
    return f"Log:{{t{i}}}a" if i % 2 else f"Log:{i}"


def partner(key):
    return key[:-1] + "b" if key.startswith("Log:{") else None


class Tireless(threading.Thread):
    """Writes until it is done, over a connection that is made anew where its daemon may end."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon_process, self.faults, self.done = daemon, [], threading.Event()

    def run(self):
        while not self.done.is_set():
            try:
                with self.daemon_process.connect() as client:
                    while not self.done.is_set():
                        self.write(client)
            except (Closed, OSError) as end:
                if not self.daemon_process.may_end:
                    self.faults.append(end)
                    return
                time.sleep(0.01)
            except Exception as fault:  # told in the test's own thread
                self.faults.append(fault)
                return

    def write(self, client):
        raise NotImplementedError


class Writer(Tireless):
    def __init__(self, daemon, number, keys):
        super().__init__(daemon)
        self.number, self.keys, self.i = number, keys, 0
        self.acknowledged, self.unknown, self.not_durable = {}, {}, {}

    def write(self, client):
        self.i = i = self.i + 1
        key, line = self.keys[i % len(self.keys)], f"{self.number}:{i}"
        both = partner(key) if i % 4 == 1 else None
        keys = [key] + [both] * (both is not None)
        try:
            if both is not None:
                client.call("pipeline", [["list.append", key, "lines", line], ["str.append", key, "last", "."],
                                         ["list.append", both, "lines", line]])
            elif i % 3 == 2:  # computed, so a unit
                client.call("pipeline", [["str.append", key, "last", "."], ["list.append", key, "lines", line]])
            else:
                client.call("list.append", key, "lines", line)
            for done in keys:
                self.acknowledged.setdefault(done, []).append(line)
        except (Closed, OSError):  # killed with it
            for done in keys:
                self.unknown.setdefault(done, []).append(line)
            raise
        except RpcError as refusal:
            code = str(refusal).partition(":")[0]
            if code in ("UNKNOWN_OUTCOME", "NOT_DURABLE"):
                for done in keys:
                    self.unknown.setdefault(done, []).append(line)
                    if code == "NOT_DURABLE":
                        self.not_durable.setdefault(done, []).append(line)
            else:
                assert code in ("UNAVAILABLE", "BUSY"), refusal


class Storm:
    def __init__(self, cluster, daemons, ndocs=30, nwriters=4):
        self.cluster = cluster
        self.keys = [document(i) for i in range(ndocs)]
        self.all = self.keys + [both for both in map(partner, self.keys) if both is not None]
        self.daemons = daemons
        with daemons[0].connect() as client:
            client.call("define", MODEL)
            for key in self.all:
                client.call("doc.save", key, {"lines": []})
        for daemon in daemons[1:]:
            with daemon.connect() as client:
                client.call("define", MODEL)
        self.writers = [Writer(daemons[i % len(daemons)], i, self.keys[i % 3:] + self.keys[:i % 3])
                        for i in range(nwriters)]
        for writer in self.writers:
            writer.start()

    def acknowledged(self):
        return sum(len(lines) for writer in self.writers for lines in list(writer.acknowledged.values()))

    def of_each(self):
        """How often each document was written, as far as is known."""
        assert not [fault for writer in self.writers for fault in writer.faults]
        return {key: sum(len(said.get(key, [])) for writer in self.writers
                         for said in (writer.acknowledged, writer.not_durable)) for key in self.all}

    def goes_on(self, what):
        """With every document, whatever happened."""
        before = self.of_each()
        wait_until(lambda: all(n > before[key] for key, n in self.of_each().items()), timeout=60,
                   what=f"commits to all documents after {what}")

    def stop(self):
        for writer in self.writers:
            writer.done.set()
        for writer in self.writers:
            writer.join()
        for writer in self.writers:
            assert not writer.faults, writer.faults

    def stored(self, key):
        with self.cluster.agreed_owner(slot_of_document(key)).client() as at_node:
            return [line.decode() for line in at_node.lrange(f"{name_of(key)}/lines", 0, -1)]

    def judge(self):
        """What is wrong: [(key, line, how often it is there, whether it was acknowledged), ...]; of one that
        its partner has otherwise the last is "half"."""
        stored = {key: self.stored(key) for key in self.all}
        wrong = []
        for daemon in self.daemons:
            with daemon.connect() as client:
                wrong += [(key, daemon.directory, "says otherwise", None) for key in self.all
                          if client.call("doc.get", key, {"fresh": True})["lines"] != stored[key]]
        for key in self.all:
            known = set()
            for writer in self.writers:
                for line in writer.acknowledged.get(key, []):
                    known.add(line)
                    if stored[key].count(line) != 1:
                        wrong.append((key, line, stored[key].count(line), True))
                for line in writer.unknown.get(key, []):
                    known.add(line)
                    if stored[key].count(line) > 1:
                        wrong.append((key, line, stored[key].count(line), False))
                    if key not in self.keys and stored[key].count(line) != stored[key[:-1] + "a"].count(line):
                        wrong.append((key, line, stored[key].count(line), "half"))
            wrong += [(key, line, 1, None) for line in stored[key] if line not in known]
        return wrong

    def told(self):
        with self.daemons[0].connect() as client:
            stats = client.call("admin.stats")
        return {**stats, "unknown": sum(len(lines) for w in self.writers for lines in w.unknown.values())}
