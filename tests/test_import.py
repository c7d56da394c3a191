"""What importing the package brings, and when: each in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOP_ONLY = """
import asyncio, sys
import syslet_loop

async def main():
    await asyncio.sleep(0)
    child = await asyncio.create_subprocess_exec("true")
    assert await child.wait() == 0

syslet_loop.run(main())
with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
    runner.run(asyncio.sleep(0.001))
    assert runner.get_loop().backend
found = {name for name in sys.modules if name.startswith(("syslet_loop", "cffi"))}
print(*sorted(found))
"""

NAMES = """
import syslet_loop
public = {*syslet_loop.__all__, "attach", "policy", "__version__"}
assert public <= set(dir(syslet_loop)), set(dir(syslet_loop))
for name in public:
    assert getattr(syslet_loop, name) is not None
assert callable(syslet_loop.syslet) and callable(syslet_loop.program)
try:
    syslet_loop.nothing
except AttributeError as error:
    assert str(error) == "module 'syslet_loop' has no attribute 'nothing'", error
else:
    raise AssertionError
"""

WAYS = [
    "from syslet_loop import syslet, program, Atom; assert syslet.__name__ == 'syslet'",
    "from syslet_loop import *; assert calls.read and memory.new and new_event_loop",
    "import syslet_loop; assert syslet_loop.calls.read",
    "import syslet_loop; assert syslet_loop.memory.new",
    "import syslet_loop; assert syslet_loop.attach.current_engine",
    "import syslet_loop.calls as calls; assert calls.read",
    "from syslet_loop.language import ASYNC, Builder; assert ASYNC and Builder",
    "import syslet_loop.language, syslet_loop; assert callable(syslet_loop.syslet)",
    "from syslet_loop.memory import new; new('char[4]')",
    "import syslet_loop, pickle; pickle.loads(pickle.dumps(syslet_loop.Cell))",
]


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
other = interpreters.create()
error = interpreters.run_string(other, '''
try:
    import syslet_loop
    syslet_loop.new_event_loop()
except ImportError as error:
    assert "interpreters" in str(error), error
else:
    raise AssertionError("it was not refused")
''')
assert error is None, error
interpreters.destroy(other)
import syslet_loop
syslet_loop.run(syslet_loop.calls.timeout(0.001))
"""


# Python 3.12.1 aborts at its end ("free(): invalid pointer"), whoever does this.
ASYNCIO_IN_SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
other = interpreters.create()
interpreters.run_string(other, "import asyncio")
interpreters.destroy(other)
"""


def run(script: str) -> str:
    """What a new interpreter prints; it may not warn."""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_that_only_wants_the_loop() -> None:
    found = {name.removeprefix("syslet_loop.") for name in run(LOOP_ONLY).split()}
    assert found >= {"_native", "loop"}
    assert not found & {"atoms", "attach", "calls", "language", "memory", "ops", "plan"}
    assert not any(name.startswith(("cffi", "_memory")) for name in found)


def test_every_name_is_there() -> None:
    run(NAMES)


def test_sub_interpreters_are_refused() -> None:
    """With an error that says so; the main interpreter is none the worse."""
    command = [sys.executable, "-c", ASYNCIO_IN_SUBINTERPRETER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"this Python cannot import asyncio there: {done.stderr.strip()}")
    run(SUBINTERPRETER)


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_import(way: str) -> None:
    run(way)
