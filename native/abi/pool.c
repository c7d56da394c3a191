/* The threads that carry on with syslets after a miss.
 *
 * The announcement's "cachemiss threads": the first THREADS_EAGER are made as syslets
 * come and find none idle. More would slow each other down as long as they run; they are
 * needed when those wait for somebody. So the next one is a tender: it looks every
 * WORKERS_STUCK_NS whether the queue has moved, and if not takes from it, leaving the
 * tending to another. Idle threads end after WORKER_IDLE_MS. A program may also give
 * threads of its own (async_thread). They block every signal but those of faults, which
 * guard.c needs, and the one by which a cancellation interrupts a system call: signals
 * are the business of the program's threads.
 *
 * A syslet that waits for a peer keeps its thread; THREADS_MAX of them wait at once,
 * more wait in the queue. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "abi.h"

static struct pool {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    struct syslet *first, *last; /* owned: the queue */
    uint32_t queued;
    uint32_t alive, idle; /* of our own threads */
    uint32_t given_idle;  /* threads of the program that wait for work */
    uint32_t limit;
    uint32_t taken;   /* counts what was taken from the queue */
    bool tended;      /* one of our threads looks after the queue */
    uint32_t pending; /* atomic: syslets that have not been freed */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit = THREADS_MAX};

static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static void
make_condition(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool.work, &attributes);
    pthread_condattr_destroy(&attributes);
}

void
pool_open(void)
{
    pthread_once(&pool_once, make_condition);
}

bool
pool_is_full(void)
{
    return __atomic_load_n(&pool.pending, __ATOMIC_RELAXED) >= PENDING_MAX;
}

void
pool_count(int change)
{
    __atomic_add_fetch(&pool.pending, (uint32_t)change, __ATOMIC_RELAXED);
}

/* --- the queue, with the lock held -------------------------------------------------- */

static void
append(struct syslet *syslet)
{
    syslet->link = NULL;
    if (pool.first == NULL) {
        pool.first = syslet;
    } else {
        pool.last->link = syslet;
    }
    pool.last = syslet;
    pool.queued += 1;
}

static void
remove_after(struct syslet *before, struct syslet *syslet)
{
    if (before == NULL) {
        pool.first = syslet->link;
    } else {
        before->link = syslet->link;
    }
    if (pool.last == syslet) {
        pool.last = before;
    }
    pool.queued -= 1;
    pool.taken += 1;
    syslet->link = NULL;
}

/* The first that may run now on a thread of ours, or NULL. */
static struct syslet *
take(void)
{
    struct syslet *before = NULL;
    for (struct syslet *syslet = pool.first; syslet != NULL; syslet = syslet->link) {
        if (syslet->head == NULL || head_may_run(syslet->head, 1)) {
            remove_after(before, syslet);
            return syslet;
        }
        before = syslet;
    }
    return NULL;
}

static bool
remove_if_queued(struct syslet *wanted)
{
    struct syslet *before = NULL;
    for (struct syslet *syslet = pool.first; syslet != NULL; syslet = syslet->link) {
        if (syslet == wanted) {
            remove_after(before, syslet);
            return true;
        }
        before = syslet;
    }
    return false;
}

static void start_if_due(bool wanted);

/* --- on a thread -------------------------------------------------------------------- */

/* Threads of the program do not count for version 1's limit. */
static void
run(struct abi_thread *thread, struct syslet *syslet, bool counts)
{
    struct head *head = counts ? syslet->head : NULL;
    pthread_mutex_t *lock = syslet->lock;
    pthread_mutex_lock(lock);
    syslet->thread = (pid_t)syscall(SYS_gettid);
    pthread_mutex_unlock(lock);
    interpret_away(thread, syslet);
    if (head != NULL) { /* which lives until the syslet has landed */
        pthread_mutex_lock(&pool.lock);
        head_may_run(head, -1);
        pthread_mutex_unlock(&pool.lock);
    }
    syslet_land(thread, syslet);
}

/* With the lock held: the next one, or NULL after a while without any. */
static struct syslet *
wait_for_work(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WORKER_IDLE_MS / 1000;
    struct syslet *syslet = take();
    int res = 0;
    while (syslet == NULL && res == 0 && pool.alive <= pool.limit) {
        pool.idle += 1;
        res = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
        pool.idle -= 1;
        syslet = take();
    }
    return syslet;
}

/* With the lock held, until the queue is empty or has stood still for a while. */
static void
tend(void)
{
    const struct timespec pause = {0, WORKERS_STUCK_NS};
    uint32_t taken;
    do {
        taken = pool.taken;
        pthread_mutex_unlock(&pool.lock);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&pool.lock);
    } while (pool.queued != 0 && pool.taken != taken);
    pool.tended = false;
}

static void *
thread_main(void *tends)
{
    struct abi_thread thread;
    struct syslet *syslet;
    memset(&thread, 0, sizeof(thread));
    abi_thread_open(&thread);
    abi_thread_set(&thread);
    thread.busy = true;
    pthread_mutex_lock(&pool.lock);
    if (tends != NULL) {
        tend();
    }
    while ((syslet = wait_for_work()) != NULL) {
        start_if_due(pool.queued != 0);
        pthread_mutex_unlock(&pool.lock);
        run(&thread, syslet, true);
        pthread_mutex_lock(&pool.lock);
    }
    pool.alive -= 1;
    pthread_mutex_unlock(&pool.lock);
    abi_thread_set(NULL);
    return NULL;
}

/* What a thread that serves lets through. */
static void
block_signals(sigset_t *before)
{
    sigset_t set;
    sigfillset(&set);
    const int kept[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        sigdelset(&set, kept[i]);
    }
    sigdelset(&set, guard_signal());
    pthread_sigmask(SIG_SETMASK, &set, before);
}

struct server { /* a thread of the program, while it serves */
    struct abi_thread *thread;
    struct head *head; /* borrowed; NULL: it serves for ever */
};

/* With the pool's lock held, which it gives up. */
static void
stop_serving(const struct server *server)
{
    /* The last signal may have been meant for another. */
    pthread_cond_signal(&pool.work);
    start_if_due(pool.queued != 0);
    pthread_mutex_unlock(&pool.lock);
    if (server->head != NULL) {
        head_let_go(server->head);
    }
}

/* The program has cancelled the thread, which was idle: it holds the lock again. */
static void
on_cancel(void *argument)
{
    struct server *server = argument;
    pool.given_idle -= 1;
    stop_serving(server);
    server->thread->busy = false; /* the program's own handlers come next */
}

/* With the lock held. The only place where a thread that serves may be cancelled. */
static void
wait_as_given(struct server *server)
{
    pool.given_idle += 1;
    pthread_cleanup_push(on_cancel, server);
    pthread_cond_wait(&pool.work, &pool.lock);
    pthread_cleanup_pop(0);
    pool.given_idle -= 1;
}

/* With the lock held: one that a thread of this head may do. When the head is being
 * unregistered, what is queued for it; nobody else may be there to do that. */
static struct syslet *
take_as_given(const struct head *head, bool ends)
{
    struct syslet *before = NULL;
    for (struct syslet *syslet = pool.first; syslet != NULL; syslet = syslet->link) {
        if (!ends || syslet->head == head) {
            remove_after(before, syslet);
            return syslet;
        }
        before = syslet;
    }
    return NULL;
}

void
pool_serve(struct abi_thread *thread, struct head *head)
{
    struct server server = {thread, head};
    sigset_t before;
    block_signals(&before);
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        bool ends = head != NULL && head_ends(head);
        struct syslet *syslet = take_as_given(head, ends);
        if (syslet != NULL) {
            pthread_mutex_unlock(&pool.lock);
            run(thread, syslet, false);
            pthread_mutex_lock(&pool.lock);
        } else if (ends) {
            break;
        } else {
            wait_as_given(&server);
        }
    }
    stop_serving(&server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* --- submitting --------------------------------------------------------------------- */

static int
start_thread(bool tends)
{
    sigset_t before;
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    block_signals(&before);
    void *argument = tends ? &pool : NULL;
    int res = pthread_create(&thread, &attributes, thread_main, argument);
    if (res == EINVAL) { /* libraries with much thread-local memory need more stack */
        pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES_MORE);
        res = pthread_create(&thread, &attributes, thread_main, argument);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -res;
}

/* With the lock held, which is given up meanwhile: one more thread, if there is work for
 * it. If none is to be had, the others will come to it. */
static void
start_if_due(bool wanted)
{
    bool idle = pool.queued <= pool.idle + pool.given_idle;
    bool tends = pool.alive >= THREADS_EAGER;
    if (!wanted || idle || pool.alive >= pool.limit || (tends && pool.tended)) {
        return;
    }
    pool.alive += 1;
    pool.tended = pool.tended || tends;
    pthread_mutex_unlock(&pool.lock);
    int res = start_thread(tends);
    pthread_mutex_lock(&pool.lock);
    if (res < 0) {
        pool.alive -= 1;
        pool.tended = pool.tended && !tends;
    }
}

void
pool_submit(struct abi_thread *thread, struct syslet *syslet)
{
    pthread_mutex_lock(&pool.lock);
    append(syslet);
    bool wanted = syslet->head == NULL || head_may_run(syslet->head, 0);
    bool never = syslet->head != NULL && head_never_runs(syslet->head);
    /* By somebody who did not find it in the queue, and leaves its end to us. */
    bool ends = __atomic_load_n(&syslet->base.cancelled, __ATOMIC_SEQ_CST);
    pthread_cond_signal(&pool.work);
    start_if_due(wanted); /* from here on the syslet may be gone */
    /* Not one thread to be had: it is done here, if nobody else has. */
    bool nobody = never || (pool.limit != 0 && pool.alive == 0);
    bool here = (ends || (nobody && pool.given_idle == 0)) && remove_if_queued(syslet);
    pthread_mutex_unlock(&pool.lock);
    if (here) {
        run(thread, syslet, false);
    }
}

void
pool_wake_all(void)
{
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
}

bool
pool_interrupt(struct syslet *syslet)
{
    __atomic_store_n(&syslet->base.cancelled, 1, __ATOMIC_SEQ_CST);
    if (syslet->thread != 0) { /* it cannot land while its lock is held */
        syscall(SYS_tgkill, getpid(), syslet->thread, guard_signal());
        return false;
    }
    pthread_mutex_lock(&pool.lock);
    bool queued = remove_if_queued(syslet);
    pthread_mutex_unlock(&pool.lock);
    return queued; /* else a thread has just taken it, and will look at `cancelled` */
}

static void
start_for_queue(void)
{
    pthread_mutex_lock(&pool.lock);
    for (uint32_t missing = pool.queued; missing != 0; missing--) {
        start_if_due(pool.queued != 0);
    }
    pthread_mutex_unlock(&pool.lock);
}

long
pool_limit(long count)
{
    bool given = count >= 0 && count <= THREADS_MAX;
    pthread_mutex_lock(&pool.lock);
    long last = pool.limit;
    pool.limit = given ? (uint32_t)count : THREADS_MAX;
    pthread_cond_broadcast(&pool.work); /* idle ones beyond it end */
    pthread_mutex_unlock(&pool.lock);
    start_for_queue();
    return last;
}

void
pool_lock(void)
{
    pthread_mutex_lock(&pool.lock);
}

/* forget: in a forked child, which has none of the threads. Its syslets were the
 * heads' and are freed there. */
void
pool_unlock(bool forget)
{
    if (forget) {
        pool.first = pool.last = NULL;
        pool.queued = pool.alive = pool.idle = pool.given_idle = 0;
        pool.tended = false;
        pool.pending = 0;
        make_condition();
    }
    pthread_mutex_unlock(&pool.lock);
}
