"""Fixtures: a private Redis, the real daemon in front of it, a client, and a look into Redis."""

import os
import shutil
import tempfile

import pytest

import certificates
from daemon_process import BIG_WORK, Daemon
from fault_proxy import FaultProxy
from models import KEY, save_ada
from redis_cluster import Cluster
from redis_server import RedisServer
from service_manager import ServiceManager


def pytest_configure(config):
    config.addinivalue_line("markers", "exact: what it finds is wrong once and for all (see ../README.md)")


@pytest.fixture(scope="session", autouse=True)
def certificates_go():
    yield
    certificates.common.remove()


@pytest.fixture
def workdir():
    # Short: the path of a unix socket holds 107 bytes.
    path = tempfile.mkdtemp(prefix="rapyer-", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def new_redis(workdir):
    servers = []

    def new(**options):
        servers.append(RedisServer(f"{workdir}/redis{len(servers)}", **options))
        return servers[-1]

    yield new
    for server in servers:
        server.stop()


@pytest.fixture
def cluster(workdir):
    """3 masters, each with a replica."""
    started = Cluster(workdir)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def kept_cluster():
    path = tempfile.mkdtemp(prefix="rapyer-")
    started = Cluster(path, timeout=15000)  # that nothing fails over by itself
    yield started
    started.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def calm_cluster(kept_cluster):
    """One for all tests of a file that kill and freeze none of its nodes; empty."""
    for node in kept_cluster.masters:
        node.ask("FLUSHALL")
    return kept_cluster


@pytest.fixture
def new_proxy(workdir):
    proxies = []

    def new(target, **options):
        proxies.append(FaultProxy(workdir, target, **options))
        return proxies[-1]

    yield new
    for proxy in proxies:
        proxy.stop()


@pytest.fixture
def service_manager(workdir):
    it = ServiceManager(os.path.join(workdir, "notify"))
    yield it
    it.close()


@pytest.fixture
def redis_server(new_redis):
    return new_redis()


@pytest.fixture
def new_daemon(workdir):
    """Starts daemons; each is stopped and looked after at the end."""
    daemons = []

    def new(redis, settings=(), **options):
        daemons.append(Daemon(f"{workdir}/daemon{len(daemons)}", redis, settings, **options))
        return daemons[-1]

    new.daemons = daemons
    yield new
    complaints = []
    for daemon in daemons:
        try:
            daemon.stop()
        except (AssertionError, TimeoutError) as complaint:
            complaints.append(complaint)
    if complaints:
        raise next((c for c in complaints if isinstance(c, AssertionError)), complaints[0])


@pytest.fixture
def daemon(redis_server, new_daemon):
    return new_daemon(redis_server.address)


@pytest.fixture
def patient(redis_server, new_daemon):
    """A daemon that takes requests however long they keep others waiting."""
    return new_daemon(redis_server.address, BIG_WORK)


@pytest.fixture
def patient_client(patient):
    with patient.connect() as client:
        yield client


@pytest.fixture
def client(daemon):
    with daemon.connect() as client:
        yield client


@pytest.fixture
def ada(client):
    """A client, and a document for it to lock."""
    save_ada(client)
    return client


@pytest.fixture
def other(ada, daemon):
    with daemon.connect() as other:
        yield other


@pytest.fixture
def third(ada, daemon):
    with daemon.connect() as third:
        yield third


@pytest.fixture
def daemons(redis_server, new_daemon):
    return [new_daemon(redis_server.address) for _ in range(2)]


@pytest.fixture
def pair(daemons):
    """A client of each of two daemons; both have Ada in memory."""
    with daemons[0].connect() as one, daemons[1].connect() as two:
        save_ada(one)
        for client in (one, two):
            client.call("doc.get", KEY)
        yield one, two


@pytest.fixture
def rdb(redis_server):
    with redis_server.client() as client:
        yield client


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.when == "call" and report.failed and "new_daemon" in getattr(item, "funcargs", {}):
        for daemon in item.funcargs["new_daemon"].daemons:
            report.sections.append((f"log of {daemon.directory}", daemon.log()))
