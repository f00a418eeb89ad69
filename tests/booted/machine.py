"""A machine of its own: systemd as process 1 in namespaces, over a root that is thrown away.

The root is a folder with a Debian in it ($RAPYER_ROOT), or that of this machine; in both cases an overlay keeps
what is written in memory. Needs root, systemd-nspawn, and a mount namespace that ends with the caller (`run`).
"""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

# Of the host's own services none is wanted in here, nor what it would wait for.
TARGET = "[Unit]\nRequires=basic.target\nAfter=basic.target\n"


class Machine:
    def __init__(self, lower="/"):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rapyer-booted-", dir="/tmp"))
        self.root = self.folder / "root"
        self.log = self.folder / "log"
        memory = self.folder / "memory"
        memory.mkdir()
        self.root.mkdir()
        mount("-t", "tmpfs", "tmpfs", memory)
        (memory / "upper").mkdir()
        (memory / "work").mkdir()
        (memory / "upper").chmod(0o755)
        mount("-t", "overlay", "overlay", "-o",
              f"lowerdir={lower},upperdir={memory}/upper,workdir={memory}/work", self.root)
        units = self.root / "etc/systemd/system"
        shutil.rmtree(units, ignore_errors=True)
        units.mkdir(parents=True)
        (units / "booted.target").write_text(TARGET, encoding="ascii")
        self.nspawn = None
        self.init = 0

    def boot(self):
        with open(self.log, "wb") as log:
            self.nspawn = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "systemd-nspawn", "--quiet", "--boot", "--register=no",
                 "--keep-unit", "--private-network", "--console=pipe", "--machine=booted",
                 "--directory", self.root, "systemd.unit=booted.target"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.until(lambda: self.find_init() and self.run("systemctl", "is-active", "booted.target", check=False)
                   .stdout == "active\n", "the machine is up")

    def find_init(self):
        if self.nspawn.poll() is not None:
            raise RuntimeError(f"it did not boot: {self.log.read_text(errors='replace')}")
        with open(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        if not children:
            return False
        self.init = int(children[0])
        # It is not in its place before it has become systemd.
        with open(f"/proc/{self.init}/comm", encoding="ascii") as file:
            return file.read() == "systemd\n"

    def run(self, *argv, user=None, check=True, timeout=60, stdin=None):
        """Runs a program in there, as root, or as a user in all groups that he is in."""
        as_user = ["runuser", "-u", user, "--"] if user else []
        done = subprocess.run(["nsenter", "--all", "--target", str(self.init), "--", *as_user, *argv],
                              capture_output=True, text=True, timeout=timeout, check=False, input=stdin)
        if check and done.returncode != 0:
            raise RuntimeError(f"{argv}: exit status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def out(self, *argv, **options):
        return self.run(*argv, **options).stdout.strip()

    def path(self, path):
        """Where this process finds what is at `path` in there, also in file systems of the machine's own."""
        return f"/proc/{self.init}/root{path}"

    def write(self, path, text, mode=0o644):
        where = pathlib.Path(self.path(path) if self.init else f"{self.root}{path}")
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text, encoding="utf-8")
        where.chmod(mode)

    def show(self, unit, *names):
        """Properties of a unit, one or a list of them."""
        found = dict(line.split("=", 1) for line in self.out("systemctl", "show", unit, *(f"-p{n}" for n in names)).splitlines())
        return found[names[0]] if len(names) == 1 else [found[name] for name in names]

    def journal(self, unit):
        return self.out("journalctl", "--no-pager", "-o", "cat", "-u", unit, check=False)

    def until(self, condition, what, timeout=60):
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def remove(self):
        if self.nspawn and self.nspawn.poll() is None:
            if self.init:
                os.kill(self.init, signal.SIGKILL)
            else:
                self.nspawn.kill()
            self.nspawn.wait()
        subprocess.run(["umount", "--lazy", self.root, self.folder / "memory"], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def mount(*argv):
    subprocess.run(["mount", *argv], check=True)
