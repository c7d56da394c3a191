"""CPython's own asyncio tests, all of them, on the loop that new_event_loop makes here.

The runner forks, so it is a process of its own; its report is what a failure shows.
"""

from __future__ import annotations

import faulthandler
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import collect

ROOT = Path(__file__).parents[2]
LIMIT_S = 900  # a minute is usual


@pytest.mark.skipif(bool(collect.missing()), reason=collect.missing())
@pytest.mark.timeout(LIMIT_S + 30)
def test_our_loop_passes_what_asyncio_passes() -> None:
    # pytest prints the stacks of slow tests; this one is slow on a busy machine.
    faulthandler.cancel_dump_traceback_later()
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.run"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, "\n" + done.stdout
