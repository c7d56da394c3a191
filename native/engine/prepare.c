/* Ring forms: the request that continues an operation after its attempt missed.
 *
 * Each fills a zeroed entry; user_data and links are the backend's. Memory named by a
 * request is the flight's own or lent to it, and stays until the final completion.
 * OP_MISS: these arguments have no ring form, a worker takes over. */
#define _GNU_SOURCE
#include "attempt.h"

#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#include "engine_private.h"

static int64_t
fill(struct sqe *sqe, uint8_t opcode, uint64_t fd, uint64_t address, uint64_t length,
     uint64_t offset)
{
    if (length > UINT32_MAX) {
        return OP_MISS;
    }
    sqe->opcode = opcode;
    sqe->fd = (int32_t)fd;
    sqe->address = address;
    sqe->length = (uint32_t)length;
    sqe->offset = offset;
    return 0;
}

/* A negative offset means the file's position to the ring, an error to the call. */
static int64_t
fill_at(struct sqe *sqe, uint8_t opcode, uint64_t fd, uint64_t address, uint64_t length,
        uint64_t offset)
{
    return (int64_t)offset < 0 ? OP_MISS
                               : fill(sqe, opcode, fd, address, length, offset);
}

/* The same, with the registered form if the memory is registered. */
static int64_t
fill_fixed_at(struct flight *flight, struct sqe *sqe, uint8_t opcode, uint8_t fixed,
              const uint64_t *args)
{
    int index = fixed_find(flight->engine, args[1], args[2]);
    sqe->buffer_index = index < 0 ? 0 : (uint16_t)index;
    return fill_at(sqe, index < 0 ? opcode : fixed, args[0], args[1], args[2], args[3]);
}

int64_t
prepare_read(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    return fill(sqe, RING_READ, args[0], args[1], args[2], UINT64_MAX);
}

int64_t
prepare_pread(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    return fill_fixed_at(flight, sqe, RING_READ, RING_READ_FIXED, args);
}

int64_t
prepare_write(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    return fill(sqe, RING_WRITE, args[0], args[1], args[2], UINT64_MAX);
}

int64_t
prepare_pwrite(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    return fill_fixed_at(flight, sqe, RING_WRITE, RING_WRITE_FIXED, args);
}

int64_t
prepare_readv(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    return fill(sqe, RING_READV, args[0], args[1], args[2], UINT64_MAX);
}

int64_t
prepare_preadv(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    return fill_at(sqe, RING_READV, args[0], args[1], args[2], args[3]);
}

int64_t
prepare_writev(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    return fill(sqe, RING_WRITEV, args[0], args[1], args[2], UINT64_MAX);
}

int64_t
prepare_pwritev(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    return fill_at(sqe, RING_WRITEV, args[0], args[1], args[2], args[3]);
}

int64_t
prepare_accept(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    sqe->op_flags = (uint32_t)args[3];
    return fill(sqe, RING_ACCEPT, args[0], args[1], 0, args[2]);
}

int64_t
prepare_connect(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    return fill(sqe, RING_CONNECT, args[0], args[1], 0, args[2]);
}

/* The attempt has just found nothing: let the kernel wait before it looks. */
static uint16_t
poll_first(const struct flight *flight)
{
    return flight_step(flight)->flags & SYSLET_ASYNC ? 0 : RECVSEND_POLL_FIRST;
}

int64_t
prepare_recv(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    if (args[4] != 0 || (args[3] & MSG_DONTWAIT)) {
        return OP_MISS; /* recvfrom with an address is not IORING_OP_RECV */
    }
    sqe->op_flags = (uint32_t)args[3];
    sqe->ioprio = args[3] & MSG_WAITALL ? 0 : poll_first(flight);
    return fill(sqe, RING_RECV, args[0], args[1], args[2], 0);
}

int64_t
prepare_send(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    if (args[4] != 0 || (args[3] & MSG_DONTWAIT)) {
        return OP_MISS;
    }
    sqe->op_flags = (uint32_t)args[3] | MSG_NOSIGNAL;
    sqe->ioprio = poll_first(flight);
    return fill(sqe, RING_SEND, args[0], args[1], args[2], 0);
}

int64_t
prepare_recvmsg(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    sqe->op_flags = (uint32_t)args[2];
    sqe->ioprio = args[2] & MSG_WAITALL ? 0 : poll_first(flight);
    return fill(sqe, RING_RECVMSG, args[0], args[1], 1, 0);
}

int64_t
prepare_sendmsg(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    sqe->op_flags = (uint32_t)args[2] | MSG_NOSIGNAL;
    sqe->ioprio = poll_first(flight);
    return fill(sqe, RING_SENDMSG, args[0], args[1], 1, 0);
}

/* splice(fd_in, *off_in, fd_out, *off_out, length, flags); the ring wants offsets by
 * value, so a program that has them moved in its memory goes to a worker. */
int64_t
prepare_splice(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    if (args[1] != 0 || args[3] != 0) {
        return OP_MISS;
    }
    sqe->op_flags = (uint32_t)args[5] & ~SPLICE_FD_IN_FIXED;
    sqe->file_index = (int32_t)args[0];
    return fill(sqe, RING_SPLICE, args[2], UINT64_MAX, args[4], UINT64_MAX);
}

/* --- clocks, futexes, children ---------------------------------------------------- */

static int64_t
fill_timeout(struct flight *flight, uint64_t address, uint32_t flags, struct sqe *sqe)
{
    if (memory_read(flight, flight->times, address, 16) < 0) {
        return OP_MISS;
    }
    sqe->op_flags = flags;
    return fill(sqe, RING_TIMEOUT, (uint64_t)-1, (uintptr_t)flight->times, 1, 0);
}

int64_t
prepare_nanosleep(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    return fill_timeout(flight, args[0], 0, sqe);
}

int64_t
prepare_clock_nanosleep(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    if (args[0] != CLOCK_MONOTONIC || args[1] > TIMER_ABSTIME) {
        return OP_MISS;
    }
    uint32_t flags = args[1] == TIMER_ABSTIME ? TIMEOUT_ABS : 0;
    return fill_timeout(flight, args[2], flags, sqe);
}

/* FUTEX_WAIT without timeout; IORING_OP_FUTEX_WAIT speaks the futex2 interface. */
int64_t
prepare_futex(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    const uint64_t size_u32 = 2, private = 128; /* FUTEX2_SIZE_U32, FUTEX2_PRIVATE */
    if ((args[1] & FUTEX_CMD_MASK) != FUTEX_WAIT || args[3] != 0) {
        return OP_MISS;
    }
    uint64_t flags = size_u32 | (args[1] & FUTEX_PRIVATE_FLAG ? private : 0);
    int64_t res = fill(sqe, RING_FUTEX_WAIT, flags, args[0], 0, (uint32_t)args[2]);
    sqe->address3 = FUTEX_BITSET_MATCH_ANY;
    return res;
}

int64_t
prepare_waitid(struct flight *flight, const uint64_t *args, struct sqe *sqe)
{
    (void)flight;
    if (args[4] != 0) {
        return OP_MISS; /* the resource usage is not the ring's */
    }
    int64_t res = fill(sqe, RING_WAITID, args[1], 0, args[0], args[2]);
    sqe->file_index = (int32_t)args[3];
    return res;
}
