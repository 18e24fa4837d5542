"""Progress: calls of a function, bars, and lines."""

import re
import sys
import time
from collections.abc import Callable

import pytest
from calls import Call, running
from parts import Parts
from propeller_proxy import Progress, Proxy, Registry, deliver_many, embedded, progress

WASM = embedded.noise(1_000_000)


@pytest.fixture
def no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide tqdm, as if it were not installed."""
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)


def test_functions_are_called(embedded_parts: Parts, call: Call) -> None:
    """Now and then, and at the end with the total."""
    reference = embedded_parts.push("noise", WASM)
    proxy, proplet = embedded_parts.proxy(chunk_size=10_000, publish_rate=2_000_000), embedded_parts.proplet()
    client = Registry(embedded_parts.registry_url, cache_dir=embedded_parts.folder / "client")
    calls: list[tuple[Callable[..., object], int, str]] = [
        (client.fetch, len(WASM), "bytes"),
        # From the store.
        (client.fetch, len(WASM), "bytes"),
        (proplet.request, 100, "chunks"),
        (proxy.deliver, 100, "chunks"),
        # The device has every chunk already.
        (proplet.request, 100, "chunks"),
    ]
    with running(call, proxy, proplet):
        for method, total, unit in calls:
            seen: list[Progress] = []
            call(method, reference, progress=seen.append)
            assert {(now.label, now.unit) for now in seen} == {(reference, unit)}
            assert seen[-1] == Progress(reference, total, total, unit)
            assert [now.done for now in seen] == sorted(now.done for now in seen)
            assert len(seen) == len(set(seen))
            assert len(seen) > 1 or method != proxy.deliver


def test_an_exception_of_the_function_ends_the_call(embedded_parts: Parts, call: Call) -> None:
    """And cancels the delivery."""
    reference = embedded_parts.push("noise", WASM)

    def stop(now: Progress) -> None:
        raise KeyError(now.label)

    with running(call, proxy := embedded_parts.proxy(chunk_size=1000, publish_rate=1_000_000)):
        with pytest.raises(KeyError, match="noise"):
            call(proxy.deliver, reference, progress=stop)
        assert proxy.stats().delivered == 0


def test_lines_are_written_without_tqdm(
    no_tqdm: None, capsys: pytest.CaptureFixture[str], embedded_parts: Parts, call: Call
) -> None:
    """To standard error: at most one a second, and the last one."""
    reference = embedded_parts.push("noise", WASM)
    with running(call, proxy := embedded_parts.proxy(chunk_size=1000, publish_rate=1_000_000)):
        begin = time.monotonic()
        call(proxy.deliver, reference, progress=True)
        seconds = time.monotonic() - begin
    out, err = capsys.readouterr()
    *lines, last = err.splitlines()
    assert out == ""
    assert last == f"{reference}: 1,000 of 1,000 chunks"
    assert 1 <= len(lines) <= seconds
    assert all(re.fullmatch(re.escape(reference) + r": [\d,]+ of 1,000 chunks", line) for line in lines)


def test_bars_are_drawn_with_tqdm(
    capsys: pytest.CaptureFixture[str], embedded_parts: Parts, proxy: Proxy, call: Call
) -> None:
    """One for all deliveries, unless progress is off."""
    references = [embedded_parts.push(f"noise-{number}", WASM) for number in range(3)]
    call(deliver_many, references, proxy=proxy)
    out, err = capsys.readouterr()
    assert out == ""
    assert "deliveries: 100%" in err
    assert "3/3" in err
    call(deliver_many, references, proxy=proxy, progress=False)
    call(proxy.deliver, references[0])
    assert capsys.readouterr() == ("", "")


def test_the_environment_silences_all_but_functions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], embedded_parts: Parts, proxy: Proxy, call: Call
) -> None:
    """``PROXY_NO_PROGRESS=1`` is for scripts that cannot be changed."""
    reference = embedded_parts.push()
    monkeypatch.setenv("PROXY_NO_PROGRESS", "1")
    call(proxy.deliver, reference, progress=True)
    call(deliver_many, [reference], proxy=proxy)
    assert capsys.readouterr() == ("", "")
    seen: list[Progress] = []
    call(proxy.deliver, reference, progress=seen.append)
    assert seen


@pytest.mark.parametrize("value", ["", "0"])
def test_empty_and_zero_do_not_silence(monkeypatch: pytest.MonkeyPatch, no_tqdm: None, value: str) -> None:
    """They are as if the variable were not set."""
    monkeypatch.setenv("PROXY_NO_PROGRESS", value)
    assert progress.bar(True, "label", "bytes") is not None
    assert progress.bar(False, "label", "bytes") is None
    assert progress.bar(None, "label", "bytes") is None


def test_a_failure_closes_the_bar(
    capsys: pytest.CaptureFixture[str], no_tqdm: None, embedded_parts: Parts, proxy: Proxy, call: Call
) -> None:
    """And shows no 100 %."""
    with pytest.raises(FileNotFoundError):
        call(proxy.deliver, "absent", progress=True)
    assert "100" not in capsys.readouterr().err
