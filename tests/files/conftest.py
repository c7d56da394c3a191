"""`runner`: the tests of files run on both backends of ours, and on other loops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from kinds import KINDS, runners


@pytest.fixture(params=KINDS)
def runner(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[asyncio.Runner]:
    """A Runner on each kind of loop that files work on."""
    yield from runners(request.param, monkeypatch)
