"""References of modules."""

import pytest
from propeller_proxy import BadReferenceError, ConfigurationError, Reference

ZEROS = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "registry_url", "fields"),
    [
        ("ghcr.io/acme/add:1.0", "docker.io", ("ghcr.io", "acme/add", "1.0", None, None)),
        ("add", "docker.io", ("docker.io", "library/add", "latest", None, None)),
        ("add", "localhost:5000", ("localhost:5000", "add", "latest", None, None)),
        ("acme/add", "https://ghcr.io/prefix", ("ghcr.io", "prefix/acme/add", "latest", None, None)),
        ("oci://GHCR.io/acme/add#b.wasm", "docker.io", ("ghcr.io", "acme/add", "latest", None, "b.wasm")),
        (f"ghcr.io/add:1.0@{ZEROS}", "docker.io", ("ghcr.io", "add", None, ZEROS, None)),
    ],
)
def test_references_have_parts(text: str, registry_url: str, fields: tuple[str | None, ...]) -> None:
    """Defaults replace the missing ones."""
    parsed = Reference.parse(text, registry_url)
    assert (parsed.registry, parsed.repository, parsed.tag, parsed.digest, parsed.selector) == fields
    assert Reference.parse(str(parsed)) == parsed


def test_equal_references_are_interchangeable() -> None:
    """Whatever their spelling."""
    short, full = Reference.parse("add"), Reference.parse("docker.io/library/add:latest")
    assert short == full
    assert len({short, full, Reference.parse("add:1.0")}) == 2
    assert short != Reference.parse("add:1.0")
    assert short != "docker.io/library/add:latest"
    assert str(full) in repr(full)
    with pytest.raises(AttributeError):
        setattr(full, "tag", "1.0")  # noqa: B010


@pytest.mark.parametrize("text", ["", "Add", "add:", "add:a tag", "add@sha256:12", "add#", "a" * 513, "ghcr.io/"])
def test_wrong_references_are_errors(text: str) -> None:
    """The error is a `ValueError`, too, and has the reference."""
    with pytest.raises(BadReferenceError) as caught:
        Reference.parse(text)
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.code, error.side, error.reference, error.retryable) == ("bad-reference", "request", text, False)
    assert error.hint
    assert str(error).endswith(f"\nhint: {error.hint}")
    with pytest.raises(ConfigurationError):
        Reference.parse("add", "http://")
