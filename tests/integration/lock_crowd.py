"""Many client processes at once, as children of a process that has no connection of its own: one
that is killed takes its connections with it.

    crowd = Crowd(); pid = crowd.start("module", "function", args...); ...; crowd.stop()
"""

import json
import os
import signal
import subprocess
import sys
import traceback

from rpc_client import wait_until


class Crowd:
    def __init__(self, log):
        """log: where what the children say on stderr goes."""
        self.log = log
        with open(log, "ab") as stderr:
            self.nursery = subprocess.Popen([sys.executable, "-B", __file__], text=True, stderr=stderr,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pids = set()
        self.codes = {}

    def ask(self, *request):
        self.nursery.stdin.write(json.dumps(request) + "\n")
        self.nursery.stdin.flush()
        return json.loads(self.nursery.stdout.readline())

    def start(self, module, function, *args):
        """Calls the function in a new process; its pid."""
        pid = self.ask("start", module, function, args)
        self.pids.add(pid)
        return pid

    def reap(self):
        """Pids of those that ended since, with their exit status (of subprocess: -9 when killed)."""
        ended = {int(pid): code for pid, code in self.ask("reap").items()}
        self.pids -= set(ended)
        self.codes.update(ended)
        return ended

    def signal(self, pid, what):
        if pid in self.pids:
            os.kill(pid, what)  # it is there, or a zombie that we have not reaped

    def await_end(self, timeout):
        """Until all children have ended."""
        wait_until(lambda: self.reap() or not self.pids, timeout, "the end of all client processes")
        while self.pids:
            wait_until(lambda: self.reap() or not self.pids, timeout, "the end of all client processes")

    def stop(self):
        self.reap()
        for pid in list(self.pids):
            os.kill(pid, signal.SIGKILL)
        self.nursery.stdin.close()
        self.nursery.wait(10)
        self.nursery.stdout.close()


def nursery():
    def child(module, function, args):
        # So that nothing is left of the nursery in it.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        try:
            getattr(__import__(module), function)(*args)
            os._exit(0)
        except BaseException:  # noqa: BLE001: whatever it is, it is told
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    # Who wants to end in order lets it through as soon as it can: a child may be told to at once.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    children = set()
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        if request[0] == "start":
            __import__(request[1])  # once, here
            answer = os.fork()
            if answer == 0:
                child(*request[1:])
            children.add(answer)
        else:
            while children:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                children.discard(pid)
                answer[pid] = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    nursery()
