"""What registries hold: descriptors and modules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TypeAlias

from propeller_proxy._tables import html_table

__all__ = ["Descriptor", "Module"]


def short(digest: str | None) -> str:
    """Return the beginning of a digest, enough to tell it from others."""
    if digest is None:
        return "no digest"
    return f"{digest[:11]}…" if len(digest) > 11 else digest


@dataclass(frozen=True, slots=True, repr=False)
class Descriptor:
    """What a registry says of a manifest or index (OCI Image Specification 1.1, descriptor.md)."""

    reference: str
    """What it was asked by or pushed as, with host and tag."""
    media_type: str
    digest: str
    """``sha256:`` and 64 hexadecimal digits."""
    size: int
    """Bytes of the manifest or index, not of the module."""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    layer: str | None = None
    """Digest of the layer with the module, where an embedded registry was pushed to."""

    def __repr__(self) -> str:
        """Return the reference and the digest's beginning."""
        return f"Descriptor({self.reference!r}, {self.media_type}, {self.size} bytes, {short(self.digest)})"


@dataclass(frozen=True, slots=True, repr=False)
class Module:
    """A WebAssembly module: its bytes and where they came from."""

    data: bytes = field(hash=False)
    reference: str
    """What it was asked by: from a registry with host and tag, from a device as it asked."""
    digest: str
    """Of the bytes: ``sha256:`` and 64 hexadecimal digits."""
    size: int
    """Bytes."""
    media_type: str | None = None
    """Of the layer, as the registry tells; `None` if it came over MQTT, like what follows."""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    shape: str | None = None
    """The kind of artifact it was taken from, such as ``"wasm-to-oci"``."""
    root: str | None = None
    """Digest of the manifest or index that the reference names."""
    verified: bool = False
    """Whether the bytes were compared with a digest that somebody else told."""

    def __bytes__(self) -> bytes:
        """Return the bytes of the module."""
        return self.data

    def __len__(self) -> int:
        """Return the number of bytes."""
        return len(self.data)

    def write(self, path: str | PathLike[str]) -> None:
        """Write the bytes to a file; one that is there is replaced. Raises `OSError`."""
        with open(path, "wb") as file:
            file.write(self.data)

    def __repr__(self) -> str:
        """Return the reference, the size and the digest's beginning."""
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
"""Where the bytes of a module come from: the module, its bytes, or the path of a file with them."""


def read(source: Source) -> bytes:
    """Return the bytes; raises `OSError` if it is the path of a file that cannot be read."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Module):
        return source.data
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return file.read()
    return bytes(memoryview(source))
