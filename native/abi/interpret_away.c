/* From atom to atom on a thread of the library, with plain calls that may block. See
 * interpret.c, which has come to a miss. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../engine/attempt.h"
#include "interpret.h"

/* All other signals are blocked here: an interruption is a cancellation, perhaps of the
 * syslet that this thread had before, or somebody else sent its signal. */
static int64_t
call_interruptible(struct syslet *syslet, long nr, const uint64_t *args, bool again)
{
    const uint32_t *stop = &syslet->base.cancelled;
    bool interrupted;
    int64_t res;
    do {
        res = guard_call(nr, args, stop);
        interrupted = res == GUARD_NOT_BEGUN || (res == -EINTR && again);
    } while (interrupted && !__atomic_load_n(stop, __ATOMIC_SEQ_CST));
    return res == GUARD_NOT_BEGUN ? -ECANCELED : res;
}

/* A FIFO that was opened without waiting for its writer, once more and waiting; by its
 * descriptor, because the path may mean another file by now. */
static void
reopen(struct syslet *syslet)
{
    struct flight *base = &syslet->base;
    struct fd_slot *slot = flight_fd_find(base, base->wait_fd);
    char path[32];
    uint64_t old = (uint64_t)slot->fd;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", slot->fd);
    const uint64_t args[ARGS_MAX] = {(uint64_t)AT_FDCWD, (uintptr_t)path,
                                     O_RDONLY | O_CLOEXEC};
    int64_t fd = call_interruptible(syslet, __NR_openat, args, true);
    slot->flags &= (uint16_t)~FD_UNPROVEN;
    if (fd < 0) {
        return; /* cancelled, or there is no /proc: the first one will have to do */
    }
    int64_t flags = flight_call(base, __NR_fcntl, old, F_GETFD, 0, 0, 0, 0);
    flight_call(base, __NR_dup3, (uint64_t)fd, old, flags & FD_CLOEXEC ? O_CLOEXEC : 0,
                0, 0, 0);
    flight_call(base, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
    slot->flags &= (uint16_t)~FD_NONBLOCK; /* the new description never had it */
}

/* A signal that the call has sent to its own thread is the submitter's. */
static void
pass_signal_on(const struct syslet *syslet, int number)
{
    const uint64_t one = UINT64_C(1) << (number - 1); /* as the kernel has sets */
    const struct timespec none = {0, 0};
    /* Not the C library's, at which the program could cancel a thread that it gave. */
    if (syscall(SYS_rt_sigtimedwait, &one, NULL, &none, sizeof(one)) == number) {
        syscall(SYS_tgkill, getpid(), syslet->submitter, number);
    }
}

/* A call that lasts as long as it likes. */
static int64_t
call_away(struct syslet *syslet, const struct call *call)
{
    struct flight *base = &syslet->base;
    const struct op *op = call->op;
    uint64_t args[ARGS_MAX];
    memcpy(args, syslet->atom.args, sizeof(args));
    if (call->mask_at != 0) {
        args[call->mask_at] = 0;
    }
    if (base->done != 0) {
        if (op->flags & OP_VECTOR) {
            args[1] = (uintptr_t)syslet->vector; /* as it was when the part was done */
        }
        if (transfer_advance(base, op, args) < 0) {
            return (int64_t)base->done;
        }
    }
    bool again = !(op->flags & OP_CLOSES);
    int64_t res = call_interruptible(syslet, (long)syslet->atom.nr, args, again);
    if (res == -EPIPE) {
        pass_signal_on(syslet, SIGPIPE);
    } else if (res == -EFBIG) {
        pass_signal_on(syslet, SIGXFSZ);
    }
    if (base->done != 0) {
        res = (int64_t)base->done + (res > 0 ? res : 0);
    }
    return res;
}

static int64_t
run_atom(struct abi_thread *thread, struct syslet *syslet)
{
    const struct atom *atom = &syslet->atom;
    if (atom->args_bad) {
        return -EFAULT;
    }
    if (atom->nr == SYSLET_NR_UMEM_ADD) {
        return add(thread, atom);
    }
    const struct call *call = call_find(atom->nr);
    if (call == NULL) {
        return -ENOSYS;
    }
    if (call->refusal != 0) {
        return call->refusal;
    }
    if (atom->nr == __NR_gettid) {
        return syslet->submitter;
    }
    if (call->stays) {
        return -EPERM; /* it would change this thread instead of the submitter */
    }
    return call_away(syslet, call);
}

void
interpret_cancelled(struct abi_thread *thread, struct syslet *syslet)
{
    syslet->base.engine = &thread->engine;
    syslet->end = -ECANCELED;
    settle_at_once(syslet);
    if (syslet->at == 0 || (!syslet->is_fetched && fetch(thread, syslet) < 0)) {
        return; /* it had nothing to do but to open a FIFO again, or it cannot be read */
    }
    conclude(thread, syslet,
             syslet->base.done != 0 ? (int64_t)syslet->base.done : -ECANCELED);
}

void
interpret_away(struct abi_thread *thread, struct syslet *syslet)
{
    struct flight *base = &syslet->base;
    base->engine = &thread->engine;
    if (base->reopens) {
        while (settle(syslet, true) < 0) {
            reopen(syslet);
        }
        if (syslet->at == 0) {
            return; /* the opening was its last atom */
        }
    }
    if (__atomic_load_n(&base->cancelled, __ATOMIC_SEQ_CST)) {
        interpret_cancelled(thread, syslet);
        return;
    }
    for (;;) {
        if (!syslet->is_fetched && fetch(thread, syslet) < 0) {
            syslet->end = -EFAULT;
            return;
        }
        enum step_on on = conclude(thread, syslet, run_atom(thread, syslet));
        if (on == STEP_BROKEN) {
            syslet->end = -EFAULT;
            return;
        }
        if (__atomic_load_n(&base->cancelled, __ATOMIC_SEQ_CST)) {
            syslet->end = -ECANCELED; /* here: this may be the call it waited in */
            return;
        }
        if (on == STEP_END) {
            return;
        }
    }
}
