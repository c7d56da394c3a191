/* The floor of benchmarks/network.py: what an echo costs without Python.
 *
 *     floor epoll|ring stream|udp [PATH]
 *
 * Two servers with the same work per message, one recv and one send: `epoll` waits with
 * epoll_wait, `ring` with a multishot poll per descriptor in an io_uring, by plain
 * system calls. Listens at a free port of 127.0.0.1, or at PATH, and prints a line with
 * the address. It ends when its standard input does. udp is for epoll only. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CHUNK = 256 * 1024, /* bytes per recv */
    BATCH = 256,        /* events per epoll_wait */
    BACKLOG = 4096,
    ENTRIES = 4096, /* of the ring; the completion queue has twice as many */
    FILES = 1 << 16 /* descriptors are smaller than this */
};

static char buffer[CHUNK];
static bool datagrams;
static int listener, poller;

static void
check(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

/* What both servers do with a descriptor */

static void
send_all(int fd, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(fd, buffer + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            poll(&writable, 1, -1); /* ends: the load reads while it writes */
        } else if (n < 0) {
            return;
        } else {
            sent += (size_t)n;
        }
    }
}

/* True while the connection lives. A short recv has emptied the socket. */
static bool
echo(int fd)
{
    for (;;) {
        ssize_t n = recv(fd, buffer, CHUNK, MSG_DONTWAIT);
        if (n <= 0) {
            return n < 0 && errno == EAGAIN;
        }
        send_all(fd, (size_t)n);
        if (n < CHUNK) {
            return true;
        }
    }
}

static void
echo_datagrams(int fd)
{
    struct sockaddr_storage peer;
    for (;;) {
        socklen_t length = sizeof(peer);
        struct sockaddr *from = (struct sockaddr *)&peer;
        ssize_t n = recvfrom(fd, buffer, CHUNK, MSG_DONTWAIT, from, &length);
        if (n < 0) {
            return;
        }
        sendto(fd, buffer, (size_t)n, MSG_DONTWAIT, from, length);
    }
}

static int
accept_one(void)
{
    const int yes = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= FILES) {
        close(fd);
        return -1;
    }
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    }
    return fd;
}

/* epoll */

static void
watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    check(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static void
handle(int fd)
{
    if (fd == STDIN_FILENO) {
        exit(0);
    }
    if (fd == listener && !datagrams) {
        while ((fd = accept_one()) >= 0) {
            watch(fd);
        }
    } else if (datagrams) {
        echo_datagrams(fd);
    } else if (!echo(fd)) {
        close(fd);
    }
}

static void
serve_epoll(void)
{
    struct epoll_event events[BATCH];
    poller = epoll_create1(EPOLL_CLOEXEC);
    check(poller, "epoll_create1");
    watch(STDIN_FILENO);
    watch(listener);
    for (;;) {
        int n = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            handle(events[i].data.fd);
        }
    }
}

/* The ring */

static struct {
    unsigned *sq_head, *sq_tail, sq_mask, *cq_head, *cq_tail, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    unsigned pending; /* entries written and not yet submitted */
} ring;

static uint32_t generations[FILES]; /* of a descriptor; older completions are stale */

static void *
map(size_t size, off_t offset)
{
    int flags = MAP_SHARED | MAP_POPULATE;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, poller, offset);
    check(memory == MAP_FAILED ? -1 : 0, "mmap");
    return memory;
}

static void
open_ring(void)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN};
    poller = (int)syscall(__NR_io_uring_setup, ENTRIES, &params);
    check(poller, "io_uring_setup");
    size_t cqes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    size_t array = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    char *rings = map(cqes > array ? cqes : array, IORING_OFF_SQ_RING);
    ring.sq_head = (unsigned *)(rings + params.sq_off.head);
    ring.sq_tail = (unsigned *)(rings + params.sq_off.tail);
    ring.sq_mask = *(unsigned *)(rings + params.sq_off.ring_mask);
    ring.cq_head = (unsigned *)(rings + params.cq_off.head);
    ring.cq_tail = (unsigned *)(rings + params.cq_off.tail);
    ring.cq_mask = *(unsigned *)(rings + params.cq_off.ring_mask);
    ring.cqes = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
    ring.sqes = map(params.sq_entries * sizeof(*ring.sqes), IORING_OFF_SQES);
    for (unsigned i = 0; i < params.sq_entries; i++) {
        ((unsigned *)(rings + params.sq_off.array))[i] = i;
    }
}

static void
enter(unsigned wanted)
{
    long n = syscall(__NR_io_uring_enter, poller, ring.pending, wanted,
                     IORING_ENTER_GETEVENTS, NULL, 0);
    if (n >= 0) {
        ring.pending -= (unsigned)n;
    } else if (errno != EINTR && errno != EAGAIN && errno != EBUSY) {
        check(n, "io_uring_enter");
    }
}

static struct io_uring_sqe *
next_entry(uint8_t opcode)
{
    while (ring.pending == ENTRIES) {
        enter(0);
    }
    unsigned tail = *ring.sq_tail;
    struct io_uring_sqe *sqe = &ring.sqes[tail & ring.sq_mask];
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = opcode;
    __atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
    ring.pending++;
    return sqe;
}

static uint64_t
ticket_of(int fd)
{
    return (uint64_t)generations[fd] << 32 | (uint32_t)fd;
}

static void
arm(int fd)
{
    struct io_uring_sqe *sqe = next_entry(IORING_OP_POLL_ADD);
    sqe->fd = fd;
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->poll32_events = POLLIN;
    sqe->user_data = ticket_of(fd);
}

/* The poll holds the file, so it goes too. */
static void
drop(int fd)
{
    struct io_uring_sqe *sqe = next_entry(IORING_OP_POLL_REMOVE);
    sqe->fd = -1;
    sqe->addr = ticket_of(fd);
    sqe->user_data = UINT64_MAX;
    generations[fd]++;
    close(fd);
}

static void
complete(uint64_t ticket, bool more)
{
    int fd = (int)(uint32_t)ticket;
    if (ticket == UINT64_MAX || ticket != ticket_of(fd)) {
        return;
    }
    if (fd == STDIN_FILENO) {
        exit(0);
    }
    if (fd == listener) {
        int accepted;
        while ((accepted = accept_one()) >= 0) {
            arm(accepted);
        }
    } else if (!echo(fd)) {
        drop(fd);
        return;
    }
    if (!more) {
        arm(fd);
    }
}

static void
serve_ring(void)
{
    open_ring();
    arm(STDIN_FILENO);
    arm(listener);
    for (;;) {
        enter(1);
        unsigned head = *ring.cq_head;
        while (head != __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE)) {
            const struct io_uring_cqe cqe = ring.cqes[head & ring.cq_mask];
            __atomic_store_n(ring.cq_head, ++head, __ATOMIC_RELEASE);
            complete(cqe.user_data, cqe.flags & IORING_CQE_F_MORE);
        }
    }
}

/* The listener */

static void
listen_unix(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strncpy(name.sun_path, path, sizeof(name.sun_path) - 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(bind(listener, (struct sockaddr *)&name, sizeof(name)), "bind");
}

static void
listen_inet(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t length = sizeof(name);
    int type = datagrams ? SOCK_DGRAM : SOCK_STREAM;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(bind(listener, (struct sockaddr *)&name, length), "bind");
    check(getsockname(listener, (struct sockaddr *)&name, &length), "getsockname");
    printf("%d\n", ntohs(name.sin_port));
}

int
main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "floor epoll|ring stream|udp [PATH]\n");
        return 1;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    datagrams = strcmp(argv[2], "udp") == 0;
    if (argc > 3) {
        listen_unix(argv[3]);
        puts(argv[3]);
    } else {
        listen_inet();
    }
    check(datagrams ? 0 : listen(listener, BACKLOG), "listen");
    fflush(stdout);
    if (strcmp(argv[1], "ring") == 0) {
        serve_ring();
    }
    serve_epoll();
}
