"""What the pytest plugin says of wrong settings and of failures, in projects of its own."""

import pytest
from projects import run

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("chunksize=10", "there is no setting 'chunksize'; did you mean 'chunk_size'?"),
        ("10", "settings have names, such as chunk_size=1000"),
        ("qos=1, mqtt_qos=1", "qos and mqtt_qos are the same; give one of them"),
    ],
)
def test_wrong_markers_are_errors(project: pytest.Pytester, marker: str, message: str) -> None:
    """The test fails before a server starts, even if it uses no fixture."""
    project.makepyfile(
        f"""
        import pytest

        @pytest.mark.propeller({marker})
        def test_proxy(propeller_proxy):
            pass

        @pytest.mark.propeller({marker})
        def test_nothing():
            pass
        """
    )
    result = run(project)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([f"*@pytest.mark.propeller: {message}"] * 2)
    result.stdout.no_fnmatch_line("*Traceback*")


def test_wrong_values_are_errors(project: pytest.Pytester) -> None:
    """They are those of the proxy."""
    project.makepyfile(
        """
        import pytest

        @pytest.mark.propeller(chunk_size=0)
        def test_proxy(propeller_proxy):
            pass
        """
    )
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConfigurationError*", "*PROXY_CHUNK_SIZE is *"])


def test_failures_show_log_and_events(project: pytest.Pytester) -> None:
    """In the call, the setup and the teardown; other reports have neither."""
    project.makepyfile(
        """
        import pytest
        from propeller_proxy import embedded

        @pytest.fixture
        def reference(propeller_registry, propeller_proxy, proplet):
            propeller_registry.push("add", embedded.ADD)
            return propeller_registry.reference("add")

        @pytest.fixture
        def broken_setup(propeller_proxy, reference):
            propeller_proxy.deliver(reference)
            assert False, "setup"

        @pytest.fixture
        def broken_teardown(propeller_proxy, reference):
            yield
            propeller_proxy.deliver(reference)
            assert False, "teardown"

        def test_passes(propeller_proxy, reference):
            propeller_proxy.deliver(reference)

        @pytest.mark.xfail
        def test_expected(propeller_proxy, reference):
            propeller_proxy.deliver(reference)
            assert False

        @pytest.mark.propeller(chunk_size=30)
        def test_call(propeller_proxy, reference):
            propeller_proxy.deliver(reference)
            assert False, "call"

        def test_setup(broken_setup):
            pass

        def test_teardown(broken_teardown):
            pass

        def test_restart(propeller_proxy, reference):
            propeller_proxy.stop()
            propeller_proxy.start()
            propeller_proxy.deliver(reference)
            assert False, "restart"

        def test_unrelated():
            assert False, "unrelated"
        """
    )
    result = run(project)
    result.assert_outcomes(passed=2, failed=3, errors=2, xfailed=1)
    for name in ("test_call", "test_setup", "test_teardown", "test_restart"):
        report = section(result, name)
        log, events = report.index("propeller_proxy log"), report.index("propeller_proxy events")
        assert any("DEBUG" in line or "INFO" in line for line in report[log:events]), report
        shown = [line.split() for line in report[events:] if "/add:latest" in line]
        kinds = [kind for _, kind, *_ in shown]
        assert [kind for kind in kinds if kind == "sent"] == ["sent"], kinds
        assert kinds.index("requested") < kinds.index("verified") < kinds.index("acknowledged") < kinds.index("sent")
        assert shown[0][0] == "0.000"
        assert float(shown[-1][0]) >= 0
    assert [line.split()[3] for line in section(result, "test_call") if " acknowledged " in line] == [
        "index=0",
        "index=1",
    ]
    assert not {"propeller_proxy log", "propeller_proxy events"} & set(section(result, "test_unrelated"))


def section(result: pytest.RunResult, name: str) -> list[str]:
    """Return the lines of one test's report; titles are without their dashes."""
    lines = result.stdout.lines
    begin = next(i for i, line in enumerate(lines) if line.startswith("___") and line.strip("_ ").endswith(name))
    end = next(i for i, line in enumerate(lines[begin + 1 :], begin + 1) if line.startswith(("___", "===")))
    return [line.strip("- ") if line.startswith("---") else line.strip() for line in lines[begin:end]]


def test_logging_does_not_change(project: pytest.Pytester) -> None:
    """Other handlers get the same records as without the plugin; levels and handlers are restored."""
    project.makepyfile(
        """
        import logging

        import pytest
        from propeller_proxy import _core, embedded

        logger = logging.getLogger("propeller_proxy")

        class Recording(logging.Handler):
            def __init__(self):
                super().__init__()
                self.levels = set()

            def emit(self, record):
                self.levels.add(record.levelno)

        recording = Recording()

        def state():
            # The package adds a NullHandler, as libraries should.
            handlers = [handler for handler in logger.handlers if not isinstance(handler, logging.NullHandler)]
            return logger.level, handlers, logger.propagate, logger.parent, logger.filters

        AS_BEFORE = (logging.NOTSET, [recording], True, logging.getLogger(), [])

        @pytest.fixture(scope="module", autouse=True)
        def users_configuration():
            logger.addHandler(recording)

        @pytest.fixture
        def deliver(propeller_registry, propeller_proxy):
            def deliver():
                propeller_registry.push("add", embedded.ADD)
                propeller_proxy.deliver(propeller_registry.reference("add"))
                _core.flush_logs()
            return deliver

        def test_first():
            assert state() == AS_BEFORE

        def test_levels_without_configuration(caplog, deliver):
            deliver()
            assert logger.isEnabledFor(logging.DEBUG)
            logging.getLogger("propeller_proxy.test").debug("fine")
            logging.getLogger("propeller_proxy.test").warning("bad")
            assert [r.getMessage() for r in caplog.records if r.name == "propeller_proxy.test"] == ["bad"]
            assert {r.levelno for r in caplog.records} <= {logging.WARNING}
            assert logging.DEBUG not in recording.levels

        @pytest.mark.parametrize("name", ["propeller_proxy", "propeller_proxy.service", None])
        def test_levels_of_the_test(caplog, deliver, name):
            caplog.set_level(logging.DEBUG, logger=name)
            deliver()
            assert any(r.name.startswith("propeller_proxy") for r in caplog.records)
            assert {r.levelno for r in caplog.records} & {logging.DEBUG, logging.INFO}

        def test_last():
            assert state() == AS_BEFORE
        """
    )
    run(project).assert_outcomes(passed=6)
