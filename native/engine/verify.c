/* Verifies a program before it becomes a plan.
 *
 * The verifier trusts nobody: a program that passes can be flown with any host values
 * without touching memory that is not the flight's, its plan's or lent to it. It is
 * independent of the compiler in syslet_loop/plan.py on purpose. Two things it cannot
 * check, as in C: raw addresses that a program passes as plain numbers, and what system
 * calls without a row in ops.c do with the addresses they are given. */
#include "verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"

int
verifier_refuse(struct verifier *v, uint32_t atom, const char *format, ...)
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
        return verifier_refuse(v, UINT32_MAX, "%u atoms: between 1 and %d are allowed",
                               p->atoms_count, ATOMS_MAX);
    }
    if (p->cells_count == 0 || p->cells_count > CELLS_MAX) {
        return verifier_refuse(v, UINT32_MAX, "%u cells: between 1 and %d are allowed",
                               p->cells_count, CELLS_MAX);
    }
    if (p->buffers_count > BUFFERS_MAX) {
        return verifier_refuse(v, UINT32_MAX, "%u buffers: at most %d are allowed",
                               p->buffers_count, BUFFERS_MAX);
    }
    if (p->bounds_count > ATOMS_MAX * BOUNDS_MAX || p->inputs_count > p->cells_count) {
        return verifier_refuse(v, UINT32_MAX, "too many bounds or inputs");
    }
    if (p->relocs_count > RELOCS_MAX || p->consts_size > CONSTS_BYTES_MAX) {
        return verifier_refuse(v, UINT32_MAX, "too many relocations or constants");
    }
    if (p->cells[0] != 0) {
        return verifier_refuse(v, UINT32_MAX, "cell 0 is not 0");
    }
    return 0;
}

static int
check_cell(struct verifier *v, uint64_t cell, const char *what)
{
    if (cell == 0 || cell >= v->program->cells_count) {
        return verifier_refuse(v, UINT32_MAX, "%s: no cell %llu", what,
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
        return verifier_refuse(v, UINT32_MAX, "cell %u has two origins", reloc->cell);
    }
    v->roles[reloc->cell] = CELL_ADDRESS;
    switch (reloc->kind) {
    case RELOC_CELL: /* its span is known when all roles are: find_cell_spans */
        if (reloc->value < 8 || reloc->value % 8 != 0 ||
            reloc->value >= (uint64_t)p->cells_count * 8) {
            return verifier_refuse(v, UINT32_MAX, "cell %u: not the address of a cell",
                                   reloc->cell);
        }
        v->targets[reloc->cell] = (uint32_t)(reloc->value / 8);
        return 0;
    case RELOC_CONST:
        if (reloc->value >= p->consts_size) {
            return verifier_refuse(
                v, UINT32_MAX, "cell %u: address outside the constants", reloc->cell);
        }
        v->spans[reloc->cell] = p->consts_size - reloc->value;
        v->constant[reloc->cell] = 1;
        return 0;
    case RELOC_BUFFER:
        if (reloc->value >= p->buffers_count || p->buffers[reloc->value].size == 0 ||
            p->buffers[reloc->value].address != reloc->cell) {
            return verifier_refuse(
                v, UINT32_MAX, "cell %u: not a fixed buffer's address", reloc->cell);
        }
        v->spans[reloc->cell] = p->buffers[reloc->value].size;
        v->owners[reloc->cell] = (uint8_t)(reloc->value + 1);
        return 0;
    case RELOC_HOST:
        v->spans[reloc->cell] = reloc->value;
        v->hosts[reloc->cell] = 1;
        return 0;
    default:
        return verifier_refuse(v, UINT32_MAX, "unknown relocation %u", reloc->kind);
    }
}

/* Memory behind the address of a cell reaches, for writers, to the next cell that
 * holds an address or a host's value: those must never be overwritten through memory.
 * Readers may read what the host stored. */
static void
find_cell_spans(struct verifier *v)
{
    const struct program *p = v->program;
    for (uint32_t i = 0; i < p->relocs_count; i++) {
        if (p->relocs[i].kind != RELOC_CELL) {
            continue;
        }
        uint64_t end = p->relocs[i].value / 8;
        while (end < p->cells_count && v->roles[end] == CELL_PLAIN) {
            end += 1;
        }
        uint64_t readable = end;
        while (readable < p->cells_count && v->roles[readable] != CELL_ADDRESS) {
            readable += 1;
        }
        uint32_t cell = p->relocs[i].cell;
        uint64_t offset = p->relocs[i].value;
        v->spans[cell] = end * 8 > offset ? end * 8 - offset : 0;
        v->reads[cell] = readable * 8 > offset ? readable * 8 - offset : 0;
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
        if (buffer->flags & ~(uint32_t)BUFFER_ZEROED) {
            return verifier_refuse(v, UINT32_MAX, "buffer %u: unknown flags", i);
        }
        if (buffer->size > HEAP_BYTES_MAX) {
            return verifier_refuse(v, UINT32_MAX, "buffer %u: larger than %d bytes", i,
                                   HEAP_BYTES_MAX);
        }
        if (buffer->size != 0) {
            if (v->owners[buffer->address] != i + 1) {
                return verifier_refuse(v, UINT32_MAX,
                                       "buffer %u: no relocation stores it", i);
            }
            continue;
        }
        if (check_cell(v, buffer->capacity, "buffer capacity") < 0) {
            return -EINVAL;
        }
        if (v->roles[buffer->address] != CELL_PLAIN ||
            v->roles[buffer->capacity] != CELL_PLAIN) {
            return verifier_refuse(v, UINT32_MAX, "buffer %u: cells have two origins",
                                   i);
        }
        if (buffer->address == buffer->capacity || p->cells[buffer->address] != 0 ||
            p->cells[buffer->capacity] != 0) {
            return verifier_refuse(v, UINT32_MAX,
                                   "buffer %u: it begins as two cells of 0", i);
        }
        v->owners[buffer->address] = (uint8_t)(i + 1);
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
        return verifier_refuse(v, index, "unknown flags 0x%x", atom->flags);
    }
    if (atom->next > count) {
        return verifier_refuse(v, index, "next is atom %llu of %u",
                               (unsigned long long)atom->next - 1, count);
    }
    if ((atom->flags & SYSLET_SKIP_TO_NEXT_ON_STOP) && index + 1 == count) {
        return verifier_refuse(v, index, "skips behind the last atom");
    }
    if ((atom->flags & SYSLET_ASYNC) && (atom->flags & SYSLET_SYNC)) {
        return verifier_refuse(v, index, "ASYNC and SYNC exclude each other");
    }
    return 0;
}

static int
check_cells(struct verifier *v, uint32_t index, const struct program_atom *atom)
{
    uint32_t count = v->program->cells_count;
    if (atom->ret >= count) {
        return verifier_refuse(v, index, "result cell %llu of %u",
                               (unsigned long long)atom->ret, count);
    }
    if (v->roles[atom->ret] != CELL_PLAIN) {
        return verifier_refuse(v, index,
                               "its result overwrites an address or an input");
    }
    bool ended = false;
    for (int i = 0; i < ARGS_MAX; i++) {
        if (atom->arg[i] >= count) {
            return verifier_refuse(v, index, "argument %d is cell %llu of %u", i,
                                   (unsigned long long)atom->arg[i], count);
        }
        if (ended && atom->arg[i] != 0) {
            return verifier_refuse(v, index,
                                   "an argument after the end of its arguments");
        }
        ended = ended || atom->arg[i] == 0;
    }
    return 0;
}

const struct program_bound *
verifier_bound(const struct program *p, uint32_t atom, uint32_t arg)
{
    for (uint32_t i = 0; i < p->bounds_count; i++) {
        if (p->bounds[i].atom == atom && p->bounds[i].arg == arg) {
            return &p->bounds[i];
        }
    }
    return NULL;
}

/* Known memory, known place: then it has to lie inside. */
static bool
loads_outside(const struct verifier *v, const struct program_atom *atom)
{
    uint64_t span = v->spans[atom->arg[0]], offset = atom->arg[3];
    if (v->roles[atom->arg[0]] != CELL_ADDRESS || !is_constant(v, atom->arg[1]) ||
        (offset != 0 && !is_constant(v, offset))) {
        return false;
    }
    uint64_t behind = v->program->cells[offset],
             width = v->program->cells[atom->arg[1]];
    span = v->reads[atom->arg[0]] > span ? v->reads[atom->arg[0]] : span;
    return behind > span || width > span - behind;
}

static int
check_pseudo(struct verifier *v, uint32_t index, const struct program_atom *atom)
{
    const struct program *p = v->program;
    uint64_t cell = atom->arg[0];
    if (atom->nr == PSEUDO_BUFFER) {
        uint64_t slot = p->cells[cell];
        if (cell == 0 || !is_constant(v, cell) || slot >= p->buffers_count ||
            p->buffers[slot].size != 0) {
            return verifier_refuse(v, index, "not the number of a computed buffer");
        }
    }
    if (atom->nr == PSEUDO_LOAD && loads_outside(v, atom)) {
        return verifier_refuse(v, index, "it loads from outside its memory");
    }
    if (atom->nr == PSEUDO_UMEM_ADD && cell != 0 && v->roles[cell] == CELL_ADDRESS &&
        (v->constant[cell] || v->spans[cell] < 8 || v->spans[cell] == UINT64_MAX)) {
        return verifier_refuse(v, index, "umem_add needs 8 bytes of writable memory");
    }
    if (atom->flags & (SYSLET_ASYNC | SYSLET_SYNC)) {
        return verifier_refuse(v, index, "ASYNC and SYNC are for system calls");
    }
    return 0;
}

static int
check_bounds_count(struct verifier *v, uint32_t index)
{
    int count = 0;
    for (uint32_t i = 0; i < ARGS_MAX; i++) {
        count += verifier_bound(v->program, index, i) != NULL;
    }
    return count <= BOUNDS_MAX ? 0 : verifier_refuse(v, index, "more than two bounds");
}

static int
check_atom(struct verifier *v, uint32_t index)
{
    const struct program_atom *atom = &v->program->atoms[index];
    const char *reason = op_refusal(atom->nr);
    if (reason != NULL) {
        return verifier_refuse(v, index, "system call %u is refused: %s", atom->nr,
                               reason);
    }
    if (check_flow(v, index, atom) < 0 || check_bounds_count(v, index) < 0) {
        return -EINVAL;
    }
    const struct op *op = op_find(atom->nr);
    if (op == NULL) {
        return atom->nr >= PSEUDO_FIRST
                   ? verifier_refuse(v, index, "no operation 0x%x", atom->nr)
                   : 0;
    }
    int argc = 0;
    while (argc < ARGS_MAX && atom->arg[argc] != 0) {
        argc += 1;
    }
    if (argc < op->args_min || argc > (int)strlen(op->args)) {
        return verifier_refuse(v, index, "%s takes %d to %d arguments, not %d",
                               op->name, op->args_min, (int)strlen(op->args), argc);
    }
    if (op->flags & OP_PSEUDO) {
        return check_pseudo(v, index, atom);
    }
    return verifier_check_memory(v, index, atom, op);
}

static int
check_bounds(struct verifier *v)
{
    const struct program *p = v->program;
    for (uint32_t i = 0; i < p->bounds_count; i++) {
        const struct program_bound *bound = &p->bounds[i];
        if (bound->atom >= p->atoms_count || bound->arg >= ARGS_MAX ||
            p->atoms[bound->atom].arg[bound->arg] == 0) {
            return verifier_refuse(v, UINT32_MAX, "bound %u names no argument", i);
        }
        if (check_cell(v, bound->capacity, "bound") < 0) {
            return -EINVAL;
        }
        if (v->written[bound->capacity]) {
            return verifier_refuse(v, bound->atom, "its bound is computed");
        }
    }
    return 0;
}

static int
check_shows(struct verifier *v)
{
    for (uint32_t i = 0; i < v->program->shows_count; i++) {
        const struct program_show *show = &v->program->shows[i];
        if (check_cell(v, show->address, "what is shown") < 0) {
            return -EINVAL;
        }
        if (show->length >= v->program->cells_count) {
            return verifier_refuse(v, UINT32_MAX, "what is shown: no cell %u",
                                   show->length);
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
    for (uint32_t i = 0; i < p->atoms_count; i++) {
        if (check_cells(v, i, &p->atoms[i]) < 0) {
            return -EINVAL;
        }
    }
    find_cell_spans(v); /* from here on every cell that is named exists */
    verifier_mark_written(v);
    if (check_bounds(v) < 0 || check_shows(v) < 0) {
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
    v->hosts = calloc(cells, 1);
    v->owners = calloc(cells, 1);
    v->tells = calloc(cells, 1);
    v->targets = calloc(cells, sizeof(uint32_t));
    v->spans = calloc(cells, sizeof(uint64_t));
    v->reads = calloc(cells, sizeof(uint64_t));
    bool all = v->roles && v->written && v->constant && v->spans && v->hosts &&
               v->targets && v->reads && v->owners && v->tells;
    return all ? 0 : -ENOMEM;
}

void
verifier_close(struct verifier *v)
{
    free(v->roles);
    free(v->written);
    free(v->constant);
    free(v->hosts);
    free(v->owners);
    free(v->tells);
    free(v->targets);
    free(v->reads);
    free(v->spans);
}

int
verifier_run(struct verifier *v)
{
    int res = check_sizes(v);
    if (res == 0) {
        res = verifier_open(v);
    }
    return res == 0 ? verify(v) : res;
}
