"""FastAPI on our loop, under uvicorn. `python fastapi_files.py [port]`

A file that is uploaded is saved whole or not at all, and sent back as a download.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse

from syslet_loop import files

FOLDER = Path(tempfile.mkdtemp())
app = FastAPI()


@app.get("/")
async def loop_name() -> str:
    loop = type(asyncio.get_running_loop())
    return f"{loop.__module__}.{loop.__name__}"


@app.put("/files/{name}", status_code=201)
async def save(name: str, request: Request) -> int:
    """Returns the size in bytes."""
    return await files.write_bytes(FOLDER / name, await request.body(), atomic=True)


@app.get("/files/{name}")
async def load(name: str) -> FileResponse:
    if not await files.os.path.isfile(FOLDER / name):
        raise HTTPException(404)
    return FileResponse(FOLDER / name)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    uvicorn.run(app, port=port, loop="syslet_loop:new_event_loop")
