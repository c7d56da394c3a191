"""Ends and beginnings that a third reading of the native loop found wrong.

An end of file that is told to a handler of signals only, descriptors that nobody may
use any more, the parent's callbacks in a child, many connections that end together.
asyncio's loop is the judge where it can be.
"""

from __future__ import annotations

import pytest
from processes import check_process

# Loops of the parent in a child.

CHILD = """
import asyncio, gc, os, warnings
import syslet_loop

def child():
    warnings.simplefilter("ignore")
    loop.close()
    gc.collect()
    loop.call_soon_threadsafe

loop = syslet_loop.new_event_loop()
loop.run_until_complete(asyncio.sleep(0.001))
for _ in range(WAITING):
    loop.call_soon(print, "in the parent")
pid = os.fork()
if pid == 0:
    child()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""


@pytest.mark.parametrize("waiting", [0, 1, 1000])
def test_a_child_closes_a_loop_with_callbacks_that_wait(
    backend: str, waiting: int
) -> None:
    """They are dropped, and collecting the loop looks for no others."""
    script = CHILD.replace("WAITING", str(waiting))
    assert check_process(script, backend) == "in the parent\n" * waiting
