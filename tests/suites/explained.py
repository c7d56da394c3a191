"""Differences between our loop and asyncio's that are meant: pattern and reason.

Read by run.py, which fails on every other difference. A pattern is a test's node id, in
which * stands for anything; brackets are literal.
"""

from __future__ import annotations

EXPLAINED: dict[str, dict[str, str]] = {
    "uvicorn": {
        "tests/test_auto_detection.py::test_loop_auto": (
            "it wants the loop's class to be defined in asyncio"
        ),
        "tests/test_config.py::test_get_loop_factory[asyncio-*": (
            "the name of the loop's class is in the test's id"
        ),
    },
    "aiohttp": {},
    "anyio": {},
    "uvloop": {},
}
