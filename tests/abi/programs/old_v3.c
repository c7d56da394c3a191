/* As a benchmark of spring 2007 used the header of versions 3 to 5: batches of pread
 * atoms chained through `next`, a ring of its own, stacks for new threads, a function
 * for cachemiss threads. Only where the numbers come from is new. */
#define SYSLET_ABI 3
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslet.h>
#include <unistd.h>

#define DEPTH 16
#define STACK_SIZE 16384

static struct async_head_user *ahu;
static struct syslet_uatom **ring;
static unsigned int ring_mask;

struct io {
    struct syslet_uatom atom;
    unsigned long fd, buf_p, size, offset;
    long ret;
    char buf[512];
};

static void
cachemiss_thread_start(void)
{
    while (1)
        async_thread(NULL, NULL);
}

static void
fill_stack(void)
{
    if (!ahu->new_thread_stack)
        ahu->new_thread_stack = (unsigned long)malloc(STACK_SIZE) + STACK_SIZE;
}

static void
init(void)
{
    ahu = calloc(1, sizeof(*ahu));
    ring = calloc(DEPTH, sizeof(ring[0]));
    ring_mask = DEPTH - 1;
    ahu->user_ring_idx = 0;
    ahu->completion_ring = ring;
    ahu->ring_size_bytes = DEPTH * sizeof(ring[0]);
    ahu->head_stack = (unsigned long)malloc(STACK_SIZE) + STACK_SIZE;
    ahu->head_eip = (unsigned long)cachemiss_thread_start;
    ahu->new_thread_eip = (unsigned long)cachemiss_thread_start;
    fill_stack();
}

static void
prep(struct io *io, int fd, unsigned long offset, struct syslet_uatom *next,
     unsigned long flags)
{
    memset(io, 0, sizeof(*io));
    io->fd = fd;
    io->buf_p = (unsigned long)io->buf;
    io->size = sizeof(io->buf);
    io->offset = offset;
    io->atom.flags = flags;
    io->atom.nr = __NR_pread64;
    io->atom.ret_ptr = &io->ret;
    io->atom.next = next;
    io->atom.arg_ptr[0] = &io->fd;
    io->atom.arg_ptr[1] = &io->buf_p;
    io->atom.arg_ptr[2] = &io->size;
    io->atom.arg_ptr[3] = &io->offset;
    io->atom.private = io;
}

/* The chain [0, count) in order; `flags` of its first atom. */
static int
batch(struct io *ios, int fd, int count, unsigned long flags)
{
    struct syslet_uatom *done;
    int i;

    for (i = 0; i < count; i++)
        prep(&ios[i], fd, i * sizeof(ios[0].buf),
             i + 1 < count ? &ios[i + 1].atom : NULL, i ? 0 : flags);
    fill_stack();
    done = async_exec(&ios[0].atom, ahu);
    if (!done) {
        if (async_wait(1, ahu->user_ring_idx, ahu) < 0)
            return 1;
        done = ring[ahu->user_ring_idx];
        ring[ahu->user_ring_idx] = NULL;
        ahu->user_ring_idx = (ahu->user_ring_idx + 1) & ring_mask;
    } else if (flags & SYSLET_ASYNC)
        return 2;
    if (done != &ios[count - 1].atom || done->private != &ios[count - 1])
        return 3;
    for (i = 0; i < count; i++)
        if (ios[i].ret != sizeof(ios[i].buf) || ios[i].buf[0] != 'a' + i)
            return 4;
    return 0;
}

int
main(int argc, char **argv)
{
    static struct io ios[DEPTH];
    struct syslet_uatom probe;
    int fd, ret;

    init();
    memset(&probe, 0, sizeof(probe));
    probe.nr = __NR_getpid;
    if (async_exec(&probe, ahu) != &probe)
        return 10;
    fd = open(argv[argc - 1], O_RDONLY);
    for (ret = 0; !ret && ahu->kernel_ring_idx < DEPTH - 1;)
        ret = batch(ios, fd, DEPTH, SYSLET_ASYNC);
    if (!ret)
        ret = batch(ios, fd, DEPTH, 0);
    printf("%d %lu\n", ret, ahu->kernel_ring_idx);
    return ret;
}
