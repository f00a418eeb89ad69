"""With a Redis Cluster: what is in several of its slots."""

import os
import sys
import tempfile

import pytest

from conftest import _fixtures
from rapyerd import AtomicRedisModel, Index, apipeline, close_all, errors, links
from rapyerd.settings import settings

sys.path.insert(0, os.path.dirname(_fixtures.__file__))
from redis_cluster import Cluster


class Parcel(AtomicRedisModel):
    weight: Index[int] = 0


@pytest.fixture
def cluster(new_daemon, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="rapyer-") as path:
        cluster = Cluster(path, replicas=0)
        daemon = new_daemon(cluster.address)
        monkeypatch.setenv("RAPYER_SOCKET", daemon.socket)
        monkeypatch.setattr(settings, "socket", None)
        monkeypatch.setattr(settings, "connect_timeout", 20.0)
        yield cluster
        close_all()
        for link in list(links._links):
            link.forget()
        daemon.stop()
        cluster.stop()


async def test_many_are_inserted_and_deleted(cluster):
    parcels = [Parcel(weight=i) for i in range(50)]
    await Parcel.insert(*parcels)
    keys = [p.key for p in parcels]
    assert sorted(p.weight for p in await Parcel.find(*keys)) == list(range(50))
    parcels[7].weight = 70
    await Parcel.insert(*parcels)  # replaces
    assert (await Parcel.get(keys[7])).weight == 70
    assert sorted(p.weight for p in await Parcel.find(Parcel.weight >= 48)) == [48, 49, 70]
    assert (await Parcel.delete_many(*parcels)).keys_deleted == 50
    assert await Parcel.find_one(keys[7]) is None


async def test_a_pipeline_is_whole_or_refused(cluster):
    parcels = [Parcel(weight=i) for i in range(5)]
    await Parcel.insert(*parcels)
    with pytest.raises(errors.NotSupportedError, match="CROSS_SLOT"):
        async with apipeline():
            for parcel in parcels:
                parcel.weight += 1
    assert [p.weight for p in await Parcel.find(*(p.key for p in parcels))] == list(range(5))
