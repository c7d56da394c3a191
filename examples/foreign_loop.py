"""Syslets on a loop that is not ours: plain asyncio.run, and uvloop if there is one."""

import asyncio
import os
import sys

from syslet_loop import calls, syslet


@syslet
def save(s, path, data):
    """Write a file so that it is there whole or not at all, even after a crash."""
    fd = s.openat("new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    s.write(fd, data)
    s.fsync(fd)
    s.close(fd)
    s.renameat2("new", path)


async def main() -> None:
    await save("saved", b"all of it\n")
    st = await calls.fstatat("saved")
    print(f"{type(asyncio.get_running_loop()).__module__}: {st.st_size} bytes saved")
    await calls.unlinkat("saved")


if __name__ == "__main__":
    asyncio.run(main())
    if "uvloop" in sys.argv:
        import uvloop

        uvloop.run(main())
