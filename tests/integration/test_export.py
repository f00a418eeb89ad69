"""rapyerctl export and import: whole documents of all kinds as lines of JSON, between daemons, prefixes and
namespaces; in pieces, again, and with what is wrong in between."""

import json
import subprocess
from datetime import datetime, timezone

import pytest

from models import MODELS, atomic, field, plain, save_ada
from test_rapyerctl import CTL

POINT = plain("Point", field("x", "int"), field("y", "float", default=0.0))
PART = atomic("Part", field("n", "int", default=0), field("tags", "list<str>"))
ALL = atomic(
    "All", field("i", "int"), field("f", "float"), field("b", "bool"), field("s", "str"), field("raw", "bytes"),
    field("at", "datetime"), field("dec", "decimal"), field("day", "date"), field("clock", "time"), field("gap", "timedelta"),
    field("naive", "datetime_naive"), field("zoned", "datetime_zoned"), field("id", "uuid"), field("e", "enum<a|b>"),
    field("ref", "ref<All>"), field("any", "any"), field("none", "optional<int>"), field("null", "optional<bytes>", default=None),
    field("point", "Point"), field("part", "Part"), field("parts", "list<Part>"), field("named", "dict<Part>"),
    field("maybe", "optional<Part>"), field("rows", "list<list<int>>"), field("halls", "dict<list<Part>>"),
    field("members", "set<bytes>"), field("days", "set<date>"), field("queue", "sorted<str>"), field("counts", "dict<int>"),
    field("lazy", "str", default="", lazy=True))
DOCUMENT = {
    "i": -2 ** 63, "f": -0.0, "b": True, "s": 'a\0"\\\u2028\u00e9', "raw": bytes(range(256)),
    "at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc), "dec": "-12.50", "day": "0001-01-01",
    "clock": "23:59:59.000000001", "gap": "-90.5", "naive": "2024-01-31T23:59:59.5",
    "zoned": "2024-01-31T23:59:59.5-11:30", "id": "0b4ac3d2-5e6f-4a7b-8c9d-0e1f2a3b4c5d", "e": "b", "ref": "All:x/{y}",
    "any": {1: "one", None: [1.0, 1, 5e-324, 1.7976931348623157e308, True, b"\x00"], "nul\0": {"$bytes": "AAAA"},
            b"k": {"$time": "2024-01-31T12:00:00Z"}, "m": {"$map": [[1, 2]]}, "t": datetime(1, 1, 1, tzinfo=timezone.utc)},
    "point": {"x": 1, "y": 0.1}, "part": {"n": 5, "tags": ["x"]}, "parts": [{"@pk": "p/1", "n": 1, "tags": []}],
    "named": {"k\0": {"@pk": "q", "n": 2, "tags": ["y"]}}, "maybe": {"n": 3, "tags": []}, "rows": [[1], []],
    "halls": {"h": [{"@pk": "r", "n": 4, "tags": []}]}, "members": [b"", b"\xff"], "days": ["2024-01-31"],
    "queue": [["late", 2.5], ["soon", -1.0]], "counts": {"$bytes": 1, "": 0}, "lazy": "long"}


@pytest.fixture
def run(tmp_path):
    def run(daemon, *args, code=0, text=None):
        done = subprocess.run([CTL, "-s", daemon.socket, *map(str, args)], input=text, capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == code, (done.returncode, done.stderr, done.stdout)
        run.errors = done.stderr
        return done.stdout

    return run


def whole(client, key):
    document = client.call("doc.load", key, "")
    document["members"] = sorted(document["members"])
    return document


def test_all_kinds_come_back_as_they_were(run, redis_server, new_daemon, tmp_path):
    source = new_daemon(redis_server.address)
    target = new_daemon(redis_server.address, {"redis.key_prefix": "other"})
    with source.connect() as one, target.connect() as two:
        for model in (POINT, PART, ALL):
            one.call("define", model)
        for key, ttl in (("All:1", 0), ("All:x/{y}", 1000)):
            one.call("doc.save", key, {**DOCUMENT})
            one.call("doc.ttl", key, ttl)
        file = tmp_path / "all.jsonl"
        counts = json.loads(run(source, "export", "--output", file, "All"))
        assert counts == {"documents": 2, "gone": 0, "failed": 0}
        for again in ("saved", "there"):
            flags = ["--if-absent"] if again == "there" else []
            assert json.loads(run(target, "import", file, *flags)) == {
                "models": 3, "saved": 0, "there": 0, "refused": 0, again: 2}
        for key in ("All:1", "All:x/{y}"):
            assert repr(whole(two, key)) == repr(whole(one, key))  # also -0.0, and 1 beside 1.0
        assert two.call("doc.ttl", "All:1") == -1 and 900 < two.call("doc.ttl", "All:x/{y}") <= 1000
        assert run(target, "export", "All").splitlines()[1:4] == run(source, "export", "All").splitlines()[1:4]


def test_many_and_all_models(run, redis_server, new_daemon, tmp_path):
    source = new_daemon(redis_server.address)
    target = new_daemon(redis_server.address, {"redis.key_prefix": "other"})
    with source.connect() as one, target.connect() as two:
        save_ada(one)
        one.call("define", atomic("Page", field("n", "int", default=0), ttl=60))
        for n in range(300):
            one.call("doc.save", f"Page:{n}", {"n": n})
        one.call("doc.persist", "Page:7")
        text = run(source, "export")
        assert json.loads(run.errors)["documents"] == 301
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines[0]["rapyer-export"] == 1 and lines[-1] == {"end": {"documents": 301}}
        assert [line["define"]["name"] for line in lines if "define" in line] == [m["name"] for m in MODELS] + ["Page"]
        assert json.loads(run(target, "import", "-", text=text))["saved"] == 301
        assert two.call("doc.load", "Page:299", "n") == 299 and 0 < two.call("doc.ttl", "Page:299") <= 60
        assert two.call("doc.ttl", "Page:7") == -1
        assert two.call("doc.get", "User:ada") == one.call("doc.get", "User:ada")
        shop = [line.replace('"optional<Address>"', '"optional<shop.Address>"') for line in text.splitlines()]
        assert json.loads(run(target, "-n", "shop", "import", "-", text="\n".join(shop)))["refused"] == 0
        assert two.call("doc.load", "shop.Page:299", "n") == 299
        assert json.loads(run(target, "-n", "shop", "export", "Page", "--output", tmp_path / "p"))["documents"] == 300


def test_a_dry_run_says_what_would_be(run, daemon, client):
    client.call("define", atomic("Page", field("n", "int")))
    client.call("doc.save", "Page:1", {"n": 1})
    text = "\n".join(map(json.dumps, [
        {"define": {"name": "Book", "kind": "atomic", "fields": [{"name": "pages", "type": "list<Leaf>"}]}},
        {"define": {"name": "Leaf", "kind": "atomic", "fields": [{"name": "n", "type": "int"}]}},
        {"key": "Page:1", "document": {"n": 2}}, {"key": "Page:2", "document": {"n": "x"}},
        {"key": "Book:1", "ttl": 5, "document": {"pages": [{"n": 1}]}}, {"key": "None:1", "document": {}},
        {"define": {"name": "Page", "kind": "atomic", "fields": [{"name": "n", "type": "str"}]}}]))
    assert json.loads(run(daemon, "import", "-", "--dry-run", "--if-absent", text=text, code=1)) == {
        "models": 2, "saved": 1, "there": 1, "refused": 3}
    assert "line 4: n: int expected, found str" in run.errors
    assert client.call("doc.load", "Page:1", "n") == 1 and len(client.call("admin.models")) == 1
    assert json.loads(run(daemon, "import", "-", "--if-absent", text=text, code=1)) == {
        "models": 2, "saved": 1, "there": 1, "refused": 3}
    assert client.call("doc.load", "Book:1", "pages")[0]["n"] == 1 and client.call("doc.ttl", "Book:1") == 5


def test_what_is_wrong_is_said_by_its_line(run, daemon, client, tmp_path):
    client.call("define", atomic("Page", field("n", "int")))
    lines = ["", "nonsense", "[1]", "{}", '{"key": 5}', '{"key": "Page:1"}', '{"key": "Page", "document": {}}',
             '{"key": "Page:1", "ttl": -5, "document": {"n": 1}}', '{"key": "Page:1", "ttl": "x", "document": {"n": 1}}',
             '{"key": "Page:1", "document": {"n": {"$bytes": "!"}}}', '{"key": "Page:1", "document": {"n": {"$map": [1]}}}',
             '{"define": 7}', '{"key": "Page:\\u0001", "document": {"n": 1}}', '{"key": "Page:2", "document": {"n": 1}}',
             '{"key": "Page:3", "document": {"n"']
    for flag in ([], ["--dry-run"]):
        answer = json.loads(run(daemon, "import", "-", *flag, text="\n".join(lines), code=1))
        assert answer["saved"] == 1 and answer["refused"] == 13
        told = {" ".join(part.split()[1:3]) for part in run.errors.splitlines()}
        assert {f"line {n}:" for n in range(2, 16) if n != 14} == told, run.errors
    assert client.call("doc.exists", "Page:1", "Page:2") == 1
    run(daemon, "import", "-", text='{"rapyer-export": 2}\n', code=2)
    run(daemon, "import", tmp_path / "none", code=2)
    run(daemon, "import", "-", "--from", "x", code=2)
    run(daemon, "import", "a", "b", code=2)
    run(daemon, "export", "--resume", code=2)
    run(daemon, "export", "--nonsense", code=2)
    run(daemon, "export", "Nobody", code=4)


def test_an_export_goes_on_where_it_ended(run, daemon, client, tmp_path):
    """The file is cut at many places; what is resumed is as the whole one."""
    client.call("define", atomic("Page", field("n", "int")))
    client.call("define", atomic("Word", field("s", "str")))
    for n in range(40):
        client.call("doc.save", f"Page:{n}", {"n": n})
        client.call("doc.save", f"Word:{n}", {"s": "\u00e9" * n})
    file = tmp_path / "all.jsonl"
    run(daemon, "export", "--output", file)
    complete = file.read_bytes()
    assert b'{"next":{"model":"Word"' in complete
    run(daemon, "export", "--output", file, code=2)  # it is there
    assert "--resume" in run.errors
    for at in (0, 10, len(complete) // 3, len(complete) // 2, len(complete) - 30, len(complete) - 1, len(complete)):
        file.write_bytes(complete[:at])
        assert json.loads(run(daemon, "export", "--output", file, "--resume"))
        lines = file.read_bytes().splitlines()
        assert sorted(lines) == sorted(complete.splitlines()), at
        assert file.read_bytes().endswith(b"\n")
    file.write_bytes(complete[:-30])
    client.call("doc.save", "Page:1", {"n": 1000})  # its page is there already
    client.call("doc.save", "Word:1", {"s": "anew"})
    run(daemon, "export", "--output", file, "--resume")
    assert b"1000" not in file.read_bytes() and b"anew" in file.read_bytes()


def test_an_import_goes_on_where_it_ended(run, redis_server, new_daemon, rdb, tmp_path):
    daemon = new_daemon(redis_server.address, {"commit.queue_time": "200ms", "redis.command_timeout": "200ms"})
    with daemon.connect() as client:
        client.call("define", atomic("Page", field("n", "int")))
    lines = [json.dumps({"key": f"Page:{n}", "document": {"n": n}}) for n in range(50)]
    rdb.config_set("maxmemory", 1)
    answer = json.loads(run(daemon, "import", "-", text="\n".join(lines), code=5))
    assert answer["saved"] == 0 and "go on with --from 1" in run.errors
    rdb.config_set("maxmemory", 0)
    assert json.loads(run(daemon, "import", "-", "--from", 11, text="\n".join(lines)))["saved"] == 40
    with daemon.connect() as client:
        assert client.call("doc.exists", *(f"Page:{n}" for n in range(50))) == 40


def test_documents_that_cannot_be_read_are_told(run, daemon, client, rdb):
    client.call("define", atomic("Page", field("n", "int")))
    for n in range(3):
        client.call("doc.save", f"Page:{n}", {"n": n})
    rdb.hset("rapyer:{Page:1}", "n", "nonsense")
    client.call("doc.exists", "Page:1")
    text = run(daemon, "export", "Page", code=1)
    assert '"failed":1' in run.errors and "Page:1: CORRUPT" in run.errors
    assert text.count('{"key":') == 2 and text.endswith('{"end":{"documents":2}}\n')


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_models_that_hold_each_other(run, redis_server, new_daemon, flags):
    source = new_daemon(redis_server.address)
    target = new_daemon(redis_server.address, {"redis.key_prefix": "other"})
    with source.connect() as one, target.connect() as two:
        one.call("define", atomic("Crew", field("chief", "optional<Sailor>"), field("crews", "dict<list<Crew>>")),
                 atomic("Sailor", field("crews", "list<Crew>")))
        document = {"chief": {"crews": [{"@pk": "c", "chief": None, "crews": {}}]},
                    "crews": {"x": [{"@pk": "d", "chief": None, "crews": {}}]}}
        one.call("doc.save", "Crew:1", document)
        counts = json.loads(run(target, "import", "-", *flags, text=run(source, "export")))
        assert (counts["models"], counts["saved"], counts["refused"]) == (2, 1, 0)
        if not flags:
            assert two.call("doc.get", "Crew:1") == {"@pk": "1", **document}
