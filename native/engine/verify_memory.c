/* Whether an atom's arguments stay inside the memory they name.
 *
 * Lengths, bounds, iovecs, messages, structures and strings, each against what is surely
 * behind its address. Called by verify.c only, once roles, spans and what is written are
 * known. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "op.h"
#include "verify.h"

/* A bound belongs to the memory: what the host said of its own, the capacity of a
 * computed buffer, or a constant that is no larger. */
static bool
bound_fits(const struct verifier *v, uint64_t capacity, uint64_t address)
{
    const struct program *p = v->program;
    if (v->spans[address] == UINT64_MAX) {
        return p->buffers[v->owners[address] - 1].capacity == capacity;
    }
    if (v->hosts[address] && v->roles[capacity] == CELL_INPUT) {
        return true;
    }
    return is_constant(v, capacity) && p->cells[capacity] <= v->spans[address];
}

/* A length behind known memory is a constant that fits or has a bound. */
static int
check_length(struct verifier *v, uint32_t index, const struct program_atom *atom,
             int arg)
{
    const struct program *p = v->program;
    uint64_t cell = atom->arg[arg];
    uint64_t span = v->spans[atom->arg[arg - 1]];
    const struct program_bound *bound = verifier_bound(p, index, (uint32_t)arg);
    if (bound != NULL) {
        return bound_fits(v, bound->capacity, atom->arg[arg - 1])
                   ? 0
                   : verifier_refuse(v, index, "argument %d has another memory's bound",
                                     arg);
    }
    if (!is_constant(v, cell) || span == UINT64_MAX) {
        return verifier_refuse(v, index,
                               "argument %d is a computed length without bound", arg);
    }
    if (p->cells[cell] > span) {
        return verifier_refuse(v, index, "length %llu, but the memory has %llu bytes",
                               (unsigned long long)p->cells[cell],
                               (unsigned long long)span);
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
            return verifier_refuse(v, index, "its iovecs reach behind the cells");
        }
        if (v->roles[address] != CELL_ADDRESS) {
            continue; /* a raw address */
        }
        bool is_lent = v->hosts[address] && v->roles[size] == CELL_INPUT;
        bool fits = v->spans[address] == UINT64_MAX
                        ? p->buffers[v->owners[address] - 1].capacity == size
                        : is_constant(v, size) && p->cells[size] <= v->spans[address];
        if (!is_lent && !fits) {
            return verifier_refuse(v, index, "iovec %llu is larger than its memory",
                                   (unsigned long long)i);
        }
        if (written && v->constant[address]) {
            return verifier_refuse(v, index, "iovec %llu would write to constants",
                                   (unsigned long long)i);
        }
    }
    return 0;
}

/* Name or control data of a message: an address and its length, which the kernel stores
 * again (never more than it was for control data, up to `most` for a name). */
static int
check_part(struct verifier *v, uint32_t index, uint64_t address, uint64_t most,
           bool written)
{
    const struct program *p = v->program;
    uint64_t size = address + 1, span = v->spans[address];
    if (v->roles[address] != CELL_ADDRESS || v->hosts[address]) {
        return 0;
    }
    bool grows = v->written[size] & ~WRITTEN_AS_LENGTH || v->roles[size] != CELL_PLAIN;
    if (span == UINT64_MAX || grows || p->cells[size] > span ||
        (written && (span < most || v->constant[address]))) {
        return verifier_refuse(v, index,
                               "a part of its message is larger than its memory");
    }
    return 0;
}

/* A msghdr that lies in cells: its iovecs are those of the cells it points to. */
static int
check_message(struct verifier *v, uint32_t index, uint64_t header, bool written)
{
    const struct program *p = v->program;
    if (header + 7 > p->cells_count) {
        return verifier_refuse(v, index, "its message reaches behind the cells");
    }
    if (check_part(v, index, header, 128, written) < 0 ||
        check_part(v, index, header + 4, 0, written) < 0) {
        return -EINVAL;
    }
    uint64_t vector = v->targets[header + 2];
    if (vector == 0) {
        return 0; /* raw */
    }
    if (!is_constant(v, header + 3)) {
        return verifier_refuse(v, index, "the number of its iovecs is computed");
    }
    return check_vector(v, index, vector, p->cells[header + 3], written);
}

/* Memory whose size another argument tells: pollfds by count, options by length. */
static int
check_out(struct verifier *v, uint32_t index, const struct program_atom *atom,
          const struct op *op, int i)
{
    uint64_t cell = atom->arg[i], other = atom->arg[i + 1];
    uint64_t span = v->spans[cell];
    span = span == UINT64_MAX ? 0 : span;
    if (op->args[i + 1] == 'c') {
        if (!is_constant(v, other) || v->program->cells[other] > span / 8) {
            return verifier_refuse(v, index, "more entries than its memory has");
        }
    } else if (op->args[i + 1] == 'L' && v->targets[other] == 0) {
        return verifier_refuse(v, index,
                               "its length is not in a cell"); /* see decode_word */
    }
    return 0;
}

/* A string among the constants ends there. */
static bool
has_end(const struct verifier *v, uint64_t cell)
{
    const struct program *p = v->program;
    uint64_t span = v->spans[cell];
    const char *at = (const char *)p->consts + (p->consts_size - span);
    return memchr(at, 0, span) != NULL;
}

static int
check_argument(struct verifier *v, uint32_t index, const struct program_atom *atom,
               const struct op *op, int i)
{
    uint64_t cell = atom->arg[i], span = v->spans[atom->arg[i]];
    char letter = op->args[i];
    bool is_length = letter == 'n' && i > 0 && op->args[i - 1] != 'O';
    if (is_length && v->roles[atom->arg[i - 1]] == CELL_ADDRESS) {
        return check_length(v, index, atom, i);
    }
    if (v->roles[cell] != CELL_ADDRESS) {
        return 0;
    }
    if (op->nr == __NR_madvise && !v->hosts[cell]) {
        return verifier_refuse(v, index,
                               "pages of its own memory have other owners as well");
    }
    if (strchr("ps", letter) != NULL && v->constant[cell] && !has_end(v, cell)) {
        return verifier_refuse(v, index, "argument %d is a string without end", i);
    }
    if (strchr("ps", letter) != NULL && v->targets[cell] != 0) {
        return verifier_refuse(v, index, "argument %d is a string in cells", i);
    }
    if (strchr("wATLO", letter) != NULL && v->constant[cell]) {
        return verifier_refuse(v, index, "argument %d would write to constants", i);
    }
    span = span == UINT64_MAX ? 0 : span; /* computed: nothing is known */
    if (strchr("tm", letter) != NULL && v->reads[cell] > span) {
        span = v->reads[cell];
    }
    if (strchr("tTALOmMz", letter) != NULL && span < op_structure(op, i)) {
        return verifier_refuse(v, index,
                               "argument %d needs %u bytes, its memory has %llu", i,
                               op_structure(op, i), (unsigned long long)span);
    }
    if (letter == 'T' && check_out(v, index, atom, op, i) < 0) {
        return -EINVAL;
    }
    if (strchr("vV", letter) != NULL) {
        if (!is_constant(v, atom->arg[i + 1])) {
            return verifier_refuse(v, index, "the number of its iovecs is computed");
        }
        uint64_t count = v->program->cells[atom->arg[i + 1]];
        if (v->targets[cell] != 0) {
            return check_vector(v, index, v->targets[cell], count, letter == 'V');
        }
        if (count > span / sizeof(struct iovec)) {
            return verifier_refuse(v, index, "more iovecs than its memory has");
        }
    }
    if (strchr("mM", letter) != NULL && v->targets[cell] != 0) {
        return check_message(v, index, v->targets[cell], letter == 'M');
    }
    return 0;
}

int
verifier_check_memory(struct verifier *v, uint32_t index,
                      const struct program_atom *atom, const struct op *op)
{
    for (int i = 0; op->args[i] != '\0' && atom->arg[i] != 0; i++) {
        if (check_argument(v, index, atom, op, i) < 0) {
            return -EINVAL;
        }
    }
    return 0;
}
