/* A plan as the interpreter reads it: atoms decoded once, checked once.
 *
 * Built by plan.c from a program, immutable afterwards, shared by every flight of it
 * and by any thread. Only the engine's own files include this; hosts use engine.h. */
#ifndef SYSLET_PLAN_H
#define SYSLET_PLAN_H

#include "engine.h"
#include "limits.h"
#include "op.h"
#include "trace.h"

enum { SIGN_NEGATIVE = 1, SIGN_ZERO = 2, SIGN_POSITIVE = 4 };

/* Beside the flags of a program's buffer: strings are read from it, so that a byte behind
 * it is always 0. */
enum { BUFFER_ENDED = 2 };

struct step {            /* one atom, decoded */
    const struct op *op; /* borrowed: rows are constant */
    uint32_t nr;
    uint16_t arg[ARGS_MAX]; /* cells; argc of them, the rest is cell 0 */
    uint16_t word; /* cell with the 32-bit length of memory behind `room`; or 0 */
    uint32_t room; /* bytes that memory has */
    uint16_t ret;  /* cell, or 0 */
    uint16_t next; /* index + 1, or 0 */
    uint16_t capacity[BOUNDS_MAX]; /* cell that bounds argument `bound` */
    uint8_t bound[BOUNDS_MAX];     /* argument index */
    uint8_t bounds;                /* how many of them */
    uint8_t argc;
    uint8_t stop;  /* signs of the result that stop here */
    uint8_t flags; /* the announcement's */
    uint8_t fds;   /* bit per argument that names an fd */
    bool any_fd;   /* it may use fds that no argument names */
    bool settles;  /* fds of the flight must be settled before it */
    bool trusted;  /* the address in arg[0] surely has memory behind it */
};

struct plan { /* one allocation: the tables follow in the order they are used */
    uint32_t references; /* atomic */
    uint32_t atoms_count, cells_count, relocs_count, buffers_count;
    uint32_t scratch_bytes; /* of the buffers that live in the flight */
    uint32_t scratch_fixed; /* of these, for fixed buffers */
    uint32_t scratch_user;  /* computed buffer that may have the rest; BUFFERS_MAX */
    uint64_t *image;        /* cells at the start */
    struct program_reloc *relocs; /* borrowed, like all of these: behind this struct */
    struct program_buffer *buffers;
    struct step *steps;
    struct program_atom *atoms;
    char *consts;               /* lent to the kernel by flights */
    struct handed_plan *handed; /* owned; atomic; NULL: nobody has translated it */
    char label[TRACE_LABEL_MAX];
};

/* Bytes of the scratch that a fixed buffer takes. */
static inline uint64_t
buffer_scratch(const struct program_buffer *buffer)
{
    uint64_t size = (uint64_t)buffer->size + ((buffer->flags & BUFFER_ENDED) != 0);
    return buffer->size == 0 ? 0 : (size + 15) & ~UINT64_C(15);
}

#endif
