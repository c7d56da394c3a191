/* The engine's front door: plans, flights, turns. Plain C11, no Python.h.
 *
 * An engine belongs to one thread, the one that created it; every function here is
 * called on that thread (plan_* on any thread: a plan is immutable and refcounted).
 * Functions return 0 or -errno. The host is whoever drives the engine: the Python
 * binding, the C interface of the announcement, or a test.
 *
 * Lifecycle of a flight: flight_prepare → the host fills cells and takes its leases →
 * flight_launch → (FLIGHT_LANDED at once, or FLIGHT_AWAY and later host->landed) →
 * flight_release. Until it has landed nothing lent to it may be freed, cancelled or
 * not. */
#ifndef SYSLET_ENGINE_H
#define SYSLET_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel.h"
#include "program.h"
#include "trace.h"
#include "watch.h"

struct engine;
struct flight;
struct plan;

/* --- plans ------------------------------------------------------------------ */

struct program_error {
    uint32_t atom; /* index of the offending atom; UINT32_MAX: none */
    char text[128];
};

/* Verifies the program (independently of its compiler) and decodes it.
 * -EINVAL with *error filled, or -ENOMEM. The new plan has one reference. */
int plan_create(struct plan **plan, const struct program *program,
                struct program_error *error);
/* A name for reports; it is cut to TRACE_LABEL_MAX - 1 bytes. Before the first flight. */
void plan_label_set(struct plan *plan, const char *label);
void plan_hold(struct plan *plan);
void plan_drop(struct plan *plan);
uint32_t plan_atoms_count(const struct plan *plan);
uint32_t plan_cells_count(const struct plan *plan);
const struct program_atom *plan_atom(const struct plan *plan, uint32_t index);

/* --- flights ---------------------------------------------------------------- */

enum flight_end {
    FLIGHT_ENDED,     /* ran to an end or a stop: last atom and result are valid */
    FLIGHT_CANCELLED, /* cancelled or abandoned before its end */
};

enum { FLIGHT_LANDED = 0, FLIGHT_AWAY = 1 };

/* Where the atoms of a flight were executed, for reports. */
enum flight_path { PATH_INLINE = 0, PATH_RING = 1, PATH_WORKER = 2 };

/* A flight of `plan` with its cells set to the image and relocations applied.
 * NULL: no memory, or FLIGHTS_MAX are in the air. Holds a reference to the plan. */
struct flight *flight_prepare(struct engine *engine, struct plan *plan);

uint64_t *flight_cells(struct flight *flight);           /* borrowed: until release */
void flight_host_set(struct flight *flight, void *host); /* borrowed by the flight */
void *flight_host(const struct flight *flight);

/* Runs it from the first atom. FLIGHT_LANDED: done, host->landed is not called.
 * FLIGHT_AWAY: host->landed is called from a later engine_turn, exactly once. */
int flight_launch(struct flight *flight);

/* Ask a flight that is away to end early. It runs no further atom, its fds are closed,
 * and host->landed is called once, later, from engine_turn. Idempotent.
 * cancel: somebody still waits for the landing; abandon: nobody does. */
void flight_cancel(struct flight *flight);
void flight_abandon(struct flight *flight);

/* A flight paused by host->emitted goes on in the next turn. */
void flight_resume(struct flight *flight);

/* Valid from landing to release. */
enum flight_end flight_end(const struct flight *flight);
uint32_t flight_last_atom(const struct flight *flight); /* UINT32_MAX: none ran */
int64_t flight_last_result(const struct flight *flight);
enum flight_path flight_path_taken(const struct flight *flight); /* the slowest */
/* Set for each atom that ran at least once; for the "results so far". */
bool flight_atom_ran(const struct flight *flight, uint32_t index);

/* The caller takes over fd, which the flight then no longer closes. */
int flight_fd_take(struct flight *flight, int fd); /* -EBADF: not the flight's */

/* Closes the fds it still owns, frees its buffers, recycles it. After landing (or
 * after prepare, when it was never launched). */
void flight_release(struct flight *flight);

/* --- the host's side -------------------------------------------------------- */

struct host {
    void *context; /* borrowed; handed back to each function */
    void (*landed)(void *context, struct flight *flight);
    /* A PSEUDO_EMIT atom ran. true: go on; false: pause until flight_resume. */
    bool (*emitted)(void *context, struct flight *flight, uint64_t report);
    /* A watch saw something; see watch.h. NULL: the host has no watches. */
    void (*watched)(void *context, struct watch *watch, uint32_t mask);
    /* Around calls that may block or move much, and around waiting. May be NULL. */
    void (*lock_release)(void *context);
    void (*lock_acquire)(void *context);
};

/* --- engines ---------------------------------------------------------------- */

enum backend {
    BACKEND_ANY = 0,
    BACKEND_URING = 1,
    BACKEND_EPOLL = 2,
    BACKEND_KERNEL = 3
};

struct engine_options {
    enum backend backend; /* ANY: kernel, else io_uring, else epoll, silently */
    uint32_t sq_entries;  /* 0: the limit; tests squeeze it to 2 or 4 */
    int32_t workers_max;  /* -1: the limit; 0: none, see engine_work */
    uint32_t flights_max; /* 0: the limit */
    uint64_t memory_max;  /* bytes of new buffers outside of flights; 0: no bound */
};

struct engine_stats {
    uint64_t atoms;     /* executed, wherever */
    uint64_t inlined;   /* attempts that ended inline */
    uint64_t to_ring;   /* atoms that became a request or a readiness wait */
    uint64_t to_worker; /* flights handed to a worker */
    uint64_t enters;    /* kernel entries to submit or wait */
    uint64_t submitted; /* requests */
    uint64_t completed; /* completions reaped */
    uint64_t waits;     /* turns that were allowed to sleep */
    uint64_t wakeups;   /* turns begun or ended by a worker or by engine_wake */
    uint64_t stale;     /* completions whose flight was gone */
    uint64_t overflows; /* times the completion queue had overflowed */
    uint64_t launched;  /* flights */
    uint64_t landed;
    uint64_t flying;      /* flights in the air now */
    uint64_t cancelling;  /* of these: somebody waits for their early end */
    uint64_t abandoned;   /* of these: nobody does */
    uint64_t ready;       /* of these: they run in the next turn */
    uint64_t waiting;     /* of these: for a request or for readiness */
    uint64_t working;     /* of these: on a worker, or for one, or back from one */
    uint64_t paused;      /* of these: their reports have to be taken first */
    uint64_t prepared;    /* flights prepared and not yet released (leases) */
    uint64_t workers;     /* threads alive now */
    uint64_t budget_cuts; /* flights that had to let others run */
    uint64_t memory;      /* bytes of new buffers outside of flights, now */

    uint64_t to_kernel; /* runs of a program that the kernel was given */
    uint64_t in_kernel; /* atoms that it executed */
};

int engine_create(struct engine **engine, const struct kernel *kernel,
                  const struct host *host, const struct engine_options *options);

enum backend engine_backend(const struct engine *engine);
int engine_backend_errno(const struct engine *engine); /* why not io_uring; 0: it is */

/* Where a miss of this operation goes, for reports. */
enum miss_path { MISS_NEVER, MISS_RING, MISS_READINESS, MISS_WORKER, MISS_KERNEL };
enum miss_path engine_miss_path(const struct engine *engine, uint32_t nr);

/* For foreign loops: an fd that becomes readable when engine_turn(engine, 0) has
 * something to do. Owned by the engine; -1 until engine_make_pollable, which may be
 * called again and returns 0 or -errno. */
int engine_make_pollable(struct engine *engine);
int engine_fd(const struct engine *engine);

/* Another pollable fd (a loop's epoll fd) that ends the wait of engine_turn when it
 * becomes readable. -1 removes it. Borrowed until removed. */
int engine_watch(struct engine *engine, int fd);

/* One turn: submit, wait at most timeout_ns (-1: until something happens; 0: only look)
 * unless flights are ready, reap, run what is ready within the budget, report landings.
 * *watched is set if the watched fd is readable. -EINTR: a signal ended the wait. */
int engine_turn(struct engine *engine, int64_t timeout_ns, bool *watched);

/* In how many nanoseconds a turn is due even if engine_fd stays silent; -1: never. A
 * foreign loop asks after each launch, cancellation and turn. */
int64_t engine_due(struct engine *engine);

/* Starts a new budget: hosts that launch outside engine_turn call it once per tick. */
void engine_budget_reset(struct engine *engine);
bool engine_budget_spent(const struct engine *engine);
/* Submits requests now if there are so many, instead of at the next wait. */
void engine_push(struct engine *engine, uint32_t least);

/* Ends a wait in engine_turn early; the one function for other threads and signals. */
void engine_wake(struct engine *engine);

/* Runs one queued worker job on the calling thread (workers_max == 0 only): false if
 * none is queued. For tests that decide the order of everything. */
bool engine_work(struct engine *engine);

/* Lends it a trace, or takes it back (NULL). -EBUSY: flights are in the air. */
int engine_trace(struct engine *engine, struct trace *trace);

/* stats.c. The lists it walks are as long as there are flights in the air. */
void engine_stats_get(const struct engine *engine, struct engine_stats *stats);
uint64_t engine_flying(const struct engine *engine); /* the one number, at once */
/* How often a flight left the thread at an atom of this system call: what to_ring and
 * to_worker count together. MISSES_COUNTED and above share one number. */
uint64_t engine_misses(const struct engine *engine, uint32_t nr);

/* Abandons every flight and turns until all have landed, then frees. -EBUSY if a host
 * still holds prepared flights after that (the engine then stays). In a forked child it
 * only forgets: nothing of the parent's is touched. */
int engine_close(struct engine *engine);

/* After fork, in the child: the engine can only be closed. */
bool engine_is_forked(const struct engine *engine);

/* --- the operations table --------------------------------------------------- */

struct op_info {
    const char *name;
    uint32_t nr;
    const char *args;        /* one letter per argument, see op.h */
    char result;             /* see op.h */
    const char *inline_form; /* how it is tried without blocking; "" if it is not */
    const char *ring_form;   /* io_uring opcode's name; "" if there is none */
    bool may_block;
    bool waits;       /* may wait for a peer or a clock without bound */
    bool inline_only; /* runs on the submitting thread or not at all */
};

uint32_t ops_count(void);
void ops_get(uint32_t index, struct op_info *info);
/* Why `nr` may not be in a program; NULL if it may. */
const char *op_refusal(uint32_t nr);

#endif
