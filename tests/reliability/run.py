"""The reliability checks in full: `python -m tests.reliability.run [NAME ...]`.

Without names all of them, on each backend in turn. Prints a line for each; the exit
status is 1 if one fails. `--help` lists them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys

import syslet_loop

from .checks import CHECKS, descriptors


def run(name: str, backend: str) -> bool:
    """One check on one backend; whether it held."""
    os.environ["SYSLET_LOOP_BACKEND"] = backend
    before = descriptors()
    try:
        with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
            line = runner.run(CHECKS[name]())
        gc.collect()
        if descriptors() != before:
            raise AssertionError(f"{before} descriptors became {descriptors()}")
    except Exception as error:
        print(f"{name:<12}{backend:<7}FAILED: {type(error).__name__}: {error}")
        return False
    print(f"{name:<12}{backend:<7}{line}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CHECKS))
    parser.add_argument("--backend", choices=("uring", "epoll"), action="append")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in CHECKS:
            parser.error(f"no check {name!r}: there are {', '.join(CHECKS)}")
    held = [
        run(name, backend)
        for name in arguments.names or CHECKS
        for backend in arguments.backend or ("uring", "epoll")
    ]
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
