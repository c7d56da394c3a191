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
        v->targets[reloc->cell] = (uint32_t)(reloc->value / 8);
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
        if (reloc->value >= p->buffers_count || p->buffers[reloc->value].size == 0 ||
            p->buffers[reloc->value].address != reloc->cell) {
            return refuse(v, UINT32_MAX, "cell %u: not a fixed buffer's address",
                          reloc->cell);
        }
        v->spans[reloc->cell] = p->buffers[reloc->value].size;
        return 0;
    case RELOC_HOST:
        v->spans[reloc->cell] = reloc->value;
        v->hosts[reloc->cell] = 1;
        return 0;
    default:
        return refuse(v, UINT32_MAX, "unknown relocation %u", reloc->kind);
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
            return refuse(v, UINT32_MAX, "buffer %u: unknown flags", i);
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
        return refuse(v, index, "result cell %llu of %u", (unsigned long long)atom->ret,
                      count);
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

/* Nothing but the image gives this cell its value. */
static bool
is_constant(const struct verifier *v, uint64_t cell)
{
    return v->roles[cell] == CELL_PLAIN && !v->written[cell];
}

/* A length behind known memory is a constant that fits or has a bound. */
static int
check_length(struct verifier *v, uint32_t index, const struct program_atom *atom,
             int arg)
{
    const struct program *p = v->program;
    uint64_t cell = atom->arg[arg];
    uint64_t span = v->spans[atom->arg[arg - 1]];
    if (verifier_bound(p, index, (uint32_t)arg) != NULL) {
        return 0;
    }
    if (!is_constant(v, cell) || span == UINT64_MAX) {
        return refuse(v, index, "argument %d is a computed length without bound", arg);
    }
    if (p->cells[cell] > span) {
        return refuse(v, index, "length %llu, but the memory has %llu bytes",
                      (unsigned long long)p->cells[cell], (unsigned long long)span);
    }
    return 0;
}

/* iovecs that lie in cells: address and length, `count` times. */
static int
check_vector(struct verifier *v, uint32_t index, uint64_t first, uint64_t count,
             bool written)
{
    const struct program *p = v->program;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t address = first + 2 * i, size = address + 1;
        if (size >= p->cells_count) {
            return refuse(v, index, "its iovecs reach behind the cells");
        }
        if (v->roles[address] != CELL_ADDRESS) {
            continue; /* a raw address */
        }
        bool is_lent = v->hosts[address] && v->roles[size] == CELL_INPUT;
        bool fits = is_constant(v, size) && p->cells[size] <= v->spans[address];
        if (!is_lent && !fits) {
            return refuse(v, index, "iovec %llu is larger than its memory",
                          (unsigned long long)i);
        }
        if (written && v->constant[address]) {
            return refuse(v, index, "iovec %llu would write to constants",
                          (unsigned long long)i);
        }
    }
    return 0;
}

/* A msghdr that lies in cells: its iovecs are those of the cells it points to. */
static int
check_message(struct verifier *v, uint32_t index, uint64_t header, bool written)
{
    const struct program *p = v->program;
    if (header + 7 > p->cells_count) {
        return refuse(v, index, "its message reaches behind the cells");
    }
    uint64_t vector = v->targets[header + 2];
    if (vector == 0) {
        return 0; /* raw */
    }
    if (!is_constant(v, header + 3)) {
        return refuse(v, index, "the number of its iovecs is computed");
    }
    return check_vector(v, index, vector, p->cells[header + 3], written);
}

/* Memory whose size another argument tells: pollfds by count, options by length. */
static int
check_out(struct verifier *v, uint32_t index, const struct program_atom *atom,
          const struct op *op, int i)
{
    uint64_t span = v->spans[atom->arg[i]], other = atom->arg[i + 1];
    if (op->args[i + 1] == 'c') {
        if (!is_constant(v, other) || v->program->cells[other] > span / 8) {
            return refuse(v, index, "more entries than its memory has");
        }
    } else if (op->args[i + 1] == 'L' && v->targets[other] != 0) {
        uint32_t size = (uint32_t)v->program->cells[v->targets[other]];
        if (size > span) {
            return refuse(v, index, "length %u, but the memory has %llu bytes", size,
                          (unsigned long long)span);
        }
    }
    return 0;
}

static int
check_argument(struct verifier *v, uint32_t index, const struct program_atom *atom,
               const struct op *op, int i)
{
    uint64_t cell = atom->arg[i], span = v->spans[atom->arg[i]];
    char letter = op->args[i];
    if (letter == 'n' && i > 0 && v->roles[atom->arg[i - 1]] == CELL_ADDRESS) {
        return check_length(v, index, atom, i);
    }
    if (v->roles[cell] != CELL_ADDRESS) {
        return 0;
    }
    if (strchr("wATLO", letter) != NULL && v->constant[cell]) {
        return refuse(v, index, "argument %d would write to constants", i);
    }
    if (strchr("tm", letter) != NULL && v->reads[cell] > span) {
        span = v->reads[cell];
    }
    if (strchr("tTALOmM", letter) != NULL && span < op_structure(op, i)) {
        return refuse(v, index, "argument %d needs %u bytes, its memory has %llu", i,
                      op_structure(op, i), (unsigned long long)span);
    }
    if (letter == 'T' && check_out(v, index, atom, op, i) < 0) {
        return -EINVAL;
    }
    if (strchr("vV", letter) != NULL && v->targets[cell] != 0) {
        if (!is_constant(v, atom->arg[i + 1])) {
            return refuse(v, index, "the number of its iovecs is computed");
        }
        uint64_t count = v->program->cells[atom->arg[i + 1]];
        return check_vector(v, index, v->targets[cell], count, letter == 'V');
    }
    if (strchr("mM", letter) != NULL && v->targets[cell] != 0) {
        return check_message(v, index, v->targets[cell], letter == 'M');
    }
    return 0;
}

static int
check_memory(struct verifier *v, uint32_t index, const struct program_atom *atom,
             const struct op *op)
{
    for (int i = 0; op->args[i] != '\0' && atom->arg[i] != 0; i++) {
        if (check_argument(v, index, atom, op, i) < 0) {
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
        if (cell == 0 || !is_constant(v, cell) || slot >= p->buffers_count ||
            p->buffers[slot].size != 0) {
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
check_bounds_count(struct verifier *v, uint32_t index)
{
    int count = 0;
    for (uint32_t i = 0; i < ARGS_MAX; i++) {
        count += verifier_bound(v->program, index, i) != NULL;
    }
    return count <= BOUNDS_MAX ? 0 : refuse(v, index, "more than two bounds");
}

static int
check_atom(struct verifier *v, uint32_t index)
{
    const struct program_atom *atom = &v->program->atoms[index];
    const char *reason = op_refusal(atom->nr);
    if (reason != NULL) {
        return refuse(v, index, "system call %u is refused: %s", atom->nr, reason);
    }
    if (check_flow(v, index, atom) < 0 || check_cells(v, index, atom) < 0 ||
        check_bounds_count(v, index) < 0) {
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

/* How much the kernel may write behind argument `i`, as far as one can tell. */
static uint64_t
bytes_written(const struct verifier *v, const struct program_atom *atom,
              const struct op *op, int i)
{
    char letter = op != NULL ? op->args[i] : 'z';
    uint64_t span = v->spans[atom->arg[i]];
    if (letter == 'w' && atom->arg[i + 1] != 0 && is_constant(v, atom->arg[i + 1])) {
        return v->program->cells[atom->arg[i + 1]];
    }
    if (letter == 'w' || letter == 'z') {
        return span;
    }
    if (strchr("ATLO", letter) != NULL) {
        uint64_t bytes = op_structure(op, i);
        return bytes != 0 ? bytes : span;
    }
    return 0;
}

/* Cells that an atom writes, by its result or through memory, are no constants. */
static void
mark_written(struct verifier *v, const struct program_atom *atom)
{
    const struct program *p = v->program;
    const struct op *op = op_find(atom->nr);
    if (atom->ret < p->cells_count) {
        v->written[atom->ret] = 1;
    }
    int most = op != NULL ? (int)strlen(op->args) : ARGS_MAX;
    for (int i = 0; i < most && i < ARGS_MAX && atom->arg[i] != 0; i++) {
        uint64_t cell = atom->arg[i];
        if (cell >= p->cells_count || v->targets[cell] == 0) {
            continue;
        }
        uint64_t bytes = bytes_written(v, atom, op, i);
        bytes = bytes < v->spans[cell] ? bytes : v->spans[cell];
        for (uint64_t at = 0; at < bytes; at += 8) {
            v->written[v->targets[cell] + at / 8] = 1;
        }
    }
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
        mark_written(v, &p->atoms[i]);
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
    v->hosts = calloc(cells, 1);
    v->targets = calloc(cells, sizeof(uint32_t));
    v->spans = calloc(cells, sizeof(uint64_t));
    v->reads = calloc(cells, sizeof(uint64_t));
    bool all = v->roles && v->written && v->constant && v->spans && v->hosts &&
               v->targets && v->reads;
    return all ? 0 : -ENOMEM;
}

void
verifier_close(struct verifier *v)
{
    free(v->roles);
    free(v->written);
    free(v->constant);
    free(v->hosts);
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
