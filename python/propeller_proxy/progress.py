"""Progress of a call: a bar, lines of text, or a function of the caller."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

__all__ = ["Progress", "Reporting"]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a call."""

    label: str
    """The reference, or ``deliveries``."""
    done: int
    total: int
    """0 while it is unknown."""
    unit: str
    """The unit of both: bytes, chunks or modules."""


Reporting: TypeAlias = bool | Callable[[Progress], object] | None
"""`True` for a bar or lines on standard error, a function to call with each `Progress`, or neither."""


class Bar(Protocol):
    """Shows progress."""

    def update(self, done: int, total: int) -> None:
        """Show this progress; called about ten times a second, and at the end of a call that succeeded."""

    def close(self) -> None:
        """End the display."""


def bar(progress: Reporting, label: str, unit: str) -> Bar | None:
    """Return the display of one call's progress, or `None`; ``PROXY_NO_PROGRESS=1`` disables all but functions."""
    if callable(progress):
        return _Function(progress, label, unit)
    if not progress or os.environ.get("PROXY_NO_PROGRESS", "0") not in ("", "0"):
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Lines(label, unit)
    return _Tqdm(tqdm(desc=label, unit="B" if unit == "bytes" else f" {unit}", unit_scale=unit == "bytes"))


class _Function:
    """Calls a function for each change."""

    def __init__(self, function: Callable[[Progress], object], label: str, unit: str) -> None:
        self._function = function
        self._last = Progress(label, 0, 0, unit)

    def update(self, done: int, total: int) -> None:
        now = Progress(self._last.label, done, total, self._last.unit)
        if now != self._last:
            self._last = now
            self._function(now)

    def close(self) -> None:
        pass


class _Tqdm:
    """Draws a bar, on a terminal or in a notebook."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm

    def update(self, done: int, total: int) -> None:
        if self._tqdm.total != (total or None):
            self._tqdm.reset(total or None)
        self._tqdm.update(done - self._tqdm.n)

    def close(self) -> None:
        self._tqdm.close()


class _Lines:
    """Writes lines to standard error: at most one a second, and the last one."""

    def __init__(self, label: str, unit: str) -> None:
        self._label = label
        self._unit = unit
        self._next = time.monotonic() + 1
        self._line = self._written = ""

    def update(self, done: int, total: int) -> None:
        of = f" of {total:,}" if total else ""
        self._line = f"{self._label}: {done:,}{of} {self._unit}"
        if time.monotonic() >= self._next:
            self._write()

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        if self._line != self._written:
            self._written = self._line
            self._next = time.monotonic() + 1
            print(self._line, file=sys.stderr, flush=True)
