"""A MessagePack-RPC client of our own: blocking, small, able to send what no good client would."""

import socket
import time

import msgpack


class RpcError(Exception):
    """An error answer: "CODE: text"."""

    def __init__(self, error):
        super().__init__(error)
        self.error = error
        self.code, _, self.text = error.partition(": ") if isinstance(error, str) else ("", "", "")


class Closed(Exception):
    """The daemon closed the connection."""


class Client:
    TIMEOUT = 30

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(self.TIMEOUT)
        self.socket.connect(path)
        self.unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, timestamp=3,
                                         max_buffer_size=1 << 30)
        self.next_id = 0
        self.answers = {}
        self.notifications = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send_raw(self, data):
        self.socket.sendall(data)

    @staticmethod
    def pack(value):
        # datetime=True: aware datetimes become timestamps.
        return msgpack.packb(value, use_bin_type=True, datetime=True)

    def send(self, method, *params):
        """Sends a request without waiting; its id goes to wait()."""
        self.next_id += 1
        self.send_raw(self.pack([0, self.next_id, method, list(params)]))
        return self.next_id

    def send_packed(self, method, params):
        """A request whose params array is given as MessagePack bytes."""
        self.next_id += 1
        self.send_raw(b"\x94\x00" + self.pack(self.next_id) + self.pack(method) + params)
        return self.next_id

    def notify(self, method, *params):
        self.send_raw(self.pack([2, method, list(params)]))

    def read_message(self):
        """The next message of any kind."""
        while True:
            for message in self.unpacker:
                return message
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError as error:
                raise Closed from error
            if not data:
                raise Closed
            self.unpacker.feed(data)

    def wait(self, request):
        """The result of a request sent before; answers may come in any order."""
        while request not in self.answers:
            message = self.read_message()
            if message[0] == 1:
                self.answers[message[1]] = message[2:]
            else:
                self.notifications.append(message[1:])
        error, result = self.answers.pop(request)
        if error is not None:
            raise RpcError(error)
        return result

    def call(self, method, *params):
        return self.wait(self.send(method, *params))

    def call_packed(self, method, params):
        return self.wait(self.send_packed(method, params))

    def expect_closed(self):
        """Reads until the daemon closes the connection; gives back what it said before."""
        said = []
        while True:
            try:
                said.append(self.read_message())
            except Closed:
                return said


def wait_until(condition, timeout=20, what="the condition"):
    """Polls until condition() is true and gives back what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what} did not come true within {timeout} s")
        time.sleep(0.005)


def at_rest(look, what="daemons that ask nothing by themselves"):
    """What look() gives when it stays the same for a moment, as after all that a declaration sets going."""

    def same():
        before = look()
        time.sleep(0.1)
        return look() == before

    wait_until(same, what=what)
    return look()
