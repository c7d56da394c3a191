"""Files from Starlette on our loop, under uvicorn. `python starlette_files.py [port]`

/file is Starlette's FileResponse (with ranges), whose file is read in AnyIO's threads;
/stream is the same file read by syslets, without a thread.
"""

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from syslet_loop import files


async def loop_name(request: Request) -> PlainTextResponse:
    loop = type(asyncio.get_running_loop())
    return PlainTextResponse(f"{loop.__module__}.{loop.__name__}")


async def file(request: Request) -> FileResponse:
    return FileResponse(__file__, media_type="text/x-python")


async def stream(request: Request) -> StreamingResponse:
    return StreamingResponse(files.iter_chunks(__file__), media_type="text/x-python")


app = Starlette(
    routes=[
        Route("/", loop_name),
        Route("/file", file),
        Route("/stream", stream),
    ]
)

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    uvicorn.run(app, port=port, loop="syslet_loop:new_event_loop")
