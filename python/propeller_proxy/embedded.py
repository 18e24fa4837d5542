"""A broker and a registry in this process, on free loopback ports, for tests and experiments."""

from __future__ import annotations

from collections.abc import Mapping

from propeller_proxy import _core
from propeller_proxy._service import Service
from propeller_proxy.errors import ProxyError
from propeller_proxy.values import Descriptor, Source, read

__all__ = ["ADD", "Broker", "Registry", "noise"]

ADD = _core.ADD
"""A module of 41 bytes that exports ``add(i32, i32) -> i32``."""


def noise(size: int, seed: int = 0) -> bytes:
    """Return a valid, incompressible module of `size` bytes, at least 15; equal seeds give equal modules."""
    return _core.noise(size, seed)


class Broker(Service[_core.Broker]):
    """An MQTT 3.1.1 broker. It keeps its port over `stop` and `start`, but neither sessions nor messages."""

    def __init__(self, users: Mapping[str, str] | None = None) -> None:
        """Take passwords by user names; without any, there is no authentication."""
        super().__init__(_core.Broker(users or {}))

    @property
    def url(self) -> str:
        """Return ``tcp://127.0.0.1:port``; raises `ClosedError` before the first start."""
        return self._core.url

    @property
    def host(self) -> str:
        """Return ``127.0.0.1``."""
        return _host_and_port(self.url)[0]

    @property
    def port(self) -> int:
        """Return the port."""
        return int(_host_and_port(self.url)[1])

    def restart(self) -> None:
        """Stop and start: connections, sessions and retained messages are lost."""
        self.stop()
        self.start()

    async def restart_async(self) -> None:
        """Stop and start, as `restart` does."""
        await self.stop_async()
        await self.start_async()

    def __repr__(self) -> str:
        """Return the address, or the state if it does not run."""
        return f"Broker({_where(self)})"


class Registry(Service[_core.EmbeddedRegistry]):
    """An OCI registry (OCI Distribution Specification 1.1). Its artifacts are in a temporary folder."""

    def __init__(self) -> None:
        """Make an empty registry."""
        super().__init__(_core.EmbeddedRegistry())

    @property
    def url(self) -> str:
        """Return ``http://127.0.0.1:port``; raises `ClosedError` before the first start."""
        return self._core.url

    def reference(self, name: str, tag: str = "latest") -> str:
        """Return the reference for requests, such as ``127.0.0.1:1234/add:1.0``."""
        return f"{':'.join(_host_and_port(self.url))}/{name}:{tag}"

    def push(self, name: str, wasm: Source, tag: str = "latest", shape: str = "wasm-to-oci") -> Descriptor:
        """Push a module, and return the descriptor of its manifest, with the digest of the layer.

        `wasm` is the module, its bytes, or the path of a file; `shape` as for `propeller_proxy.Registry.push`.
        """
        return Descriptor(**self._running().push(name, tag, read(wasm), shape))

    async def push_async(self, name: str, wasm: Source, tag: str = "latest", shape: str = "wasm-to-oci") -> Descriptor:
        """Push a module, as `push` does."""
        from asyncio import to_thread

        return await to_thread(self.push, name, wasm, tag, shape)

    def fail_next(self, status: int, times: int = 1) -> None:
        """Answer the next `times` requests with this HTTP status; raises `ValueError` if it is none."""
        if not 100 <= status <= 599:
            raise ValueError(f"{status} is no HTTP status")
        self._running().fail_next(status, times)

    def tamper(self, digest: str) -> None:
        """Serve this blob with a flipped bit from now on; raises `NotFoundError` if there is no such blob."""
        self._running().tamper(digest)

    @property
    def requests(self) -> list[str]:
        """Return the HTTP requests in order of arrival, such as ``GET /v2/add/manifests/1.0``."""
        return self._core.requests()

    def __repr__(self) -> str:
        """Return the address, or the state if it does not run."""
        return f"Registry({_where(self)})"


def _where(part: Broker | Registry) -> str:
    if part._state != "running":
        return part._state
    try:
        return part.url
    except ProxyError as error:
        # The object was made before a fork.
        return error.code


def _host_and_port(url: str) -> tuple[str, str]:
    host, _, port = url.partition("://")[2].rpartition(":")
    return host, port
