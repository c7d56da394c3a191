/* The interpreter: takes a flight from atom to atom.
 *
 * flight_run is the opportunistic half, on the engine's thread: attempt, settle, go on;
 * a miss departs to the ring, to a readiness wait or to a worker. flight_run_blocking
 * is the other half, on a worker: plain calls until the end or until an atom that must
 * run at home. Both leave through settle, the one place that knows what a result does
 * to cells, fds and the way on. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "attempt.h"
#include "engine_private.h"

/* --- results ------------------------------------------------------------------------ */

static int64_t
own_result(struct flight *flight, const struct op *op, const uint64_t *args,
           int64_t res)
{
    uint16_t flags = flight->opened;
    flight->opened = 0;
    bool duplicates =
        op->result == 'D' && ((uint32_t)args[1] == F_DUPFD || /* the kernel's width */
                              (uint32_t)args[1] == F_DUPFD_CLOEXEC);
    if ((op->result == 'f' || duplicates) && res >= 0) {
        int kept = flight_fd_own(flight, (int)res, flags, 0);
        return kept < 0 ? kept : res;
    }
    if (op->result == 'P' && res == 0) {
        int pair[2];
        const char *at = strchr(op->args, 'T');
        if (memory_read(flight, pair, args[at - op->args], sizeof(pair)) < 0) {
            return res;
        }
        int first = flight_fd_own(flight, pair[0], 0, 0);
        int second = flight_fd_own(flight, pair[1], 0, 0);
        return first < 0 ? first : second < 0 ? second : res;
    }
    /* Linux has closed it whatever else went wrong, EINTR included (close(2)). */
    if ((op->flags & OP_CLOSES) && res != -EBADF) {
        flight_fd_forget(flight, (int)args[0]);
    }
    return res;
}

static inline uint8_t
sign_of(int64_t res)
{
    return res < 0 ? SIGN_NEGATIVE : res == 0 ? SIGN_ZERO : SIGN_POSITIVE;
}

/* Stores the result and moves on. false: the syslet ends here. */
static inline bool
settle(struct flight *flight, const struct step *step, int64_t res)
{
    uint16_t at = flight->at;
    flight->ran[at / 64] |= UINT64_C(1) << (at % 64);
    flight->atoms += 1;
    flight->result = res;
    flight->last = at;
    if (__builtin_expect(flight->engine->trace != NULL, 0)) {
        trace_settled(flight, at, res);
    }
    if (step->ret != 0) {
        flight->cells[step->ret] = (uint64_t)res;
    }
    if (step->stop & sign_of(res)) {
        flight->at = (uint16_t)(at + 1); /* verified to exist */
        return (step->flags & SYSLET_SKIP_TO_NEXT_ON_STOP) != 0;
    }
    flight->at = (uint16_t)(step->next - 1);
    return step->next != 0;
}

/* A result of a transfer may be a part. false: the rest has still to be done. */
static bool
transfer_is_done(struct flight *flight, const struct op *op, const uint64_t *args,
                 int64_t *res)
{
    if (*res < 0) {
        *res = flight->done != 0 ? (int64_t)flight->done : *res;
        return true;
    }
    uint64_t rest = (op->flags & OP_WRITES) ? transfer_size(flight, op, args) : 0;
    flight->done += (uint64_t)*res;
    bool more = (op->flags & OP_WRITES) && *res > 0 && (uint64_t)*res < rest;
    *res = (int64_t)flight->done;
    return !more;
}

/* From the kernel's answer to the next atom. false: the syslet ended. */
static bool
conclude(struct flight *flight, const struct step *step, const uint64_t *args,
         int64_t res)
{
    const struct op *op = step->op;
    flight->retries = false;
    flight->skip_attempt = false;
    flight->ring_refused = false;
    flight->stays_home = false;
    if (op->flags & OP_PARTS) {
        if (!transfer_is_done(flight, op, args, &res)) {
            return true; /* the same atom once more, behind what is done */
        }
        flight->done = 0;
    }
    if (flight->opened != 0 || (op->flags & OP_OWNS)) {
        res = own_result(flight, op, args, res);
    }
    return settle(flight, step, res);
}

void
flight_replay(struct flight *flight, int64_t res, bool stored)
{
    const struct step *step = flight_step(flight);
    struct engine *engine = flight->engine;
    uint64_t args[6], now = flight->cells[step->ret];
    flight_gather(flight, step, args);
    if (flight->done != 0 &&
        res >= 0) { /* the kernel counts what it was told as well */
        res -= (int64_t)flight->done;
        transfer_advance(flight, step->op, args);
    }
    engine->turn_atoms += 1;
    engine->turn_bytes += (step->op->flags & OP_PARTS) && res > 0 ? (uint64_t)res : 0;
    flight->ends = !conclude(flight, step, args, res == OP_MISS ? OP_MISS + 1 : res);
    if (stored) { /* and perhaps changed since */
        flight->cells[step->ret] = now;
    }
}

/* --- on the engine's thread --------------------------------------------------------- */

/* Without the detour through the row: a return right after a system call is
 * mispredicted, each one costs what a cheap atom can feel. */
static inline int64_t
call_plain(const struct flight *flight, const struct step *step, const uint64_t *args)
{
    return flight_call(flight, step->nr, args[0], args[1], args[2], args[3], args[4],
                       args[5]);
}

/* SYNC: the announcement's "do not make it asynchronous": block, without the lock. */
static int64_t
call_sync(struct flight *flight, const uint64_t *args)
{
    engine_lock_release(flight->engine);
    int64_t res = attempt_plain(flight, args);
    engine_lock_acquire(flight->engine);
    bool again = res == -EINTR && !(flight_step(flight)->op->flags & OP_CLOSES);
    return again ? OP_MISS : res; /* the host's signal handlers come first */
}

/* ASYNC leaves out the attempt, which would have said that a pipe or a socket has no
 * places; the ring takes what comes next from it. A vector of nothing asks as well. */
static int64_t
miss_unattempted(const struct flight *flight, const struct op *op, const uint64_t *args)
{
    if (op->ready == 0 || op->args[3] != 'o' || flight->done != 0) {
        return OP_MISS;
    }
    if ((int64_t)args[3] < 0) {
        return -EINVAL;
    }
    int64_t res = flight_call(flight, __NR_preadv, args[0], 0, 0, 0, 0, 0);
    return res == -ESPIPE ? res : OP_MISS;
}

static int64_t
try_atom(struct flight *flight, const struct step *step, uint64_t args[6])
{
    const struct op *op = step->op;
    if (flight->done != 0) {
        int res = transfer_advance(flight, op, args);
        if (res < 0) {
            return res;
        }
    } else if (!flight_is_within_bounds(flight, step, args)) {
        return -EFAULT;
    }
    if (step->settles && flight->fds_count != 0 && settle_fds(flight, step, args) < 0) {
        return OP_MISS;
    }
    if (op->flags & OP_INLINE_ONLY) {
        return call_plain(flight, step, args);
    }
    if (step->flags & SYSLET_SYNC) {
        return call_sync(flight, args);
    }
    if (op->attempt == NULL || flight->skip_attempt) {
        return OP_MISS;
    }
    if ((step->flags & SYSLET_ASYNC) && !flight->retries) {
        return miss_unattempted(flight, op, args);
    }
    if (op->attempt == attempt_plain) {
        return call_plain(flight, step, args);
    }
    return op->attempt(flight, args);
}

/* The attempt did a part before it missed: what departs is the rest. */
static int64_t
aim_at_rest(struct flight *flight, const struct step *step, uint64_t args[6])
{
    flight_gather(flight, step, args);
    int res = transfer_advance(flight, step->op, args);
    return res < 0 ? res : OP_MISS;
}

/* Whoever receives an fd must not find our O_NONBLOCK on it, nor a FIFO that should
 * still be waiting for its writer. true: it may land. */
static bool
may_land(struct flight *flight)
{
    if (flight->fds_count == 0 || flight->state != FLYING) {
        return true;
    }
    if (settle_all_fds(flight, false) == 0) {
        return true;
    }
    depart_to_reopen(flight);
    return false;
}

static int
land(struct flight *flight)
{
    if (!may_land(flight)) {
        return FLIGHT_AWAY;
    }
    flight_land(flight);
    return FLIGHT_LANDED;
}

/* How many atoms a run of the kernel may execute. */
static uint32_t
most_atoms(const struct engine *engine, uint32_t atoms)
{
    uint32_t flight = FLIGHT_ATOMS_MAX - atoms;
    uint32_t turn = TURN_ATOMS_MAX - engine->turn_atoms;
    return flight < turn ? flight : turn;
}

int
flight_run(struct flight *flight)
{
    struct engine *engine = flight->engine;
    uint64_t bytes_before = engine->turn_bytes;
    flight->place = PLACE_HERE;
    flight->end_fd = -1; /* others may have written since */
    if (__builtin_expect(engine->trace != NULL, 0)) {
        trace_began(flight);
    }
    for (uint32_t atoms = 0;; atoms++) {
        if (flight->state != FLYING || flight->ends) {
            return land(flight);
        }
        if (flight->pauses) {
            flight->pauses = false;
            flight->place = PLACE_PAUSED;
            return FLIGHT_AWAY;
        }
        if (atoms >= FLIGHT_ATOMS_MAX || engine_budget_spent(engine) ||
            engine->turn_bytes - bytes_before >= FLIGHT_BYTES_MAX) {
            engine->stats.budget_cuts += 1;
            engine_ready(engine, flight);
            return FLIGHT_AWAY;
        }
        if (flight->handed != NULL && kernel_may_run(flight)) {
            uint32_t executed = kernel_run(flight, most_atoms(engine, atoms));
            if (executed != 0) {
                atoms += executed - 1;
                continue;
            }
        }
        const struct step *step = flight_step(flight);
        uint64_t args[6];
        flight_gather(flight, step, args);
        engine->turn_atoms += 1;
        int64_t res = try_atom(flight, step, args);
        if (res == OP_MISS && flight->done != 0) {
            res = aim_at_rest(flight, step, args);
        }
        if (res == OP_MISS) {
            depart(flight, step, args);
            return FLIGHT_AWAY;
        }
        engine->stats.inlined += 1;
        flight->ends = !conclude(flight, step, args, res);
    }
}

/* The kernel's answer to a request of this flight. */
void
engine_completed(struct flight *flight, int64_t res)
{
    const struct step *step = flight_step(flight);
    bool awaited = flight->awaits_fd;
    flight->awaits_fd = false;
    if (flight->commanded) {
        kernel_completed(flight, res);
    } else if (awaited) {
        bool late = flight->limited && (res == -ECANCELED || res == -ETIME);
        if (late && flight->state == FLYING) {
            flight->stays_home = false;
            flight->ends = !settle(flight, step, 0); /* poll's answer: none is ready */
        }
        /* Readiness of an fd that only had to be settled says nothing of this atom. */
        flight->retries = !late && !flight->settles;
        flight->settles = false;
    } else if (res == -EINTR || res == -EAGAIN || res == -EINVAL ||
               res == -EOPNOTSUPP || (res == -ECANCELED && flight->state == FLYING)) {
        /* No answer of the system call itself, or one the plain call may judge
         * differently: a worker asks again. */
        flight->skip_attempt = true;
        flight->ring_refused = true;
    } else {
        uint64_t args[6];
        flight_gather(flight, step, args);
        if (flight->done != 0 && transfer_advance(flight, step->op, args) < 0) {
            res = -EFAULT;
        }
        bool ran_out = res == -ETIME && step->op->opcode == RING_TIMEOUT;
        res = ran_out ? 0 : res; /* a timeout that ran to its end */
        flight->opened = step->op->result == 'f' && res >= 0 ? FD_POSITION : 0;
        flight->ends = !conclude(flight, step, args, res);
    }
    engine_ready(flight->engine, flight);
}

/* --- on a worker -------------------------------------------------------------------- */

/* Once more through the front door: a FIFO that was opened without waiting. Opened by
 * its fd, because the path may mean another file by now. */
static void
reopen(struct flight *flight)
{
    struct fd_slot *slot = flight_fd_find(flight, flight->wait_fd);
    uint64_t old = (uint64_t)slot->fd;
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", slot->fd);
    flight->reopens = false;
    slot->flags &= (uint16_t)~FD_UNPROVEN;
    int64_t fd;
    do {
        fd = flight_call(flight, __NR_openat, (uint64_t)AT_FDCWD, (uintptr_t)path,
                         O_RDONLY | O_CLOEXEC, 0, 0, 0);
    } while (fd == -EINTR && !__atomic_load_n(&flight->cancelled, __ATOMIC_SEQ_CST));
    if (fd < 0) {
        fd_make_blocking(flight, slot);
        return; /* cancelled, or there is no /proc: the first fd will have to do */
    }
    int64_t flags = flight_call(flight, __NR_fcntl, old, F_GETFD, 0, 0, 0, 0);
    flight_call(flight, __NR_dup3, (uint64_t)fd, old,
                flags & FD_CLOEXEC ? O_CLOEXEC : 0, 0, 0, 0);
    flight_call(flight, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
    slot->flags &= (uint16_t)~FD_NONBLOCK; /* the new description never had it */
}

/* What a worker must not run: an atom that may wait for a peer without bound, one that
 * belongs to the submitting thread, a report to the host. */
static bool
belongs_home(struct flight *flight, const struct step *step, const uint64_t *args)
{
    const struct op *op = step->op;
    if (step->nr == PSEUDO_EMIT || (op->flags & (OP_INLINE_ONLY | OP_WAITS)) ||
        (step->flags & SYSLET_SYNC)) {
        return true;
    }
    if (op->ready == 0) {
        return false;
    }
    /* Reads of files that miss overlap in the ring; on workers each takes a thread. */
    bool overlaps = op->prepare != NULL && !(op->flags & OP_WRITES) &&
                    flight->engine->backend == &backend_uring;
    return overlaps || !fd_is_file(flight, (int)args[0]);
}

static int64_t
call_blocking(struct flight *flight, const struct step *step, uint64_t args[6])
{
    if (flight->done != 0) {
        int res = transfer_advance(flight, step->op, args);
        if (res < 0) {
            return res;
        }
    } else if (!flight_is_within_bounds(flight, step, args)) {
        return -EFAULT;
    }
    if (step->op->flags & OP_PSEUDO) {
        return step->op->attempt(flight, args);
    }
    uint8_t mask = op_mask_argument(step->nr);
    if (mask != 0) {
        args[mask] = 0;
    }
    return attempt_plain(flight, args);
}

void
flight_run_blocking(struct flight *flight)
{
    if (flight->reopens) {
        reopen(flight);
        return;
    }
    bool first = true;
    for (uint32_t atoms = 0; atoms < WORKER_ATOMS_MAX; atoms++) {
        const struct step *step = flight_step(flight);
        uint64_t args[6];
        flight_gather(flight, step, args);
        if (__atomic_load_n(&flight->cancelled, __ATOMIC_SEQ_CST)) {
            return;
        }
        if (!first && belongs_home(flight, step, args)) {
            return;
        }
        first = false;
        int64_t res = call_blocking(flight, step, args);
        if (res == -EINTR && !(step->op->flags & (OP_PSEUDO | OP_CLOSES))) {
            first = true; /* cancelled, or another interruption: the same atom */
            continue;
        }
        int64_t not_yet = step->nr == __NR_connect ? -EINPROGRESS : -EAGAIN;
        if (res == not_yet && step->op->ready != 0 &&
            !fd_is_blocking(flight, args[0])) {
            flight->goes_home = true; /* an O_NONBLOCK fd: wait for it at home */
            flight->skip_attempt = true;
            return;
        }
        if (!conclude(flight, step, args, res)) {
            flight->ends = true;
            return;
        }
    }
}
