/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Syslets: small programs of system calls that the kernel executes.
 *
 * A program is a graph of struct syslet_uatom in the memory of its process. A
 * struct syslet_run, also in user memory, says where it stands. Both are given
 * to /dev/syslet: by ioctl to run in the calling thread, or as an
 * IORING_OP_URING_CMD to run without the caller having to wait.
 *
 * Fields are fixed width and pointers are __u64, so there is one layout for
 * every word size. The values of the first eight flags and the layout of the
 * atom are those of the sixth version of the syslet patches (2007).
 */
#ifndef _UAPI_LINUX_SYSLET_H
#define _UAPI_LINUX_SYSLET_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SYSLET_DEVICE "/dev/syslet"
#define SYSLET_MAGIC 0x53594c54U
#define SYSLET_VERSION 2

/* Do not try in the caller: a worker executes this atom and what follows. */
#define SYSLET_ASYNC 0x00000001
/* Do not leave the caller at this atom, even if it blocks. */
#define SYSLET_SYNC 0x00000002
/* Post no completion if the program ends at this atom. */
#define SYSLET_NO_COMPLETE 0x00000004
/* Conditions on the result of the atom just executed; they may be combined. */
#define SYSLET_STOP_ON_NONZERO 0x00000008
#define SYSLET_STOP_ON_ZERO 0x00000010
#define SYSLET_STOP_ON_NEGATIVE 0x00000020
#define SYSLET_STOP_ON_NON_POSITIVE 0x00000040
#define SYSLET_STOP_MASK 0x00000078
/* When a condition holds, go on with the atom behind this one in memory. */
#define SYSLET_SKIP_TO_NEXT_ON_STOP 0x00000080
/* Report the result of this atom in the emit ring, and go on. */
#define SYSLET_EMIT 0x00000100
#define SYSLET_FLAGS_MASK 0x000001ff

/* The one call that only syslets have: arguments (pointer to s64, addend). */
#define SYSLET_NR_UMEM_ADD 0x00010001U

struct syslet_uatom {
	__u32 flags;
	__u32 nr;
	/* Where the result goes, 8 bytes; 0: nowhere. */
	__u64 ret_ptr;
	/* The next atom; 0: the program ends. */
	__u64 next;
	/* Where the arguments are, 8 bytes each; the first 0 ends the list. */
	__u64 arg_ptr[6];
	/* Never looked at by the kernel. */
	__u64 private;
};

struct syslet_emitted {
	/* The atom that reports; user space writes 0 when it has read the slot. */
	__u64 atom;
	__s64 ret;
};

/* Run in the caller as far as nothing has to wait; then -EAGAIN, with pc set. */
#define SYSLET_RUN_NOWAIT 0x00000001
/* SYSLET_EMIT in a command: to the emit ring only, no completion for each. */
#define SYSLET_RUN_QUIET 0x00000002
#define SYSLET_RUN_MASK 0x00000003

/*
 * Where a program stands. The kernel reads it when a run begins and writes the
 * first part back when it ends, is interrupted or changes to a worker; each
 * time the program goes on at pc.
 */
struct syslet_run {
	/* The next atom to execute; 0: the program has ended. */
	__u64 pc;
	/* The atom executed last, and its result. */
	__u64 last;
	__s64 ret;
	/* Bytes the atom at pc has moved before it would have had to wait. */
	__u64 done;
	/* Atoms executed so far, over all runs. */
	__u64 executed;
	/* Atoms this run may still execute; at the end 0 means it was cut. */
	__u32 budget;
	/* The next slot of the emit ring. */
	__u32 emit_head;
	/* From here on only read by the kernel. */
	__u32 flags;
	/* Number of slots, a power of two; 0: no emit ring. */
	__u32 emit_entries;
	__u64 emit_ptr;
	__u64 reserved[2];
};

#define SYSLET_CALLS_MAX 512

struct syslet_info {
	__u32 magic;
	__u32 version;
	/* The largest budget of one run. */
	__u32 budget_max;
	/* Atoms a command executes in the submitter before a worker goes on. */
	__u32 inline_max;
	__u64 reserved[2];
	/* Bit n: system call n is allowed; attempted without waiting. */
	__u64 allowed[SYSLET_CALLS_MAX / 64];
	__u64 attempted[SYSLET_CALLS_MAX / 64];
};

#define SYSLET_IOC_INFO _IOR(0xb9, 0x00, struct syslet_info)
/*
 * 0: the program ended. 1: the budget is used up. -EAGAIN: SYSLET_RUN_NOWAIT
 * and the atom at pc would wait. -EPERM: the atom at pc is not allowed in a
 * syslet, or this task's system calls are filtered, traced or audited.
 * -ENOSYS, -EINVAL, -EFAULT: so is the atom at pc. -ENOBUFS: the emit ring is
 * full. -EINTR: a signal handler ran. In each case the run can be continued.
 */
#define SYSLET_IOC_EXEC _IOWR(0xb9, 0x01, struct syslet_run)

/* sqe->cmd_op; sqe->cmd holds a struct syslet_cmd. The CQE has EXEC's result. */
#define SYSLET_CMD_EXEC 1

struct syslet_cmd {
	__u64 run;
	__u64 reserved;
};

#endif
