#!/bin/sh
# Coverage-guided fuzzing of the verifier and the interpreter with libFuzzer, under
# AddressSanitizer and UBSan. Called by `make fuzz` with PYTHON, RUNS (-1: no limit) and
# LIMIT_S set; needs clang and its compiler-rt (Debian: clang, libclang-rt-14-dev). What
# fails is kept in build/fuzz: `build/fuzz/fuzz FILE` does it again, and
# `python -m tests.fuzz.show FILE` tells what it is. KEEP=1 writes tests/fuzz/corpus.txt.
set -eu
cd "$(dirname "$0")/../.."
: "${PYTHON:?the Python of the virtual environment}"
CLANG=${CLANG:-clang}
OUT=build/fuzz
mkdir -p "$OUT/found"

flags="-std=gnu11 -O1 -g -UNDEBUG -fno-omit-frame-pointer -Wall -Wextra"
flags="$flags -iquote native/engine -iquote tests/fuzz -iquote tests/engine"
flags="$flags -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined"
# shellcheck disable=SC2086
"$CLANG" $flags native/engine/*.c tests/fuzz/*.c -lpthread -o "$OUT/fuzz"
rm -rf "$OUT/seeds"
"$PYTHON" -m tests.fuzz.seeds "$OUT/seeds"

# Fresh memory looks like that of an earlier flight (SECRET in fuzz.h).
export ASAN_OPTIONS=max_malloc_fill_size=65536:malloc_fill_byte=171
"$OUT/fuzz" -runs="${RUNS:--1}" -max_total_time="${LIMIT_S:-900}" -max_len=1024 \
    -timeout=60 -artifact_prefix="$OUT/" -print_final_stats=1 "$OUT/found" "$OUT/seeds"

if [ "${KEEP:-0}" = 1 ]; then
    rm -rf "$OUT/merged"
    mkdir "$OUT/merged"
    "$OUT/fuzz" -merge=1 -max_len=1024 "$OUT/merged" "$OUT/found" "$OUT/seeds"
    "$PYTHON" -m tests.fuzz.seeds --keep "$OUT/merged"
fi
