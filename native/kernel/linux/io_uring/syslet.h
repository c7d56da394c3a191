/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private to the syslet subsystem: one run of a program, and what syslet.c (the
 * interpreter and its device), syslet_call.c (one atom) and syslet_try.c
 * (attempts that do not wait) have to know of each other.
 */
#ifndef IOU_SYSLET_H
#define IOU_SYSLET_H

#include <linux/io_uring_types.h>
#include <linux/ptrace.h>
#include <linux/types.h>
#include <uapi/linux/syslet.h>

/* Who executes the program, and so what an atom may do. */
enum syslet_mode {
	/* ioctl: the calling thread, which may sleep. */
	SYSLET_CALLER,
	/* ioctl with SYSLET_RUN_NOWAIT: the calling thread, which does not wait. */
	SYSLET_NOWAIT,
	/*
	 * The submitter of a ring, with the ring's lock held: nothing may wait,
	 * and no task work may run, as it could take that lock or free the ring.
	 */
	SYSLET_INLINE,
	/* An io-wq worker of the submitter. It may sleep and can be cancelled. */
	SYSLET_WORKER,
};

/*
 * What is known of a system call. Zero, which is every call not in the table,
 * means that a syslet may not make it.
 */
enum syslet_kind {
	SYSLET_REFUSED = 0,
	SYSLET_WAITS,	   /* allowed, never attempted */
	SYSLET_PLAIN,	   /* never waits for anything but a lock */
	SYSLET_OWN_THREAD, /* plain, and means the calling thread */
	SYSLET_READ,
	SYSLET_PREAD,
	SYSLET_WRITE,
	SYSLET_PWRITE,
	SYSLET_SENDTO,
	SYSLET_RECVFROM,
	SYSLET_RECVMSG,
	SYSLET_ACCEPT,
	SYSLET_ACCEPT4,
	SYSLET_OPEN,
	SYSLET_OPENAT,
	SYSLET_CLOSE,
	SYSLET_DUP_TO, /* waits, and closes its second argument */
	SYSLET_STAT,
	SYSLET_LSTAT,
	SYSLET_FSTAT,
	SYSLET_FSTATAT,
	SYSLET_STATX,
	SYSLET_SOCKOPT,
};

struct syslet {
	struct syslet_run run;
	struct syslet_run __user *user;
	/* The command; NULL when an ioctl runs the program. Not owned. */
	struct io_kiocb *req;
	enum syslet_mode mode;
	/* The flags of the atom executed last. */
	u32 last_flags;
	/* Atoms this entry may execute before a worker takes over. */
	u32 inline_left;
	/*
	 * The atom that is executed. Here and not on the stack of a function,
	 * so that a hardened kernel clears it once in a run.
	 */
	struct syslet_uatom atom;
	unsigned long args[6];
	/* A SYNC atom would wait: the run goes back to the caller instead. */
	bool sync_miss;
#ifndef CONFIG_UML
	/* Only the six arguments and the number are ever looked at. */
	struct pt_regs regs;
#endif
};

/* syslet_call.c */
enum syslet_kind syslet_kind(u32 nr);
long syslet_dispatch(struct syslet *s, u32 nr, const unsigned long *args);
bool syslet_skip(enum syslet_kind kind, unsigned long *args, u64 moved);
int syslet_attend(struct syslet *s);
int syslet_call(struct syslet *s, u32 nr, u32 flags, unsigned long *args,
		long *ret);

/* syslet_try.c: true if the call was made and *ret is its result. */
bool syslet_try(struct syslet *s, u32 nr, unsigned long *args, long *ret);

#endif
