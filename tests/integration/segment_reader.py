"""A reader of the shared documents as PROTOCOL.md describes them: no more than mmap and msgpack.

Python has no fences; on a machine that keeps loads in order, as x86 does, none are needed here."""

import array
import mmap
import os
import socket
import struct
import time

import msgpack

from rpc_client import Client, RpcError

MAGIC, LAYOUT = 0x474d4553, 1
OWNER_DIED = 0x40000000
MASK = (1 << 64) - 1


class Segment:
    def __init__(self, path):
        """Asks for it on a connection of its own, which is closed again."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ask:
            ask.settimeout(Client.TIMEOUT)
            ask.connect(path)
            ask.sendall(Client.pack([0, 1, "segment.open", []]))
            data, control, _, _ = ask.recvmsg(4096, socket.CMSG_SPACE(4))
        _, _, error, result = msgpack.unpackb(data)
        if error is not None:
            raise RpcError(error)
        fds = array.array("i")
        for level, kind, bits in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(bits)
        self.fd, = fds
        self.size = result["size"]
        self.memory = mmap.mmap(self.fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ)
        magic, layout, size, self.boot, self.seed, self.buckets = self.at("IIQQQI", 0)
        assert (magic, layout, size) == (MAGIC, LAYOUT, self.size)

    def close(self):
        self.memory.close()
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def at(self, form, offset):
        return struct.unpack_from("=" + form, self.memory, offset)

    def hash(self, text):
        value = self.seed ^ len(text)
        words = [text[i:i + 8] for i in range(0, len(text) + 1, 8)]
        for word in (*words, b""):
            value = (value ^ int.from_bytes(word, "little")) * 0x9e3779b97f4a7c15 & MASK
            value ^= value >> 32
        return value

    @property
    def owner(self):
        return self.at("I", 64)[0]

    @property
    def gone(self):
        return self.owner == 0 or bool(self.owner & OWNER_DIED)

    def generation(self):
        """What may be read now; 0: nothing."""
        generation, until = self.at("QQ", 72)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return 0 if self.gone or now >= until else generation

    def record(self, key, generation, stamp=0):
        """Where its value is, as (slot, sequence, value, len, pairs); None: ask the daemon."""
        name = key.encode()
        value = self.hash(name)
        bucket = 4096 + (value & self.buckets - 1) * 64
        for word in self.at("8Q", bucket):
            slot = (word & 0xffffffff) * 64
            if word == 0 or word >> 32 != value >> 32 or slot + 64 > self.size:
                continue
            sequence, = self.at("Q", slot)
            key_len, pairs, _, length, of, expires, since, _ = self.at("IIIIQqQI", slot + 8)
            where = slot + 64 + 8 * pairs
            begin = where + (key_len + 7) // 8 * 8
            if (sequence == 0 or sequence & 1 or begin + length > self.size
                    or self.memory[where:where + key_len] != name):
                continue
            if (of != generation or since < stamp
                    or (expires and time.time_ns() // 1000000 >= expires)):
                return None
            return slot, sequence, begin, length, pairs
        return None

    def read(self, key, stamp=0):
        """The document with its version, or None: ask the daemon."""
        generation = self.generation()
        for _ in range(4):
            found = self.record(key, generation, stamp) if generation else None
            if found is None:
                return None
            slot, sequence, begin, length, _ = found
            value = bytes(self.memory[begin:begin + length])
            if self.at("Q", slot)[0] == sequence:
                return msgpack.unpackb(value, timestamp=3, strict_map_key=False)
        return None

    def field(self, key, name):
        """One field of it, without looking at the others."""
        generation = self.generation()
        found = self.record(key, generation) if generation else None
        if found is None:
            return None
        slot, sequence, begin, length, pairs = found
        table = [word for word, in struct.iter_unpack(
            "=Q", self.memory[slot + 64:slot + 64 + 8 * pairs])]
        for i, word in enumerate(table):
            if word >> 32 != self.hash(name.encode()) & 0xffffffff:
                continue
            start = word & 0xffffffff
            end = table[i + 1] & 0xffffffff if i + 1 < pairs else length
            pair = bytes(self.memory[begin + start:begin + end])
            if self.at("Q", slot)[0] != sequence:
                return None
            unpacker = msgpack.Unpacker(timestamp=3, strict_map_key=False)
            unpacker.feed(pair)
            if unpacker.unpack() == name:
                return unpacker.unpack()
        return None
