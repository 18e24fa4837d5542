"""Deliver WebAssembly modules from OCI registries to edge devices over MQTT.

`Proxy` serves the devices of a channel, `Registry` fetches and pushes modules, `chunk` cuts them into chunks as the
proxy does, `Proplet` is a device, and `deliver_many` delivers many modules at once. Calls that wait have a twin for
asyncio, with ``_async`` at the end of the name. Errors are `ProxyError`.
"""

from propeller_proxy._core import Reference, __version__
from propeller_proxy.chunks import Chunk, ChunkPlan, Comparison, chunk
from propeller_proxy.errors import (
    BadModuleError,
    BadReferenceError,
    BusyError,
    ClosedError,
    ConfigurationError,
    DeliveryError,
    DeliveryTimeoutError,
    DeniedError,
    DiskError,
    NotFoundError,
    ProxyError,
    SetupError,
    UnreachableError,
)
from propeller_proxy.events import Event, Events
from propeller_proxy.many import deliver_many, deliver_many_async
from propeller_proxy.progress import Progress
from propeller_proxy.proplet import Proplet, SeenChunk
from propeller_proxy.proxy import Proxy, Stats
from propeller_proxy.registry import Registry
from propeller_proxy.reports import Report, Reports
from propeller_proxy.settings import Settings
from propeller_proxy.values import Descriptor, Module

__all__ = [
    "BadModuleError",
    "BadReferenceError",
    "BusyError",
    "Chunk",
    "ChunkPlan",
    "ClosedError",
    "Comparison",
    "ConfigurationError",
    "DeliveryError",
    "DeliveryTimeoutError",
    "DeniedError",
    "Descriptor",
    "DiskError",
    "Event",
    "Events",
    "Module",
    "NotFoundError",
    "Progress",
    "Proplet",
    "Proxy",
    "ProxyError",
    "Reference",
    "Registry",
    "Report",
    "Reports",
    "SeenChunk",
    "Settings",
    "SetupError",
    "Stats",
    "UnreachableError",
    "__version__",
    "chunk",
    "deliver_many",
    "deliver_many_async",
]
