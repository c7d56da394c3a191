"""A small web application: routes, JSON, a stream, static files, several processes.

python examples/web_app.py [folder] [port] [workers]
"""

import asyncio
import sys

import syslet_loop
from syslet_loop import web

routes = web.RouteTableDef()


@routes.get("/")
async def index(request: web.Request) -> web.Response:
    return web.Response(text="GET /greet/{name}, /count/{n}, /files/..., POST /sum\n")


@routes.get("/greet/{name}")
async def greet(request: web.Request) -> web.Response:
    return web.json_response({"hello": request.match_info["name"]})


@routes.post("/sum")
async def add(request: web.Request) -> web.Response:
    try:
        return web.json_response({"sum": sum(await request.json())})
    except (ValueError, TypeError):
        raise web.HTTPUnprocessableEntity(text="a list of numbers, please\n") from None


@routes.get("/count/{n:[0-9]{1,3}}")
async def count(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(int(request.match_info["n"])):
        await response.write(b"%d\n" % number)
        await asyncio.sleep(0.01)
    return response


def make_app(folder: str = ".") -> web.Application:
    app = web.Application()
    app.add_routes([*routes, web.static("/files", folder, show_index=True)])
    return app


def main(folder: str = ".", port: str = "8080", workers: str = "2") -> None:
    syslet_loop.serve(
        make_app(folder),
        port=int(port),
        workers=int(workers),
        ready=lambda port: print(f"http://127.0.0.1:{port}/", flush=True),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
