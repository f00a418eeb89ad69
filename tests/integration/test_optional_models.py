"""optional<Model> of an atomic model: null, or a model whose fields are changed one by one."""

import pytest

from layout_reader import LayoutReader
from models import atomic, field, plain
from rpc_client import RpcError
from test_bad_input import refused
from test_guard import FAST
from test_two_daemons import crowd
from test_watch import told

BADGE = atomic("Badge", field("code", "str"), field("uses", "int", default=0))
CARD = atomic("Card", field("holder", "str"), field("limit", "int", default=100), field("tags", "list<str>"),
              field("marks", "dict<int>"), field("badges", "list<Badge>"), field("pin", "optional<str>", lazy=True),
              field("badge", "optional<Badge>"))
BUYER = atomic("Buyer", field("name", "str"), field("card", "optional<Card>"),
               field("spare", "optional<Card>", default=None), field("badge", "optional<Badge>", lazy=True),
               field("orders", "list<Order>"))
ORDER = atomic("Order", field("what", "str"), field("card", "optional<Card>"))
MODELS = [BADGE, CARD, ORDER, BUYER]
KEY, ROOT = "Buyer:1", "rapyer:{Buyer:1}"
FULL = {"holder": "Ada", "limit": 100, "tags": ["a"], "marks": {"x": 1},
        "badges": [{"@pk": "b1", "code": "one", "uses": 0}], "badge": {"code": "in", "uses": 3}}


def shown(card):
    """As doc.get has it, which leaves the lazy field out."""
    return {"@lazy": ["pin"], **card} if card else None


@pytest.fixture
def buyer(client):
    for model in MODELS:
        client.call("define", model)
    client.call("doc.save", KEY, {"name": "Ada", "card": FULL})
    return client


@pytest.fixture
def reader(rdb):
    return LayoutReader(rdb, MODELS)


def get(client, key=KEY):
    return client.call("doc.get", key)


def whole(reader, client, key=KEY):
    """The document, which is the same in Redis, with no key too many."""
    document = client.call("doc.load", key, "")
    assert reader.read(key) == document
    assert reader.orphans(key) == set()
    return document


def test_null_and_a_model_are_read_as_such(buyer, reader):
    assert get(buyer) == {"@pk": "1", "@lazy": ["badge"], "name": "Ada", "card": shown(FULL), "spare": None,
                          "orders": []}
    assert buyer.call("doc.load", KEY, "card") == FULL
    assert buyer.call("doc.load", KEY, "spare") is None
    assert buyer.call("doc.load", KEY, "badge") is None
    assert buyer.call("doc.load", KEY, "card.badge.uses") == 3
    assert buyer.call("doc.get", KEY, {"paths": ["card.holder", "spare.holder", "spare", "card.badge"]}) == {
        "card.holder": "Ada", "spare.holder": None, "spare": None, "card.badge": {"code": "in", "uses": 3}}
    whole(reader, buyer)


def test_in_redis_it_is_a_list_of_one(buyer, rdb):
    assert rdb.lrange(ROOT + "/card", 0, -1) == [b"1"]
    assert rdb.hgetall(ROOT + "/card/1") == {b"holder": b"Ada", b"limit": b"100"}
    assert rdb.lrange(ROOT + "/card/1/tags", 0, -1) == [b"a"]
    assert not rdb.exists(ROOT + "/spare")


def test_set_to_a_model_to_another_and_to_null(buyer, rdb, reader):
    buyer.call("set", KEY, "spare", {"holder": "Bob"})
    bob = {"holder": "Bob", "limit": 100, "tags": [], "marks": {}, "badges": [], "badge": None}
    assert buyer.call("doc.load", KEY, "spare") == bob
    buyer.call("set", KEY, "card", {"holder": "Eve", "tags": ["z"]})
    assert buyer.call("doc.load", KEY, "card") == {**bob, "holder": "Eve", "tags": ["z"]}
    whole(reader, buyer)
    for path in ("card", "spare"):
        buyer.call("set", KEY, path, None)
    assert set(rdb.keys("*Buyer*")) == {ROOT.encode()}
    assert get(buyer)["card"] is None
    text = refused(buyer, "NOT_FOUND", "set", KEY, "card.holder", "Eve")
    assert "'card' is null; set it first" in text


def test_every_operation_works_inside(buyer, reader):
    assert buyer.call("num.incr", KEY, "card.limit", 5) == 105
    assert buyer.call("num.mul", KEY, "card.badge.uses", 2) == 6
    assert buyer.call("str.append", KEY, "card.holder", "!") == "Ada!"
    assert buyer.call("list.append", KEY, "card.tags", "b") == 2
    assert buyer.call("list.pop", KEY, "card.tags", 0) == "a"
    buyer.call("dict.set", KEY, "card.marks", "y", 2)
    assert buyer.call("dict.pop", KEY, "card.marks", "x") == 1
    assert buyer.call("num.incr", KEY, 'card.marks["y"]', 2) == 4
    assert buyer.call("list.append", KEY, "card.badges", {"@pk": "b2", "code": "two"}) == 2
    assert buyer.call("num.incr", KEY, 'card.badges["b2"].uses', 1) == 1
    buyer.call("set", KEY, "card.badge", None)
    buyer.call("set", KEY, "badge", {"code": "top"})
    assert whole(reader, buyer)["card"] == {
        "holder": "Ada!", "limit": 105, "tags": ["b"], "marks": {"y": 4}, "badge": None,
        "badges": [{"@pk": "b1", "code": "one", "uses": 0}, {"@pk": "b2", "code": "two", "uses": 1}]}


@pytest.mark.parametrize("request_", [
    ["num.incr", "spare.limit", 1], ["list.append", "spare.tags", "x"], ["dict.set", "spare.marks", "x", 1],
    ["set", "spare.badge", None], ["doc.load", "spare.holder"], ["list.append", "spare.badges", {"code": "x"}],
    ["set", "spare.badge.uses", 1], ["num.incr", "spare.badge.uses", 1], ["list.clear", "spare.tags"]])
def test_inside_null_is_nothing(buyer, rdb, request_):
    text = refused(buyer, "NOT_FOUND", request_[0], KEY, *request_[1:])
    assert "'spare' is null" in text
    assert not rdb.exists(ROOT + "/spare")


def test_what_does_not_fit_is_refused(buyer):
    before = get(buyer)
    refused(buyer, "BAD_TYPE", "set", KEY, "card", "Ada")
    refused(buyer, "BAD_TYPE", "set", KEY, "card", [{"holder": "Ada"}])
    refused(buyer, "BAD_VALUE", "set", KEY, "card", {})
    refused(buyer, "UNKNOWN_FIELD", "set", KEY, "card", {"holder": "x", "no": 1})
    text = refused(buyer, "BAD_VALUE", "set", KEY, "card", {"holder": "x", "@pk": "1"})
    assert "no pk of its own" in text
    refused(buyer, "BAD_PATH", "set", KEY, "card[0]", {"holder": "x"})
    refused(buyer, "BAD_PATH", "doc.load", KEY, 'card["1"]')
    refused(buyer, "UNKNOWN_FIELD", "doc.load", KEY, "card.no")
    for method in ("list.append", "dict.pop", "num.incr", "set.add"):
        refused(buyer, "BAD_TYPE", method, KEY, "card", "1")
    refused(buyer, "BAD_TYPE", "doc.save", KEY, {"name": "x", "card": 7})
    refused(buyer, "BAD_VALUE", "define", atomic("Bad", field("card", "optional<Card>", default={})))
    refused(buyer, "SCHEMA_CONFLICT", "define", atomic("Order", field("what", "str"), field("card", "Card")))
    assert get(buyer) == before


def test_a_key_field_inside_is_a_field_like_others(client, rdb):
    client.call("define", atomic("Tag", field("id", "str"), field("n", "int", default=0), key="id"))
    client.call("define", atomic("Page", field("tag", "optional<Tag>")))
    client.call("doc.save", "Page:1", {"tag": {"id": "a"}})
    client.call("set", "Page:1", "tag.id", "b")
    assert client.call("doc.load", "Page:1", "tag") == {"id": "b", "n": 0}


def test_a_field_may_be_added_later(client):
    client.call("define", BADGE)
    client.call("define", atomic("Late", field("x", "int")))
    client.call("doc.save", "Late:1", {"x": 1})
    client.call("define", atomic("Late", field("x", "int"), field("badge", "optional<Badge>")))
    assert client.call("doc.get", "Late:1") == {"@pk": "1", "x": 1, "badge": None}
    client.call("set", "Late:1", "badge", {"code": "x"})
    assert client.call("num.incr", "Late:1", "badge.uses", 2) == 2


def test_a_pipeline_is_whole(buyer, reader):
    with pytest.raises(RpcError, match="NOT_FOUND: operation 2"):
        buyer.call("pipeline", [["set", KEY, "spare", {"holder": "Bob"}], ["set", KEY, "card", None],
                                ["num.incr", KEY, "card.limit", 1]])
    assert get(buyer)["card"] == shown(FULL) and get(buyer)["spare"] is None
    answers = buyer.call("pipeline", [
        ["set", KEY, "card", None], ["set", KEY, "card", {"holder": "Eve"}],
        ["list.append", KEY, "card.tags", "x"], ["num.incr", KEY, "card.limit", -1], ["set", KEY, "spare", FULL],
        ["list.append", KEY, "spare.tags", "y"]])
    assert answers[2:4] == [1, 99] and answers[5] == 2
    whole(reader, buyer)


def test_delete_duplicate_and_save_over_leave_nothing(buyer, rdb, reader):
    buyer.call("list.append", KEY, "orders", {"@pk": "o", "what": "book", "card": FULL})
    buyer.call("doc.duplicate", KEY, "2")
    assert {**whole(reader, buyer, "Buyer:2"), "@pk": "1"} == whole(reader, buyer)
    buyer.call("doc.delete", "Buyer:2")
    assert not rdb.keys("*Buyer:2*")
    buyer.call("list.pop", KEY, "orders")
    assert not rdb.keys("*orders*")
    buyer.call("doc.save", KEY, {"name": "Ada"})
    assert set(rdb.keys("*Buyer*")) == {ROOT.encode()}


def test_the_ttl_is_that_of_all_keys(buyer, rdb):
    buyer.call("set", KEY, "card.pin", "1234")
    buyer.call("doc.ttl", KEY, 100)
    buyer.call("set", KEY, "spare", FULL)
    buyer.call("list.append", KEY, "card.tags", "new")
    keys = rdb.keys("*Buyer*")
    assert len(keys) > 12 and all(0 < rdb.ttl(key) <= 100 for key in keys)
    buyer.call("doc.persist", KEY)
    assert all(rdb.ttl(key) == -1 for key in keys)


def test_what_is_lazy_inside_is_kept(buyer):
    buyer.call("set", KEY, "card.pin", "1234")
    document = get(buyer)
    document["card"]["limit"] = 7
    buyer.call("doc.save", KEY, document)
    assert buyer.call("doc.load", KEY, "card.pin") == "1234"
    buyer.call("set", KEY, "card", document["card"])
    assert buyer.call("doc.load", KEY, "card.pin") == "1234"
    text = refused(buyer, "NOT_FOUND", "set", KEY, "spare", document["card"])
    assert "@lazy" in text


def test_watches_name_places_in_it(buyer, daemon):
    with daemon.connect() as other:
        for path in ("card", "card.tags", "card.limit", 'card.badges["b1"].uses', "spare"):
            assert other.call("watch", KEY, path)["path"] == path
        for request, paths in [
                (["set", KEY, "card.limit", 3], ["card.limit"]),
                (["list.append", KEY, "card.tags", "n"], ["card.tags"]),
                (["num.incr", KEY, 'card.badges["b1"].uses', 1], ['card.badges["b1"].uses'])]:
            buyer.call(*request)
            assert told(other)[2] == paths
        buyer.call("set", KEY, "card", None)
        assert "card" in told(other)[2]


def test_another_program_spoils_it(buyer, rdb, daemon):
    rdb.rpush(ROOT + "/card", "2")
    rdb.set(ROOT + "/spare", "text")
    daemon.stop()
    daemon.start()
    with daemon.connect() as client:
        assert "one at most" in refused(client, "CORRUPT", "doc.load", KEY, "card.limit")
        refused(client, "CORRUPT", "doc.get", KEY)
        client.call("set", KEY, "card", None)
        client.call("set", KEY, "spare", {"holder": "Bob"})
        assert client.call("num.incr", KEY, "spare.limit", 1) == 101
        assert get(client)["card"] is None


# --- two daemons -------------------------------------------------------------------------------


@pytest.fixture
def proxy(redis_server, new_proxy):
    return new_proxy(redis_server.address)


@pytest.fixture
def held(proxy, new_daemon, redis_server):
    """A client whose commits can be held while another daemon, also given, changes the document."""
    with (new_daemon(proxy.address, {**FAST, "coherence.bound": "1h"}).connect() as one,
          new_daemon(redis_server.address).connect() as two):
        for client in (one, two):
            for model in MODELS:
                client.call("define", model)
        one.call("doc.save", KEY, {"name": "Ada", "card": FULL})
        for client in (one, two):
            client.call("doc.load", KEY, "")

        def run(ours, *theirs):
            proxy.freeze()
            sent = one.send(*ours)
            one.call("hello")
            for request in theirs:
                two.call(*request)
            proxy.thaw()
            return one.wait(sent)
        yield run, two


@pytest.mark.parametrize("ours", [
    ["set", KEY, "card.limit", 3], ["num.incr", KEY, "card.limit", 1], ["list.append", KEY, "card.tags", "x"],
    ["dict.set", KEY, "card.marks", "x", 1], ["set", KEY, "card.badge", {"code": "y"}],
    ["list.append", KEY, "card.badges", {"code": "y"}], ["list.clear", KEY, "card.tags"],
    ["num.incr", KEY, 'card.badges["b1"].uses', 1]])
def test_a_write_inside_what_another_daemon_nulls_is_refused(held, rdb, reader, ours):
    run, other = held
    with pytest.raises(RpcError, match="NOT_FOUND"):
        run(ours, ["set", KEY, "card", None])
    assert set(rdb.keys("*Buyer*")) == {ROOT.encode()}
    assert get(other)["card"] is None


def test_a_write_inside_goes_to_the_one_that_another_daemon_puts_there(held, reader):
    run, other = held
    assert run(["num.incr", KEY, "card.limit", 1], ["set", KEY, "card", {"holder": "Eve", "limit": 7}]) == 8
    assert whole(reader, other)["card"]["holder"] == "Eve"


def test_null_over_what_another_daemon_has_filled_leaves_nothing(held, rdb):
    run, other = held
    run(["set", KEY, "card", None], ["list.append", KEY, "card.badges", {"code": "y"}],
        ["set", KEY, "card.badge", {"code": "z"}])
    assert set(rdb.keys("*Buyer*")) == {ROOT.encode()}


def test_two_daemons_agree(redis_server, new_daemon, rdb, reader):
    daemons = [new_daemon(redis_server.address) for _ in range(2)]
    for daemon in daemons:
        with daemon.connect() as client:
            for model in MODELS:
                client.call("define", model)
    with daemons[0].connect() as client:
        client.call("doc.save", KEY, {"name": "Ada"})

    def work(client, number):
        counted = 0
        for turn in range(40):
            try:
                if turn % 8 == number:
                    client.call("set", KEY, "card", None if turn % 16 == number else FULL)
                else:
                    client.call("list.append", KEY, "card.badges", {"code": f"{number}-{turn}"})
                    counted += 1
            except RpcError as error:
                assert error.code == "NOT_FOUND", error
        return counted

    crowd(daemons, work)
    with daemons[0].connect() as one, daemons[1].connect() as two:
        documents = [client.call("doc.get", KEY, {"fresh": True}) for client in (one, two)]
        assert documents[0] == documents[1]
        whole(reader, one)


# --- paths that lead on from null --------------------------------------------------------------


def test_paths_that_lead_on_from_null_give_nil(client):
    for model in (plain("Spot", field("x", "int"), field("of", "optional<ref<Page>>", default=None)),
                  atomic("Tag", field("n", "int", default=0), field("marks", "list<str>")),
                  atomic("Page", field("any", "any", default=None), field("spot", "optional<Spot>", default=None),
                         field("never", "optional<Spot>"), field("tag", "optional<Tag>"), field("home", "Spot"),
                         field("spots", "dict<list<Spot>>"))):
        client.call("define", model)
    client.call("doc.save", "Page:1", {"home": {"x": 1}})
    paths = ["any.a", "any[0]", "spot.x", "never.x", "tag.n", "tag.marks[0]", "home.x", 'spots["a"][0].x']
    assert client.call("doc.get", "Page:1", {"paths": paths}) == {
        "any.a": None, "any[0]": None, "spot.x": None, "tag.n": None, "tag.marks[0]": None, "home.x": 1}
    client.call("set", "Page:1", "any", "text")
    got = client.call("doc.get", "Page:1", {"paths": ["any.a", "any[0]", 'any["a"]', "home.x"]})
    assert got == {"any.a": None, "any[0]": None, 'any["a"]': None, "home.x": 1}
    client.call("set", "Page:1", "any", {"b": [1]})
    assert client.call("doc.get", "Page:1", {"paths": ['any["a"]', 'any["b"].x', 'any["b"][0]']}) == {
        'any["b"].x': None, 'any["b"][0]': 1}
    refused(client, "UNKNOWN_FIELD", "doc.get", "Page:1", {"paths": ["home.no", "any"]})
    refused(client, "BAD_PATH", "doc.get", "Page:1", {"paths": ["home[0]"]})


def test_a_reference_within_a_plain_model_is_followed(client):
    test_paths_that_lead_on_from_null_give_nil(client)
    client.call("doc.save", "Page:2", {"home": {"x": 2}})
    client.call("doc.save", "Page:3", {"home": {"x": 1, "of": "Page:2"}, "spots": {"a": [{"x": 0, "of": "Page:1"}]}})
    assert client.call("ref.get", "Page:3", "home.of")["home"]["x"] == 2
    assert client.call("ref.get", "Page:3", 'spots["a"][0].of')["@pk"] == "1"
    assert client.call("ref.get", "Page:2", "home.of") is None
    refused(client, "BAD_TYPE", "ref.get", "Page:3", "home.x")
    refused(client, "BAD_TYPE", "ref.get", "Page:3", "spot.of")
    refused(client, "BAD_TYPE", "ref.get", "Page:3", "home.no")
    refused(client, "BAD_TYPE", "ref.get", "Page:3", "any.x")
    refused(client, "BAD_TYPE", "ref.get", "Page:3", "")
    refused(client, "NOT_FOUND", "ref.get", "Page:3", 'spots["b"][0].of')
