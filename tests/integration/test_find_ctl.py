"""rapyerctl find: expressions as text, pages, and what is said when something is wrong."""

import json
import os
import subprocess

import pytest

from daemon_process import binary
from models import atomic, field

CTL = os.path.join(os.path.dirname(os.path.dirname(binary())), "client", "rapyerctl")
HOME = atomic("Home", field("town", "str", default="Bonn", index="exact"))
USER = atomic(
    "User", field("name", "str", index="exact"), field("age", "int", index="range"),
    field("city", "optional<str>", index="exact"), field("tags", "list<str>", index="tags"),
    field("note", "str", default="x"), field("born", "date", default="2000-01-01", index="range"),
    field("seen", "optional<datetime>", index="range"), field("homes", "list<Home>"))


@pytest.fixture
def ctl(client, daemon):
    def run(*args, code=0):
        done = subprocess.run([CTL, "-s", daemon.socket, *args], capture_output=True, text=True,
                              timeout=30, check=False)
        assert done.returncode == code, done.stderr
        assert (done.stderr == "") == (code == 0)
        return done.stderr if code else done.stdout

    client.call("define", HOME)
    client.call("define", USER)
    client.call("doc.insert", [[f"User:{i}", {
        "name": f"n{i % 7}", "age": i, "city": [None, "Boston", "New York"][i % 3],
        "tags": ["even"] if i % 2 == 0 else [], "born": f"2000-01-{1 + i % 31:02}",
        "homes": [{"town": "Rom"}] if i == 5 else []}] for i in range(250)])
    return run


def ages(text):
    return [json.loads(line)["document"]["age"] for line in text.splitlines()]


def test_documents_are_lines_that_import_takes(ctl, client):
    lines = ctl("find", "User", 'age = 7 and city = "Boston"')
    assert json.loads(lines) == {"key": "User:7", "document": client.call("doc.get", "User:7")}


@pytest.mark.parametrize("expression, holds", [
    ('age > 30 and city = "Boston"', lambda i: i > 30 and i % 3 == 1),
    ("age > 30 and (city = 'New York' or not tags has even)", lambda i: i > 30 and (i % 3 == 2 or i % 2)),
    ("city in [Boston, null] and age <= 100", lambda i: i % 3 < 2 and i <= 100),
    ("born < 2000-01-03", lambda i: i % 31 < 2), ("seen > 2024-01-31T12:00:00Z", lambda i: False),
    ("homes[].town = Rom", lambda i: i == 5), ("", lambda i: True)])
def test_expressions(ctl, expression, holds):
    want = {i for i in range(250) if holds(i)}
    found = ages(ctl("find", "User", expression, "--scan"))
    assert len(found) == len(want) and set(found) == want
    assert ctl("find", "User", expression, "--scan", "--count") == f"{len(want)}\n"


def test_sort_limit_and_pages(ctl):
    assert ages(ctl("find", "User", "age < 240", "--sort", "-age", "--limit", "230")) == list(range(239, 9, -1))
    assert ages(ctl("find", "--sort=age", "User")) == list(range(250))
    assert ages(ctl("find", "--limit", "3", "User", "tags has even", "--sort", "age")) == [0, 2, 4]


def test_what_no_index_sorts_goes_on_by_the_cursor(ctl, client):
    client.call("doc.insert", [[f"User:m{i}", {"name": "many", "age": 1000 + i}] for i in range(1100)])
    keys = ctl("find", "User", "name = many", "--sort", "note", "--keys").split()
    assert sorted(keys) == sorted(f"User:m{i}" for i in range(1100))


def test_update(ctl, client):
    update = '[["set", "note", "y"], ["list.append", "tags", "seen"]]'
    assert ctl("find", "User", "age < 10", "--update", update, "--yes") == "10\n"
    assert ctl("find", "User", "tags has seen", "--count") == "10\n"
    assert ctl("find", "User", "age >= 10", "--sort", "age", "--limit", "5", "--update", update, "-y") == "5\n"
    assert client.call("find.count", "User", ["has", "tags", "seen"]) == 15
    assert "BAD_TYPE" in ctl("find", "User", "age < 10", "--update", '[["set", "age", "x"]]', "--yes", code=1)


def test_delete(ctl, client):
    assert ctl("find", "User", "age >= 200", "--delete", "--yes") == "50\n"
    assert ctl("find", "--delete", "--yes", "--sort=-age", "--limit", "20", "User") == "20\n"
    assert client.call("find.count", "User", [">=", "age", 0]) == 180
    assert "NO_INDEX" in ctl("find", "User", "note = x", "--delete", "--yes", code=1)
    assert ctl("find", "User", "note = x", "--delete", "--yes", "--scan") == "180\n"


def test_what_is_refused_is_told(client, daemon):
    client.call("define", HOME)
    client.call("define", USER)
    client.call("doc.insert", [[f"User:{i}", {"name": "a", "age": i, "tags": ["x"] * (i % 2)}] for i in range(6)])
    done = subprocess.run([CTL, "-s", daemon.socket, "find", "User", "age < 10", "-y", "--update", '[["list.pop", "tags"]]'],
                          capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "3\n")
    lines = sorted(done.stderr.splitlines())
    assert len(lines) == 3 and all(f"User:{i}: " in line for i, line in zip((0, 2, 4), lines))


def test_nothing_is_changed_without_a_yes(ctl, client):
    assert "--yes" in ctl("find", "User", "age < 10", "--delete", code=2)
    assert "--count, --explain" in ctl("find", "User", "age < 10", "--delete", "--count", code=2)
    assert "--keys" in ctl("find", "User", "age < 10", "--delete", "--keys", "--yes", code=2)
    assert client.call("find.count", "User", [">=", "age", 0]) == 250


@pytest.mark.parametrize("answer, left", [("y", 240), ("n", 250), ("", 250)])
def test_on_a_terminal_it_is_asked(ctl, client, daemon, answer, left):
    asked, terminal = os.openpty()
    with subprocess.Popen([CTL, "-s", daemon.socket, "find", "User", "age < 10", "--delete"], stdin=terminal,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.close(terminal)
        os.write(asked, answer.encode() + b"\n")
        out, err = process.communicate(timeout=30)
    os.close(asked)
    assert "Delete 10 documents of User?" in err
    assert (out, process.returncode) == (("10\n", 0) if left == 240 else ("", 1))
    assert client.call("find.count", "User", [">=", "age", 0]) == left


def test_paths_keys_and_explain(ctl):
    assert json.loads(ctl("find", "User", "age = 5", "--paths", "name,homes[0].town")) == {
        "key": "User:5", "document": {"name": "n5", "homes[0].town": "Rom"}}
    assert ctl("find", "User", "age in [3]", "--keys") == "User:3\n"
    explain = json.loads(ctl("find", "User", "age = 3 and tags has even", "--explain"))
    assert [source["path"] for source in explain["from"]] == ["age"]


def test_in_a_namespace(ctl):
    assert "shop.User" in ctl("-n", "shop", "find", "User", "age = 3", code=4)


@pytest.mark.parametrize("args, code, text", [
    (["User", "age > and city = 1"], 2, 'find: expression: no value (if this word is one, it has to be in '
                                        'quotes) at offset 6 of "age > and city = 1"'),
    (["User", "age ="], 2, "the end, where a value is due, at offset 5"),
    (["User", "age = 1", "extra"], 2, "one expression, in quotes for the shell: extra"),
    ([], 2, "Usage"), (["--scan"], 2, "find takes a model"), (["User", "--limit", "0"], 2, "--limit"),
    (["User", "--limit", "x"], 2, "--limit"), (["User", "--what"], 2, "find takes --sort"),
    (["User", "--sort"], 2, "find takes --sort"), (["User", "age = 1", "--paths", "no_field"], 4, "UNKNOWN_FIELD"),
    (["User", "nobody = 1"], 4, "UNKNOWN_FIELD"), (["Nobody", "x = 1"], 4, "UNKNOWN_MODEL"),
    (["User", "age = old"], 1, "BAD_TYPE"), (["User", "note = x"], 1, "NO_INDEX"),
    (["User", "note = x", "--count"], 1, "NO_INDEX"), (["User", "note = x", "--explain"], 1, "NO_INDEX")])
def test_what_is_refused(ctl, args, code, text):
    assert text in ctl("find", *args, code=code)
