/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Programs as commands of a ring: what runs in the submitter, what a worker goes on
 * with, which completions come, and how a command is cancelled.
 *
 * gettid is the witness: it is allowed in the submitter's thread only, so a program
 * that ends with it gives 0 if no worker was needed and -EPERM if one was.
 */
#include <fcntl.h>
#include <sys/socket.h>

#include "suite.h"

static struct program p;
static struct syslet_run run;
static struct ring ring;
static int64_t result;
static char bytes[64];

static void
begin(unsigned flags)
{
    EQUAL(ring_open(&ring, 128, flags), 0);
}

static void
in_submitter(void)
{
    begin(0);
    program_add(&p, 0, NULL, SYS_getpid, NULL);
    program_add(&p, 0, &result, SYS_gettid, NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, 0), 0);
    EQUAL(result, getpid());
    EQUAL(run.pc, 0);
    EQUAL(run.executed, 2);
    EQUAL(workers(), 0);
    /* The flag of the entry, and that of the atom. */
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, IOSQE_ASYNC), -EPERM);
    EQUAL(run.pc, (uintptr_t)&p.atom[1]);
    p.atom[0].flags = SYSLET_ASYNC;
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, 0), -EPERM);
    EQUAL(run.executed, 1);
    /* What the worker refused the caller may go on with. */
    EQUAL(run_exec(&run), 0);
    EQUAL(run.executed, 2);
    EQUAL(workers(), 1);
}

static void
miss(void)
{
    int fd[2];

    begin(0);
    EQUAL(pipe(fd), 0);
    program_add(&p, 0, NULL, SYS_getpid, NULL);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 64), NULL);
    program_add(&p, 0, NULL, SYS_getppid, NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 3, 0);
    EQUAL(ring_submit(&ring), 1);
    EQUAL(run.pc, (uintptr_t)&p.atom[1]);
    EQUAL(run.executed, 1);
    sleep_ms(30);
    CHECK(!ring_ready(&ring));
    EQUAL(write(fd[1], "abc", 3), 3);
    EQUAL(ring_wait(&ring).res, 0);
    EQUAL(result, 3);
    EQUAL(run.executed, 3);
    EQUAL(run.last, (uintptr_t)&p.atom[2]);
}

/* The same on a ring whose completions wait for its task. */
static void
deferred_ring(void)
{
    int fd[2];

    begin(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    EQUAL(pipe(fd), 0);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 64), NULL);
    for (int i = 0; i < 50; i++) {
        run_begin(&run, p.atom);
        ring_queue(&ring, &run, 3, 0);
        EQUAL(ring_submit(&ring), 1);
        EQUAL(write(fd[1], "abcd", 4), 4);
        EQUAL(ring_wait(&ring).res, 0);
        EQUAL(result, 4);
    }
}

static void
sync_atom(void)
{
    int fd[2];

    begin(0);
    EQUAL(pipe(fd), 0);
    program_add(&p, SYSLET_SYNC, &result, SYS_read, V(&p, fd[0]), V(&p, bytes),
                V(&p, 64), NULL);
    program_add(&p, 0, NULL, SYS_gettid, NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, 0), -EAGAIN);
    EQUAL(run.pc, (uintptr_t)&p.atom[0]);
    EQUAL(workers(), 0);
    EQUAL(write(fd[1], "abcd", 4), 4);
    EQUAL(run_exec(&run), 0);
    EQUAL(result, 4);
    /* SYNC is stronger than ASYNC, and makes even a careful caller wait. */
    p.atom[0].flags |= SYSLET_ASYNC;
    EQUAL(write(fd[1], "abcd", 4), 4);
    run_begin(&run, p.atom);
    run.flags = SYSLET_RUN_NOWAIT;
    EQUAL(run_exec(&run), 0);
    EQUAL(run.executed, 2);
}

static void
nowait(void)
{
    int fd[2];

    EQUAL(pipe(fd), 0);
    program_add(&p, 0, NULL, SYS_getpid, NULL);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 64), NULL);
    run_begin(&run, p.atom);
    run.flags = SYSLET_RUN_NOWAIT;
    EQUAL(run_exec(&run), -EAGAIN);
    EQUAL(run.pc, (uintptr_t)&p.atom[1]);
    EQUAL(run_exec(&run), -EAGAIN);
    EQUAL(run.executed, 1);
    EQUAL(write(fd[1], "abcd", 4), 4);
    run.flags = 0;
    EQUAL(run_exec(&run), 0);
    EQUAL(result, 4);
    p.atom[0].flags = SYSLET_ASYNC;
    run_begin(&run, p.atom);
    run.flags = SYSLET_RUN_NOWAIT;
    EQUAL(run_exec(&run), -EAGAIN);
    EQUAL(run.executed, 0);
}

static void
no_complete(void)
{
    struct io_uring_cqe cqe;
    struct program other = {0};
    struct syslet_run second;
    int fd[2];

    begin(0);
    EQUAL(pipe(fd), 0);
    program_add(&p, SYSLET_NO_COMPLETE, NULL, SYS_write, V(&p, fd[1]), V(&p, "x"),
                V(&p, 1), NULL);
    program_add(&other, 0, NULL, SYS_getpid, NULL);
    for (unsigned flags = 0; flags <= IOSQE_ASYNC; flags += IOSQE_ASYNC) {
        run_begin(&run, p.atom);
        run_begin(&second, other.atom);
        ring_queue(&ring, &run, 1, flags);
        /* Drained: it waits for the silent one, and must not wait for ever. */
        ring_queue(&ring, &second, 2, IOSQE_IO_DRAIN);
        EQUAL(ring_submit(&ring), 2);
        EQUAL(read(fd[0], bytes, 1), 1);
        cqe = ring_wait(&ring);
        EQUAL(cqe.user_data, 2);
        EQUAL(run.executed, 1);
        CHECK(!ring_ready(&ring));
    }
    /* A program that does not come to its end is reported all the same. */
    p.atom[0].nr = SYS_fork;
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, 0), -EPERM);
}

static void
reports(void)
{
    struct syslet_emitted slots[8] = {0};
    struct io_uring_cqe cqe;
    uint64_t count = 0;

    begin(0);
    program_add(&p, SYSLET_EMIT, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count), V(&p, 1),
                NULL);
    program_add(&p, SYSLET_EMIT, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count),
                V(&p, 1ull << 40), NULL);
    for (unsigned flags = 0; flags <= IOSQE_ASYNC; flags += IOSQE_ASYNC) {
        memset(slots, 0, sizeof(slots));
        count = 0;
        run_begin(&run, p.atom);
        run.emit_ptr = (uintptr_t)slots;
        run.emit_entries = 8;
        ring_queue(&ring, &run, 5, flags);
        EQUAL(ring_submit(&ring), 1);
        cqe = ring_wait(&ring);
        EQUAL(cqe.user_data, 5);
        EQUAL(cqe.res, 1);
        EQUAL(cqe.flags, IORING_CQE_F_MORE);
        cqe = ring_wait(&ring);
        EQUAL(cqe.res, INT32_MAX);
        EQUAL(cqe.flags, IORING_CQE_F_MORE);
        EQUAL(slots[1].ret, (1ll << 40) + 1);
        EQUAL(slots[1].atom, (uintptr_t)&p.atom[1]);
        cqe = ring_wait(&ring);
        EQUAL(cqe.flags, 0);
        EQUAL(cqe.res, 0);
    }
}

/* What asks for silence fills the emit ring and posts one completion, at the end. */
static void
reports_quiet(void)
{
    static struct syslet_emitted slots[8];
    uint64_t count = 0;

    begin(0);
    for (int i = 0; i < 3; i++)
        program_add(&p, SYSLET_EMIT, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count), V(&p, 1),
                    NULL);
    for (unsigned flags = 0; flags <= IOSQE_ASYNC; flags += IOSQE_ASYNC) {
        memset(slots, 0, sizeof(slots));
        count = 0;
        run_begin(&run, p.atom);
        run.flags = SYSLET_RUN_QUIET;
        run.emit_ptr = (uintptr_t)slots;
        run.emit_entries = 8;
        EQUAL(ring_run(&ring, &run, flags), 0);
        CHECK(!ring_ready(&ring));
        for (int i = 0; i < 3; i++) {
            EQUAL(slots[i].atom, (uintptr_t)&p.atom[i]);
            EQUAL(slots[i].ret, i + 1);
        }
        EQUAL(slots[3].atom, 0);
    }
}

/* More reports than completions fit: the run stops and loses none. */
static void
reports_overflow(void)
{
    static struct syslet_emitted slots[64];
    uint64_t count = 0;
    int seen = 0, result_now;

    EQUAL(ring_open(&ring, 4, 0), 0);
    program_add(&p, SYSLET_EMIT, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count), V(&p, 1),
                NULL)
        ->next = (uintptr_t)p.atom;
    run_begin(&run, p.atom);
    run.emit_ptr = (uintptr_t)slots;
    run.emit_entries = 64;
    for (;;) {
        struct io_uring_cqe cqe;

        ring_queue(&ring, &run, 5, 0);
        EQUAL(ring_submit(&ring), 1);
        do {
            cqe = ring_wait(&ring);
            seen += !!(cqe.flags & IORING_CQE_F_MORE);
        } while (cqe.flags & IORING_CQE_F_MORE);
        result_now = cqe.res;
        EQUAL(result_now, -ENOBUFS);
        if (slots[63].atom)
            break;
    }
    EQUAL(count, 64);
    EQUAL(run.emit_head, 64);
    for (int i = 0; i < 64; i++)
        EQUAL(slots[i].ret, i + 1);
    CHECK(seen > 8 && seen <= 64);
}

/* The submitter does not run a long program to its end: a worker takes over. */
static void
long_program(void)
{
    uint64_t left = 1000;

    begin(0);
    program_add(&p, SYSLET_STOP_ON_ZERO | SYSLET_SKIP_TO_NEXT_ON_STOP, NULL,
                SYSLET_NR_UMEM_ADD, V(&p, &left), V(&p, -1), NULL)
        ->next = (uintptr_t)p.atom;
    program_add(&p, 0, NULL, SYS_gettid, NULL);
    p.atom[0].next = (uintptr_t)p.atom;
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, 0), -EPERM);
    EQUAL(left, 0);
    EQUAL(run.executed, 1000);
    left = 100;
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, 0), 0);
    EQUAL(run.executed, 101);
    /* A budget ends it as it does in the caller. */
    left = 1000;
    run_begin(&run, p.atom);
    run.budget = 500;
    EQUAL(ring_run(&ring, &run, 0), 1);
    EQUAL(run.executed, 500);
}

static void
many_blocked(void)
{
    enum { MANY = 64 };
    static struct program program[MANY];
    static struct syslet_run runs[MANY];
    static int64_t got[MANY];
    int fd[MANY][2];
    uint64_t seen = 0;

    begin(0);
    for (int i = 0; i < MANY; i++) {
        EQUAL(pipe(fd[i]), 0);
        program_add(&program[i], 0, &got[i], SYS_read, V(&program[i], fd[i][0]),
                    V(&program[i], bytes), V(&program[i], 8), NULL);
        run_begin(&runs[i], program[i].atom);
        ring_queue(&ring, &runs[i], (unsigned)i, 0);
    }
    EQUAL(ring_submit(&ring), MANY);
    /* In reverse, so that each needs a worker of its own. */
    for (int i = MANY - 1; i >= 0; i--) {
        EQUAL(write(fd[i][1], bytes, (size_t)i % 8 + 1), i % 8 + 1);
        struct io_uring_cqe cqe = ring_wait(&ring);
        EQUAL(cqe.user_data, i);
        EQUAL(cqe.res, 0);
        EQUAL(got[i], i % 8 + 1);
        seen |= 1ull << i;
    }
    EQUAL(~seen, 0);
}

static void
cancel_blocked(void)
{
    struct io_uring_cqe cqe;
    int fd[2];

    begin(0);
    EQUAL(pipe(fd), 0);
    program_add(&p, 0, NULL, SYS_getpid, NULL);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, 0);
    EQUAL(ring_submit(&ring), 1);
    sleep_ms(30);
    EQUAL(ring_cancel(&ring, 1), 1);
    for (int i = 0; i < 2; i++) {
        cqe = ring_wait(&ring);
        if (cqe.user_data == 1)
            EQUAL(cqe.res, -ECANCELED);
        else
            CHECK(cqe.res == 0 || cqe.res == -EALREADY);
    }
    EQUAL(run.pc, (uintptr_t)&p.atom[1]);
    EQUAL(run.executed, 1);
    /* The pipe is as it was: nothing had been taken from it. */
    EQUAL(write(fd[1], "abcd", 4), 4);
    EQUAL(run_exec(&run), 0);
    EQUAL(result, 4);
}

static void
cancel_loop(void)
{
    struct timespec pause = {0, 1000000};
    struct io_uring_cqe cqe;

    begin(0);
    program_add(&p, 0, NULL, SYS_nanosleep, V(&p, &pause), V(&p, 0), NULL)->next =
        (uintptr_t)p.atom;
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, IOSQE_ASYNC);
    EQUAL(ring_submit(&ring), 1);
    sleep_ms(50);
    EQUAL(ring_cancel(&ring, 1), 1);
    for (int i = 0; i < 2; i++) {
        cqe = ring_wait(&ring);
        if (cqe.user_data == 1)
            EQUAL(cqe.res, -ECANCELED);
    }
    CHECK(run.executed > 2);
}

/* A linked timeout cancels what it is linked to, wherever that is. */
static void
linked_timeout(void)
{
    struct __kernel_timespec limit = {0, 50000000};
    struct io_uring_cqe cqe;
    struct io_uring_sqe *sqe;
    int fd[2];

    begin(0);
    EQUAL(pipe(fd), 0);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, IOSQE_IO_LINK);
    sqe = ring_sqe(&ring, 2);
    sqe->opcode = IORING_OP_LINK_TIMEOUT;
    sqe->addr = (uintptr_t)&limit;
    sqe->len = 1;
    EQUAL(ring_submit(&ring), 2);
    for (int i = 0; i < 2; i++) {
        cqe = ring_wait(&ring);
        if (cqe.user_data == 1)
            EQUAL(cqe.res, -ECANCELED);
        else
            CHECK(cqe.res == -ETIME || cqe.res == -EALREADY || cqe.res == -ENOENT);
    }
    EQUAL(run.pc, (uintptr_t)p.atom);
}

/* A link goes on when the program ended well, and not when it did not. */
static void
linked(void)
{
    struct io_uring_cqe cqe;

    begin(0);
    program_add(&p, 0, &result, SYS_getpid, NULL);
    for (int good = 0; good < 2; good++) {
        p.atom[0].nr = good ? SYS_getpid : SYS_fork;
        for (unsigned flags = 0; flags <= IOSQE_ASYNC; flags += IOSQE_ASYNC) {
            run_begin(&run, p.atom);
            ring_queue(&ring, &run, 1, flags | IOSQE_IO_LINK);
            ring_sqe(&ring, 2)->opcode = IORING_OP_NOP;
            EQUAL(ring_submit(&ring), 2);
            for (int i = 0; i < 2; i++) {
                cqe = ring_wait(&ring);
                if (cqe.user_data == 1)
                    EQUAL(cqe.res, good ? 0 : -EPERM);
                else
                    EQUAL(cqe.res, good ? 0 : -ECANCELED);
            }
        }
    }
}

const struct test async_tests[] = {{"in_submitter", in_submitter},
                                   {"miss", miss},
                                   {"deferred_ring", deferred_ring},
                                   {"sync_atom", sync_atom},
                                   {"nowait", nowait},
                                   {"no_complete", no_complete},
                                   {"async_reports", reports},
                                   {"reports_quiet", reports_quiet},
                                   {"reports_overflow", reports_overflow},
                                   {"long_program", long_program},
                                   {"many_blocked", many_blocked},
                                   {"cancel_blocked", cancel_blocked},
                                   {"cancel_loop", cancel_loop},
                                   {"linked_timeout", linked_timeout},
                                   {"linked", linked},
                                   {NULL, NULL}};
