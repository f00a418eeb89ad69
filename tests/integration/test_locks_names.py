"""What a lock is called: a document, a path in it and an action; an element's lock stays with the
element. Other names never exclude each other."""

import pytest

from lock_clients import acquire, ask, await_waiters, is_free, release
from models import KEY
from rpc_client import RpcError
from test_bad_input import refused


def test_locks_of_other_names_do_not_exclude_each_other(ada, other):
    names = [(KEY, {}, "edit"), (KEY, {}, "Edit"), (KEY, {}, "edit "), ("User:eve", {}, "edit"),
             (KEY, {"path": "settings"}, "edit"), (KEY, {"path": "settings.panels"}, "edit"),
             (KEY, {"path": "sections"}, "edit"), (KEY, {"path": "sections[0]"}, "edit"),
             (KEY, {"path": "sections[0].tasks"}, "edit"), (KEY, {"path": "name"}, "edit"),
             (KEY, {"path": 'teams["core"]'}, "edit"), (KEY, {}, "\u00e9\U0001f512")]
    locks = [acquire(ada if n % 2 else other, key, action, wait=0, **options)
             for n, (key, options, action) in enumerate(names)]
    assert len({lock["fence"] for lock in locks if lock["fence"]}) >= 1
    for key, options, action in names:
        for client in (ada, other):
            try:
                lock = acquire(client, key, action, wait=0, **options)
            except RpcError as error:
                assert error.code == "LOCK_TIMEOUT"
            else:
                assert lock["depth"] == 2


def test_the_same_place_by_other_words(ada, other):
    acquire(ada, path="sections[0]")
    for path in ('sections["s1"]', "sections[-2]", 'sections["\\u0073\\u0031"]'):
        refused(other, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit", {"path": path, "wait": 0})
    acquire(ada, path='sections["s1"].tasks[-1].tags')
    refused(other, "LOCK_TIMEOUT", "lock.acquire", KEY, "edit",
            {"path": 'sections[0].tasks["t2"].tags', "wait": 0})


def test_an_elements_lock_stays_with_the_element(ada, other):
    lock = acquire(ada, path="sections[0]")
    assert lock["path"] == 'sections["s1"]'  # what to write to under the lock
    other.call("list.insert", KEY, "sections", 0, {"@pk": "s0", "name": "zero"})
    assert not is_free(other, path="sections[1]")
    assert not is_free(other, path='sections["s1"]')
    first = acquire(other, path="sections[0]", wait=0, document=True)
    assert first["document"]["@pk"] == "s0"
    assert {shown["path"] for shown in other.call("admin.locks", {"key": KEY}) if shown["holders"]} == {
        'sections["s0"]', 'sections["s1"]'}
    release(ada, lock, [["set", KEY, lock["path"] + ".name", "still one"]])
    assert ada.call("doc.load", KEY, "sections[1].name") == "still one"


def test_the_path_is_resolved_when_it_is_asked_for(ada, other, third):
    """A wait stays with its element as well."""
    lock = acquire(ada, path="sections[1]")
    request = ask(other, path="sections[1]", document=True)
    await_waiters(ada, 1, path='sections["s2"]')
    third.call("list.insert", KEY, "sections", 0, {"@pk": "s0", "name": "zero"})
    release(ada, lock)
    assert other.wait(request)["document"]["@pk"] == "s2"


def test_an_element_that_is_removed_while_it_is_locked(ada, other):
    lock = acquire(ada, path="sections[0]")
    request = ask(other, path='sections["s1"]', document=True)
    await_waiters(ada, 1, path='sections["s1"]')
    ada.call("list.pop", KEY, "sections", 0)
    release(ada, lock)
    try:
        # It was asked for when the element was there; now there is nothing at the path.
        assert other.wait(request)["document"] is None
    except RpcError as error:
        assert error.code == "NOT_FOUND"
    refused(ada, "NOT_FOUND", "lock.acquire", KEY, "edit", {"path": 'sections["s1"]'})


@pytest.mark.parametrize("path,codes", [
    ("nothing", ("BAD_PATH", "UNKNOWN_FIELD")), ("name.first", ("BAD_PATH",)), ("[", ("BAD_PATH",)),
    ("sections[9]", ("OUT_OF_RANGE", "NOT_FOUND")), ('sections["s9"]', ("NOT_FOUND",)),
    ('teams["none"].tasks', ("NOT_FOUND",)), ('sections["s9"].tasks', ("NOT_FOUND",)),
    ('tags[3]', ("OUT_OF_RANGE", "NOT_FOUND"))])
def test_a_path_that_leads_nowhere(ada, path, codes):
    with pytest.raises(RpcError) as caught:
        acquire(ada, path=path)
    assert caught.value.code in codes, caught.value.error
    assert not [lock for lock in ada.call("admin.locks") if lock["holders"]]


def test_entries_of_a_dict_that_are_not_there(ada, other):
    """A key can be locked before somebody puts something there."""
    for path, write in (('counts["new"]', ["dict.set", KEY, "counts", "new", 1]),
                        ('teams["new"]', ["dict.set", KEY, "teams", "new", {"@pk": "n", "name": "new"}])):
        lock = acquire(ada, path=path, document=True)
        assert lock["document"] is None and lock["path"] == path and lock["version"] > 0
        assert not is_free(other, path=path)
        release(ada, lock, [write])
        assert acquire(other, path=path, document=True)["document"] == ada.call("doc.load", KEY, path)


def test_documents_that_are_not_there(ada, other):
    lock = acquire(ada, "User:nobody", document=True)
    assert lock["version"] == 0 and lock["document"] is None
    assert not is_free(other, "User:nobody")
    refused(ada, "NOT_FOUND", "lock.acquire", "User:nobody", "edit", {"path": "name"})
    saved = ada.call("pipeline", [["doc.save", "User:nobody", {"name": "Nobody"}]],
                     {"lock": lock["token"], "if_version": 0})[0]
    release(ada, lock)
    lock = acquire(other, "User:nobody", document=True)
    assert lock["version"] == saved["version"] and lock["document"]["name"] == "Nobody"
    refused(ada, "UNKNOWN_MODEL", "lock.acquire", "Nothing:1", "edit")
    for key in ("User", "User:", ":1", "", "User:a\nb"):
        refused(ada, "BAD_KEY", "lock.acquire", key, "edit")


def test_a_document_deleted_under_its_lock(ada, other):
    lock = acquire(ada)
    inside = acquire(ada, path="settings")
    assert ada.call("pipeline", [["doc.delete", KEY]], {"lock": lock["token"]}) == [1]
    assert not is_free(other)
    again = acquire(ada, document=True)
    assert (again["token"], again["depth"], again["version"], again["document"]) == (
        lock["token"], 2, 0, None)
    release(ada, again)
    release(ada, inside)
    assert release(ada, lock, [["doc.save", KEY, {"name": "Ada", "settings": {}}]])[0]["key"] == KEY
    lock = acquire(other, document=True)
    assert lock["document"]["name"] == "Ada" and lock["document"]["age"] == 0
