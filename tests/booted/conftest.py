"""The machine all tests share: booted once, with rapyerd installed, its socket enabled, and two users."""

import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

from machine import Machine  # noqa: E402

MODELS = ('[{"name": "User", "kind": "atomic", "fields": [{"name": "name", "type": "str"},'
          ' {"name": "age", "type": "int", "default": 0}]}]')


def install(machine):
    build = os.environ["RAPYER_BUILD"]
    subprocess.run(["cmake", "--install", build], env={**os.environ, "DESTDIR": str(machine.root)}, check=True,
                   stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def machine():
    root = os.environ.get("RAPYER_ROOT")
    it = Machine(root or "/")
    try:
        if not root:
            install(it)
        it.boot()
        it.run("systemd-sysusers")
        it.run("systemd-tmpfiles", "--create")
        it.run("useradd", "--create-home", "--groups", "rapyerd", "member")
        it.run("useradd", "--create-home", "stranger")
        it.write("/tmp/models.json", MODELS)
        it.run("systemctl", "enable", "--now", "rapyerd.socket")
        yield it
    finally:
        it.remove()


@pytest.fixture
def service(machine):
    """rapyerd.service, that runs and has a document."""
    machine.run("rapyerctl", "define", "/tmp/models.json", user="member")
    machine.run("rapyerctl", "save", "User:ada", '{"name": "Ada", "age": 36}', user="member")
    return machine


@pytest.fixture
def conf(machine):
    """Where the settings of an instance are."""
    at = machine.show("rapyerd.service", "ExecStart").split(" -c ")[1].split()[0]
    return os.path.dirname(at)
