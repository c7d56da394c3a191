/* Version 1's heads, one for each thread: what becomes of them when the thread ends, and
 * when no thread may run their syslets. */
#define SYSLET_ABI 1
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslet.h>
#include <unistd.h>

#include "must.h"

static struct syslet_uatom *ring[8];
static struct async_head_user head;
static struct syslet_uatom atom;
static int ends[2];
static unsigned long fd, address, size;
static long result;
static char byte;

static void
head_init(unsigned long threads)
{
    memset(ring, 0, sizeof(ring));
    head = (struct async_head_user){ring, sizeof(ring), threads};
}

static void
atom_init(long nr, unsigned long flags)
{
    fd = (unsigned long)ends[0];
    address = (uintptr_t)&byte;
    size = 1;
    result = -9999;
    atom = (struct syslet_uatom){
        .flags = flags,
        .nr = (unsigned long)nr,
        .ret_ptr = &result,
        .arg_ptr = {&fd, &address, &size},
    };
}

static void *
register_and_end(void *unused)
{
    CHECK(async_register(&head, sizeof(head)) == 0);
    return unused;
}

static void *
submit_and_end(void *unused)
{
    CHECK(async_register(&head, sizeof(head)) == 0);
    CHECK(async_exec(&atom) == NULL);
    return unused;
}

static void
run_thread(void *(*what)(void *))
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, what, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* A head goes with its thread: the next may register the same memory. */
static void
a_head_goes_with_its_thread(void)
{
    head_init(-1UL);
    run_thread(register_and_end);
    run_thread(register_and_end);
}

/* But not while something is owed to it, which would come to the next one's ring. */
static void
unless_something_is_pending(void)
{
    head_init(-1UL);
    atom_init(SYS_read, 0);
    run_thread(submit_and_end);
    CHECK(async_register(&head, sizeof(head)) == -EBUSY);
    CHECK(write(ends[1], "x", 1) == 1);
    long res;
    while ((res = async_register(&head, sizeof(head))) == -EBUSY) {
        usleep(1000);
    }
    CHECK(res == 0 && ring[0] == &atom && result == 1);
    CHECK(async_unregister(&head, sizeof(head)) == 0);
}

/* No thread may run them: the caller does, though the library has threads by now. */
static void
no_threads_at_all(void)
{
    head_init(0);
    CHECK(async_register(&head, sizeof(head)) == 0);
    atom_init(SYS_getpid, SYSLET_ASYNC);
    CHECK(async_exec(&atom) == NULL && async_wait(1) == 0);
    CHECK(ring[0] == &atom && result == getpid());
    CHECK(async_unregister(&head, sizeof(head)) == 0);
}

int
main(void)
{
    alarm(60);
    CHECK(pipe(ends) == 0);
    a_head_goes_with_its_thread();
    unless_something_is_pending();
    no_threads_at_all();
    puts("one head each");
    return 0;
}
