"""The Debian packages: installed, started, upgraded, downgraded, removed, purged, where nothing was before."""

import glob
import os
import pathlib
import socket
import subprocess
import threading

import pytest

from conftest import ready
from machine import Machine
from rpc_client import Client
from test_units import ctl, main_pid

DEBS = os.environ.get("RAPYER_DEBS")
PACKAGES = ["rapyerd", "rapyer-tools", "librapyer1", "librapyer-dev", "python3-rapyerd"]
HERE = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def empty():
    it = Machine(os.environ["RAPYER_ROOT"])
    try:
        it.boot()
        yield it
    finally:
        it.remove()


def debs(folder=DEBS):
    return [path for package in PACKAGES for path in glob.glob(f"{folder}/{package}_*.deb")]


def install(machine, files):
    for file in files:
        subprocess.run(["cp", file, machine.path("/tmp/")], check=True)
    machine.run("dpkg", "-i", *(f"/tmp/{os.path.basename(file)}" for file in files), timeout=120)


def built():
    """The version of the packages that were built."""
    return subprocess.run(["dpkg-deb", "-f", debs()[0], "Version"], check=True, capture_output=True, text=True).stdout.strip()


def next_version(folder):
    """The same packages as those of the version after theirs."""
    now = built()
    for file in debs():
        tree = f"{folder}/tree"
        subprocess.run(["dpkg-deb", "--raw-extract", file, tree], check=True)
        control = pathlib.Path(f"{tree}/DEBIAN/control")
        control.write_text(control.read_text(encoding="utf-8").replace(now, f"{now}.1"), encoding="utf-8")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, f"{folder}/{os.path.basename(file).replace(now, f'{now}.1')}"],
                       check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["rm", "-r", tree], check=True)
    return debs(folder)


def has_document(machine, **options):
    return ctl(machine, "get", "User:ada", "age", **options) == "36"


def version(machine):
    return machine.out("dpkg-query", "-W", "-f", "${Version}", "rapyerd")


class Knocking:
    """Connects again and again, and keeps what went wrong."""

    def __init__(self, path):
        self.path, self.times, self.wrong, self.done = path, 0, [], threading.Event()
        self.thread = threading.Thread(target=self.knock)

    def knock(self):
        while not self.done.wait(0.002):
            with socket.socket(socket.AF_UNIX) as one:
                try:
                    one.connect(self.path)
                    self.times += 1
                except OSError as error:
                    self.wrong.append(error)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def test_install(empty):
    install(empty, debs())
    assert empty.show("rapyerd.socket", "ActiveState", "UnitFileState") == ["active", "enabled"]
    ready(empty)
    ctl(empty, "define", "/tmp/models.json")
    ctl(empty, "save", "User:ada", '{"name": "Ada", "age": 36}')
    assert empty.show("rapyerd.service", "ActiveState") == "active"
    empty.run("cp", "/etc/rapyerd/rapyerd.conf", "/etc/rapyerd/blue.conf")
    empty.run("systemctl", "enable", "--now", "rapyerd@blue.socket")
    ctl(empty, "define", "/tmp/models.json", name="blue")
    ctl(empty, "save", "User:ada", '{"name": "Ada", "age": 36}', name="blue")


PROGRAM = r"""
#include <rapyer.h>
#include <stdio.h>

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_auto_doc *ada = rapyer_open(db, "User:ada");
    rapyer_auto_value *v = rapyer_fetch(ada);
    printf("%lld\n", (long long)rapyer_int(v, "age", 0));
    return rapyer_errcode(db) != RAPYER_OK;
}
"""


def test_programs_are_built_with_the_library(empty, tmp_path):
    root = empty.path("")
    (tmp_path / "age.c").write_text(PROGRAM, encoding="ascii")
    library = glob.glob(f"{root}/usr/lib/*/librapyer.so")[0]
    subprocess.run(["cc", "-o", empty.path("/tmp/age"), tmp_path / "age.c", f"-I{root}/usr/include", library], check=True)
    assert empty.out("/tmp/age", user="member") == "36"


def test_the_python_package_is_there(empty):
    """As a virtual environment has it, which sees the packages of Debian."""
    python = HERE / "build/python/bin/python"
    there = f"{empty.path('')}/usr/lib/python3/dist-packages"
    said = subprocess.run(
        [python, "-I", "-c", f"import sys; sys.path.insert(0, {there!r}); import rapyerd, rapyerd._shared;"
         "print(rapyerd.__file__)"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(there)


def test_upgrade(empty, tmp_path):
    empty.run("sed", "-i", "s/^#slow_time = .*/slow_time = 7ms/", "/etc/rapyerd/rapyerd.conf")
    before = main_pid(empty), main_pid(empty, "rapyerd@blue.service"), empty.show("rapyerd.socket", "InvocationID")
    socket_path = empty.path("/run/rapyerd/rapyerd.sock")
    with Knocking(socket_path) as knocking, Client(socket_path) as client:
        mine = client.call("lock.acquire", "User:ada", "mine", {"ttl": 600})
        install(empty, next_version(tmp_path))
        client.call("lock.release", mine["token"])  # who is connected stays so, with what he holds
    assert version(empty) == f"{built()}.1" and has_document(empty) and has_document(empty, name="blue")
    assert not knocking.wrong and knocking.times > 100, "nobody is turned away meanwhile"
    assert main_pid(empty) not in (0, before[0]) and main_pid(empty, "rapyerd@blue.service") not in (0, before[1])
    assert empty.show("rapyerd.socket", "InvocationID") == before[2], "the socket is there all the time"
    assert "7ms" in ctl(empty, "config", "get", "log.slow_time"), "what was set stays"


def test_downgrade(empty):
    install(empty, debs())
    assert version(empty) == built() and has_document(empty) and has_document(empty, name="blue")
    assert "7ms" in ctl(empty, "config", "get", "log.slow_time")


def test_what_was_stopped_or_disabled_stays_so(empty, tmp_path):
    empty.run("systemctl", "disable", "--now", "rapyerd.socket")
    empty.run("systemctl", "stop", "rapyerd.service")
    install(empty, next_version(tmp_path))
    assert empty.show("rapyerd.socket", "ActiveState", "UnitFileState") == ["inactive", "disabled"]
    assert empty.show("rapyerd.service", "ActiveState") == "inactive"
    empty.run("systemctl", "enable", "--now", "rapyerd.socket")


def test_remove_keeps_data_and_settings(empty):
    empty.run("systemctl", "disable", "rapyerd@blue.socket")  # what was enabled by hand is not undone
    empty.run("dpkg", "--remove", *PACKAGES)
    assert "rapyerd" not in empty.out("ps", "-e", "-o", "args")
    assert not os.path.exists(empty.path("/run/rapyerd/rapyerd.sock"))
    install(empty, debs())
    assert has_document(empty) and "7ms" in ctl(empty, "config", "get", "log.slow_time")


def test_purge_leaves_nothing(empty):
    empty.run("rm", "/etc/rapyerd/blue.conf")
    empty.run("dpkg", "--purge", *PACKAGES)
    left = empty.out("find", "/etc", "/usr", "/var", "/run", "/lib/systemd", "-xdev", "-name", "*rapyer*").split()
    assert left == []
    assert empty.out("systemctl", "list-units", "--all", "--plain", "--no-legend", "rapyerd*") == ""
    assert empty.out("id", "-u", "rapyerd"), "files somewhere else may be its own"
