"""Listening sockets for servers: every address of a host, shared by processes or not.

Used by web_server.py and workers.py. Sockets are non-blocking and listen already; they
are the caller's.
"""

from __future__ import annotations

import socket
from typing import Any

BACKLOG = 1024


def listen(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """Listening sockets of every address of a host; "" is all addresses.

    Raises OSError, socket.gaierror if the host has no address.
    """
    found = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address if port else _with_port(address, sockets[0]))
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _with_port(address: Any, first: socket.socket) -> Any:
    """Port 0 is one free port, the same for all addresses."""
    port = first.getsockname()[1]
    return (address[0], port, *address[2:])
