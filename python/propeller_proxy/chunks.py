"""Chunks: how a module is cut, and the MQTT messages that carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast, overload

from propeller_proxy import _core
from propeller_proxy._tables import data_frame
from propeller_proxy.values import Module, Source, read

__all__ = ["Chunk", "ChunkPlan", "Comparison", "chunk"]

_MOST_BARS = 400


@dataclass(frozen=True, slots=True, repr=False)
class Chunk:
    """A part of a module; a view of its bytes."""

    index: int
    """Counted from 0."""
    offset: int
    """Its begin in the module, bytes."""
    size: int
    """Bytes, before the encoding."""
    data: memoryview
    """A read-only view of the module's bytes."""
    _digest: list[str] = field(default_factory=list, init=False, compare=False)

    @property
    def digest(self) -> str:
        """Return ``sha256:`` and 64 hexadecimal digits; computed on the first access."""
        if not self._digest:
            self._digest.append(_core.digest(cast(bytes, self.data.obj), self.offset, self.offset + self.size))
        return self._digest[0]

    def __bytes__(self) -> bytes:
        """Return a copy of the bytes."""
        return bytes(self.data)

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self.size

    def __repr__(self) -> str:
        """Return the index, the size and the offset."""
        return f"Chunk({self.index}, {self.size} bytes at {self.offset})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much of a module a device has already that has the chunks of another one."""

    shared_chunks: int
    """Chunks of the other plan whose digests are in this plan."""
    shared_bytes: int
    """Bytes of these chunks."""
    total_bytes: int
    """Bytes of the other plan."""

    @property
    def share(self) -> float:
        """Return the part of the bytes that is shared, 0 to 1."""
        return self.shared_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True, repr=False)
class ChunkPlan(Sequence[Chunk]):
    """A module that is cut into chunks: a sequence of `Chunk`."""

    chunks: tuple[Chunk, ...]
    chunk_size: int
    """Bytes of a chunk: of all but the last with the method ``fixed``, the average with ``content-defined``."""
    method: str
    app_name: str
    """The name under which devices request the module; every message has it."""

    @property
    def total_chunks(self) -> int:
        """Return the number of chunks."""
        return len(self.chunks)

    @property
    def size(self) -> int:
        """Return the bytes of the module."""
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Return the bytes of each chunk."""
        return [part.size for part in self.chunks]

    @property
    def digests(self) -> list[str]:
        """Return the digest of each chunk."""
        return [part.digest for part in self.chunks]

    @property
    def wire_bytes(self) -> int:
        """Return the bytes of all messages: their payloads, without topics and MQTT headers."""
        return sum(map(self._message_size, self.chunks))

    def encode(self, chunk: Chunk | int, app_name: str | None = None) -> bytes:
        """Return the MQTT message of one chunk, in JSON (wire protocol 1).

        `app_name` is by default the plan's. Raises `IndexError` if there is no such chunk, and `ValueError` for a
        chunk of another plan.
        """
        part = self.chunks[chunk.index if isinstance(chunk, Chunk) else chunk]
        if isinstance(chunk, Chunk) and part != chunk:
            raise ValueError(f"{chunk!r} is not of {self!r}")
        name = self.app_name if app_name is None else app_name
        data = cast(bytes, part.data.obj)
        return _core.encode(name, part.index, self.total_chunks, data, part.offset, part.offset + part.size)

    def compare(self, other: ChunkPlan) -> Comparison:
        """Return how much of `other` is in this plan already; chunks are compared by digest, not by position."""
        known = set(self.digests)
        shared = [part.size for part in other if part.digest in known]
        return Comparison(len(shared), sum(shared), other.size)

    def to_pandas(self) -> Any:
        """Return a DataFrame, a row for each chunk: index, offset, size, digest, wire_bytes.

        Raises `ImportError` without pandas.
        """
        return data_frame(
            {
                "index": [part.index for part in self.chunks],
                "offset": [part.offset for part in self.chunks],
                "size": self.sizes,
                "digest": self.digests,
                "wire_bytes": list(map(self._message_size, self.chunks)),
            }
        )

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self.chunks)

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Chunk, ...]: ...
    def __getitem__(self, index: int | slice) -> Chunk | tuple[Chunk, ...]:
        """Return one chunk, or a tuple of several."""
        return self.chunks[index]

    def __repr__(self) -> str:
        """Return the number of chunks, their size, the module's size and the method."""
        return f"ChunkPlan({len(self)} chunks of {self.chunk_size} bytes, {self.size} bytes, {self.method})"

    def _repr_html_(self) -> str:
        from html import escape

        bars = "".join(
            f'<span title="{part.index}: {part.size:,} bytes" style="flex:{part.size} 0 0;min-width:1px;'
            f'background:currentColor;opacity:{0.55 if part.index % 2 else 0.3}"></span>'
            for part in self.chunks[:_MOST_BARS]
        )
        more = f"; the first {_MOST_BARS} are drawn" if len(self) > _MOST_BARS else ""
        text = (
            f"{self.app_name}: {self.size:,} bytes in {len(self):,} chunks ({self.method}, {self.chunk_size:,}){more}"
        )
        return f'<div>{escape(text)}<div style="display:flex;height:1.5em;margin:.3em 0">{bars}</div></div>'

    def _message_size(self, part: Chunk) -> int:
        return _core.message_size(self.app_name, part.index, self.total_chunks, part.size)


def chunk(module: Source, size: int = 512_000, method: str = "fixed", app_name: str | None = None) -> ChunkPlan:
    """Cut a module into chunks, as the proxy does before it sends them.

    `module` is a `Module`, its bytes, or the path of a file. With the method ``fixed`` every chunk but the last has
    `size` bytes. With ``content-defined`` (FastCDC) the cuts depend on the bytes around them and chunks have `size`
    bytes on average, so that a small change keeps most chunks the same. `app_name` is by default the module's
    reference, and ``module`` if there is none. Raises `ValueError` for a wrong size or method, and `OSError`.
    """
    data = read(module)
    view = memoryview(data)
    ends = _core.cut(data, size, method)
    chunks = tuple(
        Chunk(index, begin, end - begin, view[begin:end])
        for index, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
    )
    name = module.reference if isinstance(module, Module) else "module"
    return ChunkPlan(chunks, size, method, name if app_name is None else app_name)
