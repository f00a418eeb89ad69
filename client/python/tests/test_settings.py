"""Where the daemon is looked for when nobody says so."""

import os
from pathlib import Path

import pytest

from rapyerd import settings


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
