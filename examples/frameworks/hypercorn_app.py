"""hypercorn on our loop. `python hypercorn_app.py [port]`

hypercorn's command line names three kinds of workers and no loop; its function `serve`
runs on the loop that runs it.
"""

import asyncio
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config

import syslet_loop
from syslet_loop import files


async def app(scope, receive, send):
    """An ASGI application: says which loop it is on, and how long this file is."""
    assert scope["type"] == "http"
    loop = type(asyncio.get_running_loop())
    source = await files.read_bytes(__file__)
    body = f"{loop.__module__}.{loop.__name__} {len(source)}\n".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8000}"]
    syslet_loop.run(serve(app, config))
