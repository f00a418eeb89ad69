"""What is left of a document whose root hash somebody else removed, and of elements that another daemon removed."""

import pytest

from layout_reader import LayoutReader
from models import ADA, KEY, MODELS, define_all, save_ada
from rpc_client import RpcError, wait_until


def test_a_save_clears_what_is_left(daemon, client, rdb):
    save_ada(client)
    full = client.call("doc.get", KEY)
    assert full["tags"] and full["sections"]
    rdb.delete("rapyer:{%s}" % KEY)
    daemon.stop()
    daemon.start()
    with daemon.connect() as again:
        define_all(again)
        with pytest.raises(RpcError, match="^NOT_FOUND: "):
            again.call("doc.get", KEY)
        again.call("doc.save", KEY, {"name": "Ada", "tags": [], "sections": [], "counts": {}})
        wanted = again.call("doc.get", KEY)
        assert wanted["tags"] == [] and wanted["sections"] == []
    assert rdb.keys("rapyer:{%s}/*" % KEY) == []
    daemon.stop()
    daemon.start()
    with daemon.connect() as fresh:
        assert fresh.call("doc.get", KEY) == wanted


TASK_1 = 'sections["s1"].tasks["t1"]'
SECTION_GONE = ("list.remove_range", KEY, "sections", 0, 1)
TEAM_GONE = ("dict.del", KEY, "teams", "core")
IN_ELEMENTS = [(("set", KEY, TASK_1 + ".status", "mine"), SECTION_GONE),
               (("list.append", KEY, TASK_1 + ".tags", "mine"), SECTION_GONE),
               (("dict.set", KEY, TASK_1 + ".metadata", "mine", "x"), ("list.clear", KEY, 'sections["s1"].tasks')),
               (("set", KEY, 'teams["core"].name', "mine"), TEAM_GONE),
               (("list.append", KEY, 'teams["core"].tasks', {"title": "mine"}), TEAM_GONE)]


@pytest.mark.parametrize("lost", [False, True])
def test_nothing_of_a_change_in_an_element_that_another_daemon_removes(redis_server, new_proxy, new_daemon, rdb, lost):
    """It is answered as done, and is gone with the element: no key is left that nothing leads to, for the next
    element of that pk to find. Also where the answer of the commit was lost. Shows C7."""
    proxy = new_proxy(redis_server.address)
    reader = LayoutReader(rdb, MODELS)
    with new_daemon(proxy.address).connect() as one, new_daemon(redis_server.address).connect() as two:
        for change, removal in IN_ELEMENTS:
            save_ada(one)
            one.call("doc.get", KEY)
            two.call("doc.get", KEY)

            def first(removal=removal):
                two.call(*removal)
                if lost:
                    proxy.cut_after("replies", 0)
            proxy.ahead = b"mine", first
            try:
                one.call(*change)
            except RpcError as error:
                assert lost and error.code == "UNKNOWN_OUTCOME"
            assert proxy.ahead is None
            wait_until(lambda: not reader.orphans(KEY), what="the sweep")
            one.call("doc.save", KEY, ADA)
            assert one.call("doc.get", KEY, {"fresh": True})["sections"] == ADA["sections"]
        one.call("doc.delete", KEY)
        assert rdb.keys("rapyer:{User:*") == []


@pytest.mark.parametrize("put", [lambda team: ("dict.set", KEY, "teams", "new", team),
                                 lambda team: ("dict.update", KEY, "teams", {"new": team})])
def test_nothing_of_an_element_that_another_daemon_put_under_the_key_just_before(redis_server, new_proxy, new_daemon,
                                                                                 rdb, put):
    """It is replaced, with all that it holds. Shows C7."""
    proxy = new_proxy(redis_server.address)
    reader = LayoutReader(rdb, MODELS)
    with new_daemon(proxy.address).connect() as one, new_daemon(redis_server.address).connect() as two:
        save_ada(one)
        two.call("doc.get", KEY)
        other = {"name": "other", "tasks": [{"title": "a task"}]}
        proxy.ahead = b"mine", lambda: two.call(*put(other))
        one.call(*put({"name": "mine", "tasks": []}))
        assert proxy.ahead is None
        assert one.call("doc.load", KEY, 'teams["new"].name') == "mine"
        assert reader.orphans(KEY) == set()
