"""aiohttp, Starlette and AnyIO as programs use them, on our loop."""

from __future__ import annotations

import pytest
from serving import LOOP, ask, command, run, serving, source


def test_aiohttps_client_and_server() -> None:
    pytest.importorskip("aiohttp")
    length = len(source("aiohttp_app"))
    assert run(*command("aiohttp_app")).splitlines() == [
        f"/ 200 {len(LOOP) + 1}",
        f"/lines 200 {length}",
        f"/source 200 {length}",
    ]


def test_aiohttps_run_app() -> None:
    pytest.importorskip("aiohttp")
    with serving(*command("aiohttp_app", "0")) as port:
        assert ask(port) == (200, f"{LOOP}\n".encode())
        assert ask(port, "/lines") == (200, source("aiohttp_app"))
        whole = source("aiohttp_app")
        assert ask(port, "/source", Range="bytes=10-19") == (206, whole[10:20])


def test_starlettes_files() -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    whole = source("starlette_files")
    with serving(*command("starlette_files", "0")) as port:
        assert ask(port) == (200, LOOP.encode())
        assert ask(port, "/file") == (200, whole)
        assert ask(port, "/file", Range="bytes=10-19") == (206, whole[10:20])
        assert ask(port, "/stream") == (200, whole)


def test_anyio() -> None:
    pytest.importorskip("anyio")
    assert run(*command("anyio_app")) == f"through AnyIO\n{LOOP}\n"
