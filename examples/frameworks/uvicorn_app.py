"""uvicorn on our loop. `python uvicorn_app.py [port]`, or with uvicorn's own command:

uvicorn --loop syslet_loop:new_event_loop uvicorn_app:app
"""

import asyncio
import sys

import uvicorn

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
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    uvicorn.run(app, port=port, lifespan="off", loop="syslet_loop:new_event_loop")
