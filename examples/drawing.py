"""The drawing of the announcement, as it stands: a server without Python in between.

It accepts `remaining` connections, one after the other, reads each to its end and goes
on. The counter lives in memory of the program's own, which the syslet borrows.
"""

import asyncio
import socket

import syslet_loop
from syslet_loop import memory, syslet


@syslet
def serve(s, listener, remaining):
    buf = s.buffer(4096)
    with s.loop():
        conn = s.accept(listener)  # stop if negative
        s.setsockopt(conn, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with s.loop():  # loop while positive
            n = s.recv(conn, buf)
            s.break_if(n <= 0)
        s.close(conn)
        left = s.umem_add(remaining, -1)  # decrease and read a user-space variable
        s.break_if(left <= 0)  # loop back to accept() if positive


async def main(connections: int = 100) -> None:
    remaining = memory.new("int64_t *", connections)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server = asyncio.ensure_future(serve(listener, remaining))
        for _ in range(connections):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"hello")
            writer.close()
            await writer.wait_closed()
        await server
    print(f"served {connections} connections, {remaining[0]} left")


if __name__ == "__main__":
    syslet_loop.run(main())
