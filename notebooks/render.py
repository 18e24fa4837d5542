"""Execute the notebooks in clean kernels and write them, with their outputs, to build/notebooks.

The documentation shows them from there: scripts/site.py converts them by `markdown` when the site is built. `--strip`
instead removes from the notebooks what does not belong into git.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import MarkdownExporter
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).parent
EXECUTED = FOLDER.parent / "build" / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TIMEOUT = 120
"""Longest run of a cell, seconds."""

# The code of plots is folded, so that the text and the plots can be read in one go.
TEMPLATE = """
{%- extends 'markdown/index.md.j2' -%}
{%- block input -%}
{%- if cell.metadata.folded %}
<details><summary>Code</summary>
{% endif %}
{{ super() }}
{%- if cell.metadata.folded %}
</details>
{% endif %}
{%- endblock input -%}
"""


def strip(path: Path) -> None:
    """Remove outputs, counts, and what editors note."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


def execute(path: Path) -> NotebookNode:
    """Run a notebook in a kernel of its own and return it with outputs; raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        # Unix sockets: a kernel behind a TCP port could be spoken to by anybody on the machine.
        kernel = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
        resources = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, timeout=TIMEOUT, resources=resources, config=kernel).execute()
    return notebook


def plots(cell: NotebookNode) -> int:
    """Return how many plots a cell has shown."""
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def headings(source: str) -> list[str]:
    """Return the headings in some Markdown."""
    return [line.lstrip("# ") for line in source.splitlines() if line.startswith("#")]


def heading(notebook: NotebookNode, index: int) -> str:
    """Return the last heading before a cell."""
    before = (cell for cell in reversed(notebook.cells[:index]) if cell.cell_type == "markdown")
    return next((found[-1] for cell in before if (found := headings(cell.source))), "")


def markdown(notebook: NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Return the text of an executed notebook, and its images by name: that of the notebook and of the cell."""
    for cell in notebook.cells:
        if plots(cell):
            cell.metadata["folded"] = True
    exporter = MarkdownExporter(
        extra_loaders=[DictLoader({"folded.md.j2": TEMPLATE})],
        template_file="folded.md.j2",
        config=Config(
            NbConvertBase={"display_data_priority": ["text/markdown", "image/png", "text/plain"]},
            ExtractOutputPreprocessor={
                "enabled": True,
                "output_filename_template": "{cell_index}-{index}{extension}",
            },
        ),
    )
    text, resources = exporter.from_notebook_node(notebook)
    images = {}
    for old, data in resources["outputs"].items():
        index = int(old.split("-")[0])
        # A cell shows one plot, so the cell's id is enough.
        new = f"{name}-{notebook.cells[index].id}.png"
        assert new not in images
        images[new] = data
        text = text.replace(f"![png]({old})", f"![{heading(notebook, index)}]({new})")
    text = text.replace(".ipynb)", ".md)")
    return re.sub(r"\n[ \n]*\n", "\n\n", text).strip() + "\n", images


def main() -> int:
    """Execute the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as 01_chunking; all if none is given")
    parser.add_argument("--to", type=Path, default=EXECUTED, help="folder to write to")
    parser.add_argument("--strip", action="store_true", help="strip the notebooks, and do not run them")
    arguments = parser.parse_args()
    names = arguments.names or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    if arguments.strip:
        for name in names:
            strip(FOLDER / f"{name}.ipynb")
        return 0
    arguments.to.mkdir(parents=True, exist_ok=True)
    os.environ["PROXY_NO_PROGRESS"] = "1"
    for name in names:
        try:
            notebook = execute(FOLDER / f"{name}.ipynb")
        except CellExecutionError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return 1
        nbformat.write(notebook, arguments.to / f"{name}.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
