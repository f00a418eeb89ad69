"""The file system of the container, run as its Containerfile says, without an engine: another user, read-only,
without rights, in namespaces of its own."""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import pytest

from redis_server import free_port

HERE = pathlib.Path(__file__).parents[2]
USER = "65532"


def words(instruction):
    """The words of an instruction of the Containerfile, as of ENTRYPOINT [...]."""
    text = (HERE / "packaging/container/Containerfile").read_text(encoding="utf-8").replace("\\\n", "")
    return json.loads(re.search(rf"^{instruction}\b[^\[\n]*(\[.*\])", text, re.MULTILINE)[1])


def mount(*argv):
    subprocess.run(["mount", *argv], check=True)


class Container:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rapyer-container-", dir="/tmp"))
        self.root = self.folder / "root"
        self.image = self.folder / "image"
        self.root.mkdir()
        subprocess.run([HERE / "packaging/container/rootfs", os.environ["RAPYER_BUILD"], self.image], check=True)
        mount("--bind", self.image, self.root)
        mount("-o", "remount,ro,bind,nosuid,nodev", self.root)
        mount("-t", "tmpfs", "-o", f"uid={USER},gid={USER},mode=0755", "tmpfs", self.root / "run/rapyerd")
        self.process = None

    def enter(self, words_):
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "setpriv", "--no-new-privs",
                "/usr/sbin/chroot", f"--userspec={USER}:{USER}", self.root, *words_]

    def start(self, *arguments):
        command = self.enter([*words("ENTRYPOINT"), *arguments])
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stderr=log, env={})

    def healthy(self):
        return subprocess.run(self.enter(words("HEALTHCHECK")), capture_output=True, check=False, env={}).returncode == 0

    def pid(self):
        found = self.process.pid
        while True:
            with open(f"/proc/{found}/task/{found}/children", encoding="ascii") as file:
                children = file.read().split()
            if not children:
                return found
            found = int(children[0])

    def remove(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        subprocess.run(["umount", "--lazy", "--recursive", self.root], check=True)
        subprocess.run(["rm", "-r", self.folder], check=True)


@pytest.fixture
def container():
    it = Container()
    yield it
    it.remove()


def until(condition, log):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def test_it_serves_and_ends(container, tmp_path):
    port = free_port()
    redis = subprocess.Popen(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", tmp_path],
                             stdout=subprocess.DEVNULL)
    try:
        assert not container.healthy()
        container.start("-o", f"redis.redis=127.0.0.1:{port}")
        until(container.healthy, container.folder / "log")
        with open(f"/proc/{container.pid()}/status", encoding="ascii") as file:
            status = dict(line.rstrip().split(":\t", 1) for line in file)
        assert status["Uid"].split() == [USER] * 4 and int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"
        with open(f"/proc/{container.pid()}/mountinfo", encoding="ascii") as file:
            root = next(line for line in file if line.split()[4] == "/")
        assert "ro" in root.split()[5].split(",")
        ctl = [HERE / os.environ["RAPYER_BUILD"] / "client/rapyerctl", "-s", container.root / "run/rapyerd/rapyerd.sock"]
        models = '[{"name": "User", "kind": "atomic", "fields": [{"name": "age", "type": "int", "default": 0}]}]'
        (tmp_path / "models.json").write_text(models, encoding="ascii")
        subprocess.run([*ctl, "define", tmp_path / "models.json"], check=True, capture_output=True)
        subprocess.run([*ctl, "save", "User:ada", '{"age": 36}'], check=True, capture_output=True)
        os.kill(container.pid(), signal.SIGTERM)
        assert container.process.wait(10) == 0, "what it has taken is done"
        assert not (container.root / "run/rapyerd/rapyerd.sock").exists()
    finally:
        redis.terminate()
        redis.wait()


def test_nothing_else_is_in_it(container):
    programs = {path.name for folder in ("usr/bin", "usr/sbin") for path in (container.image / folder).iterdir()}
    assert programs == {"rapyerd", "rapyerctl"}
    assert sum(path.stat().st_size for path in container.image.rglob("*") if path.is_file()) < 20 << 20
