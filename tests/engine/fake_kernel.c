/* A kernel in a box, see fake_kernel.h. */
#define _GNU_SOURCE
#include "fake_kernel.h"

#include "device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fake_ring.h"

static uint32_t *
word(const struct fake *fake, int which)
{
    return (uint32_t *)fake->ring_memory + which;
}

static int
fake_setup(void *context, uint32_t entries, struct io_uring_params_ *params)
{
    struct fake *fake = context;
    if (fake->setup_error != 0) {
        return -fake->setup_error;
    }
    fake->sq_entries = 1;
    while (fake->sq_entries < entries) {
        fake->sq_entries *= 2;
    }
    fake_ring_describe(params, fake->sq_entries, FAKE_CQ_ENTRIES);
    fake->rings += 1;
    return FAKE_RING_FD;
}

static void *
fake_map(void *context, size_t size, int fd, uint64_t offset)
{
    struct fake *fake = context;
    (void)fd;
    if (fake->maps_allowed == 0) {
        return NULL;
    }
    fake->maps_allowed -= fake->maps_allowed != UINT32_MAX;
    fake->maps += 1;
    char *memory = calloc(1, size);
    if (offset == OFFSET_SQES) {
        fake->sqes = (struct sqe *)memory;
    } else {
        fake->ring_memory = memory;
        *word(fake, SQ_MASK) = fake->sq_entries - 1;
        *word(fake, CQ_MASK) = FAKE_CQ_ENTRIES - 1;
    }
    return memory;
}

static void
fake_unmap(void *context, void *memory, size_t size)
{
    struct fake *fake = context;
    (void)size;
    fake->maps -= 1;
    free(memory);
}

static int
fake_register(void *context, int fd, uint32_t opcode, const void *arg, uint32_t count)
{
    struct fake *fake = context;
    (void)fd;
    (void)count;
    if (opcode == UNREGISTER_EVENTFD) {
        return 0;
    }
    if (opcode == REGISTER_EVENTFD) {
        return -fake->notify_error;
    }
    if (opcode == REGISTER_BUFFERS2) {
        return -fake->buffers_error;
    }
    if (opcode == REGISTER_BUFFERS_UPDATE) {
        const struct buffers_update *update = arg;
        const struct iovec *vector = (const struct iovec *)(uintptr_t)update->data;
        bool empties = vector->iov_base == NULL;
        if (!empties && fake->buffer_error != 0) {
            return -fake->buffer_error;
        }
        fake->buffers += empties ? -1u : 1u;
        return 1;
    }
    fake_ring_probe(arg);
    return -fake->probe_error;
}

/* --- the queues ----------------------------------------------------------------- */

void
fake_post(struct fake *fake, uint64_t user_data, int32_t result, uint32_t flags)
{
    struct cqe *cqes = (struct cqe *)(fake->ring_memory + CQES);
    uint32_t tail = *word(fake, CQ_TAIL);
    cqes[tail & (FAKE_CQ_ENTRIES - 1)] =
        (struct cqe){.user_data = user_data, .result = result, .flags = flags};
    *word(fake, CQ_TAIL) = tail + 1;
}

void
fake_complete(struct fake *fake, uint32_t index, int32_t result)
{
    fake_post(fake, fake->pending[index].user_data, result, 0);
    fake->pending_count -= 1;
    memmove(&fake->pending[index], &fake->pending[index + 1],
            (fake->pending_count - index) * sizeof(fake->pending[0]));
}

int
fake_find(const struct fake *fake, int32_t fd)
{
    for (uint32_t i = 0; i < fake->pending_count; i++) {
        if (fake->pending[i].fd == fd) {
            return (int)i;
        }
    }
    return -1;
}

void
fake_overflow(struct fake *fake, bool on)
{
    *word(fake, SQ_FLAGS) = on ? SQ_CQ_OVERFLOW : 0;
}

bool
fake_command(struct fake *fake)
{
    for (uint32_t i = 0; i < fake->pending_count; i++) {
        if (fake->pending[i].opcode == RING_URING_CMD) {
            fake->commands += 1;
            int64_t res = fake_device_run(fake, fake->pending[i].address, true);
            fake_complete(fake, i, (int32_t)res);
            return true;
        }
    }
    return false;
}

static void
take_cancel(struct fake *fake, const struct sqe *sqe)
{
    int result = -ENOENT;
    for (uint32_t i = 0; i < fake->pending_count && !fake->cancels_fail; i++) {
        if (fake->pending[i].user_data == sqe->address) {
            result = 0;
            fake->cancelled += 1;
            if (!fake->cancels_ignored) {
                fake_complete(fake, i, -ECANCELED);
            }
            break;
        }
    }
    fake_post(fake, sqe->user_data, result, 0);
}

static void
take(struct fake *fake, const struct sqe *sqe)
{
    if (sqe->opcode == RING_NOP) {
        fake_post(fake, sqe->user_data, 0, 0);
    } else if (sqe->opcode == RING_ASYNC_CANCEL) {
        take_cancel(fake, sqe);
    } else if ((sqe->fd >= FAKE_FD || sqe->fd == FAKE_DEVICE_FD) &&
               fake->pending_count < FAKE_PENDING_MAX) {
        bool command = sqe->opcode == RING_URING_CMD;
        fake->pending[fake->pending_count++] =
            (struct fake_request){.user_data = sqe->user_data,
                                  .address = command ? sqe->address3 : sqe->address,
                                  .length = sqe->length,
                                  .offset = sqe->offset,
                                  .fd = sqe->fd,
                                  .opcode = sqe->opcode};
    } /* else the engine's own polls, which nothing here makes ready */
}

static int
fake_enter(void *context, int fd, uint32_t submit, uint32_t wait, uint32_t flags,
           const void *arg, size_t arg_size)
{
    struct fake *fake = context;
    (void)fd;
    (void)flags;
    (void)arg;
    (void)arg_size;
    fake->enters += 1;
    if (fake->enter_always != 0) {
        return -fake->enter_always;
    }
    if (fake->enter_errors_count != 0) {
        fake->enter_errors_count -= 1;
        return -fake->enter_errors[fake->enter_errors_count];
    }
    uint32_t head = *word(fake, SQ_HEAD);
    uint32_t count = submit < fake->take_most ? submit : fake->take_most;
    for (uint32_t i = 0; i < count; i++) {
        take(fake, &fake->sqes[(head + i) & (fake->sq_entries - 1)]);
    }
    *word(fake, SQ_HEAD) = head + count;
    fake->taken += count;
    bool empty = *word(fake, CQ_HEAD) == *word(fake, CQ_TAIL);
    return count == 0 && wait != 0 && empty ? -ETIME : (int)count;
}

/* --- calls ---------------------------------------------------------------------- */

static int64_t
scripted(struct fake *fake, long nr, const uint64_t args[6])
{
    struct fake_script *script = &fake->scripts[args[0] - FAKE_FD];
    switch (nr) {
    case __NR_fstat:
        memset((void *)(uintptr_t)args[1], 0, sizeof(struct stat));
        ((struct stat *)(uintptr_t)args[1])->st_mode = S_IFREG | 0600;
        return 0;
    case __NR_fcntl:
        return 0;
    case __NR_preadv2:
    case __NR_pwritev2:
        script->attempts += 1;
        return script->attempt;
    default:
        script->plains += 1;
        return script->plain;
    }
}

static int64_t
fake_call(void *context, long nr, const uint64_t args[6])
{
    struct fake *fake = context;
    if (nr == __NR_close && args[0] == FAKE_RING_FD) {
        fake->rings -= 1;
        return 0;
    }
    if (nr == __NR_close && args[0] == FAKE_DEVICE_FD) {
        fake->devices -= 1;
        return 0;
    }
    if (nr == __NR_openat && !strcmp((const char *)(uintptr_t)args[1], DEVICE_PATH)) {
        fake->devices += fake->device != 0;
        return fake->device != 0 ? FAKE_DEVICE_FD : -ENOENT;
    }
    if (nr == __NR_ioctl && args[0] == FAKE_DEVICE_FD) {
        return fake_device_call(fake, args[1], args[2]);
    }
    if (args[0] >= FAKE_FD && args[0] < FAKE_FD + FAKE_FDS) {
        return scripted(fake, nr, args);
    }
    bool copies = nr == __NR_process_vm_readv || nr == __NR_process_vm_writev;
    if (copies && fake->memory_error != 0) {
        return -fake->memory_error;
    }
    return kernel_real.call(NULL, nr, args);
}

void
fake_reset(struct fake *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->maps_allowed = fake->take_most = UINT32_MAX;
    fake->device_version = DEVICE_VERSION;
    fake->kernel = (struct kernel){.context = fake,
                                   .call = fake_call,
                                   .ring_setup = fake_setup,
                                   .ring_enter = fake_enter,
                                   .ring_register = fake_register,
                                   .map = fake_map,
                                   .unmap = fake_unmap};
}
