/* SPDX-License-Identifier: GPL-2.0-only
 *
 * libsyslet beside the kernel: runs programs of the measurements in user space. Its
 * atoms are the kernel's, its header is another one, so it stands alone here. Called by
 * bench.c; suite.h declares it.
 */
#include <stdbool.h>

#include "syslet.h"

enum { SLOTS = 16 };

bool library_run(struct syslet_uatom *first);

bool
library_run(struct syslet_uatom *first)
{
    static uint64_t slots[SLOTS];
    static struct async_head_user head = {.ring_size_bytes = sizeof(slots)};
    struct syslet_uatom *last;
    uint64_t *slot;

    head.completion_ring_ptr = (uintptr_t)slots;
    last = async_exec(first, &head);
    if (last)
        return !syslet_is_error(last);
    /* It went on in a thread of the library. */
    slot = &slots[head.user_ring_idx % SLOTS];
    while (!__atomic_load_n(slot, __ATOMIC_ACQUIRE))
        if (async_wait(1, head.user_ring_idx, &head))
            return false;
    *slot = 0;
    head.user_ring_idx = (head.user_ring_idx + 1) % SLOTS;
    return true;
}
