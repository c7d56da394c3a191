/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The measurements: small files, null calls and the announcement's drawing, by plain
 * calls, by libsyslet in user space, by io_uring and by syslets in the kernel. Each number is the best of several rounds, in
 * nanoseconds of the machine's clock; under qemu's -icount shift=0 a nanosecond is an
 * instruction. Run by main.c; it is no test, but a wrong result ends it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "suite.h"

enum { FILES = 1000, NAME = 16, SIZE = 3000, NULLS = 32, CLIENTS = 100, ROUNDS = 15 };

static char names[FILES][NAME], bytes[8192];
static struct ring ring;

static void
make_files(void)
{
    static char content[SIZE];

    for (int i = 0; i < FILES; i++) {
        snprintf(names[i], NAME, "b%d", i);
        make_file(names[i], content, SIZE);
    }
}

static void
files_plain(void)
{
    for (int i = 0; i < FILES; i++) {
        int fd = (int)syscall(SYS_open, names[i], O_RDONLY);

        CHECK(syscall(SYS_read, fd, bytes, sizeof(bytes)) == SIZE);
        syscall(SYS_close, fd);
    }
}

/* One program for one file: the name is an argument that the caller sets. */
struct file_program {
    struct program p;
    struct syslet_run run;
    uint64_t name;
    int64_t fd, got;
};

static void
one_file(struct file_program *f)
{
    program_add(&f->p, SYSLET_STOP_ON_NEGATIVE, &f->fd, SYS_open, &f->name,
                V(&f->p, O_RDONLY), NULL);
    program_add(&f->p, SYSLET_STOP_ON_NEGATIVE, &f->got, SYS_read, &f->fd,
                V(&f->p, bytes), V(&f->p, sizeof(bytes)), NULL);
    program_add(&f->p, 0, NULL, SYS_close, &f->fd, NULL);
}

static void
files_exec_each(void)
{
    static struct file_program f;

    if (!f.p.atoms)
        one_file(&f);
    for (int i = 0; i < FILES; i++) {
        f.name = (uintptr_t)names[i];
        run_begin(&f.run, f.p.atom);
        CHECK(run_exec(&f.run) == 0 && f.got == SIZE);
    }
}

static struct syslet_run *
all_files(void)
{
    static struct file_program f;
    static uint64_t left;

    if (!f.p.atoms) {
        one_file(&f);
        program_add(&f.p, 0, NULL, SYSLET_NR_UMEM_ADD, V(&f.p, &f.name), V(&f.p, NAME),
                    NULL);
        program_add(&f.p, SYSLET_STOP_ON_ZERO, NULL, SYSLET_NR_UMEM_ADD, V(&f.p, &left),
                    V(&f.p, -1), NULL)
            ->next = (uintptr_t)f.p.atom;
    }
    left = FILES;
    f.name = (uintptr_t)names;
    run_begin(&f.run, f.p.atom);
    return &f.run;
}

static void
files_exec_all(void)
{
    struct syslet_run *run = all_files();

    CHECK(run_exec(run) == 0 && run->executed == 5 * FILES);
}

static void
files_library_each(void)
{
    static struct file_program f;

    if (!f.p.atoms)
        one_file(&f);
    for (int i = 0; i < FILES; i++) {
        f.name = (uintptr_t)names[i];
        CHECK(library_run(f.p.atom) && f.got == SIZE);
    }
}

static void
files_library_all(void)
{
    CHECK(library_run((struct syslet_uatom *)(uintptr_t)all_files()->pc));
}

static void
files_worker(void)
{
    struct syslet_run *run = all_files();

    CHECK(ring_run(&ring, run, IOSQE_ASYNC) == 0 && run->executed == 5 * FILES);
}

enum { BATCH = 50 };

static void
files_command_each(void)
{
    static struct file_program f[BATCH];

    for (int i = 0; i < FILES; i += BATCH) {
        for (int j = 0; j < BATCH; j++) {
            if (!f[j].p.atoms)
                one_file(&f[j]);
            f[j].name = (uintptr_t)names[i + j];
            run_begin(&f[j].run, f[j].p.atom);
            ring_queue(&ring, &f[j].run, (unsigned)j, 0);
        }
        CHECK(ring_submit(&ring) == BATCH);
        for (int j = 0; j < BATCH; j++)
            CHECK(ring_wait(&ring).res == 0);
    }
}

/* Open, read and close linked, through slots of the ring's own file table. */
static void
queue_links(const char *name, unsigned slot)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring, 0);

    sqe->opcode = IORING_OP_OPENAT;
    sqe->flags = IOSQE_IO_LINK;
    sqe->fd = AT_FDCWD;
    sqe->addr = (uintptr_t)name;
    sqe->file_index = slot + 1;
    sqe = ring_sqe(&ring, 1);
    sqe->opcode = IORING_OP_READ;
    sqe->flags = IOSQE_IO_HARDLINK | IOSQE_FIXED_FILE;
    sqe->fd = (int)slot;
    sqe->addr = (uintptr_t)bytes;
    sqe->len = sizeof(bytes);
    sqe = ring_sqe(&ring, 2);
    sqe->opcode = IORING_OP_CLOSE;
    sqe->file_index = slot + 1;
}

static void
files_links(void)
{
    for (int i = 0; i < FILES; i += BATCH) {
        for (int j = 0; j < BATCH; j++)
            queue_links(names[i + j], (unsigned)j);
        CHECK(ring_submit(&ring) == 3 * BATCH);
        for (int j = 0; j < 3 * BATCH; j++) {
            struct io_uring_cqe cqe = ring_wait(&ring);

            CHECK(cqe.res == (cqe.user_data == 1 ? SIZE : 0));
        }
    }
}

static void
nulls_plain(void)
{
    for (int i = 0; i < NULLS; i++)
        syscall(SYS_getppid);
}

static void
nulls_chain(void)
{
    static struct program p;
    static struct syslet_run run;

    for (int i = p.atoms; i < NULLS; i++)
        program_add(&p, 0, NULL, SYS_getppid, NULL);
    CHECK(program_exec(&p, &run) == 0);
}

static void
nulls_library(void)
{
    static struct program p;

    for (int i = p.atoms; i < NULLS; i++)
        program_add(&p, 0, NULL, SYS_getppid, NULL);
    CHECK(library_run(p.atom));
}

static void
nulls_exec_each(void)
{
    static struct program p;
    static struct syslet_run run;

    if (!p.atoms)
        program_add(&p, 0, NULL, SYS_getppid, NULL);
    for (int i = 0; i < NULLS; i++)
        CHECK(program_exec(&p, &run) == 0);
}

static void
nulls_umem_add(void)
{
    static struct program p;
    static struct syslet_run run;
    static uint64_t count;

    for (int i = p.atoms; i < NULLS; i++)
        program_add(&p, 0, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count), V(&p, 1), NULL);
    CHECK(program_exec(&p, &run) == 0);
}

static void
nulls_nop(void)
{
    for (int i = 0; i < NULLS; i++)
        ring_sqe(&ring, 0)->opcode = IORING_OP_NOP;
    CHECK(ring_submit(&ring) == NULLS);
    for (int i = 0; i < NULLS; i++)
        CHECK(ring_wait(&ring).res == 0);
}

static void
nulls_command_each(void)
{
    static struct program p;
    static struct syslet_run run[NULLS];

    if (!p.atoms)
        program_add(&p, 0, NULL, SYS_getppid, NULL);
    for (int i = 0; i < NULLS; i++) {
        run_begin(&run[i], p.atom);
        ring_queue(&ring, &run[i], 0, 0);
    }
    CHECK(ring_submit(&ring) == NULLS);
    for (int i = 0; i < NULLS; i++)
        CHECK(ring_wait(&ring).res == 0);
}

/* The drawing: a client that connects, sends twice and leaves, CLIENTS times. */
static struct sockaddr_in address;
static int server;

static void
listen_on(void)
{
    socklen_t size = sizeof(address);

    server = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(!bind(server, (struct sockaddr *)&address, size) && !listen(server, 128));
    CHECK(!getsockname(server, (struct sockaddr *)&address, &size));
}

/* All clients have come and gone before the server begins: only it is measured. */
static void
clients(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)));
        CHECK(write(fd, bytes, 1000) == 1000);
        close(fd);
    }
}

static void
drawing_plain(void)
{
    int one = 1;

    for (int i = 0; i < CLIENTS; i++) {
        int fd = (int)syscall(SYS_accept, server, NULL, NULL);

        CHECK(fd >= 0);
        syscall(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        while (syscall(SYS_read, fd, bytes, 512) > 0)
            ;
        syscall(SYS_close, fd);
    }
}

static struct syslet_run *
drawing(void)
{
    static struct program p;
    static struct syslet_run run;
    static uint64_t left;
    static int64_t fd;
    static int one = 1;

    if (!p.atoms) {
        program_add(&p, SYSLET_STOP_ON_NEGATIVE, &fd, SYS_accept, V(&p, server),
                    V(&p, 0), V(&p, 0), NULL);
        program_add(&p, SYSLET_STOP_ON_NEGATIVE, NULL, SYS_setsockopt, &fd,
                    V(&p, IPPROTO_TCP), V(&p, TCP_NODELAY), V(&p, &one),
                    V(&p, sizeof(one)), NULL);
        program_add(&p, SYSLET_STOP_ON_NON_POSITIVE | SYSLET_SKIP_TO_NEXT_ON_STOP, NULL,
                    SYS_read, &fd, V(&p, bytes), V(&p, 512), NULL);
        program_add(&p, 0, NULL, SYS_close, &fd, NULL);
        program_add(&p, SYSLET_STOP_ON_NON_POSITIVE, NULL, SYSLET_NR_UMEM_ADD,
                    V(&p, &left), V(&p, -1), NULL)
            ->next = (uintptr_t)p.atom;
        p.atom[2].next = (uintptr_t)&p.atom[2];
    }
    left = CLIENTS;
    run_begin(&run, p.atom);
    return &run;
}

static void
drawing_exec(void)
{
    struct syslet_run *run = drawing();

    CHECK(run_exec(run) == 0 && run->executed == 7 * CLIENTS);
}

static void
drawing_library(void)
{
    CHECK(library_run((struct syslet_uatom *)(uintptr_t)drawing()->pc));
}

static void
drawing_worker(void)
{
    struct syslet_run *run = drawing();

    CHECK(ring_run(&ring, run, IOSQE_ASYNC) == 0 && run->executed == 7 * CLIENTS);
}

static int
one_request(unsigned opcode, int fd, void *buffer, unsigned size)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring, 0);

    sqe->opcode = (uint8_t)opcode;
    sqe->fd = fd;
    sqe->addr = (uintptr_t)buffer;
    sqe->len = size;
    CHECK(ring_submit(&ring) == 1);
    return ring_wait(&ring).res;
}

/* A link cannot hand over the descriptor, so there is a request for each call. */
static void
drawing_requests(void)
{
    int one = 1;

    for (int i = 0; i < CLIENTS; i++) {
        int fd = one_request(IORING_OP_ACCEPT, server, NULL, 0);

        CHECK(fd >= 0);
        syscall(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        while (one_request(IORING_OP_RECV, fd, bytes, 512) > 0)
            ;
        CHECK(one_request(IORING_OP_CLOSE, fd, NULL, 0) == 0);
    }
}

struct row {
    const char *name;
    void (*run)(void);
    uint64_t best;
};

/* Rounds are interleaved, so that what disturbs the machine disturbs every row. */
static void
table(const char *title, int per, int repeat, struct row *rows, void (*before)(void))
{
    uint64_t from, took;

    for (int round = 0; round < ROUNDS; round++) {
        for (struct row *row = rows; row->name; row++) {
            if (before)
                before();
            from = now_ns();
            for (int i = 0; i < repeat; i++)
                row->run();
            took = now_ns() - from;
            if (!round || took < row->best)
                row->best = took;
        }
    }
    printf("\n%-44s %10s %8s\n", title, "each", "plain =");
    for (struct row *row = rows; row->name; row++)
        printf("%-44s %10.1f %8.2f\n", row->name,
               (double)row->best / ((double)per * repeat),
               (double)row->best / (double)rows->best);
}

static void
files_in(const char *folder, const char *title)
{
    struct row rows[] = {{"plain calls", files_plain, 0},
                         {"user space, a program per file", files_library_each, 0},
                         {"user space, one program", files_library_all, 0},
                         {"ioctl, a program per file", files_exec_each, 0},
                         {"ioctl, one program", files_exec_all, 0},
                         {"commands, one per file", files_command_each, 0},
                         {"command, one program in a worker", files_worker, 0},
                         {"io_uring links, direct descriptors", files_links, 0},
                         {NULL, NULL, 0}};

    if (chdir(folder))
        return;
    make_files();
    table(title, FILES, 1, rows, NULL);
    for (int i = 0; i < FILES; i++)
        unlink(names[i]);
}

static void
open_ring(void)
{
    struct io_uring_rsrc_register empty = {.nr = BATCH,
                                           .flags = IORING_RSRC_REGISTER_SPARSE};

    CHECK(ring_open(&ring, 256, 0) == 0);
    CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES2, &empty,
                   sizeof(empty)));
}

int
bench(void)
{
    struct row nulls[] = {{"plain calls", nulls_plain, 0},
                          {"user space, one chain", nulls_library, 0},
                          {"ioctl, one chain", nulls_chain, 0},
                          {"ioctl, umem_add instead", nulls_umem_add, 0},
                          {"ioctl, a program each", nulls_exec_each, 0},
                          {"io_uring NOP", nulls_nop, 0},
                          {"commands, one each", nulls_command_each, 0},
                          {NULL, NULL, 0}};
    struct row drawings[] = {{"plain calls", drawing_plain, 0},
                             {"user space, one program", drawing_library, 0},
                             {"ioctl, one program", drawing_exec, 0},
                             {"command, one program in a worker", drawing_worker, 0},
                             {"io_uring, a request per call", drawing_requests, 0},
                             {NULL, NULL, 0}};

    open_ring();
    files_in("/tmp", "open, read 3000 bytes, close; tmpfs");
    if (!access("/ext4/lost+found", F_OK))
        files_in("/ext4", "open, read 3000 bytes, close; ext4, cached");
    table("getppid, 32 of them", NULLS, 100, nulls, NULL);
    listen_on();
    table("the drawing, per connection", CLIENTS, 1, drawings, clients);
    return 0;
}
