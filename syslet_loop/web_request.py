"""The request that a handler is given.

Made by the connection when the head is complete; everything that costs time (headers as
a mapping, the query, cookies) is made when it is first asked for. The names are those
of aiohttp's request.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, MutableMapping
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from .web_body import Body
from .web_errors import HTTPBadRequest, HTTPRequestEntityTooLarge
from .web_headers import normal_path

if TYPE_CHECKING:
    from .web_app import Application
    from .web_connection import Connection
    from .web_routes import Route

_FORM = "application/x-www-form-urlencoded"
_FIELDS_MAX = 1000  # of a form or a query


class Request(MutableMapping[str, Any]):
    """One request; also a mapping for whatever handlers want to keep with it."""

    __slots__ = (
        "_body",
        "_connection",
        "_data",
        "_headers",
        "_query",
        "content",
        "fields",
        "is_answered",
        "is_started",
        "keep_alive",
        "match_info",
        "method",
        "path",
        "raw_headers",
        "route",
        "target",
        "version",
    )
    route: Route

    def __init__(
        self,
        connection: Connection,
        method: str,
        target: bytes,
        version: str,
        raw_headers: list[tuple[bytes, bytes]],
        fields: dict[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self.target = target  # as it came
        self.version = version  # "1.1" or "1.0"
        self.raw_headers = raw_headers  # names in lower case
        self.fields = fields  # the same; of names that repeat, the last
        self.keep_alive = keep_alive  # whether the client wants another answer
        self._data: dict[str, Any] | None = None
        self._headers: Any = None
        self._query: Any = None
        self._body: bytes | None = None
        self.is_started = False  # the head of a response was sent
        self.is_answered = False  # and all of it
        self.match_info: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path_qs}>"

    # The mapping.

    def __getitem__(self, key: str) -> Any:
        if self._data is None:
            raise KeyError(key)
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if self._data is None:
            self._data = {}
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        if self._data is None:
            raise KeyError(key)
        del self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data or ())

    def __len__(self) -> int:
        return len(self._data or ())

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    # What the head says.

    @property
    def app(self) -> Application:
        """The application."""
        return self._connection.app

    @property
    def transport(self) -> Any:
        """The connection's transport."""
        return self._connection.wire.transport

    @property
    def remote(self) -> str | None:
        """The client's address, None for a Unix socket."""
        return self._connection.remote

    @property
    def scheme(self) -> str:
        """ "https" with TLS, "http" without."""
        return "https" if self._connection.is_tls else "http"

    @property
    def host(self) -> str:
        """The Host header."""
        return self.fields.get(b"host", b"").decode("latin-1")

    @property
    def path_qs(self) -> str:
        """Path and query as they came."""
        return self.target.decode("latin-1")

    @property
    def query_string(self) -> str:
        """What follows the question mark, as it came."""
        return self.target.partition(b"?")[2].decode("latin-1")

    @property
    def query(self) -> Any:
        """The query's names and values, decoded. Raises HTTPBadRequest."""
        if self._query is None:
            self._query = MultiDictProxy(MultiDict(_pairs(self.query_string)))
        return self._query

    @property
    def headers(self) -> Any:
        """The headers; names in any case."""
        if self._headers is None:
            pairs = [(k.decode(), v.decode("latin-1")) for k, v in self.raw_headers]
            self._headers = CIMultiDictProxy(CIMultiDict(pairs))
        return self._headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies; none if the header is not understood."""
        try:
            parsed = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            return {}
        return {name: morsel.value for name, morsel in parsed.items()}

    def _message(self) -> Message:
        message = Message()
        message["Content-Type"] = self.headers.get(
            "Content-Type", "application/octet-stream"
        )
        return message

    @property
    def content_type(self) -> str:
        """The body's type in lower case, without parameters."""
        return self._message().get_content_type()

    @property
    def charset(self) -> str | None:
        """The character set that the body's type names."""
        return self._message().get_content_charset()

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, None if it comes in chunks or there is none."""
        length = self.fields.get(b"content-length")
        return None if length is None else int(length)

    # The body.

    content: Body

    @property
    def can_read_body(self) -> bool:
        """Whether there is a body that has not been read."""
        return not self.content.at_eof()

    async def read(self) -> bytes:
        """The whole body.

        Raises HTTPRequestEntityTooLarge if it is larger than the limit, and what
        reading it raises.
        """
        if self._body is None:
            most = self._connection.limits.body_bytes
            if (self.content_length or 0) > most:
                raise HTTPRequestEntityTooLarge()
            parts, size = [], 0
            while part := await self.content.readany():
                parts.append(part)
                size += len(part)
                if size > most:
                    raise HTTPRequestEntityTooLarge()
            self._body = b"".join(parts)
        return self._body

    async def text(self) -> str:
        """The body as text. Raises HTTPBadRequest if it is none."""
        data = await self.read()
        try:
            return data.decode(self.charset or "utf-8")
        except (UnicodeDecodeError, LookupError):
            raise HTTPBadRequest(text="the body is no text") from None

    async def json(self, *, loads: Callable[[str], Any] = json.loads) -> Any:
        """The body as JSON. Raises what `loads` raises: ValueError."""
        return loads(await self.text())

    async def post(self) -> Any:
        """The fields of an urlencoded form; none for a body of another type."""
        is_form = self.content_type == _FORM
        pairs = _pairs(await self.text()) if is_form else []
        return MultiDictProxy(MultiDict(pairs))

    # For the router.

    def split_path(self) -> None:
        """Find the path in the target. Raises ValueError if there is none."""
        self.path = _path_in(self.target, self.method)


@functools.lru_cache(256)  # of at most 16 KiB
def _path_in(target: bytes, method: str) -> str:
    if not target.startswith(b"/"):
        target = _path_of(target, method)
    return normal_path(target.partition(b"?")[0])


def _path_of(target: bytes, method: str) -> bytes:
    """The path of an absolute URL; "*" of OPTIONS stays."""
    if target == b"*" and method == "OPTIONS":
        return target
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise ValueError("neither a path nor a URL")
    return b"/" + rest.partition(b"/")[2]


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise HTTPBadRequest(text="too many fields") from None
