/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Syslets: programs of system calls, executed by the kernel.
 *
 * This file reads atoms, follows the graph and is the device. A program runs in
 * the thread that asks for it (ioctl) or as a command of an io_uring, where it
 * is tried in the submitter and goes on in an io-wq worker from the first atom
 * that would have to wait. The submitter's user context never changes threads.
 *
 * Nothing about a program is kept in the kernel between two entries: where it
 * stands is in its struct syslet_run. So a change to a worker, a signal, a used
 * up budget and a restarted system call are all the same: a run that begins at
 * pc. User memory may change at any time; each atom is read once.
 */
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/io_uring.h>
#include <linux/log2.h>
#include <linux/miscdevice.h>
#include <linux/sched/signal.h>
#include <linux/task_work.h>
#include <linux/uaccess.h>

#include "io_uring.h"
#include "syslet.h"

#define SYSLET_BUDGET_MAX (1U << 20)
#define SYSLET_INLINE_MAX 256U
#define SYSLET_EMIT_MAX (1U << 16)

/*
 * A syslet makes calls without the entry work that filters, traces and audits
 * them, so a task that has any of these gets none. Tracepoints of system calls
 * are not among them: they are global and decide nothing.
 */
static bool task_is_watched(struct task_struct *task)
{
#ifdef CONFIG_GENERIC_ENTRY
	return READ_ONCE(task_thread_info(task)->syscall_work) &
	       (SYSCALL_WORK_SECCOMP | SYSCALL_WORK_SYSCALL_TRACE |
		SYSCALL_WORK_SYSCALL_EMU | SYSCALL_WORK_SYSCALL_AUDIT |
		SYSCALL_WORK_SYSCALL_USER_DISPATCH);
#else
	return READ_ONCE(task_thread_info(task)->flags) &
	       (_TIF_SECCOMP | _TIF_SYSCALL_TRACE | _TIF_SYSCALL_AUDIT);
#endif
}

/* A worker may be older than the filter of the task it works for. */
static bool syslet_is_watched(struct syslet *s)
{
	return task_is_watched(current) ||
	       (s->mode == SYSLET_WORKER && task_is_watched(s->req->task));
}

/*
 * Copies one atom, up to its first missing argument: atoms may be packed. Only
 * the range check covers the whole atom.
 */
static int read_atom(u64 pc, struct syslet_uatom *atom, int *nr_args)
{
	struct syslet_uatom __user *from = u64_to_user_ptr(pc);
	int i;

	if (!user_access_begin(from, sizeof(*from)))
		return -EFAULT;
	unsafe_get_user(atom->flags, &from->flags, fail);
	unsafe_get_user(atom->nr, &from->nr, fail);
	unsafe_get_user(atom->ret_ptr, &from->ret_ptr, fail);
	unsafe_get_user(atom->next, &from->next, fail);
	for (i = 0; i < 6; i++) {
		unsafe_get_user(atom->arg_ptr[i], &from->arg_ptr[i], fail);
		if (!atom->arg_ptr[i])
			break;
	}
	user_access_end();
	*nr_args = i;
	return 0;
fail:
	user_access_end();
	return -EFAULT;
}

/*
 * Fetches the arguments. Every address is checked before user_access_begin(),
 * whose barrier keeps the loads behind all of the checks.
 */
static int read_args(const struct syslet_uatom *atom, int nr_args,
		     unsigned long *args)
{
	int i;

	/* What the atom does not give is 0, not the last atom's. */
	args[0] = args[1] = args[2] = args[3] = args[4] = args[5] = 0;
	if (!nr_args)
		return 0;
	for (i = 1; i < nr_args; i++)
		if (!access_ok(u64_to_user_ptr(atom->arg_ptr[i]), sizeof(u64)))
			return -EFAULT;
	if (!user_access_begin(u64_to_user_ptr(atom->arg_ptr[0]), sizeof(u64)))
		return -EFAULT;
	for (i = 0; i < nr_args; i++)
		unsafe_get_user(args[i],
				(unsigned long __user *)u64_to_user_ptr(
					atom->arg_ptr[i]),
				fail);
	user_access_end();
	return 0;
fail:
	user_access_end();
	return -EFAULT;
}

/* Not atomic against other threads, as umem_add never was. */
static long umem_add(unsigned long ptr, unsigned long addend)
{
	s64 __user *at = (s64 __user *)ptr;
	s64 value;

	if (get_user(value, at))
		return -EFAULT;
	value = (u64)value + addend;
	return put_user(value, at) ? -EFAULT : value;
}

static struct syslet_emitted __user *emit_slot(struct syslet *s)
{
	struct syslet_emitted __user *ring = u64_to_user_ptr(s->run.emit_ptr);

	return ring + (s->run.emit_head & (s->run.emit_entries - 1));
}

/* IOSQE_IO_DRAIN counts completions, and one that is counted will not come. */
static void expect_one_cqe_less(struct io_ring_ctx *ctx)
{
	spin_lock(&ctx->completion_lock);
	ctx->cq_extra--;
	spin_unlock(&ctx->completion_lock);
}

/* Asked before the atom runs, so that a full ring loses nothing. */
static int emit_reserve(struct syslet *s)
{
	u64 taken;

	if (!s->run.emit_entries)
		return -EINVAL;
	if (get_user(taken, &emit_slot(s)->atom))
		return -EFAULT;
	return taken ? -ENOBUFS : 0;
}

static int emit_post(struct syslet *s)
{
	struct syslet_emitted __user *slot = emit_slot(s);
	s32 res = clamp_t(s64, s->run.ret, S32_MIN, S32_MAX);
	struct io_ring_ctx *ctx;

	if (put_user(s->run.ret, &slot->ret))
		return -EFAULT;
	/* Who sees the atom sees its result. */
	smp_wmb();
	if (put_user(s->run.last, &slot->atom))
		return -EFAULT;
	s->run.emit_head++;
	if (!s->req || (s->run.flags & SYSLET_RUN_QUIET))
		return 0;
	/* No overflow list: user space could make it as long as it likes. */
	ctx = s->req->ctx;
	if (io_post_aux_cqe(ctx, s->req->cqe.user_data, res, IORING_CQE_F_MORE,
			    false))
		return 0;
	expect_one_cqe_less(ctx);
	return -ENOBUFS;
}

static bool syslet_stops(u32 flags, s64 ret)
{
	return ((flags & SYSLET_STOP_ON_NONZERO) && ret != 0) ||
	       ((flags & SYSLET_STOP_ON_ZERO) && ret == 0) ||
	       ((flags & SYSLET_STOP_ON_NEGATIVE) && ret < 0) ||
	       ((flags & SYSLET_STOP_ON_NON_POSITIVE) && ret <= 0);
}

/*
 * The atom has been executed: moves on first, so that whatever fails below does
 * not execute it again.
 */
static int syslet_retire(struct syslet *s, const struct syslet_uatom *atom,
			 s64 ret)
{
	struct syslet_run *run = &s->run;
	int err;

	run->last = run->pc;
	run->ret = ret;
	run->done = 0;
	run->executed++;
	s->last_flags = atom->flags;
	if (!(atom->flags & SYSLET_STOP_MASK) ||
	    !syslet_stops(atom->flags, ret))
		run->pc = atom->next;
	else if (atom->flags & SYSLET_SKIP_TO_NEXT_ON_STOP)
		run->pc += sizeof(*atom);
	else
		run->pc = 0;

	if (atom->ret_ptr &&
	    put_user(ret, (s64 __user *)u64_to_user_ptr(atom->ret_ptr)))
		return -EFAULT;
	if (atom->flags & SYSLET_EMIT) {
		err = emit_post(s);
		if (err)
			return err;
	}
	return 0;
}

static int syslet_step(struct syslet *s)
{
	struct syslet_uatom *atom = &s->atom;
	int nr_args;
	long ret;
	int err;

	err = read_atom(s->run.pc, atom, &nr_args);
	if (err)
		return err;
	if (atom->flags & ~SYSLET_FLAGS_MASK)
		return -EINVAL;
	err = read_args(atom, nr_args, s->args);
	if (err)
		return err;
	if (atom->flags & SYSLET_EMIT) {
		err = emit_reserve(s);
		if (err)
			return err;
	}
	if (atom->nr == SYSLET_NR_UMEM_ADD) {
		ret = umem_add(s->args[0], s->args[1]);
	} else {
		err = syslet_call(s, atom->nr, atom->flags, s->args, &ret);
		if (err)
			return err;
	}
	return syslet_retire(s, atom, ret);
}

/* Between two atoms: may the program go on, here and now? */
static int syslet_pause(struct syslet *s)
{
	int err;

	if (unlikely(!s->run.budget))
		return 1;
	if (unlikely(syslet_is_watched(s)))
		return -EPERM;
	if (unlikely(signal_pending(current) || task_work_pending(current))) {
		err = syslet_attend(s);
		if (err)
			return err;
	}
	if (s->mode == SYSLET_INLINE && !s->inline_left--)
		return -EAGAIN;
	s->run.budget--;
	cond_resched();
	return 0;
}

/* 0: the program has ended. Otherwise why it has not; see SYSLET_IOC_EXEC. */
static int syslet_execute(struct syslet *s)
{
	int err;

	while (s->run.pc) {
		err = syslet_pause(s);
		if (err)
			return err;
		err = syslet_step(s);
		if (err)
			return err;
	}
	return 0;
}

static int syslet_begin(struct syslet *s, struct syslet_run __user *user)
{
	s->user = user;
	if (copy_from_user(&s->run, user, sizeof(s->run)))
		return -EFAULT;
	if (s->run.flags & ~SYSLET_RUN_MASK || s->run.reserved[0] ||
	    s->run.reserved[1])
		return -EINVAL;
	if (s->run.emit_entries > SYSLET_EMIT_MAX ||
	    (s->run.emit_entries && !is_power_of_2(s->run.emit_entries)))
		return -EINVAL;
	if (!s->run.budget || s->run.budget > SYSLET_BUDGET_MAX)
		s->run.budget = SYSLET_BUDGET_MAX;
	return 0;
}

/* Runs the program and writes down where it stands. */
static int syslet_run(struct syslet *s, struct syslet_run __user *user)
{
	int ret;

	ret = syslet_begin(s, user);
	if (ret)
		return ret;
	ret = syslet_execute(s);
	if (copy_to_user(user, &s->run, offsetof(struct syslet_run, flags)))
		return -EFAULT;
	return ret;
}

static int syslet_exec(struct file *file, struct syslet_run __user *user)
{
	struct syslet s = { .mode = SYSLET_CALLER };
	u32 flags;
	int ret;

	if (get_user(flags, &user->flags))
		return -EFAULT;
	if (flags & SYSLET_RUN_NOWAIT)
		s.mode = SYSLET_NOWAIT;
	/* The program may close the descriptor this ioctl was called on. */
	get_file(file);
	ret = syslet_run(&s, user);
	fput(file);
	return ret;
}

static int syslet_info(struct syslet_info __user *user)
{
	struct syslet_info info = {
		.magic = SYSLET_MAGIC,
		.version = SYSLET_VERSION,
		.budget_max = SYSLET_BUDGET_MAX,
		.inline_max = SYSLET_INLINE_MAX,
	};
	enum syslet_kind kind;
	u32 nr;

	for (nr = 0; nr < SYSLET_CALLS_MAX; nr++) {
		kind = syslet_kind(nr);
		if (kind != SYSLET_REFUSED)
			info.allowed[nr / 64] |= 1ULL << (nr % 64);
		if (kind >= SYSLET_PLAIN && kind != SYSLET_DUP_TO)
			info.attempted[nr / 64] |= 1ULL << (nr % 64);
	}
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static long syslet_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case SYSLET_IOC_INFO:
		return syslet_info((void __user *)arg);
	case SYSLET_IOC_EXEC:
		return syslet_exec(file, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

/* A worker that does not see what its submitter sees must not act for it. */
static bool worker_is_ours(struct io_kiocb *req)
{
	return (current->flags & PF_IO_WORKER) &&
	       current->mm == READ_ONCE(req->task->mm) &&
	       current->files == READ_ONCE(req->task->files) &&
	       current->fs == READ_ONCE(req->task->fs) &&
	       current->nsproxy == READ_ONCE(req->task->nsproxy);
}

static int syslet_command(struct io_uring_cmd *cmd, struct syslet *s)
{
	const struct syslet_cmd *from = cmd->cmd;

	if (cmd->cmd_op != SYSLET_CMD_EXEC || READ_ONCE(from->reserved))
		return -EINVAL;
	/* Rings whose requests are not issued by the task that wrote them. */
	if (s->req->ctx->compat ||
	    s->req->ctx->flags & (IORING_SETUP_SQPOLL | IORING_SETUP_IOPOLL))
		return -EOPNOTSUPP;
	if (s->mode == SYSLET_WORKER && !worker_is_ours(s->req))
		return -EPERM;
	return syslet_run(s, u64_to_user_ptr(READ_ONCE(from->run)));
}

/*
 * Only 0 and -EAGAIN mean to io_uring what they mean here, and a worker has nobody
 * to take another result: the command is completed by hand.
 */
static int syslet_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct syslet s = {
		.req = cmd_to_io_kiocb(cmd),
		.mode = SYSLET_WORKER,
		.inline_left = SYSLET_INLINE_MAX,
	};
	int ret;

	if (!(issue_flags & IO_URING_F_IOWQ))
		s.mode = SYSLET_INLINE;
	ret = syslet_command(cmd, &s);
	if (ret == -EAGAIN && s.mode == SYSLET_INLINE && !s.sync_miss)
		return -EAGAIN;
	if (!ret) {
		if (s.last_flags & SYSLET_NO_COMPLETE) {
			s.req->flags |= REQ_F_CQE_SKIP;
			expect_one_cqe_less(s.req->ctx);
		}
		return 0;
	}
	io_uring_cmd_done(cmd, ret, 0, issue_flags);
	return -EIOCBQUEUED;
}

static const struct file_operations syslet_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.llseek = no_llseek,
	.unlocked_ioctl = syslet_ioctl,
	.uring_cmd = syslet_uring_cmd,
};

static struct miscdevice syslet_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "syslet",
	.fops = &syslet_fops,
	.mode = 0666,
};

static int __init syslet_init(void)
{
	return misc_register(&syslet_device);
}
device_initcall(syslet_init);
