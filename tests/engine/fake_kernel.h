/* A kernel in a box: an io_uring in plain memory whose completions the test decides.
 *
 * It stands behind the engine's function table. Descriptors from FAKE_FD on exist only
 * here: what calls on them answer is scripted, by descriptor. With `device` set it also
 * executes syslets as the patched kernel does (fake_device.c). Every other call goes to
 * the real kernel, so eventfds and the like are real. Used by the driver only. */
#ifndef SYSLET_FAKE_KERNEL_H
#define SYSLET_FAKE_KERNEL_H

#include "kernel.h"
#include "uring.h"

#include <stdbool.h>

enum {
    FAKE_FD = 100000,
    FAKE_FDS = 64,
    FAKE_PENDING_MAX = 1024,
    FAKE_ERRORS_MAX = 8,
    FAKE_RING_FD = 99999,
    FAKE_DEVICE_FD = 99998,
    FAKE_CQ_ENTRIES = 4096,
};

struct fake_request { /* one that the kernel has taken and not answered */
    uint64_t user_data;
    uint64_t address, length, offset;
    int32_t fd;
    uint8_t opcode;
};

struct fake_script { /* what calls on one descriptor answer */
    int64_t attempt; /* RWF_NOWAIT; -EAGAIN: a miss */
    int64_t plain;   /* the call as a worker makes it */
    uint32_t attempts, plains;
    uint32_t nonblocking; /* to the device: a miss is its result, -EAGAIN */
};

struct fake {
    struct kernel kernel; /* its context is this struct */

    /* What goes wrong; 0: nothing does. */
    int setup_error, probe_error, notify_error;
    int buffers_error, buffer_error;   /* of the table of buffers, and of one in it */
    int memory_error;                  /* of process_vm_readv and process_vm_writev */
    uint32_t maps_allowed;             /* then mapping fails; UINT32_MAX: never */
    int enter_always;                  /* every enter answers this */
    int enter_errors[FAKE_ERRORS_MAX]; /* the next enters answer these */
    uint32_t enter_errors_count;
    uint32_t take_most;       /* entries per enter; UINT32_MAX: all */
    uint32_t cancels_fail;    /* cancellations find nothing */
    uint32_t cancels_ignored; /* cancellations are answered, requests stay */
    uint32_t device;          /* /dev/syslet is there */
    uint32_t device_version;
    int device_error;        /* every run answers this before its first atom */
    uint32_t device_runs;    /* of these are allowed before device_error counts */
    uint32_t device_budget;  /* atoms of a run, then 1; 0: as many as it may */
    uint32_t device_cancels; /* of a command: as if it was cancelled then; 0: never */
    uint64_t device_refused; /* bit per number up to 63: not in the bitmaps */

    /* What happened. */
    uint32_t rings, maps; /* open now */
    uint32_t enters, taken, cancelled;
    uint32_t buffers;                 /* registered more often than taken out */
    uint32_t devices, runs, commands; /* open now; ioctls, commands executed */
    struct fake_script scripts[FAKE_FDS];
    struct fake_request pending[FAKE_PENDING_MAX];
    uint32_t pending_count;

    char *ring_memory;
    struct sqe *sqes;
    uint32_t sq_entries;
};

void fake_reset(struct fake *fake);
/* Answers pending request `index`; it is pending no longer. */
void fake_complete(struct fake *fake, uint32_t index, int32_t result);
/* A completion that belongs to no request. */
void fake_post(struct fake *fake, uint64_t user_data, int32_t result, uint32_t flags);
/* Index of the pending request on that descriptor; -1: none. */
int fake_find(const struct fake *fake, int32_t fd);
void fake_overflow(struct fake *fake, bool on);
/* Executes the oldest command that is pending, as a worker of the kernel, and answers it.
 * false: there is none. */
bool fake_command(struct fake *fake);

/* fake_device.c, for fake_kernel.c only: an ioctl on the device, and a run of it. */
int64_t fake_device_call(struct fake *fake, uint64_t request, uint64_t argument);
int64_t fake_device_run(struct fake *fake, uint64_t run, bool in_worker);

#endif
