/* Which cells a program may write: what the verifier must not take for constants.
 *
 * By an atom's result, or through memory that the kernel fills. Called by verify.c only,
 * when roles, spans and targets are known and nothing else has been checked yet. */
#include <string.h>

#include "op.h"
#include "verify.h"

/* How much the kernel may write behind argument `i`, as far as one can tell. */
static uint64_t
bytes_written(const struct verifier *v, const struct program_atom *atom,
              const struct op *op, int i)
{
    char letter = op != NULL ? op->args[i] : 'z';
    uint64_t span = v->spans[atom->arg[i]];
    if (letter == 'w' && atom->arg[i + 1] != 0 && is_constant(v, atom->arg[i + 1])) {
        return v->program->cells[atom->arg[i + 1]]; /* is asked until nothing changes */
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

/* true: that was news. */
static bool
mark(struct verifier *v, uint64_t cell, uint8_t how)
{
    bool news = (v->written[cell] & how) != how;
    v->written[cell] |= how;
    return news;
}

static bool
mark_behind(struct verifier *v, uint64_t cell, uint64_t bytes)
{
    bool news = false;
    bytes = bytes < v->spans[cell] ? bytes : v->spans[cell];
    for (uint64_t at = 0; v->targets[cell] != 0 && at < bytes; at += 8) {
        news |= mark(v, v->targets[cell] + at / 8, WRITTEN_IN_MEMORY);
    }
    return news;
}

/* The cells behind iovecs that lie in cells: how many there are is not known yet. */
static bool
mark_vector(struct verifier *v, uint64_t first)
{
    bool news = false;
    for (uint64_t at = first; at != 0 && at < v->program->cells_count; at++) {
        news |= mark_behind(v, at, UINT64_MAX);
    }
    return news;
}

/* recvmsg stores the lengths of name and control data, and flags, in the header. */
static bool
mark_message(struct verifier *v, uint64_t header)
{
    bool news = false;
    if (header + 7 > v->program->cells_count) {
        return false; /* refused later */
    }
    news |= mark(v, header + 1, WRITTEN_AS_LENGTH);
    news |= mark(v, header + 5, WRITTEN_AS_LENGTH);
    news |= mark(v, header + 6, WRITTEN_IN_MEMORY);
    news |= mark_behind(v, header, UINT64_MAX);
    news |= mark_behind(v, header + 4, UINT64_MAX);
    return news | mark_vector(v, v->targets[header + 2]);
}

/* Cells that an atom writes, by its result or through memory, are no constants. true:
 * there are more of them than was known. */
static bool
mark_written(struct verifier *v, const struct program_atom *atom)
{
    const struct program *p = v->program;
    const struct op *op = op_find(atom->nr);
    bool news = false;
    if (atom->ret < p->cells_count) {
        news |= mark(v, atom->ret, WRITTEN_AS_RESULT);
    }
    int most = op != NULL ? (int)strlen(op->args) : ARGS_MAX;
    for (int i = 0; i < most && i < ARGS_MAX && atom->arg[i] != 0; i++) {
        uint64_t cell = atom->arg[i];
        if (cell >= p->cells_count || v->targets[cell] == 0) {
            continue;
        }
        char letter = op != NULL ? op->args[i] : 'z';
        if (letter == 'V') {
            news |= mark_vector(v, v->targets[cell]);
        } else if (letter == 'M') {
            news |= mark_message(v, v->targets[cell]);
        } else {
            news |= mark_behind(v, cell, bytes_written(v, atom, op, i));
        }
    }
    return news;
}

void
verifier_mark_written(struct verifier *v)
{
    bool news = true;
    while (news) { /* a length that turns out to be written lets more be written */
        news = false;
        for (uint32_t i = 0; i < v->program->atoms_count; i++) {
            news |= mark_written(v, &v->program->atoms[i]);
        }
    }
}
