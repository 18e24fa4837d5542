"""Objects that are started and stopped, by a ``with`` block or by calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from propeller_proxy._jobs import awaited, wait
from propeller_proxy.errors import ProxyError, _error

if TYPE_CHECKING:
    from typing_extensions import Self

    from propeller_proxy._core import Job


class Startable(Protocol):
    """Its object of the core."""

    def start(self) -> Job:
        """Begin to start."""

    def stop(self) -> Job:
        """Begin to stop."""


CoreT = TypeVar("CoreT", bound=Startable)


class Service(Generic[CoreT]):
    """An object that can be started and stopped any number of times.

    ``with`` and ``async with`` start and stop it. `start` has no effect while it runs, nor `stop` while it does not.
    """

    # Of the class, so that `repr` works if `__init__` fails.
    _state = "not started"

    def __init__(self, core: CoreT) -> None:
        self._core = core

    def start(self) -> None:
        """Start, and return when it is ready; raises `ClosedError` if another call is starting it."""
        if self._state != "running":
            with self._starting() as job:
                wait(job)

    async def start_async(self) -> None:
        """Start, and return when it is ready, as `start` does."""
        if self._state != "running":
            with self._starting() as job:
                await awaited(job)

    def stop(self) -> None:
        """Stop, and return when it has ended; an interrupted call can be repeated."""
        if self._state != "not started":
            self._state = "stopped"
            wait(self._core.stop())

    async def stop_async(self) -> None:
        """Stop, and return when it has ended, as `stop` does."""
        if self._state != "not started":
            self._state = "stopped"
            await awaited(self._core.stop())

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop_async()

    @contextmanager
    def _starting(self) -> Iterator[Job]:
        if self._state == "starting":
            raise self._closed("being started by another call")
        self._state = "starting"
        try:
            yield self._core.start()
        except BaseException:
            self._state = "stopped"
            with suppress(ProxyError):
                # It may have started. The job is kept, because dropping it would cancel it.
                self._ending = self._core.stop()
            raise
        if self._state != "starting":
            # Another call has stopped it meanwhile.
            raise self._closed(self._state)
        self._state = "running"

    def _running(self) -> CoreT:
        """Return the object of the core; raises `ClosedError` if it does not run."""
        if self._state != "running":
            raise self._closed(self._state)
        return self._core

    def _closed(self, state: str) -> ProxyError:
        hint = None if "being started" in state else "use it in a `with` block, or call start() before"
        return _error(code="closed", message=f"the {type(self).__name__} is {state}", hint=hint)
