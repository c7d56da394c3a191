/* Every limit of the engine, in one place (docs/design.md, "Limits").
 *
 * Nothing in this room is unbounded: each number below is reached by a test, and
 * hitting one is an errno, never an assert. Any file may include this header; it
 * includes nothing but stdint. */
#ifndef SYSLET_LIMITS_H
#define SYSLET_LIMITS_H

#include <stdint.h>

enum {
    /* One program. Cell and atom indexes fit 16 bits in the decoded form. */
    ATOMS_MAX = 4096,
    CELLS_MAX = 32768,
    BUFFERS_MAX = 64,
    RELOCS_MAX = 4096,
    ARGS_MAX = 6,
    BOUNDS_MAX = 2, /* arguments of one atom with a bound */
    CONSTS_BYTES_MAX = 1 << 24,

    /* Larger ones are not handed to a kernel that executes syslets. */
    HANDED_ATOMS_MAX = 256,
    HANDED_CELLS_MAX = 4096,

    /* One flight. */
    FDS_OWNED_MAX = 64,          /* open at once, made by the flight: then EMFILE */
    SCRATCH_BYTES_MAX = 1 << 16, /* new buffers up to this size share the flight */
    IOVECS_MAX = 1024,           /* of one call: the kernel's own limit */
    HEAP_BYTES_MAX = 1 << 30,    /* one new buffer: then ENOMEM */

    /* One engine. */
    FLIGHTS_MAX = 1 << 16,    /* in the air at once: then EAGAIN */
    FLIGHTS_POOLED_MAX = 512, /* landed flights kept for reuse, per size class */
    WATCHES_MAX = 1 << 20,    /* descriptors watched at once: then ENOMEM */
    SQ_ENTRIES = 256,
    CQ_ENTRIES = 4096,
    WORKERS_MAX = 32,           /* threads; more jobs wait in the queue */
    WORKERS_EAGER = 4,          /* started as jobs come */
    WORKERS_STUCK_NS = 1000000, /* a queue that stands still: one more */
    WORKER_STACK_BYTES = 1 << 17,
    WORKER_STACK_BYTES_MORE = 1 << 23,
    WORKER_IDLE_MS = 5000,    /* an idle worker ends after this */
    HANDED_AWAY_MAX = 64,     /* programs in the kernel's workers; more go elsewhere */
    DEVICE_REFUSALS_MAX = 2,  /* in a row: then the kernel is not asked again */
    DRAIN_FAILURES_MAX = 100, /* turns that fail while an engine closes */
    FIXED_MAX = 16,           /* registered pieces of memory: then plain requests */
    RING_RETRY_NS = 1000000,  /* the ring took nothing: again after this */
    CANCEL_RESEND_NS = 5000000, /* a worker that missed its signal gets another */

    /* One flight at a stretch: then it goes to the back of the ready queue. */
    FLIGHT_ATOMS_MAX = 256,
    FLIGHT_BYTES_MAX = 1 << 20,
    /* The same on a worker, which then has other jobs. */
    WORKER_ATOMS_MAX = 1024,
    /* All flights in one turn: then the host's other work has its say. */
    TURN_ATOMS_MAX = 1024,
    TURN_BYTES_MAX = 1 << 22,

    /* A transfer above this, or a call that blocks, runs without the host's lock. */
    LOCKED_BYTES_MAX = 1 << 18,

    /* libsyslet (native/abi): atoms run in the caller before the rest goes to a thread;
     * syslets pending at once, then EAGAIN; threads, then they wait for one; of these,
     * threads started as syslets come, more when the queue stands still. */
    HERE_ATOMS_MAX = 1 << 14,
    PENDING_MAX = 1 << 16,
    THREADS_MAX = 1024,
    THREADS_EAGER = 16,
    WAIT_AGAIN_S = 3600, /* async_wait looks again, though nobody has woken it */

    /* System calls whose misses are counted one by one; those of higher numbers share. */
    MISSES_COUNTED = 512,

    /* Spans of one trace that nobody has read; more are counted and dropped. */
    TRACE_SPANS_MAX = 1 << 20,

    /* A stream's buffer that is empty keeps no more than this. */
    QUEUE_KEPT_BYTES = 8192,
};

_Static_assert(CELLS_MAX <= UINT16_MAX, "cell indexes are 16 bits when decoded");
_Static_assert(ATOMS_MAX < UINT16_MAX, "atom indexes are 16 bits when decoded");
_Static_assert(CQ_ENTRIES >= 4 * SQ_ENTRIES, "completions outlive submissions");
_Static_assert(FLIGHT_ATOMS_MAX <= TURN_ATOMS_MAX, "one flight fits a turn");
_Static_assert(FLIGHTS_MAX <= 1 << 20, "slots are 20 bits of user_data");
_Static_assert(SCRATCH_BYTES_MAX <= LOCKED_BYTES_MAX, "scratch is small work");

#endif
