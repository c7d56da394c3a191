"""Dask's scheduler, workers and client on our loop: work of more than one machine.

`python dask_cluster.py` runs a scheduler and two workers, each a process of its own
that could be elsewhere, and asks them to hash this folder. Tasks that are coroutines
run on the loop of their worker, so what they read is read by syslets there.

python dask_cluster.py worker tcp://scheduler:8786    # another worker, anywhere
"""

import asyncio
import hashlib
import sys
from pathlib import Path

from distributed import Client, Scheduler, Worker

import syslet_loop
from syslet_loop import files


async def digest(path: str) -> tuple[str, str]:
    """Runs in a worker, on its loop."""
    loop = type(asyncio.get_running_loop()).__module__
    return loop, hashlib.sha256(await files.read_bytes(path)).hexdigest()


async def worker(address: str) -> None:
    async with Worker(address, nthreads=1) as made:
        await made.finished()


async def main() -> None:
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        command = (sys.executable, __file__, "worker", scheduler.address)
        workers = [await asyncio.create_subprocess_exec(*command) for _ in range(2)]
        async with Client(scheduler.address, asynchronous=True) as client:
            await client.wait_for_workers(2)
            paths = sorted(str(path) for path in Path(__file__).parent.glob("*.py"))
            results = await client.gather(client.map(digest, paths))
    for process in workers:  # they end with their scheduler
        assert await process.wait() == 0
    assert {loop for loop, _ in results} == {"syslet_loop.loop"}
    print(f"{len(results)} files, on {type(asyncio.get_running_loop()).__name__}")


if __name__ == "__main__":
    syslet_loop.run(worker(sys.argv[2]) if len(sys.argv) > 2 else main())
