"""Finds CPython's own asyncio tests in the running interpreter's Lib/test.

Used by run.py, before anything is forked. A test's name here is its unittest id without
the package, such as `test_events.EPollEventLoopTests.test_call_later`. Left out are the
modules that test asyncio's classes with mocks and make no loop, and Windows.
"""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
import importlib.util
import pkgutil
import unittest
from collections.abc import Iterator

PACKAGE = "test.test_asyncio"
LEFT_OUT = {
    "test_proactor_events",
    "test_selector_events",
    "test_windows_events",
    "test_windows_utils",
}


def missing() -> str:
    """Why there is nothing to run here, or nothing."""
    try:
        if importlib.util.find_spec(PACKAGE) is not None:
            return ""
    except ModuleNotFoundError:
        pass
    return f"this interpreter comes without {PACKAGE}"


def modules() -> list[str]:
    """The modules that this version has, by their last name."""
    package = importlib.import_module(PACKAGE)
    names = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return sorted(n for n in names - LEFT_OUT if n.startswith("test_"))


def _flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


def name_of(test: unittest.TestCase) -> str:
    return test.id().removeprefix(f"{PACKAGE}.")


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern with wildcards, or a part of the name, picks a test."""
    return pattern in name or fnmatch.fnmatchcase(name, pattern)


def collect(only: str) -> dict[str, unittest.TestCase]:
    """The tests whose names match, by name, in the order of their modules."""
    from test import support

    # Everything but other hosts: the tests may use processors and time.
    support.use_resources = ["cpu", "subprocess", "walltime"]
    found: dict[str, unittest.TestCase] = {}
    for name in modules():
        # A module that cannot be used on this system says so when it is imported.
        with contextlib.suppress(unittest.SkipTest):
            module = importlib.import_module(f"{PACKAGE}.{name}")
            suite = unittest.defaultTestLoader.loadTestsFromModule(module)
            found |= {name_of(test): test for test in _flat(suite)}
    return {name: test for name, test in found.items() if matches(name, only)}


def skipped_by_decorator(test: unittest.TestCase) -> str | None:
    """The reason, for a test that unittest would skip without looking at a loop."""
    method = getattr(test, getattr(test, "_testMethodName", ""), None)
    for where in (type(test), method):
        if getattr(where, "__unittest_skip__", False):
            return getattr(where, "__unittest_skip_why__", "")
    return None
