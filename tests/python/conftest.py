"""What the tests share: real servers and the repository's own programs."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from servers import Server, docker_registry, mosquitto

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker_users() -> Mapping[str, str]:
    """Who may use the broker: anyone, where a test module does not say otherwise."""
    return {}


@pytest.fixture
def registry_users() -> Mapping[str, str]:
    """Who may use the registry: anyone, where a test module does not say otherwise."""
    return {}


@pytest.fixture
def broker(tmp_path: Path, broker_users: Mapping[str, str]) -> Iterator[Server]:
    """Run a mosquitto."""
    with mosquitto(tmp_path, broker_users) as server:
        yield server


@pytest.fixture
def registry(tmp_path: Path, registry_users: Mapping[str, str]) -> Iterator[Server]:
    """Run a docker-registry."""
    with docker_registry(tmp_path, registry_users) as server:
        yield server


@pytest.fixture(scope="session")
def native() -> Path:
    """Return the native binary."""
    binary = ROOT / "build" / "propeller-proxy"
    assert binary.exists(), f"{binary} is missing; run make all"
    return binary


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and install the native binary as the README says, and return the folder it is in."""
    folder = tmp_path_factory.mktemp("bin")
    subprocess.run(["make", "all"], cwd=ROOT, check=True)
    subprocess.run(["make", "install", f"BINDIR={folder}"], cwd=ROOT, check=True)
    return folder
