/* The operations table: one row per operation, and the calls no program may make.
 *
 * Columns: name, number, argument letters, result letter (op.h explains both), how many
 * arguments at least, flags, inline attempt and its name, ring form and its opcode's
 * name, readiness. A new operation is a new row here and one in syslet_loop/ops.py; a
 * test compares the two. */
#define _GNU_SOURCE
#include <poll.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "attempt.h"
#include "engine.h"

#define PLAIN attempt_plain, "plain"
#define NONE NULL, ""
#define NO_RING NULL, 0, ""
#define RING(function, opcode) function, opcode, #opcode
#define ROW(name_, nr_, args_, result_, min_, flags_, ...)                             \
    ROW_(name_, nr_, args_, result_, min_, flags_, __VA_ARGS__)
#define ROW_(name_, nr_, args_, result_, min_, flags_, attempt_, inline_, prepare_,    \
             opcode_, ring_, ready_)                                                   \
    {.name = name_,                                                                    \
     .nr = nr_,                                                                        \
     .args = args_,                                                                    \
     .result = result_,                                                                \
     .args_min = min_,                                                                 \
     .flags = flags_,                                                                  \
     .attempt = attempt_,                                                              \
     .inline_form = inline_,                                                           \
     .prepare = prepare_,                                                              \
     .opcode = opcode_,                                                                \
     .ring_form = ring_,                                                               \
     .ready = ready_}

/* A call that never blocks, as it is; one that a worker makes. */
#define QUICK(name, nr, args, result, min, flags)                                      \
    ROW(name, nr, args, result, min, (flags) | OP_NEVER_BLOCKS, PLAIN, NO_RING, 0)
#define SLOW(name, nr, args, result, min)                                              \
    ROW(name, nr, args, result, min, 0, NONE, NO_RING, 0)

enum {
    STREAM_IN = OP_TRANSFER | OP_POLLED | OP_KEEPS_FDS,
    STREAM_OUT = OP_TRANSFER | OP_POLLED | OP_WRITES,
    VECTOR_IN = OP_VECTOR | OP_POLLED,
    VECTOR_OUT = OP_VECTOR | OP_POLLED | OP_WRITES,
    SOCKET_IN = OP_POLLED | OP_WAITS | OP_SOCKET,
    SOCKET_OUT = OP_POLLED | OP_WAITS | OP_SOCKET | OP_WRITES,
};

const struct op ops[] = {
    /* pseudo operations */
    ROW("nop", PSEUDO_NOP, "i", 'i', 0, OP_PSEUDO, attempt_nop, "itself", NO_RING, 0),
    ROW("umem_add", PSEUDO_UMEM_ADD, "Ti", 'i', 2, OP_PSEUDO, attempt_umem_add,
        "atomic add", NO_RING, 0),
    ROW("load", PSEUDO_LOAD, "tiii", 'i', 2, OP_PSEUDO, attempt_load, "memory read",
        NO_RING, 0),
    ROW("buffer", PSEUDO_BUFFER, "ii", '0', 2, OP_PSEUDO, attempt_buffer, "allocation",
        NO_RING, 0),
    ROW("emit", PSEUDO_EMIT, "i", '0', 1, OP_PSEUDO, attempt_emit, "report", NO_RING,
        0),

    /* files: opening, reading, writing */
    ROW("openat", __NR_openat, "dpii", 'f', 3, OP_MAKES_FD, attempt_openat,
        "openat2 RESOLVE_CACHED", NO_RING, 0),
    ROW("openat2", __NR_openat2, "dptn", 'f', 4, OP_MAKES_FD, attempt_openat2,
        "openat2 RESOLVE_CACHED", NO_RING, 0),
    QUICK("close", __NR_close, "f", '0', 1, OP_CLOSES),
    ROW("read", __NR_read, "fwn", 'n', 3, STREAM_IN, attempt_read, "preadv2 RWF_NOWAIT",
        RING(prepare_read, RING_READ), POLLIN),
    ROW("write", __NR_write, "frn", 'i', 3, STREAM_OUT, attempt_write,
        "pwritev2 RWF_NOWAIT", RING(prepare_write, RING_WRITE), POLLOUT),
    ROW("pread64", __NR_pread64, "fwno", 'n', 4, STREAM_IN, attempt_pread,
        "preadv2 RWF_NOWAIT", RING(prepare_pread, RING_READ), POLLIN),
    ROW("pwrite64", __NR_pwrite64, "frno", 'i', 4, STREAM_OUT, attempt_pwrite,
        "pwritev2 RWF_NOWAIT", RING(prepare_pwrite, RING_WRITE), POLLOUT),
    ROW("readv", __NR_readv, "fVc", 'i', 3, VECTOR_IN, attempt_readv,
        "preadv2 RWF_NOWAIT", RING(prepare_readv, RING_READV), POLLIN),
    ROW("writev", __NR_writev, "fvc", 'i', 3, VECTOR_OUT, attempt_writev,
        "pwritev2 RWF_NOWAIT", RING(prepare_writev, RING_WRITEV), POLLOUT),
    ROW("preadv", __NR_preadv, "fVcoi", 'i', 4, VECTOR_IN, attempt_preadv,
        "preadv2 RWF_NOWAIT", RING(prepare_preadv, RING_READV), POLLIN),
    ROW("pwritev", __NR_pwritev, "fvcoi", 'i', 4, VECTOR_OUT, attempt_pwritev,
        "pwritev2 RWF_NOWAIT", RING(prepare_pwritev, RING_WRITEV), POLLOUT),
    SLOW("preadv2", __NR_preadv2, "fVcoii", 'i', 4),
    SLOW("pwritev2", __NR_pwritev2, "fvcoii", 'i', 4),
    QUICK("lseek", __NR_lseek, "foi", 'i', 3, 0),

    /* files: what they are */
    ROW("fstat", __NR_fstat, "fT", '0', 2, OP_KEEPS_FDS | OP_NEVER_BLOCKS,
        attempt_fstat, "plain", NO_RING, 0),
    ROW("statx", __NR_statx, "dpiiT", '0', 5, 0, attempt_statx,
        "O_PATH RESOLVE_CACHED + statx", NO_RING, 0),
    SLOW("newfstatat", __NR_newfstatat, "dpTi", '0', 4),
    SLOW("statfs", __NR_statfs, "pT", '0', 2),
    SLOW("fstatfs", __NR_fstatfs, "fT", '0', 2),
    SLOW("faccessat2", __NR_faccessat2, "dpii", '0', 3),
    SLOW("readlinkat", __NR_readlinkat, "dpwn", 'n', 4),
    SLOW("getdents64", __NR_getdents64, "fwn", 'n', 3),
    SLOW("getxattr", __NR_getxattr, "pswn", 'n', 4),
    SLOW("setxattr", __NR_setxattr, "psrni", '0', 4),
    SLOW("lgetxattr", __NR_lgetxattr, "pswn", 'n', 4),
    SLOW("lsetxattr", __NR_lsetxattr, "psrni", '0', 4),
    SLOW("fgetxattr", __NR_fgetxattr, "fswn", 'n', 4),
    SLOW("fsetxattr", __NR_fsetxattr, "fsrni", '0', 4),
    SLOW("listxattr", __NR_listxattr, "pwn", 'n', 3),
    SLOW("flistxattr", __NR_flistxattr, "fwn", 'n', 3),
    SLOW("removexattr", __NR_removexattr, "ps", '0', 2),
    SLOW("fremovexattr", __NR_fremovexattr, "fs", '0', 2),

    /* files: changing them */
    SLOW("fsync", __NR_fsync, "f", '0', 1),
    SLOW("fdatasync", __NR_fdatasync, "f", '0', 1),
    SLOW("sync_file_range", __NR_sync_file_range, "fooi", '0', 4),
    SLOW("ftruncate", __NR_ftruncate, "fo", '0', 2),
    SLOW("truncate", __NR_truncate, "po", '0', 2),
    SLOW("fallocate", __NR_fallocate, "fioo", '0', 4),
    SLOW("unlinkat", __NR_unlinkat, "dpi", '0', 2),
    SLOW("renameat2", __NR_renameat2, "dpdpi", '0', 4),
    SLOW("mkdirat", __NR_mkdirat, "dpi", '0', 3),
    SLOW("mknodat", __NR_mknodat, "dpii", '0', 3),
    SLOW("symlinkat", __NR_symlinkat, "pdp", '0', 3),
    SLOW("linkat", __NR_linkat, "dpdpi", '0', 4),
    SLOW("fchmod", __NR_fchmod, "fi", '0', 2),
    SLOW("fchmodat", __NR_fchmodat, "dpi", '0', 3),
    SLOW("fchown", __NR_fchown, "fii", '0', 3),
    SLOW("fchownat", __NR_fchownat, "dpiii", '0', 4),
    SLOW("utimensat", __NR_utimensat, "dpti", '0', 3),
    SLOW("copy_file_range", __NR_copy_file_range, "fOfOni", 'i', 5),
    ROW("sendfile", __NR_sendfile, "ffOn", 'i', 4, OP_COUNTED | OP_WRITES,
        attempt_sendfile, "plain if cached and O_NONBLOCK", NO_RING, POLLOUT),
    ROW("splice", __NR_splice, "fOfOni", 'i', 5, OP_WAITS, attempt_splice,
        "SPLICE_F_NONBLOCK", RING(prepare_splice, RING_SPLICE), 0),
    SLOW("tee", __NR_tee, "ffni", 'i', 3),
    SLOW("fadvise64", __NR_fadvise64, "fooi", '0', 4),
    SLOW("madvise", __NR_madvise, "zni", '0', 3),
    SLOW("sync", __NR_sync, "", '0', 0),
    SLOW("syncfs", __NR_syncfs, "f", '0', 1),
    ROW("flock", __NR_flock, "fi", '0', 2, OP_WAITS, attempt_flock, "LOCK_NB", NO_RING,
        0),

    /* fds */
    ROW("fcntl", __NR_fcntl, "fiz", 'D', 2, OP_MAKES_FD, attempt_fcntl,
        "plain, F_SETLK for F_SETLKW", NO_RING, 0),
    QUICK("dup", __NR_dup, "f", 'f', 1, OP_MAKES_FD),
    QUICK("dup3", __NR_dup3, "ffi", 'f', 2, OP_MAKES_FD),
    SLOW("ioctl", __NR_ioctl, "fiz", 'i', 2),
    QUICK("pipe2", __NR_pipe2, "Ti", 'P', 1, OP_MAKES_FD),
    QUICK("eventfd2", __NR_eventfd2, "ii", 'f', 1, OP_MAKES_FD),
    QUICK("memfd_create", __NR_memfd_create, "si", 'f', 1, OP_MAKES_FD),
    QUICK("timerfd_create", __NR_timerfd_create, "ii", 'f', 1, OP_MAKES_FD),
    QUICK("timerfd_settime", __NR_timerfd_settime, "fitT", '0', 3, 0),
    QUICK("pidfd_open", __NR_pidfd_open, "ii", 'f', 1, OP_MAKES_FD),
    QUICK("inotify_init1", __NR_inotify_init1, "i", 'f', 0, OP_MAKES_FD),
    SLOW("inotify_add_watch", __NR_inotify_add_watch, "fpi", 'i', 3),

    /* sockets */
    QUICK("socket", __NR_socket, "iii", 'f', 2, OP_MAKES_FD),
    QUICK("socketpair", __NR_socketpair, "iiiT", 'P', 4, OP_MAKES_FD),
    QUICK("bind", __NR_bind, "fan", '0', 3, 0),
    QUICK("listen", __NR_listen, "fi", '0', 2, 0),
    ROW("accept4", __NR_accept4, "fALi", 'f', 1, SOCKET_IN | OP_MAKES_FD,
        attempt_accept, "plain if O_NONBLOCK", RING(prepare_accept, RING_ACCEPT),
        POLLIN),
    ROW("connect", __NR_connect, "fan", '0', 3, OP_WAITS | OP_SOCKET, attempt_connect,
        "SO_ERROR after readiness", RING(prepare_connect, RING_CONNECT), POLLOUT),
    QUICK("shutdown", __NR_shutdown, "fi", '0', 2, 0),
    QUICK("setsockopt", __NR_setsockopt, "fiirn", '0', 5, 0),
    QUICK("getsockopt", __NR_getsockopt, "fiiTL", '0', 5, 0),
    QUICK("getsockname", __NR_getsockname, "fAL", '0', 3, 0),
    QUICK("getpeername", __NR_getpeername, "fAL", '0', 3, 0),
    ROW("recvfrom", __NR_recvfrom, "fwniAL", 'n', 3, SOCKET_IN | OP_TRANSFER,
        attempt_recv, "MSG_DONTWAIT", RING(prepare_recv, RING_RECV), POLLIN),
    ROW("sendto", __NR_sendto, "frnian", 'i', 3, SOCKET_OUT | OP_TRANSFER, attempt_send,
        "MSG_DONTWAIT", RING(prepare_send, RING_SEND), POLLOUT),
    ROW("recvmsg", __NR_recvmsg, "fMi", 'i', 2, SOCKET_IN | OP_MESSAGE, attempt_recvmsg,
        "MSG_DONTWAIT", RING(prepare_recvmsg, RING_RECVMSG), POLLIN),
    ROW("sendmsg", __NR_sendmsg, "fmi", 'i', 2, SOCKET_OUT | OP_MESSAGE,
        attempt_sendmsg, "MSG_DONTWAIT", RING(prepare_sendmsg, RING_SENDMSG), POLLOUT),

    /* waiting */
    ROW("ppoll", __NR_ppoll, "Tctti", 'i', 2, OP_WAITS, attempt_poll, "no timeout",
        NO_RING, 0),
    ROW("nanosleep", __NR_nanosleep, "tT", '0', 1, OP_WAITS, attempt_sleep, "",
        RING(prepare_nanosleep, RING_TIMEOUT), 0),
    ROW("clock_nanosleep", __NR_clock_nanosleep, "iitT", '0', 3, OP_WAITS,
        attempt_sleep, "", RING(prepare_clock_nanosleep, RING_TIMEOUT), 0),
    ROW("futex", __NR_futex, "Tiizzi", 'i', 3, OP_WAITS, attempt_futex,
        "plain for wakes", RING(prepare_futex, RING_FUTEX_WAIT), 0),
    ROW("waitid", __NR_waitid, "iiTiT", '0', 4, OP_WAITS, attempt_waitid, "WNOHANG",
        RING(prepare_waitid, RING_WAITID), 0),

    /* the process and the thread */
    QUICK("kill", __NR_kill, "ii", '0', 2, 0),
    QUICK("tgkill", __NR_tgkill, "iii", '0', 3, 0),
    QUICK("getpid", __NR_getpid, "", 'i', 0, 0),
    QUICK("getppid", __NR_getppid, "", 'i', 0, 0),
    QUICK("gettid", __NR_gettid, "", 'i', 0, OP_INLINE_ONLY),
    QUICK("getuid", __NR_getuid, "", 'i', 0, OP_INLINE_ONLY),
    QUICK("geteuid", __NR_geteuid, "", 'i', 0, OP_INLINE_ONLY),
    QUICK("getgid", __NR_getgid, "", 'i', 0, OP_INLINE_ONLY),
    QUICK("getegid", __NR_getegid, "", 'i', 0, OP_INLINE_ONLY),
    QUICK("clock_gettime", __NR_clock_gettime, "iT", '0', 2, 0),
    QUICK("sched_yield", __NR_sched_yield, "", '0', 0, 0),
    ROW("getrandom", __NR_getrandom, "wni", 'n', 2, 0, attempt_getrandom,
        "GRND_NONBLOCK", NO_RING, 0),
    SLOW("getcwd", __NR_getcwd, "wn", 'n', 2),
};

static const struct structure {
    uint32_t nr;
    uint8_t arg;
    uint16_t bytes;
} structures[] = {
    {PSEUDO_UMEM_ADD, 0, 8},
    {__NR_openat2, 2, 24},
    {__NR_fstat, 1, sizeof(struct stat)},
    {__NR_newfstatat, 2, sizeof(struct stat)},
    {__NR_statx, 4, 256},
    {__NR_statfs, 1, 120},
    {__NR_fstatfs, 1, 120},
    {__NR_utimensat, 2, 32},
    {__NR_timerfd_settime, 2, 32},
    {__NR_timerfd_settime, 3, 32},
    {__NR_pipe2, 0, 8},
    {__NR_socketpair, 3, 8},
    {__NR_getsockopt, 4, 4},
    {__NR_accept4, 1, 128},
    {__NR_accept4, 2, 4},
    {__NR_getsockname, 1, 128},
    {__NR_getsockname, 2, 4},
    {__NR_getpeername, 1, 128},
    {__NR_getpeername, 2, 4},
    {__NR_recvfrom, 4, 128},
    {__NR_recvfrom, 5, 4},
    {__NR_recvmsg, 1, 56},
    {__NR_sendmsg, 1, 56},
    {__NR_ppoll, 0, 8},
    {__NR_ppoll, 2, 16},
    {__NR_nanosleep, 0, 16},
    {__NR_nanosleep, 1, 16},
    {__NR_clock_nanosleep, 2, 16},
    {__NR_clock_nanosleep, 3, 16},
    {__NR_futex, 0, 4},
    {__NR_waitid, 2, 128},
    {__NR_waitid, 4, 144},
    {__NR_clock_gettime, 1, 16},
    {__NR_copy_file_range, 1, 8},
    {__NR_copy_file_range, 3, 8},
    {__NR_sendfile, 2, 8},
    {__NR_splice, 1, 8},
    {__NR_splice, 3, 8},
    {__NR_fcntl, 2, 32}, /* struct flock; the others are smaller */
};

uint8_t
op_mask_argument(uint32_t nr)
{
    switch (nr) {
    case __NR_ppoll:
        return 3;
    case __NR_epoll_pwait:
    case __NR_epoll_pwait2:
        return 4;
    case __NR_pselect6:
    case __NR_io_pgetevents:
        return 5;
    default:
        return 0;
    }
}

uint32_t
op_structure(const struct op *op, int arg)
{
    for (size_t i = 0; i < sizeof(structures) / sizeof(structures[0]); i++) {
        if (structures[i].nr == op->nr && structures[i].arg == arg) {
            return structures[i].bytes;
        }
    }
    return 0;
}

const struct op op_any = ROW("syscall", 0, "iiiiii", 'i', 0, 0, NONE, NO_RING, 0);

/* Calls that change the thread or its credentials: on the submitting thread, or a
 * worker would change itself instead (docs/design.md, "Open issues of 2007"). */
static const uint32_t thread_calls[] = {
    __NR_setuid,
    __NR_setgid,
    __NR_setreuid,
    __NR_setregid,
    __NR_setresuid,
    __NR_setresgid,
    __NR_setfsuid,
    __NR_setfsgid,
    __NR_setgroups,
    __NR_capset,
    __NR_prctl,
    __NR_unshare,
    __NR_setns,
    __NR_sched_setattr,
    __NR_set_tid_address,
    __NR_sigaltstack,
    __NR_rt_sigprocmask,
    __NR_set_robust_list,
    __NR_seccomp,
    __NR_personality,
    __NR_ioprio_set,
    __NR_sched_setaffinity,
    __NR_keyctl,
    __NR_set_mempolicy,
    __NR_setpriority,
    __NR_getpriority,
    __NR_capget,
    __NR_getresuid,
    __NR_getresgid,
    __NR_landlock_restrict_self,
    __NR_sched_setparam,
    __NR_sched_setscheduler,
#ifdef __NR_arch_prctl
    __NR_arch_prctl,
    __NR_ioperm,
    __NR_iopl,
#endif
};

static const struct op op_thread =
    ROW("syscall", 0, "iiiiii", 'i', 0, OP_INLINE_ONLY, PLAIN, NO_RING, 0);

static const struct refusal {
    uint32_t nr;
    const char *reason;
} refusals[] = {
#ifdef __NR_fork
    {__NR_fork, "a child would run with the engine's memory and no engine"},
    {__NR_vfork, "a child would run on the engine's stack"},
#endif
    {__NR_clone, "a child would run with the engine's memory and no engine"},
    {__NR_clone3, "a child would run with the engine's memory and no engine"},
    {__NR_execve, "it would replace the process under its flights"},
    {__NR_execveat, "it would replace the process under its flights"},
    {__NR_exit, "it would end a thread that belongs to the engine or its host"},
    {__NR_exit_group, "it would end the process under its flights"},
    {__NR_rt_sigreturn, "there is no signal frame to return from"},
    {__NR_restart_syscall, "there is no interrupted call to restart"},
#if defined(__x86_64__)
    {335,
     "it kills the process that is not at its own trampoline"}, /* uretprobe, 6.11 */
#endif
    {__NR_rseq, "the kernel would keep writing to memory of the flight"},
    {__NR_rt_sigsuspend, "signals belong to the process's own threads"},
    {__NR_rt_sigtimedwait, "signals belong to the process's own threads"},
    {__NR_io_uring_enter, "nested submission"},
    {__NR_io_uring_register, "nested submission"},
};

const char *
op_refusal(uint32_t nr)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (refusals[i].nr == nr) {
            return refusals[i].reason;
        }
    }
    return NULL;
}

uint32_t
ops_count(void)
{
    return sizeof(ops) / sizeof(ops[0]);
}

const struct op *
op_find(uint32_t nr)
{
    for (uint32_t i = 0; i < ops_count(); i++) {
        if (ops[i].nr == nr) {
            return &ops[i];
        }
    }
    for (size_t i = 0; i < sizeof(thread_calls) / sizeof(thread_calls[0]); i++) {
        if (thread_calls[i] == nr) {
            return &op_thread;
        }
    }
    return NULL;
}

void
ops_get(uint32_t index, struct op_info *info)
{
    const struct op *op = &ops[index];
    *info = (struct op_info){
        .name = op->name,
        .nr = op->nr,
        .args = op->args,
        .result = op->result,
        .inline_form = op->inline_form,
        .ring_form = op->ring_form,
        .may_block = (op->flags & (OP_NEVER_BLOCKS | OP_PSEUDO)) == 0,
        .waits = (op->flags & OP_WAITS) != 0,
        .inline_only = (op->flags & OP_INLINE_ONLY) != 0,
    };
}
