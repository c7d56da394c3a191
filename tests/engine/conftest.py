"""The plain C engine, driven through cffi; the driver is built when it is old."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native" / "engine"


def build_if_old() -> None:
    """Have a driver for this Python that is younger than all its sources."""
    sys.path.insert(0, str(HERE))
    spec = importlib.util.find_spec("_driver")
    sources = [*NATIVE.glob("*.[ch]"), *HERE.glob("*_kernel.[ch]"), *HERE.glob("*.c")]
    sources += HERE.parent.glob("fuzz/fuzz*.[ch]")
    sources.append(HERE / "driver_build.py")
    if (
        spec is None
        or spec.origin is None
        or Path(spec.origin).stat().st_mtime
        < max(path.stat().st_mtime for path in sources)
    ):
        subprocess.run([sys.executable, str(HERE / "driver_build.py")], check=True)
        importlib.invalidate_caches()


build_if_old()
from driver import BACKENDS, Engine  # noqa: E402  (what the line above had built)


@pytest.fixture(params=BACKENDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    """An engine on the real kernel, with workers."""
    try:
        engine = Engine(backend=BACKENDS[request.param], workers=-1)
    except OSError as error:
        pytest.skip(f"{request.param} is not to be had here: {error}")
    yield engine
    engine.close()


@pytest.fixture
def kernel() -> Iterator[Any]:
    """A fake one on whose descriptors every attempt misses and every call gives 64."""
    from driver import FD, Kernel, lib

    kernel = Kernel()
    for fd in range(FD, FD + lib.FAKE_FDS):
        kernel.script(fd, -11, 64)
    yield kernel
    assert kernel.is_clean()
