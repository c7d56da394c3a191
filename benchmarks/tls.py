"""The load of the TLS row: `python -m benchmarks.tls PORT CONNECTIONS SIZE LIMIT PID`.

The same protocol and output as load.c, with Python's ssl module. It is slower than the
servers' other load, which is why only the server's CPU time counts in that row.
"""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import subprocess
import sys
import time
from typing import Any

from benchmarks.processes import account


def make_certificate(folder: str) -> None:
    """cert.pem and key.pem, self-signed; FileNotFoundError without openssl."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-keyout", f"{folder}/key.pem"]
    command += ["-out", f"{folder}/cert.pem"]
    subprocess.run(command, check=True, capture_output=True)


def connect(port: int, count: int) -> list[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    made = []
    for _ in range(count):
        plain = socket.create_connection(("127.0.0.1", port), 10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.append(context.wrap_socket(plain))
    return made


def run(socks: list[ssl.SSLSocket], message: bytes, seconds: float) -> list[float]:
    """Messages until the time is over, then their echoes; the seconds each took."""
    waits = []
    with selectors.DefaultSelector() as selector:
        started, got = {}, {}
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
            started[sock], got[sock] = time.perf_counter(), b""
            sock.sendall(message)
        end = time.perf_counter() + seconds
        while started:
            ready = selector.select(5)
            if not ready:
                sys.exit("no answer for 5 s")
            for key, _ in ready:
                sock: Any = key.fileobj
                got[sock] += sock.recv(1 << 18)
                while sock.pending():
                    got[sock] += sock.recv(1 << 18)
                if len(got[sock]) < len(message):
                    continue
                if got[sock] != message:
                    sys.exit("an echo differs from its message")
                now = time.perf_counter()
                waits.append(now - started.pop(sock))
                if now < end:
                    started[sock], got[sock] = now, b""
                    sock.sendall(message)
    return waits


def main() -> None:
    """See the head of this file."""
    port, count, size = map(int, sys.argv[1:4])
    seconds, pid = float(sys.argv[4].rstrip("s")), int(sys.argv[5])
    message = bytes(n * 31 & 255 for n in range(size))
    socks = connect(port, count)
    run(socks, message, 0.1)
    before, start = account(pid), time.perf_counter()
    waits = sorted(run(socks, message, seconds))
    took = time.perf_counter() - start
    after = account(pid)
    result = {
        "messages": len(waits),
        "seconds": took,
        "cpu_ns": (after.ran - before.ran) / len(waits),
        "waited": (after.waited - before.waited) / 1e9 / took,
        "p50_us": waits[len(waits) // 2] * 1e6,
        "p99_us": waits[len(waits) * 99 // 100] * 1e6,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
