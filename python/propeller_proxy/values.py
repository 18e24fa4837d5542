"""Descriptors and modules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TypeAlias

from propeller_proxy._tables import html_table

__all__ = ["Descriptor", "Module"]


def short(digest: str | None) -> str:
    """Return the first digits of a digest, for people."""
    if digest is None:
        return "no digest"
    return f"{digest[:11]}…" if len(digest) > 11 else digest


@dataclass(frozen=True, slots=True, repr=False)
class Descriptor:
    """The descriptor of a manifest or index (OCI Image Specification 1.1, descriptor.md)."""

    reference: str
    """The reference of the call, with host and tag."""
    media_type: str
    digest: str
    """``sha256:`` and 64 hexadecimal digits."""
    size: int
    """Bytes of the manifest or index, not of the module."""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    layer: str | None = None
    """Digest of the layer with the module; set by `embedded.Registry.push`."""

    def __repr__(self) -> str:
        """Return the reference, the media type, the size and the first digits of the digest."""
        return f"Descriptor({self.reference!r}, {self.media_type}, {self.size} bytes, {short(self.digest)})"


@dataclass(frozen=True, slots=True, repr=False)
class Module:
    """A WebAssembly module: its bytes and their origin."""

    data: bytes = field(hash=False)
    reference: str
    """From a registry: the reference with host and tag; from a device: as in its request."""
    digest: str
    """Of the bytes: ``sha256:`` and 64 hexadecimal digits."""
    size: int
    """Bytes."""
    media_type: str | None = None
    """Of the layer in the manifest; `None` if the module came over MQTT, as the next two."""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    shape: str | None = None
    """The kind of artifact, such as ``"wasm-to-oci"``; `None` over MQTT."""
    root: str | None = None
    """Digest of the manifest or index that the reference names; `None` over MQTT."""
    verified: bool = False
    """Whether the bytes match a digest from the manifest, a status message or the caller."""

    def __bytes__(self) -> bytes:
        """Return the bytes of the module."""
        return self.data

    def __len__(self) -> int:
        """Return the number of bytes."""
        return len(self.data)

    def write(self, path: str | PathLike[str]) -> None:
        """Write the bytes to a file, which is replaced if it exists. Raises `OSError`."""
        with open(path, "wb") as file:
            file.write(self.data)

    def __repr__(self) -> str:
        """Return the reference, the size and the first digits of the digest."""
        return f"Module({self.reference!r}, {self.size} bytes, {short(self.digest)})"

    def _repr_html_(self) -> str:
        rows = [
            ("reference", self.reference),
            ("size", f"{self.size:,} bytes"),
            ("digest", self.digest),
            ("verified", "yes" if self.verified else "no"),
            ("media type", self.media_type),
            ("shape", self.shape),
            ("manifest or index", self.root),
            *sorted(self.annotations.items()),
        ]
        return html_table(row for row in rows if row[1] is not None)


Source: TypeAlias = Module | bytes | bytearray | memoryview | str | PathLike[str]
"""A module, its bytes, or the path of a file with them."""


def read(source: Source) -> bytes:
    """Return the bytes of a module; raises `OSError` if the file cannot be read."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Module):
        return source.data
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return file.read()
    return bytes(memoryview(source))
