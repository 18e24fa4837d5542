"""Exits with everything open: a program for test_process.py."""

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from forked import Everything
from parts import CHANNEL, DOMAIN, Silent, eventually
from propeller_proxy import Proplet, Proxy, deliver_many


def wait_for_ever(everything: Everything, folder: Path) -> None:
    """Make calls in threads that do not end by themselves, and return when all of them wait."""
    silent = Silent().__enter__()
    proxy = Proxy(
        registry_url=f"127.0.0.1:{silent.port}",
        mqtt_address=everything.broker.url,
        domain_id=DOMAIN,
        channel_id="endless",
        cache_dir=folder / "store",
        state_dir=folder / "state",
    )
    proxy.start()
    unserved = Proplet(everything.broker.url, DOMAIN, "unserved")
    unserved.start()
    waits: list[Callable[[], object]] = [
        lambda: proxy.deliver("blocking"),
        lambda: asyncio.run(proxy.deliver_async("awaiting")),
        lambda: deliver_many(["many", "more"], proxy=proxy, progress=None),
        lambda: unserved.request("absent", timeout=600),
        lambda: list(proxy.events()),
    ]
    for wait in waits:
        threading.Thread(target=wait, daemon=True).start()
    eventually(lambda: proxy.stats().open_transfers == 4)


def main(folder: Path, how: str) -> None:
    """Open everything, use it, and exit."""
    everything = Everything(folder)
    everything.works()
    assert everything.proxy.settings["channel_id"] == CHANNEL
    if how == "waiting":
        wait_for_ever(everything, folder / "endless")
    if how == "exception":
        raise KeyError("the reason")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
