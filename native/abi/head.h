/* Heads from inside: what head.c and head_wait.c share.
 *
 * Everything but bucket_of and head_need_spare is called with the bucket's lock held. */
#ifndef SYSLET_HEAD_H
#define SYSLET_HEAD_H

#include "abi.h"

/* fork takes the locks of all buckets, and ThreadSanitizer ends a program that holds 64. */
enum { BUCKETS = 32, SLOT_BYTES = 8 };

struct ring_view { /* as the program's struct says it */
    uint64_t ring, slots, filled_next, threads_max;
};

struct head {
    struct head *next; /* of the bucket */
    struct bucket *bucket;
    uint64_t address;
    enum abi abi;
    bool registered;  /* version 1 */
    bool ends;        /* atomic: is being unregistered, or was */
    bool detached;    /* was unregistered: whoever lets go of it last frees it */
    uint32_t holds;   /* threads that wait for it */
    uint32_t serving; /* threads that the program gave it */
    uint32_t changes; /* futex: counts what a waiter may want to know */
    uint32_t pending, kept;
    uint32_t running;     /* under the pool's lock */
    uint64_t threads_max; /* constant */
    struct ring_view view;
    struct syslet *first;                  /* pending ones; borrowed from the pool */
    struct syslet *kept_first, *kept_last; /* owned: ends that are not posted yet */
};

struct bucket { /* the heads whose addresses fall into it */
    pthread_mutex_t lock;
    struct head *heads; /* owned */
    uint32_t count;     /* atomic: of them */
};

extern struct bucket buckets[BUCKETS];

struct bucket *bucket_of(uint64_t address);
struct head *head_find(struct bucket *bucket, uint64_t address,
                       enum abi abi); /* NULL */
/* The thread's spare becomes it, if there is none yet. */
struct head *head_find_or_make(struct abi_thread *thread, uint64_t address,
                               enum abi abi);
int head_need_spare(struct abi_thread *thread); /* -ENOMEM */
void head_free_if_done(struct head *head);
/* The program's struct as it is now. -EFAULT or -EINVAL. */
int head_view_read(struct abi_thread *thread, uint64_t ahu, enum abi abi,
                   struct ring_view *view);
int head_view_refresh(struct abi_thread *thread, struct head *head);
/* Posts what was kept. 0: nothing is kept any more; -EAGAIN, -EFAULT. */
int head_post_kept(struct abi_thread *thread, struct head *head);
/* The same when nothing has ended just now: whoever waits for these ends is told. */
int head_catch_up(struct abi_thread *thread, struct head *head);
void head_changed(struct head *head); /* waiters look again */
void head_detach(struct head *head);  /* nobody finds it any more */

#endif
