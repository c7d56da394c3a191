#!/bin/sh
# The tests under AddressSanitizer and UBSan, on a build of its own in build/san.
#
# Called by `make san` with PYTHON set to the virtual environment's. First two canaries,
# known errors in C, must be caught: else the sanitizers do not work here and a silent
# run would mean nothing. Leaks are not looked for: Python keeps much on purpose.
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
for more in benchmarks docs CONTRIBUTING.md CHANGELOG.md; do
    if [ -e "$more" ]; then cp -r "$more" "$SAN"; fi
done
cd "$SAN"
rm -f syslet_loop/*.so
if [ -f tests/engine/driver_build.py ]; then
    SYSLET_SANITIZE=address,undefined "$PYTHON" tests/engine/driver_build.py
fi
SYSLET_SANITIZE=address,undefined "$PYTHON" setup.py --quiet build_ext --inplace

FLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -O1 -g"
# shellcheck disable=SC2086
"$CC" -shared -fPIC $FLAGS tests/sanitize_canary.c -o canary.so

asan=$("$CC" -print-file-name=libasan.so)
ubsan=$("$CC" -print-file-name=libubsan.so)
export LD_PRELOAD="$asan $ubsan"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:detect_stack_use_after_return=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export PYTHONMALLOC=malloc PYTHONPATH="$SAN" PYTHONDONTWRITEBYTECODE=1

"$PYTHON" -c 'import syslet_loop, sys; sys.exit("build/san" not in syslet_loop.__file__)'
# Each call must be reported by the sanitizer whose word is given, and end the process.
canary() {
    code="import ctypes; ctypes.CDLL('./canary.so').$1"
    if "$PYTHON" -c "$code" >canary.txt 2>&1 || ! grep -q "$2" canary.txt; then
        cat canary.txt >&2
        echo "the canary $1 was not caught" >&2
        exit 1
    fi
}
canary "read_freed(8)" heap-use-after-free
canary "overflow(0x7fffffff)" "signed integer overflow"
echo "both canaries were caught"
exec "$PYTHON" -m pytest -q --capture=sys -p no:cacheprovider \
    --ignore tests/test_tidy.py --ignore tests/test_package.py \
    --ignore tests/benchmarks/test_plots.py --ignore tests/plugin "$@"
