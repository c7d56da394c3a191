/* The io_uring backend: a miss becomes one request, its completion resumes the flight.
 *
 * Also in the ring: a multishot poll of the workers' eventfd and a one-shot poll of the
 * host's watched fd, armed again before each wait, because a multishot poll reports
 * edges and the host's readers want levels. Called by engine.c and run.c through
 * backend_ops only. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "engine_private.h"

enum { FLUSHES_MAX = 4096 }; /* entries for one flush: more than polls can end */

static int
uring_open(struct engine *engine)
{
    return ring_open(&engine->ring, engine->kernel, engine->options.sq_entries);
}

static void
close_pollable(struct engine *engine)
{
    if (engine->pollable_fd >= 0) {
        engine_call(engine, __NR_close, (uint64_t)engine->pollable_fd, 0, 0, 0, 0, 0);
        engine->pollable_fd = -1;
    }
}

static void
uring_close(struct engine *engine)
{
    free(engine->removals);
    engine->removals = NULL;
    ring_close(&engine->ring);
    close_pollable(engine);
}

static void
uring_forget(struct engine *engine)
{
    free(engine->removals);
    engine->removals = NULL;
    ring_forget(&engine->ring);
    close_pollable(engine);
}

/* Room and a slot for a request of the flight, or why not. */
bool
uring_admit(struct flight *flight, uint32_t count)
{
    if (!ring_room(&flight->engine->ring, count)) {
        flight->starved = true;
        return false;
    }
    return slot_take(flight) == 0;
}

static bool
uring_request(struct flight *flight, const uint64_t *args)
{
    struct ring *ring = &flight->engine->ring;
    const struct op *op = flight_step(flight)->op;
    if (op->prepare == NULL || !ring_has(ring, op->opcode) || !uring_admit(flight, 1)) {
        return false;
    }
    struct sqe *sqe = ring_reserve(ring);
    if (op->prepare(flight, args, sqe) == OP_MISS) {
        ring_unreserve(ring);
        slot_give(flight);
        return false;
    }
    sqe->user_data = slot_user_data(flight);
    return true;
}

static bool
uring_await_fd(struct flight *flight)
{
    struct ring *ring = &flight->engine->ring;
    if (!uring_admit(flight, flight->limited ? 2 : 1)) {
        return false;
    }
    struct sqe *sqe = ring_reserve(ring);
    sqe->opcode = RING_POLL_ADD;
    sqe->fd = flight->wait_fd;
    sqe->op_flags = (uint16_t)flight->wait_mask;
    sqe->user_data = slot_user_data(flight);
    if (flight->limited) {
        sqe->flags = SQE_LINK;
        struct sqe *limit = ring_reserve(ring);
        limit->opcode = RING_LINK_TIMEOUT;
        limit->fd = -1;
        limit->address = (uintptr_t)flight->times;
        limit->length = 1;
        limit->user_data = TAG_IGNORE;
    }
    return true;
}

static void
uring_cancel(struct flight *flight)
{
    struct sqe *sqe = ring_reserve(&flight->engine->ring);
    flight->cancel_due = sqe == NULL;
    if (sqe == NULL) {
        flight->engine->cancels_due = true; /* again before the next wait */
        return;
    }
    sqe->opcode = RING_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->address = slot_user_data(flight);
    sqe->user_data = TAG_IGNORE;
}

static void
cancel_again(struct engine *engine)
{
    engine->cancels_due = false;
    for (struct flight *flight = engine->in_air; flight != NULL;
         flight = flight->following) {
        if (flight->cancel_due && flight->place == PLACE_RING) {
            uring_cancel(flight);
        }
    }
}

static void
arm_poll(struct engine *engine, int fd, uint32_t multi, enum tag tag, bool *armed)
{
    struct sqe *sqe = fd >= 0 && !*armed ? ring_reserve(&engine->ring) : NULL;
    if (sqe == NULL) {
        return;
    }
    sqe->opcode = RING_POLL_ADD;
    sqe->fd = fd;
    sqe->op_flags = POLLIN;
    sqe->length = multi;
    sqe->user_data = tag | (uint64_t)(uint32_t)fd << 4;
    *armed = true;
}

/* --- watches --- */

static int
poll_add(struct watch *watch, enum tag tag, uint32_t mask, uint32_t multi)
{
    struct engine *engine = watch->engine;
    struct sqe *sqe = ring_reserve(&engine->ring);
    if (sqe == NULL) {
        return -EBUSY;
    }
    sqe->opcode = RING_POLL_ADD;
    sqe->fd = watch->fd;
    sqe->op_flags = mask;
    sqe->length = multi;
    sqe->user_data = tag | slots_mark(&engine->watch_slots, watch->slot);
    return 0;
}

static int
uring_poll(struct watch *watch)
{
    static const uint32_t masks[] = {
        [WATCH_STREAM] = POLLIN | POLLPRI | POLLRDHUP,
        [WATCH_READ_ONCE] = POLLIN,
        [WATCH_WRITE_ONCE] = POLLOUT,
    };
    bool stream = watch->kind == WATCH_STREAM;
    int res = 0;
    if (!watch->polled) {
        res =
            poll_add(watch, TAG_POLL, masks[watch->kind], stream ? POLL_ADD_MULTI : 0);
        watch->polled = res == 0;
    }
    if (res == 0 && stream && watch->write_wanted && !watch->write_polled) {
        res = poll_add(watch, TAG_POLL_WRITE, POLLOUT, 0);
        watch->write_polled = res == 0;
    }
    return res;
}

/* The poll with this user_data is to end. false: not now. */
static bool
submit_removal(struct engine *engine, uint64_t user_data)
{
    struct sqe *sqe = ring_reserve(&engine->ring);
    if (sqe == NULL) {
        return false;
    }
    sqe->opcode = RING_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->address = user_data;
    sqe->user_data = TAG_IGNORE;
    engine->removals_due = true;
    return true;
}

/* Without memory for it the poll stays until it fires, finds nobody, and is ended then
 * (reap_poll). */
static void
remember_removal(struct engine *engine, uint64_t user_data)
{
    if (engine->removals_count == engine->removals_room) {
        uint32_t room = engine->removals_room ? engine->removals_room * 2 : 16;
        uint64_t *removals = realloc(engine->removals, room * sizeof(*removals));
        if (removals == NULL) {
            return;
        }
        engine->removals = removals;
        engine->removals_room = room;
    }
    engine->removals[engine->removals_count++] = user_data;
}

static void
removals_again(struct engine *engine)
{
    while (engine->removals_count > 0 &&
           submit_removal(engine, engine->removals[engine->removals_count - 1])) {
        engine->removals_count -= 1;
    }
}

/* Only the engine's own thread enters the ring; a transport may be collected in any. */
static void
poll_remove(struct watch *watch, enum tag tag)
{
    struct engine *engine = watch->engine;
    uint64_t user_data = tag | slots_mark(&engine->watch_slots, watch->slot);
    if (!pthread_equal(engine->owner, pthread_self())) {
        remember_removal(engine, user_data);
        engine_wake(engine);
    } else if (!submit_removal(engine, user_data)) {
        remember_removal(engine, user_data);
    }
}

static void
uring_unpoll(struct watch *watch)
{
    if (watch->polled) {
        poll_remove(watch, TAG_POLL);
        watch->polled = false;
    }
    if (watch->write_polled) {
        poll_remove(watch, TAG_POLL_WRITE);
        watch->write_polled = false;
    }
}

/* The kernel runs some twenty of a ring's deferred completions per entry (6.18): a file
 * is let go only when the last of them has run. Completions are not taken here, so an
 * overflow of their queue does not end by entering. */
static void
uring_flush(struct engine *engine)
{
    if (!pthread_equal(engine->owner, pthread_self())) {
        return;
    }
    removals_again(engine);
    int res = ring_enter(&engine->ring, 0);
    for (int i = 0; i < FLUSHES_MAX && res == 0 && ring_has_work(&engine->ring); i++) {
        res = ring_enter(&engine->ring, 0);
    }
    engine->removals_due = ring_unsubmitted(&engine->ring) != 0;
}

static void
uring_push(struct engine *engine, uint32_t least)
{
    /* What the kernel has refused just now waits for the next wait. */
    if (!engine->removals_due && ring_unsubmitted(&engine->ring) >= least) {
        (void)ring_enter(&engine->ring, 0);
    }
}

/* A poll that has ended is armed again, also for lack of memory, unless it failed: then
 * the host's own call on the descriptor tells what is wrong. */
static void
reap_poll(struct engine *engine, const struct cqe *cqe)
{
    struct watch *watch = slots_find(&engine->watch_slots, cqe->user_data);
    if (watch == NULL) {
        engine->stats.stale += 1;
        if (cqe->flags & CQE_F_MORE) { /* one whose removal was lost, or is under way */
            remember_removal(engine, cqe->user_data);
        }
        return;
    }
    bool ended = (cqe->flags & CQE_F_MORE) == 0;
    bool failed = cqe->result < 0;
    bool writes = tag_of(cqe->user_data) == TAG_POLL_WRITE;
    if (ended && cqe->result == -ENOMEM) {
        *(writes ? &watch->write_polled : &watch->polled) = false;
        watch_is_due(watch);
        return;
    }
    if (writes) {
        watch->write_polled = false;
        watch_reported(watch, failed ? POLLERR : POLLOUT | (uint32_t)cqe->result);
        return;
    }
    if (ended) {
        watch->polled = false;
        if (watch->kind == WATCH_STREAM && !failed) {
            watch_is_due(watch);
        }
    }
    watch_reported(watch, failed ? POLLERR | POLLIN | POLLOUT : (uint32_t)cqe->result);
}

static void
uring_reap(struct engine *engine, const struct cqe *cqe, bool *watched)
{
    struct flight *flight;
    engine->stats.completed += 1;
    switch (tag_of(cqe->user_data)) {
    case TAG_FLIGHT:
        flight = slot_find(engine, cqe->user_data);
        if (flight == NULL) {
            engine->stats.stale += 1;
            return;
        }
        slot_give(flight);
        engine_completed(flight, cqe->result);
        return;
    case TAG_WATCH:
        if (cqe->user_data >> 4 == (uint32_t)engine->watched_fd) {
            engine->watch_armed = false;
            *watched = *watched || cqe->result > 0;
        }
        return;
    case TAG_INBOX:
        engine->stats.wakeups += cqe->result > 0;
        engine->inbox_armed = (cqe->flags & CQE_F_MORE) != 0;
        if (!engine->inbox_armed) { /* a multishot poll reports writes, not levels */
            engine_drain_inbox(engine);
        }
        return;
    case TAG_POLL:
    case TAG_POLL_WRITE:
        reap_poll(engine, cqe);
        return;
    case TAG_IGNORE:
        return;
    }
}

/* A ring of this kind completes nothing before its own thread enters it, and a sleeper
 * that polls the ring's fd is not told (DEFER_TASKRUN, Linux 6.18); an eventfd
 * registered with the ring is written to as soon as there is work for that thread. */
static int
uring_make_pollable(struct engine *engine)
{
    int64_t fd =
        engine_call(engine, __NR_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK, 0, 0, 0, 0);
    if (fd < 0) {
        return (int)fd;
    }
    __atomic_store_n(&engine->pollable_fd, (int)fd, __ATOMIC_RELEASE);
    int res = ring_notify(&engine->ring, (int)fd);
    if (res < 0) {
        close_pollable(engine);
    }
    return res;
}

/* A registration forwards a write to another eventfd, as of a flight that polls one,
 * only once (Linux 6.18 never clears IO_EVENTFD_OP_SIGNAL_BIT): it is renewed. */
static void
drain_pollable(struct engine *engine)
{
    uint64_t count;
    int64_t got = engine_call(engine, __NR_read, (uint64_t)engine->pollable_fd,
                              (uintptr_t)&count, sizeof(count), 0, 0, 0);
    if (got > 0 || engine->notify_due) {
        engine->notify_due = ring_notify_anew(&engine->ring, engine->pollable_fd) < 0;
    }
}

/* The kernel would not even wait: not at full speed again. */
static void
pause_briefly(struct engine *engine, int64_t timeout_ns)
{
    struct ring_timespec time = {0, RING_RETRY_NS};
    if (timeout_ns != 0) {
        engine_lock_release(engine);
        engine_call(engine, __NR_nanosleep, (uintptr_t)&time, 0, 0, 0, 0, 0);
        engine_lock_acquire(engine);
    }
}

static int
uring_wait(struct engine *engine, int64_t timeout_ns, bool *watched)
{
    struct ring *ring = &engine->ring;
    if (engine->pollable_fd >= 0) {
        drain_pollable(engine); /* first: what comes from here on writes it again */
    }
    if (engine->cancels_due) {
        cancel_again(engine);
    }
    if (engine->removals_count > 0) {
        removals_again(engine);
    }
    watches_arm(engine);
    arm_poll(engine, engine->inbox_fd, POLL_ADD_MULTI, TAG_INBOX, &engine->inbox_armed);
    arm_poll(engine, engine->watched_fd, 0, TAG_WATCH, &engine->watch_armed);
    int res = 0;
    struct cqe cqe;
    bool some = ring_next(ring, &cqe);
    if (some) {
        uring_reap(engine, &cqe, watched);
        timeout_ns = 0;
    }
    bool incomplete = engine->cancels_due || !engine->inbox_armed ||
                      engine->watches_due != NULL || engine->removals_count > 0 ||
                      (engine->watched_fd >= 0 && !engine->watch_armed);
    if (incomplete && (timeout_ns < 0 || timeout_ns > RING_RETRY_NS)) {
        timeout_ns = RING_RETRY_NS; /* the kernel took no more: soon again */
    }
    if (timeout_ns != 0) {
        engine->stats.waits += 1;
        engine_lock_release(engine);
        res = ring_enter(ring, timeout_ns);
        engine_lock_acquire(engine);
        engine->removals_due = ring_unsubmitted(ring) != 0;
    } else if (ring_wants_enter(ring)) {
        res = ring_enter(ring, 0);
        engine->removals_due = ring_unsubmitted(ring) != 0;
    }
    while (ring_next(ring, &cqe)) {
        uring_reap(engine, &cqe, watched);
    }
    if (res == -EAGAIN || res == -EBUSY) {
        pause_briefly(engine, timeout_ns); /* no memory, or completions first */
        res = 0;
    }
    return res;
}

static int
uring_watch(struct engine *engine, int fd)
{
    if (engine->watch_armed && engine->watched_fd == fd) {
        return 0;
    }
    if (engine->watch_armed) { /* its completion is recognised by the old fd */
        struct sqe *sqe = ring_reserve(&engine->ring);
        if (sqe != NULL) {
            sqe->opcode = RING_ASYNC_CANCEL;
            sqe->fd = -1;
            sqe->address = TAG_WATCH | (uint64_t)(uint32_t)engine->watched_fd << 4;
            sqe->user_data = TAG_IGNORE;
        }
    }
    engine->watch_armed = false;
    engine->watched_fd = fd;
    return 0;
}

static bool
uring_pending(const struct engine *engine)
{
    return ring_wants_enter(&engine->ring) || engine->cancels_due ||
           !engine->inbox_armed || engine->watches_due != NULL || engine->notify_due;
}

const struct backend_ops backend_uring = {
    .name = "uring",
    .open = uring_open,
    .close = uring_close,
    .forget = uring_forget,
    .request = uring_request,
    .await_fd = uring_await_fd,
    .cancel = uring_cancel,
    .wait = uring_wait,
    .make_pollable = uring_make_pollable,
    .watch = uring_watch,
    .pending = uring_pending,
    .poll = uring_poll,
    .unpoll = uring_unpoll,
    .flush = uring_flush,
    .push = uring_push,
};
