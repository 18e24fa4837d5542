"""What devices get, and what they do not get."""

import asyncio

import pytest
from propeller_proxy import BadModuleError, NotFoundError, embedded


def test_a_device_gets_the_module(propeller_registry, propeller_proxy, proplet):
    """What was pushed comes out, and its digest was checked."""
    propeller_registry.push("add", embedded.ADD, tag="1.0")
    module = proplet.request(propeller_registry.reference("add", "1.0"))
    assert module.data == embedded.ADD
    assert module.verified


@pytest.mark.propeller(chunk_size=16, qos=1)
def test_the_module_is_cut_into_chunks(propeller_registry, propeller_proxy):
    """41 bytes in chunks of 16."""
    propeller_registry.push("add", embedded.ADD)
    report = propeller_proxy.deliver(propeller_registry.reference("add"))
    assert (report.size, report.total_chunks, report.sent_chunks) == (41, 3, 3)


def test_a_registry_that_stumbles_is_asked_again(propeller_registry, propeller_proxy):
    """Two answers with status 503 do no harm."""
    propeller_registry.push("add", embedded.ADD)
    propeller_registry.fail_next(503, times=2)
    assert propeller_proxy.deliver(propeller_registry.reference("add")).ok


def test_a_damaged_module_is_not_sent(propeller_registry_factory, propeller_proxy_factory):
    """One wrong bit is enough."""
    registry = propeller_registry_factory()
    proxy = propeller_proxy_factory(registry_url=registry.url)
    pushed = registry.push("add", embedded.ADD)
    registry.tamper(pushed.layer)
    with pytest.raises(BadModuleError) as failure:
        proxy.deliver(registry.reference("add"))
    assert failure.value.code == "digest-mismatch"
    assert proxy.stats().published_chunks == 0


def test_an_unknown_module_fails(propeller_registry, propeller_proxy):
    """The error says so, and is a FileNotFoundError too."""
    with pytest.raises(NotFoundError) as failure:
        propeller_proxy.deliver(propeller_registry.reference("nowhere"))
    assert failure.value.code == "unknown-image"


def test_many_devices_share_one_transfer(propeller_registry, propeller_proxy, proplet_factory):
    """Every call that blocks has a twin for asyncio."""
    propeller_registry.push("large", embedded.noise(2_000_000, seed=1))
    reference = propeller_registry.reference("large")
    devices = [proplet_factory() for _ in range(5)]

    async def request_all():
        return await asyncio.gather(*(device.request_async(reference) for device in devices))

    assert len({module.digest for module in asyncio.run(request_all())}) == 1
