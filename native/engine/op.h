/* One row per operation: everything the engine knows about a system call.
 *
 * There is no switch over operations anywhere; whoever adds one adds a row to ops.c.
 * Only the interpreter (run.c), the verifier (plan.c), the ring and the workers read
 * rows. Rows are constant.
 *
 * Letters of `args`, one per argument:
 *   f fd   d directory fd (AT_FDCWD allowed)   p path   s other string (both NUL-ended)
 *   i integer or flags   o offset by value   O offset by pointer, may be NULL
 *   r memory read by the kernel   w memory written by the kernel
 *   n length in bytes of the memory before it
 *   v iovecs read by the kernel   V iovecs written   c how many
 *   m msghdr to send   M msghdr to fill
 *   a socket address in (then n)   A socket address out   L its length in and out
 *   t other structure in   T other structure out   z any of these or NULL
 * Letters of `result`: i number   n bytes filled   f a new fd   P two new fds stored at
 * the `T` argument   D a new fd if args[1] is F_DUPFD or F_DUPFD_CLOEXEC, else number
 *   0 nothing but success */
#ifndef SYSLET_OP_H
#define SYSLET_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

struct flight;
struct sqe;

/* Not a result: the call would have blocked. Never a valid system call result. */
#define OP_MISS INT64_MIN

enum op_flags {
    OP_WAITS = 1 << 0,       /* may wait for a peer or a clock without bound */
    OP_INLINE_ONLY = 1 << 1, /* the thread's own state: never moves to a worker */
    OP_TRANSFER = 1 << 2,    /* (fd, memory, length[, offset]), done in parts */
    OP_VECTOR = 1 << 3,      /* (fd, iovecs, count[, offset]), done in parts */
    OP_MESSAGE = 1 << 4,     /* (fd, msghdr, flags), done in parts */
    OP_WRITES = 1 << 5,      /* of these: goes on until everything has been written */
    OP_CLOSES = 1 << 6,      /* its first argument stops being an fd */
    OP_MAKES_FD = 1 << 7,    /* result letters f and P */
    OP_KEEPS_FDS = 1 << 8, /* no effect on the state of an fd, or it minds it itself */
    OP_POLLED = 1 << 9,    /* readiness of args[0] decides: wait for it, try again */
    OP_SOCKET = 1 << 10,   /* args[0] is a socket for sure */
    OP_PSEUDO = 1 << 11,   /* touches only the flight */
    OP_NEVER_BLOCKS = 1 << 12, /* its plain call is its inline form */
    OP_COUNTED = 1 << 13,      /* (fd, fd, offset, length), done in parts */

    OP_PARTS = OP_TRANSFER | OP_VECTOR | OP_MESSAGE | OP_COUNTED,
    OP_OWNS = OP_MAKES_FD | OP_CLOSES,
};

struct op {
    const char *name;
    uint32_t nr;
    const char *args;
    char result;
    uint8_t args_min; /* trailing arguments that may be left out read as 0 */
    uint16_t flags;
    /* Tries without blocking: a result, or OP_MISS. NULL: always misses. */
    int64_t (*attempt)(struct flight *flight, const uint64_t *args);
    const char *inline_form;
    /* Fills a request (the caller sets user_data). NULL: there is no such request.
     * OP_MISS: not for these arguments; else 0. */
    int64_t (*prepare)(struct flight *flight, const uint64_t *args, struct sqe *sqe);
    uint8_t opcode;
    const char *ring_form;
    short ready; /* poll mask of args[0] after which an attempt may succeed; 0: none */
};

/* Bytes of the structure behind argument `arg` (letters t T A L O m M); 0: unknown. */
uint32_t op_structure(const struct op *op, int arg);

/* The argument that is a signal mask for the time of the call; 0: there is none. On a
 * worker it would let the program's signals in, or cancellations not: it is dropped. */
uint8_t op_mask_argument(uint32_t nr);

extern const struct op ops[];
const struct op *
op_find(uint32_t nr);          /* NULL: no row; any call then runs on a worker */
extern const struct op op_any; /* the row of system calls without a row */

#endif
