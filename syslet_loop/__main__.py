"""The command line: `python -m syslet_loop doctor [--json]`.

Nothing but the choice of what to do; doctor.py does it. The exit status is 0 if all is
well, 1 if the doctor found something, 2 if the command line was wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import doctor


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of `argv` (default: that of the process); its exit status."""
    parser = argparse.ArgumentParser(prog="python -m syslet_loop")
    commands = parser.add_subparsers(dest="command", required=True)
    about = "say how syslet_loop runs here, and test that it does"
    command = commands.add_parser("doctor", help=about, description=doctor.__doc__)
    command.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args(argv)
    return doctor.run(as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
