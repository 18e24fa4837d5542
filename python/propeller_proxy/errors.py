"""The errors: `ProxyError`, and a leaf for each thing that a caller may do about one.

Every leaf is a built-in exception as well, so that ``except FileNotFoundError`` or ``except ValueError`` work.
The codes are those of docs/errors.md, and of the calls of this package.
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
    """Something that the proxy, a registry, a broker or a device could not do.

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
        """Make an error of this very class, whatever its `code`."""
        super().__init__(message)
        self.message = message
        """What went wrong, in one sentence."""
        self.code = code
        """One word of docs/errors.md, such as ``"unknown-image"``."""
        self.stage = stage
        """What was under way, such as ``"fetch"``; `None` if that is not known."""
        self.side = side
        """Whose fault it is: request, proxy, registry or broker; `None` if that is not known."""
        self.reference = reference
        """The reference that was asked for, if it is about one."""
        self.retryable = retryable
        """Whether asking again later, with nothing changed, may succeed."""
        self.hint = hint
        """What to do about it, if there is something."""

    def __str__(self) -> str:
        """Return the message, and the hint on a line of its own."""
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle all that is known, which the built-in exceptions would not."""
        known = (self.message, self.code, self.stage, self.side, self.reference, self.retryable, self.hint)
        return type(self), known, self.__dict__


class ConfigurationError(ProxyError, ValueError):
    """Settings are missing or wrong; the message lists all of them."""


class BadReferenceError(ProxyError, ValueError):
    """That is not an OCI reference, or not something that can be asked for there."""


class DeniedError(ProxyError, PermissionError):
    """It is not permitted: by the settings, by the registry, or for want of a signature."""


class NotFoundError(ProxyError, FileNotFoundError):
    """There is no such repository, tag or digest, or the store does not have it."""


class UnreachableError(ProxyError, ConnectionError):
    """The registry or the broker cannot be reached, or does not take part."""


class DeliveryTimeoutError(ProxyError, TimeoutError):
    """It took too long."""


class BadModuleError(ProxyError, ValueError):
    """What the registry has is damaged, too large, ambiguous or no WebAssembly module."""


class BusyError(ProxyError, RuntimeError):
    """The proxy has too much to do; asking again later may succeed."""


class DeliveryError(ProxyError, ValueError):
    """A strict proplet saw chunks that a delivery without trouble does not have."""


class DiskError(ProxyError, OSError):
    """The store or the state could not be written or read."""


class ClosedError(ProxyError, RuntimeError):
    """The object was not started, is stopped, or was made before a fork; or the call was cancelled."""


class SetupError(ProxyError, RuntimeError):
    """TLS, the HTTP client, an HTTP proxy or the MQTT client could not be set up."""


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
    """Return the error of the class that goes with `code`; a code that is not known gives a plain `ProxyError`."""
    return _CLASSES.get(code, ProxyError)(message, code, stage, side, reference, retryable, hint)
