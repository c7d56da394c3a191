"""What all tests of the language share: the oracle, and that no fd is left behind."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests/model.py


@pytest.fixture(autouse=True)
def fds_stay() -> Iterator[None]:
    """Each test ends with as many open fds as it began with."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before
