"""The errors: `ProxyError`, and a subclass for each remedy.

Every subclass is a built-in exception as well, so that ``except FileNotFoundError`` or ``except ValueError`` work.
The codes are those of docs/errors.md.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BadModuleError",
    "BadReferenceError",
    "BusyError",
    "ClosedError",
    "ConfigurationError",
    "DeliveryError",
    "DeliveryTimeoutError",
    "DeniedError",
    "DiskError",
    "NotFoundError",
    "ProxyError",
    "SetupError",
    "UnreachableError",
]


class ProxyError(Exception):
    """An error of the proxy, a registry, a broker or a device.

    Its text is the message, and on a second line the hint, if there is one.
    """

    def __init__(
        self,
        message: str,
        code: str,
        stage: str | None = None,
        side: str | None = None,
        reference: str | None = None,
        retryable: bool = False,
        hint: str | None = None,
    ) -> None:
        """Make an error of this class, whatever its `code`."""
        super().__init__(message)
        self.message = message
        """One sentence."""
        self.code = code
        """One word of docs/errors.md, such as ``"unknown-image"``."""
        self.stage = stage
        """The stage of the delivery, such as ``"fetch"``; `None` if unknown."""
        self.side = side
        """The side that caused it: request, proxy, registry or broker; `None` if unknown."""
        self.reference = reference
        """The requested reference, if the error concerns one."""
        self.retryable = retryable
        """Whether a retry, with nothing changed, may succeed."""
        self.hint = hint
        """The remedy, if there is one."""

    def __str__(self) -> str:
        """Return the message, and the hint on a line of its own."""
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle all fields, which the built-in exceptions would not."""
        known = (self.message, self.code, self.stage, self.side, self.reference, self.retryable, self.hint)
        return type(self), known, self.__dict__


class ConfigurationError(ProxyError, ValueError):
    """Settings or arguments are missing or wrong; the message lists all of them."""


class BadReferenceError(ProxyError, ValueError):
    """The text is no OCI reference, or the proxy does not serve such a request."""


class DeniedError(ProxyError, PermissionError):
    """The settings or the registry do not permit it, or a signature is missing or wrong."""


class NotFoundError(ProxyError, FileNotFoundError):
    """The registry has no such repository, tag or digest, or the store does not have it."""


class UnreachableError(ProxyError, ConnectionError):
    """The registry or the broker is unreachable or refuses the connection, or no proxy answers."""


class DeliveryTimeoutError(ProxyError, TimeoutError):
    """The timeout has passed."""


class BadModuleError(ProxyError, ValueError):
    """The artifact is damaged, too large, ambiguous or no WebAssembly module."""


class BusyError(ProxyError, RuntimeError):
    """The proxy is overloaded, or may not send the module now; a retry later may succeed."""


class DeliveryError(ProxyError, ValueError):
    """A strict proplet received chunks that are repeated, inconsistent or out of order."""


class DiskError(ProxyError, OSError):
    """The store or the state cannot be written or read."""


class ClosedError(ProxyError, RuntimeError):
    """The object was not started, is stopped, or was made before a fork; or the request was cancelled."""


class SetupError(ProxyError, RuntimeError):
    """TLS, the HTTP client, an HTTP proxy or the MQTT client cannot be set up."""


_CODES: dict[type[ProxyError], str] = {
    ConfigurationError: "configuration",
    BadReferenceError: "bad-request not-served bad-reference",
    DeniedError: "denied unauthorized credentials unsigned bad-signature",
    NotFoundError: "unknown-image not-cached",
    UnreachableError: "registry-unreachable broker-unreachable broker-refused broker-untrusted unheard",
    DeliveryTimeoutError: "timeout too-late",
    BadModuleError: "registry-answer unsupported ambiguous too-large size-mismatch digest-mismatch not-wasm",
    BusyError: "overloaded over-budget tag-moves given-way",
    DeliveryError: "irregular",
    DiskError: "disk",
    ClosedError: "stopping closed forked cancelled withdrawn",
    SetupError: "setup",
}
_CLASSES = {code: leaf for leaf, codes in _CODES.items() for code in codes.split()}


def _error(
    *,
    code: str,
    message: str,
    stage: str | None = None,
    side: str | None = None,
    reference: str | None = None,
    retryable: bool = False,
    hint: str | None = None,
) -> ProxyError:
    """Return an error of the class for `code`, which is `ProxyError` for an unknown code."""
    return _CLASSES.get(code, ProxyError)(message, code, stage, side, reference, retryable, hint)
