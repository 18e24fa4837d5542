"""What the report of a failed test shows: the log of `propeller_proxy`, and the events of the test's proxies."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from propeller_proxy import Proxy, _core
from propeller_proxy.values import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from propeller_proxy import Event, Events, Settings

LOGGER = "propeller_proxy"
# Below DEBUG, to differ from every level that a test sets.
EVERYTHING = logging.DEBUG - 1
KEPT = 1_000
"""How many log records, and events of one proxy, are kept at most: the last ones."""


class Watch:
    """Records the log and the events of the proxies it makes, until `close()`."""

    def __init__(self) -> None:
        """Begin to record the log."""
        self._log: Recorder | None = Recorder()
        self._records = self._log.records
        self._proxies: list[EventLog] = []

    def proxy(self, settings: Settings) -> Proxy:
        """Return a proxy, not started, whose events are recorded while it runs."""
        return WatchedProxy(self._subscribe, settings)

    def close(self) -> None:
        """Read the remaining events, and restore the logger."""
        if self._log is not None:
            self._read()
            self._log.remove()
            self._log = None

    def sections(self) -> list[tuple[str, str]]:
        """Return titles and texts for a test's report. Their times are seconds after the first event."""
        if self._log is not None:
            self._read()
        times = [log.kept[0].time for log in self._proxies if log.kept] or [r.created for r in self._records]
        begin = min(times, default=0.0)
        lines = [
            f"{record.created - begin:8.3f}  {record.levelname:<7}  {record.getMessage()}" for record in self._records
        ]
        if len(lines) == KEPT:
            lines.insert(0, "(what was logged before is left out)")
        events = [line for log in self._proxies for line in log.lines(begin)]
        return [
            ("propeller_proxy log", "\n".join(lines) or "(nothing was logged)"),
            ("propeller_proxy events", "\n".join(events) or "(no proxy of the fixtures was started)"),
        ]

    def _subscribe(self, proxy: Proxy) -> None:
        log = next((log for log in self._proxies if log.proxy is proxy), None)
        if log is None:
            self._proxies.append(log := EventLog(proxy))
        log.subscribe()

    def _read(self) -> None:
        _core.flush_logs()
        for log in self._proxies:
            log.read()


class WatchedProxy(Proxy):
    """A proxy that calls a function after each start."""

    def __init__(self, started: Callable[[Proxy], None], settings: Settings) -> None:
        """Take the function `started` beside the settings."""
        super().__init__(**settings)
        self._started = started

    def start(self) -> None:
        """Start, and call the function."""
        super().start()
        self._started(self)

    async def start_async(self) -> None:
        """Start, and call the function."""
        await super().start_async()
        self._started(self)


# Messages and representations name the type.
WatchedProxy.__name__ = Proxy.__name__


class Recorder(logging.Handler):
    """Keeps all records below `LOGGER`, of any level, and passes on those that other handlers would get without it.

    So caplog, the console and the project's own handlers get no more than usual.
    """

    def __init__(self) -> None:
        """Put itself between the logger and its handlers, its own and those of its parents."""
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=KEPT)
        self._logger = logger = logging.getLogger(LOGGER)
        self._usual = usual = logging.Logger(LOGGER, logger.level)
        usual.handlers, usual.propagate, usual.parent = logger.handlers, logger.propagate, logger.parent
        # The logger itself must propagate, or pytest adds the handler of caplog to it.
        end = logging.Logger(LOGGER)
        end.propagate, end.parent = False, logger.parent
        logger.handlers, logger.parent = [self], end
        logger.setLevel(EVERYTHING)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, and pass it on if its level is high enough."""
        self.records.append(record)
        if record.levelno >= self._usual_level(record.name):
            self._usual.callHandlers(record)

    def remove(self) -> None:
        """Restore the logger, except for the changes of the test."""
        logger, usual = self._logger, self._usual
        usual.handlers += [handler for handler in logger.handlers if handler is not self]
        logger.handlers, logger.parent = usual.handlers, usual.parent
        if logger.level == EVERYTHING:
            logger.setLevel(usual.level)

    def _usual_level(self, name: str) -> int:
        # As getEffectiveLevel() does, without EVERYTHING.
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            level = self._usual.level if logger.level == EVERYTHING else logger.level
            if level != logging.NOTSET:
                return level
            logger = logger.parent
        return logging.NOTSET


class EventLog:
    """The last events of a proxy, over all its starts."""

    def __init__(self, proxy: Proxy) -> None:
        """Begin without events."""
        self.proxy = proxy
        self.kept: deque[Event] = deque(maxlen=KEPT)
        self._count = 0
        self._missed = 0
        self._events: Events | None = None

    def subscribe(self) -> None:
        """Record the events from now on; the proxy must run."""
        self.read()
        self._missed += self._events.missed if self._events is not None else 0
        self._events = self.proxy.events()

    def read(self) -> None:
        """Read the events that have come."""
        if self._events is not None:
            events = self._events.drain()
            self._count += len(events)
            self.kept.extend(events)

    def lines(self, begin: float) -> list[str]:
        """Return the proxy and its events, one a line."""
        missed = self._missed + (self._events.missed if self._events is not None else 0)
        dropped = self._count - len(self.kept) + missed
        note = [f"({dropped} earlier events are left out)"] if dropped else []
        return [repr(self.proxy), *note, *(_line(event, begin) for event in self.kept)]


def _line(event: Event, begin: float) -> str:
    facts = {
        "index": event.index,
        "total_chunks": event.total_chunks,
        "size": event.size,
        "count": event.count,
        "seconds": None if event.seconds is None else f"{event.seconds:.3f}",
        "digest": None if event.digest is None else short(event.digest),
        "error": event.error,
        "message": event.message,
    }
    shown = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
    return f"{event.time - begin:8.3f}  {event.kind:<12}  {event.app_name or '-'}  {shown}".rstrip()
