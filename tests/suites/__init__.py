"""Other projects' own test-suites on our loop, beside asyncio's; `make suites`."""
