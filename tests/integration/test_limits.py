"""Answers that would be too long: TOO_LARGE, nothing is changed, and the connection goes on."""

import pytest

from models import KEY, atomic, define_all, field, save_ada
from ring_client import RingClient
from rpc_client import RpcError, wait_until
from test_bad_input import refused

MIB = 1 << 20
BIG, BOX, BOXES, SHELF = "x" * (3 * MIB // 2), "Box:1", "Boxes:1", "Shelf:1"
MODELS = [
    atomic("Box", field("text", "str", default=""), field("raw", "bytes", default=b"", lazy=True),
           field("texts", "list<str>"), field("names", "dict<str>")),
    atomic("Boxes", field("boxes", "list<Box>"), field("named", "dict<Box>"), field("n", "int", default=0)),
]


@pytest.fixture
def narrow(redis_server, new_daemon):
    return new_daemon(redis_server.address, {"limits.client_output": "1M", "limits.client_output_pause": "64K"})


@pytest.fixture(params=["socket", "ring"])
def boxes(request, narrow):
    """A client of a rapyerd that gives 1 MiB at most, and documents with more than that in one place."""
    with narrow.connect() as client:
        for model in MODELS:
            client.call("define", model)
        fill(client)
        if request.param == "socket":
            yield client
        else:
            with RingClient(narrow.socket) as ring:
                yield ring


def fill(client):
    half = BIG[:MIB * 3 // 4]
    client.call("doc.save", BOX, {"text": BIG, "raw": BIG.encode(), "texts": ["a", BIG], "names": {"k": BIG}})
    client.call("doc.save", BOXES, {"boxes": [{"@pk": "a"}, {"@pk": "b", "texts": [half, half]}],
                                    "named": {"k": {"@pk": "c", "texts": [half, half]}}})


LONG = [
    ("doc.get", BOX), ("doc.load", BOX, ""), ("doc.load", BOX, "text"), ("doc.load", BOX, "raw"),
    ("doc.get", BOX, {"paths": ["text"]}), ("doc.get_many", [BOX]), ("doc.get_many", [BOXES, BOX]),
    ("list.pop", BOX, "texts"), ("list.pop", BOX, "texts", 1), ("list.pop", BOXES, "boxes", -1),
    ("dict.pop", BOX, "names", "k"), ("dict.popitem", BOX, "names"), ("dict.pop", BOXES, "named", "k"),
    ("dict.popitem", BOXES, "named"), ("str.append", BOX, "text", "!"), ("str.repeat", BOX, "text", 1),
    ("bytes.append", BOX, "raw", b"!"), ("dict.pop", BOX, "names", "none", BIG),
]


@pytest.mark.parametrize("request_", LONG, ids=lambda r: " ".join(str(w)[:20] for w in r))
def test_what_would_be_too_long_is_refused_and_changes_nothing(boxes, rdb, request_):
    before = everything(rdb)
    refused(boxes, "TOO_LARGE", *request_)
    # Alone, within a pipeline, and with the release of a lock.
    if request_[0] not in ("doc.get_many",) and request_[2:] != ({"paths": ["text"]},):
        text = refused(boxes, "TOO_LARGE", "pipeline", [["num.incr", BOXES, "n", 1], list(request_)])
        assert f"operation 1 ({request_[0]})" in text or "client_output" in text
        token = boxes.call("lock.acquire", BOXES, "x")["token"]
        refused(boxes, "TOO_LARGE", "lock.release", token, [["num.incr", BOXES, "n", 1], list(request_)])
        boxes.call("lock.release", token)
    assert everything(rdb) == before
    assert boxes.call("num.incr", BOXES, "n", 1) == 1


def everything(rdb):
    """Each key of a document, as it is."""
    return {key: rdb.dump(key) for key in rdb.keys("rapyer:{*")}


def test_many_that_are_too_much_together_are_refused(boxes):
    boxes.call("doc.save", "Box:2", {"text": "x" * 1000})
    refused(boxes, "TOO_LARGE", "doc.get_many", ["Box:2"] * 1100)
    refused(boxes, "TOO_LARGE", "pipeline", [["doc.get", "Box:2"]] * 1100)
    refused(boxes, "TOO_LARGE", "lock.acquire", BOX, "x", {"document": True})
    assert len(boxes.call("doc.get_many", ["Box:2"] * 900)) == 900
    # Nobody holds the lock that could not be answered.
    boxes.call("lock.release", boxes.call("lock.acquire", BOX, "x", {"wait": 0})["token"])


def test_a_pipeline_is_refused_for_what_it_would_answer_in_the_end(boxes, rdb):
    """Its saves are answered with keys and versions, which are not there when it is tried out."""
    saves = [["doc.save", f"Box:{'long' * 50}{i}", {}] for i in range(5000)]
    refused(boxes, "TOO_LARGE", "pipeline", saves)
    assert not rdb.exists("rapyer:{Box:" + "long" * 50 + "0}")


def test_what_just_fits_is_given(boxes):
    """However much of the connection's room is taken by the message around it."""
    most = MIB - 5  # with its head
    boxes.call("set", BOX, "text", "x" * most)
    assert len(boxes.call("doc.load", BOX, "text")) == most
    boxes.call("list.append", BOX, "texts", "y" * most)
    assert len(boxes.call("list.pop", BOX, "texts")) == most
    refused(boxes, "TOO_LARGE", "set", BOX, "text", "x" * (17 * MIB))


def test_a_page_of_keys_that_is_too_long_is_refused(narrow, rdb):
    with narrow.connect() as client:
        client.call("define", MODELS[0])
        pipe = rdb.pipeline()
        for i in range(6000):
            pipe.hset("rapyer:{Box:" + "long" * 50 + f"{i}" + "}", "@v", 1)
        pipe.execute()
        refused(client, "TOO_LARGE", "doc.keys", "Box", {"count": 100000})
        assert client.call("doc.keys", "Box", {"count": 100})["keys"]


# --- a document's pk is in it, wherever it came from ---------------------------------------------


def test_a_document_says_its_pk_however_it_is_read(redis_server, new_daemon):
    for round_ in range(2):
        with new_daemon(redis_server.address).connect() as client:
            if round_ == 0:
                save_ada(client)
            whole = client.call("doc.load", KEY, "")
            assert whole["@pk"] == "ada"
            assert client.call("doc.get", KEY, {"paths": [""]})[""]["@pk"] == "ada"
            assert client.call("doc.get", KEY)["@pk"] == "ada"
            assert client.call("pipeline", [["doc.load", KEY, ""]])[0]["@pk"] == "ada"
            assert client.call("doc.save", KEY, whole)


def test_a_key_field_stays_what_it_is_for_a_document_that_came_from_redis(redis_server, new_daemon):
    model = atomic("Part", field("number", "int"), field("name", "str", default=""), key="number")
    for _ in range(2):
        with new_daemon(redis_server.address).connect() as client:
            client.call("define", model)
            if not client.call("doc.exists", "Part:7"):
                client.call("doc.save", "Part:7", {})
            refused(client, "BAD_VALUE", "set", "Part:7", "number", 8)
            refused(client, "BAD_VALUE", "num.incr", "Part:7", "number", 1)
