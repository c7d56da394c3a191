/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Signals, task work, exit and stop: what interrupts a program, what only seems to,
 * and who gets the signals that its calls cause.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "suite.h"

static struct program p;
static struct syslet_run run;
static struct ring ring;
static int64_t result;
static char bytes[64];
static volatile sig_atomic_t caught;

static void
on_signal(int signal)
{
    caught = signal;
}

static void
handle(int signal, int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};

    EQUAL(sigaction(signal, &action, NULL), 0);
}

static void
timer(int first_ms, int every_ms)
{
    struct itimerval value = {{0, every_ms * 1000}, {0, first_ms * 1000}};

    EQUAL(setitimer(ITIMER_REAL, &value, NULL), 0);
}

/* Who writes to a pipe or closes it a little later, in another process. */
struct later {
    int fd, keep;
    const char *what;
};

static int
write_later(void *context)
{
    struct later *later = context;

    sleep_ms(100);
    return write(later->fd, later->what, strlen(later->what)) < 0;
}

/* Closing the writer, then reading: the end of the file, in every context. */
static void
deferred_close(void)
{
    for (int mode = 0; mode < 4; mode++) {
        int fd[2];

        EQUAL(pipe(fd), 0);
        p.atoms = p.values = 0;
        result = -1;
        program_add(&p, 0, NULL, SYS_close, V(&p, fd[1]), NULL);
        program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8),
                    NULL);
        run_begin(&run, p.atom);
        if (mode == 0) {
            EQUAL(run_exec(&run), 0);
        } else if (mode == 1) {
            run.flags = SYSLET_RUN_NOWAIT;
            EQUAL(run_exec(&run), -EAGAIN);
            run.flags = 0;
            EQUAL(run_exec(&run), 0);
        } else {
            EQUAL(ring_open(&ring, 8, 0), 0);
            EQUAL(ring_run(&ring, &run, mode == 2 ? 0 : IOSQE_ASYNC), 0);
            ring_close(&ring);
        }
        EQUAL(result, 0);
        close(fd[0]);
    }
}

static void
interrupted(void)
{
    int fd[2];

    EQUAL(pipe(fd), 0);
    handle(SIGALRM, 0);
    program_add(&p, 0, NULL, SYS_getpid, NULL);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    run_begin(&run, p.atom);
    timer(50, 0);
    EQUAL(run_exec(&run), -EINTR);
    EQUAL(caught, SIGALRM);
    EQUAL(run.pc, (uintptr_t)&p.atom[1]);
    EQUAL(run.executed, 1);
    EQUAL(write(fd[1], "abc", 3), 3);
    EQUAL(run_exec(&run), 0);
    EQUAL(result, 3);
}

static void
restarted(void)
{
    struct later later;
    int fd[2], pid;

    EQUAL(pipe(fd), 0);
    handle(SIGALRM, SA_RESTART);
    program_add(&p, 0, NULL, SYS_getpid, NULL);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    run_begin(&run, p.atom);
    later = (struct later){.fd = fd[1], .what = "abcd"};
    pid = child(write_later, &later);
    timer(30, 0);
    EQUAL(run_exec(&run), 0);
    EQUAL(caught, SIGALRM);
    EQUAL(result, 4);
    EQUAL(run.executed, 2);
    EQUAL(reap(pid), 0);
}

/* A loop that calls nothing that sleeps is interrupted as well. */
static void
endless_loop(void)
{
    uint64_t count = 0, before;

    handle(SIGALRM, 0);
    program_add(&p, 0, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count), V(&p, 1), NULL)->next =
        (uintptr_t)p.atom;
    run_begin(&run, p.atom);
    timer(20, 0);
    EQUAL(run_exec(&run), -EINTR);
    CHECK(count > 0);
    EQUAL(run.executed, count);
    before = count;
    run.budget = 3;
    EQUAL(run_exec(&run), 1);
    EQUAL(count, before + 3);
}

static void
sleep_is_whole(void)
{
    struct timespec pause = {0, 80000000};
    uint64_t from;

    program_add(&p, 0, &result, SYS_nanosleep, V(&p, &pause), V(&p, 0), NULL);
    from = now_ns();
    EQUAL(program_exec(&p, &run), 0);
    CHECK(now_ns() - from >= 80000000);
    EQUAL(result, 0);
    /* A handler that restarts calls does not restart a sleep, here or outside. */
    handle(SIGALRM, SA_RESTART);
    timer(20, 0);
    EQUAL(program_exec(&p, &run), -EINTR);
    EQUAL(run.pc, (uintptr_t)p.atom);
}

/*
 * io-wq asks the submitter to create a worker when one of its workers goes to sleep.
 * That looks like a signal to a call that sleeps in the caller meanwhile.
 */
static void
worker_creation(void)
{
    struct timespec pause = {0, 150000000};
    static struct program blocked[8];
    static struct syslet_run runs[8];
    struct later later;
    int64_t slept = -1, polled = -1;
    int fd[2], other[2], pid;
    uint64_t from;

    EQUAL(pipe(fd), 0);
    EQUAL(pipe(other), 0);
    EQUAL(ring_open(&ring, 16, 0), 0);
    for (int i = 0; i < 8; i++) {
        program_add(&blocked[i], SYSLET_ASYNC, NULL, SYS_read, V(&blocked[i], other[0]),
                    V(&blocked[i], bytes), V(&blocked[i], 1), NULL);
        run_begin(&runs[i], blocked[i].atom);
        ring_queue(&ring, &runs[i], (unsigned)i, 0);
    }
    struct pollfd {
        int fd;
        short events, revents;
    } poll_fd = {fd[0], 1, 0};
    program_add(&p, 0, &slept, SYS_nanosleep, V(&p, &pause), V(&p, 0), NULL);
    program_add(&p, 0, &polled, SYS_poll, V(&p, &poll_fd), V(&p, 1), V(&p, 30), NULL);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_submit(&ring), 8);
    later = (struct later){.fd = fd[1], .what = "abcde"};
    from = now_ns();
    pid = child(write_later, &later);
    EQUAL(run_exec(&run), 0);
    CHECK(now_ns() - from >= 150000000);
    EQUAL(slept, 0);
    EQUAL(polled, 1);
    EQUAL(result, 5);
    EQUAL(reap(pid), 0);
    CHECK(workers() > 1);
    EQUAL(write(other[1], "12345678", 8), 8);
    for (int i = 0; i < 8; i++)
        EQUAL(ring_wait(&ring).res, 0);
}

/* The same for epoll_wait, which never asks to be restarted. */
static void
worker_creation_epoll(void)
{
    static struct program blocked[8];
    static struct syslet_run runs[8];
    int other[2];

    EQUAL(pipe(other), 0);
    EQUAL(ring_open(&ring, 16, 0), 0);
    for (int i = 0; i < 8; i++) {
        program_add(&blocked[i], SYSLET_ASYNC, NULL, SYS_read, V(&blocked[i], other[0]),
                    V(&blocked[i], bytes), V(&blocked[i], 1), NULL);
        run_begin(&runs[i], blocked[i].atom);
        ring_queue(&ring, &runs[i], (unsigned)i, 0);
    }
    int64_t epoll = 0;
    program_add(&p, 0, &epoll, SYS_epoll_create1, V(&p, 0), NULL);
    program_add(&p, 0, &result, SYS_epoll_wait, &epoll, V(&p, bytes), V(&p, 1),
                V(&p, 60), NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_submit(&ring), 8);
    EQUAL(run_exec(&run), 0);
    EQUAL(result, 0);
    EQUAL(write(other[1], "12345678", 8), 8);
    for (int i = 0; i < 8; i++)
        EQUAL(ring_wait(&ring).res, 0);
}

/* What a child does that is to be killed, or to leave: bit 0 loops, bit 1 leaves. */
static int
doomed(void *context)
{
    int how = *(int *)context, fd[2];

    EQUAL(pipe(fd), 0);
    EQUAL(ring_open(&ring, 8, 0), 0);
    if (how & 1)
        program_add(&p, 0, NULL, SYS_getppid, NULL)->next = (uintptr_t)p.atom;
    else
        program_add(&p, 0, NULL, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, IOSQE_ASYNC);
    EQUAL(ring_submit(&ring), 1);
    sleep_ms(20);
    if (how & 2)
        return 5;
    for (;;) {
        run_begin(&run, p.atom);
        run_exec(&run);
    }
}

static void
kill_and_exit(void)
{
    for (int how = 0; how < 4; how++) {
        int pid = child(doomed, &how);

        sleep_ms(60);
        if (!(how & 2))
            EQUAL(kill(pid, SIGKILL), 0);
        EQUAL(reap(pid), how & 2 ? 5 : 128 + SIGKILL);
    }
}

/* Closing the ring ends the commands it still has. */
static void
ring_closed(void)
{
    int fd[2];

    EQUAL(pipe(fd), 0);
    EQUAL(ring_open(&ring, 8, 0), 0);
    program_add(&p, 0, NULL, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, 0);
    EQUAL(ring_submit(&ring), 1);
    sleep_ms(20);
    ring_close(&ring);
    close(fd[0]);
    /* The pipe has no reader once the worker has let go of it. */
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 100 && write(fd[1], "x", 1) == 1; i++)
        sleep_ms(20);
    EQUAL(write(fd[1], "x", 1), -1);
    EQUAL(errno, EPIPE);
}

struct shared {
    volatile int ready;
    volatile int64_t result;
};

static int
stopped_child(void *context)
{
    struct later *later = context;
    struct shared *shared = (struct shared *)(uintptr_t)later->what;

    EQUAL(ring_open(&ring, 8, 0), 0);
    program_add(&p, 0, &result, SYS_read, V(&p, later->fd), V(&p, bytes), V(&p, 8),
                NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, 0);
    EQUAL(ring_submit(&ring), 1);
    shared->ready = 1;
    EQUAL(ring_wait(&ring).res, 0);
    shared->result = result;
    return 0;
}

/* A worker stops and goes on with its process; the read goes on too. */
static void
stop_and_continue(void)
{
    struct shared *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fd[2], pid, status;
    struct later later;

    CHECK(shared != MAP_FAILED);
    EQUAL(pipe(fd), 0);
    later = (struct later){.fd = fd[0], .what = (char *)shared};
    pid = child(stopped_child, &later);
    while (!shared->ready)
        sleep_ms(5);
    sleep_ms(30);
    EQUAL(kill(pid, SIGSTOP), 0);
    EQUAL(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    EQUAL(write(fd[1], "abcde", 5), 5);
    sleep_ms(50);
    EQUAL(shared->result, 0);
    EQUAL(kill(pid, SIGCONT), 0);
    EQUAL(reap(pid), 0);
    EQUAL(shared->result, 5);
}

/* The submitter gets the signals of the calls its worker makes. */
static void
forwarded(void)
{
    struct rlimit limit = {8, RLIM_INFINITY};
    int pair[2], file;

    handle(SIGPIPE, SA_RESTART);
    handle(SIGXFSZ, SA_RESTART);
    EQUAL(ring_open(&ring, 8, 0), 0);
    for (int i = 0; i < 3; i++) {
        EQUAL(pipe(pair), 0);
        close(pair[0]);
        caught = 0;
        p.atoms = p.values = 0;
        program_add(&p, 0, &result, SYS_write, V(&p, pair[1]), V(&p, bytes), V(&p, 8),
                    NULL);
        run_begin(&run, p.atom);
        EQUAL(ring_run(&ring, &run, IOSQE_ASYNC), 0);
        EQUAL(result, -EPIPE);
        EQUAL(caught, SIGPIPE);
        close(pair[1]);
    }
    file = open("/tmp/limited", O_WRONLY | O_CREAT, 0600);
    EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    p.atoms = p.values = 0;
    program_add(&p, 0, &result, SYS_pwrite64, V(&p, file), V(&p, bytes), V(&p, 8),
                V(&p, 100), NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, IOSQE_ASYNC), 0);
    EQUAL(result, -EFBIG);
    EQUAL(caught, SIGXFSZ);
}

/* A signal that nobody handles does not disturb a program. */
static void
ignored(void)
{
    struct later later;
    int fd[2], pid;

    signal(SIGALRM, SIG_IGN);
    EQUAL(pipe(fd), 0);
    program_add(&p, 0, &result, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    later = (struct later){.fd = fd[1], .what = "ab"};
    pid = child(write_later, &later);
    timer(10, 10);
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(result, 2);
    timer(0, 0);
    EQUAL(reap(pid), 0);
}

const struct test signal_tests[] = {{"deferred_close", deferred_close},
                                    {"interrupted", interrupted},
                                    {"restarted", restarted},
                                    {"endless_loop", endless_loop},
                                    {"sleep_is_whole", sleep_is_whole},
                                    {"worker_creation", worker_creation},
                                    {"worker_creation_epoll", worker_creation_epoll},
                                    {"kill_and_exit", kill_and_exit},
                                    {"ring_closed", ring_closed},
                                    {"stop_and_continue", stop_and_continue},
                                    {"forwarded", forwarded},
                                    {"ignored", ignored},
                                    {NULL, NULL}};
