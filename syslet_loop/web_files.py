"""Files as responses: what is known of them, and how one is sent.

A file that was sent before is sent again with one syslet, if it still is what it was.
How it is opened and sent is in web_flights.py; what of it, in web_conditions.py; which
file a request means, in web_folders.py.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from multidict import CIMultiDict

from .ops import AT_FDCWD
from .web_conditions import CONDITIONS, decide
from .web_errors import (
    HTTPException,
    HTTPForbidden,
    HTTPNotFound,
    HTTPServiceUnavailable,
)
from .web_flights import (
    BENEATH,
    CHANGED,
    Flights,
    Look,
    negated,
    read_part,
)
from .web_headers import encode, http_date, status_line
from .web_request import Request
from .web_response import StreamResponse

_KNOWN_MAX = 4096  # files of one folder that are remembered
_TRIES = 8  # for a file that changes all the time
_STRICT_TRIES = 4  # then only that it is the same file is asked for
_PART_BYTES = 1 << 16  # of a file that is copied
_MSG_MORE = 0x8000
_SEE_NOTHING = (errno.EACCES, errno.EPERM)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_types = mimetypes.MimeTypes()
for _type, _ending in (
    ("application/wasm", ".wasm"),
    ("font/woff2", ".woff2"),
    ("image/avif", ".avif"),
    ("image/webp", ".webp"),
    ("text/javascript", ".js"),
    ("text/javascript", ".mjs"),
):
    _types.add_type(_type, _ending)


class Known(NamedTuple):
    """A file as it was, with the parts of its responses."""

    path: str
    look: Look
    same: tuple[int, int, int, int]  # ino, size, mtime, nsec, negated
    etag: str
    fields: bytes  # headers about the file
    type_line: bytes
    whole: bytes  # status line and headers of an answer with all of it


class Source:
    """Where paths begin, and which files were seen there."""

    def __init__(self, resolve: int) -> None:
        self.resolve = resolve
        self.known: dict[str, Known] = {}
        self.flights: Flights = BENEATH

    @property
    def place(self) -> int | None:
        """The folder of all paths; None: ask `enter`."""
        return AT_FDCWD

    async def enter(self, path: str) -> tuple[int, str, bool]:
        """The folder of a path, the rest of it, and whether that fd is the caller's."""
        return AT_FDCWD, path, False

    async def look(self, path: str) -> Look:
        """What a file is now."""
        folder, rest, is_own = await self.enter(path)
        try:
            return Look(*await self.flights.look(folder, rest, self.resolve))
        finally:
            if is_own:
                os.close(folder)

    async def learn(self, path: str) -> Known:
        """What a file is, with the parts of its responses.

        Raises HTTPException for what is no file that can be sent.
        """
        look = await self.look(path)
        if look.code < 0:
            raise refusal(-look.code)
        if not stat.S_ISREG(look.mode):
            raise IsADirectoryError if stat.S_ISDIR(look.mode) else HTTPNotFound()
        if len(self.known) >= _KNOWN_MAX:
            self.known.clear()
        known = self.known[path] = describe(path, look)
        return known


def describe(path: str, look: Look) -> Known:
    """The parts of responses with a file."""
    etag = f'"{look.mtime:x}.{look.mtime_nsec:x}-{look.size:x}"'
    fields = encode(
        [
            ("ETag", etag),
            ("Last-Modified", http_date(look.mtime)),
            ("Accept-Ranges", "bytes"),
        ]
    )
    type_line = encode([("Content-Type", type_of(path))])
    length = b"Content-Length: %d\r\n" % look.size
    whole = status_line(200) + type_line + length + fields
    numbers = (look.ino, look.size, look.mtime, look.mtime_nsec)
    ino, size, mtime, nsec = map(negated, numbers)
    return Known(path, look, (ino, size, mtime, nsec), etag, fields, type_line, whole)


def type_of(path: str) -> str:
    """The content type of a name; what is compressed is not its content's type."""
    found, encoding = _types.guess_type(path)
    if encoding is not None:
        known = {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}
        return known.get(encoding, "application/octet-stream")
    return found or "application/octet-stream"


def refusal(error: int) -> HTTPException:
    """The answer for a file that could not be opened."""
    if error in _SEE_NOTHING:
        return HTTPForbidden()
    return HTTPServiceUnavailable() if error in _EXHAUSTED else HTTPNotFound()


class FileResponse(StreamResponse):
    """A file, whole or in part, as the request's conditions and ranges ask for.

    `path` is opened when the response is sent: 404 or 403 if it cannot be. It follows
    links: where paths come from clients, use a folder (`static`).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        headers: Mapping[str, str] | None = None,
        _source: Source | None = None,
    ) -> None:
        if headers:
            self._headers = CIMultiDict(headers)
        self._path = os.fspath(path)
        self._source = _source or _ANYWHERE

    async def prepare(self, request: Request) -> None:
        """A file has nothing to write piece by piece."""
        raise TypeError("return a FileResponse: it sends itself")

    async def _finish(self, request: Request) -> None:
        source, path = self._source, self._path
        try:
            for turn in range(_TRIES):
                known = source.known.get(path) if turn == 0 else None
                if known is None:
                    known = await source.learn(path)
                code = await self._send_file(request, known, turn < _STRICT_TRIES)
                if code >= 0:
                    self.body_sent = code
                    return
                request.is_started = False
                source.known.pop(path, None)
                if code != CHANGED:
                    raise refusal(-code)
        except IsADirectoryError:
            raise HTTPNotFound() from None
        raise HTTPServiceUnavailable()

    async def _send_file(self, request: Request, known: Known, strict: bool) -> int:
        """Bytes of the file that were sent, or why nothing was (see Flights)."""
        wire = request._connection.wire
        start, count = 0, known.look.size
        if request.method == "GET" and request.fields.keys().isdisjoint(CONDITIONS):
            head = self._whole_head(request, known)
        else:
            head, start, count = self._decided(request, known)
        if request._connection.is_tls:
            return await self._copy(request, known, head, start, count)
        if not wire.has_sent_all:
            await wire.flush()
        source, rest, is_own = self._source, known.path, False
        folder = source.place
        if folder is None:
            folder, rest, is_own = await source.enter(rest)
        more = _MSG_MORE if count else 0
        try:
            code: int = await wire.fly(
                source.flights.send(
                    folder, rest, source.resolve, *known.same, strict,
                    wire.fileno(), head, more, start, count,
                )
            )  # fmt: skip
        except OSError as error:
            wire.drop()
            raise ConnectionResetError(str(error)) from error
        finally:
            if is_own:
                os.close(folder)
        if 0 <= code < count:  # the file has become shorter
            wire.drop()
            raise ConnectionResetError("the file could not be sent to its end")
        return code

    def _whole_head(self, request: Request, known: Known) -> bytes:
        connection = request._connection
        usual = self._headers is None and request.version == "1.1"
        if usual and not self._closes and connection.will_stay(request):
            request.is_started = True
            return b"%b%b\r\n" % (known.whole, connection.server.tail)
        return self._made_head(request, known, known.look.size)

    def _made_head(
        self, request: Request, known: Known, size: int, more: bytes = b""
    ) -> bytes:
        has_type = self._headers is not None and "Content-Type" in self._headers
        type_line = b"" if has_type or not size else known.type_line
        return self._head(request, size, known.fields + type_line + more)

    def _decided(self, request: Request, known: Known) -> tuple[bytes, int, int]:
        """Head, first byte and number of bytes of an answer to any request."""
        look = known.look
        answer = decide(
            request.fields, request.method, known.etag, look.mtime, look.size
        )
        self.status = answer.status
        more = b""
        if answer.status == 206:
            last = answer.start + answer.length - 1
            more = b"Content-Range: bytes %d-%d/%d\r\n" % (
                answer.start,
                last,
                look.size,
            )
        elif answer.status == 416:
            more = b"Content-Range: bytes */%d\r\n" % look.size
        head = self._made_head(request, known, answer.length, more)
        count = 0 if request.method == "HEAD" else answer.length
        return head, answer.start, count

    async def _copy(
        self, request: Request, known: Known, head: bytes, start: int, count: int
    ) -> int:
        """Through this process: the kernel cannot encrypt what it sends."""
        wire, source = request._connection.wire, self._source
        folder, rest, is_own = await source.enter(known.path)
        try:
            now = Look(*await source.flights.open(folder, rest, source.resolve))
        finally:
            if is_own:
                os.close(folder)
        if now.code < 0:
            return now.code
        try:
            if now[1:] != known.look[1:]:
                return CHANGED
            wire.write(head)
            end = start + count
            while start < end:
                size = min(_PART_BYTES, end - start)
                part = await read_part(now.code, start, size)
                if not part:
                    wire.drop()
                    raise ConnectionResetError("the file could not be sent to its end")
                wire.write(part)
                start += len(part)
                await wire.drain()
            return count
        finally:
            os.close(now.code)


_ANYWHERE = Source(0)
