"""The plain C engine, driven through cffi; the driver is built when it is old."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native" / "engine"


def build_if_old() -> None:
    """Have a driver for this Python that is younger than all its sources."""
    sys.path.insert(0, str(HERE))
    spec = importlib.util.find_spec("_driver")
    sources = [*NATIVE.glob("*.[ch]"), *HERE.glob("fake_kernel.[ch]")]
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
