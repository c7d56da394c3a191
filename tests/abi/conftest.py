"""What the tests of the announced interface share: both layouts, and clean pools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from abi.atoms import V3, V6, Layout
from syslet_loop.abi import lib


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """The library's idle threads end with the test, which the leak gate waits for."""
    lib.syslet_threads_max(-1)
    yield
    lib.syslet_threads_max(0)


@pytest.fixture(params=[V6, V3], ids=["v6", "v3"])
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found
