/* Descriptors that a syslet opens and goes on with: a FIFO is waited for as by plain
 * calls, and nothing that the library did to them is left, however it ends. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "asleep.h"
#include "check.h"

static struct test_head head;
static const char *path;

static void
init_open(struct call *call)
{
    call_init(call, SYS_openat, SYSLET_STOP_ON_NEGATIVE,
              ARGS(AT_FDCWD, (uintptr_t)path, O_RDONLY));
}

static void *
write_when_asleep(void *fd)
{
    pid_t tid = getpid();
    wait_until_asleep(&tid);
    CHECK(write(*(int *)fd, "y", 1) == 1);
    return NULL;
}

static uint64_t
finish(struct call *call)
{
    uint64_t last = (uintptr_t)async_exec(&call->atom, &head.user);
    return last != 0 ? last : head_take(&head);
}

/* SYNC on what was opened before it: it blocks, it does not get our O_NONBLOCK. */
static void
sync_reads_wait(void)
{
    struct call open_it, read_it;
    char byte = 0;
    pthread_t thread;
    int writer = open(path, O_RDWR);
    CHECK(writer >= 0);
    init_open(&open_it);
    call_init(&read_it, SYS_read, SYSLET_SYNC, ARGS(0, (uintptr_t)&byte, 1));
    read_it.atom.arg_ptr[0] = AT(open_it.result);
    open_it.atom.next = AT(read_it.atom);
    CHECK(pthread_create(&thread, NULL, write_when_asleep, &writer) == 0);
    CHECK(finish(&open_it) == AT(read_it.atom));
    CHECK(read_it.result == 1 && byte == 'y');
    CHECK((fcntl((int)open_it.result, F_GETFL) & O_NONBLOCK) == 0);
    pthread_join(thread, NULL);
    close((int)open_it.result);
    close(writer);
}

/* A FIFO without a writer, cancelled before a thread has come to it. */
static void
cancelled_opens_are_settled(void)
{
    struct call open_it;
    long before = syslet_threads_max(0);
    init_open(&open_it);
    CHECK(async_exec(&open_it.atom, &head.user) == NULL);
    CHECK(syslet_cancel(&open_it.atom, &head.user) == 0);
    CHECK(head_take(&head) == AT(open_it.atom));
    if (open_it.result >= 0) { /* it was open already: openat2 is there */
        CHECK((fcntl((int)open_it.result, F_GETFL) & O_NONBLOCK) == 0);
        close((int)open_it.result);
    }
    syslet_threads_max(before);
}

/* Its second argument is a descriptor, not the address of a message. */
static void
sendfile_touches_no_memory(const char *file)
{
    struct call call;
    int ends[2];
    int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "twelve bytes", 12) == 12);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    off_t offset = 0;
    call_init(&call, SYS_sendfile, 0, ARGS(ends[0], fd, (uintptr_t)&offset, 100));
    CHECK(finish(&call) == AT(call.atom));
    CHECK(call.result == 12 && offset == 12);
    close(fd);
    close(ends[0]);
    close(ends[1]);
    unlink(file);
}

int
main(int argc, char **argv)
{
    CHECK(argc == 3); /* a FIFO's name, a file's */
    alarm(60);
    path = argv[1];
    head_init(&head);
    CHECK(mkfifo(path, 0600) == 0);
    sync_reads_wait();
    cancelled_opens_are_settled();
    sendfile_touches_no_memory(argv[2]);
    unlink(path);
    puts("as plain calls");
    return 0;
}
