/* Decodes a verified program into a plan, and keeps plans. See plan.h. */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verify.h"

static uint8_t
stop_signs(uint32_t flags)
{
    uint8_t signs = 0;
    signs |= flags & SYSLET_STOP_ON_NONZERO ? SIGN_NEGATIVE | SIGN_POSITIVE : 0;
    signs |= flags & SYSLET_STOP_ON_ZERO ? SIGN_ZERO : 0;
    signs |= flags & SYSLET_STOP_ON_NEGATIVE ? SIGN_NEGATIVE : 0;
    signs |= flags & SYSLET_STOP_ON_NON_POSITIVE ? SIGN_NEGATIVE | SIGN_ZERO : 0;
    return signs;
}

/* Whether umem_add or load may touch the memory directly, without asking the kernel. */
static bool
address_is_trusted(const struct verifier *v, const struct program_atom *atom)
{
    uint64_t span = v->spans[atom->arg[0]];
    uint64_t bytes = 8;
    if (atom->nr == PSEUDO_LOAD) {
        uint64_t width = atom->arg[1], offset = atom->arg[3];
        if (v->roles[width] != CELL_PLAIN || v->roles[offset] != CELL_PLAIN ||
            v->written[width] || (offset != 0 && v->written[offset])) {
            return false;
        }
        uint64_t behind = v->program->cells[offset];
        bytes = v->program->cells[width];
        if (behind > CONSTS_BYTES_MAX + (uint64_t)HEAP_BYTES_MAX) {
            return false; /* no memory of ours reaches there: a negative offset */
        }
        bytes += behind;
    } else if (atom->nr != PSEUDO_UMEM_ADD) {
        return false;
    }
    return span != UINT64_MAX && span >= bytes;
}

/* getsockopt's length lies in a cell that the kernel and the program may store to: it
 * is compared with the memory before each call. */
static void
decode_word(const struct verifier *v, struct step *step)
{
    const char *args = step->op->args;
    for (int i = 0; i + 1 < step->argc; i++) {
        if (args[i] == 'T' && args[i + 1] == 'L' &&
            v->roles[step->arg[i]] == CELL_ADDRESS &&
            v->targets[step->arg[i + 1]] != 0) {
            uint64_t span = v->spans[step->arg[i]];
            step->word = (uint16_t)v->targets[step->arg[i + 1]];
            step->room = span > UINT32_MAX ? 0 : (uint32_t)span;
        }
    }
}

/* What depart.c asks before each atom, answered once. */
static void
decode_fds(struct step *step)
{
    const struct op *op = step->op;
    for (int i = 0; i < step->argc; i++) {
        if (strchr("fdz", op->args[i]) != NULL) {
            step->fds |= (uint8_t)(1 << i);
        }
    }
    step->any_fd = op == &op_any || strpbrk(op->args, "mt") != NULL;
    step->settles = (step->fds != 0 || step->any_fd) &&
                    (op->flags & (OP_KEEPS_FDS | OP_PSEUDO)) == 0;
}

static void
decode(const struct verifier *v, uint32_t index, struct step *step)
{
    const struct program_atom *atom = &v->program->atoms[index];
    const struct op *op = op_find(atom->nr);
    step->op = op != NULL ? op : &op_any;
    step->nr = atom->nr;
    step->ret = (uint16_t)atom->ret;
    step->next = (uint16_t)atom->next;
    step->flags = (uint8_t)atom->flags;
    step->stop = stop_signs(atom->flags);
    for (int i = 0; i < ARGS_MAX && atom->arg[i] != 0; i++) {
        step->arg[i] = (uint16_t)atom->arg[i];
        step->argc += 1;
        const struct program_bound *bound =
            verifier_bound(v->program, index, (uint32_t)i);
        if (bound != NULL) {
            step->bound[step->bounds] = (uint8_t)i;
            step->capacity[step->bounds++] = (uint16_t)bound->capacity;
        }
    }
    step->trusted = address_is_trusted(v, atom);
    decode_fds(step);
    decode_word(v, step);
}

/* Takes `bytes` of the plan's one allocation and fills them from `source`. */
static void *
place(char **free_memory, const void *source, size_t bytes)
{
    void *at = *free_memory;
    if (source != NULL && bytes != 0) {
        memcpy(at, source, bytes);
    }
    *free_memory += (bytes + 15) & ~(size_t)15;
    return at;
}

static struct plan *
plan_copy(const struct program *p, const uint32_t *flags)
{
    size_t image = p->cells_count * sizeof(*p->cells);
    size_t relocs = p->relocs_count * sizeof(*p->relocs);
    size_t buffers = p->buffers_count * sizeof(*p->buffers);
    size_t steps = p->atoms_count * sizeof(struct step);
    size_t atoms = p->atoms_count * sizeof(*p->atoms);
    size_t padding = 7 * 16;
    struct plan *plan = calloc(1, sizeof(*plan) + image + relocs + buffers + steps +
                                      atoms + p->consts_size + padding);
    if (plan == NULL) {
        return NULL;
    }
    char *memory = (char *)plan + ((sizeof(*plan) + 15) & ~(size_t)15);
    plan->references = 1;
    plan->atoms_count = p->atoms_count;
    plan->cells_count = p->cells_count;
    plan->relocs_count = p->relocs_count;
    plan->buffers_count = p->buffers_count;
    plan->image = place(&memory, p->cells, image);
    plan->relocs = place(&memory, p->relocs, relocs);
    plan->buffers = place(&memory, p->buffers, buffers);
    plan->steps = place(&memory, NULL, steps);
    plan->atoms = place(&memory, p->atoms, atoms);
    plan->consts = place(&memory, p->consts, p->consts_size);
    for (uint32_t i = 0; i < p->buffers_count; i++) {
        plan->buffers[i].flags |= flags[i];
        uint64_t size = buffer_scratch(&plan->buffers[i]);
        if (plan->scratch_bytes + size <= SCRATCH_BYTES_MAX) {
            plan->scratch_bytes += (uint32_t)size;
        }
    }
    plan->scratch_fixed = plan->scratch_bytes;
    plan->scratch_user = BUFFERS_MAX;
    for (uint32_t i = p->buffers_count; i-- > 0;) {
        if (p->buffers[i].size == 0) {
            plan->scratch_user = i;
            plan->scratch_bytes = SCRATCH_BYTES_MAX;
        }
    }
    return plan;
}

int
plan_create(struct plan **out, const struct program *program,
            struct program_error *error)
{
    struct verifier v = {.program = program, .error = error};
    int res = verifier_run(&v);
    if (res < 0) {
        goto done;
    }
    uint32_t flags[BUFFERS_MAX];
    verifier_find_exposed(&v, flags);
    struct plan *plan = plan_copy(program, flags);
    if (plan == NULL) {
        res = -ENOMEM;
        goto done;
    }
    for (uint32_t i = 0; i < program->atoms_count; i++) {
        decode(&v, i, &plan->steps[i]);
    }
    *out = plan;
done:
    verifier_close(&v);
    return res;
}

void
plan_label_set(struct plan *plan, const char *label)
{
    memset(plan->label, 0, sizeof(plan->label));
    strncpy(plan->label, label, sizeof(plan->label) - 1);
}

void
plan_hold(struct plan *plan)
{
    __atomic_add_fetch(&plan->references, 1, __ATOMIC_RELAXED);
}

void
plan_drop(struct plan *plan)
{
    if (__atomic_sub_fetch(&plan->references, 1, __ATOMIC_ACQ_REL) == 0) {
        free(plan->handed);
        free(plan);
    }
}

uint32_t
plan_atoms_count(const struct plan *plan)
{
    return plan->atoms_count;
}

uint32_t
plan_cells_count(const struct plan *plan)
{
    return plan->cells_count;
}

const struct program_atom *
plan_atom(const struct plan *plan, uint32_t index)
{
    return &plan->atoms[index];
}
