"""Makes a call that does not end by itself, and prints when Ctrl-C ended it: a program for test_cancellation.py."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from parts import CHANNEL, DOMAIN, eventually
from propeller_proxy import Events, Proplet, Proxy, Registry, deliver_many, embedded


def main(call: str, port: str, folder: Path) -> None:
    """Make the call; `port` is that of a server that never answers."""
    silent = f"127.0.0.1:{port}"
    with embedded.Broker() as broker:
        address = f"tcp://{silent}" if call == "start" else broker.url
        proxy = Proxy(
            registry_url=silent,
            mqtt_address=address,
            domain_id=DOMAIN,
            channel_id=CHANNEL,
            mqtt_timeout=600,
            cache_dir=folder / "store",
            state_dir=folder / "state",
        )
        registry = Registry(silent, cache_dir=folder / "store")
        proplet = Proplet(address, DOMAIN, CHANNEL, mqtt_timeout=600)
        if call != "start":
            proxy.start()
        if call == "request":
            proplet.start()
        calls: dict[str, Callable[[], object]] = {
            "resolve": lambda: registry.resolve("add"),
            "fetch": lambda: registry.fetch("add", progress=lambda _: None),
            "push": lambda: registry.push("add", embedded.ADD),
            "deliver": lambda: proxy.deliver("add"),
            "deliver_many": lambda: deliver_many(["add", "other"], proxy=proxy),
            "request": lambda: proplet.request("add", timeout=600),
            "start": proxy.start,
            "events": lambda: read(proxy),
        }
        try:
            calls[call]()
        except KeyboardInterrupt:
            print(f"interrupted at {time.monotonic()}", flush=True)
        # The end of the process would stop everything.
        eventually((folder / "end").exists)
        proplet.stop()
        proxy.stop()


def read(proxy: Proxy) -> Events:
    """Read events during a delivery and after it."""
    events = proxy.events()
    threading.Thread(target=proxy.deliver, args=["add"], daemon=True).start()
    for _ in events:
        pass
    return events


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
