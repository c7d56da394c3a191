"""A project that only has the package installed notices nothing of the plugin."""

from __future__ import annotations

import pytest
from pytests import Suites

pytest_plugins = ("pytester",)


def test_nothing_of_the_package_is_imported(suites: Suites) -> None:
    suites.write(
        test_it="""
            import asyncio
            import sys

            def test_it(request):
                assert "pytest_syslet_loop" in sys.modules
                for name in sys.modules:
                    assert not name.startswith(("syslet_loop", "_cffi_backend")), name
                asyncio.run(asyncio.sleep(0))
                assert not any("syslet" in name for name in request.fixturenames)
        """
    )
    result = suites.run("--strict-markers")
    result.assert_outcomes(passed=1)
    assert "syslet_loop:" not in result.stdout.str()


def test_it_can_be_taken_out(suites: Suites) -> None:
    suites.write(test_it="def test_it(): pass")
    suites.run("-p", "no:syslet_loop").assert_outcomes(passed=1)
    result = suites.run("-p", "no:syslet_loop", "--syslet-loop")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_without_any_framework(suites: Suites) -> None:
    suites.write(
        test_it="""
            import asyncio

            async def kind():
                return type(asyncio.get_running_loop()).__module__

            def test_it(syslet_no_leaks):
                assert asyncio.run(kind()) == "syslet_loop.loop"
        """
    )
    options = ("-p", "no:asyncio", "-p", "no:anyio", "--syslet-loop")
    suites.run(*options).assert_outcomes(passed=1)


def test_it_is_explained(suites: Suites) -> None:
    text = suites.run("--help").stdout.str()
    assert "--syslet-loop" in text and "--syslet-no-leaks" in text
    assert "syslet_no_leaks" in suites.run("--fixtures").stdout.str()
    assert "syslet_may_leak" in suites.run("--markers").stdout.str()
