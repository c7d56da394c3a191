/* The VFS example: open, fstat, read, close, with a branch.
 *
 * An error of open ends the syslet. An empty file is not read: fstat's size is tested by
 * umem_add of 0, and SKIP_TO_NEXT_ON_STOP goes to the atom behind it, close. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslet.h>

enum { OPEN, FSTAT, READ, SIZE, CLOSE, ATOMS };

struct request { /* everything the syslet works on, in one place */
    struct syslet_uatom atoms[ATOMS];
    unsigned long folder, path, flags, stat_address, buffer_address, room;
    unsigned long size_address, zero;
    long fd, status, count, size, closed;
    struct stat stat;
    char buffer[4096];
};

static void
atom(struct request *r, int index, unsigned nr, unsigned flags, long *result, int next,
     const uint64_t *args)
{
    struct syslet_uatom *to = &r->atoms[index];
    to->nr = nr;
    to->flags = flags;
    to->ret_ptr = (uintptr_t)result;
    to->next = next < ATOMS ? (uintptr_t)&r->atoms[next] : 0;
    for (int i = 0; i < 6 && args[i] != 0; i++) {
        to->arg_ptr[i] = args[i];
    }
}

#define ARGS(...) ((const uint64_t[7]){__VA_ARGS__})
#define P(field) ((uintptr_t)&r->field)

static void
prepare(struct request *r, const char *path)
{
    memset(r, 0, sizeof(*r));
    r->folder = (unsigned long)AT_FDCWD;
    r->path = (uintptr_t)path;
    r->flags = O_RDONLY;
    r->stat_address = P(stat);
    r->buffer_address = P(buffer);
    r->room = sizeof(r->buffer);
    r->size_address = P(stat.st_size);

    atom(r, OPEN, SYS_openat, SYSLET_STOP_ON_NEGATIVE, &r->fd, FSTAT,
         ARGS(P(folder), P(path), P(flags)));
    atom(r, FSTAT, SYS_fstat, SYSLET_STOP_ON_NEGATIVE, &r->status, SIZE,
         ARGS(P(fd), P(stat_address)));
    atom(r, SIZE, SYSLET_NR_UMEM_ADD, SYSLET_STOP_ON_ZERO | SYSLET_SKIP_TO_NEXT_ON_STOP,
         &r->size, READ, ARGS(P(size_address), P(zero)));
    atom(r, READ, SYS_read, 0, &r->count, CLOSE,
         ARGS(P(fd), P(buffer_address), P(room)));
    atom(r, CLOSE, SYS_close, 0, &r->closed, ATOMS, ARGS(P(fd)));
}

int
main(int argc, char **argv)
{
    static struct request request;
    uint64_t ring[4] = {0};
    struct async_head_user head = {
        .completion_ring_ptr = (uintptr_t)ring,
        .ring_size_bytes = sizeof(ring),
    };
    for (int i = 1; i < argc; i++) {
        prepare(&request, argv[i]);
        uint64_t last = (uintptr_t)async_exec(&request.atoms[OPEN], &head);
        if (syslet_is_error((void *)last)) {
            return 1;
        }
        if (last == 0) { /* it had to wait for the disk */
            async_wait(1, head.user_ring_idx, &head);
            last = ring[head.user_ring_idx];
            ring[head.user_ring_idx] = 0;
            head.user_ring_idx = (head.user_ring_idx + 1) % 4;
        }
        long at = (long)((last - (uintptr_t)request.atoms) / sizeof(request.atoms[0]));
        printf("ended at atom %ld: open %s, size %ld, read %ld, close %ld\n", at,
               request.fd < 0 ? strerror((int)-request.fd) : "ok", request.size,
               request.count, request.closed);
    }
    return 0;
}
