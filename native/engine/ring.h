/* One io_uring: its memory, its submission and completion queues.
 *
 * Knows nothing of flights: entries go in, completions come out. Used by engine.c's
 * io_uring backend only, on the engine's thread only (SINGLE_ISSUER). The one place
 * where a full submission queue is handled is ring_reserve. */
#ifndef SYSLET_RING_H
#define SYSLET_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel.h"
#include "uring.h"

struct ring {
    const struct kernel *kernel; /* borrowed from the engine */
    int fd;                      /* owned; -1: closed */
    uint32_t features;

    uint32_t *sq_head, *sq_tail, *sq_flags; /* borrowed from rings_memory */
    uint32_t sq_mask, sq_entries;
    uint32_t sq_next;  /* our tail, published by ring_enter */
    uint32_t sq_given; /* tail as the kernel last consumed it */
    struct sqe *sqes;  /* owned mapping */

    uint32_t *cq_head, *cq_tail; /* borrowed from rings_memory */
    uint32_t cq_mask;
    struct cqe *cqes;

    void *rings_memory; /* owned mapping */
    size_t rings_size, sqes_size;
    uint64_t ops[4]; /* bit per opcode the kernel supports */

    uint64_t enters, submitted, overflows;
};

/* -errno: this machine has no usable io_uring, whatever the reason. Proves with one
 * round trip that submitting and a timed wait work, not only that setup does. */
int ring_open(struct ring *ring, const struct kernel *kernel, uint32_t entries);
void ring_close(struct ring *ring);  /* idempotent */
void ring_forget(struct ring *ring); /* in a forked child: close our copy of the fd */

/* Has the kernel write to an eventfd when completions or work for this thread come. */
int ring_notify(struct ring *ring, int event_fd);
int ring_notify_anew(struct ring *ring, int event_fd); /* in place of the last one */
bool ring_has(const struct ring *ring, uint8_t opcode);

/* A table of `count` registered buffers, all empty; then what is at one index of it
 * (NULL: nothing). Only the thread that made the ring may. 0 or -errno. */
int ring_buffers_make(struct ring *ring, uint32_t count);
int ring_buffer(struct ring *ring, uint32_t index, void *memory, size_t size);

/* A zeroed entry, or NULL: the queue is full and the kernel takes nothing now. */
struct sqe *ring_reserve(struct ring *ring);
void ring_unreserve(struct ring *ring); /* takes back the last reservation */
/* Room for `count` entries that must not be parted (a link). */
bool ring_room(struct ring *ring, uint32_t count);
uint32_t ring_unsubmitted(const struct ring *ring);

/* Submits what is queued and waits for a completion at most timeout_ns (0: no wait;
 * -1: until one comes). 0, or -EINTR, -EAGAIN, -EBUSY: look at the completions. */
int ring_enter(struct ring *ring, int64_t timeout_ns);

bool ring_next(struct ring *ring, struct cqe *cqe); /* false: none there now */
bool ring_wants_enter(const struct ring *ring);     /* kernel work waits for us */
/* The same, without completions that found no room: they wait for ring_next. */
bool ring_has_work(const struct ring *ring);

#endif
