"""Loops that cannot be made: an error, and nothing worse."""

from __future__ import annotations

from processes import check_process

REFUSED = """
import sys
import syslet_loop

sys.modules["syslet_loop.reports"] = None  # as when the interpreter is ending
for _ in range(2):
    try:
        syslet_loop.new_event_loop()
    except ImportError as error:
        print(error.name)
del sys.modules["syslet_loop.reports"]
loop = syslet_loop.new_event_loop()
assert not loop.is_closed()
loop.close()
bare = syslet_loop.EventLoop.__new__(syslet_loop.EventLoop)
assert bare.is_closed()  # its constructor has not run
"""


def test_a_loop_that_cannot_be_made() -> None:
    assert check_process(REFUSED) == "syslet_loop.reports\n" * 2
