"""Tables: as text, as HTML, and for pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def text_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with bars between the columns; numbers are aligned to the right."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if cell[:1].isdigit() and cell.replace(".", "").isdigit() else cell.ljust(width)
            for cell, width in zip(cells, widths, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(lines[0]), rule, *map(line, lines[1:])])


def html_table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Return an HTML table without colours, for light and dark pages."""
    from html import escape

    def line(cells: Sequence[object], tag: str) -> str:
        left = ' style="text-align:left"'
        return "<tr>" + "".join(f"<{tag}{left}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    top = f"<thead>{line(head, 'th')}</thead>" if head else ""
    return f"<table>{top}<tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"


def data_frame(columns: Mapping[str, Sequence[object]]) -> Any:
    """Return a pandas DataFrame; raises `ImportError` with the command that installs pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: pip install 'propeller-proxy[pandas]'", name="pandas") from error
    return pandas.DataFrame(columns)
