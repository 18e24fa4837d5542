"""What the report of a failed test tells: the log of `propeller_proxy`, and the events of the test's proxies."""

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
# Not DEBUG itself: so a level that a test sets, which may be DEBUG, is told from this one.
EVERYTHING = logging.DEBUG - 1
KEPT = 1_000
"""Most lines that are kept of the log, and most events of one proxy: the last ones."""


class Watch:
    """Listens to the log, and to the proxies it is given, until `close()`."""

    def __init__(self) -> None:
        """Begin with the log."""
        self._log: Recorder | None = Recorder()
        self._records = self._log.records
        self._proxies: list[Heard] = []

    def proxy(self, settings: Settings) -> Proxy:
        """Return a proxy, not started, that is listened to whenever it is."""
        return WatchedProxy(self._listen, settings)

    def close(self) -> None:
        """Take in what was not read yet, and leave the logger as it was."""
        if self._log is not None:
            self._read()
            self._log.remove()
            self._log = None

    def sections(self) -> list[tuple[str, str]]:
        """Return titles and texts for a test's report. Their times are seconds after the first event."""
        if self._log is not None:
            self._read()
        times = [heard.kept[0].time for heard in self._proxies if heard.kept] or [r.created for r in self._records]
        begin = min(times, default=0.0)
        log = [
            f"{record.created - begin:8.3f}  {record.levelname:<7}  {record.getMessage()}" for record in self._records
        ]
        if len(log) == KEPT:
            log.insert(0, "(what was logged before is left out)")
        events = [line for heard in self._proxies for line in heard.lines(begin)]
        return [
            ("propeller_proxy log", "\n".join(log) or "(nothing was logged)"),
            ("propeller_proxy events", "\n".join(events) or "(no proxy of the fixtures was started)"),
        ]

    def _listen(self, proxy: Proxy) -> None:
        heard = next((heard for heard in self._proxies if heard.proxy is proxy), None)
        if heard is None:
            self._proxies.append(heard := Heard(proxy))
        heard.listen()

    def _read(self) -> None:
        _core.flush_logs()
        for heard in self._proxies:
            heard.read()


class WatchedProxy(Proxy):
    """A proxy that tells when it is started."""

    def __init__(self, started: Callable[[Proxy], None], settings: Settings) -> None:
        """Take what to call after each start."""
        super().__init__(**settings)
        self._started = started

    def start(self) -> None:
        """Start, and tell."""
        super().start()
        self._started(self)

    async def start_async(self) -> None:
        """Start, and tell."""
        await super().start_async()
        self._started(self)


# Messages and representations name the type.
WatchedProxy.__name__ = Proxy.__name__


class Recorder(logging.Handler):
    """Hears everything that is logged below `LOGGER`, and lets others have what they would have got without it.

    So caplog, the console and the project's own handlers see no more than usual.
    """

    def __init__(self) -> None:
        """Come between the logger and its handlers, its own and those above."""
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=KEPT)
        self._logger = logger = logging.getLogger(LOGGER)
        self._usual = usual = logging.Logger(LOGGER, logger.level)
        usual.handlers, usual.propagate, usual.parent = logger.handlers, logger.propagate, logger.parent
        # If it were the logger that did not propagate, pytest would put the handler of caplog there.
        end = logging.Logger(LOGGER)
        end.propagate, end.parent = False, logger.parent
        logger.handlers, logger.parent = [self], end
        logger.setLevel(EVERYTHING)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, and pass it on if it is severe enough."""
        self.records.append(record)
        if record.levelno >= self._usual_level(record.name):
            self._usual.callHandlers(record)

    def remove(self) -> None:
        """Leave everything as it was found, but for what the test has changed itself."""
        logger, usual = self._logger, self._usual
        usual.handlers += [handler for handler in logger.handlers if handler is not self]
        logger.handlers, logger.parent = usual.handlers, usual.parent
        if logger.level == EVERYTHING:
            logger.setLevel(usual.level)

    def _usual_level(self, name: str) -> int:
        # As getEffectiveLevel() finds it, without EVERYTHING.
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            level = self._usual.level if logger.level == EVERYTHING else logger.level
            if level != logging.NOTSET:
                return level
            logger = logger.parent
        return logging.NOTSET


class Heard:
    """The last events of a proxy, over all its starts."""

    def __init__(self, proxy: Proxy) -> None:
        """Hear nothing yet."""
        self.proxy = proxy
        self.kept: deque[Event] = deque(maxlen=KEPT)
        self._count = 0
        self._missed = 0
        self._events: Events | None = None

    def listen(self) -> None:
        """Listen from now on; the proxy must run."""
        self.read()
        self._missed += self._events.missed if self._events is not None else 0
        self._events = self.proxy.events()

    def read(self) -> None:
        """Take in what happened so far."""
        if self._events is not None:
            events = self._events.drain()
            self._count += len(events)
            self.kept.extend(events)

    def lines(self, begin: float) -> list[str]:
        """Return the proxy and its events, one a line."""
        missed = self._missed + (self._events.missed if self._events is not None else 0)
        left_out = self._count - len(self.kept) + missed
        note = [f"({left_out} earlier events are left out)"] if left_out else []
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
    told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
    return f"{event.time - begin:8.3f}  {event.kind:<12}  {event.app_name or '-'}  {told}".rstrip()
