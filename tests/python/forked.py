"""Forks with everything open, and uses everything in parent and child: a program for test_process.py."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from parts import CHANNEL, DOMAIN
from propeller_proxy import ClosedError, Events, Proplet, Proxy, Registry, chunk, deliver_many, embedded
from servers import POLL

LIMIT = 20.0
"""Longest life of a child, seconds."""
WASM = embedded.noise(100_000)


class Everything:
    """One open object of each class, in one process."""

    def __init__(self, folder: Path) -> None:
        """Open them."""
        self.broker, self.registry = embedded.Broker(), embedded.Registry()
        self.broker.start()
        self.registry.start()
        self.reference = self.registry.push("noise", WASM).reference
        self.client = Registry(self.registry.url, cache_dir=folder / "client")
        self.proxy = Proxy(
            registry_url=self.registry.url,
            mqtt_address=self.broker.url,
            domain_id=DOMAIN,
            channel_id=CHANNEL,
            cache_dir=folder / "store",
            state_dir=folder / "state",
        )
        self.proxy.start()
        self.proplet = Proplet(self.broker.url, DOMAIN, CHANNEL)
        self.proplet.start()
        self.events: Events = self.proxy.events()

    def works(self) -> None:
        """Use all of them."""
        assert self.client.fetch(self.reference).data == WASM
        assert self.proplet.request(self.reference).data == WASM
        assert self.proxy.deliver(self.reference).ok
        assert deliver_many([self.reference], proxy=self.proxy, progress=None)[0].ok
        assert next(self.events).app_name in (self.reference, None)
        assert self.events.drain()

    def is_rejected(self) -> None:
        """Use all of them, and new objects; every call must raise `ClosedError`."""
        uses: list[Callable[[], object]] = [
            lambda: self.client.fetch(self.reference),
            lambda: self.proxy.deliver(self.reference),
            self.proxy.stats,
            self.proxy.events,
            self.proxy.stop,
            lambda: next(self.events),
            self.events.drain,
            lambda: self.proplet.request(self.reference),
            lambda: self.proplet.chunks,
            self.proplet.stop,
            self.registry.stop,
            lambda: self.registry.url,
            lambda: self.registry.requests,
            lambda: self.broker.url,
            self.broker.stop,
            embedded.Broker().start,
            embedded.Registry().start,
            Proplet("localhost", DOMAIN, CHANNEL).start,
        ]
        for number, use in enumerate(uses):
            with pytest.raises(ClosedError) as caught:
                use()
            assert caught.value.code == "forked", number
        for service in (self.proxy, self.proplet, self.broker, self.registry, self.client):
            assert repr(service)
        assert len(chunk(WASM, 1000)) == 100


def in_child(work: Callable[[], object]) -> None:
    """Call `work` in a forked process, which must exit with status 0."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(0)
    deadline = time.monotonic() + LIMIT
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError(f"the child hangs in {work}")
        time.sleep(POLL)
    assert os.waitstatus_to_exitcode(ended[1]) == 0, ended


def main(folder: Path) -> None:
    """Fork before and after everything is in use."""
    # Nothing is in use before this fork.
    in_child(lambda: Everything(folder / "early").works())
    everything = Everything(folder / "parent")
    everything.works()

    def drop() -> None:
        nonlocal everything
        del everything

    in_child(everything.is_rejected)
    in_child(lambda: in_child(everything.is_rejected))
    in_child(lambda: sys.exit(0))
    in_child(drop)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=everything.is_rejected) for _ in range(3)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(LIMIT)
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in workers] == [0] * len(workers)
    with context.Pool(2) as pool:
        assert pool.map(len, [WASM] * 9) == [len(WASM)] * 9
    everything.works()
    print("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
