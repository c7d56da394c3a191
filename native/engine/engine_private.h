/* The engine's inside, for the engine's own files: run.c, engine.c, backends, workers.
 *
 * Everything here belongs to the engine's thread, except what worker.h says. */
#ifndef SYSLET_ENGINE_PRIVATE_H
#define SYSLET_ENGINE_PRIVATE_H

#include <pthread.h>

#include "device.h"
#include "engine.h"
#include "fixed.h"
#include "flight.h"
#include "ring.h"
#include "slots.h"
#include "trap.h"
#include "watch.h"
#include "worker.h"

enum { SIZE_CLASSES = 10, SIZE_CLASS_FIRST = 11 }; /* 2 KiB ... 1 MiB */

struct flight_queue { /* intrusive, first in first out; borrows its flights */
    struct flight *first, *last;
};

struct backend_ops { /* how a miss waits; one implementation per backend */
    const char *name;
    int (*open)(struct engine *engine);
    void (*close)(struct engine *engine);
    void (*forget)(struct engine *engine); /* in a forked child */
    /* The flight's current atom becomes a request. false: it cannot be one. */
    bool (*request)(struct flight *flight, const uint64_t *args);
    /* The flight waits until wait_fd is ready for wait_mask. */
    bool (*await_fd)(struct flight *flight);
    /* Asks for the early end of what `request` or `await_fd` started. */
    void (*cancel)(struct flight *flight);
    int (*wait)(struct engine *engine, int64_t timeout_ns, bool *watched);
    int (*make_pollable)(struct engine *engine); /* sets engine->pollable_fd */
    int (*watch)(struct engine *engine, int fd);
    bool (*pending)(const struct engine *engine);
    /* Arms what the watch wants. -EBUSY: not now; other errors: it cannot be polled. */
    int (*poll)(struct watch *watch);
    void (*unpoll)(struct watch *watch); /* what is armed for it is to end */
    void (*push)(struct engine *engine, uint32_t least); /* NULL: nothing waits */
    void (*flush)(struct engine *engine); /* and has ended when this returns */
};

extern const struct backend_ops backend_uring;
extern const struct backend_ops backend_epoll;

/* backend_uring.c: room and a slot for `count` entries of the flight. */
bool uring_admit(struct flight *flight, uint32_t count);

/* backend_kernel.c: a kernel that executes syslets. Is it worth a run from here on? */
bool kernel_may_run(const struct flight *flight);
/* Has it execute at most so many atoms, without waiting: how many it has. 0: the engine
 * executes the next one itself. */
uint32_t kernel_run(struct flight *flight, uint32_t most);
/* The rest goes to a worker of the kernel. false: it does not. */
bool kernel_depart(struct flight *flight, const struct step *step,
                   const uint64_t *args);
void kernel_completed(struct flight *flight, int64_t result); /* it came back */

struct engine {
    /* What every flight touches comes first, in few cache lines. */
    const struct kernel *kernel; /* borrowed: outlives the engine */
    struct flight *in_air; /* list head: every FLYING, CANCELLING, ORPHANED flight */
    struct trace *trace;   /* borrowed from the host; NULL: nothing is noted */
    uint64_t turn_bytes;
    uint32_t turn_atoms;
    bool closing;
    bool openat2_missing; /* seccomp or an old kernel: opens go to workers */
    bool cancels_due;     /* some cancellation found the ring full */
    bool watch_armed, inbox_armed;
    struct flight_queue ready;
    struct engine_stats stats; /* what stats.c counts when asked stays 0 here */
    uint32_t pooled[SIZE_CLASSES];
    struct flight *pool[SIZE_CLASSES]; /* owned: landed and released */
    struct host host;                  /* copied; its context is borrowed */
    const struct backend_ops *backend;

    uint32_t forks; /* fork_generation at creation: another one in a forked child */
    int backend_errno;
    int epoll_fd;      /* owned; epoll backend */
    uint64_t *waiters; /* owned; epoll backend: by fd, user_data of who waits, or 0 */
    uint32_t waiters_count;
    int pollable_fd;    /* owned by the backend; -1: nobody asked for it */
    bool notify_due;    /* uring: the ring must be told of pollable_fd again */
    int inbox_fd;       /* owned: eventfd the workers and engine_wake write to */
    int watched_fd;     /* borrowed from the host; -1 */
    struct slots slots; /* of flights */
    struct slots watch_slots;
    struct watch *watches_due, *watches_armed; /* list heads; borrowed */
    bool removals_due;  /* ends of watches that the kernel has not yet been told */
    uint64_t *removals; /* owned: those that could not even be queued */
    uint32_t removals_count, removals_room;
    pthread_t owner; /* who made it, and alone may enter its ring */
    struct engine_options options;
    uint64_t misses[MISSES_COUNTED + 1]; /* by number; the last: all others */
    uint64_t memory;                     /* atomic: bytes that flight_heap has given */
    struct fixed_table fixed;            /* borrows the memory in it */
    struct ring ring;
    struct device device; /* beside the ring, where the kernel executes syslets */
    struct workers workers;
};

/* The real kernel is entered directly: an indirect call right after a system call is
 * mispredicted, which costs 2 % of a cheap atom (docs/rationale.md). */
static inline int64_t
engine_call(const struct engine *engine, long nr, uint64_t a0, uint64_t a1, uint64_t a2,
            uint64_t a3, uint64_t a4, uint64_t a5)
{
    if (engine->kernel == &kernel_real) {
        return trap(nr, a0, a1, a2, a3, a4, a5);
    }
    const uint64_t args[6] = {a0, a1, a2, a3, a4, a5};
    return engine->kernel->call(engine->kernel->context, nr, args);
}

/* A system call on behalf of the flight. */
static inline int64_t
flight_call(const struct flight *flight, long nr, uint64_t a0, uint64_t a1, uint64_t a2,
            uint64_t a3, uint64_t a4, uint64_t a5)
{
    return engine_call(flight->engine, nr, a0, a1, a2, a3, a4, a5);
}

/* The arguments of a flight's atom, now. */
static inline void
flight_gather(const struct flight *flight, const struct step *step, uint64_t args[6])
{
    const uint64_t *cells = flight->cells;
    for (int i = 0; i < ARGS_MAX; i++) { /* missing ones name cell 0, which is 0 */
        args[i] = cells[step->arg[i]];
    }
}

static inline bool
flight_is_within_bounds(const struct flight *flight, const struct step *step,
                        const uint64_t *args)
{
    for (uint8_t i = 0; i < step->bounds; i++) {
        if (args[step->bound[i]] > flight->cells[step->capacity[i]]) {
            return false;
        }
    }
    return step->word == 0 || (uint32_t)flight->cells[step->word] <= step->room;
}

/* run.c: the kernel has executed the current atom with this result; `stored`: and has
 * put it where it belongs. */
void flight_replay(struct flight *flight, int64_t res, bool stored);
/* run.c: runs a flight on the engine's thread until it lands or leaves. */
int flight_run(struct flight *flight);
/* run.c: runs a flight on a worker until its end or an atom that must go home. */
void flight_run_blocking(struct flight *flight);

/* transfer.c: the arguments of what is left, after flight->done bytes. */
int transfer_advance(struct flight *flight, const struct op *op, uint64_t args[6]);
uint64_t transfer_size(struct flight *flight, const struct op *op,
                       const uint64_t *args);

/* stats.c */
void stats_missed(struct flight *flight);

/* depart.c: -EAGAIN: wait_fd has to become readable before these fds may be used. */
int settle_fds(struct flight *flight, const struct step *step, const uint64_t *args);
int settle_all_fds(struct flight *flight, bool hand_over);
bool fd_is_blocking(struct flight *flight, uint64_t fd);
void depart(struct flight *flight, const struct step *step, const uint64_t *args);
void depart_to_worker(struct flight *flight);
void depart_to_reopen(struct flight *flight); /* wait_fd: a FIFO to open again */

/* engine.c */
void engine_ready(struct engine *engine, struct flight *flight);
bool queue_is_empty(const struct flight_queue *queue);
void queue_push(struct flight_queue *queue, struct flight *flight);
struct flight *queue_pop(struct flight_queue *queue);

/* user_data of requests: what it is, whose it is, and the generation of the slot, so
 * that a stale completion finds nobody. */
enum tag {
    TAG_FLIGHT = 1,
    TAG_WATCH = 2, /* the host's watched fd */
    TAG_INBOX = 3,
    TAG_IGNORE = 4,
    TAG_POLL = 5,       /* a watch, for reading or once */
    TAG_POLL_WRITE = 6, /* a stream's watch, for writing */
};
int slot_take(struct flight *flight); /* -ENOMEM */
void slot_give(struct flight *flight);
uint64_t slot_user_data(const struct flight *flight);
struct flight *slot_find(struct engine *engine, uint64_t user_data); /* NULL: stale */

/* watch.c */
void watches_arm(struct engine *engine); /* before each wait */
void watch_reported(struct watch *watch, uint32_t mask);
void watch_is_due(struct watch *watch); /* its poll ended by itself */
void watches_close(struct engine *engine);

static inline enum tag
tag_of(uint64_t user_data)
{
    return (enum tag)(user_data & 15);
}
void engine_drain_inbox(struct engine *engine); /* the eventfd was written to */
void engine_lock_release(struct engine *engine);
void engine_lock_acquire(struct engine *engine);
/* The ring request or readiness wait of a flight is over: its final completion. */
void engine_completed(struct flight *flight, int64_t result);

#endif
