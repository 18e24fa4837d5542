"""Many deliveries, a few at once, that are waited for as one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from propeller_proxy._core import Job
from propeller_proxy._jobs import too_long
from propeller_proxy.errors import ProxyError, _error
from propeller_proxy.progress import Bar
from propeller_proxy.reports import Report, Reports


class Batch:
    """Deliveries under way and in line, which are waited for as one `Work`.

    They begin when it is waited for: whoever waits cancels them if that is broken off.
    """

    def __init__(
        self, begin: Callable[[str], Job], references: Iterable[str], concurrency: int, timeout: float | None
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        self._begin = begin
        self._references = list(references)
        self._free = concurrency
        self.timeout = timeout
        self._waiting = deque(range(len(self._references)))
        self._running: dict[int, tuple[Job, float]] = {}
        self._ended: dict[int, Job | Exception] = {}
        self._done = threading.Event()
        self._told: list[Callable[[], object]] = []
        # Taken again where a job has ended before somebody asked to be told.
        self._lock = threading.RLock()
        self._filling = False

    def wait(self, timeout: float) -> bool:
        self._fill()
        return self._done.wait(timeout)

    def result(self) -> Reports:
        return Reports(self._report(index, reference) for index, reference in enumerate(self._references))

    def on_done(self, callback: Callable[[], object]) -> None:
        self._fill()
        with self._lock:
            if not self._done.is_set():
                self._told.append(callback)
                return
        callback()

    def cancel(self) -> None:
        with self._lock:
            self._waiting.clear()
            running = list(self._running.values())
        for job, _ in running:
            job.cancel()

    def progress(self) -> tuple[int, int]:
        return len(self._ended), len(self._references)

    def end_overdue(self) -> None:
        """Cancel what takes longer than it may."""
        if self.timeout is None:
            return
        last = time.monotonic() - self.timeout
        with self._lock:
            overdue = [(index, job) for index, (job, begun) in self._running.items() if begun < last]
        for index, job in overdue:
            self._ends(index, too_long(self.timeout, self._references[index]))
            job.cancel()

    def _fill(self) -> None:
        """Begin what may run now."""
        with self._lock:
            if self._filling:
                return
            self._filling = True
            while self._waiting and len(self._running) < self._free:
                index = self._waiting.popleft()
                try:
                    job = self._begin(self._references[index])
                except Exception as error:
                    self._ended[index] = error
                    continue
                self._running[index] = job, time.monotonic()
                job.on_done(partial(self._ends, index, job))
            self._filling = False
            if self._running or self._waiting or self._done.is_set():
                return
            self._done.set()
            told, self._told = self._told, []
        for callback in told:
            callback()

    def _ends(self, index: int, outcome: Job | Exception) -> None:
        with self._lock:
            if self._running.pop(index, None) is not None:
                self._ended[index] = outcome
        self._fill()

    def _report(self, index: int, reference: str) -> Report:
        outcome = self._ended[index]
        try:
            if isinstance(outcome, Exception):
                raise outcome
            return Report(**outcome.result())
        except ProxyError as error:
            return Report(reference, error=error)
        except Exception as error:
            # Such as text that is no Unicode: no reason to lose the other reports.
            return Report(reference, error=_error(code="bad-reference", message=str(error), reference=reference))


class Overdue:
    """A bar that is looked at, too, to end what takes too long."""

    def __init__(self, batch: Batch, shown: Bar | None) -> None:
        self._batch = batch
        self._shown = shown

    def update(self, done: int, total: int) -> None:
        self._batch.end_overdue()
        if self._shown is not None:
            self._shown.update(done, total)

    def close(self) -> None:
        if self._shown is not None:
            self._shown.close()
