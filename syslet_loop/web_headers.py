"""What HTTP messages are made of: status lines, dates, header fields.

Pure functions for the other web_* modules; nothing here knows a connection. What would
make one message into two (a line end in a header field) is a ValueError.
"""

from __future__ import annotations

import functools
import http
import re
from collections.abc import Iterable
from email.utils import formatdate, parsedate_to_datetime

REASONS = {status.value: status.phrase for status in http.HTTPStatus}
SERVER = b"Server: syslet_loop\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODYLESS = frozenset((204, 304, *range(100, 200)))

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)

Fields = Iterable[tuple[str, str]]


@functools.lru_cache(256)
def status_line(status: int, reason: str | None = None) -> bytes:
    """The first line of a response. Raises ValueError for what is no status."""
    if not 100 <= status <= 999:
        raise ValueError(f"{status} is no HTTP status")
    text = REASONS.get(status, "") if reason is None else reason
    return f"HTTP/1.1 {status} {checked(text)}\r\n".encode("latin-1")


@functools.lru_cache(1024)
def http_date(seconds: int) -> str:
    """Seconds since the epoch as HTTP writes a time."""
    return formatdate(seconds, usegmt=True)


def parse_date(text: str) -> int | None:
    """The seconds of a time that HTTP writes; None if it is none."""
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def checked(value: str) -> str:
    """A header's value. Raises ValueError if it has control characters."""
    if _FORBIDDEN.search(value):
        raise ValueError(f"a header's value has control characters: {value!r}")
    return value


def encode(fields: Fields) -> bytes:
    """Header lines. Raises ValueError for names or values that are none."""
    lines = []
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a header's name: {name!r}")
        lines.append(f"{name}: {checked(value)}\r\n")
    return "".join(lines).encode()


def _plain(match: re.Match[bytes]) -> bytes:
    byte = int(match[1], 16)
    return bytes((byte,)) if byte in _UNRESERVED else match[0].upper()


def normal_path(path: bytes) -> str:
    """A path with what need not be escaped as it is, and the rest escaped one way.

    Raises ValueError if it is not ASCII.
    """
    if b"%" in path:
        path = _ESCAPED.sub(_plain, path)
    return path.decode("ascii")
