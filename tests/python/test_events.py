"""Events of proxies."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from calls import Call
from parts import CHANNEL, DOMAIN, Parts, eventually
from propeller_proxy import Event, Events, ProxyError, chunk, embedded

WASM = embedded.noise(25_000)


def collect(events: Events, form: str) -> list[Event]:
    """Read events to their end, in one of the forms."""

    async def read() -> list[Event]:
        return [event async for event in events]

    return list(events) if form == "sync" else asyncio.run(read())


@pytest.mark.parametrize("form", ["sync", "async"])
def test_every_step_of_a_delivery_is_an_event(embedded_parts: Parts, form: str) -> None:
    """The iteration ends with the proxy."""
    reference = embedded_parts.push("noise", WASM)
    plan = chunk(WASM, 10_000, app_name=reference)
    with ThreadPoolExecutor(1) as thread, embedded_parts.proxy(chunk_size=10_000) as proxy:
        collected = thread.submit(collect, proxy.events(), form)
        report = proxy.deliver(reference)
        proxy.stop()
        events = [event for event in collected.result(60) if event.app_name]
    kinds = [event.kind for event in events]
    # The broker may have the first chunk before the last one is published.
    assert sorted(kinds[4:10]) == ["acknowledged"] * 3 + ["published"] * 3
    assert kinds[:4] + kinds[10:] == ["requested", "fetching", "fetched", "verified", "sent"]
    assert {(event.app_name, event.domain, event.channel) for event in events} == {(reference, DOMAIN, CHANNEL)}
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert abs(events[0].time - time.time()) < 60
    for kind in ("published", "acknowledged"):
        chunks = [event for event in events if event.kind == kind]
        assert [event.index for event in chunks] == [0, 1, 2]
        assert [event.size for event in chunks] == [len(plan.encode(part)) for part in plan]
    fetched, verified, sent = events[2], events[3], events[-1]
    assert (fetched.digest, fetched.size, fetched.total_chunks) == (report.digest, 25_000, None)
    assert (verified.digest, verified.size, verified.total_chunks) == (report.digest, 25_000, 3)
    assert (sent.digest, sent.size, sent.total_chunks, sent.count) == (report.digest, 25_000, 3, 3)
    assert sent.seconds == pytest.approx(report.seconds, abs=1)
    assert (sent.index, sent.error, sent.message) == (None, None, None)
    assert repr(sent).startswith(f"Event(sent, app_name='{reference}', ")


@pytest.mark.parametrize("form", ["sync", "async"])
def test_the_iteration_ends_with_the_proxy(embedded_parts: Parts, form: str) -> None:
    """For readers that wait, and for later ones."""
    proxy = embedded_parts.proxy()
    proxy.start()
    late = proxy.events()
    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(collect, proxy.events(), form) for _ in range(2)]
        proxy.stop()
        for reader in readers:
            assert {event.kind for event in reader.result(60)} <= {"connected", "disconnected"}
    assert {event.kind for event in collect(late, form)} <= {"connected", "disconnected"}
    assert collect(late, form) == []


def test_failures_are_events(embedded_parts: Parts, call: Call) -> None:
    """With the code and the message of the exception."""
    with embedded_parts.proxy() as proxy:
        events = proxy.events()
        with pytest.raises(ProxyError) as caught:
            call(proxy.deliver, "absent")
        *_, failed = events.drain()
    assert (failed.kind, failed.app_name, failed.error) == ("failed", "absent", "unknown-image")
    assert failed.message == caught.value.message


def test_the_connection_has_events(embedded_parts: Parts, embedded_broker: embedded.Broker) -> None:
    """A restart of the broker disconnects and connects."""
    with embedded_parts.proxy() as proxy:
        events = proxy.events()
        embedded_broker.restart()
        eventually(lambda: proxy.stats().connections == 2)
        kinds = [event.kind for event in events.drain()]
        assert kinds[-2:] == ["disconnected", "connected"]


def test_events_wait_until_they_are_read(embedded_parts: Parts) -> None:
    """By iteration or `drain`; every reader gets all events since its call."""
    reference = embedded_parts.push()
    with embedded_parts.proxy() as proxy:
        proxy.deliver(reference)
        first, second = proxy.events(), proxy.events()
        proxy.deliver(embedded_parts.push("other"))
        assert next(first).kind == "requested"
        drained = first.drain()
        assert [event.kind for event in second.drain()] == ["requested", *(event.kind for event in drained)]
        assert drained[-1].kind == "sent"
        assert first.drain() == second.drain() == []
        assert first.missed == 0


def test_unread_events_are_dropped_and_counted(embedded_parts: Parts) -> None:
    """The memory for them is bounded."""
    reference = embedded_parts.push("noise", WASM)
    with embedded_parts.proxy(chunk_size=2, max_in_flight=10_000_000) as proxy:
        events = proxy.events()
        report = proxy.deliver(reference)
        kept = events.drain()
        assert report.sent_chunks == 12_500
        assert len(kept) < 20_000
        # Requested, fetching, fetched, verified, sent; and perhaps connected.
        assert len(kept) + events.missed - (2 * report.sent_chunks + 5) in (0, 1)
        assert kept[-1].kind == "sent"


@pytest.mark.parametrize("form", ["sync", "async"])
def test_readers_can_be_closed_from_another_thread(embedded_parts: Parts, form: str) -> None:
    """They end as if the proxy had stopped."""
    with embedded_parts.proxy() as proxy, ThreadPoolExecutor(1) as thread:
        events = proxy.events()
        collected = thread.submit(collect, events, form)
        eventually(lambda: events._job is not None or collected.done())
        events.close()
        collected.result(60)
        assert collect(events, form) == []
        assert proxy.deliver(embedded_parts.push()).ok


def test_readers_end_with_the_loop(embedded_parts: Parts) -> None:
    """A task reads events while others deliver, and ends before the proxy does."""

    async def first_sent(events: AsyncIterator[Event]) -> Event:
        async for event in events:
            if event.kind == "sent":
                return event
        raise AssertionError("the proxy has stopped")

    async def deliver() -> tuple[Event, list[str]]:
        async with embedded_parts.proxy() as proxy:
            reading = asyncio.create_task(first_sent(proxy.events()))
            reports = await asyncio.gather(*(proxy.deliver_async(embedded_parts.push(f"n{i}")) for i in range(5)))
            return await reading, [report.reference for report in reports]

    sent, references = asyncio.run(deliver())
    assert sent.app_name in references


def test_events_are_iterators(embedded_parts: Parts) -> None:
    """Synchronous and asynchronous; an interrupted iteration can be continued."""
    with embedded_parts.proxy() as proxy:
        events = proxy.events()
        assert isinstance(events, Iterator)
        assert isinstance(events, AsyncIterator)
        proxy.deliver(embedded_parts.push())
        for event in events:
            if event.kind == "requested":
                break
        assert next(events).kind == "fetching"
        stopping = threading.Timer(0.05, proxy.stop)
        stopping.start()
        assert [event.kind for event in events if event.app_name][-1] == "sent"
        stopping.join()
