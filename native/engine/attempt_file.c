/* Inline forms of file operations, see attempt.h.
 *
 * Opening without blocking needs RESOLVE_CACHED (5.12) for the path and O_NONBLOCK for
 * what may lie at its end (a FIFO, a lease, a device). The second changes the meaning
 * of opening a FIFO, so such an fd is FD_UNPROVEN until a byte was read from it or
 * fstat called it a file; fd_prove then gives it back its blocking meaning. */
#define _GNU_SOURCE
#include "attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine_private.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8 /* 4.14 */
#endif
#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* 5.12 */
#endif
#define PAGE_MASK_ 4095

/* Flags openat(2) knows; it ignores others, openat2(2) refuses them. */
#define OPEN_FLAGS                                                                     \
    (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK |       \
     O_SYNC | O_DSYNC | O_ASYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW |  \
     O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE)
#define PATH_FLAGS (O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC)

/* --- opening -------------------------------------------------------------------- */

static inline __attribute__((always_inline)) int64_t
open_cached(struct flight *flight, uint64_t dir_fd, uint64_t path, struct open_how how)
{
    const uint64_t making = O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
    if ((how.flags & making) != 0 || flight->engine->openat2_missing) {
        return OP_MISS; /* the kernel has no cached form of these */
    }
    bool asked = (how.flags & (O_NONBLOCK | O_PATH | O_DIRECTORY)) != 0;
    if (!asked) {
        how.flags |= O_NONBLOCK;
    }
    how.resolve |= RESOLVE_CACHED;
    int64_t res = flight_call(flight, __NR_openat2, dir_fd, path, (uintptr_t)&how,
                              sizeof(how), 0, 0);
    switch (res) {
    case -ENOSYS:
        flight->engine->openat2_missing = true;
        return OP_MISS;
    case -EAGAIN: /* not cached, or a lease */
    case -EINTR:
    case -EINVAL: /* no RESOLVE_CACHED, or the plain call says so as well */
    case -EPERM:  /* a filter that does not know openat2 */
        return OP_MISS;
    case -ENXIO: /* a FIFO without reader, which the plain call waits for */
        flight->lacks_peer = true;
        return OP_MISS;
    default:
        flight->opened = FD_POSITION | (asked ? 0 : FD_UNPROVEN | FD_NONBLOCK);
        return res;
    }
}

int64_t
attempt_openat(struct flight *flight, const uint64_t *args)
{
    uint64_t flags = args[2] & OPEN_FLAGS;
    if (flags & O_PATH) {
        flags &= PATH_FLAGS;
    }
    struct open_how how = {.flags = flags};
    return open_cached(flight, args[0], args[1], how);
}

int64_t
attempt_openat2(struct flight *flight, const uint64_t *args)
{
    struct open_how how;
    if (args[3] != sizeof(how) || memory_read(flight, &how, args[2], sizeof(how)) < 0) {
        return OP_MISS; /* let the plain call judge it */
    }
    return open_cached(flight, args[0], args[1], how);
}

/* --- what an fd is ---------------------------------------------------------------- */

bool
fd_is_file(struct flight *flight, int fd)
{
    struct stat st;
    int64_t res =
        flight_call(flight, __NR_fstat, (uint64_t)fd, (uintptr_t)&st, 0, 0, 0, 0);
    return res == 0 &&
           (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode));
}

static bool
fifo_lacks_writer(struct flight *flight, const struct fd_slot *slot, mode_t mode)
{
    if (!S_ISFIFO(mode)) {
        return false;
    }
    int64_t flags =
        flight_call(flight, __NR_fcntl, (uint64_t)slot->fd, F_GETFL, 0, 0, 0, 0);
    if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY) {
        return false;
    }
    struct pollfd wait = {.fd = slot->fd, .events = POLLIN};
    int64_t no_time[2] = {0, 0}; /* the kernel writes back what is left of it */
    int64_t res = flight_call(flight, __NR_ppoll, (uintptr_t)&wait, 1,
                              (uintptr_t)no_time, 0, 0, 0);
    return res == 0; /* neither data nor a writer that came and went */
}

void
fd_make_blocking(struct flight *flight, struct fd_slot *slot)
{
    if ((slot->flags & FD_NONBLOCK) == 0) {
        return;
    }
    uint64_t fd = (uint64_t)slot->fd;
    int64_t flags = flight_call(flight, __NR_fcntl, fd, F_GETFL, 0, 0, 0, 0);
    if (flags >= 0) {
        flight_call(flight, __NR_fcntl, fd, F_SETFL,
                    (uint64_t)flags & ~(uint64_t)O_NONBLOCK, 0, 0, 0);
    }
    slot->flags &= (uint16_t)~FD_NONBLOCK;
}

int
fd_prove(struct flight *flight, struct fd_slot *slot)
{
    if ((slot->flags & FD_UNPROVEN) == 0) {
        return 0;
    }
    struct stat st;
    int64_t res =
        flight_call(flight, __NR_fstat, (uint64_t)slot->fd, (uintptr_t)&st, 0, 0, 0, 0);
    if (res == 0 && fifo_lacks_writer(flight, slot, st.st_mode)) {
        return -EAGAIN;
    }
    slot->flags &= (uint16_t)~FD_UNPROVEN;
    if (res != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
        fd_make_blocking(flight, slot); /* on a file the flag means nothing inline */
    }
    return 0;
}

/* The kernel has just written the answer, so its memory is there. */
int64_t
attempt_fstat(struct flight *flight, const uint64_t *args)
{
    int64_t res = flight_call(flight, __NR_fstat, args[0], args[1], 0, 0, 0, 0);
    struct fd_slot *slot = flight_fd_find(flight, (int)args[0]);
    if (res == 0 && slot != NULL) {
        mode_t mode = ((const struct stat *)(uintptr_t)args[1])->st_mode;
        if (S_ISREG(mode) || S_ISDIR(mode)) {
            slot->flags &= (uint16_t)~FD_UNPROVEN;
        }
    }
    return res;
}

/* --- reading ---------------------------------------------------------------------- */

static inline __attribute__((always_inline)) int64_t
transfer_nowait(struct flight *flight, long nr, uint64_t fd, const struct iovec *iov,
                uint64_t count, uint64_t bytes, int64_t offset)
{
    struct engine *engine = flight->engine;
    bool large = bytes > LOCKED_BYTES_MAX;
    if (large) {
        engine_lock_release(engine);
    }
    int64_t res = flight_call(flight, nr, fd, (uintptr_t)iov, count, (uint64_t)offset,
                              0, RWF_NOWAIT);
    if (res == -EOPNOTSUPP && !fd_is_blocking(flight, fd)) {
        /* A terminal, inotify and the like: O_NONBLOCK is their way not to wait. */
        flight->end_unsure = true;
        res =
            flight_call(flight, nr, fd, (uintptr_t)iov, count, (uint64_t)offset, 0, 0);
    }
    if (large) {
        engine_lock_acquire(engine);
    }
    if (res > 0) {
        engine->turn_bytes += (uint64_t)res;
        return res;
    }
    bool missed = res == -EAGAIN || res == -EOPNOTSUPP || res == -EINTR ||
                  res == -EINVAL || res == -ENOSYS || res == -EPERM; /* a filter */
    return missed ? OP_MISS : res;
}

/* After a short NOWAIT read: is the end of the file the reason, or of the cache? Cached
 * data ends at a page boundary, a file seldom does. */
static bool
read_may_go_on(struct flight *flight, int fd, int64_t end)
{
    bool inside_page = end >= 0 && (end & PAGE_MASK_) != 0;
    return !inside_page && fd_is_file(flight, fd);
}

static inline __attribute__((always_inline)) int64_t
read_nowait(struct flight *flight, const uint64_t *args, int64_t offset)
{
    int fd = (int)args[0];
    struct fd_slot *slot = flight_fd_find(flight, fd);
    bool positioned = offset < 0 && slot != NULL && (slot->flags & FD_POSITION);
    uint64_t got = 0;
    for (;;) {
        struct iovec iov = {(void *)(uintptr_t)(args[1] + got), args[2] - got};
        int64_t res =
            transfer_nowait(flight, __NR_preadv2, args[0], &iov, 1, iov.iov_len,
                            offset < 0 ? -1 : offset + (int64_t)got);
        if (res == OP_MISS) {
            flight->done += got;
            return OP_MISS;
        }
        if (res < 0) {
            return got != 0 ? (int64_t)got : res;
        }
        got += (uint64_t)res;
        int64_t end = offset >= 0 ? offset + (int64_t)got : -1;
        if (positioned) {
            slot->position += (uint64_t)res;
            end = (int64_t)slot->position;
        }
        if (res > 0 && slot != NULL) {
            slot->flags &= (uint16_t)~FD_UNPROVEN;
        }
        if (res == 0 || got == args[2] || !read_may_go_on(flight, fd, end)) {
            return (int64_t)got;
        }
    }
}

/* A read of 0 bytes from an unproven fd may be a FIFO nobody has opened for writing. */
static int64_t
read_proven(struct flight *flight, const uint64_t *args, int64_t res)
{
    struct fd_slot *slot = flight_fd_find(flight, (int)args[0]);
    if (slot == NULL || !(slot->flags & FD_UNPROVEN)) {
        return res;
    }
    if (fd_prove(flight, slot) == -EAGAIN) {
        return OP_MISS;
    }
    return res;
}

int64_t
attempt_read(struct flight *flight, const uint64_t *args)
{
    return read_proven(flight, args, read_nowait(flight, args, -1));
}

/* A file that can be read at a place without waiting, and was short inside a page,
 * ended there: the next atom need not ask. Pipes have no places, files of /proc no such
 * reads, and what is not in the cache is missing by whole pages. */
int64_t
attempt_pread(struct flight *flight, const uint64_t *args)
{
    if ((int64_t)args[3] < 0) {
        return -EINVAL; /* preadv2 gives -1 a meaning that pread has not */
    }
    bool asks_again = flight->end_fd == (int)args[0] && flight->end == args[3] &&
                      flight->end_atoms + 1 == flight->atoms;
    flight->end_fd = -1;
    if (asks_again) {
        return 0;
    }
    flight->end_unsure = false;
    int64_t res = read_nowait(flight, args, (int64_t)args[3]);
    uint64_t end = args[3] + (uint64_t)res;
    if (res > 0 && (uint64_t)res < args[2] && (end & PAGE_MASK_) != 0 &&
        !flight->end_unsure) {
        flight->end = end;
        flight->end_fd = (int)args[0];
        flight->end_atoms = flight->atoms;
    }
    return read_proven(flight, args, res);
}

static int64_t
readv_nowait(struct flight *flight, const uint64_t *args, int64_t offset)
{
    const struct iovec *iov = (const struct iovec *)(uintptr_t)args[1];
    int64_t res =
        transfer_nowait(flight, __NR_preadv2, args[0], iov, args[2], 0, offset);
    if (res == OP_MISS || res < 0) {
        return res;
    }
    /* Short because of the cache, or the end? Files: the plain form, off this thread,
     * reads on from here; anything else is done. */
    if (res > 0 && vector_bytes(args) > (uint64_t)res &&
        fd_is_file(flight, (int)args[0])) {
        flight->done += (uint64_t)res;
        return OP_MISS;
    }
    return res;
}

int64_t
attempt_readv(struct flight *flight, const uint64_t *args)
{
    return readv_nowait(flight, args, -1);
}

int64_t
attempt_preadv(struct flight *flight, const uint64_t *args)
{
    return (int64_t)args[3] < 0 ? -EINVAL
                                : readv_nowait(flight, args, (int64_t)args[3]);
}

/* --- writing ---------------------------------------------------------------------- */

static int64_t
write_nowait(struct flight *flight, const uint64_t *args, int64_t offset)
{
    struct iovec iov = {(void *)(uintptr_t)args[1], args[2]};
    return transfer_nowait(flight, __NR_pwritev2, args[0], &iov, 1, args[2], offset);
}

int64_t
attempt_write(struct flight *flight, const uint64_t *args)
{
    return write_nowait(flight, args, -1);
}

int64_t
attempt_pwrite(struct flight *flight, const uint64_t *args)
{
    return (int64_t)args[3] < 0 ? -EINVAL
                                : write_nowait(flight, args, (int64_t)args[3]);
}

int64_t
attempt_writev(struct flight *flight, const uint64_t *args)
{
    const struct iovec *iov = (const struct iovec *)(uintptr_t)args[1];
    return transfer_nowait(flight, __NR_pwritev2, args[0], iov, args[2], 0, -1);
}

int64_t
attempt_pwritev(struct flight *flight, const uint64_t *args)
{
    const struct iovec *iov = (const struct iovec *)(uintptr_t)args[1];
    if ((int64_t)args[3] < 0) {
        return -EINVAL;
    }
    return transfer_nowait(flight, __NR_pwritev2, args[0], iov, args[2], 0,
                           (int64_t)args[3]);
}

/* --- the rest --------------------------------------------------------------------- */

/* The path is walked in the cache by an O_PATH open; statx of that fd cannot block on
 * local file systems. */
int64_t
attempt_statx(struct flight *flight, const uint64_t *args)
{
    if (args[2] & AT_EMPTY_PATH) {
        return OP_MISS;
    }
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC | (args[2] & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0),
    };
    int64_t fd = open_cached(flight, args[0], args[1], how);
    flight->opened = 0;
    if (fd == -EMFILE || fd == -ENFILE) {
        return OP_MISS; /* the call itself needs no descriptor */
    }
    if (fd < 0) {
        return fd;
    }
    uint64_t flags = (args[2] & ~(uint64_t)AT_SYMLINK_NOFOLLOW) | AT_EMPTY_PATH;
    int64_t res = flight_call(flight, __NR_statx, (uint64_t)fd, (uintptr_t)"", flags,
                              args[3], args[4], 0);
    flight_call(flight, __NR_close, (uint64_t)fd, 0, 0, 0, 0, 0);
    return res;
}

int64_t
attempt_fcntl(struct flight *flight, const uint64_t *args)
{
    uint64_t command = args[1];
    bool waits = command == F_SETLKW || command == F_OFD_SETLKW;
    if (waits) { /* F_SETLK is F_SETLKW without the wait, likewise for OFD locks */
        command -= 1;
    }
    int64_t res = flight_call(flight, __NR_fcntl, args[0], command, args[2], 0, 0, 0);
    bool busy = res == -EAGAIN || res == -EACCES;
    return waits && busy ? OP_MISS : res;
}

int64_t
attempt_flock(struct flight *flight, const uint64_t *args)
{
    int64_t res =
        flight_call(flight, __NR_flock, args[0], args[1] | LOCK_NB, 0, 0, 0, 0);
    return res == -EAGAIN && !(args[1] & LOCK_NB) ? OP_MISS : res;
}
