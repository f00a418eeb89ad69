"""doc.get_or_create and doc.persist: who creates a document is told so, everyone else gets it."""

import pytest

from models import KEY, ROOT, atomic, define_all, field, save_ada
from rpc_client import RpcError
from test_two_daemons import crowd

NOTE = atomic("Note", field("text", "str"), field("seen", "int", default=0), field("tags", "list<str>"),
              field("big", "str", default="", lazy=True))
NOTE_KEY = "Note:1"


@pytest.fixture
def client(client):
    client.call("define", NOTE)
    return client


def test_it_is_created_once(client, rdb):
    made = client.call("doc.get_or_create", NOTE_KEY, {"text": "mine", "tags": ["a"]})
    document = {"@pk": "1", "text": "mine", "seen": 0, "tags": ["a"]}
    assert made.pop("document").items() >= document.items()
    assert made == {"created": True, "version": int(rdb.hget("rapyer:{Note:1}", "@v"))}
    client.call("num.incr", NOTE_KEY, "seen", 1)
    again = client.call("doc.get_or_create", NOTE_KEY, {"text": "yours"})
    assert again["created"] is False and again["version"] == made["version"] + 1
    assert again["document"].items() >= {**document, "seen": 1}.items()
    assert "big" not in again["document"]
    client.call("doc.delete", NOTE_KEY)
    assert client.call("doc.get_or_create", NOTE_KEY, {"text": "new"})["created"] is True


@pytest.mark.parametrize("there", [False, True])
def test_the_map_is_checked_whether_it_is_needed_or_not(client, there):
    if there:
        client.call("doc.save", NOTE_KEY, {"text": "x"})
    for given, why in [({}, "BAD_VALUE: text is missing"), ({"text": 1}, "BAD_TYPE"),
                       ({"text": "x", "no": 1}, "UNKNOWN_FIELD"), ([], "BAD_TYPE")]:
        with pytest.raises(RpcError, match=why):
            client.call("doc.get_or_create", NOTE_KEY, given)
    for params in [[], [NOTE_KEY], [NOTE_KEY, {}, {}], [7, {}]]:
        with pytest.raises(RpcError, match="BAD_REQUEST"):
            client.call("doc.get_or_create", *params)
    assert client.call("doc.exists", NOTE_KEY) == int(there)


def test_one_of_many_creates_it(redis_server, new_daemon):
    """Through two daemons, which do not know of each other's documents."""
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", NOTE)

    def create(client, number):
        return [client.call("doc.get_or_create", f"Note:{i}", {"text": str(number)}) for i in range(20)]

    answers = crowd(daemons, create)
    for i in range(20):
        of_one = [mine[i] for mine in answers]
        assert [a["created"] for a in of_one].count(True) == 1
        assert len({a["document"]["text"] for a in of_one}) == 1
        assert len({a["version"] for a in of_one}) == 1


def test_persist(client, rdb):
    define_all(client)
    save_ada(client)
    assert client.call("doc.persist", KEY) is False
    client.call("doc.ttl", KEY, 100)
    assert client.call("doc.persist", KEY) is True
    assert client.call("doc.ttl", KEY) == -1
    assert all(rdb.ttl(key) == -1 for key in rdb.keys(f"{ROOT}*"))
    with pytest.raises(RpcError, match="NOT_FOUND"):
        client.call("doc.persist", NOTE_KEY)
    with pytest.raises(RpcError, match="BAD_REQUEST"):
        client.call("doc.persist", KEY, 1)


# --- within pipelines ----------------------------------------------------------------------


def test_in_a_pipeline(client, rdb):
    answers = client.call("pipeline", [
        ["doc.exists", NOTE_KEY], ["doc.get_or_create", NOTE_KEY, {"text": "x"}], ["doc.exists", NOTE_KEY],
        ["doc.ttl", NOTE_KEY], ["doc.ttl", NOTE_KEY, 50], ["num.incr", NOTE_KEY, "seen", 1],
        ["doc.get_or_create", NOTE_KEY, {"text": "y"}], ["doc.ttl", NOTE_KEY], ["doc.persist", NOTE_KEY],
        ["doc.ttl", NOTE_KEY], ["doc.ttl", NOTE_KEY, 70]])
    assert [a["created"] if isinstance(a, dict) else a for a in answers] == [
        0, True, 1, -1, 50, 1, False, 50, True, -1, 70]
    assert answers[6]["document"]["text"] == "x" and answers[6]["document"]["seen"] == 1
    assert 60 < rdb.ttl("rapyer:{Note:1}") <= 70
    assert int(rdb.hget("rapyer:{Note:1}", "@v")) == answers[1]["version"] == answers[6]["version"]


def test_a_pipeline_that_is_refused_leaves_no_deadline(client, rdb):
    client.call("doc.save", NOTE_KEY, {"text": "x"})
    client.call("doc.ttl", NOTE_KEY, 500)
    with pytest.raises(RpcError, match="BAD_TYPE: operation 4"):
        client.call("pipeline", [["doc.ttl", NOTE_KEY, 5], ["doc.persist", NOTE_KEY], ["doc.ttl", NOTE_KEY, 7],
                                 ["doc.get_or_create", "Note:2", {"text": "y"}], ["set", NOTE_KEY, "text", 1]])
    assert 450 < client.call("doc.ttl", NOTE_KEY) <= 500
    assert 450 < rdb.ttl("rapyer:{Note:1}") <= 500
    assert client.call("doc.exists", "Note:2") == 0


@pytest.mark.parametrize("op, code", [
    (["doc.ttl", NOTE_KEY, -1], "BAD_REQUEST"), (["doc.ttl", NOTE_KEY, "x"], "BAD_REQUEST"),
    (["doc.ttl", NOTE_KEY], "NOT_FOUND"), (["doc.persist", NOTE_KEY], "NOT_FOUND"),
    (["doc.ttl", NOTE_KEY, 1, 2], "BAD_REQUEST"), (["doc.exists"], "BAD_REQUEST"),
    (["doc.get_or_create", NOTE_KEY], "BAD_REQUEST"), (["doc.get_or_create", NOTE_KEY, {}], "BAD_VALUE"),
    (["doc.keys", "Note"], "UNKNOWN_METHOD"),
])
def test_bad_input_in_a_pipeline(client, op, code):
    if code == "BAD_REQUEST":
        client.call("doc.save", NOTE_KEY, {"text": "x"})
    with pytest.raises(RpcError, match=code):
        client.call("pipeline", [op])


def test_in_parts(client):
    """One Redis has one part: it is whole, or refused."""
    client.call("define", NOTE)
    said = client.call("doc.insert", [[NOTE_KEY, {"text": ""}], ["Note:2", {"text": ""}]], {"parts": True})
    assert [one["key"] for one in said["saved"]] == [NOTE_KEY, "Note:2"] and said["refused"] == []
    said = client.call("doc.insert", [[NOTE_KEY, {"text": ""}], ["Note:3", {"text": ""}]], {"parts": True})
    assert said["saved"] == [] and [key for key, _ in said["refused"]] == [NOTE_KEY, "Note:3"]
    assert client.call("doc.exists", "Note:3") == 0
    assert client.call("doc.insert", [[NOTE_KEY, {"text": ""}]], {"replace": True})[0]["key"] == NOTE_KEY
    assert client.call("doc.insert", [], {"parts": True}) == {"saved": [], "refused": []}
    assert client.call("doc.delete", NOTE_KEY, "Note:2", NOTE_KEY, {"parts": True}) == {"deleted": 2, "refused": []}
    assert client.call("doc.delete", NOTE_KEY, {"parts": False}) == 0
