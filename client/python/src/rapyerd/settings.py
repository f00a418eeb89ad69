"""Settings of this process: where the daemon is, and how long it is waited for."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from rapyerd.errors import UnsupportedArgumentValueError

DEFAULT_SOCKET = "/run/rapyerd/rapyerd.sock"


def default_socket() -> str:
    """Where librapyer looks as well: the daemon of the host, else one that an ordinary user runs."""
    runtime, home = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("HOME")
    if os.geteuid() == 0 or os.path.exists(DEFAULT_SOCKET):
        return DEFAULT_SOCKET
    own = [os.path.join(runtime, "rapyerd", "rapyerd.sock")] if runtime else []
    own += [os.path.join(home, ".rapyerd.sock")] if home else []
    return next((path for path in own if os.path.exists(path)), DEFAULT_SOCKET)


@dataclass
class Settings:
    """``socket``: path of the daemon's socket; None: $RAPYER_SOCKET, else ``default_socket()``.

    ``connect_timeout``: seconds for which a request waits for a daemon that cannot be reached.

    ``namespace``: put in front of all models' names (``shop`` makes ``shop.User:42`` of ``User:42``),
    so that two applications on one Redis may have models of the same name.

    ``client``: the name of this program in the daemon's log.

    ``shared_memory``: whether documents that are read often are read in the daemon's memory, where the
    extension for it is there.
    """

    socket: str | None = None
    connect_timeout: float = 5.0
    namespace: str = ""
    client: str = "rapyerd-python"
    shared_memory: bool = True

    def path(self) -> str:
        return self.socket or os.environ.get("RAPYER_SOCKET") or default_socket()


settings = Settings()


def configure(
    *,
    socket: str | None = None,
    connect_timeout: float | None = None,
    namespace: str | None = None,
    client: str | None = None,
    shared_memory: bool | None = None,
) -> None:
    """Changes the settings of this process; to be called before the first request."""
    if namespace is not None and not re.fullmatch(r"(\w+(\.\w+)*)?", namespace, re.ASCII):
        raise UnsupportedArgumentValueError(
            f"a namespace is letters, digits and _, maybe several with dots between, not {namespace!r}"
        )
    if connect_timeout is not None and not (
        isinstance(connect_timeout, (int, float)) and 0 <= connect_timeout < float("inf")
    ):
        raise UnsupportedArgumentValueError(
            f"connect_timeout is a number of seconds, 0 or more, not {connect_timeout!r}"
        )
    if socket is not None:
        settings.socket = socket
    if connect_timeout is not None:
        settings.connect_timeout = connect_timeout
    if namespace is not None:
        settings.namespace = namespace
    if client is not None:
        settings.client = client
    if shared_memory is not None:
        settings.shared_memory = shared_memory
