/* Descriptors in a box: files, FIFOs, sockets and events that exist only here, and an
 * epoll set of them. See fuzz.h. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

static struct fuzz_file files[FUZZ_FDS];

void
fuzz_fds_reset(void)
{
    memset(files, 0, sizeof(files));
}

uint32_t
fuzz_fds_open(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < FUZZ_FDS; i++) {
        count += files[i].open;
    }
    return count;
}

struct fuzz_file *
fuzz_fd(uint64_t fd)
{
    uint32_t number = (uint32_t)fd - FUZZ_FD_FIRST;
    return number < FUZZ_FDS && files[number].open ? &files[number] : NULL;
}

int64_t
fuzz_fd_new(uint8_t kind)
{
    for (uint32_t i = 0; i < FUZZ_FDS; i++) {
        if (!files[i].open) {
            files[i] = (struct fuzz_file){.open = 1, .kind = kind};
            return FUZZ_FD_FIRST + (int64_t)i;
        }
    }
    return -EMFILE;
}

int64_t
fuzz_fd_dup(uint64_t fd, uint64_t to)
{
    const struct fuzz_file *file = fuzz_fd(fd);
    uint32_t number = (uint32_t)to - FUZZ_FD_FIRST;
    if (file == NULL || number >= FUZZ_FDS || (int)fd == (int)to) {
        return file == NULL ? -EBADF : -EINVAL;
    }
    uint8_t kind = file->kind, nonblocking = file->nonblocking;
    files[number] =
        (struct fuzz_file){.open = 1, .kind = kind, .nonblocking = nonblocking};
    return (int32_t)to;
}

int64_t
fuzz_fcntl(const uint64_t *args)
{
    struct fuzz_file *file = fuzz_fd(args[0]);
    if (file == NULL) {
        return -EBADF;
    }
    switch ((uint32_t)args[1]) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return fuzz_fd_new(file->kind);
    case F_GETFL:
        return file->nonblocking ? O_NONBLOCK : 0;
    case F_SETFL:
        file->nonblocking = (args[2] & O_NONBLOCK) != 0;
        return 0;
    default:
        return fuzz_outcome(1);
    }
}

int64_t
fuzz_epoll_ctl(const uint64_t *args)
{
    struct fuzz_file *file = fuzz_fd(args[2]);
    const struct epoll_event *event = (const struct epoll_event *)(uintptr_t)args[3];
    if (file == NULL) {
        return -EBADF;
    }
    if (args[1] == EPOLL_CTL_ADD) {
        if (file->kind == KIND_FILE || file->watched) {
            return file->watched ? -EEXIST : -EPERM;
        }
        file->watched = 1;
        file->events = event->events;
        file->data = event->data.u64;
        return 0;
    }
    int64_t res = file->watched ? 0 : -ENOENT;
    file->watched = args[1] == EPOLL_CTL_DEL ? 0 : file->watched;
    return res;
}

/* Each watched descriptor is ready or not, as the input says. */
int64_t
fuzz_epoll_wait(const uint64_t *args)
{
    struct epoll_event *events = (struct epoll_event *)(uintptr_t)args[1];
    int64_t count = 0;
    for (uint32_t i = 0; i < FUZZ_FDS && count < (int64_t)args[2]; i++) {
        struct fuzz_file *file = &files[i];
        if (file->open && file->watched && (file->events & 0x1fff) != 0 &&
            fuzz_decide(4) == 0) {
            events[count].events = file->events & 0x1fff;
            events[count++].data.u64 = file->data;
            if (file->events & EPOLLONESHOT) {
                file->events = 0;
            }
        }
    }
    return count;
}
