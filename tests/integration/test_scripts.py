"""Redis forgets scripts, when it likes: what is asked of them by their hashes is done once all the same."""

import itertools
import threading

import pytest

from models import atomic, field
from rpc_client import RpcError

JOBS = atomic("Jobs", field("queue", "sorted<int>"), field("done", "list<int>"), field("n", "float", default=1.0))
N = 200


def flush(rdb):
    rdb.execute_command("SCRIPT", "FLUSH")


def by_hash(rdb):
    return rdb.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)


def begin(client):
    client.call("define", JOBS)
    client.call("doc.save", "Jobs:1", {"queue": [[n, n] for n in range(N)]})


def test_what_redis_forgot_it_is_given_again(client, rdb):
    begin(client)
    for turn in range(5):
        flush(rdb)
        assert client.call("num.mul", "Jobs:1", "n", 2) == 2.0 ** (2 * turn + 1)
        before = by_hash(rdb)
        assert client.call("num.mul", "Jobs:1", "n", 2) == 2.0 ** (2 * turn + 2)
        assert by_hash(rdb) == before + 1
    assert float(rdb.hget("rapyer:{Jobs:1}", "n")) == 2.0 ** 10


def test_without_the_right_to_give_it_scripts(redis_server, new_daemon, rdb):
    """Its text goes along then."""
    rdb.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", "-script")
    daemon = new_daemon(redis_server.address, {"redis.redis_user": "worker", "redis.redis_password": "secret"})
    with daemon.connect() as client:
        begin(client)
        before = by_hash(rdb)
        assert client.call("num.mul", "Jobs:1", "n", 2) == 2.0
        assert by_hash(rdb) == before


def test_without_the_right_to_begin_a_transaction(redis_server, new_daemon, rdb):
    """Redis refuses MULTI, and does all that is behind it."""
    rdb.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all")
    daemon = new_daemon(redis_server.address, {"redis.redis_user": "worker", "redis.redis_password": "secret"})
    with daemon.connect() as client:
        begin(client)
        rdb.execute_command("ACL", "SETUSER", "worker", "-multi")
        with pytest.raises(RpcError, match=r"^UNKNOWN_OUTCOME: .*\+multi"):
            client.call("list.append", "Jobs:1", "done", 1)
        rdb.execute_command("ACL", "SETUSER", "worker", "+multi")
        assert client.call("list.append", "Jobs:1", "done", 2) == rdb.llen("rapyer:{Jobs:1}/done")
        assert client.call("doc.load", "Jobs:1", "done") == [1, 2]


@pytest.mark.exact
def test_each_job_is_taken_once_while_scripts_are_forgotten(redis_server, new_proxy, new_daemon, rdb):
    """Two daemons take jobs off a queue, their links are cut, and somebody removes all scripts again and
    again."""
    taken, end = [[], []], threading.Event()
    proxies = [new_proxy(redis_server.address) for _ in taken]
    daemons = [new_daemon(proxy.address, {"redis.reconnect_max": "50ms"}) for proxy in proxies]
    for daemon in daemons:
        with daemon.connect() as client:
            client.call("define", JOBS)
    with daemons[0].connect() as client:
        begin(client)

    def work(number):
        with daemons[number].connect() as client:
            client.socket.settimeout(60)
            while job := client.call("sorted.pop_min", "Jobs:1", "queue", 1):
                taken[number].append(job[0][0])

    def forget():
        with redis_server.client() as own:
            for turn in itertools.count():
                if end.wait(0.002):
                    break
                flush(own)
                if turn % 20 == 19:
                    proxies[turn // 20 % 2].cut()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    forgetful = threading.Thread(target=forget)
    forgetful.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    end.set()
    forgetful.join()
    assert sorted(taken[0] + taken[1]) == list(range(N))
    assert all(one == sorted(one) for one in taken)
    assert rdb.zcard("rapyer:{Jobs:1}/queue") == 0
