"""The broker dies in the middle of a delivery, and the device still gets exactly the module."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
from propeller_proxy import embedded


@pytest.mark.propeller(chunk_size=50_000, publish_rate=8_000_000)
def test_the_broker_dies_in_the_middle(propeller_broker, propeller_registry, propeller_proxy, proplet):
    """100 chunks; the broker is killed when it has acknowledged 10 of them."""
    wasm = embedded.noise(5_000_000, seed=1)
    propeller_registry.push("large", wasm, tag="1.0")
    events = propeller_proxy.events()
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(proplet.request, propeller_registry.reference("large", "1.0"))
        acknowledged = (event for event in events if event.kind == "acknowledged")
        assert len(list(islice(acknowledged, 10))) == 10
        assert not asked.done()
        propeller_broker.restart()
        assert bytes(asked.result()) == wasm
