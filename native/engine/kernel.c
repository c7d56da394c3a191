/* The real kernel: raw system calls, results as -errno. No libc wrapper is used, so that there is no
 * errno, no cancellation point and no rewriting of arguments between a program and the
 * kernel. */
#define _GNU_SOURCE
#include "kernel.h"
#include "trap.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static int64_t
real_call(void *context, long nr, const uint64_t a[6])
{
    (void)context;
    return trap(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int
real_ring_setup(void *context, uint32_t entries, struct io_uring_params_ *params)
{
    (void)context;
    return (int)trap(__NR_io_uring_setup, entries, (uint64_t)(uintptr_t)params, 0, 0, 0,
                     0);
}

static int
real_ring_enter(void *context, int fd, uint32_t submit, uint32_t wait, uint32_t flags,
                const void *arg, size_t arg_size)
{
    (void)context;
    return (int)trap(__NR_io_uring_enter, (uint64_t)fd, submit, wait, flags,
                     (uint64_t)(uintptr_t)arg, arg_size);
}

static int
real_ring_register(void *context, int fd, uint32_t opcode, const void *arg,
                   uint32_t count)
{
    (void)context;
    return (int)trap(__NR_io_uring_register, (uint64_t)fd, opcode,
                     (uint64_t)(uintptr_t)arg, count, 0, 0);
}

static void *
real_map(void *context, size_t size, int fd, uint64_t offset)
{
    (void)context;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                        fd, (off_t)offset);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    /* A forked child must not see, let alone move, the parent's queues. */
    madvise(memory, size, MADV_DONTFORK);
    return memory;
}

static void
real_unmap(void *context, void *memory, size_t size)
{
    (void)context;
    munmap(memory, size);
}

const struct kernel kernel_real = {
    .call = real_call,
    .ring_setup = real_ring_setup,
    .ring_enter = real_ring_enter,
    .ring_register = real_ring_register,
    .map = real_map,
    .unmap = real_unmap,
};
