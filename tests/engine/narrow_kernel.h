/* The real kernel without some of what newer ones have: for the paths beside them.
 *
 * Every call goes to the real kernel; setting up a ring refuses flags and hides features
 * and operations, as a kernel does that lacks them. Used by the driver only. */
#ifndef SYSLET_NARROW_KERNEL_H
#define SYSLET_NARROW_KERNEL_H

#include "kernel.h"

struct narrow {
    struct kernel kernel;     /* its context is this struct */
    uint64_t ops_hidden;      /* bit per opcode */
    uint32_t flags_refused;   /* of setting up: -EINVAL */
    uint32_t features_hidden; /* bits that are not told */
    /* What happened. */
    uint32_t setups;      /* how often one was tried */
    uint32_t setup_flags; /* those that were taken */
    uint32_t enter_flags; /* all that were ever passed */
};

void narrow_reset(struct narrow *narrow);

#endif
