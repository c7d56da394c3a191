"""What the native loop says about failures: all of it goes through here.

Called by the binding only, with the object that failed and the exception; the texts are
asyncio's, because programs and their tests look at them. Nothing here decides what
happens to a transport afterwards.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import format_helpers
from asyncio.log import logger
from typing import Any


def stack() -> Any:
    """Where the callback that is being scheduled came from, for debug mode."""
    return format_helpers.extract_stack(sys._getframe(1))


def callback_failed(handle: Any, exception: BaseException) -> None:
    """A callback raised; the loop's exception handler is told."""
    source = format_helpers._format_callback_source(handle._callback, handle._args)
    context = {
        "message": f"Exception in callback {source}",
        "exception": exception,
        "handle": handle,
    }
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    handle._loop.call_exception_handler(context)


def slow_callback(loop: Any, what: Any, seconds: float) -> None:
    """In debug mode: a callback has run, for so long."""
    if seconds < loop.slow_callback_duration:
        return
    described = what
    if isinstance(what, asyncio.Handle):
        from asyncio.base_events import _format_handle  # type: ignore[attr-defined]

        described = _format_handle(what)
    logger.warning("Executing %s took %.3f seconds", described, seconds)
