"""The package and its console command, which is the same program as the native binary."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from signal import SIGINT
from typing import NamedTuple

import propeller_proxy
import pytest
from servers import DEADLINE, Process, Server

CONSOLE = Path(sys.executable).with_name("propeller-proxy")
"""The console command, next to the interpreter."""


class Outcome(NamedTuple):
    """The exit status and output of a program."""

    status: int
    stdout: str
    stderr: str


def run(*command: str | Path) -> Outcome:
    """Run a program to its end in an empty environment."""
    ended = subprocess.run(command, env={}, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return Outcome(ended.returncode, ended.stdout, ended.stderr)


def test_the_extension_has_the_version_of_the_package() -> None:
    """As pip installed it."""
    assert propeller_proxy.__version__ == version("propeller-proxy")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(["--version"], 0, id="version"),
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["demo", "--help"], 0, id="help-for-demo"),
        pytest.param(["--unknown"], 2, id="unknown-flag"),
        pytest.param([], 78, id="no-configuration"),
    ],
)
def test_the_console_command_is_the_same_program(native: Path, arguments: list[str], status: int) -> None:
    """Its output and exit status are those of the native binary."""
    outcome = run(CONSOLE, *arguments)
    assert outcome == run(native, *arguments)
    assert outcome.status == status


def test_the_package_runs_as_a_module() -> None:
    """`python -m` works where scripts are not on the path."""
    outcome = run(sys.executable, "-m", "propeller_proxy", "--version")
    assert outcome == (0, f"propeller-proxy {propeller_proxy.__version__}\n", "")
    assert "Usage: propeller-proxy" in run(sys.executable, "-m", "propeller_proxy", "--help").stdout


def test_the_demo_verifies_what_it_delivers() -> None:
    """Its table has two modules."""
    outcome = run(CONSOLE, "demo")
    assert outcome.status == 0, outcome.stderr
    _header, _rule, *rows = outcome.stdout.splitlines()
    assert len(rows) == 2
    assert all(row.endswith("| verified |") for row in rows), outcome.stdout


def test_ctrl_c_ends_the_service(tmp_path: Path, broker: Server, registry: Server) -> None:
    """The interpreter's own handler of SIGINT does not interfere."""
    env = {
        "PROXY_MQTT_ADDRESS": f"tcp://127.0.0.1:{broker.port}",
        "PROXY_REGISTRY_URL": f"127.0.0.1:{registry.port}",
        "PROXY_DOMAIN_ID": "domain",
        "PROXY_CHANNEL_ID": "channel",
        "PROXY_CACHE_DIR": str(tmp_path / "store"),
        "PROXY_STATE_DIR": str(tmp_path / "state"),
    }
    with Process(CONSOLE, log=tmp_path / "proxy.log", env=env) as service:
        service.wait_for('"event":"subscribed"')
        assert service.end(SIGINT) == 0, service.log


def test_ctrl_c_ends_the_demo_that_is_kept(tmp_path: Path) -> None:
    """A demo that keeps running says how to stop it."""
    with Process(CONSOLE, "demo", "--keep", log=tmp_path / "demo.log", env={}) as demo:
        demo.wait_for("press Ctrl-C to stop")
        assert demo.end(SIGINT) == 0, demo.log
