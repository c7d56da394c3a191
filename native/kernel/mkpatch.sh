#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Prints the complete patch against Linux 6.1: the hooks, then the new files. In the
# repository the new files are kept as they are, so that they can be read and changed.
set -eu
cd "$(dirname "$0")/linux"
cat ../hooks.patch
find . -name '*.[ch]' | sed 's|^\./||' | sort | while read -r file; do
    diff -u --label /dev/null --label "b/$file" /dev/null "$file" || true
done
