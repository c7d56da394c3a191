"""One worker process: makes the application, serves, ends.

Called by workers.py in the child, right after fork. Nothing of the parent is used but
the listening sockets, the pipe to say that it serves, and the one that tells that the
parent is gone.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from . import policy
from .stopping import serve_until_stopped

FAILED = 3  # exit status


def work(
    app: Any,
    sockets: Sequence[socket.socket],
    said: int,
    life: int,
    grace_s: float,
) -> NoReturn:
    """Serve until told to stop, then exit with 0, or FAILED after an exception."""
    status = FAILED
    try:
        policy.run(_main(app, sockets, said, life, grace_s))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


async def _main(
    app: Any, sockets: Sequence[socket.socket], said: int, life: int, grace_s: float
) -> None:
    server = await server_of(app)

    def started() -> None:
        os.write(said, b"1")
        os.close(said)

    signals = (signal.SIGTERM,)  # the parent tells, once
    await serve_until_stopped(server, sockets, started, grace_s, life, signals)


async def server_of(app: Any) -> Any:
    """The server of what `serve` was given. Raises TypeError if it is none of that."""
    if isinstance(app, str):
        app = load(app)
    if not _is_served(app) and callable(app):
        app = app()
        if inspect.isawaitable(app):
            app = await app
    if not _is_served(app):
        raise TypeError(f"neither an application nor a server: {app!r}")
    if hasattr(app, "start"):
        return app
    from .web_server import Server

    return Server(app)


def _is_served(app: Any) -> bool:
    """An Application is known by its router: this file must not import web."""
    is_server = hasattr(app, "start") and hasattr(app, "stop")
    return not isinstance(app, type) and (is_server or hasattr(app, "router"))


def load(name: str) -> Any:
    """What "module:name" names. Raises ValueError, ImportError or AttributeError."""
    module, colon, attribute = name.partition(":")
    if not module or not colon or not attribute:
        raise ValueError(f"{name!r} is not 'module:name'")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
