"""Conditional and partial requests (RFC 9110, 13 and 14), decided and nothing else.

`decide` looks at a request's fields and at what identifies a file, and says what to
send of it. web_files.py is the caller.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .web_headers import parse_date

# A request without any of these is answered with the whole file.
CONDITIONS = frozenset(
    (
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    )
)
_RANGE = re.compile(r"\s*(\d*)\s*-\s*(\d*)\s*", re.A)
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_DIGITS_MAX = 19  # of a position in a file: more is no number of bytes

Headers = Mapping[bytes, bytes]


class Answer(NamedTuple):
    """What to send: a status, and `length` bytes from `start` on if it has a body."""

    status: int
    start: int
    length: int


def decide(headers: Headers, method: str, etag: str, mtime: int, size: int) -> Answer:
    """The answer about a file with this strong entity tag, time and size in bytes.

    Several ranges are answered with the whole file, as RFC 9110 allows: what asks for
    them has to understand that, and nobody can make a small request for a large answer.
    """
    status = _precondition(headers, etag, mtime)
    if status:
        return Answer(status, 0, 0)
    wanted = headers.get(b"range") if method == "GET" else None
    if wanted is not None and _range_counts(headers, etag, mtime):
        return _ranged(wanted.decode("latin-1"), size)
    return Answer(200, 0, size)


def _precondition(headers: Headers, etag: str, mtime: int) -> int:
    """412 or 304, or 0 to go on; in the order of RFC 9110, 13.2.2."""
    match = headers.get(b"if-match")
    if match is not None:
        if not _has_tag(match, etag, weak=False):
            return 412
    else:
        since = _date(headers, b"if-unmodified-since")
        if since is not None and mtime > since:
            return 412
    match = headers.get(b"if-none-match")
    if match is not None:
        return 304 if _has_tag(match, etag, weak=True) else 0
    since = _date(headers, b"if-modified-since")
    return 304 if since is not None and mtime <= since else 0


def _date(headers: Headers, name: bytes) -> int | None:
    value = headers.get(name)
    return None if value is None else parse_date(value.decode("latin-1"))


def _has_tag(value: bytes, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags has this one; a weak tag is no strong match."""
    text = value.decode("latin-1").strip()
    if text == "*":
        return True
    return any(
        tag == etag and (weak or not prefix) for prefix, tag in _TAG.findall(text)
    )


def _range_counts(headers: Headers, etag: str, mtime: int) -> bool:
    """If-Range: is it still the file of which the client has a part?"""
    value = headers.get(b"if-range")
    if value is None:
        return True
    text = value.decode("latin-1").strip()
    if text.startswith(('"', "W/")):
        return text == etag
    return parse_date(text) == mtime


def _ranged(value: str, size: int) -> Answer:
    """One range; anything that is not understood is ignored."""
    whole = Answer(200, 0, size)
    unit, equals, rest = value.partition("=")
    match = _RANGE.fullmatch(rest)
    if unit.strip().lower() != "bytes" or not equals or match is None:
        return whole
    first, last = match[1], match[2]
    if len(first) > _DIGITS_MAX or len(last) > _DIGITS_MAX or not (first or last):
        return whole
    if not first:  # the last so many
        count = min(int(last), size)
        return Answer(206, size - count, count) if count else Answer(416, 0, 0)
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return whole
    if start >= size:
        return Answer(416, 0, 0)
    return Answer(206, start, end - start + 1)
