/* What both halves of the interpreter do with an atom: interpret.c, interpret_away.c. */
#ifndef SYSLET_INTERPRET_H
#define SYSLET_INTERPRET_H

#include <errno.h>
#include <string.h>

#include "abi.h"
#include "syslet.h"

enum step_on { STEP_ON, STEP_END, STEP_BROKEN };

/* Of probes, and of the layout of fields as wide as a pointer. */
int fetch_otherwise(struct abi_thread *thread, struct syslet *syslet);
/* Descriptors of the syslet become what the program asked for. -EAGAIN: one is a FIFO
 * without a writer; base->wait_fd has to be opened again, blocking. */
int settle(struct syslet *syslet, bool hand_over);
void settle_at_once(struct syslet *syslet); /* waits for nobody: it ends here */

/* Copies the atom whose turn it is. -EFAULT */
static inline int
fetch(struct abi_thread *thread, struct syslet *syslet)
{
    struct atom *atom = &syslet->atom;
    uint64_t at = syslet->at;
    uint64_t head[3];
    syslet->is_fetched = true;
    memset(atom->args, 0, sizeof(atom->args));
    if (__builtin_expect(thread->probes || syslet->abi != ABI_V6, 0)) {
        return fetch_otherwise(thread, syslet);
    }
    if (guard_plain_load_3(head, at) < 0) {
        return -EFAULT;
    }
    atom->flags = (uint32_t)head[0];
    atom->nr = head[0] >> 32;
    atom->ret = head[1];
    atom->next = head[2];
    atom->args_bad = guard_plain_args(atom->args, at + 24) < 0;
    return 0;
}

static inline bool
is_stopped(uint32_t flags, int64_t res)
{
    const uint32_t negative =
        SYSLET_STOP_ON_NONZERO | SYSLET_STOP_ON_NEGATIVE | SYSLET_STOP_ON_NON_POSITIVE;
    const uint32_t zero = SYSLET_STOP_ON_ZERO | SYSLET_STOP_ON_NON_POSITIVE;
    uint32_t holds = res < 0 ? negative : res == 0 ? zero : SYSLET_STOP_ON_NONZERO;
    return (flags & holds) != 0;
}

/* Stores the result and finds the next atom. */
static inline enum step_on
conclude(struct abi_thread *thread, struct syslet *syslet, int64_t res)
{
    const struct atom *atom = &syslet->atom;
    syslet->last = syslet->at;
    syslet->last_flags = atom->flags;
    syslet->is_fetched = false;
    syslet->base.done = 0;
    if (atom->ret != 0 && memory_store(thread, atom->ret, (uint64_t)res) < 0) {
        return STEP_BROKEN;
    }
    if (is_stopped(atom->flags, res)) {
        syslet->at += atom_bytes(syslet->abi);
        return atom->flags & SYSLET_SKIP_TO_NEXT_ON_STOP ? STEP_ON : STEP_END;
    }
    syslet->at = atom->next;
    return atom->next != 0 ? STEP_ON : STEP_END;
}

/* umem_add, which is no system call: any sum is a result, OP_MISS too. */
static inline int64_t
add(struct abi_thread *thread, const struct atom *atom)
{
    int64_t sum;
    int res = memory_add(thread, atom->args[0], atom->args[1], &sum);
    return res < 0 ? res : sum;
}

#endif
