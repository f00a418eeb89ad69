"""The daemon is told to which trace of other services a request belongs."""

import asyncio

from opentelemetry import context
from opentelemetry import trace as opentelemetry

import rapyerd
from rapyerd import AtomicRedisModel, sync

SPAN = "00f067aa0ba902b7"
ONE, OTHER, THIRD = "1" * 32, "2" * 32, "3" * 32


def parent(trace):
    return f"00-{trace}-{SPAN}-01"


class Traced(AtomicRedisModel):
    n: int = 0
    tags: list[str] = []


class SyncTraced(sync.AtomicRedisModel):
    n: int = 0


def told(monitor):
    """What the daemon has said of requests since it was asked last: methods and traces."""
    monitor.call("hello")
    said = [(params[0]["method"], params[0]["trace"]) for _, params in monitor.notifications]
    monitor.notifications.clear()
    return [each for each in said if each[0] != "hello"]


async def test_requests_belong_to_the_trace_of_their_task(daemon):
    doc, another = Traced(), Traced()
    await Traced.insert(doc, another)
    with daemon.connect() as monitor:
        monitor.call("admin.monitor", {})

        async def work(document, trace):
            with rapyerd.trace(parent(trace)):
                for _ in range(3):
                    await document.n.increase()
                    await asyncio.sleep(0)
            await document.tags.aappend("x")

        await asyncio.gather(work(doc, ONE), work(another, OTHER))
        said = told(monitor)
        assert [said.count(("num.incr", trace)) for trace in (ONE, OTHER)] == [3, 3]
        assert [each for each in said if each[0] == "list.append"] == [("list.append", None)] * 2
        with rapyerd.trace(parent(ONE)):
            with rapyerd.trace(parent(OTHER)):
                async with doc.pipeline():
                    doc.n += 1
            with rapyerd.trace(None):
                await doc.n.increase()
            await doc.n.increase()
        pipelines = [each for each in told(monitor) if each[0] in ("pipeline", "num.incr")]
        assert pipelines == [("pipeline", OTHER), ("num.incr", None), ("num.incr", ONE)]


async def test_what_is_no_traceparent_is_no_trace(daemon):
    doc = Traced()
    await doc.save()
    with daemon.connect() as monitor:
        monitor.call("admin.monitor", {})
        for text in ("", "nonsense", parent(ONE).replace("1", "A"), parent(ONE) + "\n", "\u0661" * 55):
            with rapyerd.trace(text):
                await doc.n.increase()
        assert told(monitor) == [("num.incr", None)] * 5


def test_blocking_calls(daemon):
    doc = SyncTraced()
    doc.save()
    with daemon.connect() as monitor:
        monitor.call("admin.monitor", {})
        with rapyerd.trace(parent(ONE)):
            doc.n.increase()
        doc.n.increase()
        assert told(monitor) == [("num.incr", ONE), ("num.incr", None)]


async def test_the_span_of_opentelemetry(daemon):
    doc = Traced()
    await doc.save()
    flags = opentelemetry.TraceFlags(opentelemetry.TraceFlags.SAMPLED)
    span = opentelemetry.NonRecordingSpan(
        opentelemetry.SpanContext(int(THIRD, 16), int(SPAN, 16), is_remote=False, trace_flags=flags)
    )
    with daemon.connect() as monitor:
        monitor.call("admin.monitor", {})
        token = context.attach(opentelemetry.set_span_in_context(span))
        try:
            await doc.n.increase()
            with rapyerd.trace(parent(ONE)):  # what is said goes before it
                await doc.n.increase()
        finally:
            context.detach(token)
        await doc.n.increase()
        assert told(monitor) == [("num.incr", trace) for trace in (THIRD, ONE, None)]
