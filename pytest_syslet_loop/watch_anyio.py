"""The watching half of `syslet_no_leaks` for AnyIO's plugin.

Registered when that plugin is there. A test on another backend than asyncio has no
loop, and is not looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest


@pytest.fixture(name="_syslet_watch_anyio")
async def watch(
    anyio_backend_name: str, request: pytest.FixtureRequest
) -> AsyncIterator[None]:
    if anyio_backend_name != "asyncio":
        yield
        return
    from .leaks import watched_inside

    async for _ in watched_inside(request):
        yield
