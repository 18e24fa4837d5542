"""What the documentation says is so: its code runs, its tables are complete, and its links lead somewhere."""

import inspect
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import propeller_proxy
import pytest
from propeller_proxy import Proplet, Proxy, Registry, _core, embedded, errors
from servers import Server

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "docs" / "python.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/*.md")])
DEADLINE = 120.0
"""Longest run of the code of one page on a slow machine, seconds."""
PREFIXES: dict[type, str] = {
    Registry: "Registry",
    Proxy: "Proxy",
    Proplet: "Proplet",
    embedded.Broker: "embedded.Broker",
    embedded.Registry: "embedded.Registry",
}
"""What has calls that wait, and under what name."""
OF_NO_LEAF = {"several"}
"""Codes of the package for which there is no class."""
RUN = "import sys; exec(compile(sys.stdin.read(), sys.argv[1], 'exec'))"


class Fence(NamedTuple):
    """A fenced block of a page."""

    language: str
    begin: int
    """The line of its first line of text, counted from 0."""
    lines: list[str]


def fences(text: str) -> Iterator[Fence]:
    """Return the fenced blocks of a page."""
    language: str | None = None
    begin = 0
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if language is None and (fence := re.fullmatch(r"```(\w*)", line)):
            language, begin = fence[1], number + 1
        elif language is not None and line == "```":
            yield Fence(language, begin, lines[begin:number])
            language = None
    assert language is None, f"the block at line {begin} has no end"


def program(text: str) -> str:
    """Return the Python code of a page, on the lines where the page has it."""
    lines = [""] * len(text.splitlines())
    for fence in fences(text):
        if fence.language == "python":
            lines[fence.begin : fence.begin + len(fence.lines)] = fence.lines
    return "\n".join(lines)


def outputs(text: str) -> list[str]:
    """Return what a page says that its code prints: the blocks of text right after blocks of code."""
    return [
        "\n".join(below.lines)
        for above, below in itertools.pairwise(fences(text))
        if (above.language, below.language) == ("python", "text")
    ]


def leveled(output: str) -> str:
    """Return an output without what differs from run to run: ports and times."""
    return re.sub(r"\d+\.\d+ s", "0.000 s", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", output))


def rows(text: str, *head: str) -> list[list[str]]:
    """Return the cells of the table with this head."""
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {' | '.join(head)} |"))
    table = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def quoted(cell: str) -> list[str]:
    """Return what a cell has between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def slugs(page: Path) -> set[str]:
    """Return what links may name after the number sign: the headings, as GitHub spells them there."""
    headings = re.findall(r"^#+ +(.+)$", without_fences(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_fences(text: str) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def shown(call: Callable[..., object], name: str) -> str:
    """Return a call with its arguments, as the documentation writes it."""
    signature = inspect.signature(call)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    arguments = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    return f"{name}{arguments}".replace("'", '"')


@pytest.mark.parametrize("page", [ROOT / "README.md", PYTHON], ids=lambda page: page.name)
def test_its_code_runs(page: Path, broker: Server, registry: Server, tmp_path: Path) -> None:
    """All blocks of a page, in order, in one interpreter; and they print what the page shows."""
    text = page.read_text()
    folder = tmp_path / "folder"
    folder.mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PROXY_CACHE_DIR": str(tmp_path / "store"),
        "PROXY_STATE_DIR": str(tmp_path / "state"),
        "PROXY_NO_PROGRESS": "1",
        "PROXY_MQTT_ADDRESS": f"tcp://127.0.0.1:{broker.port}",
        "PROXY_REGISTRY_URL": f"127.0.0.1:{registry.port}",
    }
    ended = subprocess.run(
        [sys.executable, "-c", RUN, page],
        input=program(text),
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert ended.returncode == 0, ended.stderr
    printed = leveled(ended.stdout)
    assert outputs(text)
    assert [output for output in outputs(text) if leveled(output) not in printed] == [], printed


def test_the_readme_begins_as_the_guide_does() -> None:
    """The script of the README is that of the guide."""
    readme, guide = (
        next(fence.lines for fence in fences(page.read_text()) if fence.language == "python")
        for page in (ROOT / "README.md", PYTHON)
    )
    assert readme == guide


def test_every_call_that_waits_is_listed() -> None:
    """The table of calls has each of them, with its arguments and its twin."""
    calls = {
        f"{prefix}.{name}": getattr(owner, name)
        for owner, prefix in PREFIXES.items()
        for name in dir(owner)
        if not name.startswith("_") and hasattr(owner, f"{name}_async")
    }
    calls["deliver_many"] = propeller_proxy.deliver_many
    expected = {(shown(call, name), f"{name.rpartition('.')[2]}_async") for name, call in calls.items()}
    listed = [
        (call, twin)
        for cells, twins, *_ in rows(PYTHON.read_text(), "call", "in asyncio")
        for call in quoted(cells)
        for twin in quoted(twins)
    ]
    assert sorted(listed) == sorted(expected)


def test_every_error_is_listed() -> None:
    """The table of errors has all classes, the built-in exceptions that they are, and their codes."""
    classes: list[type[errors.ProxyError]] = [getattr(errors, name) for name in errors.__all__]
    codes = {leaf: set(text.split()) for leaf, text in errors._CODES.items()}
    codes[errors.ProxyError] = set(_core.ERROR_CODES).difference(*codes.values()) | OF_NO_LEAF
    expected = {
        leaf.__name__: (next(base.__name__ for base in reversed(leaf.__bases__)), codes[leaf]) for leaf in classes
    }
    listed = {
        quoted(leaf)[0]: (quoted(base)[0], set(quoted(codes)))
        for leaf, base, codes in rows(PYTHON.read_text(), "class", "is also", "codes")
    }
    assert listed == expected


def test_every_code_of_the_core_is_explained() -> None:
    """docs/errors.md has each of them, once."""
    listed = [quoted(code)[0] for code, *_ in rows((ROOT / "docs" / "errors.md").read_text(), "code", "side")]
    assert sorted(listed) == sorted(_core.ERROR_CODES)


def test_the_bounds_are_those_of_the_code() -> None:
    """docs/reference/bounds.md is what scripts/bounds.py makes of the sources."""
    checked = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bounds.py", "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    """Files and headings that a page links to are there."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (heading and heading not in slugs(target)):
            broken.append(link)
    assert broken == []
