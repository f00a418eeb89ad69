"""The script that puts an element into the middle of a list or takes some out (daemon/commit/splice.lua):
does it what a list does, and does it what is cheapest?"""

import os
import random

import pytest

from daemon_process import REPOSITORY

KEY = "list"
MARKER = "m" * 64


@pytest.fixture
def splice(rdb):
    text = ""
    for name in ("splice.lua", "splice_one.lua"):
        with open(os.path.join(REPOSITORY, "daemon", "commit", name), encoding="utf-8") as file:
            text += file.read()
    return rdb.register_script(text)


def fill(rdb, elements):
    rdb.delete(KEY)
    for i in range(0, len(elements), 5000):
        rdb.rpush(KEY, *elements[i:i + 5000])


@pytest.mark.parametrize("seed", range(3))
def test_it_does_what_a_list_does(rdb, splice, seed):
    rng = random.Random(seed)
    for _ in range(400):
        size = rng.choice([1, 2, 3, 10, 40, 100, 3000])
        model = [b"%d" % rng.randrange(4) for _ in range(size)]  # many are equal
        fill(rdb, model)
        for _ in range(3):
            at = rng.randrange(1, len(model) + 1)
            if rng.random() < 0.5 or at == len(model):
                value = rng.choice([b"", b"\x00\xff", b"2", b"x" * 100])
                assert splice([KEY], [at, 0, MARKER, value]) == len(model) + 1
                model.insert(at, value)
            else:
                count = min(rng.choice([1, 1, 2, 5, 1000]), len(model) - at)
                assert splice([KEY], [at, count, MARKER]) == len(model) - count
                del model[at:at + count]
            assert rdb.lrange(KEY, 0, -1) == model


def test_what_is_no_list(rdb, splice):
    rdb.hset(KEY, "f", "v")
    with pytest.raises(Exception, match="WRONGTYPE"):
        splice([KEY], [1, 0, MARKER, "v"])


def copied(rdb, splice, *args):
    """How many commands that copy it took, and how many that search."""
    rdb.config_resetstat()
    splice([KEY], args)
    stats = rdb.info("commandstats")
    calls = {name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]
             for name in ("lrange", "linsert", "lrem", "rpush", "lpush")}
    return calls


def test_only_the_shorter_side_is_touched(rdb, splice):
    n = 100_000
    fill(rdb, list(range(n)))
    no = {"lrange": 0, "linsert": 0, "lrem": 0, "rpush": 0, "lpush": 0}
    for at in (1, n // 2):
        assert copied(rdb, splice, at, 0, MARKER, "v") == {**no, "linsert": 1}
        assert copied(rdb, splice, at, 1, MARKER) == {**no, "lrem": 1}
    for at in (n - 1, n - 1900):  # LINSERT would look at all that is in front of it
        assert copied(rdb, splice, at, 0, MARKER, "v") == {**no, "lrange": 1,
                                                            "rpush": 1 + -(-(n - at) // 1000)}
        assert copied(rdb, splice, at, 1, MARKER) == {**no, "lrem": 1}
    # Most of it goes: what is left is what is copied, on whichever side.
    assert copied(rdb, splice, 10, n - 5000, MARKER) == {**no, "lrange": 1, "lpush": 1}
    fill(rdb, list(range(n)))
    assert copied(rdb, splice, 5000, n - 5010, MARKER) == {**no, "lrange": 1, "rpush": 1}
    assert rdb.lrange(KEY, 0, -1) == [b"%d" % i for i in (*range(5000), *range(n - 10, n))]
