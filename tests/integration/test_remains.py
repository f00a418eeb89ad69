"""What is left of a document whose root hash somebody else removed."""

import pytest

from models import KEY, define_all, save_ada
from rpc_client import RpcError


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
