"""Brokers and registries for a proxy, embedded or real; servers that never answer; and waiting for conditions."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from propeller_proxy import Proplet, Proxy, Settings
from propeller_proxy.embedded import ADD
from servers import DEADLINE, POLL

if TYPE_CHECKING:
    from typing_extensions import Unpack

DOMAIN, CHANNEL = "the-domain", "the-channel"

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """A broker, a registry, and a folder for the store and state of a proxy between them."""

    broker_url: str
    registry_url: str
    folder: Path
    pusher: Callable[[str, str, bytes], str]

    @property
    def settings(self) -> Settings:
        """The settings of a proxy between them."""
        return {
            "mqtt_address": self.broker_url,
            "registry_url": self.registry_url,
            "domain_id": DOMAIN,
            "channel_id": CHANNEL,
            "cache_dir": self.folder / "store",
            "state_dir": self.folder / "state",
        }

    def proxy(self, **settings: Unpack[Settings]) -> Proxy:
        """Return a proxy, not started, with these settings in addition."""
        merged: Settings = {**self.settings, **settings}
        return Proxy(**merged)

    def proplet(self, *, strict: bool = False, layout: str = "plain", **settings: Unpack[Settings]) -> Proplet:
        """Return a device, not started, on the proxy's channel."""
        return Proplet(self.broker_url, DOMAIN, CHANNEL, layout=layout, strict=strict, **settings)

    def push(self, name: str = "add", wasm: bytes = ADD, tag: str = "1.0") -> str:
        """Push a module, and return its reference."""
        return self.pusher(name, tag, wasm)


class Silent:
    """A server that accepts connections, reads from them, and never answers."""

    def __init__(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = threading.Event()
        """Set when a connection has sent data."""
        self.closed = threading.Event()
        """Set when a connection is closed after data was received."""

    def __enter__(self) -> Silent:
        """Accept connections."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Accept no further connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._listen, args=[self._listener.accept()[0]], daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while connection.recv(1 << 16):
                self.received.set()
        if self.received.is_set():
            self.closed.set()


def eventually(condition: Callable[[], T]) -> T:
    """Wait until the value of `condition` is true, and return the value."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition is still false"
        time.sleep(POLL)
    return value


def is_prompt(attempt: Callable[[], float], limit: float) -> bool:
    """Return whether one of three attempts takes less than `limit` seconds; a busy machine may delay some."""
    return any(attempt() < limit for _ in range(3))
