"""Waiting for work of the core, in a thread or in an event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

from propeller_proxy.errors import ProxyError, _error

if TYPE_CHECKING:
    from propeller_proxy.progress import Bar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_LOOK = 0.1
_LONG = 3600.0


class Work(Protocol[T_co]):
    """What can be waited for: `_core.Job`, and what is made of several."""

    def wait(self, timeout: float) -> bool:
        """Return whether it is done, after `timeout` seconds at most."""

    def result(self) -> T_co:
        """Return or raise what came out; it must be done."""

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when it is done, from any thread."""

    def cancel(self) -> None:
        """Stop it; it is done soon after."""

    def progress(self) -> tuple[int, int]:
        """Return what is done, and of how much; 0 while that is not known."""


class _Watch:
    """Looks at work now and then; stops it if the wait is broken off, by Ctrl-C or anything else, or too long."""

    def __init__(self, job: Work[object], bar: Bar | None, timeout: float | None, reference: str | None) -> None:
        self._job = job
        self._bar = bar
        self._timeout = timeout
        self._reference = reference
        self._begin = time.monotonic()

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._job.cancel()
        if self._bar is not None:
            try:
                if kind is None:
                    self._bar.update(*self._job.progress())
            finally:
                self._bar.close()

    def pause(self) -> float:
        """Return in how many seconds to look again."""
        if self._bar is not None:
            self._bar.update(*self._job.progress())
        pause = _LONG if self._bar is None else _LOOK
        if self._timeout is None:
            return pause
        left = self._begin + self._timeout - time.monotonic()
        if left <= 0:
            raise too_long(self._timeout, self._reference)
        return min(pause, left)


def too_long(timeout: float, reference: str | None) -> ProxyError:
    """Return the error of work that took longer than `timeout` seconds."""
    message = f"{reference or 'it'} was not done within {timeout:g} s"
    return _error(code="timeout", message=message, reference=reference, retryable=True)


def wait(job: Work[T], bar: Bar | None = None, timeout: float | None = None, reference: str | None = None) -> T:
    """Return what `job` gives; raises `DeliveryTimeoutError` after `timeout` seconds."""
    with _Watch(job, bar, timeout, reference) as watch:
        while not job.wait(watch.pause()):
            pass
    return job.result()


async def awaited(
    job: Work[T], bar: Bar | None = None, timeout: float | None = None, reference: str | None = None
) -> T:
    """Return what `job` gives, as `wait` does, while the event loop runs on."""
    import asyncio

    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    def ended() -> None:
        # The loop may be closed by now; then nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(wake)

    with _Watch(job, bar, timeout, reference) as watch:
        job.on_done(ended)
        while not done.done():
            await asyncio.wait([done], timeout=watch.pause())
    return job.result()
