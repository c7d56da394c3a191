/* As it was written against the header of version 1, February 2007: the sample of the
 * design document, and the VFS chain with its init function. Only where the numbers come
 * from is new. */
#define SYSLET_ABI 1
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslet.h>

#define RING_SIZE 128

static struct syslet_uatom *completion_ring[RING_SIZE];
static struct async_head_user ahu = {
    .completion_ring = completion_ring,
    .ring_size_bytes = sizeof(completion_ring),
    .max_nr_threads = -1,
};

struct req {
    struct syslet_uatom open_file, read_file, close_file;
    char *filename_p;
    char *buf_p;
    long fd, count, closed;
};

static unsigned long O_RDONLY_var = O_RDONLY, at_cwd = AT_FDCWD, buf_size = 100;
static char buf[100];

static void
init_atom(struct req *req, struct syslet_uatom *atom, int nr, void *arg_ptr0,
          void *arg_ptr1, void *arg_ptr2, void *arg_ptr3, void *arg_ptr4,
          void *arg_ptr5, void *ret_ptr, unsigned long flags, struct syslet_uatom *next)
{
    atom->nr = nr;
    atom->arg_ptr[0] = arg_ptr0;
    atom->arg_ptr[1] = arg_ptr1;
    atom->arg_ptr[2] = arg_ptr2;
    atom->arg_ptr[3] = arg_ptr3;
    atom->arg_ptr[4] = arg_ptr4;
    atom->arg_ptr[5] = arg_ptr5;
    atom->ret_ptr = ret_ptr;
    atom->flags = flags;
    atom->next = next;
    atom->private = req;
}

static int
hello(void)
{
    static char text[] = "hello from 2007\n";
    static char *text_p = text;
    static unsigned long fd = 1, length = sizeof(text) - 1;
    static long ret;
    struct syslet_uatom atom, *done;

    init_atom(NULL, &atom, __NR_write, &fd, &text_p, &length, NULL, NULL, NULL, &ret,
              SYSLET_ASYNC, NULL);
    done = sys_async_exec(&atom);
    if (done != NULL)
        return 1;
    if (sys_async_wait(1) < 0)
        return 2;
    if (completion_ring[0] != &atom)
        return 3;
    completion_ring[0] = NULL;
    return ret == (long)length ? 0 : 4;
}

static int
chain(char *name)
{
    struct req *req = calloc(1, sizeof(*req)), *owner;
    struct syslet_uatom *done;
    unsigned long value = 40;

    req->filename_p = name;
    req->buf_p = buf;
    init_atom(req, &req->open_file, __NR_openat, &at_cwd, &req->filename_p,
              &O_RDONLY_var, NULL, NULL, NULL, &req->fd, SYSLET_STOP_ON_NEGATIVE,
              &req->read_file);
    init_atom(req, &req->read_file, __NR_read, &req->fd, &req->buf_p, &buf_size, NULL,
              NULL, NULL, &req->count, SYSLET_STOP_ON_NON_POSITIVE, &req->close_file);
    init_atom(req, &req->close_file, __NR_close, &req->fd, NULL, NULL, NULL, NULL, NULL,
              &req->closed, 0, NULL);
    done = sys_async_exec(&req->open_file);
    if (done == NULL) {
        sys_async_wait(1);
        done = completion_ring[1];
        completion_ring[1] = NULL;
    }
    owner = done->private;
    printf("%ld bytes: %.*s", owner->count, (int)owner->count, buf);
    if (sys_umem_add(&value, 2) != 42 || sys_umem_add(&value, 0) != 42)
        return 5;
    return done == &req->close_file ? 0 : 6;
}

int
main(int argc, char **argv)
{
    int ret;

    if (sys_async_register(&ahu, sizeof(ahu)) < 0)
        return 10;
    setvbuf(stdout, NULL, _IONBF, 0);
    ret = hello();
    if (!ret && argc > 1)
        ret = chain(argv[1]);
    if (sys_async_unregister(&ahu, sizeof(ahu)) < 0)
        return 11;
    return ret;
}
