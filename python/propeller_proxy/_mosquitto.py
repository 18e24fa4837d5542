"""A mosquitto for tests: on a port of its own, ready when its log says so, ended by its process id."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from random import SystemRandom

HOST = "127.0.0.1"
DEADLINE = 30.0
"""Longest wait for mosquitto to be ready, and for its port to become free again, seconds."""
POLL = 0.01
PORTS = range(10_000, 32_000)
"""Ports to choose from: below the ephemeral ports, so that no connection takes the port of a stopped broker."""


def find() -> str | None:
    """Return the path of mosquitto in a folder of `PATH` or in the `sbin` beside one, or None if there is none."""
    # Debian and Homebrew install servers in sbin, which is not in every user's PATH.
    folders = [folder for folder in os.get_exec_path() if folder]
    beside = [str(Path(folder).parent / "sbin") for folder in folders]
    return shutil.which("mosquitto", path=os.pathsep.join(folders + beside))


class Mosquitto:
    """A mosquitto without authentication on 127.0.0.1. It keeps its port over `stop` and `start`."""

    def __init__(self, program: str, folder: Path) -> None:
        """Prepare to run `program`, with its configuration and log in `folder`."""
        self._program = program
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._port: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """The address it listens on."""
        return HOST

    @property
    def port(self) -> int:
        """The port it listens on; RuntimeError if it was never started."""
        if self._port is None:
            raise RuntimeError("mosquitto was not started yet")
        return self._port

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"tcp://{self.host}:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def log(self) -> str:
        """Its output so far, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start it and wait until it is ready; no effect if it runs. RuntimeError with its log if it does not start."""
        if self.is_running:
            return
        deadline = time.monotonic() + DEADLINE
        while True:
            port = self._port or SystemRandom().choice(PORTS)
            output = self._run(port)
            if self.is_running:
                self._port = port
                return
            # Another process has the port: choose another one, unless clients know this one already.
            if "Address already in use" not in output or time.monotonic() > deadline:
                raise RuntimeError(f"{self._program} did not start on {HOST}:{port}; it said:\n{output}")
            if self._port is not None:
                time.sleep(0.1)

    def stop(self) -> None:
        """Kill it, as a crash does: messages that it has not sent are lost. No effect if it does not run."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _run(self, port: int) -> str:
        # Returns its output when it is ready, has ended, or was killed because it was not ready in time.
        lines = [
            f"listener {port} {HOST}",
            "allow_anonymous true",
            # A device on a busy machine may lag; by default mosquitto drops messages beyond 1,000 per client.
            "max_queued_messages 0",
            # Started by root, mosquitto would become a user who may not read this file.
            "user root",
        ]
        self._config.write_text("\n".join(lines) + "\n")
        begin, deadline = len(self.log), time.monotonic() + DEADLINE
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [self._program, "-c", self._config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while True:
            has_ended = not self.is_running
            is_late = time.monotonic() > deadline
            output = self.log[begin:]
            if has_ended or is_late or " running\n" in output:
                break
            time.sleep(POLL)
        if has_ended or is_late:
            self.stop()
        return output
