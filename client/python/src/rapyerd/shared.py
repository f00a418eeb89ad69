"""Documents read in memory that the daemon shows to all, without asking it.

    connection ──(so many documents were asked for)──► attach ──► Segment ──► dicts
                                                                     │
                                              None: whatever it is, the daemon is asked

What is read there is what the daemon would have answered. A connection looks there only while nothing that
it has written is still to be answered, and after it got a lock only at what is as new as that. The
extension `_shared` may be missing; then all is asked for.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable
from typing import Any

from msgpack import Timestamp

from rapyerd.wire import Reply, Wire

try:
    from rapyerd._shared import Segment
except ImportError:
    Segment = None  # type: ignore[assignment,misc]

AFTER = 16  # documents that a connection has asked for before it looks for memory
PATIENCE = 1.0  # seconds for the daemon to give it


def attach(path: str, tell: Callable[[int, str], None]) -> Any:
    """The memory of the daemon that listens there, asked for on a connection of its own; None if there is
    none to be had. `tell`: a method, called now and then with how many documents were read, and the latest
    key. Its object is the one that keeps the memory, and is not kept by it."""
    if Segment is None:
        return None
    _, question = Wire().request("segment.open", [], Reply(lambda error, result: None))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(path)
            sock.sendall(question)
            _, descriptors, _, _ = socket.recv_fds(sock, 512, 1)
    except OSError:
        return None
    telling = weakref.WeakMethod(tell)

    def tell_on(count: int, key: str) -> None:
        method = telling()
        if method is not None:
            method(count, key)

    try:
        return Segment(descriptors[0], Timestamp, tell_on) if descriptors else None
    except ValueError:  # another layout than this one knows
        return None
    finally:
        for descriptor in descriptors:
            socket.close(descriptor)


class Reader:
    """What one connection knows of the memory: `segment`, None as long as it has none."""

    segment: Any = None
    _stamp = 0

    def __init__(self) -> None:
        self._asked = 0

    def due(self) -> bool:
        """Another document is asked for: has it been often enough to look for memory?"""
        self._asked += 1
        return self._asked == AFTER and Segment is not None

    def granted(self, stamp: int) -> None:
        """From a lock that was got on, documents must be as new as that."""
        self._stamp = max(self._stamp, stamp)
        if self.segment is not None:
            self.segment.stamp = self._stamp

    def take(self, segment: Any) -> None:
        """Memory that was found, or None."""
        if segment is not None:
            segment.stamp = self._stamp
            self.segment = segment

    def missed(self) -> None:
        """A document was not there; nor may the memory be any more."""
        if self.segment.gone:
            self.segment, self._asked = None, 0
