/* The epoll backend: where there is no io_uring, for whatever reason.
 *
 * A miss on a socket or pipe waits for readiness and is attempted again; a sleep waits
 * on a timerfd; everything else goes to a worker. An fd is in the epoll set only while
 * a flight waits for it (EPOLLONESHOT, removed when it fires), so fds that the program
 * or its user closes leave nothing behind. Called through backend_ops only. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include "attempt.h"
#include "engine_private.h"

enum { EVENTS_MAX = 256 };

static int64_t
control(struct engine *engine, int command, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return engine_call(engine, __NR_epoll_ctl, (uint64_t)engine->epoll_fd,
                       (uint64_t)command, (uint64_t)fd, (uintptr_t)&event, 0, 0);
}

static void
epoll_end(struct engine *engine)
{
    if (engine->epoll_fd >= 0) {
        engine_call(engine, __NR_close, (uint64_t)engine->epoll_fd, 0, 0, 0, 0, 0);
        engine->epoll_fd = engine->pollable_fd = -1;
    }
    free(engine->waiters);
    engine->waiters = NULL;
    engine->waiters_count = 0;
}

static int
epoll_begin(struct engine *engine)
{
    int64_t res = engine_call(engine, __NR_epoll_create1, EPOLL_CLOEXEC, 0, 0, 0, 0, 0);
    if (res < 0) {
        return (int)res;
    }
    engine->epoll_fd = (int)res;
    res = control(engine, EPOLL_CTL_ADD, engine->inbox_fd, EPOLLIN, TAG_INBOX);
    if (res < 0) {
        epoll_end(engine);
    }
    return (int)res;
}

/* The set knows numbers, and its user may close a file that a flight waits for: the
 * number then belongs to the next who waits for it. Who that is, is kept here, so that
 * ending one wait never ends another. */
static int
waiters_reach(struct engine *engine, int fd)
{
    uint32_t count = engine->waiters_count ? engine->waiters_count : 64;
    if (fd < 0) {
        return -EBADF;
    }
    while (count <= (uint32_t)fd) {
        count *= 2;
    }
    if (count == engine->waiters_count) {
        return 0;
    }
    uint64_t *waiters = realloc(engine->waiters, count * sizeof(*waiters));
    if (waiters == NULL) {
        return -ENOMEM;
    }
    memset(waiters + engine->waiters_count, 0,
           (count - engine->waiters_count) * sizeof(*waiters));
    engine->waiters = waiters;
    engine->waiters_count = count;
    return 0;
}

static void
stop_waiting(struct engine *engine, int fd, uint64_t data)
{
    if (engine->waiters[fd] == data) {
        control(engine, EPOLL_CTL_DEL, fd, 0, 0);
        engine->waiters[fd] = 0;
    }
}

static void
forget_wait(struct flight *flight)
{
    struct engine *engine = flight->engine;
    stop_waiting(engine, flight->wait_fd, slot_user_data(flight));
    if (flight->own_fd >= 0) {
        engine_call(engine, __NR_close, (uint64_t)flight->own_fd, 0, 0, 0, 0, 0);
        flight->own_fd = -1;
    }
    slot_give(flight);
}

/* Two may wait for one fd, the set holds it once: the second waits on a duplicate,
 * which is returned. */
static int64_t
add_duplicate(struct engine *engine, int fd, uint32_t events, uint64_t data)
{
    int64_t copy =
        engine_call(engine, __NR_fcntl, (uint64_t)fd, F_DUPFD_CLOEXEC, 0, 0, 0, 0);
    if (copy < 0) {
        return copy;
    }
    int64_t res = waiters_reach(engine, (int)copy);
    if (res == 0) {
        res = control(engine, EPOLL_CTL_ADD, (int)copy, events, data);
    }
    if (res < 0) {
        engine_call(engine, __NR_close, (uint64_t)copy, 0, 0, 0, 0, 0);
        return res;
    }
    return copy;
}

/* The fd is in the set, itself or as a duplicate (*own_fd). -errno: it is not. */
static int
add(struct engine *engine, int fd, int *own_fd, uint32_t events, uint64_t data)
{
    *own_fd = -1;
    int64_t res = control(engine, EPOLL_CTL_ADD, fd, events, data);
    if (res == -EEXIST) {
        res = add_duplicate(engine, fd, events, data);
        *own_fd = (int)(res < 0 ? -1 : res);
        fd = *own_fd;
    } else if (res == 0) { /* it is open: the table need not hold any number there is */
        res = waiters_reach(engine, fd);
        if (res < 0) {
            control(engine, EPOLL_CTL_DEL, fd, 0, 0);
        }
    }
    if (res < 0) {
        return (int)res;
    }
    engine->waiters[fd] = data;
    return 0;
}

static bool
epoll_await_fd(struct flight *flight)
{
    struct engine *engine = flight->engine;
    if (flight->limited || slot_take(flight) < 0) {
        return false;
    }
    uint32_t events = (uint16_t)flight->wait_mask | EPOLLONESHOT;
    int copy = -1;
    int res = add(engine, flight->wait_fd, &copy, events, slot_user_data(flight));
    if (res < 0) { /* EPERM: a file; anything else: a worker will find out */
        slot_give(flight);
        return false;
    }
    if (copy >= 0) {
        flight->own_fd = flight->wait_fd = copy;
    }
    return true;
}

/* Only sleeps have a request of their own here: a timerfd. */
static bool
epoll_request(struct flight *flight, const uint64_t *args)
{
    const struct step *step = flight_step(flight);
    bool plain = step->nr == __NR_nanosleep;
    uint64_t clock = plain ? CLOCK_MONOTONIC : args[0];
    struct itimerspec time = {0};
    if (step->op->opcode != RING_TIMEOUT ||
        memory_read(flight, &time.it_value, args[plain ? 0 : 2], 16) < 0) {
        return false;
    }
    struct engine *engine = flight->engine;
    int64_t fd = engine_call(engine, __NR_timerfd_create, clock,
                             TFD_CLOEXEC | TFD_NONBLOCK, 0, 0, 0, 0);
    if (fd < 0) {
        return false;
    }
    if (time.it_value.tv_sec == 0 && time.it_value.tv_nsec == 0) {
        time.it_value.tv_nsec = 1; /* 0 would disarm it */
    }
    uint64_t absolute = !plain && args[1] == TIMER_ABSTIME ? TFD_TIMER_ABSTIME : 0;
    int64_t res = engine_call(engine, __NR_timerfd_settime, (uint64_t)fd, absolute,
                              (uintptr_t)&time, 0, 0, 0);
    if (res < 0) {
        engine_call(engine, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
        return false; /* the plain call says what is wrong with it */
    }
    flight->own_fd = (int)fd;
    flight->wait_fd = (int)fd;
    flight->wait_mask = POLLIN;
    flight->limited = false;
    flight->awaits_fd = epoll_await_fd(flight);
    if (!flight->awaits_fd) {
        engine_call(engine, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
        flight->own_fd = -1;
    }
    return flight->awaits_fd;
}

static void
epoll_cancel(struct flight *flight)
{
    forget_wait(flight); /* nothing is lent here: it can land in the next turn */
    flight->awaits_fd = false;
    engine_ready(flight->engine, flight);
}

static void
epoll_event(struct engine *engine, const struct epoll_event *event, bool *watched)
{
    struct flight *flight;
    struct watch *watch;
    engine->stats.completed += 1;
    switch (tag_of(event->data.u64)) {
    case TAG_FLIGHT:
        flight = slot_find(engine, event->data.u64);
        if (flight == NULL) {
            engine->stats.stale += 1;
            return;
        }
        forget_wait(flight);
        engine_completed(flight, (int64_t)event->events);
        return;
    case TAG_WATCH:
        *watched = true;
        return;
    case TAG_INBOX:
        engine->stats.wakeups += 1;
        engine_drain_inbox(engine);
        return;
    case TAG_POLL:
        watch = slots_find(&engine->watch_slots, event->data.u64);
        if (watch == NULL) {
            engine->stats.stale += 1;
            return;
        }
        watch_reported(watch, event->events);
        return;
    case TAG_POLL_WRITE:
    case TAG_IGNORE:
        return;
    }
}

static int64_t
wait_for_events(struct engine *engine, struct epoll_event *events, int64_t timeout_ns)
{
    struct ring_timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    uint64_t limit = timeout_ns < 0 ? 0 : (uintptr_t)&ts;
    int64_t res = engine_call(engine, __NR_epoll_pwait2, (uint64_t)engine->epoll_fd,
                              (uintptr_t)events, EVENTS_MAX, limit, 0, 0); /* 5.11 */
    if (res == -ENOSYS || res == -EPERM) {
        int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;
        res = engine_call(engine, __NR_epoll_pwait, (uint64_t)engine->epoll_fd,
                          (uintptr_t)events, EVENTS_MAX,
                          (uint64_t)(ms > INT32_MAX ? INT32_MAX : ms), 0, 0);
    }
    return res;
}

static int
epoll_wait_turn(struct engine *engine, int64_t timeout_ns, bool *watched)
{
    struct epoll_event events[EVENTS_MAX];
    watches_arm(engine);
    if (engine->watches_due != NULL && (timeout_ns < 0 || timeout_ns > RING_RETRY_NS)) {
        timeout_ns = RING_RETRY_NS; /* the set took no more: soon again */
    }
    if (timeout_ns != 0) {
        engine->stats.waits += 1;
        engine_lock_release(engine);
    }
    int64_t res = wait_for_events(engine, events, timeout_ns);
    if (timeout_ns != 0) {
        engine_lock_acquire(engine);
    }
    engine->ring.enters += 1;
    for (int64_t i = 0; i < res; i++) {
        epoll_event(engine, &events[i], watched);
    }
    return res < 0 ? (int)res : 0;
}

/* The epoll fd itself can be polled. */
static int
epoll_make_pollable(struct engine *engine)
{
    engine->pollable_fd = engine->epoll_fd;
    return 0;
}

static int
epoll_watch(struct engine *engine, int fd)
{
    uint32_t before = (uint32_t)engine->watched_fd;
    bool taken_over = before < engine->waiters_count && engine->waiters[before] != 0;
    if (engine->watched_fd >= 0 && !taken_over) {
        control(engine, EPOLL_CTL_DEL, engine->watched_fd, 0, 0);
    }
    engine->watched_fd = fd;
    return fd < 0 ? 0 : (int)control(engine, EPOLL_CTL_ADD, fd, EPOLLIN, TAG_WATCH);
}

/* Edges, both ways at once: one registration per connection and no changes to it. */
static int
epoll_poll(struct watch *watch)
{
    static const uint32_t events[] = {
        [WATCH_STREAM] = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        [WATCH_READ_ONCE] = EPOLLIN | EPOLLONESHOT,
        [WATCH_WRITE_ONCE] = EPOLLOUT | EPOLLONESHOT,
    };
    if (watch->polled) {
        return 0; /* the next edge of writability is reported anyway */
    }
    struct engine *engine = watch->engine;
    uint64_t data = TAG_POLL | slots_mark(&engine->watch_slots, watch->slot);
    int res = add(engine, watch->fd, &watch->own_fd, events[watch->kind], data);
    watch->polled = res == 0;
    return res;
}

static void
epoll_unpoll(struct watch *watch)
{
    struct engine *engine = watch->engine;
    if (watch->polled) {
        int fd = watch->own_fd >= 0 ? watch->own_fd : watch->fd;
        uint64_t data = TAG_POLL | slots_mark(&engine->watch_slots, watch->slot);
        stop_waiting(engine, fd, data);
        watch->polled = false;
    }
    if (watch->own_fd >= 0) {
        engine_call(engine, __NR_close, (uint64_t)watch->own_fd, 0, 0, 0, 0, 0);
        watch->own_fd = -1;
    }
}

static void
epoll_flush(struct engine *engine)
{
    engine->removals_due = false;
}

static bool
epoll_pending(const struct engine *engine)
{
    return engine->watches_due != NULL;
}

const struct backend_ops backend_epoll = {
    .name = "epoll",
    .open = epoll_begin,
    .close = epoll_end,
    .forget = epoll_end,
    .request = epoll_request,
    .await_fd = epoll_await_fd,
    .cancel = epoll_cancel,
    .wait = epoll_wait_turn,
    .make_pollable = epoll_make_pollable,
    .watch = epoll_watch,
    .pending = epoll_pending,
    .poll = epoll_poll,
    .unpoll = epoll_unpoll,
    .flush = epoll_flush,
};
