"""Stands between a daemon and Redis and breaks what passes: cuts after exactly so many bytes of a
transaction, freezes, delays, switches to another server.

    daemon ──requests──► proxy ──► Redis
           ◄──replies───       ◄──
"""

import os
import re
import socket
import threading
import time

import certificates

REQUESTS, REPLIES = "requests", "replies"

# Transactions that do nothing: of the greeting, and of the doctor's rehearsal.
NOTHING = re.compile(rb"MULTI\r\n\*1\r\n\$(?:4\r\nEXEC|7\r\nDISCARD)"
                     rb"|MULTI\r\n\*2\r\n\$7\r\nHGETALL\r\n\$\d+\r\n[^\r]*:{rights}")
# A commit that is one script, by its hash or its text: its first key is the marker.
SCRIPT = re.compile(rb"\nEVAL(?:SHA)?\r\n\$\d+\r\n.*?\r\n\$\d+\r\n\d+\r\n\$\d+\r\n[^\r]*:~seq:", re.DOTALL)


def begins_transaction(data):
    return b"MULTI" in NOTHING.sub(b"", data) or SCRIPT.search(data) is not None


def dial(address):
    if address.startswith("unix:"):
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.connect(address[len("unix:"):])
    else:
        host, _, port = address.rpartition(":")
        if certificates.TLS:
            return certificates.connect(host, int(port))
        link = socket.create_connection((host, int(port)))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def close(link):
    for end in (lambda: link.shutdown(socket.SHUT_RDWR), link.close):
        try:
            end()
        except OSError:
            pass


def hang_up(link):
    """Nothing goes through it any more; its number stays taken."""
    try:
        link.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Cut:
    """Cut the connection that begins the next transaction, after `count` bytes of a direction
    from that beginning on. late: Redis gets the rest of the request so many seconds after the
    daemon has lost the connection, as from a slow network; or when this Event is set."""

    def __init__(self, direction, count, late=None):
        self.direction = direction
        self.left = count
        self.late = late
        self.link = None
        self.fired = threading.Event()


class Link:
    def __init__(self, proxy, daemon, redis):
        self.proxy = proxy
        self.daemon = daemon
        self.redis = redis
        self.held = False  # the daemon has lost it, Redis has not yet
        self.pumps = 2  # that still use the sockets
        proxy.links.add(self)
        for direction, source, sink in ((REQUESTS, daemon, redis), (REPLIES, redis, daemon)):
            threading.Thread(target=self.pump, args=(direction, source, sink), daemon=True).start()

    def pump(self, direction, source, sink):
        try:
            while True:
                data = source.recv(1 << 16)
                if not data or not self.forward(direction, data, sink):
                    break
        except OSError:
            pass
        self.close()
        self.pumped()

    def pumped(self):
        """The last one frees the sockets. Were they closed earlier, a new connection could get the
        number of one that a pump is about to write to, and with it the bytes of the old one."""
        with self.proxy.lock:
            self.pumps -= 1
            last = self.pumps == 0
        if last:
            self.daemon.close()
            self.redis.close()

    def forward(self, direction, data, sink):
        try:
            return self.proxy.pass_on(self, direction, data, sink)
        except OSError:
            # Redis answers and nobody listens any more: it shall get the rest all the same.
            return self.held and direction == REPLIES

    def close(self):
        hang_up(self.daemon)
        hang_up(self.redis)
        self.proxy.links.discard(self)


class FaultProxy:
    def __init__(self, directory, target, tcp=False):
        self.target = target  # where new connections go
        self.delay = 0  # seconds, for every piece that Redis answers
        self.refusing = False  # new connections are closed at once
        self.swallow = None  # the next request with these bytes does not arrive, and is cut
        self.ahead = None  # (bytes, act): act() goes ahead of the next request with these bytes
        self.links = set()
        self.cuts = 0
        self.plan = None
        self.lock = threading.Lock()
        self.open = threading.Event()
        self.open.set()
        if tcp or certificates.TLS:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        else:
            path = os.path.join(directory, f"proxy{id(self):x}.sock")
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(path)
            self.listener.listen(64)
            self.address = f"unix:{path}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                daemon, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                close(daemon)
            elif certificates.TLS:
                threading.Thread(target=self.connect, args=(daemon,), daemon=True).start()
            else:
                self.connect(daemon)

    def connect(self, daemon):
        try:
            if certificates.TLS:
                daemon = certificates.accept(daemon)
            redis = dial(self.target)
        except OSError:
            close(daemon)
            return
        Link(self, daemon, redis)

    def pass_on(self, link, direction, data, sink):
        """False: the connection was cut."""
        if direction == REPLIES and self.delay:
            time.sleep(self.delay)
        self.open.wait()
        if self.ahead and direction == REQUESTS and self.ahead[0] in data:
            _, act = self.ahead
            self.ahead = None
            act()
        with self.lock:
            if self.swallow and direction == REQUESTS and self.swallow in data:
                self.swallow = None
                self.cuts += 1
                link.close()
                return False
            plan = self.plan
            if plan and plan.link is None and direction == REQUESTS and \
                    begins_transaction(data):
                plan.link = link
            if not plan or plan.link is not link or plan.direction != direction:
                plan = None
            elif len(data) < plan.left:
                plan.left -= len(data)
                plan = None
            else:
                self.plan = None
        if link.held and direction == REPLIES:
            return True  # nobody listens any more
        if not plan:
            sink.sendall(data)
            return True
        if plan.left:
            sink.sendall(data[:plan.left])
        self.cuts += 1
        if plan.late is None:
            link.close()
            plan.fired.set()
            return False
        link.held = True
        hang_up(link.daemon)
        plan.fired.set()
        if isinstance(plan.late, threading.Event):
            plan.late.wait()
        else:
            time.sleep(plan.late)
        sink.sendall(data[plan.left:])
        return True

    def cut_after(self, direction, count, late=None):
        with self.lock:
            self.plan = Cut(direction, count, late)
            return self.plan

    def disarm(self):
        with self.lock:
            self.plan = None

    def cut(self):
        """All connections, now."""
        for link in list(self.links):
            link.close()
        self.cuts += 1

    def freeze(self):
        self.open.clear()

    def thaw(self):
        self.open.set()

    def stop(self):
        self.refusing = True
        close(self.listener)
        self.thaw()
        for link in list(self.links):
            link.close()


def read_reply(data, at=0):
    """One reply of Redis as (value, end); None: it is not all there."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, head, at = data[at:at + 1], data[at + 1:end], end + 2
    if kind in b"+-:":
        return head, at
    count = int(head)
    if count < 0:
        return None if kind not in b"$*" else (b"", at)
    if kind == b"$":
        return (data[at:at + count], at + count + 2) if len(data) >= at + count + 2 else None
    values = []
    for _ in range(count):
        one = read_reply(data, at)
        if one is None:
            return None
        values.append(one[0])
        at = one[1]
    return values, at


class DeafProxy(FaultProxy):
    """Keeps messages of channels back: those for which unheard(channel, payload) says so. Of keys
    that were written the payload is their list."""

    def __init__(self, *args, **options):
        self.unheard = lambda channel, payload: False
        self.begun = {}  # link -> what of its next reply has come
        super().__init__(*args, **options)

    def pass_on(self, link, direction, data, sink):
        if direction != REPLIES or (link not in self.begun and b"\r\nsubscribe\r\n" not in data):
            return super().pass_on(link, direction, data, sink)
        data = self.begun.pop(link, b"") + data
        at, heard = 0, b""
        while (reply := read_reply(data, at)) is not None:
            value, end = reply
            is_message = isinstance(value, list) and value[0] == b"message"
            if not is_message or not self.unheard(value[1], value[2]):
                heard += data[at:end]
            at = end
        self.begun[link] = data[at:]
        return super().pass_on(link, direction, heard, sink) if heard else True
