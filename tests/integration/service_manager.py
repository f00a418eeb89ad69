"""A service manager, as far as a daemon sees one: it is told how that is (sd_notify), keeps the descriptors that the
daemon leaves with it, and hands them to the next process (sd_listen_fds)."""

import fcntl
import os
import signal
import socket
import sys

from rpc_client import wait_until

# In the new process, which has to be the one that LISTEN_PID names: the descriptors go to 3, 4, ...
HAND_OVER = """
import os, sys
fds, names, command = sys.argv[1].split(), sys.argv[2], sys.argv[3:]
for i, fd in enumerate(fds):
    os.dup2(int(fd), 3 + i)
    os.close(int(fd))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execvp(command[0], command)
"""
ABOVE = 100  # no number that a descriptor gets in the new process


class ServiceManager:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.env = {"NOTIFY_SOCKET": path}
        self.said = []
        self.kept = {}  # by their names
        self.room = 16

    def close(self):
        self.socket.close()
        self.forget()

    def hear(self, timeout):
        """One message. TimeoutError: there is none."""
        self.socket.settimeout(timeout)
        message, fds, _, _ = socket.recv_fds(self.socket, 4096, 16)
        lines = message.split(b"\n")
        name = next((line[7:].decode() for line in lines if line.startswith(b"FDNAME=")), "stored")
        for fd in fds:
            if b"FDSTORE=1" in lines and sum(map(len, self.kept.values())) < self.room:
                self.kept.setdefault(name, []).append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, ABOVE))
            os.close(fd)  # with BARRIER=1 that is the answer
        if b"FDSTOREREMOVE=1" in lines:
            self.forget(name)
        self.said.append(message)

    def until(self, *words):
        """Each of them was said since `said` was cleared."""
        while not all(any(word in message for message in self.said) for word in words):
            self.hear(20)

    def listen(self):
        """To all that was said so far; who says something waits where nobody does (`net.unix.max_dgram_qlen`)."""
        try:
            while True:
                self.hear(0.001)
        except TimeoutError:
            self.said.clear()

    def forget(self, *names):
        for name in names or list(self.kept):
            for fd in self.kept.pop(name, []):
                os.close(fd)

    def end(self, daemon):
        """SIGTERM, and waits for its end."""
        daemon.process.send_signal(signal.SIGTERM)
        self.see_out(daemon)

    def see_out(self, daemon):
        """What it leaves is kept."""
        while daemon.process.poll() is None:
            try:
                self.hear(0.02)
            except TimeoutError:
                pass
        assert daemon.process.returncode == 0, daemon.log()
        daemon.killed = True
        self.said.clear()

    def start(self, daemon, wait=True):
        """Again, with what is kept."""
        fds = [(fd, name) for name, all_fds in self.kept.items() for fd in all_fds]
        daemon.pass_fds = [fd for fd, _ in fds]
        daemon.prefix = [sys.executable, "-c", HAND_OVER, " ".join(str(fd) for fd, _ in fds),
                         ":".join(name for _, name in fds)] if fds else []
        daemon.start(wait)

    def restart(self, daemon):
        """The pause that the daemon tells of, in milliseconds."""
        before = len(daemon.log())
        self.end(daemon)
        assert sorted(self.kept) == ["rapyerd-parcel", "rapyerd-state"], daemon.log()
        self.start(daemon, wait=False)
        self.until(b"READY=1")
        assert not self.kept
        told = "requests stood still for "
        wait_until(lambda: told in daemon.log()[before:], what="what the pause was")
        return float(daemon.log()[before:].split(told)[1].split(" ms")[0])
