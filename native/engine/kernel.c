/* The real kernel: raw system calls, results as -errno.
 *
 * The only file that traps into Linux. No libc wrapper is used, so that there is no
 * errno, no cancellation point and no rewriting of arguments between a program and
 * the kernel. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static int64_t
trap(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
     uint64_t a5)
{
    register uint64_t r10 __asm__("r10") = a3;
    register uint64_t r8 __asm__("r8") = a4;
    register uint64_t r9 __asm__("r9") = a5;
    int64_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static int64_t
trap(long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
     uint64_t a5)
{
    register uint64_t x8 __asm__("x8") = (uint64_t)nr;
    register uint64_t x0 __asm__("x0") = a0;
    register uint64_t x1 __asm__("x1") = a1;
    register uint64_t x2 __asm__("x2") = a2;
    register uint64_t x3 __asm__("x3") = a3;
    register uint64_t x4 __asm__("x4") = a4;
    register uint64_t x5 __asm__("x5") = a5;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return (int64_t)x0;
}
#else
#error "syslet_loop knows the system call interface of x86-64 and AArch64 only"
#endif

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
