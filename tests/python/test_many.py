"""Many deliveries at once, and the table of their reports."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from calls import Call
from parts import Parts, Silent, eventually
from propeller_proxy import (
    BadReferenceError,
    ClosedError,
    DeliveryTimeoutError,
    NotFoundError,
    Progress,
    Proxy,
    ProxyError,
    Report,
    Reports,
    Settings,
    deliver_many,
    embedded,
)
from servers import DEADLINE

WASM = embedded.noise(100_000)


@pytest.fixture
def names(embedded_parts: Parts) -> list[str]:
    """Return two modules that exist, an image that does not, and a wrong reference."""
    host = embedded_parts.push("noise", WASM).partition("/")[0]
    return [f"{host}/noise:1.0", f"{host}/absent:1.0", embedded_parts.push("add"), f"{host}/Not A Name"]


def test_everything_has_a_report(proxy: Proxy, names: list[str], call: Call) -> None:
    """In the order of the references, failed or not."""
    reports = call(deliver_many, names, proxy=proxy, progress=None)
    assert [report.reference for report in reports] == names
    assert [report.ok for report in reports] == [True, False, True, False]
    assert [report.reference for report in reports.delivered] == names[::2]
    assert [report.error.code for report in reports.failed if report.error] == ["unknown-image", "bad-reference"]
    assert (reports[0].size, reports[0].sent_chunks, reports[1].size, reports[1].digest) == (100_000, 1, 0, None)
    assert repr(reports) == "Reports(2 delivered, 2 failed)"
    assert repr(reports[1]) == f"Report('{names[1]}', failed: unknown-image)"


def test_reports_are_a_table(proxy: Proxy, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As text, in HTML and for pandas."""
    reports = deliver_many(names, proxy=proxy, progress=None)
    head, rule, *rows = str(reports).splitlines()
    assert head.split("|")[1].strip() == "module"
    assert set(rule) == {"|", "-"}
    assert {len(line) for line in (head, rule, *rows)} == {len(head)}
    for name, row, result in zip(
        names, rows, ["delivered", "unknown-image", "delivered", "bad-reference"], strict=True
    ):
        assert [row.split("|")[1].strip(), row.split("|")[-2].strip()] == [name, result]
    html = Reports([Report("<script>", error=ProxyError("<script>", "<script>"))])._repr_html_()
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 2
    assert reports._repr_html_().count("<tr>") == 5
    frame = reports.to_pandas()
    assert list(frame["reference"]) == names
    assert list(frame["error"].fillna("")) == ["", "unknown-image", "", "bad-reference"]
    assert str(Reports()).startswith("| module |")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"propeller-proxy\[pandas\]"):
        reports.to_pandas()


def test_raise_for_failures(proxy: Proxy, names: list[str], call: Call) -> None:
    """Raises one failure itself, and one error that lists several."""
    reports = call(deliver_many, names, proxy=proxy, progress=None)
    Reports(reports.delivered).raise_for_failures()
    with pytest.raises(NotFoundError) as one:
        Reports(reports[:3]).raise_for_failures()
    assert one.value is reports[1].error
    with pytest.raises(ProxyError, match="2 of 4 deliveries failed") as several:
        reports.raise_for_failures()
    assert not isinstance(several.value, (NotFoundError, BadReferenceError))
    for report in reports.failed:
        assert report.error
        assert report.reference in str(several.value)
        assert report.error.message in str(several.value)
    with pytest.raises(ProxyError) as alike:
        Reports([reports[1], reports[1]]).raise_for_failures()
    assert (alike.value.code, several.value.code, alike.value.retryable) == ("unknown-image", "several", False)


def test_without_a_proxy_one_runs_meanwhile(embedded_parts: Parts, names: list[str], call: Call) -> None:
    """With the given settings; it stops after the call."""
    settings: Settings = {**embedded_parts.settings, "chunk_size": 1000}
    for _ in range(2):
        reports = call(deliver_many, names[:1], progress=None, **settings)
        assert [report.sent_chunks for report in reports] == [100]
    assert call(deliver_many, [], progress=None, **settings) == ()


def test_concurrency_is_bounded(embedded_parts: Parts, proxy: Proxy, call: Call) -> None:
    """All references are delivered, repeated ones repeatedly."""
    names = [embedded_parts.push(f"noise-{number}", WASM) for number in range(10)]
    seen: list[Progress] = []
    reports = call(deliver_many, [*names, *names], proxy=proxy, concurrency=1, progress=seen.append)
    assert len(reports.delivered) == 20
    assert proxy.stats().joined == 0
    assert seen[-1] == Progress("deliveries", 20, 20, "modules")
    assert call(deliver_many, iter(names), proxy=proxy, concurrency=100, progress=None).failed == []
    for concurrency in (0, -1):
        with pytest.raises(ValueError, match="concurrency"):
            call(deliver_many, names, proxy=proxy, concurrency=concurrency)


def test_each_delivery_has_its_own_timeout(embedded_parts: Parts, call: Call) -> None:
    """From its begin; other deliveries go on."""
    with Silent() as silent:
        allowed = f"127.0.0.1:{silent.port}"
        names = [f"{allowed}/add", embedded_parts.push("noise", WASM), f"{allowed}/other"]
        with embedded_parts.proxy(registry_allow=f"{allowed}/*") as proxy:
            reports = call(deliver_many, names, proxy=proxy, concurrency=1, timeout=1, progress=None)
            assert [report.ok for report in reports] == [False, True, False]
            for report in reports.failed:
                assert isinstance(report.error, DeliveryTimeoutError)
                assert report.error.reference == report.reference
            eventually(lambda: proxy.stats().open_transfers == 0)


def test_a_proxy_that_stops_fails_the_rest(embedded_parts: Parts, call: Call) -> None:
    """Deliveries under way, and those that have not begun."""
    with Silent() as silent, ThreadPoolExecutor(1) as thread:
        host = f"127.0.0.1:{silent.port}"
        with embedded_parts.proxy(registry_url=host) as proxy:
            names = ["add:1", "add:2", "add:3"]
            delivered = thread.submit(call, deliver_many, names, proxy=proxy, concurrency=1, progress=None)
            eventually(lambda: proxy.stats().open_transfers == 1)
        reports = delivered.result(DEADLINE)
        assert [report.reference for report in reports] == names
        assert all(isinstance(report.error, ClosedError) for report in reports)


def test_a_proxy_or_settings(embedded_parts: Parts, proxy: Proxy, call: Call) -> None:
    """Not both, and the proxy must run."""
    with pytest.raises(TypeError, match="mqtt_qos"):
        call(deliver_many, [], proxy=proxy, mqtt_qos=1)
    with pytest.raises(ClosedError):
        call(deliver_many, [], proxy=embedded_parts.proxy())
    with pytest.raises(ValueError, match="PROXY_DOMAIN_ID"):
        call(deliver_many, [])
    reports = call(deliver_many, [embedded_parts.push()], proxy=proxy, channel="absent", progress=None)
    assert [report.error.code for report in reports if report.error] == ["not-served"]


def test_a_name_that_is_no_unicode_fails_alone(proxy: Proxy, names: list[str], call: Call) -> None:
    """The other reports are complete."""
    reports = call(deliver_many, [names[0], "\ud800"], proxy=proxy, progress=None)
    assert [report.ok for report in reports] == [True, False]
    assert isinstance(reports[1].error, BadReferenceError)
    assert [report.ok for report in reports[1:]] == [False]
    assert isinstance(reports[1:], Reports)


def test_one_reference_is_no_list(proxy: Proxy, names: list[str], call: Call) -> None:
    """A string would be a list of letters."""
    with pytest.raises(TypeError, match="list of references"):
        call(deliver_many, names[0], proxy=proxy, progress=None)
