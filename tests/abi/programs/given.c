/* Threads that the program gives (async_thread): they are counted on, may be cancelled,
 * and hold nobody up. A deadlock ends this program by its alarm. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "asleep.h"
#include "check.h"

static struct test_head head, other;
static int ends[2], begun[2];
static char byte;

struct server { /* a thread, and which head it was given to */
    pthread_t thread;
    struct async_head_user *user;
    pid_t tid; /* atomic */
    long res;
};

static void *
serve(void *argument)
{
    struct server *server = argument;
    __atomic_store_n(&server->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    server->res = async_thread(NULL, server->user);
    return server;
}

static void
give(struct server *server, struct async_head_user *user)
{
    *server = (struct server){.user = user, .res = -1};
    CHECK(pthread_create(&server->thread, NULL, serve, server) == 0);
    wait_until_asleep(&server->tid);
}

static void
expect_return(struct server *server)
{
    CHECK(pthread_join(server->thread, NULL) == 0 && server->res == 0);
}

static void
expect_cancelled(struct server *server)
{
    void *result;
    CHECK(pthread_join(server->thread, &result) == 0 && result == PTHREAD_CANCELED);
}

/* A thread that serves has taken it, and waits in its second atom. */
static void
submit_reader(struct call *call, struct test_head *to)
{
    static struct call says;
    call_init(&says, SYS_write, SYSLET_ASYNC, ARGS(begun[1], (uintptr_t)"b", 1));
    says.atom.next = AT(call->atom);
    call_init(call, SYS_read, 0, ARGS(ends[0], (uintptr_t)&byte, 1));
    CHECK(async_exec(&says.atom, &to->user) == NULL);
    CHECK(read(begun[0], &byte, 1) == 1);
}

static void
feed(void)
{
    CHECK(write(ends[1], "x", 1) == 1);
}

/* The library has no thread yet: an idle one of the program takes what misses, and
 * async_exec does not block. */
static void
an_idle_one_is_enough(void)
{
    struct server server;
    struct call call;
    give(&server, &head.user);
    submit_reader(&call, &head);
    feed();
    CHECK(head_take(&head) == AT(call.atom) && call.result == 1);
    CHECK(async_unregister(&head.user, sizeof(head.user)) == 0);
    expect_return(&server);
}

static void *
unregister(void *argument)
{
    struct server *who = argument;
    __atomic_store_n(&who->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    who->res = async_unregister(who->user, sizeof(*who->user));
    return NULL;
}

/* What is still queued when a head is unregistered is done by the thread that leaves. */
static void
the_queue_is_done_before_it_leaves(void)
{
    struct server server, waiter = {.user = &head.user, .res = -1};
    struct call call, queued;
    give(&server, &head.user);
    submit_reader(&call, &head);
    call_init(&queued, SYS_getpid, SYSLET_ASYNC, 0, NULL);
    CHECK(async_exec(&queued.atom, &head.user) == NULL);
    CHECK(pthread_create(&waiter.thread, NULL, unregister, &waiter) == 0);
    wait_until_asleep(&waiter.tid);
    feed();
    expect_return(&server);
    expect_return(&waiter);
    CHECK(head_take(&head) == AT(call.atom));
    CHECK(head_take(&head) == AT(queued.atom) && queued.result == getpid());
}

/* A thread that is away for another head does not hold up the end of its own. */
static void
another_heads_work_does_not_hold_up(void)
{
    struct server server;
    struct call call;
    give(&server, &head.user);
    submit_reader(&call, &other);
    CHECK(async_unregister(&head.user, sizeof(head.user)) == 0);
    feed();
    CHECK(head_take(&other) == AT(call.atom) && call.result == 1);
    expect_return(&server);
}

/* Idle, or with a syslet, which it finishes first. */
static void
it_may_be_cancelled(struct async_head_user *user)
{
    struct server server;
    struct call call;
    give(&server, user);
    CHECK(pthread_cancel(server.thread) == 0);
    expect_cancelled(&server);
    give(&server, user);
    submit_reader(&call, &head);
    CHECK(pthread_cancel(server.thread) == 0);
    feed();
    expect_cancelled(&server);
    CHECK(head_take(&head) == AT(call.atom) && call.result == 1);
    CHECK(async_unregister(&head.user, sizeof(head.user)) == 0);
}

int
main(void)
{
    struct call call;
    alarm(60);
    head_init(&head);
    head_init(&other);
    CHECK(pipe(ends) == 0 && pipe(begun) == 0);
    an_idle_one_is_enough();
    syslet_threads_max(0);
    the_queue_is_done_before_it_leaves();
    another_heads_work_does_not_hold_up();
    it_may_be_cancelled(&head.user);
    it_may_be_cancelled(NULL);
    syslet_threads_max(-1);
    call_init(&call, SYS_getpid, SYSLET_ASYNC, 0, NULL);
    CHECK(async_exec(&call.atom, &head.user) == NULL);
    CHECK(head_take(&head) == AT(call.atom) && call.result == getpid());
    puts("served and gone");
    return 0;
}
