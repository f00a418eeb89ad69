"""What the tests of the locks have in common: short names for the calls, a look at who holds and
who waits, and a client in a process of its own that can be killed and stopped."""

import json
import os
import signal
import subprocess
import sys

from models import KEY
from rpc_client import Client, RpcError, wait_until

ACTION = "edit"


def acquire(client, key=KEY, action=ACTION, **options):
    return client.call("lock.acquire", key, action, options)


def ask(client, key=KEY, action=ACTION, **options):
    """Asks for a lock without waiting for the answer: its id goes to client.wait()."""
    return client.send("lock.acquire", key, action, options)


def release(client, lock, *more):
    return client.call("lock.release", lock["token"], *more)


def is_free(client, key=KEY, action=ACTION, **options):
    """Whether this client can have the lock at once; it gives it back."""
    try:
        lock = acquire(client, key, action, wait=0, **options)
    except RpcError as error:
        assert error.code == "LOCK_TIMEOUT", error
        return False
    release(client, lock)
    return True


def look(client, key=KEY, path="", action=ACTION):
    """The lock as admin.locks shows it; one that nobody holds may not be there."""
    for lock in client.call("admin.locks", {"key": key}):
        if (lock["path"], lock["action"]) == (path, action):
            return lock
    return {"holders": [], "waiters": []}


def await_waiters(client, n, **name):
    wait_until(lambda: len(look(client, **name)["waiters"]) == n, what=f"{n} waiters")


def await_lost(client):
    """What the next lock.lost says: token, key, path, action, reason."""
    wait_until(lambda: client.call("hello") and client.notifications, what="a notification")
    method, params = client.notifications.pop(0)
    assert method == "lock.lost"
    return params


def await_link(client, up=True):
    wait_until(lambda: (client.call("admin.stats")["redis"] == "up") == up,
               what="the link" if up else "the loss of the link")


def holds_no_locks(client):
    return all(not lock["holders"] and not lock["waiters"] for lock in client.call("admin.locks"))


def commands(rdb):
    """How often Redis was asked for what."""
    return {name: stat["calls"] for name, stat in rdb.info("commandstats").items()
            if name != "cmdstat_info"}


class Puppet:
    """A client in a process of its own."""

    def __init__(self, daemon):
        # Not a fork: that would keep the connections of this process open.
        self.process = subprocess.Popen([sys.executable, __file__, daemon.socket], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def start(self, method, *params):
        self.process.stdin.write(json.dumps([method, *params]) + "\n")
        self.process.stdin.flush()

    def finish(self):
        line = self.process.stdout.readline()
        assert line, "the puppet ended"
        error, result = json.loads(line)
        if error is not None:
            raise RpcError(error)
        return result

    def call(self, method, *params):
        self.start(method, *params)
        return self.finish()

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()


def dance(socket):
    with Client(socket) as client:
        for line in sys.stdin:
            try:
                answer = [None, client.call(*json.loads(line))]
            except RpcError as error:
                answer = [error.error, None]
            os.write(1, json.dumps(answer, default=repr).encode() + b"\n")


if __name__ == "__main__":
    dance(sys.argv[1])
