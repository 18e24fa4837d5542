"""Proxies and devices: deliveries, their reports and their errors."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from calls import Call, running
from parts import CHANNEL, DOMAIN, Parts, Silent, eventually
from propeller_proxy import (
    BadModuleError,
    BadReferenceError,
    ClosedError,
    ConfigurationError,
    DeliveryError,
    DeliveryTimeoutError,
    NotFoundError,
    Proxy,
    ProxyError,
    Report,
    chunk,
    embedded,
)
from propeller_proxy.embedded import ADD

WASM = embedded.noise(1_000_000)
DIGEST = f"sha256:{sha256(WASM).hexdigest()}"


def test_devices_receive_pushed_modules(parts: Parts, call: Call) -> None:
    """Every chunk once and in order, and verified."""
    reference = parts.push("acme/noise", WASM)
    proxy, proplet = parts.proxy(chunk_size=100_000), parts.proplet(strict=True)
    with running(call, proxy, proplet):
        module = call(proplet.request, reference)
        assert (module.data, module.digest, module.reference, module.size) == (WASM, DIGEST, reference, len(WASM))
        assert module.verified
        assert (module.media_type, module.shape, module.root) == (None, None, None)
        chunks = proplet.chunks
        assert [(seen.index, seen.total_chunks, seen.size) for seen in chunks] == [(i, 10, 100_000) for i in range(10)]
        assert {(seen.app_name, seen.outcome) for seen in chunks} == {(reference, "stored")}
        assert abs(chunks[0].time - time.time()) < 60
        # The device may have the module before the proxy has the last acknowledgement.
        eventually(lambda: proxy.stats().delivered)
        stats = proxy.stats()
        assert (stats.requests, stats.published_chunks, stats.acknowledged_chunks) == (1, 10, 10)


def test_deliveries_are_reported(parts: Parts, call: Call) -> None:
    """The numbers are those of the plan."""
    reference = parts.push("acme/noise", WASM)
    with running(call, proxy := parts.proxy(chunk_size=300_000)):
        report = call(proxy.deliver, reference)
        assert report.ok
        assert (report.reference, report.digest, report.size, report.error) == (reference, DIGEST, len(WASM), None)
        assert (report.chunk_size, report.total_chunks, report.sent_chunks, report.requests) == (300_000, 4, 4, 1)
        assert report.wire_bytes == chunk(WASM, 300_000, app_name=reference).wire_bytes
        assert report.seconds == report.fetch_seconds + report.send_seconds > 0
        assert report.megabytes_per_second == pytest.approx(1 / report.seconds)
        assert repr(report).startswith(f"Report('{reference}', 1000000 bytes in 4 chunks, ")
        stats = proxy.stats()
        assert (stats.requests, stats.joined, stats.delivered, stats.failed, stats.repeated) == (1, 0, 1, 0, 0)
        assert (stats.published_chunks, stats.acknowledged_chunks) == (4, 4)
        assert stats.published_bytes == report.wire_bytes
        assert (stats.open_transfers, stats.connections, stats.is_ready) == (0, 1, True)
    assert "&lt;" in Report("<script>")._repr_html_()
    assert "<script>" not in Report("<script>")._repr_html_()


def test_blocks_start_and_stop(embedded_parts: Parts) -> None:
    """``with`` and ``async with``, one after the other."""
    reference = embedded_parts.push()
    proxy, proplet = embedded_parts.proxy(), embedded_parts.proplet()
    with proxy as entered, proplet:
        assert entered is proxy
        assert proplet.request(reference).data == ADD

    async def again() -> bytes:
        async with proxy as entered, proplet:
            assert entered is proxy
            return (await proplet.request_async(reference)).data

    assert asyncio.run(again()) == ADD
    with pytest.raises(ClosedError):
        proxy.stats()


def test_calls_need_a_started_object(embedded_parts: Parts, call: Call) -> None:
    """Before the start and after the stop, they raise; a second start or stop has no effect."""
    reference = embedded_parts.push()
    proxy, proplet = embedded_parts.proxy(), embedded_parts.proplet()
    assert proxy.instance_id is None
    for state in ["not started", "stopped"]:
        assert state in repr(proxy)
        assert state in repr(proplet)
        for closed in (proxy.stats, proxy.events):
            with pytest.raises(ClosedError, match=state):
                closed()
        for method in (proxy.deliver, proplet.request, proplet.ask):
            with pytest.raises(ClosedError, match=state) as caught:
                call(method, reference)
            assert isinstance(caught.value, RuntimeError)
            assert (caught.value.code, bool(caught.value.hint)) == ("closed", True)
        call(proxy.stop)
        for service in (proxy, proplet):
            call(service.start)
            call(service.start)
        assert call(proplet.request, reference).data == ADD
        assert call(proxy.deliver, reference).ok
        assert proxy.stats().requests == 2
        assert proxy.instance_id
        assert f"domain '{DOMAIN}', channel '{CHANNEL}', {embedded_parts.broker_url}, running" in repr(proxy)
        for service in (proplet, proxy):
            call(service.stop)
            call(service.stop)


def test_a_proxy_of_several_channels_needs_the_channel(embedded_parts: Parts, call: Call) -> None:
    """A channel that the proxy does not serve is rejected."""
    reference = embedded_parts.push()
    proxy, proplet = embedded_parts.proxy(channel_id=["other", CHANNEL]), embedded_parts.proplet(layout="messages")
    with running(call, proxy, proplet):
        report = call(proxy.deliver, reference, channel=CHANNEL, layout="messages")
        assert report.sent_chunks == len(eventually(lambda: proplet.chunks)) == 1
        assert call(proxy.deliver, reference, channel="other", domain=DOMAIN).ok
        for channel, domain, layout, code in [
            (None, None, "plain", "configuration"),
            (CHANNEL, None, "round", "configuration"),
            ("absent", None, "plain", "not-served"),
            (CHANNEL, "absent", "plain", "not-served"),
        ]:
            with pytest.raises(ValueError, match=r"channel|layout") as caught:
                call(proxy.deliver, reference, channel=channel, domain=domain, layout=layout)
            assert isinstance(caught.value, ProxyError)
            assert caught.value.code == code
        assert len(proplet.chunks) == 1
    with pytest.raises(ConfigurationError, match="plain or messages"):
        embedded_parts.proplet(layout="round")


def test_digests_are_compared(embedded_parts: Parts, proxy: Proxy, call: Call) -> None:
    """With the caller's, even if the status message has another one."""
    reference = embedded_parts.push("noise", WASM)
    with running(call, proplet := embedded_parts.proplet()):
        assert call(proplet.request, reference, digest=DIGEST).verified
        with pytest.raises(BadModuleError) as caught:
            call(proplet.request, reference, digest=f"sha256:{'0' * 64}")
        assert caught.value.code == "digest-mismatch"
        assert DIGEST in str(caught.value)
        for wrong in ["", "sha256:0"]:
            with pytest.raises(ValueError, match="64 hexadecimal digits"):
                call(proplet.request, reference, digest=wrong)


def test_strict_devices_reject_repeated_chunks(embedded_parts: Parts, call: Call) -> None:
    """Two proxies without a common group send every chunk twice."""
    reference = embedded_parts.push("noise", WASM)
    proxies = (
        embedded_parts.proxy(chunk_size=50_000, publish_rate=2_000_000),
        embedded_parts.proxy(chunk_size=60_000, publish_rate=2_000_000, state_dir=embedded_parts.folder / "2"),
    )
    with running(call, *proxies, strict := embedded_parts.proplet(strict=True)):
        with pytest.raises(DeliveryError, match=r"again|another total") as caught:
            call(strict.request, reference)
        assert isinstance(caught.value, ValueError)
        assert (caught.value.code, caught.value.reference) == ("irregular", reference)
        assert {seen.outcome for seen in strict.chunks} & {"repeated", "other-total"}


def test_unknown_images_fail_at_once(embedded_parts: Parts, proxy: Proxy, call: Call) -> None:
    """A device does not wait for its timeout."""
    host = embedded_parts.push().rpartition("/")[0]
    with running(call, proplet := embedded_parts.proplet()):
        for name, code in [("absent:1.0", "unknown-image"), ("Not A Name", "bad-reference")]:
            for method in (proxy.deliver, proplet.request):
                begin = time.monotonic()
                with pytest.raises((NotFoundError, BadReferenceError)) as caught:
                    call(method, f"{host}/{name}", timeout=60)
                assert time.monotonic() - begin < 30
                assert (caught.value.code, caught.value.reference) == (code, f"{host}/{name}")
    eventually(lambda: proxy.stats().failed >= 2)


def test_calls_have_timeouts(embedded_parts: Parts, call: Call) -> None:
    """The proxy cancels a transfer that timed out."""
    with running(call, proplet := embedded_parts.proplet()), pytest.raises(DeliveryTimeoutError) as caught:
        call(proplet.request, "localhost:1/add", timeout=0.2)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.code, caught.value.retryable, bool(caught.value.hint)) == ("timeout", True, True)
    with Silent() as silent, running(call, proxy := embedded_parts.proxy(registry_url=f"127.0.0.1:{silent.port}")):
        with pytest.raises(DeliveryTimeoutError, match=r"add was not done within 0.5 s") as caught:
            call(proxy.deliver, "add", timeout=0.5)
        assert (caught.value.code, caught.value.reference) == ("timeout", "add")
        eventually(lambda: proxy.stats().open_transfers == 0)


def test_a_hundred_requests_at_once(embedded_parts: Parts, proxy: Proxy) -> None:
    """In one event loop, for a hundred modules."""
    modules = [embedded.noise(10_000 + number, seed=number) for number in range(100)]
    references = [embedded_parts.push(f"noise-{number}", wasm) for number, wasm in enumerate(modules)]

    async def all_of_them() -> list[bytes]:
        async with embedded_parts.proplet() as proplet:
            return [bytes(module) for module in await asyncio.gather(*map(proplet.request_async, references))]

    assert asyncio.run(all_of_them()) == modules
    eventually(lambda: proxy.stats().delivered == 100)


def test_threads_share_a_proxy(embedded_parts: Parts, proxy: Proxy) -> None:
    """Twenty of them deliver at once, half of them the same."""
    references = [embedded_parts.push(f"noise-{number % 10}", WASM) for number in range(20)]
    with ThreadPoolExecutor(20) as threads:
        reports = list(threads.map(proxy.deliver, references))
    assert [report.reference for report in reports] == references
    assert {report.digest for report in reports} == {DIGEST}
    assert proxy.stats().requests == 20
    assert proxy.stats().open_transfers == 0
