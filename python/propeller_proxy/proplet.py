"""A device that asks for modules, for tests and for trying things out."""

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
    """A chunk that a proplet heard."""

    app_name: str
    index: int
    """Counted from 0."""
    total_chunks: int
    size: int
    """Bytes of the module in it."""
    outcome: str
    """``stored``, ``repeated``, or ``other-total`` where the number of chunks is not that of the first one."""
    time: float
    """Seconds since the epoch."""


class Proplet(Service[_core.Proplet]):
    """A device: it asks over MQTT and puts the chunks together by the rules of stock proplets.

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

        `layout` is that of the topics, ``plain`` or ``messages``. A `strict` one raises `DeliveryError` in `request`
        when a chunk comes twice, tells another number of chunks, or leaves a gap. Of the settings, `mqtt_timeout`,
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
        """Ask for a module, put its chunks together, verify it, and return it.

        It must have the preamble of WebAssembly, and the digest that the proxy tells on the status topic, or `digest`
        if given. Raises `DeliveryTimeoutError` after `timeout` seconds, `BadModuleError` for other bytes, what the
        proxy tells to have failed, and `ClosedError` if the proplet does not run.
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
        """Ask for a module, as `request` does."""
        job = self._running().request(str(reference), timeout, digest, self._strict)
        return Module(**await awaited(job, bar(progress, str(reference), "chunks")))

    def ask(self, reference: str | _core.Reference) -> None:
        """Ask for a module, and return when the broker has the request."""
        wait(self._running().ask(str(reference)))

    async def ask_async(self, reference: str | _core.Reference) -> None:
        """Ask for a module, as `ask` does."""
        await awaited(self._running().ask(str(reference)))

    @property
    def chunks(self) -> list[SeenChunk]:
        """Return what was heard since it was last started, in the order it came."""
        return [SeenChunk(**chunk) for chunk in self._core.chunks()]

    def __repr__(self) -> str:
        """Return the domain, the channel, the broker and whether it runs."""
        return f"Proplet({self._name}, {self._state})"
