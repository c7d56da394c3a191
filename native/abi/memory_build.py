"""Builds syslet_loop._memory: the C structures that users pass to atoms, through cffi.

API mode: the compiler checks every declaration below against the system's headers. Run
by setup.py; `syslet_loop/memory.py` is the door to what it makes.
"""

from cffi import FFI

ffi = FFI()
ffi.cdef(
    """
    struct timespec { long tv_sec; long tv_nsec; ...; };
    struct iovec { void *iov_base; size_t iov_len; };
    struct pollfd { int fd; short events; short revents; };
    struct in_addr { uint32_t s_addr; };
    struct sockaddr_in {
        unsigned short sin_family; uint16_t sin_port; struct in_addr sin_addr; ...;
    };
    struct in6_addr { uint8_t s6_addr[16]; };
    struct sockaddr_in6 {
        unsigned short sin6_family; uint16_t sin6_port; uint32_t sin6_flowinfo;
        struct in6_addr sin6_addr; uint32_t sin6_scope_id;
    };
    struct sockaddr_storage { unsigned short ss_family; ...; };
    struct msghdr {
        void *msg_name; uint32_t msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
        void *msg_control; size_t msg_controllen; int msg_flags; ...;
    };
    struct sockaddr_un { unsigned short sun_family; char sun_path[108]; };
    struct flock { short l_type; short l_whence; long l_start; long l_len; int l_pid;
                   ...; };
    struct statx_timestamp { int64_t tv_sec; uint32_t tv_nsec; ...; };
    struct statx {
        uint32_t stx_mask, stx_blksize; uint64_t stx_attributes; uint32_t stx_nlink;
        uint32_t stx_uid, stx_gid; uint16_t stx_mode; uint64_t stx_ino, stx_size;
        uint64_t stx_blocks, stx_attributes_mask;
        struct statx_timestamp stx_atime, stx_btime, stx_ctime, stx_mtime;
        ...;
    };
    struct syslet_uatom {
        uint32_t flags; uint32_t nr; uint64_t ret_ptr; uint64_t next;
        uint64_t arg_ptr[6]; uint64_t private;
    };
    """
)
ffi.set_source(
    "syslet_loop._memory",
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <poll.h>
    #include <stdint.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/uio.h>
    #include <sys/un.h>
    #include <time.h>

    /* The announcement's 64-bit atom; the C library has no header for it. */
    struct syslet_uatom {
        uint32_t flags; uint32_t nr; uint64_t ret_ptr; uint64_t next;
        uint64_t arg_ptr[6]; uint64_t private;
    };
    """,
    # It calls nothing of the C library, but is one's: auditwheel asks which.
    extra_link_args=["-Wl,--no-as-needed", "-lc"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
