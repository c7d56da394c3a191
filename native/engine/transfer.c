/* Transfers that are done in parts: how much there is, and how to go on behind a part.
 *
 * Called by run.c only, on whichever thread runs the flight. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "attempt.h"
#include "engine_private.h"

/* The rest of a vectored transfer, in a copy that the flight owns. */
static int
vector_rest(struct flight *flight, const uint64_t *args, struct iovec **iov,
            uint64_t *count)
{
    uint64_t total = *count;
    if (total > IOVECS_MAX) {
        return -EINVAL; /* as the kernel says */
    }
    free(flight->vector);
    flight->vector = calloc(total, sizeof(struct iovec));
    if (flight->vector == NULL) {
        return -ENOMEM;
    }
    if (memory_read(flight, flight->vector, args[0], total * sizeof(struct iovec)) <
        0) {
        return -EFAULT;
    }
    uint64_t skip = flight->done;
    uint64_t first = 0;
    while (first < total && skip >= flight->vector[first].iov_len) {
        skip -= flight->vector[first++].iov_len;
    }
    *iov = flight->vector + first;
    *count = total - first;
    if (first < total && skip != 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + skip;
        (*iov)->iov_len -= skip;
    }
    return 0;
}

/* A transfer that was done in part goes on behind that part. */
int
transfer_advance(struct flight *flight, const struct op *op, uint64_t args[6])
{
    if (op->flags & OP_COUNTED) {
        args[3] -= flight->done; /* the kernel moves the offset on */
        return 0;
    }
    if (op->flags & OP_TRANSFER) {
        args[1] += flight->done;
        args[2] -= flight->done;
        if (op->args[3] == 'o') {
            args[3] += flight->done;
        }
        return 0;
    }
    struct iovec *iov;
    if (op->flags & OP_VECTOR) {
        int res = vector_rest(flight, &args[1], &iov, &args[2]);
        args[1] = (uintptr_t)iov;
        args[3] += op->args[3] == 'o' ? flight->done : 0;
        return res;
    }
    struct msghdr *message = &flight->message;
    if (memory_read(flight, message, args[1], sizeof(*message)) < 0) {
        return -EFAULT;
    }
    uint64_t count = message->msg_iovlen;
    const uint64_t source[1] = {(uintptr_t)message->msg_iov};
    int res = vector_rest(flight, source, &iov, &count);
    message->msg_iov = iov;
    message->msg_iovlen = count;
    message->msg_control = NULL; /* went with the first part */
    message->msg_controllen = 0;
    args[1] = (uintptr_t)message;
    return res;
}

uint64_t
transfer_size(struct flight *flight, const struct op *op, const uint64_t *args)
{
    if (op->flags & OP_COUNTED) {
        return args[3];
    }
    if (op->flags & OP_TRANSFER) {
        return args[2];
    }
    if (op->flags & OP_VECTOR) {
        return vector_bytes(args);
    }
    struct msghdr message;
    if (memory_read(flight, &message, args[1], sizeof(message)) < 0) {
        return 0;
    }
    const uint64_t vector[3] = {0, (uintptr_t)message.msg_iov, message.msg_iovlen};
    return vector_bytes(vector);
}
