"""The peer of the locks: redis-py's Lock, which asks Redis again every 100 ms."""

import multiprocessing
import os
import random
import statistics
import time

import redis

INTERVAL = 0.1  # between two tries; the default of redis-py


class Turns:
    """What the processes share. All but `asking` belongs to whoever holds the lock."""

    def __init__(self, processes):
        self.asking = multiprocessing.Array("b", processes, lock=False)
        self.last = multiprocessing.Value("q", -1, lock=False)  # who had it last
        self.released = multiprocessing.Value("q", 0, lock=False)
        self.taken = multiprocessing.Value("q", 0, lock=False)
        self.start = multiprocessing.Event()
        self.samples = multiprocessing.SimpleQueue()


def take_turns(socket, number, total, turns):
    os.sched_setaffinity(0, {0})
    rng = random.Random(number)
    with redis.Redis(unix_socket_path=socket) as rdb:
        lock = rdb.lock("bench:lock")
        turns.start.wait()
        while True:
            # It has no queue: whoever releases might well have it again.
            while turns.last.value == number and turns.taken.value < total:
                time.sleep(0.001)
            # So that the tries of the processes fall anywhere in the interval, as does a release.
            time.sleep(rng.random() * INTERVAL)
            turns.asking[number] = True
            lock.acquire()
            granted = time.monotonic_ns()
            turns.asking[number] = False
            if turns.taken.value == total:
                lock.release()
                return
            if turns.last.value >= 0:
                turns.samples.put((granted - turns.released.value) / 1000)
                turns.taken.value += 1
            turns.last.value = number
            while sum(turns.asking) < len(turns.asking) - 1 and turns.taken.value < total:
                time.sleep(0.001)
            time.sleep(rng.random() * INTERVAL)
            turns.released.value = time.monotonic_ns()
            lock.release()


def hand_over(socket, processes, total):
    """Median microseconds from one's release to the next one's acquire, all others waiting."""
    turns = Turns(processes)
    workers = [multiprocessing.Process(target=take_turns, args=(socket, number, total, turns),
                                       daemon=True) for number in range(processes)]
    for worker in workers:
        worker.start()
    turns.start.set()
    samples = [turns.samples.get() for _ in range(total)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return statistics.median(samples)


def uncontended(socket, pairs):
    with redis.Redis(unix_socket_path=socket) as rdb:
        lock = rdb.lock("bench:lock")
        for _ in range(pairs):
            lock.acquire()
            lock.release()
