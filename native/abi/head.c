/* Heads: completion rings of programs, and what is pending for them.
 *
 * A head is known by the address of its struct async_head_user. All it needs while
 * nothing is pending is in that struct, so there is an object here only while something
 * is (or is waited for, or registered): nothing has to be given back by programs that
 * never unregister. It is found in a bucket by its address, under the bucket's lock.
 *
 * A slot that is not 0 is never overwritten. async_exec refuses to start when every slot
 * is filled or promised to a pending syslet, so an end finds room; if the program wrote
 * there itself meanwhile, the end is kept and posted as soon as there is room. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "head.h"
#include "syslet.h"

struct bucket buckets[BUCKETS] = {
    [0 ... BUCKETS - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

struct bucket *
bucket_of(uint64_t address)
{
    return &buckets[(address >> 4 ^ address >> 12) % BUCKETS];
}

/* With the bucket's lock held. */
struct head *
head_find(struct bucket *bucket, uint64_t address, enum abi abi)
{
    struct head *head = bucket->heads;
    while (head != NULL && (head->address != address || head->abi != abi)) {
        head = head->next;
    }
    return head;
}

/* Nothing is promised: what the program's struct says now is what counts. Version 1 has
 * no index there, so its struct is read once. */
static bool
is_free(const struct head *head)
{
    return head->pending == 0 && head->abi != ABI_V1;
}

/* With the bucket's lock held: nobody finds it any more. */
void
head_detach(struct head *head)
{
    if (head->detached) {
        return;
    }
    struct head **at = &head->bucket->heads;
    while (*at != head) {
        at = &(*at)->next;
    }
    *at = head->next;
    head->detached = true;
    /* Whoever sees 0 also sees what was written to the program's struct. */
    __atomic_sub_fetch(&head->bucket->count, 1, __ATOMIC_RELEASE);
}

/* With the bucket's lock held: nobody needs it any more. */
void
head_free_if_done(struct head *head)
{
    bool needed = head->holds != 0 || head->serving != 0 || head->registered;
    if (needed || head->pending != 0 || head->kept != 0) {
        return;
    }
    head_detach(head);
    free(head);
}

/* With the bucket's lock held. The spare is the thread's; there is one. */
struct head *
head_find_or_make(struct abi_thread *thread, uint64_t address, enum abi abi)
{
    struct bucket *bucket = bucket_of(address);
    struct head *head = head_find(bucket, address, abi);
    if (head == NULL) {
        head = thread->spare_head;
        assert(head != NULL);
        thread->spare_head = NULL;
        memset(head, 0, sizeof(*head));
        head->bucket = bucket;
        head->address = address;
        head->abi = abi;
        head->threads_max = UINT64_MAX;
        head->next = bucket->heads;
        bucket->heads = head;
        __atomic_add_fetch(&bucket->count, 1, __ATOMIC_RELAXED);
    }
    return head;
}

int
head_need_spare(struct abi_thread *thread)
{
    if (thread->spare_head == NULL) {
        thread->spare_head = malloc(sizeof(struct head));
    }
    return thread->spare_head != NULL ? 0 : -ENOMEM;
}

/* --- the program's struct ----------------------------------------------------------- */

int
head_view_read(struct abi_thread *thread, uint64_t ahu, enum abi abi,
               struct ring_view *view)
{
    uint64_t words[4];
    int res =
        __builtin_expect(thread->probes || abi == ABI_V1, 0)
            ? memory_load(thread, words, ahu, abi == ABI_V1 ? 3 : 4)
            : guard_plain_load(words, ahu) + guard_plain_load_3(words + 1, ahu + 8);
    if (res < 0) {
        return -EFAULT;
    }
    if (abi == ABI_V1) {
        *view = (struct ring_view){words[0], words[1], 0, words[2]};
    } else {
        *view = (struct ring_view){words[2], words[3], words[0], UINT64_MAX};
    }
    uint64_t bytes = view->slots;
    view->slots = bytes / SLOT_BYTES;
    bool whole = bytes % SLOT_BYTES == 0 && bytes != 0 && view->ring % SLOT_BYTES == 0;
    if (view->ring == 0) {
        return -EFAULT;
    }
    return whole && view->filled_next < view->slots ? 0 : -EINVAL;
}

int
head_check(struct abi_thread *thread, uint64_t ahu, enum abi abi)
{
    struct ring_view view;
    return head_view_read(thread, ahu, abi, &view);
}

/* Is the slot free that would be filled after `taken` others? */
static int
slot_check(struct abi_thread *thread, const struct ring_view *view, uint64_t taken)
{
    if (taken >= view->slots) {
        return -EAGAIN;
    }
    uint64_t value;
    uint64_t slot = view->filled_next + taken;
    slot = slot < view->slots ? slot : slot - view->slots;
    if (memory_load(thread, &value, view->ring + slot * SLOT_BYTES, 1) < 0) {
        return -EFAULT;
    }
    return value == 0 ? 0 : -EAGAIN;
}

/* --- posting ------------------------------------------------------------------------ */

/* With the lock held. -EAGAIN: the slot is not free; -EFAULT: it is not there. */
static int
post(struct abi_thread *thread, struct head *head, uint64_t value)
{
    struct ring_view *view = &head->view;
    int res = slot_check(thread, view, 0);
    if (res < 0) {
        return res;
    }
    /* Whoever finds the slot filled finds the results as well. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (memory_store(thread, view->ring + view->filled_next * SLOT_BYTES, value) < 0) {
        return -EFAULT;
    }
    view->filled_next = (view->filled_next + 1) % view->slots;
    if (head->abi != ABI_V1) {
        /* Whoever finds the index moved finds the slot filled: stores pass each other
         * on AArch64. */
        __atomic_thread_fence(__ATOMIC_RELEASE);
        memory_store(thread, head->address, view->filled_next);
    }
    return 0;
}

/* With the lock held: posts what was kept. 0: nothing is kept any more. */
int
head_post_kept(struct abi_thread *thread, struct head *head)
{
    while (head->kept_first != NULL) {
        struct syslet *syslet = head->kept_first;
        int res = post(thread, head, syslet->last);
        if (res < 0) {
            return res;
        }
        head->kept_first = syslet->link;
        head->kept -= 1;
        syslet_free(syslet);
    }
    return 0;
}

int
head_catch_up(struct abi_thread *thread, struct head *head)
{
    uint32_t kept = head->kept;
    int res = head_post_kept(thread, head);
    if (head->kept != kept) {
        head_changed(head);
    }
    return res;
}

static void
keep(struct head *head, struct syslet *syslet)
{
    syslet->link = NULL;
    if (head->kept_first == NULL) {
        head->kept_first = syslet;
    } else {
        head->kept_last->link = syslet;
    }
    head->kept_last = syslet;
    head->kept += 1;
}

void
head_changed(struct head *head)
{
    __atomic_add_fetch(&head->changes, 1, __ATOMIC_SEQ_CST);
    if (head->holds != 0) {
        syscall(SYS_futex, &head->changes, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
}

void
head_land(struct abi_thread *thread, struct syslet *syslet)
{
    struct head *head = syslet->head;
    pthread_mutex_t *lock = syslet->lock;
    bool posts = syslet->end == -EFAULT || !(syslet->last_flags & SYSLET_NO_COMPLETE);
    pthread_mutex_lock(lock);
    if (syslet->previous != NULL) {
        syslet->previous->following = syslet->following;
    } else {
        head->first = syslet->following;
    }
    if (syslet->following != NULL) {
        syslet->following->previous = syslet->previous;
    }
    head->pending -= 1;
    if (posts) {
        keep(head, syslet);
    } else {
        syslet_free(syslet);
    }
    head_post_kept(thread, head);
    head_changed(head);
    head_free_if_done(head);
    pthread_mutex_unlock(lock);
}

/* --- submitting --------------------------------------------------------------------- */

/* With the lock held: the struct as it is now, between two posts. */
int
head_view_refresh(struct abi_thread *thread, struct head *head)
{
    struct ring_view view;
    int res = head_view_read(thread, head->address, head->abi, &view);
    if (res == 0 && is_free(head)) {
        head->view = view;
    }
    return res;
}

static int
has_room_alone(struct abi_thread *thread, uint64_t ahu, enum abi abi)
{
    struct ring_view view;
    int res = head_view_read(thread, ahu, abi, &view);
    return res < 0 ? res : slot_check(thread, &view, 0);
}

int
head_has_room(struct abi_thread *thread, uint64_t ahu, enum abi abi)
{
    struct bucket *bucket = bucket_of(ahu);
    if (head_need_spare(thread) < 0) {
        return -ENOMEM;
    }
    if (__atomic_load_n(&bucket->count, __ATOMIC_ACQUIRE) == 0) {
        return has_room_alone(thread, ahu, abi);
    }
    pthread_mutex_lock(&bucket->lock);
    int res;
    struct head *head = head_find(bucket, ahu, abi);
    if (head == NULL) {
        res = has_room_alone(thread, ahu, abi);
    } else {
        res = head_view_refresh(thread, head);
        head_catch_up(thread, head);
        uint64_t taken = (uint64_t)head->pending + head->kept;
        res = res < 0 ? res : slot_check(thread, &head->view, taken);
    }
    pthread_mutex_unlock(&bucket->lock);
    return res;
}

/* A miss: from now on its end is owed to the ring. */
void
head_adopt(struct abi_thread *thread, struct syslet *syslet, uint64_t ahu)
{
    struct bucket *bucket = bucket_of(ahu);
    pthread_mutex_lock(&bucket->lock);
    struct head *head = head_find_or_make(thread, ahu, syslet->abi);
    /* The struct may have been unmapped since it was checked: the end is kept then. */
    head_view_refresh(thread, head);
    syslet->head = head;
    syslet->lock = &bucket->lock;
    syslet->previous = NULL;
    syslet->following = head->first;
    if (head->first != NULL) {
        head->first->previous = syslet;
    }
    head->first = syslet;
    head->pending += 1;
    pthread_mutex_unlock(&bucket->lock);
}

int
head_post_event(struct abi_thread *thread, uint64_t ahu, enum abi abi, uint64_t event)
{
    int res = head_has_room(thread, ahu, abi);
    if (res < 0) {
        return res;
    }
    struct bucket *bucket = bucket_of(ahu);
    pthread_mutex_lock(&bucket->lock);
    struct head *head = head_find_or_make(thread, ahu, abi);
    res = head_view_refresh(thread, head);
    res = res < 0 ? res : post(thread, head, event);
    head_changed(head);
    head_free_if_done(head);
    pthread_mutex_unlock(&bucket->lock);
    return res;
}
