"""Artifacts that third-party tools push: images of skopeo in each of its compressions, files of oras of any type."""

import io
import json
import subprocess
import tarfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from oras.client import OrasClient  # type: ignore[import-untyped]
from servers import DEADLINE, Process, Server

DOMAIN, CHANNEL = "the-domain", "the-channel"

Descriptor = dict[str, Any]
Deliver = Callable[[str], bytes]


def module(name: bytes) -> bytes:
    """Return a Wasm module with an empty custom section only."""
    return b"\0asm\x01\0\0\0" + bytes([0, len(name) + 1, len(name)]) + name


MODULE, OTHER = module(b"requested"), module(b"other")


@pytest.fixture
def deliver(tmp_path: Path, native: Path, broker: Server, registry: Server) -> Iterator[Deliver]:
    """Run a proxy, and return a function that requests a module of one chunk as a device does."""
    env = {
        "PROXY_CACHE_DIR": str(tmp_path / "cache"),
        "PROXY_STATE_DIR": str(tmp_path / "state"),
        "PROXY_REGISTRY_URL": f"localhost:{registry.port}",
        "PROXY_MQTT_ADDRESS": f"tcp://localhost:{broker.port}",
        "PROXY_DOMAIN_ID": DOMAIN,
        "PROXY_CHANNEL_ID": CHANNEL,
        "PROXY_HTTP_PORT": "0",
    }
    topic = f"m/{DOMAIN}/c/{CHANNEL}/registry"
    server = ["-h", "localhost", "-p", str(broker.port), "-q", "2"]
    devices = (f"device-{number}" for number in count())

    with Process(native, log=tmp_path / "proxy.log", env=env) as proxy:
        proxy.wait_for('"event":"subscribed"')

        def request_module(app_name: str) -> bytes:
            device = next(devices)
            receive = ["mosquitto_sub", *server, "-i", device, "-t", f"{topic}/server"]
            receive += ["-F", "%p", "-C", "1", "-W", str(int(DEADLINE))]
            request = ["mosquitto_pub", *server, "-t", f"{topic}/proplet", "-m", json.dumps({"app_name": app_name})]
            with Process(*receive, log=tmp_path / f"{device}.log") as receiver:
                broker.process.wait_for(f"Sending SUBACK to {device}\n")
                subprocess.run(request, check=True, timeout=DEADLINE)
                assert receiver.end() == 0, proxy.log
            answer = json.loads(receiver.log)
            data = b64decode(answer.pop("data"), validate=True)
            assert answer == {"app_name": app_name, "chunk_idx": 0, "total_chunks": 1}
            return data

        yield request_module


class Layout:
    """An OCI image layout that holds one image or index, called `app` (OCI image specification, "Image Layout")."""

    def __init__(self, folder: Path) -> None:
        """Create it in `folder`."""
        self._folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def name(self, descriptor: Descriptor) -> str:
        """Tag the descriptor as `app`, and return the layout's name for skopeo."""
        named = descriptor | {"annotations": {"org.opencontainers.image.ref.name": "app"}}
        (self._folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
        return f"oci:{self._folder}:app"

    def image(self, files: Mapping[str, bytes], platform: str = "wasip1/wasm") -> Descriptor:
        """Add an image that has these files in one layer, uncompressed, and runs the first one."""
        layer = self._blob("application/vnd.oci.image.layer.v1.tar", archive(files))
        system, architecture = platform.split("/")
        config = {
            "architecture": architecture,
            "os": system,
            "config": {"Entrypoint": [f"/{next(iter(files))}"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        manifest = {
            "schemaVersion": 2,
            "config": self._json("application/vnd.oci.image.config.v1+json", config),
            "layers": [layer],
        }
        descriptor = self._json("application/vnd.oci.image.manifest.v1+json", manifest)
        return descriptor | {"platform": {"os": system, "architecture": architecture}}

    def index(self, *images: Descriptor) -> Descriptor:
        """Add an index of images."""
        return self._json("application/vnd.oci.image.index.v1+json", {"schemaVersion": 2, "manifests": images})

    def _json(self, media_type: str, content: object) -> Descriptor:
        return self._blob(media_type, json.dumps(content).encode())

    def _blob(self, media_type: str, content: bytes) -> Descriptor:
        digest = sha256(content).hexdigest()
        (self._folder / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def skopeo(*arguments: str) -> str:
    """Run skopeo, without a policy on signatures, and return its output."""
    ended = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("options", "layer_type"),
    [
        pytest.param(["--format", "oci"], "application/vnd.oci.image.layer.v1.tar+gzip", id="oci-gzip"),
        pytest.param(
            ["--format", "oci", "--dest-compress-format", "zstd"],
            "application/vnd.oci.image.layer.v1.tar+zstd",
            id="oci-zstd",
        ),
        pytest.param(["--format", "v2s2"], "application/vnd.docker.image.rootfs.diff.tar.gzip", id="docker"),
    ],
)
def test_an_image_that_skopeo_copied(
    tmp_path: Path, registry: Server, deliver: Deliver, options: list[str], layer_type: str
) -> None:
    """The module is the file that the image runs."""
    layout = Layout(tmp_path / "layout")
    source = layout.name(layout.image({"app.wasm": MODULE, "lib/other.wasm": OTHER}))
    image = f"docker://localhost:{registry.port}/app:latest"
    skopeo("copy", "--dest-tls-verify=false", *options, source, image)
    copied = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", image))
    assert [layer["mediaType"] for layer in copied["layers"]] == [layer_type]
    assert deliver("app") == MODULE


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_an_index_that_skopeo_copied(tmp_path: Path, registry: Server, deliver: Deliver, form: str) -> None:
    """The module is that of the Wasm platform."""
    layout = Layout(tmp_path / "layout")
    foreign = layout.image({"app.wasm": OTHER}, "linux/amd64")
    source = layout.name(layout.index(foreign, layout.image({"app.wasm": MODULE})))
    image = f"docker://localhost:{registry.port}/app:latest"
    skopeo("copy", "--all", "--dest-tls-verify=false", "--format", form, source, image)
    assert deliver("app") == MODULE


@pytest.mark.parametrize(
    ("files", "config", "selector"),
    [
        pytest.param(["app.wasm:application/wasm"], None, "", id="typed"),
        pytest.param(["app.wasm"], None, "", id="untyped"),
        pytest.param(
            ["app.wasm:application/wasm"], "config.json:application/vnd.wasm.config.v0+json", "", id="with-a-config"
        ),
        pytest.param(["README.md", "app.wasm"], None, "", id="with-other-files"),
        pytest.param(["folder"], None, "", id="folder"),
        pytest.param(
            ["other.wasm:application/wasm", "app.wasm:application/wasm"], None, "#app.wasm", id="typed-and-selected"
        ),
        pytest.param(["other.wasm", "app.wasm"], None, "#app.wasm", id="untyped-and-selected"),
    ],
)
def test_files_that_oras_pushed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    registry: Server,
    deliver: Deliver,
    files: list[str],
    config: str | None,
    selector: str,
) -> None:
    """The module is the only one, or the one that is selected by its name."""
    (tmp_path / "files" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "files")
    contents = {"app.wasm": MODULE, "folder/app.wasm": MODULE, "other.wasm": OTHER}
    contents |= {"README.md": b"text", "config.json": b'{"architecture": "wasm", "os": "wasip1"}'}
    for name, content in contents.items():
        Path(name).write_bytes(content)
    reference = f"localhost:{registry.port}/app:1.0"
    OrasClient(insecure=True).push(reference, files=files, manifest_config=config)
    assert deliver(f"{reference}{selector}") == MODULE
