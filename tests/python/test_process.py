"""The package in a process: import, fork, log and exit."""

import logging
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import propeller_proxy
import pytest
from calls import Call, running
from parts import Parts
from propeller_proxy import DeniedError, NotFoundError, UnreachableError, _core, embedded
from servers import Server

TESTS = Path(__file__).parent
LIMIT = 60.0
"""Longest life of a program, seconds."""


def python(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, without the warning that it forks with threads."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """`import propeller_proxy` is fast."""
    code = "import sys; before = set(sys.modules); import propeller_proxy; print(*sorted(set(sys.modules) - before))"
    imported = set(python("-c", code).stdout.split())
    assert "propeller_proxy._core" in imported
    assert imported.isdisjoint({"asyncio", "logging", "pandas", "tqdm", "html", "difflib", "subprocess", "pytest"})
    assert "propeller_proxy.pytest_plugin" not in imported


def test_everything_public_is_exported() -> None:
    """And nothing else; each has a docstring."""
    public = {
        name
        for name, value in vars(propeller_proxy).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public | {"__version__"} == set(propeller_proxy.__all__)
    assert sorted(propeller_proxy.__all__) == propeller_proxy.__all__
    assert [name for name in public if not getattr(propeller_proxy, name).__doc__] == []


def test_objects_of_the_parent_are_closed_in_forked_processes(tmp_path: Path) -> None:
    """The parent goes on as before; the child may use the package only if the parent had not."""
    ended = python(TESTS / "forked.py", tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("how", ["idle", "waiting"])
def test_a_process_may_end_with_everything_open(tmp_path: Path, how: str) -> None:
    """It prints nothing, and does not wait for calls that do not end."""
    begin = time.monotonic()
    ended = python(TESTS / "leaving.py", tmp_path, how)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert time.monotonic() - begin < 20


def test_an_exception_ends_a_process_with_everything_open(tmp_path: Path) -> None:
    """Python prints it as ever."""
    ended = python(TESTS / "leaving.py", tmp_path, "exception")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Traceback")
    assert ended.stderr.endswith("KeyError: 'the reason'\n")


def test_the_log_is_that_of_python(embedded_parts: Parts, call: Call, caplog: pytest.LogCaptureFixture) -> None:
    """Below one logger, whose level may change at any time."""
    reference = embedded_parts.push()
    logger = logging.getLogger("propeller_proxy")
    with caplog.at_level(logging.DEBUG, logger.name), running(call, proxy := embedded_parts.proxy()):
        call(proxy.deliver, reference)
        with pytest.raises(NotFoundError):
            call(proxy.deliver, "absent")
        _core.flush_logs()
        records = caplog.records
        assert {record.name.partition(".")[0] for record in records} == {logger.name}
        assert {record.levelname for record in records} >= {"INFO", "ERROR"}
        messages = [record.getMessage() for record in records if reference in record.getMessage()]
        assert any("delivered" in message for message in messages)
        [failure] = [record.getMessage() for record in records if record.levelno == logging.ERROR]
        assert "unknown-image" in failure
        logger.setLevel(logging.WARNING)
        caplog.clear()
        call(proxy.deliver, reference)
        _core.flush_logs()
        assert caplog.records == []


def test_the_log_has_no_secrets(
    tmp_path: Path, embedded_parts: Parts, registry: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """At any level; whether the broker accepts the key or not."""
    key, password = "key-of-the-broker", "password-of-the-registry"
    with caplog.at_level(logging.DEBUG), embedded.Broker(users={"proxy": key}) as broker:
        for client_key in (key, f"{key}-wrong"):
            proxy = embedded_parts.proxy(
                mqtt_address=broker.url,
                client_id="proxy",
                client_key=client_key,
                registry_url=f"127.0.0.1:{registry.port}",
                authenticate=True,
                registry_username="user",
                registry_password=password,
            )
            if client_key == key:
                with proxy, pytest.raises((DeniedError, NotFoundError)):
                    proxy.deliver("add")
            else:
                with pytest.raises(UnreachableError):
                    proxy.start()
        _core.flush_logs()
    text = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "propeller_proxy" in text
    for secret in (key, password):
        assert secret not in text


@pytest.mark.parametrize("registry_users", [{"user": "password-of-the-registry"}])
def test_refused_passwords_are_not_logged(
    embedded_parts: Parts, registry: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the registry's answer only."""
    with (
        caplog.at_level(logging.DEBUG),
        embedded_parts.proxy(
            registry_url=f"127.0.0.1:{registry.port}",
            authenticate=True,
            registry_username="user",
            registry_password="wrong-password",
        ) as proxy,
    ):
        with pytest.raises(DeniedError):
            proxy.deliver("add")
        _core.flush_logs()
    assert "unauthorized" in caplog.text
    assert "wrong-password" not in caplog.text
