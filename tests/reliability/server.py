"""An echo server in a process of its own: one process has too few descriptors for both.

`python -m tests.reliability.server COUNT` prints its port; when its input ends, it
prints how many connections were open at once, and ends. Used by checks.py.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from typing import Any

import syslet_loop
from tests.soak.servers import EchoProtocol

SPARE_FDS = 200


def raise_fd_limit(wanted: int) -> int:
    """As many descriptors as are wanted, or as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return wanted
    for limits in ((wanted, max(wanted, hard)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        except (OSError, ValueError):
            continue  # only root raises the hard one
        return min(wanted, limits[0])
    return soft


class Counted(EchoProtocol):
    """Knows how many there are."""

    now = most = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        Counted.now += 1
        Counted.most = max(Counted.most, Counted.now)

    def connection_lost(self, error: Exception | None) -> None:
        Counted.now -= 1


async def main(count: int) -> None:
    raise_fd_limit(count + SPARE_FDS)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Counted, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    while Counted.now:
        await asyncio.sleep(0.001)
    print(Counted.most)


if __name__ == "__main__":
    syslet_loop.run(main(int(sys.argv[1])))
