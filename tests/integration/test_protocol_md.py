"""PROTOCOL.md is the contract: its bytes are what it says, and rapyerd answers as it shows."""

import re
from pathlib import Path

import msgpack
import pytest

from wire_examples import decode, read_block, read_blocks, read_notation, same, write_message

PROTOCOL = Path(__file__).parents[2] / "protocol"
TEXT = (PROTOCOL / "PROTOCOL.md").read_text(encoding="utf-8")
BLOCKS = read_blocks(TEXT)


def test_the_document_has_examples():
    assert len(BLOCKS) > 20
    assert all(messages for _, messages in BLOCKS)
    assert sum(exact for exact, _ in BLOCKS) > 15


@pytest.mark.parametrize("messages", [b[1] for b in BLOCKS], ids=lambda m: f"line{m[0].line}")
def test_bytes_are_what_the_notation_says(messages):
    for message in messages:
        if message.notation is None:
            with pytest.raises(Exception):
                decode(message.data)
        else:
            assert same(decode(message.data), read_notation(message.notation)), message


@pytest.mark.parametrize("messages", [b[1] for b in BLOCKS], ids=lambda m: f"line{m[0].line}")
def test_each_request_has_its_answer(messages):
    asked = [m for m in messages if m.sent]
    answered = [m for m in messages if not m.sent and (m.notation is None or decode(m.data)[0] == 1)]
    assert len(asked) == len(answered)
    for request, answer in zip(asked, answered):
        if request.notation is None:
            continue
        assert decode(answer.data)[:2] == [1, decode(request.data)[1]], answer


@pytest.mark.parametrize("text,value", [
    ("nil", None), ("[true, false]", [True, False]), ("-5", -5), ("1.0", 1.0), ("2.5e3", 2500.0),
    ('"a\\n\\"b"', 'a\n"b'), ('b"\\x00\\xffz"', b"\x00\xffz"), ("{}", {}), ('{"a": [1, {"b": nil}]}',
                                                                  {"a": [1, {"b": None}]}),
    ('time"1970-01-01T00:00:01.5Z"', msgpack.Timestamp(1, 500000000)),
    ('time"1969-12-31T23:59:59.25Z"', msgpack.Timestamp(-1, 250000000)),
])
def test_notation(text, value):
    assert same(read_notation(text), value)


def test_written_examples_are_read_back():
    lines = write_message('> [0, 1, "set", ["User:42", "name",\n  "' + "x" * 50 + '"]]')
    message, = read_block(lines, 0)
    assert message.sent and decode(message.data) == [0, 1, "set", ["User:42", "name", "x" * 50]]
    assert same(decode(message.data), read_notation(message.notation))


@pytest.mark.parametrize("text", ["", "[1", "1 2", "{1}", "[1 2]", "x", '"a', "]"])
def test_notation_that_is_none(text):
    with pytest.raises((ValueError, IndexError)):
        read_notation(text)


@pytest.mark.parametrize("a,b", [(1, 1.0), (1, True), ("a", b"a"), ([1], [1, 2]), ({"a": 1}, {"b": 1}),
                                 (None, False), ({"a": 1}, {"a": 1, "b": 2})])
def test_different_values_are_not_the_same(a, b):
    assert not same(a, b) and not same([a], [b]) and not same({"k": a}, {"k": b})


def test_all_error_codes_are_listed_with_their_meaning():
    header = (PROTOCOL / "fault.h").read_text(encoding="utf-8")
    codes = re.findall(r'X\((\w+), "([^"]+)"\)', header)
    assert len(codes) > 20
    section = TEXT[TEXT.index("\n## Errors"):TEXT.index("\n## Types and values")]
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", section, re.MULTILINE))
    assert listed == dict(codes)


def test_all_that_hello_names_is_described_and_nothing_else(client):
    features = set(client.call("hello")["features"])
    named = set(re.findall(r"`([a-z]+(?:\.[a-z_]+)*)(?: [^`]*)?`", TEXT))
    assert len(features) > 80 and features - named == set()
    kinds = {name.split(".")[0] for name in features if "." in name}
    methods = {name for name in named if "." in name and name.split(".")[0] in kinds}
    assert methods - features == {"segment.hits", "lock.lost"}  # notifications


class Teller:
    """Tells a story's answers without what may differ from one telling to the next: the texts of
    errors are for people, and versions begin at the time a document is made."""

    def __init__(self):
        self.first = {}

    def relative(self, value, key):
        if type(value) is int and value >= 10**12:
            return ("version", value - self.first.setdefault(key, value))
        if isinstance(value, list):
            return [self.relative(item, key) for item in value]
        if isinstance(value, dict):
            return {name: self.relative(item, value.get("key", key)) for name, item in value.items()}
        return value

    def tell(self, request, answer):
        if answer[0] == 2:
            return [2, answer[1], self.relative(answer[2], str(answer[2][0]))]
        kind, number, error, result = answer
        key = request and request[3] and str(request[3][0])
        return [kind, number, error and error.split(": ")[0], self.relative(result, key)]


def test_rapyerd_answers_as_the_document_shows(daemon):
    shown, told = Teller(), Teller()
    for exact, messages in BLOCKS:
        if not exact:
            continue
        with daemon.connect() as client:
            client.unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, timestamp=0)
            for message in messages:
                if message.sent:
                    client.send_raw(message.data)
                    request = message.notation and decode(message.data)
                    continue
                answer = client.read_message()
                assert same(told.tell(request, answer),
                            shown.tell(request, decode(message.data))), (message, answer)


def replaced(value, names):
    """The request with what rapyerd has given for what is shown (tokens)."""
    if isinstance(value, list):
        return [replaced(v, names) for v in value]
    if isinstance(value, dict):
        return {key: replaced(v, names) for key, v in value.items()}
    return names.get(value, value) if isinstance(value, int) else value


def check_sample(shown, given, names):
    assert type(given) is type(shown), (shown, given)
    if isinstance(shown, str):
        assert given.split(":")[0] == shown.split(":")[0]
    if isinstance(shown, dict):
        assert set(given) == set(shown)
        for key in shown:
            assert type(given[key]) is type(shown[key]), key
        if "token" in shown:
            names[shown["token"]] = given["token"]
    if isinstance(shown, list):
        assert len(given) == len(shown)


def test_samples_have_the_form_that_is_shown(daemon):
    with daemon.connect() as client:
        for message in (m for exact, messages in BLOCKS if exact for m in messages if m.sent):
            if '"define"' in (message.notation or ""):  # the models that samples ask for
                client.send_raw(message.data)
                client.read_message()
        client.call("doc.save", "User:42", {"name": "Ada"})
        samples = [messages for exact, messages in BLOCKS if not exact]
        assert len(samples) > 1
        for messages in samples:
            names = {}
            for request, answer in zip(messages[::2], messages[1::2]):
                client.send_raw(client.pack(replaced(decode(request.data), names)))
                given, shown = client.read_message(), decode(answer.data)
                check_sample(shown[2], given[2], names)
                check_sample(shown[3], given[3], names)
