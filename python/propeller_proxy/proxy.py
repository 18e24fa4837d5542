"""The proxy in this process, and its counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from propeller_proxy import _core
from propeller_proxy._jobs import awaited, wait
from propeller_proxy._service import Service
from propeller_proxy.events import Events
from propeller_proxy.progress import Reporting, bar
from propeller_proxy.reports import Report
from propeller_proxy.settings import Settings, environment, readable

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["Proxy", "Stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of a proxy since its last start, and its present state."""

    requests: int
    """Requests, including those that joined a transfer."""
    joined: int
    """Requests that joined a transfer under way."""
    delivered: int
    failed: int
    repeated: int
    published_chunks: int
    published_bytes: int
    """Bytes of the messages' payloads."""
    acknowledged_chunks: int
    open_transfers: int
    """Transfers under way now."""
    connections: int
    """Connections to the broker."""
    is_ready: bool
    """Whether the proxy is connected and subscribed now."""


class Proxy(Service[_core.Proxy]):
    """A proxy in this process, which serves the devices on its channels while it runs.

    ``with Proxy(...) as proxy`` and ``async with`` start and stop it.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        """Check the settings; nothing is connected yet.

        `registry_url`, `domain_id` and `channel_id` are required, here or in the environment. Raises
        `ConfigurationError`, which lists all missing and wrong settings, and `TypeError` for an unknown keyword.
        """
        merged = environment(settings)
        self._settings = MappingProxyType(readable(merged))
        super().__init__(_core.Proxy(merged))

    @classmethod
    def from_env(cls) -> Self:
        """Return a proxy whose settings are those of the environment."""
        return cls()

    @property
    def settings(self) -> Mapping[str, str]:
        """Return the settings that have a value, including defaults; secrets are ``"***"``."""
        return self._settings

    @property
    def instance_id(self) -> str | None:
        """Return the identifier of this proxy; `None` while it does not run."""
        return self._core.instance_id

    def deliver(
        self,
        reference: str | _core.Reference,
        *,
        channel: str | None = None,
        domain: str | None = None,
        layout: str = "plain",
        timeout: float | None = None,
        progress: Reporting = None,
    ) -> Report:
        """Send a module to a channel, as for a request; return the report when the broker acknowledged every chunk.

        `channel` and `domain` are optional where the settings name one of each. `layout` is that of the topics,
        ``plain`` or ``messages``. Raises `DeliveryTimeoutError` after `timeout` seconds, `ClosedError` if the proxy
        does not run, and other `ProxyError`.
        """
        job = self._delivery(reference, channel, domain, layout)
        return Report(**wait(job, bar(progress, str(reference), "chunks"), timeout, str(reference)))

    async def deliver_async(
        self,
        reference: str | _core.Reference,
        *,
        channel: str | None = None,
        domain: str | None = None,
        layout: str = "plain",
        timeout: float | None = None,
        progress: Reporting = None,
    ) -> Report:
        """Deliver a module, as `deliver` does."""
        job = self._delivery(reference, channel, domain, layout)
        return Report(**await awaited(job, bar(progress, str(reference), "chunks"), timeout, str(reference)))

    def events(self) -> Events:
        """Return the events from now on; raises `ClosedError` if the proxy does not run."""
        return Events(self._running().events())

    def stats(self) -> Stats:
        """Return the counters; raises `ClosedError` if the proxy does not run."""
        return Stats(**self._running().stats())

    def __repr__(self) -> str:
        """Return the domain, the channel, the broker and the state."""
        domain, channel, broker = (self._settings.get(name) for name in ("domain_id", "channel_id", "mqtt_address"))
        return f"Proxy(domain {domain!r}, channel {channel!r}, {broker}, {self._state})"

    def _delivery(
        self, reference: str | _core.Reference, channel: str | None, domain: str | None, layout: str
    ) -> _core.Job:
        return self._running().deliver(str(reference), domain, channel, layout)
