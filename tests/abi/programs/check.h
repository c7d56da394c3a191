/* For test programs: a check that says where it failed, a head, and atoms in a line. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <string.h>
#include <syslet.h>

#include "must.h"

#define AT(variable) ((uint64_t)(uintptr_t)&(variable))

enum { SLOTS = 8 };

struct test_head {
    struct async_head_user user;
    uint64_t ring[SLOTS];
};

static inline void
head_init(struct test_head *head)
{
    memset(head, 0, sizeof(*head));
    head->user.completion_ring_ptr = (uintptr_t)head->ring;
    head->user.ring_size_bytes = sizeof(head->ring);
}

/* Waits for one end and takes it. */
static inline uint64_t
head_take(struct test_head *head)
{
    struct async_head_user *user = &head->user;
    while (async_wait(1, user->user_ring_idx, user) == -EINTR) {
    }
    uint64_t found = head->ring[user->user_ring_idx];
    if (found != 0) {
        head->ring[user->user_ring_idx] = 0;
        user->user_ring_idx = (user->user_ring_idx + 1) % SLOTS;
    }
    return found;
}

struct call { /* an atom with its words */
    struct syslet_uatom atom;
    unsigned long args[6];
    long result;
};

static inline struct syslet_uatom *
call_init(struct call *call, unsigned nr, unsigned flags, int count,
          const unsigned long *args)
{
    memset(call, 0, sizeof(*call));
    call->atom.nr = nr;
    call->atom.flags = flags;
    call->atom.ret_ptr = AT(call->result);
    call->result = -9999;
    for (int i = 0; i < count; i++) {
        call->args[i] = args[i];
        call->atom.arg_ptr[i] = AT(call->args[i]);
    }
    return &call->atom;
}

#define ARGS(...)                                                                      \
    (int)(sizeof((unsigned long[]){__VA_ARGS__}) / sizeof(unsigned long)),             \
        (unsigned long[])                                                              \
    {                                                                                  \
        __VA_ARGS__                                                                    \
    }

#endif
