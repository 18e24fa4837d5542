"""Deliveries of many modules, a few at once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from propeller_proxy._batch import Batch, Overdue
from propeller_proxy._core import Reference
from propeller_proxy._jobs import awaited, wait
from propeller_proxy.progress import Bar, Reporting, bar
from propeller_proxy.proxy import Proxy
from propeller_proxy.reports import Reports
from propeller_proxy.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["deliver_many", "deliver_many_async"]


def deliver_many(
    references: Iterable[str | Reference],
    *,
    proxy: Proxy | None = None,
    concurrency: int = 8,
    progress: Reporting = True,
    channel: str | None = None,
    domain: str | None = None,
    layout: str = "plain",
    timeout: float | None = None,
    **settings: Unpack[Settings],
) -> Reports:
    """Deliver modules, `concurrency` at once, and return a report for each; what fails has its error there.

    `proxy` must run; if there is none, one with `settings` runs meanwhile. `timeout` is for each delivery, in seconds
    from its begin; `channel`, `domain` and `layout` are as for `Proxy.deliver`. Ctrl-C cancels what is under way.
    Raises `ConfigurationError`, and `ClosedError` if the proxy does not run.
    """
    names = _names(references)
    with _given(proxy, settings) as running:
        begin = partial(running._delivery, channel=channel, domain=domain, layout=layout)
        batch = Batch(begin, names, concurrency, timeout)
        return wait(batch, _shown(batch, progress))


async def deliver_many_async(
    references: Iterable[str | Reference],
    *,
    proxy: Proxy | None = None,
    concurrency: int = 8,
    progress: Reporting = True,
    channel: str | None = None,
    domain: str | None = None,
    layout: str = "plain",
    timeout: float | None = None,
    **settings: Unpack[Settings],
) -> Reports:
    """Deliver modules, as `deliver_many` does."""
    names = _names(references)
    async with _given(proxy, settings) as running:
        begin = partial(running._delivery, channel=channel, domain=domain, layout=layout)
        batch = Batch(begin, names, concurrency, timeout)
        return await awaited(batch, _shown(batch, progress))


def _names(references: Iterable[str | Reference]) -> list[str]:
    if isinstance(references, (str, Reference)):
        raise TypeError("references is a list of references, not one")
    return [str(reference) for reference in references]


def _given(proxy: Proxy | None, settings: Settings) -> Proxy | nullcontext[Proxy]:
    """Return a block in which a proxy runs."""
    if proxy is None:
        return Proxy(**settings)
    if given := [name for name, value in settings.items() if value is not None]:
        raise TypeError(f"give a proxy or settings ({', '.join(given)}), not both")
    proxy._running()
    return nullcontext(proxy)


def _shown(batch: Batch, progress: Reporting) -> Bar | None:
    shown = bar(progress, "deliveries", "modules")
    return shown if batch.timeout is None else Overdue(batch, shown)
