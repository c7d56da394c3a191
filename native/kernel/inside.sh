#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The Python tests inside the patched kernel, with the loop's kernel backend. python.sh
# boots it with this script; CHECKOUT, VENV and TESTS (separated by commas) are in the
# environment. What is written goes to the machine's own memory.
export HOME=/tmp TMPDIR=/tmp PATH="$VENV/bin:/usr/bin:/bin" LC_ALL=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1 SYSLET_LOOP_BACKEND=kernel SYSLET_TEST_KINDS=kernel
cd "$CHECKOUT" || exit 2
python -c 'import asyncio, syslet_loop
loop = syslet_loop.new_event_loop()
print("backend:", loop.backend)
loop.close()' || exit 1
# shellcheck disable=SC2046
exec python -m pytest -q -p no:cacheprovider -o timeout="${TEST_SECONDS:-120}" \
    $(echo "$TESTS" | tr ',' ' ') ${MORE:-}
