"""gunicorn with aiohttp's workers on our loop. `python gunicorn_app.py [port]` is

gunicorn -k syslet_loop.gunicorn.AiohttpWorker -w 2 -b 127.0.0.1:8000 gunicorn_app:app

For an ASGI application the worker is syslet_loop.gunicorn.UvicornWorker.
"""

import asyncio
import os
import sys

from aiohttp import web

from syslet_loop import files


async def hello(request: web.Request) -> web.Response:
    """Which loop, how long this file is, and who says it."""
    loop = type(asyncio.get_running_loop())
    source = await files.read_bytes(__file__)
    text = f"{loop.__module__}.{loop.__name__} {len(source)} {os.getpid()}\n"
    return web.Response(text=text)


async def app() -> web.Application:
    """What gunicorn calls in each worker."""
    application = web.Application()
    application.router.add_get("/", hello)
    return application


if __name__ == "__main__":
    port = sys.argv[1] if len(sys.argv) > 1 else "8000"
    worker = "syslet_loop.gunicorn.AiohttpWorker"
    options = ["-k", worker, "-w", "2", "-b", f"127.0.0.1:{port}"]
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-m", "gunicorn", *options, "gunicorn_app:app"]
    os.execv(sys.executable, command)
