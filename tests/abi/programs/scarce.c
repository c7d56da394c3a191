/* No threads, no memory: what async_exec does when the system refuses both.
 *
 * pthread_create and calloc here stand in for the C library's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

static int threads_refused, memory_refused;
static long threads_asked_for;

int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
               void *(*start)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        dlsym(RTLD_NEXT, "pthread_create");
    threads_asked_for += 1;
    return threads_refused ? EAGAIN : real(thread, attributes, start, argument);
}

void *
calloc(size_t count, size_t size)
{
    void *memory = memory_refused ? NULL : malloc(count * size);
    return memory != NULL ? memset(memory, 0, count * size) : NULL;
}

int
main(void)
{
    struct test_head head;
    struct call call;
    head_init(&head);
    call_init(&call, SYS_getpid, SYSLET_ASYNC, 0, NULL);

    memory_refused = 1;
    CHECK(syslet_error(async_exec(&call.atom, &head.user)) == -ENOMEM);
    CHECK(call.result == -9999);
    memory_refused = 0;

    /* No thread: it is done here, and posted as if it had not been. */
    threads_refused = 1;
    CHECK(async_exec(&call.atom, &head.user) == NULL);
    CHECK(threads_asked_for > 0 && head.ring[0] == AT(call.atom));
    CHECK(head_take(&head) == AT(call.atom) && call.result == getpid());

    memory_refused = 1; /* its memory went away with it */
    call.result = -9999;
    CHECK(syslet_error(async_exec(&call.atom, &head.user)) == -ENOMEM);
    CHECK(call.result == -9999 && head_take(&head) == 0);
    memory_refused = threads_refused = 0;

    CHECK(async_exec(&call.atom, &head.user) == NULL);
    CHECK(head_take(&head) == AT(call.atom) && call.result == getpid());
    puts("refused and recovered");
    return 0;
}
