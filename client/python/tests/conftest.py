"""The real daemon, in front of a real Redis, as in tests/integration, for each test."""

import importlib.util
import os
import sys

import pytest

import rapyerd
from rapyerd import links
from rapyerd.schema import declarations
from rapyerd.settings import settings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
INTEGRATION = os.path.join(ROOT, "tests", "integration")
sys.path.insert(0, INTEGRATION)

_spec = importlib.util.spec_from_file_location(
    "integration_fixtures", os.path.join(INTEGRATION, "conftest.py")
)
_fixtures = importlib.util.module_from_spec(_spec)
sys.modules["integration_fixtures"] = _fixtures
_spec.loader.exec_module(_fixtures)

workdir = _fixtures.workdir
new_redis = _fixtures.new_redis
new_daemon = _fixtures.new_daemon
redis_server = _fixtures.redis_server
rdb = _fixtures.rdb

from layout_reader import LayoutReader  # noqa: E402

from listings import document  # noqa: E402

collect_ignore = [] if document() else ["test_listings.py"]


def pytest_report_header():
    found = document()
    return (
        f"listings: {found}"
        if found
        else "listings: the product document is not beside this checkout, its listings are left out"
    )


@pytest.fixture
def daemon(redis_server, new_daemon, monkeypatch):
    """A daemon, which everything in this process and its children finds."""
    daemon = new_daemon(redis_server.address)
    monkeypatch.setenv("RAPYER_SOCKET", daemon.socket)
    monkeypatch.setattr(settings, "socket", None)
    monkeypatch.setattr(settings, "connect_timeout", 20.0)
    yield daemon
    rapyerd.close_all()
    for link in list(links._links):
        link.forget()


@pytest.fixture
def stored(daemon, rdb):
    """Reads a document out of Redis, by the layout alone."""

    def read(model_or_key, cls=None):
        cls = cls or type(model_or_key)
        key = model_or_key if isinstance(model_or_key, str) else model_or_key.key
        return LayoutReader(rdb, declarations((cls,), set(), frozenset())).read(str(key))

    return read
