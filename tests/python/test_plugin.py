"""The pytest plugin in projects: each test runs pytest on a small project in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from projects import run
from servers import docker_registry, mosquitto

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "pytest-project"

DELIVERY = """
    from propeller_proxy import embedded

    def test_delivery(propeller_registry, propeller_proxy, proplet):
        propeller_registry.push("add", embedded.ADD, tag="1.0")
        module = proplet.request(propeller_registry.reference("add", "1.0"))
        assert bytes(module) == embedded.ADD
        assert module.verified
"""


@pytest.mark.parametrize(
    ("path", "args", "kind"),
    [
        pytest.param(None, [], "mosquitto", id="mosquitto"),
        pytest.param("", [], "embedded", id="without-mosquitto"),
        pytest.param(None, ["--propeller-broker", "embedded"], "embedded", id="embedded"),
    ],
)
def test_fixtures_start_the_installed_broker(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, path: str | None, args: list[str], kind: str
) -> None:
    """All fixtures work with mosquitto and without."""
    if path is not None:
        monkeypatch.setenv("PATH", path)
    project.makepyfile(
        test_delivery=DELIVERY,
        test_more=f"""
        import socket

        import pytest
        from propeller_proxy import ClosedError, embedded

        seen = []

        def test_broker(propeller_broker):
            broker = propeller_broker
            assert broker.kind == {kind!r}
            assert broker.url == f"tcp://{{broker.host}}:{{broker.port}}"
            url = broker.url
            broker.restart()
            assert broker.url == url
            broker.stop()
            broker.stop()
            with pytest.raises(OSError):
                socket.create_connection((broker.host, broker.port))

        def test_stopped_broker_is_started_again(propeller_broker, propeller_proxy):
            assert propeller_proxy.stats().is_ready

        @pytest.mark.parametrize("number", [1, 2])
        def test_each_test_is_alone(propeller_proxy, number, tmp_path):
            settings = propeller_proxy.settings
            names = ["domain_id", "channel_id", "cache_dir", "state_dir"]
            assert settings["cache_dir"].startswith(str(tmp_path))
            assert settings["state_dir"].startswith(str(tmp_path))
            seen.append((propeller_proxy, {{settings[name] for name in names}}))

        def test_they_were_alone_and_are_stopped():
            (first, of_first), (second, of_second) = seen
            assert len(of_first | of_second) == 8
            with pytest.raises(ClosedError):
                first.stats()

        def test_factories(
            propeller_broker, propeller_broker_factory, propeller_registry_factory, propeller_proxy_factory,
            proplet_factory,
        ):
            broker, registry = propeller_broker_factory(), propeller_registry_factory()
            assert broker.kind == {kind!r}
            assert broker.port != propeller_broker.port
            assert propeller_broker_factory("embedded").kind == "embedded"
            proxy = propeller_proxy_factory(mqtt_address=broker.url, registry_url=registry.url, channel_id="c")
            other = propeller_proxy_factory()
            assert proxy.settings["channel_id"] == "c"
            assert proxy.settings["domain_id"] != other.settings["domain_id"]
            pushed = registry.push("add", embedded.ADD)
            devices = [proplet_factory(proxy, strict=True), proplet_factory(proxy, layout="messages")]
            for device in devices:
                assert bytes(device.request(registry.reference("add"))) == embedded.ADD
            assert any(f"/blobs/{{pushed.layer}}" in request for request in registry.requests)

        def test_without_naming_the_proxy(propeller_registry, proplet_factory):
            propeller_registry.push("add", embedded.ADD)
            assert len(proplet_factory().request(propeller_registry.reference("add"))) == 41
        """,
    )
    run(project, *args).assert_outcomes(passed=8)


def test_marker_settings_apply(project: pytest.Pytester) -> None:
    """The function's override the class's, and those of a call override both."""
    project.makepyfile(
        """
        import pytest
        from propeller_proxy import embedded

        @pytest.mark.propeller(chunk_size=30, qos=0)
        class TestMarked:
            @pytest.mark.propeller(chunk_size=10)
            def test_function(self, propeller_registry, propeller_proxy, propeller_proxy_factory):
                assert propeller_proxy.settings["mqtt_qos"] == "0"
                propeller_registry.push("add", embedded.ADD)
                reference = propeller_registry.reference("add")
                assert propeller_proxy.deliver(reference).total_chunks == 5
                proxy = propeller_proxy_factory(chunk_size=20)
                assert proxy.settings["mqtt_qos"] == "0"
                assert proxy.deliver(reference).total_chunks == 3

            def test_class(self, propeller_registry, propeller_proxy):
                propeller_registry.push("add", embedded.ADD)
                assert propeller_proxy.deliver(propeller_registry.reference("add")).total_chunks == 2

        def test_none(propeller_proxy):
            assert propeller_proxy.settings["mqtt_qos"] == "2"
        """
    )
    run(project).assert_outcomes(passed=3)


def test_faults(project: pytest.Pytester) -> None:
    """The registry fails on demand; the faults end with the test."""
    project.makepyfile(
        """
        import pytest
        from propeller_proxy import BadModuleError, NotFoundError, embedded

        def test_registry_recovers(propeller_registry, propeller_proxy):
            propeller_registry.push("add", embedded.ADD)
            propeller_registry.fail_next(503, times=2)
            assert propeller_proxy.deliver(propeller_registry.reference("add")).ok

        def test_status_that_is_final(propeller_registry, propeller_proxy):
            propeller_registry.push("add", embedded.ADD)
            propeller_registry.fail_next(404, times=1000)
            with pytest.raises(NotFoundError):
                propeller_proxy.deliver(propeller_registry.reference("add"))

        def test_status_that_remains(propeller_registry):
            propeller_registry.fail_next(503, times=1000)

        def test_next(propeller_registry, propeller_proxy):
            assert propeller_proxy.deliver(propeller_registry.reference("add")).ok

        def test_tampered(propeller_registry, propeller_proxy):
            pushed = propeller_registry.push("noise", embedded.noise(1000, seed=7))
            propeller_registry.tamper(pushed.layer)
            with pytest.raises(BadModuleError):
                propeller_proxy.deliver(propeller_registry.reference("noise"))
            assert propeller_proxy.stats().published_chunks == 0
        """
    )
    run(project).assert_outcomes(passed=5)


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_in_parallel(project: pytest.Pytester, broker: str) -> None:
    """Tests in several processes are independent; each process has servers of its own."""
    pytest.importorskip("xdist")
    project.makepyfile(
        """
        import pytest
        from propeller_proxy import embedded

        @pytest.mark.propeller(chunk_size=1000)
        @pytest.mark.parametrize("number", range(12))
        def test_delivery(propeller_broker, propeller_registry, propeller_proxy, proplet, number):
            wasm = embedded.noise(100_000, seed=number)
            propeller_registry.push("noise", wasm)
            reference = propeller_registry.reference("noise")
            assert bytes(proplet.request(reference)) == wasm
            if number % 3 == 0:
                propeller_broker.restart()
                assert bytes(proplet.request(reference)) == wasm
            assert {chunk.app_name for chunk in proplet.chunks} == {reference}

        def test_failure(propeller_proxy):
            assert False
        """
    )
    result = run(project, "-n", "4", "--propeller-broker", broker)
    result.assert_outcomes(passed=12, failed=1)
    result.stdout.fnmatch_lines(["*propeller_proxy log*", "*propeller_proxy events*"])


def test_servers_that_run_already(project: pytest.Pytester, tmp_path: Path) -> None:
    """The options name them; calls that need the plugin's own servers raise."""
    project.makepyfile(
        test_delivery=DELIVERY,
        test_more="""
        import pytest

        def test_broker(propeller_broker):
            assert propeller_broker.kind == "external"
            for call in (propeller_broker.stop, propeller_broker.start, propeller_broker.restart):
                with pytest.raises(RuntimeError, match="--propeller-broker names tcp://"):
                    call()

        def test_registry(propeller_registry):
            assert propeller_registry.kind == "external"
            with pytest.raises(RuntimeError, match="--propeller-registry names"):
                propeller_registry.fail_next(503)
            with pytest.raises(RuntimeError, match="--propeller-registry names"):
                propeller_registry.tamper("sha256:" + 64 * "0")
        """,
    )
    with mosquitto(tmp_path, {}) as broker, docker_registry(tmp_path, {}) as registry:
        servers = [
            f"--propeller-broker=tcp://localhost:{broker.port}",
            f"--propeller-registry=localhost:{registry.port}",
        ]
        run(project, *servers).assert_outcomes(passed=3)
        assert f"localhost:{registry.port}" in servers[1]
        assert "PUBLISH" in broker.process.log
        assert "/v2/add/manifests/1.0" in registry.process.log


def test_wrong_options_are_errors(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first test, or when a fixture uses them."""
    project.makepyfile(test_delivery=DELIVERY)
    result = run(project, "--propeller-broker", "localhost:1883")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --propeller-broker localhost:1883: neither a URL *"])

    result = run(project, "--propeller-broker", "tcp://127.0.0.1:9")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["--propeller-broker tcp://127.0.0.1:9: no connection to 127.0.0.1:9: *"])

    monkeypatch.setenv("PATH", "")
    result = run(project, "--propeller-broker", "mosquitto")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["mosquitto is not in PATH, nor in the sbin beside one of its folders"])


def test_help(project: pytest.Pytester) -> None:
    """Pytest describes the fixtures, the options and the marker."""
    result = run(project, "--fixtures")
    result.stdout.fnmatch_lines_random(
        ["propeller_broker * *", "propeller_registry * *", "propeller_proxy *", "proplet *", "proplet_factory *"]
    )
    result.stdout.no_fnmatch_line("*no docstring available*")
    run(project, "--markers").stdout.fnmatch_lines(["@pytest.mark.propeller(**settings): *"])
    run(project, "--help").stdout.fnmatch_lines(
        ["propeller_proxy:", "*--propeller-broker=*", "*--propeller-registry=*"]
    )


def test_example_project(project: pytest.Pytester) -> None:
    """The project in the documentation passes, and the guide shows its short test of a broker failure."""
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (project.path / file.name).write_bytes(file.read_bytes())
    (project.path / "tox.ini").unlink()
    result = run(project, "-v")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*test_the_broker_dies_in_the_middle PASSED*"])
    script = (EXAMPLE / "test_broker_failure.py").read_text()
    assert len(script.splitlines()) < 30
    assert script.split('"""\n\n', 1)[1] in (DOCS / "testing.md").read_text()


def test_is_harmless_where_it_is_not_used(project: pytest.Pytester) -> None:
    """It is loaded everywhere: it must import nothing heavy and start nothing."""
    project.makepyfile(
        """
        import sys
        import threading

        def test_nothing(request):
            assert request.config.pluginmanager.has_plugin("propeller_proxy")
            assert not {"asyncio", "pandas", "tqdm"} & set(sys.modules)
            assert "propeller_proxy.embedded" not in sys.modules
            assert threading.active_count() == 1
        """
    )
    # Other plugins may import more.
    run(project, "-p", "no:xdist").assert_outcomes(passed=1)


def test_import_is_cheap() -> None:
    """It imports nothing beside the package and pytest."""
    script = """
import sys, pytest, propeller_proxy
before = set(sys.modules)
import propeller_proxy.pytest_plugin
print(*sorted(set(sys.modules) - before))
"""
    imported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in imported if not name.startswith("propeller_proxy.")] == []
    assert {"propeller_proxy.embedded", "propeller_proxy._mosquitto"}.isdisjoint(imported)
