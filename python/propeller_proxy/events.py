"""What happens in a proxy, as it happens."""

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

# How long a wait that was broken off may take to tell what it has, seconds: it takes microseconds.
_END = 0.1


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """Something that happened in a proxy. What does not apply is `None`."""

    kind: str
    """``requested``, ``joined``, ``fetching``, ``fetched``, ``verified``, ``published``, ``acknowledged``, ``sent``,
    ``failed``, ``repeated``, ``connected`` or ``disconnected``."""
    time: float
    """Seconds since the epoch."""
    app_name: str | None = None
    """The reference, as it was asked for."""
    domain: str | None = None
    channel: str | None = None
    digest: str | None = None
    """Of the module."""
    size: int | None = None
    """Bytes: of the message if it is published or acknowledged, of the module else."""
    total_chunks: int | None = None
    index: int | None = None
    """Of the chunk, counted from 0."""
    count: int | None = None
    """Chunks that were sent."""
    seconds: float | None = None
    """How long it took."""
    error: str | None = None
    """The code of docs/errors.md."""
    message: str | None = None

    def __repr__(self) -> str:
        """Return what applies."""
        known = ((field.name, getattr(self, field.name)) for field in fields(self)[2:])
        return f"Event({', '.join([self.kind, *(f'{name}={value!r}' for name, value in known if value is not None)])})"


class Events:
    """The events of a proxy from the call of `Proxy.events` on: an iterator, and an asynchronous one.

    It ends when the proxy stops, at the end of a ``with`` block, or by `close` from any thread. One reader at a time;
    an event that is not read for long is dropped, and counted in `missed`.
    """

    def __init__(self, core: _core.Events) -> None:
        """Take those of the core."""
        self._core = core
        self._read: deque[Event] = deque()
        self._job: _core.Job | None = None
        self._closed = False

    @property
    def missed(self) -> int:
        """Return how many events were dropped because they were not read in time."""
        return self._core.missed

    def drain(self) -> list[Event]:
        """Return the events that are there, without waiting."""
        self._keep(self._core.drain())
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
                self._keep(wait(job))
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
                self._keep(await awaited(job))
        if self._closed:
            raise StopAsyncIteration
        return self._read.popleft()

    @contextmanager
    def _reading(self) -> Iterator[_core.Job]:
        self._job = job = self._core.next()
        # Only now, or close() in another thread would see no job to cancel.
        if self._closed:
            job.cancel()
        try:
            yield job
            self._closed = self._closed or not self._read
        except BaseException as error:
            # What came while the wait was broken off is for the next one.
            if job.wait(_END):
                with suppress(ProxyError):
                    self._keep(job.result())
            if not (self._closed and isinstance(error, ProxyError)):
                raise
        finally:
            self._job = None

    def _keep(self, events: list[dict[str, Any]]) -> None:
        self._read.extend(Event(**event) for event in events)
