"""Workers of gunicorn that serve aiohttp's and ASGI applications on our loop.

    gunicorn -k syslet_loop.gunicorn.AiohttpWorker module:app
    gunicorn -k syslet_loop.gunicorn.UvicornWorker module:app

Imported by gunicorn, when it loads the class; by nothing in this package. A class is
made when it is asked for, so that only the framework that it is for must be installed.
"""

from __future__ import annotations

import asyncio
import functools
import warnings
from importlib import import_module
from typing import Any

from .policy import new_event_loop


@functools.cache
def _aiohttp_worker() -> Any:
    """aiohttp's worker with our loop: no policy is changed. Needs aiohttp."""
    base = import_module("aiohttp.worker").GunicornWebWorker

    def init_process(self: Any) -> None:
        """Begin in the new process: make the loop, then do as gunicorn's workers do."""
        self.loop = new_event_loop()
        asyncio.set_event_loop(self.loop)
        super(base, self).init_process()

    doc = "Serves an aiohttp.web.Application, or a coroutine function that makes one."
    space = {"__doc__": doc, "__module__": __name__, "init_process": init_process}
    return type("AiohttpWorker", (base,), space)


@functools.cache
def _uvicorn_worker() -> Any:
    """uvicorn's worker with our loop. Needs uvicorn-worker, or an older uvicorn."""
    try:
        base = import_module("uvicorn_worker").UvicornWorker
    except ModuleNotFoundError as error:
        if error.name != "uvicorn_worker":
            raise
        with warnings.catch_warnings():  # it tells of the package that is not here
            warnings.simplefilter("ignore", DeprecationWarning)
            base = import_module("uvicorn.workers").UvicornWorker
    options = {**base.CONFIG_KWARGS, "loop": "syslet_loop:new_event_loop"}
    doc = "Serves an ASGI application."
    space = {"__doc__": doc, "__module__": __name__, "CONFIG_KWARGS": options}
    return type("UvicornWorker", (base,), space)


_WORKERS = {"AiohttpWorker": _aiohttp_worker, "UvicornWorker": _uvicorn_worker}


def __getattr__(name: str) -> Any:
    if name in _WORKERS:
        return _WORKERS[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WORKERS})
