/* The kernel, as a table of functions: the only way the engine reaches it.
 *
 * Tests replace the table to inject short submissions, full queues, late, reordered
 * and failing completions. Everything returns a result or -errno, never errno. The
 * rings themselves are memory obtained through `map`. */
#ifndef SYSLET_KERNEL_H
#define SYSLET_KERNEL_H

#include <stddef.h>
#include <stdint.h>

struct io_uring_params_;

struct kernel {
    void *context; /* borrowed; handed to every function */
    int64_t (*call)(void *context, long nr, const uint64_t args[6]);
    int (*ring_setup)(void *context, uint32_t entries, struct io_uring_params_ *params);
    int (*ring_enter)(void *context, int fd, uint32_t submit, uint32_t wait,
                      uint32_t flags, const void *arg, size_t arg_size);
    int (*ring_register)(void *context, int fd, uint32_t opcode, const void *arg,
                         uint32_t count);
    void *(*map)(void *context, size_t size, int fd,
                 uint64_t offset); /* NULL: failed */
    void (*unmap)(void *context, void *memory, size_t size);
};

extern const struct kernel kernel_real;

#endif
