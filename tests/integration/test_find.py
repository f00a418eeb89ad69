"""find: by whatever plan, exactly the documents for which the expression holds."""

import random

import pytest

from index_oracle import Oracle
from models import atomic, field
from rpc_client import RpcError, wait_until

PERSON = atomic(
    "Person", field("name", "str", index=["exact", "prefix"]),
    field("age", "int", default=0, index="range"), field("city", "optional<str>", index="exact"),
    field("score", "optional<float>", index="range"), field("born", "optional<date>", index="range"),
    field("note", "str", default=""), field("tags", "list<str>", index="tags"))
CITIES = [None, "", "Boston", "London", "Paris", "x" * 200, "x" * 199 + "y"]


def person(r):
    doc = {"name": r.choice(["", "Ada", "Adam", "Bob", "Ümit"]), "age": r.randrange(-3, 60),
           "city": r.choice(CITIES), "note": r.choice(["a", "b"]),
           "tags": r.sample(["red", "green", "blue"], r.randrange(4))}
    if r.random() < .7:
        doc["score"] = r.choice([None, 0.0, -0.0, 1.5, 2.25])
    if r.random() < .7:
        doc["born"] = f"{r.randrange(1, 3000):04}-02-{r.randrange(1, 29):02}"
    return doc


@pytest.fixture
def people(client):
    """200 of them, and what each is."""
    r = random.Random(1)
    client.call("define", PERSON)
    docs = {f"Person:{i}": person(r) for i in range(200)}
    client.call("doc.insert", list(docs.items()))
    client.docs = docs
    return client


def found(client, expression, **options):
    keys, cursor = [], None
    while True:
        answer = client.call("find", "Person", expression,
                             {"limit": 7, "keys": True, "cursor": cursor, **options})
        keys += answer["keys"]
        cursor = answer["cursor"]
        if cursor is None:
            return keys


def holds(doc, e):
    if e is None:
        return True
    if e[0] in ("and", "or", "not"):
        parts = [holds(doc, part) for part in e[1:]]
        return {"and": all(parts), "or": any(parts), "not": not parts[0]}[e[0]]
    op, path, want = e
    is_ = doc.get(path)
    if op == "has":
        return want in is_
    if op == "in":
        return is_ in want
    if op in ("=", "!="):
        return (is_ == want) == (op == "=")
    if is_ is None:
        return False
    if op == "prefix":
        return is_.startswith(want)
    if isinstance(is_, str):
        is_, want = is_.encode(), want.encode()
    return {"<": is_ < want, "<=": is_ <= want, ">": is_ > want, ">=": is_ >= want}[op]


def expression(r, depth=2):
    if depth and r.random() < .6:
        kind = r.choice(["and", "and", "or", "not"])
        return [kind, *[expression(r, depth - 1) for _ in range(1 if kind == "not" else r.randrange(1, 4))]]
    return r.choice([
        lambda: [r.choice(["=", "!=", "<", "<=", ">", ">="]), "age", r.randrange(-3, 60)],
        lambda: [r.choice(["<", "<=", ">", ">="]), "age", r.randrange(-3, 60) + .5],
        lambda: [r.choice(["=", "!="]), "city", r.choice(CITIES)],
        lambda: ["in", "city", r.sample(CITIES, 2)], lambda: ["in", "age", [1, 2, 3, 4, 5, 6]],
        lambda: [r.choice(["=", "!="]), "score", r.choice([None, 0.0, 1.5])],
        lambda: [r.choice(["<", "<=", ">", ">="]), "score", r.choice([0, 1.5])],
        lambda: [r.choice(["=", "<", ">="]), "born", f"{r.randrange(1, 3000):04}-02-11"],
        lambda: ["prefix", "name", r.choice(["A", "Ada", "Ü", ""])],
        lambda: [r.choice(["<", ">=", "="]), "name", r.choice(["", "Ada", "B", "Adam"])],
        lambda: ["has", "tags", r.choice(["red", "green", "none"])],
        lambda: [r.choice(["=", "!="]), "note", "a"]])()


@pytest.mark.parametrize("path", ["age", "city", "note"])
@pytest.mark.parametrize("options", [{}, {"sort": "age"}, {"sort": "-name", "scan": True}])
def test_one_of_no_values(people, path, options):
    """Nothing is; where nothing else finds documents either, nobody is asked."""
    none = ["in", path, []]
    for e in (none, ["or", none, none], ["and", ["=", "city", "Paris"], none], ["or", none, ["and", none, ["<", "age", 9]]]):
        assert people.call("find", "Person", e, options) == {"keys": [], "documents": [], "cursor": None}
        assert people.call("find.count", "Person", e) == 0
        assert people.call("find.update", "Person", e, [["set", "note", "x"]])["updated"] == 0
        assert people.call("find.delete", "Person", e)["deleted"] == 0
    assert len(found(people, ["or", none, ["=", "city", "Paris"]])) == len(found(people, ["=", "city", "Paris"])) > 0
    assert people.call("find", "Person", none, {"explain": True})["explain"]["from"] == []
    people.call("define", atomic("Bare", field("n", "int")))
    people.call("doc.save", "Bare:1", {"n": 1})
    assert people.call("find.count", "Bare", ["in", "n", []]) == 0
    assert people.call("find.count", "Bare", ["not", ["in", "n", []]], {"scan": True}) == 1


@pytest.mark.parametrize("seed", range(3))
def test_random_expressions(people, seed):
    r = random.Random(seed)
    for _ in range(60):
        e = expression(r)
        want = {key for key, doc in people.docs.items() if holds(doc, e)}
        keys = found(people, e, scan=True)
        assert len(keys) == len(set(keys)), e
        assert set(keys) == want, e
        assert people.call("find.count", "Person", e, {"scan": True}) == len(want)


@pytest.mark.parametrize("sort", ["age", "-age", "score", "-score", "name", "-born"])
def test_sorting(people, sort):
    name, r = sort.lstrip("-"), random.Random(3)
    for _ in range(15):
        e = r.choice([expression(r), None])
        want = [doc.get(name) for doc in people.docs.values() if holds(doc, e)]
        some = sorted((v for v in want if v is not None), reverse=sort != name)
        keys, offset = [], 0
        while True:
            answer = people.call("find", "Person", e, {"limit": 50, "offset": offset, "sort": sort,
                                                       "scan": True, "keys": True})
            keys += answer["keys"]
            offset += 50
            if not answer["keys"]:
                break
        values = [people.docs[key].get(name) for key in keys]
        assert len(keys) == len(set(keys)) == len(want)
        assert values == some + [None] * (len(want) - len(some)), e


def test_the_order_of_an_index_goes_on_with_a_cursor(people):
    keys = found(people, None, sort="-age")
    ages = [people.docs[key]["age"] for key in keys]
    assert ages == sorted(ages, reverse=True) and len(set(keys)) == 200


@pytest.mark.parametrize("sort", ["-age", "name"])
def test_what_is_sorted_afterwards_goes_on_with_a_cursor(people, sort):
    e, name = ["in", "city", ["Paris", "Oslo"]], sort.lstrip("-")
    pages, cursor = [], None
    while not pages or cursor is not None:
        answer = people.call("find", "Person", e, {"limit": 7, "sort": sort, "cursor": cursor, "explain": True})
        assert answer["explain"]["sorted"] == "afterwards"
        pages.append(answer["keys"])
        cursor = answer["cursor"]
    keys = [key for page in pages for key in page]
    values = [people.docs[key][name] for key in keys]
    assert len(set(keys)) == len(keys) == people.call("find.count", "Person", e)
    assert values == sorted(values, reverse=sort != name) and all(len(page) == 7 for page in pages[:-1])


def test_a_cursor_goes_on_by_the_index_that_it_began_with(client):
    client.call("define", {"name": "Job", "kind": "atomic", "fields": [
        {"name": "team", "type": "str", "index": "exact"}, {"name": "state", "type": "str", "index": "exact"}]})
    client.call("doc.insert", [[f"Job:{i}", {"team": "a", "state": "new" if i < 300 else "old"}]
                               for i in range(600)])
    client.call("doc.insert", [[f"Job:other{i}", {"team": "b", "state": "new"}] for i in range(10)])
    e = ["and", ["=", "team", "a"], ["=", "state", "new"]]
    first = client.call("find", "Job", e, {"limit": 100, "keys": True, "explain": True})
    assert first["explain"]["from"][0]["path"] == "state"
    # now there are fewer of the team than of the state
    client.call("doc.delete", *[f"Job:{i}" for i in range(300, 600)])
    assert client.call("find", "Job", e, {"limit": 1, "explain": True})["explain"]["from"][0]["path"] == "team"
    keys, cursor = set(first["keys"]), first["cursor"]
    while cursor is not None:
        answer = client.call("find", "Job", e, {"limit": 100, "keys": True, "explain": True, "cursor": cursor})
        assert answer["explain"]["from"][0]["path"] == "state"
        keys |= set(answer["keys"])
        cursor = answer["cursor"]
    assert keys == {f"Job:{i}" for i in range(300)}


@pytest.mark.parametrize("many", [5, 300, 2500])
def test_exact_values_are_asked_for_at_once(client, rdb, many):
    """The page goes along with the question which index to take; what is too much for one goes page by page."""
    client.call("define", {"name": "Job", "kind": "atomic", "fields": [
        {"name": "team", "type": "str", "index": "exact"}, {"name": "state", "type": "str", "index": "exact"},
        {"name": "n", "type": "int"}]})
    for at in range(0, 2600, 100):
        client.call("doc.insert", [[f"Job:{i}", {
            "team": "a" if i < many else "b", "state": "new" if i >= 2 else "old", "n": i}] for i in range(at, at + 100)])
    for e, want in ((["=", "team", "a"], range(many)),
                    (["and", ["=", "team", "a"], ["=", "state", "new"]], range(2, many)),
                    (["and", ["=", "team", "a"], [">", "n", 3], ["=", "state", "new"]], range(4, many))):
        rdb.config_resetstat()
        keys = client.call("find", "Job", e, {"keys": True, "limit": 10000})["keys"]
        scans = rdb.info("commandstats").get("cmdstat_sscan", {"calls": 0})["calls"]
        assert sorted(keys) == sorted(f"Job:{i}" for i in want)
        if many == 5:
            assert scans == (e[0] == "=")
        assert client.call("find.count", "Job", e) == len(want)
        pages, cursor = [], None
        while not pages or cursor is not None:
            answer = client.call("find", "Job", e, {"keys": True, "limit": 3 if many == 5 else 270, "cursor": cursor})
            pages, cursor = pages + answer["keys"], answer["cursor"]
        assert sorted(pages) == sorted(keys)


def test_nothing_is_sorted_where_nothing_is_found(people):
    for options in ({"sort": "name"}, {"sort": "-age", "offset": 3}):
        assert people.call("find", "Person", ["=", "city", "Nowhere"], options) == {"keys": [], "documents": [], "cursor": None}


@pytest.mark.parametrize("looked_at, sort", [(10, None), (10, "age"), (100000, None), (100000, "-age"), (100000, "name")])
def test_an_offset_is_used_up_over_pages(redis_server, new_daemon, looked_at, sort):
    """Also where the first answers have nothing, as so many documents are looked at and no more."""
    settings = {"limits.find_documents": looked_at, "limits.find_sorted": 10 if sort == "age" else 10000}
    with new_daemon(redis_server.address, settings).connect() as client:
        client.call("define", PERSON)
        client.call("doc.insert", [[f"Person:{i}", {"name": f"n{i}", "age": i, "city": "Paris"}] for i in range(900)])
        keys, cursor, turns = [], None, 0
        while turns == 0 or cursor is not None:
            options = {"limit": 100, "keys": True, "cursor": cursor, **({"sort": sort} if sort else {}),
                       **({"offset": 620} if turns == 0 else {})}
            answer = client.call("find", "Person", ["=", "city", "Paris"] if sort != "age" else None, options)
            keys, cursor, turns = keys + answer["keys"], answer["cursor"], turns + 1
        assert len(keys) == len(set(keys)) == 280
        if sort == "age":
            assert keys == [f"Person:{i}" for i in range(620, 900)]


def test_documents_and_paths(people):
    answer = people.call("find", "Person", ["=", "city", "Paris"], {"limit": 3, "explain": True})
    for key, doc in zip(answer["keys"], answer["documents"]):
        assert doc == people.call("doc.get", key) and doc["city"] == "Paris"
    assert answer["explain"]["from"] == [
        {"path": "city", "index": "exact",
         "documents": sum(d["city"] == "Paris" for d in people.docs.values())}]
    answer = people.call("find", "Person", ["=", "city", "Paris"], {"paths": ["age"], "version": True})
    assert set(answer["documents"][0]) == {"age", "@v"}


def test_the_plan_takes_the_fewest_and_filters_in_redis(people):
    people.call("doc.save", "Person:one", {"name": "Zoe", "age": 99, "city": "Boston"})
    explain = people.call("find", "Person", ["and", [">", "age", 98], ["=", "city", "Boston"],
                                             ["<", "age", 200]], {"explain": True})["explain"]
    assert [s["path"] for s in explain["from"]] == ["age"] and explain["looked_at"] == 1
    assert [s["path"] for s in explain["and"]] == ["city"]


def test_no_index(people):
    for e in (["=", "note", "a"], ["not", ["=", "city", "Paris"]], None,
              ["or", ["=", "city", "Paris"], ["=", "note", "a"]]):
        with pytest.raises(RpcError, match="^NO_INDEX: .*scan"):
            people.call("find", "Person", e)
    assert people.call("find", "Person", ["and", ["=", "note", "a"], ["=", "city", "Paris"]])["keys"]


def test_what_is_left_over_is_no_answer(people, rdb):
    """An entry of a document that is not so, and one of none."""
    rdb.sadd("rapyer:@index:Person/city=Rome", "1", "nobody", "{", "")
    assert found(people, ["=", "city", "Rome"]) == []
    assert people.call("find.count", "Person", ["=", "city", "Rome"]) == 0


def test_a_spoilt_index(people, rdb):
    rdb.delete("rapyer:@index:Person/city=Paris")
    rdb.set("rapyer:@index:Person/city=Paris", "x")
    with pytest.raises(RpcError, match="^CORRUPT: the index on city: .*built anew"):
        people.call("find", "Person", ["=", "city", "Paris"])
    key = found(people, ["=", "name", "Bob"])[0]
    people.call("set", key, "city", "Paris")  # the document is right all the same
    assert people.call("doc.load", key, "city") == "Paris"


def test_expired_documents(people, oracle_of_people, rdb):
    key = found(people, ["=", "city", "Paris"])[0]
    rdb.pexpire("rapyer:{%s}" % key, 1)
    people.call("doc.ttl", found(people, ["=", "city", "Boston"])[0], 1000)
    assert key not in found(people, ["=", "city", "Paris"], fresh=True)


@pytest.fixture
def oracle_of_people(rdb):
    return Oracle(rdb, PERSON)


@pytest.mark.parametrize("expression, code", [
    ("x", "BAD_REQUEST"), ([], "BAD_REQUEST"), (["="], "BAD_REQUEST"), (["~", "age", 1], "BAD_REQUEST"),
    (["=", "age"], "BAD_REQUEST"), (["=", "age", 1, 2], "BAD_REQUEST"), (["and"], "BAD_REQUEST"),
    (["not", None, None], "BAD_REQUEST"), (["in", "age", 1], "BAD_REQUEST"), ([1, "age", 1], "BAD_REQUEST"),
    (["=", 7, 1], "BAD_REQUEST"), (["=", "nobody", 1], "UNKNOWN_FIELD"), (["=", "", 1], "UNKNOWN_FIELD"),
    (["=", "tags[0]", "x"], "BAD_PATH"), (["=", "age.x", 1], "BAD_PATH"), (["=", "age", "old"], "BAD_TYPE"),
    (["=", "tags", "x"], "BAD_TYPE"), (["has", "age", 1], "BAD_TYPE"), (["has", "tags", 1], "BAD_TYPE"),
    (["prefix", "age", 1], "BAD_TYPE"), (["<", "city", None], "BAD_VALUE"),
    ([">", "score", float("nan")], "BAD_VALUE"), (["=", "age", 1 << 63], "OUT_OF_RANGE"),
    (["=", "born", "2024-02-31"], "BAD_VALUE"), (["in", "age", list(range(1001))], "TOO_LARGE"),
    (["and"] + [["=", "age", 1]] * 256, "TOO_LARGE"), (["=", "name", b"\xff"], "BAD_TYPE")])
def test_bad_expressions(people, expression, code):
    with pytest.raises(RpcError, match=f"^{code}: "):
        people.call("find", "Person", expression, {"scan": True})
    assert people.call("doc.exists", "Person:1") == 1


def test_too_deep(people):
    e = ["=", "age", 1]
    for _ in range(20):
        e = ["not", e]
    with pytest.raises(RpcError, match="^TOO_LARGE: "):
        people.call("find", "Person", e)


@pytest.mark.parametrize("options", [
    {"limit": 0}, {"limit": -1}, {"limit": 1 << 40}, {"limit": "x"}, {"offset": -1}, {"what": 1}, 7,
    {"cursor": "zz"}, {"cursor": "00"}, {"cursor": 1}, {"paths": "age"}, {"scan": 1}, {"sort": 1}])
def test_bad_options(people, options):
    with pytest.raises(RpcError, match="^BAD_REQUEST: "):
        people.call("find", "Person", ["=", "age", 1], options)


@pytest.mark.parametrize("options", [{"limit": 5}, {"sort": "age"}, {"cursor": None}, {"what": 1}])
def test_what_counts_takes_no_other_options(people, options):
    with pytest.raises(RpcError, match="^BAD_REQUEST: "):
        people.call("find.count", "Person", ["=", "age", 1], {"scan": True, "fresh": True, **options})


def test_a_cursor_of_another_find(people):
    cursor = people.call("find", "Person", [">", "age", 1], {"limit": 1})["cursor"]
    with pytest.raises(RpcError, match="^BAD_REQUEST: the cursor"):
        people.call("find", "Person", [">", "age", 2], {"limit": 1, "cursor": cursor})


@pytest.mark.parametrize("sort", [None, "age", "-name"])
def test_a_cursor_of_another_daemon(people, daemon, redis_server, new_daemon, sort):
    """It is good on any, also on one that was started again meanwhile."""
    other = new_daemon(redis_server.address)
    e = ["and", ["prefix", "name", "A"], [">=", "age", 0]]
    options = {"limit": 7, "keys": True, "sort": sort} if sort else {"limit": 7, "keys": True}
    keys, cursor = [], None
    for turn in range(100):
        if turn == 2:
            daemon.kill()
            daemon.start()
        with (daemon if turn % 3 else other).connect() as client:
            answer = client.call("find", "Person", e, {**options, "cursor": cursor})
        keys, cursor = keys + answer["keys"], answer["cursor"]
        if cursor is None:
            break
    assert sorted(keys) == sorted(key for key, doc in people.docs.items() if holds(doc, e))


def test_a_cursor_that_leaves_out_more_than_there_can_be(people):
    """Somebody has changed it."""
    cursor = people.call("find", "Person", [">", "age", 1], {"limit": 1})["cursor"]
    assert cursor.endswith("00")
    with pytest.raises(RpcError, match="^BAD_REQUEST: the cursor"):
        people.call("find", "Person", [">", "age", 1], {"limit": 100, "cursor": cursor[:-2] + "cf7fffffffffffffff"})


def test_bounds(redis_server, new_daemon):
    daemon = new_daemon(redis_server.address, {"limits.find_documents": 500, "limits.find_sorted": 300})
    with daemon.connect() as client:
        client.call("define", PERSON)
        client.call("doc.insert", [[f"Person:{i}", {"name": "A", "age": i}] for i in range(1000)])
        answer = client.call("find", "Person", ["and", [">=", "age", 0], ["=", "note", "x"]])
        assert answer["keys"] == [] and answer["cursor"]  # so far nothing
        assert len(set(found(client, [">=", "age", 0], limit=400))) == 1000
        for method, e, options in (("find.count", [">=", "age", 0], {}),
                                   ("find", [">=", "age", 0], {"sort": "name"})):
            with pytest.raises(RpcError, match="^TOO_LARGE: .*limits.find_"):
                client.call(method, "Person", e, options)
        assert client.call("find.count", "Person", ["<", "age", 20]) == 20


@pytest.mark.parametrize("declared, code", [
    (field("x", "bytes", index="exact"), "BAD_SCHEMA"), (field("x", "str", index="range"), "BAD_SCHEMA"),
    (field("x", "any", index="exact"), "BAD_SCHEMA"), (field("x", "list<str>", index="exact"), "BAD_SCHEMA"),
    (field("x", "str", index="tags"), "BAD_SCHEMA"), (field("x", "int", index="prefix"), "BAD_SCHEMA"),
    (field("x", "str", index="exakt"), "BAD_SCHEMA"), (field("x", "str", index=7), "BAD_SCHEMA"),
    (field("x", "str", index=["exact", 7]), "BAD_SCHEMA"), (field("x", "sorted<str>", index="tags"), "BAD_SCHEMA")])
def test_bad_declarations(client, declared, code):
    with pytest.raises(RpcError, match=f"^{code}: "):
        client.call("define", atomic("Bad", declared))


def test_within(client):
    """Models in fields, optional ones, and elements."""
    client.call("define", atomic("Home", field("town", "optional<str>", index="exact"),
                                 field("rooms", "int", default=1, index="range")))
    client.call("define", atomic("Owner", field("home", "Home"), field("second", "optional<Home>"),
                                 field("flats", "list<Home>"), field("sheds", "dict<Home>")))
    client.call("doc.save", "Owner:a", {"home": {"town": "Bonn"}, "second": {"town": "Ulm", "rooms": 4},
                                        "flats": [{"town": "Köln", "rooms": 2}, {"town": "Rom", "rooms": 9}],
                                        "sheds": {"x": {"town": "Jena"}}})
    client.call("doc.save", "Owner:b", {"home": {"town": None}, "second": None})

    def keys(expression, **options):
        return sorted(client.call("find", "Owner", expression, {"keys": True, **options})["keys"])

    assert keys(["=", "home.town", "Bonn"]) == keys(["=", "second.town", "Ulm"]) == ["Owner:a"]
    assert keys([">", "second.rooms", 3]) == keys(["=", "flats[].town", "Rom"]) == ["Owner:a"]
    assert keys([">=", "flats[].rooms", 2]) == keys(["=", "sheds[].town", "Jena"]) == ["Owner:a"]
    assert keys(["=", "home.town", None]) == ["Owner:b"]
    assert keys(["=", "second.town", None], scan=True) == ["Owner:b"]
    client.call("set", "Owner:a", "second.town", "Kiel")
    client.call("set", "Owner:b", "second", {"town": "Kiel"})
    assert keys(["=", "second.town", "Kiel"]) == ["Owner:a", "Owner:b"]
    client.call("set", "Owner:a", "second", None)
    client.call("list.pop", "Owner:a", "flats")
    assert keys(["=", "second.town", "Kiel"]) == ["Owner:b"] and keys([">", "flats[].rooms", 2]) == []
    for path in ("home", "second", "flats", "flats[]", "flats.town", "home[].town"):
        with pytest.raises(RpcError, match="^BAD_"):
            keys(["=", path, None], scan=True)


def test_moments_with_an_offset(client):
    """By the moment that they are, as conditions have it; which no index knows."""
    client.call("define", atomic("Call", field("at", "datetime_zoned", index="exact"),
                                 field("all", "list<datetime_zoned>", index="tags"),
                                 field("end", "optional<datetime_zoned>", default=None, index="exact")))
    for pk, at in (("a", "2024-01-31T12:00:00+02:00"), ("b", "2024-01-31T11:00:00+00:00")):
        client.call("doc.save", f"Call:{pk}", {"at": at, "all": [at]})
    for e, keys in ((["=", "at", "2024-01-31T10:00:00+00:00"], ["Call:a"]),
                    (["in", "at", ["2024-01-31T10:00:00+00:00"]], ["Call:a"]),
                    (["has", "all", "2024-01-31T10:00:00+00:00"], ["Call:a"]),
                    (["<", "at", "2024-01-31T11:00:00+00:00"], ["Call:a"]),
                    ([">", "at", "2024-01-31T12:00:00+02:00"], ["Call:b"])):
        assert client.call("find", "Call", e, {"scan": True, "keys": True})["keys"] == keys
        with pytest.raises(RpcError, match="^NO_INDEX"):
            client.call("find", "Call", e)
    assert client.call("find.count", "Call", ["=", "end", None]) == 2


def test_more_elements_than_are_indexed(client):
    client.call("define", atomic("Bag", field("items", "set<int>", index="tags"),
                                 field("name", "str", index="exact")))
    for i in range(3):
        client.call("doc.save", f"Bag:{i}", {"name": "x", "items": list(range(i * 600))})
    keys = lambda e: sorted(client.call("find", "Bag", e, {"keys": True})["keys"])
    assert keys(["has", "items", 5]) == ["Bag:1", "Bag:2"] and keys(["has", "items", 1100]) == ["Bag:2"]
    assert keys(["or", ["has", "items", 1], ["has", "items", 700]]) == ["Bag:1", "Bag:2"]
    assert keys(["and", ["=", "name", "x"], ["has", "items", 1100]]) == ["Bag:2"]
    client.call("set", "Bag:2", "items", [7])
    assert keys(["has", "items", 5]) == ["Bag:1"] and keys(["has", "items", 7]) == ["Bag:1", "Bag:2"]


def test_pks_of_all_characters(client):
    client.call("define", atomic("Part", field("kind", "str", index="exact")))
    client.call("define", atomic("Page", field("lang", "str", index="exact"), field("parts", "list<Part>"),
                                 field("note", "str", default="x")))
    pks = ["http://a/b?c={d}", "{", "}", "/", "a*b", "x{7b"]
    for pk in pks:
        client.call("doc.save", f"Page:{pk}", {"lang": "en", "parts": [{"@pk": pk, "kind": "k"}]})
        client.call("doc.ttl", f"Page:{pk}", 1000)
    want = sorted(f"Page:{pk}" for pk in pks)
    for e in (["=", "lang", "en"], ["=", "parts[].kind", "k"], ["=", "note", "x"]):
        assert sorted(client.call("find", "Page", e, {"scan": True, "keys": True})["keys"]) == want


def eventually(client, expression, want, model="Person", **options):
    def is_so():
        try:
            answer = client.call("find", model, expression, {"keys": True, **options})
            return sorted(answer["keys"]) == sorted(want)
        except RpcError as e:
            assert e.code in ("NO_INDEX", "CORRUPT"), e
    wait_until(is_so, timeout=60)


def test_an_index_for_documents_that_are_there(daemons, rdb):
    """Built while both daemons write, one of which has declared it."""
    plain = atomic("Person", field("name", "str"), field("city", "optional<str>"))
    with daemons[0].connect() as one, daemons[1].connect() as two:
        one.call("define", plain)
        two.call("define", plain)
        one.call("doc.insert", [[f"Person:{i}", {"name": "x", "city": "Rome"}] for i in range(1200)])
        two.call("doc.get", "Person:7")
        one.call("define", atomic("Person", field("name", "str"),
                                  field("city", "optional<str>", index="exact")))
        with pytest.raises(RpcError, match="^NO_INDEX: .*built"):
            one.call("find", "Person", ["=", "city", "Rome"])
        two.call("set", "Person:7", "city", "Oslo")
        for i in range(0, 1200, 100):
            (one, two)[i % 200 // 100].call("set", f"Person:{i}", "city", "Paris")
        eventually(one, ["=", "city", "Oslo"], ["Person:7"])
        assert one.call("find.count", "Person", ["=", "city", "Paris"]) == 12
        assert two.call("find.count", "Person", ["=", "city", "Rome"]) == 1187


def test_redis_comes_back_empty(people, rdb):
    rdb.flushall()
    people.call("doc.save", "Person:new", {"name": "Neu", "city": "Wien"})
    eventually(people, ["=", "city", "Wien"], ["Person:new"])


def test_a_spoilt_key_is_removed(people, rdb):
    want = found(people, ["=", "city", "Paris"])
    rdb.delete("rapyer:@index:Person/city=Paris")
    rdb.set("rapyer:@index:Person/city=Paris", "x")
    with pytest.raises(RpcError, match="^CORRUPT: "):
        people.call("find", "Person", ["=", "city", "Paris"])
    rdb.delete("rapyer:@index:Person/city=Paris")
    eventually(people, ["=", "city", "Paris"], want, limit=1000)


def test_what_has_ended_leaves_nothing_behind(client, rdb):
    client.call("define", atomic("Visit", field("page", "str", index=["exact", "prefix"]),
                                 field("n", "int", default=0, index="range"),
                                 field("tags", "list<str>", index="tags"), ttl=1))
    sent = [client.send("doc.save", f"Visit:{i}", {"page": "home", "tags": ["a"]}) for i in range(300)]
    sent += [client.send("set", "Visit:1", "page", "about"), client.send("doc.ttl", "Visit:2", 0)]
    for request in sent:
        client.wait(request)
    wait_until(lambda: rdb.exists("rapyer:{Visit:3}") == 0 and len(rdb.keys("rapyer:{Visit:*")) == 2,
               timeout=60)
    wait_until(lambda: rdb.smembers("rapyer:@index:Visit/page=home") == {b"2"}, timeout=60)
    assert rdb.zrange("rapyer:@index:Visit/n<", 0, -1) == [b"2"]
    assert rdb.smembers("rapyer:@index:Visit/tags=a") == {b"2"}
    assert not rdb.exists("rapyer:@index:Visit", "rapyer:@index:Visit/@ttl",
                          "rapyer:@index:Visit/page=about")


def test_unknown_models(client):
    client.call("define", {"name": "Plain", "kind": "plain", "fields": [field("x", "int")]})
    for model in ("Nobody", "Plain"):
        with pytest.raises(RpcError, match="^UNKNOWN_MODEL: "):
            client.call("find", model)


@pytest.mark.parametrize("way", ["save", "set", "default"])
def test_the_empty_text_is_no_null(client, way):
    """It has an entry of its own, however it got there, and is one value where values are unique."""
    late = [field("s", "str", default="", index=["exact", "prefix"])]
    more = [field("o", "optional<str>", index=["exact", "prefix"]), field("u", "optional<str>", unique=True),
            field("t", "list<str>", index="tags"), field("n", "int", default=0)]
    client.call("define", atomic("Blank", *(more if way == "default" else more + late)))
    doc = {"o": "", "u": "", "t": [""]} if way != "set" else {"s": "x", "o": "x", "u": "x", "t": ["x"]}
    client.call("doc.insert", [["Blank:1", doc], ["Blank:2", {"o": None, "u": None}]])
    client.call("define", atomic("Blank", *more, *late))
    wait_until(lambda: {ix["state"] for ix in client.call("index.list", "Blank")} == {"complete"})
    if way == "set":
        for name in ("s", "o", "u", "t"):
            client.call("set", "Blank:1", name, "" if name != "t" else [""])
            client.call("set", "Blank:1", name, "" if name != "t" else [""])  # as it is
    of = lambda *e: client.call("find", "Blank", [*e], {"keys": True, "sort": "n"})["keys"]  # noqa: E731
    assert sorted(of("=", "s", "")) == sorted(of("<=", "s", "")) == ["Blank:1", "Blank:2"]
    assert of("=", "o", "") == of("<=", "o", "") == of("=", "u", "") == of("has", "t", "") == ["Blank:1"]
    assert of("=", "o", None) == ["Blank:2"] and of("=", "s", "x") == of("has", "t", "x") == []
    check = client.call("index.check", "Blank")
    assert (check["missing"], check["left_over"]) == (0, 0)
    for other in ("doc.save", "Blank:3", {"u": ""}), ("set", "Blank:2", "u", ""):
        with pytest.raises(RpcError, match="^CONFLICT: Blank.u is unique, and '' is that of Blank:1"):
            client.call(*other)
    client.call("set", "Blank:1", "o", None)
    client.call("set", "Blank:1", "u", None)
    client.call("set", "Blank:2", "u", "")
    assert of("=", "o", "") == [] and len(of("=", "o", None)) == 2 and of("=", "u", "") == ["Blank:2"]
    check = client.call("index.check", "Blank")
    assert (check["missing"], check["left_over"]) == (0, 0)
