"""Where the daemon is looked for when nobody says so."""

import os
from pathlib import Path

import pytest

from rapyerd import AtomicRedisModel, errors, functions, settings, sync


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As an ordinary user, on a host without a daemon for all."""
    monkeypatch.delenv("RAPYER_SOCKET", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(settings, "DEFAULT_SOCKET", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_an_ordinary_users_daemon_is_found(ordinary: Path) -> None:
    assert settings.Settings().path() == settings.DEFAULT_SOCKET
    (ordinary / ".rapyerd.sock").touch()
    assert settings.Settings().path() == str(ordinary / ".rapyerd.sock")
    (ordinary / "run" / "rapyerd").mkdir(parents=True)
    (ordinary / "run" / "rapyerd" / "rapyerd.sock").touch()
    assert settings.Settings().path() == str(ordinary / "run" / "rapyerd" / "rapyerd.sock")
    Path(settings.DEFAULT_SOCKET).touch()
    assert settings.Settings().path() == settings.DEFAULT_SOCKET
    assert settings.Settings(socket="/x").path() == "/x"


def test_a_namespace_keeps_applications_apart(daemon, monkeypatch, rdb):
    class Tenant(sync.AtomicRedisModel):
        n: int = 0

    Tenant(n=1).save()
    monkeypatch.setattr(settings.settings, "namespace", "")
    settings.configure(namespace="acme.shop")

    class Room(sync.AtomicRedisModel):
        n: int = 0

    class Tenant(sync.AtomicRedisModel):
        n: str = ""
        rooms: list[Room] = []

    other = Tenant(n="x", rooms=[Room(n=3)])
    other.save()
    assert other.key == f"acme.shop.Tenant:{other.pk}" and rdb.exists(f"rapyer:{{{other.key}}}")
    assert Tenant.get(other.key) == Tenant.get(other.pk) == Tenant.get(f"Tenant:{other.pk}") == other
    assert [key.partition(":")[0] for key in Tenant.find_keys()] == ["acme.shop.Tenant"]
    assert functions.class_of(other.key) is Tenant
    with other.lock(), other.pipeline():
        other.rooms[0].n += 1
    assert Tenant.get(other.key).rooms[0].n == 4
    with pytest.raises(errors.UnsupportedArgumentValueError):
        settings.configure(namespace="not: this")


def test_a_class_may_say_its_namespace(daemon):
    class Visitor(sync.AtomicRedisModel):
        @classmethod
        def class_key_initials(cls):
            return "gate.Visitor"

    assert Visitor().key.startswith("gate.Visitor:") and issubclass(Visitor, AtomicRedisModel)
