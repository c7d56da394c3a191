/* Signals again: handlers that restart calls, masks that calls bring along, a stray
 * signal of the library's number. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "asleep.h"
#include "check.h"

static struct test_head head;
static int ends[2];
static char byte;
static volatile int handled;
static volatile long handled_by;

static void
note(int number)
{
    handled = number;
    handled_by = syscall(SYS_gettid);
}

static void
feed_and_take(struct call *call)
{
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(head_take(&head) == AT(call->atom));
}

static void
submit_reader(struct call *call)
{
    call_init(call, SYS_read, 0, ARGS(ends[0], (uintptr_t)&byte, 1));
    CHECK(async_exec(&call->atom, &head.user) == NULL);
}

static void *
send_when_asleep(void *thread)
{
    pid_t tid = getpid();
    wait_until_asleep(&tid);
    pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}

/* As epoll_wait, it is never restarted: the program looks at what the handler did. */
static void
a_handler_that_restarts_ends_waiting(void)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    struct call call;
    pthread_t self = pthread_self(), sender;
    submit_reader(&call);
    sigaction(SIGUSR1, &action, NULL);
    CHECK(pthread_create(&sender, NULL, send_when_asleep, &self) == 0);
    CHECK(async_wait(1, head.user.user_ring_idx, &head.user) == -EINTR);
    CHECK(handled == SIGUSR1);
    pthread_join(sender, NULL);
    feed_and_take(&call);
}

/* A thread of the library waits in this call, behind a write that says so. */
static void
wait_away(struct call *says, struct call *waits)
{
    static int begun[2];
    if (begun[1] == 0) {
        CHECK(pipe(begun) == 0);
    }
    call_init(says, SYS_write, SYSLET_ASYNC, ARGS(begun[1], (uintptr_t)"x", 1));
    says->atom.next = AT(waits->atom);
    CHECK(async_exec(&says->atom, &head.user) == NULL);
    CHECK(read(begun[0], &byte, 1) == 1);
    wait_until_others_sleep();
}

/* In ppoll with this mask. */
static void
poll_away(struct call *says, struct call *polls, struct pollfd *wanted,
          unsigned long *mask)
{
    *wanted = (struct pollfd){.fd = ends[0], .events = POLLIN};
    call_init(polls, SYS_ppoll, 0,
              ARGS((uintptr_t)wanted, 1, 0, (uintptr_t)mask, sizeof(*mask)));
    wait_away(says, polls);
}

/* The program's signals do not go there, whatever the mask; they wait until the program
 * lets them through. */
static void
a_mask_does_not_let_signals_in(void)
{
    struct call says, polls;
    struct pollfd wanted;
    unsigned long none = 0;
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigprocmask(SIG_BLOCK, &one, NULL);
    handled = 0;
    kill(getpid(), SIGUSR1);
    poll_away(&says, &polls, &wanted, &none);
    feed_and_take(&polls);
    CHECK(polls.result == 1 && handled == 0);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    CHECK(handled == SIGUSR1 && handled_by == getpid());
    CHECK(read(ends[0], &byte, 1) == 1);
}

/* Nor does one keep a cancellation out. */
static void
a_mask_does_not_keep_a_cancellation_out(void)
{
    struct call says, polls;
    struct pollfd wanted;
    unsigned long all = -1UL;
    poll_away(&says, &polls, &wanted, &all);
    CHECK(syslet_cancel(&says.atom, &head.user) == 0);
    CHECK(head_take(&head) == AT(polls.atom) && polls.result == -EINTR);
}

/* The library's own signal, from somebody else, in a call that the kernel then begins
 * anew: nothing was cancelled. */
static void
a_stray_signal_cancels_nothing(void)
{
    uint32_t lock = 0;
    struct call says, locks;
    CHECK(syscall(SYS_futex, &lock, FUTEX_LOCK_PI, 0, NULL) == 0);
    call_init(&locks, SYS_futex, 0, ARGS((uintptr_t)&lock, FUTEX_LOCK_PI, 0, 0));
    wait_away(&says, &locks);
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
        long tid = strtol(task->d_name, NULL, 10);
        CHECK(tid == 0 || tid == getpid() ||
              syscall(SYS_tgkill, getpid(), tid, SIGRTMAX - 6) == 0 || errno == ESRCH);
    }
    closedir(tasks);
    wait_until_others_sleep();
    CHECK(syscall(SYS_futex, &lock, FUTEX_UNLOCK_PI) == 0);
    CHECK(head_take(&head) == AT(locks.atom) && locks.result == 0);
}

int
main(void)
{
    alarm(60);
    head_init(&head);
    CHECK(pipe(ends) == 0);
    a_handler_that_restarts_ends_waiting();
    a_mask_does_not_let_signals_in();
    a_mask_does_not_keep_a_cancellation_out();
    a_stray_signal_cancels_nothing();
    puts("signals where they belong");
    return 0;
}
