"""A client that moves to a ring, in plain Python: what PROTOCOL.md says a stranger needs.

It cannot issue a fence. So it never trusts that it is not to be woken or need not wake: it rings
after whatever it puts and takes, and while it sleeps it looks again after each LOOK.
"""

import mmap
import os
import select
import socket
import struct

import msgpack

from rpc_client import Client, Closed

HEAD, MINE, THEIRS, BYTES = 0, 64, 128, 4096  # where they lie
PUT, TAKEN, SLEEP = 0, 4, 8  # in a line
WANTS_BYTES, WANTS_ROOM = 1, 2
ONCE_MORE = 8  # what a new sleep adds to the count of them
MAGIC = 0x474E4952
LOOK = 0.01  # seconds
MODULUS = 1 << 32


class RingClient(Client):
    def __init__(self, path, ring=True):
        super().__init__(path)
        self.size = 0  # 0: no ring yet
        if ring:
            self.open_ring()

    # --- opening and closing -----------------------------------------------------------------

    def open_ring(self, *params):
        """Asks, and reads the socket to the answer; RpcError when there is none to have."""
        request = self.send("ring.open", *params)
        descriptors = []
        while request not in self.answers:
            data, more, _, _ = socket.recv_fds(self.socket, 1 << 16, 3)
            if not data:
                raise Closed
            descriptors += more
            self.unpacker.feed(data)
            self.sort_messages()
        size = self.wait(request)["size"]
        memory, self.daemon_bell, self.bell = descriptors
        self.memory_fd = memory
        self.map(size)

    def sort_messages(self):
        for message in self.unpacker:
            if message[0] == 1:
                self.answers[message[1]] = message[2:]
            else:
                self.notifications.append(message[1:])

    def map(self, size):
        self.memory = mmap.mmap(self.memory_fd, BYTES + 2 * size)
        # Whole numbers at once, where struct would write byte by byte.
        self.numbers = memoryview(self.memory)[:BYTES].cast("I")
        assert self.number(HEAD) == MAGIC and self.number(HEAD + 4) == size
        self.put = self.taken = self.sleeps = 0
        self.size = size

    def close(self):
        super().close()
        if self.size:
            self.size = 0
            self.numbers.release()
            self.memory.close()
            for descriptor in (self.memory_fd, self.daemon_bell, self.bell):
                os.close(descriptor)

    # --- the memory --------------------------------------------------------------------------

    def number(self, at):
        return self.numbers[at // 4]

    def write(self, at, number):
        self.numbers[at // 4] = number % MODULUS

    def put_some(self, data):
        """As much of it as there is room for; how much that is."""
        room = self.size - (self.put - self.number(THEIRS + TAKEN)) % MODULUS
        at, data = self.put % self.size, data[:room]
        first = data[:self.size - at]
        self.memory[BYTES + at:BYTES + at + len(first)] = first
        self.memory[BYTES:BYTES + len(data) - len(first)] = data[len(first):]
        self.put += len(data)
        self.write(MINE + PUT, self.put)
        return len(data)

    def take_some(self):
        """All that is there."""
        there = (self.number(THEIRS + PUT) - self.taken) % MODULUS
        begin, at = BYTES + self.size, self.taken % self.size
        first = min(there, self.size - at)
        data = self.memory[begin + at:begin + at + first] + self.memory[begin:begin + there - first]
        self.taken += there
        self.write(MINE + TAKEN, self.taken)
        return data

    # --- bells -------------------------------------------------------------------------------

    def ring_bell(self):
        try:
            os.write(self.daemon_bell, struct.pack("=Q", 1))
        except BlockingIOError:
            pass  # it is full of rings

    def sleep(self, wants):
        """Until the bell rings, the socket ends, or it is time to look again. Whether the socket
        has ended."""
        self.sleeps += ONCE_MORE
        self.write(MINE + SLEEP, self.sleeps + wants)
        ready, _, _ = select.select([self.bell, self.socket], [], [], LOOK)
        self.write(MINE + SLEEP, self.sleeps)
        if self.bell in ready:
            os.read(self.bell, 256)
        return self.socket in ready

    # --- as a client of the socket -----------------------------------------------------------

    def send_raw(self, data):
        if not self.size:
            super().send_raw(data)
            return
        data = memoryview(bytes(data))
        while data:
            put = self.put_some(data)
            data = data[put:]
            if put:
                self.ring_bell()
            elif not self.take() and self.sleep(WANTS_ROOM | WANTS_BYTES):
                raise BrokenPipeError

    def take(self):
        """Whether there was anything."""
        data = self.take_some()
        if data:
            self.ring_bell()  # there is room again
            self.unpacker.feed(data)
        return bool(data)

    def read_message(self):
        if not self.size:
            return super().read_message()
        ended = False
        while True:
            for message in self.unpacker:
                return message
            if self.take():
                continue
            if ended:
                raise Closed
            ended = self.sleep(WANTS_BYTES)  # then what was put before that is still to be taken


def frame(request, method, *params):
    return msgpack.packb([0, request, method, list(params)], use_bin_type=True, datetime=True)
