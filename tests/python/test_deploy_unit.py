"""The systemd unit: it is valid and hardened, and permits what the daemon does."""

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGTERM
from subprocess import CompletedProcess

import pytest
from deployed import DEPLOY, assignments, run
from parts import eventually
from propeller_proxy import Registry, embedded
from servers import Process, Server, program

UNIT = "propeller-proxy.service"
BINARY = "/usr/local/bin/propeller-proxy"
EXPOSURE = 1.2
"""Highest exposure that `systemd-analyze security` may find, of 10."""
OPEN = {
    "RestrictAddressFamilies_AF_INET_INET6",  # The broker and registries,
    "PrivateNetwork",
    "IPAddressDeny",  # wherever they are.
    "RestrictAddressFamilies_AF_UNIX",  # The service notifies systemd of its state.
    "RootDirectoryOrRootImage",  # Its libraries and roots of trust are the system's.
    "DeviceAllow",  # What ProtectClock= itself leaves: to read the clock.
}
"""Restrictions that the unit does not have, and why."""
DOMAIN, CHANNEL = "the-domain", "the-channel"
First = Callable[[], CompletedProcess[str]]


def unit() -> str:
    """Return the text of the unit."""
    return (DEPLOY / "systemd" / UNIT).read_text()


def values(name: str) -> list[str]:
    """Return the values of one setting of the unit, in order."""
    return re.findall(rf"^{name}=(.*)$", unit(), re.MULTILINE)


def environment(folder: Path) -> dict[str, str]:
    """Return the variables that systemd sets for the unit, for folders below this one.

    They are made as systemd makes them for a user that does not last: behind links.
    """
    variables = dict(assignment.split("=", 1) for line in values("Environment") for assignment in line.split())
    for kind, specifier, below in (("State", "%S", "var/lib"), ("Cache", "%C", "var/cache")):
        [name] = values(f"{kind}Directory")
        own = folder / below / "private" / name
        own.mkdir(parents=True, mode=0o700)
        (folder / below / name).symlink_to(own)
        variables = {key: value.replace(specifier, str(folder / below)) for key, value in variables.items()}
        variables[f"{kind.upper()}_DIRECTORY"] = str(own)
    return variables


@pytest.fixture
def installed_unit(tmp_path: Path, native: Path) -> Path:
    """Return a copy of the unit with all its optional files, and with a program that exists."""
    folder = tmp_path / "units"
    shutil.copytree(DEPLOY / "systemd" / f"{UNIT}.d", folder / f"{UNIT}.d")
    path = folder / UNIT
    assert BINARY in unit()
    path.write_text(unit().replace(BINARY, str(native)))
    return path


def test_systemd_understands_it(installed_unit: Path) -> None:
    """With every optional file."""
    ended = run("systemd-analyze", "--man=no", "verify", installed_unit)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_it_is_hardened(installed_unit: Path) -> None:
    """By the measure of systemd, except where the service needs more."""
    threshold = f"--threshold={round(EXPOSURE * 10)}"
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", threshold]
    ended = run(*command, installed_unit)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {check["json_field"] for check in json.loads(ended.stdout) if not check["set"]} <= OPEN


def test_it_is_run_as_agreed() -> None:
    """It notifies systemd, is checked before the start, and is not restarted where that does not help."""
    for name, value in {
        "Type": "notify",
        "NotifyAccess": "main",
        "WatchdogSec": "30",
        "StateDirectory": "propeller-proxy",
        "CacheDirectory": "propeller-proxy",
        "ExecStartPre": f"{BINARY} check --offline",
        "ExecStart": f"{BINARY} run",
        "RestartPreventExitStatus": "2 77 78",
        "Environment": "PROXY_STATE_DIR=%S/propeller-proxy PROXY_CACHE_DIR=%C/propeller-proxy",
    }.items():
        assert values(name) == [value]


def syscalls() -> set[str]:
    """Return those that the unit permits."""
    groups: dict[str, list[str]] = {}
    for line in run("systemd-analyze", "--no-pager", "syscall-filter").stdout.splitlines():
        if line.startswith("@"):
            group = groups.setdefault(line.strip(), [])
        elif groups and (name := line.strip()) and not name.startswith("#"):
            group.append(name)

    def members(name: str) -> Iterator[str]:
        if name.startswith("@"):
            for member in groups[name]:
                yield from members(member)
        else:
            yield name

    permitted: set[str] = set()
    for value in values("SystemCallFilter"):
        named = {member for name in value.removeprefix("~").split() for member in members(name)}
        permitted = permitted - named if value.startswith("~") else permitted | named
    return permitted


def test_the_daemon_does_nothing_that_it_forbids(
    tmp_path: Path, native: Path, broker: Server, registry: Server
) -> None:
    """Its system calls, traced from its start to its end with a delivery between, are permitted."""
    trace = tmp_path / "trace"
    if run("strace", "-o", tmp_path / "nothing", "true").returncode:
        pytest.skip("programs may not be traced here")
    host = f"127.0.0.1:{registry.port}"
    Registry(host, cache_dir=tmp_path / "pushing").push(f"{host}/add:latest", embedded.ADD)
    # By names, so that they are looked up.
    env = environment(tmp_path) | {
        "PROXY_REGISTRY_URL": f"localhost:{registry.port}",
        "PROXY_MQTT_ADDRESS": f"tcp://localhost:{broker.port}",
        "PROXY_DOMAIN_ID": DOMAIN,
        "PROXY_CHANNEL_ID": CHANNEL,
        "PROXY_HTTP_PORT": "0",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "30000000",
    }
    request = ["mosquitto_pub", "-p", str(broker.port), "-t", f"m/{DOMAIN}/c/{CHANNEL}/registry/proplet"]
    # With -D the tracer stands aside, and signals reach the daemon.
    traced: list[str | Path] = [program("strace"), "-D", "-f", "-q", "-o", trace, native, "run"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(env["NOTIFY_SOCKET"])
        with Process(*traced, log=tmp_path / "proxy.log", env=env) as proxy:
            proxy.wait_for('"event":"subscribed"')
            with Process(*request, "-m", '{"app_name": "add:latest"}', log=tmp_path / "request.log") as client:
                assert client.end() == 0, client.log
            proxy.wait_for('"event":"delivered"')
            assert proxy.end(SIGTERM) == 0, proxy.log
    # It has written to its folders only.
    for folder in ("STATE_DIRECTORY", "CACHE_DIRECTORY"):
        assert list(Path(env[folder]).iterdir()), folder
    leader = trace.read_text().split(maxsplit=1)[0]
    ended = re.compile(rf"^{leader} +\+\+\+ exited", re.MULTILINE)
    eventually(lambda: ended.search(trace.read_text()))
    text = trace.read_text()
    made = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)[( ]", text, re.MULTILINE))
    assert {"execve", "connect", "fsync"} <= made
    assert made - syscalls() == set()
    [families] = values("RestrictAddressFamilies")
    assert set(re.findall(r" socket\((AF_\w+)", text)) <= set(families.split())
    # MemoryDenyWriteExecute=
    assert re.findall(r"(?:mmap|mprotect)\(.*PROT_WRITE\|PROT_EXEC.*|mprotect\(.*PROT_EXEC.*", text) == []


@pytest.fixture
def first(tmp_path: Path, native: Path) -> First:
    """Return a function that runs the ExecStartPre= of the unit, with the example's environment."""
    [command] = values("ExecStartPre")
    given = environment(tmp_path) | assignments(DEPLOY / "systemd" / "propeller-proxy.env")
    return lambda: run(native, *command.split()[1:], env=given)


def test_the_example_environment_is_accepted(first: First) -> None:
    """By the ExecStartPre= of the unit, which checks its folders."""
    ended = first()
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(("below", "check"), [("var/lib", "state"), ("var/cache", "store")])
def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path, first: First, below: str, check: str) -> None:
    """It names the folder; only a default folder may be replaced by a temporary one."""
    folder = tmp_path / below / "propeller-proxy"
    folder.resolve().rmdir()
    folder.resolve().write_text("in the way")
    ended = first()
    assert ended.returncode == 1
    failed = [line for line in ended.stdout.splitlines() if line.startswith("failed")]
    assert [(line.split()[1], str(folder) in line) for line in failed] == [(check, True)], ended.stdout
