"""What all tests of the language share: the loops, and that no fd is left behind."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kinds import KINDS, runners

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests/model.py


@pytest.fixture(autouse=True)
def fds_stay() -> Iterator[None]:
    """Each test ends with as many open fds as it began with."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


@pytest.fixture(params=KINDS)
def runner(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[asyncio.Runner]:
    """A Runner on each kind of loop that syslets fly on."""
    yield from runners(request.param, monkeypatch)
