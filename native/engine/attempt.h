/* Inline forms: one attempt of an operation that cannot block.
 *
 * Each returns the atom's result, or OP_MISS if the plain call would have blocked or
 * nobody can know. An attempt has no effect when it misses, except for the part of a
 * transfer that was done, which it adds to flight->done. Called by run.c on the
 * engine's thread; the rows of ops.c name them. */
#ifndef SYSLET_ATTEMPT_H
#define SYSLET_ATTEMPT_H

#include <stdint.h>

#include "flight.h"
#include "uring.h"

/* The call as it is: for calls that never block. */
int64_t attempt_plain(struct flight *flight, const uint64_t *args);

/* attempt_file.c */
int64_t attempt_openat(struct flight *flight, const uint64_t *args);
int64_t attempt_openat2(struct flight *flight, const uint64_t *args);
int64_t attempt_fstat(struct flight *flight, const uint64_t *args);
int64_t attempt_read(struct flight *flight, const uint64_t *args);
int64_t attempt_pread(struct flight *flight, const uint64_t *args);
int64_t attempt_write(struct flight *flight, const uint64_t *args);
int64_t attempt_pwrite(struct flight *flight, const uint64_t *args);
int64_t attempt_readv(struct flight *flight, const uint64_t *args);
int64_t attempt_preadv(struct flight *flight, const uint64_t *args);
int64_t attempt_writev(struct flight *flight, const uint64_t *args);
int64_t attempt_pwritev(struct flight *flight, const uint64_t *args);
int64_t attempt_statx(struct flight *flight, const uint64_t *args);
int64_t attempt_fcntl(struct flight *flight, const uint64_t *args);
int64_t attempt_flock(struct flight *flight, const uint64_t *args);

/* attempt_socket.c */
int64_t attempt_accept(struct flight *flight, const uint64_t *args);
int64_t attempt_connect(struct flight *flight, const uint64_t *args);
int64_t attempt_recv(struct flight *flight, const uint64_t *args);
int64_t attempt_send(struct flight *flight, const uint64_t *args);
int64_t attempt_recvmsg(struct flight *flight, const uint64_t *args);
int64_t attempt_sendmsg(struct flight *flight, const uint64_t *args);
int64_t attempt_poll(struct flight *flight, const uint64_t *args);
int64_t attempt_splice(struct flight *flight, const uint64_t *args);
int64_t attempt_sendfile(struct flight *flight, const uint64_t *args);

/* attempt_misc.c */
int64_t attempt_nop(struct flight *flight, const uint64_t *args);
int64_t attempt_umem_add(struct flight *flight, const uint64_t *args);
int64_t attempt_load(struct flight *flight, const uint64_t *args);
int64_t attempt_buffer(struct flight *flight, const uint64_t *args);
int64_t attempt_emit(struct flight *flight, const uint64_t *args);
int64_t attempt_futex(struct flight *flight, const uint64_t *args);
int64_t attempt_waitid(struct flight *flight, const uint64_t *args);
int64_t attempt_sleep(struct flight *flight, const uint64_t *args);
int64_t attempt_getrandom(struct flight *flight, const uint64_t *args);

/* prepare.c: ring forms. They fill a request; the memory it names is lent. */
int64_t prepare_read(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_pread(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_write(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_pwrite(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_readv(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_preadv(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_writev(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_pwritev(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_accept(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_connect(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_recv(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_send(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_recvmsg(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_sendmsg(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_splice(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_clock_nanosleep(struct flight *flight, const uint64_t *args,
                                struct sqe *sqe);
int64_t prepare_nanosleep(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_futex(struct flight *flight, const uint64_t *args, struct sqe *sqe);
int64_t prepare_waitid(struct flight *flight, const uint64_t *args, struct sqe *sqe);

/* What kind of file an fd is. */
bool fd_is_file(struct flight *flight, int fd); /* regular, directory, block device */
/* Finds out what the flight opened with an O_NONBLOCK of its own making. 0: an honest
 * blocking fd now; -EAGAIN: a FIFO opened for reading that no writer may have opened. */
int fd_prove(struct flight *flight, struct fd_slot *slot);
/* Takes back that O_NONBLOCK, before anybody else may see it. */
void fd_make_blocking(struct flight *flight, struct fd_slot *slot);
/* Sum of the lengths of the iovecs in args[1], args[2] of them; after a successful
 * call only, which proves that they can be read. */
uint64_t vector_bytes(const uint64_t *args);

#endif
