"""The machine all tests share: booted once, with rapyerd installed, its socket enabled, and two users."""

import glob
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

from machine import Machine  # noqa: E402

MODELS = ('[{"name": "User", "kind": "atomic", "fields": [{"name": "name", "type": "str"},'
          ' {"name": "age", "type": "int", "default": 0}]}]')


# A build is put into a container, packages are installed.
collect_ignore = ["test_container.py"] if "RAPYER_DEBS" in os.environ else ["test_packages.py"]


def install(machine):
    debs = glob.glob(f"{os.environ['RAPYER_DEBS']}/*.deb") if "RAPYER_DEBS" in os.environ else []
    if debs:
        subprocess.run(["dpkg", f"--root={machine.root}", "-i", *(file for file in debs if "-dbgsym" not in file)],
                       check=True, stdout=subprocess.DEVNULL)
        return
    build = os.environ["RAPYER_BUILD"]
    subprocess.run(["cmake", "--install", build], env={**os.environ, "DESTDIR": str(machine.root)}, check=True,
                   stdout=subprocess.DEVNULL)


def ready(machine):
    machine.run("useradd", "--create-home", "--groups", "rapyerd", "member")
    machine.run("useradd", "--create-home", "stranger")
    machine.write("/tmp/models.json", MODELS)


@pytest.fixture(scope="session")
def machine():
    it = Machine(os.environ.get("RAPYER_ROOT", "/"))
    try:
        install(it)
        it.boot()
        it.run("systemd-sysusers")
        it.run("systemd-tmpfiles", "--create")
        ready(it)
        it.run("systemctl", "enable", "--now", "rapyerd.socket")
        yield it
    finally:
        it.remove()


@pytest.fixture
def service(machine):
    """rapyerd.service, that runs and has a document."""
    machine.run("systemctl", "reset-failed")
    machine.run("rapyerctl", "define", "/tmp/models.json", user="member")
    machine.run("rapyerctl", "save", "User:ada", '{"name": "Ada", "age": 36}', user="member")
    return machine


@pytest.fixture
def conf(machine):
    """Where the settings of an instance are."""
    at = machine.show("rapyerd.service", "ExecStart").split(" -c ")[1].split()[0]
    return os.path.dirname(at)
