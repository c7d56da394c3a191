/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The language of atoms, run in the caller: results that become arguments, stop
 * conditions, branches, loops, budgets, reports, and what bad programs get.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "suite.h"

static struct program p;
static struct syslet_run run;

static bool
bit(const __u64 *map, unsigned nr)
{
    return map[nr / 64] >> (nr % 64) & 1;
}

static void
info(void)
{
    const unsigned yes[] = {SYS_openat, SYS_read, SYS_close, SYS_accept4, SYS_statx};
    const unsigned no[] = {SYS_fork,   SYS_execve,         SYS_ioctl,        SYS_exit,
                           SYS_setuid, SYS_io_uring_enter, SYS_rt_sigreturn, SYS_prctl};
    struct syslet_info got;

    EQUAL(ioctl(device(), SYSLET_IOC_INFO, &got), 0);
    EQUAL(got.magic, SYSLET_MAGIC);
    EQUAL(got.version, SYSLET_VERSION);
    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
        CHECK(bit(got.allowed, yes[i]) && bit(got.attempted, yes[i]));
    for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
        CHECK(!bit(got.allowed, no[i]) && !bit(got.attempted, no[i]));
    CHECK(bit(got.allowed, SYS_nanosleep) && !bit(got.attempted, SYS_nanosleep));
    EQUAL(ioctl(device(), SYSLET_IOC_INFO, NULL), -1);
    EQUAL(errno, EFAULT);
    EQUAL(ioctl(device(), 0x1234, NULL), -1);
    EQUAL(errno, ENOTTY);
}

static void
open_read_close(void)
{
    char bytes[16] = {0};
    int64_t fd, got, closed = -1;
    struct syslet_uatom *last;

    make_file("/tmp/a", "hello", 5);
    program_add(&p, SYSLET_STOP_ON_NEGATIVE, &fd, SYS_openat, V(&p, AT_FDCWD),
                V(&p, "/tmp/a"), V(&p, O_RDONLY), V(&p, 0), NULL);
    program_add(&p, 0, &got, SYS_read, &fd, V(&p, bytes), V(&p, sizeof(bytes)), NULL);
    last = program_add(&p, 0, &closed, SYS_close, &fd, NULL);
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(got, 5);
    CHECK(!memcmp(bytes, "hello", 6));
    EQUAL(closed, 0);
    EQUAL(run.pc, 0);
    EQUAL(run.last, (uintptr_t)last);
    EQUAL(run.ret, 0);
    EQUAL(run.executed, 3);
    EQUAL(fcntl((int)fd, F_GETFD), -1);
    EQUAL(run_exec(&run), 0);
    EQUAL(run.executed, 3);
}

static void
no_such_file(void)
{
    int64_t fd = 0, never = 7;

    program_add(&p, SYSLET_STOP_ON_NEGATIVE, &fd, SYS_open, V(&p, "/tmp/none"),
                V(&p, O_RDONLY), NULL);
    program_add(&p, 0, &never, SYS_getppid, NULL);
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(fd, -ENOENT);
    EQUAL(run.ret, -ENOENT);
    EQUAL(run.last, (uintptr_t)&p.atom[0]);
    EQUAL(never, 7);
}

/* A program that opens, reads and closes what a moving pointer points to. */
static void
thousand_files(void)
{
    enum { FILES = 1000, NAME = 16 };
    static char names[FILES][NAME], bytes[64];
    uint64_t name = (uintptr_t)names, left = FILES, total = 0;
    uint64_t *total_at = V(&p, &total);
    int64_t fd, got;
    struct syslet_uatom *first;

    for (int i = 0; i < FILES; i++) {
        snprintf(names[i], NAME, "/tmp/f%d", i);
        make_file(names[i], names[i], strlen(names[i]));
    }
    first = program_add(&p, SYSLET_STOP_ON_NEGATIVE, &fd, SYS_open, &name,
                        V(&p, O_RDONLY), NULL);
    program_add(&p, SYSLET_STOP_ON_NEGATIVE, &got, SYS_read, &fd, V(&p, bytes),
                V(&p, sizeof(bytes)), NULL);
    program_add(&p, 0, NULL, SYS_close, &fd, NULL);
    program_add(&p, 0, NULL, SYSLET_NR_UMEM_ADD, total_at, &got, NULL);
    program_add(&p, 0, NULL, SYSLET_NR_UMEM_ADD, V(&p, &name), V(&p, NAME), NULL);
    program_add(&p, SYSLET_STOP_ON_ZERO, NULL, SYSLET_NR_UMEM_ADD, V(&p, &left),
                V(&p, -1), NULL)
        ->next = (uintptr_t)first;
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(left, 0);
    EQUAL(run.executed, FILES * 6);
    EQUAL(total, 10 * 7 + 90 * 8 + 900 * 9);
    for (int i = 0; i < FILES; i++)
        unlink(names[i]);
}

static void
read_until_end(void)
{
    char bytes[7];
    uint64_t total = 0;
    int64_t fd, got;
    struct syslet_uatom *read_one, *add;

    make_file("/tmp/a", "abcdefghijklmnopqrstuvwxyz", 26);
    program_add(&p, SYSLET_STOP_ON_NEGATIVE, &fd, SYS_open, V(&p, "/tmp/a"), V(&p, 0),
                NULL);
    /* Positive: the addition, which leads back. Otherwise: the atom behind it. */
    read_one =
        program_add(&p, SYSLET_STOP_ON_NON_POSITIVE | SYSLET_SKIP_TO_NEXT_ON_STOP, &got,
                    SYS_read, &fd, V(&p, bytes), V(&p, 7), NULL);
    program_add(&p, 0, NULL, SYS_close, &fd, NULL)->next = 0;
    add = program_add(&p, 0, NULL, SYSLET_NR_UMEM_ADD, V(&p, &total), &got, NULL);
    p.atom[2].next = 0;
    read_one->next = (uintptr_t)add;
    add->next = (uintptr_t)read_one;
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(total, 26);
    EQUAL(fcntl((int)fd, F_GETFD), -1);
}

/* Every combination of conditions, with each sign of the result. */
static void
conditions(void)
{
    int64_t result, at = 0;

    for (unsigned stops = 0; stops <= SYSLET_STOP_MASK; stops += 8)
        for (unsigned skip = 0; skip <= SYSLET_SKIP_TO_NEXT_ON_STOP; skip += 0x80)
            for (int64_t value = -1; value <= 1; value++) {
                bool stop = (stops & SYSLET_STOP_ON_NONZERO && value) ||
                            (stops & SYSLET_STOP_ON_ZERO && !value) ||
                            (stops & SYSLET_STOP_ON_NEGATIVE && value < 0) ||
                            (stops & SYSLET_STOP_ON_NON_POSITIVE && value <= 0);
                int64_t skipped = 0, followed = 0;

                p.atoms = p.values = 0;
                at = 0;
                program_add(&p, stops | skip, &result, SYSLET_NR_UMEM_ADD, V(&p, &at),
                            V(&p, value), NULL);
                program_add(&p, 0, &skipped, SYS_getpid, NULL);
                program_add(&p, 0, &followed, SYS_getpid, NULL);
                p.atom[0].next = (uintptr_t)&p.atom[2];
                p.atom[1].next = 0;
                EQUAL(program_exec(&p, &run), 0);
                EQUAL(result, value);
                EQUAL(skipped != 0, stop && skip);
                EQUAL(followed != 0, !stop);
            }
}

/* Arguments are read up to the first missing one: the page behind is no memory. */
static void
packed_atoms(void)
{
    char *page =
        mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t size = offsetof(struct syslet_uatom, arg_ptr) + sizeof(uint64_t);
    struct syslet_uatom atom = {.nr = SYS_getppid};
    int64_t result = 0;

    CHECK(page != MAP_FAILED && !mprotect(page + 4096, 4096, PROT_NONE));
    atom.ret_ptr = (uintptr_t)&result;
    memcpy(page + 4096 - size, &atom, size);
    run_begin(&run, (void *)(page + 4096 - size));
    EQUAL(run_exec(&run), 0);
    EQUAL(result, getppid());
    run_begin(&run, (void *)(page + 4096 - size + 8));
    memmove(page + 4096 - size + 8, page + 4096 - size, size - 8);
    EQUAL(run_exec(&run), -EFAULT);
    EQUAL(run.executed, 0);
}

static void
bad_pointers(void)
{
    int64_t value = 5, result = 0;
    void *bad[] = {(void *)8, (void *)0xffffffff81000000, (void *)0x7fffffffffff,
                   (void *)-1, (void *)0x8000000000000000};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        run_begin(&run, bad[i]);
        EQUAL(run_exec(&run), -EFAULT);
        EQUAL(run.pc, (uintptr_t)bad[i]);

        p.atoms = p.values = 0;
        program_add(&p, 0, &result, SYS_close, bad[i], NULL);
        EQUAL(program_exec(&p, &run), -EFAULT);
        EQUAL(run.executed, 0);

        /* The second argument, behind a good one. */
        p.atoms = p.values = 0;
        program_add(&p, 0, &result, SYS_dup2, V(&p, 0), bad[i], NULL);
        EQUAL(program_exec(&p, &run), -EFAULT);
        EQUAL(run.executed, 0);

        /* The call has been made: its result is in the run, which has moved on. */
        p.atoms = p.values = 0;
        program_add(&p, 0, bad[i], SYS_getppid, NULL);
        program_add(&p, 0, &value, SYS_getpid, NULL);
        EQUAL(program_exec(&p, &run), -EFAULT);
        EQUAL(run.executed, 1);
        EQUAL(run.ret, getppid());
        EQUAL(run_exec(&run), 0);
        EQUAL(value, getpid());

        p.atoms = p.values = 0;
        program_add(&p, 0, &result, SYSLET_NR_UMEM_ADD, V(&p, bad[i]), V(&p, 1), NULL);
        EQUAL(program_exec(&p, &run), 0);
        EQUAL(result, -EFAULT);

        EQUAL(ioctl(device(), SYSLET_IOC_EXEC, bad[i]), -1);
        EQUAL(errno, EFAULT);
    }
}

static void
bad_runs(void)
{
    program_add(&p, 0x200, NULL, SYS_getpid, NULL);
    EQUAL(program_exec(&p, &run), -EINVAL);
    EQUAL(run.executed, 0);
    p.atom[0].flags = 0;
    run_begin(&run, p.atom);
    run.flags = 4;
    EQUAL(run_exec(&run), -EINVAL);
    run_begin(&run, p.atom);
    run.reserved[1] = 1;
    EQUAL(run_exec(&run), -EINVAL);
    run_begin(&run, p.atom);
    run.emit_entries = 3;
    EQUAL(run_exec(&run), -EINVAL);
    run_begin(&run, p.atom);
    run.done = 5;
    EQUAL(run_exec(&run), -EINVAL);
    run_begin(&run, p.atom);
    p.atom[0].flags = SYSLET_EMIT;
    EQUAL(run_exec(&run), -EINVAL);
}

static void
reports(void)
{
    struct syslet_emitted ring[4] = {0};
    uint64_t count = 0, left = 6;
    struct syslet_uatom *first;

    first = program_add(&p, SYSLET_EMIT, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count),
                        V(&p, 10), NULL);
    program_add(&p, SYSLET_STOP_ON_ZERO, NULL, SYSLET_NR_UMEM_ADD, V(&p, &left),
                V(&p, -1), NULL)
        ->next = (uintptr_t)first;
    run_begin(&run, first);
    run.emit_ptr = (uintptr_t)ring;
    run.emit_entries = 4;
    EQUAL(run_exec(&run), -ENOBUFS);
    EQUAL(run.emit_head, 4);
    EQUAL(count, 40);
    EQUAL(run_exec(&run), -ENOBUFS);
    EQUAL(count, 40);
    for (int i = 0; i < 4; i++) {
        EQUAL(ring[i].atom, (uintptr_t)first);
        EQUAL(ring[i].ret, 10 * (i + 1));
    }
    ring[0].atom = ring[1].atom = 0;
    EQUAL(run_exec(&run), 0);
    EQUAL(run.emit_head, 6);
    EQUAL(ring[1].ret, 60);
    EQUAL(left, 0);
}

static void
budget(void)
{
    uint64_t count = 0;

    program_add(&p, 0, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count), V(&p, 1), NULL)->next =
        (uintptr_t)p.atom;
    run_begin(&run, p.atom);
    run.budget = 10;
    EQUAL(run_exec(&run), 1);
    EQUAL(count, 10);
    EQUAL(run.budget, 0);
    EQUAL(run.pc, (uintptr_t)p.atom);
    run.budget = 5;
    EQUAL(run_exec(&run), 1);
    EQUAL(count, 15);
    EQUAL(run.executed, 15);
    /* None asked for is the kernel's largest, and an endless loop ends. */
    run_begin(&run, p.atom);
    EQUAL(run_exec(&run), 1);
    EQUAL(run.executed, 1 << 20);
    /* As many as there are is enough. */
    p.atom[0].next = 0;
    run_begin(&run, p.atom);
    run.budget = 1;
    EQUAL(run_exec(&run), 0);
}

/* An atom that overwrites itself goes on as it was when it was read. */
static void
read_once(void)
{
    struct syslet_uatom bad = {.flags = ~0u, .nr = ~0u, .next = 8};
    int64_t result = 0;
    int pipe_fd[2];

    EQUAL(pipe(pipe_fd), 0);
    EQUAL(write(pipe_fd[1], &bad, sizeof(bad)), sizeof(bad));
    program_add(&p, 0, NULL, SYS_read, V(&p, pipe_fd[0]), V(&p, &p.atom[0]),
                V(&p, sizeof(bad)), NULL);
    program_add(&p, 0, &result, SYS_getpid, NULL);
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(p.atom[0].next, 8);
    EQUAL(result, getpid());
}

/* A hundred calls with every argument where it belongs. */
static void
six_arguments(void)
{
    char bytes[8] = {0};
    int64_t got;
    int fd = open("/tmp/six", O_RDWR | O_CREAT, 0600);

    CHECK(fd >= 0);
    EQUAL(write(fd, "0123456789", 10), 10);
    program_add(&p, 0, &got, SYS_pread64, V(&p, fd), V(&p, bytes), V(&p, 4), V(&p, 3),
                NULL);
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(got, 4);
    CHECK(!memcmp(bytes, "3456", 5));
    p.atoms = 0;
    program_add(&p, 0, &got, SYS_copy_file_range, V(&p, fd), V(&p, V(&p, 0)), V(&p, fd),
                V(&p, V(&p, 20)), V(&p, 6), V(&p, 0), NULL);
    EQUAL(program_exec(&p, &run), 0);
    CHECK(got == 6 || got == -EXDEV || got == -EOPNOTSUPP);
}

const struct test basic_tests[] = {{"info", info},
                                   {"open_read_close", open_read_close},
                                   {"no_such_file", no_such_file},
                                   {"thousand_files", thousand_files},
                                   {"read_until_end", read_until_end},
                                   {"conditions", conditions},
                                   {"packed_atoms", packed_atoms},
                                   {"bad_pointers", bad_pointers},
                                   {"bad_runs", bad_runs},
                                   {"reports", reports},
                                   {"budget", budget},
                                   {"read_once", read_once},
                                   {"six_arguments", six_arguments},
                                   {NULL, NULL}};
