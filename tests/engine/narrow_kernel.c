/* The real kernel with less, see narrow_kernel.h. */
#include "narrow_kernel.h"

#include <errno.h>
#include <string.h>

#include "uring.h"

static int64_t
narrow_call(void *context, long nr, const uint64_t args[6])
{
    (void)context;
    return kernel_real.call(NULL, nr, args);
}

static int
narrow_setup(void *context, uint32_t entries, struct io_uring_params_ *params)
{
    struct narrow *narrow = context;
    narrow->setups += 1;
    if (params->flags & narrow->flags_refused) {
        return -EINVAL;
    }
    int fd = kernel_real.ring_setup(NULL, entries, params);
    params->features &= ~narrow->features_hidden;
    narrow->setup_flags = params->flags;
    return fd;
}

static int
narrow_enter(void *context, int fd, uint32_t submit, uint32_t wait, uint32_t flags,
             const void *arg, size_t arg_size)
{
    struct narrow *narrow = context;
    narrow->enter_flags |= flags;
    return kernel_real.ring_enter(NULL, fd, submit, wait, flags, arg, arg_size);
}

static int
narrow_register(void *context, int fd, uint32_t opcode, const void *arg, uint32_t count)
{
    struct narrow *narrow = context;
    int res = kernel_real.ring_register(NULL, fd, opcode, arg, count);
    struct probe *probe = (struct probe *)(uintptr_t)arg;
    for (uint32_t i = 0; res >= 0 && opcode == REGISTER_PROBE && i < probe->ops_len;
         i++) {
        if (probe->ops[i].op < 64 && (narrow->ops_hidden >> probe->ops[i].op & 1)) {
            probe->ops[i].flags = 0;
        }
    }
    return res;
}

static void *
narrow_map(void *context, size_t size, int fd, uint64_t offset)
{
    (void)context;
    return kernel_real.map(NULL, size, fd, offset);
}

static void
narrow_unmap(void *context, void *memory, size_t size)
{
    (void)context;
    kernel_real.unmap(NULL, memory, size);
}

void
narrow_reset(struct narrow *narrow)
{
    memset(narrow, 0, sizeof(*narrow));
    narrow->kernel = (struct kernel){.context = narrow,
                                     .call = narrow_call,
                                     .ring_setup = narrow_setup,
                                     .ring_enter = narrow_enter,
                                     .ring_register = narrow_register,
                                     .map = narrow_map,
                                     .unmap = narrow_unmap};
}
