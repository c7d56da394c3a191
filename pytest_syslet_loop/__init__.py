"""A plugin for pytest: a suite on our loop, and tests that leave nothing behind.

`--syslet-loop` has pytest-asyncio, AnyIO and asyncio.run make our loops; the fixture
`syslet_no_leaks` fails a test that leaves descriptors, tasks or flights, and
`--syslet-no-leaks` asks that of all. pytest imports this module in each project of an
environment, so nothing of syslet_loop is imported before one of these is used.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

MAY_LEAK = "syslet_may_leak"


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option and a setting for each of the two."""
    group = parser.getgroup("syslet_loop")
    for name, text in (
        ("syslet_loop", "run asynchronous tests on syslet_loop's event loop"),
        ("syslet_no_leaks", "fail tests that leave descriptors, tasks or flights"),
    ):
        option = "--" + name.replace("_", "-")
        group.addoption(option, dest=name, action="store_true", help=text)
        parser.addini(name, type="bool", default=False, help=text)


def _is_wanted(config: pytest.Config, name: str) -> bool:
    return bool(config.getoption(name) or config.getini(name))


def pytest_configure(config: pytest.Config) -> None:
    """Add what was asked for; without it there is no hook that runs per test."""
    config.addinivalue_line(
        "markers", f"{MAY_LEAK}: --syslet-no-leaks and its fixture pass this test over"
    )
    manager = config.pluginmanager
    for framework in ("asyncio", "anyio"):  # the names of their plugins
        if manager.has_plugin(framework):
            # A project may have a version that its module is not for.
            with contextlib.suppress(ImportError, TypeError):
                module = import_module(f".watch_{framework}", __name__)
                manager.register(module, f"syslet_watch_{framework}")
    if _is_wanted(config, "syslet_no_leaks"):
        manager.register(_Everywhere(), "syslet_no_leaks_everywhere")
    if _is_wanted(config, "syslet_loop"):
        from . import suite

        suite.register(config)


@pytest.fixture
def syslet_no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if it leaves descriptors, or tasks or flights on its loop.

    Fixtures of the test's own scope that come after this one are part of the test. What
    has already failed is not looked at, nor is a test marked syslet_may_leak.
    """
    from . import leaks

    yield from leaks.watched(request)


class _Everywhere:
    """--syslet-no-leaks: the fixture for all tests."""

    @pytest.fixture(autouse=True)
    def _syslet_no_leaks_everywhere(self, syslet_no_leaks: Any) -> None:
        """Nothing but the other fixture."""
