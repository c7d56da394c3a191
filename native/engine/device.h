/* The device of a kernel that executes syslets: what the engine uses of its interface.
 *
 * Values and layouts are facts of that kernel's interface, version 2, written here in
 * words of our own because this room takes nothing from native/kernel; a test compares
 * the two. docs/kernel.md explains them. Only device.c, handed.c, backend_kernel.c and
 * the tests' fake kernel include this. */
#ifndef SYSLET_DEVICE_H
#define SYSLET_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

struct engine;

#define DEVICE_PATH "/dev/syslet"

enum {
    DEVICE_MAGIC = 0x53594c54,
    DEVICE_VERSION = 2,
    DEVICE_CALLS = 512, /* system call numbers its bitmaps have */

    DEVICE_EMIT = 0x100, /* flag of an atom: note its result, go on */

    DEVICE_NOWAIT = 1, /* flags of a run: -EAGAIN instead of waiting */
    DEVICE_QUIET = 2,  /* results are noted without a completion for each */

    DEVICE_CUT = 1,         /* answer of a run: its budget is used up */
    DEVICE_CMD_EXEC = 1,    /* operation of a command in the ring */
    DEVICE_ADD = 0x10001,   /* number of the call that adds to memory */
    DEVICE_NO_CALL = 65535, /* no call has it: a run ends before such an atom */
};

struct device_atom { /* the announcement's, with addresses */
    uint32_t flags, nr;
    uint64_t ret, next;
    uint64_t arg[6]; /* where the arguments are */
    uint64_t private;
};

struct device_note {
    uint64_t atom; /* its address; 0: an empty slot */
    int64_t result;
};

struct device_run { /* where a program stands; the kernel writes it down to `noted` */
    uint64_t pc, last;
    int64_t result;
    uint64_t done, executed;
    uint32_t budget, noted;
    uint32_t flags, notes_count; /* a power of two */
    uint64_t notes;
    uint64_t reserved[2];
};

struct device_info {
    uint32_t magic, version, budget_max, inline_max;
    uint64_t reserved[2];
    uint64_t allowed[DEVICE_CALLS / 64], attempted[DEVICE_CALLS / 64];
};

/* As _IOR and _IOWR encode them: direction, size, 0xb9, number. */
#define DEVICE_IOC_INFO                                                                \
    (2u << 30 | (uint32_t)sizeof(struct device_info) << 16 | 0xb900u)
#define DEVICE_IOC_EXEC (3u << 30 | (uint32_t)sizeof(struct device_run) << 16 | 0xb901u)

struct device {        /* of one engine */
    int fd;            /* owned; -1: there is none, or it is not used */
    bool off;          /* it refuses this process: open, and not used any more */
    uint32_t away;     /* programs in the kernel's workers now */
    uint32_t refusals; /* in a row: runs that it would not even begin */
    uint64_t allowed[DEVICE_CALLS / 64], attempted[DEVICE_CALLS / 64];
};

static inline bool
device_has(const uint64_t *calls, uint32_t nr)
{
    return nr < DEVICE_CALLS && (calls[nr / 64] >> (nr % 64) & 1) != 0;
}

/* Opens it, looks at its version and has it execute one atom, as a process whose system
 * calls are filtered, traced or audited may not. 0 or -errno; nothing is open then. */
int device_open(struct engine *engine);
void device_close(struct engine *engine); /* idempotent; in a forked child as well */

#endif
