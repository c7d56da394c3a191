/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Attempts: which calls are made in the submitter, that they do what the call would
 * have done, and that what was begun there is finished by a worker.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "suite.h"

static struct program p;
static struct syslet_run run;
static struct ring ring;
static int64_t result;
static char bytes[64];

static int
listener(struct sockaddr_in *address)
{
    socklen_t size = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)address, size) && !listen(fd, 16));
    EQUAL(getsockname(fd, (struct sockaddr *)address, &size), 0);
    return fd;
}

static int
connected(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)address, sizeof(*address)));
    return fd;
}

/* Runs @atoms atoms and the witness as a command: 0, nothing left the submitter. */
static int
witnessed(void)
{
    int err;

    program_add(&p, 0, NULL, SYS_gettid, NULL);
    run_begin(&run, p.atom);
    err = ring_run(&ring, &run, 0);
    p.atoms = p.values = 0;
    return err;
}

static void
files_at_once(void)
{
    struct stat st;
    char buffer[256];
    int64_t fd = 0;

    EQUAL(ring_open(&ring, 8, 0), 0);
    make_file("/tmp/a", "hello", 5);
    program_add(&p, 0, &fd, SYS_openat, V(&p, AT_FDCWD), V(&p, "/tmp/a"), V(&p, 0),
                NULL);
    program_add(&p, 0, &result, SYS_fstat, &fd, V(&p, &st), NULL);
    program_add(&p, 0, NULL, SYS_close, &fd, NULL);
    EQUAL(witnessed(), 0);
    CHECK(fd > 2);
    EQUAL(result, 0);
    EQUAL(st.st_size, 5);
    EQUAL(fcntl((int)fd, F_GETFD), -1);

    program_add(&p, 0, &result, SYS_stat, V(&p, "/tmp/a"), V(&p, &st), NULL);
    program_add(&p, 0, NULL, SYS_lstat, V(&p, "/tmp/a"), V(&p, buffer), NULL);
    program_add(&p, 0, NULL, SYS_newfstatat, V(&p, AT_FDCWD), V(&p, "/tmp/a"),
                V(&p, buffer), V(&p, 0), NULL);
    program_add(&p, 0, NULL, SYS_statx, V(&p, AT_FDCWD), V(&p, "/tmp/a"), V(&p, 0),
                V(&p, 0x7ff), V(&p, buffer), NULL);
    EQUAL(witnessed(), 0);
    EQUAL(run.executed, 5);
    EQUAL(result, 0);
    EQUAL(st.st_size, 5);

    /* Creating always waits, as the witness tells; and the file is there. */
    program_add(&p, 0, &fd, SYS_openat, V(&p, AT_FDCWD), V(&p, "/tmp/new"),
                V(&p, O_CREAT | O_WRONLY), V(&p, 0600), NULL);
    EQUAL(witnessed(), -EPERM);
    CHECK(fd > 2 && !access("/tmp/new", F_OK));
}

static void
sockets_at_once(void)
{
    struct sockaddr_in address;
    int server = listener(&address), client = connected(&address), one = 1;
    int64_t conn = -1, got = -1, sent = -1, option = -1;

    EQUAL(ring_open(&ring, 8, 0), 0);
    EQUAL(write(client, "ping", 4), 4);
    program_add(&p, 0, &conn, SYS_accept4, V(&p, server), V(&p, 0), V(&p, 0),
                V(&p, SOCK_CLOEXEC), NULL);
    program_add(&p, 0, &option, SYS_setsockopt, &conn, V(&p, IPPROTO_TCP),
                V(&p, TCP_NODELAY), V(&p, &one), V(&p, sizeof(one)), NULL);
    program_add(&p, 0, &got, SYS_recvfrom, &conn, V(&p, bytes), V(&p, 2), V(&p, 0),
                V(&p, 0), V(&p, 0), NULL);
    program_add(&p, 0, &result, SYS_read, &conn, V(&p, bytes + 2), V(&p, 30), NULL);
    program_add(&p, 0, &sent, SYS_sendto, &conn, V(&p, bytes), V(&p, 4), V(&p, 0),
                V(&p, 0), V(&p, 0), NULL);
    program_add(&p, 0, NULL, SYS_write, &conn, V(&p, "!"), V(&p, 1), NULL);
    program_add(&p, 0, NULL, SYS_close, &conn, NULL);
    EQUAL(witnessed(), 0);
    EQUAL(option, 0);
    EQUAL(got, 2);
    EQUAL(result, 2);
    EQUAL(sent, 4);
    EQUAL(recv(client, bytes, 8, MSG_WAITALL), 5);
    CHECK(!memcmp(bytes, "ping!", 5));
}

/* A descriptor that never waits gives its own EAGAIN, and no worker is needed. */
static void
nonblocking(void)
{
    struct sockaddr_in address;
    int server = listener(&address), fd[2], pair[2];
    int64_t first = 0, second = 0;

    EQUAL(ring_open(&ring, 8, 0), 0);
    EQUAL(pipe2(fd, O_NONBLOCK), 0);
    EQUAL(fcntl(server, F_SETFL, O_NONBLOCK), 0);
    EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    program_add(&p, 0, &first, SYS_read, V(&p, fd[0]), V(&p, bytes), V(&p, 8), NULL);
    program_add(&p, 0, &second, SYS_accept, V(&p, server), V(&p, 0), V(&p, 0), NULL);
    program_add(&p, 0, &result, SYS_recvfrom, V(&p, pair[0]), V(&p, bytes), V(&p, 8),
                V(&p, MSG_DONTWAIT), V(&p, 0), V(&p, 0), NULL);
    EQUAL(witnessed(), 0);
    EQUAL(first, -EAGAIN);
    EQUAL(second, -EAGAIN);
    EQUAL(result, -EAGAIN);
}

/* A send that fills the socket goes on in a worker, and every byte arrives once. */
static void
long_send(unsigned nr)
{
    enum { SIZE = 1 << 20 };
    static unsigned char out[SIZE], in[SIZE];
    size_t got = 0;
    int pair[2];

    EQUAL(ring_open(&ring, 8, 0), 0);
    EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    for (int i = 0; i < SIZE; i++)
        out[i] = (unsigned char)(i * 7 + i / 251);
    program_add(&p, 0, &result, nr, V(&p, pair[0]), V(&p, out), V(&p, SIZE), V(&p, 0),
                V(&p, 0), V(&p, 0), NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, 0);
    EQUAL(ring_submit(&ring), 1);
    CHECK(run.done > 0 && run.done < SIZE);
    EQUAL(run.executed, 0);
    while (got < SIZE) {
        ssize_t now = read(pair[1], in + got, SIZE - got);

        CHECK(now > 0);
        got += (size_t)now;
    }
    EQUAL(ring_wait(&ring).res, 0);
    EQUAL(result, SIZE);
    EQUAL(run.done, 0);
    CHECK(!memcmp(in, out, SIZE));
}

static void
long_sendto(void)
{
    long_send(SYS_sendto);
}

static void
long_write(void)
{
    long_send(SYS_write);
}

/* A read of which only the beginning is in memory is finished by a worker. */
static void
half_cached(void)
{
    enum { SIZE = 1 << 20, CACHED = 3 * 4096 };
    static unsigned char out[SIZE], in[SIZE];
    int fd = open("/ext4/half", O_RDWR | O_CREAT | O_TRUNC, 0600);
    unsigned char resident[SIZE / 4096];
    void *mapped;

    if (fd < 0) {
        printf("  left out: no ext4 here\n");
        return;
    }
    EQUAL(ring_open(&ring, 8, 0), 0);
    for (int i = 0; i < SIZE; i++)
        out[i] = (unsigned char)(i * 5 + i / 127);
    EQUAL(write(fd, out, SIZE), SIZE);
    EQUAL(fsync(fd), 0);
    for (unsigned nr = SYS_read;; nr = SYS_pread64) {
        EQUAL(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        EQUAL(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
        EQUAL(pread(fd, in, CACHED, 0), CACHED);
        mapped = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
        CHECK(mapped != MAP_FAILED && !mincore(mapped, SIZE, resident));
        CHECK(resident[0] & 1 && !(resident[SIZE / 4096 - 1] & 1));
        munmap(mapped, SIZE);
        memset(in, 0, SIZE);
        EQUAL(lseek(fd, 0, SEEK_SET), 0);
        p.atoms = p.values = 0;
        program_add(&p, 0, &result, nr, V(&p, fd), V(&p, in), V(&p, SIZE), V(&p, 0),
                    NULL);
        run_begin(&run, p.atom);
        ring_queue(&ring, &run, 1, 0);
        EQUAL(ring_submit(&ring), 1);
        EQUAL(ring_wait(&ring).res, 0);
        EQUAL(result, SIZE);
        CHECK(!memcmp(in, out, SIZE));
        EQUAL(lseek(fd, 0, SEEK_CUR), nr == SYS_read ? SIZE : 0);
        if (nr == SYS_pread64)
            break;
    }
    /* All of it in memory, and asked for more than there is: at once. */
    p.atoms = p.values = 0;
    program_add(&p, 0, &result, SYS_pread64, V(&p, fd), V(&p, in), V(&p, SIZE),
                V(&p, 4096), NULL);
    EQUAL(witnessed(), 0);
    EQUAL(result, SIZE - 4096);
}

static int
open_writer(void *path)
{
    int fd;

    sleep_ms(60);
    fd = open(path, O_WRONLY);
    return fd < 0 || write(fd, "late", 4) != 4;
}

/* Opening a FIFO waits for the other side, as it does outside a syslet. */
static void
fifo(void)
{
    int64_t fd = -1, got = 0;
    int writer;

    EQUAL(ring_open(&ring, 8, 0), 0);
    EQUAL(mkfifo("/tmp/fifo", 0600), 0);
    program_add(&p, 0, &fd, SYS_open, V(&p, "/tmp/fifo"), V(&p, O_RDONLY), NULL);
    program_add(&p, 0, &got, SYS_read, &fd, V(&p, bytes), V(&p, 8), NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, 0);
    EQUAL(ring_submit(&ring), 1);
    writer = child(open_writer, "/tmp/fifo");
    EQUAL(ring_wait(&ring).res, 0);
    CHECK(fd > 2);
    EQUAL(got, 4);
    EQUAL(reap(writer), 0);
}

/* Errors are those of the call. */
static void
errors(void)
{
    int64_t got[8];

    EQUAL(ring_open(&ring, 8, 0), 0);
    program_add(&p, 0, &got[0], SYS_read, V(&p, 99), V(&p, bytes), V(&p, 8), NULL);
    program_add(&p, 0, &got[1], SYS_close, V(&p, 99), NULL);
    program_add(&p, 0, &got[2], SYS_accept4, V(&p, 0), V(&p, 0), V(&p, 0), V(&p, 1),
                NULL);
    program_add(&p, 0, &got[3], SYS_stat, V(&p, 1), V(&p, bytes), NULL);
    program_add(&p, 0, &got[4], SYS_recvfrom, V(&p, 99), V(&p, bytes), V(&p, 8),
                V(&p, 0), V(&p, 0), V(&p, 0), NULL);
    program_add(&p, 0, &got[5], SYS_open, V(&p, 1), V(&p, 0), NULL);
    program_add(&p, 0, &got[6], SYS_pread64, V(&p, 0), V(&p, bytes), V(&p, 8),
                V(&p, -1), NULL);
    EQUAL(witnessed(), 0);
    EQUAL(got[0], -EBADF);
    EQUAL(got[1], -EBADF);
    EQUAL(got[2], -EINVAL);
    EQUAL(got[3], -EFAULT);
    EQUAL(got[4], -EBADF);
    EQUAL(got[5], -EFAULT);
    EQUAL(got[6], -EINVAL);
}

/* The announcement's drawing, in a worker, against a client that uses it. */
static void
drawing(void)
{
    enum { CLIENTS = 20 };
    struct sockaddr_in address;
    int server = listener(&address), one = 1;
    int64_t conn, got;
    uint64_t left = CLIENTS;
    struct syslet_uatom *first, *last;

    EQUAL(ring_open(&ring, 8, 0), 0);
    first = program_add(&p, SYSLET_STOP_ON_NEGATIVE, &conn, SYS_accept, V(&p, server),
                        V(&p, 0), V(&p, 0), NULL);
    program_add(&p, SYSLET_STOP_ON_NEGATIVE, NULL, SYS_setsockopt, &conn,
                V(&p, IPPROTO_TCP), V(&p, TCP_NODELAY), V(&p, &one), V(&p, sizeof(one)),
                NULL);
    program_add(&p, SYSLET_STOP_ON_NON_POSITIVE | SYSLET_SKIP_TO_NEXT_ON_STOP, &got,
                SYS_read, &conn, V(&p, bytes), V(&p, 64), NULL);
    program_add(&p, 0, NULL, SYS_close, &conn, NULL);
    last = program_add(&p, SYSLET_STOP_ON_NON_POSITIVE, NULL, SYSLET_NR_UMEM_ADD,
                       V(&p, &left), V(&p, -1), NULL);
    p.atom[2].next = (uintptr_t)&p.atom[2];
    last->next = (uintptr_t)first;
    run_begin(&run, first);
    ring_queue(&ring, &run, 1, 0);
    EQUAL(ring_submit(&ring), 1);
    for (int i = 0; i < CLIENTS; i++) {
        int fd = connected(&address);

        for (int j = 0; j < i % 3; j++)
            EQUAL(write(fd, "some bytes", 10), 10);
        close(fd);
    }
    EQUAL(ring_wait(&ring).res, 0);
    EQUAL(left, 0);
    EQUAL(run.last, (uintptr_t)last);
}

const struct test attempt_tests[] = {{"files_at_once", files_at_once},
                                     {"sockets_at_once", sockets_at_once},
                                     {"nonblocking", nonblocking},
                                     {"long_sendto", long_sendto},
                                     {"long_write", long_write},
                                     {"half_cached", half_cached},
                                     {"fifo", fifo},
                                     {"errors", errors},
                                     {"drawing", drawing},
                                     {NULL, NULL}};
