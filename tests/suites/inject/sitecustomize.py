"""Makes the loop that INJECTED_LOOP names the one that asyncio hands out.

run.py puts this folder on PYTHONPATH, so each Python that a suite starts comes here
first. The value is "module:class"; "asyncio:SelectorEventLoop" gives the run to compare
with the same treatment. INJECTED_LOG names a file that gets a line from each process
that made a loop. A loop that cannot be had ends the process: a suite that ran on
another loop than it was told would prove nothing.
"""

import os


def in_subinterpreter() -> bool:
    """A suite may start these, and not every loop's module can be imported there."""
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    return interpreters.get_current() != interpreters.get_main()


def replace(target: str, log: str) -> None:
    """Rebind the names under which programs find asyncio's default loop."""
    import asyncio
    import asyncio.unix_events as unix

    module, _, name = target.partition(":")
    loop_class = getattr(__import__(module, fromlist=[name]), name)
    told = False

    def new_event_loop() -> asyncio.AbstractEventLoop:
        """As asyncio.new_event_loop, of the injected class."""
        nonlocal told
        if log and not told:
            told = True
            with open(log, "a") as file:
                file.write(f"{os.getpid()} {loop_class.__module__}.{name}\n")
        return loop_class()

    asyncio.new_event_loop = asyncio.events.new_event_loop = new_event_loop
    # Policies are gone in 3.16; before 3.12 asyncio.Runner is their only way in.
    policy = getattr(unix, "_UnixDefaultEventLoopPolicy", None)
    if policy is not None:
        policy._loop_factory = staticmethod(new_event_loop)
    asyncio.SelectorEventLoop = loop_class
    if hasattr(asyncio, "EventLoop"):
        asyncio.EventLoop = loop_class


if os.environ.get("INJECTED_LOOP") and not in_subinterpreter():
    try:
        replace(os.environ["INJECTED_LOOP"], os.environ.get("INJECTED_LOG", ""))
    except Exception as error:
        # site.py would print anything less and go on.
        raise SystemExit(f"cannot inject the loop: {error!r}") from error
