/* Heads: waiting for ends, registering, serving, cancelling, forking. See head.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "head.h"

/* --- waiting ------------------------------------------------------------------------ */

/* Filled slots from `from` on, at most `wanted`; -EFAULT. */
static int64_t
count_events(struct abi_thread *thread, const struct ring_view *view, uint64_t from,
             uint64_t wanted)
{
    uint64_t count = 0;
    uint64_t most = wanted < view->slots ? wanted : view->slots;
    while (count < most) {
        uint64_t value;
        uint64_t slot = (from + count) % view->slots;
        if (memory_load(thread, &value, view->ring + slot * SLOT_BYTES, 1) < 0) {
            return -EFAULT;
        }
        if (value == 0) {
            break;
        }
        count += 1;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the results behind what was seen */
    return (int64_t)count;
}

/* Version 1 does not say where the program reads: all that are filled. */
static int64_t
count_all(struct abi_thread *thread, const struct ring_view *view, uint64_t wanted)
{
    int64_t count = 0;
    for (uint64_t slot = 0; slot < view->slots && (uint64_t)count < wanted; slot++) {
        int64_t one = count_events(thread, view, slot, 1);
        if (one < 0) {
            return one;
        }
        count += one;
    }
    return count;
}

/* With the lock held, which it gives up: until something changes. 0 or -EINTR. */
static int
sleep_on(struct abi_thread *thread, struct head *head)
{
    uint32_t seen = head->changes;
    pthread_mutex_t *lock = &head->bucket->lock;
    head->holds += 1;
    pthread_mutex_unlock(lock);
    thread->busy = false; /* a signal handler may submit now */
    /* Without a limit a handler that restarts calls (SA_RESTART) would not end it. */
    const struct timespec limit = {WAIT_AGAIN_S, 0};
    long res =
        syscall(SYS_futex, &head->changes, FUTEX_WAIT_PRIVATE, seen, &limit, NULL, 0);
    int error = res < 0 ? errno : 0;
    thread->busy = true;
    pthread_mutex_lock(lock);
    head->holds -= 1;
    return error == EINTR ? -EINTR : 0;
}

static int
wait_for(struct abi_thread *thread, struct head *head, uint64_t events,
         uint64_t user_index)
{
    for (;;) {
        int kept = head_catch_up(thread, head);
        int64_t count = head->abi == ABI_V1
                            ? count_all(thread, &head->view, events)
                            : count_events(thread, &head->view, user_index, events);
        if (count < 0) {
            return (int)count;
        }
        if ((uint64_t)count >= events || (uint64_t)count == head->view.slots) {
            return 0;
        }
        if (head->pending == 0) {
            return kept == -EFAULT ? -EFAULT : 0;
        }
        int res = sleep_on(thread, head);
        if (res < 0) {
            return res;
        }
    }
}

int
head_wait(struct abi_thread *thread, uint64_t ahu, enum abi abi, uint64_t events,
          uint64_t user_index)
{
    struct ring_view view;
    int res = head_view_read(thread, ahu, abi, &view);
    if (res < 0) {
        return res;
    }
    if (abi != ABI_V1 && user_index >= view.slots) {
        return -EINVAL;
    }
    struct bucket *bucket = bucket_of(ahu);
    pthread_mutex_lock(&bucket->lock);
    struct head *head = head_find(bucket, ahu, abi);
    if (head != NULL) {
        head_view_refresh(thread, head);
        res = wait_for(thread, head, events, user_index);
        head_free_if_done(head);
    }
    pthread_mutex_unlock(&bucket->lock);
    return res;
}

/* --- registering, serving ----------------------------------------------------------- */

int
head_register(struct abi_thread *thread, uint64_t ahu)
{
    struct ring_view view;
    int res = head_need_spare(thread);
    res = res < 0 ? res : head_view_read(thread, ahu, ABI_V1, &view);
    if (res < 0) {
        return res;
    }
    struct bucket *bucket = bucket_of(ahu);
    pthread_mutex_lock(&bucket->lock);
    struct head *head = head_find_or_make(thread, ahu, ABI_V1);
    /* What is owed to the last who registered it must not come to the next. */
    res = head->registered || head->pending != 0 || head->kept != 0 ? -EBUSY : 0;
    if (res == 0) {
        head->registered = true;
        head->threads_max = view.threads_max;
        head->view = view;
    }
    pthread_mutex_unlock(&bucket->lock);
    return res;
}

/* Its thread has ended. What is still pending is posted all the same. */
void
head_forsake(uint64_t ahu)
{
    struct bucket *bucket = bucket_of(ahu);
    pthread_mutex_lock(&bucket->lock);
    struct head *head = head_find(bucket, ahu, ABI_V1);
    if (head != NULL) {
        head->registered = false;
        head_free_if_done(head);
    }
    pthread_mutex_unlock(&bucket->lock);
}

static int
wait_until_empty(struct abi_thread *thread, struct head *head)
{
    for (;;) {
        int kept = head_catch_up(thread, head);
        if (head->pending == 0) {
            return kept == 0 ? 0 : -EAGAIN; /* ends that the ring has no room for */
        }
        int res = sleep_on(thread, head);
        if (res < 0) {
            return res;
        }
    }
}

int
head_unregister(struct abi_thread *thread, uint64_t ahu, enum abi abi)
{
    struct bucket *bucket = bucket_of(ahu);
    pthread_mutex_lock(&bucket->lock);
    struct head *head = head_find(bucket, ahu, abi);
    int res = 0;
    if (head != NULL) {
        __atomic_store_n(&head->ends, true, __ATOMIC_SEQ_CST);
        pthread_mutex_unlock(&bucket->lock);
        pool_wake_all();
        pthread_mutex_lock(&bucket->lock);
        head = head_find(bucket, ahu, abi);
    }
    if (head != NULL) {
        res = wait_until_empty(thread, head);
        if (res == 0) {
            head->registered = false;
            head_detach(head); /* threads that serve it may be away for another */
        } else {
            __atomic_store_n(&head->ends, false, __ATOMIC_SEQ_CST);
        }
        head_free_if_done(head);
    }
    pthread_mutex_unlock(&bucket->lock);
    return res;
}

struct head *
head_hold(struct abi_thread *thread, uint64_t ahu, enum abi abi)
{
    struct bucket *bucket = bucket_of(ahu);
    if (head_need_spare(thread) < 0) {
        return NULL;
    }
    pthread_mutex_lock(&bucket->lock);
    struct head *head = head_find_or_make(thread, ahu, abi);
    head->serving += 1;
    pthread_mutex_unlock(&bucket->lock);
    return head;
}

void
head_let_go(struct head *head)
{
    pthread_mutex_t *lock = &head->bucket->lock;
    pthread_mutex_lock(lock);
    head->serving -= 1;
    head_changed(head);
    head_free_if_done(head);
    pthread_mutex_unlock(lock);
}

bool
head_ends(const struct head *head)
{
    return __atomic_load_n(&head->ends, __ATOMIC_SEQ_CST);
}

bool
head_never_runs(const struct head *head)
{
    return head->threads_max == 0;
}

/* Version 1's max_nr_threads: how many of its syslets may run at once. 0: only asks. */
bool
head_may_run(struct head *head, int change)
{
    if (change >= 0 && head->running >= head->threads_max) {
        return false;
    }
    head->running += (uint32_t)change;
    return true;
}

/* --- cancelling, forking ------------------------------------------------------------ */

int
head_cancel(struct abi_thread *thread, uint64_t ahu, enum abi abi, uint64_t atom)
{
    struct bucket *bucket = bucket_of(ahu);
    pthread_mutex_lock(&bucket->lock);
    struct head *head = head_find(bucket, ahu, abi);
    struct syslet *syslet = head != NULL ? head->first : NULL;
    while (syslet != NULL && (syslet->first != atom || syslet->base.cancelled)) {
        syslet = syslet->following;
    }
    bool ours = syslet != NULL && pool_interrupt(syslet);
    pthread_mutex_unlock(&bucket->lock);
    if (ours) {
        interpret_cancelled(thread, syslet);
        head_land(thread, syslet);
    }
    return syslet != NULL ? 0 : -ENOENT;
}

void
heads_lock_all(void)
{
    for (int i = 0; i < BUCKETS; i++) {
        pthread_mutex_lock(&buckets[i].lock);
    }
}

static void
forget_head(struct head *head)
{
    for (struct syslet *syslet = head->first; syslet != NULL;) {
        struct syslet *gone = syslet;
        syslet = syslet->following;
        syslet_free(gone);
    }
    while (head->kept_first != NULL) {
        struct syslet *gone = head->kept_first;
        head->kept_first = gone->link;
        syslet_free(gone);
    }
    free(head);
}

/* forget: in a forked child, where the threads are not that would have gone on. */
void
heads_unlock_all(bool forget)
{
    for (int i = BUCKETS - 1; i >= 0; i--) {
        struct bucket *bucket = &buckets[i];
        while (forget && bucket->heads != NULL) {
            struct head *head = bucket->heads;
            bucket->heads = head->next;
            forget_head(head);
        }
        if (forget) { /* else others look at it, without the lock */
            __atomic_store_n(&bucket->count, 0, __ATOMIC_RELAXED);
        }
        pthread_mutex_unlock(&bucket->lock);
    }
}
