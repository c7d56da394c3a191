"""What the native loop says about failures: all of it goes through here.

Called by the binding only, with the object that failed and the exception; the texts are
asyncio's, because programs and their tests look at them. Nothing here decides what
happens to a transport afterwards.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import base_events, constants, format_helpers, trsock
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
        described = base_events._format_handle(what)  # type: ignore[attr-defined]
    # asyncio's logger under the name by which programs replace it.
    base_events.logger.warning(  # type: ignore[attr-defined]
        "Executing %s took %.3f seconds%s", described, seconds, _slow_atom(loop)
    )


def _slow_atom(loop: Any) -> str:
    """Which atom of which syslet took most of it, if one did."""
    span = loop._engine.take_slowest() if loop._engine is not None else None
    if span is None:
        return ""
    _, label, op, _, atom, *_, start, end, _, _ = span
    seconds = (end - start) / 1e9
    if seconds < loop.slow_callback_duration / 2:
        return ""
    return f", {seconds:.3f} of them in atom {atom} ({op}) of the syslet {label!r}"


def source_failed(
    loop: asyncio.AbstractEventLoop, source: Any, exception: BaseException
) -> None:
    """What a transport or listener did for itself failed."""
    loop.call_exception_handler(
        {"message": f"Exception in callback of {source!r}", "exception": exception}
    )


def transport_failed(transport: Any, exception: BaseException, message: str) -> None:
    """An error ends a transport: a line in debug mode if it is the network's."""
    loop = transport._loop
    if isinstance(exception, OSError):
        if loop.get_debug():
            logger.debug("%r: %s", transport, message, exc_info=exception)
        return
    loop.call_exception_handler(
        {
            "message": message,
            "exception": exception,
            "transport": transport,
            "protocol": transport._protocol,
        }
    )


def flow_control_failed(transport: Any, exception: BaseException, message: str) -> None:
    """pause_writing() or resume_writing() raised; the transport goes on."""
    transport._loop.call_exception_handler(
        {
            "message": message,
            "exception": exception,
            "transport": transport,
            "protocol": transport._protocol,
        }
    )


def write_after_loss() -> None:
    """A program goes on writing to a connection that was lost."""
    logger.warning("socket.send() raised exception.")


def received_eof(transport: Any) -> None:
    """Debug mode: the peer closed its half."""
    logger.debug("%r received EOF", transport)


def paused_reading(transport: Any) -> None:
    """Debug mode."""
    logger.debug("%r pauses reading", transport)


def resumed_reading(transport: Any) -> None:
    """Debug mode."""
    logger.debug("%r resumes reading", transport)


def lost_while_waiting(waiter: asyncio.Future[None]) -> None:
    """Somebody waited for everything to be sent, and the connection is gone."""
    if not waiter.done():
        waiter.set_exception(ConnectionError("Connection is closed by peer"))


def all_sent(waiter: asyncio.Future[None]) -> None:
    """Everything is sent, and somebody waited for that."""
    if not waiter.done():
        waiter.set_result(None)


def not_sent(waiter: asyncio.Future[None], exception: BaseException) -> None:
    """The connection failed while somebody waited for everything to be sent."""
    if not waiter.done():
        waiter.set_exception(exception)


def accept_failed(
    loop: asyncio.AbstractEventLoop, exception: BaseException, protocol: Any
) -> None:
    """A connection could not become a transport; told in debug mode, as asyncio."""
    if not loop.get_debug():
        return
    context = {
        "message": "Error on transport creation for incoming connection",
        "exception": exception,
    }
    if protocol is not None:
        context["protocol"] = protocol
    loop.call_exception_handler(context)


def accept_exhausted(
    listener: Any, loop: asyncio.AbstractEventLoop, sock: Any, exception: OSError
) -> None:
    """accept() found no descriptor or memory: told, and tried again in a second."""
    loop.call_exception_handler(
        {
            "message": "socket.accept() out of system resource",
            "exception": exception,
            "socket": trsock.TransportSocket(sock),
        }
    )
    loop.call_later(constants.ACCEPT_RETRY_DELAY, listener.start)


def describe_transport(transport: Any) -> str:
    """A transport as asyncio's look: state, descriptor, reading, writing."""
    words = [type(transport).__name__]
    if transport._loop is None:
        words.append("closed")
    elif transport.is_closing():
        words.append("closing")
    words.append(f"fd={transport._sock_fd}")
    loop = transport._loop
    if loop is not None and not loop.is_closed():
        words.append(f"read={'polling' if transport._polling else 'idle'}")
        size = transport.get_write_buffer_size()
        words.append(f"write=<{'polling' if size else 'idle'}, bufsize={size}>")
    return f"<{' '.join(words)}>"
