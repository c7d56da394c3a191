/* Ends that the ring had no room for: whoever makes room and posts them also wakes those
 * who wait for them. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "asleep.h"
#include "check.h"

static struct test_head head;
static int ends[2];
static pid_t waiter;
static long waited = -1;

static void *
wait_for_two(void *unused)
{
    __atomic_store_n(&waiter, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    waited = async_wait(2, 0, &head.user);
    return unused;
}

int
main(void)
{
    struct call reads, first, second, plain;
    pthread_t thread;
    char byte;
    alarm(60);
    head_init(&head);
    CHECK(pipe(ends) == 0);
    call_init(&reads, SYS_read, 0, ARGS(ends[0], (uintptr_t)&byte, 1));
    call_init(&first, SYS_getpid, SYSLET_ASYNC, 0, NULL);
    call_init(&second, SYS_getpid, SYSLET_ASYNC, 0, NULL);
    call_init(&plain, SYS_getpid, 0, 0, NULL);
    syslet_threads_max(0);
    CHECK(async_exec(&reads.atom, &head.user) == NULL);
    CHECK(async_exec(&first.atom, &head.user) == NULL);
    CHECK(async_exec(&second.atom, &head.user) == NULL);
    head.ring[0] = 77; /* ours: nothing can be posted */
    syslet_threads_max(-1);
    wait_until_others_sleep(); /* one reads for ever, the others have done theirs */
    CHECK(first.result == getpid() && second.result == getpid());
    CHECK(head.user.kernel_ring_idx == 0 && head.ring[1] == 0);

    CHECK(pthread_create(&thread, NULL, wait_for_two, NULL) == 0);
    wait_until_asleep(&waiter);
    head.ring[0] = 0;
    CHECK(async_exec(&plain.atom, &head.user) == &plain.atom);
    CHECK(head.ring[0] != 0 && head.ring[1] != 0);
    pthread_join(thread, NULL);
    CHECK(waited == 0);

    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(head_take(&head) != 0 && head_take(&head) != 0);
    CHECK(head_take(&head) == AT(reads.atom));
    puts("woken");
    return 0;
}
