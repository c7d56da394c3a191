"""call_soon and its handles: what they are, their text, and what is refused."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import re
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from peers import caught, on_loop, turns

# How the methods that take a callback are called; the name they give in messages.
METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "call_soon": lambda loop, callback: loop.call_soon(callback),
    "call_soon_threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback),
    "call_later": lambda loop, callback: loop.call_later(0, callback),
    "call_at": lambda loop, callback: loop.call_at(0, callback),
}
NAMES = {"call_later": ("call_at", "call_later")}
ONE_TWO = "(1, 'two')?"  # newer versions show arguments only in debug mode
methods = pytest.mark.parametrize("name", METHODS)


def named(*args: object) -> None:
    """A callback with a name."""


async def coroutine_function() -> None:
    """No callback."""


def boom() -> None:
    raise ZeroDivisionError("boom")


@methods
@on_loop
async def test_what_a_handle_is(name: str) -> None:
    loop = asyncio.get_running_loop()
    handle = METHODS[name](loop, named)
    assert isinstance(handle, asyncio.Handle)
    assert isinstance(handle, asyncio.TimerHandle) is (
        name in ("call_later", "call_at")
    )
    assert handle.cancelled() is False
    assert weakref.ref(handle)() is handle
    assert handle.cancel() is None
    assert handle.cancelled() is True
    handle.cancel()


@methods
@on_loop
async def test_contexts(name: str) -> None:
    """The given context is run in itself, not in a copy; else a copy of the present."""
    loop = asyncio.get_running_loop()
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    def callback() -> None:
        seen.append(variable.get())
        variable.set("by the callback")

    variable.set("here")
    METHODS[name](loop, callback)
    variable.set("later")
    await turns()
    assert seen == ["here"]
    assert variable.get() == "later"
    context = contextvars.copy_context()
    context.run(variable.set, "there")
    if name.startswith("call_soon"):
        handle = getattr(loop, name)(callback, context=context)
    else:
        handle = getattr(loop, name)(0, callback, context=context)
    if hasattr(asyncio.Handle, "get_context"):
        assert handle.get_context() is context
    await turns()
    assert seen == ["here", "there"]
    assert context[variable] == "by the callback"


@on_loop
async def test_order_and_turns() -> None:
    """Callbacks run in their order; those of a callback run in the next turn."""
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "fourth")
        loop.call_soon_threadsafe(seen.append, "fifth")

    loop.call_soon(first)
    loop.call_soon_threadsafe(seen.append, "second")
    loop.call_soon(seen.append, "third")
    assert seen == []
    await asyncio.sleep(0)
    assert seen == ["first", "second", "third"]
    await asyncio.sleep(0)
    assert seen == ["first", "second", "third", "fourth", "fifth"]


@on_loop
async def test_cancelling() -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []
    handles: list[asyncio.Handle] = []

    def first() -> None:
        seen.append("first")
        for handle in handles:
            handle.cancel()

    handles.append(loop.call_soon(first))
    handles.append(loop.call_soon(seen.append, "second"))
    handles.append(loop.call_soon(seen.append, "third"))
    loop.call_soon(seen.append, "fourth")
    await turns()
    assert seen == ["first", "fourth"]
    assert all(handle.cancelled() for handle in handles)
    late = loop.call_soon(seen.append, "fifth")
    await turns()
    late.cancel()
    assert late.cancelled()
    assert seen[-1] == "fifth"


@methods
@on_loop
async def test_a_cancelled_handle_lets_go(name: str) -> None:
    class Held:
        def method(self) -> None:
            pass

    loop = asyncio.get_running_loop()
    held = Held()
    reference = weakref.ref(held)
    handle = METHODS[name](loop, held.method)
    handle.cancel()
    del held
    gc.collect()
    assert reference() is None
    assert handle.cancelled()


@on_loop
async def test_texts() -> None:
    loop = asyncio.get_running_loop()
    here = re.escape(__file__)

    def like(handle: asyncio.Handle, pattern: str) -> bool:
        return bool(re.fullmatch(pattern, repr(handle)))

    handle = loop.call_soon(named)
    assert like(handle, rf"<\w*Handle named\(\) at {here}:\d+>")
    handle = loop.call_soon(named, 1, "two")
    assert like(handle, rf"<\w*Handle named\({ONE_TWO}\) at {here}:\d+>")
    handle.cancel()
    assert like(handle, r"<\w*Handle cancelled>")
    handle = loop.call_soon(functools.partial(named, 1), 2)
    assert like(handle, rf"<\w*Handle .*named\(1?\)\(2?\) at {here}:\d+>")
    handle = loop.call_soon(asyncio.Event().set)
    assert like(handle, r"<\w*Handle Event\.set\(\)>")
    timer = loop.call_at(loop.time() + 1000, named, 5)
    when = re.escape(repr(timer.when()))
    assert like(timer, rf"<\w*TimerHandle when={when} named\(5?\) at {here}:\d+>")
    timer.cancel()
    assert like(timer, rf"<\w*TimerHandle cancelled when={when}>")


@on_loop
async def test_texts_in_debug_mode() -> None:
    """A handle says where it was made, and after its end what it was."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    here = re.escape(__file__)
    handle = loop.call_soon(named)
    pattern = rf"named\(\) at {here}:\d+ created at {here}:\d+>"
    assert re.fullmatch(rf"<\w*Handle {pattern}", repr(handle))
    handle.cancel()
    assert re.fullmatch(rf"<\w*Handle cancelled {pattern}", repr(handle)) or (
        re.fullmatch(rf"<\w*Handle {pattern}", repr(handle))
    )
    timer = loop.call_later(1000, named)
    assert re.fullmatch(rf"<\w*TimerHandle when=[\d.]+ {pattern}", repr(timer))
    timer.cancel()


@methods
@on_loop
async def test_what_a_failing_callback_tells(name: str) -> None:
    loop = asyncio.get_running_loop()
    contexts = caught()
    handle = METHODS[name](loop, boom)
    await turns()
    (context,) = contexts
    assert context.keys() == {"message", "exception", "handle"}
    assert re.fullmatch(
        rf"Exception in callback boom\(\) at {re.escape(__file__)}:\d+",
        context["message"],
    )
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle


@methods
@on_loop
async def test_a_failing_callback_in_debug_mode(name: str) -> None:
    """It also tells where it was made: in the very line that called the method."""
    loop = asyncio.get_running_loop()
    contexts = caught()
    loop.set_debug(True)
    METHODS[name](loop, boom)
    await turns()
    (context,) = contexts
    assert context.keys() == {"message", "exception", "handle", "source_traceback"}
    frame = context["source_traceback"][-1]
    assert frame.filename == __file__
    assert name in (frame.line or "")


@on_loop
async def test_the_default_handler(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(boom)
    await turns()
    (record,) = caplog.records
    assert record.name == "asyncio"
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("Exception in callback boom() at ")
    assert "\nhandle: <" in record.getMessage()
    assert record.exc_info and record.exc_info[0] is ZeroDivisionError


@methods
@pytest.mark.parametrize("wrong", [None, 5, "text"])
@on_loop
async def test_what_cannot_be_called(name: str, wrong: Any) -> None:
    """Debug mode refuses it at once; else it fails when its turn comes."""
    loop = asyncio.get_running_loop()
    contexts = caught()
    METHODS[name](loop, wrong)
    await turns()
    assert [type(each["exception"]) for each in contexts] == [TypeError]
    loop.set_debug(True)
    with pytest.raises(TypeError) as refusal:
        METHODS[name](loop, wrong)
    assert str(refusal.value) in [
        f"a callable object was expected by {method}(), got {wrong!r}"
        for method in NAMES.get(name, (name,))
    ]


@methods
@on_loop
async def test_coroutines_are_refused_in_debug_mode(name: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    made = coroutine_function()
    for wrong in (coroutine_function, made):
        with pytest.raises(TypeError) as refusal:
            METHODS[name](loop, wrong)
        assert str(refusal.value) in [
            f"coroutines cannot be used with {method}()"
            for method in NAMES.get(name, (name,))
        ]
    made.close()


@methods
@on_loop
async def test_another_thread_is_refused_in_debug_mode(name: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    seen: list[str | None] = []

    def call() -> None:
        try:
            METHODS[name](loop, named)
            seen.append(None)
        except RuntimeError as error:
            seen.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    await turns()
    if name == "call_soon_threadsafe":
        assert seen == [None]
    else:
        assert seen == [
            "Non-thread-safe operation invoked on an event loop other "
            "than the current one"
        ]


@methods
@on_loop
async def test_arguments_by_name_are_refused(name: str) -> None:
    loop = asyncio.get_running_loop()
    first = () if name.startswith("call_soon") else (0,)
    with pytest.raises(TypeError):
        getattr(loop, name)(*first, named, wrong=1)
    with pytest.raises(TypeError):
        getattr(loop, name)()


@methods
def test_a_closed_loop_refuses(runner: asyncio.Runner, name: str) -> None:
    loop = runner.get_loop()
    handle = METHODS[name](loop, named)
    runner.close()
    handle.cancel()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        METHODS[name](loop, named)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_leaves_the_rest(
    runner: asyncio.Runner, error: type[BaseException]
) -> None:
    loop = runner.get_loop()
    seen: list[str] = []

    def leave() -> None:
        raise error

    loop.call_soon(seen.append, "before")
    loop.call_soon(leave)
    loop.call_soon(seen.append, "after")
    with pytest.raises(error):
        loop.run_forever()
    assert seen == ["before"]
    assert not loop.is_running()
    loop.run_until_complete(turns())
    assert seen == ["before", "after"]
