"""The models and the document that most tests work on: every type, nested in every way."""

from datetime import datetime, timezone


def field(name, kind, **more):
    return {"name": name, "type": kind, **more}


def atomic(name, *fields, **more):
    return {"name": name, "kind": "atomic", "fields": list(fields), **more}


def plain(name, *fields):
    return {"name": name, "kind": "plain", "fields": list(fields)}


TASK = atomic("Task", field("title", "str"), field("status", "str", default="pending"),
              field("tags", "list<str>"), field("metadata", "dict<str>"))
SECTION = atomic("Section", field("name", "str"), field("tasks", "list<Task>"))
SETTINGS = atomic("Settings", field("theme", "str", default="light"),
                  field("notifications", "dict<bool>"), field("panels", "list<str>"))
ADDRESS = plain("Address", field("street", "str"), field("city", "str", default=""))
USER = atomic(
    "User", field("name", "str"), field("age", "int", default=0),
    field("score", "float", default=0.0), field("active", "bool", default=False),
    field("bio", "str", default=""), field("blob", "bytes", default=b""),
    field("born", "optional<datetime>", default=None), field("extra", "any", default=None),
    field("nick", "optional<str>", default=None),
    field("address", "optional<Address>", default=None), field("settings", "Settings"),
    field("tags", "list<str>"), field("numbers", "list<int>"), field("counts", "dict<int>"),
    field("addresses", "list<Address>"), field("rows", "list<list<int>>"),
    field("sections", "list<Section>"), field("teams", "dict<Section>"))
MODELS = [TASK, SECTION, SETTINGS, ADDRESS, USER]

BORN = datetime(2024, 1, 1, 12, 30, tzinfo=timezone.utc)
ADA = {
    "name": "Ada", "age": 36, "score": 1.5, "active": True, "bio": "hello",
    "blob": b"\x00\xff", "born": BORN, "extra": {"k": [1, None]}, "nick": None,
    "address": {"street": "12 St James's Sq", "city": "London"},
    "settings": {"theme": "dark", "notifications": {"mail": True}, "panels": ["news"]},
    "tags": ["a", "b", "c"], "numbers": [1, 2, 3], "counts": {"x": 1, "y": 2},
    "addresses": [{"street": "Main St", "city": "Boston"}], "rows": [[1], [2, 3]],
    "sections": [
        {"@pk": "s1", "name": "one", "tasks": [
            {"@pk": "t1", "title": "first", "status": "pending", "tags": ["red"],
             "metadata": {"due": "today"}},
            {"@pk": "t2", "title": "second", "status": "done", "tags": [], "metadata": {}}]},
        {"@pk": "s2", "name": "two", "tasks": []}],
    "teams": {"core": {"@pk": "c1", "name": "core", "tasks": []}},
}
KEY = "User:ada"
ROOT = "rapyer:{User:ada}"


def define_all(client):
    for model in MODELS:
        client.call("define", model)


def save_ada(client):
    define_all(client)
    return client.call("doc.save", KEY, ADA)
