"""Errors: their codes, classes and texts."""

import copy
import pickle
import re
from pathlib import Path

import pytest
from propeller_proxy import (
    BadModuleError,
    BadReferenceError,
    BusyError,
    ClosedError,
    ConfigurationError,
    DeliveryError,
    DeliveryTimeoutError,
    DeniedError,
    DiskError,
    NotFoundError,
    ProxyError,
    Registry,
    SetupError,
    UnreachableError,
    _core,
    errors,
)

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "errors.md"
BUILT_IN: dict[type[ProxyError], type[Exception]] = {
    BadModuleError: ValueError,
    BadReferenceError: ValueError,
    BusyError: RuntimeError,
    ClosedError: RuntimeError,
    ConfigurationError: ValueError,
    DeliveryError: ValueError,
    DeliveryTimeoutError: TimeoutError,
    DeniedError: PermissionError,
    DiskError: OSError,
    NotFoundError: FileNotFoundError,
    SetupError: RuntimeError,
    UnreachableError: ConnectionError,
}
OWN_CODES = {"configuration", "closed", "forked", "cancelled"}
"""Codes of this package, beside those of the core."""


def make(code: str) -> ProxyError:
    """Return an error of the core with this code."""
    return errors._error(
        code=code,
        message="It is so.",
        stage="fetch",
        side="registry",
        reference="localhost/add",
        retryable=True,
        hint="Do this.",
    )


def test_every_code_is_documented() -> None:
    """And every documented code exists, in the same order."""
    table = re.findall(r"^\| `([a-z-]+)` \|", DOCUMENTATION.read_text(), re.MULTILINE)
    assert [code for code in table if code not in OWN_CODES] == _core.ERROR_CODES


def test_every_code_has_a_class() -> None:
    """Except ``reported``, and codes of later versions."""
    for code in [*_core.ERROR_CODES, *OWN_CODES]:
        error = make(code)
        assert (type(error) is ProxyError) == (code == "reported"), code
        assert error.code == code
    assert type(make("of a later version")) is ProxyError
    known = {code for codes in errors._CODES.values() for code in codes.split()}
    assert known <= {*_core.ERROR_CODES, *OWN_CODES}


def test_every_class_is_a_built_in_one_as_well() -> None:
    """For callers that do not know this package."""
    leaves = {make(code).__class__ for code in [*_core.ERROR_CODES, *OWN_CODES]} - {ProxyError}
    assert leaves == set(BUILT_IN) == set(ProxyError.__subclasses__())
    for leaf, built_in in BUILT_IN.items():
        assert issubclass(leaf, built_in)
        assert leaf.__name__ in errors.__all__
    # The fields of OSError are empty.
    error = make("unknown-image")
    assert isinstance(error, OSError)
    assert (error.errno, error.filename, error.args) == (None, None, ("It is so.",))


@pytest.mark.parametrize("code", [*_core.ERROR_CODES, *sorted(OWN_CODES)])
def test_errors_can_be_pickled_and_copied(code: str) -> None:
    """As for exceptions of other processes."""
    error = make(code)
    error.add = "of the caller"  # type: ignore[attr-defined]
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(same) is type(error)
        assert vars(same) == vars(error)
        assert (str(same), same.args) == (str(error), error.args)


def test_messages_end_with_the_hint() -> None:
    """On a line of its own, if there is one."""
    assert str(make("disk")) == "It is so.\nhint: Do this."
    assert str(errors._error(code="disk", message="It is so.")) == "It is so."
    assert "It is so." in repr(make("disk"))


def test_errors_have_stage_and_side(tmp_path: Path) -> None:
    """And whether a retry may succeed."""
    with pytest.raises(ProxyError) as caught:
        Registry("localhost:1", cache_dir=tmp_path, fetch_timeout=0.3).fetch("add")
    error = caught.value
    assert (error.code, error.stage, error.side) == ("registry-unreachable", "fetch", "registry")
    assert (error.reference, error.retryable) == ("localhost:1/add:latest", True)
    assert error.message
    assert error.hint
    assert pickle.loads(pickle.dumps(error)).hint == error.hint
