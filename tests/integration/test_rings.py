"""Clients that talk through a ring: the same answers as through the socket, whatever is sent and
whoever dies, and nothing that a client does to the memory and the bells harms anybody else."""

import ctypes
import fcntl
import mmap
import multiprocessing
import os
import random
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import msgpack
import pytest

from daemon_process import built
from lock_clients import acquire, is_free
from models import ADA, KEY, save_ada
from ring_client import (MINE, MODULUS, ONCE_MORE, PUT, SLEEP, TAKEN, WANTS_BYTES, RingClient,
                         frame)
from rpc_client import Client, Closed, RpcError, wait_until
from test_examples import program
from test_protocol_md import BLOCKS, Teller
from wire_examples import decode, same

KIB, MIB = 1 << 10, 1 << 20
LIMIT_OUTPUT = 4 * MIB
SYS_USERFAULTFD = 323 if os.uname().machine == "x86_64" else 282
UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00


@pytest.fixture
def settings(request):
    return getattr(request, "param", {})


def with_settings(**limits):
    limits = {f"limits.{name}": value for name, value in limits.items()}
    return pytest.mark.parametrize("settings", [limits], indirect=True, ids=[""])


@pytest.fixture
def daemon(redis_server, new_daemon, settings):
    return new_daemon(redis_server.address, settings)


@pytest.fixture
def ring(daemon, ada):
    with RingClient(daemon.socket) as client:
        yield client


def descriptors(daemon):
    return sorted(os.readlink(f"/proc/{daemon.pid}/fd/{fd}").split(":")[0].split("/")[-1]
                  for fd in os.listdir(f"/proc/{daemon.pid}/fd"))


@pytest.fixture
def unharmed(ada, daemon):
    """After the test: rapyerd has closed what it had opened for others, and serves on as before."""
    before, document = descriptors(daemon), ada.call("doc.get", KEY)
    yield ada
    wait_until(lambda: len(ada.call("admin.clients")) == 1, what="the others' end")
    wait_until(lambda: descriptors(daemon) == before, what="the closing of what they had")
    with RingClient(daemon.socket) as other:
        for client in (ada, other):
            assert client.call("doc.get", KEY) == document
        assert [c["ring"] for c in ada.call("admin.clients")].count(True) == 1


def rings(client):
    return sum(c["ring"] for c in client.call("admin.clients"))


def complaints(daemon):
    """What the log says of clients, from notice on."""
    return re.findall(r"client \d+ \(.*?\): (.*)", daemon.log())


def code_of(client, method, *params):
    with pytest.raises(RpcError) as caught:
        client.call(method, *params)
    return caught.value.code


# --- the same as through the socket ------------------------------------------------------------


def test_rapyerd_answers_through_a_ring_as_the_protocol_shows(daemon):
    shown, told = Teller(), Teller()
    for exact, messages in BLOCKS:
        if not exact or any('.open"' in (m.notation or "") for m in messages):  # what the socket is for
            continue
        with RingClient(daemon.socket) as client:
            client.unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, timestamp=0)
            for message in messages:
                if message.sent:
                    client.send_raw(message.data)
                    request = message.notation and decode(message.data)
                    continue
                answer = client.read_message()
                assert same(told.tell(request, answer),
                            shown.tell(request, decode(message.data))), (message, answer)


@pytest.mark.parametrize("settings", [{"limits.ring_size": size} for size in ("4K", "64K")],
                         indirect=True, ids=["4K", "64K"])
def test_messages_may_be_much_larger_than_the_ring(ring, ada):
    for size in (4095, 4096, 65536, 3 * MIB):
        blob = random.Random(size).randbytes(size)
        ring.call("set", KEY, "blob", blob)
        assert ada.call("doc.load", KEY, "blob") == blob
        assert ring.call("doc.load", KEY, "blob") == blob


@with_settings(ring_size="4K")
def test_thousands_of_requests_on_the_way_beside_those_of_another(ring, ada, daemon):
    with RingClient(daemon.socket) as other:
        clients = (ring, other, ada)
        sent = [(client, client.send("num.incr", KEY, "age", 1))
                for _ in range(1000) for client in clients]
        seen = {client: [] for client in clients}
        for client, request in sent:
            seen[client].append(client.wait(request))
    for numbers in seen.values():
        assert numbers == sorted(numbers)
    assert sorted(sum(seen.values(), [])) == list(range(ADA["age"] + 1, ADA["age"] + 3001))


def test_answers_to_what_was_sent_before_come_through_the_ring(daemon, ada, redis_server):
    with RingClient(daemon.socket, ring=False) as client:
        redis_server.pause()
        try:
            early = client.send("num.incr", KEY, "age", 1)
            client.open_ring()
            late = client.send("num.incr", KEY, "age", 1)
            assert early not in client.answers
        finally:
            redis_server.resume()
        assert (client.wait(early), client.wait(late)) == (ADA["age"] + 1, ADA["age"] + 2)


def test_a_lock_over_a_ring_is_lost_with_its_client(ring, ada):
    acquire(ring)
    assert not is_free(ada)
    ring.close()
    wait_until(lambda: is_free(ada), what="the lock's release")


# --- asking for one ----------------------------------------------------------------------------


def test_a_second_ring_is_refused_and_the_first_goes_on(ring, ada):
    assert code_of(ring, "ring.open") == "BAD_REQUEST"
    assert ring.call("doc.get", KEY) == ada.call("doc.get", KEY)
    assert rings(ring) == 1


def test_parameters_are_refused_and_a_notification_does_nothing(unharmed, daemon):
    with daemon.connect() as client:
        assert code_of(client, "ring.open", 65536) == "BAD_REQUEST"
        client.notify("ring.open")
        assert client.call("doc.exists", KEY) and rings(client) == 0


@with_settings(max_rings=0)
def test_without_rings_clients_stay_with_their_socket(ada):
    assert code_of(ada, "ring.open") == "BUSY"
    assert ada.call("doc.exists", KEY)


@with_settings(max_rings=2)
def test_one_ring_too_many_is_refused_until_another_goes(daemon, ada):
    first, second, third = (RingClient(daemon.socket, ring=False) for _ in range(3))
    with second, third:
        first.open_ring()
        second.open_ring()
        assert code_of(third, "ring.open") == "BUSY"
        assert third.call("doc.exists", KEY)
        first.close()
        wait_until(lambda: rings(ada) == 1, what="the first ring's end")
        third.open_ring()
        assert third.call("doc.exists", KEY) and rings(ada) == 2


def test_answers_are_to_be_read_before_a_ring_is_asked_for(unharmed, daemon):
    with RingClient(daemon.socket, ring=False) as client:
        unharmed.call("set", KEY, "bio", "x" * (200 * KIB))
        loads = [client.send("doc.load", KEY, "bio") for _ in range(3)]  # with more it is not read from

        def congested():
            return next((c for c in unharmed.call("admin.clients") if c["unsent"] > 300 * KIB), None)

        before = wait_until(congested, what="answers that the socket does not take")["requests"]
        asked = client.send("ring.open")
        wait_until(lambda: congested()["requests"] > before, what="a daemon that has looked at it")
        with pytest.raises(RpcError, match="^BUSY: "):
            client.wait(asked)
        for load in loads:
            client.wait(load)
        client.open_ring()
        assert len(client.call("doc.load", KEY, "bio")) == 200 * KIB
    unharmed.call("set", KEY, "bio", ADA["bio"])


# --- clients that break the rules --------------------------------------------------------------


IMPOSSIBLE = {
    "more put than there is room": (PUT, lambda size: size + 1),
    "put goes back": (PUT, lambda size: -1),
    "put is far ahead": (PUT, lambda size: MODULUS // 2),
    "more taken than was put": (TAKEN, lambda size: 1),
    "taken is far behind": (TAKEN, lambda size: -size - 1),
}


@pytest.mark.parametrize("line,step", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_impossible_counts_end_the_connection(unharmed, daemon, line, step):
    with RingClient(daemon.socket) as bad:
        assert bad.call("doc.exists", KEY)
        bad.write(MINE + line, bad.number(MINE + line) + step(bad.size))
        if line == TAKEN:  # is looked at when there is an answer
            bad.put_some(frame(9, "hello"))
        bad.ring_bell()
        assert bad.socket.recv(1) == b""
    assert complaints(daemon) == ["broke the rules of its ring"]


@pytest.mark.parametrize("when", ["in the same write", "later", "while it is paused"])
def test_bytes_on_the_socket_beside_a_ring_end_the_connection(unharmed, daemon, when):
    client = RingClient(daemon.socket, ring=when != "in the same write")
    with client:
        if when == "in the same write":
            client.send_raw(frame(1, "ring.open") + frame(2, "hello"))
        else:
            if when == "while it is paused":
                fill_output(client, unharmed)
            client.socket.sendall(frame(2, "hello"))
            unharmed.call("set", KEY, "bio", ADA["bio"])
        with pytest.raises(Closed):
            while True:
                Client.read_message(client)
    assert len(complaints(daemon)) == 1 and "ring" in complaints(daemon)[0]


def scribble(path, until):
    """Requests in a ring whose bytes change all the time."""
    client = RingClient(path)
    junk = random.Random(1)
    request = frame(1, "doc.load", KEY, "bio")
    while time.monotonic() < until:
        try:
            client.put_some(request * 8)
            client.ring_bell()
            for _ in range(20):
                client.memory[4096 + junk.randrange(client.size)] = junk.randrange(256)
            client.take_some()
            if client.sleep(0):
                raise Closed
        except (Closed, OSError):
            client.close()
            client = RingClient(path)


def test_bytes_that_change_while_they_are_read_harm_nobody(unharmed, daemon):
    workers = [multiprocessing.Process(target=scribble, args=(daemon.socket, time.monotonic() + 1))
               for _ in range(2)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        assert unharmed.call("doc.exists", KEY)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def test_a_bell_that_rings_without_end_leaves_the_others_their_turn(unharmed, daemon):
    with RingClient(daemon.socket) as noisy:
        stop = time.monotonic() + 0.5
        slowest = 0
        while time.monotonic() < stop:
            for _ in range(1000):
                noisy.ring_bell()
            begin = time.monotonic()
            assert unharmed.call("doc.exists", KEY)
            slowest = max(slowest, time.monotonic() - begin)
        assert slowest < 1
    assert not complaints(daemon)


def fill_output(client, bystander, size=MIB // 4, total=3 * MIB // 2):
    """Has it ask for so many bytes that it does not take: rapyerd reads no more of it."""
    bystander.call("set", KEY, "bio", "x" * size)
    for request in range(total // size):
        client.put_some(frame(request, "doc.load", KEY, "bio"))
    client.ring_bell()
    wait_until(lambda: any(c["paused"] for c in bystander.call("admin.clients")), what="the pause")


@with_settings(client_output=str(LIMIT_OUTPUT), max_value="2M")
def test_a_client_that_takes_no_answers_is_closed_at_the_limit(ada, daemon, redis_server):
    """Its requests wait for a write, so that all answers come at once."""
    ada.call("set", KEY, "bio", "x" * (MIB // 2))
    memory = daemon.memory()
    with RingClient(daemon.socket) as deaf, RingClient(daemon.socket) as other:
        redis_server.pause()
        try:
            write = ada.send("set", KEY, "age", 1)
            ada.call("hello")
            for request in range(20):
                deaf.put_some(frame(request, "doc.load", KEY, "bio"))
            deaf.ring_bell()
            wait_until(lambda: max(c["waiting"] for c in other.call("admin.clients")) == 20,
                       what="the requests' arrival")
        finally:
            redis_server.resume()
        ada.wait(write)
        assert deaf.socket.recv(1) == b""
        assert other.call("doc.exists", KEY)
        assert daemon.memory() - memory < 64 * MIB
    assert len(complaints(daemon)) == 1 and "limits.client_output" in complaints(daemon)[0]


@pytest.mark.parametrize("end", ["closes", "half-closes, then closes", "is killed"])
def test_a_client_that_goes_without_taking_its_answers_is_forgotten(unharmed, daemon, end):
    def gone_wrong(path, ready, go):
        with RingClient(path) as client:
            acquire(client)
            for request in range(6):
                client.put_some(frame(request, "doc.load", KEY, "bio"))
            client.ring_bell()
            ready.set()
            go.wait()

    unharmed.call("set", KEY, "bio", "x" * (MIB // 4))
    ready, go = multiprocessing.Event(), multiprocessing.Event()
    if end == "is killed":
        worker = multiprocessing.Process(target=gone_wrong, args=(daemon.socket, ready, go))
        worker.start()
        ready.wait()
    else:
        client = RingClient(daemon.socket)
        acquire(client)
        fill_output(client, unharmed)
    wait_until(lambda: any(c["paused"] for c in unharmed.call("admin.clients")), what="the pause")
    assert not is_free(unharmed)
    if end == "is killed":
        worker.kill()
        worker.join()
    else:
        if end != "closes":
            client.socket.shutdown(socket.SHUT_WR)
            unharmed.call("hello")
        client.close()
    wait_until(lambda: is_free(unharmed), timeout=5, what="the lock's release")
    unharmed.call("set", KEY, "bio", ADA["bio"])
    assert not complaints(daemon)


def have_it_ring(client, request=1):
    """Something for it to answer while the client seems to sleep."""
    client.sleeps += ONCE_MORE
    client.write(MINE + SLEEP, client.sleeps + WANTS_BYTES)
    client.put_some(frame(request, "doc.exists", KEY))
    client.ring_bell()


def test_the_daemon_is_not_blocked_by_full_bells_that_block(unharmed, daemon):
    with RingClient(daemon.socket) as bad:
        for descriptor in (bad.daemon_bell, bad.bell):
            fcntl.fcntl(descriptor, fcntl.F_SETFL, 0)
        for request in range(1000):  # more than the bell holds
            have_it_ring(bad, request)
            assert unharmed.call("doc.exists", KEY)
            bad.take_some()
    assert not complaints(daemon)


def never_there(size):
    """Memory whose pages nobody provides: to touch it is to wait. Its address, and what to close."""
    libc = ctypes.CDLL(None, use_errno=True)
    faults = libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC)
    if faults < 0:  # for the administrator alone, by default
        return None, None
    fcntl.ioctl(faults, UFFDIO_API, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)))
    memory = mmap.mmap(-1, size)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(faults, UFFDIO_REGISTER, bytearray(struct.pack("=QQQQ", address, size, 1, 0)))
    return address, faults


def test_the_daemon_does_not_wait_for_a_client_that_reads_its_bell_for_ever(unharmed, daemon):
    """As it would with a pipe, of which one reads or writes at a time."""
    with RingClient(daemon.socket) as bad:
        assert stat.S_ISSOCK(os.fstat(bad.bell).st_mode)
        address, faults = never_there(mmap.PAGESIZE)
        if address:
            have_it_ring(bad)
            select.select([bad.bell], [], [])
            reader = threading.Thread(target=ctypes.CDLL(None).read, args=(
                bad.bell, ctypes.c_void_p(address), 1), daemon=True)
            reader.start()
            for request in range(100):
                have_it_ring(bad, request)
                assert unharmed.call("doc.exists", KEY)
            os.close(faults)
            reader.join()
    assert not complaints(daemon)


def test_a_client_may_close_its_bells_and_go_on(unharmed, daemon):
    with RingClient(daemon.socket) as client:
        os.close(client.bell)
        client.bell = os.dup(client.daemon_bell)
        client.put_some(frame(1, "doc.exists", KEY))
        client.write(MINE + SLEEP, 8 + 1)
        client.ring_bell()
        wait_until(client.take_some, what="the answer")
    assert not complaints(daemon)


def punch_hole(fd, size):
    keep_size, hole = 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if libc.fallocate(fd, keep_size | hole, 0, size) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def test_the_memory_cannot_be_taken_from_under_the_daemon(unharmed, daemon):
    with RingClient(daemon.socket) as bad:
        for size in (0, 4096, 1 << 30):
            with pytest.raises(OSError):
                os.ftruncate(bad.memory_fd, size)
        with pytest.raises(OSError):
            fcntl.fcntl(bad.memory_fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        assert bad.call("doc.exists", KEY)
        punch_hole(bad.memory_fd, os.fstat(bad.memory_fd).st_size)  # all counts are 0 now
        bad.put = bad.taken = 0
        bad.write(MINE + PUT, 0)
        bad.ring_bell()
        assert unharmed.call("doc.exists", KEY)


# --- ends --------------------------------------------------------------------------------------


def write_and(end, path, ready, count):
    client = RingClient(path)
    for request in range(count):
        data = frame(request, "num.incr", KEY, "age", 1)
        while not client.put_some(data):
            time.sleep(0)
    client.ring_bell()
    if end == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    client.close()
    ready.set()


@pytest.mark.parametrize("end", ["is killed", "closes its socket"])
def test_what_was_put_before_the_end_counts(ada, daemon, end):
    """All is put in one go, the end comes at once behind it, and the bell rings or not."""
    rounds, count = 20, 500
    for _ in range(rounds):
        worker = multiprocessing.Process(target=write_and, args=(
            end, daemon.socket, multiprocessing.Event(), count))
        worker.start()
        worker.join()
    wait_until(lambda: len(ada.call("admin.clients")) == 1, what="the others' end")
    assert ada.call("doc.load", KEY, "age") == ADA["age"] + rounds * count


@with_settings(ring_size="4K")
def test_half_a_request_at_the_end_is_none(ada, daemon):
    with RingClient(daemon.socket) as client:
        client.put_some(frame(1, "set", KEY, "age", 1)[:-1])
        client.ring_bell()
    wait_until(lambda: len(ada.call("admin.clients")) == 1, what="the other's end")
    assert ada.call("doc.load", KEY, "age") == ADA["age"]


def test_answers_that_are_due_come_after_a_half_close(ring, ada, redis_server):
    redis_server.pause()
    try:
        requests = [ring.send("num.incr", KEY, "age", 1) for _ in range(100)]
        ring.socket.shutdown(socket.SHUT_WR)
        ada.send("hello")
    finally:
        redis_server.resume()
    assert [ring.wait(request) for request in requests] == [
        ADA["age"] + n for n in range(1, 101)]
    assert not ring.expect_closed()


def test_answers_that_are_due_come_when_the_daemon_is_stopped(ring, daemon, redis_server):
    redis_server.pause()
    try:
        requests = [ring.send("num.incr", KEY, "age", 1) for _ in range(100)]
        with daemon.connect() as other:
            wait_until(lambda: max(c["waiting"] for c in other.call("admin.clients")) == 100,
                       what="the requests' arrival")
        daemon.process.terminate()
    finally:
        redis_server.resume()
    assert [ring.wait(request) for request in requests] == [
        ADA["age"] + n for n in range(1, 101)]
    ring.expect_closed()


def test_no_increment_is_lost_or_doubled_when_redis_is_cut_off(redis_server, new_proxy, new_daemon):
    proxy = new_proxy(redis_server.address)
    daemon = new_daemon(proxy.address, {"redis.reconnect_max": "100ms"})
    with daemon.connect() as ada:
        save_ada(ada)
        crowd = [RingClient(daemon.socket) for _ in range(4)]
        for cut in range(10):
            sent = [(c, c.send("num.incr", KEY, "age", 1)) for _ in range(50) for c in crowd]
            proxy.cut()
            for client, request in sent:
                client.wait(request)
        assert ada.call("doc.get", KEY, {"fresh": True})["age"] == ADA["age"] + 10 * 50 * 4
        for client in crowd:
            client.close()


# --- librapyer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["0", "1", "64"])
@pytest.mark.parametrize("example", ["async_libevent", "async_poll", "locks", "efficiency"])
def test_librapyer_does_the_same_with_a_ring_and_without(example, after, daemon, redis_server):
    env = dict(os.environ, RAPYER_SOCKET=daemon.socket, RAPYER_EXAMPLE_REDIS=redis_server.socket,
               RAPYER_RING=after, ASAN_OPTIONS="detect_leaks=1")
    run = subprocess.run([program(example)], env=env, capture_output=True, text=True, timeout=60,
                         check=False)
    assert run.returncode == 0 and not run.stderr, f"{run.stdout}{run.stderr}"
    assert not complaints(daemon)


class Caller:
    """A process with one connection of librapyer (ring_caller.c)."""

    def __init__(self, daemon, after):
        env = dict(os.environ, RAPYER_SOCKET=daemon.socket, RAPYER_RING=str(after),
                   ASAN_OPTIONS="detect_leaks=1")
        self.process = subprocess.Popen([built("tests/ring_caller")], env=env, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def tell(self, word, number=0):
        self.process.stdin.write(f"{word} {number}\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline().strip()
        return int(line) if re.fullmatch(r"-?\d+", line) else line

    def ask(self, word, number=0):
        self.tell(word, number)
        return self.hear()


@pytest.fixture
def new_caller(daemon, ada):
    callers = []

    def new(after=1):
        callers.append(Caller(daemon, after))
        return callers[-1]

    yield new
    for caller in callers:
        caller.process.stdin.close()
        caller.process.stdout.close()
        assert caller.process.wait(10) in (0, -signal.SIGKILL)


def test_librapyer_asks_for_a_ring_after_its_first_requests(new_caller, ada):
    never, soon, later = (new_caller(after) for after in (0, 1, 64))
    for number, caller in enumerate((never, soon, later)):
        assert caller.ask("incr", 60) == ADA["age"] + 60 * (number + 1)
    assert rings(ada) == 1
    for caller in (never, soon, later):
        assert caller.ask("incr", 10) > 0
    assert rings(ada) == 2


@with_settings(max_rings=0)
def test_librapyer_goes_on_without_a_ring_where_there_is_none(new_caller, ada):
    assert new_caller().ask("incr", 100) == ADA["age"] + 100
    assert rings(ada) == 0


@with_settings(ring_size="4K")
def test_librapyer_sends_and_takes_what_is_larger_than_its_ring(new_caller, ada):
    caller = new_caller()
    caller.ask("incr", 10)
    assert rings(ada) == 1
    for size in (1, 4095, 4096, 100_000, 3 * MIB):
        assert caller.ask("bytes", size) == size


def test_after_a_fork_parent_and_child_both_go_on(new_caller, ada):
    caller = new_caller()
    assert caller.ask("incr", 100) == ADA["age"] + 100
    assert caller.ask("fork", 300) > ADA["age"] + 300
    assert caller.ask("incr", 100) == ADA["age"] + 800
    wait_until(lambda: len(ada.call("admin.clients")) == 2, what="the child's end")


def test_a_lock_of_librapyer_is_lost_with_its_ring(new_caller, ada, daemon):
    caller = new_caller()
    caller.ask("incr", 10)
    assert caller.ask("lock") == 0 and caller.ask("locked", 5) == 0
    daemon.kill()
    daemon.start()
    assert caller.ask("locked", 6).startswith("LOCK_LOST: ")
    with daemon.connect() as other:
        assert other.call("doc.load", KEY, "age") == 5


def test_a_caller_notices_within_a_second_that_the_daemon_was_killed(new_caller, ada, daemon,
                                                                     redis_server):
    caller = new_caller(64)
    caller.ask("incr", 100)
    assert rings(ada) == 1
    redis_server.pause()
    try:
        caller.tell("incr", 1)
        wait_until(lambda: max(c["waiting"] for c in ada.call("admin.clients")), what="its request")
        daemon.kill()
        begin = time.monotonic()
        assert "lost" in caller.hear()
        assert time.monotonic() - begin < 1
    finally:
        redis_server.resume()
    daemon.start()
    with daemon.connect() as other:
        for asked, ring in ((30, 0), (60, 1)):
            assert caller.ask("incr", asked) > 0
            assert rings(other) == ring


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_what_the_daemon_did_not_take_is_sent_again_to_the_next_one(new_caller, ada, daemon, end):
    caller = new_caller()
    assert caller.ask("incr", 100) == ADA["age"] + 100
    if end == "killed":
        daemon.kill()
    else:
        daemon.stop()
    daemon.start()
    assert caller.ask("incr", 1) == ADA["age"] + 101


def test_a_killed_caller_has_done_what_it_was_told(new_caller, ada):
    caller = new_caller()
    caller.ask("incr", 100)
    caller.process.kill()
    wait_until(lambda: len(ada.call("admin.clients")) == 1, what="its end")
    assert ada.call("doc.load", KEY, "age") == ADA["age"] + 100
