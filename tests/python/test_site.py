"""The documentation as a site: it builds strictly and without a network, and the commands of its pages run."""

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pages
import propeller_proxy
import pytest
from propeller_proxy import _core

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDES = sorted(DOCS.glob("guides/*.md"))
# Whoever follows these types what they show.
TYPED = [ROOT / "README.md", DOCS / "index.md", *GUIDES]
METRIC = r"\bpropeller_proxy_\w+"
COMPARING = [ROOT / "README.md", DOCS / "index.md"]
NO_SETTINGS = {"PROXY_NO_PROGRESS", "PROXY_WORKLOAD_KEY"}
"""Variables that are named and are no setting: one that the Python package reads, and one of the original's."""
DEADLINE = 300.0


def names(paths: list[Path]) -> list[str]:
    """Return paths as tests are called after them."""
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.fixture(scope="module")
def offline() -> None:
    """Skip what needs a network of its own, where that cannot be had; but not on GitHub, where it must be."""
    if not pages.can_be_run():
        why = "network namespaces are not permitted here, and the ports of the page may be in use"
        if os.environ.get("GITHUB_ACTIONS"):
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, without a network where that can be had."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    if pages.can_be_run():
        build = pages.command(*build)
    environment = {**pages.environment(), "NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 0, ended.stderr
    return folder


def fetched(page: str) -> Iterator[str]:
    """Return the addresses from which a browser fetches parts of a page."""
    for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page):
        if not re.search(r'rel="(?:canonical|next|prev)"', tag):
            yield from re.findall(r'\b(?:src|href)="([^"]+)"', tag)


def test_it_fetches_nothing_from_elsewhere(site: Path) -> None:
    """Styles, scripts, fonts and images are the site's own."""
    built = list(site.rglob("*.html"))
    assert len(built) > 20
    elsewhere = {
        (str(page.relative_to(site)), address)
        for page in built
        for address in fetched(page.read_text())
        if re.match(r"(?:[a-z]+:)?//", address)
    }
    assert elsewhere == set()


def test_diagrams_are_text(site: Path) -> None:
    """Each is drawn by the reader's browser, and can be read where it is not."""
    for page in (DOCS / "architecture.md", DOCS / "concepts" / "delivery.md"):
        diagrams = [fence for fence in pages.fences(page.read_text()) if fence.language == "mermaid"]
        assert diagrams
        built = (site / page.relative_to(DOCS)).with_suffix(".html").read_text()
        assert built.count('<pre class="mermaid">') == len(diagrams)


def test_pages_from_outside_the_docs_are_there(site: Path) -> None:
    """Every notebook and the pages beside the code; and their links lead to pages of the site, or to GitHub."""
    names = [f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert len(names) == 3
    for name in [*names, "notebooks/index.html", "contributing.html", "changelog.html", "deployment.html"]:
        built = (site / name).read_text()
        assert "<h1" in built
        links = set(re.findall(r'href="([^"#?]+)', built))
        local = {link for link in links if not re.match(r"(?:[a-z]+:)?//|[a-z]+:", link)}
        assert {link for link in local if not (site / name).parent.joinpath(link).exists()} == set()


def test_the_python_reference_has_every_name(site: Path) -> None:
    """Whatever the package exports has an entry, and each says what it is."""
    page = (site / "reference" / "python.html").read_text()
    entries = set(re.findall(r'id="(propeller_proxy\.[\w.]+)"', page))
    exported = {f"propeller_proxy.{name}" for name in propeller_proxy.__all__ if not name.startswith("_")}
    assert exported - entries == set()
    calls = {"propeller_proxy.Proxy.deliver", "propeller_proxy.Registry.fetch", "propeller_proxy.embedded.noise"}
    assert calls - entries == set()
    assert "Send a module to a channel" in html.unescape(page)


def test_every_code_has_its_place_in_troubleshooting() -> None:
    """The guide has a section for each code that docs/errors.md explains."""
    text = (DOCS / "guides" / "troubleshooting.md").read_text()
    assert sorted(re.findall(r"^### `([a-z-]+)`$", text, re.MULTILINE)) == sorted(_core.ERROR_CODES)


def test_every_setting_that_is_named_exists() -> None:
    """No page names a variable that the reference of settings does not know."""
    known = (
        set(re.findall(r"\b(?:PROXY|PROPLET)_[A-Z_]+[A-Z]\b", (DOCS / "configuration.md").read_text())) | NO_SETTINGS
    )
    unknown = {
        (str(page.relative_to(ROOT)), name)
        for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
        for name in re.findall(r"\b(?:PROXY|PROPLET)_[A-Z_]+[A-Z]\b", page.read_text())
        if name not in known and name.removesuffix("_FILE") not in known
    }
    assert unknown == set()


def test_every_metric_that_is_named_exists() -> None:
    """The guides name no metric that its reference does not know."""
    named = {name for page in GUIDES for name in re.findall(METRIC, page.read_text())}
    assert named
    assert named - set(re.findall(METRIC, (DOCS / "metrics.md").read_text())) == set()


@pytest.mark.parametrize("page", COMPARING, ids=names(COMPARING))
def test_its_figures_were_measured(page: Path) -> None:
    """What it says of speed, processor time and memory is in docs/performance.md."""
    rows = re.findall(r"^\| (?:a module of 100 MB|processor time|peak memory) .*$", page.read_text(), re.MULTILINE)
    assert len(rows) == 3
    figures = {figure for row in rows for figure in re.findall(r"\d+(?:\.\d+)?", row)}
    assert figures - set(re.findall(r"\d+(?:\.\d+)?", (DOCS / "performance.md").read_text())) == set()


@pytest.mark.parametrize("page", TYPED, ids=names(TYPED))
def test_every_command_is_run_or_says_why_not(page: Path) -> None:
    """A block of commands has a mark above it."""
    unmarked = [
        fence.line
        for fence in pages.fences(page.read_text())
        if fence.language == "sh" and not re.fullmatch(r"run(: .+)?|not run: .+", fence.comment)
    ]
    assert unmarked == []


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("page", TYPED, ids=names(TYPED))
def test_its_commands_run(page: Path, native: Path, tmp_path: Path) -> None:
    """All marked blocks of a page, in order, in one shell; and they print what the page shows."""
    blocks = pages.blocks(page.read_text())
    if not blocks:
        pytest.skip("nothing on this page is to be run")
    printed = pages.run(blocks, tmp_path, native)
    assert sorted(printed) == [block.line for block in blocks]
    for block in blocks:
        absent = pages.missing(block.shown, printed[block.line])
        assert absent == [], f"what the block at line {block.line} printed:\n{printed[block.line]}"
