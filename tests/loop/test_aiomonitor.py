"""aiomonitor on our loop, if it is installed: tasks, their stacks, cancelling one.

It watches through the loop's task factory, from a thread with a loop of its own.
"""

from __future__ import annotations

import importlib.util

import pytest
from processes import in_process

SCRIPT = """
import asyncio, socket
import aiomonitor
import syslet_loop
from syslet_loop import calls

def port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]

async def wait_for_it():
    await calls.timeout(60)

async def main():
    loop = asyncio.get_running_loop()
    with aiomonitor.start_monitor(
        loop, port=port(), webui_port=port(), console_port=port(),
        hook_task_factory=True,
    ) as monitor:
        task = asyncio.create_task(wait_for_it(), name="waiting")
        await asyncio.sleep(0.01)
        found = [
            each for each in monitor.format_running_task_list("", False)
            if each.name == "waiting"
        ]
        assert len(found) == 1, found
        stack = monitor.format_running_task_stack(found[0].task_id)
        assert any("wait_for_it" in str(line) for line in stack), stack
        reader, writer = await asyncio.open_connection(monitor.host, monitor.port)
        assert await asyncio.wait_for(reader.read(1), 20), "its terminal answers"
        writer.close()
        await monitor.cancel_monitored_task(found[0].task_id)
        try:
            await task
        except asyncio.CancelledError:
            print("cancelled")

syslet_loop.run(main())
"""


@pytest.mark.skipif(
    importlib.util.find_spec("aiomonitor") is None, reason="aiomonitor is not installed"
)
def test_it_sees_and_cancels_tasks(backend: str) -> None:
    script = "import warnings\nwarnings.simplefilter('ignore')\n" + SCRIPT
    done = in_process(script, backend, PYTHONWARNINGS="ignore")
    assert "cancelled" in done.stdout, done.stderr  # its threads print as well
    assert done.returncode == 0, done.stderr
