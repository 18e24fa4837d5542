"""Deliveries of many modules, some of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from propeller_proxy._core import Reference
from propeller_proxy._jobs import awaited, timeout_error, wait
from propeller_proxy.errors import ProxyError, _error
from propeller_proxy.progress import Reporting, bar
from propeller_proxy.proxy import Proxy
from propeller_proxy.reports import Report, Reports
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
    """Deliver modules, at most `concurrency` at once, and return their reports in order; failures are in the reports.

    `proxy` must run; without it, a proxy with `settings` runs meanwhile. `timeout` is in seconds from the begin of each
    delivery; `channel`, `domain` and `layout` are as for `Proxy.deliver`. Ctrl-C cancels all deliveries. Raises
    `ConfigurationError`, `ClosedError` if the proxy does not run, `ValueError` for a `concurrency` below 1, and
    `TypeError` for a proxy with settings.
    """
    names = _names(references, concurrency)
    with _given(proxy, settings) as running:
        job = running._running().deliver_many(names, domain, channel, layout, concurrency, timeout)
        outcomes = wait(job, bar(progress, "deliveries", "modules"))
    return _reports(names, outcomes, timeout)


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
    names = _names(references, concurrency)
    async with _given(proxy, settings) as running:
        job = running._running().deliver_many(names, domain, channel, layout, concurrency, timeout)
        outcomes = await awaited(job, bar(progress, "deliveries", "modules"))
    return _reports(names, outcomes, timeout)


def _names(references: Iterable[str | Reference], concurrency: int) -> list[str]:
    if isinstance(references, (str, Reference)):
        raise TypeError("references is a list of references, not one")
    if concurrency < 1:
        raise ValueError("concurrency must be at least 1")
    return [str(reference) for reference in references]


def _given(proxy: Proxy | None, settings: Settings) -> Proxy | nullcontext[Proxy]:
    """Return a block in which a proxy runs."""
    if proxy is None:
        return Proxy(**settings)
    if given := [name for name, value in settings.items() if value is not None]:
        raise TypeError(f"give a proxy or settings ({', '.join(given)}), not both")
    return nullcontext(proxy)


def _reports(names: list[str], outcomes: list[dict[str, Any] | Exception | None], timeout: float | None) -> Reports:
    """Return the reports: of the fields of one, of the error, and `None` stands for the timeout."""
    return Reports(_report(name, outcome, timeout) for name, outcome in zip(names, outcomes, strict=True))


def _report(name: str, outcome: dict[str, Any] | Exception | None, timeout: float | None) -> Report:
    if isinstance(outcome, dict):
        return Report(**outcome)
    if outcome is None:
        assert timeout is not None
        return Report(name, error=timeout_error(timeout, name))
    if isinstance(outcome, ProxyError):
        return Report(name, error=outcome)
    # The name is no Unicode text.
    return Report(name, error=_error(code="bad-reference", message=str(outcome), reference=name))
