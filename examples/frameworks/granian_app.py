"""granian on our loop. `python granian_app.py [port]`

granian knows loops by name; a loop of one's own is registered in the program that
starts the server, and by each worker when it imports that program.
"""

import asyncio
import sys

import granian
from granian.constants import Interfaces

import syslet_loop
from syslet_loop import files


@granian.loops.register("syslet_loop")
def new_event_loop():
    loop = syslet_loop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


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
    granian.Granian(
        "granian_app:app",
        port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000,
        interface=Interfaces.ASGINL,  # without lifespan
        loop="syslet_loop",
    ).serve()
