"""Events of a proxy, as they happen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any

from propeller_proxy import _core
from propeller_proxy._jobs import awaited, wait
from propeller_proxy.errors import ProxyError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Event", "Events"]

_END_TIMEOUT = 0.1
"""Seconds that a cancelled wait may take to end; it takes microseconds."""


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """An event of a proxy. Fields that do not apply are `None`."""

    kind: str
    """``requested``, ``joined``, ``fetching``, ``fetched``, ``verified``, ``published``, ``acknowledged``, ``sent``,
    ``failed``, ``repeated``, ``connected`` or ``disconnected``."""
    time: float
    """Seconds since the epoch."""
    app_name: str | None = None
    """The reference, as in the request."""
    domain: str | None = None
    channel: str | None = None
    digest: str | None = None
    """Of the module."""
    size: int | None = None
    """Bytes: of the message for ``published`` and ``acknowledged``, else of the module."""
    total_chunks: int | None = None
    index: int | None = None
    """Of the chunk, counted from 0."""
    count: int | None = None
    """Chunks that were sent; for ``joined``, the requests of the transfer."""
    seconds: float | None = None
    """Of fetching and sending together."""
    error: str | None = None
    """The code of docs/errors.md."""
    message: str | None = None

    def __repr__(self) -> str:
        """Return the fields that apply."""
        known = ((field.name, getattr(self, field.name)) for field in fields(self)[2:])
        return f"Event({', '.join([self.kind, *(f'{name}={value!r}' for name, value in known if value is not None)])})"


class Events:
    """The events of a proxy since the call of `Proxy.events`: an iterator, and an asynchronous iterator.

    It ends when the proxy stops, at the end of a ``with`` block, or by `close` from any thread. One reader at a time;
    the buffer is bounded, and events that it drops are counted in `missed`.
    """

    def __init__(self, core: _core.Events) -> None:
        """Take the events of the core."""
        self._core = core
        self._read: deque[Event] = deque()
        self._job: _core.Job | None = None
        self._closed = False

    @property
    def missed(self) -> int:
        """Return the number of events that were dropped because they were not read in time."""
        return self._core.missed

    def drain(self) -> list[Event]:
        """Return the events in the buffer, without waiting."""
        self._append(self._core.drain())
        events = list(self._read)
        self._read.clear()
        return events

    def close(self) -> None:
        """End the iteration, at once and for good."""
        self._closed = True
        if (job := self._job) is not None:
            job.cancel()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the iteration."""
        self.close()

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Event:
        """Wait for an event and return it."""
        if not self._read:
            with self._reading() as job:
                self._append(wait(job))
        if self._closed:
            raise StopIteration
        return self._read.popleft()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Event:
        """Wait for an event and return it."""
        if not self._read:
            with self._reading() as job:
                self._append(await awaited(job))
        if self._closed:
            raise StopAsyncIteration
        return self._read.popleft()

    @contextmanager
    def _reading(self) -> Iterator[_core.Job]:
        self._job = job = self._core.next()
        # After the job is set, or close() in another thread would find no job to cancel.
        if self._closed:
            job.cancel()
        try:
            yield job
            self._closed = self._closed or not self._read
        except BaseException as error:
            # Events that came while the wait was interrupted are for the next call.
            if job.wait(_END_TIMEOUT):
                with suppress(ProxyError):
                    self._append(job.result())
            if not (self._closed and isinstance(error, ProxyError)):
                raise
        finally:
            self._job = None

    def _append(self, events: list[dict[str, Any]]) -> None:
        self._read.extend(Event(**event) for event in events)
