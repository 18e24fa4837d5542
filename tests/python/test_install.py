"""The package as users install it, in an environment without other packages."""

import fcntl
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT
from parts import Parts

OWN_SERVERS = """
from propeller_proxy import Proplet, Proxy, Registry, embedded

pushed = Registry().push("add:1.0", embedded.ADD)
with Proxy(domain_id="home", channel_id="lab") as proxy, Proplet(domain="home", channel="lab") as proplet:
    print(proxy.deliver("add:1.0").ok, proplet.request("add:1.0").verified)
"""


def readme_script() -> str:
    """Return the script of the README."""
    script = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert script, "the README has a script"
    return script[1]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a new environment with this tree, installed by pip."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # Uses the compiled dependencies; without them it takes minutes.
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    environment = {**os.environ, "MATURIN_PEP517_ARGS": "--profile dev", "CARGO_TARGET_DIR": target}
    environment.pop("VIRTUAL_ENV", None)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", str(ROOT)]
    # Other processes of pytest build there as well.
    with (ROOT / "pyproject.toml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(command, env=environment, check=True)
    return folder / "bin" / "python"


def run(python: Path, script: str, folder: Path, **variables: str) -> str:
    """Run a script with only its own folders and these variables as environment, and return its output."""
    own = {"PROXY_CACHE_DIR": str(folder / "cache"), "PROXY_STATE_DIR": str(folder / "state")}
    ended = subprocess.run(
        [python, "-c", script], env={**own, **variables}, cwd=folder, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_the_script_of_the_readme_runs(fresh: Path, tmp_path: Path) -> None:
    """It needs no server."""
    report, module = run(fresh, readme_script(), tmp_path).splitlines()
    assert report.startswith("Report('127.0.0.1:")
    assert module.startswith("Module('127.0.0.1:")


def test_it_delivers_between_real_servers(fresh: Path, tmp_path: Path, real_parts: Parts) -> None:
    """A mosquitto and a docker-registry, named in the environment."""
    printed = run(
        fresh,
        OWN_SERVERS,
        tmp_path,
        PROXY_MQTT_ADDRESS=real_parts.broker_url,
        PROXY_REGISTRY_URL=real_parts.registry_url,
    )
    assert printed == "True True\n"


def test_it_needs_nothing_else(fresh: Path) -> None:
    """Pip installs the package only."""
    listed = subprocess.check_output([fresh, "-m", "pip", "list", "--format", "freeze"], text=True)
    assert {line.partition("==")[0] for line in listed.split()} <= {"pip", "setuptools", "propeller-proxy"}


def test_the_source_distribution_is_complete(tmp_path: Path) -> None:
    """It has all crates and their lock file."""
    subprocess.run(
        [sys.executable, "-m", "maturin", "sdist", "--out", tmp_path], cwd=ROOT, check=True, capture_output=True
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(tmp_path, filter="data")
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for name in ("Cargo.lock", "LICENSE", "README.md", "python/propeller_proxy/py.typed", "src/lib.rs"):
        assert (folder / name).is_file(), name
    manifest = folder / "python" / "Cargo.toml"
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", str(manifest)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
