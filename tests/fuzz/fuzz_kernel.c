/* A kernel without effects: its calls touch the flight's memory only, its ring is a few
 * arrays, and the input says what it answers and when. See fuzz.h. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "attempt.h"
#include "fake_ring.h"

enum { SQ_SIZE = 8, CQ_SIZE = 128 };

static struct {
    uint32_t words[16];
    struct cqe cqes[CQ_SIZE];
} rings;
_Static_assert(offsetof(__typeof__(rings), cqes) == CQES, "where the offsets say");

static struct sqe sqes[SQ_SIZE];
static struct sqe pending[FUZZ_PENDING_MAX];
static uint32_t pending_count, calls;
static bool hurries;
static int64_t inbox;

void
fuzz_kernel_reset(void)
{
    memset(&rings, 0, sizeof(rings));
    rings.words[SQ_MASK] = SQ_SIZE - 1;
    rings.words[CQ_MASK] = CQ_SIZE - 1;
    pending_count = calls = 0;
    hurries = false;
    inbox = 0;
    fuzz_fds_reset();
}

uint32_t
fuzz_pending(void)
{
    return pending_count;
}

uint32_t
fuzz_calls(void)
{
    return calls;
}

/* --- the ring ----------------------------------------------------------------------- */

static int
ring_setup_(void *context, uint32_t entries, struct io_uring_params_ *params)
{
    (void)context;
    (void)entries;
    fake_ring_describe(params, SQ_SIZE, CQ_SIZE);
    return (int)fuzz_fd_new(KIND_EVENT);
}

static void *
ring_map_(void *context, size_t size, int fd, uint64_t offset)
{
    (void)context;
    (void)size;
    (void)fd;
    return offset == OFFSET_SQES ? (void *)sqes : (void *)&rings;
}

static void
ring_unmap_(void *context, void *memory, size_t size)
{
    (void)context;
    (void)memory;
    (void)size;
}

static int
ring_register_(void *context, int fd, uint32_t opcode, const void *arg, uint32_t count)
{
    (void)context;
    (void)fd;
    (void)count;
    if (opcode == REGISTER_PROBE) {
        fake_ring_probe(arg);
    }
    return 0;
}

static void
post(uint64_t user_data, int64_t result)
{
    uint32_t tail = rings.words[CQ_TAIL];
    if (tail - rings.words[CQ_HEAD] == CQ_SIZE) {
        fuzz_fail("more completions than requests");
        return;
    }
    rings.cqes[tail & (CQ_SIZE - 1)] =
        (struct cqe){.user_data = user_data, .result = (int32_t)result};
    rings.words[CQ_TAIL] = tail + 1;
}

/* What the kernel does when a request comes to its turn. */
static int64_t
perform(const struct sqe *sqe)
{
    struct fuzz_call call = {.step = flight_step(fuzz_flight),
                             .done = (int64_t)fuzz_flight->done};
    if (sqe->opcode == RING_POLL_ADD) {
        return fuzz_decide(4) == 0 ? -EINVAL : (int64_t)sqe->op_flags;
    }
    if (sqe->opcode == RING_TIMEOUT) {
        return fuzz_decide(2) ? -ECANCELED : -ETIME;
    }
    for (int i = 0; i < ARGS_MAX; i++) {
        call.args[i] = fuzz_flight->cells[call.step->arg[i]];
    }
    bool names = sqe->opcode == RING_ACCEPT || sqe->opcode == RING_FUTEX_WAIT ||
                 sqe->opcode == RING_WAITID || sqe->opcode == RING_SPLICE ||
                 sqe->opcode == RING_CONNECT;
    if (!names) {
        call.args[1] = sqe->address;
    }
    if (call.step->op->flags & (OP_TRANSFER | OP_VECTOR)) {
        call.args[2] = sqe->length;
    }
    return fuzz_row(&call);
}

void
fuzz_answer(uint32_t index)
{
    struct sqe sqe = pending[index];
    pending_count -= 1;
    memmove(&pending[index], &pending[index + 1],
            (pending_count - index) * sizeof(pending[0]));
    post(sqe.user_data, perform(&sqe));
}

static void
cancel(const struct sqe *sqe)
{
    int64_t found = -ENOENT;
    for (uint32_t i = 0; i < pending_count && found < 0; i++) {
        if (pending[i].user_data != sqe->address) {
            continue;
        }
        found = 0;
        if (hurries || fuzz_decide(3) == 0) {
            fuzz_answer(i); /* it was faster */
        } else {
            post(pending[i].user_data, -ECANCELED);
            pending_count -= 1;
            memmove(&pending[i], &pending[i + 1],
                    (pending_count - i) * sizeof(pending[0]));
        }
    }
    post(sqe->user_data, found);
}

static void
take(const struct sqe *sqe)
{
    if (sqe->opcode == RING_NOP) {
        post(sqe->user_data, 0);
    } else if (sqe->opcode == RING_ASYNC_CANCEL) {
        cancel(sqe);
    } else if (tag_of(sqe->user_data) == TAG_FLIGHT) {
        if (pending_count == FUZZ_PENDING_MAX) {
            fuzz_fail("more requests than flights");
            return;
        }
        pending[pending_count++] = *sqe;
    }
}

void
fuzz_hurry(void)
{
    hurries = true;
    while (pending_count != 0) {
        fuzz_answer(pending_count - 1);
    }
}

static int
ring_enter_(void *context, int fd, uint32_t submit, uint32_t wait, uint32_t flags,
            const void *arg, size_t arg_size)
{
    (void)context;
    (void)fd;
    (void)flags;
    (void)arg;
    (void)arg_size;
    uint32_t head = rings.words[SQ_HEAD];
    uint32_t count = hurries || fuzz_flight == NULL ? submit : submit - fuzz_decide(2);
    count = submit == 0 ? 0 : count;
    for (uint32_t i = 0; i < count; i++) {
        take(&sqes[(head + i) & (SQ_SIZE - 1)]);
    }
    rings.words[SQ_HEAD] = head + count;
    if (hurries) {
        fuzz_hurry();
    }
    bool empty = rings.words[CQ_HEAD] == rings.words[CQ_TAIL];
    return count == 0 && wait != 0 && empty ? -ETIME : (int)count;
}

/* --- calls -------------------------------------------------------------------------- */

/* The atom that the flight is at; NULL: there is none, or it is behind its last. */
static const struct step *
step_now(void)
{
    bool flies =
        fuzz_flight != NULL && fuzz_flight->at < fuzz_flight->plan->atoms_count;
    return flies ? flight_step(fuzz_flight) : NULL;
}

/* The engine's own reads and writes of eventfds; programs' have the flight's addresses. */
static bool
is_engines(long nr, const uint64_t *args)
{
    if ((nr != __NR_read && nr != __NR_write) || args[0] != (uint64_t)inbox) {
        return false;
    }
    const struct step *step = step_now();
    return step == NULL || step->nr != nr ||
           args[1] != fuzz_flight->cells[step->arg[1]] + fuzz_flight->done;
}

static int64_t
wake(long nr, const uint64_t *args)
{
    if (nr == __NR_read) {
        *(uint64_t *)(uintptr_t)args[1] = 1;
    }
    return 8;
}

/* The calls of the engine that are no atom's; OP_MISS: it is none of these. */
static int64_t
own_call(long nr, const uint64_t *args)
{
    switch (nr) {
    case __NR_eventfd2: {
        int64_t fd = fuzz_fd_new(KIND_EVENT);
        inbox = inbox != 0 ? inbox : fd;
        return fd;
    }
    case __NR_epoll_create1:
    case __NR_timerfd_create:
        return fuzz_fd_new(KIND_EVENT);
    case __NR_epoll_ctl:
        return fuzz_epoll_ctl(args);
    case __NR_epoll_pwait:
    case __NR_epoll_pwait2:
        return fuzz_epoll_wait(args);
    case __NR_getpid:
        return 1;
    case __NR_process_vm_readv:
        return fuzz_copy(args, false);
    case __NR_process_vm_writev:
        return fuzz_copy(args, true);
    case __NR_fcntl:
        return fuzz_fcntl(args);
    case __NR_dup3:
        return fuzz_fd_dup(args[0], args[1]);
    default:
        return OP_MISS;
    }
}

/* An inline form under another number: preadv2 with one iovec for read, openat2 for
 * openat. Its step's letters tell what the arguments are. */
static int64_t
disguised(long nr, const uint64_t *args, struct fuzz_call *call)
{
    const struct op *op = call->step->op;
    if ((nr == __NR_preadv2 || nr == __NR_pwritev2) && (op->flags & OP_TRANSFER)) {
        const struct iovec *iov = (const struct iovec *)(uintptr_t)args[1];
        call->done = (int64_t)((uintptr_t)iov->iov_base -
                               fuzz_flight->cells[call->step->arg[1]]);
        call->args[1] = (uintptr_t)iov->iov_base;
        call->args[2] = iov->iov_len;
        return fuzz_row(call);
    }
    if ((nr == __NR_preadv2 || nr == __NR_pwritev2) && (op->flags & OP_VECTOR)) {
        return fuzz_vector(call, 1, nr == __NR_preadv2);
    }
    if (nr == __NR_openat2) {
        bool named = args[1] == fuzz_flight->cells[call->step->arg[1]];
        if (named && !fuzz_string(call->step->arg[1], args[1])) {
            return -EFAULT;
        }
        int64_t res = fuzz_outcome(1);
        return res < 0 ? res : fuzz_fd_new((uint8_t)fuzz_decide(3));
    }
    if (nr == __NR_fstat) {
        struct fuzz_file *file = fuzz_fd(args[0]);
        struct stat *st = (struct stat *)(uintptr_t)args[1];
        st->st_mode = file != NULL && file->kind == KIND_FIFO ? S_IFIFO : S_IFREG;
        return file != NULL ? 0 : -EBADF;
    }
    return fuzz_outcome(0);
}

static int64_t
call_(void *context, long nr, const uint64_t args[6])
{
    (void)context;
    if (++calls > FUZZ_CALLS_MAX) {
        fuzz_fail("a loop without end");
        return -EIO;
    }
    if (nr == __NR_close) {
        struct fuzz_file *file = fuzz_fd(args[0]);
        if (file == NULL) {
            return -EBADF;
        }
        file->open = 0;
        return 0;
    }
    if (is_engines(nr, args)) {
        return wake(nr, args);
    }
    int64_t res = own_call(nr, args);
    if (res != OP_MISS || step_now() == NULL) {
        return res != OP_MISS ? res : 0;
    }
    struct fuzz_call call = {.step = step_now(), .done = (int64_t)fuzz_flight->done};
    memcpy(call.args, args, sizeof(call.args));
    if ((long)call.step->nr == nr) {
        return call.step->op == &op_any ? fuzz_outcome(9) : fuzz_row(&call);
    }
    return disguised(nr, args, &call);
}

const struct kernel fuzz_kernel = {
    .call = call_,
    .ring_setup = ring_setup_,
    .ring_enter = ring_enter_,
    .ring_register = ring_register_,
    .map = ring_map_,
    .unmap = ring_unmap_,
};
