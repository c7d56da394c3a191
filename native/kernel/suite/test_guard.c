/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What a program must not be able to do: calls that are not allowed, calls past a
 * filter, a tracer or the audit log, with rights the submitter does not have, or on
 * the ring that runs it.
 */
#include <fcntl.h>
#include <sched.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "suite.h"

static struct program p;
static struct syslet_run run;
static struct ring ring;
static int64_t result;

static void
refused_calls(void)
{
    const unsigned calls[] = {SYS_fork,
                              SYS_vfork,
                              SYS_clone,
                              SYS_clone3,
                              SYS_execve,
                              SYS_execveat,
                              SYS_exit,
                              SYS_exit_group,
                              SYS_rt_sigreturn,
                              SYS_rt_sigprocmask,
                              SYS_restart_syscall,
                              SYS_sigaltstack,
                              SYS_ioctl,
                              SYS_io_uring_setup,
                              SYS_io_uring_enter,
                              SYS_mmap,
                              SYS_munmap,
                              SYS_mprotect,
                              SYS_mremap,
                              SYS_brk,
                              SYS_setuid,
                              SYS_setresuid,
                              SYS_setgroups,
                              SYS_capset,
                              SYS_prctl,
                              SYS_arch_prctl,
                              SYS_seccomp,
                              SYS_unshare,
                              SYS_setns,
                              SYS_ptrace,
                              SYS_chroot,
                              SYS_pivot_root,
                              SYS_ppoll,
                              SYS_pselect6,
                              SYS_epoll_pwait,
                              SYS_futex,
                              SYS_set_robust_list,
                              SYS_rseq,
                              SYS_personality,
                              SYS_io_uring_register,
                              SYS_close_range,
                              SYS_setsid,
                              SYS_bpf,
                              SYS_userfaultfd};

    EQUAL(ring_open(&ring, 8, 0), 0);
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
        p.atoms = p.values = 0;
        program_add(&p, 0, &result, SYS_getpid, NULL);
        program_add(&p, 0, &result, calls[i], V(&p, 0), V(&p, 0), NULL);
        EQUAL(program_exec(&p, &run), -EPERM);
        EQUAL(run.pc, (uintptr_t)&p.atom[1]);
        EQUAL(run.executed, 1);
        run_begin(&run, p.atom);
        EQUAL(ring_run(&ring, &run, i % 2 ? IOSQE_ASYNC : 0), -EPERM);
        EQUAL(run.executed, 1);
    }
}

static void
no_such_call(void)
{
    const unsigned calls[] = {511,        512,        0x10002,   0x40000000,
                              0x40000001, 0x7fffffff, 0xffffffff};

    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
        p.atoms = 0;
        program_add(&p, 0, &result, calls[i], NULL);
        EQUAL(program_exec(&p, &run), -ENOSYS);
        EQUAL(run.executed, 0);
    }
}

/* A filter that allows everything: that there is one is enough. */
static void
install_filter(void)
{
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, code};

    EQUAL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    EQUAL(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* A worker that is older than the filter must not run past it either. */
static void
filtered(void)
{
    EQUAL(ring_open(&ring, 8, 0), 0);
    program_add(&p, 0, &result, SYS_getppid, NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, IOSQE_ASYNC), 0);
    EQUAL(workers(), 1);
    install_filter();
    EQUAL(workers(), 1);
    for (unsigned flags = 0; flags <= IOSQE_ASYNC; flags += IOSQE_ASYNC) {
        run_begin(&run, p.atom);
        EQUAL(ring_run(&ring, &run, flags), -EPERM);
        EQUAL(run.executed, 0);
    }
    EQUAL(program_exec(&p, &run), -EPERM);
    EQUAL(run.executed, 0);
}

/* A filter that comes while a worker loops stops it at the next atom. */
static void
filtered_meanwhile(void)
{
    struct timespec pause = {0, 2000000};

    EQUAL(ring_open(&ring, 8, 0), 0);
    program_add(&p, 0, &result, SYS_nanosleep, V(&p, &pause), V(&p, 0), NULL)->next =
        (uintptr_t)p.atom;
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, IOSQE_ASYNC);
    EQUAL(ring_submit(&ring), 1);
    sleep_ms(30);
    install_filter();
    EQUAL(ring_wait(&ring).res, -EPERM);
    CHECK(run.executed > 0);
}

static int
traced_child(void *context)
{
    int *how = context;

    EQUAL(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
    raise(SIGSTOP);
    program_add(&p, 0, &result, SYS_getppid, NULL);
    if (!*how)
        return -program_exec(&p, &run);
    EQUAL(ring_open(&ring, 8, 0), 0);
    run_begin(&run, p.atom);
    return -ring_run(&ring, &run, *how == 2 ? IOSQE_ASYNC : 0);
}

/* A tracer of system calls sees all or the program does not run. */
static void
traced(void)
{
    for (int how = 0; how < 6; how++) {
        int kind = how % 3, status, request = how < 3 ? PTRACE_SYSCALL : PTRACE_CONT;
        int pid = child(traced_child, &kind);

        for (;;) {
            EQUAL(waitpid(pid, &status, __WALL), pid);
            if (!WIFSTOPPED(status))
                break;
            EQUAL(ptrace(request, pid, 0, 0), 0);
        }
        CHECK(WIFEXITED(status));
        EQUAL(WEXITSTATUS(status), how < 3 ? EPERM : 0);
    }
}

static bool
audit_enable(unsigned enabled)
{
    struct {
        struct nlmsghdr header;
        struct audit_status status;
    } message = {.header = {.nlmsg_len = sizeof(message),
                            .nlmsg_type = AUDIT_SET,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
                 .status = {.mask = AUDIT_STATUS_ENABLED, .enabled = enabled}};
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char more[128];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);

    if (fd < 0)
        return false;
    EQUAL(send(fd, &message, sizeof(message), 0), sizeof(message));
    CHECK(recv(fd, &answer, sizeof(answer), 0) > 0);
    EQUAL(answer.header.nlmsg_type, NLMSG_ERROR);
    EQUAL(answer.error.error, 0);
    close(fd);
    return true;
}

static int
audited_child(void *context)
{
    (void)context;
    program_add(&p, 0, &result, SYS_getppid, NULL);
    EQUAL(program_exec(&p, &run), -EPERM);
    EQUAL(ring_open(&ring, 8, 0), 0);
    for (unsigned flags = 0; flags <= IOSQE_ASYNC; flags += IOSQE_ASYNC) {
        run_begin(&run, p.atom);
        EQUAL(ring_run(&ring, &run, flags), -EPERM);
    }
    return 0;
}

/* Once the audit log records calls, a new process has to make them itself. */
static void
audited(void)
{
    if (!audit_enable(1)) {
        printf("  left out: a kernel without audit\n");
        return;
    }
    EQUAL(reap(child(audited_child, NULL)), 0);
    audit_enable(0);
}

/* The rights are those of the submitter now, not those its worker was born with. */
static void
credentials(void)
{
    EQUAL(ring_open(&ring, 8, 0), 0);
    make_file("/tmp/secret", "secret", 6);
    EQUAL(chmod("/tmp/secret", 0600), 0);
    program_add(&p, 0, &result, SYS_open, V(&p, "/tmp/secret"), V(&p, 0), NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, IOSQE_ASYNC), 0);
    CHECK(result >= 0);
    EQUAL(device() >= 0, 1);
    EQUAL(setresuid(1000, 1000, 1000), 0);
    for (unsigned flags = 0; flags <= IOSQE_ASYNC; flags += IOSQE_ASYNC) {
        run_begin(&run, p.atom);
        EQUAL(ring_run(&ring, &run, flags), 0);
        EQUAL(result, -EACCES);
    }
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(result, -EACCES);
    /* The device is for everybody. */
    CHECK(open(SYSLET_DEVICE, O_RDWR) >= 0);
}

/* A worker with other descriptors than its submitter works for nobody. */
static void
parted_files(void)
{
    EQUAL(ring_open(&ring, 8, 0), 0);
    program_add(&p, 0, &result, SYS_getppid, NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, IOSQE_ASYNC), 0);
    EQUAL(unshare(CLONE_FILES), 0);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, IOSQE_ASYNC), -EPERM);
    EQUAL(run.executed, 0);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, 0), 0);
}

/* io_uring_enter may use the ring without a reference of its own. */
static void
own_ring(void)
{
    int other, second;

    EQUAL(ring_open(&ring, 8, 0), 0);
    other = open("/tmp", O_RDONLY);
    second = dup(ring.fd);
    for (unsigned flags = 0; flags <= IOSQE_ASYNC; flags += IOSQE_ASYNC) {
        p.atoms = p.values = 0;
        program_add(&p, 0, &result, SYS_close, V(&p, ring.fd), NULL);
        run_begin(&run, p.atom);
        EQUAL(ring_run(&ring, &run, flags), -EPERM);
        p.atoms = p.values = 0;
        program_add(&p, 0, &result, SYS_dup2, V(&p, other), V(&p, ring.fd), NULL);
        run_begin(&run, p.atom);
        EQUAL(ring_run(&ring, &run, flags), -EPERM);
        p.atoms = p.values = 0;
        program_add(&p, 0, &result, SYS_dup3, V(&p, other), V(&p, second), V(&p, 0),
                    NULL);
        run_begin(&run, p.atom);
        EQUAL(ring_run(&ring, &run, flags), -EPERM);
    }
    /* Other descriptors may go. */
    p.atoms = p.values = 0;
    program_add(&p, 0, &result, SYS_dup2, V(&p, 0), V(&p, other), NULL);
    program_add(&p, 0, &result, SYS_close, V(&p, other), NULL);
    run_begin(&run, p.atom);
    EQUAL(ring_run(&ring, &run, 0), 0);
    EQUAL(result, 0);
    /* In the caller, which is in no ring, it is a descriptor like others. */
    p.atoms = p.values = 0;
    program_add(&p, 0, &result, SYS_close, V(&p, second), NULL);
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(result, 0);
}

/* The device the program runs on may be closed by it. */
static void
own_device(void)
{
    uint64_t count = 0;

    program_add(&p, 0, &result, SYS_close, V(&p, device()), NULL);
    for (int i = 0; i < 50; i++)
        program_add(&p, 0, NULL, SYSLET_NR_UMEM_ADD, V(&p, &count), V(&p, 1), NULL);
    EQUAL(program_exec(&p, &run), 0);
    EQUAL(result, 0);
    EQUAL(count, 50);
    EQUAL(run_exec(&run), -EBADF);
}

static void
other_rings(void)
{
    struct io_uring_cqe cqe;
    struct io_uring_sqe *sqe;

    program_add(&p, 0, &result, SYS_getppid, NULL);
    EQUAL(ring_open(&ring, 8, IORING_SETUP_IOPOLL), 0);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, 0);
    EQUAL(ring_submit(&ring), 1);
    CHECK(ring_ready(&ring));
    EQUAL(ring_wait(&ring).res, -EOPNOTSUPP);
    ring_close(&ring);

    EQUAL(ring_open(&ring, 8, 0), 0);
    ring_queue(&ring, &run, 1, 0);
    sqe = &ring.sqe[0];
    sqe->off = 77;
    EQUAL(ring_submit(&ring), 1);
    EQUAL(ring_wait(&ring).res, -EINVAL);
    sqe = ring_sqe(&ring, 1);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = device();
    sqe->off = SYSLET_CMD_EXEC;
    EQUAL(ring_submit(&ring), 1);
    cqe = ring_wait(&ring);
    EQUAL(cqe.res, -EFAULT);
    EQUAL(run.executed, 0);
}

static void
kernel_thread_ring(void)
{
    struct io_uring_cqe cqe;

    EQUAL(ring_open(&ring, 8, IORING_SETUP_SQPOLL), 0);
    program_add(&p, 0, &result, SYS_getppid, NULL);
    run_begin(&run, p.atom);
    ring_queue(&ring, &run, 1, 0);
    EQUAL(syscall(SYS_io_uring_enter, ring.fd, 1, 1,
                  IORING_ENTER_SQ_WAKEUP | IORING_ENTER_GETEVENTS, NULL, 0),
          1);
    cqe = ring_wait(&ring);
    EQUAL(cqe.res, -EOPNOTSUPP);
    EQUAL(run.executed, 0);
}

const struct test guard_tests[] = {{"refused_calls", refused_calls},
                                   {"no_such_call", no_such_call},
                                   {"filtered", filtered},
                                   {"filtered_meanwhile", filtered_meanwhile},
                                   {"traced", traced},
                                   {"credentials", credentials},
                                   {"parted_files", parted_files},
                                   {"own_ring", own_ring},
                                   {"own_device", own_device},
                                   {"other_rings", other_rings},
                                   {"kernel_thread_ring", kernel_thread_ring},
                                   /* Last: what it switches on stays on. */
                                   {"audited", audited},
                                   {NULL, NULL}};
