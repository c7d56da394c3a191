/* Threads with a head each read, write, hop away and cancel at random: every syslet that
 * went away is posted to its own head exactly once, whatever became of it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

enum { THREADS = 8, ROUNDS = 200 };

static int ends[2];

struct worker {
    struct test_head head;
    struct call calls[SLOTS];
    int is_away[SLOTS];
    char bytes[SLOTS];
    unsigned seed;
};

/* Half of those that wait are cancelled at once, half are given a byte. */
static int
submit(struct worker *w, int i)
{
    int kind = rand_r(&w->seed) % 4;
    struct call *call = &w->calls[i];
    if (kind == 0) {
        call_init(call, SYS_read, 0, ARGS(ends[0], (uintptr_t)&w->bytes[i], 1));
    } else if (kind == 1) {
        call_init(call, SYS_write, 0, ARGS(ends[1], (uintptr_t)"x", 1));
    } else {
        call_init(call, SYS_getpid, kind == 2 ? SYSLET_ASYNC : 0, 0, NULL);
    }
    struct syslet_uatom *last = async_exec(&call->atom, &w->head.user);
    CHECK(last == NULL || last == &call->atom);
    if (last == NULL && kind == 0) {
        if (rand_r(&w->seed) % 2) {
            syslet_cancel(&call->atom, &w->head.user);
        } else {
            ssize_t written = write(ends[1], "y", 1);
            CHECK(written == 1 || errno == EAGAIN);
        }
    }
    return last == NULL;
}

static void
collect(struct worker *w, int away)
{
    for (int i = 0; i < SLOTS; i++) {
        if (w->is_away[i]) {
            syslet_cancel(&w->calls[i].atom, &w->head.user);
        }
    }
    while (away > 0) {
        uint64_t found = head_take(&w->head);
        CHECK(found >= AT(w->calls[0].atom));
        uint64_t i = (found - AT(w->calls[0].atom)) / sizeof(w->calls[0]);
        CHECK(i < SLOTS && w->is_away[i]);
        w->is_away[i] = 0;
        away -= 1;
    }
    CHECK(async_wait(1, w->head.user.user_ring_idx, &w->head.user) == 0);
    CHECK(head_take(&w->head) == 0);
}

static void *
work(void *argument)
{
    struct worker *w = argument;
    head_init(&w->head);
    for (int round = 0; round < ROUNDS; round++) {
        int away = 0;
        for (int i = 0; i < SLOTS; i++) {
            w->is_away[i] = submit(w, i);
            away += w->is_away[i];
        }
        collect(w, away);
    }
    CHECK(async_unregister(&w->head.user, sizeof(w->head.user)) == 0);
    return NULL;
}

int
main(void)
{
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    CHECK(pipe(ends) == 0 && fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].seed = i + 1;
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    puts("every end once");
    return 0;
}
