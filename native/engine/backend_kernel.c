/* Flights in a kernel that executes syslets: runs, what came of them, departures.
 *
 * An engine with a device is the engine of the ring with one more way: from an atom on
 * for which it is worth it, the kernel executes the flight's program in this thread as
 * far as nothing has to wait (an ioctl), and what misses on a file goes on in a worker
 * of the kernel (a command in the ring). The kernel notes each result; the engine replays
 * the notes through the interpreter's own settling, so a flight's cells, descriptors and
 * state are those of a flight that it had run itself. Where the kernel stops, refuses or
 * gives an answer that is none, the interpreter goes on. Called by run.c and depart.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "attempt.h"
#include "engine_private.h"
#include "handed.h"

/* --- what came of a run ------------------------------------------------------------------ */

/* An error that the engine answers with a wait and another try, not with a result. */
static bool
is_no_answer(const struct handed_step *step, int64_t res)
{
    return step->judged && (res == -EAGAIN || res == -EINTR);
}

/* The kernel's attempt on a socket is the engine's: no second one, unless the program
 * wants to know itself. */
static void
stay_home_after_miss(struct flight *flight)
{
    const struct step *step = flight_step(flight);
    uint64_t args[6];
    flight_gather(flight, step, args);
    bool asked = (step->op->flags & OP_TRANSFER) && (args[3] & MSG_DONTWAIT);
    flight->stays_home = true;
    flight->skip_attempt = (step->op->flags & OP_SOCKET) && !asked;
}

/* Takes the notes out and settles them, in order. How many atoms were executed. A
 * program that writes into the notes spoils its own flight: what does not fit the way it
 * goes is left out. */
static uint32_t
replay(struct flight *flight)
{
    const struct handed_plan *plan = flight->plan->handed;
    struct handed *handed = flight->handed;
    uint32_t count = 0;
    bool fits = true;
    for (uint32_t i = 0; i < plan->notes_count && handed->notes[i].atom != 0; i++) {
        struct device_note note = handed->notes[i];
        handed->notes[i].atom = 0;
        fits = fits && !flight->ends && !flight->stays_home &&
               handed_index(flight, note.atom) == flight->at;
        if (!fits) {
            continue;
        }
        const struct handed_step *step = &plan->steps[flight->at];
        if (is_no_answer(step, note.result)) {
            stay_home_after_miss(flight);
            continue;
        }
        flight_replay(flight, note.result, step->direct);
        count += 1;
    }
    return count;
}

/* What the kernel had moved of the atom it stopped at. */
static void
take_up(struct flight *flight, uint64_t done)
{
    const struct step *step = flight_step(flight);
    uint64_t args[6];
    flight_gather(flight, step, args);
    if ((step->op->flags & OP_TRANSFER) && done <= args[2]) {
        flight->done = done;
    }
}

/* How many atoms were executed. If the kernel stopped for another reason than that it
 * had run enough, the engine executes the next one. */
static uint32_t
finish(struct flight *flight, int64_t res)
{
    struct engine *engine = flight->engine;
    struct handed *handed = flight->handed;
    uint32_t count = replay(flight);
    engine->stats.in_kernel += count;
    bool cut = res == 0 || res == DEVICE_CUT || res == -ENOBUFS;
    flight->stays_home = flight->stays_home || !cut || count == 0;
    if (handed->run.done != 0 && !flight->ends) {
        take_up(flight, handed->run.done);
    }
    return count;
}

/* --- in this thread ---------------------------------------------------------------------- */

bool
kernel_may_run(const struct flight *flight)
{
    return !flight->stays_home && !flight->skip_attempt && !flight->retries &&
           !flight->ring_refused && flight->done == 0 && !flight->engine->device.off &&
           flight->plan->handed->steps[flight->at].enters;
}

static void
begin(struct flight *flight, uint32_t budget, uint32_t flags)
{
    const struct handed_plan *plan = flight->plan->handed;
    struct handed *handed = flight->handed;
    handed->run = (struct device_run){
        .pc = (uintptr_t)&handed->atoms[plan->steps[flight->at].block],
        .done = flight->done,
        .budget = budget,
        .flags = flags,
        .notes_count = plan->notes_count,
        .notes = (uintptr_t)handed->notes,
    };
}

/* How many atoms a run may execute: as many as the flight may now, may own descriptors
 * of, and moves no more than it may at a stretch. 0: none. */
static uint32_t
budget_of(const struct flight *flight, uint32_t most, uint64_t largest)
{
    const struct handed_plan *plan = flight->plan->handed;
    uint32_t left = FDS_OWNED_MAX - flight->fds_count;
    if (plan->makes_fds && left < most) {
        most = left;
    }
    uint64_t moves = largest != 0 ? FLIGHT_BYTES_MAX / largest + 1 : most;
    return plan->cycles && moves < most ? (uint32_t)moves : most;
}

/* A run that was not even begun is the kernel's refusal; twice in a row, and it is not
 * asked again: somebody has installed a filter, or closed the descriptor. */
static void
note_refusal(struct engine *engine, uint32_t count, int64_t res)
{
    bool refused = count == 0 && res < 0 && res != -EAGAIN && res != -EINTR &&
                   res != -ENOSYS && res != -ENOBUFS;
    engine->device.refusals = refused ? engine->device.refusals + 1 : 0;
    engine->device.off = engine->device.refusals >= DEVICE_REFUSALS_MAX;
}

/* The attempt is the kernel's; where it makes none, the engine's own comes first. */
static void
skip_attempt_made(struct flight *flight)
{
    const struct step *step = flight_step(flight);
    bool attempted = device_has(flight->engine->device.attempted, step->nr);
    bool blocks = (step->op->flags & (OP_PSEUDO | OP_NEVER_BLOCKS)) == 0;
    bool same = step->op->ready == 0 || (step->op->flags & OP_SOCKET) != 0;
    flight->skip_attempt = attempted && blocks && same;
}

uint32_t
kernel_run(struct flight *flight, uint32_t most)
{
    struct engine *engine = flight->engine;
    if (settle_all_fds(flight, true) < 0) {
        flight->stays_home = true;
        return 0;
    }
    uint64_t largest = handed_aim(flight, false);
    uint32_t budget = budget_of(flight, most, largest);
    if (budget == 0 || !handed_is_aimed(flight)) {
        flight->stays_home = true;
        return 0;
    }
    begin(flight, budget, DEVICE_NOWAIT);
    bool large = largest > LOCKED_BYTES_MAX;
    if (large) {
        engine_lock_release(engine);
    }
    int64_t res =
        flight_call(flight, __NR_ioctl, (uint64_t)engine->device.fd, DEVICE_IOC_EXEC,
                    (uintptr_t)&flight->handed->run, 0, 0, 0);
    if (large) {
        engine_lock_acquire(engine);
    }
    engine->stats.to_kernel += 1;
    uint32_t count = finish(flight, res);
    note_refusal(engine, count, res);
    if (res == -EAGAIN && !flight->ends) {
        skip_attempt_made(flight);
    }
    return count;
}

/* --- in a worker of the kernel -------------------------------------------------------------- */

/* A miss on a file, or of a call that only a worker can make. */
static bool
is_for_worker(struct flight *flight, const struct step *step, const uint64_t *args)
{
    const struct handed_step *made = &flight->plan->handed->steps[flight->at];
    struct device *device = &flight->engine->device;
    if (!made->calls || flight->goes_home || flight->ring_refused || flight->retries ||
        (step->op->flags & (OP_PSEUDO | OP_WAITS | OP_INLINE_ONLY)) || device->off ||
        device->away >= HANDED_AWAY_MAX) {
        return false;
    }
    return step->op->ready == 0 || fd_is_file(flight, (int)args[0]);
}

static void
fill_command(const struct flight *flight, struct sqe *sqe)
{
    sqe->opcode = RING_URING_CMD;
    sqe->flags = SQE_ASYNC; /* the attempt has been made */
    sqe->fd = flight->engine->device.fd;
    sqe->offset = DEVICE_CMD_EXEC;
    sqe->address3 = (uintptr_t)&flight->handed->run;
    sqe->user_data = slot_user_data(flight);
}

bool
kernel_depart(struct flight *flight, const struct step *step, const uint64_t *args)
{
    struct engine *engine = flight->engine;
    if (flight->handed == NULL || !is_for_worker(flight, step, args)) {
        return false;
    }
    handed_aim(flight, true);
    uint32_t budget = budget_of(flight, WORKER_ATOMS_MAX, 0);
    if (!handed_is_aimed(flight) || budget == 0 || !uring_admit(flight, 1)) {
        return false;
    }
    begin(flight, budget, DEVICE_QUIET);
    fill_command(flight, ring_reserve(&engine->ring));
    flight->skip_attempt = false;
    flight->stays_home = false;
    flight->commanded = true;
    flight->place = PLACE_RING;
    flight->path = flight->path < PATH_RING ? PATH_RING : flight->path;
    engine->device.away += 1;
    engine->stats.to_kernel += 1;
    stats_missed(flight);
    return true;
}

/* Where it was not even begun, the engine's own worker makes the call. */
void
kernel_completed(struct flight *flight, int64_t res)
{
    flight->commanded = false;
    flight->engine->device.away -= 1;
    uint32_t count = finish(flight, res);
    bool refused = count == 0 && res < 0 && !flight->ends;
    flight->skip_attempt = flight->skip_attempt || refused;
    flight->ring_refused = flight->ring_refused || refused;
}
