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
