"""The programs in docs/web.md work as they stand."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from clients import Client, ask

import syslet_loop
from syslet_loop import web

GUIDE = Path(__file__).parents[2] / "docs" / "web.md"
PROGRAM, OTHER = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)


def test_the_program(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    module: dict[str, Any] = {"__name__": "guide"}
    exec(PROGRAM.replace("/usr/share/doc", str(tmp_path)), module)

    def client(port: int) -> list[bytes]:
        with Client(port) as conn:
            found = [conn.get("/greet/you").body, conn.get("/files/a").body]
            return [*found, conn.post("/upload", bytes(100_000)).body]

    found = ask(module["make_app"](), client)
    assert found == [b'{"hello": "you"}', b"content", b"100000 bytes\n"]


def test_another_server() -> None:
    aiohttp_web = pytest.importorskip("aiohttp.web")

    def make_app() -> Any:
        async def hello(request: Any) -> Any:
            return aiohttp_web.Response(text="hello")

        app = aiohttp_web.Application()
        app.router.add_get("/", hello)
        return app

    module: dict[str, Any] = {"web": aiohttp_web, "make_app": make_app}
    exec(OTHER, module)

    async def main() -> int:
        server, sockets = module["AiohttpServer"](), web.listen("127.0.0.1", 0)
        port = sockets[0].getsockname()[1]
        await server.start(sockets)

        def client() -> int:
            with Client(port) as conn:
                return conn.get("/").status

        try:
            return await asyncio.to_thread(client)
        finally:
            await server.stop(1)

    assert syslet_loop.run(main()) == 200


def test_what_is_needed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delitem(sys.modules, "syslet_loop.web")
    with pytest.raises(ImportError, match=r"pip install 'syslet_loop\[web\]'"):
        import syslet_loop.web  # noqa: F401
