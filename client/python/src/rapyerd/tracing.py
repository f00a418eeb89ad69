"""To which trace of other services requests belong: told to the daemon with each of them.

That is what ``with rapyerd.trace(traceparent):`` says, else the current span of OpenTelemetry, in a program
that uses it. Which one it is, is a matter of the task (or thread).
"""

from __future__ import annotations

import contextlib
import contextvars
import re
import sys
from collections.abc import Iterator

_OPENTELEMETRY = "opentelemetry.trace"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)

_said: contextvars.ContextVar[str | None] = contextvars.ContextVar("rapyerd_trace", default=None)


@contextlib.contextmanager
def trace(traceparent: str | None) -> Iterator[None]:
    """Requests inside belong to this trace, told as the header ``traceparent`` of W3C Trace Context has it.
    It may be given as it came: what is no such text is no trace."""
    token = _said.set(traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None)
    try:
        yield
    finally:
        _said.reset(token)


def traceparent() -> str | None:
    """The trace that what is done now belongs to, if there is one."""
    said = _said.get()
    if said is None and _OPENTELEMETRY in sys.modules:  # imported by who uses it, and not from here
        current = getattr(sys.modules[_OPENTELEMETRY], "get_current_span", None)
        span = current().get_span_context() if current is not None else None
        if span is not None and span.is_valid:
            return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    return said
