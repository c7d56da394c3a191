/* One input: a program and what happens to it. See fuzz.h.
 *
 * The bytes of an input, in order: a mode; how many cells, relocations, buffers, bounds,
 * inputs, shows, bytes of constants and atoms; the tables; and the rest are decisions.
 * tests/fuzz/seeds.py writes real plans in this form. Every table is valid memory, and
 * what is in it is the input's, so that each check of the verifier can be missed. */
#include "fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

enum {
    ATOMS = 32,
    RELOCS = 32,
    BUFFERS = 8,
    BOUNDS = 32,
    INPUTS = 16,
    SHOWS = 8,
    CONSTS = 256,
    BUFFER_BYTES = 4096,
    ACTIONS_MAX = 16,
    TURNS_TO_LAND = 64, /* once it has been cancelled and everything is answered */
};

struct tables {
    struct program_atom atoms[ATOMS];
    uint64_t cells[FUZZ_CELLS_MAX];
    struct program_reloc relocs[RELOCS];
    struct program_buffer buffers[BUFFERS];
    struct program_bound bounds[BOUNDS];
    struct program_show shows[SHOWS];
    uint32_t inputs[INPUTS];
    uint8_t consts[CONSTS];
};

struct input fuzz_events;
struct flight *fuzz_flight;
static char failure[160];
static uint64_t accepted;
static uint32_t landings;

void
fuzz_fail(const char *format, ...)
{
    va_list arguments;
    if (failure[0] == '\0') {
        va_start(arguments, format);
        vsnprintf(failure, sizeof(failure), format, arguments);
        va_end(arguments);
    }
}

uint64_t
fuzz_accepted(void)
{
    return accepted;
}

/* --- reading ------------------------------------------------------------------------ */

static uint64_t
number(struct input *input, uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        uint8_t byte = 0;
        if (input->left != 0) {
            byte = *input->at++;
            input->left -= 1;
        }
        value |= (uint64_t)byte << (8 * i);
    }
    return value;
}

uint32_t
fuzz_decide(uint32_t count)
{
    return (uint32_t)number(&fuzz_events, 1) % count;
}

/* Small numbers take one byte, others say first how many they take. */
static uint64_t
cell_value(struct input *input)
{
    uint64_t first = number(input, 1);
    switch (first) {
    case 0xf0:
        return (uint64_t)-(int64_t)number(input, 1);
    case 0xf1:
        return number(input, 2);
    case 0xf2:
        return number(input, 4);
    case 0xf3:
        return number(input, 8);
    default:
        return first;
    }
}

/* A row of the table, or a number that has none. */
static uint32_t
operation(struct input *input)
{
    static const uint32_t others[] = {
        __NR_prctl, __NR_clone,      __NR_io_uring_register,
        __NR_umask, PSEUDO_LAST + 1, 0xffffffff};
    uint32_t index = (uint32_t)number(input, 1), rows = ops_count();
    struct op_info info;
    if (index >= rows) {
        return others[(index - rows) % (sizeof(others) / sizeof(others[0]))];
    }
    ops_get(index, &info);
    return info.nr;
}

static void
read_atoms(struct input *input, struct tables *t, struct program *p)
{
    for (uint32_t i = 0; i < p->atoms_count; i++) {
        struct program_atom *atom = &t->atoms[i];
        *atom = (struct program_atom){.nr = operation(input)};
        atom->flags = (uint32_t)number(input, 1);
        atom->ret = number(input, 1);
        atom->next = number(input, 1);
        uint32_t count = (uint32_t)number(input, 1) % (ARGS_MAX + 1);
        for (uint32_t k = 0; k < count; k++) {
            atom->arg[k] = number(input, 1);
        }
    }
}

static void
read_rows(struct input *input, struct tables *t, struct program *p)
{
    for (uint32_t i = 0; i < p->relocs_count; i++) {
        uint32_t cell = (uint32_t)number(input, 1), kind = (uint32_t)number(input, 1);
        uint64_t value = number(input, 2);
        bool is_host = kind == RELOC_HOST && value > FUZZ_HOST_BYTES;
        t->relocs[i] =
            (struct program_reloc){cell, kind, is_host ? FUZZ_HOST_BYTES : value};
    }
    for (uint32_t i = 0; i < p->buffers_count; i++) {
        uint32_t size = (uint32_t)number(input, 2) % (BUFFER_BYTES + 1),
                 flags = (uint32_t)number(input, 1);
        uint32_t address = (uint32_t)number(input, 1);
        t->buffers[i] =
            (struct program_buffer){size, flags, address, (uint32_t)number(input, 1)};
    }
    for (uint32_t i = 0; i < p->bounds_count; i++) {
        uint32_t atom = (uint32_t)number(input, 1), arg = (uint32_t)number(input, 1);
        t->bounds[i] = (struct program_bound){atom, arg, number(input, 1)};
    }
    for (uint32_t i = 0; i < p->inputs_count; i++) {
        t->inputs[i] = (uint32_t)number(input, 1);
    }
    for (uint32_t i = 0; i < p->shows_count; i++) {
        uint32_t address = (uint32_t)number(input, 1);
        t->shows[i] = (struct program_show){address, (uint32_t)number(input, 1)};
    }
}

static void
read_program(struct input *input, struct tables *t, struct program *p)
{
    p->atoms = t->atoms;
    p->cells = t->cells;
    p->relocs = t->relocs;
    p->buffers = t->buffers;
    p->bounds = t->bounds;
    p->inputs = t->inputs;
    p->shows = t->shows;
    p->consts = t->consts;
    p->cells_count = (uint32_t)number(input, 1);
    p->relocs_count = (uint32_t)number(input, 1) % (RELOCS + 1);
    p->buffers_count = (uint32_t)number(input, 1) % (BUFFERS + 1);
    p->bounds_count = (uint32_t)number(input, 1) % (BOUNDS + 1);
    p->inputs_count = (uint32_t)number(input, 1) % (INPUTS + 1);
    p->shows_count = (uint32_t)number(input, 1) % (SHOWS + 1);
    p->consts_size = (uint32_t)number(input, 1);
    p->atoms_count = (uint32_t)number(input, 1) % (ATOMS + 1);
    for (uint32_t i = 0; i < p->cells_count; i++) {
        t->cells[i] = cell_value(input);
    }
    read_rows(input, t, p);
    for (uint32_t i = 0; i < p->consts_size; i++) {
        t->consts[i] = (uint8_t)number(input, 1);
    }
    read_atoms(input, t, p);
}

/* --- flying ------------------------------------------------------------------------- */

static void
landed(void *context, struct flight *flight)
{
    (void)context;
    (void)flight;
    landings += 1;
}

static bool
emitted(void *context, struct flight *flight, uint64_t report)
{
    (void)context;
    (void)flight;
    (void)report;
    return fuzz_decide(2) == 0;
}

/* One thing that happens to a flight that is away. */
static void
act(struct engine *engine)
{
    bool watched;
    switch (fuzz_decide(8)) {
    case 0:
    case 1:
        engine_work(engine);
        break;
    case 2:
    case 3:
        if (fuzz_pending() != 0) {
            fuzz_answer(fuzz_decide(fuzz_pending()));
        }
        break;
    case 4:
        flight_resume(fuzz_flight);
        break;
    case 5:
        if (fuzz_decide(4) == 0) {
            flight_cancel(fuzz_flight);
        }
        break;
    case 6:
        if (fuzz_decide(4) == 0) {
            flight_abandon(fuzz_flight);
        }
        break;
    default:
        break;
    }
    engine_turn(engine, 0, &watched);
}

/* Whatever it does, it lands when it has been cancelled and the kernel has answered. */
static void
bring_down(struct engine *engine)
{
    bool watched;
    flight_cancel(fuzz_flight);
    fuzz_hurry();
    for (int i = 0; i < TURNS_TO_LAND && landings == 0; i++) {
        engine_work(engine);
        fuzz_hurry();
        engine_turn(engine, 0, &watched);
    }
    if (landings == 0) {
        fuzz_fail("it does not land");
    }
}

static void
fly(struct engine *engine, struct plan *plan, const struct program *program)
{
    fuzz_flight = flight_prepare(engine, plan);
    if (fuzz_flight == NULL) {
        return;
    }
    fuzz_hosts_fill(fuzz_flight);
    fuzz_dirty(fuzz_flight);
    landings = flight_launch(fuzz_flight) == FLIGHT_LANDED;
    uint32_t enough = fuzz_calls() + FUZZ_CALLS_ENOUGH;
    for (int i = 0; i < ACTIONS_MAX && landings == 0 && fuzz_calls() < enough; i++) {
        act(engine);
    }
    if (landings == 0) {
        bring_down(engine);
    }
    if (landings == 0) {
        return; /* it stays: the engine would wait for it */
    }
    if (landings != 1 || fuzz_pending() != 0) {
        fuzz_fail("%u landings, %u requests left", landings, fuzz_pending());
    }
    for (uint32_t i = 0; i < program->shows_count; i++) {
        fuzz_show(program->shows[i].address,
                  fuzz_flight->cells[program->shows[i].length]);
    }
    flight_release(fuzz_flight);
    fuzz_flight = NULL;
}

static void
run(const struct program *program, struct plan *plan, uint8_t mode)
{
    const struct host host = {.landed = landed, .emitted = emitted};
    const struct engine_options options = {.backend =
                                               mode & 1 ? BACKEND_EPOLL : BACKEND_URING,
                                           .workers_max = 0,
                                           .memory_max = FUZZ_MEMORY_MAX};
    struct engine *engine;
    int res = engine_create(&engine, &fuzz_kernel, &host, &options);
    if (res < 0) {
        fuzz_fail("engine_create: %d", res);
        return;
    }
    for (int flights = 0; flights < 2 && failure[0] == '\0'; flights++) {
        fly(engine, plan, program); /* the second one in the memory of the first */
    }
    if (fuzz_flight != NULL) {
        return;
    }
    res = engine_close(engine);
    if (res < 0 || fuzz_fds_open() != 0) {
        fuzz_fail("engine_close: %d, %u descriptors left", res, fuzz_fds_open());
    }
}

const char *
fuzz_one(const uint8_t *data, size_t size)
{
    static struct tables tables;
    struct program program = {0};
    struct program_error error;
    struct plan *plan;
    fuzz_events = (struct input){data, size};
    fuzz_flight = NULL;
    failure[0] = '\0';
    landings = 0;
    uint8_t mode = (uint8_t)number(&fuzz_events, 1);
    read_program(&fuzz_events, &tables, &program);
    if (plan_create(&plan, &program, &error) < 0) {
        return NULL;
    }
    accepted += 1;
    fuzz_roles_find(&program);
    fuzz_kernel_reset();
    run(&program, plan, mode);
    plan_drop(plan);
    return failure[0] != '\0' ? failure : NULL;
}
