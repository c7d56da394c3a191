/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Runs random programs, in every mode, and expects nothing of them but that the kernel
 * stays well: run.sh reads its log. Programs share one arena with their arguments and
 * their run, so they overwrite themselves. Each batch is a process without rights and
 * with small limits; a seed and a batch number repeat it.
 */
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "suite.h"

enum { BATCH = 500, ATOMS = 24, ARENA = 1 << 16, NAMES = 8, SECONDS_MAX = 120 };

struct arena {
    struct syslet_uatom atom[ATOMS];
    struct syslet_run run;
    struct syslet_emitted emitted[16];
    uint64_t value[256];
    char name[NAMES][16];
    char rest[ARENA / 2];
};

extern char __executable_start[], _end[];

struct counts {
    volatile uint64_t runs, atoms, ends, misses, cancels, faults;
};

static struct arena *arena;
static struct counts *counts;
static struct ring ring;
static uint64_t state;
static struct syslet_info kernel;
static volatile sig_atomic_t ticks, patience;
static sigjmp_buf given_up;

static uint64_t
any(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dull;
}

static unsigned
below(unsigned limit)
{
    return (unsigned)((any() >> 33) % limit);
}

static void
on_tick(int signal)
{
    (void)signal;
    ticks++;
    /* A call that is restarted after each signal is left for good at last. */
    if (patience && !--patience)
        siglongjmp(given_up, 1);
}

static uint64_t
any_address(void)
{
    const uint64_t odd[] = {0,     8,         0x7ffffffff000, 0xffffffff81000000,
                            ~0ull, 1ull << 63};

    switch (below(8) ? 1 + below(15) : 0) {
    case 0:
        return odd[below(sizeof(odd) / sizeof(*odd))];
    case 1:
        return (uintptr_t)arena + sizeof(*arena) - below(64);
    case 2:
        return (uintptr_t)&arena->atom[below(ATOMS)] + below(80);
    case 3:
        return (uintptr_t)&arena->run + below(sizeof(arena->run));
    case 4:
    case 5:
    case 6:
        return (uintptr_t)arena->name[below(NAMES)];
    case 7:
        return (uintptr_t)&arena->value[below(256)];
    default:
        return (uintptr_t)arena->rest + below(sizeof(arena->rest));
    }
}

/* The fuzzer itself is not what it tests. */
static bool
is_ours(uint64_t value)
{
    const uint64_t near = 1 << 20;

    return value + near >= (uintptr_t)__executable_start &&
           value <= (uintptr_t)_end + near;
}

static uint64_t
raw_value(void)
{
    switch (below(8)) {
    case 0:
    case 1:
        return below(24);
    case 2:
        return below(2) ? AT_FDCWD : 1u << below(31);
    case 3:
        return below(9000);
    case 4:
        return any() >> below(64);
    case 5:
        return -(uint64_t)below(40);
    default:
        return any_address();
    }
}

static uint64_t
any_value(void)
{
    uint64_t value = raw_value();

    return is_ours(value) ? 0 : value;
}

/* Mostly what is allowed, but nothing that reaches other processes. */
static unsigned
any_call(void)
{
    const unsigned often[] = {SYS_read,   SYS_write,     SYS_open,    SYS_openat,
                              SYS_close,  SYS_stat,      SYS_fstat,   SYS_recvfrom,
                              SYS_sendto, SYS_accept4,   SYS_pread64, SYS_pwrite64,
                              SYS_dup2,   SYS_recvmsg,   SYS_statx,   SYS_setsockopt,
                              SYS_poll,   SYS_nanosleep, SYS_pipe2,   SYS_splice};
    unsigned nr;

    switch (below(10)) {
    case 0:
        return (unsigned)any() >> below(32);
    case 1:
    case 2:
        return SYSLET_NR_UMEM_ADD;
    case 3:
    case 4:
    case 5:
        do
            nr = below(512);
        while (!(kernel.allowed[nr / 64] >> (nr % 64) & 1));
        return nr;
    default:
        return often[below(sizeof(often) / sizeof(*often))];
    }
}

static void
any_atom(struct syslet_uatom *atom, int index)
{
    do
        atom->nr = any_call();
    while (atom->nr == SYS_kill || atom->nr == SYS_tgkill);
    atom->flags = below(3) ? (unsigned)any() & 0xff & ~(below(4) ? 7u : 0) : 0;
    if (!below(10))
        atom->flags |= SYSLET_EMIT;
    if (!below(200))
        atom->flags = (unsigned)any();
    atom->ret_ptr = below(3) ? (uintptr_t)&arena->value[below(256)]
                             : (below(20) ? 0 : any_address());
    atom->next = index + 1 < ATOMS ? (uintptr_t)(atom + 1) : 0;
    if (!below(8))
        atom->next = (uintptr_t)&arena->atom[below(ATOMS)];
    if (!below(100))
        atom->next = any_address();
    for (int i = 0, nr_args = (int)below(7); i < 6; i++)
        atom->arg_ptr[i] = i < nr_args ? (uintptr_t)&arena->value[below(256)] : 0;
    if (!below(100))
        atom->arg_ptr[below(6)] = any_address();
}

static void
any_program(void)
{
    for (int i = 0; i < 256; i++)
        arena->value[i] = any_value();
    for (int i = 0; i < NAMES; i++)
        snprintf(arena->name[i], sizeof(arena->name[i]), "%s%d", i == 7 ? "none/" : "n",
                 i);
    for (int i = 0; i < ATOMS; i++)
        any_atom(&arena->atom[i], i);
    memset(arena->emitted, 0, sizeof(arena->emitted));
    run_begin(&arena->run, &arena->atom[below(ATOMS)]);
    arena->run.budget = 1 + below(100);
    arena->run.emit_ptr = below(30) ? (uintptr_t)arena->emitted : any_address();
    arena->run.emit_entries = below(30) ? 16 : (unsigned)any() >> below(32);
    if (!below(50))
        arena->run.done = any() >> below(64);
}

static void
in_caller(void)
{
    int result;

    arena->run.flags = (unsigned)below(SYSLET_RUN_MASK + 1);
    if (!below(100))
        arena->run.flags = (unsigned)any();
    if (sigsetjmp(given_up, 1))
        return;
    patience = 4;
    for (int i = 0; i < 3; i++) {
        result = run_exec(&arena->run);
        counts->ends += result == 0;
        counts->misses += result == -EAGAIN;
        counts->faults += result == -EFAULT;
        /* Goes on where it was left, as a loop in user space would. */
        if (result != -EINTR && result != -ENOBUFS && result != 1)
            break;
        memset(arena->emitted, 0, sizeof(arena->emitted));
    }
    patience = 0;
}

/* False when the ring is gone: programs may close it. */
static bool
in_command(void)
{
    struct io_uring_cqe cqe;
    sig_atomic_t before = ticks;
    bool cancelled = false;

    ring_queue(&ring, &arena->run, 1, below(2) ? IOSQE_ASYNC : 0);
    if (ring_submit(&ring) != 1)
        return false;
    for (;;) {
        while (ring_ready(&ring)) {
            cqe = ring_wait(&ring);
            if (cqe.user_data == 1 && !(cqe.flags & IORING_CQE_F_MORE)) {
                counts->cancels += cqe.res == -ECANCELED;
                counts->ends += cqe.res == 0;
                return true;
            }
            /* A program may end without a completion; then it is not found. */
            if (cqe.user_data == 99 && cqe.res == -ENOENT && cancelled)
                return true;
        }
        if (ticks - before > 2 || below(50) == 0) {
            if (ring_cancel(&ring, 1) != 1)
                return false;
            cancelled = true;
            before = ticks;
        }
        sched_yield();
    }
}

static void
some_files(void)
{
    int pair[2];

    for (int i = 0; i < 3; i++)
        open("/dev/null", O_RDWR);
    make_file("n0", "some bytes of a file", 20);
    open("n0", O_RDWR);
    open(".", O_RDONLY | O_DIRECTORY);
    if (!pipe(pair) && !pipe2(pair, O_NONBLOCK))
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    eventfd(0, 0);
    epoll_create1(0);
    listen(socket(AF_INET, SOCK_STREAM, 0), 4);
}

static void
limit(int what, rlim_t most)
{
    struct rlimit value = {most, most};

    setrlimit(what, &value);
}

static int
batch(void *context)
{
    struct sigaction action = {.sa_handler = on_tick};
    struct itimerval timer = {{0, 4000}, {0, 4000}};
    unsigned long *left = context;

    check_fd = dup2(1, 63);
    for (int fd = 0; fd < 63; fd++)
        close(fd);
    device_forget();
    if (chdir("/tmp/fuzz") || setgroups(0, NULL) || setresgid(1000, 1000, 1000) ||
        setresuid(1000, 1000, 1000))
        return 1;
    limit(RLIMIT_FSIZE, 1 << 20);
    limit(RLIMIT_NOFILE, 64);
    some_files();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    action.sa_flags = below(2) ? SA_RESTART : 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    if (ring_open(&ring, 16, below(2) ? 0 : IORING_SETUP_COOP_TASKRUN))
        return 1;
    device();
    for (unsigned long i = 0; i < *left && i < BATCH; i++) {
        any_program();
        if (below(2))
            in_caller();
        else if (!in_command())
            break;
        counts->runs++;
        counts->atoms += arena->run.executed < 10000 ? arena->run.executed : 0;
    }
    return 0;
}

/* The child, or a report that it hangs. */
static int
watch(int pid)
{
    for (int i = 0; i < SECONDS_MAX * 50; i++) {
        int status, found = waitpid(pid, &status, WNOHANG);

        if (found == pid)
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        sleep_ms(i < 50 ? 1 : 20);
    }
    printf("fuzz: batch hangs\n");
    return 1;
}

/* Memory with none on either side: what overflows it must not hit our own. */
static void *
guarded(size_t size)
{
    size_t guard = 1 << 20, pages = (size + 4095) & ~(size_t)4095;
    char *all = mmap(NULL, pages + 2 * guard, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK(all != MAP_FAILED);
    CHECK(!mprotect(all + guard, pages, PROT_READ | PROT_WRITE));
    return all + guard;
}

/* Programs rename, remove and forbid: each batch has a file system of its own. */
static void
fresh_folder(void)
{
    umount2("/tmp/fuzz", MNT_DETACH);
    CHECK(!mount("tmpfs", "/tmp/fuzz", "tmpfs", 0, "size=16m,mode=0777"));
}

int
fuzz(unsigned long executions, unsigned long seed, unsigned long first)
{
    unsigned long left, last = 0;
    int result;

    arena = guarded(sizeof(*arena));
    counts =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(counts != MAP_FAILED);
    CHECK(!ioctl(device(), SYSLET_IOC_INFO, &kernel));
    mkdir("/tmp/fuzz", 0777);
    for (unsigned long number = first; counts->runs < executions; number++) {
        state = (seed * 0x9e3779b97f4a7c15ull) ^ ((number + 1) * 0xbf58476d1ce4e5b9ull);
        left = executions - counts->runs;
        fresh_folder();
        result = watch(child(batch, &left));
        /* Its own memory is fair game: a batch may crash, and the next one begins. */
        if (result && result != 128 + SIGSEGV && result != 128 + SIGBUS) {
            printf("fuzz: batch %lu of seed %lu: %d\n", number, seed, result);
            return 1;
        }
        if (counts->runs / 50000 != last) {
            last = counts->runs / 50000;
            printf("fuzz: %llu programs\n", (unsigned long long)counts->runs);
        }
    }
    printf("fuzz: seed %lu, %llu programs, %llu atoms; %llu ended, %llu missed, "
           "%llu cancelled, %llu faulted\n",
           seed, (unsigned long long)counts->runs, (unsigned long long)counts->atoms,
           (unsigned long long)counts->ends, (unsigned long long)counts->misses,
           (unsigned long long)counts->cancels, (unsigned long long)counts->faults);
    return 0;
}
