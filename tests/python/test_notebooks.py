"""The notebooks run in a clean kernel without a network, and the site has a copy of each."""

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
PLOTS = {"01_chunking": 5, "02_deliver": 2, "03_tuning": 4}
"""How many plots each notebook shows."""
DEADLINE = 300.0
"""Longest run of a notebook on a slow machine, seconds."""
LARGEST_IMAGE = 300_000
"""Largest image of a copy, bytes."""
LARGEST_COPY = 1_500_000
"""Largest copy of a notebook with its images, bytes."""

# The weaker guard: Python code can reach loopback addresses only.
GUARD = """
import ipaddress
import socket

_connect = socket.socket.connect


def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = "127.0.0.1" if address[0] == "localhost" else address[0]
        if not ipaddress.ip_address(host).is_loopback:
            raise PermissionError(f"{host} is not a loopback address")
    return _connect(self, address)


socket.socket.connect = connect
"""
PROBE = """
import socket

with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname(), timeout=5).close()
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except TimeoutError:
    raise SystemExit("there may be a way out")
except OSError as error:
    print(error)
else:
    raise SystemExit("there is a way out")
"""


@dataclass
class Offline:
    """How to run a program so that it reaches this machine only."""

    prefix: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str | Path, timeout: float = DEADLINE, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a program with `more` in its environment."""
        return subprocess.run(
            [*self.prefix, *command],
            env={**os.environ, **self.environment, **more},
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """Return a way to run programs without a network.

    Where user namespaces are permitted, that is a network namespace with a loopback device only. Else sockets of Python
    are patched, and HTTP clients that honour proxy variables are sent to a port where nobody listens.
    """
    own_network = Offline(
        ["unshare", "--user", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"],
        {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )
    if shutil.which("unshare") and own_network.run("true").returncode == 0:
        return own_network
    folder = tmp_path_factory.mktemp("guard")
    (folder / "sitecustomize.py").write_text(GUARD)
    nowhere = "http://127.0.0.1:9"
    return Offline(
        environment={
            "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), nowhere),
            "NO_PROXY": "127.0.0.1,localhost",
        }
    )


@pytest.fixture(scope="session")
def modules() -> None:
    """Fetch the modules that the notebooks compare."""
    subprocess.run([sys.executable, FOLDER / "fetch_modules.py"], check=True)


def read(path: Path) -> Any:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def rendered(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Return the copy of an executed notebook for the site, and its images by name."""
    spec = importlib.util.spec_from_file_location("render", FOLDER / "render.py")
    assert spec
    assert spec.loader
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    text, images = render.markdown(notebook, name)
    return text, images


def headings(notebook: Any) -> list[str]:
    """Return the headings of a notebook, with their number signs."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"^#+ .*$", text, re.MULTILINE)


def test_all_notebooks_are_tested() -> None:
    """No notebook was forgotten here."""
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(PLOTS)


def test_nothing_but_loopback_is_reached(offline: Offline) -> None:
    """What keeps the notebooks from the network does."""
    probe = offline.run(sys.executable, "-c", PROBE)
    assert probe.returncode == 0, probe.stderr


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("name", PLOTS)
def test_it_runs(name: str, offline: Offline, tmp_path: Path) -> None:
    """No cell raises, each plot is there, with a sentence below it, and the copy for the site has all of it."""
    run = offline.run(
        *(sys.executable, FOLDER / "render.py", name, "--to", tmp_path),
        PROXY_CACHE_DIR=str(tmp_path / "cache"),
        PROXY_STATE_DIR=str(tmp_path / "state"),
        PROXY_NO_PROGRESS="1",
        IPYTHONDIR=str(tmp_path / "ipython"),
    )
    assert run.returncode == 0, run.stderr
    notebook = read(tmp_path / f"{name}.ipynb")
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert not [output for cell in outputs for output in cell if output.output_type == "error"]

    plots = 0
    for cell in outputs:
        for output, below in itertools.pairwise([*cell, {}]):
            if "image/png" in output.get("data", {}):
                plots += 1
                assert below["data"]["text/markdown"].endswith(".")
    assert plots == PLOTS[name]

    text, images = rendered(notebook, name)
    assert [line for line in headings(read(FOLDER / f"{name}.ipynb")) if line not in text.splitlines()] == []
    assert sorted(re.findall(r"!\[.+\]\((.+\.png)\)", text)) == sorted(images)
    assert len(images) == plots
    assert {image: len(data) for image, data in images.items() if len(data) > LARGEST_IMAGE} == {}
    assert len(text.encode()) + sum(map(len, images.values())) <= LARGEST_COPY


@pytest.mark.parametrize("name", PLOTS)
def test_it_is_stripped(name: str) -> None:
    """In git there are no outputs, no counts, and nothing that another editor would write otherwise."""
    path = FOLDER / f"{name}.ipynb"
    notebook = read(path)
    for cell in notebook.cells:
        assert re.fullmatch("[a-z-]+", cell.id), "an id that a person gave stays the same"
        assert not cell.metadata
        assert cell.cell_type == "markdown" or (cell.outputs, cell.execution_count) == ([], None)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert nbformat.writes(notebook) + "\n" == path.read_text()  # type: ignore[no-untyped-call]
