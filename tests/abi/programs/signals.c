/* Signals, fork, descriptors: what a program sees of the library's threads. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static struct test_head head;
static volatile int handled, was_interrupted;
static volatile long handled_by;
static struct call from_handler;
static void *volatile handler_result;

static void
note(int number)
{
    handled = number;
    handled_by = syscall(SYS_gettid);
}

static void
submit(int number)
{
    note(number);
    handler_result = async_exec(&from_handler.atom, &head.user);
}

/* A syslet waits in read on a thread of the library; every signal comes to us. */
static void
signals_come_to_the_program(void)
{
    int ends[2];
    char byte;
    struct call call;
    CHECK(pipe(ends) == 0);
    call_init(&call, SYS_read, 0, ARGS(ends[0], (uintptr_t)&byte, 1));
    CHECK(async_exec(&call.atom, &head.user) == NULL);
    signal(SIGUSR1, note);
    for (int i = 0; i < 50; i++) {
        handled = 0;
        CHECK(kill(getpid(), SIGUSR1) == 0);
        CHECK(handled == SIGUSR1 && handled_by == getpid());
    }
    CHECK(call.result == -9999);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(head_take(&head) == AT(call.atom) && call.result == 1);

    /* SIGPIPE of a write over there. */
    signal(SIGPIPE, note);
    handled = 0;
    call_init(&call, SYS_write, SYSLET_ASYNC, ARGS(ends[1], (uintptr_t)&byte, 1));
    close(ends[0]);
    CHECK(async_exec(&call.atom, &head.user) == NULL);
    CHECK(head_take(&head) == AT(call.atom) && call.result == -EPIPE);
    CHECK(handled == SIGPIPE && handled_by == getpid());
    /* And of one here, where a pipe can be tried without waiting (Linux 6.4). */
    handled = 0;
    call.atom.flags = 0;
    struct syslet_uatom *done = async_exec(&call.atom, &head.user);
    CHECK(done == &call.atom || (done == NULL && head_take(&head) == AT(call.atom)));
    CHECK(call.result == -EPIPE && handled == SIGPIPE);
    close(ends[1]);
}

static void *
kill_soon(void *thread)
{
    while (!was_interrupted) {
        pthread_kill(*(pthread_t *)thread, SIGUSR2);
        usleep(1000);
    }
    return NULL;
}

/* A handler ends async_wait, and may submit while it sleeps. */
static void
signals_end_waiting(void)
{
    int ends[2];
    char byte;
    struct call call;
    pthread_t self = pthread_self(), killer;
    struct sigaction action = {.sa_handler = submit};
    CHECK(pipe(ends) == 0);
    sigaction(SIGUSR2, &action, NULL);
    call_init(&call, SYS_read, 0, ARGS(ends[0], (uintptr_t)&byte, 1));
    call_init(&from_handler, SYS_getpid, 0, 0, NULL);
    CHECK(async_exec(&call.atom, &head.user) == NULL);
    CHECK(pthread_create(&killer, NULL, kill_soon, &self) == 0);
    long res;
    do { /* the first signals may come while it is not asleep */
        res = async_wait(1, head.user.user_ring_idx, &head.user);
        CHECK(res == -EINTR || res == 0);
    } while (res == 0 && head.ring[head.user.user_ring_idx] == 0);
    was_interrupted = 1;
    pthread_join(killer, NULL);
    CHECK(res == -EINTR);
    CHECK(handler_result == &from_handler.atom ||
          syslet_error(handler_result) == -EBUSY);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(head_take(&head) == AT(call.atom));
    close(ends[0]);
    close(ends[1]);
}

/* The child has no threads of the library and nothing pending; the parent keeps all. */
static void
fork_leaves_the_pending_with_the_parent(void)
{
    int ends[2], status;
    char byte;
    struct call call, own;
    CHECK(pipe(ends) == 0);
    call_init(&call, SYS_read, 0, ARGS(ends[0], (uintptr_t)&byte, 1));
    CHECK(async_exec(&call.atom, &head.user) == NULL);
    pid_t child = fork();
    if (child == 0) {
        CHECK(async_wait(1, head.user.user_ring_idx, &head.user) == 0);
        CHECK(syslet_cancel(&call.atom, &head.user) == -ENOENT);
        call_init(&own, SYS_gettid, SYSLET_ASYNC, 0, NULL);
        CHECK(async_exec(&own.atom, &head.user) == NULL);
        CHECK(head_take(&head) == AT(own.atom) && own.result == getpid());
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(head_take(&head) == AT(call.atom) && call.result == 1);
    close(ends[0]);
    close(ends[1]);
}

/* open of a FIFO waits for its writer, on another thread; what it gives is blocking. */
static void
a_fifo_is_waited_for(const char *path)
{
    struct call open_it, read_it;
    char byte = 0;
    CHECK(mkfifo(path, 0600) == 0);
    call_init(&open_it, SYS_openat, 0, ARGS(AT_FDCWD, (uintptr_t)path, O_RDONLY));
    CHECK(async_exec(&open_it.atom, &head.user) == NULL);
    int writer = open(path, O_WRONLY);
    CHECK(writer >= 0);
    CHECK(head_take(&head) == AT(open_it.atom) && open_it.result >= 0);
    CHECK((fcntl((int)open_it.result, F_GETFL) & O_NONBLOCK) == 0);
    call_init(&read_it, SYS_read, 0, ARGS(open_it.result, (uintptr_t)&byte, 1));
    CHECK(async_exec(&read_it.atom, &head.user) == NULL);
    CHECK(write(writer, "y", 1) == 1);
    CHECK(head_take(&head) == AT(read_it.atom) && byte == 'y');
    /* Cancelled while it waits for a writer. */
    close(writer);
    close((int)open_it.result);
    CHECK(async_exec(&open_it.atom, &head.user) == NULL);
    CHECK(syslet_cancel(&open_it.atom, &head.user) == 0);
    CHECK(head_take(&head) == AT(open_it.atom));
    unlink(path);
}

/* A cached file is opened here, and nothing of our making is left on it. */
static void
a_file_is_as_it_was_asked_for(const char *path)
{
    struct call call;
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && fstat(fd, &(struct stat){0}) == 0);
    static const int flags[] = {O_RDONLY, O_RDWR | O_NONBLOCK, O_WRONLY | O_APPEND};
    for (int i = 0; i < 3; i++) {
        call_init(&call, SYS_openat, 0, ARGS(AT_FDCWD, (uintptr_t)path, flags[i]));
        uint64_t last = (uintptr_t)async_exec(&call.atom, &head.user);
        CHECK((last != 0 ? last : head_take(&head)) == AT(call.atom));
        int got =
            fcntl((int)call.result, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND);
        CHECK(got == flags[i]);
        close((int)call.result);
    }
    close(fd);
    unlink(path);
}

int
main(int argc, char **argv)
{
    CHECK(argc == 2);
    head_init(&head);
    signals_come_to_the_program();
    signals_end_waiting();
    fork_leaves_the_pending_with_the_parent();
    a_fifo_is_waited_for(argv[1]);
    a_file_is_as_it_was_asked_for(argv[1]);
    puts("as promised");
    return 0;
}
