/* The worker pool, see worker.h.
 *
 * A cancelled flight may sit in a system call that never returns by itself. Its worker
 * gets a real-time signal whose handler does nothing and which does not restart calls;
 * as a signal may arrive just before the call begins, it is sent again until the flight
 * has come back. All other signals are blocked on workers: they belong to the
 * process's own threads (the announcement left signals open; this is the answer). */
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "engine_private.h"

static int
interrupt_signal(void)
{
    return SIGRTMAX - 7;
}

static void
do_nothing(int number)
{
    (void)number;
}

static void
queue_append(struct job_queue *queue, struct flight *flight)
{
    flight->link = NULL;
    if (queue->last != NULL) {
        queue->last->link = flight;
    } else {
        queue->first = flight;
    }
    queue->last = flight;
}

static struct flight *
queue_take(struct job_queue *queue)
{
    struct flight *flight = queue->first;
    if (flight != NULL) {
        queue->first = flight->link;
        if (queue->first == NULL) {
            queue->last = NULL;
        }
        flight->link = NULL;
    }
    return flight;
}

static int64_t
clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int
workers_open(struct engine *engine)
{
    struct workers *workers = &engine->workers;
    pthread_condattr_t attributes;
    pthread_mutex_init(&workers->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&workers->work, &attributes);
    pthread_cond_init(&workers->gone, &attributes);
    pthread_condattr_destroy(&attributes);
    int32_t limit = engine->options.workers_max;
    workers->limit = limit < 0 || limit > WORKERS_MAX ? WORKERS_MAX : (uint32_t)limit;
    return 0;
}

static bool
may_take_stay(const struct workers *workers)
{
    uint32_t limit = workers->limit;
    uint32_t kept = limit > WORKERS_EAGER ? WORKERS_EAGER : limit / 2;
    return limit == 0 || workers->staying < limit - kept;
}

static bool
is_work_there(const struct workers *workers)
{
    return workers->jobs.first != NULL ||
           (workers->stays.first != NULL && may_take_stay(workers));
}

/* --- on a worker -------------------------------------------------------------------- */

static void
hand_back(struct engine *engine, struct flight *flight)
{
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    bool first = workers->inbox.first == NULL;
    if (__atomic_load_n(&flight->cancelled, __ATOMIC_SEQ_CST)) {
        workers->interrupts -= 1;
    }
    flight->on_worker = false;
    if (flight->may_stay) {
        flight->may_stay = false;
        workers->staying -= 1;
        pthread_cond_signal(&workers->work); /* another one of these may begin */
    }
    queue_append(&workers->inbox, flight);
    pthread_mutex_unlock(&workers->lock);
    if (first) {
        engine_wake(engine);
    }
}

/* With the lock held: the next job, or NULL. Flights that may wait for somebody else
 * leave some workers to those that end by themselves: one of these may be what they
 * wait for. */
static struct flight *
next_job(struct workers *workers)
{
    struct flight *flight = queue_take(&workers->jobs);
    if (flight == NULL && may_take_stay(workers)) {
        flight = queue_take(&workers->stays);
        workers->staying += flight != NULL;
    }
    return flight;
}

/* With the lock held. NULL: idle for too long, or the pool stops. */
static struct flight *
wait_for_job(struct workers *workers)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WORKER_IDLE_MS / 1000;
    int res = 0;
    workers->idle += 1;
    while (!is_work_there(workers) && !workers->stopping && res == 0) {
        res = pthread_cond_timedwait(&workers->work, &workers->lock, &until);
    }
    workers->idle -= 1;
    workers->taken_ns = clock_ns();
    return next_job(workers);
}

static void *
worker_main(void *argument)
{
    struct engine *engine = argument;
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    struct flight *flight;
    while ((flight = wait_for_job(workers)) != NULL) {
        flight->worker = pthread_self();
        flight->on_worker = true;
        pthread_mutex_unlock(&workers->lock);
        flight_run_blocking(flight);
        hand_back(engine, flight);
        pthread_mutex_lock(&workers->lock);
    }
    workers->alive -= 1;
    pthread_cond_signal(&workers->gone);
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

/* --- on the engine's thread --------------------------------------------------------- */

static int
start_worker(struct engine *engine)
{
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, interrupt_signal());
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int res = pthread_create(&thread, &attributes, worker_main, engine);
    if (res == EINVAL) { /* libraries with much thread-local memory need more stack */
        pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES_MORE);
        res = pthread_create(&thread, &attributes, worker_main, engine);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -res;
}

/* With the lock held: is one more thread due? A few at once; more only when those have
 * been stuck for a while, because runnable threads beyond the processors slow each
 * other down (docs/rationale.md, "How many workers"). */
static bool
one_more_is_due(const struct workers *workers)
{
    if (!is_work_there(workers) || workers->idle != 0 ||
        workers->alive >= workers->limit) {
        return false;
    }
    return workers->alive < WORKERS_EAGER ||
           clock_ns() - workers->taken_ns >= WORKERS_STUCK_NS;
}

static void
add_worker(struct engine *engine, bool due)
{
    struct workers *workers = &engine->workers;
    if (!due || start_worker(engine) == 0) {
        return;
    }
    /* No thread to be had (EAGAIN): the others will come to it, or we do it here. */
    pthread_mutex_lock(&workers->lock);
    workers->alive -= 1;
    bool alone = workers->alive == 0;
    pthread_mutex_unlock(&workers->lock);
    if (alone) {
        workers_run_one(engine);
    }
}

void
workers_submit(struct flight *flight)
{
    struct engine *engine = flight->engine;
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    flight->on_worker = false;
    queue_append(flight->may_stay ? &workers->stays : &workers->jobs, flight);
    bool due = one_more_is_due(workers);
    workers->alive += due;
    pthread_cond_signal(&workers->work);
    pthread_mutex_unlock(&workers->lock);
    add_worker(engine, due);
}

/* With the lock held: how long until those whose signal came too early get another. Not
 * sooner however often the host turns: these signals queue, and a worker that does
 * nothing but return from them never comes to the end of its call. */
static int64_t
again_in_ns(const struct workers *workers)
{
    int64_t ns = workers->interrupted_ns + CANCEL_RESEND_NS - clock_ns();
    return ns > 0 ? ns : 0;
}

/* With the lock held. */
static void
interrupt_again(struct engine *engine)
{
    engine->workers.interrupted_ns = clock_ns();
    for (struct flight *flight = engine->in_air; flight != NULL;
         flight = flight->following) {
        if (flight->on_worker && flight->cancelled) {
            pthread_kill(flight->worker, interrupt_signal());
        }
    }
}

void
workers_tend(struct engine *engine)
{
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    if (workers->interrupts != 0 && again_in_ns(workers) == 0) {
        interrupt_again(engine);
    }
    bool due = one_more_is_due(workers);
    workers->alive += due;
    if (due) {
        workers->taken_ns = clock_ns();
    }
    pthread_mutex_unlock(&workers->lock);
    add_worker(engine, due);
}

int64_t
workers_due(struct engine *engine)
{
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    bool waiting = is_work_there(workers) && workers->alive < workers->limit;
    int64_t ns = waiting                    ? WORKERS_STUCK_NS
                 : workers->interrupts != 0 ? again_in_ns(workers)
                                            : -1;
    pthread_mutex_unlock(&workers->lock);
    return ns;
}

bool
workers_run_one(struct engine *engine)
{
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    struct flight *flight = next_job(workers);
    pthread_mutex_unlock(&workers->lock);
    if (flight == NULL) {
        return false;
    }
    engine_lock_release(engine); /* it may block as long as it likes */
    flight_run_blocking(flight);
    engine_lock_acquire(engine);
    hand_back(engine, flight);
    return true;
}

struct flight *
workers_collect(struct engine *engine)
{
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    struct flight *list = workers->inbox.first;
    workers->inbox.first = workers->inbox.last = NULL;
    pthread_mutex_unlock(&workers->lock);
    return list;
}

/* With the lock held. */
static void
install_signal(struct workers *workers)
{
    struct sigaction action = {.sa_handler = do_nothing}; /* no SA_RESTART */
    if (!workers->signal_ready) {
        sigaction(interrupt_signal(), &action, NULL);
        workers->signal_ready = true;
    }
}

/* With the lock held: removes a job no worker has begun. */
static bool
withdraw(struct job_queue *jobs, struct flight *flight)
{
    struct flight **at = &jobs->first;
    struct flight *before = NULL;
    while (*at != NULL && *at != flight) {
        before = *at;
        at = &before->link;
    }
    if (*at == NULL) {
        return false;
    }
    *at = flight->link;
    if (jobs->last == flight) {
        jobs->last = before;
    }
    flight->link = NULL;
    return true;
}

void
workers_interrupt(struct flight *flight)
{
    struct engine *engine = flight->engine;
    struct workers *workers = &engine->workers;
    bool wake = false;
    pthread_mutex_lock(&workers->lock);
    install_signal(workers);
    if (withdraw(flight->may_stay ? &workers->stays : &workers->jobs, flight)) {
        flight->may_stay = false;
        wake = workers->inbox.first == NULL;
        queue_append(&workers->inbox, flight);
    } else if (flight->on_worker) {
        if (workers->interrupts++ == 0) {
            workers->interrupted_ns = clock_ns();
        }
        __atomic_store_n(&flight->cancelled, 1, __ATOMIC_SEQ_CST);
        pthread_kill(flight->worker, interrupt_signal());
    }
    pthread_mutex_unlock(&workers->lock);
    if (wake) {
        engine_wake(engine);
    }
}

uint32_t
workers_alive(struct engine *engine)
{
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    uint32_t alive = workers->alive;
    pthread_mutex_unlock(&workers->lock);
    return alive;
}

void
workers_close(struct engine *engine)
{
    struct workers *workers = &engine->workers;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->work);
    while (workers->alive != 0) {
        pthread_cond_wait(&workers->gone, &workers->lock);
    }
    pthread_mutex_unlock(&workers->lock);
    pthread_cond_destroy(&workers->work);
    pthread_cond_destroy(&workers->gone);
    pthread_mutex_destroy(&workers->lock);
}

void
workers_forget(struct engine *engine)
{
    engine->workers.alive = 0; /* the threads live in the parent only */
}
