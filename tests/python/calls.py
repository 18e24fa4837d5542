"""The two forms of every call that waits, so that a test is written once for both."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Call(Protocol):
    """Makes a call in one of the two forms."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns for these arguments."""


def blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function itself."""
    return function(*args, **kwargs)


def awaiting(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call its twin for asyncio, in an event loop of its own."""
    owner = getattr(function, "__self__", sys.modules[function.__module__])
    result: T = asyncio.run(getattr(owner, f"{function.__name__}_async")(*args, **kwargs))
    return result


FORMS: dict[str, Call] = {"sync": blocking, "async": awaiting}


class Startable(Protocol):
    """An object that can be started and stopped."""

    def start(self) -> None:
        """Start it."""

    def stop(self) -> None:
        """Stop it."""


@contextmanager
def running(call: Call, *services: Startable) -> Iterator[None]:
    """Run services, started and stopped in one of the forms."""
    with ExitStack() as stack:
        for service in services:
            call(service.start)
            stack.callback(call, service.stop)
        yield
