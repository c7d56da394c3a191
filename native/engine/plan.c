/* Verifies a program and decodes it into a plan.
 *
 * The verifier trusts nobody: a program that passes can be flown with any host values
 * without touching memory that is not the flight's, its plan's or lent to it. It is
 * independent of the compiler in syslet_loop/plan.py on purpose. Raw addresses that a
 * program passes as plain numbers are the one thing it cannot check, as in C. */
#include "plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum cell_role { CELL_PLAIN, CELL_INPUT, CELL_ADDRESS };

struct verifier {
    const struct program *program; /* borrowed */
    struct program_error *error;   /* borrowed */
    uint8_t *roles;    /* owned: enum cell_role per cell */
    uint8_t *written;  /* owned: some atom stores its result here */
    uint8_t *constant; /* owned: address of constants, which nothing may write */
    uint64_t *spans;   /* owned: bytes surely behind the address in this cell */
};

static int
refuse(struct verifier *v, uint32_t atom, const char *format, ...)
{
    v->error->atom = atom;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(v->error->text, sizeof(v->error->text), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static int
check_sizes(struct verifier *v)
{
    const struct program *p = v->program;
    if (p->atoms_count == 0 || p->atoms_count > ATOMS_MAX) {
        return refuse(v, UINT32_MAX, "%u atoms: between 1 and %d are allowed",
                      p->atoms_count, ATOMS_MAX);
    }
    if (p->cells_count == 0 || p->cells_count > CELLS_MAX) {
        return refuse(v, UINT32_MAX, "%u cells: between 1 and %d are allowed",
                      p->cells_count, CELLS_MAX);
    }
    if (p->buffers_count > BUFFERS_MAX) {
        return refuse(v, UINT32_MAX, "%u buffers: at most %d are allowed",
                      p->buffers_count, BUFFERS_MAX);
    }
    if (p->relocs_count > RELOCS_MAX || p->consts_size > CONSTS_BYTES_MAX) {
        return refuse(v, UINT32_MAX, "too many relocations or constants");
    }
    if (p->cells[0] != 0) {
        return refuse(v, UINT32_MAX, "cell 0 is not 0");
    }
    return 0;
}

static int
check_cell(struct verifier *v, uint64_t cell, const char *what)
{
    if (cell == 0 || cell >= v->program->cells_count) {
        return refuse(v, UINT32_MAX, "%s: no cell %llu", what,
                      (unsigned long long)cell);
    }
    return 0;
}

static int
check_inputs(struct verifier *v)
{
    for (uint32_t i = 0; i < v->program->inputs_count; i++) {
        uint32_t cell = v->program->inputs[i];
        if (check_cell(v, cell, "input") < 0) {
            return -EINVAL;
        }
        v->roles[cell] = CELL_INPUT;
    }
    return 0;
}

static int
check_reloc(struct verifier *v, const struct program_reloc *reloc)
{
    const struct program *p = v->program;
    if (check_cell(v, reloc->cell, "relocation") < 0) {
        return -EINVAL;
    }
    if (v->roles[reloc->cell] != CELL_PLAIN) {
        return refuse(v, UINT32_MAX, "cell %u has two origins", reloc->cell);
    }
    v->roles[reloc->cell] = CELL_ADDRESS;
    switch (reloc->kind) {
    case RELOC_CELL: /* its span is known when all roles are: find_cell_spans */
        if (reloc->value < 8 || reloc->value >= (uint64_t)p->cells_count * 8) {
            return refuse(v, UINT32_MAX, "cell %u: address outside the cells",
                          reloc->cell);
        }
        return 0;
    case RELOC_CONST:
        if (reloc->value >= p->consts_size) {
            return refuse(v, UINT32_MAX, "cell %u: address outside the constants",
                          reloc->cell);
        }
        v->spans[reloc->cell] = p->consts_size - reloc->value;
        v->constant[reloc->cell] = 1;
        return 0;
    case RELOC_BUFFER:
        if (reloc->value >= p->buffers_count ||
            p->buffers[reloc->value].size == 0 ||
            p->buffers[reloc->value].address != reloc->cell) {
            return refuse(v, UINT32_MAX, "cell %u: not a fixed buffer's address",
                          reloc->cell);
        }
        v->spans[reloc->cell] = p->buffers[reloc->value].size;
        return 0;
    case RELOC_HOST:
        v->spans[reloc->cell] = reloc->value;
        return 0;
    default:
        return refuse(v, UINT32_MAX, "unknown relocation %u", reloc->kind);
    }
}

/* Memory behind the address of a cell reaches to the next cell that holds an address
 * or a host's value: those must never be overwritten through memory. */
static void
find_cell_spans(struct verifier *v)
{
    const struct program *p = v->program;
    for (uint32_t i = 0; i < p->relocs_count; i++) {
        if (p->relocs[i].kind != RELOC_CELL) {
            continue;
        }
        uint64_t first = p->relocs[i].value / 8;
        uint64_t end = first;
        while (end < p->cells_count && v->roles[end] == CELL_PLAIN) {
            end += 1;
        }
        uint64_t bytes = end * 8;
        v->spans[p->relocs[i].cell] =
            bytes > p->relocs[i].value ? bytes - p->relocs[i].value : 0;
    }
}

static int
check_buffers(struct verifier *v)
{
    const struct program *p = v->program;
    for (uint32_t i = 0; i < p->buffers_count; i++) {
        const struct program_buffer *buffer = &p->buffers[i];
        if (check_cell(v, buffer->address, "buffer address") < 0) {
            return -EINVAL;
        }
        if (buffer->size > HEAP_BYTES_MAX) {
            return refuse(v, UINT32_MAX, "buffer %u: larger than %d bytes", i,
                          HEAP_BYTES_MAX);
        }
        if (buffer->size != 0) {
            if (v->roles[buffer->address] != CELL_ADDRESS) {
                return refuse(v, UINT32_MAX, "buffer %u: address not relocated", i);
            }
            continue;
        }
        if (check_cell(v, buffer->capacity, "buffer capacity") < 0) {
            return -EINVAL;
        }
        if (v->roles[buffer->address] != CELL_PLAIN ||
            v->roles[buffer->capacity] != CELL_PLAIN) {
            return refuse(v, UINT32_MAX, "buffer %u: cells have two origins", i);
        }
        v->roles[buffer->address] = CELL_ADDRESS; /* made by its PSEUDO_BUFFER atom */
        v->roles[buffer->capacity] = CELL_ADDRESS;
        v->spans[buffer->address] = UINT64_MAX; /* only a bound can tell */
    }
    return 0;
}

static int
check_flow(struct verifier *v, uint32_t index, const struct program_atom *atom)
{
    uint32_t count = v->program->atoms_count;
    if (atom->flags & ~(uint32_t)SYSLET_FLAGS_ALL) {
        return refuse(v, index, "unknown flags 0x%x", atom->flags);
    }
    if (atom->next > count) {
        return refuse(v, index, "next is atom %llu of %u",
                      (unsigned long long)atom->next - 1, count);
    }
    if ((atom->flags & SYSLET_SKIP_TO_NEXT_ON_STOP) && index + 1 == count) {
        return refuse(v, index, "skips behind the last atom");
    }
    if ((atom->flags & SYSLET_ASYNC) && (atom->flags & SYSLET_SYNC)) {
        return refuse(v, index, "ASYNC and SYNC exclude each other");
    }
    return 0;
}

static int
check_cells(struct verifier *v, uint32_t index, const struct program_atom *atom)
{
    uint32_t count = v->program->cells_count;
    if (atom->ret >= count) {
        return refuse(v, index, "result cell %llu of %u",
                      (unsigned long long)atom->ret, count);
    }
    if (v->roles[atom->ret] != CELL_PLAIN) {
        return refuse(v, index, "its result overwrites an address or an input");
    }
    bool ended = false;
    for (int i = 0; i < ARGS_MAX; i++) {
        if (atom->arg[i] >= count) {
            return refuse(v, index, "argument %d is cell %llu of %u", i,
                          (unsigned long long)atom->arg[i], count);
        }
        if (ended && atom->arg[i] != 0) {
            return refuse(v, index, "an argument after the end of its arguments");
        }
        ended = ended || atom->arg[i] == 0;
    }
    return 0;
}

static const struct program_bound *
find_bound(const struct program *p, uint32_t atom, uint32_t arg)
{
    for (uint32_t i = 0; i < p->bounds_count; i++) {
        if (p->bounds[i].atom == atom && p->bounds[i].arg == arg) {
            return &p->bounds[i];
        }
    }
    return NULL;
}

/* A length behind known memory is a constant that fits or has a bound. */
static int
check_length(struct verifier *v, uint32_t index, const struct program_atom *atom,
             int arg)
{
    const struct program *p = v->program;
    uint64_t cell = atom->arg[arg];
    uint64_t span = v->spans[atom->arg[arg - 1]];
    if (find_bound(p, index, (uint32_t)arg) != NULL) {
        return 0;
    }
    if (v->roles[cell] != CELL_PLAIN || v->written[cell] || span == UINT64_MAX) {
        return refuse(v, index, "argument %d is a computed length without bound", arg);
    }
    if (p->cells[cell] > span) {
        return refuse(v, index, "length %llu, but the memory has %llu bytes",
                      (unsigned long long)p->cells[cell], (unsigned long long)span);
    }
    return 0;
}

static int
check_memory(struct verifier *v, uint32_t index, const struct program_atom *atom,
             const struct op *op)
{
    for (int i = 0; op->args[i] != '\0' && atom->arg[i] != 0; i++) {
        uint64_t cell = atom->arg[i];
        bool writes = strchr("wATLO", op->args[i]) != NULL;
        if (writes && v->constant[cell]) {
            return refuse(v, index, "argument %d would write to constants", i);
        }
        if (op->args[i] == 'n' && i > 0 && v->roles[atom->arg[i - 1]] == CELL_ADDRESS &&
            check_length(v, index, atom, i) < 0) {
            return -EINVAL;
        }
    }
    return 0;
}

static int
check_pseudo(struct verifier *v, uint32_t index, const struct program_atom *atom)
{
    const struct program *p = v->program;
    uint64_t cell = atom->arg[0];
    if (atom->nr == PSEUDO_BUFFER) {
        uint64_t slot = p->cells[cell];
        if (cell == 0 || v->roles[cell] != CELL_PLAIN || v->written[cell] ||
            slot >= p->buffers_count || p->buffers[slot].size != 0) {
            return refuse(v, index, "not the number of a computed buffer");
        }
    }
    if (atom->nr == PSEUDO_UMEM_ADD && cell != 0 && v->roles[cell] == CELL_ADDRESS &&
        (v->constant[cell] || v->spans[cell] < 8 || v->spans[cell] == UINT64_MAX)) {
        return refuse(v, index, "umem_add needs 8 bytes of writable memory");
    }
    if (atom->flags & (SYSLET_ASYNC | SYSLET_SYNC)) {
        return refuse(v, index, "ASYNC and SYNC are for system calls");
    }
    return 0;
}

static int
check_atom(struct verifier *v, uint32_t index)
{
    const struct program_atom *atom = &v->program->atoms[index];
    const char *reason = op_refusal(atom->nr);
    if (reason != NULL) {
        return refuse(v, index, "system call %u is refused: %s", atom->nr, reason);
    }
    if (check_flow(v, index, atom) < 0 || check_cells(v, index, atom) < 0) {
        return -EINVAL;
    }
    const struct op *op = op_find(atom->nr);
    if (op == NULL) {
        return atom->nr >= PSEUDO_FIRST
                   ? refuse(v, index, "no operation 0x%x", atom->nr)
                   : 0;
    }
    int argc = 0;
    while (argc < ARGS_MAX && atom->arg[argc] != 0) {
        argc += 1;
    }
    if (argc < op->args_min || argc > (int)strlen(op->args)) {
        return refuse(v, index, "%s takes %d to %d arguments, not %d", op->name,
                      op->args_min, (int)strlen(op->args), argc);
    }
    if (op->flags & OP_PSEUDO) {
        return check_pseudo(v, index, atom);
    }
    return check_memory(v, index, atom, op);
}

static int
check_bounds(struct verifier *v)
{
    const struct program *p = v->program;
    for (uint32_t i = 0; i < p->bounds_count; i++) {
        const struct program_bound *bound = &p->bounds[i];
        if (bound->atom >= p->atoms_count || bound->arg >= ARGS_MAX ||
            p->atoms[bound->atom].arg[bound->arg] == 0) {
            return refuse(v, UINT32_MAX, "bound %u names no argument", i);
        }
        if (check_cell(v, bound->capacity, "bound") < 0) {
            return -EINVAL;
        }
        if (v->written[bound->capacity]) {
            return refuse(v, bound->atom, "its bound is computed");
        }
    }
    return 0;
}

static int
verify(struct verifier *v)
{
    const struct program *p = v->program;
    if (check_inputs(v) < 0) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < p->relocs_count; i++) {
        if (check_reloc(v, &p->relocs[i]) < 0) {
            return -EINVAL;
        }
    }
    if (check_buffers(v) < 0) {
        return -EINVAL;
    }
    find_cell_spans(v);
    for (uint32_t i = 0; i < p->atoms_count; i++) {
        if (p->atoms[i].ret < p->cells_count) {
            v->written[p->atoms[i].ret] = 1;
        }
    }
    if (check_bounds(v) < 0) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < p->atoms_count; i++) {
        if (check_atom(v, i) < 0) {
            return -EINVAL;
        }
    }
    return 0;
}

static int
verifier_open(struct verifier *v)
{
    size_t cells = v->program->cells_count;
    v->roles = calloc(cells, 1);
    v->written = calloc(cells, 1);
    v->constant = calloc(cells, 1);
    v->spans = calloc(cells, sizeof(uint64_t));
    bool all = v->roles && v->written && v->constant && v->spans;
    return all ? 0 : -ENOMEM;
}

static void
verifier_close(struct verifier *v)
{
    free(v->roles);
    free(v->written);
    free(v->constant);
    free(v->spans);
}

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
        bytes = v->program->cells[width] + v->program->cells[offset];
    } else if (atom->nr != PSEUDO_UMEM_ADD) {
        return false;
    }
    return span != UINT64_MAX && span >= bytes;
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
    step->bound = NO_BOUND;
    for (int i = 0; i < ARGS_MAX && atom->arg[i] != 0; i++) {
        step->arg[i] = (uint16_t)atom->arg[i];
        step->argc += 1;
        const struct program_bound *bound = find_bound(v->program, index, (uint32_t)i);
        if (bound != NULL) {
            step->bound = (uint8_t)i;
            step->capacity = (uint16_t)bound->capacity;
        }
    }
    step->trusted = address_is_trusted(v, atom);
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
plan_copy(const struct program *p)
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
        uint64_t size = (p->buffers[i].size + 15) & ~UINT64_C(15);
        if (plan->scratch_bytes + size <= SCRATCH_BYTES_MAX) {
            plan->scratch_bytes += (uint32_t)size;
        }
    }
    return plan;
}

int
plan_create(struct plan **out, const struct program *program,
            struct program_error *error)
{
    struct verifier v = {.program = program, .error = error};
    int res = check_sizes(&v);
    if (res < 0) {
        return res;
    }
    struct plan *plan = NULL;
    res = verifier_open(&v);
    if (res < 0) {
        goto done;
    }
    res = verify(&v);
    if (res < 0) {
        goto done;
    }
    plan = plan_copy(program);
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
plan_hold(struct plan *plan)
{
    __atomic_add_fetch(&plan->references, 1, __ATOMIC_RELAXED);
}

void
plan_drop(struct plan *plan)
{
    if (__atomic_sub_fetch(&plan->references, 1, __ATOMIC_ACQ_REL) == 0) {
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
