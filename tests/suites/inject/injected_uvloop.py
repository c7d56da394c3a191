"""A pytest plugin for uvloop's own tests: they judge the injected loop, not uvloop.

Most of these tests exist twice, for uvloop and for asyncio; asyncio's half is kept,
since asyncio is what a drop-in loop is measured with. Tests that exist only for uvloop
are kept too, on the injected loop: those that ask for libuv fail on both loops alike.
"""

import asyncio
import re

import pytest
from uvloop import _testbase


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Rebind what the two base classes of the tests make their loops with."""
    new_loop = asyncio.new_event_loop
    _testbase.UVTestCase.new_loop = lambda self: new_loop()
    _testbase.UVTestCase.new_policy = lambda self: asyncio.DefaultEventLoopPolicy()
    _testbase.BaseTestCase.is_asyncio_loop = lambda self: True


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Drop the uvloop half where asyncio's half has the same function."""
    asyncio_half = {key(item) for item in items if "AIO" in item.nodeid}
    twice = [
        item for item in items if "AIO" not in item.nodeid and key(item) in asyncio_half
    ]
    config.hook.pytest_deselected(items=twice)
    dropped = set(twice)
    items[:] = [item for item in items if item not in dropped]


def key(item: pytest.Item) -> tuple[str, str]:
    """The test whichever half it is in: both test the same transports under it."""
    path, *classes, name = item.nodeid.split("::")
    return path, "::".join(
        [*(re.sub("_?(UV|AIO)_?", "", each) for each in classes), name]
    )
