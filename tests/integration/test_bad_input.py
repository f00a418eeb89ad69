"""Whatever a client sends: a clear error, nothing changed in Redis, and the daemon goes on."""

import struct
import time

import msgpack
import pytest

from models import ADA, KEY, ROOT, USER, atomic, define_all, field, plain, save_ada
from rpc_client import Closed, RpcError

MIB = 1 << 20


@pytest.fixture
def ada(client):
    save_ada(client)
    return client


@pytest.fixture
def unharmed(ada, daemon, redis_server):
    """After the test: Redis holds what it held, and the daemon answers old and new clients."""
    before, document = redis_server.snapshot(), ada.call("doc.get", KEY)
    yield ada
    assert redis_server.snapshot() == before
    for client in (ada, daemon.connect()):
        with client:
            assert client.call("doc.get", KEY) == document


def refused(client, code, method, *params):
    """The call is answered with an error of this code; gives back its text."""
    with pytest.raises(RpcError) as caught:
        client.call(method, *params)
    assert caught.value.code == code, caught.value.error
    assert len(caught.value.text) > 5
    return caught.value.text


def closing_error(said, code):
    """The last thing a daemon says on a stream that it cannot follow any further."""
    assert said, "closed without a word"
    kind, _, error, result = said[-1]
    assert kind == 1 and result is None
    assert error.startswith(code + ": "), error
    return error


# --- bytes that are no requests ------------------------------------------------------------


BROKEN_FRAMES = {
    "reserved byte": b"\xc1",
    "reserved byte in params": b"\x94\x00\x01\xa5hello\x91\xc1",
    "depth 33": b"\x94\x00\x01\xa5hello" + b"\x91" * 32 + b"\xc0",
    "depth 100000": b"\x94\x00\x01\xa5hello" + b"\x91" * 100000,
    "no array": b"\xa5hello",
    "text of another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "unknown kind of message": b"\x94\x07\x01\xa5hello\x90",
    "five elements": b"\x95\x00\x01\xa5hello\x90\xc0",
    "id is no number": b"\x94\x00\xa1x\xa5hello\x90",
    "negative id": b"\x94\x00\xff\xa5hello\x90",
}


@pytest.mark.parametrize("data", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES.keys())
def test_broken_frame_closes_its_connection_only(unharmed, daemon, data):
    memory = daemon.virtual_memory()
    with daemon.connect() as bad:
        bad.call("hello")
        try:
            bad.send_raw(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        error = closing_error(bad.expect_closed(), "BAD_FRAME")
        assert len(error) > 20
    assert daemon.virtual_memory() - memory < 16 * MIB


OVERSIZED = {
    "array of 2^32-1 in five bytes": b"\xdd\xff\xff\xff\xff",
    "array of 2^32-1 as params": b"\x94\x00\x01\xa5hello\xdd\xff\xff\xff\xff",
    "map of 2^32-1": b"\x94\x00\x01\xa5hello\x91\xdf\xff\xff\xff\xff",
    "string of 4 GB": b"\x94\x00\x01\xa5hello\x91\xdb\xff\xff\xff\xff",
    "bytes of 4 GB": b"\x94\x00\x01\xa5hello\x91\xc6\xff\xff\xff\xff",
}


@pytest.mark.parametrize("data", OVERSIZED.values(), ids=OVERSIZED.keys())
def test_declared_size_is_not_believed(unharmed, daemon, data):
    with daemon.connect() as bad:
        bad.call("hello")
        resident, virtual = daemon.memory(), daemon.virtual_memory()
        bad.send_raw(data)
        closing_error(bad.expect_closed(), "TOO_LARGE")
        assert daemon.memory() - resident < MIB
        assert daemon.virtual_memory() - virtual < 16 * MIB


def test_truncated_frame_then_end(unharmed, daemon):
    frame = msgpack.packb([0, 1, "set", [KEY, "age", 1]])
    for cut in range(1, len(frame)):
        with daemon.connect() as bad:
            bad.send_raw(frame[:cut])


def test_unfinished_frame_costs_only_its_bytes(unharmed, daemon):
    resident = daemon.memory()
    others = []
    for _ in range(20):
        other = daemon.connect()
        other.send_raw(b"\x94\x00\x01\xa3set\x93\xc6\x00\xf0\x00\x00" + b"x" * 1000)
        others.append(other)
    unharmed.call("hello")
    assert daemon.memory() - resident < 4 * MIB
    for other in others:
        other.close()


@pytest.mark.parametrize("over", [0, 1])
def test_frame_at_and_over_the_limit(redis_server, new_daemon, over):
    daemon = new_daemon(redis_server.address, {"limits.max_frame": "1M", "limits.max_value": "1M"})
    with daemon.connect() as client:
        head = b"\x94\x00\x01\xa5hello\x91\xc6"
        size = MIB - len(head) - 4 + over
        client.send_raw(head + struct.pack(">I", size))
        if over:
            closing_error(client.expect_closed(), "TOO_LARGE")
        else:
            client.send_raw(b"x" * size)
            kind, request, error, _ = client.read_message()
            assert (kind, request) == (1, 1)
            assert error is None or error.startswith("BAD_")
            assert client.call("hello")


def cost_of(daemon, client, size, piece):
    """Processor time for one request of this size that arrives in pieces."""
    frame = msgpack.packb([0, 1, "hello", [{"client": "x" * size}]])
    start = daemon.cpu()
    for at in range(0, len(frame), piece):
        client.send_raw(frame[at:at + piece])
        if piece < 1000:
            time.sleep(0)
    client.read_message()
    return daemon.cpu() - start


@pytest.mark.parametrize("size,piece", [(2 * MIB, 65536), (2500, 1)])
def test_cost_of_a_frame_in_pieces_is_linear(unharmed, daemon, size, piece):
    """Eight times the size: eight times the cost, where looking at all of it again for each piece
    would make it 64 times."""
    with daemon.connect() as client:
        cost_of(daemon, client, size, piece)
        once = min(cost_of(daemon, client, size, piece) for _ in range(3))
        eightfold = min(cost_of(daemon, client, 8 * size, piece) for _ in range(3))
    assert eightfold < 30 * once + 0.01, (once, eightfold)


def test_notification_gets_no_answer(unharmed, daemon):
    with daemon.connect() as client:
        client.notify("no.such.method", 1)
        client.notify("hello")
        client.call("hello")
        assert not client.notifications and not client.answers


def test_response_from_a_client_is_no_reason_to_fall_over(unharmed, daemon):
    with daemon.connect() as client:
        client.send_raw(msgpack.packb([1, 7, None, "what"]))
        try:
            client.call("hello")
        except (Closed, BrokenPipeError):
            pass


def test_bytes_of_all_kinds(unharmed, daemon):
    """Each first byte there is, with junk behind it."""
    for first in range(256):
        with daemon.connect() as client:
            try:
                client.send_raw(bytes([first]) + b"\x00\xc1\xff\x81\xa1" * 3)
            except (BrokenPipeError, ConnectionResetError):
                pass


# --- requests that mean nothing --------------------------------------------------------------


@pytest.mark.parametrize("method", ["", "no.such.method", "doc.", "DOC.GET", "set\0", "x" * 5000])
def test_unknown_method(unharmed, method):
    refused(unharmed, "UNKNOWN_METHOD", method, KEY)


ARITY = [
    ("define", []), ("define", [{}] * 1025), ("doc.save", [KEY]), ("doc.save", [KEY, {}, {}, 1]),
    ("doc.get", []), ("doc.get", [KEY, {}, 1]), ("ref.get", [KEY]), ("ref.get", [KEY, "age", 1]),
    ("doc.load", [KEY]), ("doc.insert", []),
    ("doc.get_many", []), ("set", [KEY, "age"]), ("set", [KEY, "age", 1, 2]),
    ("num.incr", [KEY, "age"]), ("list.append", [KEY, "tags"]), ("list.insert", [KEY, "tags", 0]),
    ("list.pop", [KEY, "tags", 0, 0]), ("list.remove_range", [KEY, "tags", 1]),
    ("list.clear", [KEY, "tags", 1]), ("dict.set", [KEY, "counts", "x"]),
    ("dict.del", [KEY, "counts"]), ("dict.popitem", [KEY, "counts", "x"]),
    ("find", []), ("find", ["User", None, {}, 1]), ("find.count", []), ("find.update", ["User", None]),
    ("find.update", ["User", None, [["set", "age", 1]], {}, 1]), ("find.delete", ["User"]),
    ("find.delete", ["User", None, {}, 1]), ("index.check", []), ("index.drop", ["User"]),
    ("index.drop", ["User", "age", "range", 1]),
]


@pytest.mark.parametrize("method,params", ARITY, ids=[f"{m}-{len(p)}" for m, p in ARITY])
def test_wrong_number_of_parameters(unharmed, method, params):
    text = refused(unharmed, "BAD_REQUEST", method, *params)
    assert method in text


SHAPES = [
    ("doc.get", [7]), ("doc.get", [KEY, 7]), ("doc.get", [KEY, {"paths": "age"}]),
    ("doc.get", [KEY, {"touch": 1}]), ("doc.get", [KEY, {"touch": True, "resolve": True}]),
    ("doc.get_many", [[KEY], {"touch": None}]), ("ref.get", [KEY, 7]), ("ref.get", [7, "age"]),
    ("doc.get_many", [KEY]), ("doc.get_many", [[1]]), ("doc.insert", [[KEY]]), ("set", [KEY, 1, 2]),
    ("set", [None, "age", 2]),
    ("doc.delete", [7]),
    ("find", [7]), ("find", ["User", 7]), ("find", ["User", None, []]), ("find", ["User", ["=", "age", "x"]]),
    ("find.update", ["User", None, "x"]), ("find.update", ["User", None, [["num.incr", "age", 1]], {"limit": "x"}]),
    ("find.delete", ["User", ["in", "age", 1]]), ("find.delete", ["User", None, {"limit": 10001}]),
    ("find.delete", ["User", None, {"offset": -1}]), ("index.list", [7]), ("index.check", [7]), ("index.build", [7]),
    ("index.drop", ["User", 7]),
]


@pytest.mark.parametrize("method,params", SHAPES, ids=[f"{s[0]}-{i}" for i, s in enumerate(SHAPES)])
def test_parameters_of_the_wrong_shape(unharmed, method, params):
    with pytest.raises(RpcError) as caught:
        unharmed.call(method, *params)
    assert caught.value.code in ("BAD_REQUEST", "BAD_KEY", "BAD_TYPE"), caught.value.error


def test_params_that_are_no_array(unharmed):
    with pytest.raises(RpcError, match="^BAD_REQUEST: "):
        unharmed.call_packed("hello", b"\x81\xa1a\x01")
    with pytest.raises(RpcError, match="^UNKNOWN_METHOD: "):
        unharmed.call_packed("pipelined", b"\x90")


# --- values ------------------------------------------------------------------------------------


VALUES = [
    ("BAD_TYPE", "set", "age", "x"), ("BAD_TYPE", "set", "age", 1.5), ("BAD_TYPE", "set", "age", True),
    ("BAD_TYPE", "set", "age", None), ("BAD_TYPE", "set", "active", 1), ("BAD_TYPE", "set", "bio", b"x"),
    ("BAD_TYPE", "set", "blob", "x"), ("BAD_TYPE", "set", "score", "1"), ("BAD_TYPE", "set", "score", False),
    ("BAD_TYPE", "set", "born", "2024"), ("BAD_TYPE", "set", "tags", {"a": 1}),
    ("BAD_TYPE", "set", "tags", ["a", 1]), ("BAD_TYPE", "set", "counts", [1]),
    ("BAD_TYPE", "set", "counts", {1: 1}), ("BAD_TYPE", "set", "address", "x"),
    ("BAD_TYPE", "set", "settings", 5), ("BAD_TYPE", "list.append", "numbers", "x"),
    ("BAD_TYPE", "list.extend", "numbers", [1, "x"]), ("BAD_TYPE", "list.extend", "numbers", 5),
    ("BAD_TYPE", "dict.update", "counts", {"a": 1, "b": "x"}), ("BAD_TYPE", "str.append", "bio", 5),
    ("BAD_TYPE", "num.incr", "age", 0.5), ("BAD_TYPE", "num.incr", "age", "1"),
    ("OUT_OF_RANGE", "set", "age", 2**63), ("OUT_OF_RANGE", "set", "numbers[0]", 2**64 - 1),
    ("OUT_OF_RANGE", "num.incr", "age", 2**63 - 1), ("OUT_OF_RANGE", "num.mul", "age", 2**62),
    ("OUT_OF_RANGE", "num.pow", "age", 100),
    ("BAD_VALUE", "set", "score", float("nan")), ("BAD_VALUE", "set", "score", float("inf")),
    ("BAD_VALUE", "set", "score", float("-inf")), ("BAD_VALUE", "num.mul", "score", float("nan")),
    ("BAD_VALUE", "num.pow", "score", 1e9), ("BAD_VALUE", "num.div", "age", 0),
    ("BAD_VALUE", "num.div", "age", 7), ("BAD_VALUE", "num.mod", "age", 0),
    ("BAD_VALUE", "num.floordiv", "score", 0.0), ("BAD_VALUE", "set", "address", {"city": "x"}),
    ("UNKNOWN_FIELD", "set", "address", {"street": "s", "planet": "x"}),
    ("UNKNOWN_FIELD", "list.append", "sections", {"name": "x", "planet": 1}),
    ("BAD_VALUE", "list.append", "sections", {"tasks": []}),
    ("BAD_KEY", "list.append", "sections", {"@pk": "a\x01b", "name": "x"}),
    ("BAD_KEY", "list.append", "sections", {"@pk": "", "name": "x"}),
    ("BAD_VALUE", "list.append", "sections", {"@pk": "s1", "name": "x"}),
    ("BAD_VALUE", "list.extend", "sections", [{"@pk": "n", "name": "x"}] * 2),
    ("BAD_TYPE", "set", "address.street", 1), ("BAD_TYPE|OUT_OF_RANGE", "set", "rows[0][0]", "x"),
    ("BAD_PATH|BAD_REQUEST|BAD_TYPE", "set", "", {"name": "x"}), ("BAD_TYPE", "str.repeat", "bio", "x"),
    ("BAD_VALUE|OUT_OF_RANGE", "str.repeat", "bio", -1), ("TOO_LARGE", "str.repeat", "bio", 2**40),
    ("BAD_VALUE|OUT_OF_RANGE", "datetime.add", "born", 2**62), ("BAD_VALUE|OUT_OF_RANGE", "num.pow", "age", -1),
    ("BAD_TYPE", "str.append", "nick", "x"),
    ("OUT_OF_RANGE", "list.set", "tags", 3, "x"), ("OUT_OF_RANGE", "list.set", "tags", -4, "x"),
    ("OUT_OF_RANGE", "list.pop", "tags", 3), ("OUT_OF_RANGE", "list.pop", "tags", -4),
    ("OUT_OF_RANGE", "set", "tags[3]", "x"), ("OUT_OF_RANGE", "list.append", "sections[2].tasks", {"title": "x"}),
    ("NOT_FOUND", "dict.pop", "counts", "nope"), ("NOT_FOUND", "set", "teams[\"nope\"].name", "x"),
    ("UNKNOWN_FIELD", "set", "planet", 1), ("BAD_PATH", "set", "age.years", 1), ("BAD_PATH", "set", "age[0]", 1),
    ("BAD_PATH", "set", "tags.x", 1), ("UNKNOWN_FIELD", "set", "settings.planet", 1),
    ("BAD_PATH", "set", "tags[", 1), ("BAD_PATH", "set", "tags[0", 1), ("BAD_PATH", "set", "tags[x]", 1),
    ("BAD_PATH", "set", "tags[99999999999999999999]", 1), ("BAD_PATH", "set", ".", 1),
    ("BAD_PATH", "set", "settings..theme", 1), ("BAD_PATH", "set", "counts[\"x]", 1),
    ("BAD_PATH|UNKNOWN_FIELD", "set", "a" * 100000, 1), ("BAD_PATH|UNKNOWN_FIELD", "set", "settings" + ".x" * 500, 1),
    ("BAD_TYPE", "list.append", "age", 1), ("BAD_TYPE", "num.incr", "tags", 1),
    ("BAD_REQUEST", "doc.load", "tags", 5), ("BAD_REQUEST", "doc.load", "tags", [0, 1]),
    ("BAD_REQUEST", "doc.load", "tags", {"start": 1}), ("BAD_REQUEST", "doc.load", "tags", {1: 1}),
    ("BAD_TYPE", "doc.load", "tags", {"from": "x"}), ("BAD_TYPE", "doc.load", "tags", {"to": 1.5}),
    ("BAD_TYPE|BAD_PATH", "doc.load", "age", {"to": 1}), ("BAD_TYPE|BAD_PATH", "doc.load", "counts", {"to": 1}),
    ("OUT_OF_RANGE|BAD_TYPE", "doc.load", "tags", {"from": 2**64 - 1}), ("BAD_TYPE|BAD_PATH", "doc.load", "", {}),
    ("BAD_TYPE", "dict.set", "tags", "k", 1), ("BAD_TYPE", "str.append", "age", "x"),
]


@pytest.mark.parametrize("code,method,path,args", [(v[0], v[1], v[2], v[3:]) for v in VALUES],
                         ids=[f"{v[0]}-{v[1]}-{i}" for i, v in enumerate(VALUES)])
def test_refused_value(unharmed, code, method, path, args):
    with pytest.raises(RpcError) as caught:
        unharmed.call(method, KEY, path, *args)
    codes = code.split("|")
    if code == "BAD_TYPE" and method not in ("set", "list.extend", "dict.update") \
            and path in ("age", "tags"):
        codes.append("BAD_PATH")  # the operation does not suit what the path leads to
    assert caught.value.code in codes, caught.value.error
    assert len(caught.value.text) > 5


def test_error_names_path_expected_and_found(unharmed):
    text = refused(unharmed, "BAD_TYPE", "list.append", KEY, "sections", {
        "name": "x", "tasks": [{"title": "a"}, {"title": "b", "tags": ["ok", 7]}]})
    assert "tasks[1].tags[1]" in text and "str" in text and "int" in text, text


def test_save_of_a_deep_mistake(unharmed):
    document = {"name": "x", "sections": [{"name": "s", "tasks": [{"title": 5}]}]}
    text = refused(unharmed, "BAD_TYPE", "doc.save", "User:new", document)
    assert "sections[0].tasks[0].title" in text and "str" in text and "int" in text, text
    text = refused(unharmed, "BAD_VALUE", "doc.save", "User:new", {"age": 1})
    assert "name" in text
    text = refused(unharmed, "UNKNOWN_FIELD", "doc.save", "User:new", {"name": "x", "planet": 1})
    assert "planet" in text


@pytest.mark.parametrize("raw", [b"\xa1\xff", b"\xa2\xc0\x80", b"\xa3\xed\xa0\x80", b"\xa2a\xc3",
                                 b"\xa4\xf4\x90\x80\x80"],
                         ids=["ff", "overlong", "surrogate", "cut", "above"])
def test_text_that_is_not_utf8(unharmed, raw):
    key = msgpack.packb(KEY)
    for params in (b"\x93" + key + b"\xa3bio" + raw, b"\x93" + key + b"\xa5extra\x91" + raw,
                   b"\x93" + key + b"\xa6counts\x81" + raw + b"\x01"):
        with pytest.raises(RpcError, match="^BAD_VALUE: .*UTF-8"):
            unharmed.call_packed("set", params)


def test_duplicate_map_key(unharmed):
    key = msgpack.packb(KEY)
    twice = b"\x82\xa1k\x01\xa1k\x02"
    for path in ("counts", "extra"):
        with pytest.raises(RpcError, match="^BAD_VALUE: .*k"):
            unharmed.call_packed("set", b"\x93" + key + msgpack.packb(path) + twice)
    with pytest.raises(RpcError, match="^BAD_VALUE: "):
        unharmed.call_packed("doc.save", b"\x92\xa6User:n\x82\xa4name\xa1a\xa4name\xa1b")


def test_timestamp_that_is_none(unharmed):
    key = msgpack.packb(KEY)
    for raw in (b"\xc7\x0c\xff" + struct.pack(">Iq", 10**9, 0),
                b"\xd7\xff" + struct.pack(">Q", 10**9 << 34),
                b"\xc7\x03\xff\x00\x00\x00", b"\xd6\x05\x00\x00\x00\x00"):
        with pytest.raises(RpcError) as caught:
            unharmed.call_packed("set", b"\x93" + key + b"\xa4born" + raw)
        assert caught.value.code in ("BAD_VALUE", "BAD_TYPE"), caught.value.error


def test_numbers_in_odd_clothes_are_taken(ada):
    key = msgpack.packb(KEY)
    for raw, path, value in ((b"\xd0\x05", b"\xa3age", 5), (b"\xcf" + b"\0" * 7 + b"\x06", b"\xa3age", 6),
                             (b"\xd3" + b"\0" * 7 + b"\x07", b"\xa3age", 7),
                             (b"\xca\x3f\xc0\x00\x00", b"\xa5score", 1.5), (b"\x02", b"\xa5score", 2.0)):
        ada.call_packed("set", b"\x93" + key + path + raw)
        assert ada.call("doc.load", KEY, path[1:].decode()) == value


# --- keys --------------------------------------------------------------------------------------


BAD_PKS = ["", "nul\0", "line\n", "\x7f", "x" * 257, "../..\r"]


@pytest.mark.parametrize("pk", BAD_PKS, ids=[f"pk{i}" for i in range(len(BAD_PKS))])
def test_pk_that_could_leave_its_place(unharmed, pk):
    refused(unharmed, "BAD_KEY", "doc.save", f"User:{pk}", {"name": "x"})
    refused(unharmed, "BAD_KEY", "doc.get", f"User:{pk}")
    refused(unharmed, "BAD_KEY", "list.append", KEY, "sections", {"@pk": pk, "name": "x"})


@pytest.mark.parametrize("key", ["User", ":", ":x", "", "User;x"])
def test_key_of_the_wrong_form(unharmed, key):
    refused(unharmed, "BAD_KEY", "doc.get", key)


def test_model_that_nobody_defined(unharmed):
    text = refused(unharmed, "UNKNOWN_MODEL", "doc.save", "Planet:1", {})
    assert "Planet" in text


@pytest.mark.parametrize("method,args", [
    ("doc.get", []), ("doc.load", ["age"]), ("set", ["age", 1]), ("num.incr", ["age", 1]),
    ("list.append", ["tags", "x"]), ("dict.update", ["counts", {"a": 1}])])
def test_operation_on_a_document_that_is_not_there(unharmed, method, args):
    text = refused(unharmed, "NOT_FOUND", method, "User:nobody", *args)
    assert "User:nobody" in text


# --- schemas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [
    {}, {"name": "X"}, {"name": "X", "kind": "odd", "fields": []}, {"name": "", "kind": "atomic", "fields": []},
    {"name": "a b", "kind": "atomic", "fields": []}, {"name": "X", "kind": "atomic", "fields": 5},
    atomic("X", {"name": "a"}), atomic("X", field("a", "integer")), atomic("X", field("a", "list<")),
    atomic("X", field("a", "list<>")), atomic("X", field("a", "dict<int>>")), atomic("X", field("", "int")),
    atomic("X", field("a.b", "int")), atomic("X", field("@v", "int")), atomic("X", field("a", "int"), field("a", "int")),
    atomic("X", field("a", "set<Section>")), atomic("X", field("a", "list<sorted<Section>>")),
    plain("X", field("a", "Section")), plain("X", field("a", "list<Section>")),
    atomic("X", field("a", "int"), key="b"), atomic("X", field("a", "list<int>"), key="a"),
    atomic("X", field("a", "X")), plain("X", field("a", "list<X>")), atomic("X", field("a", "dict<optional<set<X>>>")),
    atomic("X", field("a", "list<" * 40 + "int" + ">" * 40)), atomic("X", field("a", "int"), ttl=-1),
    atomic("X", field("a", "int"), planet=1),
], ids=lambda m: str(m)[:60])
def test_declaration_that_is_not_valid(unharmed, model):
    with pytest.raises(RpcError) as caught:
        unharmed.call("define", model)
    assert caught.value.code in ("BAD_SCHEMA", "UNKNOWN_MODEL", "UNKNOWN_FIELD", "BAD_REQUEST", "BAD_TYPE"), \
        caught.value.error
    refused(unharmed, "UNKNOWN_MODEL", "doc.get", "X:1")


def test_models_that_hold_each_other(unharmed):
    with pytest.raises(RpcError, match="^UNKNOWN_MODEL: |^BAD_SCHEMA: "):
        unharmed.call("define", atomic("Hen", field("eggs", "list<Egg>")))
    unharmed.call("define", atomic("Egg", field("n", "int", default=0)))
    unharmed.call("define", atomic("Hen", field("eggs", "list<Egg>")))
    unharmed.call("define", atomic("Egg", field("n", "int", default=0), field("hens", "list<Hen>")))
    unharmed.call("define", atomic("Nest", field("hen", "Hen")))
    text = refused(unharmed, "BAD_SCHEMA", "define", atomic("Hen", field("eggs", "list<Egg>"), field("at", "Nest")))
    assert "Hen -> Nest -> Hen" in text or "Nest -> Hen -> Nest" in text


def test_default_that_does_not_fit(unharmed):
    with pytest.raises(RpcError, match="^(BAD_TYPE|BAD_VALUE|BAD_SCHEMA): .*"):
        unharmed.call("define", atomic("X", field("a", "int", default="x")))


def test_unknown_model_in_a_type(unharmed):
    text = refused(unharmed, "UNKNOWN_MODEL", "define", atomic("X", field("a", "list<Planet>")))
    assert "Planet" in text


def test_schema_that_contradicts_the_stored_one(unharmed, daemon):
    changed = dict(USER, fields=[dict(f, type="str", default="x") if f["name"] == "age" else f
                                 for f in USER["fields"]])
    text = refused(unharmed, "SCHEMA_CONFLICT", "define", changed)
    assert "age" in text and "int" in text and "str" in text
    daemon.stop()
    daemon.start()
    with daemon.connect() as later:
        refused(later, "SCHEMA_CONFLICT", "define", changed)
        define_all(later)
    # `unharmed` looks again with this connection.
    unharmed.__init__(daemon.socket)


# --- Redis holding what the daemon never wrote ---------------------------------------------------


SPOILED = [
    ("/tags", lambda r, k: r.set(k, "x"), "doc.load", ["tags"]),
    ("/tags", lambda r, k: r.set(k, "x"), "list.append", ["tags", "z"]),
    ("/counts", lambda r, k: r.rpush(k, "x"), "dict.set", ["counts", "k", 1]),
    ("/counts", lambda r, k: r.hset(k, "x", "many"), "doc.load", ["counts"]),
    ("/sections", lambda r, k: r.set(k, "x"), "doc.get", []),
    ("/numbers", lambda r, k: r.rpush(k, "x"), "doc.load", ["numbers"]),
    ("", lambda r, k: r.set(k, "x"), "doc.get", []),
    ("", lambda r, k: r.set(k, "x"), "num.incr", ["age", 1]),
]


@pytest.mark.parametrize("suffix,spoil,method,args", SPOILED,
                         ids=[f"{s[0]}-{s[2]}" for s in SPOILED])
def test_container_that_another_program_spoilt(ada, daemon, redis_server, rdb, suffix, spoil,
                                               method, args):
    """CORRUPT on that document; its neighbour, in the same batch, does not suffer."""
    ada.call("doc.save", "User:bob", dict(ADA, name="Bob"))
    daemon.stop()
    rdb.delete(ROOT + suffix)
    spoil(rdb, ROOT + suffix)
    before = {k: v for k, v in redis_server.snapshot().items() if b"ada" in k}
    daemon.start()
    with daemon.connect() as client:
        define_all(client)
        requests = [client.send("num.incr", "User:bob", "age", 1), client.send(method, KEY, *args),
                    client.send("num.incr", "User:bob", "age", 1)]
        assert client.wait(requests[0]) == 37
        with pytest.raises(RpcError, match="^CORRUPT: "):
            client.wait(requests[1])
        assert client.wait(requests[2]) == 38
        assert client.call("doc.get", "User:bob")["age"] == 38
    assert {k: v for k, v in redis_server.snapshot().items() if b"ada" in k} == before


def test_container_spoilt_behind_a_cached_document(ada, rdb):
    """The write that meets it fails clearly; the next document's write goes through."""
    ada.call("doc.save", "User:bob", dict(ADA, name="Bob"))
    assert ada.call("doc.load", KEY, "tags") == ["a", "b", "c"]
    rdb.delete(ROOT + "/tags")
    rdb.set(ROOT + "/tags", "x")
    with pytest.raises(RpcError, match="^CORRUPT: "):
        ada.call("list.append", KEY, "tags", "d")
    assert rdb.get(ROOT + "/tags") == b"x"
    assert ada.call("list.append", "User:bob", "tags", "d") == 4
