/* The engine: creation, turns, the ready queue, slots, closing. See engine.h.
 *
 * A turn reads: wait for completions → what came back from workers → run what is ready
 * → report landings. Completions never run a flight from inside the reaping: they put
 * it into the ready queue, so no stack grows and no order surprises. */
#define _GNU_SOURCE
#include "engine.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "engine_private.h"
#include "handed.h"

/* --- fork --------------------------------------------------------------------------- */

static uint32_t fork_generation; /* counted in each child */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void
count_fork(void)
{
    fork_generation += 1;
}

static void
watch_forks(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

bool
engine_is_forked(const struct engine *engine)
{
    return engine->forks != fork_generation;
}

/* --- queues, slots ------------------------------------------------------------------ */

bool
queue_is_empty(const struct flight_queue *queue)
{
    return queue->first == NULL;
}

void
queue_push(struct flight_queue *queue, struct flight *flight)
{
    flight->link = NULL;
    if (queue->last != NULL) {
        queue->last->link = flight;
    } else {
        queue->first = flight;
    }
    queue->last = flight;
}

struct flight *
queue_pop(struct flight_queue *queue)
{
    struct flight *flight = queue->first;
    queue->first = flight->link;
    if (queue->first == NULL) {
        queue->last = NULL;
    }
    flight->link = NULL;
    return flight;
}

void
engine_ready(struct engine *engine, struct flight *flight)
{
    flight->place = PLACE_READY;
    queue_push(&engine->ready, flight);
}

int
slot_take(struct flight *flight)
{
    struct engine *engine = flight->engine;
    assert(flight->slot == SLOT_NONE);
    return slots_take(&engine->slots, flight, &flight->slot);
}

void
slot_give(struct flight *flight)
{
    slots_give(&flight->engine->slots, flight->slot);
    flight->slot = SLOT_NONE;
}

uint64_t
slot_user_data(const struct flight *flight)
{
    return TAG_FLIGHT | slots_mark(&flight->engine->slots, flight->slot);
}

struct flight *
slot_find(struct engine *engine, uint64_t user_data)
{
    return slots_find(&engine->slots, user_data);
}

/* --- small things ------------------------------------------------------------------- */

void
engine_lock_release(struct engine *engine)
{
    if (engine->host.lock_release != NULL) {
        engine->host.lock_release(engine->host.context);
    }
}

void
engine_lock_acquire(struct engine *engine)
{
    if (engine->host.lock_acquire != NULL) {
        engine->host.lock_acquire(engine->host.context);
    }
}

void
engine_wake(struct engine *engine)
{
    uint64_t one = 1;
    engine_call(engine, __NR_write, (uint64_t)engine->inbox_fd, (uintptr_t)&one,
                sizeof(one), 0, 0, 0);
    /* A foreign loop is told at once: the ring's word for it comes 20 ms later, because
     * one eventfd's write does not write to another (Linux 6.18 leaves it to RCU). */
    int fd = __atomic_load_n(&engine->pollable_fd, __ATOMIC_ACQUIRE);
    if (fd >= 0 && fd != engine->epoll_fd) {
        engine_call(engine, __NR_write, (uint64_t)fd, (uintptr_t)&one, sizeof(one), 0,
                    0, 0);
    }
}

void
engine_drain_inbox(struct engine *engine)
{
    uint64_t count;
    engine_call(engine, __NR_read, (uint64_t)engine->inbox_fd, (uintptr_t)&count,
                sizeof(count), 0, 0, 0);
}

void
engine_budget_reset(struct engine *engine)
{
    engine->turn_atoms = 0;
    engine->turn_bytes = 0;
}

bool
engine_budget_spent(const struct engine *engine)
{
    return engine->turn_atoms >= TURN_ATOMS_MAX || engine->turn_bytes >= TURN_BYTES_MAX;
}

enum backend
engine_backend(const struct engine *engine)
{
    if (engine->backend == &backend_epoll) {
        return BACKEND_EPOLL;
    }
    return engine->device.fd >= 0 ? BACKEND_KERNEL : BACKEND_URING;
}

int
engine_backend_errno(const struct engine *engine)
{
    return engine->backend_errno;
}

enum miss_path
engine_miss_path(const struct engine *engine, uint32_t nr)
{
    const struct op *op = op_find(nr);
    if (op == NULL) {
        return MISS_WORKER;
    }
    if (op->flags & (OP_PSEUDO | OP_NEVER_BLOCKS | OP_INLINE_ONLY)) {
        return MISS_NEVER;
    }
    if (engine->backend == &backend_uring && op->prepare != NULL &&
        ring_has(&engine->ring, op->opcode)) {
        return MISS_RING;
    }
    bool sleeps = op->prepare != NULL && op->opcode == RING_TIMEOUT; /* a timerfd */
    if (op->ready != 0 || sleeps) {
        return MISS_READINESS;
    }
    bool kernel = handed_is_possible(&engine->device, op);
    return engine->device.fd >= 0 && kernel ? MISS_KERNEL : MISS_WORKER;
}

int
engine_make_pollable(struct engine *engine)
{
    return engine->pollable_fd >= 0 ? 0 : engine->backend->make_pollable(engine);
}

int
engine_fd(const struct engine *engine)
{
    return engine->pollable_fd;
}

int
engine_watch(struct engine *engine, int fd)
{
    return engine->backend->watch(engine, fd);
}

int64_t
engine_due(struct engine *engine)
{
    if (engine_is_forked(engine)) {
        return -1;
    }
    bool now = !queue_is_empty(&engine->ready) || engine->backend->pending(engine);
    return now ? 0 : workers_due(engine);
}

int
engine_trace(struct engine *engine, struct trace *trace)
{
    if (engine->in_air != NULL) {
        return -EBUSY;
    }
    engine->trace = trace;
    return 0;
}

bool
engine_work(struct engine *engine)
{
    return workers_run_one(engine);
}

/* --- creation ----------------------------------------------------------------------- */

/* The kernel may execute syslets as well: then more than single requests goes there. */
static int
engine_open_device(struct engine *engine)
{
    enum backend wanted = engine->options.backend;
    if (wanted == BACKEND_URING) {
        return 0;
    }
    int res = ring_has(&engine->ring, RING_URING_CMD) ? device_open(engine) : -ENOTSUP;
    if (res < 0 && wanted == BACKEND_KERNEL) {
        engine->backend->close(engine);
        return res;
    }
    return 0;
}

static int
engine_open_backend(struct engine *engine)
{
    enum backend wanted = engine->options.backend;
    if (wanted != BACKEND_EPOLL) {
        engine->backend = &backend_uring;
        int res = engine->backend->open(engine);
        if (res == 0) {
            return engine_open_device(engine);
        }
        if (wanted != BACKEND_ANY) {
            return res;
        }
        engine->backend_errno = -res;
    }
    engine->backend = &backend_epoll;
    return engine->backend->open(engine);
}

int
engine_create(struct engine **out, const struct kernel *kernel, const struct host *host,
              const struct engine_options *options)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL) {
        return -ENOMEM;
    }
    pthread_once(&fork_once, watch_forks);
    engine->kernel = kernel;
    engine->host = *host;
    engine->options = *options;
    if (engine->options.sq_entries == 0) {
        engine->options.sq_entries = SQ_ENTRIES;
    }
    uint32_t flights = engine->options.flights_max;
    if (flights == 0 || flights > FLIGHTS_MAX) {
        engine->options.flights_max = FLIGHTS_MAX;
    }
    engine->forks = fork_generation;
    engine->owner = pthread_self();
    slots_open(&engine->slots, FLIGHTS_MAX * 2);
    slots_open(&engine->watch_slots, WATCHES_MAX);
    engine->watched_fd = engine->epoll_fd = engine->ring.fd = -1;
    engine->pollable_fd = engine->device.fd = -1;
    int64_t fd =
        engine_call(engine, __NR_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0, 0, 0, 0);
    if (fd < 0) {
        free(engine);
        return (int)fd;
    }
    engine->inbox_fd = (int)fd;
    int res = engine_open_backend(engine);
    if (res < 0) {
        engine_call(engine, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
        free(engine);
        return res;
    }
    workers_open(engine);
    *out = engine;
    return 0;
}

/* --- turns -------------------------------------------------------------------------- */

int
flight_launch(struct flight *flight)
{
    flight_fly(flight);
    if (flight->engine->closing) { /* by a landing while the engine closes */
        flight_abandon(flight);
    }
    return flight_run(flight);
}

static void
run_flight(struct engine *engine, struct flight *flight)
{
    if (flight_run(flight) == FLIGHT_LANDED) {
        engine->host.landed(engine->host.context, flight);
    }
}

/* What is ready now, not what becomes ready meanwhile: that is the next turn's. */
static void
run_ready(struct engine *engine)
{
    struct flight *last = engine->ready.last;
    while (!queue_is_empty(&engine->ready) && !engine_budget_spent(engine)) {
        struct flight *flight = queue_pop(&engine->ready);
        bool was_last = flight == last;
        run_flight(engine, flight);
        if (was_last) {
            return;
        }
    }
}

static void
collect_inbox(struct engine *engine)
{
    struct flight *flight = workers_collect(engine);
    while (flight != NULL) {
        struct flight *next = flight->link;
        engine_ready(engine, flight);
        flight = next;
    }
}

void
engine_push(struct engine *engine, uint32_t least)
{
    if (engine->backend->push != NULL && !engine_is_forked(engine)) {
        engine->backend->push(engine, least);
    }
}

int
engine_turn(struct engine *engine, int64_t timeout_ns, bool *watched)
{
    *watched = false;
    if (engine_is_forked(engine)) {
        return -ESRCH;
    }
    engine_budget_reset(engine);
    if (!queue_is_empty(&engine->ready)) {
        timeout_ns = 0;
    }
    int64_t due_ns = workers_due(engine);
    if (due_ns >= 0) {
        workers_tend(engine);
        bool longer = timeout_ns < 0 || timeout_ns > due_ns;
        timeout_ns = longer ? due_ns : timeout_ns;
    }
    if (__builtin_expect(engine->trace != NULL, 0)) {
        trace_turn_begins(engine->trace);
    }
    int res = engine->backend->wait(engine, timeout_ns, watched);
    if (__builtin_expect(engine->trace != NULL, 0)) {
        trace_turn_waited(engine->trace);
    }
    collect_inbox(engine);
    run_ready(engine);
    if (res == 0) { /* the disk works while the host looks at what has landed */
        engine_push(engine, 1);
    }
    return res;
}

/* --- closing ------------------------------------------------------------------------ */

static void
free_memory(struct engine *engine)
{
    for (int i = 0; i < SIZE_CLASSES; i++) {
        while (engine->pool[i] != NULL) {
            struct flight *flight = engine->pool[i];
            engine->pool[i] = flight->link;
            free(flight);
        }
    }
    slots_close(&engine->slots);
    free(engine);
}

static int
close_in_child(struct engine *engine)
{
    watches_close(engine);
    engine->backend->forget(engine);
    device_close(engine);
    workers_forget(engine);
    engine_call(engine, __NR_close, (uint64_t)engine->inbox_fd, 0, 0, 0, 0, 0);
    free_memory(engine); /* flights in the air are the parent's, their memory stays */
    return 0;
}

/* Turns until all have landed. -errno: the kernel refuses to go on (somebody closed our
 * descriptors); what is lent then stays lent, and the engine with it. */
static int
drain(struct engine *engine)
{
    int failures = 0;
    while (engine->in_air != NULL) {
        bool watched;
        if (engine->options.workers_max == 0) {
            while (workers_run_one(engine)) {
            }
        }
        int res = engine_turn(engine, CANCEL_RESEND_NS, &watched);
        failures = res < 0 && res != -EINTR ? failures + 1 : 0;
        if (failures == DRAIN_FAILURES_MAX) {
            return res;
        }
    }
    return 0;
}

int
engine_close(struct engine *engine)
{
    if (engine_is_forked(engine)) {
        return close_in_child(engine);
    }
    engine->closing = true;
    for (struct flight *flight = engine->in_air; flight != NULL;
         flight = flight->following) {
        flight_abandon(flight);
    }
    int res = drain(engine);
    if (res < 0 || engine->stats.prepared != 0) {
        return res < 0 ? res : -EBUSY;
    }
    workers_close(engine);
    watches_close(engine);
    engine->backend->flush(engine); /* else a closed ring would hold their files */
    engine->backend->close(engine);
    device_close(engine);
    engine_call(engine, __NR_close, (uint64_t)engine->inbox_fd, 0, 0, 0, 0, 0);
    free_memory(engine);
    return 0;
}
