/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The few io_uring calls of the tests. It is the only file of the suite that makes
 * them; a ring belongs to the thread that opened it.
 */
#include <sys/mman.h>

#include "suite.h"

static int
enter(struct ring *ring, unsigned submit, unsigned wait, unsigned flags)
{
    long done = syscall(SYS_io_uring_enter, ring->fd, submit, wait, flags, NULL, 0);

    return done < 0 ? -errno : (int)done;
}

static void *
map(struct ring *ring, size_t size, uint64_t offset)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                        ring->fd, (off_t)offset);

    CHECK(memory != MAP_FAILED);
    return memory;
}

int
ring_open(struct ring *ring, unsigned entries, unsigned flags)
{
    struct io_uring_params params = {.flags = flags};
    char *memory;

    memset(ring, 0, sizeof(*ring));
    ring->fd = (int)syscall(SYS_io_uring_setup, entries, &params);
    if (ring->fd < 0)
        return -errno;
    CHECK(params.features & IORING_FEAT_SINGLE_MMAP);
    ring->flags = flags;
    ring->entries = params.sq_entries;
    ring->ring_bytes =
        params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    ring->memory = memory = map(ring, ring->ring_bytes, IORING_OFF_SQ_RING);
    ring->sqe =
        map(ring, params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    ring->sq_head = (unsigned *)(memory + params.sq_off.head);
    ring->sq_tail = (unsigned *)(memory + params.sq_off.tail);
    ring->sq_mask = (unsigned *)(memory + params.sq_off.ring_mask);
    ring->sq_array = (unsigned *)(memory + params.sq_off.array);
    ring->cq_head = (unsigned *)(memory + params.cq_off.head);
    ring->cq_tail = (unsigned *)(memory + params.cq_off.tail);
    ring->cq_mask = (unsigned *)(memory + params.cq_off.ring_mask);
    ring->cqe = (struct io_uring_cqe *)(memory + params.cq_off.cqes);
    return 0;
}

void
ring_close(struct ring *ring)
{
    munmap(ring->sqe, ring->entries * sizeof(struct io_uring_sqe));
    munmap(ring->memory, ring->ring_bytes);
    close(ring->fd);
}

struct io_uring_sqe *
ring_sqe(struct ring *ring, uint64_t user_data)
{
    unsigned tail = *ring->sq_tail, at = tail & *ring->sq_mask;
    struct io_uring_sqe *sqe = &ring->sqe[at];

    CHECK(tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) < ring->entries);
    memset(sqe, 0, sizeof(*sqe));
    sqe->user_data = user_data;
    ring->sq_array[at] = at;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    ring->queued++;
    return sqe;
}

void
ring_queue(struct ring *ring, struct syslet_run *run, uint64_t user_data,
           unsigned sqe_flags)
{
    struct io_uring_sqe *sqe = ring_sqe(ring, user_data);
    struct syslet_cmd command = {.run = (uintptr_t)run};

    sqe->opcode = IORING_OP_URING_CMD;
    sqe->flags = (uint8_t)sqe_flags;
    sqe->fd = device();
    sqe->off = SYSLET_CMD_EXEC;
    /* The command lies where the third address of an entry does. */
    memcpy((char *)sqe + 48, &command, sizeof(command));
}

int
ring_submit(struct ring *ring)
{
    int done = enter(ring, ring->queued, 0, 0);

    if (done > 0)
        ring->queued -= (unsigned)done;
    return done;
}

static bool
holds_one(struct ring *ring)
{
    return *ring->cq_head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
}

bool
ring_ready(struct ring *ring)
{
    if (!holds_one(ring))
        enter(ring, 0, 0, IORING_ENTER_GETEVENTS);
    return holds_one(ring);
}

struct io_uring_cqe
ring_wait(struct ring *ring)
{
    struct io_uring_cqe cqe;
    int err;

    while (!holds_one(ring)) {
        err = enter(ring, 0, 1, IORING_ENTER_GETEVENTS);
        CHECK(err >= 0 || err == -EINTR);
    }
    cqe = ring->cqe[*ring->cq_head & *ring->cq_mask];
    __atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
    return cqe;
}

int
ring_run(struct ring *ring, struct syslet_run *run, unsigned sqe_flags)
{
    struct io_uring_cqe cqe;

    ring_queue(ring, run, 7, sqe_flags);
    EQUAL(ring_submit(ring), 1);
    cqe = ring_wait(ring);
    EQUAL(cqe.user_data, 7);
    EQUAL(cqe.flags & IORING_CQE_F_MORE, 0);
    return cqe.res;
}

int
ring_cancel(struct ring *ring, uint64_t user_data)
{
    struct io_uring_sqe *sqe = ring_sqe(ring, 99);

    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = user_data;
    return ring_submit(ring);
}
