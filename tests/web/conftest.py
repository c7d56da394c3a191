"""What the tests of the web server share: the backends it is run on."""

from __future__ import annotations

import pytest

import syslet_loop._native

BACKENDS = ("uring", "epoll")


@pytest.fixture(scope="session")
def ring_works() -> bool:
    """Whether this process may use io_uring."""
    engine = syslet_loop._native.Engine()
    try:
        return bool(engine.backend == "uring")
    finally:
        engine.close()


@pytest.fixture(params=BACKENDS)
def backend(
    request: pytest.FixtureRequest, ring_works: bool, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Each backend of ours, chosen in the environment."""
    if request.param == "uring" and not ring_works:
        pytest.skip("this process may not use io_uring")
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", request.param)
    return str(request.param)
