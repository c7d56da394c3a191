/* The library's inside: syslets in the program's memory, run one atom at a time.
 *
 * It borrows the engine's ways to try a call without blocking (native/engine/attempt.h),
 * for which it keeps the parts of a flight, a plan and an engine that those look at. It
 * uses neither the engine's turns nor its workers: a thread of this library that carries
 * on with a syslet posts its end itself, so a program needs no loop.
 *
 *   calls.c      what is done for a system call number
 *   interpret.c  from atom to atom, here or on a thread of the library
 *   head.c       completion rings: room, posting, waiting, cancelling
 *   pool.c       the threads
 *   exec.c       the functions of syslet.h
 *   hub.c        for a host with a loop: ends by eventfd, without a ring
 *
 * Locks: a head's (of its bucket, or its hub's) before the pool's. No lock is held over
 * a system call of a program. */
#ifndef SYSLET_ABI_H
#define SYSLET_ABI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../engine/engine_private.h"
#include "guard.h"

enum abi { ABI_V1 = 1, ABI_V3 = 3, ABI_V6 = 6 };

struct atom { /* copied once from the program's memory */
    uint32_t flags;
    bool args_bad; /* one of its pointers led nowhere */
    uint64_t nr, ret, next;
    uint64_t args[ARGS_MAX];
};

struct call {            /* what is done for a system call number */
    const struct op *op; /* borrowed: rows are constant */
    int64_t (*attempt)(struct flight *flight, const uint64_t *args); /* NULL: miss */
    uint8_t shape; /* enum call_shape: how it fits the row's arguments */
    uint8_t fds;   /* bit per argument that names a descriptor */
    bool any_fd;   /* it may use some that no argument names */
    bool stays;    /* changes the thread: the submitter makes it, or nobody */
    bool minds; /* whatever it does to args[0], an attempt sees to it; or closes it */
    bool arranged;   /* needs more than its arguments as they are */
    uint8_t mask_at; /* argument that would be the thread's signal mask meanwhile; 0 */
    int8_t refusal;  /* -errno, or 0 */
};

enum call_shape { /* bits */
                  SHAPE_SAME = 0,
                  SHAPE_AT = 1,    /* (path, ...) as (AT_FDCWD, path, ...) */
                  SHAPE_THREE = 2, /* then the fourth argument is 0 */
};

enum { CALLS_MAX = 1024 }; /* numbers beyond any kernel's */

struct head;
struct hub;

struct syslet { /* one execution; owned by the thread that runs it, or by its queue */
    struct flight base; /* what attempts look at; `fds` are those still to be settled */
    struct plan plan;
    struct step step;
    struct atom atom;
    bool is_fetched; /* `atom` is the copy of what is at `at` */
    enum abi abi;
    uint64_t first; /* address of the atom it was submitted with */
    uint64_t at;    /* of the atom to run */
    uint64_t last;  /* of the last that ran; 0: none has */
    uint32_t last_flags;
    pid_t submitter;       /* thread that signals go to, and whose TID gettid gives */
    struct iovec *vector;  /* owned: copy of a vectored transfer's iovecs */
    pthread_mutex_t *lock; /* borrowed: the head's; guards what follows */
    pid_t thread;          /* that carries on with it; 0: none does yet */
    struct head *head;     /* borrowed; or */
    struct hub *hub;       /* borrowed */
    uint64_t ticket;       /* the hub's */
    int end;               /* 0, -EFAULT: an address led nowhere, -ECANCELED */
    struct syslet *previous, *following; /* pending ones of the same head or hub */
    struct syslet *link;                 /* the pool's queue, or ends not yet posted */
};

struct abi_thread {          /* of a thread that runs syslets */
    struct engine engine;    /* what attempts need of one: kernel, flags */
    struct flight asks;      /* whoever reads the program's memory for no atom */
    struct plan no_plan;     /* its plan, without cells */
    struct syslet *spare;    /* owned: for the next async_exec */
    struct head *spare_head; /* owned */
    uint64_t registered;     /* version 1: address of the thread's head, or 0 */
    volatile bool busy;      /* in the library: a signal handler must stay outside */
    bool probes;
    pid_t tid;
};

/* exec.c */
struct abi_thread *abi_thread_get(void); /* the calling thread's; NULL: no memory */
void abi_thread_open(struct abi_thread *thread);
void abi_thread_set(struct abi_thread *thread);
/* Runs what begins at `atom`. The address of the last atom, 0: it is away, or -errno.
 * Exactly one of `ahu` and `hub` is given. */
int64_t abi_exec(uint64_t atom, uint64_t ahu, enum abi abi, struct hub *hub,
                 uint64_t ticket);
/* Its end: posted or told, and forgotten. */
void syslet_land(struct abi_thread *thread, struct syslet *syslet);
void syslet_free(struct syslet *syslet);

/* calls.c */
void calls_open(void);
const struct call *call_find(uint64_t nr); /* NULL: there is no such system call */

/* interpret.c */
enum outcome {
    OUTCOME_ENDED, /* `last` is the atom that ended it */
    OUTCOME_BROKEN,
    OUTCOME_MISSED,
};
void syslet_init(struct syslet *syslet, uint64_t atom, enum abi abi);
enum outcome interpret_here(struct abi_thread *thread, struct syslet *syslet);
void interpret_away(struct abi_thread *thread, struct syslet *syslet);
/* It ends at the atom that would have been next, which is not run. */
void interpret_cancelled(struct abi_thread *thread, struct syslet *syslet);

/* head.c: addresses of struct async_head_user; 0 or -errno */
int head_check(struct abi_thread *thread, uint64_t ahu, enum abi abi);
int head_has_room(struct abi_thread *thread, uint64_t ahu, enum abi abi);
void head_adopt(struct abi_thread *thread, struct syslet *syslet, uint64_t ahu);
void head_land(struct abi_thread *thread, struct syslet *syslet);
int head_register(struct abi_thread *thread, uint64_t ahu);
int head_unregister(struct abi_thread *thread, uint64_t ahu, enum abi abi);
int head_wait(struct abi_thread *thread, uint64_t ahu, enum abi abi, uint64_t events,
              uint64_t user_index);
int head_cancel(struct abi_thread *thread, uint64_t ahu, enum abi abi, uint64_t atom);
int head_post_event(struct abi_thread *thread, uint64_t ahu, enum abi abi,
                    uint64_t event);
struct head *head_hold(struct abi_thread *thread, uint64_t ahu, enum abi abi);
void head_let_go(struct head *head);
bool head_ends(const struct head *head);          /* it is being unregistered */
bool head_may_run(struct head *head, int change); /* the pool's lock held */
bool head_never_runs(const struct head *head);    /* on a thread of the library */
void head_forsake(uint64_t ahu); /* version 1: the thread that registered it ends */
void heads_lock_all(void);       /* around fork */
void heads_unlock_all(bool forget);

/* hub.c, see hub.h */
void hub_adopt(struct hub *hub, struct syslet *syslet);
void hub_land(struct syslet *syslet);

/* pool.c */
void pool_open(void);
bool pool_is_full(void); /* as many syslets are pending as may be */
void pool_count(int change);
void pool_submit(struct abi_thread *thread, struct syslet *syslet);
/* async_thread, until the head is unregistered, which is then let go of; NULL: for ever.
 * The program may cancel the thread. */
void pool_serve(struct abi_thread *thread, struct head *head);
void pool_wake_all(void); /* a head is being unregistered: let them look */
void pool_lock(void);     /* around fork */
void pool_unlock(bool forget);
/* With the syslet's lock held: whoever runs it is told to stop. true: nobody does, and
 * it is out of the queue: the caller ends and lands it. */
bool pool_interrupt(struct syslet *syslet);
long pool_limit(long count);

/* The program's memory, in the way that was chosen. 0 or -EFAULT. */
static inline int
memory_load(struct abi_thread *thread, uint64_t *to, uint64_t from, int count)
{
    if (__builtin_expect(thread->probes, 0)) {
        return guard_probe_load(&thread->asks, to, from, count);
    }
    int res = 0;
    for (int i = 0; i < count && res == 0; i++) {
        res = guard_plain_load(&to[i], from + 8 * (uint64_t)i);
    }
    return res;
}

static inline int
memory_store(struct abi_thread *thread, uint64_t to, uint64_t value)
{
    return __builtin_expect(thread->probes, 0)
               ? guard_probe_store(&thread->asks, to, value)
               : guard_plain_store(to, value);
}

static inline int
memory_add(struct abi_thread *thread, uint64_t to, uint64_t increment, int64_t *sum)
{
    return __builtin_expect(thread->probes, 0)
               ? guard_probe_add(&thread->asks, to, increment, sum)
               : guard_plain_add(to, increment, sum);
}

static inline uint64_t
atom_bytes(enum abi abi)
{
    return abi == ABI_V6 ? 80 : 88;
}

#endif
