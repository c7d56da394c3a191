"""The application: routes, middlewares, what is done at its start and its end.

A mapping for whatever handlers share. It knows nothing of sockets; web_server.py runs
it. One application may be served again after it was shut down, on another loop too.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    MutableMapping,
)
from typing import Any

from .web_errors import HTTPException
from .web_request import Request
from .web_response import StreamResponse
from .web_routes import Handler, Route, Router
from .web_settings import Limits

Middleware = Callable[[Request, Handler], Awaitable[StreamResponse]]
Hook = Callable[["Application"], Awaitable[object]]
Context = Callable[["Application"], AsyncIterator[None]]


class _Wrapped:
    """A middleware around a handler."""

    __slots__ = ("_handler", "_middleware")

    def __init__(self, middleware: Middleware, handler: Handler) -> None:
        self._middleware = middleware
        self._handler = handler

    def __call__(self, request: Request) -> Awaitable[StreamResponse]:
        return self._middleware(request, self._handler)


class Application(MutableMapping[str, Any]):
    """A web application. Middlewares are called outermost first."""

    def __init__(
        self, *, middlewares: Iterable[Middleware] = (), limits: Limits | None = None
    ) -> None:
        self.router = Router()
        self.middlewares = list(middlewares)
        self.limits = limits or Limits()
        self.on_startup: list[Hook] = []
        self.on_shutdown: list[Hook] = []
        self.on_cleanup: list[Hook] = []
        self.cleanup_ctx: list[Context] = []
        self._contexts: list[AsyncIterator[None]] = []
        self._state: dict[str, Any] = {}
        self._handlers: dict[Route, Handler] = {}

    def __getitem__(self, key: str) -> Any:
        return self._state[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._state[key] = value

    def __delitem__(self, key: str) -> None:
        del self._state[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def add_routes(self, routes: Iterable[Any]) -> None:
        """As the router's."""
        self.router.add_routes(routes)

    # For the server.

    def find(self, request: Request) -> tuple[Handler, bool]:
        """What answers a request, and whether none of the program's code is in it."""
        try:
            route = self.router.resolve(request)
        except HTTPException as error:
            refusal = error

            async def refuse(request: Request) -> StreamResponse:
                raise refusal

            return self._wrapped(refuse), False
        handler = self._handlers.get(route)
        if handler is None:
            handler = self._handlers[route] = self._wrapped(route.handler)
        return handler, route.is_ours and not self.middlewares

    def _wrapped(self, handler: Handler) -> Handler:
        for middleware in reversed(self.middlewares):
            handler = _Wrapped(middleware, handler)
        return handler

    async def startup(self) -> None:
        """Run the beginnings of cleanup_ctx, then on_startup, in order.

        What was begun is ended if one of them raises.
        """
        self._handlers.clear()
        try:
            for make in self.cleanup_ctx:
                context = make(self)
                await anext(context)
                self._contexts.append(context)
            for hook in self.on_startup:
                await hook(self)
        except BaseException:
            await self.cleanup()
            raise

    async def shutdown(self) -> None:
        """Run on_shutdown: before requests that still run are waited for."""
        for hook in self.on_shutdown:
            await hook(self)

    async def cleanup(self) -> None:
        """Run on_cleanup, then the ends of cleanup_ctx in reverse order, all of them.

        Raises what the first one that failed raised.
        """
        errors: list[Exception] = []
        for hook in self.on_cleanup:
            await _collect(hook(self), errors)
        while self._contexts:
            context = self._contexts.pop()
            await _collect(_ended(context), errors)
        self.router.close()
        if errors:
            raise errors[0]


async def _collect(step: Awaitable[object], errors: list[Exception]) -> None:
    try:
        await step
    except Exception as error:
        errors.append(error)


async def _ended(context: AsyncIterator[None]) -> None:
    async for _ in context:
        raise RuntimeError(f"{context!r} yields more than once")
