"""Fixtures for tests that deliver modules: an MQTT broker, an OCI registry, proxies and devices.

pytest loads this module wherever the package is installed. It starts no server before a test uses a fixture.
``docs/testing.md`` is the guide.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import pytest

from propeller_proxy._servers import BROKER, REGISTRY, Broker, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from typing_extensions import Unpack

    from propeller_proxy import Proplet, Proxy, Settings
    from propeller_proxy._watch import Watch

OWN_BROKERS = ("mosquitto", "embedded")
CONNECT_TIMEOUT = 5.0
"""Longest wait for the broker of `--propeller-broker` to accept a connection, seconds."""
FIXTURES = {
    "propeller_broker",
    "propeller_broker_factory",
    "propeller_proxy",
    "propeller_proxy_factory",
    "propeller_registry",
    "propeller_registry_factory",
    "proplet",
    "proplet_factory",
}

_WATCH = pytest.StashKey["Watch"]()
_REPAIRS = pytest.StashKey["list[Callable[[], object]]"]()


class BrokerFactory(Protocol):
    """The type of `propeller_broker_factory`."""

    def __call__(self, kind: Literal["mosquitto", "embedded"] | None = None) -> Broker:
        """Return a new broker, running; without `kind`, of the kind of `propeller_broker`."""


class RegistryFactory(Protocol):
    """The type of `propeller_registry_factory`."""

    def __call__(self) -> Registry:
        """Return a new embedded registry, running."""


class ProxyFactory(Protocol):
    """The type of `propeller_proxy_factory`."""

    def __call__(self, **settings: Unpack[Settings]) -> Proxy:
        """Return a new proxy, started; `settings` override those of the marker."""


class PropletFactory(Protocol):
    """The type of `proplet_factory`."""

    def __call__(self, proxy: Proxy | None = None, **kwargs: Any) -> Proplet:
        """Return a new device, started, on the channel of `proxy` or else of `propeller_proxy`."""


@pytest.fixture(scope="session")
def propeller_broker(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Provide an MQTT broker: .url .host .port .kind .stop() .start() .restart().

    It is the one that --propeller-broker names, or else a mosquitto if it is installed, or else the embedded one. It
    serves all tests, with pytest-xdist those of one worker. If a test leaves it stopped, it is started for the next.
    """
    option: str | None = pytestconfig.getoption(BROKER)
    if option is None or option in OWN_BROKERS:
        with ExitStack() as stack:
            broker = _broker(option, tmp_path_factory, stack)
            with _repaired_after_each_test(pytestconfig, broker.start):
                yield broker
        return
    broker = Broker("external", option)
    try:
        socket.create_connection((broker.host, broker.port), CONNECT_TIMEOUT).close()
    except OSError as error:
        pytest.fail(f"{BROKER} {option}: no connection to {broker.host}:{broker.port}: {error}", pytrace=False)
    yield broker


@pytest.fixture(scope="session")
def propeller_registry(pytestconfig: pytest.Config) -> Iterator[Registry]:
    """Provide an OCI registry: .url .push(name, wasm) .reference(name) .fail_next(status) .tamper(digest) .requests.

    It is the one that --propeller-registry names, or else an embedded one. It serves all tests, with pytest-xdist those
    of one worker. The effect of fail_next() ends with the test.
    """
    option: str | None = pytestconfig.getoption(REGISTRY)
    if option is not None:
        yield Registry(option)
        return
    with ExitStack() as stack:
        registry = _registry(stack)
        with _repaired_after_each_test(pytestconfig, lambda: registry.fail_next(500, times=0)):
            yield registry


@pytest.fixture
def propeller_broker_factory(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerFactory]:
    """Start further MQTT brokers, one a call; they end with the test.

    Each is a mosquitto if it is installed, else the embedded one; or kind="mosquitto" or kind="embedded", here or as
    --propeller-broker, says which.
    """
    option: str | None = pytestconfig.getoption(BROKER)
    usual = option if option in OWN_BROKERS else None
    with ExitStack() as stack:

        def make(kind: Literal["mosquitto", "embedded"] | None = None) -> Broker:
            return _broker(kind or usual, tmp_path_factory, stack)

        yield make


@pytest.fixture
def propeller_registry_factory() -> Iterator[RegistryFactory]:
    """Start further OCI registries, embedded ones, one a call; they end with the test."""
    with ExitStack() as stack:
        yield lambda: _registry(stack)


@pytest.fixture
def propeller_proxy_factory(
    request: pytest.FixtureRequest, tmp_path: Path, propeller_broker: Broker, propeller_registry: Registry
) -> Iterator[ProxyFactory]:
    """Start further proxies, one a call, which takes settings such as chunk_size=1000; they end with the test.

    Each has a domain, a channel, a store and a state of its own, unless they are given, and uses propeller_broker and
    propeller_registry. Settings come from @pytest.mark.propeller(...) and from the call, which takes precedence.
    """
    import uuid

    watch = _watch(request.node)
    marked = _marked(request.node)
    count = 0
    with ExitStack() as stack:

        def make(**settings: Unpack[Settings]) -> Proxy:
            nonlocal count
            folder = tmp_path / f"propeller-proxy-{count}"
            count += 1
            defaults: Settings = {
                "mqtt_address": propeller_broker.url,
                "registry_url": propeller_registry.url,
                "domain_id": str(uuid.uuid4()),
                "channel_id": str(uuid.uuid4()),
                "cache_dir": folder / "cache",
                "state_dir": folder / "state",
                # Not those of the environment, which all proxies of the test would share.
                "instance_id": "",
                "share_group": "",
            }
            merged = cast("Settings", {**defaults, **marked, **settings})
            return stack.enter_context(watch.proxy(merged))

        yield make


@pytest.fixture
def propeller_proxy(propeller_proxy_factory: ProxyFactory) -> Proxy:
    """Provide a started proxy with a domain, a channel, a store and a state of its own.

    Its settings come from @pytest.mark.propeller(...).
    """
    return propeller_proxy_factory()


@pytest.fixture
def proplet_factory(request: pytest.FixtureRequest) -> Iterator[PropletFactory]:
    """Start further devices, one a call; they end with the test.

    The call takes the proxy whose channel the device uses, by default propeller_proxy, and the arguments of Proplet,
    such as strict=True.
    """
    from propeller_proxy import Proplet

    marked = _marked(request.node)
    credentials: dict[str, Any] = {name: marked[name] for name in ("client_id", "client_key") if name in marked}
    with ExitStack() as stack:

        def make(proxy: Proxy | None = None, **kwargs: Any) -> Proplet:
            if proxy is None:
                proxy = cast("Proxy", request.getfixturevalue("propeller_proxy"))
            options: dict[str, Any] = {
                "broker_url": proxy.settings["mqtt_address"],
                "domain": proxy.settings["domain_id"],
                "channel": proxy.settings["channel_id"].partition(",")[0],
                **credentials,
                **kwargs,
            }
            return stack.enter_context(Proplet(**options))

        yield make


@pytest.fixture
def proplet(propeller_proxy: Proxy, proplet_factory: PropletFactory) -> Proplet:
    """Provide a started device on the channel of propeller_proxy: .request(reference) returns the module."""
    return proplet_factory(propeller_proxy)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for servers that run already."""
    group = parser.getgroup("propeller", "propeller_proxy")
    group.addoption(
        BROKER,
        metavar="URL",
        help="MQTT broker for the fixture propeller_broker; 'mosquitto' or 'embedded': start that one. "
        "By default a mosquitto if it is installed, else the embedded one.",
    )
    group.addoption(
        REGISTRY,
        metavar="URL",
        help="OCI registry for the fixture propeller_registry. By default an embedded one.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and check the options."""
    broker = config.getoption(BROKER)
    if broker is not None and broker not in OWN_BROKERS and "://" not in broker:
        raise pytest.UsageError(f"{BROKER} {broker}: neither a URL such as tcp://host:1883, nor mosquitto or embedded")
    config.addinivalue_line(
        "markers",
        "propeller(**settings): settings of the test's proxies, such as chunk_size=1000; qos is short for mqtt_qos.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Watch a test that uses the fixtures, and check its settings."""
    if not FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        _watch(item)
    _marked(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Repair the session's servers, and end the watch after everything else."""
    try:
        return (yield)
    finally:
        # Every step runs, whichever fails.
        with ExitStack() as last:
            if (watch := item.stash.get(_WATCH, None)) is not None:
                last.callback(watch.close)
            for repair in item.config.stash.get(_REPAIRS, []):
                last.callback(repair)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add log and events to the report of a failure, and drop the watch after the last report."""
    report = yield
    watch = item.stash.get(_WATCH, None)
    if watch is not None:
        if report.failed:
            report.sections.extend(watch.sections())
        if report.when == "teardown":
            del item.stash[_WATCH]
    return report


def _broker(kind: str | None, folders: pytest.TempPathFactory, stack: ExitStack) -> Broker:
    # A broker that runs until `stack` is closed.
    from propeller_proxy import _mosquitto, embedded

    program = None if kind == "embedded" else _mosquitto.find()
    if program is not None:
        broker = Broker("mosquitto", _mosquitto.Mosquitto(program, folders.mktemp("propeller-mosquitto")))
    elif kind == "mosquitto":
        pytest.fail("mosquitto is not in PATH, nor in the sbin beside one of its folders", pytrace=False)
    else:
        broker = Broker("embedded", embedded.Broker())
    stack.callback(broker.stop)
    broker.start()
    return broker


def _registry(stack: ExitStack) -> Registry:
    # An embedded registry that runs until `stack` is closed.
    from propeller_proxy import embedded

    return Registry(stack.enter_context(embedded.Registry()))


@contextmanager
def _repaired_after_each_test(config: pytest.Config, repair: Callable[[], object]) -> Iterator[None]:
    # A session's servers are used by the next test as well.
    repairs = config.stash.setdefault(_REPAIRS, [])
    repairs.append(repair)
    try:
        yield
    finally:
        repairs.remove(repair)


def _watch(item: pytest.Item) -> Watch:
    # The watch of a running test. `fixturenames` does not list fixtures of getfixturevalue().
    from propeller_proxy._watch import Watch

    watch = item.stash.get(_WATCH, None)
    if watch is None:
        watch = item.stash[_WATCH] = Watch()
    return watch


def _marked(item: pytest.Item) -> dict[str, Any]:
    # The settings of the markers: those of the function override those of its class and module.
    settings: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("propeller"))):
        if marker.args:
            _fail("settings have names, such as chunk_size=1000")
        given = dict(marker.kwargs)
        if "qos" in given:
            if "mqtt_qos" in given:
                _fail("qos and mqtt_qos are the same; give one of them")
            given["mqtt_qos"] = given.pop("qos")
        settings.update(given)
    if not settings:
        return settings
    from propeller_proxy.settings import environment

    try:
        environment(settings)
    except TypeError as error:
        _fail(str(error))
    return settings


def _fail(reason: str) -> None:
    pytest.fail(f"@pytest.mark.propeller: {reason}", pytrace=False)
