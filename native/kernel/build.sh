#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds the patched kernel outside the repository and prints where it is.
#
#   build.sh um|x86_64 CACHE [debug]
#
# CACHE keeps the source, one build per kind, and the suite. What is there and still
# right is used again; a change of the patch rebuilds what depends on it. Needed:
# make, gcc, flex, bison, bc, patch, xz, and apt to fetch linux-source-6.1 once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
arch=$1
cache=$2
kind=$arch${3:+-$3}
jobs=${KERNEL_JOBS:-2}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
source=$cache/linux-source-6.1
build=$cache/build-$kind
hooked="io_uring/Makefile io_uring/opdef.c init/Kconfig arch/x86/um/user-offsets.c"

fetch() {
    [ -f "$source/.unpacked" ] && return
    echo "fetching linux-source-6.1" >&2
    rm -rf "$source" "$cache/deb"
    mkdir -p "$cache/deb"
    (cd "$cache/deb" && apt-get download -q linux-source-6.1 >&2 &&
        dpkg-deb -x linux-source-6.1_*.deb .)
    tar -xJf "$cache/deb/usr/src/linux-source-6.1.tar.xz" -C "$cache"
    rm -rf "$cache/deb"
    for file in $hooked; do cp -p "$source/$file" "$source/$file.unpatched"; done
    touch "$source/.unpacked"
}

# Only a file that differs is written, so that make sees what has changed.
replace() {
    cmp -s "$1" "$2" || cp "$1" "$2"
}

apply() {
    scratch=$(mktemp -d)
    for file in $hooked; do
        mkdir -p "$scratch/$(dirname "$file")"
        cp "$source/$file.unpatched" "$scratch/$file"
    done
    patch -s -p1 -d "$scratch" <"$here/hooks.patch"
    for file in $hooked; do replace "$scratch/$file" "$source/$file"; done
    rm -rf "$scratch"
    (cd "$here/linux" && find . -name '*.[ch]') | while read -r file; do
        replace "$here/linux/$file" "$source/$file"
    done
}

configure() {
    mkdir -p "$build"
    case $arch in um) name=uml ;; *) name=x86 ;; esac
    cat "$here/$name.config" ${3:+"$here/$name-$3.config"} >"$build/wanted.new"
    if ! cmp -s "$build/wanted.new" "$build/wanted" || [ ! -f "$build/.config" ]; then
        make -s -C "$source" ARCH="$arch" O="$build" \
            KCONFIG_ALLCONFIG="$build/wanted.new" allnoconfig >&2
        mv "$build/wanted.new" "$build/wanted"
    fi
    # A choice that Kconfig did not take would test something else than we think.
    grep '=y$' "$build/wanted" | while read -r line; do
        grep -qx "$line" "$build/.config" || echo "not taken: $line" >&2
    done
    grep -qx CONFIG_SYSLET=y "$build/.config"
}

# libsyslet is measured beside the kernel. The fuzzer writes to small random addresses, so nothing may be linked there.
suite() {
    mkdir -p "$cache/root"
    make -s -C "$here/../.." lib LIB="$cache/lib" >&2
    gcc -std=gnu11 -D_GNU_SOURCE -O2 -g -static-pie -fPIE -Wall -Wextra -Werror \
        -Wno-missing-field-initializers -Wno-psabi -I"$here/linux/include/uapi" \
        -I"$here/../abi" -o "$cache/root/init.new" "$here"/suite/*.c \
        "$cache/lib/libsyslet.a" -pthread
    mv "$cache/root/init.new" "$cache/root/init"
    mkdir -p "$cache/root/tmp"
}

fetch
apply
configure "$@"
case $arch in um) target=linux ;; *) target=bzImage ;; esac
make -s -C "$source" ARCH="$arch" O="$build" -j"$jobs" "$target" >&2
suite
case $arch in
um) echo "$build/linux" ;;
*) echo "$build/arch/x86/boot/bzImage" ;;
esac
