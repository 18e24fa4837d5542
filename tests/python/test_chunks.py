"""How modules are cut into chunks, and the messages that carry them."""

import json
import random
import sys
from base64 import b64decode
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import pytest
from propeller_proxy import Chunk, ChunkPlan, Module, chunk, embedded

MODULE = embedded.noise(300_000)
METHODS = ["fixed", "content-defined"]


def digest(data: bytes) -> str:
    """Return the OCI digest."""
    return f"sha256:{sha256(data).hexdigest()}"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "wasm", [b"", b"\0", embedded.ADD, MODULE], ids=["empty", "one-byte", "smaller-than-a-chunk", "several-chunks"]
)
def test_chunks_are_the_module(wasm: bytes, method: str) -> None:
    """Joined in order, they are the module."""
    plan = chunk(wasm, 20_000, method)
    assert b"".join(map(bytes, plan)) == wasm
    assert (plan.size, sum(plan.sizes), plan.chunk_size, plan.method) == (len(wasm), len(wasm), 20_000, method)
    assert len(plan) == plan.total_chunks == len(plan.chunks)
    assert [part.index for part in plan] == list(range(len(plan)))
    assert [part.offset for part in plan] == list(accumulate(plan.sizes, initial=0))[:-1]
    assert [len(part) for part in plan] == [part.size for part in plan] == plan.sizes
    assert plan.digests == [digest(bytes(part)) for part in plan] == [part.digest for part in plan]
    assert plan.sizes.count(0) == 0 or wasm == b""


@pytest.mark.parametrize(
    ("size", "sizes"),
    [(100, [100, 100, 100]), (300, [300]), (301, [300]), (299, [299, 1]), (1, [1] * 300), (4_294_967_295, [300])],
)
def test_fixed_chunks_have_the_same_size_but_for_the_last(size: int, sizes: list[int]) -> None:
    """As the proxy cuts."""
    assert chunk(embedded.noise(300), size).sizes == sizes


def test_half_a_megabyte_is_the_usual_size() -> None:
    """It is that of the proxy."""
    plan = chunk(embedded.noise(1_000_001))
    assert (plan.sizes, plan.method) == ([512_000, 488_001], "fixed")
    assert repr(plan) == "ChunkPlan(2 chunks of 512000 bytes, 1000001 bytes, fixed)"
    assert repr(plan[1]) == "Chunk(1, 488001 bytes at 512000)"


def test_chunks_are_views_of_the_module() -> None:
    """A large module is in memory once; the views are read-only."""
    plan = chunk(MODULE, 1000)
    for part in plan:
        assert isinstance(part.data, memoryview)
        assert part.data.obj is MODULE
        assert part.data.readonly
    large = chunk(embedded.noise(50_000_000), 1_000_000)
    assert sum(sys.getsizeof(part) + sys.getsizeof(part.data) for part in large) < 100_000
    assert large[49].digest == digest(bytes(large[49]))


def test_plans_are_sequences() -> None:
    """They are read by index, slice, iteration and membership."""
    plan = chunk(MODULE, 100_000)
    first, second, third = plan
    assert (plan[0], plan[-1], plan[1:]) == (first, third, (second, third))
    assert list(reversed(plan)) == [third, second, first]
    assert second in plan
    assert plan.index(third) == 2
    assert plan == chunk(MODULE, 100_000)
    assert plan != chunk(MODULE, 100_000, app_name="other")
    with pytest.raises(IndexError):
        plan[3]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("app_name", ["localhost:5000/add:1.0", 'a "name"\\ \x1f\u2028 é 😀'])
def test_messages_are_those_of_the_wire_protocol(method: str, app_name: str) -> None:
    """Every chunk is a JSON object with the same four fields."""
    plan = chunk(MODULE, 20_000, method, app_name=app_name)
    messages = [plan.encode(part) for part in plan]
    assert messages == [plan.encode(index) for index in range(len(plan))]
    assert plan.wire_bytes == sum(map(len, messages))
    data = b""
    for index, message in enumerate(messages):
        fields = json.loads(message)
        data += b64decode(fields.pop("data"), validate=True)
        assert fields == {"app_name": app_name, "chunk_idx": index, "total_chunks": len(plan)}
        assert message.startswith(b'{"app_name":')
    assert data == MODULE


def test_messages_have_the_name_that_devices_request() -> None:
    """It is by default the module's reference."""

    def named(plan: ChunkPlan, app_name: str | None = None) -> object:
        return json.loads(plan.encode(0, app_name))["app_name"]

    module = Module(MODULE, "localhost:5000/add:1.0", digest(MODULE), len(MODULE))
    assert named(chunk(module)) == chunk(module).app_name == module.reference
    assert named(chunk(module, app_name="other")) == "other"
    assert named(chunk(module), "other") == "other"
    assert named(chunk(MODULE)) == "module"


def test_only_chunks_of_the_plan_are_encoded() -> None:
    """Neither one of another plan nor one past the end."""
    plan = chunk(MODULE, 100_000)
    assert plan.encode(-1) == plan.encode(2)
    with pytest.raises(IndexError):
        plan.encode(3)
    with pytest.raises(ValueError, match="is not of"):
        plan.encode(chunk(MODULE, 99_999)[1])


def test_content_defined_chunks_survive_an_insertion() -> None:
    """A byte more at the front changes all fixed chunks, and few content-defined ones."""
    changed = MODULE[:8] + b"\0" + MODULE[8:]
    fixed, defined = (chunk(MODULE, 10_000, method).compare(chunk(changed, 10_000, method)) for method in METHODS)
    assert (fixed.shared_chunks, fixed.shared_bytes, fixed.share) == (0, 0, 0.0)
    assert defined.total_bytes == len(changed)
    assert 0.5 < defined.share == defined.shared_bytes / len(changed) < 1
    same = chunk(MODULE, 10_000).compare(chunk(MODULE, 10_000))
    assert (same.shared_chunks, same.shared_bytes, same.share) == (30, 300_000, 1.0)
    assert chunk(MODULE).compare(chunk(b"")).share == 0.0
    # Repeated chunks are counted repeatedly.
    assert chunk(bytes(10), 10).compare(chunk(bytes(25), 10)).shared_bytes == 20


def test_content_defined_chunks_have_about_the_size() -> None:
    """On average, and none is four times as large."""
    plan = chunk(random.Random(0).randbytes(4_000_000), 16_384, "content-defined")
    assert 10_000 < plan.size / len(plan) < 30_000
    assert max(plan.sizes) <= 65_536
    assert min(plan.sizes[:-1]) >= 4_096


@pytest.mark.parametrize(
    ("size", "method"),
    [(0, "fixed"), (2**32, "fixed"), (1, "content-defined"), (2**40, "content-defined"), (1000, "by-hand")],
)
def test_wrong_sizes_and_methods_are_rejected(size: int, method: str) -> None:
    """The message has the accepted ones."""
    with pytest.raises(ValueError, match=r"bytes from \d+ to \d+|fixed or content-defined"):
        chunk(MODULE, size, method)


def test_modules_come_from_buffers_and_files(tmp_path: Path) -> None:
    """Other types are rejected."""
    path = tmp_path / "noise.wasm"
    path.write_bytes(MODULE)
    for source in (bytearray(MODULE), memoryview(MODULE), path, str(path)):
        assert chunk(source) == chunk(MODULE)
    # A later change of the buffer does not change the plan.
    buffer = bytearray(MODULE)
    plan = chunk(buffer)
    buffer[:] = bytes(len(MODULE))
    assert bytes(plan[0]) == MODULE
    with pytest.raises(FileNotFoundError):
        chunk(tmp_path / "absent.wasm")
    for wrong in (7, None, ["a"]):
        with pytest.raises(TypeError):
            chunk(wrong)  # type: ignore[arg-type]
    with pytest.raises((ValueError, OverflowError)):
        chunk(MODULE, -1)


def test_plans_are_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each chunk; without pandas, the error has the command that installs it."""
    plan = chunk(MODULE, 100_000)
    frame = plan.to_pandas()
    assert list(frame.columns) == ["index", "offset", "size", "digest", "wire_bytes"]
    assert list(frame["size"]) == plan.sizes
    assert list(frame["digest"]) == plan.digests
    assert frame["wire_bytes"].sum() == plan.wire_bytes
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"propeller-proxy\[pandas\]"):
        plan.to_pandas()


def test_names_are_escaped_in_html() -> None:
    """They cannot add elements."""
    for html in (
        chunk(MODULE, 1000, app_name="<script>&")._repr_html_(),
        Module(MODULE, "<script>&", digest(MODULE), len(MODULE), annotations={"<script>&": ""})._repr_html_(),
    ):
        assert "<script>" not in html
        assert "&lt;script&gt;&amp;" in html
    assert chunk(MODULE, 1)._repr_html_().count("<span") == 400


def test_chunks_do_not_change() -> None:
    """Neither do plans."""
    plan = chunk(MODULE)
    for thing in (plan, plan[0]):
        with pytest.raises(AttributeError):
            setattr(thing, "chunks" if thing is plan else "size", 1)
    assert isinstance(plan[0], Chunk)
    assert len({plan[0], chunk(MODULE)[0]}) == 1
