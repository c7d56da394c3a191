/* From atom to atom: the half that must not block, and the half that may.
 *
 * interpret_here is what async_exec does: copy the atom, try its call, store the result,
 * follow stop condition or `next`; a miss ends it. interpret_away carries on from there
 * on a thread of the library, with plain calls. The program may change its atoms
 * meanwhile: each is copied once when its turn comes, with the values its pointers lead
 * to, and a miss takes the copy along. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../engine/attempt.h"
#include "interpret.h"

/* `syslet` is zeroed memory, or one that has ended without a miss. */
void
syslet_init(struct syslet *syslet, uint64_t atom, enum abi abi)
{
    struct flight *base = &syslet->base;
    base->plan = &syslet->plan;
    base->done = 0;
    base->opened = 0;
    base->fds_count = 0;
    base->reopens = false;
    base->cancelled = 0;
    syslet->plan.steps = &syslet->step;
    syslet->is_fetched = false;
    syslet->abi = abi;
    syslet->first = syslet->at = atom;
    syslet->last = 0;
    syslet->vector = NULL;
    syslet->thread = 0;
    syslet->head = NULL;
    syslet->hub = NULL;
    syslet->end = 0;
}

/* --- atoms -------------------------------------------------------------------------- */

/* Probes, or the layout of fields as wide as a pointer. */
int
fetch_otherwise(struct abi_thread *thread, struct syslet *syslet)
{
    struct atom *atom = &syslet->atom;
    uint64_t words[4];
    bool wide = syslet->abi != ABI_V6;
    int count = wide ? 4 : 3;
    if (memory_load(thread, words, syslet->at, count) < 0) {
        return -EFAULT;
    }
    atom->flags = (uint32_t)words[0];
    atom->nr = wide ? words[1] : words[0] >> 32;
    atom->ret = words[count - 2];
    atom->next = words[count - 1];
    uint64_t args_at = syslet->at + 8 * (uint64_t)count;
    atom->args_bad =
        (thread->probes ? guard_probe_args(&thread->asks, atom->args, args_at)
                        : guard_plain_args(atom->args, args_at)) < 0;
    return 0;
}

/* --- descriptors that an attempt opened --------------------------------------------- */

/* openat was tried with an O_NONBLOCK that the program did not ask for (attempt_file.c).
 * Until it is known that this was no FIFO, nothing else may happen; until it is taken
 * back, nobody else may look. */
int
settle(struct syslet *syslet, bool hand_over)
{
    struct flight *base = &syslet->base;
    if (settle_all_fds(base, hand_over) < 0) {
        return -EAGAIN; /* base->wait_fd has to be opened again, blocking */
    }
    if (hand_over) {
        base->fds_count = 0;
    }
    return 0;
}

/* By an error, or because it was cancelled. */
void
settle_at_once(struct syslet *syslet)
{
    struct flight *base = &syslet->base;
    for (uint32_t i = 0; i < base->fds_count; i++) {
        fd_make_blocking(base, &base->fds[i]);
    }
    base->fds_count = 0;
}

static bool
names_fd(const struct call *call, const uint64_t *args, int fd)
{
    for (int i = 0; i < ARGS_MAX && call->fds >> i != 0; i++) {
        if ((call->fds >> i & 1) && (int)args[i] == fd) {
            return true;
        }
    }
    return call->any_fd;
}

/* The usual case of what follows: one file was opened, and is read or closed. */
static inline bool
is_settled(const struct syslet *syslet, const struct call *call)
{
    const struct flight *base = &syslet->base;
    const struct fd_slot *slot = &base->fds[0];
    bool closes_unproven = (call->op->flags & OP_CLOSES) && (slot->flags & FD_UNPROVEN);
    return base->fds_count == 1 && call->minds && !(syslet->atom.flags & SYSLET_SYNC) &&
           (int)syslet->atom.args[0] == slot->fd && !closes_unproven;
}

static int
settle_before(struct syslet *syslet, const struct call *call, const uint64_t *args)
{
    struct flight *base = &syslet->base;
    const struct op *op = call->op;
    bool minds = (op->flags & OP_KEEPS_FDS) != 0; /* the attempt does it */
    bool closes = (op->flags & OP_CLOSES) != 0;
    if (syslet->atom.flags & SYSLET_SYNC) {
        return settle(syslet, true); /* a plain call, and it may last */
    }
    for (uint32_t i = 0; i < base->fds_count; i++) {
        const struct fd_slot *slot = &base->fds[i];
        bool named = names_fd(call, args, slot->fd);
        bool unproven = (slot->flags & FD_UNPROVEN) != 0;
        if (named && (minds || (closes && !unproven))) {
            continue;
        }
        if (unproven || named) {
            return settle(syslet, !closes);
        }
    }
    return 0;
}

static void
note_opened(struct syslet *syslet, int64_t res)
{
    struct flight *base = &syslet->base;
    uint16_t flags = base->opened;
    base->opened = 0;
    if (res < 0 || !(flags & (FD_UNPROVEN | FD_NONBLOCK))) {
        return;
    }
    base->fds[base->fds_count++] = (struct fd_slot){.fd = (int)res, .flags = flags};
}

/* --- here --------------------------------------------------------------------------- */

/* Without a call in between: a return right after a system call is mispredicted. */
static inline __attribute__((always_inline)) int64_t
call_plain(const struct syslet *syslet)
{
    const uint64_t *a = syslet->atom.args;
    return engine_call(syslet->base.engine, (long)syslet->atom.nr, a[0], a[1], a[2],
                       a[3], a[4], a[5]);
}

/* A call on what is not a file and is O_NONBLOCK does not wait: its -EAGAIN is the
 * result, as it would be without us. */
static int64_t
miss_or_result(struct syslet *syslet, const struct op *op)
{
    struct flight *base = &syslet->base;
    uint64_t fd = syslet->atom.args[0];
    bool has_fd = (op->flags & OP_POLLED) || op->nr == __NR_connect;
    if (!has_fd || fd_is_blocking(base, fd) || fd_is_file(base, (int)fd)) {
        return OP_MISS;
    }
    struct fd_slot *slot = flight_fd_find(base, (int)fd);
    if (slot != NULL) {
        return OP_MISS; /* the O_NONBLOCK is ours: the program opened it blocking */
    }
    return base->done != 0 ? (int64_t)base->done : call_plain(syslet);
}

/* The iovecs as they are now: the attempt looks at them, the program may change them. */
static int
copy_vector(struct abi_thread *thread, struct syslet *syslet, uint64_t args[6])
{
    uint64_t count = args[2];
    if (count == 0 || count > IOVECS_MAX) {
        return 0; /* the kernel says what it thinks of that */
    }
    free(syslet->vector);
    syslet->vector = calloc(count, sizeof(struct iovec));
    if (syslet->vector == NULL) {
        return -ENOMEM;
    }
    if (memory_load(thread, (uint64_t *)syslet->vector, args[1], 2 * (int)count) < 0) {
        return -EFAULT;
    }
    args[1] = (uintptr_t)syslet->vector;
    return 0;
}

static uint64_t
message_bytes(struct abi_thread *thread, uint64_t address)
{
    uint64_t words[4]; /* name, its length, iovecs, how many */
    uint64_t bytes = 0;
    if (memory_load(thread, words, address, 4) < 0) {
        return 0;
    }
    for (uint64_t i = 0; i < words[3] && i < IOVECS_MAX; i++) {
        uint64_t iov[2];
        if (memory_load(thread, iov, words[2] + 16 * i, 2) < 0) {
            return 0;
        }
        bytes += iov[1];
    }
    return bytes;
}

/* A write that was done in part, on a descriptor that waits, is not over. */
static int64_t
whole_or_miss(struct abi_thread *thread, struct syslet *syslet, const struct op *op,
              const uint64_t *args, int64_t res)
{
    if (res <= 0 || !(op->flags & OP_WRITES) || (op->flags & OP_COUNTED)) {
        return res; /* sendfile is only tried where it does not wait */
    }
    uint64_t size = op->flags & OP_TRANSFER ? args[2]
                    : op->flags & OP_VECTOR ? vector_bytes(args)
                                            : message_bytes(thread, args[1]);
    uint64_t asked = op->flags & OP_TRANSFER ? args[3] : args[2];
    bool asked_not_to = (op->flags & OP_SOCKET) && (asked & MSG_DONTWAIT);
    if ((uint64_t)res >= size || asked_not_to ||
        !fd_is_blocking(&syslet->base, args[0])) {
        return res;
    }
    syslet->base.done = (uint64_t)res;
    return OP_MISS;
}

/* Of a call whose arguments must be arranged first. */
static __attribute__((noinline)) int64_t
attempt_arranged(struct abi_thread *thread, struct syslet *syslet,
                 const struct call *call)
{
    const struct op *op = call->op;
    uint64_t args[ARGS_MAX];
    syslet->step.op = op;
    syslet->step.nr = (uint32_t)syslet->atom.nr;
    memcpy(args, syslet->atom.args, sizeof(args));
    if (call->shape & SHAPE_AT) {
        memmove(args + 1, args, 5 * sizeof(args[0]));
        args[0] = (uint64_t)AT_FDCWD;
    }
    if (call->shape & SHAPE_THREE) {
        args[3] = 0;
    }
    int64_t res = op->flags & OP_VECTOR ? copy_vector(thread, syslet, args) : 0;
    if (res < 0) {
        return res;
    }
    res = call->attempt(&syslet->base, args);
    return res == OP_MISS ? res : whole_or_miss(thread, syslet, op, args, res);
}

static inline __attribute__((always_inline)) int64_t
attempt(struct abi_thread *thread, struct syslet *syslet, const struct call *call)
{
    const struct op *op = call->op;
    syslet->base.end_fd = -1; /* what the last atom found out about it is not used */
    if (call->arranged) {
        return attempt_arranged(thread, syslet, call);
    }
    const uint64_t *args = syslet->atom.args;
    int64_t res = call->attempt(&syslet->base, args);
    if (res != OP_MISS && (op->flags & OP_WRITES)) {
        res = whole_or_miss(thread, syslet, op, args, res);
    }
    return res;
}

/* The result of a system call, or OP_MISS. */
static inline __attribute__((always_inline)) int64_t
try_call(struct abi_thread *thread, struct syslet *syslet)
{
    const struct atom *atom = &syslet->atom;
    const struct call *call = call_find(atom->nr);
    if (call == NULL) {
        return -ENOSYS;
    }
    if (call->refusal != 0) {
        return call->refusal;
    }
    const struct op *op = call->op;
    if (syslet->base.fds_count != 0 && !is_settled(syslet, call) &&
        settle_before(syslet, call, atom->args) < 0) {
        syslet->base.reopens = true;
        return OP_MISS;
    }
    if ((atom->flags & SYSLET_SYNC) || call->stays) {
        return call_plain(syslet);
    }
    if (atom->flags & SYSLET_ASYNC) {
        return OP_MISS;
    }
    if (call->attempt == attempt_plain) {
        return call_plain(syslet);
    }
    int64_t res = call->attempt != NULL ? attempt(thread, syslet, call) : OP_MISS;
    return res == OP_MISS ? miss_or_result(syslet, op) : res;
}

/* false: it is a miss. */
static inline __attribute__((always_inline)) bool
try_atom(struct abi_thread *thread, struct syslet *syslet, int64_t *res)
{
    const struct atom *atom = &syslet->atom;
    if (__builtin_expect(atom->args_bad, 0)) {
        *res = -EFAULT;
        return true;
    }
    if (atom->nr != SYSLET_NR_UMEM_ADD) {
        *res = try_call(thread, syslet);
        return *res != OP_MISS;
    }
    if (syslet->base.fds_count != 0 && settle(syslet, false) < 0) {
        syslet->base.reopens = true;
        return false;
    }
    if ((atom->flags & (SYSLET_ASYNC | SYSLET_SYNC)) == SYSLET_ASYNC) {
        return false;
    }
    *res = add(thread, atom);
    return true;
}

static void
note_fds(struct syslet *syslet, int64_t res)
{
    struct flight *base = &syslet->base;
    if (base->opened != 0) {
        note_opened(syslet, res);
    }
    if (base->fds_count != 0 && syslet->atom.nr == __NR_close && res != -EBADF) {
        int fd = (int)syslet->atom.args[0];
        if (base->fds_count == 1 && base->fds[0].fd == fd) {
            base->fds_count = 0;
        } else {
            flight_fd_forget(base, fd);
        }
    }
}

/* Nothing of ours may be left on what it opened: a miss that has no atom, if it must
 * wait for a FIFO's writer. */
static enum outcome
end_here(struct syslet *syslet)
{
    syslet->at = 0;
    if (syslet->base.fds_count != 0 && settle(syslet, true) < 0) {
        syslet->base.reopens = true;
        return OUTCOME_MISSED;
    }
    return OUTCOME_ENDED;
}

static enum outcome
miss(struct syslet *syslet)
{
    struct flight *base = &syslet->base;
    if (base->fds_count != 0 && settle(syslet, true) < 0) {
        base->reopens = true;
    }
    return OUTCOME_MISSED;
}

enum outcome
interpret_here(struct abi_thread *thread, struct syslet *syslet)
{
    syslet->base.engine = &thread->engine;
    for (uint32_t atoms = 1;; atoms++) {
        if (fetch(thread, syslet) < 0) {
            settle_at_once(syslet);
            return OUTCOME_BROKEN;
        }
        int64_t res;
        if (!try_atom(thread, syslet, &res)) {
            return miss(syslet);
        }
        note_fds(syslet, res);
        enum step_on on = conclude(thread, syslet, res);
        if (on == STEP_BROKEN) {
            settle_at_once(syslet);
            return OUTCOME_BROKEN;
        }
        if (on == STEP_END) {
            return end_here(syslet);
        }
        bool goes = atoms >= HERE_ATOMS_MAX && !(syslet->last_flags & SYSLET_SYNC);
        if (goes) { /* an endless loop does not hold the caller for ever */
            return miss(syslet);
        }
        if (syslet->base.fds_count == FDS_OWNED_MAX && settle(syslet, true) < 0) {
            syslet->base.reopens = true;
            return OUTCOME_MISSED;
        }
    }
}
