/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One system call of a syslet: which calls are allowed, how one is made, and
 * what happens when it is interrupted. Called by syslet.c only.
 *
 * This is an allow list. A call is on it if it means the same in a worker as in
 * the submitter, needs no user registers, changes neither credentials nor the
 * thread nor its address space, leaves no state behind that only a return to
 * user space clears up (signal masks), and cannot start another syslet (ioctl,
 * io_uring_enter).
 */
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/task_work.h>
#include <linux/nospec.h>
#include <linux/file.h>
#include <linux/io_uring.h>
#include <asm/syscall.h>
#include <asm/unistd.h>
#ifdef CONFIG_UML
#include <sysdep/syscalls.h>
#endif

#include "io_uring.h"
#include "syslet.h"

static const u8 syslet_kinds[SYSLET_CALLS_MAX] = {
	[__NR_read] = SYSLET_READ,
	[__NR_pread64] = SYSLET_PREAD,
	[__NR_write] = SYSLET_WRITE,
	[__NR_pwrite64] = SYSLET_PWRITE,
	[__NR_readv] = SYSLET_WAITS,
	[__NR_writev] = SYSLET_WAITS,
	[__NR_preadv] = SYSLET_WAITS,
	[__NR_pwritev] = SYSLET_WAITS,
	[__NR_preadv2] = SYSLET_WAITS,
	[__NR_pwritev2] = SYSLET_WAITS,
	[__NR_lseek] = SYSLET_WAITS,
	[__NR_sendfile] = SYSLET_WAITS,
	[__NR_splice] = SYSLET_WAITS,
	[__NR_tee] = SYSLET_WAITS,
	[__NR_copy_file_range] = SYSLET_WAITS,

	[__NR_open] = SYSLET_OPEN,
	[__NR_openat] = SYSLET_OPENAT,
	[__NR_openat2] = SYSLET_WAITS,
	[__NR_creat] = SYSLET_WAITS,
	[__NR_close] = SYSLET_CLOSE,
	[__NR_dup] = SYSLET_PLAIN,
	[__NR_dup2] = SYSLET_DUP_TO,
	[__NR_dup3] = SYSLET_DUP_TO,
	[__NR_fcntl] = SYSLET_WAITS,
	[__NR_flock] = SYSLET_WAITS,
	[__NR_pipe] = SYSLET_WAITS,
	[__NR_pipe2] = SYSLET_WAITS,
	[__NR_memfd_create] = SYSLET_WAITS,

	[__NR_stat] = SYSLET_STAT,
	[__NR_lstat] = SYSLET_LSTAT,
	[__NR_fstat] = SYSLET_FSTAT,
	[__NR_newfstatat] = SYSLET_FSTATAT,
	[__NR_statx] = SYSLET_STATX,
	[__NR_access] = SYSLET_WAITS,
	[__NR_faccessat] = SYSLET_WAITS,
	[__NR_faccessat2] = SYSLET_WAITS,
	[__NR_readlink] = SYSLET_WAITS,
	[__NR_readlinkat] = SYSLET_WAITS,
	[__NR_getdents64] = SYSLET_WAITS,
	[__NR_getcwd] = SYSLET_WAITS,
	[__NR_statfs] = SYSLET_WAITS,
	[__NR_fstatfs] = SYSLET_WAITS,
	[__NR_getxattr] = SYSLET_WAITS,
	[__NR_fgetxattr] = SYSLET_WAITS,
	[__NR_lgetxattr] = SYSLET_WAITS,
	[__NR_listxattr] = SYSLET_WAITS,
	[__NR_flistxattr] = SYSLET_WAITS,
	[__NR_llistxattr] = SYSLET_WAITS,
	[__NR_setxattr] = SYSLET_WAITS,
	[__NR_fsetxattr] = SYSLET_WAITS,
	[__NR_lsetxattr] = SYSLET_WAITS,
	[__NR_removexattr] = SYSLET_WAITS,
	[__NR_fremovexattr] = SYSLET_WAITS,
	[__NR_lremovexattr] = SYSLET_WAITS,

	[__NR_mkdir] = SYSLET_WAITS,
	[__NR_mkdirat] = SYSLET_WAITS,
	[__NR_rmdir] = SYSLET_WAITS,
	[__NR_unlink] = SYSLET_WAITS,
	[__NR_unlinkat] = SYSLET_WAITS,
	[__NR_rename] = SYSLET_WAITS,
	[__NR_renameat] = SYSLET_WAITS,
	[__NR_renameat2] = SYSLET_WAITS,
	[__NR_link] = SYSLET_WAITS,
	[__NR_linkat] = SYSLET_WAITS,
	[__NR_symlink] = SYSLET_WAITS,
	[__NR_symlinkat] = SYSLET_WAITS,
	[__NR_mknod] = SYSLET_WAITS,
	[__NR_mknodat] = SYSLET_WAITS,
	[__NR_chmod] = SYSLET_WAITS,
	[__NR_fchmod] = SYSLET_WAITS,
	[__NR_fchmodat] = SYSLET_WAITS,
	[__NR_chown] = SYSLET_WAITS,
	[__NR_lchown] = SYSLET_WAITS,
	[__NR_fchown] = SYSLET_WAITS,
	[__NR_fchownat] = SYSLET_WAITS,
	[__NR_utimensat] = SYSLET_WAITS,
	[__NR_truncate] = SYSLET_WAITS,
	[__NR_ftruncate] = SYSLET_WAITS,
	[__NR_fallocate] = SYSLET_WAITS,
	[__NR_fadvise64] = SYSLET_WAITS,
	[__NR_readahead] = SYSLET_WAITS,
	[__NR_fsync] = SYSLET_WAITS,
	[__NR_fdatasync] = SYSLET_WAITS,
	[__NR_sync_file_range] = SYSLET_WAITS,
	[__NR_syncfs] = SYSLET_WAITS,
	[__NR_sync] = SYSLET_WAITS,

	[__NR_socket] = SYSLET_WAITS,
	[__NR_socketpair] = SYSLET_WAITS,
	[__NR_bind] = SYSLET_WAITS,
	[__NR_listen] = SYSLET_WAITS,
	[__NR_connect] = SYSLET_WAITS,
	[__NR_shutdown] = SYSLET_WAITS,
	[__NR_accept] = SYSLET_ACCEPT,
	[__NR_accept4] = SYSLET_ACCEPT4,
	[__NR_sendto] = SYSLET_SENDTO,
	[__NR_recvfrom] = SYSLET_RECVFROM,
	[__NR_sendmsg] = SYSLET_WAITS,
	[__NR_recvmsg] = SYSLET_RECVMSG,
	[__NR_sendmmsg] = SYSLET_WAITS,
	[__NR_setsockopt] = SYSLET_SOCKOPT,
	[__NR_getsockopt] = SYSLET_SOCKOPT,
	[__NR_getsockname] = SYSLET_PLAIN,
	[__NR_getpeername] = SYSLET_PLAIN,

	[__NR_poll] = SYSLET_WAITS,
	[__NR_select] = SYSLET_WAITS,
	[__NR_epoll_create1] = SYSLET_WAITS,
	[__NR_epoll_ctl] = SYSLET_WAITS,
	[__NR_epoll_wait] = SYSLET_WAITS,
	[__NR_eventfd2] = SYSLET_PLAIN,
	[__NR_timerfd_create] = SYSLET_PLAIN,
	[__NR_timerfd_settime] = SYSLET_PLAIN,
	[__NR_timerfd_gettime] = SYSLET_PLAIN,
	[__NR_nanosleep] = SYSLET_WAITS,
	[__NR_clock_nanosleep] = SYSLET_WAITS,
	[__NR_clock_gettime] = SYSLET_PLAIN,
	[__NR_gettimeofday] = SYSLET_PLAIN,
	[__NR_getrandom] = SYSLET_WAITS,
	[__NR_sched_yield] = SYSLET_WAITS,
	[__NR_uname] = SYSLET_PLAIN,
	[__NR_getpid] = SYSLET_PLAIN,
	[__NR_getppid] = SYSLET_PLAIN,
	[__NR_getuid] = SYSLET_PLAIN,
	[__NR_geteuid] = SYSLET_PLAIN,
	[__NR_getgid] = SYSLET_PLAIN,
	[__NR_getegid] = SYSLET_PLAIN,
	[__NR_gettid] = SYSLET_OWN_THREAD,
	[__NR_kill] = SYSLET_WAITS,
	[__NR_tgkill] = SYSLET_WAITS,
};

enum syslet_kind syslet_kind(u32 nr)
{
	if (nr >= SYSLET_CALLS_MAX)
		return SYSLET_REFUSED;
	return syslet_kinds[array_index_nospec(nr, SYSLET_CALLS_MAX)];
}

/* Makes a call that syslet_kind() has allowed, whatever that takes. */
long syslet_dispatch(struct syslet *s, u32 nr, const unsigned long *args)
{
	nr = array_index_nospec(nr, SYSLET_CALLS_MAX);
#ifdef CONFIG_UML
	{
		typedef long (*call_fn)(long, long, long, long, long, long);

		return ((call_fn)sys_call_table[nr])(args[0], args[1], args[2],
						     args[3], args[4], args[5]);
	}
#else
	s->regs.di = args[0];
	s->regs.si = args[1];
	s->regs.dx = args[2];
	s->regs.r10 = args[3];
	s->regs.r8 = args[4];
	s->regs.r9 = args[5];
	s->regs.orig_ax = nr;
	return x64_sys_call(&s->regs, nr);
#endif
}

/*
 * Lets work that waits for this task happen, as a return to user space would:
 * above all the last half of close(), without which a reader of a pipe whose
 * writer the program has closed would wait for ever, and the creation of io-wq
 * workers. Then looks for a reason to stop.
 *
 * A pending TIF_NOTIFY_SIGNAL is no signal. It is cleared before the command is
 * asked whether it was cancelled, as io-wq sets the two in the other order.
 */
int syslet_attend(struct syslet *s)
{
	struct ksignal ksig;

	if (s->mode == SYSLET_INLINE)
		return task_sigpending(current) ? -EAGAIN : 0;
	if (test_thread_flag(TIF_NOTIFY_SIGNAL))
		clear_notify_signal();
	if (task_work_pending(current))
		task_work_run();
	if (s->mode == SYSLET_WORKER &&
	    (READ_ONCE(s->req->work.flags) & IO_WQ_WORK_CANCEL))
		return -ECANCELED;
	if (!task_sigpending(current))
		return 0;
	if (s->mode != SYSLET_WORKER)
		return -ERESTARTSYS;
	if (fatal_signal_pending(current))
		return -EINTR;
	/* A worker blocks every signal but KILL and STOP: it may have to stop. */
	return get_signal(&ksig) ? -EINTR : 0;
}

static bool wants_restart(long ret)
{
	return ret == -ERESTARTSYS || ret == -ERESTARTNOINTR ||
	       ret == -ERESTARTNOHAND || ret == -ERESTART_RESTARTBLOCK;
}

/* epoll_wait never asks for a restart; close has happened all the same. */
static bool was_interrupted(u32 nr, long ret)
{
	return wants_restart(ret) || (ret == -EINTR && nr != __NR_close &&
				      test_thread_flag(TIF_NOTIFY_SIGNAL));
}

/*
 * SIGPIPE and SIGXFSZ are sent to the thread that makes the call. A worker
 * blocks them, so they would wait there for ever: they go to the submitter.
 */
static void syslet_forward(struct syslet *s, long ret)
{
	kernel_siginfo_t info;
	enum pid_type type;
	sigset_t mask;
	int sig = ret == -EPIPE ? SIGPIPE : SIGXFSZ;
	bool found;

	siginitsetinv(&mask, sigmask(sig));
	spin_lock_irq(&current->sighand->siglock);
	found = sigismember(&current->pending.signal, sig) &&
		dequeue_signal(current, &mask, &info, &type) == sig;
	spin_unlock_irq(&current->sighand->siglock);
	if (found)
		send_sig(sig, s->req->task, 0);
}

/* A call gave the error @got: it is the result, or the call is made again. */
static noinline int syslet_again(struct syslet *s, u32 nr, unsigned long *args,
				 long got, long *ret)
{
	int err;

	while (was_interrupted(nr, got)) {
		err = syslet_attend(s);
		if (err == -ERESTARTSYS) {
			/* A real signal. What it interrupts says what follows. */
			if (got == -EINTR)
				break;
			/* The rest of a sleep is not kept over a handler. */
			return got == -ERESTART_RESTARTBLOCK ? -ERESTARTNOHAND
							     : got;
		}
		if (err)
			return err;
		if (got == -ERESTART_RESTARTBLOCK)
			got = current->restart_block.fn(
				&current->restart_block);
		else
			got = syslet_dispatch(s, nr, args);
	}
	if (s->mode == SYSLET_WORKER && (got == -EPIPE || got == -EFBIG))
		syslet_forward(s, got);
	*ret = got;
	return 0;
}

/* Makes a call that may wait; *ret is its result if 0 is returned. */
static int syslet_wait(struct syslet *s, u32 nr, unsigned long *args, long *ret)
{
	*ret = syslet_dispatch(s, nr, args);
	if (likely(*ret >= 0))
		return 0;
	return syslet_again(s, nr, args, *ret, ret);
}

/* An io_uring_enter() may be using the ring without holding a reference. */
static bool syslet_closes_ring(struct syslet *s, enum syslet_kind kind,
			       const unsigned long *args)
{
	struct fd f;
	bool is_ring;

	if (!s->req)
		return false;
	if (kind == SYSLET_CLOSE)
		f = fdget_raw(args[0]);
	else if (kind == SYSLET_DUP_TO)
		f = fdget_raw(args[1]);
	else
		return false;
	is_ring = f.file && io_is_uring_fops(f.file);
	fdput(f);
	return is_ring;
}

/* Skips the @moved bytes of a transfer that are done; false: not a transfer. */
bool syslet_skip(enum syslet_kind kind, unsigned long *args, u64 moved)
{
	switch (kind) {
	case SYSLET_PREAD:
	case SYSLET_PWRITE:
		args[3] += moved;
		fallthrough;
	case SYSLET_READ:
	case SYSLET_WRITE:
	case SYSLET_SENDTO:
		/* The count comes from user memory and may be anything. */
		if (moved > args[2])
			return false;
		args[1] += moved;
		args[2] -= moved;
		return true;
	default:
		return false;
	}
}

/*
 * Executes one call. 0: it was made and *ret is its result. -EAGAIN: it would
 * wait, and may not here. Anything else ends the run before this atom.
 */
int syslet_call(struct syslet *s, u32 nr, u32 flags, unsigned long *args,
		long *ret)
{
	enum syslet_kind kind = syslet_kind(nr);
	bool may_wait = s->mode == SYSLET_CALLER || s->mode == SYSLET_WORKER;
	int err;

	if (unlikely(kind == SYSLET_REFUSED))
		return nr < __NR_syscalls ? -EPERM : -ENOSYS;
	/* The caller may sleep, so there is nothing to decide. */
	if (s->mode == SYSLET_CALLER && likely(!s->run.done))
		return syslet_wait(s, nr, args, ret);
	if (kind == SYSLET_OWN_THREAD && s->mode == SYSLET_WORKER)
		return -EPERM;
	if (syslet_closes_ring(s, kind, args))
		return -EPERM;
	if (unlikely(s->run.done) && !syslet_skip(kind, args, s->run.done))
		return -EINVAL;
	if (!may_wait && (flags & (SYSLET_ASYNC | SYSLET_SYNC)) == SYSLET_ASYNC)
		return -EAGAIN;
	if (may_wait || !syslet_try(s, nr, args, ret) || wants_restart(*ret)) {
		if (!may_wait && !(flags & SYSLET_SYNC))
			return -EAGAIN;
		if (s->mode == SYSLET_INLINE) {
			s->sync_miss = true;
			return -EAGAIN;
		}
		err = syslet_wait(s, nr, args, ret);
		if (err)
			return err;
	}
	if (unlikely(s->run.done))
		*ret = *ret < 0 ? s->run.done : s->run.done + *ret;
	return 0;
}
