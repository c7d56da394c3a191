"""Responses that handlers raise, by aiohttp's names.

`raise web.HTTPNotFound()` ends a handler with that answer. Everything else that a
handler raises is answered with 500 and written to the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .web_headers import REASONS
from .web_response import Response


class HTTPException(Response, Exception):
    """A response that is raised; subclasses have its status."""

    status_code = 500

    def __init__(
        self,
        *,
        text: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        code = self.status_code if status is None else status
        said = f"{code}: {REASONS.get(code, '')}" if text is None else text
        Response.__init__(self, text=said, status=code, headers=headers)
        Exception.__init__(self, said)


class _Redirection(HTTPException):
    def __init__(self, location: str) -> None:
        super().__init__(headers={"Location": location})


class HTTPMovedPermanently(_Redirection):
    """301 to `location`."""

    status_code = 301


class HTTPFound(_Redirection):
    """302 to `location`."""

    status_code = 302


class HTTPSeeOther(_Redirection):
    """303 to `location`: what is there is asked for with GET."""

    status_code = 303


class HTTPBadRequest(HTTPException):
    """400."""

    status_code = 400


class HTTPUnauthorized(HTTPException):
    """401."""

    status_code = 401


class HTTPForbidden(HTTPException):
    """403."""

    status_code = 403


class HTTPNotFound(HTTPException):
    """404."""

    status_code = 404


class HTTPMethodNotAllowed(HTTPException):
    """405, with the methods that are allowed."""

    status_code = 405

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__(headers={"Allow": ", ".join(sorted(allowed))})


class HTTPRequestTimeout(HTTPException):
    """408."""

    status_code = 408


class HTTPConflict(HTTPException):
    """409."""

    status_code = 409


class HTTPRequestEntityTooLarge(HTTPException):
    """413."""

    status_code = 413


class HTTPUnprocessableEntity(HTTPException):
    """422."""

    status_code = 422


class HTTPTooManyRequests(HTTPException):
    """429."""

    status_code = 429


class HTTPInternalServerError(HTTPException):
    """500."""

    status_code = 500


class HTTPServiceUnavailable(HTTPException):
    """503."""

    status_code = 503
