"""What `python -m rapyerd.export` writes. The half that reads Rapyer's documents needs Rapyer and a Redis
with RedisJSON: it is run where $RAPYER_REDISJSON and $RAPYER_PATH name them, as for the measurements."""

import datetime as dt
import json
import os
import pickle
import subprocess
import sys

import pytest
from daemon_process import built
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
    assert [line["define"]["name"] for line in lines if "define" in line] == ["Street", "Book", "Author"]
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


@pytest.mark.skipif("RAPYER_REDISJSON" not in os.environ, reason="no Redis with RedisJSON is named")
def test_the_whole_of_it():
    program = (
        "import asyncio, os, rapyer, exported\n"
        "async def main():\n"
        "    await rapyer.init_rapyer('unix://' + os.environ['RAPYER_REDISJSON'])\n"
        "    book = exported.Book(title='x', streets=[exported.Street(name='s')], labels={'l'})\n"
        "    await book.asave(); await book.jobs.apush('j', 2); print(book.key)\n"
        "asyncio.run(main())\n"
    )
    paths = [HERE, os.environ["RAPYER_PATH"]]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    python = [sys.executable]
    made = subprocess.run([*python, "-c", program], env=env, capture_output=True, text=True, check=True)
    command = [*python, "-m", "rapyerd.export", "--models", "exported", "--redis"]
    command.append("unix://" + os.environ["RAPYER_REDISJSON"])
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    documents = {
        each["key"]: each["document"] for each in map(json.loads, done.stdout.splitlines()) if "key" in each
    }
    found = documents[made.stdout.strip()]
    assert found["streets"] == [{"name": "s"}] and found["labels"] == ["l"] and found["jobs"] == [["j", 2.0]]
