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
ulimit -n 100000
python -c 'import asyncio, syslet_loop
loop = syslet_loop.new_event_loop()
print("backend:", loop.backend)
loop.close()' || exit 1

# What this machine cannot do on any backend. A new ring in a forked child does not
# answer (6.1's User Mode Linux); its root, a tmpfs, forgets names that do not exist; a
# test that sends files on the other backends does not end.
without() {
    echo --deselect tests/loop/test_loop_engine.py::test_a_forked_child_makes_its_own_loop
    echo --deselect tests/binding/test_binding_awaitable.py::test_send_runs_it
    echo --ignore tests/binding/test_binding_processes.py
    echo --ignore tests/syslet/test_fly_sendfile.py
}

# shellcheck disable=SC2046
exec python -m pytest -q --color=no -p no:cacheprovider \
    -o tmp_path_retention_policy=failed -o timeout="${TEST_SECONDS:-120}" \
    $(without) $(echo "$TESTS" | tr ',' ' ') ${MORE:-}
