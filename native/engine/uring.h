/* io_uring's kernel interface: the part this project uses, in one header of our own.
 *
 * Values are facts of the kernel's ABI (include/uapi/linux/io_uring.h); the version in
 * which each appeared stands beside it. Written here because a build must not depend
 * on the age of the machine's kernel headers. Only ring.c and the prepare functions
 * include it. */
#ifndef SYSLET_URING_H
#define SYSLET_URING_H

#include <stdint.h>

struct sqe {
    uint8_t opcode;
    uint8_t flags;
    uint16_t ioprio; /* for send, recv, accept: operation flags */
    int32_t fd;
    uint64_t offset; /* or the second address */
    uint64_t address;
    uint32_t length;
    uint32_t op_flags;
    uint64_t user_data;
    uint16_t buffer_index;
    uint16_t personality;
    int32_t file_index; /* or the second fd of a splice */
    uint64_t address3;
    uint64_t pad;
};
_Static_assert(sizeof(struct sqe) == 64, "a submission entry is 64 bytes");

struct cqe {
    uint64_t user_data;
    int32_t result;
    uint32_t flags;
};

struct sq_offsets {
    uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
    uint64_t user_address;
};

struct cq_offsets {
    uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
    uint64_t user_address;
};

struct io_uring_params_ {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features;
    uint32_t wq_fd, resv[3];
    struct sq_offsets sq_off;
    struct cq_offsets cq_off;
};
_Static_assert(sizeof(struct io_uring_params_) == 120, "the kernel's io_uring_params");

struct probe_op {
    uint8_t op, resv;
    uint16_t flags;
    uint32_t resv2;
};

struct probe {
    uint8_t last_op, ops_len;
    uint16_t resv;
    uint32_t resv2[3];
    struct probe_op ops[256];
};

struct getevents_arg {
    uint64_t sigmask;
    uint32_t sigmask_size;
    uint32_t min_wait_us;
    uint64_t timespec;
};

struct ring_timespec {
    int64_t seconds;
    int64_t nanoseconds;
};

struct buffers_register { /* the kernel's io_uring_rsrc_register */
    uint32_t count, flags;
    uint64_t resv, data, tags;
};
_Static_assert(sizeof(struct buffers_register) == 32, "its size is an argument");

struct buffers_update { /* the kernel's io_uring_rsrc_update2 */
    uint32_t offset, resv;
    uint64_t data, tags;
    uint32_t count, resv2;
};
_Static_assert(sizeof(struct buffers_update) == 32, "its size is an argument");

enum {
    SETUP_CQSIZE = 1 << 3,         /* 5.5 */
    SETUP_SUBMIT_ALL = 1 << 7,     /* 5.18 */
    SETUP_TASKRUN_FLAG = 1 << 9,   /* 5.19 */
    SETUP_SINGLE_ISSUER = 1 << 12, /* 6.0 */
    SETUP_DEFER_TASKRUN = 1 << 13, /* 6.1 */
    SETUP_NO_SQARRAY = 1 << 16,    /* 6.6 */

    FEAT_SINGLE_MMAP = 1 << 0, /* 5.4 */
    FEAT_NODROP = 1 << 1,      /* 5.5 */
    FEAT_EXT_ARG = 1 << 8,     /* 5.11 */
    FEAT_NO_IOWAIT = 1 << 17,  /* 6.15 */

    ENTER_GETEVENTS = 1 << 0,
    ENTER_EXT_ARG = 1 << 3,   /* 5.11 */
    ENTER_NO_IOWAIT = 1 << 7, /* 6.15 */

    SQ_CQ_OVERFLOW = 1 << 1, /* 5.8 */
    SQ_TASKRUN = 1 << 2,     /* 5.19 */

    SQE_LINK = 1 << 2,
    SQE_ASYNC = 1 << 4, /* 5.6 */
    CQE_F_MORE = 1 << 1,
    POLL_ADD_MULTI = 1 << 0, /* 5.13, in `length` */

    REGISTER_EVENTFD = 4,         /* 5.2 */
    UNREGISTER_EVENTFD = 5,       /* 5.2 */
    REGISTER_PROBE = 8,           /* 5.6 */
    REGISTER_BUFFERS2 = 15,       /* 5.13 */
    REGISTER_BUFFERS_UPDATE = 16, /* 5.13 */
    BUFFERS_SPARSE = 1 << 0,      /* 5.19 */
    PROBE_SUPPORTED = 1 << 0,

    RECVSEND_POLL_FIRST = 1 << 0,  /* 5.19 */
    ACCEPT_POLL_FIRST = 1 << 2,    /* 6.10 */
    TIMEOUT_ABS = 1 << 0,          /* 5.4 */
    SPLICE_FD_IN_FIXED = 1u << 31, /* 5.7; refused: fds are real ones */
};

enum { /* opcodes and the kernel that has them */
       RING_NOP = 0,
       RING_READV = 1,
       RING_WRITEV = 2,
       RING_READ_FIXED = 4,
       RING_WRITE_FIXED = 5,
       RING_POLL_ADD = 6,
       RING_SENDMSG = 9,
       RING_RECVMSG = 10,
       RING_TIMEOUT = 11,
       RING_ACCEPT = 13,
       RING_ASYNC_CANCEL = 14,
       RING_LINK_TIMEOUT = 15,
       RING_CONNECT = 16,
       RING_READ = 22,
       RING_WRITE = 23,
       RING_SEND = 26,
       RING_RECV = 27,
       RING_SPLICE = 30,
       RING_URING_CMD = 46,  /* 5.19 */
       RING_WAITID = 50,     /* 6.7 */
       RING_FUTEX_WAIT = 51, /* 6.7 */
       RING_OPS = 64,
};

#define OFFSET_SQ_RING UINT64_C(0)
#define OFFSET_CQ_RING UINT64_C(0x8000000)
#define OFFSET_SQES UINT64_C(0x10000000)

#endif
