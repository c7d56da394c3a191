"""The limits of the web server, in one place: what a client may send and how slowly.

Every connection of a server has the same ones. A client that reaches one is answered
with the status beside it, or its connection is closed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds. Raises ValueError for what is not positive."""

    head_bytes: int = 16384  # request line and headers: 431
    body_bytes: int = 1 << 20  # what read(), text(), json() and post() take: 413
    buffer_bytes: int = 1 << 16  # of a body that nobody reads yet; of a response
    pipelined: int = 64  # requests that wait for the one before them
    head_s: float = 10  # from the first byte of a request to the last of its head: 408
    body_s: float = 30  # without a byte of a body that is waited for: 408
    write_s: float = 60  # without a byte acknowledged of a response: closed
    keep_alive_s: float = 75  # between two requests: closed
    linger_s: float = 2  # for what a client still sends after the last response

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{each.name} must be a number, not {value!r}")
            if not value > 0:
                raise ValueError(f"{each.name} must be positive, not {value!r}")

    @property
    def sweep_s(self) -> float:
        """How often a server looks for connections whose time is up."""
        shortest = min(
            self.head_s, self.body_s, self.write_s, self.keep_alive_s, self.linger_s
        )
        return min(1.0, shortest / 4)
