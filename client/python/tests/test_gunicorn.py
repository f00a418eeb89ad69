"""8 gunicorn workers with --preload on shared carts: nothing is lost or mixed up, also when workers are
killed."""

import http.client
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading

import pytest
from redis_server import free_port
from rpc_client import Client, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS, REQUESTS, KILLS = 8, 60, 6


def ask(port, cart, item):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/?cart={cart}&item={item}")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def server(daemon, workdir):
    port = free_port()
    log = pathlib.Path(workdir, "gunicorn.log")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--preload", "--workers", "8", "--bind", f"127.0.0.1:{port}",
         "--chdir", HERE, "--timeout", "60", "shop:application"],
        stdout=log.open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip

    def answers():
        assert process.poll() is None, log.read_text()
        try:
            return ask(port, 0, "warm")[0] == 200
        except OSError:
            return False

    wait_until(answers, timeout=60)
    yield port
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def test_workers_that_are_killed_lose_nothing(daemon, server):
    told, doubtful, killed = [], [], []
    workers = set()
    stop = threading.Event()

    def client(seed):
        chance = random.Random(seed)
        for _ in range(REQUESTS):
            cart, item = chance.randrange(4), chance.choice("abc")
            try:
                status, body = ask(server, cart, item)
            except (OSError, http.client.HTTPException):
                doubtful.append((cart, item))  # its worker was killed
            else:
                assert status == 200, body
                told.append((cart, item))
                workers.add(int(body))

    def alive():
        """What a worker that was killed said before may come in late."""
        return workers.difference(killed)

    def killer():
        chance = random.Random(7)
        for _ in range(KILLS):
            before = len(told)
            wait_until(lambda before=before: len(told) > before + 20 or stop.is_set(), timeout=60)
            if stop.is_set():
                return
            killed.append(chance.choice(sorted(alive())))
            os.kill(killed[-1], signal.SIGKILL)
            workers.clear()
            wait_until(lambda: alive() or stop.is_set(), timeout=60)

    with Client(daemon.socket) as rpc:
        warm = rpc.call("doc.get", "Visits:all")["n"]
        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(CLIENTS)]
        kills = threading.Thread(target=killer)
        for thread in (*threads, kills):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        kills.join()
        assert len(told) + len(doubtful) == CLIENTS * REQUESTS and len(told) > CLIENTS * REQUESTS // 2
        assert len(killed) == KILLS
        visits = rpc.call("doc.get", "Visits:all")["n"] - warm
        assert len(told) <= visits <= len(told) + len(doubtful)
        for number in range(4):
            cart = rpc.call("doc.get", f"Cart:{number}")
            warmed = cart["items"].pop("warm", 0)
            acknowledged = sum(1 for c, _ in told if c == number)
            maybe = sum(1 for c, _ in doubtful if c == number)
            total = sum(cart["items"].values())
            assert acknowledged <= total <= acknowledged + maybe
            for item in "abc":
                sure = told.count((number, item))
                assert sure <= cart["items"].get(item, 0) <= sure + doubtful.count((number, item))
            # Both were saved with the release, in one commit.
            assert cart["owner"] == str(number) and cart["total"] == total + warmed
        wait_until(lambda: not any(lock["holders"] for lock in rpc.call("admin.locks")))
