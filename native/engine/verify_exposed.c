/* Which new buffers have to be cleared: those of which more may be read than was filled.
 *
 * The memory of a new buffer was that of earlier flights. Nobody sees what lies there as
 * long as a buffer is only filled, and is sent or shown as far as the results of its
 * fillings say. A buffer that is used in any other way is cleared when it is made; so is
 * each one when the program can follow addresses to it that no argument names. Called by
 * plan.c only, for a program that passed. */
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "op.h"
#include "plan.h"
#include "verify.h"

/* What a cell may hold, as a length: nothing yet, bytes put into one buffer (its number
 * plus 1), or anything. */
enum { TELLS_NOTHING = 0, TELLS_ANYTHING = UINT8_MAX };
_Static_assert(BUFFERS_MAX + 1 < TELLS_ANYTHING, "buffers plus 1 are smaller");

/* The buffer that this atom fills from its beginning, giving how far; or 0. */
static uint8_t
buffer_filled(const struct verifier *v, const struct program_atom *atom)
{
    const struct op *op = op_find(atom->nr);
    if (op == NULL || op->result != 'n') {
        return 0;
    }
    int at = (int)(strchr(op->args, 'w') - op->args);
    uint64_t size = atom->arg[at + 1], flags = atom->arg[3];
    if (op->nr == __NR_recvfrom && flags != 0 &&
        (!is_constant(v, flags) || (v->program->cells[flags] & MSG_TRUNC))) {
        return 0; /* it gives the length of the message, of which a part was received */
    }
    if (strstr(op->name, "xattr") != NULL &&
        (!is_constant(v, size) || v->program->cells[size] == 0)) {
        return 0; /* it gives the size that would be needed */
    }
    return v->owners[atom->arg[at]];
}

static uint8_t
told_by(const struct verifier *v, uint64_t cell)
{
    if (cell == 0) {
        return TELLS_NOTHING;
    }
    bool by_results = v->roles[cell] == CELL_PLAIN && v->program->cells[cell] == 0 &&
                      (v->written[cell] & ~WRITTEN_AS_RESULT) == 0;
    return by_results ? v->tells[cell] : TELLS_ANYTHING;
}

/* true: that was news. */
static bool
note(struct verifier *v, const struct program_atom *atom)
{
    uint8_t what = buffer_filled(v, atom);
    if (atom->nr == PSEUDO_NOP) {
        what = told_by(v, atom->arg[0]);
    } else if (what == 0) {
        what = TELLS_ANYTHING;
    }
    uint8_t before = v->tells[atom->ret];
    uint8_t after = before == TELLS_NOTHING || before == what ? what : TELLS_ANYTHING;
    if (what == TELLS_NOTHING || atom->ret == 0 || before == after) {
        return false;
    }
    v->tells[atom->ret] = after;
    return true;
}

static bool
is_filled_length(const struct verifier *v, uint64_t address, uint64_t length)
{
    uint8_t told = told_by(v, length);
    return told == TELLS_NOTHING || told == v->owners[address];
}

/* An address of cells, in which addresses of buffers may lie that somebody follows. */
static bool
follows_cells(const struct verifier *v, char letter, uint64_t cell)
{
    return strchr("vmzi", letter) != NULL && v->targets[cell] != 0;
}

static void
look_at(const struct verifier *v, const struct program_atom *atom, uint32_t *flags)
{
    const struct op *op = op_find(atom->nr);
    for (int i = 0; i < ARGS_MAX && atom->arg[i] != 0; i++) {
        uint64_t cell = atom->arg[i];
        char letter = op != NULL ? op->args[i] : 'i';
        for (uint32_t k = 0; k < BUFFERS_MAX && follows_cells(v, letter, cell); k++) {
            flags[k] |= BUFFER_ZEROED;
        }
        bool filled = letter == 'w' ||
                      (letter == 'r' && is_filled_length(v, cell, atom->arg[i + 1]));
        if (v->owners[cell] != 0 && !filled) {
            flags[v->owners[cell] - 1] |= BUFFER_ZEROED;
        }
        if (v->owners[cell] != 0 && strchr("ps", letter) != NULL) {
            flags[v->owners[cell] - 1] |= BUFFER_ENDED;
        }
    }
}

void
verifier_find_exposed(struct verifier *v, uint32_t *flags)
{
    const struct program *p = v->program;
    bool news = true;
    while (news) {
        news = false;
        for (uint32_t i = 0; i < p->atoms_count; i++) {
            news |= note(v, &p->atoms[i]);
        }
    }
    memset(flags, 0, BUFFERS_MAX * sizeof(*flags));
    for (uint32_t i = 0; i < p->atoms_count; i++) {
        look_at(v, &p->atoms[i], flags);
    }
    for (uint32_t i = 0; i < p->shows_count; i++) {
        const struct program_show *show = &p->shows[i];
        if (v->owners[show->address] != 0 &&
            !is_filled_length(v, show->address, show->length)) {
            flags[v->owners[show->address] - 1] |= BUFFER_ZEROED;
        }
    }
}
