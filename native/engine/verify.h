/* The verifier: what plan.c asks before it decodes a program. See verify.c. */
#ifndef SYSLET_VERIFY_H
#define SYSLET_VERIFY_H

#include "engine.h"
#include "limits.h"

enum cell_role { CELL_PLAIN, CELL_INPUT, CELL_ADDRESS };

struct verifier { /* one verification; the tables have one entry per cell */
    const struct program *program; /* borrowed */
    struct program_error *error;   /* borrowed */
    uint8_t *roles;                /* owned: enum cell_role */
    uint8_t *written;  /* owned: some atom writes it, or may through memory */
    uint8_t *constant; /* owned: address of constants, which nothing may write */
    uint8_t *hosts;    /* owned: address that the host stores */
    uint32_t *targets; /* owned: first cell behind the address of a cell; or 0 */
    uint64_t *reads;   /* owned: bytes a reader may read there, if that is more */
    uint64_t *spans;   /* owned: bytes surely behind the address in this cell;
                          UINT64_MAX: only a bound can tell */
};

int verifier_run(struct verifier *v);    /* 0, -EINVAL with *error filled, or -ENOMEM */
void verifier_close(struct verifier *v); /* after every run; idempotent it is not */

/* The bound of an argument; NULL: it has none. */
const struct program_bound *verifier_bound(const struct program *p, uint32_t atom,
                                           uint32_t arg);

#endif
