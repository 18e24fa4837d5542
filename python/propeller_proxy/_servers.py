"""The servers of the pytest plugin: its own, or those that options name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from propeller_proxy import Descriptor, embedded
    from propeller_proxy.values import Source

BROKER, REGISTRY = "--propeller-broker", "--propeller-registry"


class Server(Protocol):
    """A server that can be started and stopped."""

    @property
    def url(self) -> str:
        """The address for clients."""

    def start(self) -> object:
        """Start it; no effect if it runs."""

    def stop(self) -> object:
        """Stop it; no effect if it does not run."""


class Broker:
    """An MQTT broker without authentication, or the one that ``--propeller-broker`` names."""

    def __init__(self, kind: Literal["external", "mosquitto", "embedded"], server: Server | str) -> None:
        """Take the plugin's own `server`, or the address of another broker."""
        self.kind: Literal["external", "mosquitto", "embedded"] = kind
        self._server = server

    @property
    def url(self) -> str:
        """The address, such as ``tcp://127.0.0.1:1883``; `restart()` keeps it."""
        return self._server if isinstance(self._server, str) else self._server.url

    @property
    def host(self) -> str:
        """The host of `url`."""
        return urlsplit(self.url).hostname or "localhost"

    @property
    def port(self) -> int:
        """The port of `url`."""
        return urlsplit(self.url).port or (1883 if urlsplit(self.url).scheme in ("tcp", "mqtt") else 8883)

    def start(self) -> None:
        """Start it again after `stop()`, on its port; no effect if it runs."""
        self._own().start()

    def stop(self) -> None:
        """Stop it as a crash does: sessions and messages are lost."""
        self._own().stop()

    def restart(self) -> None:
        """Stop it and start it again on its port."""
        self.stop()
        self.start()

    def _own(self) -> Server:
        if isinstance(self._server, str):
            raise RuntimeError(
                f"{BROKER} names {self._server}, which the plugin can neither stop nor start; "
                "use propeller_broker_factory() here, or skip the test where propeller_broker.kind is 'external'"
            )
        return self._server

    def __repr__(self) -> str:
        """Return the kind and the address."""
        return f"Broker({self.kind}, {self.url})"


class Registry:
    """An OCI registry without authentication, or the one that ``--propeller-registry`` names."""

    def __init__(self, server: embedded.Registry | str) -> None:
        """Take the plugin's own `server`, or the address of another registry."""
        self.kind: Literal["external", "embedded"] = "external" if isinstance(server, str) else "embedded"
        self._server = server

    @property
    def url(self) -> str:
        """The address, such as ``http://127.0.0.1:5000``."""
        return self._server if isinstance(self._server, str) else self._server.url

    def reference(self, name: str, tag: str = "latest") -> str:
        """Return the reference of the artifact `name` and `tag`: ``127.0.0.1:5000/name:tag``."""
        return f"{self.url.rpartition('://')[2].rstrip('/')}/{name}:{tag}"

    def push(self, name: str, wasm: Source, tag: str = "latest", shape: str = "wasm-to-oci") -> Descriptor:
        """Push a module, and return the descriptor of its manifest.

        `wasm` is the module, its bytes, or the path of a file. `shape` is the kind of artifact to make: one of
        ``wasm-to-oci``, ``wasm-artifact``, ``envoy``, ``image`` and ``untyped``.
        """
        if not isinstance(self._server, str):
            return self._server.push(name, wasm, tag=tag, shape=shape)
        from tempfile import TemporaryDirectory

        from propeller_proxy import Registry as Client

        with TemporaryDirectory() as cache:
            return Client(self._server, cache_dir=cache).push(self.reference(name, tag), wasm, shape=shape)

    def fail_next(self, status: int, times: int = 1) -> None:
        """Answer the next `times` HTTP requests with `status`, at most until the test ends."""
        self._own().fail_next(status, times=times)

    def tamper(self, digest: str) -> None:
        """Serve the blob `digest` with a flipped bit from now on."""
        self._own().tamper(digest)

    @property
    def requests(self) -> list[str]:
        """The HTTP requests in order of arrival, such as ``GET /v2/add/manifests/1.0``."""
        return list(self._own().requests)

    def _own(self) -> embedded.Registry:
        if isinstance(self._server, str):
            raise RuntimeError(
                f"{REGISTRY} names {self._server}, which the plugin cannot make fail; use "
                "propeller_registry_factory() here, or skip the test where propeller_registry.kind is 'external'"
            )
        return self._server

    def __repr__(self) -> str:
        """Return the kind and the address."""
        return f"Registry({self.kind}, {self.url})"
