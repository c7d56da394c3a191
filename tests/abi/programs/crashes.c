/* What the library must not make worse: a program that is to crash does, a thread-local
 * key of somebody else stays his, a child of fork at a bad moment lives.
 *
 * sigaction here stands in for the C library's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "asleep.h"
#include "check.h"

static struct test_head head;
static struct call call;
static volatile int reports;
static int (*before_sigaction)(void);

int
sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    int (*real)(int, const struct sigaction *, struct sigaction *) =
        dlsym(RTLD_NEXT, "sigaction");
    if (before_sigaction != NULL && number == SIGSEGV) {
        before_sigaction();
    }
    return real(number, action, old);
}

static void
report(int number)
{
    (void)number;
    if (++reports > 1) {
        _exit(3); /* called again: it was to be called once */
    }
}

static void
run_one(void)
{
    call_init(&call, SYS_getpid, 0, 0, NULL);
    CHECK(async_exec(&call.atom, &head.user) == &call.atom);
}

/* In a child: its end, as waitpid tells. */
static int
status_of(void (*what)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        what();
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

/* A handler for one fault only, as of crash reporters: the second is the end. */
static void
fault_with_a_reporter(void)
{
    struct sigaction once = {.sa_handler = report, .sa_flags = (int)SA_RESETHAND};
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    sigaction(SIGSEGV, &once, NULL);
    run_one();
    *(volatile char *)8 = 1;
}

/* No key is left: an error, and the first key still has its owner's value. */
static void
no_keys(void)
{
    pthread_key_t key, first;
    CHECK(pthread_key_create(&first, NULL) == 0);
    CHECK(pthread_setspecific(first, &call) == 0);
    while (pthread_key_create(&key, NULL) == 0) {
        CHECK(pthread_setspecific(key, &call) == 0);
    }
    call_init(&call, SYS_getpid, 0, 0, NULL);
    CHECK(syslet_error(async_exec(&call.atom, &head.user)) == -ENOMEM);
    CHECK(pthread_getspecific(first) == &call);
}

static pid_t forker;

static void *
fork_now(void *status)
{
    __atomic_store_n(&forker, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    *(int *)status = status_of(run_one);
    return NULL;
}

/* The first syslet is about to install its handlers when another thread forks: the fork
 * waits for that, or the child would for ever. */
static int fork_status = -1;
static pthread_t fork_thread;

static int
fork_meanwhile(void)
{
    before_sigaction = NULL;
    CHECK(pthread_create(&fork_thread, NULL, fork_now, &fork_status) == 0);
    wait_until_asleep(&forker); /* in fork, or for its child */
    return 0;
}

static void
fork_at_the_first_syslet(void)
{
    before_sigaction = fork_meanwhile;
    run_one();
    pthread_join(fork_thread, NULL);
    CHECK(fork_status == 0);
}

int
main(void)
{
    alarm(60);
    head_init(&head);
    int status = status_of(fault_with_a_reporter);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    CHECK(status_of(no_keys) == 0);
    fork_at_the_first_syslet();
    puts("no worse");
    return 0;
}
