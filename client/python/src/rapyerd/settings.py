"""Settings of this process: where the daemon is, and how long it is waited for."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from rapyerd.errors import UnsupportedArgumentValueError

DEFAULT_SOCKET = "/run/rapyerd/rapyerd.sock"


@dataclass
class Settings:
    """``socket``: path of the daemon's socket; None: $RAPYER_SOCKET, else the default one.

    ``connect_timeout``: seconds for which a request waits for a daemon that cannot be reached.

    ``namespace``: put in front of all models' names (``shop`` makes ``shop_User:42`` of ``User:42``),
    so that two applications on one Redis may have models of the same name.

    ``client``: the name of this program in the daemon's log.
    """

    socket: str | None = None
    connect_timeout: float = 5.0
    namespace: str = ""
    client: str = "rapyerd-python"

    def path(self) -> str:
        return self.socket or os.environ.get("RAPYER_SOCKET") or DEFAULT_SOCKET


settings = Settings()


def configure(
    *,
    socket: str | None = None,
    connect_timeout: float | None = None,
    namespace: str | None = None,
    client: str | None = None,
) -> None:
    """Changes the settings of this process; to be called before the first request."""
    if namespace is not None and not re.fullmatch(r"[A-Za-z0-9_]*", namespace):
        raise UnsupportedArgumentValueError(f"a namespace has letters, digits and _, not {namespace!r}")
    if socket is not None:
        settings.socket = socket
    if connect_timeout is not None:
        settings.connect_timeout = connect_timeout
    if namespace is not None:
        settings.namespace = namespace
    if client is not None:
        settings.client = client
