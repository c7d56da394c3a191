"""Tornado on our loop. `python tornado_app.py [port]`

Tornado's IOLoop is a view of the asyncio loop that runs: nothing has to be told.
"""

import asyncio
import signal
import sys

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

import syslet_loop
from syslet_loop import files


class Hello(RequestHandler):
    """Says which loop it is on, and how long this file is."""

    async def get(self):
        loop = type(asyncio.get_running_loop())
        source = await files.read_bytes(__file__)
        self.write(f"{loop.__module__}.{loop.__name__} {len(source)}\n")


async def main(port):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = HTTPServer(Application([("/", Hello)]))
    (socket,) = bind_sockets(port, "127.0.0.1")
    server.add_sockets([socket])
    print(f"http://127.0.0.1:{socket.getsockname()[1]}", flush=True)
    await stop.wait()
    server.stop()
    await server.close_all_connections()


if __name__ == "__main__":
    syslet_loop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000))
