"""The examples of protocol/PROTOCOL.md: fenced blocks, their bytes and their notation.

    ```wire
    > 94 00 01 a5 68 65 6c 6c 6f 90
      = [0, 1, "hello", []]
    < 94 01 01 c0 2a
      = [1, 1, nil, 42]
    ```

A line that begins with > or < begins a message to or from rapyerd; its bytes in hexadecimal go
on in lines indented by two. Then the same in notation, behind "=", which goes on in lines
indented by four. The notation is JSON with nil for null, b"..." for bytes (\\xNN and the
escapes of JSON), time"2024-01-31T12:00:00Z" for a timestamp; a number with a point is a float.
Behind the word `wire` may stand `sample`: the answers look like this, with other content.

To write one: python3 wire_examples.py '> [0, 1, "hello", []]' '< [1, 1, nil, 42]'
"""

import json
import re
import sys
from datetime import datetime, timezone

import msgpack

TOKEN = re.compile(r"""\s*(?:
    (?P<word>nil|true|false)
  | (?P<float>-?\d+(?:\.\d+(?:e[+-]?\d+)?|e[+-]?\d+))
  | (?P<int>-?\d+)
  | (?P<kind>b|time)?(?P<string>"(?:[^"\\]|\\.)*")
  | (?P<mark>[\[\]{},:])
  )""", re.VERBOSE)
WORDS = {"nil": None, "true": True, "false": False}


class Message:
    def __init__(self, line, sent, data, notation):
        self.line, self.sent, self.data, self.notation = line, sent, data, notation

    def __repr__(self):
        return f"line {self.line}: {self.notation}"


def to_bytes(text):
    escaped = re.sub(r"\\x([0-9a-fA-F]{2})", r"\\u00\1", text)
    return json.loads(escaped).encode("latin-1")


def to_timestamp(text):
    whole, _, fraction = json.loads(text).rstrip("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()
    return msgpack.Timestamp(int(seconds), int(fraction.ljust(9, "0") or 0))


class Notation:
    """A reader of one value."""

    def __init__(self, text):
        self.tokens = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if not match:
                raise ValueError(f"not in the notation: {text[at:at + 40]!r}")
            self.tokens.append(match)
            at = match.end()
        self.at = 0

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def take(self, mark):
        if self.at < len(self.tokens) and self.tokens[self.at]["mark"] == mark:
            self.at += 1
            return True
        return False

    def expect(self, mark):
        if not self.take(mark):
            raise ValueError(f"'{mark}' expected before token {self.at}")

    def items(self, close, read):
        while not self.take(close):
            yield read()
            if not self.take(","):
                self.expect(close)
                return

    def pair(self):
        key = self.value()
        self.expect(":")
        return key, self.value()

    def value(self):
        token = self.next()
        if token["word"]:
            return WORDS[token["word"]]
        if token["float"]:
            return float(token["float"])
        if token["int"]:
            return int(token["int"])
        if token["string"]:
            read = {None: json.loads, "b": to_bytes, "time": to_timestamp}[token["kind"]]
            return read(token["string"])
        if token["mark"] == "[":
            return list(self.items("]", self.value))
        if token["mark"] == "{":
            return dict(self.items("}", self.pair))
        raise ValueError(f"a value expected, not {token[0]!r}")

    def whole(self):
        value = self.value()
        if self.at != len(self.tokens):
            raise ValueError(f"more than one value: {self.tokens[self.at][0]!r}")
        return value


def read_notation(text):
    return Notation(text).whole()


def decode(data):
    return msgpack.unpackb(data, raw=False, strict_map_key=False, timestamp=0)


def same(a, b):
    """Equal, and of the same types all the way down: 1, 1.0 and true are three things."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(key in b and same(a[key], b[key]) for key in a)
    return a == b


def read_block(lines, number):
    messages = []
    for line in lines:
        number += 1
        if line[:2] in ("> ", "< "):
            messages.append(Message(number, line[0] == ">", bytes.fromhex(line[2:]), None))
        elif line.startswith("  = "):
            messages[-1].notation = line[4:]
        elif line.startswith("    ") and messages[-1].notation is not None:
            messages[-1].notation += "\n" + line[4:]
        elif line.startswith("  ") and messages[-1].notation is None:
            messages[-1].data += bytes.fromhex(line)
        else:
            raise ValueError(f"line {number} has not the form of an example: {line!r}")
    return messages


def read_blocks(text):
    """Each example: whether its answers are to be taken as they are, and its messages."""
    blocks, lines, start = [], None, 0
    for number, line in enumerate(text.split("\n"), 1):
        if lines is None and line.startswith("```wire"):
            lines, start, exact = [], number, line == "```wire"
            if line not in ("```wire", "```wire sample"):
                raise ValueError(f"line {number}: {line!r}")
        elif lines is not None and line == "```":
            blocks.append((exact, read_block(lines, start)))
            lines = None
        elif lines is not None:
            lines.append(line)
    return blocks


def write_message(line):
    """The lines of an example for "> notation" or "< notation"."""
    direction, notation = line[0], line[2:].split("\n")
    pairs = msgpack.packb(read_notation(line[2:]), use_bin_type=True).hex(" ").split()
    rows = [" ".join(pairs[i:i + 32]) for i in range(0, len(pairs), 32)]
    return ([f"{direction} {rows[0]}"] + [f"  {row}" for row in rows[1:]]
            + [f"  = {notation[0]}"] + [f"    {more}" for more in notation[1:]])


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print("\n".join(write_message(argument)))
