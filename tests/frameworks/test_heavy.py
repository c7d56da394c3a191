"""FastAPI, granian, Dask and Tornado on our loop; `make frameworks` installs them."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path

import pytest
from serving import EXAMPLES, LOOP, ask, command, greeting, run, serving


def needs(package: str) -> None:
    """Skips where it is missing. Not imported here: numpy, for one, starts threads."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make frameworks does it")


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def test_fastapi() -> None:
    needs("fastapi")
    content = bytes(range(256)) * 1000
    with serving(*command("fastapi_files", "0")) as port:
        assert ask(port) == (200, json.dumps(LOOP).encode())
        assert ask(port, "/files/new")[0] == 404
        assert ask(port, "/files/new", "PUT", content) == (201, b"256000")
        assert ask(port, "/files/new") == (200, content)
        assert ask(port, "/files/new", Range="bytes=-3") == (206, content[-3:])


def test_granian() -> None:
    needs("granian")
    # It says which port it was given, not which one it got.
    with serving(*command("granian_app", str(free_port()))) as port:
        assert ask(port) == (200, greeting("granian_app"))


def test_dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("distributed")
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path))
    # Workers tell, for information, with a traceback, that their scheduler has gone.
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "warning")
    count = len(list(EXAMPLES.glob("*.py")))
    assert run(*command("dask_cluster")).endswith(f"{count} files, on EventLoop\n")


def test_tornado() -> None:
    needs("tornado")
    with serving(*command("tornado_app", "0")) as port:
        for _ in range(3):
            assert ask(port) == (200, greeting("tornado_app"))
