/* Where a miss goes: the ring, a readiness wait, or a worker.
 *
 * Also what has to be true of the fds a flight opened before the kernel, a worker or
 * the host may see them: an O_NONBLOCK of our own making is taken back, a FIFO without
 * a writer is waited for. Called by run.c only, on the engine's thread. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>

#include "attempt.h"
#include "engine_private.h"

/* --- fds the flight opened ---------------------------------------------------------- */

/* The kernel may see, move or pass on these fds: prove what is unproven, forget what
 * is known of their position. -EAGAIN: wait_fd has to become readable first. */
static int
settle_fd(struct flight *flight, struct fd_slot *slot, bool hand_over)
{
    if (fd_prove(flight, slot) == -EAGAIN) {
        flight->wait_fd = slot->fd;
        flight->wait_mask = POLLIN;
        return -EAGAIN;
    }
    if (hand_over) {
        fd_make_blocking(flight, slot);
        slot->flags &= (uint16_t)~FD_POSITION;
    }
    return 0;
}

int
settle_fds(struct flight *flight, const struct step *step, const uint64_t *args)
{
    bool hand_over = (step->op->flags & OP_CLOSES) == 0;
    for (uint32_t i = 0; i < flight->fds_count; i++) {
        struct fd_slot *slot = &flight->fds[i];
        bool named = step->any_fd;
        for (int k = 0; k < step->argc && !named; k++) {
            named = (step->fds >> k & 1) && (int)args[k] == slot->fd;
        }
        if (named && settle_fd(flight, slot, hand_over) < 0) {
            return -EAGAIN;
        }
    }
    return 0;
}

int
settle_all_fds(struct flight *flight, bool hand_over)
{
    for (uint32_t i = 0; i < flight->fds_count; i++) {
        if (settle_fd(flight, &flight->fds[i], hand_over) < 0) {
            return -EAGAIN;
        }
    }
    return 0;
}

/* --- misses ------------------------------------------------------------------------- */

bool
fd_is_blocking(struct flight *flight, uint64_t fd)
{
    int64_t flags = flight_call(flight, __NR_fcntl, fd, F_GETFL, 0, 0, 0, 0);
    return flags >= 0 && (flags & O_NONBLOCK) == 0;
}

/* May the atom wait for readiness and be attempted again? Not when the last readiness
 * did not help and a plain call is allowed to wait. */
static bool
is_polled(struct flight *flight, const struct step *step, const uint64_t *args)
{
    const struct op *op = step->op;
    if (op->ready == 0 || ((op->flags & OP_POLLED) == 0 && !flight->goes_home)) {
        return false;
    }
    if (fd_is_file(flight, (int)args[0])) {
        return false;
    }
    return !(flight->retries && fd_is_blocking(flight, args[0]));
}

/* No room in the ring now: the same again in the next turn. */
static bool
requeue_if_starved(struct flight *flight)
{
    if (!flight->starved) {
        return false;
    }
    flight->starved = false;
    flight->skip_attempt = true;
    engine_ready(flight->engine, flight);
    return true;
}

static bool
depart_to_wait(struct flight *flight)
{
    flight->skip_attempt = false;
    flight->goes_home = false;
    flight->awaits_fd = true;
    if (flight->engine->backend->await_fd(flight)) {
        flight->place = PLACE_RING;
        flight->engine->stats.to_ring += 1;
        stats_missed(flight);
        flight->path = flight->path < PATH_RING ? PATH_RING : flight->path;
        return true;
    }
    flight->awaits_fd = false;
    return requeue_if_starved(flight);
}

/* A job that may wait for somebody else must not take the last worker: that other one
 * may need a worker to come. */
static bool
may_stay(const struct flight *flight)
{
    const struct step *step = flight_step(flight);
    return flight->reopens || flight->lacks_peer || step->op == &op_any ||
           (step->op->flags & OP_WAITS) != 0;
}

void
depart_to_worker(struct flight *flight)
{
    flight->may_stay = may_stay(flight);
    flight->lacks_peer = false;
    flight->skip_attempt = false;
    flight->retries = false;
    flight->place = PLACE_WORKER;
    flight->path = flight->went = PATH_WORKER;
    flight->engine->stats.to_worker += 1;
    stats_missed(flight);
    workers_submit(flight);
}

void
depart_to_reopen(struct flight *flight)
{
    flight->reopens = true;
    depart_to_worker(flight);
}

/* Reading from the FIFO itself may wait for data, which comes with a writer. Whatever
 * else the flight wants to do, it may only wait for the writer: opening does that. */
static void
depart_to_settle(struct flight *flight, const struct step *step, const uint64_t *args)
{
    bool reads = step->op->ready == POLLIN && (int)args[0] == flight->wait_fd;
    flight->settles = true;
    if (reads && depart_to_wait(flight)) {
        return;
    }
    flight->settles = false;
    depart_to_reopen(flight);
}

/* poll(2) on one fd is a readiness wait, with a time limit if the backend has one. */
static bool
poll_is_one_fd(struct flight *flight, const struct step *step, const uint64_t *args)
{
    struct pollfd one;
    if (step->nr != __NR_ppoll || args[1] != 1 || args[3] != 0 || flight->retries ||
        memory_read(flight, &one, args[0], sizeof(one)) < 0) {
        return false;
    }
    flight->limited = args[2] != 0;
    if (flight->limited && memory_read(flight, flight->times, args[2], 16) < 0) {
        return false;
    }
    const int64_t *time = flight->times;
    bool valid = time[0] >= 0 && time[1] >= 0 && time[1] < 1000000000;
    if (flight->limited && !valid) {
        return false; /* the plain call says what is wrong with it */
    }
    flight->wait_fd = one.fd;
    flight->wait_mask = one.events;
    return true;
}

/* Memory is registered for O_DIRECT. Then the kernel has no copy to make, and writes
 * overlap in the ring (docs/rationale.md). */
static bool
writes_directly(const struct flight *flight, const struct op *op, const uint64_t *args)
{
    return op->opcode == RING_WRITE && op->args[3] == 'o' &&
           fixed_find(flight->engine, args[1], args[2]) >= 0;
}

static bool
wants_worker(struct flight *flight, const struct step *step, const uint64_t *args)
{
    const struct op *op = step->op;
    if (flight->ring_refused || op->prepare == NULL) {
        return true;
    }
    /* Writing to a file and whatever follows it is a worker's: the ring would hand
     * each atom to a kernel thread of its own. */
    return (op->flags & OP_WRITES) && op->ready == POLLOUT &&
           !(op->flags & OP_SOCKET) && !writes_directly(flight, op, args) &&
           fd_is_file(flight, (int)args[0]);
}

/* The flight leaves this thread; it is back when the kernel, the fd or the worker is
 * done. */
void
depart(struct flight *flight, const struct step *step, const uint64_t *args)
{
    struct engine *engine = flight->engine;
    flight->limited = false;
    flight->went = PATH_RING; /* or further, see depart_to_worker */
    if (settle_all_fds(flight, true) < 0) {
        depart_to_settle(flight, step, args);
        return;
    }
    if (kernel_depart(flight, step, args) || requeue_if_starved(flight)) {
        return;
    }
    if (!flight->goes_home && !wants_worker(flight, step, args) &&
        engine->backend->request(flight, args)) {
        flight->skip_attempt = false;
        flight->place = PLACE_RING;
        engine->stats.to_ring += 1;
        stats_missed(flight);
        flight->path = flight->path < PATH_RING ? PATH_RING : flight->path;
        return;
    }
    if (requeue_if_starved(flight)) {
        return;
    }
    if (poll_is_one_fd(flight, step, args) && depart_to_wait(flight)) {
        return;
    }
    if (is_polled(flight, step, args)) {
        flight->limited = false;
        flight->wait_fd = (int)args[0];
        flight->wait_mask = step->op->ready;
        if (depart_to_wait(flight)) {
            return;
        }
    }
    flight->goes_home = false;
    depart_to_worker(flight);
}
