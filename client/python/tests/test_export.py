"""What `python -m rapyerd.export` writes. The half that reads Rapyer's documents needs Rapyer and a Redis
with RedisJSON, which .ci/rapyer brings."""

import datetime as dt
import json
import os
import pickle
import subprocess
import sys

import pytest
from daemon_process import REPOSITORY, built
from redis_server import RedisServer
from rpc_client import Client

from rapyerd import export

HERE = os.path.dirname(os.path.abspath(__file__))


def packed(*found):
    data = [pickle.dumps(each) for each in found]
    return b"".join(len(each).to_bytes(4, "little") + each for each in data)


def encoded(stream):
    command = [sys.executable, "-m", "rapyerd.export", "--encode", "--models", "exported"]
    env = {**os.environ, "PYTHONPATH": HERE}
    done = subprocess.run(command, input=stream, capture_output=True, env=env, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, lines, done.stderr.decode()


def test_documents_of_plain_values(daemon):
    book = {
        "title": "ä",
        "color": "red",
        "when": dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone.utc),
        "raw": b"\x00",
        "streets": [{"name": "s"}],
        "labels": {"x"},
        "jobs": [("j", 2.0)],
        "any": {1: b"x", "$a": {"\0": None}},
    }
    stream = packed(
        ("exported", "Book", "Book:1", book, 7900),
        ("exported", "Author", "Author:a@b.c", {"email": "a@b.c"}, -1),
        ("exported", "Book", "Book:2", {"pages": 3}, -1),
    )
    code, lines, said = encoded(stream)
    assert code == 1 and "Book:2 was not exported" in said and "2 documents were exported" in said
    documents = {line["key"]: line for line in lines if "key" in line}
    assert documents["Book:1"]["ttl"] == 7 and "ttl" not in documents["Author:a@b.c"]
    content = documents["Book:1"]["document"]
    assert content["raw"] == {"$bytes": "AA=="} and content["jobs"] == [["j", 2.0]]
    assert content["when"] == {"$time": "2024-01-02T03:04:05.000006Z"}
    assert [line["define"]["name"] for line in lines if "define" in line] == [
        "Street",
        "Book",
        "Desk",
        "Author",
    ]
    # The daemon takes all of it.
    text = "".join(json.dumps(line) + "\n" for line in lines)
    subprocess.run(
        [built("client/rapyerctl"), "-s", daemon.socket, "import", "-"], input=text, text=True, check=True
    )
    with Client(daemon.socket) as client:
        there = client.call("doc.get", "Book:1")
        assert there["streets"] == [{"name": "s"}] and there["any"] == {1: b"x", "$a": {"\0": None}}
        assert 0 < client.call("doc.ttl", "Book:1") <= 7 and client.call("doc.exists", "Author:a@b.c") == 1


def test_values_without_rapyers_classes():
    class RedisInt(int):
        pass

    class Queue:
        model_fields = {"n": None}

        def __init__(self):
            self.n = RedisInt(4)

    found = export.plain({"a": [RedisInt(1), Queue()], "b": (True, None, {RedisInt(2)})})
    assert found == {"a": [1, {"n": 4}], "b": (True, None, {2})}
    assert type(found["a"][0]) is int and type(found["a"][1]["n"]) is int


RAPYER = os.path.join(REPOSITORY, "build", "rapyer")


@pytest.mark.skipif(not os.path.exists(f"{RAPYER}/wanted"), reason=".ci/rapyer was not run")
def test_the_whole_of_it(daemon, workdir):
    """A deployment of Rapyer, exported by its own models in its own environment, and imported: the same
    program finds in it what it found there."""
    python = f"{RAPYER}/bin/python"
    server = RedisServer(f"{workdir}/json", program=f"{RAPYER}/redis-server")
    address = f"unix://{server.socket}"
    env = {**os.environ, "PYTHONPATH": HERE}

    def run(*words, code=0, **more):
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, **more)
        assert done.returncode == code, done.stderr
        return done

    def stored():
        with server.client() as client:
            return {key: client.dump(key) for key in client.keys("*")}

    try:
        run(python, "-c", f"import asyncio, exported; asyncio.run(exported.fill({address!r}))")
        there = run(python, "-c", f"import asyncio, exported; asyncio.run(exported.show({address!r}))").stdout
        assert there.count("\n") == 121
        before = stored()
        export = [python, "-m", "rapyerd.export", "--models", "exported", "--redis", address]
        done = run(*export)
        assert "121 documents were exported, 0 had no form" in done.stderr
        assert stored() == before
        with server.client() as client:
            client.execute_command("JSON.SET", "Book:3", "$.price", '"no pickle"')
        again = run(*export, code=1)
        assert "Book:3 was not exported" in again.stderr and again.stdout.count('{"key":') == 120
    finally:
        server.stop()
    run(built("client/rapyerctl"), "-s", daemon.socket, "import", "-", input=done.stdout)
    program = (
        "import rapyerd; rapyerd.install_as_rapyer()\nimport asyncio, exported; asyncio.run(exported.show())"
    )
    assert run(sys.executable, "-c", program).stdout == there
    with Client(daemon.socket) as client:
        assert 4000 < client.call("doc.ttl", "Book:119") <= 5000
