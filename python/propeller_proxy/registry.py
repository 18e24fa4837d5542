"""Registries: resolve, fetch and push."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from propeller_proxy import _core
from propeller_proxy._jobs import awaited, wait
from propeller_proxy.progress import Reporting, bar
from propeller_proxy.settings import Settings, environment
from propeller_proxy.values import Descriptor, Module, Source, read

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Registry"]


class Registry:
    """A client of OCI registries (OCI Distribution Specification 1.1), with the rules of the proxy."""

    def __init__(
        self,
        url: str | None = None,
        *,
        auth: tuple[str, str] | str | None = None,
        ca_cert: str | PathLike[str] | None = None,
        allow: str | Sequence[str] | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        """Take the registry at `url`, or else at ``PROXY_REGISTRY_URL``; nothing is connected yet.

        `auth` is a pair of user name and password, or a bearer token, and turns on `authenticate`. `ca_cert` is a file
        of certificate authorities in PEM; `allow` lists the other registries that references may name. They stand for
        the settings `registry_url`, `registry_ca_cert`, `registry_allow` and so on; settings that do not concern
        registries have no effect. Raises `ConfigurationError`, and `DiskError` if the store cannot be opened.
        """
        given: Settings = {"registry_url": url, "registry_ca_cert": ca_cert, "registry_allow": allow}
        self._core = _core.Registry(environment({**settings, **_given(given), **_credentials(auth)}))
        self._url = self._core.url

    @property
    def url(self) -> str:
        """The address."""
        return self._url

    def resolve(self, reference: str | _core.Reference) -> Descriptor:
        """Return the descriptor of the manifest or index that `reference` names.

        Raises `NotFoundError`, `DeniedError`, `UnreachableError` or another `ProxyError`.
        """
        return Descriptor(**wait(self._core.resolve(str(reference))))

    async def resolve_async(self, reference: str | _core.Reference) -> Descriptor:
        """Return the descriptor of the manifest or index, as `resolve` does."""
        return Descriptor(**await awaited(self._core.resolve(str(reference))))

    def fetch(self, reference: str | _core.Reference, progress: Reporting = None) -> Module:
        """Return the module that `reference` names, verified: size, SHA-256 and the preamble of WebAssembly.

        Raises `NotFoundError`, `DeniedError`, `UnreachableError`, `BadModuleError` or another `ProxyError`.
        """
        name = str(reference)
        return Module(**wait(self._core.fetch(name), bar(progress, name, "bytes")), verified=True)

    async def fetch_async(self, reference: str | _core.Reference, progress: Reporting = None) -> Module:
        """Return the module, as `fetch` does."""
        name = str(reference)
        return Module(**await awaited(self._core.fetch(name), bar(progress, name, "bytes")), verified=True)

    def push(self, reference: str | _core.Reference, wasm: Source, shape: str = "wasm-to-oci") -> Descriptor:
        """Push a module, and return the descriptor of its manifest.

        `wasm` is the module, its bytes, or the path of a file. `shape` is the kind of artifact to make: one of
        ``wasm-to-oci``, ``wasm-artifact``, ``envoy``, ``image`` and ``untyped``. Raises `ProxyError`.
        """
        return Descriptor(**wait(self._core.push(str(reference), read(wasm), shape)))

    async def push_async(
        self, reference: str | _core.Reference, wasm: Source, shape: str = "wasm-to-oci"
    ) -> Descriptor:
        """Push a module, as `push` does."""
        from asyncio import to_thread

        return Descriptor(**await awaited(self._core.push(str(reference), await to_thread(read, wasm), shape)))

    def __repr__(self) -> str:
        """Return the address."""
        return f"Registry({self.url!r})"


def _given(settings: Settings) -> dict[str, object]:
    return {name: value for name, value in settings.items() if value is not None}


def _credentials(auth: tuple[str, str] | str | None) -> Settings:
    """Return the settings for `auth`; those of other kinds are emptied, or the environment's would win."""
    if auth is None:
        return {}
    if not isinstance(auth, str) and len(auth) != 2:
        raise TypeError("auth is a pair of user name and password, or a bearer token")
    username, password, token = ("", "", auth) if isinstance(auth, str) else (*auth, "")
    return {
        "authenticate": True,
        "registry_username": username,
        "registry_password": password,
        "registry_token": token,
        "registry_identity_token": "",
    }
