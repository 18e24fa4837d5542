"""The settings of a proxy: keywords, environment and errors."""

from datetime import timedelta

import pytest
from parts import CHANNEL, DOMAIN, Parts
from propeller_proxy import ConfigurationError, Proplet, Proxy, Registry, Settings, _core, embedded

SECRETS = {
    "client_key": "secret-1",
    "registry_password": "secret-2",
    "registry_token": "secret-3",
    "registry_identity_token": "secret-4",
}


def test_keywords_are_the_variables() -> None:
    """Each setting has a keyword."""
    assert set(Settings.__annotations__) == {names[0].removeprefix("PROXY_").lower() for names, *_ in _core.SETTINGS}


def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch, embedded_parts: Parts) -> None:
    """Also under the old names; keywords take precedence."""
    with pytest.raises(ConfigurationError):
        Proxy.from_env()
    for keyword, value in embedded_parts.settings.items():
        monkeypatch.setenv(f"PROXY_{keyword.upper()}", str(value))
    monkeypatch.delenv("PROXY_CHANNEL_ID")
    monkeypatch.setenv("PROPLET_CHANNEL_ID", "old")
    monkeypatch.setenv("PROXY_CHUNK_SIZE", "7")
    with Proxy.from_env() as proxy:
        assert (proxy.settings["channel_id"], proxy.settings["chunk_size"]) == ("old", "7")
        assert proxy.deliver(embedded_parts.push()).total_chunks == 6
    with Proxy(channel_id=CHANNEL, chunk_size=41) as proxy:
        assert (proxy.settings["channel_id"], proxy.settings["chunk_size"]) == (CHANNEL, "41")
        assert proxy.deliver(embedded_parts.push()).total_chunks == 1
    # None is as if the keyword were not given.
    assert Proxy(chunk_size=None).settings["chunk_size"] == "7"


def test_one_error_lists_all_wrong_settings() -> None:
    """In one message, which names the variables."""
    with pytest.raises(ConfigurationError) as caught:
        Proxy(registry_url="ftp://", mqtt_qos=3, chunk_size=0, tag_ttl=-1, pull_policy="now")
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.code, error.retryable, error.reference) == ("configuration", False, None)
    names = ["DOMAIN_ID", "CHANNEL_ID", "REGISTRY_URL", "MQTT_QOS", "CHUNK_SIZE", "TAG_TTL", "PULL_POLICY"]
    assert [name for name in names if f"PROXY_{name}" not in str(error)] == []
    with pytest.raises(ConfigurationError, match="PROXY_CLIENT_KEY"):
        Proplet("tcp://localhost", DOMAIN, CHANNEL, client_id="proplet")
    for domain, channel in [(DOMAIN, "a/b"), (DOMAIN, "+")]:
        with pytest.raises(ConfigurationError, match="domain and channel"):
            Proplet("tcp://localhost", domain, channel)
    for missing in ("", None):
        with pytest.raises(ConfigurationError, match="a device needs domain_id"):
            Proplet("tcp://localhost", missing, CHANNEL)


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("chunksize", "chunk_size"),
        ("PROXY_CHUNK_SIZE", "chunk_size"),
        ("thing_id", "client_id"),
        ("registry", "registry_url"),
    ],
)
def test_unknown_keywords_are_type_errors(keyword: str, meant: str) -> None:
    """The message proposes the nearest setting."""
    for kind in (Proxy, Registry):
        with pytest.raises(TypeError, match=f"'{keyword}'; did you mean '{meant}'"):
            kind(**{keyword: "1"})
    with pytest.raises(TypeError, match=r"no setting 'zzzzzz'$"):
        Proxy(zzzzzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("fetch_timeout", 90, "90s"),
        ("fetch_timeout", 0.5, "0.5s"),
        ("fetch_timeout", timedelta(minutes=1, milliseconds=1), "60.001s"),
        ("fetch_timeout", "1m30s", "1m30s"),
        ("chunk_size", 1000, "1000"),
        ("max_module_size", "10MiB", "10MiB"),
        ("channel_id", ["a", "b"], "a,b"),
        ("registry_allow", ("ghcr.io/acme/*",), "ghcr.io/acme/*"),
    ],
)
def test_values_have_the_types_of_python(embedded_parts: Parts, keyword: str, value: object, text: str) -> None:
    """They are converted to the text of the environment."""
    settings = {**embedded_parts.settings, keyword: value}
    assert Proxy(**settings).settings[keyword] == text  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [b"7", object(), {"a": 1}])
def test_other_types_are_rejected(embedded_parts: Parts, value: object) -> None:
    """The message names the setting."""
    settings = {**embedded_parts.settings, "chunk_size": value}
    with pytest.raises(TypeError, match="chunk_size"):
        Proxy(**settings)  # type: ignore[arg-type]


def test_secrets_are_not_shown(embedded_parts: Parts) -> None:
    """Neither in the settings nor in a representation nor in an error."""
    settings: Settings = {
        **embedded_parts.settings,
        "client_id": "proxy",
        "client_key": SECRETS["client_key"],
        "authenticate": True,
        "registry_username": "user",
        "registry_password": SECRETS["registry_password"],
        "registry_token": SECRETS["registry_token"],
        "registry_identity_token": SECRETS["registry_identity_token"],
    }
    proxy = Proxy(**settings)
    assert {proxy.settings[name] for name in SECRETS} == {"***"}
    assert (proxy.settings["client_id"], proxy.settings["authenticate"]) == ("proxy", "true")
    assert (proxy.settings["mqtt_qos"], "share_group" in proxy.settings) == ("2", False)
    with pytest.raises(TypeError):
        proxy.settings["chunk_size"] = "1"  # type: ignore[index]
    settings["mqtt_qos"] = 9
    settings["client_key"] = "\0secret"
    with pytest.raises(ConfigurationError) as caught:
        Proxy(**settings)
    for secret in [*SECRETS.values(), "\0secret"]:
        assert secret not in f"{proxy!r} {proxy.settings} {caught.value} {caught.value!r}"


def test_embedded_parts_have_no_settings() -> None:
    """They have an address while they run."""
    registry = embedded.Registry()
    assert repr(registry) == "Registry(not started)"
    with registry:
        assert repr(registry) == f"Registry({registry.url})"
        assert registry.reference("add", "1.0") == f"{registry.url.removeprefix('http://')}/add:1.0"
        assert registry.requests == []
    with pytest.raises(RuntimeError):
        registry.push("add", embedded.ADD)
