"""What the nodes of a cluster tell each other goes through here, so that one can be cut off from the others, and not
from clients."""

import selectors
import socket
import threading

SENDER = slice(40, 80)  # in each message
BACKLOG = 1 << 20  # of one that does not read


class Link:
    def __init__(self, bus, asking, target):
        self.bus, self.target, self.sender = bus, target, None
        self.sockets = (asking, socket.create_connection(("127.0.0.1", target.port + 10000)))
        self.left = {s: b"" for s in self.sockets}  # to be sent to each
        for s in self.sockets:
            s.setblocking(False)
            bus.selector.register(s, selectors.EVENT_READ, self)

    def severed(self):
        return self.sender is not None and (self.sender in self.bus.off) != (self.target.id_in_bus in self.bus.off)

    def other(self, s):
        return self.sockets[s is self.sockets[0]]

    def ready(self, s, events):
        if events & selectors.EVENT_READ:
            data = s.recv(1 << 16)
            if not data:
                raise ConnectionError
            if self.sender is None and s is self.sockets[0]:
                self.sender = data[SENDER].decode("ascii", "replace")
            self.left[self.other(s)] += data
        for to in self.sockets:
            if self.severed() or len(self.left[to]) > BACKLOG:
                raise ConnectionError
            if self.left[to]:
                try:
                    self.left[to] = self.left[to][to.send(self.left[to]):]
                except BlockingIOError:
                    pass
            self.bus.selector.modify(to, selectors.EVENT_READ | selectors.EVENT_WRITE * bool(self.left[to]), self)

    def close(self):
        for s in self.sockets:
            self.bus.selector.unregister(s)
            s.close()


class Bus(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.off = frozenset()  # ids of nodes
        self.listeners, self.links = {}, set()
        self.done = threading.Event()

    def door(self):
        """A port for a node that is to be started."""
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        self.listeners[port] = listener
        return port

    def open(self, port, node):
        self.selector.register(self.listeners[port], selectors.EVENT_READ, node)

    def accept(self, listener, node):
        asking, _ = listener.accept()
        try:
            self.links.add(Link(self, asking, node))
        except OSError:
            asking.close()

    def run(self):
        while not self.done.is_set():
            for key, events in self.selector.select(0.05):
                if not isinstance(key.data, Link):
                    self.accept(key.fileobj, key.data)
                elif key.data in self.links:
                    try:
                        key.data.ready(key.fileobj, events)
                    except OSError:
                        self.drop(key.data)
            for link in [link for link in self.links if link.severed()]:
                self.drop(link)

    def drop(self, link):
        self.links.discard(link)
        link.close()

    def stop(self):
        self.done.set()
        self.join()
        for link in list(self.links):
            self.drop(link)
        for listener in self.listeners.values():
            listener.close()
