"""aiohttp on our loop, server and client. `python aiohttp_app.py` asks itself once;
`python aiohttp_app.py [port]` serves until it is interrupted.
"""

import asyncio
import sys

import aiohttp
from aiohttp import web

import syslet_loop
from syslet_loop import files


async def hello(request: web.Request) -> web.Response:
    loop = type(asyncio.get_running_loop())
    return web.Response(text=f"{loop.__module__}.{loop.__name__}\n")


async def lines(request: web.Request) -> web.StreamResponse:
    """This file, line by line, without a thread pool."""
    response = web.StreamResponse(headers={"content-type": "text/plain"})
    await response.prepare(request)
    async with files.open(__file__, "rb") as file:
        async for line in file:
            await response.write(line)
    return response


async def source(request: web.Request) -> web.FileResponse:
    return web.FileResponse(__file__)


app = web.Application()
app.router.add_get("/", hello)
app.router.add_get("/lines", lines)
app.router.add_get("/source", source)


async def main() -> None:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0])
    async with aiohttp.ClientSession(url) as session:
        for path in ("/", "/lines", "/source"):
            async with session.get(path) as response:
                body = await response.read()
                print(path, response.status, len(body))
    await runner.cleanup()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        loop = syslet_loop.new_event_loop()
        web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), loop=loop)
    else:
        syslet_loop.run(main())
