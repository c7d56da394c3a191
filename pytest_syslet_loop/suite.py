"""--syslet-loop: whatever makes an event loop in this session makes ours.

pytest-asyncio and AnyIO are told by their own means; asyncio.run, unittest and
everything else that asks asyncio for a loop by its policy, on Pythons that have one.
Imported when the option is given, and by nothing else.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import pytest

import syslet_loop

_HAS_POLICIES = sys.version_info < (3, 16)
_HOOK = "pytest_asyncio_loop_factories"
# Old versions of pytest-asyncio leave an open loop in the policy, and asyncio's policy
# lives as long as the process: so does ours.
_kept: list[Any] = []


def register(config: pytest.Config) -> None:
    """Add what the plugins that are there understand."""
    manager = config.pluginmanager
    if manager.has_plugin("asyncio"):
        hook = getattr(manager.hook, _HOOK, None)
        is_new = hook is not None and hook.spec is not None
        plugin = LoopFactories() if is_new else _module("suite_policy")
        manager.register(plugin, "syslet_loop_asyncio")
    if manager.has_plugin("anyio"):
        manager.register(_module("suite_anyio"), "syslet_loop_anyio")
    manager.register(Policy(), "syslet_loop_policy")


def _module(name: str) -> Any:
    return import_module(f".{name}", __package__)


def new_policy() -> Any:
    """Our policy, without asyncio's warning."""
    return quietly(lambda: syslet_loop.EventLoopPolicy())


def quietly(function: Callable[[], Any]) -> Any:
    """Call it; asyncio deprecates policies in 3.14."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return function()


class LoopFactories:
    """For pytest-asyncio 1.4 and newer; suite_policy is for older ones."""

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], Any]]:
        return {"syslet_loop": syslet_loop.new_event_loop}


class Policy:
    """asyncio's policy for the session, and the line in pytest's header."""

    _before: Any = None

    def pytest_report_header(self) -> str:
        loop = syslet_loop.new_event_loop()
        try:
            return f"syslet_loop: {syslet_loop.__version__}, backend {loop.backend}"
        finally:
            loop.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        if _HAS_POLICIES:
            self._before = quietly(asyncio.get_event_loop_policy)
            policy = new_policy()
            quietly(lambda: asyncio.set_event_loop_policy(policy))
            _kept.append(policy)

    def pytest_unconfigure(self) -> None:
        if self._before is not None:
            quietly(lambda: asyncio.set_event_loop_policy(self._before))
