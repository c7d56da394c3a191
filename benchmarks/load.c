/* A load generator for echo servers: the other half of benchmarks/network.py.
 *
 *     load MODE ADDRESS CONNECTIONS SIZE LIMIT [PID]
 *
 * MODE is echo, udp, churn (connect, one message, its echo, close), broadcast (one
 * connection sends, all receive) or idle (connect and hold). ADDRESS is a port of
 * 127.0.0.1 or the path of a Unix socket. LIMIT is a number of messages, or of seconds
 * if it ends with s. Every byte that comes back is compared with what was sent.
 *
 * Prints one JSON object. With PID it has the CPU time per message of that process'
 * threads between two moments at which the server has nothing to do, before the first
 * message and after the last echo, and `waited`, the part of that time in which they
 * were kept from running by others. A server that is silent for 5 s ends it with 3. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH = 256,           /* events per epoll_wait */
    CHUNK = 256 * 1024,    /* bytes per recv */
    SAMPLES_MAX = 1 << 23, /* latencies kept */
    SILENCE_MS = 5000,
    SOURCES = 200,   /* addresses that connections come from, for their ports */
    IN_BACKLOG = 100 /* connections made before the server has to have followed */
};

enum mode { MODE_ECHO, MODE_UDP, MODE_CHURN, MODE_BROADCAST, MODE_IDLE };

struct connection {
    int fd;
    bool blocked;       /* waits for EPOLLOUT too */
    const char *expect; /* of the message under way; borrowed from `pattern` */
    size_t sent, got;
    uint64_t start;
};

static enum mode mode;
static const char *address;
static struct connection *connections;
static int connections_count, epoll_fd, pid;
static size_t size;
static char *pattern;   /* size + 256 bytes; a message starts at one of 256 places */
static uint32_t *times; /* nanoseconds per message */
static size_t times_count;
static long messages, messages_max; /* in this phase */
static uint64_t deadline;
static int busy; /* connections with a message under way */

static void
fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

static uint64_t
now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void
sleep_ms(long ms)
{
    const struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&ts, NULL);
}

/* The server, seen from outside */

struct account {
    uint64_t ran, waited; /* nanoseconds; waited for a processor while runnable */
};

static struct account
server_account(void)
{
    char path[320];
    struct account sum = {0, 0};
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        unsigned long long ran = 0, waited = 0;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, task->d_name);
        FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file && fscanf(file, "%llu %llu", &ran, &waited) == 2) {
            sum.ran += ran;
            sum.waited += waited;
        }
        if (file) {
            fclose(file);
        }
    }
    if (tasks) {
        closedir(tasks);
    }
    return sum;
}

/* The kernel adds up a thread's time when it stops running, so wait until it has. */
static struct account
settled_account(void)
{
    struct account before = server_account();
    for (int i = 0, same = 0; pid && i < 40 && same < 2; i++) {
        sleep_ms(5);
        struct account after = server_account();
        same = after.ran == before.ran ? same + 1 : 0;
        before = after;
    }
    return before;
}

static long
server_rss(void)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1) {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return kib * 1024;
}

/* Connections */

static int
connect_unix(int fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, address, sizeof(to.sun_path) - 1);
    return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

/* Source addresses vary, or the ports of connections just closed would run out. */
static int
connect_inet(int fd)
{
    static unsigned turn;
    const int yes = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_port = htons((uint16_t)atoi(address));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (mode == MODE_CHURN) {
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % SOURCES);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
        if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0) {
            return -1;
        }
    }
    if (mode != MODE_UDP) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    }
    return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

static void
open_connection(struct connection *conn)
{
    bool local = address[0] == '/';
    int type = mode == MODE_UDP ? SOCK_DGRAM : SOCK_STREAM;
    conn->fd = socket(local ? AF_UNIX : AF_INET, type | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || (local ? connect_unix : connect_inet)(conn->fd) < 0) {
        fail(2, "connect: %s", strerror(errno));
    }
    conn->blocked = false;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) < 0) {
        fail(2, "epoll_ctl: %s", strerror(errno));
    }
}

/* Messages */

static void
push(struct connection *conn)
{
    while (conn->sent < size) {
        const char *rest = conn->expect + conn->sent;
        ssize_t n = send(conn->fd, rest, size - conn->sent, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) {
            fail(2, "send: %s", strerror(errno));
        }
        if (n < 0) {
            break;
        }
        conn->sent += (size_t)n;
    }
    bool blocked = conn->sent < size;
    if (blocked != conn->blocked) {
        struct epoll_event event = {.data.ptr = conn};
        event.events = EPOLLIN | (blocked ? EPOLLOUT : 0);
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
        conn->blocked = blocked;
    }
}

static void
start_message(struct connection *conn)
{
    static unsigned place;
    conn->start = now();
    if (mode == MODE_CHURN) {
        open_connection(conn);
    }
    unsigned group = mode == MODE_BROADCAST ? (unsigned)connections_count : 1;
    conn->expect = pattern + (place++ / group & 255);
    conn->sent = conn->got = 0;
    busy++;
    if (mode != MODE_BROADCAST || conn == connections) {
        push(conn);
    }
}

/* A message at every connection; in a broadcast all wait for the first one's. */
static void
start_all(void)
{
    for (int i = 0; i < connections_count; i++) {
        start_message(&connections[i]);
    }
}

static void
finish_message(struct connection *conn)
{
    uint64_t end = now();
    if (times_count < SAMPLES_MAX) {
        times[times_count++] = (uint32_t)(end - conn->start);
    }
    messages++;
    busy--;
    if (mode == MODE_CHURN) {
        close(conn->fd);
    }
    if (end >= deadline || messages + busy >= messages_max) {
        return;
    }
    if (mode != MODE_BROADCAST) {
        start_message(conn);
    } else if (busy == 0) {
        start_all();
    }
}

static void
pull(struct connection *conn)
{
    static char buffer[CHUNK];
    ssize_t n = recv(conn->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        fail(2, "recv: %s", n == 0 ? "closed by the server" : strerror(errno));
    }
    size_t got = (size_t)n;
    if (conn->got + got > size || memcmp(buffer, conn->expect + conn->got, got) != 0) {
        fail(4, "an echo differs from its message");
    }
    conn->got += got;
    if (conn->got == size) {
        finish_message(conn);
    }
}

/* Let messages run until the limit, then until none is under way. */
static void
run(double seconds, long count)
{
    struct epoll_event events[BATCH];
    messages = 0;
    times_count = 0;
    messages_max = count;
    deadline = now() + (uint64_t)(seconds * 1e9);
    start_all();
    while (busy) {
        int n = epoll_wait(epoll_fd, events, BATCH, SILENCE_MS);
        if (n == 0) {
            fail(3, "no answer for %d s; %d messages under way", SILENCE_MS / 1000,
                 busy);
        }
        for (int i = 0; i < n; i++) {
            struct connection *conn = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                push(conn);
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT) {
                pull(conn);
            }
        }
    }
}

/* One message and its echo; the server has then accepted everything before it. */
static void
ask(struct connection *conn)
{
    struct epoll_event event;
    messages_max = 0;
    start_message(conn);
    while (busy) {
        if (epoll_wait(epoll_fd, &event, 1, SILENCE_MS) != 1) {
            fail(3, "no answer while connecting");
        }
        push(conn);
        pull(conn);
    }
}

static void
open_all(void)
{
    for (int i = 0; i < connections_count; i++) {
        open_connection(&connections[i]);
        if ((i + 1) % IN_BACKLOG == 0) {
            if (mode == MODE_BROADCAST) {
                sleep_ms(10);
            } else {
                ask(&connections[i]);
            }
        }
    }
}

/* Results */

static int
compare_times(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double
percentile(double part)
{
    size_t index = (size_t)((double)times_count * part);
    index = index < times_count ? index : times_count - 1;
    return times_count ? (double)times[index] / 1e3 : 0;
}

static void
hold(void)
{
    int count = connections_count;
    connections_count = 1;
    open_all();
    ask(connections);
    long before = server_rss();
    connections++;
    connections_count = count;
    open_all();
    ask(&connections[count - 1]);
    printf("{\"connections\": %d, \"bytes\": %.1f}\n", count,
           (double)(server_rss() - before) / count);
}

static void
measure(double seconds, long count)
{
    if (mode != MODE_CHURN) {
        open_all();
    }
    sleep_ms(mode == MODE_BROADCAST ? 300 : 1);
    run(0.1, count / 10 + connections_count); /* warms up everything */
    struct account before = settled_account();
    uint64_t start = now();
    run(seconds, count);
    double took = (double)(now() - start) / 1e9;
    struct account after = settled_account();
    qsort(times, times_count, sizeof(*times), compare_times);
    printf("{\"messages\": %ld, \"seconds\": %.6f, \"cpu_ns\": %.1f, \"waited\": %.3f, "
           "\"p50_us\": %.2f, \"p99_us\": %.2f}\n",
           messages, took, (double)(after.ran - before.ran) / (double)messages,
           (double)(after.waited - before.waited) / 1e9 / took, percentile(0.5),
           percentile(0.99));
}

static enum mode
mode_of(const char *name)
{
    static const char *const names[] = {"echo", "udp", "churn", "broadcast", "idle"};
    for (int i = 0; i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (enum mode)i;
        }
    }
    fail(1, "no such mode: %s", name);
    return MODE_ECHO;
}

int
main(int argc, char **argv)
{
    if (argc < 6) {
        fail(1, "load MODE ADDRESS CONNECTIONS SIZE LIMIT [PID]");
    }
    mode = mode_of(argv[1]);
    address = argv[2];
    connections_count = atoi(argv[3]);
    size = (size_t)atol(argv[4]);
    double limit = atof(argv[5]);
    bool timed = strchr(argv[5], 's') != NULL;
    pid = argc > 6 ? atoi(argv[6]) : 0;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)connections_count + 1, sizeof(*connections));
    times = malloc(SAMPLES_MAX * sizeof(*times));
    pattern = malloc(size + 256);
    if (!connections || !times || !pattern || size < 1 || connections_count < 1) {
        fail(1, "a size or a count is wrong");
    }
    for (size_t i = 0; i < size + 256; i++) {
        pattern[i] = (char)(i * 31 + i / 256);
    }
    if (mode == MODE_IDLE) {
        hold();
    } else {
        measure(timed ? limit : 3600, timed ? INT64_MAX / 2 : (long)limit);
    }
    return 0;
}
