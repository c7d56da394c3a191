"""What a request's head may say about its message, and what is refused.

Where two programs could disagree about where a request ends, somebody can hide one
request in another: such a head is refused before anything is done about it. The parser
refuses most of these shapes itself; what is here does not depend on its version.
"""

from __future__ import annotations

from .web_body import NO_BODY
from .web_errors import HTTPException
from .web_request import Request

_ONCE = (b"host", b"content-length", b"transfer-encoding", b"expect")
_LENGTH_DIGITS = 18


class Refused(Exception):
    """Answer with this status and close: nothing that follows is understood."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def has_body(version: str, fields: dict[bytes, bytes]) -> bool:
    """Whether a body follows. Raises Refused where two could disagree about it."""
    chunked, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if version == "1.1":
        if b"host" not in fields:
            raise Refused(400)
    elif version != "1.0":
        raise Refused(505)
    elif chunked is not None:
        raise Refused(400)
    if chunked is not None:
        if length is not None:
            raise Refused(400)
        if chunked.lower() != b"chunked":
            raise Refused(501)
        return True
    if length is None:
        return False
    if not length.isdigit() or len(length) > _LENGTH_DIGITS:
        raise Refused(400)
    return int(length) > 0


def refuse_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    """Raises Refused if a header that decides about the message is there twice."""
    names = [name for name, _ in headers]
    if any(names.count(name) > 1 for name in _ONCE):
        raise Refused(400)


def check_expectation(request: Request) -> None:
    """Raises HTTPException for an Expect that is not 100-continue."""
    expected = request.fields.get(b"expect")
    if expected is None:
        return
    if request.version == "1.0" or request.content is NO_BODY:
        del request.fields[b"expect"]  # it means nothing there
    elif expected.lower() != b"100-continue":
        raise HTTPException(status=417)
