#!/bin/sh
# The tests under AddressSanitizer and UBSan, on a build of its own in build/san.
#
# Called by `make san` with PYTHON set to the virtual environment's. First a canary, a
# program with a known error, must be caught: else the sanitizers do not work here and
# a silent run would mean nothing. Leaks are not looked for: Python keeps much on purpose.
set -eu
cd "$(dirname "$0")/.."
: "${PYTHON:?the Python of the virtual environment}"
PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")
CC=${CC:-cc}
HERE=$PWD
SAN=$HERE/build/san

rm -rf "$SAN"
mkdir -p "$SAN"
cp -r native syslet_loop tests examples setup.py pyproject.toml README.md LICENSE "$SAN"
for more in benchmarks docs CONTRIBUTING.md; do
    if [ -e "$more" ]; then cp -r "$more" "$SAN"; fi
done
cd "$SAN"
rm -f syslet_loop/*.so
if [ -f tests/engine/driver_build.py ]; then
    SYSLET_SANITIZE=address,undefined "$PYTHON" tests/engine/driver_build.py
fi
SYSLET_SANITIZE=address,undefined "$PYTHON" setup.py --quiet build_ext --inplace

asan=$("$CC" -print-file-name=libasan.so)
ubsan=$("$CC" -print-file-name=libubsan.so)
export LD_PRELOAD="$asan $ubsan"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:detect_stack_use_after_return=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export PYTHONMALLOC=malloc PYTHONPATH="$SAN" PYTHONDONTWRITEBYTECODE=1

"$PYTHON" -c 'import syslet_loop, sys; sys.exit("build/san" not in syslet_loop.__file__)'
if "$PYTHON" tests/sanitize_canary.py >canary.txt 2>&1; then
    echo "the canary was not caught" >&2
    exit 1
fi
grep -q "heap-buffer-overflow" canary.txt || { cat canary.txt >&2; exit 1; }
echo "the canary was caught"
exec "$PYTHON" -m pytest -q -p no:cacheprovider --ignore tests/test_tidy.py "$@"
