"""What from-redis-py.md says about existing data."""

import redis

from rapyerd import AtomicRedisModel


class Moved(AtomicRedisModel):
    name: str
    visits: int = 0


async def test_hashes_become_documents_of_the_same_pk(daemon, rdb):
    rdb.hset("user:1", mapping={"name": "Ada", "visits": "3"})
    rdb.hset("user:a:b", mapping={"name": "Bob"})
    rdb.set("user:count", 2)
    pool = rdb.connection_pool
    options = {**pool.connection_kwargs, "decode_responses": True}
    r = redis.Redis(connection_pool=redis.ConnectionPool(connection_class=pool.connection_class, **options))
    for key in r.scan_iter("user:*", _type="hash"):
        user = Moved(**r.hgetall(key))
        user.pk = key.removeprefix("user:")
        await user.save()
    r.close()
    assert sorted(await Moved.find_keys()) == ["Moved:1", "Moved:a:b"]
    assert await Moved.get("1") == Moved(name="Ada", visits=3)
    assert (await Moved.get("Moved:a:b")).name == "Bob"
