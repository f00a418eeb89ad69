"""The examples of PROTOCOL.md are one story: told to a fresh daemon, it gives these answers."""

import os
import re

import msgpack
import pytest

from daemon_process import REPOSITORY

PROTOCOL = os.path.join(REPOSITORY, "protocol", "PROTOCOL.md")
BLOCK = re.compile(r"^```wire( sample)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def messages(block):
    """[(direction, bytes)] of one block; what is behind `=` is for people."""
    found = []
    readable = False
    for line in block.splitlines():
        if line[:2] in ("> ", "< "):
            found.append((line[0], line[2:]))
            readable = False
        elif line.startswith("  ="):
            readable = True
        elif not readable:
            found[-1] = (found[-1][0], found[-1][1] + " " + line)
    return [(direction, bytes.fromhex(text)) for direction, text in found]


def blocks():
    with open(PROTOCOL, encoding="utf-8") as file:
        return [(bool(sample), messages(text)) for sample, text in BLOCK.findall(file.read())]


def decode(data):
    return msgpack.unpackb(data, raw=False, strict_map_key=False, timestamp=3)


def types(value):
    """The shape of a value: 1 and 1.0 and True are equal in Python, and not on the wire."""
    if isinstance(value, list):
        return [types(item) for item in value]
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    return type(value)


def test_examples_are_answered_as_written(daemon):
    told = 0
    for sample, exchange in blocks():
        with daemon.connect() as client:
            for direction, data in exchange:
                if direction == ">":
                    client.send_raw(data)
                    continue
                answer, written = client.read_message(), decode(data)
                if sample:
                    assert answer[:3] == written[:3] and type(answer[3]) is type(written[3])
                    continue
                assert answer == written
                assert types(answer) == types(written)
                told += 1
    assert told > 60


def test_every_method_of_the_text_is_known(client):
    with open(PROTOCOL, encoding="utf-8") as file:
        text = file.read()
    named = set(re.findall(r"`((?:doc|num|str|bytes|datetime|list|dict|admin)\.[a-z_]+)", text))
    assert len(named) > 30
    for method in sorted(named):
        try:
            client.call(method)
        except Exception as error:
            assert not str(error).startswith("UNKNOWN_METHOD"), method


@pytest.mark.parametrize("request_id", [0, 127, 128, 65536, 2**32, 2**64 - 1])
def test_ids_come_back_by_value(client, request_id):
    client.send_raw(client.pack([0, request_id, "hello", []]))
    assert client.read_message()[:3] == [1, request_id, None]
