"""Registries: resolve, fetch and push."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from calls import Call
from parts import Parts
from propeller_proxy import (
    BadModuleError,
    ConfigurationError,
    DeniedError,
    NotFoundError,
    ProxyError,
    Reference,
    Registry,
    UnreachableError,
    embedded,
)
from propeller_proxy._core import SHAPES
from propeller_proxy.embedded import ADD
from propeller_proxy.values import Source
from servers import Server

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ZEROS = f"sha256:{'0' * 64}"
USERS = {"publisher": "a password"}

Client = Callable[[str], Registry]


def digest(data: bytes) -> str:
    """Return the OCI digest."""
    return f"sha256:{sha256(data).hexdigest()}"


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """Return a function that makes clients without a common store."""
    folders = (tmp_path / f"client-{number}" for number in range(9))
    return lambda url: Registry(url, cache_dir=next(folders))


def test_modules_are_resolved_and_fetched(parts: Parts, client: Client, call: Call) -> None:
    """The module is verified, and its fields are complete."""
    wasm = embedded.noise(100_000)
    reference = parts.push("acme/noise", wasm)
    registry = client(parts.registry_url)
    meant = call(registry.resolve, reference)
    assert (meant.reference, meant.media_type, meant.annotations) == (reference, MANIFEST, {})
    assert 0 < meant.size < 4096
    assert meant.digest[:11] in repr(meant)

    module = call(registry.fetch, Reference.parse(reference))
    assert (module.data, bytes(module), len(module), module.size) == (wasm, wasm, 100_000, 100_000)
    assert (module.reference, module.digest, module.root) == (reference, digest(wasm), meant.digest)
    assert (module.media_type, module.shape) == ("application/vnd.wasm.content.layer.v1+wasm", "wasm-to-oci")
    assert module.verified
    assert repr(module) == f"Module({reference!r}, 100000 bytes, {digest(wasm)[:11]}…)"

    by_digest = call(registry.fetch, f"{reference.rpartition(':')[0]}@{meant.digest}")
    assert by_digest.data == wasm


def test_a_push_updates_the_tag(real_parts: Parts, tmp_path: Path, call: Call) -> None:
    """Also in the client's cache of tags."""
    registry = Registry(real_parts.registry_url, cache_dir=tmp_path / "client", tag_ttl="1h")
    for wasm in (ADD, embedded.noise(100)):
        call(registry.push, "add:1.0", wasm)
        assert call(registry.fetch, "add:1.0").data == wasm


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_comes_back_as_it_was_pushed(
    real_parts: Parts, embedded_registry: embedded.Registry, client: Client, call: Call, shape: str
) -> None:
    """Both registries have the same manifest, except for the title."""
    registry = client(real_parts.registry_url)
    reference = f"{real_parts.registry_url}/add:{shape}"
    pushed = call(registry.push, reference, ADD, shape=shape)
    assert (pushed.reference, pushed.layer) == (reference, None)
    assert pushed == call(registry.resolve, reference)
    assert pushed == call(registry.push, reference, ADD, shape=shape), "it was there"
    put = embedded_registry.push("add", ADD, tag=shape, shape=shape)
    assert (put.digest, put.size, put.media_type) == (pushed.digest, pushed.size, pushed.media_type)
    for name, source in [(reference, registry), (put.reference, client(embedded_registry.url))]:
        module = call(source.fetch, name)
        assert (module.data, module.shape, module.root) == (ADD, shape, pushed.digest)


def test_modules_are_pushed_from_buffers_and_files(real_parts: Parts, client: Client, call: Call) -> None:
    """A fetched module, its bytes in any buffer, or a file; wrong shapes and types are rejected."""
    path = real_parts.folder / "add.wasm"
    registry = client(real_parts.registry_url)
    first = call(registry.push, f"{real_parts.registry_url}/add:1.0", ADD)
    call(registry.fetch, first.reference).write(path)
    sources: list[Source] = [call(registry.fetch, first.reference), bytearray(ADD), memoryview(ADD), path, str(path)]
    for tag, source in enumerate(sources):
        assert call(registry.push, f"{real_parts.registry_url}/add:{tag}", source).digest == first.digest
    with pytest.raises(ValueError, match="wasm-to-oci, wasm-artifact"):
        call(registry.push, first.reference, ADD, shape="round")
    with pytest.raises(TypeError):
        call(registry.push, first.reference, 7)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        call(registry.push, first.reference, path.with_name("absent.wasm"))


def test_annotations_are_those_of_the_manifest(real_parts: Parts, client: Client, call: Call) -> None:
    """In descriptors and modules."""
    reference = real_parts.push("add")
    url = f"http://{real_parts.registry_url}/v2/add/manifests/"
    with urlopen(Request(f"{url}1.0", headers={"Accept": MANIFEST})) as answer:
        manifest = json.load(answer)
    annotations = {"org.opencontainers.image.version": "1.0", "<b>": "&"}
    body = json.dumps({**manifest, "annotations": annotations}).encode()
    urlopen(Request(f"{url}annotated", body, {"Content-Type": MANIFEST}, method="PUT")).close()
    reference = reference.replace("1.0", "annotated")
    assert call(client(real_parts.registry_url).resolve, reference).annotations == annotations
    module = call(client(real_parts.registry_url).fetch, reference)
    assert (module.annotations, module.root) == (annotations, digest(body))
    assert "&lt;b&gt;" in module._repr_html_()


def test_tampered_modules_are_not_returned(
    embedded_parts: Parts, embedded_registry: embedded.Registry, client: Client, call: Call
) -> None:
    """The digest of the layer does not match."""
    pushed = call(embedded_registry.push, "add", ADD)
    assert pushed.layer == digest(ADD)
    embedded_registry.tamper(pushed.layer)
    with pytest.raises(BadModuleError, match=pushed.layer) as caught:
        call(client(embedded_parts.registry_url).fetch, pushed.reference)
    assert isinstance(caught.value, ValueError)
    assert (caught.value.code, caught.value.side) == ("digest-mismatch", "registry")
    assert any(pushed.layer in request for request in embedded_registry.requests)


def test_transient_errors_of_a_registry_are_retried(
    embedded_parts: Parts, embedded_registry: embedded.Registry, client: Client, call: Call
) -> None:
    """Permanent ones are not."""
    reference = embedded_parts.push()
    embedded_registry.fail_next(503, times=1)
    assert call(client(embedded_parts.registry_url).fetch, reference).data == ADD
    assert len(embedded_registry.requests) > 2
    embedded_registry.fail_next(404)
    with pytest.raises(NotFoundError):
        call(client(embedded_parts.registry_url).fetch, reference)


def test_retries_are_bounded(embedded_parts: Parts, embedded_registry: embedded.Registry, client: Client) -> None:
    """The error is retryable."""
    reference = embedded_parts.push()
    embedded_registry.fail_next(500, times=1000)
    with pytest.raises(BadModuleError) as caught:
        client(embedded_parts.registry_url).resolve(reference)
    assert (caught.value.code, caught.value.retryable) == ("registry-answer", True)
    assert 1 < len(embedded_registry.requests) < 10


def test_unknown_images_are_file_not_found_errors(parts: Parts, client: Client, call: Call) -> None:
    """Repository, tag or digest."""
    parts.push("add")
    for name in ["other:1.0", "add:2.0", f"add@{ZEROS}"]:
        reference = f"{parts.registry_url.rpartition('/')[2]}/{name}"
        registry = client(parts.registry_url)
        for method in (registry.resolve, registry.fetch):
            with pytest.raises(FileNotFoundError) as caught:
                call(method, reference)
            error = caught.value
            assert isinstance(error, NotFoundError)
            assert (error.code, error.stage, error.reference) == ("unknown-image", "resolve", reference)


@pytest.mark.parametrize("registry_users", [USERS])
def test_passwords_authenticate(tmp_path: Path, registry: Server, call: Call) -> None:
    """They are in no message and no representation."""
    [user] = USERS.items()
    host = f"127.0.0.1:{registry.port}"
    reference = call(Registry(host, auth=user, cache_dir=tmp_path).push, f"{host}/add:1.0", ADD).reference
    assert call(Registry(host, auth=user, cache_dir=tmp_path).fetch, reference).data == ADD
    wrong = "not the password"
    for registry_client in [
        Registry(host, auth=(user[0], wrong), cache_dir=tmp_path),
        Registry(host, auth=wrong.replace(" ", "-"), cache_dir=tmp_path),
        Registry(host, cache_dir=tmp_path),
    ]:
        for method in (registry_client.resolve, registry_client.fetch):
            with pytest.raises(DeniedError) as caught:
                call(method, reference)
            error = caught.value
            assert isinstance(error, PermissionError)
            assert error.code == "unauthorized"
            assert wrong not in f"{error}{error!r}{registry_client!r}"


def test_references_to_other_registries_are_denied_if_not_allowed(tmp_path: Path, call: Call) -> None:
    """Without a connection."""
    registry = Registry("localhost:1", allow=["localhost:2/acme/*"], cache_dir=tmp_path, fetch_timeout=0.5)
    with pytest.raises(DeniedError) as caught:
        call(registry.fetch, "localhost:2/other/add")
    assert caught.value.code == "denied"
    for reference in ["localhost:2/acme/add", "add"]:
        with pytest.raises(UnreachableError) as unreachable:
            call(registry.resolve, reference)
        assert isinstance(unreachable.value, ConnectionError)
        assert unreachable.value.code == "registry-unreachable"


def test_registries_are_named_by_the_environment_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded_parts: Parts
) -> None:
    """An argument takes precedence."""
    with pytest.raises(ConfigurationError, match="PROXY_REGISTRY_URL"):
        Registry(cache_dir=tmp_path)
    monkeypatch.setenv("PROXY_REGISTRY_URL", embedded_parts.registry_url)
    assert Registry(cache_dir=tmp_path).url == embedded_parts.registry_url
    assert Registry(cache_dir=tmp_path).fetch(embedded_parts.push()).data == ADD
    given = Registry("ghcr.io", cache_dir=tmp_path)
    assert (given.url, repr(given)) == ("https://ghcr.io", "Registry('https://ghcr.io')")
    with pytest.raises(ProxyError, match="PROXY_REGISTRY_CA_CERT"):
        Registry("ghcr.io", ca_cert=tmp_path / "absent.pem")
