/* One io_uring, see ring.h. */
#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "limits.h"

#define LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

static int
ring_setup(struct ring *ring, uint32_t entries, struct io_uring_params_ *params)
{
    uint32_t flags = SETUP_CQSIZE | SETUP_SUBMIT_ALL | SETUP_TASKRUN_FLAG |
                     SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN | SETUP_NO_SQARRAY;
    for (;;) {
        memset(params, 0, sizeof(*params));
        params->flags = flags;
        params->cq_entries = CQ_ENTRIES;
        int fd = ring->kernel->ring_setup(ring->kernel->context, entries, params);
        if (fd == -EINVAL && (flags & SETUP_NO_SQARRAY)) {
            flags &= ~(uint32_t)SETUP_NO_SQARRAY; /* before 6.6 */
            continue;
        }
        return fd;
    }
}

static int
ring_map(struct ring *ring, const struct io_uring_params_ *params)
{
    const struct kernel *kernel = ring->kernel;
    size_t cq_size = params->cq_off.cqes + params->cq_entries * sizeof(struct cqe);
    size_t sq_size = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
    ring->rings_size = cq_size > sq_size ? cq_size : sq_size;
    ring->sqes_size = params->sq_entries * sizeof(struct sqe);
    ring->rings_memory =
        kernel->map(kernel->context, ring->rings_size, ring->fd, OFFSET_SQ_RING);
    if (ring->rings_memory == NULL) {
        return -ENOMEM;
    }
    ring->sqes = kernel->map(kernel->context, ring->sqes_size, ring->fd, OFFSET_SQES);
    return ring->sqes == NULL ? -ENOMEM : 0;
}

static void
ring_locate(struct ring *ring, const struct io_uring_params_ *params)
{
    char *base = ring->rings_memory;
    ring->sq_head = (uint32_t *)(base + params->sq_off.head);
    ring->sq_tail = (uint32_t *)(base + params->sq_off.tail);
    ring->sq_flags = (uint32_t *)(base + params->sq_off.flags);
    ring->sq_mask = *(uint32_t *)(base + params->sq_off.ring_mask);
    ring->sq_entries = params->sq_entries;
    ring->cq_head = (uint32_t *)(base + params->cq_off.head);
    ring->cq_tail = (uint32_t *)(base + params->cq_off.tail);
    ring->cq_mask = *(uint32_t *)(base + params->cq_off.ring_mask);
    ring->cqes = (struct cqe *)(base + params->cq_off.cqes);
    ring->sq_next = ring->sq_given = LOAD(ring->sq_tail);
    if (!(params->flags & SETUP_NO_SQARRAY)) { /* identity: entry i is at index i */
        uint32_t *array = (uint32_t *)(base + params->sq_off.array);
        for (uint32_t i = 0; i < params->sq_entries; i++) {
            array[i] = i;
        }
    }
}

static int
ring_probe(struct ring *ring)
{
    struct probe probe;
    memset(&probe, 0, sizeof(probe));
    const struct kernel *kernel = ring->kernel;
    int res =
        kernel->ring_register(kernel->context, ring->fd, REGISTER_PROBE, &probe, 256);
    if (res < 0) {
        return res;
    }
    for (uint32_t i = 0; i < probe.ops_len; i++) {
        if (probe.ops[i].flags & PROBE_SUPPORTED) {
            ring->ops[probe.ops[i].op / 64] |= UINT64_C(1) << (probe.ops[i].op % 64);
        }
    }
    return 0;
}

/* Filters may allow setup and forbid enter: only a round trip proves the ring. */
static int
ring_prove(struct ring *ring)
{
    struct sqe *sqe = ring_reserve(ring);
    if (sqe == NULL) {
        return -EBUSY;
    }
    sqe->opcode = RING_NOP;
    struct cqe cqe;
    for (int tries = 0; tries < 8; tries++) {
        int res = ring_enter(ring, 1000000000);
        if (ring_next(ring, &cqe)) {
            return cqe.result;
        }
        if (res < 0 && res != -EINTR && res != -EAGAIN) {
            return res;
        }
    }
    return -ETIME;
}

int
ring_open(struct ring *ring, const struct kernel *kernel, uint32_t entries)
{
    struct io_uring_params_ params;
    memset(ring, 0, sizeof(*ring));
    ring->kernel = kernel;
    entries = entries < 2 ? 2 : entries; /* room for a link */
    ring->fd = ring_setup(ring, entries, &params);
    if (ring->fd < 0) {
        int res = ring->fd;
        ring->fd = -1;
        return res;
    }
    ring->features = params.features;
    int res = -EINVAL;
    uint32_t needed = FEAT_SINGLE_MMAP | FEAT_NODROP | FEAT_EXT_ARG;
    if ((params.features & needed) != needed) {
        goto fail;
    }
    res = ring_map(ring, &params);
    if (res < 0) {
        goto fail;
    }
    ring_locate(ring, &params);
    res = ring_probe(ring);
    if (res < 0) {
        goto fail;
    }
    res = ring_prove(ring);
    if (res < 0) {
        goto fail;
    }
    return 0;
fail:
    ring_close(ring);
    return res;
}

static void
ring_close_fd(struct ring *ring)
{
    const uint64_t args[6] = {(uint64_t)ring->fd};
    ring->kernel->call(ring->kernel->context, __NR_close, args);
    ring->fd = -1;
}

void
ring_close(struct ring *ring)
{
    const struct kernel *kernel = ring->kernel;
    if (ring->sqes != NULL) {
        kernel->unmap(kernel->context, ring->sqes, ring->sqes_size);
        ring->sqes = NULL;
    }
    if (ring->rings_memory != NULL) {
        kernel->unmap(kernel->context, ring->rings_memory, ring->rings_size);
        ring->rings_memory = NULL;
    }
    if (ring->fd >= 0) {
        ring_close_fd(ring);
    }
}

void
ring_forget(struct ring *ring)
{
    ring->sqes = NULL; /* MADV_DONTFORK: not mapped here */
    ring->rings_memory = NULL;
    if (ring->fd >= 0) {
        ring_close_fd(ring);
    }
}

int
ring_notify(struct ring *ring, int event_fd)
{
    const struct kernel *kernel = ring->kernel;
    return kernel->ring_register(kernel->context, ring->fd, REGISTER_EVENTFD, &event_fd,
                                 1);
}

int
ring_notify_anew(struct ring *ring, int event_fd)
{
    const struct kernel *kernel = ring->kernel;
    kernel->ring_register(kernel->context, ring->fd, UNREGISTER_EVENTFD, NULL, 0);
    return ring_notify(ring, event_fd);
}

int
ring_buffers_make(struct ring *ring, uint32_t count)
{
    struct buffers_register table = {.count = count, .flags = BUFFERS_SPARSE};
    const struct kernel *kernel = ring->kernel;
    return kernel->ring_register(kernel->context, ring->fd, REGISTER_BUFFERS2, &table,
                                 sizeof(table));
}

int
ring_buffer(struct ring *ring, uint32_t index, void *memory, size_t size)
{
    struct iovec vector = {memory, size};
    struct buffers_update update = {
        .offset = index,
        .data = (uintptr_t)&vector,
        .count = 1,
    };
    const struct kernel *kernel = ring->kernel;
    int res = kernel->ring_register(kernel->context, ring->fd, REGISTER_BUFFERS_UPDATE,
                                    &update, sizeof(update));
    return res < 0 ? res : 0; /* the number of entries that were changed */
}

bool
ring_has(const struct ring *ring, uint8_t opcode)
{
    return (ring->ops[opcode / 64] >> (opcode % 64)) & 1;
}

uint32_t
ring_unsubmitted(const struct ring *ring)
{
    return ring->sq_next - ring->sq_given;
}

bool
ring_room(struct ring *ring, uint32_t count)
{
    if (ring->sq_next - LOAD(ring->sq_head) + count <= ring->sq_entries) {
        return true;
    }
    ring_enter(ring, 0);
    return ring->sq_next - LOAD(ring->sq_head) + count <= ring->sq_entries;
}

struct sqe *
ring_reserve(struct ring *ring)
{
    if (!ring_room(ring, 1)) {
        return NULL;
    }
    struct sqe *sqe = &ring->sqes[ring->sq_next & ring->sq_mask];
    memset(sqe, 0, sizeof(*sqe));
    ring->sq_next += 1;
    return sqe;
}

void
ring_unreserve(struct ring *ring)
{
    ring->sq_next -= 1;
}

bool
ring_has_work(const struct ring *ring)
{
    return ring_unsubmitted(ring) != 0 || (LOAD(ring->sq_flags) & SQ_TASKRUN) != 0;
}

bool
ring_wants_enter(const struct ring *ring)
{
    return ring_has_work(ring) || (LOAD(ring->sq_flags) & SQ_CQ_OVERFLOW) != 0;
}

int
ring_enter(struct ring *ring, int64_t timeout_ns)
{
    const struct kernel *kernel = ring->kernel;
    struct ring_timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    struct getevents_arg arg = {.sigmask_size = _NSIG / 8};
    uint32_t flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
    if (timeout_ns > 0) {
        arg.timespec = (uint64_t)(uintptr_t)&ts;
    }
    if (timeout_ns != 0 && (ring->features & FEAT_NO_IOWAIT)) {
        flags |= ENTER_NO_IOWAIT; /* an idle loop is not a disk wait */
    }
    if (LOAD(ring->sq_flags) & SQ_CQ_OVERFLOW) {
        ring->overflows += 1;
    }
    STORE(ring->sq_tail, ring->sq_next);
    int res = kernel->ring_enter(kernel->context, ring->fd, ring_unsubmitted(ring),
                                 timeout_ns != 0, flags, &arg, sizeof(arg));
    ring->enters += 1;
    /* The return code hides either the count or the error of the wait; what the
     * kernel consumed is in its head (io_uring_enter(2), "RETURN VALUE"). */
    uint32_t head = LOAD(ring->sq_head);
    ring->submitted += head - ring->sq_given;
    ring->sq_given = head;
    if (res >= 0 || res == -ETIME) {
        return 0;
    }
    return res;
}

bool
ring_next(struct ring *ring, struct cqe *cqe)
{
    uint32_t head = *ring->cq_head;
    if (head == LOAD(ring->cq_tail)) {
        return false;
    }
    *cqe = ring->cqes[head & ring->cq_mask];
    STORE(ring->cq_head, head + 1);
    return true;
}
