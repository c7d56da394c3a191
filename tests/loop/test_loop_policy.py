"""The policy: lazy, warning where asyncio warns, absent where asyncio has none."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

import syslet_loop
from syslet_loop import EventLoop, policy

if sys.version_info >= (3, 16):
    pytest.skip("asyncio has no policies any more", allow_module_level=True)


@pytest.fixture
def usual_policy() -> Iterator[None]:
    """Puts asyncio's own choice back."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(None)


@pytest.mark.usefixtures("usual_policy")
def test_install_makes_our_loop_the_default() -> None:
    async def main() -> type:
        return type(asyncio.get_running_loop())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        syslet_loop.install()
    assert asyncio.run(main()) is EventLoop


@pytest.mark.usefixtures("usual_policy")
def test_the_policy_makes_our_loops() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = syslet_loop.EventLoopPolicy()
        loop = made.new_event_loop()
        assert syslet_loop.EventLoopPolicy is type(made)
    assert isinstance(loop, EventLoop)
    loop.close()


@pytest.mark.usefixtures("usual_policy")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_subprocesses_work_under_the_policy() -> None:
    async def main() -> int:
        process = await asyncio.create_subprocess_exec("true")
        return await process.wait()

    syslet_loop.install()
    assert asyncio.run(main()) == 0


def test_both_are_warned_about_where_asyncio_warns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "_WARNS", True)
    with pytest.warns(DeprecationWarning, match="loop_factory") as caught:
        assert syslet_loop.EventLoopPolicy is not None
    assert caught[0].filename == __file__


def test_both_are_absent_where_asyncio_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "_HAS_POLICIES", False)
    assert not hasattr(syslet_loop, "EventLoopPolicy")
    assert not hasattr(syslet_loop, "install")


def test_importing_touches_no_policy() -> None:
    script = (
        "import asyncio, sys; asyncio.__dict__.pop('DefaultEventLoopPolicy', None); "
        "import syslet_loop; syslet_loop.run(asyncio.sleep(0))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_elsewhere_the_import_says_linux_only() -> None:
    script = "import sys; sys.platform = 'plan9'; import syslet_loop"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ImportError: syslet_loop runs on Linux only" in done.stderr
