"""A real browser: headless Chromium loads a page with everything a page may have.

The page is done when its own script says so: it has measured its style sheet, seen its
image, read a stream and a range with fetch. Skipped where Chromium is not installed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from clients import serving

import syslet_loop
from syslet_loop import web

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="stylesheet" href="/assets/style.css">
<img id="image" src="/assets/image.png">
<script type="module" src="/assets/script.js"></script>
"""
SCRIPT = """
import { answer } from "./module.js";

async function main() {
  const image = document.getElementById("image");
  await image.decode();
  const stream = await (await fetch("/stream")).text();
  const range = await fetch("/assets/large", { headers: { Range: "bytes=5-9" } });
  const posted = await fetch("/echo", { method: "POST", body: "ä".repeat(100000) });
  const cached = await fetch("/assets/style.css", { cache: "no-cache" });
  const found = {
    answer,
    color: getComputedStyle(document.body).color,
    width: image.naturalWidth,
    stream,
    range: [range.status, await range.text()],
    posted: (await posted.text()).length,
    cached: cached.status,
    large: (await (await fetch("/assets/large")).arrayBuffer()).byteLength,
    missing: (await fetch("/assets/missing")).status,
  };
  await fetch("/done", { method: "POST", body: JSON.stringify(found) });
}
main().catch(error => fetch("/done", { method: "POST", body: `"${error}"` }));
"""


def png(width: int, height: int) -> bytes:
    """A grey image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + b"\x80" * width) * height
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def made(folder: Path, done: asyncio.Future[object]) -> web.Application:
    (folder / "style.css").write_text("body { color: rgb(1, 2, 3) }")
    (folder / "script.js").write_text(SCRIPT)
    (folder / "module.js").write_text("export const answer = 42;")
    (folder / "image.png").write_bytes(png(37, 5))
    (folder / "large").write_bytes(b"0123456789" * 500_000)
    routes = web.RouteTableDef()

    @routes.get("/")
    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    @routes.get("/stream")
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"piece ")
        return response

    @routes.post("/echo")
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    @routes.post("/done")
    async def said(request: web.Request) -> web.Response:
        if not done.done():
            done.set_result(await request.json())
        return web.Response(status=204)

    app = web.Application()
    app.add_routes([*routes, web.static("/assets", folder)])
    return app


async def browse(folder: Path, profile: Path) -> object:
    """What the page finds out."""
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    async with serving(made(folder, done)) as server:
        child = await asyncio.create_subprocess_exec(
            str(CHROMIUM),
            *FLAGS,
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",  # it stays until it is told to end
            f"http://127.0.0.1:{server.port}/",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={n: v for n, v in os.environ.items() if n != "LD_PRELOAD"},  # make san
        )
        try:
            return await asyncio.wait_for(done, 60)
        finally:
            child.terminate()
            await child.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.timeout(120)
def test_a_browser_loads_a_page(backend: str, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    assert syslet_loop.run(browse(folder, tmp_path / "profile")) == {
        "answer": 42,
        "color": "rgb(1, 2, 3)",
        "width": 37,
        "stream": "piece piece piece ",
        "range": [206, "56789"],
        "posted": 100_000,
        "cached": 200,
        "large": 5_000_000,
        "missing": 404,
    }
