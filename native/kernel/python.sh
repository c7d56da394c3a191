#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs Python tests of this checkout inside the patched kernel, see inside.sh.
#
#   python.sh KERNEL CACHE PYTHON TEST...
#
# PYTHON is the interpreter of a virtual environment with the package built in it; the
# machine sees it, its base and the checkout at their own places.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1
cache=$2
python=$3
shift 3
checkout=$(cd "$here/../.." && pwd)
prefix() { "$python" -c "import sys; print(sys.$1)"; }
venv=$(prefix prefix)
folders=/usr:/etc:$(prefix base_prefix):$venv:$checkout
tests=$(echo "$@" | tr ' ' ',')
MEMORY=1G HOST_FOLDERS=$folders SECONDS_MAX=${SECONDS_MAX:-1800} \
    INSIDE="CHECKOUT=$checkout VENV=$venv TESTS=$tests ${INSIDE:-}" \
    exec "$here/run.sh" "$kernel" "$cache" "run:$here/inside.sh"
