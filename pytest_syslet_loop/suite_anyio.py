"""--syslet-loop for AnyIO: its fixture, with our loop as its backend asyncio.

Registered by suite.py, after AnyIO's plugin, whose own fixture it takes the place of.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from syslet_loop import new_event_loop

_OPTIONS = {"loop_factory": new_event_loop}
_BACKENDS = [
    pytest.param((name, _OPTIONS) if name == "asyncio" else name, id=name)
    for name in anyio.get_available_backends()
]


@pytest.fixture(scope="module", params=_BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """As AnyIO's own, but for the kind of loop."""
    return request.param
