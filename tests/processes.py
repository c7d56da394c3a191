"""Scripts in a Python of their own, for what a test cannot do in its own process.

Used by tests of fork, of the end of the interpreter, of filters and limits. Every child
has a time limit, runs with warnings as errors and prints its stack if it crashes.
"""

from __future__ import annotations

import os
import subprocess
import sys

LIMIT_S = 60
HERE = os.path.dirname(__file__)  # scripts may import what tests do


def in_process(
    script: str, backend: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own, with warnings as errors."""
    environ = {**os.environ, "SYSLET_LOOP_BACKEND": backend}
    environ.update(
        PYTHONPATH=os.pathsep.join(filter(None, (HERE, os.getenv("PYTHONPATH")))),
        **environment,
    )
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def check_process(script: str, backend: str = "", **environment: str) -> str:
    """Run a script that must end well and say nothing on stderr; its output."""
    done = in_process(script, backend, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
