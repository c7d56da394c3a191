"""The tests of CPython that our loop does not pass and asyncio's does, with the reason.

Used by judge.py. A test that is listed and passes is an error too, so that this list
shrinks with the differences. Names are as run.py prints them.
"""

from __future__ import annotations

import sys

# For every version.
SKIPS: dict[str, str] = {}

# For one minor version.
SKIPS_OF: dict[tuple[int, int], dict[str, str]] = {}


def listed() -> dict[str, str]:
    """The reasons by name, for this interpreter."""
    return SKIPS | SKIPS_OF.get(sys.version_info[:2], {})
