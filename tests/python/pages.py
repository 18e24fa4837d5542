"""Runs the commands of a documentation page as its reader would: in one shell, with real servers on their usual ports.

A block of commands is run if the line above its fence is `<!-- run -->`. After a colon may stand what it needs:

- `broker`, `registry`: a mosquitto on port 1883 and a docker-registry on port 5000, from the beginning of the page;
- `clone`: the repository as its folder, for this block only;
- `exits N`: its last command ends with that status. All others have to end with 0.

The next block, if it is text or JSON, is what is printed: its lines come in this order, among others. An ellipsis in it
stands for anything. What differs from run to run, such as ports, times and generated ids, is not compared.

A page has a network of its own, with nothing but a loopback device. So the ports may be those that the page names,
whatever else runs on the machine; and nothing of the page's outlives it.
"""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE = 300.0
"""Longest run of one page on a slow machine, seconds."""
WORDS = {"broker", "registry", "clone"}
USER = "1000"
"""Not root: mosquitto, for one, does as root what it cannot do without other users to become."""

# A network and processes of its own; then no longer root there.
PREFIX = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]
INSIDE = f'ip link set lo up && exec unshare --user --map-user={USER} --map-group={USER} "$@"'

# What is started before the page, and how it is known to be there: bash itself tries its port.
WAIT = """
wait_for() {
    for attempt in $(seq 300); do
        if (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; then return; fi
        sleep 0.1
    done
    echo "nothing listens on port $1"
    exit 1
}
"""
SERVERS = {
    "broker": 'mosquitto -c "$SERVERS/mosquitto.conf" > "$SERVERS/mosquitto.log" 2>&1 &\nwait_for 1883\n',
    "registry": 'docker-registry serve "$SERVERS/registry.yml" > "$SERVERS/registry.log" 2>&1 &\nwait_for 5000\n',
}
MARK = "----- the block at line "


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page."""

    language: str
    line: int
    """The line of its first line of text, counted from 1."""
    comment: str
    """The HTML comment right above, without its signs."""
    lines: list[str]


@dataclass(frozen=True)
class Block:
    """A block of commands that is run."""

    line: int
    commands: list[str]
    words: frozenset[str]
    status: int
    shown: list[str]
    """What the page says that it prints."""


def fences(text: str) -> Iterator[Fence]:
    """Return the fenced blocks of a page."""
    lines = text.splitlines()
    begin: int | None = None
    for number, line in enumerate(lines):
        if begin is None and re.fullmatch(r"```\w*", line):
            begin = number
        elif begin is not None and line == "```":
            comment = re.fullmatch(r"<!-- (.+) -->", lines[begin - 1]) if begin > 0 else None
            yield Fence(lines[begin][3:], begin + 2, comment[1] if comment else "", lines[begin + 1 : number])
            begin = None
    assert begin is None, f"the block at line {(begin or 0) + 1} has no end"


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page that are run."""
    found = []
    for fence, below in itertools.pairwise([*fences(text), None]):
        assert fence is not None
        if not (marked := re.fullmatch(r"run(?:: (.+))?", fence.comment)):
            continue
        words, status = marked[1] or "", 0
        if ends := re.search(r"exits (\d+)$", words):
            words, status = words[: ends.start()], int(ends[1])
        names = frozenset(words.split())
        assert fence.language == "sh", f"line {fence.line}: only blocks of sh are run"
        assert names <= WORDS, f"line {fence.line}: {', '.join(sorted(names - WORDS))} is not known"
        shown = below.lines if below and below.language in ("text", "json") else []
        found.append(Block(fence.line, fence.lines, names, status, shown))
    return found


def can_be_run() -> bool:
    """Return whether a page can have a network of its own here."""
    return bool(shutil.which("unshare")) and subprocess.run(command("true"), env=environment()).returncode == 0


def command(*words: str) -> list[str]:
    """Return how a command is run in a network of its own."""
    return [*PREFIX, "sh", "-c", INSIDE, "sh", *words]


def environment() -> dict[str, str]:
    """Return what the system needs; Debian keeps servers outside an ordinary user's path."""
    return {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LANG": "C.UTF-8"}


def run(page: list[Block], folder: Path, binary: Path) -> dict[int, str]:
    """Run all blocks of a page in order, in a folder of its own; return what each printed, by its line."""
    places = {name: folder / name for name in ("servers", "home", "bin", "page")}
    for place in places.values():
        place.mkdir()
    (places["servers"] / "mosquitto.conf").write_text("listener 1883\nallow_anonymous true\n")
    (places["servers"] / "registry.yml").write_text(
        # Every JSON text is YAML.
        json.dumps(
            {
                "version": "0.1",
                "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
                "http": {"addr": "127.0.0.1:5000", "secret": "of the tests"},
            }
        )
    )
    # By its name, as it is when it was installed.
    (places["bin"] / "propeller-proxy").symlink_to(binary)
    script = folder / "script.sh"
    script.write_text(_script(page))
    system = environment()
    log = folder / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command("bash", "--noprofile", "--norc", str(script)),
            cwd=places["page"],
            env={
                **system,
                # What the tests were built with, or make would build all of it again.
                **{name: value for name, value in os.environ.items() if name.startswith(("CARGO", "RUST"))},
                "PATH": f"{places['bin']}:{system['PATH']}",
                "HOME": str(places["home"]),
                "SERVERS": str(places["servers"]),
                "CLONE": str(ROOT),
                # Where make installs to, and what cargo and rustup have, which are below the real home.
                "BINDIR": str(places["home"] / "bin"),
                "CARGO_HOME": os.environ.get("CARGO_HOME", str(Path.home() / ".cargo")),
                "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status: int | None = child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            # The first process of the page goes with it, and all others with that.
            child.kill()
            child.wait()
    text = log.read_text(errors="replace")
    assert status == 0, f"{'it took too long' if status is None else f'it ended with {status}'}:\n{text}"
    return {int(line): printed for line, printed in re.findall(rf"{MARK}(\d+)\n(.*?)(?={MARK}|\Z)", text, re.DOTALL)}


def missing(shown: list[str], printed: str) -> list[str]:
    """Return the lines that a page shows, and that were not printed in their order."""
    rest = [_leveled(line) for line in printed.splitlines()]
    absent = []
    for line in shown:
        pattern = ".*".join(re.escape(part.strip()) for part in _leveled(line).split("…"))
        if not line.strip():
            continue
        at = next((number for number, one in enumerate(rest) if re.fullmatch(pattern, one)), None)
        if at is None:
            absent.append(line)
        else:
            rest = rest[at + 1 :]
    return absent


def _script(page: list[Block]) -> str:
    """Return the page as a script that ends when a command fails."""
    needed = frozenset[str]().union(*(block.words for block in page))
    parts = [WAIT, *(start for name, start in SERVERS.items() if name in needed), "set -e -o pipefail"]
    for block in page:
        parts.append(f"echo {shlex.quote(MARK + str(block.line))}")
        commands = "\n".join(block.commands)
        if "clone" in block.words:
            commands = f'pushd "$CLONE" > /dev/null\n{commands}\npopd > /dev/null'
        if block.status:
            commands = (
                f"set +e\n{commands}\nstatus=$?; set -e\n"
                f'[ $status = {block.status} ] || {{ echo "it ended with $status"; exit 1; }}'
            )
        parts.append(commands)
    return "\n".join(parts) + "\n"


def _leveled(line: str) -> str:
    """Return a line without what differs from run to run: ports, times, ids, and how columns are filled."""
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:0", line)
    line = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "an id", line)
    line = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "a time", line)
    line = re.sub(r"\d+\.\d+", "0.0", line)
    return re.sub(r"\s+", " ", re.sub(r"-{3,}", "---", line)).strip()
