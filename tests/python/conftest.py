"""What the tests share: real servers and the repository's own programs."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from calls import FORMS, Call
from parts import Parts
from propeller_proxy import Proxy, Registry, embedded
from servers import Server, docker_registry, mosquitto

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings in the environment of the test run."""
    for name in os.environ:
        if name.startswith(("PROXY_", "PROPLET_")):
            monkeypatch.delenv(name)


@pytest.fixture
def broker_users() -> Mapping[str, str]:
    """Return the broker's users and passwords; by default there is no authentication."""
    return {}


@pytest.fixture
def registry_users() -> Mapping[str, str]:
    """Return the registry's users and passwords; by default there is no authentication."""
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
    """Build and install the native binary as the README says, and return its folder."""
    folder = tmp_path_factory.mktemp("bin")
    subprocess.run(["make", "all"], cwd=ROOT, check=True)
    subprocess.run(["make", "install", f"BINDIR={folder}"], cwd=ROOT, check=True)
    return folder


@pytest.fixture(params=FORMS)
def call(request: pytest.FixtureRequest) -> Call:
    """Make calls, blocking or in an event loop."""
    return FORMS[request.param]


@pytest.fixture
def embedded_broker() -> Iterator[embedded.Broker]:
    """Run a broker inside this process."""
    with embedded.Broker() as broker:
        yield broker


@pytest.fixture
def embedded_registry() -> Iterator[embedded.Registry]:
    """Run a registry inside this process."""
    with embedded.Registry() as registry:
        yield registry


@pytest.fixture
def embedded_parts(tmp_path: Path, embedded_broker: embedded.Broker, embedded_registry: embedded.Registry) -> Parts:
    """Return an embedded broker and an embedded registry."""

    def push(name: str, tag: str, wasm: bytes) -> str:
        return embedded_registry.push(name, wasm, tag=tag).reference

    return Parts(embedded_broker.url, embedded_registry.url, tmp_path, push)


@pytest.fixture
def real_parts(tmp_path: Path, broker: Server, registry: Server) -> Parts:
    """Return a mosquitto and a docker-registry."""
    host = f"127.0.0.1:{registry.port}"
    client = Registry(host, cache_dir=tmp_path / "pushing")

    def push(name: str, tag: str, wasm: bytes) -> str:
        return client.push(f"{host}/{name}:{tag}", wasm).reference

    return Parts(f"tcp://127.0.0.1:{broker.port}", host, tmp_path, push)


@pytest.fixture(params=["embedded", "real"])
def parts(request: pytest.FixtureRequest) -> Parts:
    """Return a broker and a registry of either kind."""
    parts: Parts = request.getfixturevalue(f"{request.param}_parts")
    return parts


@pytest.fixture
def proxy(embedded_parts: Parts) -> Iterator[Proxy]:
    """Run a proxy between embedded parts."""
    with embedded_parts.proxy() as running:
        yield running


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return an empty project without the settings of this test run."""
    for name in list(os.environ):
        if name.startswith(("PROXY_", "PROPLET_", "PYTEST_DISABLE")):
            monkeypatch.delenv(name)
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config\nfilterwarnings = error\n")
    return pytester
