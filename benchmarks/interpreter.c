/* Question: what does the interpreter add to plain system calls, cached?
 *
 * Plain C, no Python: open, read, close of one small cached file, by the C library and
 * as a plan of three atoms, in turn. Prints one line per round: nanoseconds of both.
 * Built and run by benchmarks/interpreter.py. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

enum { REPEATS = 20000, BYTES = 65536 };

static double
now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static struct plan *
make_plan(void)
{
    const uint64_t cells[8] = {
        0, (uint64_t)AT_FDCWD, 0, O_RDONLY | O_CLOEXEC, 0, 0, BYTES, 0};
    const struct program_atom atoms[3] = {
        {SYSLET_STOP_ON_NEGATIVE, __NR_openat, 4, 2, {1, 2, 3}, 0},
        {SYSLET_STOP_ON_NEGATIVE, __NR_read, 7, 3, {4, 5, 6}, 0},
        {SYSLET_STOP_ON_NEGATIVE, __NR_close, 0, 0, {4}, 0},
    };
    const struct program_reloc relocs[2] = {{2, RELOC_HOST, 0}, {5, RELOC_BUFFER, 0}};
    const struct program_buffer buffer = {.size = BYTES, .address = 5};
    const struct program program = {
        .atoms = atoms,
        .cells = cells,
        .relocs = relocs,
        .buffers = &buffer,
        .atoms_count = 3,
        .cells_count = 8,
        .relocs_count = 2,
        .buffers_count = 1,
    };
    struct program_error error;
    struct plan *plan;
    if (plan_create(&plan, &program, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return plan;
}

static void
plainly(const char *path, char *buffer)
{
    for (int i = 0; i < REPEATS; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (read(fd, buffer, BYTES) < 0 || close(fd) < 0) {
            exit(1);
        }
    }
}

static void
interpreted(struct engine *engine, struct plan *plan, const char *path)
{
    for (int i = 0; i < REPEATS; i++) {
        engine_budget_reset(engine);
        struct flight *flight = flight_prepare(engine, plan);
        flight_cells(flight)[2] = (uintptr_t)path;
        if (flight_launch(flight) != FLIGHT_LANDED) {
            exit(1);
        }
        flight_release(flight);
    }
}

static void
never(void *context, struct flight *flight)
{
    (void)context;
    (void)flight;
    exit(1);
}

int
main(int argc, char **argv)
{
    int rounds = argc > 2 ? atoi(argv[2]) : 11;
    char *buffer = malloc(BYTES);
    struct engine *engine;
    const struct host host = {.landed = never};
    const struct engine_options options = {.workers_max = -1};
    if (argc < 2 || engine_create(&engine, &kernel_real, &host, &options) < 0) {
        return 1;
    }
    struct plan *plan = make_plan();
    for (int round = 0; round < rounds; round++) {
        double start = now();
        plainly(argv[1], buffer);
        double middle = now();
        interpreted(engine, plan, argv[1]);
        double end = now();
        printf("%.1f %.1f\n", (middle - start) * 1e9 / REPEATS,
               (end - middle) * 1e9 / REPEATS);
    }
    plan_drop(plan);
    free(buffer);
    return engine_close(engine) < 0;
}
