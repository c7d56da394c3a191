"""The watching half of `syslet_no_leaks` for pytest-asyncio: a fixture for each scope.

pytest-asyncio runs a fixture in the loop whose scope it names, so there is one for each
scope that the loop of a test may have. Registered when pytest-asyncio is there; needs
its version 0.24 or newer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

SCOPES = ("function", "class", "module", "package", "session")


def _made(scope: Any) -> Any:
    @pytest_asyncio.fixture(loop_scope=scope, name=f"_syslet_watch_{scope}")
    async def watch(request: pytest.FixtureRequest) -> AsyncIterator[None]:
        from .leaks import watched_inside

        async for _ in watched_inside(request):
            yield

    return watch


def name_of(marker: pytest.Mark, config: pytest.Config) -> str:
    """The fixture for a test with this marker."""
    default = config.getini("asyncio_default_test_loop_scope")
    scope = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope") or default
    return f"_syslet_watch_{scope or 'function'}"


watch_function, watch_class, watch_module, watch_package, watch_session = map(
    _made, SCOPES
)
