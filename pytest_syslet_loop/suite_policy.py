"""--syslet-loop for pytest-asyncio before 1.4: its fixture for the policy.

Registered by suite.py, after pytest-asyncio, whose own fixture it takes the place of.
pytest-asyncio sets the policy while it makes a loop.
"""

from __future__ import annotations

from typing import Any

import pytest

from .suite import new_policy


@pytest.fixture(scope="session")
def event_loop_policy() -> Any:
    """The policy that makes the loops of tests and fixtures: ours."""
    return new_policy()
