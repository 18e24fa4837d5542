"""A device that requests modules, for tests and experiments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from propeller_proxy import _core
from propeller_proxy._jobs import awaited, wait
from propeller_proxy._service import Service
from propeller_proxy.errors import _error
from propeller_proxy.progress import Reporting, bar
from propeller_proxy.settings import Settings, environment, readable
from propeller_proxy.values import Module

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Proplet", "SeenChunk"]


@dataclass(frozen=True, slots=True)
class SeenChunk:
    """A chunk that a proplet received."""

    app_name: str
    index: int
    """Counted from 0."""
    total_chunks: int
    size: int
    """Bytes of the module in it."""
    outcome: str
    """``stored``; ``repeated`` for a copy; ``other-total`` for another `total_chunks` than that of the first chunk."""
    time: float
    """Seconds since the epoch."""


class Proplet(Service[_core.Proplet]):
    """A device, which requests modules over MQTT and assembles their chunks by the rules of stock proplets.

    ``with Proplet(...) as proplet`` and ``async with`` start and stop it.
    """

    def __init__(
        self,
        broker_url: str | None = None,
        domain: str | None = None,
        channel: str | None = None,
        layout: str = "plain",
        strict: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        """Take a broker and a channel, by default those of the environment; nothing is connected yet.

        `layout` is that of the topics, ``plain`` or ``messages``. With `strict`, `request` raises `DeliveryError` when
        a chunk is repeated, has another number of chunks, or comes out of order. Of the settings, `mqtt_timeout`,
        `mqtt_qos`, `mqtt_tls_…`, `client_id` and `client_key` have an effect. Raises `ConfigurationError`.
        """
        given: Settings = {"mqtt_address": broker_url, "domain_id": domain, "channel_id": channel}
        merged = environment({**settings, **{name: value for name, value in given.items() if value is not None}})
        known = readable(merged)
        if missing := [name for name in ("domain_id", "channel_id") if name not in known]:
            raise _error(code="configuration", message=f"a device needs {' and '.join(missing)}")
        domain, channel = known["domain_id"], known["channel_id"]
        self._strict = strict
        self._name = f"domain {domain!r}, channel {channel!r}, {known['mqtt_address']}"
        super().__init__(_core.Proplet(merged, domain, channel, layout))

    def request(
        self,
        reference: str | _core.Reference,
        timeout: float = 60,
        digest: str | None = None,
        progress: Reporting = None,
    ) -> Module:
        """Request a module, assemble its chunks, verify it, and return it.

        It must have the preamble of WebAssembly, and the digest of the status message, or `digest` if given. Raises
        `DeliveryTimeoutError` after `timeout` seconds, `BadModuleError` for other bytes, the error of the status
        message if the proxy fails, and `ClosedError` if the proplet does not run.
        """
        job = self._running().request(str(reference), timeout, digest, self._strict)
        return Module(**wait(job, bar(progress, str(reference), "chunks")))

    async def request_async(
        self,
        reference: str | _core.Reference,
        timeout: float = 60,
        digest: str | None = None,
        progress: Reporting = None,
    ) -> Module:
        """Request a module, as `request` does."""
        job = self._running().request(str(reference), timeout, digest, self._strict)
        return Module(**await awaited(job, bar(progress, str(reference), "chunks")))

    def ask(self, reference: str | _core.Reference) -> None:
        """Publish a request, and return when the broker has acknowledged it."""
        wait(self._running().ask(str(reference)))

    async def ask_async(self, reference: str | _core.Reference) -> None:
        """Publish a request, as `ask` does."""
        await awaited(self._running().ask(str(reference)))

    @property
    def chunks(self) -> list[SeenChunk]:
        """Return the chunks since the last start, in the order of arrival."""
        return [SeenChunk(**chunk) for chunk in self._core.chunks()]

    def __repr__(self) -> str:
        """Return the domain, the channel, the broker and the state."""
        return f"Proplet({self._name}, {self._state})"
