"""Programs that tests start: ready when their output says so, ended by their process ids."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from signal import Signals

DEADLINE = 30.0
"""Longest wait for a program's output or end, seconds."""
POLL = 0.01


class Process:
    """A running program, killed at the end of its `with` block."""

    def __init__(self, *command: str | Path, log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it; its output goes to the file `log`."""
        self._log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
            )

    def __enter__(self) -> "Process":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it, if it still runs."""
        self._child.kill()
        self._child.wait()

    @property
    def log(self) -> str:
        """Its output so far."""
        return self._log.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed `text`."""
        deadline = time.monotonic() + DEADLINE
        while True:
            is_over = self._child.poll() is not None or time.monotonic() > deadline
            log = self.log
            if text in log:
                return
            assert not is_over, f"{self._child.args!r} did not print {text!r}:\n{log}"
            time.sleep(POLL)

    def send(self, signal: Signals) -> None:
        """Send it a signal."""
        self._child.send_signal(signal)

    def end(self, signal: Signals | None = None) -> int:
        """Wait for its end, after sending it `signal`, and return its exit status."""
        if signal is not None:
            self.send(signal)
        return self._child.wait(DEADLINE)


@dataclass(frozen=True)
class Server:
    """A server that listens on `port` of 127.0.0.1."""

    process: Process
    port: int


@contextmanager
def mosquitto(folder: Path, users: Mapping[str, str]) -> Iterator[Server]:
    """Run an MQTT broker for `users` and their passwords; without any, there is no authentication."""
    port = free_port()
    lines = [
        f"listener {port} 127.0.0.1",
        f"allow_anonymous {'false' if users else 'true'}",
        "log_type all",
        # Started by root, mosquitto would become a user who may not read these files.
        "user root",
    ]
    if users:
        passwords = folder / "mosquitto.users"
        passwords.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
        subprocess.run([program("mosquitto_passwd"), "-U", passwords], check=True)
        lines.append(f"password_file {passwords}")
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    with Process(program("mosquitto"), "-c", config, log=folder / "mosquitto.log") as process:
        process.wait_for(" running\n")
        yield Server(process, port)


@contextmanager
def docker_registry(folder: Path, users: Mapping[str, str]) -> Iterator[Server]:
    """Run an OCI registry on plain HTTP for `users` and their passwords; without any, there is no authentication."""
    port = free_port()
    auth = {}
    if users:
        passwords = folder / "registry.users"
        commands = [[program("htpasswd"), "-Bbn", name, password] for name, password in users.items()]
        passwords.write_bytes(b"".join(subprocess.check_output(command) for command in commands))
        auth = {"htpasswd": {"realm": "tests", "path": str(passwords)}}
    config = folder / "registry.yml"
    # Every JSON text is YAML.
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
                "http": {"addr": f"127.0.0.1:{port}", "secret": "of the tests"},
                "auth": auth,
            }
        )
    )
    with Process(program("docker-registry"), "serve", config, log=folder / "registry.log") as process:
        process.wait_for("listening on")
        yield Server(process, port)


def program(name: str) -> str:
    """Return the path of a program that the tests need."""
    # Debian installs servers outside an ordinary user's path.
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path, f"{name} is not installed; run scripts/install-test-tools"
    return path


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    # Below the ephemeral ports, so that no connection takes it before the server does.
    while True:
        port = SystemRandom().randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
