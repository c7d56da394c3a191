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

# What this machine cannot do on any backend. At a fork 6.1's User Mode Linux copies the
# host process and then corrects what the child has mapped, but not the gaps: memory that
# was not to be inherited (MADV_DONTFORK), as a ring's, is still the parent's there. What
# the child maps at the same place, as it does with its own ring, it reads and writes in
# the parent's: the new ring seems not to answer (ETIME). On Debian's 6.1 the same tests
# pass.
without() {
    new_loop=tests/loop/test_loop_engine.py::test_a_forked_child_makes_its_own_loop
    refused=tests/binding/test_binding_processes.py
    refused=$refused::test_the_parents_loop_is_refused_in_a_child
    for each in "$new_loop[uring]" "$new_loop[kernel]" "$refused[uring]"; do
        echo --deselect "$each"
    done
}

# shellcheck disable=SC2046
exec python -m pytest -q --color=no -p no:cacheprovider \
    -o tmp_path_retention_policy=failed -o timeout="${TEST_SECONDS:-120}" \
    $(without) $(echo "$TESTS" | tr ',' ' ') ${MORE:-}
