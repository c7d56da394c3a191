"""AnyIO on our loop: a task group, streams, its files in threads and ours without.

AnyIO's own spelling; `syslet_loop.run(main())` does the same.
"""

import asyncio

import anyio

import syslet_loop
from syslet_loop import files


async def echo(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def main() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(b"through AnyIO")
            print((await client.receive()).decode())
        tasks.cancel_scope.cancel()
    await listener.aclose()

    in_threads = await anyio.Path(__file__).read_bytes()
    with anyio.fail_after(10):
        assert await files.read_bytes(__file__) == in_threads
    loop = type(asyncio.get_running_loop())
    print(f"{loop.__module__}.{loop.__name__}")


if __name__ == "__main__":
    options = {"loop_factory": syslet_loop.new_event_loop}
    anyio.run(main, backend="asyncio", backend_options=options)
