"""Waiting for jobs of the core, in a thread or in an event loop."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from propeller_proxy.errors import ProxyError, _error

if TYPE_CHECKING:
    from propeller_proxy._core import Job
    from propeller_proxy.progress import Bar

_UPDATE_INTERVAL = 0.1
"""Seconds between two updates of a progress bar."""
_LONGEST_PAUSE = 3600.0
"""Seconds between two checks if there is no progress bar."""


class _Watch:
    """Updates the progress bar of a job; cancels the job if the wait is interrupted or times out."""

    def __init__(self, job: Job, bar: Bar | None, timeout: float | None, reference: str | None) -> None:
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
        """Update the bar and return the seconds until the next call; raises `DeliveryTimeoutError` when time is up."""
        if self._bar is not None:
            self._bar.update(*self._job.progress())
        pause = _LONGEST_PAUSE if self._bar is None else _UPDATE_INTERVAL
        if self._timeout is None:
            return pause
        remaining = self._begin + self._timeout - time.monotonic()
        if remaining <= 0:
            raise timeout_error(self._timeout, self._reference)
        return min(pause, remaining)


def timeout_error(timeout: float, reference: str | None) -> ProxyError:
    """Return the error of a call that took longer than `timeout` seconds."""
    message = f"{reference or 'it'} was not done within {timeout:g} s"
    return _error(code="timeout", message=message, reference=reference, retryable=True)


def wait(job: Job, bar: Bar | None = None, timeout: float | None = None, reference: str | None = None) -> Any:
    """Return the result of `job`, or raise its error; raises `DeliveryTimeoutError` after `timeout` seconds."""
    with _Watch(job, bar, timeout, reference) as watch:
        while not job.wait(watch.pause()):
            pass
    return job.result()


async def awaited(job: Job, bar: Bar | None = None, timeout: float | None = None, reference: str | None = None) -> Any:
    """Return the result of `job`, as `wait` does, while the event loop runs on."""
    import asyncio

    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    def on_done() -> None:
        # The loop may be closed by now; then nothing waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(wake)

    with _Watch(job, bar, timeout, reference) as watch:
        job.on_done(on_done)
        while not done.done():
            await asyncio.wait([done], timeout=watch.pause())
    return job.result()
