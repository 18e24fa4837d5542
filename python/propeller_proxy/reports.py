"""Reports of deliveries."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, SupportsIndex, overload

from propeller_proxy._tables import data_frame, html_table, text_table
from propeller_proxy.errors import ProxyError, _error
from propeller_proxy.values import short

__all__ = ["Report", "Reports"]

_HEAD = ("module", "size", "chunks", "seconds", "MB/s", "result")


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """The outcome of one delivery. If it failed, `error` has the reason, and unknown fields are 0 or `None`."""

    reference: str
    digest: str | None = None
    """Of the module: ``sha256:`` and 64 hexadecimal digits."""
    size: int = 0
    """Bytes of the module."""
    chunk_size: int = 0
    """Bytes of the module in one chunk."""
    total_chunks: int = 0
    sent_chunks: int = 0
    """Chunks that the broker acknowledged; more than `total_chunks` if some were repeated."""
    requests: int = 0
    """Requests that this transfer covered."""
    wire_bytes: int = 0
    """Bytes of the messages' payloads."""
    fetch_seconds: float = 0.0
    send_seconds: float = 0.0
    seconds: float = 0.0
    """From the request to the last acknowledgement."""
    error: ProxyError | None = None

    @property
    def ok(self) -> bool:
        """Return whether the module was delivered."""
        return self.error is None

    @property
    def megabytes_per_second(self) -> float:
        """Return the size in megabytes (1,000,000 bytes) divided by `seconds`."""
        return self.size / self.seconds / 1e6 if self.seconds else 0.0

    def __repr__(self) -> str:
        """Return the reference and the outcome."""
        if self.error is not None:
            return f"Report({self.reference!r}, failed: {self.error.code})"
        return (
            f"Report({self.reference!r}, {self.size} bytes in {self.sent_chunks} chunk{'s' * (self.sent_chunks != 1)}, "
            f"{self.seconds:.3f} s, {short(self.digest)})"
        )

    def _repr_html_(self) -> str:
        return html_table(
            [
                ("reference", self.reference),
                ("result", "delivered" if self.error is None else f"{self.error.code}: {self.error.message}"),
                ("digest", self.digest or ""),
                ("size", f"{self.size:,} bytes"),
                ("chunks", f"{self.sent_chunks:,} of {self.total_chunks:,}"),
                ("messages", f"{self.wire_bytes:,} bytes"),
                ("fetch", f"{self.fetch_seconds:.3f} s"),
                ("send", f"{self.send_seconds:.3f} s"),
                ("all", f"{self.seconds:.3f} s, {self.megabytes_per_second:.1f} MB/s"),
            ]
        )


class Reports(tuple[Report, ...]):
    """The reports of `deliver_many`, in the order of the references."""

    __slots__ = ()

    @property
    def delivered(self) -> list[Report]:
        """Return the reports without an error."""
        return [report for report in self if report.ok]

    @property
    def failed(self) -> list[Report]:
        """Return the reports with an error."""
        return [report for report in self if not report.ok]

    def raise_for_failures(self) -> None:
        """Raise the error of the delivery that failed; if several failed, a `ProxyError` that lists them.

        Its code is theirs if they have the same, else ``several``.
        """
        errors = [report.error for report in self if report.error is not None]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            lines = (f"  {report.reference}: {report.error}".replace("\n", "\n    ") for report in self.failed)
            message = "\n".join([f"{len(errors)} of {len(self)} deliveries failed:", *lines])
            codes = {error.code for error in errors}
            code = codes.pop() if len(codes) == 1 else "several"
            raise _error(code=code, message=message, retryable=all(error.retryable for error in errors))

    @overload
    def __getitem__(self, index: SupportsIndex) -> Report: ...
    @overload
    def __getitem__(self, index: slice) -> Reports: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Report | Reports:
        """Return one report, or those of a slice."""
        return Reports(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row for each report; `error` is the code. Raises `ImportError` without pandas."""
        columns = {field.name: [getattr(report, field.name) for report in self] for field in fields(Report)}
        return data_frame({**columns, "error": [report.error and report.error.code for report in self]})

    def __str__(self) -> str:
        """Return a table."""
        return text_table(_HEAD, map(_row, self))

    def __repr__(self) -> str:
        """Return the numbers of delivered and failed modules."""
        return f"Reports({len(self.delivered)} delivered, {len(self.failed)} failed)"

    def _repr_html_(self) -> str:
        return html_table(map(_row, self), _HEAD)


def _row(report: Report) -> tuple[object, ...]:
    result = "delivered" if report.error is None else report.error.code
    speed = f"{report.megabytes_per_second:.1f}"
    return report.reference, report.size, report.sent_chunks, f"{report.seconds:.3f}", speed, result
