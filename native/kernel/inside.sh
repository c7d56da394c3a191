#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The Python tests inside the patched kernel, with the loop's kernel backend. python.sh
# boots it with this script; CHECKOUT, VENV and TESTS (separated by commas) are in the
# environment. Files are those of an ext4, which knows reads that do not wait and
# attributes, as tmpfs does not in 6.1; the disk below it is a copy that is thrown away.
export HOME=/tmp TMPDIR=/ext4 PATH="$VENV/bin:/usr/bin:/bin" LC_ALL=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1 SYSLET_LOOP_BACKEND=kernel SYSLET_TEST_KINDS=kernel
cd "$CHECKOUT" || exit 2
python -c 'import asyncio, syslet_loop
loop = syslet_loop.new_event_loop()
print("backend:", loop.backend)
loop.close()' || exit 1
# shellcheck disable=SC2046
exec python -m pytest -q --color=no -p no:cacheprovider -o tmp_path_retention_policy=failed \
    -o timeout="${TEST_SECONDS:-120}" \
    $(echo "$TESTS" | tr ',' ' ') ${MORE:-}
