"""Pages of keys, documents and checks that go on behind a restart of Redis, which hashes its keys otherwise
then: nothing that is there all the time is left out."""

import pytest

from models import atomic, field
from rpc_client import RpcError, wait_until

JOB = atomic("Job", field("state", "str", default="new", index="exact"), field("n", "int", default=0))
KEYS = {f"Job:{i}" for i in range(1500)}


@pytest.fixture
def redis(new_redis):
    return new_redis(aof=True)


@pytest.fixture
def jobs(redis, new_daemon):
    with new_daemon(redis.address, {"redis.reconnect_max": "50ms", "limits.find_documents": 500}).connect() as client:
        client.call("define", JOB)
        client.call("doc.insert", [[key, {"n": i}] for i, key in enumerate(KEYS)])
        yield client


def again(client, redis):
    redis.restart()
    wait_until(lambda: client.call("admin.stats")["redis"] == "up", what="the link")


def pages(client, redis, ask, done):
    """Each answer; Redis restarts behind the second, the fourth and the sixth."""
    cursor, turn = done if done is None else "0", 0
    while True:
        answer = ask(cursor)
        yield answer
        cursor, turn = answer["cursor"], turn + 1
        if cursor == done:
            return
        if turn in (2, 4, 6):
            again(client, redis)


def test_keys(jobs, redis):
    listed = [key for page in pages(jobs, redis, lambda at: jobs.call("doc.keys", "Job", {"cursor": at, "count": 200}), "0")
              for key in page["keys"]]
    assert set(listed) == KEYS


@pytest.mark.parametrize("expression", [["=", "state", "new"], [">=", "n", 0]], ids=["index", "scan"])
def test_documents(jobs, redis, expression):
    found = [key for page in pages(jobs, redis, lambda at: jobs.call(
        "find", "Job", expression, {"cursor": at, "limit": 90, "keys": True, "scan": True}), None) for key in page["keys"]]
    assert set(found) == KEYS


def test_changes(jobs, redis):
    """What is changed so that it does not hold any more is changed once."""
    updated = sum(page["updated"] for page in pages(jobs, redis, lambda at: jobs.call(
        "find.update", "Job", ["=", "state", "new"], [["num.incr", "n", 10000], ["set", "state", "done"]],
        {"cursor": at, "limit": 150}), None))
    assert updated == len(KEYS)
    assert jobs.call("find.count", "Job", ["=", "state", "new"]) == 0


def test_checks(jobs, redis):
    with redis.client() as rdb:
        members = sorted(rdb.smembers("rapyer:@index:Job/state=new"))
        rdb.srem("rapyer:@index:Job/state=new", *members[::3])
    missing = {page["missing"] for page in pages(jobs, redis, lambda at: jobs.call(
        "index.check", "Job", {"cursor": at, "repair": True}), None)}
    assert max(missing) > 0
    again = [jobs.call("index.check", "Job", {"cursor": None})]
    while again[-1]["cursor"] is not None:
        again.append(jobs.call("index.check", "Job", {"cursor": again[-1]["cursor"]}))
    assert sum(page["missing"] for page in again) == 0


def test_what_is_no_place(jobs):
    for cursor in ("17", "-", "17-", "x-1", "17-0123456789abcdef0", "123456789012345678901-1", "17_1"):
        with pytest.raises(RpcError, match="^BAD_REQUEST: "):
            jobs.call("doc.keys", "Job", {"cursor": cursor})
        with pytest.raises(RpcError, match="^BAD_REQUEST: "):
            jobs.call("index.check", "Job", {"cursor": f"d{cursor}"})
