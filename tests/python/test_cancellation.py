"""Cancelled calls, by Ctrl-C or the end of a task: they end at once, and so does their work."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from signal import SIGINT
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
from parts import Parts, Silent, eventually, is_prompt
from propeller_proxy import Event, Proplet, Proxy, ProxyError, Registry, deliver_many_async, embedded
from propeller_proxy._core import Job
from propeller_proxy._service import Startable
from servers import DEADLINE, Process

LIMIT = 0.2
"""Longest time until a cancelled call ends, seconds."""
WORK_LIMIT = 5.0
"""Longest time until its work ends, seconds; requests to a silent server time out after 10 anyway."""
PROGRAM = Path(__file__).with_name("interrupted.py")

Begin: TypeAlias = Coroutine[Any, Any, object]


async def is_true(condition: Callable[[], object]) -> None:
    """Wait until the value of `condition` is true, while the loop runs on."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition is still false"
        await asyncio.sleep(0.01)


async def time_to_cancel(coroutine: Begin, is_inside: Callable[[], object]) -> float:
    """Begin a call, cancel it when `is_inside` is true, and return the seconds until it ends."""
    task = asyncio.ensure_future(coroutine)
    await is_true(lambda: is_inside() or task.done())
    if task.done():
        raise AssertionError("it has ended") from task.exception()
    begin = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - begin


@pytest.mark.parametrize("name", ["resolve", "fetch", "push"])
def test_requests_to_a_registry_are_cancelled_with_the_task(tmp_path: Path, name: str) -> None:
    """The registry sees the connection close."""

    def attempt() -> float:
        with Silent() as silent:
            registry = Registry(f"127.0.0.1:{silent.port}", cache_dir=tmp_path)
            calls: dict[str, Callable[[], Begin]] = {
                "resolve": lambda: registry.resolve_async("add"),
                "fetch": lambda: registry.fetch_async("add"),
                "push": lambda: registry.push_async("add", embedded.ADD),
            }
            seconds = asyncio.run(time_to_cancel(calls[name](), silent.received.is_set))
            assert silent.closed.wait(WORK_LIMIT)
            return seconds

    assert is_prompt(attempt, LIMIT)


@pytest.mark.parametrize("name", ["deliver", "deliver_many"])
def test_deliveries_are_withdrawn_with_the_task(embedded_parts: Parts, name: str) -> None:
    """The proxy reports it, closes the connection to the registry, and serves other requests."""
    reference = embedded_parts.push()
    names = (f"{number}" for number in count())

    def attempt() -> float:
        with Silent() as silent:
            host = f"127.0.0.1:{silent.port}"
            with embedded_parts.proxy(registry_allow=f"{host}/*") as proxy:
                events = proxy.events()
                references = [f"{host}/add:{next(names)}" for _ in range(1 if name == "deliver" else 10)]
                call: Begin = (
                    proxy.deliver_async(references[0])
                    if name == "deliver"
                    else deliver_many_async(references, proxy=proxy, concurrency=5, progress=None)
                )
                seconds = asyncio.run(time_to_cancel(call, silent.received.is_set))
                eventually(lambda: proxy.stats().open_transfers == 0)
                assert silent.closed.wait(WORK_LIMIT)
                failed = [event for event in events.drain() if event.kind == "failed"]
                assert len(failed) == (1 if name == "deliver" else 5)
                assert {event.error for event in failed} == {"withdrawn"}
                assert {event.app_name for event in failed} <= set(references)
                assert proxy.deliver(reference).ok
        return seconds

    assert is_prompt(attempt, LIMIT)


def test_a_transfer_with_another_request_goes_on(embedded_parts: Parts) -> None:
    """Only the cancelled request is withdrawn."""
    wasm = embedded.noise(500_000)
    reference = embedded_parts.push("noise", wasm)

    async def both() -> float:
        slow = embedded_parts.proxy(chunk_size=5_000, publish_rate=1_000_000)
        async with slow as proxy, embedded_parts.proplet() as proplet:
            requested = asyncio.create_task(proplet.request_async(reference))
            await is_true(lambda: proplet.chunks)
            seconds = await time_to_cancel(proxy.deliver_async(reference), lambda: proxy.stats().joined == 1)
            assert (await requested).data == wasm
            return seconds

    assert asyncio.run(both()) < DEADLINE


def test_requests_are_cancelled_with_the_task(embedded_parts: Parts, proxy: Proxy) -> None:
    """The device can request the same module again."""
    reference = embedded_parts.push()
    proxy.stop()

    def attempt() -> float:
        with embedded_parts.proplet() as proplet:

            async def cancelled() -> float:
                begin = time.monotonic()
                return await time_to_cancel(proplet.request_async(reference), lambda: time.monotonic() - begin > 0.1)

            seconds = asyncio.run(cancelled())
            with embedded_parts.proxy():
                assert proplet.request(reference).data == embedded.ADD
            return seconds

    assert is_prompt(attempt, LIMIT)


@pytest.mark.parametrize("kind", ["proxy", "proplet"])
def test_starts_are_cancelled_with_the_task(embedded_parts: Parts, kind: str, tmp_path: Path) -> None:
    """The silent broker sees the connection close, and the same object can be started again at once."""

    def attempt() -> float:
        with Silent() as silent:
            address = f"tcp://127.0.0.1:{silent.port}"
            service: Proxy | Proplet = (
                embedded_parts.proxy(mqtt_address=address, mqtt_timeout=600, state_dir=tmp_path / str(silent.port))
                if kind == "proxy"
                else Proplet(address, "domain", "channel", mqtt_timeout=600)
            )
            for _ in range(2):
                silent.received.clear()
                silent.closed.clear()
                seconds = asyncio.run(time_to_cancel(service.start_async(), silent.received.is_set))
                assert silent.closed.wait(WORK_LIMIT)
                assert "stopped" in repr(service)
        return seconds

    assert is_prompt(attempt, LIMIT)
    with embedded_parts.proxy() as proxy:
        assert proxy.stats().is_ready


def test_readers_of_events_are_cancelled_with_the_task(embedded_parts: Parts, proxy: Proxy) -> None:
    """They can continue later, without a missed event."""
    reference = embedded_parts.push()

    def attempt() -> float:
        events = proxy.events()
        seen: list[Event] = []

        async def read() -> None:
            async for event in events:
                seen.append(event)

        async def cancelled() -> float:
            await proxy.deliver_async(reference)
            return await time_to_cancel(read(), lambda: seen and seen[-1].kind == "sent")

        seconds = asyncio.run(cancelled())
        proxy.deliver(reference)
        assert next(events).kind == "requested"
        return seconds

    assert is_prompt(attempt, LIMIT)


def test_timeouts_of_asyncio_are_cancellations(embedded_parts: Parts) -> None:
    """They end the transfer as well."""

    async def timed_out() -> None:
        with Silent() as silent:
            async with embedded_parts.proxy(registry_url=f"127.0.0.1:{silent.port}") as proxy:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(proxy.deliver_async("add"), 0.3)
                await is_true(lambda: proxy.stats().open_transfers == 0)
                with pytest.raises(ProxyError):
                    await proxy.deliver_async("add", channel="absent")

    asyncio.run(timed_out())


@pytest.mark.parametrize("name", ["resolve", "fetch", "push", "deliver", "deliver_many", "request", "start", "events"])
def test_ctrl_c_ends_every_call(tmp_path: Path, name: str) -> None:
    """It raises `KeyboardInterrupt`, and the work ends although the process goes on."""
    folders = (tmp_path / str(number) for number in count())

    def attempt() -> float:
        folder = next(folders)
        folder.mkdir()
        with (
            Silent() as silent,
            Process(sys.executable, PROGRAM, name, str(silent.port), folder, log=folder / "log") as child,
        ):
            assert silent.received.wait(DEADLINE), child.log
            begin = time.monotonic()
            child.send(SIGINT)
            child.wait_for("interrupted at")
            seconds = float(child.log.split("interrupted at")[1].split()[0]) - begin
            # Neither a device nor a reader of events withdraws a request of the proxy.
            assert name in ("request", "events") or silent.closed.wait(WORK_LIMIT), child.log
            (folder / "end").touch()
            assert child.end() == 0, child.log
        return seconds

    assert is_prompt(attempt, LIMIT)


class KeepingJob:
    """An object of the core that keeps the job of its start."""

    def __init__(self, core: Startable) -> None:
        """Wrap `core`."""
        self.core = core

    def start(self) -> Job:
        """Start."""
        self.job = self.core.start()
        return self.job

    def __getattr__(self, name: str) -> object:
        """Return the attribute of the wrapped object."""
        return getattr(self.core, name)


@pytest.mark.parametrize("kind", ["proxy", "proplet", "broker", "registry"])
def test_a_start_that_is_cancelled_when_it_is_done_is_undone(
    embedded_parts: Parts, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the event loop does not know yet that it is done."""
    services: dict[str, Proxy | Proplet | embedded.Broker | embedded.Registry] = {
        "proxy": embedded_parts.proxy(),
        "proplet": embedded_parts.proplet(),
        "broker": embedded.Broker(),
        "registry": embedded.Registry(),
    }
    service = services[kind]
    core = KeepingJob(service._core)
    monkeypatch.setattr(service, "_core", core)

    async def cancelled() -> None:
        starting = asyncio.ensure_future(service.start_async())
        await asyncio.sleep(0)
        # The loop is blocked, and the start goes on.
        assert core.job.wait(DEADLINE)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(cancelled())
    assert "stopped" in repr(service)
    service.stop()
    if isinstance(service, (embedded.Broker, embedded.Registry)):
        address = urlsplit(service.url)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.hostname, address.port))
    service.start()
    assert "stopped" not in repr(service)
    service.stop()
