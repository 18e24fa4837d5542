"""Brokers that are stopped, that refuse connections, and that are restarted."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from calls import Call, running
from parts import Parts, eventually
from propeller_proxy import ClosedError, UnreachableError, embedded

WASM = embedded.noise(1_000_000)


def test_a_start_without_a_broker_times_out(
    embedded_parts: Parts, embedded_broker: embedded.Broker, call: Call
) -> None:
    """For proxies and devices; it can be repeated."""
    call(embedded_broker.stop)
    proxy = embedded_parts.proxy(mqtt_timeout=0.5)
    for service in (proxy, embedded_parts.proplet(mqtt_timeout=0.5)):
        begin = time.monotonic()
        with pytest.raises(UnreachableError, match=r"within 0.5 s") as caught:
            call(service.start)
        assert 0.4 < time.monotonic() - begin < 10
        assert isinstance(caught.value, ConnectionError)
        assert (caught.value.code, caught.value.side) == ("broker-unreachable", "broker")
    call(embedded_broker.start)
    with running(call, proxy):
        assert call(proxy.deliver, embedded_parts.push()).ok


def test_refused_credentials_are_an_error(embedded_parts: Parts, call: Call) -> None:
    """The error is not retryable, and contains no key."""
    with embedded.Broker(users={"proxy": "a key"}) as broker:
        for key in ["a key", "another"]:
            proxy = embedded_parts.proxy(mqtt_address=broker.url, client_id="proxy", client_key=key)
            if key == "a key":
                call(proxy.start)
                assert call(proxy.deliver, embedded_parts.push()).ok
                call(proxy.stop)
                continue
            with pytest.raises(UnreachableError) as caught:
                call(proxy.start)
            assert (caught.value.code, caught.value.retryable) == ("broker-refused", False)
            assert key not in f"{caught.value}{proxy!r}{proxy.settings}"
    with pytest.raises(ClosedError):
        embedded.Broker().url  # noqa: B018


def test_deliveries_survive_a_restart_of_the_broker(
    embedded_parts: Parts, embedded_broker: embedded.Broker, call: Call
) -> None:
    """In the middle of a delivery: the device receives the whole module."""
    reference = embedded_parts.push("noise", WASM)
    proxy, proplet = embedded_parts.proxy(chunk_size=10_000, publish_rate=1_000_000), embedded_parts.proplet()
    with running(call, proxy, proplet), ThreadPoolExecutor(1) as thread:
        requested = thread.submit(call, proplet.request, reference, timeout=120)
        eventually(lambda: len(proplet.chunks) > 10)
        call(embedded_broker.restart)
        assert len(proplet.chunks) < 100, "it was in the middle"
        assert requested.result().data == WASM
        assert proxy.stats().connections == 2


def test_readiness_follows_the_broker(embedded_parts: Parts, embedded_broker: embedded.Broker, call: Call) -> None:
    """The proxy is ready while the broker runs; a restarted broker has the same port."""
    url, port = embedded_broker.url, embedded_broker.port
    assert (url, embedded_broker.host) == (f"tcp://127.0.0.1:{port}", "127.0.0.1")
    assert repr(embedded_broker) == f"Broker({url})"
    with running(call, proxy := embedded_parts.proxy(), proplet := embedded_parts.proplet()):
        call(embedded_broker.stop)
        assert repr(embedded_broker) == "Broker(stopped)"
        eventually(lambda: not proxy.stats().is_ready)
        call(embedded_broker.start)
        assert embedded_broker.url == url
        eventually(lambda: proxy.stats().is_ready)
        assert call(proplet.request, embedded_parts.push()).data == embedded.ADD
