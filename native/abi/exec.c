/* The functions of syslet.h, in its three layouts, and what a thread has of the library.
 *
 * Everything the library makes for a thread is freed when that thread ends; everything
 * else exists only while something is pending. In a forked child nothing is pending: the
 * threads that would have gone on are the parent's. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "abi.h"
#include "syslet.h"

#define EXPORT __attribute__((visibility("default")))

_Static_assert(sizeof(struct syslet_uatom) == 80, "version 6, the default layout");
_Static_assert(sizeof(struct async_head_user) == 64, "the same");

enum { V1_HEAD_BYTES = 24 };

static __thread struct abi_thread *mine
    __attribute__((tls_model("initial-exec"))); /* owned; or a pool thread's own */
static pthread_key_t mine_key;
static pthread_once_t open_once = PTHREAD_ONCE_INIT;
static bool is_open; /* false: without a key of our own nothing works */

/* --- threads ------------------------------------------------------------------------ */

void
syslet_free(struct syslet *syslet)
{
    free(syslet->vector);
    free(syslet->base.vector);
    free(syslet);
    pool_count(-1);
}

static void
thread_free(void *memory)
{
    struct abi_thread *thread = memory;
    if (thread->registered != 0) {
        head_forsake(thread->registered);
    }
    free(thread->spare);
    free(thread->spare_head);
    free(thread);
    mine = NULL;
}

static void
before_fork(void)
{
    heads_lock_all();
    pool_lock();
    guard_lock();
}

static void
after_fork(void)
{
    guard_unlock();
    pool_unlock(false);
    heads_unlock_all(false);
}

static void
after_fork_in_child(void)
{
    guard_unlock();
    heads_unlock_all(true);
    pool_unlock(true);
    if (mine != NULL) {
        mine->tid = (pid_t)syscall(SYS_gettid);
        mine->registered = 0; /* the head is gone with all others */
    }
}

static void
open_all(void)
{
    calls_open();
    pool_open();
    is_open = pthread_key_create(&mine_key, thread_free) == 0 &&
              pthread_atfork(before_fork, after_fork, after_fork_in_child) == 0;
}

void
abi_thread_open(struct abi_thread *thread)
{
    thread->engine.kernel = &kernel_real;
    thread->asks.engine = &thread->engine;
    thread->asks.plan = &thread->no_plan;
    thread->tid = (pid_t)syscall(SYS_gettid);
    thread->probes = guard_uses_probes() || !guard_may_fault_here();
}

void
abi_thread_set(struct abi_thread *thread)
{
    mine = thread;
}

static struct abi_thread *
thread_make(void)
{
    pthread_once(&open_once, open_all);
    if (!is_open) {
        return NULL;
    }
    guard_open();
    struct abi_thread *thread = calloc(1, sizeof(*thread));
    if (thread == NULL) {
        return NULL;
    }
    if (pthread_setspecific(mine_key, thread) != 0) {
        free(thread);
        return NULL;
    }
    abi_thread_open(thread);
    mine = thread;
    return thread;
}

static inline struct abi_thread *
thread_get(void)
{
    return __builtin_expect(mine != NULL, 1) ? mine : thread_make();
}

struct abi_thread *
abi_thread_get(void)
{
    return thread_get();
}

/* The calling thread enters the library. -ENOMEM, or -EBUSY: a signal handler, inside. */
static int
enter(struct abi_thread **thread)
{
    *thread = thread_get();
    if (*thread == NULL) {
        return -ENOMEM;
    }
    if ((*thread)->busy) {
        return -EBUSY;
    }
    (*thread)->busy = true;
    return 0;
}

static long
leave(struct abi_thread *thread, long res)
{
    thread->busy = false;
    return res;
}

/* --- running ------------------------------------------------------------------------ */

void
syslet_land(struct abi_thread *thread, struct syslet *syslet)
{
    if (syslet->hub != NULL) {
        hub_land(syslet);
    } else {
        head_land(thread, syslet);
    }
}

/* Everything that may fail does so here, before anything has run. */
static int
prepare(struct abi_thread *thread, uint64_t ahu, enum abi abi, const struct hub *hub)
{
    if (thread->spare == NULL) {
        thread->spare = calloc(1, sizeof(struct syslet));
    }
    if (thread->spare == NULL) {
        return -ENOMEM;
    }
    if (pool_is_full()) {
        return -EAGAIN;
    }
    return hub != NULL ? 0 : head_has_room(thread, ahu, abi);
}

static void
send_away(struct abi_thread *thread, uint64_t ahu, struct hub *hub, uint64_t ticket)
{
    struct syslet *syslet = thread->spare;
    thread->spare = NULL;
    syslet->submitter = thread->tid;
    pool_count(1);
    if (hub != NULL) {
        syslet->ticket = ticket;
        hub_adopt(hub, syslet);
    } else {
        head_adopt(thread, syslet, ahu);
    }
    pool_submit(thread, syslet);
}

static int64_t
run(struct abi_thread *thread, uint64_t atom, uint64_t ahu, enum abi abi,
    struct hub *hub, uint64_t ticket)
{
    int res = prepare(thread, ahu, abi, hub);
    if (res < 0) {
        return res;
    }
    struct syslet *syslet = thread->spare;
    syslet_init(syslet, atom, abi);
    enum outcome outcome = interpret_here(thread, syslet);
    if (outcome == OUTCOME_MISSED) {
        send_away(thread, ahu, hub, ticket);
        return 0;
    }
    if (syslet->vector != NULL) {
        free(syslet->vector);
        syslet->vector = NULL;
    }
    return outcome == OUTCOME_ENDED ? (int64_t)syslet->last : -EFAULT;
}

int64_t
abi_exec(uint64_t atom, uint64_t ahu, enum abi abi, struct hub *hub, uint64_t ticket)
{
    struct abi_thread *thread;
    int res = enter(&thread);
    if (res < 0) {
        return res;
    }
    int64_t last = run(thread, atom, ahu, abi, hub, ticket);
    thread->busy = false;
    return last;
}

static struct syslet_uatom *
exec(const void *atom, const void *ahu, enum abi abi)
{
    int64_t last = abi_exec((uintptr_t)atom, (uintptr_t)ahu, abi, NULL, 0);
    return (struct syslet_uatom *)(intptr_t)last;
}

static long
wait_events(uint64_t ahu, enum abi abi, unsigned long events, unsigned long index)
{
    struct abi_thread *thread;
    int res = enter(&thread);
    return res < 0 ? res : leave(thread, head_wait(thread, ahu, abi, events, index));
}

/* async_register or async_unregister, whose size says that both mean the same struct. */
static long
with_head(const void *ahu, enum abi abi, unsigned long size,
          int (*what)(struct abi_thread *thread, uint64_t ahu, enum abi abi))
{
    struct abi_thread *thread;
    if (size != (abi == ABI_V1 ? V1_HEAD_BYTES : sizeof(struct async_head_user))) {
        return -EINVAL;
    }
    int res = enter(&thread);
    return res < 0 ? res : leave(thread, what(thread, (uintptr_t)ahu, abi));
}

static long
serve(struct abi_thread *thread, uint64_t event, uint64_t ahu, enum abi abi)
{
    if (ahu == 0 && event != 0) {
        return -EFAULT;
    }
    int res = ahu == 0     ? 0
              : event == 0 ? head_check(thread, ahu, abi)
                           : head_post_event(thread, ahu, abi, event);
    if (res < 0) {
        return res;
    }
    struct head *head = ahu != 0 ? head_hold(thread, ahu, abi) : NULL;
    if (ahu != 0 && head == NULL) {
        return -ENOMEM;
    }
    pool_serve(thread, head); /* without a head for ever; lets go of it */
    return 0;
}

static long
become_server(const void *event, const void *ahu, enum abi abi)
{
    struct abi_thread *thread;
    int res = enter(&thread);
    return res < 0
               ? res
               : leave(thread, serve(thread, (uintptr_t)event, (uintptr_t)ahu, abi));
}

static long
cancel(const void *atom, const void *ahu, enum abi abi)
{
    struct abi_thread *thread;
    int res = enter(&thread);
    return res < 0 ? res
                   : leave(thread,
                           head_cancel(thread, (uintptr_t)ahu, abi, (uintptr_t)atom));
}

/* --- version 6 ---------------------------------------------------------------------- */

EXPORT struct syslet_uatom *
async_exec(struct syslet_uatom *atom, struct async_head_user *ahu)
{
    return exec(atom, ahu, ABI_V6);
}

EXPORT long
async_wait(unsigned long events, unsigned long index, struct async_head_user *ahu)
{
    return wait_events((uintptr_t)ahu, ABI_V6, events, index);
}

EXPORT long
async_register(struct async_head_user *ahu, unsigned long size)
{
    return with_head(ahu, ABI_V6, size, head_check);
}

EXPORT long
async_unregister(struct async_head_user *ahu, unsigned long size)
{
    return with_head(ahu, ABI_V6, size, head_unregister);
}

EXPORT long
async_thread(void *event, struct async_head_user *ahu)
{
    return become_server(event, ahu, ABI_V6);
}

EXPORT long
syslet_cancel(struct syslet_uatom *atom, struct async_head_user *ahu)
{
    return cancel(atom, ahu, ABI_V6);
}

/* --- versions 3 to 5: what syslet.h declares under these names ---------------------- */

EXPORT void *async_exec_v3(void *atom, void *ahu);
EXPORT long async_wait_v3(unsigned long events, unsigned long index, void *ahu);
EXPORT long async_register_v3(void *ahu, unsigned long size);
EXPORT long async_unregister_v3(void *ahu, unsigned long size);
EXPORT long async_thread_v3(void *event, void *ahu);
EXPORT long syslet_cancel_v3(void *atom, void *ahu);

void *
async_exec_v3(void *atom, void *ahu)
{
    return exec(atom, ahu, ABI_V3);
}

long
async_wait_v3(unsigned long events, unsigned long index, void *ahu)
{
    return wait_events((uintptr_t)ahu, ABI_V3, events, index);
}

long
async_register_v3(void *ahu, unsigned long size)
{
    return with_head(ahu, ABI_V3, size, head_check);
}

long
async_unregister_v3(void *ahu, unsigned long size)
{
    return with_head(ahu, ABI_V3, size, head_unregister);
}

long
async_thread_v3(void *event, void *ahu)
{
    return become_server(event, ahu, ABI_V3);
}

long
syslet_cancel_v3(void *atom, void *ahu)
{
    return cancel(atom, ahu, ABI_V3);
}

/* --- versions 1 and 2: a thread has one head, which it registers -------------------- */

EXPORT void *async_exec_v1(void *atom);
EXPORT long async_wait_v1(unsigned long events);
EXPORT long async_register_v1(void *ahu, unsigned long size);
EXPORT long async_unregister_v1(void *ahu, unsigned long size);
EXPORT long async_thread_v1(void);
EXPORT long syslet_cancel_v1(void *atom, void *ahu);

void *
async_exec_v1(void *atom)
{
    struct abi_thread *thread = thread_get();
    if (thread == NULL || thread->registered == 0) {
        return (void *)(intptr_t)(thread == NULL ? -ENOMEM : -EINVAL);
    }
    return exec(atom, (const void *)(uintptr_t)thread->registered, ABI_V1);
}

long
async_wait_v1(unsigned long events)
{
    struct abi_thread *thread = thread_get();
    if (thread == NULL || thread->registered == 0) {
        return thread == NULL ? -ENOMEM : -EINVAL;
    }
    return wait_events(thread->registered, ABI_V1, events, 0);
}

static int
register_mine(struct abi_thread *thread, uint64_t ahu, enum abi abi)
{
    (void)abi;
    int res = thread->registered != 0 ? -EBUSY : head_register(thread, ahu);
    thread->registered = res == 0 ? ahu : thread->registered;
    return res;
}

static int
unregister_mine(struct abi_thread *thread, uint64_t ahu, enum abi abi)
{
    bool is_ours = ahu != 0 && thread->registered == ahu;
    int res = is_ours ? head_unregister(thread, ahu, abi) : -EINVAL;
    thread->registered = res == 0 ? 0 : thread->registered;
    return res;
}

long
async_register_v1(void *ahu, unsigned long size)
{
    return with_head(ahu, ABI_V1, size, register_mine);
}

long
async_unregister_v1(void *ahu, unsigned long size)
{
    return with_head(ahu, ABI_V1, size, unregister_mine);
}

long
async_thread_v1(void)
{
    return become_server(NULL, NULL, ABI_V1);
}

long
syslet_cancel_v1(void *atom, void *ahu)
{
    return cancel(atom, ahu, ABI_V1);
}

/* --- all of them -------------------------------------------------------------------- */

EXPORT long
umem_add(unsigned long *word, unsigned long increment)
{
    struct abi_thread *thread = thread_get();
    if (thread == NULL) {
        return -ENOMEM;
    }
    int64_t sum;
    int res = memory_add(thread, (uintptr_t)word, increment, &sum);
    return res < 0 ? res : (long)sum;
}

EXPORT long
syslet_threads_max(long count)
{
    pthread_once(&open_once, open_all);
    return pool_limit(count);
}

EXPORT long
syslet_faults(enum syslet_faults how)
{
    pthread_once(&open_once, open_all);
    return guard_choose(how == SYSLET_FAULTS_PROBES);
}
