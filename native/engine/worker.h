/* Workers: native threads that carry on with a flight after a miss.
 *
 * The announcement's "cachemiss threads". A worker takes a flight from the job queue,
 * runs the rest of it with plain blocking calls, and hands it back through the inbox,
 * waking the engine's thread by eventfd. Workers never take the host's lock and never
 * touch the engine outside this struct. Created on demand, at most workers_max, ended
 * after WORKER_IDLE_MS without work. With workers_max 0 nobody runs the jobs but
 * engine_work, for tests that decide the order of everything. */
#ifndef SYSLET_WORKER_H
#define SYSLET_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct engine;
struct flight;

struct job_queue {
    struct flight *first, *last; /* borrowed, linked by flight->link */
};

struct workers {
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t work;
    pthread_cond_t gone; /* a worker ended */
    struct job_queue jobs;
    struct job_queue stays; /* jobs that may wait for somebody else without bound */
    struct job_queue inbox; /* finished, for the engine's thread */
    uint32_t limit, alive, idle;
    uint32_t staying;       /* workers that run one of those */
    int64_t taken_ns;       /* when a worker last took a job, or was added */
    uint32_t interrupts;    /* cancelled flights that may still sit in a system call */
    int64_t interrupted_ns; /* when the last of them was told, or all once more */
    bool stopping;
    bool signal_ready; /* the interrupting signal has its handler */
};

int workers_open(struct engine *engine);
void workers_close(struct engine *engine);  /* joins all; no job may be left */
void workers_forget(struct engine *engine); /* in a forked child: no threads here */

void workers_submit(struct flight *flight);
struct flight *workers_collect(struct engine *engine); /* inbox as a list, or NULL */
void workers_interrupt(struct flight *flight); /* its `cancelled` is set: wake it up */
/* Sends a signal that may have come too early again, adds a worker if jobs wait and all
 * are stuck. */
void workers_tend(struct engine *engine);
int64_t workers_due(struct engine *engine); /* ns until the next tending; -1: none */
uint32_t workers_alive(struct engine *engine);
bool workers_run_one(struct engine *engine); /* on the calling thread */

#endif
