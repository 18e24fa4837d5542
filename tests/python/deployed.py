"""The files of deploy/ in tests: linted, read, and run in other folders and on other ports."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from servers import DEADLINE, Process, Server, free_port, program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose"
DOMAIN, CHANNEL = "my-domain", "my-channel"
"""The domain and the channel of the examples."""


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    variables = {**os.environ, **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, env=variables)


def lint(name: str, *args: str | Path) -> None:
    """Run a linter that is installed beside this Python; it must find nothing."""
    ended = run(Path(sys.executable).parent / name, *args)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def documents(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML text."""
    return list(yaml.safe_load_all(text))


def assignments(path: Path) -> dict[str, str]:
    """Return the variables of an environment file that are not commented out."""
    return dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE))


class Broker:
    """The broker of the compose file."""

    def __init__(self, server: Server, secrets: Path) -> None:
        """Take the server, and the folder with the passwords of its users."""
        self.port = server.port
        self.secrets = secrets
        self._process = server.process

    @property
    def log(self) -> str:
        """Its output so far."""
        return self._process.log

    def wait_for(self, text: str) -> None:
        """Wait until it has printed `text`."""
        self._process.wait_for(text)

    def login(self, user: str, client: str = "") -> list[str]:
        """Return the arguments of a mosquitto client for `user`, which is by default its client identifier."""
        password = (self.secrets / user).read_text().rstrip("\n")
        return ["-h", "127.0.0.1", "-p", str(self.port), "-i", client or user, "-u", user, "-P", password, "-q", "1"]

    def publish(self, user: str, topic: str, message: str, client: str = "") -> None:
        """Publish, and wait for the broker's acknowledgement, which it sends for denied messages as well."""
        command = ["mosquitto_pub", *self.login(user, client), "-t", topic, "-m", message]
        subprocess.run(command, check=True, timeout=DEADLINE)


@contextmanager
def broker(folder: Path, acl: str, users: tuple[str, ...] = ()) -> Iterator[Broker]:
    """Run the broker as the compose file does, with its script, configuration and secrets, but this access list.

    `users` get passwords in addition to those of the script.
    """
    compose = folder / "compose"
    shutil.copytree(COMPOSE, compose, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([compose / "make-secrets"], check=True)
    for user in users:
        (compose / "secrets" / user).write_text(f"password of {user}\n")
    access = folder / "access"
    access.mkdir()
    (folder / "acl").write_text(acl)
    port = free_port()
    # Started by root, mosquitto would become a user who may not read these files.
    config = (COMPOSE / "mosquitto.conf").read_text() + "user root\nlog_type all\n"
    for there, here in {
        "listener 1883\n": f"listener {port} 127.0.0.1\n",
        "/mosquitto/access/": f"{access}/",
        "/mosquitto/data/": f"{folder}/",
    }.items():
        assert there in config
        config = config.replace(there, here)
    (folder / "mosquitto.conf").write_text(config)
    env = {
        "PATH": f"{Path(program('mosquitto')).parent}:{os.environ['PATH']}",
        "SECRETS": str(compose / "secrets"),
        "ACCESS": str(access),
        "ACL": str(folder / "acl"),
        "CONFIG": str(folder / "mosquitto.conf"),
        "ENTRYPOINT": "/usr/bin/env",
    }
    with Process("/bin/sh", compose / "broker.sh", log=folder / "mosquitto.log", env=env) as process:
        process.wait_for(" running\n")
        yield Broker(Server(process, port), compose / "secrets")
