#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Boots a kernel that build.sh made, lets the suite do one thing and judges the log.
#
#   run.sh KERNEL CACHE test[:NAME] | bench | fuzz:EXECUTIONS:SEED[:BATCH] | run:SCRIPT
#
# The machine sees CACHE/root as its root and an image in CACHE as a disk, and of the host
# else only the folders in HOST_FOLDERS (separated by colons), read only. More words for
# the environment of a script are in INSIDE (NAME=VALUE ...). SECONDS_MAX ends a machine that hangs. Exit 0: the suite passed and the
# kernel reported nothing.
set -eu
kernel=$1
cache=$2
what=$3
log=$cache/log-$(echo "$what" | tr -c 'a-z0-9_\n' '-')
limit=${SECONDS_MAX:-600}

disk() {
    [ -f "$cache/disk-512m.img" ] && return
    PATH=$PATH:/sbin:/usr/sbin
    truncate -s 512M "$cache/disk-512m.img.new"
    mkfs.ext4 -q -F -N 200000 "$cache/disk-512m.img.new"
    mv "$cache/disk-512m.img.new" "$cache/disk-512m.img"
}

uml() {
    # The disk is not written: what changes is in a file that is thrown away.
    rm -f "$cache/cow.$$"
    timeout -k 5 "$limit" "$kernel" "mem=${MEMORY:-512M}" root=none rootfstype=hostfs \
        rootflags="$cache/root" rw init=/init "ubd0=$cache/cow.$$,$cache/disk-512m.img" \
        con=null con0=null,fd:1 con1=null,fd:1 "syslet.do=$what" \
        ${HOST_FOLDERS:+"HOST_FOLDERS=$HOST_FOLDERS"} ${INSIDE:-} </dev/null || true
    rm -f "$cache/cow.$$"
}

# The words of init's archive are those of the kernel's own gen_init_cpio.
x86_64() {
    build=${kernel%/arch/x86/boot/bzImage}
    {
        for name in dev tmp; do echo "dir /$name 755 0 0"; done
        echo "nod /dev/console 600 0 0 c 5 1"
        echo "file /init $cache/root/init 755 0 0"
    } >"$cache/initrd.list"
    "$build/usr/gen_init_cpio" "$cache/initrd.list" >"$cache/initrd"
    timeout -k 5 "$limit" qemu-system-x86_64 -accel "${QEMU_ACCEL:-tcg}" \
        -smp "${QEMU_SMP:-2}" -m 1024 ${QEMU_MORE:-} -nodefaults -no-reboot \
        -display none -serial stdio -kernel "$kernel" -initrd "$cache/initrd" \
        -drive "file=$cache/disk-512m.img,if=virtio,format=raw,snapshot=on" \
        -append "console=ttyS0 syslet.do=$what panic=-1" </dev/null || true
}

disk
case $kernel in
*/bzImage) x86_64 ;;
*) uml ;;
esac 2>&1 | sed -u 's/\r//' | tee "$log" | sed -u -n '/^suite: begins/,$p'

# 6.1's User Mode Linux walks its memory map at fork without the lock that lockdep asks
# for, once in each of two lines of maple_tree.c; that is not about syslets.
complaints() {
    awk '/suspicious RCU usage/ { getline; getline; getline
             if (/lib\/maple_tree.c/) next; print "WARNING: " $0 }
         /WARNING:|BUG:|Oops|Kernel panic|possible recursive|INFO: task|KASAN/' "$log"
}

if complaints | grep .; then
    echo "the kernel complained: $log" >&2
    exit 1
fi
grep -q '^suite: exit 0' "$log" || { echo "see $log" >&2; exit 1; }
