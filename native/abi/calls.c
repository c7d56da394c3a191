/* What is done for each system call number: how it is tried here, whether it is refused.
 *
 * Rows and attempts are the engine's (native/engine/ops.c). Here is what differs for
 * programs in C: the calls of 2007 that have been replaced since (open, stat, accept,
 * ...), and attempts that keep a plain call's side effects, SIGPIPE among them, because
 * the program is promised exactly the call it names. Read by interpret.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../engine/attempt.h"
#include "abi.h"
#include "syslet.h"

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* 5.12 */
#endif

static struct call calls[CALLS_MAX];
static pthread_once_t calls_once = PTHREAD_ONCE_INIT;

/* --- attempts of our own ------------------------------------------------------------ */

static int64_t
missed_unless_asked(int64_t res, uint64_t flags)
{
    return res == -EAGAIN && !(flags & MSG_DONTWAIT) ? OP_MISS : res;
}

static int64_t
try_sendto(struct flight *flight, const uint64_t *args)
{
    int64_t res = flight_call(flight, __NR_sendto, args[0], args[1], args[2],
                              args[3] | MSG_DONTWAIT, args[4], args[5]);
    return missed_unless_asked(res, args[3]);
}

static int64_t
try_sendmsg(struct flight *flight, const uint64_t *args)
{
    int64_t res = flight_call(flight, __NR_sendmsg, args[0], args[1],
                              args[2] | MSG_DONTWAIT, 0, 0, 0);
    return missed_unless_asked(res, args[2]);
}

/* newfstatat: the path is walked in the cache only; fstat of what is there does not
 * wait on local file systems. */
static int64_t
try_stat(struct flight *flight, const uint64_t *args)
{
    if (args[3] & ~(uint64_t)AT_SYMLINK_NOFOLLOW) {
        return OP_MISS; /* AT_EMPTY_PATH and the like: the plain call knows */
    }
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC | (args[3] != 0 ? O_NOFOLLOW : 0),
        .resolve = RESOLVE_CACHED,
    };
    int64_t fd = flight_call(flight, __NR_openat2, args[0], args[1], (uintptr_t)&how,
                             sizeof(how), 0, 0);
    if (fd == -ENOENT || fd == -ENOTDIR) {
        return fd; /* a cached answer as well */
    }
    if (fd < 0) {
        return OP_MISS;
    }
    int64_t res = flight_call(flight, __NR_fstat, (uint64_t)fd, args[2], 0, 0, 0, 0);
    flight_call(flight, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
    return res;
}

#ifdef __NR_poll
static int64_t
try_poll(struct flight *flight, const uint64_t *args)
{
    int64_t res = flight_call(flight, __NR_poll, args[0], args[1], 0, 0, 0, 0);
    return res == 0 && (int)args[2] != 0 ? OP_MISS : res;
}
#endif

/* --- the table ---------------------------------------------------------------------- */

static void
enter(uint32_t nr, const struct op *op,
      int64_t (*attempt)(struct flight *flight, const uint64_t *args), uint8_t shape)
{
    struct call *call = &calls[nr];
    *call = (struct call){.op = op, .attempt = attempt, .shape = shape};
    call->minds = (op->flags & (OP_KEEPS_FDS | OP_CLOSES)) != 0;
    call->arranged = shape != SHAPE_SAME || (op->flags & (OP_VECTOR | OP_PSEUDO)) ||
                     attempt == attempt_sleep || attempt == attempt_futex;
    /* getuid and its sisters have no arguments, and the same answer everywhere. */
    call->stays = (op->flags & OP_INLINE_ONLY) && op->args[0] != '\0';
    call->any_fd = op == &op_any || strpbrk(op->args, "mtz") != NULL;
    for (int i = 0; op->args[i] != '\0'; i++) {
        bool names = op->args[i] == 'f' || op->args[i] == 'd';
        call->fds |= (uint8_t)(names << i);
    }
}

/* What this machine still has of the calls that newer ones replaced. */
static void
enter_old_calls(void)
{
#ifdef __NR_open
    enter(__NR_open, op_find(__NR_openat), attempt_openat, SHAPE_AT);
    enter(__NR_stat, op_find(__NR_newfstatat), try_stat, SHAPE_AT | SHAPE_THREE);
    enter(__NR_accept, op_find(__NR_accept4), attempt_accept, SHAPE_THREE);
    enter(__NR_pipe, &op_any, attempt_plain, SHAPE_SAME);
    enter(__NR_dup2, &op_any, attempt_plain, SHAPE_SAME);
    enter(__NR_poll, op_find(__NR_ppoll), try_poll, SHAPE_SAME);
#endif
}

static void
refuse(uint32_t nr)
{
    bool nested = strstr(op_refusal(nr), "nested") != NULL;
    calls[nr].refusal = nested ? -EINVAL : -EPERM;
}

static void
fill(void)
{
    for (uint32_t nr = 0; nr < CALLS_MAX; nr++) {
        const struct op *op = op_find(nr);
        enter(nr, op != NULL ? op : &op_any, op != NULL ? op->attempt : NULL,
              SHAPE_SAME);
        calls[nr].mask_at = op_mask_argument(nr);
        if (op_refusal(nr) != NULL) {
            refuse(nr);
        }
    }
    enter_old_calls();
    enter(__NR_sendto, op_find(__NR_sendto), try_sendto, SHAPE_SAME);
    enter(__NR_sendmsg, op_find(__NR_sendmsg), try_sendmsg, SHAPE_SAME);
    enter(__NR_newfstatat, op_find(__NR_newfstatat), try_stat, SHAPE_SAME);
    /* The engine's looks at what fstat wrote; memory of programs may go away. */
    enter(__NR_fstat, op_find(__NR_fstat), attempt_plain, SHAPE_SAME);
}

void
calls_open(void)
{
    pthread_once(&calls_once, fill);
}

const struct call *
call_find(uint64_t nr)
{
    static const struct call nested = {.op = &op_any, .refusal = -EINVAL};
    if (nr < CALLS_MAX) {
        return &calls[nr];
    }
    bool is_ours = nr >= SYSLET_NR_ASYNC_EXEC && nr <= SYSLET_NR_ASYNC_UNREGISTER;
    return is_ours ? &nested : NULL; /* an x32 number would pass the refusals by */
}
