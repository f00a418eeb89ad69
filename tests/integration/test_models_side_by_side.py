"""Rolling deployments: the clients of one daemon have declared newer models than those of another."""

import pytest

from fault_proxy import DeafProxy
from models import KEY, atomic, field, plain, save_ada
from rpc_client import RpcError, wait_until
from test_bad_input import refused
from test_cache import asked, begin_to_count

NOTE = "Note:1"
OLD = atomic("Note", field("text", "str", default=""), field("marks", "list<int>"))
NEW = atomic("Note", field("text", "str", default=""), field("marks", "list<int>"),
             field("color", "str", default="none"), field("links", "list<str>"), field("by", "dict<int>"))


@pytest.fixture
def sides(redis_server, new_daemon):
    """A client of a daemon with newer models, and one of a daemon that was there before."""
    b, a = new_daemon(redis_server.address), new_daemon(redis_server.address)
    with a.connect() as new, b.connect() as old:
        yield new, old


# --- a daemon learns what was declared through others --------------------------------------------

FIRST = [
    ("doc.get", NOTE), ("doc.get_many", [NOTE]), ("doc.load", NOTE, "text"), ("doc.exists", NOTE),
    ("doc.keys", "Note"), ("doc.ttl", NOTE), ("doc.duplicate", NOTE, "2"), ("doc.save", NOTE, {}),
    ("doc.insert", [["Note:3", {}]]), ("doc.delete", NOTE), ("num.incr", NOTE, "by[\"x\"]", 1),
    ("list.append", NOTE, "links", "x"), ("pipeline", [["set", NOTE, "color", "red"]]),
    ("lock.acquire", NOTE, "x"), ("lock.acquire_many", [[NOTE, "x"]]),
    ("define", atomic("Pad", field("notes", "list<Note>"))),
]


@pytest.mark.parametrize("request_", FIRST, ids=lambda r: r[0])
def test_a_model_that_another_daemon_has_declared_is_known(sides, request_):
    """Shows C11."""
    new, old = sides
    old.call("hello")
    new.call("define", NEW)
    new.call("doc.save", NOTE, {"text": "t"})
    old.call(*request_)


def test_a_model_is_known_in_the_moment_that_its_declaration_is_answered(sides):
    """However fast, and whether a message has come by then or not. Shows C11."""
    new, old = sides
    for i in range(100):
        new.call("define", atomic(f"Model{i}", field("n", "int", default=0)))
        old.call("doc.save", f"Model{i}:1", {"n": i})
        new.call("define", atomic(f"Model{i}", field("n", "int", default=0), field("more", "list<int>")))


def test_a_field_that_another_daemon_has_declared_is_known(sides):
    """Shows C11."""
    new, old = sides
    new.call("define", OLD)
    new.call("doc.save", NOTE, {})
    assert old.call("doc.get", NOTE) == {"@pk": "1", "text": "", "marks": []}
    new.call("define", NEW)
    assert old.call("list.append", NOTE, "links", "x") == 1
    assert old.call("doc.get", NOTE)["color"] == "none"


# What is asked of a document that has to be read first.
COLD = [
    ("doc.load", NOTE, "color"), ("doc.get", NOTE, {"paths": ["color"]}), ("doc.get_many", [NOTE], {"paths": ["color"]}),
    ("set", NOTE, "color", "red"), ("list.append", NOTE, "links", "x"), ("dict.set", NOTE, "by", "x", 1),
    ("pipeline", [["set", NOTE, "text", "u"], ["str.append", NOTE, "color", "!"]]),
    ("pipeline", [["if", NOTE, "color", {"==": "none"}], ["set", NOTE, "text", "u"]]),
    ("doc.save", NOTE, {"color": "red"}), ("lock.acquire", NOTE, "x", {"path": "links"}),
    ("lock.acquire_many", [[NOTE, "x", {"path": "links"}]]), ("watch", NOTE, "color"),
    ("find", "Note", ["=", "color", "none"], {"scan": True}),
    ("find", "Note", ["=", "text", "t"], {"scan": True, "paths": ["color"]}),
    ("find.update", "Note", ["=", "text", "t"], [["set", "color", "red"]], {"scan": True}),
]


@pytest.fixture
def deaf(redis_server, workdir):
    """Tells nobody of declarations."""
    proxy = DeafProxy(workdir, redis_server.address)
    proxy.unheard = lambda channel, payload: b"@bus" in channel and payload.endswith(b"models")
    yield proxy
    proxy.stop()


@pytest.fixture
def unheard(redis_server, deaf, new_daemon):
    """A client of a daemon with newer models, and one of another that has not heard of these, nor has the document in
    memory, which older models have written."""
    with new_daemon(redis_server.address).connect() as new, new_daemon(deaf.address).connect() as old:
        new.call("define", OLD)
        new.call("doc.save", NOTE, {"text": "t"})
        old.call("doc.exists", "Note:0")
        new.call("define", NEW)
        yield new, old


@pytest.mark.parametrize("request_", COLD, ids=lambda request: request[0])
def test_a_field_is_known_to_who_has_to_read_the_document_first(unheard, request_):
    """Shows C11."""
    _, old = unheard
    answer = old.call(*request_)
    if request_[0] == "find.update":
        assert answer["updated"] == 1 and not answer["refused"]


def test_requests_on_a_document_stay_in_order_while_it_is_asked_for_a_field(unheard):
    _, old = unheard
    sent = [old.send(*request) for request in (
        ("set", NOTE, "text", "a"), ("str.append", NOTE, "color", "-1"), ("str.append", NOTE, "text", "b"),
        ("pipeline", [["str.append", NOTE, "color", "-2"], ["str.append", NOTE, "text", "c"]]),
        ("doc.get", NOTE, {"paths": ["text", "color"]}))]
    answers = [old.wait(request) for request in sent]
    assert answers[1:4] == ["none-1", "ab", ["none-1-2", "abc"]]
    assert (answers[4]["text"], answers[4]["color"]) == ("abc", "none-1-2")


def test_a_field_that_is_nowhere_declared_costs_one_question(unheard, rdb):
    """Also where the document had to be read."""
    new, old = unheard
    keys = [f"Note:none{n}" for n in range(20)]
    new.call("doc.insert", [[key, {}] for key in keys])
    refused(old, "UNKNOWN_FIELD", "set", keys.pop(), "none", 1)  # now it knows of the others, too
    begin_to_count(rdb)
    for key in keys:
        refused(old, "UNKNOWN_FIELD", "set", key, "none", 1)
    assert asked(rdb)["hget"] == len(keys)


@pytest.mark.parametrize("request_", [("list.append", NOTE, "links", "x"), ("doc.exists", "Other:1")],
                         ids=lambda request: request[0])
def test_what_may_have_been_declared_is_asked_for_again_when_the_link_was_lost(unheard, deaf, request_):
    """Shows C11."""
    new, old = unheard
    old.call("doc.exists", NOTE)
    new.call("define", atomic("Other", field("n", "int", default=0)))
    deaf.freeze()
    request = old.send(*request_)
    deaf.cut()
    deaf.thaw()
    assert old.wait(request) == (1 if request_[0] == "list.append" else 0)


def test_requests_of_a_client_stay_in_order_behind_one_that_waits_for_a_declaration(sides):
    new, old = sides
    new.call("define", OLD)
    sent = [old.send("doc.save", NOTE, {"text": str(i)}) for i in range(50)]
    sent.append(old.send("doc.get", NOTE))
    answers = [old.wait(request) for request in sent]
    assert answers[-1]["text"] == "49"


def test_what_is_nowhere_declared_is_unknown_and_costs_one_question(sides, rdb):
    new, old = sides
    new.call("define", OLD)
    new.call("doc.save", NOTE, {})
    wait_until(lambda: old.call("doc.exists", NOTE), what="the model")
    begin_to_count(rdb)
    for _ in range(20):
        refused(old, "UNKNOWN_MODEL", "doc.get", "None:1")
        refused(old, "UNKNOWN_FIELD", "set", NOTE, "none", 1)
    asked_for = asked(rdb)
    assert asked_for.get("hgetall", 0) <= 1 and asked_for["hget"] <= 45


def test_what_was_declared_is_known_after_a_break_and_when_the_messages_were_not_heard(redis_server, new_daemon,
                                                                                       new_proxy):
    """Shows C11."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(redis_server.address).connect() as new, new_daemon(proxy.address).connect() as old:
        proxy.freeze()
        new.call("define", NEW)
        new.call("doc.save", NOTE, {})
        proxy.cut()
        proxy.thaw()
        assert old.call("doc.exists", NOTE) == 1


def test_revisions_go_on_after_redis_has_lost_them(redis_server, new_daemon, rdb):
    with new_daemon(redis_server.address).connect() as new, new_daemon(redis_server.address).connect() as old:
        for i in range(5):
            new.call("define", atomic(f"Model{i}", field("n", "int", default=0)))
        assert rdb.hget("rapyer:@schema", "@rev") == b"5"
        redis_server.restart()
        wait_until(lambda: rdb.hlen("rapyer:@schema") == 6, what="the declarations")
        assert new.call("doc.exists", "Model1:1") == 0  # it has its link again
        new.call("define", OLD)
        assert int(rdb.hget("rapyer:@schema", "@rev")) > 5
        assert old.call("doc.save", NOTE, {})
        assert old.call("doc.save", "Model3:1", {})


def test_forged_news_cost_next_to_nothing(sides, rdb):
    new, old = sides
    new.call("define", OLD)
    for _ in range(2000):
        rdb.publish("rapyer:@bus:all", b"\x91\xa6models")
        rdb.publish("rapyer:@bus:all", b"\x91\xa6model")
    assert old.call("doc.save", NOTE, {})


# --- nothing is left behind, whoever knows what of it ---------------------------------------------

PART_OLD, PART_NEW = atomic("Part", field("n", "int", default=0)), \
    atomic("Part", field("n", "int", default=0), field("more", "list<int>"), field("by", "dict<int>"))
HOUSE, HOUSE_ROOT = "House:1", "rapyer:{House:1}"
HOUSE_OLD = atomic("House", field("name", "str", default=""), field("part", "Part"), field("parts", "list<Part>"),
                   field("named", "dict<Part>"))
HOUSE_NEW = atomic("House", *HOUSE_OLD["fields"], field("color", "str", default="none"), field("links", "list<str>"),
                   field("rooms", "list<Part>"))
NEW_CONTENT = [
    ["set", HOUSE, "color", "red"], ["list.append", HOUSE, "links", "x"],
    ["list.append", HOUSE, "rooms", {"@pk": "r", "more": [1]}], ["list.append", HOUSE, "part.more", 1],
    ["list.append", HOUSE, 'parts["a"].more', 1], ["dict.set", HOUSE, 'parts["b"].by', "x", 1],
    ["list.append", HOUSE, 'named["k"].more', 1], ["list.append", HOUSE, "parts", {"@pk": "new", "more": [1]}],
]
REMOVALS = [
    (["doc.delete", HOUSE], "", []),
    (["doc.save", HOUSE, {"name": "anew"}], "", ["", "/"]),
    (["list.pop", HOUSE, "parts", 0], "/parts/a", []),
    (["list.remove_range", HOUSE, "parts", 0, 1], "/parts/a", []),
    (["list.set", HOUSE, "parts", 0, {"@pk": "z"}], "/parts/a", []),
    (["set", HOUSE, 'parts["a"]', {"@pk": "a"}], "/parts/a/", []),
    (["set", HOUSE, "parts", []], "/parts", []),
    (["list.clear", HOUSE, "parts"], "/parts", []),
    (["set", HOUSE, "part", {"n": 1}], "/part.", []),
    (["dict.del", HOUSE, "named", "k"], "/named", []),
    (["dict.pop", HOUSE, "named", "k"], "/named", []),
    (["dict.popitem", HOUSE, "named"], "/named", []),
    (["dict.set", HOUSE, "named", "k", {"@pk": "z"}], "/named/k", []),
    (["dict.clear", HOUSE, "named"], "/named", []),
    (["pipeline", [["num.incr", HOUSE, "part.n", 1], ["doc.delete", HOUSE]]], "", []),
    (["pipeline", [["list.append", HOUSE, "parts", {"@pk": "q"}], ["set", HOUSE, "parts", []]]], "/parts", []),
]


def house(client, new):
    client.call("define", PART_NEW if new else PART_OLD)
    client.call("define", HOUSE_NEW if new else HOUSE_OLD)


def below(rdb, suffix):
    return sorted(key.decode() for key in rdb.keys("rapyer:{House:1}*")
                  if key.decode()[len(HOUSE_ROOT):].startswith(suffix))


@pytest.fixture(params=["before anything is said", "at the very moment"])
def behind(request, redis_server, new_daemon, new_proxy):
    """A client of a daemon with newer models, and one whose daemon has the document in memory, as it was, and
    has not heard of them: its link is held until what it does is on its way."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(redis_server.address).connect() as new, new_daemon(proxy.address).connect() as old:
        house(old, False)
        old.call("doc.save", HOUSE, {"parts": [{"@pk": "a"}, {"@pk": "b"}], "named": {"k": {"@pk": "k"}}})
        old.call("doc.load", HOUSE, "")

        def run(removal):
            sent = None
            if request.param == "at the very moment":
                proxy.freeze()
                sent = old.send(*removal)
                old.call("hello")
            house(new, True)
            for operation in NEW_CONTENT:
                new.call(*operation)
            proxy.thaw()
            return old.wait(sent) if sent else old.call(*removal)

        yield new, run


@pytest.mark.parametrize("removal, suffix, stays", REMOVALS, ids=lambda p: str(p)[:60])
def test_what_is_removed_leaves_nothing_behind(behind, rdb, removal, suffix, stays):
    new, run = behind
    run(removal)
    left = below(rdb, suffix)
    if removal[0] == "doc.save":
        assert left == [HOUSE_ROOT] and rdb.hget(HOUSE_ROOT, "color") in (None, b"none")
        # All fields have the models' defaults again, for whoever reads.
        assert new.call("doc.get", HOUSE, {"fresh": True}) == {
            "@pk": "1", "name": "anew", "part": {"n": 0, "more": [], "by": {}}, "parts": [], "named": {},
            "color": "none", "links": [], "rooms": []}
    else:
        assert left == [] or all(key.endswith(("/parts/b", "/named/z")) for key in left), left


def test_an_end_is_that_of_all_that_is_there(behind, rdb):
    new, run = behind
    run(["doc.ttl", HOUSE, 500])
    assert {rdb.ttl(key) > 0 for key in rdb.keys(HOUSE_ROOT + "*")} == {True}


def test_a_copy_has_all_that_is_there(behind, rdb):
    new, run = behind
    run(["doc.duplicate", HOUSE, "2"])
    one, two = new.call("doc.load", HOUSE, ""), new.call("doc.load", "House:2", "")
    assert one.pop("@pk") == "1" and two.pop("@pk") == "2" and one == two and one["links"] == ["x"]


def test_a_document_says_which_models_wrote_it_and_never_goes_back(sides, rdb):
    new, old = sides
    house(old, False)
    old.call("doc.save", HOUSE, {})
    first = int(rdb.hget(HOUSE_ROOT, "@s"))
    house(new, True)
    new.call("set", HOUSE, "color", "red")
    second = int(rdb.hget(HOUSE_ROOT, "@s"))
    assert second == int(rdb.hget("rapyer:@schema", "@rev")) > first
    for _ in range(3):
        old.call("num.incr", HOUSE, "part.n", 1)
        assert int(rdb.hget(HOUSE_ROOT, "@s")) == second
    # What nobody can have written harms nobody.
    for nonsense in ("99", "9223372036854775807", "-5", "x"):
        rdb.hset(HOUSE_ROOT, mapping={"@s": nonsense, "@v": int(rdb.hget(HOUSE_ROOT, "@v")) + 1})
        assert old.call("doc.get", HOUSE, {"fresh": True})["color"] == "red"
        old.call("num.incr", HOUSE, "part.n", 1)
    assert old.call("doc.delete", HOUSE) == 1
    assert below(rdb, "") == []


# --- fields become wider --------------------------------------------------------------------------

METER = "Meter:1"
SPOT = plain("Spot", field("x", "int"))
SPOT_WIDE = plain("Spot", field("x", "optional<float>"))
WHEEL, WHEEL_WIDE = atomic("Wheel", field("turns", "int", default=0)), atomic("Wheel", field("turns", "float", default=0.0))
METER_OLD = atomic("Meter", field("count", "int", default=1), field("label", "str"), field("spot", "Spot"),
                   field("way", "list<Spot>"), field("wheel", "Wheel"), field("wheels", "list<Wheel>"))
METER_WIDE = atomic("Meter", field("count", "float", default=2.5), field("label", "optional<str>"),
                    *METER_OLD["fields"][2:])
FULL = {"count": 3, "label": "l", "spot": {"x": 1}, "way": [{"x": 2}], "wheel": {"turns": 4},
        "wheels": [{"@pk": "a", "turns": 5}]}
WIDE_FULL = {"@pk": "1", "count": 3.0, "label": "l", "spot": {"x": 1.0}, "way": [{"x": 2.0}], "wheel": {"turns": 4.0},
             "wheels": [{"@pk": "a", "turns": 5.0}]}


def meters(client, wide):
    return [client.call("define", model)["revision"]
            for model in ((SPOT_WIDE, WHEEL_WIDE, METER_WIDE) if wide else (SPOT, WHEEL, METER_OLD))]


def kinds(value):
    """The values with their types: 3 == 3.0 says too little."""
    return repr(value)


@pytest.fixture
def metered(sides):
    new, old = sides
    meters(old, False)
    old.call("doc.save", METER, FULL)
    for client in sides:
        assert kinds(client.call("doc.load", METER, "")) == kinds({"@pk": "1", **FULL})
    return sides


def test_what_lies_in_redis_and_in_memory_is_read_by_the_wider_types(metered, redis_server, new_daemon):
    new, old = metered
    assert meters(new, True) == [2, 2, 2]
    assert kinds(new.call("doc.load", METER, "")) == kinds(WIDE_FULL)
    old.call("num.incr", METER, "wheel.turns", 1)
    assert kinds(old.call("doc.load", METER, "wheel.turns")) == kinds(5.0)
    with new_daemon(redis_server.address).connect() as third:
        assert kinds(third.call("doc.load", METER, "count")) == kinds(3.0)


def test_a_client_that_declares_the_old_form_again_changes_nothing(metered, redis_server, new_daemon):
    new, old = metered
    meters(new, True)
    new.call("set", METER, "count", 0.5)
    new.call("set", METER, "label", None)
    with new_daemon(redis_server.address).connect() as third:
        for client in (old, new, third):
            assert meters(client, False) == [2, 2, 2]
            client.call("set", METER, "spot", {"x": None})
            client.call("num.incr", METER, "count", 0.25)
            assert client.call("doc.get", METER)["label"] is None
        assert third.call("doc.get", METER)["count"] == 1.25
        third.call("doc.save", "Meter:2", {"spot": {"x": 1}})
        assert new.call("doc.get", "Meter:2")["count"] == 2.5


def test_the_old_client_goes_on_writing_what_it_knows(metered, rdb):
    new, old = metered
    meters(new, True)
    assert old.call("num.incr", METER, "count", 2) == 5.0
    old.call("set", METER, "count", 7)
    old.call("set", METER, "label", "again")
    old.call("doc.save", "Meter:2", FULL)
    assert kinds(new.call("doc.load", METER, "count")) == kinds(7.0)
    assert rdb.hget("rapyer:{Meter:1}", "count") == b"7"
    assert new.call("doc.get", "Meter:2")["wheels"] == [{"@pk": "a", "turns": 5.0}]


def test_increments_go_on_while_the_model_changes_under_them(metered):
    """Of either side, sent without waiting: none is lost, and none fails."""
    new, old = metered
    sent = [(client, client.send("num.incr", METER, "count", 1)) for _ in range(100) for client in (new, old)]
    define = new.send("define", METER_WIDE)
    sent += [(client, client.send("num.incr", METER, "count", 1)) for _ in range(100) for client in (new, old)]
    for client, request in sent:
        client.wait(request)
    new.wait(define)
    for client in (new, old):
        assert kinds(client.call("doc.get", METER, {"fresh": True})["count"]) == kinds(403.0)


@pytest.mark.parametrize("change, now", [
    # An int is counted up by Redis itself, which does not do so with a fraction: this is said, and nothing is changed.
    (("num.incr", METER, "count", 1), None), (("num.mul", METER, "count", 4), 2.0), (("set", METER, "count", 4), 4.0),
    (("doc.get", METER, {"fresh": True}), 0.5), (("doc.duplicate", METER, "2"), 0.5),
], ids=lambda p: str(p)[:30])
def test_what_is_on_its_way_when_a_fraction_is_written(redis_server, new_daemon, new_proxy, change, now):
    """Through a daemon that holds the int in memory, and has heard of nothing."""
    proxy = new_proxy(redis_server.address)
    with new_daemon(redis_server.address).connect() as new, new_daemon(proxy.address).connect() as old:
        meters(old, False)
        old.call("doc.save", METER, FULL)
        old.call("doc.load", METER, "")
        proxy.freeze()
        sent = old.send(*change)
        old.call("hello")
        meters(new, True)
        new.call("set", METER, "count", 0.5)
        proxy.thaw()
        if now is None:
            try:
                assert old.wait(sent) == 1.5, "it was heard of before the commit was on its way"
            except RpcError as error:
                assert str(error).startswith("CORRUPT")
                assert old.call("num.incr", METER, "count", 1) == 1.5
        else:
            old.wait(sent)
        for client in (new, old):
            assert kinds(client.call("doc.get", METER, {"fresh": True})["count"]) == kinds(now or 1.5)


def test_two_that_widen_at_once_meet_in_what_covers_both(sides):
    new, old = sides
    names = [f"Both{i}" for i in range(50)]
    for name in names:
        old.call("define", atomic(name, field("n", "int")))
    sent = [(client, client.send("define", atomic(name, field("n", kind))))
            for name in names for client, kind in ((new, "float"), (old, "optional<int>"))]
    for client, request in sent:
        client.wait(request)
    for name in names:
        for client in sides:
            client.call("doc.save", f"{name}:1", {"n": None})
            client.call("doc.save", f"{name}:1", {"n": 0.5})
        assert [client.call("doc.get", f"{name}:1", {"fresh": True})["n"] for client in sides] == [0.5, 0.5]
        # In Redis, too: whoever declares any of the forms finds all of them there.
        assert len({client.call("define", atomic(name, field("n", kind)))["revision"]
                    for client in sides for kind in ("int", "float", "optional<int>", "optional<float>")}) == 1


def test_a_field_is_retired_by_a_default(metered):
    new, old = metered
    refused(new, "BAD_VALUE", "doc.save", "Meter:2", {"spot": {"x": 1}})
    new.call("define", atomic("Meter", field("label", "str", default="")))
    meters(old, False)  # does not take it away again
    for client in metered:
        client.call("doc.save", "Meter:2", {"spot": {"x": 1}})
        assert client.call("doc.get", "Meter:2")["label"] == ""
        assert client.call("doc.get", METER)["label"] == "l"


@pytest.mark.parametrize("kind, way", [
    ("str", "float, optional<int> or optional<float>"), ("bytes", "for another use a new name")])
def test_a_refusal_says_the_way_out(metered, kind, way):
    assert way in refused(metered[1], "SCHEMA_CONFLICT", "define", atomic("Meter", field("count", kind)))
