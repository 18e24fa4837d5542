"""The settings, as keyword arguments.

They are the environment variables of ``docs/configuration.md`` in lower case without ``PROXY_``. What is not given as a
keyword comes from the environment of the process, and then from the defaults; a configuration file is not read.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import TypedDict

from propeller_proxy import _core

__all__ = ["Settings"]


class Settings(TypedDict, total=False):
    """Every setting.

    Durations are numbers of seconds, `timedelta`, or text such as ``"1m30s"``. Sizes are numbers of bytes, or text
    such as ``"64KiB"``. `None` is as if the setting were not given.
    """

    log_level: str | None
    instance_id: str | None
    exact_client_id: bool | str | None
    mqtt_address: str | None
    mqtt_timeout: str | float | timedelta | None
    mqtt_qos: int | str | None
    domain_id: str | None
    channel_id: str | Sequence[str] | None
    share_group: str | None
    client_id: str | None
    client_key: str | None
    mqtt_tls_ca_cert: str | PathLike[str] | None
    mqtt_tls_client_cert: str | PathLike[str] | None
    mqtt_tls_client_key: str | PathLike[str] | None
    mqtt_tls_insecure_skip_verify: bool | str | None
    registry_url: str | None
    authenticate: bool | str | None
    registry_username: str | None
    registry_password: str | None
    registry_token: str | None
    registry_identity_token: str | None
    registry_auth_file: str | PathLike[str] | None
    registry_allow: str | Sequence[str] | None
    registry_token_services: str | Sequence[str] | None
    registry_mirrors: str | Sequence[str] | None
    registry_ca_cert: str | PathLike[str] | None
    registry_client_cert: str | PathLike[str] | None
    registry_client_key: str | PathLike[str] | None
    verify_key: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    pull_policy: str | None
    tag_ttl: str | float | timedelta | None
    fetch_timeout: str | float | timedelta | None
    max_module_size: int | str | None
    cache_dir: str | PathLike[str] | None
    cache_size: int | str | None
    state_dir: str | PathLike[str] | None
    tag_moves: str | None
    max_requests: int | str | None
    max_fetches: int | str | None
    max_in_flight: int | str | None
    publish_rate: int | str | None
    max_repeats: int | str | None
    max_passes: int | str | None
    chunk_size: int | str | None


_PREFIX = "PROXY_"
_DURATIONS = frozenset({"mqtt_timeout", "tag_ttl", "fetch_timeout"})
# What is looked up beside the settings: where the user's and the system's files are.
_PLACES = (
    "HOME",
    "DOCKER_CONFIG",
    "CACHE_DIRECTORY",
    "STATE_DIRECTORY",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


def _keyword(variable: str) -> str:
    return variable.lower().removeprefix(_PREFIX.lower())


# The keyword, and all variables that mean it, those first that win; a secret may be in a file that a variable names.
_VARIABLES = {
    _keyword(names[0]): [*names, *old_names, *(f"{name}_FILE" for name in names if secret)]
    for names, old_names, _default, _accepts, _help, secret in _core.SETTINGS
}


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return what the core is to read: the environment of the process, with `settings` in place of what it says.

    Raises `TypeError` for a keyword that is not a setting, and for a value of a type that no setting has. Whether a
    value is accepted is the core's to say.
    """
    variables = [*_PLACES, *(name for names in _VARIABLES.values() for name in names)]
    merged = {name: os.environ[name] for name in variables if name in os.environ}
    for keyword, value in settings.items():
        if keyword not in _VARIABLES:
            raise TypeError(f"there is no setting {keyword!r}{_nearest(keyword)}")
        if value is not None:
            for name in _VARIABLES[keyword]:
                merged.pop(name, None)
            merged[_VARIABLES[keyword][0]] = _text(keyword, value)
    return merged


def readable(environment: Mapping[str, str]) -> dict[str, str]:
    """Return every setting that has a value, by its keyword; defaults are among them, and secrets are ``"***"``."""
    values = {}
    for names, _old_names, default, _accepts, _help, secret in _core.SETTINGS:
        keyword = _keyword(names[0])
        given = next(filter(None, map(environment.get, _VARIABLES[keyword])), None)
        if value := given or default:
            values[keyword] = "***" if secret else value
    return values


def _text(keyword: str, value: object) -> str:
    """Write one value as the environment has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, (int, float)):
        # Never with an exponent, which durations do not have.
        return f"{value:.9f}".rstrip("0").rstrip(".") + "s" if keyword in _DURATIONS else str(value)
    if isinstance(value, PathLike):
        return os.fsdecode(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return ",".join(_text(keyword, item) for item in value)
    raise TypeError(f"{keyword} cannot be of type {type(value).__name__}")


def _nearest(keyword: str) -> str:
    """Say which setting may be meant."""
    import difflib

    spellings = {_keyword(name): right for right, names in _VARIABLES.items() for name in names}
    near = difflib.get_close_matches(_keyword(keyword), spellings, 1, cutoff=0.5)
    return f"; did you mean {spellings[near[0]]!r}?" if near else ""
