"""An HTTP server whose static files are syslets, with aiohttp's names.

Public names and nothing else; docs/web.md is the guide. Needs httptools and multidict
(`pip install syslet_loop[web]`), which `import syslet_loop` does not.
"""

from __future__ import annotations

try:
    import httptools as _httptools
    import multidict as _multidict

    _NEEDED = (_httptools, _multidict)
except ImportError as _error:
    raise ImportError(
        f"syslet_loop.web needs {_error.name}: pip install 'syslet_loop[web]'"
    ) from None

from .listening import listen
from .web_app import Application
from .web_body import Body
from .web_errors import (
    HTTPBadRequest,
    HTTPConflict,
    HTTPException,
    HTTPForbidden,
    HTTPFound,
    HTTPInternalServerError,
    HTTPMethodNotAllowed,
    HTTPMovedPermanently,
    HTTPNotFound,
    HTTPRequestEntityTooLarge,
    HTTPRequestTimeout,
    HTTPSeeOther,
    HTTPServiceUnavailable,
    HTTPTooManyRequests,
    HTTPUnauthorized,
    HTTPUnprocessableEntity,
)
from .web_files import FileResponse
from .web_request import Request
from .web_response import Response, StreamResponse, json_response
from .web_routes import (
    Route,
    Router,
    RouteTableDef,
    delete,
    get,
    head,
    options,
    patch,
    post,
    put,
    route,
    static,
)
from .web_server import Server, run_app
from .web_settings import Limits

__all__ = [
    "Application",
    "Body",
    "FileResponse",
    "HTTPBadRequest",
    "HTTPConflict",
    "HTTPException",
    "HTTPForbidden",
    "HTTPFound",
    "HTTPInternalServerError",
    "HTTPMethodNotAllowed",
    "HTTPMovedPermanently",
    "HTTPNotFound",
    "HTTPRequestEntityTooLarge",
    "HTTPRequestTimeout",
    "HTTPSeeOther",
    "HTTPServiceUnavailable",
    "HTTPTooManyRequests",
    "HTTPUnauthorized",
    "HTTPUnprocessableEntity",
    "Limits",
    "Request",
    "Response",
    "Route",
    "RouteTableDef",
    "Router",
    "Server",
    "StreamResponse",
    "delete",
    "get",
    "head",
    "json_response",
    "listen",
    "options",
    "patch",
    "post",
    "put",
    "route",
    "run_app",
    "static",
]
