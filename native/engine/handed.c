/* Translates plans for the kernel, see handed.h.
 *
 * What is not translated stays home: operations the kernel does not allow, those that
 * the engine makes differently on purpose (vectors, messages, connecting), lengths that
 * are computed and have a bound, reports to the host, SYNC. Results that the engine may
 * have to judge end a run: a negative result of a call that can block, any result of a
 * write. Called by flight.c and backend_kernel.c. */
#define _GNU_SOURCE
#include "handed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "attempt.h"
#include "engine_private.h"

enum cell_fact { CELL_RESULT = 1, CELL_SHARED = 2, CELL_OPENED = 4 };

struct translation {
    const struct plan *plan;     /* borrowed */
    const struct device *device; /* borrowed */
    struct handed_plan *made;    /* owned until it is done */
    uint8_t *facts;              /* owned: enum cell_fact of each cell */
    uint16_t *targets;           /* owned: the cell whose address a cell holds; or 0 */
    uint16_t *words;             /* owned: the word of a cell for results; or 0 */
};

/* --- what is for the kernel ------------------------------------------------------------- */

static bool
is_pseudo_for_kernel(const struct translation *t, const struct step *step)
{
    if (step->nr == PSEUDO_NOP) {
        return true;
    }
    /* Other words may be counted in by others: the kernel's addition is not atomic. */
    return step->nr == PSEUDO_UMEM_ADD && step->trusted &&
           t->targets[step->arg[0]] != 0;
}

/* Lengths with a bound and flags are looked at before a run: they must not change in it. */
static bool
is_asked_in_time(const struct translation *t, const struct step *step)
{
    const uint8_t changes = CELL_RESULT | CELL_SHARED;
    for (int i = 0; i < step->bounds; i++) {
        if (t->facts[step->arg[step->bound[i]]] & changes) {
            return false;
        }
    }
    bool flagged = step->nr == __NR_recvfrom || step->nr == __NR_sendto;
    return !flagged || (t->facts[step->arg[3]] & changes) == 0;
}

/* A replay wants to know what was closed, and how much was to be written; and an atom
 * whose answer is none is made again, so it must not have overwritten an argument. */
static bool
can_be_replayed(const struct translation *t, const struct step *step)
{
    for (int i = 0; i < step->argc; i++) {
        if (step->arg[i] == step->ret && (t->facts[step->ret] & CELL_SHARED)) {
            return false;
        }
    }
    uint16_t cell = step->op->flags & OP_CLOSES ? step->arg[0] : step->arg[2];
    bool asks = (step->op->flags & (OP_CLOSES | OP_WRITES)) != 0;
    return !asks || (t->facts[cell] & CELL_SHARED) == 0;
}

bool
handed_is_possible(const struct device *device, const struct op *op)
{
    const uint16_t others = OP_PSEUDO | OP_VECTOR | OP_MESSAGE | OP_COUNTED;
    bool waits = (op->flags & OP_WAITS) && !device_has(device->attempted, op->nr);
    return device_has(device->allowed, op->nr) && (op->flags & others) == 0 && !waits &&
           strpbrk(op->args, "mMvVz") == NULL && op->result != 'P' &&
           op->result != 'D' && op->nr != __NR_dup3;
}

static bool
is_for_kernel(const struct translation *t, const struct step *step)
{
    const struct op *op = step->op;
    if (op->flags & OP_PSEUDO) {
        return is_pseudo_for_kernel(t, step);
    }
    /* Calls without a row have one in common, without a number. */
    return op->nr == step->nr && op != &op_any && handed_is_possible(t->device, op) &&
           step->word == 0 && (step->flags & SYSLET_SYNC) == 0;
}

/* --- cells that are memory ---------------------------------------------------------------- */

static void
share(struct translation *t, uint32_t first, uint64_t bytes)
{
    uint64_t cells = (bytes + 7) / 8;
    for (uint64_t i = 0; i < cells && first + i < t->plan->cells_count; i++) {
        t->facts[first + i] |= CELL_SHARED;
    }
}

/* What the kernel may read or write behind an argument that is the address of a cell. */
static uint64_t
bytes_behind(const struct translation *t, const struct step *step, int i)
{
    const struct op *op = step->op;
    bool bounded = false; /* else the length behind it is a constant */
    for (int k = 0; k < step->bounds; k++) {
        bounded = bounded || step->bound[k] == i + 1;
    }
    switch (op->args[i]) {
    case 'r':
    case 'w':
    case 'a':
        return bounded || i + 1 == ARGS_MAX ? UINT32_MAX
                                            : t->plan->image[step->arg[i + 1]];
    case 't':
    case 'T':
    case 'A':
    case 'L':
    case 'O':
        return op_structure(op, i) != 0 ? op_structure(op, i) : UINT32_MAX;
    default:
        return UINT32_MAX; /* a plain number: the address goes who knows where */
    }
}

static void
find_shared(struct translation *t)
{
    for (uint32_t at = 0; at < t->plan->atoms_count; at++) {
        const struct step *step = &t->plan->steps[at];
        for (int i = 0; i < step->argc && t->made->steps[at].calls; i++) {
            uint16_t target = t->targets[step->arg[i]];
            if (target != 0) {
                share(t, target, bytes_behind(t, step, i));
            }
        }
    }
}

static void
find_facts(struct translation *t)
{
    const struct plan *plan = t->plan;
    for (uint32_t i = 0; i < plan->relocs_count; i++) {
        if (plan->relocs[i].kind == RELOC_CELL) {
            t->targets[plan->relocs[i].cell] = (uint16_t)(plan->relocs[i].value / 8);
        }
    }
    for (uint32_t i = 0; i < plan->atoms_count; i++) {
        const struct step *step = &plan->steps[i];
        bool opens = step->nr == __NR_openat || step->nr == __NR_openat2;
        bool calls = is_for_kernel(t, step);
        t->made->steps[i].calls = calls;
        if (step->ret != 0) {
            t->facts[step->ret] |=
                (uint8_t)((calls ? CELL_RESULT : 0) | (opens ? CELL_OPENED : 0));
        }
    }
    find_shared(t);
    for (uint32_t i = 0; i < plan->atoms_count; i++) {
        const struct step *step = &plan->steps[i];
        struct handed_step *made = &t->made->steps[i];
        made->calls =
            made->calls && is_asked_in_time(t, step) && can_be_replayed(t, step);
    }
}

/* --- places ------------------------------------------------------------------------------- */

static uint16_t
new_word(struct translation *t, enum word_kind kind, uint16_t of)
{
    struct handed_plan *made = t->made;
    made->words[made->words_count] =
        (struct handed_word){.kind = (uint8_t)kind, .of = of};
    return (uint16_t)(HANDED_WORD + made->words_count++);
}

/* Where a cell's value is during a run. */
static uint16_t
place_of(struct translation *t, uint16_t cell)
{
    bool is_word = (t->facts[cell] & (CELL_RESULT | CELL_SHARED)) == CELL_RESULT;
    if (cell == 0 || !is_word) {
        return cell;
    }
    if (t->words[cell] == 0) {
        t->words[cell] = new_word(t, WORD_CELL, cell);
    }
    return t->words[cell];
}

static void
place_arguments(struct translation *t, const struct step *step,
                struct handed_step *made)
{
    uint16_t zero = HANDED_WORD;  /* the first one that is made */
    if (step->nr == PSEUDO_NOP) { /* adds 0 to the cell */
        uint16_t of = step->argc != 0 ? place_of(t, step->arg[0]) : zero;
        made->arg[0] = new_word(t, WORD_ADDRESS, of);
        made->arg[1] = zero;
        return;
    }
    for (int i = 0; i < step->argc; i++) {
        made->arg[i] = place_of(t, step->arg[i]);
    }
    if (step->nr == __NR_sendto) {
        made->arg[3] = new_word(t, WORD_FLAGS, step->arg[3]);
    }
}

/* --- the way on --------------------------------------------------------------------------- */

static bool
follows_calls(const struct translation *t, const struct step *step)
{
    return step->next != 0 && t->made->steps[step->next - 1].calls;
}

static void
connect_step(struct translation *t, const struct step *step, struct handed_step *made)
{
    const struct op *op = step->op;
    const uint32_t stops = SYSLET_STOP_ON_NONZERO | SYSLET_STOP_ON_ZERO |
                           SYSLET_STOP_ON_NEGATIVE | SYSLET_STOP_ON_NON_POSITIVE;
    uint16_t flags = step->flags & (stops | SYSLET_ASYNC | SYSLET_SKIP_TO_NEXT_ON_STOP);
    made->judged = (op->flags & (OP_PSEUDO | OP_NEVER_BLOCKS)) == 0;
    made->ends = (op->flags & OP_WRITES) != 0;
    if (made->ends) {
        flags &= SYSLET_ASYNC;
    } else if (made->judged) {
        /* Errors end the run; what else is skipped for, a second atom tests. */
        bool tests = (step->flags & SYSLET_SKIP_TO_NEXT_ON_STOP) != 0 &&
                     (step->stop & (SIGN_ZERO | SIGN_POSITIVE)) != 0;
        if (tests) {
            made->ret = made->ret != 0 ? made->ret : new_word(t, WORD_SCRATCH, 0);
            made->test = new_word(t, WORD_ADDRESS, made->ret);
            flags &= SYSLET_ASYNC;
        }
        flags &= (uint16_t)~SYSLET_SKIP_TO_NEXT_ON_STOP;
        flags |= SYSLET_STOP_ON_NEGATIVE;
    }
    made->flags = flags | DEVICE_EMIT;
    made->enters = made->calls && !made->ends && (op->flags & OP_PSEUDO) == 0 &&
                   (flags & SYSLET_ASYNC) == 0 && follows_calls(t, step) &&
                   device_has(t->device->attempted, step->nr);
}

static void
translate_step(struct translation *t, uint32_t at)
{
    const struct step *step = &t->plan->steps[at];
    struct handed_step *made = &t->made->steps[at];
    made->block = (uint16_t)t->made->atoms_count++;
    t->made->cycles = t->made->cycles || (step->next != 0 && step->next <= at + 1);
    if (!made->calls) {
        return;
    }
    place_arguments(t, step, made);
    made->ret = place_of(t, step->ret);
    made->direct = step->ret != 0 && made->ret < HANDED_WORD;
    made->gated =
        step->bounds != 0 || step->op->ready != 0 || (step->op->flags & OP_WAITS) != 0;
    made->opened = (t->facts[step->arg[0]] & CELL_OPENED) != 0;
    connect_step(t, step, made);
    t->made->atoms_count += made->test != 0;
    t->made->makes_fds = t->made->makes_fds || (step->op->flags & OP_MAKES_FD) != 0;
}

/* Loops note as much as a flight may run at a stretch; others run each atom once. */
static uint32_t
count_notes(const struct handed_plan *made, uint32_t atoms)
{
    uint32_t count = 4;
    while (count < FLIGHT_ATOMS_MAX && (made->cycles || count < atoms)) {
        count *= 2;
    }
    return count;
}

static void
translate(struct translation *t)
{
    struct handed_plan *made = t->made;
    uint32_t count = t->plan->atoms_count;
    find_facts(t);
    new_word(t, WORD_ZERO, 0);
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        translate_step(t, i);
        any = any ||
              (made->steps[i].calls && (t->plan->steps[i].op->flags & OP_PSEUDO) == 0);
    }
    made->notes_count = count_notes(made, count);
    made->bytes = (uint32_t)(sizeof(struct handed) +
                             made->notes_count * sizeof(struct device_note) +
                             made->words_count * sizeof(uint64_t) +
                             made->atoms_count * sizeof(struct device_atom));
    made->bytes = any ? made->bytes : 0;
}

static struct handed_plan *
translate_plan(const struct plan *plan, const struct device *device)
{
    enum {
        WORDS_PER_STEP = 5
    }; /* result, NOP's or a send's, scratch, test; and cell 0 */
    size_t steps = plan->atoms_count * sizeof(struct handed_step);
    size_t words =
        ((size_t)plan->atoms_count * WORDS_PER_STEP + 1) * sizeof(struct handed_word);
    struct translation t = {
        .plan = plan,
        .device = device,
        .made = calloc(1, sizeof(struct handed_plan) + steps + words),
        .facts = calloc(plan->cells_count, sizeof(uint8_t)),
        .targets = calloc(plan->cells_count, sizeof(uint16_t)),
        .words = calloc(plan->cells_count, sizeof(uint16_t)),
    };
    if (t.made != NULL && t.facts != NULL && t.targets != NULL && t.words != NULL) {
        t.made->steps = (struct handed_step *)(t.made + 1);
        t.made->words = (struct handed_word *)((char *)t.made->steps + steps);
        if (plan->atoms_count <= HANDED_ATOMS_MAX &&
            plan->cells_count <= HANDED_CELLS_MAX) {
            translate(&t);
        }
    } else {
        free(t.made);
        t.made = NULL;
    }
    free(t.facts);
    free(t.targets);
    free(t.words);
    return t.made;
}

const struct handed_plan *
handed_plan_of(struct plan *plan, const struct device *device)
{
    struct handed_plan *made = __atomic_load_n(&plan->handed, __ATOMIC_ACQUIRE);
    if (made == NULL) {
        made = translate_plan(plan, device);
        struct handed_plan *first = NULL;
        if (made != NULL &&
            !__atomic_compare_exchange_n(&plan->handed, &first, made, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            free(made); /* another thread was faster */
            made = first;
        }
    }
    return made != NULL && made->bytes != 0 ? made : NULL;
}

/* --- a flight's copy ------------------------------------------------------------------------ */

static uint64_t
address_of(const struct flight *flight, uint16_t place)
{
    const uint64_t *at = place < HANDED_WORD
                             ? &flight->cells[place]
                             : &flight->handed->words[place - HANDED_WORD];
    return place == 0 ? 0 : (uintptr_t)at;
}

static uint64_t
block_address(const struct flight *flight, uint16_t next)
{
    const struct handed_plan *plan = flight->plan->handed;
    const struct device_atom *atoms = flight->handed->atoms;
    return next == 0 ? 0 : (uintptr_t)&atoms[plan->steps[next - 1].block];
}

static void
fill_step(struct flight *flight, uint32_t at)
{
    const struct step *step = &flight->plan->steps[at];
    const struct handed_step *made = &flight->plan->handed->steps[at];
    struct device_atom *atom = &flight->handed->atoms[made->block];
    memset(atom, 0, sizeof(*atom));
    atom->private = at;
    atom->nr = DEVICE_NO_CALL;
    if (!made->calls) {
        return;
    }
    atom->nr = step->op->flags & OP_PSEUDO ? (uint32_t)DEVICE_ADD : step->nr;
    atom->flags = made->flags;
    atom->ret = address_of(flight, made->ret);
    for (int i = 0; i < ARGS_MAX && made->arg[i] != 0; i++) {
        atom->arg[i] = address_of(flight, made->arg[i]);
    }
    uint64_t next = made->ends ? 0 : block_address(flight, step->next);
    atom->next = next;
    if (made->test != 0) {
        atom->next = (uintptr_t)(atom + 1);
        atom[1] = (struct device_atom){
            .flags = step->flags &
                     ~(uint32_t)(SYSLET_ASYNC | SYSLET_SYNC | SYSLET_NO_COMPLETE),
            .nr = DEVICE_ADD,
            .next = next,
            .arg = {address_of(flight, made->test), address_of(flight, HANDED_WORD)},
            .private = at,
        };
    }
}

void
handed_fill(struct flight *flight)
{
    const struct handed_plan *plan = flight->plan->handed;
    struct handed *handed = flight->handed;
    if (handed->filled) {
        return;
    }
    handed->filled = true;
    for (uint32_t i = 0; i < plan->words_count; i++) {
        const struct handed_word *word = &plan->words[i];
        handed->words[i] =
            word->kind == WORD_ADDRESS ? address_of(flight, word->of) : 0;
    }
    for (uint32_t i = 0; i < flight->plan->atoms_count; i++) {
        fill_step(flight, i);
    }
    memset(handed->notes, 0, plan->notes_count * sizeof(*handed->notes));
}

static void
aim_words(struct flight *flight)
{
    const struct handed_plan *plan = flight->plan->handed;
    for (uint32_t i = 1; i < plan->words_count; i++) {
        const struct handed_word *word = &plan->words[i];
        if (word->kind == WORD_CELL) {
            flight->handed->words[i] = flight->cells[word->of];
        } else if (word->kind == WORD_FLAGS) {
            flight->handed->words[i] = flight->cells[word->of] | MSG_NOSIGNAL;
        }
    }
}

/* A worker of the kernel must not wait for a peer without bound: the ring does. */
static bool
may_run(struct flight *flight, uint32_t at, const uint64_t *args, bool in_worker)
{
    const struct step *step = &flight->plan->steps[at];
    if (!flight_is_within_bounds(flight, step, args) ||
        (step->nr == __NR_recvfrom && (args[3] & MSG_WAITALL) != 0)) {
        return false;
    }
    if (!in_worker) {
        return true;
    }
    bool on_file = step->op->ready == 0 || flight->plan->handed->steps[at].opened ||
                   fd_is_file(flight, (int)args[0]);
    return on_file && (step->op->flags & OP_WAITS) == 0;
}

uint64_t
handed_aim(struct flight *flight, bool in_worker)
{
    const struct handed_plan *plan = flight->plan->handed;
    uint64_t largest = 0;
    handed_fill(flight);
    aim_words(flight);
    for (uint32_t i = 0; i < flight->plan->atoms_count; i++) {
        const struct step *step = &flight->plan->steps[i];
        if (!plan->steps[i].gated || !plan->steps[i].calls) {
            continue;
        }
        uint64_t args[6];
        flight_gather(flight, step, args);
        bool may = may_run(flight, i, args, in_worker);
        flight->handed->atoms[plan->steps[i].block].nr =
            may ? step->nr : (uint32_t)DEVICE_NO_CALL;
        if ((step->op->flags & OP_TRANSFER) && args[2] > largest) {
            largest = args[2];
        }
    }
    return largest;
}

bool
handed_is_aimed(const struct flight *flight)
{
    const struct handed_step *step = &flight->plan->handed->steps[flight->at];
    return step->calls && flight->handed->atoms[step->block].nr != DEVICE_NO_CALL;
}

uint32_t
handed_index(const struct flight *flight, uint64_t atom)
{
    const struct device_atom *atoms = flight->handed->atoms;
    uint64_t offset = atom - (uintptr_t)atoms;
    uint64_t index = offset / sizeof(*atoms);
    bool known = index < flight->plan->handed->atoms_count &&
                 offset == index * sizeof(*atoms) &&
                 atoms[index].private < flight->plan->atoms_count;
    return known ? (uint32_t)atoms[index].private : UINT32_MAX;
}
