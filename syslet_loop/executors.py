"""run_in_executor: asyncio's, with the way back to the loop in C.

A mixin of EventLoop. Executors are called through their public methods only; one whose
futures are not those of concurrent.futures is wrapped by asyncio itself.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from asyncio import futures
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

from . import _native

if TYPE_CHECKING:

    class _Base(_native.Loop, asyncio.SelectorEventLoop):
        """What asyncio's stubs leave out."""

        _default_executor: concurrent.futures.Executor | None

        def _check_closed(self) -> None: ...
        def _check_callback(self, callback: Any, method: str) -> None: ...
        def _check_default_executor(self) -> None: ...

else:
    _Base = object

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Executors(_Base):
    """Threads and processes that work for the loop."""

    __slots__ = ()

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[Unpack[_Ts]], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """A future of `func(*args)`, called in the executor (None: the default one).

        Raises RuntimeError after shutdown_default_executor, or what `submit` raises.
        """
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._default_executor
            # Only check when the default executor is being used.
            self._check_default_executor()
            if executor is None:
                executor = concurrent.futures.ThreadPoolExecutor(
                    thread_name_prefix="asyncio"
                )
                self._default_executor = executor
        source = executor.submit(func, *args)
        if isinstance(source, concurrent.futures.Future):
            return self._wrap(source)
        return futures.wrap_future(source, loop=self)
