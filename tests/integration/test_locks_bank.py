"""A bank: many processes move money between few accounts, each under the locks of both, taken in
any order. Deadlocks happen all the time, are told at once, and no money is lost or made."""

import json
import os
import random
import time

import pytest

from lock_clients import holds_no_locks
from lock_crowd import Crowd
from models import atomic, field
from rpc_client import Client, RpcError, wait_until

pytestmark = pytest.mark.exact

FULL = bool(os.environ.get("RAPYER_FULL"))
ACCOUNTS, PROCESSES = 20, 32
START = 1000
TRANSFERS = 60_000 if FULL else 3000  # of all processes
PATIENCE = 10  # seconds; nobody waits longer for a lock. A deadlock that is not told lasts for ever.
ACCOUNT = atomic("Account", field("balance", "int"), field("moves", "int", default=0),
                 field("last", "str", default=""))


class Customer:
    def __init__(self, client, number):
        self.client = client
        self.chance = random.Random(number)
        self.number = number
        self.tally = {"moved": [0] * ACCOUNTS, "moves": [0] * ACCOUNTS, "deadlocks": 0, "transfers": 0,
                      "many": 0, "longest": 0.0}

    def acquire(self, method, *params):
        began = time.monotonic()
        try:
            return self.client.call(method, *params)
        finally:
            self.tally["longest"] = max(self.tally["longest"], time.monotonic() - began)

    def locks(self, one, other):
        """Both, in this order; tries again until there was no deadlock."""
        while True:
            first = self.acquire("lock.acquire", f"Account:{one}", "move", {"document": True})
            try:
                return first, self.acquire("lock.acquire", f"Account:{other}", "move", {"document": True})
            except RpcError as error:
                if error.code != "DEADLOCK":
                    raise
                assert "Account:" in error.text, error
                self.tally["deadlocks"] += 1
                self.client.call("lock.release", first["token"])
                time.sleep(self.chance.random() * 0.003)

    def many(self, one, other):
        """Both at once. Two such calls make no circle, but one with a customer who takes them one
        by one may; then it got neither."""
        while True:
            self.tally["many"] += 1
            try:
                return self.acquire("lock.acquire_many", [
                    [f"Account:{one}", "move"], [f"Account:{other}", "move"]], {"document": True})
            except RpcError as error:
                if error.code != "DEADLOCK":
                    raise
                self.tally["deadlocks"] += 1
                time.sleep(self.chance.random() * 0.003)

    def transfer(self):
        one, other = self.chance.sample(range(ACCOUNTS), 2)
        amount = self.chance.randrange(1, 50)
        locks = self.many(one, other) if self.chance.random() < 0.25 else self.locks(one, other)
        tokens = [lock["token"] for lock in locks]
        balances = [lock["document"]["balance"] for lock in locks]
        assert locks[0]["document"]["@pk"] == str(one)
        if balances[0] < amount:
            assert self.client.call("lock.release", tokens) == []
            return
        # What was read is written: an update in between would be lost, and money with it.
        operations = [["set", f"Account:{one}", "balance", balances[0] - amount],
                      ["set", f"Account:{other}", "balance", balances[1] + amount],
                      ["num.incr", f"Account:{one}", "moves", 1], ["num.incr", f"Account:{other}", "moves", 1],
                      ["set", f"Account:{other}", "last", str(self.number)]]
        if self.chance.random() < 0.5:
            self.client.call("pipeline", operations, {"lock": tokens})
            self.client.call("lock.release", tokens)
        else:
            self.client.call("lock.release", tokens, operations)
        self.tally["moved"][one] -= amount
        self.tally["moved"][other] += amount
        self.tally["moves"][one] += 1
        self.tally["moves"][other] += 1
        self.tally["transfers"] += 1


def work(socket, directory, number):
    with Client(socket) as client:
        client.socket.settimeout(PATIENCE * 2)
        customer = Customer(client, number)
        for _ in range(TRANSFERS // PROCESSES):
            customer.transfer()
    with open(f"{directory}/{number}.json", "w", encoding="utf-8") as file:
        json.dump(customer.tally, file)


def total(rdb):
    """All balances at one moment."""
    with rdb.pipeline() as pipe:
        for n in range(ACCOUNTS):
            pipe.hget(f"rapyer:{{Account:{n}}}", "balance")
        balances = [int(balance) for balance in pipe.execute()]
    assert min(balances) >= 0
    return sum(balances)


@pytest.mark.parametrize("hosts", [1, 2])
def test_bank(redis_server, new_daemon, workdir, rdb, hosts):
    # Hosts hand a lock to each other more often than they would, so that circles span both.
    daemons = [new_daemon(redis_server.address, {"locks.lock_turns": 4}) for _ in range(hosts)]
    clients = [daemon.connect() for daemon in daemons]
    for client in clients:
        client.call("define", ACCOUNT)
    clients[0].call("doc.insert", [[f"Account:{n}", {"balance": START}] for n in range(ACCOUNTS)])
    crowd = Crowd(workdir + "/crowd.log")
    longest = 0.0
    try:
        for number in range(PROCESSES):
            crowd.start("test_locks_bank", "work", daemons[number % hosts].socket, workdir, number)

        def over():
            nonlocal longest
            assert total(rdb) == ACCOUNTS * START
            for client in clients:
                for lock in client.call("admin.locks"):
                    for waiter in lock["waiters"]:
                        longest = max(longest, waiter["age"])
                        assert waiter["age"] < PATIENCE, f"nobody ends this wait: {lock}"
            crowd.reap()
            time.sleep(0.05)  # looks now and then; the clients shall have the processors
            return not crowd.pids
        wait_until(over, 600 if FULL else 60, "the end of all transfers")
    finally:
        crowd.stop()
    with open(crowd.log, encoding="utf-8") as log:
        assert set(crowd.codes.values()) == {0}, log.read()
    tallies = []
    for number in range(PROCESSES):
        with open(f"{workdir}/{number}.json", encoding="utf-8") as file:
            tallies.append(json.load(file))
    print({what: sum(tally[what] for tally in tallies) for what in ("transfers", "many", "deadlocks")},
          f"longest wait {max(tally['longest'] for tally in tallies):.2f} s")
    assert max(tally["longest"] for tally in tallies) < PATIENCE
    assert sum(tally["deadlocks"] for tally in tallies) > 0, "there was no deadlock"
    assert sum(tally["transfers"] for tally in tallies) > TRANSFERS / 2
    assert sum(tally["many"] for tally in tallies) > 0
    for n in range(ACCOUNTS):
        document = clients[0].call("doc.get", f"Account:{n}", {"fresh": True})
        assert document["balance"] == START + sum(tally["moved"][n] for tally in tallies)
        assert document["moves"] == sum(tally["moves"][n] for tally in tallies)
    assert total(rdb) == ACCOUNTS * START
    for client in clients:
        assert holds_no_locks(client)
        client.close()
