"""A hook of mkdocs: pages of the site that do not lie in docs/, and links that leave docs/.

Pages beside the code (CONTRIBUTING.md and others) become pages of the site. Notebooks are converted while the site is
built: with their outputs if `make notebooks` has executed these very cells, else without, and the page says so. The
sources have the links that GitHub understands; here they lead to the page of the site, or to the file on GitHub.
"""

import importlib.util
import json
import posixpath
import re
from pathlib import Path
from types import ModuleType

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
REPOSITORY = "https://github.com/absmach/propeller-proxy"
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "deploy/README.md": "deployment.md",
    "docs": "index.md",
    "notebooks": "notebooks/index.md",
    "notebooks/README.md": "notebooks/index.md",
}
"""What lies where in the repository, and where in the site."""
WITHOUT_OUTPUTS = """\
!!! note "Without outputs"
    This page was built without running the notebook. `make notebooks docs` runs it, and shows its outputs and plots.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    for source, uri in PAGES.items():
        if (path := ROOT / source).is_file() and files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=path.read_text()))
    render = renderer()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        text, images = converted(path, render)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, image in images.items():
            files.append(File.generated(config, f"notebooks/{name}", content=image))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links of the site out of those that leave docs/."""
    uri = page.file.src_uri
    if uri.startswith("notebooks/") and uri not in PAGES.values():
        return markdown
    outside = (source for source, target in PAGES.items() if target == uri and (ROOT / source).is_file())
    source = f"docs/{uri}" if (ROOT / "docs" / uri).is_file() else next(outside)

    def link(match: re.Match[str]) -> str:
        path, number_sign, heading = match[1].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if target.startswith("docs/"):
            inside = target.removeprefix("docs/")
        elif target in PAGES:
            inside = PAGES[target]
        elif target.startswith("notebooks/") and target.endswith(".ipynb"):
            inside = target.removesuffix(".ipynb") + ".md"
        else:
            kind = "tree" if (ROOT / target).is_dir() else "blob"
            return f"]({REPOSITORY}/{kind}/main/{target}{number_sign}{heading})"
        return f"]({posixpath.relpath(inside, posixpath.dirname(uri) or '.')}{number_sign}{heading})"

    fences = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else re.sub(r"\]\(([^)\s]+)\)", link, part) for part in fences)


def converted(path: Path, render: ModuleType) -> tuple[str, dict[str, bytes]]:
    """Return the page of a notebook, and its images by name."""
    executed = render.EXECUTED / path.name
    has_outputs = executed.is_file() and sources(executed) == sources(path)
    notebook = nbformat.read(executed if has_outputs else path, as_version=4)
    text, images = render.markdown(notebook, path.stem)
    if not has_outputs:
        heading, _, rest = text.partition("\n")
        text = f"{heading}\n\n{WITHOUT_OUTPUTS}{rest}"
    return text, images


def sources(path: Path) -> list[tuple[str, str]]:
    """Return what the cells of a notebook are, without their outputs."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text())["cells"]]


def renderer() -> ModuleType:
    """Return notebooks/render.py, which is a program and in no package."""
    spec = importlib.util.spec_from_file_location("render", NOTEBOOKS / "render.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
