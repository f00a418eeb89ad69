"""Lazy fields: doc.get leaves them out and says so, and what it gives can be saved back without loss."""

import pytest

from models import atomic, field
from rpc_client import RpcError
from test_bad_input import refused

NOTE, BOOK, SHELF = "Note:1", "Book:1", "Shelf:1"
MODELS = [
    atomic("Note", field("text", "str", default=""), field("body", "str", default="empty", lazy=True),
           field("marks", "list<int>", lazy=True), field("extra", "optional<str>", lazy=True)),
    atomic("Book", field("name", "str"), field("cover", "bytes", default=b"", lazy=True),
           field("front", "Note"), field("notes", "list<Note>"), field("named", "dict<Note>"),
           field("hidden", "list<Note>", lazy=True)),
]
FULL = {"text": "t", "body": "b", "marks": [1, 2], "extra": "e"}
WHOLE = {
    "name": "n", "cover": b"\x01\x02", "front": FULL,
    "notes": [{"@pk": "a", **FULL}, {"@pk": "b", **FULL, "body": "bb"}],
    "named": {"k": {"@pk": "c", **FULL, "marks": [3]}}, "hidden": [{"@pk": "d", **FULL, "extra": None}],
}


@pytest.fixture(params=["in memory", "from Redis"])
def book(request, redis_server, new_daemon):
    """A client, and a function that makes the daemon read everything anew, or not."""
    daemon = new_daemon(redis_server.address)
    with daemon.connect() as client:
        for model in MODELS:
            client.call("define", model)
        client.call("doc.save", BOOK, WHOLE)
    if request.param == "from Redis":
        daemon = new_daemon(redis_server.address)
    with daemon.connect() as client:
        yield client


def whole(client):
    found = client.call("doc.load", BOOK, "")
    assert found.pop("@pk") == "1"
    return found


def test_a_map_says_what_it_leaves_out(book):
    got = book.call("doc.get", BOOK)
    assert sorted(got["@lazy"]) == ["cover", "hidden"] and "cover" not in got and "hidden" not in got
    for note in [got["front"], *got["notes"], got["named"]["k"]]:
        assert sorted(note["@lazy"]) == ["body", "extra", "marks"] and note["text"] == "t"
        assert not {"body", "marks", "extra"} & set(note)
    assert "@lazy" not in book.call("doc.load", BOOK, "")
    assert "@lazy" not in book.call("doc.get", BOOK, {"paths": ["notes"]})["notes"][0]


def test_what_was_got_is_saved_back_without_loss(book):
    got = book.call("doc.get", BOOK, {"version": True})
    got["name"], got["notes"][0]["text"], got["named"]["k"]["text"] = "new", "new", "new"
    got["notes"].reverse()
    book.call("doc.save", BOOK, got)
    expected = {**WHOLE, "name": "new", "notes": [WHOLE["notes"][1], {**WHOLE["notes"][0], "text": "new"}],
                "named": {"k": {**WHOLE["named"]["k"], "text": "new"}}}
    assert whole(book) == expected


@pytest.mark.parametrize("path, request_", [
    ("front", lambda got: ("set", BOOK, "front", got["front"])),
    ("notes", lambda got: ("set", BOOK, "notes", got["notes"])),
    ("notes", lambda got: ("set", BOOK, "notes[1]", got["notes"][1])),
    ("notes", lambda got: ("set", BOOK, 'notes["a"]', got["notes"][0])),
    ("notes", lambda got: ("list.set", BOOK, "notes", -1, got["notes"][-1])),
    ("named", lambda got: ("set", BOOK, "named", got["named"])),
    ("named", lambda got: ("set", BOOK, 'named["k"]', got["named"]["k"])),
    ("named", lambda got: ("dict.set", BOOK, "named", "k", got["named"]["k"])),
    ("named", lambda got: ("dict.update", BOOK, "named", got["named"])),
])
def test_a_part_of_it_is_put_back_without_loss(book, path, request_):
    request = request_(book.call("doc.get", BOOK))
    book.call(*request)
    assert whole(book) == WHOLE
    assert book.call("pipeline", [list(request), ["doc.load", BOOK, path]])[1] == WHOLE[path]
    assert whole(book) == WHOLE


def test_in_a_pipeline_what_the_operations_before_did_is_kept(book):
    got = book.call("doc.get", BOOK)
    book.call("pipeline", [["set", BOOK, "cover", b"new"], ["str.append", BOOK, "notes[0].body", "!"],
                           ["doc.save", BOOK, got]])
    assert book.call("doc.load", BOOK, "cover") == b"new"
    assert book.call("doc.load", BOOK, "notes[0].body") == "b!"


def test_what_is_given_counts_whatever_is_named(book):
    got = book.call("doc.get", BOOK)
    got["cover"] = b"given"
    got["front"]["@lazy"] = ["body"]
    book.call("doc.save", BOOK, got)
    assert whole(book) == {**WHOLE, "cover": b"given", "front": {"text": "t", "body": "b", "marks": []}}


def test_without_the_names_a_save_puts_the_defaults(book):
    book.call("doc.save", BOOK, {"name": "n"})
    assert book.call("doc.load", BOOK, "cover") == b""


@pytest.mark.parametrize("prepare, request_, where", [
    (["doc.delete", BOOK], lambda got: ("doc.save", BOOK, got), "document"),
    (["list.pop", BOOK, "notes", 0], lambda got: ("doc.save", BOOK, got), "notes/a/body"),
    (["list.pop", BOOK, "notes", 0], lambda got: ("set", BOOK, "notes", got["notes"]), "notes/a"),
    (["hello"], lambda got: ("list.append", BOOK, "notes", {**got["notes"][0], "@pk": "z"}), "notes/z"),
    (["hello"], lambda got: ("list.extend", BOOK, "notes", [{**got["notes"][0], "@pk": "z"}]), "element"),
    (["hello"], lambda got: ("set", BOOK, "notes[0]", got["notes"][1]), "pk|notes/b"),
    (["hello"], lambda got: ("dict.set", BOOK, "named", "new", {**got["named"]["k"], "@pk": "z"}), "named/z"),
    (["hello"], lambda got: ("doc.save", "Book:2", {**got, "@pk": "2"}), "document"),
    (["hello"], lambda got: ("doc.insert", [["Book:2", {**got, "@pk": "2"}]]), "document"),
])
def test_what_is_not_there_any_more_is_not_made_up(book, rdb, prepare, request_, where):
    got = book.call("doc.get", BOOK)
    book.call(*prepare)
    before = {key: rdb.dump(key) for key in rdb.keys("rapyer:{*")}
    with pytest.raises(RpcError, match=f"^(NOT_FOUND|BAD_VALUE): .*({where})"):
        book.call(*request_(got))
    assert {key: rdb.dump(key) for key in rdb.keys("rapyer:{*")} == before


def test_what_another_daemon_has_put_there_is_kept(redis_server, new_daemon, new_proxy):
    """The save is worked out from what is there: as any such, from what is there in that moment."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(proxy.address).connect() as ours, new_daemon(redis_server.address).connect() as other:
        for client in (ours, other):
            for model in MODELS:
                client.call("define", model)
        ours.call("doc.save", BOOK, WHOLE)
        got = ours.call("doc.get", BOOK)
        other.call("set", BOOK, "cover", b"theirs")
        ours.call("doc.save", BOOK, got)
        assert ours.call("doc.load", BOOK, "cover") == b"theirs"
        assert other.call("doc.get", BOOK, {"fresh": True, "paths": ["cover"]})["cover"] == b"theirs"


@pytest.mark.parametrize("named, code", [(5, "BAD_TYPE"), ([5], "BAD_TYPE"), (["none"], "UNKNOWN_FIELD"),
                                         (True, "BAD_TYPE"), ({"cover": 1}, "BAD_TYPE")])
def test_names_that_cannot_be_are_refused(book, named, code):
    refused(book, code, "doc.save", BOOK, {"name": "n", "@lazy": named})
    assert whole(book) == WHOLE
