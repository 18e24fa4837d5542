"""The walk-through of the original project's README, on other ports and in other folders."""

import json
import math
import os
import re
import subprocess
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM

import pytest
from oras.client import OrasClient  # type: ignore[import-untyped]
from servers import DEADLINE, Process, Server

MODULE = bytes.fromhex(
    "00 61 73 6d 01 00 00 00"  # preamble
    "01 07 01 60 02 7f 7f 01 7f"  # types: (i32, i32) -> i32
    "03 02 01 00"  # functions: one, of type 0
    "07 07 01 03 61 64 64 00 00"  # exports: "add" is function 0
    "0a 09 01 07 00 20 00 20 01 6a 0b"  # code: local 0, local 1, i32.add
)
CHUNK_SIZE = 16
TOTAL_CHUNKS = math.ceil(len(MODULE) / CHUNK_SIZE)

THING, DEVICE = ("proxy-thing", "proxy-key"), ("device-thing", "device-key")
PUBLISHER = ("publisher", "registry password")
DOMAIN, CHANNEL = "the-domain", "the-channel"


@pytest.fixture
def broker_users() -> Mapping[str, str]:
    """Return the credentials of the proxy and a device."""
    return dict([THING, DEVICE])


@pytest.fixture
def registry_users() -> Mapping[str, str]:
    """Return the credentials of the publisher."""
    return dict([PUBLISHER])


def push(folder: Path, registry: Server, file: str) -> str:
    """Push the module as `oras push localhost:PORT/add:latest FILE` does, and return its reference."""
    host = f"localhost:{registry.port}"
    (folder / "add.wasm").write_bytes(MODULE)
    username, password = PUBLISHER
    client = OrasClient(insecure=True, auth_backend="basic")
    client.login(username, password, hostname=host, config_path=str(folder / "oras.json"))
    client.push(f"{host}/add:latest", files=[file], config_path=str(folder / "oras.json"))
    return f"{host}/add:latest"


@pytest.mark.parametrize("layout", ["registry", "messages/registry"])
@pytest.mark.parametrize(
    "file",
    [
        pytest.param("add.wasm:application/vnd.wasm.content.layer.v1+wasm", id="wasm-layer"),
        pytest.param("add.wasm", id="untyped-layer"),
    ],
)
def test_a_device_receives_a_pushed_module(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: Path,
    broker: Server,
    registry: Server,
    file: str,
    layout: str,
) -> None:
    """Every chunk comes once, in order, on the answer topic of the request's layout."""
    monkeypatch.chdir(tmp_path)
    app_name = push(tmp_path, registry, file)
    env = {
        "PATH": f"{installed}:{os.environ['PATH']}",
        "PROXY_REGISTRY_URL": f"localhost:{registry.port}",
        "PROXY_AUTHENTICATE": "TRUE",
        "PROXY_REGISTRY_USERNAME": PUBLISHER[0],
        "PROXY_REGISTRY_PASSWORD": PUBLISHER[1],
        "PROXY_DOMAIN_ID": DOMAIN,
        "PROPLET_THING_ID": THING[0],
        "PROPLET_THING_KEY": THING[1],
        "PROPLET_CHANNEL_ID": CHANNEL,
        "PROXY_MQTT_ADDRESS": f"tcp://localhost:{broker.port}",
        "PROXY_CHUNK_SIZE": str(CHUNK_SIZE),
        "HOME": str(tmp_path),
        # The default port may be in use.
        "PROXY_HTTP_PORT": "0",
    }
    topic = f"m/{DOMAIN}/c/{CHANNEL}/{layout}"
    device = ["-h", "localhost", "-p", str(broker.port), "-u", DEVICE[0], "-P", DEVICE[1], "-q", "2"]
    receive = ["mosquitto_sub", *device, "-i", "device", "-t", f"{topic}/server"]
    receive += ["-F", "%p", "-C", str(TOTAL_CHUNKS), "-W", str(int(DEADLINE))]
    request = ["mosquitto_pub", *device, "-t", f"{topic}/proplet", "-m", json.dumps({"app_name": app_name})]

    with (
        Process("propeller-proxy", log=tmp_path / "proxy.log", env=env) as proxy,
        Process(*receive, log=tmp_path / "device.log") as receiver,
    ):
        proxy.wait_for('"event":"subscribed"')
        broker.process.wait_for("Sending SUBACK to device\n")
        subprocess.run(request, check=True, timeout=DEADLINE)
        assert receiver.end() == 0, proxy.log + receiver.log
        assert proxy.end(SIGTERM) == 0, proxy.log

    answers = [json.loads(line) for line in receiver.log.splitlines()]
    assert b"".join(b64decode(answer.pop("data"), validate=True) for answer in answers) == MODULE
    assert answers == [
        {"app_name": app_name, "chunk_idx": index, "total_chunks": TOTAL_CHUNKS} for index in range(TOTAL_CHUNKS)
    ]
    # The broker received the same chunks, all at QoS 2 and none retained.
    published = re.findall(rf"Received PUBLISH from .* \((.*), m\d+, '{topic}/server'", broker.process.log)
    assert published == ["d0, q2, r0"] * TOTAL_CHUNKS
    # The log is one JSON object a line.
    assert [json.loads(line)["message"] for line in proxy.log.splitlines()][-1] == "stopped"
