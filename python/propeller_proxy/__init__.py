"""Deliver WebAssembly modules from OCI registries to edge devices over MQTT."""

from propeller_proxy._core import __version__

__all__ = ["__version__"]
