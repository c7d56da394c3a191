"""Routes: which handler answers which method and path.

Paths are compared as they come, escaped one way (web_headers.normal_path), so that an
escaped slash never becomes a separator; what a parameter matched is unescaped. A path
without parameters is found in a dictionary, all others in the order they were added.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from .web_errors import HTTPMethodNotAllowed, HTTPNotFound
from .web_folders import Folder
from .web_request import Request
from .web_response import StreamResponse

Handler = Callable[[Request], Awaitable[StreamResponse]]

_SAFE = "/:@!$&'()*+,;=-._~%"
_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)(?::((?:[^{}]|\{[^{}]*\})+))?\}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(eq=False)
class Route:
    """A handler and when it is called; method "*" is any."""

    method: str
    path: str
    handler: Handler
    is_ours: bool = False  # a folder's: no code of the program's runs


@dataclass(eq=False)
class _Static:
    """A folder that is to be added."""

    prefix: str
    folder: str | os.PathLike[str]
    options: dict[str, Any] = field(default_factory=dict)


class RouteTableDef(list[Any]):
    """Routes that decorators collect, for `add_routes`."""

    def route(self, method: str, path: str) -> Callable[[Handler], Handler]:
        """Note the decorated handler; `get`, `post`, … are this with a method."""

        def note(handler: Handler) -> Handler:
            self.append(route(method, path, handler))
            return handler

        return note

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """GET, and HEAD with it."""
        return self.route("GET", path)

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """POST."""
        return self.route("POST", path)

    def put(self, path: str) -> Callable[[Handler], Handler]:
        """PUT."""
        return self.route("PUT", path)

    def patch(self, path: str) -> Callable[[Handler], Handler]:
        """PATCH."""
        return self.route("PATCH", path)

    def delete(self, path: str) -> Callable[[Handler], Handler]:
        """DELETE."""
        return self.route("DELETE", path)

    def static(
        self, prefix: str, folder: str | os.PathLike[str], **options: Any
    ) -> None:
        """Note a folder, as `static`."""
        self.append(static(prefix, folder, **options))


def route(method: str, path: str, handler: Handler) -> Route:
    """A route. Raises ValueError for a method or a path that is none."""
    if method != "*" and not (method.isascii() and method.isupper()):
        raise ValueError(f"not a method: {method!r}")
    if not path.startswith("/"):
        raise ValueError(f"a path starts with a slash: {path!r}")
    return Route(method, path, handler)


def get(path: str, handler: Handler) -> Route:
    """A route for GET; it answers HEAD as well."""
    return route("GET", path, handler)


def head(path: str, handler: Handler) -> Route:
    """A route for HEAD."""
    return route("HEAD", path, handler)


def post(path: str, handler: Handler) -> Route:
    """A route for POST."""
    return route("POST", path, handler)


def put(path: str, handler: Handler) -> Route:
    """A route for PUT."""
    return route("PUT", path, handler)


def patch(path: str, handler: Handler) -> Route:
    """A route for PATCH."""
    return route("PATCH", path, handler)


def delete(path: str, handler: Handler) -> Route:
    """A route for DELETE."""
    return route("DELETE", path, handler)


def options(path: str, handler: Handler) -> Route:
    """A route for OPTIONS."""
    return route("OPTIONS", path, handler)


def static(prefix: str, folder: str | os.PathLike[str], **options: Any) -> _Static:
    """A folder to serve; the options are web_folders.Folder's."""
    return _Static(prefix, folder, options)


class Router:
    """The routes of an application."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        self._folders: list[tuple[str, Folder, Route]] = []

    def __iter__(self) -> Iterator[Route]:
        for methods in [*self._exact.values(), *(m for _, m in self._patterns)]:
            yield from methods.values()
        yield from (each for _, _, each in self._folders)

    def add(self, new: Route) -> Route:
        """Add a route. Raises ValueError if its method and path have one already."""
        methods = self._methods_of(new.path)
        if new.method in methods:
            raise ValueError(f"{new.method} {new.path} has a handler already")
        methods[new.method] = new
        return new

    def _methods_of(self, path: str) -> dict[str, Route]:
        if "{" not in path and "}" not in path:
            return self._exact.setdefault(quote(path, safe=_SAFE), {})
        pattern = compile_path(path)
        for known, methods in self._patterns:
            if known.pattern == pattern.pattern:
                return methods
        methods = {}
        self._patterns.append((pattern, methods))
        return methods

    def add_route(self, method: str, path: str, handler: Handler) -> Route:
        """Add a handler; "*" is any method."""
        return self.add(route(method, path, handler))

    def add_get(self, path: str, handler: Handler) -> Route:
        """Add a handler of GET and HEAD."""
        return self.add(get(path, handler))

    def add_post(self, path: str, handler: Handler) -> Route:
        """Add a handler of POST."""
        return self.add(post(path, handler))

    def add_put(self, path: str, handler: Handler) -> Route:
        """Add a handler of PUT."""
        return self.add(put(path, handler))

    def add_patch(self, path: str, handler: Handler) -> Route:
        """Add a handler of PATCH."""
        return self.add(patch(path, handler))

    def add_delete(self, path: str, handler: Handler) -> Route:
        """Add a handler of DELETE."""
        return self.add(delete(path, handler))

    def add_static(
        self, prefix: str, folder: str | os.PathLike[str], **options: Any
    ) -> Folder:
        """Serve the files below a folder; the options are web_folders.Folder's.

        Raises OSError if it is no folder that can be opened.
        """
        start = quote(prefix.rstrip("/") + "/", safe=_SAFE)
        if not start.startswith("/"):
            raise ValueError(f"a prefix starts with a slash: {prefix!r}")
        served = Folder(start, folder, **options)
        found = Route("GET", start, served.respond, is_ours=True)
        self._folders.append((start, served, found))
        self._folders.sort(key=lambda each: -len(each[0]))
        return served

    def add_routes(self, routes: Iterable[Any]) -> None:
        """Add what `get`, `static` and their kind, or a RouteTableDef, made."""
        for each in routes:
            if isinstance(each, _Static):
                self.add_static(each.prefix, each.folder, **each.options)
            else:
                self.add(each)

    def close(self) -> None:
        """Close the folders; they are opened again when they are asked for."""
        for _, folder, _ in self._folders:
            folder.close()

    def resolve(self, request: Request) -> Route:
        """The route of a request, with its match_info set.

        Raises HTTPNotFound or HTTPMethodNotAllowed.
        """
        methods = self._exact.get(request.path)
        if methods is not None:
            found = _choose(methods, request.method)
            if found is not None:
                return found
        return self._search(request, set(methods or ()))

    def _search(self, request: Request, allowed: set[str]) -> Route:
        path, method = request.path, request.method
        for pattern, methods in self._patterns:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            found = _choose(methods, method)
            if found is not None:
                groups = match.groupdict()
                request.match_info = {k: unquote(v) for k, v in groups.items()}
                return found
            allowed |= methods.keys()
        for prefix, _, found in self._folders:
            if path.startswith(prefix):
                if method in ("GET", "HEAD"):
                    return found
                allowed |= {"GET"}
        if not allowed:
            raise HTTPNotFound()
        raise HTTPMethodNotAllowed(allowed | ({"HEAD"} if "GET" in allowed else set()))


def _choose(methods: dict[str, Route], method: str) -> Route | None:
    found = methods.get(method)
    if found is None and method == "HEAD":
        found = methods.get("GET")
    return found or methods.get("*")


def compile_path(path: str) -> re.Pattern[str]:
    """The pattern of a path with parameters: {name} or {name:regular expression}.

    Raises ValueError for braces that are no parameter, a name that is used twice, or an
    expression that is none.
    """
    pattern, at, names = "", 0, set()
    for match in _PARAMETER.finditer(path):
        pattern += _literal(path[at : match.start()])
        if match[1] in names:
            raise ValueError(f"{match[1]!r} is used twice in {path!r}")
        names.add(match[1])
        pattern += f"(?P<{match[1]}>{match[2] or '[^/]+'})"
        at = match.end()
    pattern += _literal(path[at:])
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{path!r}: {error}") from None


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError(f"not a parameter: {text!r}")
    return re.escape(quote(text, safe=_SAFE))
