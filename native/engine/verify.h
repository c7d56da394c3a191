/* The verifier: what plan.c asks before it decodes a program. See verify.c. */
#ifndef SYSLET_VERIFY_H
#define SYSLET_VERIFY_H

#include "engine.h"
#include "limits.h"

struct op;

enum written { WRITTEN_AS_LENGTH = 1, WRITTEN_AS_RESULT = 2, WRITTEN_IN_MEMORY = 4 };
enum cell_role { CELL_PLAIN, CELL_INPUT, CELL_ADDRESS };

struct verifier { /* one verification; the tables have one entry per cell */
    const struct program *program; /* borrowed */
    struct program_error *error;   /* borrowed */
    uint8_t *roles;                /* owned: enum cell_role */
    uint8_t *written;  /* owned: enum written; some atom does, or may through memory */
    uint8_t *constant; /* owned: address of constants, which nothing may write */
    uint8_t *hosts;    /* owned: address that the host stores */
    uint8_t *owners;   /* owned: buffer whose address it is, plus 1; or 0 */
    uint32_t *targets; /* owned: first cell behind the address of a cell; or 0 */
    uint8_t *tells;    /* owned: what a length in this cell says; verify_exposed.c */
    uint64_t *reads;   /* owned: bytes a reader may read there, if that is more */
    uint64_t *spans;   /* owned: bytes surely behind the address in this cell;
                          UINT64_MAX: only a bound can tell */
};

int verifier_run(struct verifier *v);    /* 0, -EINVAL with *error filled, or -ENOMEM */
void verifier_close(struct verifier *v); /* after every run; idempotent it is not */

/* For the verifier's own files. -EINVAL, with *error filled. */
int verifier_refuse(struct verifier *v, uint32_t atom, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int verifier_check_memory(struct verifier *v, uint32_t index,
                          const struct program_atom *atom, const struct op *op);
void verifier_mark_written(struct verifier *v); /* verify_written.c */

/* After a run that passed: what the program does not say of its buffers itself, BUFFERS_MAX
 * flags of program_buffer. */
void verifier_find_exposed(struct verifier *v, uint32_t *flags); /* verify_exposed.c */

/* Nothing but the image gives this cell its value. */
static inline bool
is_constant(const struct verifier *v, uint64_t cell)
{
    return v->roles[cell] == CELL_PLAIN && !v->written[cell];
}

/* The bound of an argument; NULL: it has none. */
const struct program_bound *verifier_bound(const struct program *p, uint32_t atom,
                                           uint32_t arg);

#endif
