"""uvicorn, hypercorn and gunicorn serve on our loop, by the seams they have for it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import pytest
from serving import LOOP, ask, command, greeting, serving, source


def test_uvicorn() -> None:
    pytest.importorskip("uvicorn")
    with serving(*command("uvicorn_app", "0")) as port:
        for _ in range(3):
            assert ask(port) == (200, greeting("uvicorn_app"))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_uvicorns_command_line(workers: str) -> None:
    pytest.importorskip("uvicorn")
    with serving(
        *(sys.executable, "-m", "uvicorn", "--port", "0", "--lifespan", "off"),
        *("--loop", "syslet_loop:new_event_loop", "--workers", workers),
        "uvicorn_app:app",
    ) as port:
        assert ask(port) == (200, greeting("uvicorn_app"))


def test_hypercorn() -> None:
    pytest.importorskip("hypercorn")
    with serving(*command("hypercorn_app", "0")) as port:
        assert ask(port) == (200, greeting("hypercorn_app"))


def test_gunicorn_with_aiohttp() -> None:
    """Two workers, and a third after one has ended."""
    pytest.importorskip("gunicorn")
    pytest.importorskip("aiohttp")
    length = len(source("gunicorn_app"))

    def worker(port: int) -> int:
        """The process that answers."""
        status, body = ask(port)
        loop, size, pid = body.decode().split()
        assert (status, loop, int(size)) == (200, LOOP, length)
        return int(pid)

    with serving(*command("gunicorn_app", "0")) as port:
        first = worker(port)
        os.kill(first, signal.SIGTERM)
        seen = {first}
        while len(seen) < 3:
            with contextlib.suppress(ConnectionError):  # by the one that ends
                seen.add(worker(port))


def test_gunicorn_with_uvicorn() -> None:
    pytest.importorskip("gunicorn")
    pytest.importorskip("uvicorn")
    worker = "syslet_loop.gunicorn.UvicornWorker"
    with serving(
        *(sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:0", "-k", worker),
        "uvicorn_app:app",
    ) as port:
        assert ask(port) == (200, greeting("uvicorn_app"))


def test_a_worker_that_does_not_exist() -> None:
    import syslet_loop.gunicorn

    assert {"AiohttpWorker", "UvicornWorker"} <= set(dir(syslet_loop.gunicorn))
    with pytest.raises(AttributeError, match="SyncWorker"):
        syslet_loop.gunicorn.SyncWorker  # noqa: B018
