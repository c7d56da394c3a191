/* Inline forms of socket and pipe operations, see attempt.h.
 *
 * MSG_DONTWAIT makes one call non-blocking, whatever the socket is; accept has no such
 * flag, so it is tried only on listeners that are O_NONBLOCK anyway. A program that
 * passes MSG_DONTWAIT itself gets the kernel's -EAGAIN as the result. */
#define _GNU_SOURCE
#include "attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include "engine_private.h"

static int64_t
missed_if(int64_t res, bool asked)
{
    return (res == -EAGAIN && !asked) || res == -EINTR ? OP_MISS : res;
}

static bool
is_nonblocking(struct flight *flight, uint64_t fd)
{
    int64_t flags = flight_call(flight, __NR_fcntl, fd, F_GETFL, 0, 0, 0, 0);
    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

int64_t
attempt_accept(struct flight *flight, const uint64_t *args)
{
    if (!is_nonblocking(flight, args[0])) {
        return OP_MISS;
    }
    return missed_if(
        flight_call(flight, __NR_accept4, args[0], args[1], args[2], args[3], 0, 0),
        false);
}

/* Unix and loopback sockets connect at once; others answer EINPROGRESS, and the
 * socket's error then tells. */
int64_t
attempt_connect(struct flight *flight, const uint64_t *args)
{
    if (flight->retries) {
        int error = 0;
        uint32_t size = sizeof(error);
        int64_t res = flight_call(flight, __NR_getsockopt, args[0], SOL_SOCKET,
                                  SO_ERROR, (uintptr_t)&error, (uintptr_t)&size, 0);
        return res < 0 ? res : -error;
    }
    return OP_MISS;
}

static int64_t
socket_transfer(struct flight *flight, long nr, const uint64_t *args, uint64_t flags)
{
    struct engine *engine = flight->engine;
    bool large = args[2] > LOCKED_BYTES_MAX;
    if (large) {
        engine_lock_release(engine);
    }
    int64_t res =
        flight_call(flight, nr, args[0], args[1], args[2], flags, args[4], args[5]);
    if (large) {
        engine_lock_acquire(engine);
    }
    engine->turn_bytes += res > 0 ? (uint64_t)res : 0;
    return res;
}

int64_t
attempt_recv(struct flight *flight, const uint64_t *args)
{
    if (args[3] & MSG_WAITALL) {
        return OP_MISS; /* would return what is there */
    }
    int64_t res = socket_transfer(flight, __NR_recvfrom, args, args[3] | MSG_DONTWAIT);
    return missed_if(res, args[3] & MSG_DONTWAIT);
}

int64_t
attempt_send(struct flight *flight, const uint64_t *args)
{
    int64_t res = socket_transfer(flight, __NR_sendto, args,
                                  args[3] | MSG_DONTWAIT | MSG_NOSIGNAL);
    return missed_if(res, args[3] & MSG_DONTWAIT);
}

int64_t
attempt_recvmsg(struct flight *flight, const uint64_t *args)
{
    if (args[2] & MSG_WAITALL) {
        return OP_MISS;
    }
    int64_t res = flight_call(flight, __NR_recvmsg, args[0], args[1],
                              args[2] | MSG_DONTWAIT, 0, 0, 0);
    return missed_if(res, args[2] & MSG_DONTWAIT);
}

int64_t
attempt_sendmsg(struct flight *flight, const uint64_t *args)
{
    int64_t res = flight_call(flight, __NR_sendmsg, args[0], args[1],
                              args[2] | MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0, 0);
    return missed_if(res, args[2] & MSG_DONTWAIT);
}

/* ppoll(fds, count, timeout, NULL): look now; the wait is the kernel's business. */
int64_t
attempt_poll(struct flight *flight, const uint64_t *args)
{
    int64_t no_time[2] = {0, 0};
    int64_t res = flight_call(flight, __NR_ppoll, args[0], args[1], (uintptr_t)no_time,
                              args[3], args[4], 0);
    if (res != 0) {
        return missed_if(res, true);
    }
    int64_t limit[2];
    bool only_looks = args[2] != 0 &&
                      memory_read(flight, limit, args[2], sizeof(limit)) == 0 &&
                      limit[0] == 0 && limit[1] == 0;
    return only_looks ? 0 : OP_MISS;
}

static int64_t
moved(struct flight *flight, int64_t res)
{
    flight->engine->turn_bytes += res > 0 ? (uint64_t)res : 0;
    return missed_if(res, false);
}

/* SPLICE_F_NONBLOCK covers the pipe; the other end must be non-blocking by itself,
 * which a file never is. */
int64_t
attempt_splice(struct flight *flight, const uint64_t *args)
{
    const uint64_t nonblock = 2; /* SPLICE_F_NONBLOCK */
    if (!is_nonblocking(flight, args[0]) || !is_nonblocking(flight, args[2]) ||
        (args[5] & nonblock)) {
        return OP_MISS;
    }
    return moved(flight, flight_call(flight, __NR_splice, args[0], args[1], args[2],
                                     args[3], args[4], args[5] | nonblock));
}

/* From a file to a socket. The socket must be O_NONBLOCK; the file may read from its
 * device, so only what is surely cached goes inline: nothing can tell, hence a probe of
 * the first and the last page with RWF_NOWAIT. A large file goes in parts. */
int64_t
attempt_sendfile(struct flight *flight, const uint64_t *args)
{
    if (!is_nonblocking(flight, args[0])) {
        return OP_MISS;
    }
    char byte;
    struct iovec iov = {&byte, 1};
    uint64_t count = args[3] < LOCKED_BYTES_MAX ? args[3] : LOCKED_BYTES_MAX;
    int64_t offset;
    if (args[2] != 0) {
        if (memory_read(flight, &offset, args[2], sizeof(offset)) < 0) {
            return -EFAULT;
        }
    } else {
        offset = flight_call(flight, __NR_lseek, args[1], 0, 1, 0, 0, 0);
    }
    uint64_t last = offset < 0 ? 0 : (uint64_t)offset + (count ? count - 1 : 0);
    const uint64_t nowait = 8; /* RWF_NOWAIT */
    int64_t res = flight_call(flight, __NR_preadv2, args[1], (uintptr_t)&iov, 1,
                              offset < 0 ? 0 : (uint64_t)offset, 0, nowait);
    if (res >= 0) {
        res = flight_call(flight, __NR_preadv2, args[1], (uintptr_t)&iov, 1, last, 0,
                          nowait);
    }
    if (res < 0) {
        return OP_MISS;
    }
    res = flight_call(flight, __NR_sendfile, args[0], args[1], args[2], count, 0, 0);
    flight->goes_home = res == -EAGAIN; /* cached, so the socket is full: wait for it */
    return moved(flight, res);
}
