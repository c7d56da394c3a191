/* The rings of kernels that are none (fake_kernel.c, tests/fuzz/fuzz_kernel.c): where
 * their words are, and that they can do everything. */
#ifndef FAKE_RING_H
#define FAKE_RING_H

#include "uring.h"

enum { SQ_HEAD, SQ_TAIL, SQ_MASK, SQ_FLAGS, CQ_HEAD, CQ_TAIL, CQ_MASK, CQES = 64 };

static inline void
fake_ring_describe(struct io_uring_params_ *params, uint32_t sq, uint32_t cq)
{
    params->sq_entries = sq;
    params->cq_entries = cq;
    params->features = FEAT_SINGLE_MMAP | FEAT_NODROP | FEAT_EXT_ARG;
    params->sq_off = (struct sq_offsets){.head = SQ_HEAD * 4,
                                         .tail = SQ_TAIL * 4,
                                         .ring_mask = SQ_MASK * 4,
                                         .flags = SQ_FLAGS * 4};
    params->cq_off = (struct cq_offsets){.head = CQ_HEAD * 4,
                                         .tail = CQ_TAIL * 4,
                                         .ring_mask = CQ_MASK * 4,
                                         .cqes = CQES};
}

/* argument: of REGISTER_PROBE, which is const for those that only read it. */
static inline void
fake_ring_probe(const void *argument)
{
    struct probe *probe = (struct probe *)(uintptr_t)argument;
    probe->ops_len = RING_OPS;
    for (uint8_t i = 0; i < RING_OPS; i++) {
        probe->ops[i] = (struct probe_op){.op = i, .flags = PROBE_SUPPORTED};
    }
}

#endif
