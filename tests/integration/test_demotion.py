"""The master becomes a replica while the daemon is connected to it, and its name leads elsewhere:
the daemon goes there by itself, and each increment counts once."""

from models import KEY, ROOT, save_ada
from rpc_client import RpcError, wait_until


def test_goes_to_where_the_name_leads_now(new_redis, new_proxy, new_daemon):
    old, new = new_redis(tcp=True), new_redis(tcp=True)
    name = new_proxy(old.address, tcp=True)  # its connections stay with who they were made to
    daemon = new_daemon(name.address)
    with old.client() as was, new.client() as becomes, daemon.connect() as client:
        was.config_set("repl-diskless-sync-delay", 0)
        becomes.replicaof("127.0.0.1", old.port)
        wait_until(lambda: becomes.info("replication")["master_link_status"] == "up",
                   what="the replica's link")
        save_ada(client)
        assert client.call("num.incr", KEY, "age", 1) == 37
        wait_until(lambda: becomes.hget(ROOT, "age") == b"37", what="replication")
        becomes.replicaof("no", "one")
        was.replicaof("127.0.0.1", new.port)
        name.target = new.address
        done, refused = 37, 0
        while done < 47:
            try:
                done += 1
                assert client.call("num.incr", KEY, "age", 1) == done
            except RpcError as error:
                assert error.code == "UNAVAILABLE", error
                done -= 1
                refused += 1
        assert refused == 1
        assert becomes.hget(ROOT, "age") == b"47"
        assert client.call("doc.load", KEY, "age") == 47
    assert "it is a replica now" in daemon.log()
