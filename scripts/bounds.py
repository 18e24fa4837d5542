#!/usr/bin/env python3
"""Write docs/reference/bounds.md from the constants and settings that are bounds; `--check` compares instead.

A constant is a bound if `#[doc(alias = "bound")]` stands above it. Its row has the first sentence of its doc comment,
and its value with a unit: durations have one by their type, whole numbers if that sentence names bytes, seconds or
milliseconds. The defaults of settings are read from docs/configuration.md, which is generated from the code itself.
"""

import ast
import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "bounds.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
CRATES = {
    "src": "the core, `propeller_proxy`",
    "rust-bin/src": "the daemon, `propeller_proxy_daemon`",
    "python/src": "the Python extension, `propeller_proxy._core`",
}
SETTINGS = re.compile(r"PROXY_(MAX_\w+|CACHE_SIZE|FETCH_TIMEOUT|MQTT_TIMEOUT|PUBLISH_RATE)")
"""Settings that are bounds."""

MARK = '#[doc(alias = "bound")]'
CONSTANT = re.compile(r"(?:pub(?:\([a-z]+\))? )?const (\w+): ([^=]+?) = ([^;]+);")
UNITS = {"nanos": 1e-9, "micros": 1e-6, "millis": 1e-3, "secs": 1, "mins": 60, "hours": 3600}
OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.LShift: operator.lshift,
}

HEAD = """\
# Bounds

<!-- Written by `python3 scripts/bounds.py` from the code; a test compares. -->

Every queue, cache, body, wait and retry has a bound. Bounds that operators may want to change are
[settings](../configuration.md). All others are constants; each carries `#[doc(alias = "bound")]` in the source. What
exceeds a bound waits or fails with a [code](../errors.md).
"""


class Bound(NamedTuple):
    """A constant that is a bound."""

    path: str
    file: Path
    sentence: str
    value: str


def main() -> int:
    """Write the page, or compare it."""
    page = "\n".join(parts())
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(page)
    elif not PAGE.is_file() or PAGE.read_text() != page:
        print(f"error: {PAGE.relative_to(ROOT)} is not what the code says", file=sys.stderr)
        print("hint: python3 scripts/bounds.py writes it anew", file=sys.stderr)
        return 1
    return 0


def parts() -> Iterator[str]:
    """Return the page, piece by piece."""
    yield HEAD
    yield "## Settings\n"
    yield table("| what | default | setting |", settings())
    for folder, title in CRATES.items():
        bounds = [bound for file in sorted((ROOT / folder).rglob("*.rs")) for bound in of_file(file, ROOT / folder)]
        if bounds:
            yield f"## Constants of {title}\n"
            yield table("| what | bound | constant |", map(row, bounds))


def table(head: str, rows: Iterable[str]) -> str:
    """Return a table of three columns."""
    return "\n".join([head, "|---|---|---|", *rows, ""])


def row(bound: Bound) -> str:
    """Return the row of a constant."""
    source = Path("../..") / bound.file.relative_to(ROOT)
    return f"| {bound.sentence} | {bound.value} | [`{bound.path}`]({source}) |"


def settings() -> Iterator[str]:
    """Return the rows of the settings."""
    for section in CONFIGURATION.read_text().split("\n### ")[1:]:
        name, _, text = section.partition("\n\n")
        if SETTINGS.fullmatch(name):
            sentence = re.split(r"(?<=[.]) |\n", text)[0]
            default = re.search(r"^- Default: `(.+)`$", text, re.MULTILINE)
            value = humanized(default[1]) if default else "none"
            yield f"| {sentence} | {value} | [`{name}`](../configuration.md#{name.lower()}) |"


def humanized(default: str) -> str:
    """Return the default of a setting as people write it."""
    if default.isdigit():
        return f"{int(default):,}"
    return re.sub(r"^(\d+)([A-Za-z]+)$", r"\1 \2", default).replace(" m", " min")


def of_file(file: Path, crate: Path) -> Iterator[Bound]:
    """Return the bounds of a file."""
    text = file.read_text()
    constants = {name: expression for name, _, expression in CONSTANT.findall(text)}
    module = [part for part in file.relative_to(crate).with_suffix("").parts if part not in ("mod", "lib")]
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.strip() != MARK:
            continue
        found = CONSTANT.match("\n".join(part.strip() for part in lines[number + 1 : number + 6]))
        assert found, f"{file}:{number + 1}: no constant follows {MARK}"
        name, kind, expression = found.groups()
        sentence = documentation(lines[:number])
        assert sentence, f"{file}:{number + 1}: {name} has no doc comment"
        value = written(evaluated(expression, constants), kind, sentence)
        sentence = re.sub(r",? (?:in )?(?:bytes(?: a second)?|(?:milli)?seconds)(?=[.:;]| \()", "", sentence)
        yield Bound("::".join([*module, *owner(lines[:number], line), name]), file, sentence, value)


def documentation(above: list[str]) -> str:
    """Return the first sentence of the doc comment at the end of these lines."""
    words: list[str] = []
    for line in reversed(above):
        if not (comment := re.fullmatch(r"\s*/// ?(.*)", line)):
            break
        words.insert(0, comment[1])
    sentence = re.split(r"(?<=[.;:])\s+(?=[A-Z])|\n\n", "\n".join(words))[0].replace("\n", " ").strip()
    sentence = re.sub(r"\[`?([^]`]+)`?\](?!\()", r"`\1`", sentence)
    return sentence.replace("|", "\\|").rstrip(".") + "." if sentence else ""


def owner(above: list[str], mark: str) -> list[str]:
    """Return the type whose constant it is, if it stands in an `impl`."""
    if not mark.startswith(" "):
        return []
    blocks = (re.match(r"impl(?:<[^>]*>)? (?:\w+ for )?(\w+)", line) for line in reversed(above))
    return [next(block[1] for block in blocks if block)]


def evaluated(expression: str, constants: dict[str, str]) -> float:
    """Return the value of an expression: a number, or seconds."""
    tree = ast.parse(re.sub(r"\s+as \w+", "", expression).replace("::", "."), mode="eval")

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(int(number) | float(number)):
                return number
            case ast.BinOp(left, op, right):
                return float(OPERATORS[type(op)](int(value(left)), int(value(right))))
            case ast.Name(name) | ast.Attribute(attr=name) if name in constants:
                return evaluated(constants[name], constants)
            case ast.Call(ast.Attribute(attr=name), [only]) if name.removeprefix("from_") in UNITS:
                return value(only) * UNITS[name.removeprefix("from_")]
        raise SystemExit(
            f"error: {expression} is not understood; scripts/bounds.py knows arithmetic and Duration::from_*"
        )

    return value(tree.body)


def written(value: float, kind: str, sentence: str) -> str:
    """Return a value as people write it."""
    if kind == "Duration" or re.search(r"\bseconds\b", sentence):
        return duration(value)
    if re.search(r"\bmilliseconds\b", sentence):
        return duration(value / 1000)
    if re.search(r"\bbytes?\b", sentence, re.IGNORECASE):
        return size(int(value)) + ("/s" if "bytes a second" in sentence else "")
    return f"{int(value):,}"


def duration(seconds: float) -> str:
    """Return a duration in the largest unit in which it is a whole number, minutes from two on."""
    for unit, length, least in (("h", 3600, 1), ("min", 60, 2), ("s", 1, 1)):
        if seconds >= least * length and seconds % length == 0:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def size(count: int) -> str:
    """Return a size in the largest unit in which it is a whole number."""
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << bits and count % (1 << bits) == 0:
            return f"{count >> bits:,} {unit}"
    return f"{count:,} bytes"


if __name__ == "__main__":
    sys.exit(main())
